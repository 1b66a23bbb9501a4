/*
 * takeover.c: a daemon begins where an earlier one of the same mount ended, be it by SIGKILL. What that one left (remains.h) is compared with what it
 * had committed (the tags in the log), and becomes the files, drafts and handles of this one:
 *
 *     draft                         becomes
 *     clean, or committed since     nothing: the store has the bytes; pending goes on if it still is the newest version
 *     dirty, in a stage file        the draft it was
 *     dirty, in memory              lost: its handles answer EIO until they are released (remains.c), the kernel forgets its pages
 *
 * Handles for reading need nothing: a node's number says it all. Nobody else is at work while stm_takeover runs, so it takes no locks; and it
 * changes nothing that a next attempt would need: what became of drafts is recorded when this daemon begins to serve.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "file.h"
#include "notify.h"
#include "stemma_fs/handover.h"
#include "tag.h"

enum { LOG_TAIL = 16384 }; /* commits that are searched for requests which were carried out and not answered */

struct step {
    uint64_t unique, seq;
    enum stm_step step;
};

/* A draft that was dirty. */
struct dirt {
    uint64_t id;
    uint32_t period;
    bool committed, kept; /* kept: its stage file is in use */
};

struct stm_done {
    struct step *steps; /* by unique, then step */
    size_t n, cap;
    struct dirt *dirt; /* by id */
    size_t dirt_n;
    uint64_t apply_from, apply_to; /* commits that the kernel may not have been told of; from 0: none */
    int err;
};

/* ---- the log ---- */

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_steps(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    int c = compare_u64(x->unique, y->unique);

    return c ? c : (int)x->step - (int)y->step;
}

static int compare_dirt(const void *a, const void *b)
{
    return compare_u64(((const struct dirt *)a)->id, ((const struct dirt *)b)->id);
}

static struct dirt *find_dirt(const struct stm_done *done, uint64_t id)
{
    const struct dirt key = {.id = id};

    return done->dirt_n ? bsearch(&key, done->dirt, done->dirt_n, sizeof key, compare_dirt) : NULL;
}

bool stm_done_before(const struct stm_fs *fs, uint64_t unique, enum stm_step step, uint64_t *ret_seq)
{
    const struct step key = {.unique = stm_unique(unique), .step = step}, *found = NULL;

    if (fs->done && fs->done->n > 0 && stm_was_asked_before(unique))
        found = bsearch(&key, fs->done->steps, fs->done->n, sizeof key, compare_steps);
    if (found && ret_seq)
        *ret_seq = found->seq;
    return found != NULL;
}

static int take_record(void *arg, const struct stm_log_record *r)
{
    const struct stm_fs *fs = arg;
    struct stm_done *done = fs->done;
    struct stm_tag t;

    if (!stm_tag_decode(r->tag, r->tag_len, &t) || t.mount != fs->opt.handover->generation)
        return 0;
    if (t.step == STM_STEP_DRAFT) {
        struct dirt *d = find_dirt(done, t.draft);
        if (d && t.period >= d->period)
            d->committed = true;
    }
    if (t.unique == 0 || fs->opt.forgetful)
        return 0;
    if (done->n == done->cap) {
        size_t cap = done->cap ? 2 * done->cap : 1024;
        struct step *steps = realloc(done->steps, cap * sizeof *steps);
        if (!steps)
            return -ENOMEM;
        done->steps = steps;
        done->cap = cap;
    }
    done->steps[done->n++] = (struct step){t.unique, r->seq, t.step};
    return 0;
}

static int read_log(struct stm_fs *fs)
{
    struct stm_done *done = fs->done;
    uint64_t top = stm_store_seq(fs->store);
    int err = stm_log_each(fs->store, top > LOG_TAIL ? top - LOG_TAIL + 1 : 1, take_record, fs);

    if (done->n > 0)
        qsort(done->steps, done->n, sizeof *done->steps, compare_steps);
    done->apply_from = atomic_load(&fs->remains->apply_seq);
    done->apply_to = top;
    return err;
}

static int find_dirty(struct stm_fs *fs)
{
    uint32_t used = atomic_load(&fs->remains->drafts_used);
    struct stm_done *done = fs->done;

    done->dirt = calloc(used + 1, sizeof *done->dirt);
    if (!done->dirt)
        return -ENOMEM;
    for (uint32_t i = 0; i < used; i++) {
        const struct stm_draft_state *s = stm_slot_state(&fs->remains->drafts[i]);
        if (s->object != 0 && s->dirty)
            done->dirt[done->dirt_n++] = (struct dirt){.id = s->id, .period = s->period};
    }
    qsort(done->dirt, done->dirt_n, sizeof *done->dirt, compare_dirt);
    return 0;
}

/* ---- handles and drafts ---- */

static void restore_handle(struct stm_fs *fs, struct stm_handle *h, void *arg)
{
    struct stm_file *f = stm_file_pin(fs, h->object, STM_PIN_MAKE);
    (void)arg;

    if (f)
        stm_file_opened(fs, f, true);
    else
        fs->done->err = -ENOMEM;
    stm_file_unpin(fs, f);
}

struct losing {
    uint64_t object, redo;
};

static void lose_handle(struct stm_fs *fs, struct stm_handle *h, void *arg)
{
    const struct losing *l = arg;
    (void)fs;

    if (h->object != l->object || atomic_load(&h->flags) & STM_HANDLE_LOST)
        return;
    h->redo = l->redo;
    atomic_fetch_or(&h->flags, STM_HANDLE_LOST);
}

/* What one request alone had written it may write again, if nobody was told that it had. */
static void lose(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_state *s, int err)
{
    struct losing l = {.object = f->object, .redo = s->first == s->last ? s->first : 0};

    stm_handles_each(fs, lose_handle, &l);
    atomic_store(&f->slot->untold, 1);
    f->draft.last = 0;
    if (stm_file_writers(fs, f) > 0)
        stm_fs_log(fs, STM_FS_WARNING, "draft_lost",
                   "object=%llu reason=\"%s\" consequence=\"unsaved bytes of open files are gone; saving them answers EIO\"",
                   (unsigned long long)f->object, err < 0 ? stm_error_text(err) : "the daemon ended");
}

/* Fails where another try may do better. */
static int restore_content(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_state *s, struct dirt *dirt)
{
    int err = s->staged ? stm_draft_recover(fs, f, s) : 0;

    if (err == -ENOMEM || err == -EMFILE || err == -ENFILE)
        return err;
    if (s->staged && err == 0)
        dirt->kept = true;
    else
        lose(fs, f, s, err);
    return 0;
}

static int restore_draft(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_state *s)
{
    struct stm_draft *d = &f->draft;
    struct stm_view v = stm_view_head(fs->store);
    struct dirt *dirt = s->dirty ? find_dirt(fs->done, s->id) : NULL;
    struct stm_object o;
    int err = stm_object_get(&v, f->object, &o);

    if (err < 0)
        return err == -ENOENT ? 0 : err; /* nobody can reach it */
    d->id = s->id;
    d->period = s->period;
    d->first = s->first;
    d->last = s->last;
    d->uid = s->uid;
    d->gid = s->gid;
    d->pid = s->pid;
    d->cut = s->cut;
    d->flushed = s->flushed;
    if (s->replacing && o.nlink == 0) {
        d->replace = malloc(sizeof *d->replace);
        if (!d->replace)
            return -ENOMEM;
        *d->replace = *stm_slot_replace(fs, f->slot);
    }
    if (s->pending && o.nlink > 0 && o.line == s->line && o.tip.seq == s->seq) {
        d->pending = true;
        d->hollow = s->hollow;
        d->line = s->line;
        d->seq = s->seq;
    }
    if (dirt && dirt->committed)
        atomic_store(&f->slot->bump, STM_BUMP_PATCH);
    else if (dirt)
        err = restore_content(fs, f, s, dirt);
    return err;
}

/* Who still needs a draft that has no writer? Readers of a file that was removed: nothing else has its bytes. */
static struct stm_file *without_writers(struct stm_fs *fs, const struct stm_draft_state *s)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;

    if (!s->dirty || !s->staged || stm_object_get(&v, s->object, &o) < 0 || o.nlink > 0)
        return NULL;
    struct stm_file *f = stm_file_pin(fs, s->object, STM_PIN_MAKE);
    if (f && stm_orphan_wait(fs, s->object, true) == 0) {
        atomic_store(&f->active, true);
        return stm_file_pin(fs, s->object, STM_PIN_FIND);
    }
    stm_file_unpin(fs, f);
    return NULL;
}

static int restore_slot(struct stm_fs *fs, struct stm_draft_slot *slot)
{
    const struct stm_draft_state s = *stm_slot_state(slot);
    uint32_t bump = atomic_load(&slot->bump);
    int err = 0;

    if (s.object == 0)
        return 0;
    struct stm_file *f = stm_file_pin(fs, s.object, STM_PIN_FIND);
    if (!f && bump != STM_BUMP_PATCH)
        f = stm_file_pin(fs, s.object, STM_PIN_MAKE);
    if (!f)
        f = without_writers(fs, &s);
    if (!f) {
        stm_slot_give(fs, slot);
        return 0;
    }
    f->slot = slot;
    err = restore_draft(fs, f, &s);
    f->bump = (enum stm_bump)atomic_load(&slot->bump);
    f->bump_set = f->bump != STM_BUMP_PATCH;
    stm_file_unpin(fs, f);
    return err;
}

/* What the store says of an object that is open for writing. */
static void complete(struct stm_fs *fs, struct stm_file *f, void *arg)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_draft *d = &f->draft;
    struct stm_object o;
    (void)arg;

    int err = stm_object_get(&v, f->object, &o);
    if (err == 0) {
        d->unlinked = o.nlink == 0 && !d->replace;
        d->born = o.nlink > 0 && o.head_seq == 0;
    }
    if (err == 0 || err == -ENOENT)
        err = stm_slot_take(fs, f);
    if (err < 0)
        fs->done->err = err;
}

static int note_orphan(void *arg, uint64_t object)
{
    return stm_orphan_wait(arg, object, false);
}

/* Files of drafts that nobody writes any more. */
static void sweep_stage(struct stm_fs *fs)
{
    const char *path = stm_store_stage(fs->store);
    DIR *dir = path[0] ? opendir(path) : NULL;
    const struct dirent *e;

    while (dir && (e = readdir(dir))) {
        if (strncmp(e->d_name, STM_STAGE_DRAFT, strlen(STM_STAGE_DRAFT)) != 0)
            continue;
        const struct dirt *d = find_dirt(fs->done, strtoull(e->d_name + strlen(STM_STAGE_DRAFT), NULL, 16));
        if (!d || !d->kept)
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

int stm_takeover(struct stm_fs *fs)
{
    struct stm_store_stats stats;
    int err = stm_store_stats(fs->store, &stats);

    if (err < 0)
        return err;
    fs->done = calloc(1, sizeof *fs->done);
    if (!fs->done)
        return -ENOMEM;
    fs->inherited_below = stats.objects_allocated;
    err = find_dirty(fs);
    if (err == 0)
        err = read_log(fs);
    if (err == 0)
        stm_handles_each(fs, restore_handle, NULL);
    for (uint32_t i = 0; err == 0 && i < atomic_load(&fs->remains->drafts_used); i++)
        err = restore_slot(fs, &fs->remains->drafts[i]);
    if (err == 0) {
        stm_files_each(fs, complete, NULL);
        err = fs->done->err;
    }
    if (err == 0)
        err = stm_orphans_each(fs->store, note_orphan, fs);
    return err;
}

void stm_takeover_free(struct stm_fs *fs)
{
    if (!fs->done)
        return;
    free(fs->done->steps);
    free(fs->done->dirt);
    free(fs->done);
    fs->done = NULL;
}

/* ---- the kernel ---- */

static int tell_item(void *arg, const struct stm_log_item *item)
{
    struct stm_fs *fs = arg;
    struct stm_inval list[2] = {{STM_INVAL_DATA, stm_nodeid_head(item->object), {NULL, 0}},
                                {STM_INVAL_ENTRY, stm_nodeid_head(item->parent), stm_slice_str(item->name)}};
    int err = stm_notify_post(fs, list, 1, NULL, NULL);

    if (err == 0 && item->parent != 0)
        err = stm_notify_post(fs, list + 1, 1, NULL, NULL);
    return err;
}

static void told(void *arg)
{
    atomic_store((_Atomic uint32_t *)arg, 0);
}

/* Tells of what was lost, and records what has become of the draft. */
static void tell_file(struct stm_fs *fs, struct stm_file *f, void *arg)
{
    int *err = arg;

    stm_file_lock(f);
    struct stm_draft_slot *slot = f->slot;
    stm_file_unlock(f);
    if (slot && atomic_load(&slot->untold) && *err == 0)
        *err = stm_notify_post(fs, &(struct stm_inval){STM_INVAL_DATA, stm_nodeid_head(f->object), {NULL, 0}}, 1, told, &slot->untold);
}

void stm_takeover_tell(struct stm_fs *fs)
{
    const struct stm_done *done = fs->done;
    struct stm_log_record r;
    int err = 0;

    if (!done)
        return;
    stm_files_each(fs, tell_file, &err);
    for (uint64_t seq = done->apply_from; err == 0 && seq != 0 && seq <= done->apply_to; seq++)
        err = stm_log_get(fs->store, seq, &r, tell_item, fs);
    if (err < 0)
        stm_fs_log(fs, STM_FS_ERROR, "takeover_incomplete",
                   "error=\"%s\" consequence=\"the kernel may show what was lost until it forgets it\"", stm_error_text(err));
    atomic_store(&fs->remains->apply_seq, 0);
    sweep_stage(fs);
}
