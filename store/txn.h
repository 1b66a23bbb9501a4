/*
 * txn.h (internal): a transaction's memory: what it has read and what it will write.
 *
 * Life: begin → build reads and writes → seal (log record) → finish (the leader patches seq and time) → the engine's operations.
 * Invariants: (1) one operation per (space, key), the last put or delete wins; (2) keys and values lie in one arena and are addressed by
 * offset; (3) every key read from the engine is in the read set.
 * Thread-safety: one thread at a time; the leader owns it between submit and its answer.
 */
#ifndef STEMMA_TXN_INTERNAL_H
#define STEMMA_TXN_INTERNAL_H

#include "engine.h"
#include "key.h"
#include "record.h"
#include "stemma/txn.h"
#include "stemma/view.h"

struct stm_txn_op {
    uint64_t hash;                            /* of space and key */
    size_t key, value;                        /* in the arena; a value has its frame, the checksum still empty */
    uint32_t key_len, value_len, stripe, fix; /* fix: index of the first of its patches */
    int16_t key_fix;
    bool key_fix_not;
    uint8_t kind, space, fixes; /* enum stm_op_kind, enum stm_space, how many patches */
};

struct stm_txn {
    struct stm_store *store;
    const struct stm_change *change;
    uint64_t begin_seq;
    struct stm_buf arena;
    struct stm_txn_op *ops;
    size_t n_ops, cap_ops;
    uint32_t *slots; /* open addressing: index of op + 1; power of two */
    size_t n_slots;
    struct stm_buf reads; /* uint32_t stripes */
    struct stm_buf fixes; /* struct stm_fix */
    struct stm_buf log;   /* encoded items */
    uint64_t log_items;
    bool failed; /* out of memory somewhere: the commit refuses */
};

void stm_txn_begin(struct stm_txn *t, struct stm_store *s, const struct stm_change *change);
void stm_txn_release(struct stm_txn *t);

/*
 * Reads one record through a view: the transaction's own write, else the engine. *ret_payload points into buf. -ENOENT, STM_E_CORRUPT.
 */
STM_MUST_CHECK int stm_read(const struct stm_view *v, enum stm_space space, const struct stm_key *key, struct stm_buf *buf,
                            struct stm_slice *ret_payload);
/*
 * The first record with from <= key < to in the engine (transactions' own writes are not looked at: for the past). take gets key and payload,
 * borrowed; its result is returned. -ENOENT when there is none.
 */
STM_MUST_CHECK int stm_read_first(const struct stm_view *v, enum stm_space space, const struct stm_key *from, const struct stm_key *to,
                                  int (*take)(void *arg, struct stm_slice key, struct stm_slice payload), void *arg);
/* Writes one record; takes over and releases rec, also on failure. An encoder that failed gives -ENOMEM. */
STM_MUST_CHECK int stm_txn_put(struct stm_txn *t, enum stm_space space, const struct stm_key *key, struct stm_rec *rec);
STM_MUST_CHECK int stm_txn_delete(struct stm_txn *t, enum stm_space space, const struct stm_key *key);
/* Adds an item to the commit's log record. */
STM_MUST_CHECK int stm_txn_log(struct stm_txn *t, char op, uint64_t object, uint64_t parent, struct stm_slice name);
/* "Now" for attributes within this transaction: the store's clock. */
int64_t stm_txn_now_ns(const struct stm_txn *t);

/* For the pipeline: adds the log record (0 operations: nothing to commit). */
STM_MUST_CHECK int stm_txn_seal(struct stm_txn *t);
/* True when nothing it read was written after begin_seq. */
bool stm_txn_valid(const struct stm_txn *t);
/* Stamps its writes with seq, patches seq and time, closes frames, and appends n_ops operations to out. */
void stm_txn_finish(struct stm_txn *t, uint64_t seq, int64_t recorded_ns, struct stm_op *out);

/* After the engine refused: sets the stamps of its writes back to seq. */
void stm_txn_unstamp(const struct stm_txn *t, uint64_t seq);

/* The pipeline (commit.c): queues the sealed transaction and waits until it is committed. STM_E_CONFLICT: build again. */
STM_MUST_CHECK int stm_pipeline_submit(struct stm_store *s, struct stm_txn *t, bool sync, uint64_t *ret_seq);
/* Runs with nobody else committing between begin and end; submit inside it leads by itself. */
void stm_pipeline_alone_begin(struct stm_store *s);
STM_MUST_CHECK int stm_pipeline_commit_alone(struct stm_store *s, struct stm_txn *t, bool sync, uint64_t *ret_seq);
void stm_pipeline_alone_end(struct stm_store *s);

#endif
