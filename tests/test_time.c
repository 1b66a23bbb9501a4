/*
 * test_time.c: times in names. Expected seconds were computed by date(1).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "stemma/name.h"

#define SECOND INT64_C(1000000000)
#define TEN INT64_C(1795168800) /* 2026-11-20T10.00.00Z in seconds */

static void assert_time(const char *text, int64_t want)
{
    int64_t ns = -1;
    int err = stm_time_parse(stm_slice_str(text), &ns);

    if (err != 0 || ns != want)
        fail_msg("'%s': error %d, %lld instead of %lld", text, err, (long long)ns, (long long)want);
}

static void assert_no_time(const char *text)
{
    int64_t ns = -12345;

    if (stm_time_parse(stm_slice_str(text), &ns) != -EINVAL)
        fail_msg("'%s' was taken", text);
    assert_int_equal(ns, -12345);
}

static void a_text_means_the_last_nanosecond_that_it_covers(void **state)
{
    (void)state;
    assert_time("2026-11-20", (TEN - 36000 + 86400) * SECOND - 1);
    assert_time("2026-11-20T10", (TEN + 3600) * SECOND - 1);
    assert_time("2026-11-20T10.15", (TEN + 16 * 60) * SECOND - 1);
    assert_time("2026-11-20T10.15.00", (TEN + 15 * 60 + 1) * SECOND - 1);
    assert_time("2026-11-20T10.15.07", (TEN + 15 * 60 + 8) * SECOND - 1);
}

static void a_final_z_is_optional_everywhere(void **state)
{
    (void)state;
    assert_time("2026-11-20Z", (TEN - 36000 + 86400) * SECOND - 1);
    assert_time("2026-11-20T10Z", (TEN + 3600) * SECOND - 1);
    assert_time("2026-11-20T10.15Z", (TEN + 16 * 60) * SECOND - 1);
    assert_time("2026-11-20T10.15.00Z", (TEN + 15 * 60 + 1) * SECOND - 1);
    assert_time("2026-11-20T10.15.00.5Z", (TEN + 15 * 60) * SECOND + 599999999);
}

static void fractions_have_one_to_nine_digits(void **state)
{
    (void)state;
    assert_time("2026-11-20T10.00.00.1", TEN * SECOND + 199999999);
    assert_time("2026-11-20T10.00.00.12", TEN * SECOND + 129999999);
    assert_time("2026-11-20T10.00.00.123", TEN * SECOND + 123999999);
    assert_time("2026-11-20T10.00.00.12345678", TEN * SECOND + 123456789);
    assert_time("2026-11-20T10.00.00.123456789", TEN * SECOND + 123456789);
    assert_time("2026-11-20T10.00.00.000000000", TEN * SECOND);
    assert_time("2026-11-20T10.00.00.999999999Z", (TEN + 1) * SECOND - 1);
    assert_no_time("2026-11-20T10.00.00.");
    assert_no_time("2026-11-20T10.00.00.Z");
    assert_no_time("2026-11-20T10.00.00.1234567890");
    assert_no_time("2026-11-20T10.00.00.12a");
    assert_no_time("2026-11-20T10.15.5"); /* no fractions of minutes */
}

static void sambas_form_is_a_second_with_or_without_its_sign(void **state)
{
    (void)state;
    assert_time("GMT-2026.11.20-10.15.00", (TEN + 15 * 60 + 1) * SECOND - 1);
    assert_time("@GMT-2026.11.20-10.15.00", (TEN + 15 * 60 + 1) * SECOND - 1);
    assert_no_time("@@GMT-2026.11.20-10.15.00");
    assert_no_time("@2026-11-20");
    assert_no_time("GMT-2026-11-20");
    assert_no_time("GMT-2026.11.20");
    assert_no_time("GMT-2026.11.20-10.15");
    assert_no_time("GMT-2026.11.20-10.15.00Z");
    assert_no_time("GMT-2026.02.30-10.15.00");
    assert_no_time("gmt-2026.11.20-10.15.00");
    assert_no_time("GMT-");
}

static void impossible_dates_and_clocks_are_refused(void **state)
{
    static const char *const bad[] = {
        "2026-13-01", "2026-00-01", "2026-01-00", "2026-01-32", "2026-02-29", "2026-02-30",    "2024-02-30",       "2026-04-31",
        "2026-06-31", "2026-09-31", "2026-11-31", "1900-02-29", "2100-02-29", "2026-11-20T24", "2026-11-20T10.60", "2026-11-20T10.15.60",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_no_time(bad[i]);
}

static void malformed_texts_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "2",
        "2026",
        "2026-11",
        "2026-11-2",
        "2026-1-20",
        "26-11-20",
        "20261120",
        "2026-11-20t10",
        "2026-11-20T",
        "2026-11-20T1",
        "2026-11-20T10.",
        "2026-11-20T10.1",
        "2026-11-20T10:15",
        "2026-11-20 ",
        " 2026-11-20",
        "2026-11-20ZZ",
        "2026-11-20z",
        "2026-11-20T10.15Z.",
        "2026/11/20",
        "02026-11-20",
        "-2026-11-20",
        "2026-11-20x",
        "2026-11-20T10.15.00+01",
        "٢٠٢٦-١١-٢٠",
        "2026-11-20Z10",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_no_time(bad[i]);

    int64_t ns;
    assert_int_equal(stm_time_parse(stm_slice("2026-11-20\0", 11), &ns), -EINVAL);
    assert_int_equal(stm_time_parse(stm_slice("2026-11-20T10", 10), &ns), 0); /* no further than the slice */
    assert_int_equal(ns, (TEN - 36000 + 86400) * SECOND - 1);
}

static void leap_days_and_turns_of_years_and_centuries_are_right(void **state)
{
    (void)state;
    assert_time("1970-01-01T00.00.00.000000000", 0);
    assert_time("1969-12-31T23.59.59.999999999", -1);
    assert_time("1969-12-31", -1);
    assert_time("2024-02-29T00.00.00.000000000", INT64_C(1709164800) * SECOND);
    assert_time("2000-02-29T00.00.00.000000000", INT64_C(951782400) * SECOND);
    assert_time("2000-03-01T00.00.00.000000000", INT64_C(951868800) * SECOND);
    assert_time("1900-03-01T00.00.00.000000000", INT64_C(-2203891200) * SECOND);
    assert_time("1900-02-28T00.00.00.000000000", INT64_C(-2203977600) * SECOND);
    assert_time("2038-01-19T03.14.08.000000000", INT64_C(2147483648) * SECOND);
    assert_time("2200-12-31T23.59.59.000000000", INT64_C(7289654399) * SECOND);
}

static void years_beyond_64_bits_of_nanoseconds_are_their_ends(void **state)
{
    (void)state;
    assert_time("2262-04-11T23.47.16.854775807", INT64_MAX);
    assert_time("2262-04-11T23.47.16.854775806", INT64_MAX - 1);
    assert_time("2262-04-11T23.47.16", INT64_MAX);
    assert_time("2262-04-12", INT64_MAX);
    assert_time("9999-12-31", INT64_MAX);
    assert_time("0000-01-01", INT64_MIN);
    assert_time("0000-02-29", INT64_MIN);
    assert_time("1677-09-20", INT64_MIN);
    assert_time("1677-09-21T00.12.44.000000000", INT64_C(-9223372036) * SECOND);
}

static void times_are_written_with_points_and_without_fractions(void **state)
{
    char out[32];

    (void)state;
    stm_time_format((TEN + 15 * 60) * SECOND + 999999999, out);
    assert_string_equal(out, "2026-11-20T10.15.00Z");
    stm_time_format(0, out);
    assert_string_equal(out, "1970-01-01T00.00.00Z");
    stm_time_format(-1, out);
    assert_string_equal(out, "1969-12-31T23.59.59Z");
    stm_time_format(-SECOND, out);
    assert_string_equal(out, "1969-12-31T23.59.59Z");
    stm_time_format(INT64_MAX, out);
    assert_string_equal(out, "2262-04-11T23.47.16Z");
    stm_time_format(INT64_MIN, out);
    assert_string_equal(out, "1677-09-21T00.12.43Z");
}

/* What is written must select the very moment that was written: every day of six centuries, at changing times of day. */
static void written_times_are_read_back_to_the_second(void **state)
{
    (void)state;
    for (int64_t day = -100000; day < 100000; day++) {
        int64_t s = day * 86400 + (day * 7919 % 86400 + 86400) % 86400, ns;
        char out[32];
        stm_time_format(s * SECOND, out);
        assert_int_equal(stm_time_parse(stm_slice_str(out), &ns), 0);
        assert_int_equal(ns, s * SECOND + SECOND - 1);
    }
}

static void the_time_zone_of_the_process_does_not_matter(void **state)
{
    char out[32];

    (void)state;
    assert_int_equal(setenv("TZ", "Asia/Tokyo", 1), 0);
    tzset();
    assert_time("1970-01-01", 86400 * SECOND - 1);
    stm_time_format(0, out);
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
    assert_string_equal(out, "1970-01-01T00.00.00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_means_the_last_nanosecond_that_it_covers),
        cmocka_unit_test(a_final_z_is_optional_everywhere),
        cmocka_unit_test(fractions_have_one_to_nine_digits),
        cmocka_unit_test(sambas_form_is_a_second_with_or_without_its_sign),
        cmocka_unit_test(impossible_dates_and_clocks_are_refused),
        cmocka_unit_test(malformed_texts_are_refused),
        cmocka_unit_test(leap_days_and_turns_of_years_and_centuries_are_right),
        cmocka_unit_test(years_beyond_64_bits_of_nanoseconds_are_their_ends),
        cmocka_unit_test(times_are_written_with_points_and_without_fractions),
        cmocka_unit_test(written_times_are_read_back_to_the_second),
        cmocka_unit_test(the_time_zone_of_the_process_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
