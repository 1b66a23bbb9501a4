/*
 * engine_mem.c: the reference engine: one persistent treap per space. It keeps nothing on disk; it is what the others are compared with
 * and what runs under the thread sanitizer.
 *
 * An iterator is one reference to a root: it costs nothing to make and sees the space as it was. A commit keeps a reference to every
 * old root until it has succeeded, and on failure goes back to them: that is the whole of atomicity.
 *
 * Locks: `lock` guards the roots and counts of an engine; nothing below a root needs one (engine_mem_tree.h).
 */
#include "engine.h"
#include "engine_mem_tree.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct space {
    struct stm_treap *root;
    uint64_t keys, bytes;
};

struct mem {
    struct stm_engine base;
    pthread_rwlock_t lock;
    /* guarded by lock */
    struct space spaces[STM_SPACES];
    uint64_t random;
    bool frozen; /* immutable */
};

struct mem_iter {
    struct stm_iter base;
    struct stm_treap *root;          /* a reference */
    const struct stm_treap *current; /* below root; NULL: not positioned */
    struct stm_slice lower, upper;
    uint8_t bounds[]; /* what lower and upper point to */
};

struct mem_ingest {
    struct stm_ingest base;
    struct mem *mem;
    enum stm_space space;
    struct stm_pair **pairs; /* in growing order */
    size_t n, cap;
};

static const struct stm_engine_ops mem_ops;

static void copy(uint8_t *to, struct stm_slice from)
{
    if (from.len > 0)
        memcpy(to, from.data, from.len);
}

/* Commits */

/* splitmix64 */
static uint64_t next_random(struct mem *m)
{
    uint64_t z = (m->random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int put_locked(struct mem *m, struct space *s, struct stm_pair *pair)
{
    const struct stm_treap *old = stm_treap_find(s->root, stm_pair_key(pair));
    size_t old_len = old ? old->pair->value_len : 0;
    int err = stm_treap_put(&s->root, pair, next_random(m));

    if (err < 0)
        return err;
    s->keys += old ? 0 : 1;
    s->bytes += (old ? 0 : pair->key_len) + pair->value_len - old_len;
    return 0;
}

static int delete_locked(struct space *s, struct stm_slice key)
{
    const struct stm_treap *old = stm_treap_find(s->root, key);

    if (!old)
        return 0;
    size_t len = old->pair->key_len + old->pair->value_len;
    int err = stm_treap_remove(&s->root, key);
    if (err < 0)
        return err;
    s->keys--;
    s->bytes -= len;
    return 0;
}

static void begin_locked(struct mem *m, struct space *ret_before)
{
    for (int i = 0; i < STM_SPACES; i++) {
        ret_before[i] = m->spaces[i];
        stm_treap_ref(m->spaces[i].root);
    }
}

/* Drops the old roots; or, on failure, the new ones. Returns err. */
static int end_locked(struct mem *m, const struct space *before, int err)
{
    for (int i = 0; i < STM_SPACES; i++) {
        stm_treap_unref(err < 0 ? m->spaces[i].root : before[i].root);
        if (err < 0)
            m->spaces[i] = before[i];
    }
    return err;
}

static int apply_locked(struct mem *m, const struct stm_op *op)
{
    struct space *s = &m->spaces[op->space];

    if (op->kind == STM_OP_DELETE)
        return delete_locked(s, op->key);
    struct stm_pair *pair = stm_pair_new(op->key, op->value);
    if (!pair)
        return -ENOMEM;
    int err = put_locked(m, s, pair);
    stm_pair_unref(pair);
    return err;
}

static int mem_commit(struct stm_engine *e, const struct stm_op *ops, size_t n, bool sync)
{
    struct mem *m = (struct mem *)e;
    struct space before[STM_SPACES];
    int err = 0;

    (void)sync; /* nothing here survives anyway */
    if (m->frozen)
        return -EROFS;
    pthread_rwlock_wrlock(&m->lock);
    begin_locked(m, before);
    for (size_t i = 0; err == 0 && i < n; i++)
        err = apply_locked(m, &ops[i]);
    err = end_locked(m, before, err);
    pthread_rwlock_unlock(&m->lock);
    return err;
}

static int mem_sync(struct stm_engine *e)
{
    (void)e;
    return 0;
}

static int mem_get(struct stm_engine *e, enum stm_space space, struct stm_slice key, struct stm_buf *ret)
{
    struct mem *m = (struct mem *)e;

    pthread_rwlock_rdlock(&m->lock);
    const struct stm_treap *n = stm_treap_find(m->spaces[space].root, key);
    int err = -ENOENT;
    if (n) {
        struct stm_slice value = stm_pair_value(n->pair);
        err = stm_buf_set(ret, value.data, value.len);
    }
    pthread_rwlock_unlock(&m->lock);
    return err;
}

/* Iterators */

static int mem_iter_new(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper, size_t readahead_bytes,
                        struct stm_iter **ret)
{
    struct mem *m = (struct mem *)e;
    struct mem_iter *it = malloc(sizeof *it + lower.len + upper.len);

    (void)readahead_bytes;
    if (!it)
        return -ENOMEM;
    copy(it->bounds, lower);
    copy(it->bounds + lower.len, upper);
    it->base.ops = &mem_ops;
    it->lower = stm_slice(it->bounds, lower.len);
    it->upper = stm_slice(it->bounds + lower.len, upper.len);
    it->current = NULL;
    pthread_rwlock_rdlock(&m->lock);
    it->root = stm_treap_ref(m->spaces[space].root);
    pthread_rwlock_unlock(&m->lock);
    *ret = &it->base;
    return 0;
}

static int position(struct mem_iter *it, const struct stm_treap *n)
{
    if (n && (stm_treap_compare(stm_pair_key(n->pair), it->lower) < 0 ||
              (it->upper.len > 0 && stm_treap_compare(stm_pair_key(n->pair), it->upper) >= 0)))
        n = NULL;
    it->current = n;
    return n != NULL;
}

static int mem_iter_seek(struct stm_iter *base, struct stm_slice key)
{
    struct mem_iter *it = (struct mem_iter *)base;

    return position(it, stm_treap_first(it->root, stm_treap_compare(key, it->lower) < 0 ? it->lower : key, false));
}

static int mem_iter_seek_back(struct stm_iter *base, struct stm_slice key)
{
    struct mem_iter *it = (struct mem_iter *)base;
    bool beyond = it->upper.len > 0 && stm_treap_compare(key, it->upper) >= 0;

    return position(it, stm_treap_last(it->root, beyond ? it->upper : key, beyond));
}

static int mem_iter_next(struct stm_iter *base)
{
    struct mem_iter *it = (struct mem_iter *)base;

    assert(it->current);
    return position(it, stm_treap_first(it->root, stm_pair_key(it->current->pair), true));
}

static void mem_iter_get(const struct stm_iter *base, struct stm_slice *ret_key, struct stm_slice *ret_value)
{
    const struct mem_iter *it = (const struct mem_iter *)base;

    assert(it->current);
    *ret_key = stm_pair_key(it->current->pair);
    *ret_value = stm_pair_value(it->current->pair);
}

static void mem_iter_free(struct stm_iter *base)
{
    struct mem_iter *it = (struct mem_iter *)base;

    if (!it)
        return;
    stm_treap_unref(it->root);
    free(it);
}

/* Ingestion */

static int mem_ingest_new(struct stm_engine *e, enum stm_space space, struct stm_ingest **ret)
{
    struct mem_ingest *in = ((struct mem *)e)->frozen ? NULL : calloc(1, sizeof *in);

    if (((struct mem *)e)->frozen)
        return -EROFS;
    if (!in)
        return -ENOMEM;
    in->base.ops = &mem_ops;
    in->mem = (struct mem *)e;
    in->space = space;
    *ret = &in->base;
    return 0;
}

static int mem_ingest_put(struct stm_ingest *base, struct stm_slice key, struct stm_slice value)
{
    struct mem_ingest *in = (struct mem_ingest *)base;

    if (in->n > 0 && stm_treap_compare(stm_pair_key(in->pairs[in->n - 1]), key) >= 0)
        return -EINVAL;
    if (in->n == in->cap) {
        size_t cap = in->cap ? 2 * in->cap : 64;
        struct stm_pair **pairs = realloc(in->pairs, cap * sizeof *pairs);
        if (!pairs)
            return -ENOMEM;
        in->pairs = pairs;
        in->cap = cap;
    }
    struct stm_pair *pair = stm_pair_new(key, value);
    if (!pair)
        return -ENOMEM;
    in->pairs[in->n++] = pair;
    return 0;
}

static int ingest_locked(struct mem_ingest *in)
{
    struct space before[STM_SPACES], *s = &in->mem->spaces[in->space];
    const struct stm_treap *there = stm_treap_first(s->root, stm_pair_key(in->pairs[0]), false);
    int err = 0;

    if (there && stm_treap_compare(stm_pair_key(there->pair), stm_pair_key(in->pairs[in->n - 1])) <= 0)
        return -EINVAL; /* not fresh */
    begin_locked(in->mem, before);
    for (size_t i = 0; err == 0 && i < in->n; i++)
        err = put_locked(in->mem, s, in->pairs[i]);
    return end_locked(in->mem, before, err);
}

static int mem_ingest_finish(struct stm_ingest *base, bool abort)
{
    struct mem_ingest *in = (struct mem_ingest *)base;
    int err = 0;

    if (!abort && in->n > 0) {
        pthread_rwlock_wrlock(&in->mem->lock);
        err = ingest_locked(in);
        pthread_rwlock_unlock(&in->mem->lock);
    }
    for (size_t i = 0; i < in->n; i++)
        stm_pair_unref(in->pairs[i]);
    free(in->pairs);
    free(in);
    return err;
}

/* The rest */

static int mem_drop_range(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper)
{
    struct mem *m = (struct mem *)e;
    struct space before[STM_SPACES], *s = &m->spaces[space];
    const struct stm_treap *n;
    int err = 0;

    if (m->frozen)
        return -EROFS;
    pthread_rwlock_wrlock(&m->lock);
    begin_locked(m, before);
    while (err == 0 && (n = stm_treap_first(s->root, lower, false)) &&
           (upper.len == 0 || stm_treap_compare(stm_pair_key(n->pair), upper) < 0)) {
        struct stm_pair *pair = stm_pair_ref(n->pair); /* the key must outlive its node */
        err = delete_locked(s, stm_pair_key(pair));
        stm_pair_unref(pair);
    }
    err = end_locked(m, before, err);
    pthread_rwlock_unlock(&m->lock);
    return err;
}

/* Memory is this engine's disk. */
static int mem_stats(struct stm_engine *e, struct stm_engine_stats *ret)
{
    struct mem *m = (struct mem *)e;

    *ret = (struct stm_engine_stats){0};
    pthread_rwlock_rdlock(&m->lock);
    for (int i = 0; i < STM_SPACES; i++) {
        ret->bytes_on_disk += m->spaces[i].bytes;
        ret->keys_estimate += m->spaces[i].keys;
    }
    pthread_rwlock_unlock(&m->lock);
    return 0;
}

static void mem_free(struct stm_engine *e)
{
    struct mem *m = (struct mem *)e;

    if (!m)
        return;
    for (int i = 0; i < STM_SPACES; i++)
        stm_treap_unref(m->spaces[i].root);
    pthread_rwlock_destroy(&m->lock);
    free(m);
}

static int mem_freeze(struct stm_engine *e, struct stm_engine **ret)
{
    struct mem *m = (struct mem *)e, *frozen;
    struct stm_engine *copy = NULL;
    int err = stm_engine_mem_new(&copy);

    if (err < 0)
        return err;
    frozen = (struct mem *)copy;
    frozen->frozen = true;
    pthread_rwlock_rdlock(&m->lock);
    begin_locked(m, frozen->spaces);
    pthread_rwlock_unlock(&m->lock);
    *ret = copy;
    return 0;
}

static int mem_find_file(struct stm_engine *e, enum stm_space space, const struct stm_damage *d, struct stm_file_found *ret)
{
    (void)e;
    (void)space;
    (void)d;
    (void)ret;
    return -ENOENT;
}

static int mem_drop_file(struct stm_engine *e, const struct stm_file_found *file)
{
    (void)e;
    (void)file;
    return -EINVAL;
}

static const struct stm_engine_ops mem_ops = {
    .name = "mem",
    .free = mem_free,
    .get = mem_get,
    .iter_new = mem_iter_new,
    .iter_seek = mem_iter_seek,
    .iter_seek_back = mem_iter_seek_back,
    .iter_next = mem_iter_next,
    .iter_get = mem_iter_get,
    .iter_free = mem_iter_free,
    .commit = mem_commit,
    .sync = mem_sync,
    .ingest_new = mem_ingest_new,
    .ingest_put = mem_ingest_put,
    .ingest_finish = mem_ingest_finish,
    .drop_range = mem_drop_range,
    .stats = mem_stats,
    .freeze = mem_freeze,
    .find_file = mem_find_file,
    .drop_file = mem_drop_file,
};

int stm_engine_mem_new(struct stm_engine **ret)
{
    struct mem *m = calloc(1, sizeof *m);

    if (!m)
        return -ENOMEM;
    m->base.ops = &mem_ops;
    if (pthread_rwlock_init(&m->lock, NULL) != 0) {
        free(m);
        return -ENOMEM;
    }
    *ret = &m->base;
    return 0;
}
