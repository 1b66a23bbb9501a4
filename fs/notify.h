/*
 * notify.h: telling the kernel what to forget, from threads of its own: the kernel may need an answer from a worker before it can obey, so a
 * worker must never wait for it. A request whose sender may hold the lock of a directory (all but those on open files) may wait for
 * attributes and data only, never for a list with an entry in it.
 * Thread-safety: internally locked.
 */
#ifndef STEMMA_NOTIFY_H
#define STEMMA_NOTIFY_H

#include "inner.h"

enum stm_inval_kind { STM_INVAL_ENTRY, STM_INVAL_ATTR, STM_INVAL_DATA };

struct stm_inval {
    enum stm_inval_kind kind;
    uint64_t ino;          /* of the directory for an entry */
    struct stm_slice name; /* of the entry */
};

STM_MUST_CHECK int stm_notify_new(struct stm_fs *fs);
void stm_notify_free(struct stm_fs *fs);
/* Copies the list and returns; done (may be NULL) is called by the notify thread afterwards. -ENOMEM: nothing will happen. */
int stm_notify_post(struct stm_fs *fs, const struct stm_inval *list, size_t n, void (*done)(void *arg), void *arg);
/* Waits until the kernel has obeyed. Not for workers. */
int stm_notify_wait(struct stm_fs *fs, const struct stm_inval *list, size_t n);

#endif
