/*
 * apply.c: changes that the kernel did not make (DESIGN §1). The kernel must not keep what it was told before or during such a change:
 *
 *     mark        from now on answers say "do not cache"
 *     wait        for the requests that began before the mark: what they were answered may be cached, and is ...
 *     invalidate  ... forgotten here
 *     commit
 *     invalidate  pages that were read meanwhile
 *     unmark
 *
 * A request takes its place in `in_flight` before it looks at the mark, so either this file waits for it or it sees the mark.
 */
#include <stdlib.h>
#include <time.h>

#include "file.h"
#include "notify.h"

struct stm_flight stm_flight_begin(struct stm_fs *fs)
{
    unsigned phase = atomic_load(&fs->phase) & 1;

    atomic_fetch_add(&fs->in_flight[phase], 1);
    return (struct stm_flight){fs, phase};
}

void stm_flight_end(struct stm_flight f)
{
    atomic_fetch_sub(&f.fs->in_flight[f.phase], 1);
}

/* Waits until everything that began before now has been answered. */
static void wait_for_flights(struct stm_fs *fs)
{
    for (int i = 0; i < 2; i++) {
        unsigned old = atomic_fetch_add(&fs->phase, 1) & 1;
        while (atomic_load(&fs->in_flight[old]) > 0) {
            struct timespec ts = {.tv_nsec = 50000};
            nanosleep(&ts, NULL);
        }
    }
}

/* Flushed and written bytes of an affected object become a version of their own first. */
static int settle(struct stm_fs *fs, uint64_t object)
{
    struct stm_draft_commit how = {.final = false};
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);
    int err;

    if (!f)
        return 0;
    stm_file_lock(f);
    err = stm_draft_commit(fs, f, &how);
    f->draft.pending = false;
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
    return err;
}

/* What a clean draft holds may be old now. */
static void refresh(struct stm_fs *fs, uint64_t object)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);

    if (!f)
        return;
    stm_file_lock(f);
    f->draft.pending = false;
    stm_draft_forget(f);
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
}

static struct stm_inval *invals_of(const struct stm_fs_affected *list, size_t n, size_t *ret_n)
{
    struct stm_inval *out = malloc((2 * n + 1) * sizeof *out);
    size_t k = 0;

    for (size_t i = 0; out && i < n; i++) {
        if (list[i].parent)
            out[k++] = (struct stm_inval){STM_INVAL_ENTRY, stm_nodeid_head(list[i].parent), list[i].name};
        if (list[i].object)
            out[k++] = (struct stm_inval){STM_INVAL_DATA, stm_nodeid_head(list[i].object), {NULL, 0}};
    }
    *ret_n = k;
    return out;
}

/* Owner and mode of an object may have changed: so have those of its versions. */
static void forget_past(struct stm_fs *fs, uint64_t object)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_inval *list = NULL;
    struct stm_object o;
    size_t n = 0;

    if (stm_object_get(&v, object, &o) < 0 || stm_past_attrs(fs, &o, &list, &n) < 0)
        return;
    if (n > 0)
        (void)stm_notify_wait(fs, list, n);
    free(list);
}

int stm_fs_apply(struct stm_fs *fs, const struct stm_fs_affected *list, size_t n, int (*commit)(void *arg), void *arg)
{
    size_t invals_n;
    struct stm_inval *invals = invals_of(list, n, &invals_n);
    int err = invals ? 0 : -ENOMEM;

    for (size_t i = 0; err == 0 && i < n; i++)
        err = list[i].object ? settle(fs, list[i].object) : 0;
    if (err < 0) {
        free(invals);
        return err;
    }
    pthread_mutex_lock(&fs->apply_lock);
    atomic_fetch_add(&fs->applies, 1);
    wait_for_flights(fs);
    err = stm_notify_wait(fs, invals, invals_n);
    if (err == 0) {
        /* If this daemon dies now, the next one tells the kernel. */
        atomic_store(&fs->remains->apply_seq, stm_store_seq(fs->store) + 1);
        err = commit(arg);
        for (size_t i = 0; i < n; i++) {
            if (list[i].object)
                refresh(fs, list[i].object);
        }
        (void)stm_notify_wait(fs, invals, invals_n);
        for (size_t i = 0; err == 0 && i < n; i++) {
            if (list[i].object)
                forget_past(fs, list[i].object);
        }
    }
    atomic_store(&fs->remains->apply_seq, 0);
    atomic_fetch_sub(&fs->applies, 1);
    pthread_mutex_unlock(&fs->apply_lock);
    free(invals);
    return err;
}
