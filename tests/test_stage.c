/*
 * test_stage.c: bytes being written over a base: compared, after each of many random operations, with a plain array.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "stage.h"

enum { MAX = 3 << 20 };

struct base {
    uint8_t *bytes;
    uint64_t reads; /* bytes asked for */
    uint64_t holes; /* 0: none; every other stretch of that length is one */
};

static int read_base(void *arg, uint64_t off, void *buf, size_t len)
{
    struct base *b = arg;

    memcpy(buf, b->bytes + off, len);
    b->reads += len;
    return 0;
}

static bool in_hole(const struct base *b, uint64_t off)
{
    return b->holes && off / b->holes % 2;
}

static int extent_of_base(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct base *b = arg;

    *ret_from = in_hole(b, off) ? (off / b->holes + 1) * b->holes : off;
    *ret_to = b->holes ? (*ret_from / b->holes + 1) * b->holes : MAX;
    return 0;
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)next(&seed);
}

static struct stm_stage open_stage(struct base *b, uint64_t size)
{
    struct stm_stage st = {.fd = -1};

    struct stm_stage_base base = {.size = size, .data = b->holes ? size / 2 : size, .read = read_base, .extent = extent_of_base, .arg = b};

    assert_int_equal(stm_stage_init(&st, &base, "", 1), 0);
    return st;
}

/* Every byte outside of the extents is zero. Returns how much is inside. */
static uint64_t check_extents(struct stm_stage *st, const uint8_t *model)
{
    uint64_t at = 0, from, to, inside = 0;

    while (at < st->size) {
        assert_int_equal(stm_stage_extent(st, at, &from, &to), 0);
        assert_true(from >= at && from <= to && to <= st->size && (to > from || to == st->size));
        assert_true(from == at || (model[at] == 0 && memcmp(model + at, model + at + 1, from - at - 1) == 0));
        inside += to - from;
        at = to;
    }
    assert_int_equal(stm_stage_extent(st, st->size, &from, &to), 0);
    assert_true(from == st->size && to == st->size);
    return inside;
}

static void check(struct stm_stage *st, const uint8_t *model, uint64_t size)
{
    static uint8_t got[MAX];

    assert_true(st->size == size);
    assert_true(stm_stage_read(st, 0, got, MAX) == (int64_t)size);
    assert_memory_equal(got, model, size);
    check_extents(st, model);
}

/* One random change of both. Returns the new size. */
static uint64_t change(struct stm_stage *st, uint8_t *model, uint64_t size, uint64_t *seed)
{
    uint64_t off = next(seed) % (MAX / 2), len = next(seed) % (next(seed) % 4 ? 9000 : 300000);
    static uint8_t bytes[300000];

    switch (next(seed) % 4) {
    case 0:
        assert_int_equal(stm_stage_truncate(st, off), 0);
        if (off > size)
            memset(model + size, 0, off - size);
        return off;
    case 1:
        assert_int_equal(stm_stage_zero(st, off, len), 0);
        if (off < size)
            memset(model + off, 0, len < size - off ? len : size - off);
        return size;
    default:
        fill(bytes, len, *seed);
        assert_int_equal(stm_stage_write(st, off, bytes, len), 0);
        if (len > 0 && off > size)
            memset(model + size, 0, off - size);
        memcpy(model + off, bytes, len);
        return len > 0 && off + len > size ? off + len : size;
    }
}

static void random_changes_over(uint64_t base_size, uint64_t holes, uint64_t seed)
{
    struct base b = {.bytes = malloc(MAX), .holes = holes};
    uint8_t *model = calloc(1, MAX);
    uint64_t size = base_size;

    fill(b.bytes, MAX, seed);
    for (uint64_t i = holes; holes && i + holes <= MAX; i += 2 * holes)
        memset(b.bytes + i, 0, holes);
    memcpy(model, b.bytes, base_size);
    struct stm_stage st = open_stage(&b, base_size);
    check(&st, model, size);
    for (int i = 0; i < 60; i++) {
        size = change(&st, model, size, &seed);
        check(&st, model, size);
    }
    stm_stage_release(&st);
    free(model);
    free(b.bytes);
}

static void random_changes_over_nothing_read_as_in_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++)
        random_changes_over(0, 0, seed);
}

static void random_changes_over_a_small_base_read_as_in_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++)
        random_changes_over(10000 + seed, 0, seed);
}

static void random_changes_over_a_large_base_read_as_in_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++)
        random_changes_over(STM_STAGE_MEMORY + 12345 * seed, 0, seed);
}

static void random_changes_over_a_base_with_holes_read_as_in_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++)
        random_changes_over(STM_STAGE_MEMORY + 12345 * seed, 40000 + 8192 * seed, seed);
}

static void holes_of_base_and_file_are_holes_of_the_stage(void **state)
{
    enum { STEP = 65536 };
    struct base b = {.bytes = calloc(1, MAX), .holes = STEP};
    uint64_t from, to;
    (void)state;

    struct stm_stage st = open_stage(&b, MAX);
    assert_int_equal(stm_stage_extent(&st, STEP + 5, &from, &to), 0);
    assert_true(from == 2 * STEP && to == 3 * STEP);
    assert_int_equal(stm_stage_write(&st, STEP + 9000, "x", 1), 0);
    assert_int_equal(stm_stage_extent(&st, STEP + 5, &from, &to), 0);
    assert_true(from == STEP + 8192 && to == STEP + 12288);
    assert_int_equal(stm_stage_zero(&st, 2 * STEP, STEP), 0);
    assert_int_equal(stm_stage_extent(&st, STEP + 12288, &from, &to), 0);
    assert_true(from == 4 * STEP);
    assert_true(b.reads <= 2 * STM_STAGE_BLOCK);
    assert_true(stm_stage_data(&st) >= MAX / 2 && stm_stage_data(&st) <= MAX / 2 + 65536);
    assert_int_equal(stm_stage_truncate(&st, 10 * STEP), 0);
    assert_int_equal(stm_stage_truncate(&st, UINT64_C(1) << 43), 0); /* and what is behind costs nothing */
    assert_int_equal(stm_stage_zero(&st, 0, UINT64_C(1) << 43), 0);
    assert_int_equal(stm_stage_extent(&st, 0, &from, &to), 0);
    assert_true(from == UINT64_C(1) << 43 && to == from);
    stm_stage_release(&st);
    free(b.bytes);
}

static void a_large_base_is_not_copied(void **state)
{
    struct base b = {.bytes = calloc(1, MAX)};
    (void)state;

    struct stm_stage st = open_stage(&b, MAX);
    assert_int_equal(stm_stage_write(&st, 1000001, "edit", 4), 0);
    assert_true(b.reads <= 2 * STM_STAGE_BLOCK);
    stm_stage_release(&st);
    free(b.bytes);
}

static void a_cut_base_never_comes_back(void **state)
{
    struct base b = {.bytes = malloc(MAX)};
    uint8_t buf[8];
    (void)state;

    memset(b.bytes, 'x', MAX);
    struct stm_stage st = open_stage(&b, MAX);
    assert_int_equal(stm_stage_truncate(&st, 5), 0);
    assert_int_equal(stm_stage_truncate(&st, MAX), 0);
    assert_true(stm_stage_read(&st, 3, buf, 8) == 8);
    assert_memory_equal(buf, "xx\0\0\0\0\0\0", 8);
    stm_stage_release(&st);
    free(b.bytes);
}

static void one_byte_far_away_costs_little(void **state)
{
    struct base b = {.bytes = NULL};
    uint8_t byte = 0;
    (void)state;

    struct stm_stage st = open_stage(&b, 0);
    assert_int_equal(stm_stage_write(&st, UINT64_C(1) << 40, "z", 1), 0);
    assert_true(st.size == (UINT64_C(1) << 40) + 1);
    assert_true(stm_stage_read(&st, UINT64_C(1) << 40, &byte, 1) == 1);
    assert_int_equal(byte, 'z');
    assert_true(stm_stage_read(&st, UINT64_C(1) << 39, &byte, 1) == 1);
    assert_int_equal(byte, 0);
    assert_int_equal(stm_stage_write(&st, STM_STAGE_MAX, "z", 1), -EFBIG);
    stm_stage_release(&st);
}

static int count_files(const char *dir)
{
    DIR *d = opendir(dir);
    int n = -2; /* . and .. */

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void when_all_hold_too_much_only_small_ones_stay_in_memory(void **state)
{
    (void)state;
    for (int crowd = 0; crowd <= 1; crowd++) {
        _Atomic uint64_t all = crowd ? STM_STAGE_CROWD + 1 : 0;
        struct stm_stage st = {.memory_gauge = &all};
        uint8_t *in = malloc(MAX), *out = malloc(MAX);
        assert_true(in && out);
        fill(in, MAX, 5);
        assert_int_equal(stm_stage_init(&st, &(struct stm_stage_base){.size = 0}, "", 1), 0);
        assert_int_equal(stm_stage_write(&st, 0, in, STM_STAGE_SMALL), 0);
        assert_true(st.fd < 0);
        assert_int_equal(stm_stage_write(&st, STM_STAGE_SMALL, in + STM_STAGE_SMALL, 1), 0);
        assert_int_equal(st.fd >= 0, crowd);
        assert_int_equal(stm_stage_write(&st, STM_STAGE_SMALL + 1, in + STM_STAGE_SMALL + 1, 100000), 0);
        assert_int_equal(stm_stage_read(&st, 0, out, MAX), STM_STAGE_SMALL + 100001);
        assert_memory_equal(in, out, STM_STAGE_SMALL + 100001);
        stm_stage_release(&st);
        assert_int_equal(atomic_load(&all), crowd ? STM_STAGE_CROWD + 1 : 0);
        free(in);
        free(out);
    }
}

static void large_drafts_lie_in_a_named_file_that_goes_with_them(void **state)
{
    char dir[] = "/tmp/test_stage.XXXXXX";
    struct stm_stage st = {.fd = -1};
    struct stm_stage_base none = {.read = read_base};
    static uint8_t bytes[STM_STAGE_MEMORY];
    (void)state;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(stm_stage_init(&st, &none, dir, 0xabc), 0);
    assert_int_equal(stm_stage_write(&st, 0, bytes, sizeof bytes), 0);
    assert_int_equal(count_files(dir), 0);
    assert_int_equal(stm_stage_write(&st, sizeof bytes, "x", 1), 0);
    assert_int_equal(count_files(dir), 1);
    stm_stage_release(&st);
    assert_int_equal(count_files(dir), 0);
    rmdir(dir);
}

/* What a daemon that is killed leaves, and the next one finds: at any moment between two changes. */
static void a_kept_stage_can_be_reopened(void **state)
{
    char dir[] = "/tmp/stemma-kept-XXXXXX";
    struct base b = {.bytes = malloc(MAX)};
    uint64_t size = MAX / 2, seed = 4711;
    uint8_t *model = calloc(1, MAX);
    struct stm_stage_base base = {.size = size, .data = size, .read = read_base, .arg = &b};
    struct stm_stage st = {.fd = -1, .keep = true};
    (void)state;

    assert_non_null(mkdtemp(dir));
    fill(b.bytes, MAX, seed);
    memcpy(model, b.bytes, size);
    assert_int_equal(stm_stage_init(&st, &base, dir, 7), 0);
    for (int i = 0; i < 60; i++) {
        size = change(&st, model, size, &seed);
        uint64_t base_len = st.base_len;
        st.leave = true; /* the files stay as they are, the memory is gone */
        stm_stage_release(&st);
        assert_int_equal(count_files(dir), 2);
        st = (struct stm_stage){.fd = -1, .keep = true};
        assert_int_equal(stm_stage_reopen(&st, &base, dir, 7, size, base_len), 0);
        check(&st, model, size);
    }
    stm_stage_release(&st);
    assert_int_equal(count_files(dir), 0);
    st = (struct stm_stage){.fd = -1, .keep = true};
    assert_int_equal(stm_stage_reopen(&st, &base, dir, 7, size, 0), -ENOENT);
    rmdir(dir);
    free(b.bytes);
    free(model);
}

static void what_was_recorded_of_the_base_matters(void **state)
{
    char dir[] = "/tmp/stemma-kept-XXXXXX";
    struct base b = {.bytes = malloc(MAX)};
    struct stm_stage_base base = {.size = MAX, .data = MAX, .read = read_base, .arg = &b};
    struct stm_stage st = {.fd = -1, .keep = true};
    uint8_t got;
    (void)state;

    assert_non_null(mkdtemp(dir));
    memset(b.bytes, 'b', MAX);
    assert_int_equal(stm_stage_init(&st, &base, dir, 7), 0);
    assert_int_equal(stm_stage_truncate(&st, 5000), 0);
    assert_int_equal(stm_stage_truncate(&st, 100000), 0);
    for (int wrong = 0; wrong < 2; wrong++) { /* the second is the control: bytes that were cut off come back */
        st.leave = true;
        stm_stage_release(&st);
        st = (struct stm_stage){.fd = -1, .keep = true};
        assert_int_equal(stm_stage_reopen(&st, &base, dir, 7, 100000, wrong ? MAX : 5000), 0);
        assert_true(stm_stage_read(&st, 50000, &got, 1) == 1);
        assert_int_equal(got, wrong ? 'b' : 0);
    }
    stm_stage_release(&st);
    rmdir(dir);
    free(b.bytes);
}

static void what_was_not_answered_may_be_cut_off(void **state)
{
    char dir[] = "/tmp/stemma-kept-XXXXXX", bytes[8192], got[16384];
    struct stm_stage_base none = {.size = 0};
    struct stm_stage st = {.fd = -1, .keep = true};
    (void)state;

    assert_non_null(mkdtemp(dir));
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(stm_stage_init(&st, &none, dir, 7), 0);
    assert_int_equal(stm_stage_write(&st, 0, bytes, 5000), 0);
    assert_int_equal(stm_stage_spill(&st, false), 0);
    assert_int_equal(stm_stage_write(&st, 4000, bytes, sizeof bytes), 0); /* and the size of this one was never recorded */
    st.leave = true;
    stm_stage_release(&st);
    st = (struct stm_stage){.fd = -1, .keep = true};
    assert_int_equal(stm_stage_reopen(&st, &none, dir, 7, 5000, 0), 0);
    assert_int_equal(stm_stage_truncate(&st, 16384), 0);
    assert_true(stm_stage_read(&st, 0, got, sizeof got) == 16384);
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], i < 5000 ? 'x' : 0);
    stm_stage_release(&st);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_over_nothing_read_as_in_an_array),
        cmocka_unit_test(random_changes_over_a_small_base_read_as_in_an_array),
        cmocka_unit_test(random_changes_over_a_large_base_read_as_in_an_array),
        cmocka_unit_test(random_changes_over_a_base_with_holes_read_as_in_an_array),
        cmocka_unit_test(holes_of_base_and_file_are_holes_of_the_stage),
        cmocka_unit_test(a_large_base_is_not_copied),
        cmocka_unit_test(a_cut_base_never_comes_back),
        cmocka_unit_test(one_byte_far_away_costs_little),
        cmocka_unit_test(when_all_hold_too_much_only_small_ones_stay_in_memory),
        cmocka_unit_test(large_drafts_lie_in_a_named_file_that_goes_with_them),
        cmocka_unit_test(a_kept_stage_can_be_reopened),
        cmocka_unit_test(what_was_recorded_of_the_base_matters),
        cmocka_unit_test(what_was_not_answered_may_be_cut_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
