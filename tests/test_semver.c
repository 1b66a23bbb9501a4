/*
 * test_semver.c: text, order and successors of version numbers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "stemma/semver.h"

static const struct {
    const char *text;
    struct stm_semver v;
} good[] = {
    {"v0.0.0", {0, 0, 0}},
    {"v1.0.0", {1, 0, 0}},
    {"v1.2.3", {1, 2, 3}},
    {"v10.20.30", {10, 20, 30}},
    {"v0.0.4294967295", {0, 0, UINT32_MAX}},
    {"v4294967295.4294967295.4294967295", {UINT32_MAX, UINT32_MAX, UINT32_MAX}},
};

static void numbers_are_read_and_written_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct stm_semver v = {9, 9, 9};
        char out[STM_SEMVER_TEXT];
        assert_int_equal(stm_semver_parse(stm_slice_str(good[i].text), &v), 0);
        assert_int_equal(v.major, good[i].v.major);
        assert_int_equal(v.minor, good[i].v.minor);
        assert_int_equal(v.patch, good[i].v.patch);
        assert_int_equal(stm_semver_format(v, out), strlen(good[i].text));
        assert_string_equal(out, good[i].text);
    }
}

static void malformed_numbers_are_refused_and_leave_the_result_alone(void **state)
{
    static const char *const bad[] = {
        "",       "v",       "v1",       "v1.2",       "v1.2.",    "v1.2.3.",  "v1.2.3.4",         "1.2.3",
        "V1.2.3", "v1.2.3 ", " v1.2.3",  "v01.2.3",    "v1.02.3",  "v1.2.03",  "v00.0.0",          "v1..3",
        "v.1.2",  "v-1.2.3", "v+1.2.3",  "v1.2.3-rc1", "v1.2.3+b", "vv1.2.3",  "v1,2,3",           "v4294967296.0.0",
        "vx.y.z", "v1.2.x",  "v1.2.3\n", "v 1.2.3",    "v1. 2.3",  "v0x1.0.0", "v0.99999999999.0", "v0.0.18446744073709551617",
    };
    struct stm_semver v = {7, 8, 9};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (stm_semver_parse(stm_slice_str(bad[i]), &v) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
        assert_true(v.major == 7 && v.minor == 8 && v.patch == 9);
    }
    assert_int_equal(stm_semver_parse(stm_slice("v1.2.3\0", 7), &v), -EINVAL);
    assert_int_equal(stm_semver_parse(stm_slice("v1.2.34", 6), &v), 0); /* no further than the slice */
    assert_int_equal(v.patch, 3);
}

static void order_is_by_major_then_minor_then_patch_as_numbers(void **state)
{
    static const char *const sorted[] = {"v0.0.0", "v0.0.9",  "v0.0.10",         "v0.9.0",          "v0.10.0", "v1.0.0",
                                         "v1.9.9", "v1.10.0", "v2.0.4294967295", "v2.4294967295.0", "v10.0.0", "v4294967295.0.0"};
    const int n = sizeof sorted / sizeof sorted[0];

    (void)state;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            struct stm_semver a, b;
            assert_int_equal(stm_semver_parse(stm_slice_str(sorted[i]), &a), 0);
            assert_int_equal(stm_semver_parse(stm_slice_str(sorted[j]), &b), 0);
            int c = stm_semver_cmp(a, b);
            assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
        }
}

static void assert_next(const char *from, enum stm_bump bump, const char *to)
{
    struct stm_semver v, next;
    char out[STM_SEMVER_TEXT];

    assert_int_equal(stm_semver_parse(stm_slice_str(from), &v), 0);
    assert_int_equal(stm_semver_next(v, bump, &next), 0);
    (void)stm_semver_format(next, out);
    assert_string_equal(out, to);
}

static void a_bump_raises_its_part_and_zeroes_the_lower_ones(void **state)
{
    (void)state;
    assert_next("v1.2.3", STM_BUMP_PATCH, "v1.2.4");
    assert_next("v1.2.3", STM_BUMP_MINOR, "v1.3.0");
    assert_next("v1.2.3", STM_BUMP_MAJOR, "v2.0.0");
    assert_next("v1.2.9", STM_BUMP_PATCH, "v1.2.10");
    assert_next("v1.2.4294967295", STM_BUMP_MINOR, "v1.3.0");
    assert_next("v1.4294967295.3", STM_BUMP_MAJOR, "v2.0.0");
}

static void a_part_at_its_end_does_not_wrap(void **state)
{
    const struct stm_semver end = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    struct stm_semver next = {1, 2, 3};

    (void)state;
    for (enum stm_bump bump = STM_BUMP_PATCH; bump <= STM_BUMP_MAJOR; bump++)
        assert_int_equal(stm_semver_next(end, bump, &next), -EOVERFLOW);
    assert_true(next.major == 1 && next.minor == 2 && next.patch == 3);
}

static void bumps_are_named_patch_minor_major_and_nothing_else(void **state)
{
    static const char *const bad[] = {"", "Patch", "patch ", "pat", "patches", "majo", "latest"};
    enum stm_bump bump = STM_BUMP_MINOR;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(stm_bump_parse(stm_slice_str(bad[i]), &bump), -EINVAL);
    assert_int_equal(bump, STM_BUMP_MINOR);
    assert_int_equal(stm_bump_parse(stm_slice_str("patch"), &bump), 0);
    assert_int_equal(bump, STM_BUMP_PATCH);
    assert_int_equal(stm_bump_parse(stm_slice_str("minor"), &bump), 0);
    assert_int_equal(bump, STM_BUMP_MINOR);
    assert_int_equal(stm_bump_parse(stm_slice_str("major"), &bump), 0);
    assert_int_equal(bump, STM_BUMP_MAJOR);
    assert_string_equal(stm_bump_name(STM_BUMP_PATCH), "patch");
    assert_string_equal(stm_bump_name(STM_BUMP_MINOR), "minor");
    assert_string_equal(stm_bump_name(STM_BUMP_MAJOR), "major");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_and_written_alike),
        cmocka_unit_test(malformed_numbers_are_refused_and_leave_the_result_alone),
        cmocka_unit_test(order_is_by_major_then_minor_then_patch_as_numbers),
        cmocka_unit_test(a_bump_raises_its_part_and_zeroes_the_lower_ones),
        cmocka_unit_test(a_part_at_its_end_does_not_wrap),
        cmocka_unit_test(bumps_are_named_patch_minor_major_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
