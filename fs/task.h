/*
 * task.h: work for the task threads: what is due later, and what may wait for the notify threads.
 * Thread-safety: internally locked.
 */
#ifndef STEMMA_TASK_H
#define STEMMA_TASK_H

#include "inner.h"

struct stm_task {
    void (*run)(struct stm_fs *fs, void *arg);
    void *arg;
    uint64_t object;  /* stm_task_wake makes it due; 0: nothing does */
    int64_t delay_ns; /* from now; 0: at once */
    bool waits;       /* for the kernel: on the thread for that, and object does not apply */
};

STM_MUST_CHECK int stm_tasks_new(struct stm_fs *fs);
/* Runs what is left, whenever it was due, and ends the thread. */
void stm_tasks_free(struct stm_fs *fs);
/* -ENOMEM: it will not run. */
STM_MUST_CHECK int stm_task_post(struct stm_fs *fs, const struct stm_task *task);
/* What waits for the object is due now. Cheap when nothing waits. */
void stm_task_wake(struct stm_fs *fs, uint64_t object);

/*
 * A request that has to be asked again when the object's writer has let go, at the latest in STM_OBSERVE_WAIT_MS: `again` is then called
 * with waited set, and answers. On -ENOMEM the caller answers.
 */
struct stm_again {
    fuse_req_t req;
    struct stm_caller who;
    uint64_t ino;
    char name[STM_NAME_MAX + 1];
    size_t size;
    struct fuse_file_info fi;
    bool waited;
    void (*again)(struct stm_again *a);
};
STM_MUST_CHECK int stm_again_post(struct stm_fs *fs, uint64_t object, const struct stm_again *a);

#endif
