/*
 * commit.c: the order of commits. Whoever comes while nobody leads becomes the leader: it takes what is queued, checks each transaction
 * against everything committed since it began, numbers them, and writes them as one engine batch; the others sleep until told.
 * A crash therefore leaves a prefix of the order, and readers of the published seq never see half a commit.
 *
 * Preconditions are checked by write stamps (as in TL2: Dice, Shalev, Shavit, "Transactional Locking II", DISC 2006): each key hash has
 * a stripe that holds the seq of the last commit that may have written it. A false conflict costs one more build, never a wrong commit.
 *
 * Also here: publishing, and the shared flush. Not here: what commits contain (txn.c and the mutators).
 */
#include <assert.h>
#include <stdlib.h>

#include "state.h"
#include "txn.h"

enum { GROUP_MAX = 64, GROUP_OPS = 20000 };

/* A queued transaction; on its thread's stack until done. */
struct stm_waiter {
    struct stm_txn *txn;
    struct stm_waiter *next;
    pthread_cond_t wake;
    bool sync, done;
    int result;
    uint64_t seq;
};

uint64_t stm_store_seq(struct stm_store *s)
{
    return atomic_load_explicit(&s->pipeline.published, memory_order_acquire);
}

/* A time that is never before the newest commit's. */
static int64_t monotonic_ns(struct stm_store *s)
{
    int64_t now = stm_store_now_ns(s);
    return now > s->pipeline.last_ns ? now : s->pipeline.last_ns;
}

/*
 * Accepts what is valid, in order: each gets its seq, and stamps its keys at once, so that the next in the group is checked against it.
 * Returns the number of operations written to ops.
 */
static size_t accept_valid(struct stm_waiter *chain, uint64_t seq, int64_t now_ns, struct stm_op *ops)
{
    size_t at = 0;

    for (struct stm_waiter *w = chain; w; w = w->next) {
        w->result = stm_txn_valid(w->txn) ? 0 : STM_E_CONFLICT;
        if (w->result < 0)
            continue;
        w->seq = seq++;
        stm_txn_finish(w->txn, w->seq, now_ns, ops + at);
        at += w->txn->n_ops;
    }
    return at;
}

/* The engine refused: nothing was written, so no stamp may be newer than what is published, or nobody could ever commit again. */
static void refuse(struct stm_store *s, struct stm_waiter *chain, int err)
{
    for (struct stm_waiter *w = chain; w; w = w->next) {
        if (w->result < 0)
            continue;
        stm_txn_unstamp(w->txn, stm_store_seq(s));
        w->result = err;
    }
}

/* Runs one chain of waiters: validates in order, writes what is valid in one batch, publishes it, sets every result. */
static void lead(struct stm_store *s, struct stm_waiter *chain)
{
    struct stm_pipeline *p = &s->pipeline;
    uint64_t first_seq = stm_store_seq(s) + 1, commits = 0;
    int64_t now_ns = monotonic_ns(s);
    bool sync = false;
    size_t total = 0, bytes = 0;
    int err = 0;

    for (struct stm_waiter *w = chain; w; w = w->next) {
        total += w->txn->n_ops;
        bytes += w->txn->arena.len;
    }
    struct stm_op *ops = malloc(total * sizeof *ops);
    if (!ops) {
        for (struct stm_waiter *w = chain; w; w = w->next)
            w->result = -ENOMEM;
        return;
    }
    size_t n = accept_valid(chain, first_seq, now_ns, ops);
    for (struct stm_waiter *w = chain; w; w = w->next) {
        commits += w->result == 0;
        sync |= w->result == 0 && w->sync;
    }
    if (n > 0)
        err = stm_store_wrote(s, s->engine->ops->commit(s->engine, ops, n, sync));
    free(ops);
    stm_room_spent(&s->room, bytes);
    if (err < 0) {
        refuse(s, chain, err);
    } else if (commits > 0) {
        stm_watermark_committed(&s->watermark, first_seq + commits - 1);
        if (sync) /* an fsync of a file that was written is this, not stm_store_sync */
            stm_watermark_durable(&s->watermark, first_seq + commits - 1);
        p->last_ns = now_ns;
        atomic_store_explicit(&p->published, first_seq + commits - 1, memory_order_release);
        atomic_fetch_add_explicit(&p->groups, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&p->commits, commits, memory_order_relaxed);
    }
}

/* Takes the front of the queue, at most a group's worth. Pipeline mutex held. */
static struct stm_waiter *take_group_locked(struct stm_pipeline *p)
{
    struct stm_waiter *chain = p->first, *w = chain;
    size_t n = 1, ops = w->txn->n_ops;

    while (w->next && n < GROUP_MAX && ops + w->next->txn->n_ops <= GROUP_OPS) {
        w = w->next;
        ops += w->txn->n_ops;
        n++;
    }
    p->first = w->next;
    if (!p->first)
        p->last = &p->first;
    w->next = NULL;
    return chain;
}

/* Tells a chain its results; the caller's own needs no waking. Pipeline mutex held. */
static void wake_locked(struct stm_waiter *chain, const struct stm_waiter *own)
{
    while (chain) {
        struct stm_waiter *next = chain->next;
        chain->done = true;
        if (chain != own)
            pthread_cond_signal(&chain->wake);
        chain = next;
    }
}

/* Gives up leading; if others are waiting, the first of them will lead. Pipeline mutex held. */
static void step_down_locked(struct stm_pipeline *p)
{
    p->leading = false;
    pthread_cond_signal(&p->idle);
    if (p->first)
        pthread_cond_signal(&p->first->wake);
}

int stm_pipeline_submit(struct stm_store *s, struct stm_txn *t, bool sync, uint64_t *ret_seq)
{
    struct stm_pipeline *p = &s->pipeline;
    struct stm_waiter me = {.txn = t, .sync = sync};

    pthread_cond_init(&me.wake, NULL);
    stm_mutex_lock(&p->mutex);
    *p->last = &me;
    p->last = &me.next;
    while (!me.done && p->leading)
        stm_mutex_wait(&p->mutex, &me.wake);
    if (!me.done) {
        p->leading = true;
        while (!me.done) {
            struct stm_waiter *chain = take_group_locked(p);
            stm_mutex_unlock(&p->mutex);
            lead(s, chain);
            stm_mutex_lock(&p->mutex);
            wake_locked(chain, &me);
        }
        step_down_locked(p);
    }
    stm_mutex_unlock(&p->mutex);
    pthread_cond_destroy(&me.wake);
    if (me.result == 0)
        *ret_seq = me.seq;
    return me.result;
}

void stm_pipeline_alone_begin(struct stm_store *s)
{
    struct stm_pipeline *p = &s->pipeline;

    stm_mutex_lock(&p->mutex);
    while (p->leading)
        stm_mutex_wait(&p->mutex, &p->idle);
    p->leading = true;
    stm_mutex_unlock(&p->mutex);
}

int stm_pipeline_commit_alone(struct stm_store *s, struct stm_txn *t, bool sync, uint64_t *ret_seq)
{
    struct stm_waiter me = {.txn = t, .sync = sync};

    assert(s->pipeline.leading);
    lead(s, &me);
    if (me.result == 0)
        *ret_seq = me.seq;
    return me.result;
}

void stm_pipeline_alone_end(struct stm_store *s)
{
    stm_mutex_lock(&s->pipeline.mutex);
    step_down_locked(&s->pipeline);
    stm_mutex_unlock(&s->pipeline.mutex);
}

int stm_store_sync(struct stm_store *s)
{
    struct stm_flush *f = &s->flush;
    uint64_t want = stm_store_seq(s);
    int err = 0;

    stm_mutex_lock(&f->mutex);
    while (f->synced < want && err == 0) {
        if (f->running) {
            stm_mutex_wait(&f->mutex, &f->done);
            continue;
        }
        f->running = true;
        stm_mutex_unlock(&f->mutex);
        uint64_t upto = stm_store_seq(s);
        err = stm_store_wrote(s, s->engine->ops->sync(s->engine));
        if (err == 0)
            stm_watermark_durable(&s->watermark, upto);
        stm_mutex_lock(&f->mutex);
        f->running = false;
        if (err == 0 && upto > f->synced)
            f->synced = upto;
        pthread_cond_broadcast(&f->done);
    }
    stm_mutex_unlock(&f->mutex);
    return err;
}
