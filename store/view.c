/*
 * view.c: from times to seqs, the permanent small numbers of views, and reading the commit log. Recorded times never decrease with seq,
 * so the log itself is the index by time.
 */
#include "inner.h"

enum { VIEW_ID_MAX = (1 << 20) - 1 };

static int decode_log(struct stm_slice payload, struct stm_log_record *r, struct stm_dec *ret_items)
{
    struct stm_dec d = stm_dec(payload);

    r->recorded_ns = stm_dec_i64(&d);
    r->effective_ns = stm_dec_i64(&d);
    r->uid = stm_dec_u32(&d);
    r->gid = stm_dec_u32(&d);
    r->pid = stm_dec_u32(&d);
    r->items = stm_dec_u64(&d);
    r->tag_len = (uint32_t)(r->items >> STM_LOG_TAG_SHIFT);
    r->items &= (UINT64_C(1) << STM_LOG_TAG_SHIFT) - 1;
    if (r->tag_len > STM_TAG_MAX)
        return STM_E_CORRUPT;
    const void *tag = stm_dec_raw(&d, r->tag_len);
    if (tag)
        memcpy(r->tag, tag, r->tag_len);
    *ret_items = d;
    return d.failed ? STM_E_CORRUPT : 0;
}

static int each_item(struct stm_dec *d, uint64_t items, int (*each)(void *arg, const struct stm_log_item *item), void *arg)
{
    int err = 0;

    for (uint64_t i = 0; err == 0 && i < items; i++) {
        struct stm_log_item item = {.op = (char)stm_dec_u8(d)};
        item.object = stm_dec_u64(d);
        item.parent = stm_dec_u64(d);
        uint8_t len = stm_dec_u8(d);
        const void *name = stm_dec_raw(d, len);
        if (!name)
            return STM_E_CORRUPT;
        memcpy(item.name, name, len);
        err = each(arg, &item);
    }
    return err ? err : stm_dec_end(d);
}

int stm_log_decode(struct stm_slice payload, struct stm_log_record *ret, int (*each)(void *arg, const struct stm_log_item *item), void *arg)
{
    struct stm_log_record r = {.seq = ret->seq};
    struct stm_dec items;
    int err = decode_log(payload, &r, &items);

    if (err == 0)
        *ret = r;
    return err < 0 || !each ? err : each_item(&items, r.items, each, arg);
}

int stm_log_get(struct stm_store *s, uint64_t seq, struct stm_log_record *ret, int (*each)(void *arg, const struct stm_log_item *item),
                void *arg)
{
    struct stm_key key = stm_key_log(seq);
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&v, STM_LOG, &key, &buf, &payload);

    if (err == 0) {
        ret->seq = seq;
        err = stm_log_decode(payload, ret, each, arg);
    }
    stm_buf_release(&buf);
    return err;
}

int stm_log_each(struct stm_store *s, uint64_t from, int (*each)(void *arg, const struct stm_log_record *r), void *arg)
{
    struct stm_engine *e = s->engine;
    struct stm_key low = stm_key_log(from);
    struct stm_slice key, value, payload;
    struct stm_dec items;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_LOG, stm_key_slice(&low), stm_slice(NULL, 0), 0, &it);

    if (err < 0)
        return err;
    for (err = e->ops->iter_seek(it, stm_key_slice(&low)); err > 0; err = e->ops->iter_next(it)) {
        struct stm_log_record r = {.seq = 0};
        e->ops->iter_get(it, &key, &value);
        int bad = key.len == 8 ? stm_frame_open(STM_LOG, key, value, &payload) : STM_E_CORRUPT;
        if (bad == 0)
            bad = decode_log(payload, &r, &items);
        if (bad == 0) {
            r.seq = stm_get_u64(key.data);
            bad = each(arg, &r);
        }
        if (bad != 0) {
            err = bad;
            break;
        }
    }
    e->ops->iter_free(it);
    return err;
}

int stm_seq_at_time(struct stm_store *s, int64_t time_ns, uint64_t *ret_seq)
{
    uint64_t low = 0, high = stm_store_seq(s); /* the answer is in [low, high] */

    while (low < high) {
        uint64_t mid = high - (high - low) / 2;
        struct stm_log_record r;
        int err = stm_log_get(s, mid, &r, NULL, NULL);
        if (err < 0)
            return err == -ENOENT ? STM_E_CORRUPT : err;
        if (r.recorded_ns <= time_ns)
            low = mid;
        else
            high = mid - 1;
    }
    *ret_seq = low;
    return 0;
}

int stm_effective_mark(struct stm_txn *txn, uint64_t dir, int64_t effective_ns)
{
    struct stm_key key = stm_key_effective(dir, effective_ns, STM_SEQ_THIS);
    struct stm_rec r = STM_REC_INIT;

    stm_rec_raw(&r, NULL, 0);
    return stm_txn_put(txn, STM_INDEX, &key, &r);
}

int stm_seq_at_effective(struct stm_store *s, uint64_t dir, int64_t time_ns, uint64_t *ret_seq)
{
    struct stm_engine *e = s->engine;
    struct stm_key low = stm_key_effective(dir, INT64_MIN, 0), high = stm_key_effective(dir, INT64_MAX, UINT64_MAX);
    struct stm_key at = stm_key_effective(dir, time_ns, UINT64_MAX);
    struct stm_slice key, value;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_INDEX, stm_key_slice(&low), stm_key_slice(&high), 0, &it);

    if (err < 0)
        return err;
    err = e->ops->iter_seek_back(it, stm_key_slice(&at));
    if (err > 0) {
        e->ops->iter_get(it, &key, &value);
        *ret_seq = stm_get_u64((const uint8_t *)key.data + key.len - 8);
        err = 0;
    } else if (err == 0) {
        /* Imported later than that: empty then. No mark at all: not such a directory. */
        err = e->ops->iter_seek(it, stm_key_slice(&low));
        if (err > 0)
            *ret_seq = 0;
        err = err > 0 ? 0 : err == 0 ? -ENOENT : err;
    }
    e->ops->iter_free(it);
    return err;
}

int stm_seq_of_dir(struct stm_store *s, uint64_t dir, int64_t time_ns, uint64_t *ret_seq)
{
    uint64_t recorded, effective = 0;
    int err = stm_seq_at_time(s, time_ns, &recorded);

    if (err < 0)
        return err;
    err = stm_seq_at_effective(s, dir, time_ns, &effective);
    if (err < 0 && err != -ENOENT)
        return err;
    uint64_t seq = effective > recorded ? effective : recorded;
    if (seq == 0)
        return -ENOENT;
    *ret_seq = seq;
    return 0;
}

static int get_u64(struct stm_store *s, enum stm_space space, const struct stm_key *key, uint64_t *ret)
{
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&v, space, key, &buf, &payload);

    if (err == 0) {
        struct stm_dec d = stm_dec(payload);
        uint64_t x = stm_dec_u64(&d);
        err = stm_dec_end(&d);
        if (err == 0)
            *ret = x;
    }
    stm_buf_release(&buf);
    return err;
}

/* A record of one number, framed, for a commit outside the pipeline. */
static int frame_u64(enum stm_space space, const struct stm_key *key, uint64_t value, uint8_t frame[13])
{
    frame[0] = STM_RECORD_FORMAT;
    stm_put_u64(frame + 1, value);
    stm_frame_close(space, stm_key_slice(key), frame, 13);
    return 13;
}

int stm_view_id(struct stm_store *s, uint64_t seq, uint32_t *ret_id)
{
    struct stm_key by_seq = stm_key_index(STM_IX_VIEW_ID, seq), counter = stm_key_sys("views");
    uint8_t frames[3][13];
    uint64_t id = 0;

    stm_mutex_lock(&s->ids);
    int err = get_u64(s, STM_INDEX, &by_seq, &id);
    if (err == -ENOENT && s->read_only)
        err = -EROFS;
    if (err == -ENOENT) {
        err = get_u64(s, STM_SYS, &counter, &id);
        id = err == -ENOENT ? 1 : id + 1;
        err = err == -ENOENT || err == 0 ? (id > VIEW_ID_MAX ? STM_E_ID_RANGE : 0) : err;
        if (err == 0) {
            struct stm_key by_id = stm_key_index(STM_IX_VIEW_SEQ, id);
            struct stm_op ops[3] = {
                {STM_OP_PUT, STM_INDEX, stm_key_slice(&by_seq), stm_slice(frames[0], (size_t)frame_u64(STM_INDEX, &by_seq, id, frames[0]))},
                {STM_OP_PUT, STM_INDEX, stm_key_slice(&by_id), stm_slice(frames[1], (size_t)frame_u64(STM_INDEX, &by_id, seq, frames[1]))},
                {STM_OP_PUT, STM_SYS, stm_key_slice(&counter), stm_slice(frames[2], (size_t)frame_u64(STM_SYS, &counter, id, frames[2]))}};
            err = s->engine->ops->commit(s->engine, ops, 3, false);
        }
    }
    stm_mutex_unlock(&s->ids);
    if (err == 0)
        *ret_id = (uint32_t)id;
    return err;
}

int stm_view_seq(struct stm_store *s, uint32_t id, uint64_t *ret_seq)
{
    struct stm_key key = stm_key_index(STM_IX_VIEW_SEQ, id);
    return get_u64(s, STM_INDEX, &key, ret_seq);
}
