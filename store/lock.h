/*
 * lock.h: mutexes with a rank, so that a debug build stops at the first wrong order (docs/LOCKING.md lists the ranks).
 * A thread may lock only a mutex of a higher rank than every one it holds. In builds with NDEBUG unset and STEMMA_LOCK_CHECK
 * defined the rule is asserted; otherwise it costs nothing.
 * Thread-safety: that is the point.
 */
#ifndef STEMMA_LOCK_H
#define STEMMA_LOCK_H

#include <pthread.h>

struct stm_mutex {
    pthread_mutex_t mutex;
    int rank;
    const char *name;
};

/* name must outlive the mutex. */
void stm_mutex_init(struct stm_mutex *m, int rank, const char *name);
void stm_mutex_release(struct stm_mutex *m);
void stm_mutex_lock(struct stm_mutex *m);
void stm_mutex_unlock(struct stm_mutex *m);
/* As pthread_cond_wait; the mutex keeps its place in the rank order. */
void stm_mutex_wait(struct stm_mutex *m, pthread_cond_t *cond);

#endif
