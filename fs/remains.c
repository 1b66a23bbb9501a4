/*
 * remains.c: see remains.h. Free records are kept in a stack of their own, private memory that is made afresh at each start; what was never
 * used lies above a mark, so that the memory which is touched grows with what is open at a time.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "file.h"
#include "stemma_fs/handover.h"

enum { SLOT_BITS = 17 }; /* of a handle's number; above them its serial */
_Static_assert(STM_REMAIN_HANDLES == 1 << SLOT_BITS, "a handle's number holds its place");

struct stack {
    uint32_t *items;
    size_t n, cap;
};

struct stm_account {
    pthread_mutex_t lock; /* guards taking and giving back */
    struct stack handles, drafts;
    bool own; /* the memory is ours */
};

static int push(struct stack *s, uint32_t item)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        uint32_t *items = realloc(s->items, cap * sizeof *items);
        if (!items)
            return -ENOMEM; /* the record is not used again before the next start */
        s->items = items;
        s->cap = cap;
    }
    s->items[s->n++] = item;
    return 0;
}

/* The number of a free record, or -ENFILE. */
static int64_t take(struct stack *s, _Atomic uint32_t *used, uint32_t max)
{
    if (s->n > 0)
        return s->items[--s->n];
    uint32_t n = atomic_load(used);
    if (n >= max)
        return -ENFILE;
    atomic_store(used, n + 1);
    return n;
}

/* What an earlier daemon has given back. */
static int find_free(struct stm_fs *fs)
{
    struct stm_remains *r = fs->remains;
    int err = 0;

    for (uint32_t i = 0; err == 0 && i < atomic_load(&r->handles_used); i++) {
        if (atomic_load(&r->handles[i].fh) == 0)
            err = push(&fs->account->handles, i);
    }
    for (uint32_t i = 0; err == 0 && i < atomic_load(&r->drafts_used); i++) {
        if (stm_slot_state(&r->drafts[i])->object == 0)
            err = push(&fs->account->drafts, i);
    }
    return err;
}

int stm_remains_new(struct stm_fs *fs)
{
    fs->account = calloc(1, sizeof *fs->account);
    if (!fs->account)
        return -ENOMEM;
    pthread_mutex_init(&fs->account->lock, NULL);
    fs->account->own = !fs->opt.handover;
    if (fs->opt.handover) {
        fs->remains = &fs->opt.handover->remains;
        return find_free(fs);
    }
    fs->remains = mmap(NULL, sizeof *fs->remains, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fs->remains == MAP_FAILED)
        fs->remains = NULL;
    return fs->remains ? 0 : -ENOMEM;
}

void stm_remains_free(struct stm_fs *fs)
{
    struct stm_account *a = fs->account;

    if (!a)
        return;
    if (a->own && fs->remains)
        munmap(fs->remains, sizeof *fs->remains);
    pthread_mutex_destroy(&a->lock);
    free(a->handles.items);
    free(a->drafts.items);
    free(a);
    fs->account = NULL;
    fs->remains = NULL;
}

/* ---- handles ---- */

int stm_handle_new(struct stm_fs *fs, uint64_t object, uint64_t unique, uint64_t *ret_fh)
{
    struct stm_account *a = fs->account;

    pthread_mutex_lock(&a->lock);
    int64_t i = take(&a->handles, &fs->remains->handles_used, STM_REMAIN_HANDLES);
    pthread_mutex_unlock(&a->lock);
    if (i < 0)
        return (int)i;
    struct stm_handle *h = &fs->remains->handles[i];
    h->object = object;
    h->unique = stm_unique(unique);
    h->redo = 0;
    h->serial++;
    atomic_store_explicit(&h->flags, 0, memory_order_relaxed);
    *ret_fh = (uint64_t)h->serial << SLOT_BITS | (uint64_t)i;
    atomic_store_explicit(&h->fh, *ret_fh, memory_order_release);
    return 0;
}

struct stm_handle *stm_handle_of(struct stm_fs *fs, uint64_t fh)
{
    struct stm_handle *h = &fs->remains->handles[fh & (STM_REMAIN_HANDLES - 1)];

    return fh != 0 && atomic_load_explicit(&h->fh, memory_order_acquire) == fh ? h : NULL;
}

static struct stm_handle *next_handle(struct stm_fs *fs, uint32_t *at)
{
    struct stm_remains *r = fs->remains;

    while (*at < atomic_load(&r->handles_used)) {
        struct stm_handle *h = &r->handles[(*at)++];
        if (atomic_load_explicit(&h->fh, memory_order_acquire) != 0)
            return h;
    }
    return NULL;
}

/* What was lost is done again by this request: all handles of the draft go on. */
static void find_again(struct stm_fs *fs, const struct stm_handle *of)
{
    uint64_t object = of->object, redo = of->redo;
    struct stm_handle *h;
    uint32_t at = 0;

    while ((h = next_handle(fs, &at))) {
        if (h->object == object && h->redo == redo)
            atomic_fetch_and(&h->flags, ~(uint32_t)STM_HANDLE_LOST);
    }
}

int stm_handle_use(struct stm_fs *fs, uint64_t fh, uint64_t object, uint64_t unique)
{
    const struct stm_handle *h = stm_handle_of(fs, fh);

    if (!h || h->object != object)
        return -EIO;
    if (!(atomic_load_explicit(&h->flags, memory_order_relaxed) & STM_HANDLE_LOST))
        return 0;
    if (!stm_was_asked_before(unique) || h->redo != stm_unique(unique))
        return -EIO;
    find_again(fs, h);
    return 0;
}

bool stm_handle_is_lost(struct stm_fs *fs, uint64_t object)
{
    const struct stm_handle *h = NULL;
    uint32_t at = 0;

    if (fs->done) {
        while ((h = next_handle(fs, &at)) && !(h->object == object && atomic_load(&h->flags) & STM_HANDLE_LOST))
            continue;
    }
    return h != NULL;
}

void stm_handle_drop(struct stm_fs *fs, uint64_t fh)
{
    struct stm_handle *h = stm_handle_of(fs, fh);

    if (!h)
        return;
    atomic_store_explicit(&h->fh, 0, memory_order_release);
    pthread_mutex_lock(&fs->account->lock);
    (void)push(&fs->account->handles, (uint32_t)(h - fs->remains->handles));
    pthread_mutex_unlock(&fs->account->lock);
}

struct stm_handle *stm_handle_of_request(struct stm_fs *fs, uint64_t object, uint64_t unique)
{
    struct stm_handle *h = NULL;
    uint32_t at = 0;

    if (stm_was_asked_before(unique)) {
        while ((h = next_handle(fs, &at)) && !(h->object == object && h->unique == stm_unique(unique)))
            continue;
    }
    return h;
}

void stm_handles_each(struct stm_fs *fs, void (*each)(struct stm_fs *fs, struct stm_handle *h, void *arg), void *arg)
{
    struct stm_handle *h;
    uint32_t at = 0;

    while ((h = next_handle(fs, &at)))
        each(fs, h, arg);
}

/* ---- drafts ---- */

int stm_slot_take(struct stm_fs *fs, struct stm_file *f)
{
    struct stm_account *a = fs->account;

    if (f->slot || !stm_is_kept(fs))
        return 0;
    pthread_mutex_lock(&a->lock);
    int64_t i = take(&a->drafts, &fs->remains->drafts_used, STM_REMAIN_DRAFTS);
    pthread_mutex_unlock(&a->lock);
    if (i < 0)
        return (int)i;
    f->slot = &fs->remains->drafts[i];
    return 0;
}

/* The copy that does not count is filled, and then counts. */
static void publish(struct stm_draft_slot *s, const struct stm_draft_state *now)
{
    uint32_t which = atomic_load_explicit(&s->which, memory_order_relaxed);

    if (memcmp(&s->copy[which & 1], now, sizeof *now) == 0)
        return;
    s->copy[(which + 1) & 1] = *now;
    atomic_store_explicit(&s->which, which + 1, memory_order_release);
}

void stm_slot_give(struct stm_fs *fs, struct stm_draft_slot *slot)
{
    struct stm_draft_state none;

    if (!slot)
        return;
    memset(&none, 0, sizeof none);
    atomic_store(&slot->bump, STM_BUMP_PATCH);
    atomic_store(&slot->untold, 0);
    publish(slot, &none);
    pthread_mutex_lock(&fs->account->lock);
    (void)push(&fs->account->drafts, (uint32_t)(slot - fs->remains->drafts));
    pthread_mutex_unlock(&fs->account->lock);
}

struct stm_replace *stm_slot_replace(struct stm_fs *fs, const struct stm_draft_slot *s)
{
    return &fs->remains->replaces[s - fs->remains->drafts];
}

void stm_slot_publish(struct stm_file *f)
{
    const struct stm_draft *d = &f->draft;
    struct stm_draft_state now;

    if (!f->slot)
        return;
    memset(&now, 0, sizeof now); /* padding too: it is compared */
    now.object = f->object;
    now.id = d->id;
    now.first = d->first;
    now.last = d->last;
    now.period = d->period;
    now.cut = d->cut;
    now.flushed = d->flushed;
    now.replacing = d->replace != NULL;
    now.uid = d->uid;
    now.gid = d->gid;
    now.pid = d->pid;
    if (d->pending) {
        now.pending = true;
        now.hollow = d->hollow;
        now.line = d->line;
        now.seq = d->seq;
    }
    if (d->dirty) {
        now.dirty = true;
        now.mtime_ns = d->mtime_ns;
        now.ctime_ns = d->ctime_ns;
    }
    if (d->dirty && d->data.fd >= 0) {
        now.staged = true;
        now.size = d->data.size;
        now.base_len = d->data.base_len;
        if (d->has_base) {
            now.base_line = d->base.row.line;
            now.base_seq = d->base.row.seq;
            now.base_ordinal = d->base.row.ordinal;
        }
    }
    publish(f->slot, &now);
}
