/*
 * state.h: what an open store is made of. Internal: only files of store/ that need the parts include it.
 * Thread-safety: by field, see the comments.
 */
#ifndef STEMMA_STATE_H
#define STEMMA_STATE_H

#include <stdatomic.h>

#include "cache.h"
#include "engine.h"
#include "lock.h"
#include "room.h"
#include "stemma/health.h"
#include "watermark.h"

/* Lock ranks (docs/LOCKING.md). */
enum stm_rank { STM_RANK_PIPELINE = 30, STM_RANK_IDS = 40, STM_RANK_CACHE = 50, STM_RANK_ENGINE = 60 };

enum { STM_STRIPES = 1 << 16 };

struct stm_waiter;

/* The commit pipeline (commit.c). */
struct stm_pipeline {
    struct stm_mutex mutex; /* guards queue, leading */
    pthread_cond_t idle;    /* nobody leads any more */
    struct stm_waiter *first, **last;
    bool leading;
    int64_t last_ns; /* recorded time of the newest commit; the leader's */
    _Atomic uint64_t published;
    _Atomic uint64_t stripes[STM_STRIPES]; /* by key hash: seq of the newest commit that may have written such a key */
    _Atomic uint64_t groups, commits, conflicts;
};

/* A shared flush (commit.c: stm_store_sync). */
struct stm_flush {
    struct stm_mutex mutex; /* guards the rest */
    pthread_cond_t done;
    bool running;
    uint64_t synced; /* everything up to this seq is durable */
};

struct stm_store {
    /* changed by stm_store_reopen alone, from reading to writing */
    struct stm_engine *_Atomic engine;
    struct stm_engine *retired;
    atomic_bool read_only;
    _Atomic int refusal; /* what every change is answered with: 0, -EROFS, or why the store could only be opened for reading */
    /* immutable after open */
    struct stm_store_options how; /* its pointers are not ours */
    struct stm_cache *cache;
    struct stm_clock clock;
    char *path, *stage;
    char uuid[33];
    int lock_fd;
    struct stm_watermark watermark;
    /* atomic, or with locks of its own */
    struct stm_room room;
    uint64_t lost;           /* commits that a salvage went on without */
    _Atomic int write_error; /* of the engine's last write; 0: it worked */
    /* own locks */
    struct stm_pipeline pipeline;
    struct stm_flush flush;
    struct stm_mutex ids; /* guards the two below */
    uint64_t next_id, id_limit;
    _Atomic uint64_t quarantined; /* versions whose content must not be read: mostly 0, and then nobody asks (quarantine.c) */
    struct stm_mutex health_lock; /* guards the rest (health.c) */
    struct stm_health health;
    struct stm_health_times {
        int64_t opened_ns, changed_ns, full_ns; /* monotonic: looked at first; as it is since; the disk was last seen without room */
    } times;
};

/* Notes how a write of the engine went; returns err (health.c). */
int stm_store_wrote(struct stm_store *s, int err);

#endif
