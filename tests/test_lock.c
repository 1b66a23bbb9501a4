/*
 * test_lock.c: mutexes with ranks. The order is checked in debug builds only (STEMMA_LOCK_CHECK): elsewhere its tests are skipped.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lock.h"

enum { THREADS = 4, ROUNDS = 20000 };

struct counter {
    struct stm_mutex mutex;
    pthread_cond_t changed;
    int n;      /* guarded by mutex */
    int inside; /* guarded by mutex */
};

static void *count(void *arg)
{
    struct counter *c = arg;
    int overlaps = 0;

    for (int i = 0; i < ROUNDS; i++) {
        stm_mutex_lock(&c->mutex);
        overlaps += c->inside++;
        c->n++;
        c->inside--;
        stm_mutex_unlock(&c->mutex);
    }
    return (void *)(intptr_t)overlaps;
}

static void only_one_thread_holds_a_mutex(void **state)
{
    struct counter c = {.n = 0};
    pthread_t threads[THREADS];

    (void)state;
    stm_mutex_init(&c.mutex, 1, "counter");
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, &c), 0);
    for (int i = 0; i < THREADS; i++) {
        void *overlaps;
        assert_int_equal(pthread_join(threads[i], &overlaps), 0);
        assert_null(overlaps);
    }
    assert_int_equal(c.n, THREADS * ROUNDS);
    stm_mutex_release(&c.mutex);
}

/* Waits for odd numbers and makes them even. */
static void *answer(void *arg)
{
    struct counter *c = arg;

    stm_mutex_lock(&c->mutex);
    for (int i = 0; i < 1000; i++) {
        while (c->n % 2 == 0)
            stm_mutex_wait(&c->mutex, &c->changed);
        c->n++;
        (void)pthread_cond_broadcast(&c->changed);
    }
    stm_mutex_unlock(&c->mutex);
    return NULL;
}

static void waiting_gives_the_mutex_away_and_takes_it_back(void **state)
{
    struct counter c = {.n = 0};
    pthread_t thread;

    (void)state;
    stm_mutex_init(&c.mutex, 1, "counter");
    assert_int_equal(pthread_cond_init(&c.changed, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, answer, &c), 0);
    stm_mutex_lock(&c.mutex);
    for (int i = 0; i < 1000; i++) {
        c.n++;
        (void)pthread_cond_broadcast(&c.changed);
        while (c.n % 2 == 1)
            stm_mutex_wait(&c.mutex, &c.changed);
    }
    stm_mutex_unlock(&c.mutex);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(c.n, 2000);
    assert_int_equal(pthread_cond_destroy(&c.changed), 0);
    stm_mutex_release(&c.mutex);
}

struct pair {
    struct stm_mutex low, high;
};

static void make_pair(struct pair *p)
{
    stm_mutex_init(&p->low, 10, "the low one");
    stm_mutex_init(&p->high, 20, "the high one");
}

static void release_pair(struct pair *p)
{
    stm_mutex_release(&p->low);
    stm_mutex_release(&p->high);
}

static void rising_ranks_may_be_unlocked_in_any_order_and_taken_again(void **state)
{
    struct pair p;
    struct stm_mutex middle;

    (void)state;
    make_pair(&p);
    stm_mutex_init(&middle, 15, "the middle one");
    for (int i = 0; i < 100; i++) { /* often, so that a place that is not given back would show */
        stm_mutex_lock(&p.low);
        stm_mutex_lock(&middle);
        stm_mutex_lock(&p.high);
        stm_mutex_unlock(&middle);
        stm_mutex_unlock(&p.high);
        stm_mutex_lock(&middle); /* only the low one is held now */
        stm_mutex_unlock(&p.low);
        stm_mutex_unlock(&middle);
        stm_mutex_lock(&p.high);
        stm_mutex_unlock(&p.high);
    }
    stm_mutex_release(&middle);
    release_pair(&p);
}

static void lock_downwards(struct pair *p)
{
    stm_mutex_lock(&p->high);
    stm_mutex_lock(&p->low);
}

static void lock_twice(struct pair *p)
{
    stm_mutex_lock(&p->low);
    stm_mutex_lock(&p->low);
}

static void lock_an_equal_rank(struct pair *p)
{
    struct stm_mutex equal;

    stm_mutex_init(&equal, 10, "an equal one");
    stm_mutex_lock(&p->low);
    stm_mutex_lock(&equal);
}

static void lock_below_the_highest_after_an_unlock(struct pair *p)
{
    struct stm_mutex middle;

    stm_mutex_init(&middle, 15, "the middle one");
    stm_mutex_lock(&p->low);
    stm_mutex_lock(&p->high);
    stm_mutex_unlock(&p->low);
    stm_mutex_lock(&middle);
}

static void unlock_without_a_lock(struct pair *p)
{
    stm_mutex_unlock(&p->low);
}

static void wait_without_a_lock(struct pair *p)
{
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

    stm_mutex_wait(&p->low, &cond);
}

/* Runs the mistake in a child, which must abort and name both mutexes. */
static void assert_aborts(void (*mistake)(struct pair *), const char *first, const char *second)
{
#ifndef STEMMA_LOCK_CHECK
    (void)mistake;
    (void)first;
    (void)second;
    skip();
#else
    char text[1000] = "";
    size_t len = 0;
    int fds[2], status;

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct pair p;
        (void)dup2(fds[1], STDERR_FILENO);
        (void)alarm(5); /* a lock that is not refused hangs */
        make_pair(&p);
        mistake(&p);
        _exit(0);
    }
    (void)close(fds[1]);
    for (ssize_t n; (n = read(fds[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    (void)close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, first));
    assert_non_null(strstr(text, second));
#endif
}

static void a_lower_rank_under_a_higher_one_stops_the_program(void **state)
{
    (void)state;
    assert_aborts(lock_downwards, "'the low one' (rank 10)", "holding 'the high one' (rank 20)");
}

static void the_same_mutex_twice_stops_the_program(void **state)
{
    (void)state;
    assert_aborts(lock_twice, "locking 'the low one'", "holding 'the low one'");
}

static void equal_ranks_together_stop_the_program(void **state)
{
    (void)state;
    assert_aborts(lock_an_equal_rank, "locking 'an equal one'", "holding 'the low one'");
}

static void an_unlock_below_does_not_make_the_highest_held_rank_forgotten(void **state)
{
    (void)state;
    assert_aborts(lock_below_the_highest_after_an_unlock, "locking 'the middle one'", "holding 'the high one'");
}

static void unlocking_what_is_not_held_stops_the_program(void **state)
{
    (void)state;
    assert_aborts(unlock_without_a_lock, "unlocking", "'the low one'");
}

static void waiting_with_what_is_not_held_stops_the_program(void **state)
{
    (void)state;
    assert_aborts(wait_without_a_lock, "waiting", "'the low one'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_one_thread_holds_a_mutex),
        cmocka_unit_test(waiting_gives_the_mutex_away_and_takes_it_back),
        cmocka_unit_test(rising_ranks_may_be_unlocked_in_any_order_and_taken_again),
        cmocka_unit_test(a_lower_rank_under_a_higher_one_stops_the_program),
        cmocka_unit_test(the_same_mutex_twice_stops_the_program),
        cmocka_unit_test(equal_ranks_together_stop_the_program),
        cmocka_unit_test(an_unlock_below_does_not_make_the_highest_held_rank_forgotten),
        cmocka_unit_test(unlocking_what_is_not_held_stops_the_program),
        cmocka_unit_test(waiting_with_what_is_not_held_stops_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
