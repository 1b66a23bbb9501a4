/*
 * salvage.c: a table of the engine with a block that cannot be read: everything else in it is written anew, and the table is dropped. What was in
 * the block is lost already; with the table it would take all writing with it, as soon as the engine wants to merge it with others.
 *
 * No commit runs meanwhile, so that nothing newer is overwritten. A crash in the middle leaves both, which is the same as before.
 */
#include "fsck.h"

enum { BATCH_OPS = 512, BATCH_BYTES = 1 << 20, LOST_MAX = 4096 };

/* Pairs that wait to be written; keys and values lie in the buffer, one after the other. */
struct batch {
    struct stm_buf bytes;
    size_t at[BATCH_OPS][2]; /* where key and value begin */
    size_t n;
};

static int write_batch(struct stm_engine *e, enum stm_space space, struct batch *b)
{
    struct stm_op ops[BATCH_OPS];

    for (size_t i = 0; i < b->n; i++) {
        size_t end = i + 1 < b->n ? b->at[i + 1][0] : b->bytes.len;
        ops[i] = (struct stm_op){STM_OP_PUT, space, stm_slice(b->bytes.data + b->at[i][0], b->at[i][1] - b->at[i][0]),
                                 stm_slice(b->bytes.data + b->at[i][1], end - b->at[i][1])};
    }
    int err = b->n > 0 ? e->ops->commit(e, ops, b->n, false) : 0;
    b->n = 0;
    stm_buf_clear(&b->bytes);
    return err;
}

static int add(struct batch *b, struct stm_slice key, struct stm_slice value)
{
    b->at[b->n][0] = b->bytes.len;
    b->at[b->n][1] = b->bytes.len + key.len;
    int err = stm_buf_append(&b->bytes, key.data, key.len);
    if (err == 0)
        err = stm_buf_append(&b->bytes, value.data, value.len);
    b->n += err == 0;
    return err;
}

static bool is_after(struct stm_slice a, struct stm_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.data, b.data, n) : 0;

    return c > 0 || (c == 0 && a.len > b.len);
}

/* Writes what can be read between the two keys once more, and counts it. */
static int rewrite(struct stm_engine *e, enum stm_space space, const struct stm_file_found *file, uint64_t *ret_keys)
{
    struct stm_slice first = stm_buf_slice(&file->first), last = stm_buf_slice(&file->last), key, value;
    struct stm_buf before = STM_BUF_INIT;
    struct batch b = {.n = 0};
    struct stm_iter *it;
    int err = e->ops->iter_new(e, space, stm_slice(NULL, 0), stm_slice(NULL, 0), STM_READ_SWEEP, &it);

    if (err < 0)
        return err;
    err = stm_buf_set(&before, first.data, first.len);
    int more = err < 0 ? err : e->ops->iter_seek(it, first);
    while (err == 0 && more != 0) {
        if (more == STM_E_CORRUPT)
            more = stm_seek_past(it, stm_buf_slice(&before), STM_E_CORRUPT);
        if (more <= 0)
            break;
        e->ops->iter_get(it, &key, &value);
        if (is_after(key, last))
            break;
        err = stm_buf_set(&before, key.data, key.len);
        if (err == 0)
            err = add(&b, key, value);
        ++*ret_keys;
        if (err == 0 && (b.n == BATCH_OPS || b.bytes.len >= BATCH_BYTES))
            err = write_batch(e, space, &b);
        if (err == 0)
            more = e->ops->iter_next(it);
    }
    if (err == 0 && more >= 0)
        err = write_batch(e, space, &b);
    e->ops->iter_free(it);
    stm_buf_release(&b.bytes);
    stm_buf_release(&before);
    return err < 0 ? err : more < 0 ? more : 0;
}

int stm_salvage(struct stm_store *s, enum stm_space space, const struct stm_damage *d)
{
    struct stm_file_found file;
    struct stm_engine *e;
    uint64_t keys = 0;
    int err;

    if (s->read_only)
        return -EROFS;
    stm_pipeline_alone_begin(s);
    stm_mutex_lock(&s->ids); /* sys and views are written beside the pipeline */
    e = s->engine;
    err = e->ops->find_file(e, space, d, &file);
    if (err == 0) {
        err = rewrite(e, space, &file, &keys);
        if (err == 0 && keys + LOST_MAX < file.keys)
            err = -EINVAL; /* that much cannot lie in a few blocks: better not */
        if (err == 0)
            err = e->ops->sync(e);
        if (err == 0)
            err = e->ops->drop_file(e, &file);
        stm_buf_release(&file.first);
        stm_buf_release(&file.last);
    }
    stm_mutex_unlock(&s->ids);
    stm_pipeline_alone_end(s);
    return err;
}
