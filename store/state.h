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
#include "stemma/store.h"

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
    /* immutable after open */
    struct stm_engine *engine;
    struct stm_cache *cache;
    struct stm_clock clock;
    char *path, *stage;
    char uuid[33];
    bool read_only;
    int lock_fd;
    /* own locks */
    struct stm_pipeline pipeline;
    struct stm_flush flush;
    struct stm_mutex ids; /* guards the two below */
    uint64_t next_id, id_limit;
};

#endif
