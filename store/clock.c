/*
 * clock.c: the system's clock and one that stands still for tests. The first makes no promise never to go back: for dates the commit
 * pipeline does that, for waiting there is stm_monotonic_ns.
 */
#include "stemma/clock.h"

#include <assert.h>
#include <stdatomic.h>
#include <time.h>

static int64_t read_clock(clockid_t which)
{
    struct timespec ts;
    int err = clock_gettime(which, &ts);

    assert(err == 0); /* cannot fail for these clocks */
    (void)err;
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t system_now(void *arg)
{
    (void)arg;
    return read_clock(CLOCK_REALTIME);
}

int64_t stm_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

struct stm_clock stm_clock_system(void)
{
    return (struct stm_clock){system_now, NULL};
}

static int64_t manual_now(void *arg)
{
    struct stm_clock_manual *m = arg;

    return atomic_load(&m->ns);
}

struct stm_clock stm_clock_manual(struct stm_clock_manual *m)
{
    return (struct stm_clock){manual_now, m};
}
