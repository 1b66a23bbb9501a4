/*
 * test_clock.c: the two clocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "stemma/clock.h"

static void the_system_clock_tells_the_real_time_in_nanoseconds(void **state)
{
    struct stm_clock c = stm_clock_system();
    int64_t before = (int64_t)time(NULL) - 1; /* time() reads a coarser clock */
    int64_t now = c.now_ns(c.arg);
    int64_t after = (int64_t)time(NULL) + 2;

    (void)state;
    assert_true(now >= before * 1000000000);
    assert_true(now < after * 1000000000);
}

static void the_manual_clock_stands_still_until_told(void **state)
{
    struct stm_clock_manual m = {.ns = 5};
    struct stm_clock c = stm_clock_manual(&m);

    (void)state;
    assert_ptr_equal(c.arg, &m);
    assert_int_equal(c.now_ns(c.arg), 5);
    assert_int_equal(c.now_ns(c.arg), 5);
    m.ns = -7;
    assert_int_equal(c.now_ns(c.arg), -7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_system_clock_tells_the_real_time_in_nanoseconds),
        cmocka_unit_test(the_manual_clock_stands_still_until_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
