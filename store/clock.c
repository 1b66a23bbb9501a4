/*
 * clock.c: the system's clock and one that stands still for tests. Makes no promise of monotonic time: the commit pipeline does that.
 */
#include "stemma/clock.h"

#include <assert.h>
#include <stdatomic.h>
#include <time.h>

static int64_t system_now(void *arg)
{
    struct timespec ts;

    (void)arg;
    int err = clock_gettime(CLOCK_REALTIME, &ts);
    assert(err == 0); /* cannot fail for this clock */
    (void)err;
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
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
