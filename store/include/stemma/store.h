/*
 * store.h: opening a store, its order of commits, and its durability. A store is a directory:
 *
 *     STORE/stemma     a line of text: "stemma store, format 1"
 *     STORE/lock       flock'ed by whoever has it open; holds that process's pid
 *     STORE/db/        the engine (RocksDB)
 *     STORE/stage/     files being written; swept at open
 *     STORE/reserve    blocks kept for the engine, given up when the disk is full
 *     STORE/watermark  how far the commits had come
 *     STORE/socket     the daemon's, while it is mounted
 *
 * Thread-safety: internally locked, except open and close.
 */
#ifndef STEMMA_STORE_H
#define STEMMA_STORE_H

#include "stemma/buf.h"
#include "stemma/clock.h"
#include "stemma/error.h"

struct stm_store;

enum stm_engine_kind { STM_ENGINE_ROCKSDB, STM_ENGINE_MEM };

struct stm_store_options {
    const char *path;            /* the store's directory; NULL only with STM_ENGINE_MEM */
    enum stm_engine_kind engine; /* MEM lives as long as the handle: tests, and the TSan build's mounts */
    bool create;                 /* make it: -EEXIST if a store is there, -ENOTEMPTY if other files are */
    bool read_only;
    /* Another process of the same mount had it open and has ended, and the kernel goes on: files in stage/ and objects that lost their last
     * name while open are kept, for whoever asks for them again. The next open without this sweeps them. */
    bool takeover;
    /*
     * When it cannot be opened for writing because the disk is full or fails: opens for reading. Every change is then answered with that error,
     * and stm_store_health says when to open it anew.
     */
    bool or_read_only;
    /*
     * For repair, by an explicit wish: opens a store whose newest commits are damaged or gone without these, back at the last commit that
     * is whole. The logs are kept in STORE/damaged.
     */
    bool salvage;
    const struct stm_clock *clock;                 /* NULL: the system's */
    uint32_t root_uid, root_gid, root_mode;        /* with create: of the root directory; mode 0 means 0755 */
    size_t block_cache_bytes, content_cache_bytes; /* 0: defaults (64 MiB, 32 MiB) */
};

/*
 * Opens. On failure *ret_why (malloc'd; may stay NULL) is a sentence that names the thing and the remedy: show it instead of
 * stm_error_text. Errors told apart: -ENOENT, STM_E_NOT_A_STORE, STM_E_NEWER_FORMAT, STM_E_LOCKED (the sentence names the pid),
 * STM_E_CORRUPT, -EEXIST, -ENOTEMPTY, -EACCES, -EROFS.
 */
STM_MUST_CHECK int stm_store_open(const struct stm_store_options *opt, struct stm_store **ret, char **ret_why);
/* Waits for running commits, syncs, frees; NULL is fine. The sync's error is returned. */
int stm_store_close(struct stm_store *s);

/* The newest published commit: everything up to it is visible to every reader. */
uint64_t stm_store_seq(struct stm_store *s);
/* Everything up to the seq that was published at the call is durable against power loss on return. Concurrent calls share a flush. */
STM_MUST_CHECK int stm_store_sync(struct stm_store *s);
/* A fresh id (types.h). */
STM_MUST_CHECK int stm_store_new_id(struct stm_store *s, uint64_t *ret);
/* The store's directory ("" for memory), the directory for drafts, its 16-byte identity as 32 hex digits; borrowed. */
const char *stm_store_path(const struct stm_store *s);
const char *stm_store_stage(const struct stm_store *s);
const char *stm_store_uuid(const struct stm_store *s);
/* The store's clock. */
int64_t stm_store_now_ns(struct stm_store *s);

/* How the names of drafts in the stage begin; other files there are the engine's. */
#define STM_STAGE_DRAFT "draft-"
struct stm_store_stats {
    uint64_t seq, objects_allocated, bytes_on_disk, keys_estimate, engine_memory_bytes;
    uint64_t cache_hits, cache_misses, cache_bytes;
    uint64_t commits, groups, conflicts; /* since open: commits, engine batches, retried transactions */
    uint64_t lost_commits;               /* that opening with `salvage` went on without, as far as is known */
    bool degraded, read_only;
    const char *engine;
};
STM_MUST_CHECK int stm_store_stats(struct stm_store *s, struct stm_store_stats *ret);

#endif
