/*
 * file.c: the table of live objects (file.h), in shards with a lock each. What a draft does is draft.c's business.
 */
#include <stdlib.h>

#include "file.h"

enum { SHARDS = 64, BUCKETS = 64 };

struct shard {
    pthread_mutex_t lock; /* guards the chains and what file.h says */
    struct stm_file *buckets[BUCKETS];
    _Atomic unsigned n;
    _Atomic uint64_t epoch;
};

struct stm_files {
    struct shard shards[SHARDS];
};

static struct shard *shard_of(struct stm_fs *fs, uint64_t object)
{
    return &fs->files->shards[object % SHARDS];
}

static struct stm_file **find_locked(struct shard *s, uint64_t object)
{
    struct stm_file **p = &s->buckets[object / SHARDS % BUCKETS];

    while (*p && (*p)->object != object)
        p = &(*p)->next;
    return p;
}

int stm_files_new(struct stm_fs *fs)
{
    fs->files = calloc(1, sizeof *fs->files);
    if (!fs->files)
        return -ENOMEM;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&fs->files->shards[i].lock, NULL);
    return 0;
}

/* leave: its record is the next daemon's. */
static void file_free(struct stm_fs *fs, struct stm_file *f, bool leave)
{
    stm_draft_release(&f->draft);
    if (!leave)
        stm_slot_give(fs, f->slot);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

void stm_files_free(struct stm_fs *fs)
{
    if (!fs->files)
        return;
    for (size_t i = 0; i < SHARDS * BUCKETS; i++) {
        for (struct stm_file *f = fs->files->shards[i / BUCKETS].buckets[i % BUCKETS], *next; f; f = next) {
            next = f->next;
            file_free(fs, f, stm_leaves(fs));
        }
    }
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&fs->files->shards[i].lock);
    free(fs->files);
    fs->files = NULL;
}

static struct stm_file *file_new(struct stm_fs *fs, uint64_t object)
{
    struct stm_file *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    f->object = object;
    f->draft.store = fs->store;
    f->draft.data.fd = -1;
    f->draft.data.keep = stm_is_kept(fs);
    f->draft.data.memory_gauge = &fs->draft_bytes;
    pthread_mutex_init(&f->mutex, NULL);
    return f;
}

/* The file with one more pin; made if there is none. */
static struct stm_file *make_locked(struct stm_fs *fs, struct shard *s, uint64_t object)
{
    struct stm_file **p = find_locked(s, object);

    if (!*p) {
        *p = file_new(fs, object);
        if (*p)
            atomic_fetch_add(&s->n, 1);
    }
    if (*p)
        (*p)->pins++;
    return *p;
}

struct stm_file *stm_file_pin(struct stm_fs *fs, uint64_t object, enum stm_pin how)
{
    struct shard *s = shard_of(fs, object);
    struct stm_file *f;

    if (how == STM_PIN_FIND && atomic_load(&s->n) == 0)
        return NULL;
    pthread_mutex_lock(&s->lock);
    if (how == STM_PIN_MAKE) {
        f = make_locked(fs, s, object);
    } else {
        f = *find_locked(s, object);
        if (f)
            f->pins++;
    }
    pthread_mutex_unlock(&s->lock);
    return f;
}

/* Takes the file out of the table if nothing needs it any more; the caller frees it. */
static struct stm_file *retire_locked(struct shard *s, struct stm_file *f)
{
    if (f->pins > 0 || f->readers > 0 || f->writers > 0 || f->bump_set)
        return NULL;
    struct stm_file **p = find_locked(s, f->object);
    *p = f->next;
    atomic_fetch_sub(&s->n, 1);
    return f;
}

void stm_file_unpin(struct stm_fs *fs, struct stm_file *f)
{
    if (!f)
        return;
    struct shard *s = shard_of(fs, f->object);
    pthread_mutex_lock(&s->lock);
    f->pins--;
    struct stm_file *gone = retire_locked(s, f);
    pthread_mutex_unlock(&s->lock);
    if (gone)
        file_free(fs, gone, stm_only_looks(fs));
}

void stm_file_lock(struct stm_file *f)
{
    pthread_mutex_lock(&f->mutex);
}

void stm_file_unlock(struct stm_file *f)
{
    stm_slot_publish(f);
    pthread_mutex_unlock(&f->mutex);
}

void stm_file_opened(struct stm_fs *fs, struct stm_file *f, bool writer)
{
    struct shard *s = shard_of(fs, f->object);

    pthread_mutex_lock(&s->lock);
    if (writer)
        f->writers++;
    else
        f->readers++;
    pthread_mutex_unlock(&s->lock);
    if (writer)
        atomic_store(&f->active, true);
}

void stm_file_closed(struct stm_fs *fs, struct stm_file *f, bool writer, bool *ret_last_writer, bool *ret_purge)
{
    struct shard *s = shard_of(fs, f->object);

    pthread_mutex_lock(&s->lock);
    if (writer && f->writers > 0)
        f->writers--;
    else if (!writer && f->readers > 0)
        f->readers--;
    *ret_last_writer = writer && f->writers == 0;
    *ret_purge = f->orphan && f->writers == 0 && f->readers == 0;
    pthread_mutex_unlock(&s->lock);
}

int stm_file_open_reader(struct stm_fs *fs, uint64_t object)
{
    struct shard *s = shard_of(fs, object);

    pthread_mutex_lock(&s->lock);
    struct stm_file *f = make_locked(fs, s, object);
    if (f) {
        f->readers++;
        f->pins--;
    }
    pthread_mutex_unlock(&s->lock);
    return f ? 0 : -ENOMEM;
}

bool stm_file_is_open(struct stm_fs *fs, uint64_t object)
{
    struct shard *s = shard_of(fs, object);

    pthread_mutex_lock(&s->lock);
    const struct stm_file *f = *find_locked(s, object);
    bool open = f && (f->readers > 0 || f->writers > 0);
    pthread_mutex_unlock(&s->lock);
    return open;
}

bool stm_file_may_be_open(struct stm_fs *fs, uint64_t object)
{
    return object < fs->inherited_below || stm_file_is_open(fs, object);
}

unsigned stm_file_writers(struct stm_fs *fs, struct stm_file *f)
{
    struct shard *s = shard_of(fs, f->object);

    pthread_mutex_lock(&s->lock);
    unsigned n = f->writers;
    pthread_mutex_unlock(&s->lock);
    return n;
}

bool stm_file_orphan(struct stm_fs *fs, uint64_t object)
{
    struct shard *s = shard_of(fs, object);

    if (object < fs->inherited_below)
        return stm_orphan_wait(fs, object, false) == 0;

    pthread_mutex_lock(&s->lock);
    struct stm_file *f = *find_locked(s, object);
    bool open = f && (f->readers > 0 || f->writers > 0);
    if (open)
        f->orphan = true;
    pthread_mutex_unlock(&s->lock);
    return open;
}

void stm_file_adopt(struct stm_fs *fs, struct stm_file *f)
{
    struct shard *s = shard_of(fs, f->object);

    pthread_mutex_lock(&s->lock);
    f->orphan = false;
    pthread_mutex_unlock(&s->lock);
}

uint64_t stm_file_epoch(struct stm_fs *fs, uint64_t object)
{
    return atomic_load(&shard_of(fs, object)->epoch);
}

void stm_file_epoch_advance(struct stm_fs *fs, uint64_t object)
{
    atomic_fetch_add(&shard_of(fs, object)->epoch, 1);
}

int stm_bump_set(struct stm_fs *fs, uint64_t object, enum stm_bump bump)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_MAKE);
    struct shard *s = shard_of(fs, object);

    if (!f)
        return -ENOMEM;
    stm_file_lock(f);
    int err = stm_slot_take(fs, f);
    if (err == 0) {
        pthread_mutex_lock(&s->lock);
        f->bump_set = bump != STM_BUMP_PATCH;
        f->bump = bump;
        pthread_mutex_unlock(&s->lock);
        if (f->slot)
            atomic_store(&f->slot->bump, bump);
    }
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
    return err;
}

enum stm_bump stm_bump_get(struct stm_fs *fs, uint64_t object, bool take)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);
    struct shard *s = shard_of(fs, object);
    enum stm_bump bump = STM_BUMP_PATCH;

    if (!f)
        return bump;
    pthread_mutex_lock(&s->lock);
    if (f->bump_set)
        bump = f->bump;
    if (take)
        f->bump_set = false;
    pthread_mutex_unlock(&s->lock);
    if (take && f->slot)
        atomic_store(&f->slot->bump, STM_BUMP_PATCH);
    stm_file_unpin(fs, f);
    return bump;
}

/* Pins all active files of a shard, in an array that the caller frees. */
static struct stm_file **pin_shard(struct shard *s, size_t *ret_n)
{
    struct stm_file **list = NULL;
    size_t n = 0;

    pthread_mutex_lock(&s->lock);
    if (atomic_load(&s->n) > 0)
        list = malloc(atomic_load(&s->n) * sizeof *list);
    for (size_t b = 0; list && b < BUCKETS; b++) {
        for (struct stm_file *f = s->buckets[b]; f; f = f->next) {
            if (!atomic_load(&f->active))
                continue;
            f->pins++;
            list[n++] = f;
        }
    }
    pthread_mutex_unlock(&s->lock);
    *ret_n = n;
    return list;
}

void stm_files_each(struct stm_fs *fs, void (*each)(struct stm_fs *fs, struct stm_file *f, void *arg), void *arg)
{
    for (size_t i = 0; i < SHARDS; i++) {
        size_t n;
        struct stm_file **list = pin_shard(&fs->files->shards[i], &n);
        for (size_t k = 0; k < n; k++) {
            each(fs, list[k], arg);
            stm_file_unpin(fs, list[k]);
        }
        free(list);
    }
}

static void count_one(struct stm_fs *fs, struct stm_file *f, void *arg)
{
    struct stm_fs_stats *stats = arg;

    stats->open_handles += stm_file_writers(fs, f);
    stm_file_lock(f);
    stats->drafts += f->draft.loaded;
    stats->pending += f->draft.pending;
    stm_file_unlock(f);
}

void stm_files_count(struct stm_fs *fs, struct stm_fs_stats *ret)
{
    stm_files_each(fs, count_one, ret);
}
