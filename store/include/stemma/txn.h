/*
 * txn.h: a change to the store. A caller hands a build function to stm_update; it reads through the transaction and calls the
 * mutators of tree.h, object.h and version.h. The transaction is then committed as one: all or nothing, one seq, one log record.
 *
 *     static int build(struct stm_txn *t, void *arg) { return stm_tree_unlink(t, ...); }
 *     err = stm_update(store, &change, build, &args, &seq);
 *
 * Invariants: (1) everything read through the transaction is unchanged at its commit, or build runs again (so build must be repeatable:
 * it sets its outputs afresh each time and has no other effect); after 8 conflicts it runs alone and cannot conflict.
 * (2) A transaction sees its own writes. (3) When build fails, nothing is written and its error is returned. (4) A build that changes
 * nothing makes no commit. (5) Recorded times never decrease with seq.
 * Thread-safety: stm_update is internally locked (any number of threads); a txn belongs to its build call.
 */
#ifndef STEMMA_TXN_H
#define STEMMA_TXN_H

#include "stemma/store.h"

struct stm_txn;

enum { STM_TAG_MAX = 48 };

/* Who asks for a change, and how. All borrowed for the call. */
struct stm_change {
    uint32_t uid, gid, pid;
    int64_t effective_ns; /* the author's date; 0: the time of the commit */
    const char *author;   /* "Name <mail>" or NULL: the uid says it all */
    const char *message;  /* or NULL */
    bool sync;            /* durable against power loss on return */
    bool pressing;        /* a removal, or what was accepted already: goes on for longer when the disk is full */
    struct stm_slice tag; /* the caller's own, up to STM_TAG_MAX bytes: kept in the log record, read back by stm_log_get and stm_log_each */
};

/* 0 or build's or the engine's error. ret_seq (may be NULL): the commit's seq, or the published one if there was nothing to commit. */
STM_MUST_CHECK int stm_update(struct stm_store *s, const struct stm_change *change, int (*build)(struct stm_txn *txn, void *arg), void *arg,
                              uint64_t *ret_seq);

/* Writes (or, with value.data NULL, removes) a mark of the caller's own under key, and reads one back: outside all trees, not logged. */
STM_MUST_CHECK int stm_txn_mark(struct stm_txn *txn, struct stm_slice key, struct stm_slice value);
STM_MUST_CHECK int stm_store_mark_get(struct stm_store *s, struct stm_slice key, struct stm_buf *ret);

#endif
