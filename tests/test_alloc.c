/*
 * test_alloc.c: every allocation of the store fails once. Each step of a story that uses all of the store's operations is tried with its first
 * allocation failing, then its second, and so on until none is left: once with that one alone, and once with all that follow. A step that
 * fails must say -ENOMEM and leave everything as it was; tried again it must succeed, with the outcome of an undisturbed run. Leaks are the
 * sanitizer's to find. Of the long steps' allocations some are left out, unless STEMMA_TORTURE is set.
 */
#include <stdio.h>
#include <stdlib.h>

#include "state.h"
#include "support/alloc.h"
#include "support/cmocka.h"
#include "support/story.h"

enum { STEPS_MAX = 80 };

struct run {
    const struct story_step *steps;
    struct world w;
    enum alloc_mode mode;
    char *outcome[STEPS_MAX]; /* what the store looks like after each step of an undisturbed run */
    unsigned long failures, refused;
    unsigned complaints;
    char complaint[300]; /* the first */
};

/* Makes a world in which the first k steps were done. */
static void begin(struct run *r, size_t k)
{
    world_open_mem(&r->w);
    for (size_t i = 0; i < k; i++)
        assert_int_equal(r->steps[i].run(&r->w), 0);
}

static void complain(struct run *r, const struct story_step *s, unsigned long n, const char *what)
{
    if (r->complaints++ == 0)
        snprintf(r->complaint, sizeof r->complaint, "%s: %s when allocation %lu failed%s", s->name, what, n,
                 r->mode == ALLOC_EVER ? " and all after it" : "");
}

enum attempt { REFUSED, DONE, DONE_ALL_THE_SAME /* in spite of the failure */ };

static enum attempt attempt(struct run *r, size_t k, unsigned long n)
{
    const struct story_step *s = &r->steps[k];
    uint64_t seq = stm_store_seq(r->w.store);

    stm_cache_free(r->w.store->cache); /* nothing decoded may help */
    assert_int_equal(stm_cache_new(1 << 20, &r->w.store->cache), 0);
    alloc_fail(n, r->mode);
    int err = s->run(&r->w);
    unsigned long failed = alloc_end();
    r->failures += failed;
    if (err < 0 && (err != -ENOMEM || failed == 0))
        complain(r, s, n, stm_error_text(err));
    if (err == 0 || !s->partial) {
        char *now = story_describe(&r->w);
        const char *want = err == 0 ? r->outcome[k] : k > 0 ? r->outcome[k - 1] : now;
        if (strcmp(now, want) != 0 || (err < 0 && stm_store_seq(r->w.store) != seq))
            complain(r, s, n, err == 0 ? "it said that it was done, but it was not" : "it left something changed");
        free(now);
    }
    r->refused += err < 0;
    return err < 0 && failed > 0 ? REFUSED : failed > 0 ? DONE_ALL_THE_SAME : DONE;
}

static unsigned long after(const struct story_step *s, unsigned long n)
{
    return s->sparse && !getenv("STEMMA_TORTURE") ? n + 1 + n / s->sparse : n + 1;
}

static void disturb_each_step(struct run *r)
{
    begin(r, 0);
    for (size_t k = 0; r->steps[k].name && r->complaints == 0; k++) {
        enum attempt a = REFUSED;
        for (unsigned long n = 1; a != DONE && r->complaints == 0; n = after(&r->steps[k], n)) {
            a = attempt(r, k, n);
            if (a == DONE_ALL_THE_SAME) { /* the next failure needs a world in which it is not done yet */
                world_close(&r->w);
                begin(r, k);
            }
        }
        if (k % 8 == 0)
            world_check(&r->w);
    }
    world_check(&r->w);
    world_close(&r->w);
}

static void prepare(struct run *r, const struct story_step *steps)
{
    size_t k = 0;

    *r = (struct run){.steps = steps};
    story_begin();
    begin(r, 0);
    for (; steps[k].name; k++) {
        assert_true(k < STEPS_MAX);
        if (steps[k].run(&r->w) < 0)
            fail_msg("'%s' fails even with all memory", steps[k].name);
        r->outcome[k] = story_describe(&r->w);
    }
    world_check(&r->w);
    world_close(&r->w);
}

static void finish(struct run *r)
{
    for (size_t k = 0; r->steps[k].name; k++)
        free(r->outcome[k]);
    story_end();
}

static void story_survives(enum alloc_mode mode)
{
    struct run r;

    prepare(&r, story_steps);
    r.mode = mode;
    disturb_each_step(&r);
    finish(&r);
    if (r.complaints)
        fail_msg("%s", r.complaint);
    print_message("%lu allocations failed, %lu times a step was refused\n", r.failures, r.refused);
    assert_true(r.refused > 500);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    story_survives(ALLOC_ONCE);
}

static void all_allocations_from_one_on_may_fail(void **state)
{
    (void)state;
    story_survives(ALLOC_EVER);
}

/* ---- the control: steps that do it wrong ---- */

static int make_two(struct world *w)
{
    int err = world_try_create(w, STM_ROOT_OBJECT, "one", 0100644, NULL);
    return err < 0 ? err : world_try_create(w, STM_ROOT_OBJECT, "two", 0100644, NULL);
}

static int swallow(struct world *w)
{
    int err = world_try_create(w, STM_ROOT_OBJECT, "one", 0100644, NULL);
    return err == -ENOMEM ? 0 : err;
}

static int say_something_else(struct world *w)
{
    int err = world_try_create(w, STM_ROOT_OBJECT, "one", 0100644, NULL);
    return err == -ENOMEM ? -EIO : err;
}

static int keep_the_first_half(struct world *w)
{
    char *p = malloc(1);
    int err = p ? make_two(w) : -ENOMEM;

    free(p);
    return err;
}

static void careless_steps_are_found_out(void **state)
{
    static const struct story_step careless[][2] = {{{"two commits", keep_the_first_half, 0, 0}},
                                                    {{"swallows the error", swallow, 0, 0}},
                                                    {{"another error", say_something_else, 0, 0}}};

    (void)state;
    for (size_t i = 0; i < sizeof careless / sizeof *careless; i++) {
        struct run r;
        prepare(&r, careless[i]);
        disturb_each_step(&r);
        finish(&r);
        assert_true(r.complaints > 0);
        print_message("%s\n", r.complaint);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(careless_steps_are_found_out),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(all_allocations_from_one_on_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
