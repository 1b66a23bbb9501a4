/*
 * clock.h: where the store takes the time from; injected so that tests need no sleep.
 * Thread-safety: now_ns may be called by any thread at any time.
 */
#ifndef STEMMA_CLOCK_H
#define STEMMA_CLOCK_H

#include "stemma/types.h"

struct stm_clock {
    int64_t (*now_ns)(void *arg);
    void *arg;
};

/* CLOCK_REALTIME. */
struct stm_clock stm_clock_system(void);

/* A clock that stands still until told; `arg` of the returned clock is the struct. */
struct stm_clock_manual {
    _Atomic int64_t ns;
};
struct stm_clock stm_clock_manual(struct stm_clock_manual *m);

/* CLOCK_MONOTONIC, in nanoseconds: for waiting and for measuring how long something took; no date, and nothing that is stored. */
int64_t stm_monotonic_ns(void);
static inline int64_t stm_monotonic_ms(void)
{
    return stm_monotonic_ns() / 1000000;
}

#endif
