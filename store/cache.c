/*
 * cache.c: 16 independent exact LRU caches over (segment, index). It never loads anything itself and knows no policy.
 *
 * An entry is kept (in its shard's table and list, where the shard's own reference holds it) or not kept (evicted, or too large): then
 * only its readers hold it. References are atomic, so that giving one back takes no lock.
 * The budget counts the bytes of the entries and their bookkeeping, so that many small entries cannot exceed it unseen.
 */
#include "cache.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "state.h" /* for the rank alone */

enum {
    SHARDS = 16,
    FIRST_BUCKETS = 64 /* per shard, a power of two; doubles with the entries */
};

struct entry {
    struct stm_cached cached; /* first, so that a reader's pointer is the entry's */
    /* immutable while the entry lives */
    uint64_t segment;
    uint32_t index;
    /* atomic */
    _Atomic uint32_t refs; /* readers, and one for the shard while the entry is kept */
    /* guarded by the shard's mutex */
    struct entry *next_in_bucket;
    struct entry *newer, *older;
};

struct shard {
    alignas(64) struct stm_mutex mutex; /* a cache line of its own: shards do not slow each other */
    /* guarded by mutex */
    struct entry **buckets;
    size_t n_buckets;
    struct entry *newest, *oldest;
    struct stm_cache_stats stats;
};

struct stm_cache {
    struct shard shards[SHARDS];
    /* immutable after init */
    size_t shard_budget;
};

/* The finisher of splitmix64: every bit of the key moves every bit of the hash. */
static uint64_t hash_key(uint64_t segment, uint32_t index)
{
    uint64_t h = segment * UINT64_C(0x9e3779b97f4a7c15) + index;

    h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
    return h ^ (h >> 31);
}

static struct shard *shard_of(struct stm_cache *c, uint64_t hash)
{
    return &c->shards[hash >> 60];
}

static size_t charge(const struct entry *e)
{
    return sizeof *e + e->cached.len;
}

static void entry_unref(struct entry *e)
{
    uint32_t before = atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before == 1) {
        free(e->cached.data);
        free(e);
    }
}

/* --- one shard: callers hold its mutex --- */

/* The link that points at the entry, or at the NULL where it would be. */
static struct entry **find_locked(struct shard *s, uint64_t hash, uint64_t segment, uint32_t index)
{
    struct entry **link = &s->buckets[hash & (s->n_buckets - 1)];

    while (*link && ((*link)->segment != segment || (*link)->index != index))
        link = &(*link)->next_in_bucket;
    return link;
}

static void list_remove_locked(struct shard *s, struct entry *e)
{
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
}

static void list_push_locked(struct shard *s, struct entry *e)
{
    e->newer = NULL;
    e->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
}

/* A reference to the entry, which becomes the newest; NULL when it is not kept. */
static struct entry *use_locked(struct shard *s, uint64_t hash, uint64_t segment, uint32_t index)
{
    struct entry *e = *find_locked(s, hash, segment, index);

    if (!e)
        return NULL;
    if (e != s->newest) {
        list_remove_locked(s, e);
        list_push_locked(s, e);
    }
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

/* Doubles the table. Without memory for that the chains merely grow longer. */
static void grow_locked(struct shard *s)
{
    size_t n = s->n_buckets * 2;
    struct entry **buckets = calloc(n, sizeof(struct entry *));

    if (!buckets)
        return;
    for (struct entry *e = s->newest; e; e = e->older) {
        struct entry **link = &buckets[hash_key(e->segment, e->index) & (n - 1)];
        e->next_in_bucket = *link;
        *link = e;
    }
    free(s->buckets);
    s->buckets = buckets;
    s->n_buckets = n;
}

static void keep_locked(struct shard *s, uint64_t hash, struct entry *e)
{
    if (s->stats.entries >= s->n_buckets)
        grow_locked(s);
    struct entry **link = &s->buckets[hash & (s->n_buckets - 1)];
    e->next_in_bucket = *link;
    *link = e;
    list_push_locked(s, e);
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    s->stats.entries++;
    s->stats.bytes += charge(e);
}

/* Takes the oldest entries out until the rest fits; returns them, the shard's reference included, chained by next_in_bucket. */
static struct entry *evict_locked(struct shard *s, size_t budget)
{
    struct entry *evicted = NULL;

    while (s->stats.bytes > budget) {
        struct entry *e = s->oldest;
        assert(e != NULL);
        *find_locked(s, hash_key(e->segment, e->index), e->segment, e->index) = e->next_in_bucket;
        list_remove_locked(s, e);
        s->stats.entries--;
        s->stats.evictions++;
        s->stats.bytes -= charge(e);
        e->next_in_bucket = evicted;
        evicted = e;
    }
    return evicted;
}

/* --- the cache --- */

int stm_cache_new(size_t budget_bytes, struct stm_cache **ret)
{
    struct stm_cache *c = aligned_alloc(alignof(struct stm_cache), sizeof *c);

    if (!c)
        return -ENOMEM;
    memset(c, 0, sizeof *c);
    c->shard_budget = budget_bytes / SHARDS;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        stm_mutex_init(&s->mutex, STM_RANK_CACHE, "cache shard");
        s->n_buckets = FIRST_BUCKETS;
        s->buckets = calloc(FIRST_BUCKETS, sizeof(struct entry *));
    }
    for (size_t i = 0; i < SHARDS; i++)
        if (!c->shards[i].buckets) {
            stm_cache_free(c);
            return -ENOMEM;
        }
    *ret = c;
    return 0;
}

void stm_cache_free(struct stm_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        for (struct entry *e = s->newest, *older; e; e = older) {
            older = e->older;
            assert(atomic_load(&e->refs) == 1); /* no reader may be left */
            entry_unref(e);
        }
        free(s->buckets);
        stm_mutex_release(&s->mutex);
    }
    free(c);
}

const struct stm_cached *stm_cache_get(struct stm_cache *c, uint64_t segment, uint32_t index)
{
    uint64_t hash = hash_key(segment, index);
    struct shard *s = shard_of(c, hash);

    stm_mutex_lock(&s->mutex);
    struct entry *e = use_locked(s, hash, segment, index);
    if (e)
        s->stats.hits++;
    else
        s->stats.misses++;
    stm_mutex_unlock(&s->mutex);
    return e ? &e->cached : NULL;
}

bool stm_cache_has(struct stm_cache *c, uint64_t segment, uint32_t index)
{
    uint64_t hash = hash_key(segment, index);
    struct shard *s = shard_of(c, hash);

    stm_mutex_lock(&s->mutex);
    bool has = *find_locked(s, hash, segment, index) != NULL;
    stm_mutex_unlock(&s->mutex);
    return has;
}

const struct stm_cached *stm_cache_put(struct stm_cache *c, uint64_t segment, uint32_t index, uint8_t *data, size_t len)
{
    uint64_t hash = hash_key(segment, index);
    struct shard *s = shard_of(c, hash);
    struct entry *made = calloc(1, sizeof *made), *evicted = NULL;

    if (!made) {
        free(data);
        return NULL;
    }
    *made = (struct entry){.cached = {data, len}, .segment = segment, .index = index, .refs = 1};

    stm_mutex_lock(&s->mutex);
    struct entry *first = use_locked(s, hash, segment, index);
    if (!first && charge(made) <= c->shard_budget) {
        keep_locked(s, hash, made);
        evicted = evict_locked(s, c->shard_budget);
    }
    stm_mutex_unlock(&s->mutex);

    /* Memory goes back outside the lock: unmapping a large chunk takes a while. */
    for (struct entry *next; evicted; evicted = next) {
        next = evicted->next_in_bucket;
        entry_unref(evicted);
    }
    if (first)
        entry_unref(made);
    return first ? &first->cached : &made->cached;
}

void stm_cache_unref(struct stm_cache *c, const struct stm_cached *e)
{
    (void)c;
    if (e)
        entry_unref((struct entry *)(uintptr_t)e); /* cached is the entry's first member */
}

void stm_cache_stats(struct stm_cache *c, struct stm_cache_stats *ret)
{
    struct stm_cache_stats sum = {0};

    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        stm_mutex_lock(&s->mutex);
        sum.hits += s->stats.hits;
        sum.misses += s->stats.misses;
        sum.evictions += s->stats.evictions;
        sum.entries += s->stats.entries;
        sum.bytes += s->stats.bytes;
        stm_mutex_unlock(&s->mutex);
    }
    *ret = sum;
}
