/*
 * lock.c: mutexes with a rank. Without STEMMA_LOCK_CHECK a thin cover of pthread's; with it every thread remembers what it holds, and
 * the first wrong order ends the program with both names. It finds no deadlock as such: it forbids what could lead to one.
 */
#include "lock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(STEMMA_LOCK_CHECK) && !defined(NDEBUG)

enum { HELD_MAX = 16 };

/* Debug builds only: what this thread holds, in the order of locking. */
static _Thread_local struct {
    const struct stm_mutex *mutexes[HELD_MAX];
    int n;
} held;

static _Noreturn void wrong(const char *what, const struct stm_mutex *m, const struct stm_mutex *other)
{
    (void)fprintf(stderr, "lock order: %s '%s' (rank %d)", what, m->name, m->rank);
    if (other)
        (void)fprintf(stderr, " while holding '%s' (rank %d)", other->name, other->rank);
    (void)fprintf(stderr, "; see docs/LOCKING.md\n");
    abort();
}

static void check_push(const struct stm_mutex *m)
{
    /* The ranks held rise from place to place, since this is the only way in. */
    if (held.n > 0 && held.mutexes[held.n - 1]->rank >= m->rank)
        wrong("locking", m, held.mutexes[held.n - 1]);
    assert(held.n < HELD_MAX);
    held.mutexes[held.n++] = m;
}

static int check_find(const struct stm_mutex *m, const char *what)
{
    for (int i = held.n - 1; i >= 0; i--)
        if (held.mutexes[i] == m)
            return i;
    wrong(what, m, NULL);
}

static void check_pop(const struct stm_mutex *m)
{
    int i = check_find(m, "unlocking, but this thread does not hold,");

    held.n--;
    for (; i < held.n; i++)
        held.mutexes[i] = held.mutexes[i + 1];
}

static void check_held(const struct stm_mutex *m)
{
    (void)check_find(m, "waiting with, but this thread does not hold,");
}

#else

static void check_push(const struct stm_mutex *m)
{
    (void)m;
}

static void check_pop(const struct stm_mutex *m)
{
    (void)m;
}

static void check_held(const struct stm_mutex *m)
{
    (void)m;
}

#endif

/* Each of pthread's calls here fails only by our own mistake. */
static void must(int err)
{
    if (err != 0) {
        (void)fprintf(stderr, "lock: pthread error %d\n", err);
        abort();
    }
}

void stm_mutex_init(struct stm_mutex *m, int rank, const char *name)
{
    must(pthread_mutex_init(&m->mutex, NULL));
    m->rank = rank;
    m->name = name;
}

void stm_mutex_release(struct stm_mutex *m)
{
    must(pthread_mutex_destroy(&m->mutex));
}

void stm_mutex_lock(struct stm_mutex *m)
{
    check_push(m); /* before, so that a wrong order is told instead of hanging */
    must(pthread_mutex_lock(&m->mutex));
}

void stm_mutex_unlock(struct stm_mutex *m)
{
    check_pop(m);
    must(pthread_mutex_unlock(&m->mutex));
}

void stm_mutex_wait(struct stm_mutex *m, pthread_cond_t *cond)
{
    check_held(m);
    must(pthread_cond_wait(cond, &m->mutex));
}
