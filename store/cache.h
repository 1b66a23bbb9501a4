/*
 * cache.h: decoded chunks and manifest pages in memory, so that neighbouring reads of one chunk decode it once.
 * What it holds is immutable and keyed by (segment, index), so nothing is ever invalidated, only evicted. It is not the L1 cache of
 * DESIGN §5 with budgets by namespace: that one will take its place behind this header.
 *
 * Exact LRU per shard; 16 shards by key hash; budget split evenly; an entry larger than a shard's budget is not kept. The budget counts
 * each entry's bookkeeping (about 80 bytes) with its bytes, and so does stats.bytes. Values are reference-counted: an evicted entry
 * lives until its last reader puts it back.
 * Thread-safety: internally locked; no lock is held during I/O or decoding (the caller decodes between get and put).
 */
#ifndef STEMMA_CACHE_H
#define STEMMA_CACHE_H

#include "stemma/buf.h"

struct stm_cache;
struct stm_cached {
    uint8_t *data; /* owned by the cache */
    size_t len;
};

STM_MUST_CHECK int stm_cache_new(size_t budget_bytes, struct stm_cache **ret);
void stm_cache_free(struct stm_cache *c); /* NULL is fine; no reference may be out */
/* A referenced entry, or NULL when it is not there. */
const struct stm_cached *stm_cache_get(struct stm_cache *c, uint64_t segment, uint32_t index);
/* Is it there? Neither a hit nor a miss, and no use of the entry. */
bool stm_cache_has(struct stm_cache *c, uint64_t segment, uint32_t index);
/* Takes the malloc'd bytes (also on failure) and returns a referenced entry for them; an entry that came in first wins. NULL: no memory. */
const struct stm_cached *stm_cache_put(struct stm_cache *c, uint64_t segment, uint32_t index, uint8_t *data, size_t len);
/* Gives a reference back; NULL is fine. */
void stm_cache_unref(struct stm_cache *c, const struct stm_cached *e);
struct stm_cache_stats {
    uint64_t hits, misses, evictions, entries, bytes;
};
void stm_cache_stats(struct stm_cache *c, struct stm_cache_stats *ret);

#endif
