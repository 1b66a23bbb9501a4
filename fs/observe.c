/*
 * observe.c: somebody looks at versions. What is pending then is sealed: a bit here, nothing is written. Also remembers which lines nobody
 * has seen (so that a temporary file's may be dropped), and of which the kernel may keep attributes.
 */
#include <time.h>

#include "file.h"

static uint64_t mix(uint64_t id)
{
    return (id * UINT64_C(0x9e3779b97f4a7c15)) >> 48;
}

void stm_fresh_add(struct stm_fs *fs, uint64_t object)
{
    atomic_store_explicit(&fs->fresh[object % STM_FRESH_SLOTS], object, memory_order_relaxed);
}

void stm_fresh_drop(struct stm_fs *fs, uint64_t object)
{
    uint64_t expected = object;

    atomic_compare_exchange_strong(&fs->fresh[object % STM_FRESH_SLOTS], &expected, 0);
}

bool stm_fresh_is(struct stm_fs *fs, uint64_t object)
{
    return atomic_load(&fs->fresh[object % STM_FRESH_SLOTS]) == object;
}

void stm_seen_line(struct stm_fs *fs, uint64_t line)
{
    uint64_t h = mix(line), bit = UINT64_C(1) << (h % 64);

    if (!(atomic_load(&fs->remains->seen_lines[h / 64]) & bit))
        atomic_fetch_or(&fs->remains->seen_lines[h / 64], bit);
}

static void remember_view(struct stm_fs *fs, uint32_t view)
{
    for (size_t i = 0; i < STM_SEEN_VIEWS; i++) {
        uint32_t was = 0;
        if (atomic_load(&fs->remains->seen_views[i]) == view)
            return;
        if (atomic_compare_exchange_strong(&fs->remains->seen_views[i], &was, view) || was == view)
            return;
    }
    atomic_store(&fs->remains->many_views, true);
}

void stm_seen_object(struct stm_fs *fs, uint32_t view, uint64_t object)
{
    uint64_t h = mix(object), bit = UINT64_C(1) << (h % 64);

    remember_view(fs, view);
    if (!(atomic_load(&fs->remains->seen_objects[h / 64]) & bit))
        atomic_fetch_or(&fs->remains->seen_objects[h / 64], bit);
}

bool stm_was_seen(const _Atomic uint64_t *bits, uint64_t id)
{
    uint64_t h = mix(id);

    return atomic_load(&bits[h / 64]) >> (h % 64) & 1;
}

/*
 * The decision table, for a file that is being written:
 *
 *     pending, has bytes            sealed
 *     pending, emptied (hollow)     wait for the writer; then hidden: the one before it is the newest
 *     new, nothing flushed          wait; then there is no version
 *     new, closed once              wait; then the empty first version is made
 *     else                          nothing to do
 */
static int observe_locked(struct stm_fs *fs, struct stm_file *f, bool waited, bool *ret_hidden)
{
    struct stm_draft *d = &f->draft;
    bool writers = stm_file_writers(fs, f) > 0;

    if (d->pending && d->hollow && writers) {
        *ret_hidden = true;
        return waited ? 0 : 1;
    }
    if (d->born && !d->pending && !d->dirty && !d->unlinked && !d->replace) {
        if (writers && !waited)
            return 1;
        if (!d->flushed && writers)
            return 0;
        int err = stm_draft_commit(fs, f, &(struct stm_draft_commit){.final = true});
        if (err < 0)
            return err;
    }
    d->pending = false;
    return 0;
}

int stm_observe(struct stm_fs *fs, uint64_t object, bool waited, bool *ret_hidden)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);
    int err = 0;

    *ret_hidden = false;
    stm_fresh_drop(fs, object);
    if (!f)
        return 0;
    if (atomic_load(&f->active)) {
        stm_file_lock(f);
        err = observe_locked(fs, f, waited, ret_hidden);
        stm_file_unlock(f);
    }
    stm_file_unpin(fs, f);
    return err;
}

int stm_visible_tip(const struct stm_object *o, bool hidden, uint32_t *ret_ordinal)
{
    if (!S_ISREG(o->mode) || o->tip.seq == 0 || (hidden && o->tip.ordinal == 0))
        return -ENOENT;
    *ret_ordinal = o->tip.ordinal - (hidden ? 1 : 0);
    return 0;
}

static void observe_one(struct stm_fs *fs, struct stm_file *f, void *arg)
{
    int *first = arg;
    bool hidden;
    int err = stm_observe(fs, f->object, true, &hidden);

    if (err < 0 && *first == 0)
        *first = err;
}

int stm_observe_all(struct stm_fs *fs)
{
    int err = 0;

    stm_files_each(fs, observe_one, &err);
    return err;
}

int stm_fs_seal_object(struct stm_fs *fs, uint64_t object)
{
    const struct timespec pause = {.tv_nsec = STM_OBSERVE_WAIT_MS * 1000000L};
    bool hidden;
    int err = stm_observe(fs, object, false, &hidden);

    if (err <= 0)
        return err;
    nanosleep(&pause, NULL); /* not a worker: it may sleep */
    return stm_observe(fs, object, true, &hidden);
}
