/*
 * vnode.c: the table of interned nodes and the texts that are open. What the nodes are and answer is virtual.c's business.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "remains.h"
#include "vnode.h"

enum { BUCKETS = 1024 };

struct entry {
    struct entry *by_number, *by_key; /* chains */
    uint64_t count;                   /* as the kernel counts look-ups */
    uint64_t key;                     /* hash */
    struct stm_vnode node;
};

struct text {
    struct text *next;
    uint64_t handle;
    struct stm_buf bytes;
};

struct stm_vnodes {
    pthread_mutex_t lock; /* guards everything */
    struct entry *numbers[BUCKETS], *keys[BUCKETS];
    uint64_t next, n;
    struct text *texts;
};

static uint64_t hash_bytes(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t key_of(const struct stm_vnode *v)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)v->kind;

    h = hash_bytes(h, &v->parent, sizeof v->parent);
    h = hash_bytes(h, &v->line, sizeof v->line);
    h = hash_bytes(h, v->name, strlen(v->name));
    return v->target ? hash_bytes(h, v->target, strlen(v->target)) : h;
}

static bool same(const struct stm_vnode *a, const struct stm_vnode *b)
{
    if (a->kind != b->kind || a->parent != b->parent || a->line != b->line || strcmp(a->name, b->name) != 0)
        return false;
    return (!a->target && !b->target) || (a->target && b->target && strcmp(a->target, b->target) == 0);
}

/*
 * A number that an earlier daemon gave means something else to the kernel, and one of an earlier mount to whoever kept a file handle: a daemon
 * goes on from where the one before it was, a mount begins anywhere in the lower half of all numbers.
 */
static int first_number(const struct stm_fs *fs, uint64_t *ret)
{
    uint64_t any;

    *ret = atomic_load(&fs->remains->next_node);
    if (*ret >= STM_VNODE_FIRST)
        return 0;
    if (getrandom(&any, sizeof any, 0) != sizeof any)
        return -EIO;
    *ret = STM_VNODE_FIRST + any % (STM_ID_MAX / 2);
    return 0;
}

int stm_vnodes_new(struct stm_fs *fs)
{
    struct stm_vnodes *t = calloc(1, sizeof *t);

    if (!t)
        return -ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    fs->vnodes = t;
    return first_number(fs, &t->next);
}

static void entry_free(struct entry *e)
{
    free(e->node.target);
    free(e);
}

void stm_vnodes_free(struct stm_fs *fs)
{
    struct stm_vnodes *t = fs->vnodes;

    if (!t)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct entry *e = t->numbers[i], *next; e; e = next) {
            next = e->by_number;
            entry_free(e);
        }
    }
    for (struct text *x = t->texts, *next; x; x = next) {
        next = x->next;
        stm_buf_release(&x->bytes);
        free(x);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
    fs->vnodes = NULL;
}

static struct entry *entry_new(struct stm_fs *fs, const struct stm_vnode *want, uint64_t key)
{
    struct entry *e = calloc(1, sizeof *e);

    if (!e)
        return NULL;
    e->node = *want;
    e->key = key;
    e->node.born_ns = stm_now(fs);
    if (want->target && !(e->node.target = strdup(want->target))) {
        free(e);
        return NULL;
    }
    return e;
}

static struct entry *find_key_locked(struct stm_vnodes *t, const struct stm_vnode *want, uint64_t key)
{
    struct entry *e = t->keys[key % BUCKETS];

    while (e && !(e->key == key && same(&e->node, want)))
        e = e->by_key;
    return e;
}

int stm_vnode_intern(struct stm_fs *fs, const struct stm_vnode *want, uint64_t *ret_number)
{
    struct stm_vnodes *t = fs->vnodes;
    uint64_t key = key_of(want);
    struct entry *fresh = entry_new(fs, want, key);

    if (!fresh)
        return -ENOMEM;
    pthread_mutex_lock(&t->lock);
    struct entry *e = find_key_locked(t, want, key);
    if (!e && t->next <= STM_ID_MAX) {
        e = fresh;
        fresh = NULL;
        e->node.number = t->next++;
        atomic_store_explicit(&fs->remains->next_node, t->next, memory_order_relaxed);
        t->n++;
        e->by_number = t->numbers[e->node.number % BUCKETS];
        t->numbers[e->node.number % BUCKETS] = e;
        e->by_key = t->keys[key % BUCKETS];
        t->keys[key % BUCKETS] = e;
    }
    if (e) {
        e->count++;
        *ret_number = e->node.number;
    }
    pthread_mutex_unlock(&t->lock);
    if (fresh)
        entry_free(fresh);
    return e ? 0 : -EOVERFLOW;
}

static struct entry **find_number_locked(struct stm_vnodes *t, uint64_t number)
{
    struct entry **p = &t->numbers[number % BUCKETS];

    while (*p && (*p)->node.number != number)
        p = &(*p)->by_number;
    return p;
}

void stm_vnode_forget(struct stm_fs *fs, uint64_t number, uint64_t n)
{
    struct stm_vnodes *t = fs->vnodes;
    struct entry *gone = NULL;

    if (number < STM_VNODE_FIRST)
        return;
    pthread_mutex_lock(&t->lock);
    struct entry **p = find_number_locked(t, number);
    if (*p) {
        (*p)->count -= n < (*p)->count ? n : (*p)->count;
        if ((*p)->count == 0) {
            gone = *p;
            *p = gone->by_number;
            struct entry **k = &t->keys[gone->key % BUCKETS];
            while (*k != gone)
                k = &(*k)->by_key;
            *k = gone->by_key;
            t->n--;
        }
    }
    pthread_mutex_unlock(&t->lock);
    if (gone)
        entry_free(gone);
}

int stm_vnode_get(struct stm_fs *fs, uint64_t number, struct stm_vnode *ret)
{
    struct stm_vnodes *t = fs->vnodes;
    struct stm_vnode v = {.number = number};
    int err = -ESTALE;

    if (number == STM_VNODE_STEMMA || number == STM_VNODE_AT) {
        v.kind = number == STM_VNODE_AT ? STM_V_AT : STM_V_STEMMA;
        v.parent = number == STM_VNODE_AT ? stm_nodeid_virtual(STM_VNODE_STEMMA) : stm_nodeid_head(STM_ROOT_OBJECT);
        *ret = v;
        return 0;
    }
    pthread_mutex_lock(&t->lock);
    const struct entry *e = *find_number_locked(t, number);
    if (e) {
        v = e->node;
        if (v.target)
            v.target = strdup(v.target);
        err = e->node.target && !v.target ? -ENOMEM : 0;
    }
    pthread_mutex_unlock(&t->lock);
    if (err == 0)
        *ret = v;
    return err;
}

void stm_vnode_release(struct stm_vnode *v)
{
    free(v->target);
    v->target = NULL;
}

uint64_t stm_vnodes_count(struct stm_fs *fs)
{
    pthread_mutex_lock(&fs->vnodes->lock);
    uint64_t n = fs->vnodes->n;
    pthread_mutex_unlock(&fs->vnodes->lock);
    return n;
}

int stm_text_keep(struct stm_fs *fs, struct stm_buf *text, uint64_t *ret_handle)
{
    struct text *x = malloc(sizeof *x);

    if (!x)
        return -ENOMEM;
    *x = (struct text){.handle = stm_new_handle(fs), .bytes = *text};
    *text = (struct stm_buf)STM_BUF_INIT;
    *ret_handle = x->handle;
    pthread_mutex_lock(&fs->vnodes->lock);
    x->next = fs->vnodes->texts;
    fs->vnodes->texts = x;
    pthread_mutex_unlock(&fs->vnodes->lock);
    return 0;
}

int64_t stm_text_read(struct stm_fs *fs, uint64_t handle, uint64_t off, void *buf, size_t len)
{
    int64_t n = -ESTALE;

    pthread_mutex_lock(&fs->vnodes->lock);
    const struct text *x = fs->vnodes->texts;
    while (x && x->handle != handle)
        x = x->next;
    if (x) {
        n = 0;
        if (off < x->bytes.len) {
            n = (int64_t)(x->bytes.len - off < len ? x->bytes.len - off : len);
            memcpy(buf, x->bytes.data + off, (size_t)n);
        }
    }
    pthread_mutex_unlock(&fs->vnodes->lock);
    return n;
}

void stm_text_drop(struct stm_fs *fs, uint64_t handle)
{
    struct text *gone = NULL;

    pthread_mutex_lock(&fs->vnodes->lock);
    for (struct text **p = &fs->vnodes->texts; *p; p = &(*p)->next) {
        if ((*p)->handle == handle) {
            gone = *p;
            *p = gone->next;
            break;
        }
    }
    pthread_mutex_unlock(&fs->vnodes->lock);
    if (gone)
        stm_buf_release(&gone->bytes);
    free(gone);
}
