/*
 * dentry.h (internal): records of directory entries and of their past: one place that knows their bytes.
 * A past entry is an interval of seqs [from, until) in which the name had that object; a tombstone tells that the newest of them ended
 * by unlink and that its object's line waits for the name to come back.
 * Thread-safety: as tree.h.
 */
#ifndef STEMMA_DENTRY_H
#define STEMMA_DENTRY_H

#include "inner.h"

struct stm_dentry {
    uint64_t object, seq; /* seq: since when */
    uint64_t until;       /* past entries only */
    uint32_t type;        /* S_IFMT bits */
};

STM_MUST_CHECK int stm_dentry_load(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_dentry *ret);
STM_MUST_CHECK int stm_dentry_put(struct stm_txn *t, uint64_t parent, struct stm_slice name, uint64_t object, uint32_t type);
/* Ends the entry at this commit: removes it and, unless the name is junk or `forget` is set, remembers its interval. */
STM_MUST_CHECK int stm_dentry_end(struct stm_txn *t, uint64_t parent, struct stm_slice name, const struct stm_dentry *d, bool forget);
STM_MUST_CHECK int stm_tombstone_put(struct stm_txn *t, uint64_t parent, struct stm_slice name, uint64_t object);
/* The object named by the tombstone; -ENOENT. */
STM_MUST_CHECK int stm_tombstone_load(const struct stm_view *v, uint64_t parent, struct stm_slice name, uint64_t *ret_object);
STM_MUST_CHECK int stm_tombstone_delete(struct stm_txn *t, uint64_t parent, struct stm_slice name);

/* Values as they are stored, for listings. */
STM_MUST_CHECK int stm_dentry_decode(struct stm_slice payload, struct stm_dentry *ret);
STM_MUST_CHECK int stm_past_decode(struct stm_slice payload, struct stm_dentry *ret);

#endif
