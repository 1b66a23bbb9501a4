/*
 * fsck_mend.c: repairs. Each is one ordinary transaction, guarded: it writes only if the records that it was concluded from are, byte for byte, as
 * they are in the frozen store. So a repair beside writers never undoes what they did; what they have changed is looked at again.
 */
#include "fsck.h"

/* A mend that is being run. */
struct running {
    struct stm_fsck *f;
    struct stm_mend *m;
    bool stale;
};

static struct stm_mend_part *add(struct stm_mend *m, bool guard, enum stm_space space, const struct stm_key *key)
{
    unsigned *n = guard ? &m->guards : &m->writes;

    if (*n == (guard ? STM_MEND_GUARDS : STM_MEND_WRITES)) {
        m->err = -E2BIG;
        return NULL;
    }
    struct stm_mend_part *p = (guard ? m->guard : m->write) + (*n)++;
    *p = (struct stm_mend_part){.space = space, .key = *key};
    return p;
}

void stm_mend_guard(struct stm_mend *m, enum stm_space space, const struct stm_key *key)
{
    (void)add(m, true, space, key);
}

void stm_mend_remove(struct stm_mend *m, enum stm_space space, const struct stm_key *key)
{
    struct stm_mend_part *p = add(m, false, space, key);

    if (p)
        p->remove = true;
}

void stm_mend_put(struct stm_mend *m, enum stm_space space, const struct stm_key *key, struct stm_slice payload)
{
    struct stm_mend_part *p = add(m, false, space, key);
    int err = p ? stm_buf_set(&p->payload, payload.data, payload.len) : 0;

    if (err < 0)
        m->err = err;
}

void stm_mend_quarantine(struct stm_mend *m, enum stm_space space, struct stm_slice key, const struct stm_quarantine *q)
{
    struct stm_buf payload = STM_BUF_INIT;
    struct stm_key at, damaged;
    int err = stm_key_quarantine(space, key, &at);

    if (err == 0)
        err = stm_fsck_key(key, &damaged);
    if (err == 0)
        err = stm_quarantine_encode(q, &payload);
    if (err == 0) {
        stm_mend_guard(m, space, &damaged);
        stm_mend_put(m, STM_INDEX, &at, stm_buf_slice(&payload));
        m->quarantines = true;
    }
    if (err < 0)
        m->err = err;
    stm_buf_release(&payload);
}

void stm_mend_release(struct stm_mend *m)
{
    for (unsigned i = 0; i < m->writes; i++)
        stm_buf_release(&m->write[i].payload);
    m->writes = m->guards = 0;
}

/* Is the record as it is in the frozen store? It is in the transaction's read set afterwards. 1, 0 or an error. */
static int holds(const struct running *r, struct stm_txn *t, const struct stm_mend_part *g)
{
    struct stm_engine *now = r->f->store->engine, *then = r->f->frozen->engine;
    struct stm_buf a = STM_BUF_INIT, b = STM_BUF_INIT;
    struct stm_view v = stm_txn_view(t);
    struct stm_slice payload;
    int err = stm_read(&v, g->space, &g->key, &a, &payload); /* for the read set; damage is what it may be about */

    if (err != -ENOMEM && err != -EIO) {
        int got = now->ops->get(now, g->space, stm_key_slice(&g->key), &a);
        int had = then->ops->get(then, g->space, stm_key_slice(&g->key), &b);
        err = got == had && (got < 0 || stm_slice_eq(stm_buf_slice(&a), stm_buf_slice(&b)));
    }
    stm_buf_release(&a);
    stm_buf_release(&b);
    return err;
}

static int write_part(struct stm_txn *t, const struct stm_mend_part *p)
{
    struct stm_rec r = STM_REC_INIT;

    if (p->remove)
        return stm_txn_delete(t, p->space, &p->key);
    stm_rec_raw(&r, p->payload.data, p->payload.len);
    return stm_txn_put(t, p->space, &p->key, &r);
}

static int build(struct stm_txn *t, void *arg)
{
    struct running *r = arg;
    int ok = 1;

    for (unsigned i = 0; ok > 0 && i < r->m->guards; i++)
        ok = holds(r, t, &r->m->guard[i]);
    r->stale = ok == 0;
    if (ok <= 0)
        return ok;
    int err = r->m->extra ? r->m->extra(t, r->m->arg) : 0;
    for (unsigned i = 0; err == 0 && i < r->m->writes; i++)
        err = write_part(t, &r->m->write[i]);
    return err;
}

static int commit(void *arg)
{
    struct running *r = arg;
    struct stm_change change = {0};

    return stm_update(r->f->store, &change, build, r, NULL);
}

int stm_mend_run(struct stm_fsck *f, struct stm_mend *m)
{
    struct running r = {.f = f, .m = m};
    const struct stm_fsck_touch *touch = &m->touch;

    if (m->err < 0)
        return m->err;
    bool told = f->opt->apply && (touch->parent || touch->object);
    int err = told ? f->opt->apply(f->opt->arg, touch, commit, &r) : commit(&r);
    return err < 0 ? err : !r.stale;
}
