/*
 * test_codec.c: what is packed comes back; what is damaged never reaches beyond the buffers. That damage is noticed is the checksums'
 * task, not the codecs' (gzip alone carries one); that a wrong length is noticed is theirs.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stemma/codec.h"
#include "stemma/error.h"

static const enum stm_codec all[] = {STM_CODEC_NONE, STM_CODEC_LZ4, STM_CODEC_ZSTD, STM_CODEC_GZIP};
enum { N_ALL = sizeof all / sizeof all[0] };

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void fill_random(uint8_t *data, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(next_random(&seed) >> 32);
}

/* Words in no order: text as a codec sees it. */
static void fill_text(uint8_t *data, size_t len, uint64_t seed)
{
    static const char words[] = "the of and serendipity finding things not sought for  ";

    for (size_t i = 0; i < len;) {
        size_t from = next_random(&seed) % (sizeof words - 12), n = 3 + next_random(&seed) % 8;
        n = n < len - i ? n : len - i;
        memcpy(data + i, words + from, n);
        i += n;
    }
}

/* Packs, checks the gain, unpacks into memory of exactly that size. Returns the codec used. */
static enum stm_codec round_trip(enum stm_codec codec, struct stm_slice raw)
{
    struct stm_buf out = STM_BUF_INIT;
    uint8_t *back = malloc(raw.len + 1);

    assert_non_null(back);
    int used = stm_codec_pack(codec, 3, raw, &out);
    assert_true(used == STM_CODEC_NONE || used == (int)codec);
    if (used == STM_CODEC_NONE)
        assert_true(stm_slice_eq(stm_buf_slice(&out), raw));
    else
        assert_true((raw.len - out.len) * 16 >= raw.len && out.len < raw.len);
    back[raw.len] = 0xa5;
    assert_int_equal(stm_codec_unpack(used, stm_buf_slice(&out), back, raw.len), 0);
    assert_true(stm_slice_eq(stm_slice(back, raw.len), raw));
    assert_int_equal(back[raw.len], 0xa5);
    free(back);
    stm_buf_release(&out);
    return used;
}

static void text_of_every_length_comes_back(void **state)
{
    static const size_t lengths[] = {1, 2, 15, 16, 17, 100, 300, 1000, 4096, 16384, 16385, 65536, 131072, 1000000};
    uint8_t *data = malloc(1000000);

    (void)state;
    assert_non_null(data);
    fill_text(data, 1000000, 7);
    for (int c = 0; c < N_ALL; c++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            if (round_trip(all[c], stm_slice(data, lengths[i])) != all[c])
                assert_true(lengths[i] < 300); /* only little text may stay raw */
    free(data);
}

static void nothing_becomes_nothing(void **state)
{
    (void)state;
    for (int c = 0; c < N_ALL; c++) {
        struct stm_buf out = STM_BUF_INIT;
        assert_int_equal(stm_codec_pack(all[c], 3, stm_slice(NULL, 0), &out), STM_CODEC_NONE);
        assert_int_equal(out.len, 0);
        assert_int_equal(stm_codec_unpack(all[c], stm_slice(NULL, 0), NULL, 0), 0);
        assert_int_equal(stm_codec_unpack(all[c], stm_slice(NULL, 0), NULL, 1), STM_E_CORRUPT);
        assert_int_equal(stm_codec_unpack(all[c], stm_slice("x", 1), NULL, 0), STM_E_CORRUPT);
        stm_buf_release(&out);
    }
}

static void what_does_not_compress_is_kept_raw(void **state)
{
    static const size_t lengths[] = {1, 40, 1000, 16384, 16385, 100000};
    uint8_t *data = malloc(100000);

    (void)state;
    assert_non_null(data);
    fill_random(data, 100000, 1);
    for (int c = 0; c < N_ALL; c++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            assert_int_equal(round_trip(all[c], stm_slice(data, lengths[i])), STM_CODEC_NONE);
    free(data);
}

/* Random bytes with a run of zeros at the end: the gain is nearly the run's length. */
static void less_than_a_sixteenth_is_not_worth_packing(void **state)
{
    uint8_t data[16000];

    (void)state;
    for (int c = 1; c < N_ALL; c++) {
        fill_random(data, sizeof data, 3);
        memset(data + 15200, 0, 800);
        assert_int_equal(round_trip(all[c], stm_slice(data, sizeof data)), STM_CODEC_NONE);
        memset(data + 14800, 0, 1200);
        assert_int_equal(round_trip(all[c], stm_slice(data, sizeof data)), all[c]);
    }
}

static void long_runs_are_probed_and_what_the_probe_misses_stays_raw(void **state)
{
    uint8_t *data = malloc(100000);

    (void)state;
    assert_non_null(data);
    fill_random(data, 100000, 5);
    memset(data, 0, 20000); /* compressible, but in neither sample */
    for (int c = 1; c < N_ALL; c++)
        assert_int_equal(round_trip(all[c], stm_slice(data, 100000)), STM_CODEC_NONE);
    memset(data + 25000, 0, 2000); /* in the first */
    for (int c = 1; c < N_ALL; c++)
        assert_int_equal(round_trip(all[c], stm_slice(data, 100000)), all[c]);
    fill_random(data, 100000, 5);
    memset(data, 0, 20000);
    memset(data + 72000, 0, 2000); /* in the second */
    for (int c = 1; c < N_ALL; c++)
        assert_int_equal(round_trip(all[c], stm_slice(data, 100000)), all[c]);
    free(data);
}

/* Base-64 repeats nothing, but a quarter of its bits is air. */
static void the_probe_sees_what_only_entropy_coders_gain(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *data = malloc(100000);

    (void)state;
    assert_non_null(data);
    fill_random(data, 100000, 9);
    for (size_t i = 0; i < 100000; i++)
        data[i] = (uint8_t)digits[data[i] & 63];
    assert_int_equal(round_trip(STM_CODEC_ZSTD, stm_slice(data, 100000)), STM_CODEC_ZSTD);
    assert_int_equal(round_trip(STM_CODEC_GZIP, stm_slice(data, 100000)), STM_CODEC_GZIP);
    assert_int_equal(round_trip(STM_CODEC_LZ4, stm_slice(data, 100000)), STM_CODEC_NONE);
    free(data);
}

static void packing_appends_behind_what_is_there(void **state)
{
    uint8_t text[5000], back[5000], noise[100];

    (void)state;
    fill_text(text, sizeof text, 1);
    fill_random(noise, sizeof noise, 1);
    for (int c = 0; c < N_ALL; c++) {
        struct stm_buf out = STM_BUF_INIT;
        assert_int_equal(stm_buf_append(&out, "head", 4), 0);
        assert_int_equal(stm_codec_pack(all[c], 1, stm_slice(text, sizeof text), &out), all[c]);
        size_t end = out.len;
        assert_int_equal(stm_codec_pack(all[c], 1, stm_slice(noise, sizeof noise), &out), STM_CODEC_NONE);
        assert_memory_equal(out.data, "head", 4);
        assert_int_equal(stm_codec_unpack(all[c], stm_slice(out.data + 4, end - 4), back, sizeof back), 0);
        assert_memory_equal(back, text, sizeof text);
        assert_int_equal(out.len, end + sizeof noise);
        assert_memory_equal(out.data + end, noise, sizeof noise);
        stm_buf_release(&out);
    }
}

static void the_level_is_zstds_and_higher_packs_tighter(void **state)
{
    size_t len[3];
    uint8_t *data = malloc(200000);

    (void)state;
    assert_non_null(data);
    fill_text(data, 200000, 11);
    for (int i = 0; i < 3; i++) {
        struct stm_buf out = STM_BUF_INIT;
        assert_int_equal(stm_codec_pack(STM_CODEC_ZSTD, i == 0 ? -5 : i == 1 ? 1 : 19, stm_slice(data, 200000), &out), STM_CODEC_ZSTD);
        len[i] = out.len;
        stm_buf_release(&out);
    }
    assert_true(len[0] > len[1] && len[1] > len[2]);
    free(data);
}

/* The text and its packed form, for the tests of damage. */
static void pack_text(enum stm_codec codec, uint8_t *text, size_t len, struct stm_buf *out)
{
    fill_text(text, len, 21);
    *out = (struct stm_buf)STM_BUF_INIT;
    assert_int_equal(stm_codec_pack(codec, 3, stm_slice(text, len), out), codec);
}

/* Unpacks from and into memory of exactly the right sizes, so that a sanitizer sees every byte too far. */
static int unpack_tight(enum stm_codec codec, const uint8_t *packed, size_t packed_len, uint8_t *back, size_t raw_len)
{
    uint8_t *copy = malloc(packed_len ? packed_len : 1), *raw = malloc(raw_len + 8);

    assert_non_null(copy);
    assert_non_null(raw);
    memcpy(copy, packed, packed_len);
    memset(raw, 0xa5, raw_len + 8);
    int err = stm_codec_unpack(codec, stm_slice(copy, packed_len), raw, raw_len);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(raw[raw_len + i], 0xa5);
    memcpy(back, raw, raw_len);
    free(copy);
    free(raw);
    return err;
}

static void truncation_at_every_byte_is_noticed(void **state)
{
    uint8_t text[1500], back[1500];

    (void)state;
    for (int c = 0; c < N_ALL; c++) {
        struct stm_buf out;
        pack_text(all[c], text, sizeof text, &out);
        for (size_t len = 0; len < out.len; len++)
            assert_int_equal(unpack_tight(all[c], out.data, len, back, sizeof back), STM_E_CORRUPT);
        assert_int_equal(unpack_tight(all[c], out.data, out.len, back, sizeof back), 0);
        stm_buf_release(&out);
    }
}

static void a_wrong_length_is_noticed(void **state)
{
    uint8_t text[1500], back[3000];

    (void)state;
    for (int c = 0; c < N_ALL; c++) {
        struct stm_buf out;
        pack_text(all[c], text, sizeof text, &out);
        for (size_t len = 1; len < 3000; len++)
            assert_int_equal(unpack_tight(all[c], out.data, out.len, back, len), len == 1500 ? 0 : STM_E_CORRUPT);
        stm_buf_release(&out);
    }
}

static void bytes_behind_the_packed_ones_are_noticed(void **state)
{
    uint8_t text[1500], back[1500];

    (void)state;
    for (int c = 0; c < N_ALL; c++) {
        struct stm_buf out;
        pack_text(all[c], text, sizeof text, &out);
        assert_int_equal(stm_buf_append(&out, "\0", 1), 0);
        assert_int_equal(unpack_tight(all[c], out.data, out.len, back, sizeof back), STM_E_CORRUPT);
        stm_buf_release(&out);
    }
}

/* A length whose low 32 bits are right must not pass for it where the libraries count in ints. */
static void lengths_of_more_than_32_bits_are_noticed(void **state)
{
    const size_t more = (size_t)1 << 32;
    uint8_t text[1500], back[1500];

    (void)state;
    for (int c = 0; c < N_ALL; c++) {
        struct stm_buf out;
        pack_text(all[c], text, sizeof text, &out);
        assert_int_equal(stm_codec_unpack(all[c], stm_slice(out.data, out.len + more), back, sizeof back), STM_E_CORRUPT);
        assert_int_equal(stm_codec_unpack(all[c], stm_slice(out.data, out.len), back, sizeof back + more), STM_E_CORRUPT);
        stm_buf_release(&out);
    }
}

static void flipped_bits_give_an_error_or_bytes_but_nothing_else(void **state)
{
    uint8_t text[1500], back[1500];

    (void)state;
    for (int c = 0; c < N_ALL; c++) {
        struct stm_buf out;
        size_t errors = 0;
        pack_text(all[c], text, sizeof text, &out);
        for (size_t bit = 0; bit < out.len * 8; bit++) {
            out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            int err = unpack_tight(all[c], out.data, out.len, back, sizeof back);
            assert_true(err == 0 || err == STM_E_CORRUPT);
            errors += err != 0;
            if (all[c] == STM_CODEC_GZIP && err == 0)
                assert_memory_equal(back, text, sizeof text); /* its CRC says so */
            out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_true(all[c] == STM_CODEC_NONE ? errors == 0 : errors > 0);
        assert_int_equal(unpack_tight(all[c], out.data, out.len, back, sizeof back), 0); /* damage leaves nothing behind */
        assert_memory_equal(back, text, sizeof text);
        stm_buf_release(&out);
    }
}

static void noise_is_not_unpacked(void **state)
{
    uint8_t noise[200], back[1000];

    (void)state;
    for (int c = 1; c < N_ALL; c++)
        for (uint64_t seed = 1; seed <= 2000; seed++) {
            fill_random(noise, sizeof noise, seed * 977);
            int err = unpack_tight(all[c], noise, 1 + seed % sizeof noise, back, sizeof back);
            assert_true(err == STM_E_CORRUPT || (err == 0 && all[c] == STM_CODEC_LZ4));
        }
}

static void unknown_codecs_are_invalid_and_write_nothing(void **state)
{
    struct stm_buf out = STM_BUF_INIT;
    uint8_t byte = 7;

    (void)state;
    assert_int_equal(stm_codec_pack((enum stm_codec)4, 1, stm_slice_str("x"), &out), -EINVAL);
    assert_int_equal(stm_codec_pack((enum stm_codec) - 1, 1, stm_slice_str("x"), &out), -EINVAL);
    assert_int_equal(out.len, 0);
    assert_int_equal(stm_codec_unpack((enum stm_codec)4, stm_slice_str("x"), &byte, 1), -EINVAL);
    assert_int_equal(stm_codec_unpack((enum stm_codec)255, stm_slice_str("x"), &byte, 1), -EINVAL);
    assert_int_equal(byte, 7);
    stm_buf_release(&out);
}

static void codecs_have_names_and_numbers_that_stay(void **state)
{
    (void)state;
    assert_string_equal(stm_codec_name((enum stm_codec)0), "none");
    assert_string_equal(stm_codec_name((enum stm_codec)1), "lz4");
    assert_string_equal(stm_codec_name((enum stm_codec)2), "zstd");
    assert_string_equal(stm_codec_name((enum stm_codec)3), "gzip");
    assert_string_equal(stm_codec_name((enum stm_codec)4), "unknown");
    assert_string_equal(stm_codec_name((enum stm_codec) - 1), "unknown");
}

/* Made by lz4 1.9.4, zstd 1.5.4 and gzip(1) itself: what a store was written with must be readable for ever. */
static void bytes_written_long_ago_are_still_read(void **state)
{
    static const uint8_t lz4[] = {0xaf, 0x73, 0x65, 0x72, 0x65, 0x6e, 0x64, 0x69, 0x70, 0x69,
                                  0x74, 0x0a, 0x00, 0x42, 0x50, 0x64, 0x69, 0x70, 0x69, 0x74};
    static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x64, 0x8d, 0x00, 0x00, 0x50, 0x73, 0x65, 0x72,
                                   0x65, 0x6e, 0x64, 0x69, 0x70, 0x69, 0x74, 0x01, 0x00, 0xd7, 0xa9, 0x20, 0x01};
    static const uint8_t gzip[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x2b, 0x4e, 0x2d, 0x4a, 0xcd, 0x4b, 0xc9,
                                   0x2c, 0xc8, 0x2c, 0x29, 0xa6, 0x19, 0x0b, 0x00, 0x45, 0x60, 0xd4, 0x80, 0x64, 0x00, 0x00, 0x00};
    const struct stm_slice packed[] = {{NULL, 0}, {lz4, sizeof lz4}, {zstd, sizeof zstd}, {gzip, sizeof gzip}};
    char raw[100], back[100];

    (void)state;
    for (size_t i = 0; i < sizeof raw; i += 10)
        memcpy(raw + i, "serendipit", 10);
    for (int c = 1; c < N_ALL; c++) {
        assert_int_equal(stm_codec_unpack(all[c], packed[c], back, sizeof back), 0);
        assert_memory_equal(back, raw, sizeof raw);
    }
}

static void *pack_in_a_thread(void *arg)
{
    uint8_t data[20000];
    uint64_t seed = (uintptr_t)arg;
    int failures = 0;

    for (int i = 0; i < 50; i++) {
        struct stm_buf out = STM_BUF_INIT;
        uint8_t back[20000];
        size_t len = 1000 + next_random(&seed) % 19000;
        enum stm_codec codec = all[i % N_ALL];
        fill_text(data, len, seed);
        int used = stm_codec_pack(codec, 1 + i % 3, stm_slice(data, len), &out);
        failures += used != (int)codec || stm_codec_unpack(codec, stm_buf_slice(&out), back, len) != 0 || memcmp(back, data, len) != 0;
        stm_buf_release(&out);
    }
    return (void *)(uintptr_t)failures;
}

static void threads_pack_and_unpack_beside_each_other(void **state)
{
    pthread_t threads[8];

    (void)state;
    for (uintptr_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pack_in_a_thread, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 8; i++) {
        void *failures;
        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_every_length_comes_back),
        cmocka_unit_test(nothing_becomes_nothing),
        cmocka_unit_test(what_does_not_compress_is_kept_raw),
        cmocka_unit_test(less_than_a_sixteenth_is_not_worth_packing),
        cmocka_unit_test(long_runs_are_probed_and_what_the_probe_misses_stays_raw),
        cmocka_unit_test(the_probe_sees_what_only_entropy_coders_gain),
        cmocka_unit_test(packing_appends_behind_what_is_there),
        cmocka_unit_test(the_level_is_zstds_and_higher_packs_tighter),
        cmocka_unit_test(truncation_at_every_byte_is_noticed),
        cmocka_unit_test(a_wrong_length_is_noticed),
        cmocka_unit_test(bytes_behind_the_packed_ones_are_noticed),
        cmocka_unit_test(lengths_of_more_than_32_bits_are_noticed),
        cmocka_unit_test(flipped_bits_give_an_error_or_bytes_but_nothing_else),
        cmocka_unit_test(noise_is_not_unpacked),
        cmocka_unit_test(unknown_codecs_are_invalid_and_write_nothing),
        cmocka_unit_test(codecs_have_names_and_numbers_that_stay),
        cmocka_unit_test(bytes_written_long_ago_are_still_read),
        cmocka_unit_test(threads_pack_and_unpack_beside_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
