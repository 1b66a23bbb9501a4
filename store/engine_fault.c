/*
 * engine_fault.c: an engine that breaks on demand, over any other. It injects errors between the store and an engine; it does not
 * damage bytes and does not cut writes in half (an operation that fails here did nothing).
 *
 * drop_range counts as a commit. Making, positioning and stepping an iterator are one operation each, as are the parts of an
 * ingestion. Aborting an ingestion and statistics never fail here.
 */
#include "engine.h"

#include <pthread.h>
#include <stdlib.h>

struct fault {
    struct stm_engine base;
    struct stm_engine *below;
    pthread_mutex_t lock;
    /* guarded by lock */
    uint64_t count, fail_at; /* fail_at 0: never */
    int error;
    bool sticky;
    unsigned mask;
};

struct fault_iter {
    struct stm_iter base;
    struct fault *fault;
    struct stm_iter *below;
};

struct fault_ingest {
    struct stm_ingest base;
    struct fault *fault;
    struct stm_ingest *below;
};

static const struct stm_engine_ops fault_ops;

/* Counts one operation: 0, or the error with which it has to fail. */
static int hit(struct fault *f, enum stm_fault_mask kind)
{
    int err = 0;

    pthread_mutex_lock(&f->lock);
    if (f->mask & (unsigned)kind) {
        f->count++;
        if (f->fail_at > 0 && (f->count == f->fail_at || (f->sticky && f->count > f->fail_at)))
            err = f->error;
    }
    pthread_mutex_unlock(&f->lock);
    return err;
}

static int fault_get(struct stm_engine *e, enum stm_space space, struct stm_slice key, struct stm_buf *ret)
{
    struct fault *f = (struct fault *)e;
    int err = hit(f, STM_FAULT_GET);

    return err < 0 ? err : f->below->ops->get(f->below, space, key, ret);
}

static int fault_iter_new(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper,
                          size_t readahead_bytes, struct stm_iter **ret)
{
    struct fault *f = (struct fault *)e;
    int err = hit(f, STM_FAULT_ITER);

    if (err < 0)
        return err;
    struct fault_iter *it = malloc(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->base.ops = &fault_ops;
    it->fault = f;
    err = f->below->ops->iter_new(f->below, space, lower, upper, readahead_bytes, &it->below);
    if (err < 0) {
        free(it);
        return err;
    }
    *ret = &it->base;
    return 0;
}

static int fault_iter_seek(struct stm_iter *base, struct stm_slice key)
{
    struct fault_iter *it = (struct fault_iter *)base;
    int err = hit(it->fault, STM_FAULT_ITER);

    return err < 0 ? err : it->below->ops->iter_seek(it->below, key);
}

static int fault_iter_seek_back(struct stm_iter *base, struct stm_slice key)
{
    struct fault_iter *it = (struct fault_iter *)base;
    int err = hit(it->fault, STM_FAULT_ITER);

    return err < 0 ? err : it->below->ops->iter_seek_back(it->below, key);
}

static int fault_iter_next(struct stm_iter *base)
{
    struct fault_iter *it = (struct fault_iter *)base;
    int err = hit(it->fault, STM_FAULT_ITER);

    return err < 0 ? err : it->below->ops->iter_next(it->below);
}

static void fault_iter_get(const struct stm_iter *base, struct stm_slice *ret_key, struct stm_slice *ret_value)
{
    const struct fault_iter *it = (const struct fault_iter *)base;

    it->below->ops->iter_get(it->below, ret_key, ret_value);
}

static void fault_iter_free(struct stm_iter *base)
{
    struct fault_iter *it = (struct fault_iter *)base;

    if (!it)
        return;
    it->below->ops->iter_free(it->below);
    free(it);
}

static int fault_commit(struct stm_engine *e, const struct stm_op *ops, size_t n, bool sync)
{
    struct fault *f = (struct fault *)e;
    int err = hit(f, STM_FAULT_COMMIT);

    return err < 0 ? err : f->below->ops->commit(f->below, ops, n, sync);
}

static int fault_sync(struct stm_engine *e)
{
    struct fault *f = (struct fault *)e;
    int err = hit(f, STM_FAULT_SYNC);

    return err < 0 ? err : f->below->ops->sync(f->below);
}

static int fault_ingest_new(struct stm_engine *e, enum stm_space space, struct stm_ingest **ret)
{
    struct fault *f = (struct fault *)e;
    int err = hit(f, STM_FAULT_INGEST);

    if (err < 0)
        return err;
    struct fault_ingest *in = malloc(sizeof *in);
    if (!in)
        return -ENOMEM;
    in->base.ops = &fault_ops;
    in->fault = f;
    err = f->below->ops->ingest_new(f->below, space, &in->below);
    if (err < 0) {
        free(in);
        return err;
    }
    *ret = &in->base;
    return 0;
}

static int fault_ingest_put(struct stm_ingest *base, struct stm_slice key, struct stm_slice value)
{
    struct fault_ingest *in = (struct fault_ingest *)base;
    int err = hit(in->fault, STM_FAULT_INGEST);

    return err < 0 ? err : in->below->ops->ingest_put(in->below, key, value);
}

static int fault_ingest_finish(struct stm_ingest *base, bool abort)
{
    struct fault_ingest *in = (struct fault_ingest *)base;
    int err = abort ? 0 : hit(in->fault, STM_FAULT_INGEST);
    int below = in->below->ops->ingest_finish(in->below, abort || err < 0);

    free(in);
    return err < 0 ? err : below;
}

static int fault_drop_range(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper)
{
    struct fault *f = (struct fault *)e;
    int err = hit(f, STM_FAULT_COMMIT);

    return err < 0 ? err : f->below->ops->drop_range(f->below, space, lower, upper);
}

static int fault_stats(struct stm_engine *e, struct stm_engine_stats *ret)
{
    struct fault *f = (struct fault *)e;

    return f->below->ops->stats(f->below, ret);
}

/* What is frozen does not break: it is there to look at what a failure has left. */
static int fault_freeze(struct stm_engine *e, struct stm_engine **ret)
{
    struct fault *f = (struct fault *)e;

    return f->below->ops->freeze(f->below, ret);
}

static int fault_find_file(struct stm_engine *e, enum stm_space space, const struct stm_damage *d, struct stm_file_found *ret)
{
    struct fault *f = (struct fault *)e;

    return f->below->ops->find_file(f->below, space, d, ret);
}

static int fault_drop_file(struct stm_engine *e, const struct stm_file_found *file)
{
    struct fault *f = (struct fault *)e;
    int err = hit(f, STM_FAULT_COMMIT);

    return err < 0 ? err : f->below->ops->drop_file(f->below, file);
}

static void fault_free(struct stm_engine *e)
{
    struct fault *f = (struct fault *)e;

    if (!f)
        return;
    f->below->ops->free(f->below);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static const struct stm_engine_ops fault_ops = {
    .name = "fault",
    .free = fault_free,
    .get = fault_get,
    .iter_new = fault_iter_new,
    .iter_seek = fault_iter_seek,
    .iter_seek_back = fault_iter_seek_back,
    .iter_next = fault_iter_next,
    .iter_get = fault_iter_get,
    .iter_free = fault_iter_free,
    .commit = fault_commit,
    .sync = fault_sync,
    .ingest_new = fault_ingest_new,
    .ingest_put = fault_ingest_put,
    .ingest_finish = fault_ingest_finish,
    .drop_range = fault_drop_range,
    .stats = fault_stats,
    .freeze = fault_freeze,
    .find_file = fault_find_file,
    .drop_file = fault_drop_file,
};

int stm_engine_fault_new(struct stm_engine *below, struct stm_engine **ret)
{
    struct fault *f = calloc(1, sizeof *f);

    if (!f)
        return -ENOMEM;
    f->base.ops = &fault_ops;
    f->below = below;
    if (pthread_mutex_init(&f->lock, NULL) != 0) {
        free(f);
        return -ENOMEM;
    }
    *ret = &f->base;
    return 0;
}

void stm_engine_fault_arm(struct stm_engine *e, uint64_t fail_at, int error, bool sticky, unsigned mask)
{
    struct fault *f = (struct fault *)e;

    pthread_mutex_lock(&f->lock);
    f->count = 0;
    f->fail_at = fail_at;
    f->error = error;
    f->sticky = sticky;
    f->mask = mask;
    pthread_mutex_unlock(&f->lock);
}

uint64_t stm_engine_fault_count(struct stm_engine *e)
{
    struct fault *f = (struct fault *)e;

    pthread_mutex_lock(&f->lock);
    uint64_t count = f->count;
    pthread_mutex_unlock(&f->lock);
    return count;
}
