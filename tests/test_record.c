/* Tests of record.h and key.h: bytes of fields and keys, the frame around values, truncation at every byte, every flipped bit. */
#include <stdio.h>

#include "inner.h"
#include "support/cmocka.h"

static void integers_are_big_endian_and_fixed(void **state)
{
    struct stm_rec r = STM_REC_INIT;
    static const uint8_t want[] = {1, 0xab, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 2, 'h', 'i'};

    (void)state;
    stm_rec_u8(&r, 0xab);
    stm_rec_u32(&r, 7);
    stm_rec_u64(&r, UINT64_C(0x0102030405060708));
    stm_rec_blob(&r, stm_slice_str("hi"));
    assert_int_equal(r.buf.len, sizeof want);
    assert_memory_equal(r.buf.data, want, sizeof want);
    stm_rec_release(&r);
}

static void a_seq_of_this_commit_is_remembered_for_patching(void **state)
{
    struct stm_rec r = STM_REC_INIT;

    (void)state;
    stm_rec_u32(&r, 1);
    stm_rec_seq(&r, STM_SEQ_THIS);
    stm_rec_seq(&r, 5);
    stm_rec_time(&r, STM_TIME_THIS);
    assert_int_equal(r.fixes, 2);
    assert_int_equal(r.fix[0].offset, 5);
    assert_int_equal(r.fix[0].kind, STM_FIX_SEQ);
    assert_int_equal(r.fix[1].offset, 21);
    assert_int_equal(r.fix[1].kind, STM_FIX_TIME);
    stm_rec_release(&r);
}

static void a_decoder_that_runs_out_stays_failed(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 9, 'x'};
    struct stm_dec d = stm_dec(stm_slice(bytes, sizeof bytes));

    (void)state;
    assert_null(stm_dec_blob(&d).data);
    assert_int_equal(stm_dec_u8(&d), 0);
    assert_int_equal(stm_dec_end(&d), STM_E_CORRUPT);
    d = stm_dec(stm_slice(bytes, sizeof bytes));
    (void)stm_dec_u32(&d);
    assert_int_equal(stm_dec_end(&d), STM_E_CORRUPT); /* something is left over */
    (void)stm_dec_u8(&d);
    assert_int_equal(stm_dec_end(&d), 0);
}

enum { FRAME = 40 };

static void make_frame(uint8_t *frame, struct stm_slice key)
{
    for (int i = 1; i < FRAME; i++)
        frame[i] = (uint8_t)(i * 7);
    frame[0] = STM_RECORD_FORMAT;
    stm_frame_close(STM_OBJECT, key, frame, FRAME);
}

static void a_frame_opens_under_its_own_key_only(void **state)
{
    struct stm_slice key = stm_slice_str("key"), other = stm_slice_str("kez"), payload;
    uint8_t frame[FRAME];

    (void)state;
    make_frame(frame, key);
    assert_int_equal(stm_frame_open(STM_OBJECT, key, stm_slice(frame, FRAME), &payload), 0);
    assert_int_equal(payload.len, FRAME - 5);
    assert_ptr_equal(payload.data, frame + 1);
    assert_int_equal(stm_frame_open(STM_OBJECT, other, stm_slice(frame, FRAME), &payload), STM_E_CORRUPT);
    assert_int_equal(stm_frame_open(STM_VERSION, key, stm_slice(frame, FRAME), &payload), STM_E_CORRUPT);
}

static void every_truncation_and_every_flipped_bit_is_found(void **state)
{
    struct stm_slice key = stm_slice_str("key"), payload;
    uint8_t frame[FRAME];

    (void)state;
    make_frame(frame, key);
    for (size_t len = 0; len < FRAME; len++)
        assert_int_equal(stm_frame_open(STM_OBJECT, key, stm_slice(frame, len), &payload), STM_E_CORRUPT);
    for (int bit = 0; bit < FRAME * 8; bit++) {
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(stm_frame_open(STM_OBJECT, key, stm_slice(frame, FRAME), &payload), STM_E_CORRUPT);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(stm_frame_open(STM_OBJECT, key, stm_slice(frame, FRAME), &payload), 0);
}

static void a_newer_format_is_told_apart_from_damage(void **state)
{
    struct stm_slice key = stm_slice_str("key"), payload;
    uint8_t frame[FRAME];

    (void)state;
    make_frame(frame, key);
    frame[0] = STM_RECORD_FORMAT + 1;
    stm_frame_close(STM_OBJECT, key, frame, FRAME);
    assert_int_equal(stm_frame_open(STM_OBJECT, key, stm_slice(frame, FRAME), &payload), STM_E_NEWER_FORMAT);
}

static int key_cmp(struct stm_key a, struct stm_key b)
{
    int c = memcmp(a.bytes, b.bytes, a.len < b.len ? a.len : b.len);
    return c ? c : a.len - b.len;
}

static void keys_sort_as_their_numbers_and_newest_first(void **state)
{
    (void)state;
    assert_true(key_cmp(stm_key_object(255), stm_key_object(256)) < 0);
    assert_true(key_cmp(stm_key_version(5, 10), stm_key_version(5, 9)) < 0);
    assert_true(key_cmp(stm_key_version(5, 1), stm_key_version(6, 99)) < 0);
    assert_true(key_cmp(stm_key_log(255), stm_key_log(256)) < 0);
    assert_true(key_cmp(stm_key_effective(1, -5, 1), stm_key_effective(1, 5, 1)) < 0);
    assert_true(key_cmp(stm_key_tombstone(1, stm_slice_str("n")), stm_key_hist(1, stm_slice_str("n"), 99)) < 0);
    assert_true(key_cmp(stm_key_dentry_from(1, stm_name_cookie(stm_slice_str("n"))), stm_key_dentry(1, stm_slice_str("n"))) < 0);
}

static void keys_have_the_bytes_that_are_documented(void **state)
{
    struct stm_key v = stm_key_version(0x0102, 3), h = stm_key_hist(1, stm_slice_str("a"), STM_SEQ_THIS);
    static const uint8_t want[] = {0, 0, 0, 0, 0, 0, 1, 2, 255, 255, 255, 255, 255, 255, 255, 252};

    (void)state;
    assert_int_equal(v.len, 16);
    assert_memory_equal(v.bytes, want, 16);
    assert_int_equal(v.fix, -1);
    assert_int_equal(h.len, 8 + 8 + 1 + 1 + 8);
    assert_int_equal(h.fix, 18);
    assert_true(h.fix_not);
    assert_int_equal(h.bytes[16], 'a');
    assert_int_equal(h.bytes[17], 0);
}

static void a_cookie_is_a_positive_offset_with_room_for_equal_hashes(void **state)
{
    char name[16];

    (void)state;
    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        uint64_t c = stm_name_cookie(stm_slice_str(name));
        assert_true(c > 127 && c < UINT64_C(1) << 63 && c % 128 == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_big_endian_and_fixed),
        cmocka_unit_test(a_seq_of_this_commit_is_remembered_for_patching),
        cmocka_unit_test(a_decoder_that_runs_out_stays_failed),
        cmocka_unit_test(a_frame_opens_under_its_own_key_only),
        cmocka_unit_test(every_truncation_and_every_flipped_bit_is_found),
        cmocka_unit_test(a_newer_format_is_told_apart_from_damage),
        cmocka_unit_test(keys_sort_as_their_numbers_and_newest_first),
        cmocka_unit_test(keys_have_the_bytes_that_are_documented),
        cmocka_unit_test(a_cookie_is_a_positive_offset_with_room_for_equal_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
