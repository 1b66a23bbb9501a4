/*
 * orphan.c: purging objects without a name. Those whose handles this daemon has counted are purged at the last close (open.c). Those that
 * an earlier daemon of this mount may have given handles of are purged when the kernel forgets them, for only the kernel knows who has
 * them open; or at the store's next open that is no takeover.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"

enum { BUCKETS = 256 };

struct item {
    struct item *next;
    uint64_t object;
    bool held;
};

struct stm_orphans {
    pthread_mutex_t lock; /* guards the chains */
    struct item *buckets[BUCKETS];
    _Atomic unsigned n;
};

static int build_purge(struct stm_txn *txn, void *arg)
{
    return stm_object_purge(txn, *(const uint64_t *)arg);
}

void stm_purge(struct stm_fs *fs, const struct stm_caller *who, uint64_t object)
{
    struct stm_act act = {.who = *who, .pressing = true};
    int err = fs->opt.read_only ? 0 : stm_act_commit(fs, &act, build_purge, &object);

    if (err < 0)
        stm_fs_log(fs, STM_FS_WARNING, "purge_failed", "object=%llu error=\"%s\" consequence=\"swept at the next start\"",
                   (unsigned long long)object, stm_error_text(err));
}

int stm_orphans_new(struct stm_fs *fs)
{
    fs->orphans = calloc(1, sizeof *fs->orphans);
    if (!fs->orphans)
        return -ENOMEM;
    pthread_mutex_init(&fs->orphans->lock, NULL);
    return 0;
}

void stm_orphans_free(struct stm_fs *fs)
{
    if (!fs->orphans)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct item *o = fs->orphans->buckets[i], *next; o; o = next) {
            next = o->next;
            free(o);
        }
    }
    pthread_mutex_destroy(&fs->orphans->lock);
    free(fs->orphans);
    fs->orphans = NULL;
}

static struct item **find_locked(struct stm_orphans *t, uint64_t object)
{
    struct item **p = &t->buckets[object % BUCKETS];

    while (*p && (*p)->object != object)
        p = &(*p)->next;
    return p;
}

int stm_orphan_wait(struct stm_fs *fs, uint64_t object, bool held)
{
    struct stm_orphans *t = fs->orphans;
    struct item *fresh = malloc(sizeof *fresh);

    if (!fresh)
        return -ENOMEM;
    *fresh = (struct item){.object = object, .held = held};
    pthread_mutex_lock(&t->lock);
    struct item **p = find_locked(t, object);
    if (*p) {
        (*p)->held |= held;
    } else {
        *p = fresh;
        fresh = NULL;
        atomic_fetch_add(&t->n, 1);
    }
    pthread_mutex_unlock(&t->lock);
    free(fresh);
    return 0;
}

void stm_orphan_forgotten(struct stm_fs *fs, uint64_t object)
{
    struct stm_orphans *t = fs->orphans;

    if (atomic_load(&t->n) == 0)
        return;
    pthread_mutex_lock(&t->lock);
    struct item **p = find_locked(t, object), *gone = *p;
    if (gone) {
        *p = gone->next;
        atomic_fetch_sub(&t->n, 1);
    }
    pthread_mutex_unlock(&t->lock);
    if (!gone)
        return;
    if (gone->held) {
        struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);
        stm_file_unpin(fs, f);
        stm_file_unpin(fs, f);
    }
    free(gone);
    stm_purge(fs, &(struct stm_caller){.uid = 0}, object);
}

void stm_unnamed(struct stm_fs *fs, const struct stm_caller *who, uint64_t object)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;

    if (stm_object_get(&v, object, &o) < 0 || !S_ISREG(o.mode))
        return;
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);
    if (f) {
        stm_file_lock(f);
        f->draft.unlinked = o.nlink == 0;
        f->draft.pending = false;
        stm_file_unlock(f);
        stm_file_unpin(fs, f);
    }
    if (o.flags & STM_OBJ_ORPHAN && !stm_file_orphan(fs, object))
        stm_purge(fs, who, object); /* closed before we could say so */
}
