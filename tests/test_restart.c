/* test_restart.c: when the next daemon is started: at once, after a growing pause, or never. */
#include "support/cmocka.h"

#include "supervisor.h"

static const struct stm_end killed = {.served = true, .life_ms = 5}, crashed = {.served = true, .own_fault = true, .life_ms = 5},
                            crashed_late = {.served = true, .own_fault = true, .life_ms = 60000},
                            failed = {.own_fault = true, .life_ms = 5}, handed_over = {.served = true, .spoke = true, .life_ms = 5000};

static void what_was_killed_from_outside_is_replaced_at_once(void **state)
{
    struct stm_restarts r = {0};

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(stm_restart_pause(&r, &killed, i), 0);
        assert_int_equal(stm_restart_pause(&r, &handed_over, i), 0);
    }
}

static void pauses_grow_while_daemons_crash_and_start_again_after_a_life(void **state)
{
    struct stm_restarts r = {0};
    int before = 0, longest = 0;

    (void)state;
    assert_int_equal(stm_restart_pause(&r, &crashed, 0), 0);
    for (int i = 0; i < 40; i++) {
        int pause = stm_restart_pause(&r, &crashed, i * 1000000);
        assert_true(pause >= before && pause > 0);
        before = pause;
        longest = pause > longest ? pause : longest;
    }
    assert_int_equal(longest, 5000);
    assert_int_equal(stm_restart_pause(&r, &crashed_late, 0), 0);
    assert_int_equal(stm_restart_pause(&r, &crashed, 0), 0);
    assert_int_equal(stm_restart_pause(&r, &crashed, 0), 100);
}

static void only_what_never_serves_for_long_is_given_up(void **state)
{
    struct stm_restarts r = {0};
    int64_t now = 0;
    int tries = 0, pause;

    (void)state;
    for (pause = 0; pause >= 0; tries++) {
        pause = stm_restart_pause(&r, &failed, now);
        now += 20 + (pause > 0 ? pause : 0);
    }
    assert_true(tries > 10 && now >= 60000);
    r = (struct stm_restarts){0};
    for (int i = 0; i < 1000; i++) /* many at one moment: not yet */
        assert_true(stm_restart_pause(&r, &failed, 5) >= 0);
    assert_true(stm_restart_pause(&r, &crashed, 1000000) >= 0); /* one that served counts anew */
    assert_true(stm_restart_pause(&r, &failed, 2000000) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_killed_from_outside_is_replaced_at_once),
        cmocka_unit_test(pauses_grow_while_daemons_crash_and_start_again_after_a_life),
        cmocka_unit_test(only_what_never_serves_for_long_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
