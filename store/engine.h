/*
 * engine.h: what the store needs from whatever keeps its bytes: ordered byte keys in a few spaces, atomic commits, bulk ingestion.
 * Internal to store/. It knows nothing of versions; engine_*.c are the only files that know a concrete database.
 *
 *     struct stm_engine *e;
 *     stm_engine_mem_new(&e);
 *     e->ops->commit(e, ops, n, true);
 *     e->ops->get(e, STM_OBJECT, key, &value);
 *     e->ops->free(e);
 *
 * Invariants: (1) a commit is applied whole or not at all, also across a crash; (2) what a returned commit wrote is seen by every
 * later get and iterator; (3) commits of one engine survive a crash as a prefix of their order; (4) a get never returns other bytes
 * than were put: damage is STM_E_CORRUPT. (5) Where a function fails, nothing was written, except that a commit or sync which
 * fails with -EIO may or may not survive.
 *
 * Thread-safety: get, iterators (one thread at a time each), stats and ingest are internally locked and may run beside everything;
 * commit is called by one thread at a time (the pipeline's leader, or a chunk writer: implementations lock internally all the same).
 */
#ifndef STEMMA_ENGINE_H
#define STEMMA_ENGINE_H

#include "stemma/buf.h"
#include "stemma/error.h"

enum stm_space {
    STM_SYS,
    STM_DENTRY,
    STM_DENTRYHIST,
    STM_OBJECT,
    STM_VERSION,
    STM_CONTENT,
    STM_CHUNK,
    STM_CHUNKHASH,
    STM_CHUNKREF,
    STM_LOG,
    STM_INDEX,
    STM_SPACES /* how many */
};

/* "sys", "dentry", ... : also the names of RocksDB's column families. */
const char *stm_space_name(enum stm_space space);

enum stm_op_kind { STM_OP_PUT, STM_OP_DELETE };

struct stm_op {
    enum stm_op_kind kind;
    enum stm_space space;
    struct stm_slice key, value; /* borrowed; value unused for delete */
};

struct stm_engine;
struct stm_iter;
struct stm_ingest;

/* A range of keys that cannot be read (exclusive at both ends), and the file of the engine that it is in. */
struct stm_damage {
    struct stm_slice low, high;
};
struct stm_file_found {
    struct stm_buf first, last; /* the caller releases them */
    uint64_t keys;
    char name[64];
};

/* As readahead_bytes: reads far ahead, and leaves nothing in caches. For who reads everything once. */
#define STM_READ_SWEEP SIZE_MAX

struct stm_engine_stats {
    uint64_t bytes_on_disk; /* all files of the engine */
    uint64_t keys_estimate; /* all spaces */
    uint64_t cache_bytes;   /* memory held by block caches and memtables */
    bool degraded;          /* writes fail since a background error */
};

struct stm_engine_ops {
    const char *name;
    /* Closes. Everything committed is as durable as its commit asked for. */
    void (*free)(struct stm_engine *e);

    /* Replaces ret's content with the value. 0, -ENOENT, STM_E_CORRUPT, -EIO, -ENOMEM. */
    int (*get)(struct stm_engine *e, enum stm_space space, struct stm_slice key, struct stm_buf *ret);

    /*
     * A cursor over one space that sees the store as it was when made. Only keys in [lower, upper) are visited; an empty slice means
     * unbounded. Both are copied. Not positioned until the first seek. readahead_bytes > 0 asks for sequential readahead (STM_READ_SWEEP).
     */
    int (*iter_new)(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper, size_t readahead_bytes,
                    struct stm_iter **ret);
    /* To the first key >= key (seek) or the last key <= key (seek_back). 1 positioned, 0 no such key, else an error. */
    int (*iter_seek)(struct stm_iter *it, struct stm_slice key);
    int (*iter_seek_back)(struct stm_iter *it, struct stm_slice key);
    /* To the next key; 1, 0 at the end, or an error. Only after a seek that returned 1. */
    int (*iter_next)(struct stm_iter *it);
    /* The current pair, borrowed until the next call on the iterator. Only when positioned. */
    void (*iter_get)(const struct stm_iter *it, struct stm_slice *ret_key, struct stm_slice *ret_value);
    void (*iter_free)(struct stm_iter *it);

    /* Applies the operations in their order, atomically. sync: durable against power loss on return, with all commits before it. */
    int (*commit)(struct stm_engine *e, const struct stm_op *ops, size_t n, bool sync);
    /* Makes every commit that has returned durable against power loss. */
    int (*sync)(struct stm_engine *e);

    /*
     * Bulk writing of keys in strictly growing order into one space, outside any log, visible and durable as a whole when finish
     * returns 0. The range of keys must be fresh: never written before. finish and abort both free the ingest; abort leaves nothing.
     */
    int (*ingest_new)(struct stm_engine *e, enum stm_space space, struct stm_ingest **ret);
    int (*ingest_put)(struct stm_ingest *in, struct stm_slice key, struct stm_slice value);
    int (*ingest_finish)(struct stm_ingest *in, bool abort);

    /* Removes every key in [lower, upper), whole files where possible. Not atomic; idempotent; only for keys nothing refers to. */
    int (*drop_range)(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper);
    int (*stats)(struct stm_engine *e, struct stm_engine_stats *ret);
    /*
     * An engine that reads all spaces as they are now, whatever is committed to `e` later; what was ingested or dropped later may show.
     * It cannot be written (-EROFS), and is freed by its own free, before `e`.
     */
    int (*freeze)(struct stm_engine *e, struct stm_engine **ret);
    /*
     * For what cannot be read: the file that alone has keys between low and high (an empty high: no end), its first and last key, and a name
     * for drop_file. -ENOENT when there is none, or several: then nobody can say which is damaged.
     */
    int (*find_file)(struct stm_engine *e, enum stm_space space, const struct stm_damage *d, struct stm_file_found *ret);
    /* Removes that file, with every key that is nowhere else. -EINVAL: the engine cannot do without it. */
    int (*drop_file)(struct stm_engine *e, const struct stm_file_found *file);
};

/* First member of every implementation. */
struct stm_engine {
    const struct stm_engine_ops *ops;
};
struct stm_iter {
    const struct stm_engine_ops *ops;
};
struct stm_ingest {
    const struct stm_engine_ops *ops;
};

/* The reference: a persistent tree per space in memory. An iterator costs one reference, whatever the size. */
STM_MUST_CHECK int stm_engine_mem_new(struct stm_engine **ret);

/*
 * RocksDB in directory `dir` (made when create is set; else -ENOENT when it is not there). `stage` is a directory on the same
 * filesystem for SST files being written. read_only opens without writing. On failure *ret_why (malloc'd, may be NULL) says what
 * RocksDB said; the caller frees it. ret_why may be NULL.
 */
struct stm_engine_rocksdb_options {
    const char *dir, *stage;
    bool create, read_only;
    bool salvage; /* stop at the first damage in the log, and go on from there: for repair, and where no flushed commit is lost */
    size_t block_cache_bytes; /* 0: 64 MiB */
    size_t memory_bytes;      /* what is kept in memory before it is written out: 0: 64 MiB */
};
STM_MUST_CHECK int stm_engine_rocksdb_new(const struct stm_engine_rocksdb_options *opt, struct stm_engine **ret, char **ret_why);

/*
 * Breaks on demand, over any other engine (which it takes over and frees). Operations are counted from 1 since the last arm; the one
 * with number fail_at, and every later one when `sticky`, returns `error` and does nothing. Countable operations are those in `mask`.
 */
enum stm_fault_mask {
    STM_FAULT_GET = 1,
    STM_FAULT_ITER = 2,
    STM_FAULT_COMMIT = 4,
    STM_FAULT_SYNC = 8,
    STM_FAULT_INGEST = 16,
    STM_FAULT_ALL = 31
};
STM_MUST_CHECK int stm_engine_fault_new(struct stm_engine *below, struct stm_engine **ret);
void stm_engine_fault_arm(struct stm_engine *e, uint64_t fail_at, int error, bool sticky, unsigned mask);
/* Operations counted since arm. */
uint64_t stm_engine_fault_count(struct stm_engine *e);

#endif
