/*
 * test_hash.c: golden hashes (they are in the format) and the incremental form. The golden values were made by the functions of
 * libxxhash 0.8.1's shared library, which hash.c does not use: it inlines the header.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stemma/hash.h"

/* The bytes 0, 1, 2, ... (mod 251), long enough for every internal path of XXH3. */
static void fill(uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)(i % 251);
}

static void assert_hash(struct stm_slice data, const char *hex)
{
    struct stm_hash h = stm_hash_of(data);
    char out[33];

    stm_hash_format(&h, out);
    assert_string_equal(out, hex);
}

static void content_hashes_are_canonical_xxh3_128(void **state)
{
    uint8_t data[100000];

    (void)state;
    fill(data, sizeof data);
    assert_hash(stm_slice(NULL, 0), "99aa06d3014798d86001c324468d497f");
    assert_hash(stm_slice_str("serendipity"), "2e011da0c83607328ce3a70cb49e9f49");
    assert_hash(stm_slice(data, 100), "da95ef16fd9566f329b20ba5f03ec01e");
    assert_hash(stm_slice(data, 200), "cb0395310643ba0edd97e9af3609d9f5");
    assert_hash(stm_slice(data, sizeof data), "54182c58bbb1337c42c23aeead96750d");
}

static void checksums_are_the_low_half_of_xxh3_64(void **state)
{
    uint8_t data[1000];

    (void)state;
    fill(data, sizeof data);
    assert_int_equal(stm_checksum32(stm_slice(NULL, 0)), UINT32_C(0x38d394c2));
    assert_int_equal(stm_checksum32(stm_slice_str("serendipity")), UINT32_C(0xded8af26));
    assert_int_equal(stm_checksum32(stm_slice(data, sizeof data)), UINT32_C(0xb2b20ed1));
    assert_int_equal(stm_checksum32(stm_slice(data, sizeof data)), (uint32_t)stm_hash64(stm_slice(data, sizeof data), 0));
}

static void seeded_hashes_are_xxh3_64(void **state)
{
    (void)state;
    assert_true(stm_hash64(stm_slice(NULL, 0), 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(stm_hash64(stm_slice_str("serendipity"), 0) == UINT64_C(0xcd67c646ded8af26));
    assert_true(stm_hash64(stm_slice_str("serendipity"), 1) == UINT64_C(0x9642d3c9edb61fee));
}

static void any_cutting_into_updates_gives_the_same_hash(void **state)
{
    static const size_t steps[] = {1, 7, 64, 255, 256, 257, 1000, 4096, 20000};
    uint8_t data[20000];

    (void)state;
    fill(data, sizeof data);
    struct stm_hash whole = stm_hash_of(stm_slice(data, sizeof data));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct stm_hasher *h = stm_hasher_new();
        assert_non_null(h);
        for (size_t at = 0; at < sizeof data; at += steps[i]) {
            size_t left = sizeof data - at;
            stm_hasher_update(h, stm_slice(data + at, left < steps[i] ? left : steps[i]));
            stm_hasher_update(h, stm_slice(NULL, 0));
        }
        struct stm_hash digest = stm_hasher_digest(h);
        assert_true(stm_hash_eq(&digest, &whole));
        stm_hasher_free(h);
    }
    stm_hasher_free(NULL);
}

/* The library's inner state is taken further by hand there: a release of it that keeps other books fails here. */
static void zeros_hash_as_zero_bytes_do(void **state)
{
    enum { MOST = 100000 };
    static const size_t edges[] = {0, 1, 63, 64, 65, 200, 256, 257, 1000, 1023, 1024, 1025, 1500, 5000};
    static const size_t zeros[] = {0, 1, 255, 256, 1024, 8191, 8192, 8193, 9216, 9217, 10000, 12345, 65536, 70001};
    enum { EDGES = sizeof edges / sizeof *edges };
    static uint8_t data[MOST];

    (void)state;
    for (size_t i = 0; i < EDGES * EDGES * (sizeof zeros / sizeof *zeros); i++) {
        size_t before = edges[i % EDGES], after = edges[i / EDGES % EDGES], n = zeros[i / EDGES / EDGES];
        struct stm_hasher *h = stm_hasher_new();
        assert_non_null(h);
        fill(data, sizeof data);
        memset(data + before, 0, n);
        stm_hasher_update(h, stm_slice(data, before));
        stm_hasher_zeros(h, n);
        stm_hasher_update(h, stm_slice(data + before + n, after));
        struct stm_hash got = stm_hasher_digest(h), want = stm_hash_of(stm_slice(data, before + n + after));
        struct stm_hash other = stm_hash_of(stm_slice(data, before + n + after + 1));
        assert_true(stm_hash_eq(&got, &want));
        assert_false(stm_hash_eq(&got, &other));
        stm_hasher_free(h);
    }
}

static void a_digest_does_not_end_the_stream(void **state)
{
    struct stm_hasher *h = stm_hasher_new();

    (void)state;
    assert_non_null(h);
    struct stm_hash empty = stm_hasher_digest(h), none = stm_hash_of(stm_slice(NULL, 0));
    assert_true(stm_hash_eq(&empty, &none));
    stm_hasher_update(h, stm_slice_str("seren"));
    struct stm_hash first = stm_hasher_digest(h), part = stm_hash_of(stm_slice_str("seren"));
    assert_true(stm_hash_eq(&first, &part));
    stm_hasher_update(h, stm_slice_str("dipity"));
    struct stm_hash second = stm_hasher_digest(h), whole = stm_hash_of(stm_slice_str("serendipity"));
    assert_true(stm_hash_eq(&second, &whole));
    assert_false(stm_hash_eq(&first, &second));
    stm_hasher_free(h);
}

static void format_writes_each_byte_as_two_lower_case_digits(void **state)
{
    struct stm_hash h;
    char out[34];

    (void)state;
    for (int i = 0; i < STM_HASH_LEN; i++)
        h.bytes[i] = (uint8_t)(i * 17);
    memset(out, '!', sizeof out);
    stm_hash_format(&h, out);
    assert_string_equal(out, "00112233445566778899aabbccddeeff");
    assert_int_equal(out[33], '!');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_hashes_are_canonical_xxh3_128),
        cmocka_unit_test(checksums_are_the_low_half_of_xxh3_64),
        cmocka_unit_test(seeded_hashes_are_xxh3_64),
        cmocka_unit_test(any_cutting_into_updates_gives_the_same_hash),
        cmocka_unit_test(zeros_hash_as_zero_bytes_do),
        cmocka_unit_test(a_digest_does_not_end_the_stream),
        cmocka_unit_test(format_writes_each_byte_as_two_lower_case_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
