/*
 * txn.c: see txn.h. Reading through a transaction, collecting its writes, and the loop that runs a build until it commits.
 * The order of commits is commit.c's business.
 */
#include "txn.h"

#include <assert.h>
#include <stdlib.h>

#include "state.h"
#include "stemma/hash.h"

enum { FEW_OPS = 8, MAX_TRIES = 8, MARK_MAX = 200 };

struct stm_view stm_txn_view(struct stm_txn *txn)
{
    return (struct stm_view){txn->store, txn, STM_SEQ_HEAD};
}

void stm_txn_begin(struct stm_txn *t, struct stm_store *s, const struct stm_change *change)
{
    t->store = s;
    t->change = change;
    t->begin_seq = atomic_load_explicit(&s->pipeline.published, memory_order_acquire);
    t->n_ops = 0;
    t->log_items = 0;
    t->failed = false;
    stm_buf_clear(&t->arena);
    stm_buf_clear(&t->reads);
    stm_buf_clear(&t->fixes);
    stm_buf_clear(&t->log);
    if (t->n_slots)
        memset(t->slots, 0, t->n_slots * sizeof *t->slots);
}

void stm_txn_release(struct stm_txn *t)
{
    stm_buf_release(&t->arena);
    stm_buf_release(&t->reads);
    stm_buf_release(&t->fixes);
    stm_buf_release(&t->log);
    free(t->ops);
    free(t->slots);
    memset(t, 0, sizeof *t);
}

int64_t stm_txn_now_ns(const struct stm_txn *t)
{
    return stm_store_now_ns(t->store);
}

static uint64_t key_hash(enum stm_space space, struct stm_slice key)
{
    return stm_hash64(key, (uint64_t)space + 1);
}

static uint32_t stripe_of(uint64_t hash)
{
    return (uint32_t)(hash % STM_STRIPES);
}

static struct stm_slice op_key(const struct stm_txn *t, const struct stm_txn_op *op)
{
    return stm_slice(t->arena.data + op->key, op->key_len);
}

/* The transaction's own operation on the key, or NULL. Few operations are searched in a row, many through the slots. */
static struct stm_txn_op *find_op(const struct stm_txn *t, enum stm_space space, struct stm_slice key, uint64_t hash)
{
    if (t->n_ops <= FEW_OPS) {
        for (size_t i = 0; i < t->n_ops; i++)
            if (t->ops[i].hash == hash && t->ops[i].space == space && stm_slice_eq(op_key(t, &t->ops[i]), key))
                return &t->ops[i];
        return NULL;
    }
    for (size_t at = hash & (t->n_slots - 1);; at = (at + 1) & (t->n_slots - 1)) {
        if (!t->slots[at])
            return NULL;
        struct stm_txn_op *op = &t->ops[t->slots[at] - 1];
        if (op->hash == hash && op->space == space && stm_slice_eq(op_key(t, op), key))
            return op;
    }
}

static void slot_add(struct stm_txn *t, size_t index)
{
    size_t at = t->ops[index].hash & (t->n_slots - 1);
    while (t->slots[at])
        at = (at + 1) & (t->n_slots - 1);
    t->slots[at] = (uint32_t)index + 1;
}

/* Makes room for one more operation, and for its slot at a load of at most one half. */
static int grow_ops(struct stm_txn *t)
{
    if (t->n_ops == t->cap_ops) {
        size_t cap = t->cap_ops ? t->cap_ops * 2 : 16;
        struct stm_txn_op *ops = realloc(t->ops, cap * sizeof *ops);
        if (!ops)
            return -ENOMEM;
        t->ops = ops;
        t->cap_ops = cap;
    }
    if (t->n_ops >= FEW_OPS && (t->n_ops + 1) * 2 > t->n_slots) {
        size_t n = t->n_slots ? t->n_slots * 4 : 64;
        uint32_t *slots = calloc(n, sizeof *slots);
        if (!slots)
            return -ENOMEM;
        free(t->slots);
        t->slots = slots;
        t->n_slots = n;
        for (size_t i = 0; i < t->n_ops; i++)
            slot_add(t, i);
    } else if (t->n_ops == FEW_OPS) {
        for (size_t i = 0; i < t->n_ops; i++)
            slot_add(t, i);
    }
    return 0;
}

/* The operation for the key, new or to be replaced. */
static int take_op(struct stm_txn *t, enum stm_space space, const struct stm_key *key, struct stm_txn_op **ret)
{
    struct stm_slice k = stm_key_slice(key);
    uint64_t hash = key_hash(space, k);
    struct stm_txn_op *op = find_op(t, space, k, hash);

    if (!op) {
        int err = grow_ops(t);
        if (err < 0)
            return err;
        size_t at = t->arena.len;
        err = stm_buf_append(&t->arena, k.data, k.len);
        if (err < 0)
            return err;
        op = &t->ops[t->n_ops++];
        *op = (struct stm_txn_op){.space = (uint8_t)space,
                                  .hash = hash,
                                  .stripe = stripe_of(hash),
                                  .key = at,
                                  .key_len = (uint32_t)k.len,
                                  .key_fix = key->fix,
                                  .key_fix_not = key->fix_not};
        if (t->n_ops > FEW_OPS)
            slot_add(t, t->n_ops - 1);
    }
    *ret = op;
    return 0;
}

int stm_txn_put(struct stm_txn *t, enum stm_space space, const struct stm_key *key, struct stm_rec *rec)
{
    static const uint8_t tail[STM_FRAME_TAIL];
    struct stm_txn_op *op;
    int err;

    stm_rec_raw(rec, tail, sizeof tail);
    err = rec->failed ? -ENOMEM : take_op(t, space, key, &op);
    if (err == 0) {
        size_t at = t->arena.len, fix = t->fixes.len / sizeof(struct stm_fix);
        err = stm_buf_append(&t->arena, rec->buf.data, rec->buf.len);
        if (err == 0 && rec->fixes > 0)
            err = stm_buf_append(&t->fixes, rec->fix, rec->fixes * sizeof(struct stm_fix));
        if (err == 0) {
            op->kind = STM_OP_PUT;
            op->value = at;
            op->value_len = (uint32_t)rec->buf.len;
            op->fix = (uint32_t)fix;
            op->fixes = rec->fixes;
        }
    }
    if (err < 0)
        t->failed = true;
    stm_rec_release(rec);
    return err;
}

int stm_txn_delete(struct stm_txn *t, enum stm_space space, const struct stm_key *key)
{
    struct stm_txn_op *op;
    int err = take_op(t, space, key, &op);

    if (err < 0) {
        t->failed = true;
        return err;
    }
    op->kind = STM_OP_DELETE;
    op->fixes = 0;
    return 0;
}

/* Own write first: 1 found (payload without frame), -ENOENT deleted, 0 look below. */
static int read_own(struct stm_txn *t, enum stm_space space, struct stm_slice key, uint64_t hash, struct stm_buf *buf)
{
    const struct stm_txn_op *op = find_op(t, space, key, hash);

    if (!op)
        return 0;
    if (op->kind == STM_OP_DELETE)
        return -ENOENT;
    int err = stm_buf_set(buf, t->arena.data + op->value, op->value_len);
    return err < 0 ? err : 1;
}

int stm_read(const struct stm_view *v, enum stm_space space, const struct stm_key *key, struct stm_buf *buf, struct stm_slice *ret_payload)
{
    struct stm_engine *e = v->store->engine;
    struct stm_slice k = stm_key_slice(key);

    if (v->txn) {
        uint64_t hash = key_hash(space, k);
        int own = read_own(v->txn, space, k, hash, buf);
        if (own > 0)
            *ret_payload = stm_slice(buf->data + STM_FRAME_HEAD, buf->len - STM_FRAME_HEAD - STM_FRAME_TAIL);
        if (own != 0)
            return own > 0 ? 0 : own;
        uint32_t stripe = stripe_of(hash);
        int err = stm_buf_append(&v->txn->reads, &stripe, sizeof stripe);
        if (err < 0)
            return err;
    }
    int err = e->ops->get(e, space, k, buf);
    return err < 0 ? err : stm_frame_open(space, k, stm_buf_slice(buf), ret_payload);
}

int stm_read_first(const struct stm_view *v, enum stm_space space, const struct stm_key *from, const struct stm_key *to,
                   int (*take)(void *arg, struct stm_slice key, struct stm_slice payload), void *arg)
{
    struct stm_engine *e = v->store->engine;
    struct stm_slice key, value, payload;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, space, stm_key_slice(from), stm_key_slice(to), 0, &it);

    if (err < 0)
        return err;
    err = e->ops->iter_seek(it, stm_key_slice(from));
    if (err == 0)
        err = -ENOENT;
    if (err > 0) {
        e->ops->iter_get(it, &key, &value);
        err = stm_frame_open(space, key, value, &payload);
        if (err == 0)
            err = take(arg, key, payload);
    }
    e->ops->iter_free(it);
    return err;
}

int stm_txn_log(struct stm_txn *t, char op, uint64_t object, uint64_t parent, struct stm_slice name)
{
    uint8_t head[18];

    assert(name.len <= STM_NAME_MAX);
    head[0] = (uint8_t)op;
    stm_put_u64(head + 1, object);
    stm_put_u64(head + 9, parent);
    head[17] = (uint8_t)name.len;
    int err = stm_buf_append(&t->log, head, sizeof head);
    if (err == 0 && name.len > 0)
        err = stm_buf_append(&t->log, name.data, name.len);
    if (err < 0)
        t->failed = true;
    else
        t->log_items++;
    return err;
}

int stm_txn_seal(struct stm_txn *t)
{
    const struct stm_change *c = t->change;
    struct stm_key key = stm_key_log(STM_SEQ_THIS);
    struct stm_rec rec = STM_REC_INIT;

    if (t->failed)
        return -ENOMEM;
    if (t->n_ops == 0)
        return 0;
    if (c->tag.len > STM_TAG_MAX)
        return -EINVAL;
    stm_rec_time(&rec, STM_TIME_THIS);
    stm_rec_time(&rec, c->effective_ns ? c->effective_ns : STM_TIME_THIS);
    stm_rec_u32(&rec, c->uid);
    stm_rec_u32(&rec, c->gid);
    stm_rec_u32(&rec, c->pid);
    stm_rec_u64(&rec, (uint64_t)c->tag.len << STM_LOG_TAG_SHIFT | t->log_items);
    stm_rec_raw(&rec, c->tag.data, c->tag.len);
    stm_rec_raw(&rec, t->log.data, t->log.len);
    return stm_txn_put(t, STM_LOG, &key, &rec);
}

bool stm_txn_valid(const struct stm_txn *t)
{
    const uint32_t *stripe = (const uint32_t *)(const void *)t->reads.data;
    size_t n = t->reads.len / sizeof *stripe;

    for (size_t i = 0; i < n; i++)
        if (atomic_load_explicit(&t->store->pipeline.stripes[stripe[i]], memory_order_relaxed) > t->begin_seq)
            return false;
    return true;
}

void stm_txn_finish(struct stm_txn *t, uint64_t seq, int64_t recorded_ns, struct stm_op *out)
{
    const struct stm_fix *fixes = (const struct stm_fix *)(const void *)t->fixes.data;

    for (size_t i = 0; i < t->n_ops; i++) {
        struct stm_txn_op *op = &t->ops[i];
        uint8_t *key = t->arena.data + op->key, *value = t->arena.data + op->value;

        if (op->key_fix >= 0)
            stm_put_u64(key + op->key_fix, op->key_fix_not ? ~seq : seq);
        for (const struct stm_fix *f = fixes + op->fix; f < fixes + op->fix + op->fixes; f++)
            stm_put_u64(value + f->offset, f->kind == STM_FIX_TIME ? (uint64_t)recorded_ns : seq);
        out[i] = (struct stm_op){(enum stm_op_kind)op->kind, (enum stm_space)op->space, stm_slice(key, op->key_len), stm_slice(NULL, 0)};
        if (op->kind == STM_OP_PUT) {
            stm_frame_close(out[i].space, out[i].key, value, op->value_len);
            out[i].value = stm_slice(value, op->value_len);
        }
        if (op->key_fix >= 0) /* readers look under the final key */
            op->stripe = stripe_of(key_hash(out[i].space, out[i].key));
        atomic_store_explicit(&t->store->pipeline.stripes[op->stripe], seq, memory_order_release);
    }
}

void stm_txn_unstamp(const struct stm_txn *t, uint64_t seq)
{
    for (size_t i = 0; i < t->n_ops; i++)
        atomic_store_explicit(&t->store->pipeline.stripes[t->ops[i].stripe], seq, memory_order_release);
}

/* One attempt: build, seal, commit. */
static int try_update(struct stm_txn *t, int (*build)(struct stm_txn *, void *), void *arg, bool alone, uint64_t *ret_seq)
{
    const struct stm_change *c = t->change;
    int err = build(t, arg);

    if (err >= 0 && t->failed)
        err = -ENOMEM;
    if (err >= 0)
        err = stm_txn_seal(t);
    if (err < 0) {
        /* An error that rests on something stale is no answer. */
        return stm_txn_valid(t) ? err : STM_E_CONFLICT;
    }
    if (t->n_ops == 0) {
        if (!stm_txn_valid(t))
            return STM_E_CONFLICT;
        *ret_seq = stm_store_seq(t->store);
        return 0;
    }
    return alone ? stm_pipeline_commit_alone(t->store, t, c->sync, ret_seq) : stm_pipeline_submit(t->store, t, c->sync, ret_seq);
}

int stm_update(struct stm_store *s, const struct stm_change *change, int (*build)(struct stm_txn *txn, void *arg), void *arg,
               uint64_t *ret_seq)
{
    struct stm_txn t = {0};
    uint64_t seq = 0;
    int err = STM_E_CONFLICT;

    if (s->refusal < 0)
        return s->refusal;
    int full = stm_room_ask(&s->room, change->pressing ? STM_WANT_PRESS : STM_WANT_GROW, 0);
    if (full < 0)
        return full;
    for (int i = 0; i < MAX_TRIES && err == STM_E_CONFLICT; i++) {
        stm_txn_begin(&t, s, change);
        err = try_update(&t, build, arg, false, &seq);
        if (err == STM_E_CONFLICT)
            atomic_fetch_add_explicit(&s->pipeline.conflicts, 1, memory_order_relaxed);
    }
    if (err == STM_E_CONFLICT) {
        stm_pipeline_alone_begin(s);
        stm_txn_begin(&t, s, change);
        err = try_update(&t, build, arg, true, &seq);
        stm_pipeline_alone_end(s);
    }
    stm_txn_release(&t);
    if (err < 0)
        return err;
    if (ret_seq)
        *ret_seq = seq;
    return 0;
}

int stm_txn_mark(struct stm_txn *txn, struct stm_slice key, struct stm_slice value)
{
    struct stm_rec rec = STM_REC_INIT;

    if (key.len > MARK_MAX)
        return -EINVAL;
    struct stm_key k = stm_key_mark(key);
    if (!value.data)
        return stm_txn_delete(txn, STM_SYS, &k);
    stm_rec_raw(&rec, value.data, value.len);
    return stm_txn_put(txn, STM_SYS, &k, &rec);
}

int stm_store_mark_get(struct stm_store *s, struct stm_slice key, struct stm_buf *ret)
{
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;

    if (key.len > MARK_MAX)
        return -EINVAL;
    struct stm_key k = stm_key_mark(key);
    int err = stm_read(&v, STM_SYS, &k, &buf, &payload);
    if (err == 0)
        err = stm_buf_set(ret, payload.data, payload.len);
    stm_buf_release(&buf);
    return err;
}
