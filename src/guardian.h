/*
 * guardian.h: the supervisor as its daemon sees it. When it is killed, the mount goes on, and the daemon starts another, which takes the
 * connection and the shared memory over.
 * Thread-safety: one thread.
 */
#ifndef STEMMA_GUARDIAN_H
#define STEMMA_GUARDIAN_H

#include "daemon.h"

#include <sys/types.h>

struct stm_handover;

struct stm_guardian {
    int process; /* a pidfd: readable when it has ended; -1: there is none, or none yet */
    pid_t child; /* its pid when this process has started it, else 0 */
};

/* The one that has started this process. */
void stm_guardian_find(struct stm_guardian *g, const struct stm_handover *h);
/* Before this process ends and leaves the mount to the next daemon: somebody must be there to start it. */
void stm_guardian_ensure(struct stm_guardian *g, const struct stm_daemon *d, struct stm_handover *h);
/* Starts another. If that fails, process stays -1: try again after a while. */
void stm_guardian_replace(struct stm_guardian *g, const struct stm_daemon *d, struct stm_handover *h);

#endif
