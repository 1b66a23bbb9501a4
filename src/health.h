/*
 * health.h: the daemon's eye on its store: one line in the log for each change (the disk is full, has room, writing fails, works again), and
 * making a store writable again that could only be opened for reading.
 * Thread-safety: one thread.
 */
#ifndef STEMMA_SRC_HEALTH_H
#define STEMMA_SRC_HEALTH_H

#include "stemma/health.h"

#include <stdbool.h>

enum { STM_HEALTH_TICK_MS = 1000 };

struct stm_health_watch {
    struct stm_health last; /* as it was logged */
    int wait;               /* ticks until reopening is tried again */
};

/* To be called each STM_HEALTH_TICK_MS. True when the store should be closed and opened again by a new process: it does not recover by itself. */
bool stm_health_tick(struct stm_health_watch *w, struct stm_store *store);

#endif
