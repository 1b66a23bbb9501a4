/*
 * error.h: the errors of the store.
 *
 * Every fallible function returns an int: 0 or more is success, less is failure. Where errno has the meaning, the value is -errno.
 * Conditions that errno has no word for come from the table below; each has an errno class, to which fs/reply.c maps it once.
 * A ret_ parameter is written only on success, unless its function says otherwise.
 *
 * Thread-safety: immutable.
 */
#ifndef STEMMA_ERROR_H
#define STEMMA_ERROR_H

#include <errno.h>

/* X(name, number, errno class, sentence) */
#define STM_ERRORS(X)                                                                                                                      \
    X(STM_E_CORRUPT, 2001, EIO, "stored bytes are damaged: restore them from a backup or an older version")                                \
    X(STM_E_CONFLICT, 2002, EAGAIN, "another commit changed what this one had read")                                                       \
    X(STM_E_VERSION_EXISTS, 2003, EEXIST, "that version exists already, or is not newer than the newest")                                  \
    X(STM_E_NOT_A_STORE, 2004, EINVAL, "not a Stemma store: make one with 'stemma init'")                                                  \
    X(STM_E_NEWER_FORMAT, 2005, EPROTONOSUPPORT, "the store was written by a newer Stemma: upgrade this program")                          \
    X(STM_E_LOCKED, 2006, EBUSY, "the store is in use by another process")                                                                 \
    X(STM_E_BAD_NAME, 2007, EINVAL, "a name is empty, '.', '..', reserved, or holds '/' or a zero byte")                                   \
    X(STM_E_BAD_SELECTOR, 2008, ENOENT, "not a version selector")                                                                          \
    X(STM_E_AMBIGUOUS, 2009, ENOENT, "several versions fit")                                                                               \
    X(STM_E_ID_RANGE, 2010, EOVERFLOW, "the store has no id left of that kind")                                                            \
    X(STM_E_PRUNED, 2011, ENOENT, "that version was pruned")

enum stm_error {
#define X(name, number, class, sentence) name = -(number),
    STM_ERRORS(X)
#undef X
};

/* The sentence for any error value that the store returns (strerror's for -errno values). Never NULL, not to be freed. */
const char *stm_error_text(int err);

/* The errno (positive) that stands for err (negative); STM_E_ values give their class. */
int stm_error_errno(int err);

#endif
