/*
 * view.h: when. Every read names a view; there is one code path for all of them.
 *
 *     struct stm_view v = stm_view_head(store);
 *     err = stm_tree_lookup(&v, STM_ROOT_OBJECT, stm_slice_str("word"), &entry);
 *
 * Thread-safety: a view is a plain value; head and as-of views may be used by any thread, a transaction's by its build call only.
 */
#ifndef STEMMA_VIEW_H
#define STEMMA_VIEW_H

#include "stemma/txn.h"

struct stm_view {
    struct stm_store *store;
    struct stm_txn *txn; /* reads go through it when set (seq is then STM_SEQ_HEAD) */
    uint64_t seq;        /* STM_SEQ_HEAD: now */
};

static inline struct stm_view stm_view_head(struct stm_store *s)
{
    return (struct stm_view){s, NULL, STM_SEQ_HEAD};
}
static inline struct stm_view stm_view_at(struct stm_store *s, uint64_t seq)
{
    return (struct stm_view){s, NULL, seq};
}
/* What the transaction sees: the head and its own writes. */
struct stm_view stm_txn_view(struct stm_txn *txn);

/* The newest seq whose recorded time is at or before time_ns (0 when the store is younger). O(log seq) reads. */
STM_MUST_CHECK int stm_seq_at_time(struct stm_store *s, int64_t time_ns, uint64_t *ret_seq);
/* The same by effective time on a directory that was imported with its history (stm_effective_mark): -ENOENT when dir is not one. */
STM_MUST_CHECK int stm_seq_at_effective(struct stm_store *s, uint64_t dir, int64_t time_ns, uint64_t *ret_seq);
/*
 * The moment that `dir@TIME` means: what was recorded by then, or of a history that was imported into the directory what had been written by
 * then (effective time), whichever is later. So dates before the import show the history, and dates since then what became of it here.
 * -ENOENT: there was nothing yet.
 */
STM_MUST_CHECK int stm_seq_of_dir(struct stm_store *s, uint64_t dir, int64_t time_ns, uint64_t *ret_seq);
/* In a build: this commit's effective time is indexed for `dir`. */
STM_MUST_CHECK int stm_effective_mark(struct stm_txn *txn, uint64_t dir, int64_t effective_ns);

/* The small permanent number (1 .. 2^20-1) of the view at seq, allotted at first use; and back (-ENOENT if never allotted). */
STM_MUST_CHECK int stm_view_id(struct stm_store *s, uint64_t seq, uint32_t *ret_id);
STM_MUST_CHECK int stm_view_seq(struct stm_store *s, uint32_t id, uint64_t *ret_seq);

/* One record of the commit log. */
struct stm_log_item {
    char op; /* 'c' create, 'u' unlink, 'r' rename, 'l' link, 'a' attributes, 'v' version, 'x' xattr, 'X' exchange, 'p' purge */
    uint64_t object, parent; /* parent 0 where it does not apply */
    char name[STM_NAME_MAX + 1];
};
struct stm_log_record {
    uint64_t seq;
    int64_t recorded_ns, effective_ns;
    uint32_t uid, gid, pid;
    uint64_t items;
    uint32_t tag_len; /* what the change was tagged with (txn.h) */
    uint8_t tag[STM_TAG_MAX];
};
/* Reads record seq; each (may be NULL) is called per item. -ENOENT when there is none. */
STM_MUST_CHECK int stm_log_get(struct stm_store *s, uint64_t seq, struct stm_log_record *ret,
                               int (*each)(void *arg, const struct stm_log_item *item), void *arg);
/* Calls each record from seq `from` on, in order; stops at the first non-zero result and returns it. */
STM_MUST_CHECK int stm_log_each(struct stm_store *s, uint64_t from, int (*each)(void *arg, const struct stm_log_record *r), void *arg);

#endif
