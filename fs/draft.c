/*
 * draft.c: what is being written (DESIGN §3): from the first changed byte to the commit of the pending version. When a pending version stops
 * being amended, so becomes one that others see, is observe.c's and open.c's business.
 *
 *     dirty  pending   what happened                      what a flush does
 *     no     no        opened, or sealed                  nothing
 *     yes    no        changed                            a version: pending
 *     no     yes       flushed                            nothing
 *     yes    yes       changed again, nobody has looked   amends the pending version
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "file.h"
#include "privilege.h"
#include "stemma/health.h"

enum {
    MEMORY_WANTED = 64 << 20, /* by all drafts together: beyond, clean ones are dropped */
    COPYING = 64 << 10        /* writes from here on make large files: they are asked whether there is room to save it all */
};

static int read_base(void *arg, uint64_t off, void *buf, size_t len)
{
    struct stm_draft *d = arg;
    uint8_t *to = buf;

    while (len > 0) {
        int64_t n = stm_content_read(d->store, &d->base, off, to, len);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return STM_E_CORRUPT; /* shorter than its record says */
        to += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int base_extent(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct stm_draft *d = arg;

    return stm_content_extent(d->store, &d->base, off, ret_from, ret_to);
}

static void drop_base(struct stm_draft *d)
{
    if (d->has_base)
        stm_version_release(&d->base);
    d->has_base = false;
}

static struct stm_stage_base base_of(struct stm_draft *d)
{
    struct stm_stage_base base = {.read = read_base, .extent = base_extent, .arg = d};

    if (d->has_base) {
        base.size = d->base.row.size;
        base.data = d->base.data;
    }
    return base;
}

/* The draft has the bytes now; what else it must know of its object. */
static void loaded(struct stm_draft *d, const struct stm_object *o)
{
    d->loaded = true;
    d->mode = o->mode;
    d->privileged = (o->mode & (S_ISUID | S_ISGID)) || (o->flags & STM_OBJ_XATTR);
    d->mtime_ns = o->mtime_ns;
    d->ctime_ns = o->ctime_ns;
    if (o->nlink == 0 && !d->replace)
        d->unlinked = true;
}

int stm_draft_load(struct stm_fs *fs, struct stm_file *f, bool cut)
{
    struct stm_draft *d = &f->draft;
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;
    int err;

    if (d->loaded)
        return 0;
    err = stm_object_get(&v, f->object, &o);
    if (err == 0 && !cut) {
        err = stm_version_at(&v, &o, &d->base);
        d->has_base = err == 0;
        if (err == -ENOENT)
            err = 0;
    }
    if (err < 0)
        return err == -ENOENT ? -ESTALE : err;
    struct stm_stage_base base = base_of(d);
    if (d->id == 0)
        d->id = stm_new_handle(fs);
    err = stm_stage_init(&d->data, &base, stm_store_stage(fs->store), d->id);
    if (err < 0 || d->data.fd < 0)
        drop_base(d);
    if (err < 0)
        return err;
    loaded(d, &o);
    d->dirty = false;
    return 0;
}

int stm_draft_recover(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_state *state)
{
    struct stm_draft *d = &f->draft;
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;
    int err = stm_object_get(&v, f->object, &o);

    if (err == 0 && state->base_seq != 0) {
        err = stm_version_get(&v, state->base_line, state->base_ordinal, &d->base);
        d->has_base = err == 0;
        if (err == 0 && d->base.row.seq != state->base_seq)
            err = -EIO; /* amended since: the bytes below are others now */
    }
    struct stm_stage_base base = base_of(d);
    if (err == 0)
        err = stm_stage_reopen(&d->data, &base, stm_store_stage(fs->store), state->id, state->size, state->base_len);
    if (err < 0) {
        drop_base(d);
        return err == -ENOENT ? -EIO : err;
    }
    loaded(d, &o);
    d->dirty = true;
    d->mtime_ns = state->mtime_ns;
    d->ctime_ns = state->ctime_ns;
    return 0;
}

int stm_draft_spill(struct stm_fs *fs, struct stm_file *f)
{
    struct stm_draft *d = &f->draft;
    int err = 0;

    if (!f->slot || !d->dirty)
        return 0;
    err = stm_stage_spill(&d->data, false);
    if (err < 0 && !d->unlinked && !d->replace)
        return stm_draft_commit(fs, f, &(struct stm_draft_commit){.final = false}); /* early, but not lost */
    d->data.leave = err == 0;
    return err;
}

int stm_draft_flush(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how)
{
    struct stm_draft *d = &f->draft;
    int err = stm_draft_commit(fs, f, how);

    return err == 0 && f->slot && d->unlinked && d->dirty ? stm_stage_spill(&d->data, false) : err;
}

/* The content changed now. mtime strictly increases from write to write; one that was set to the far future gives way to the clock. */
static void touch(struct stm_fs *fs, struct stm_draft *d)
{
    int64_t now = stm_now(fs), second = 1000000000;

    d->mtime_ns = now > d->mtime_ns || d->mtime_ns - now > second ? now : d->mtime_ns + 1;
    d->ctime_ns = now > d->ctime_ns ? now : d->ctime_ns + 1;
    if (!d->dirty) {
        d->first = d->asker;
        d->period++;
    }
    d->last = d->asker;
    d->dirty = true;
}

/* What saving will write once more. */
static uint64_t staged_bytes(const struct stm_draft *d)
{
    struct stat st;

    return d->loaded && d->data.fd >= 0 && fstat(d->data.fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/*
 * A file that gets a length before it gets bytes is about to be mapped, as SQLite's -shm is, and a mapping that lost what it maps ends its
 * process. So it goes to the stage file, which the next daemon finds. Where that cannot be, memory will do.
 */
static void expect_mapping(struct stm_fs *fs, struct stm_file *f, uint64_t from)
{
    struct stm_stage *st = &f->draft.data;

    if (f->slot && from >= st->size + STM_STAGE_BLOCK - 1 && stm_file_writers(fs, f) > 0)
        (void)!stm_stage_spill(st, true);
}

int stm_draft_write(struct stm_fs *fs, struct stm_file *f, uint64_t off, const void *buf, size_t len)
{
    struct stm_draft *d = &f->draft;
    int err = stm_store_room(fs->store, len, len >= COPYING ? staged_bytes(d) : 0);

    if (err == 0)
        err = stm_draft_load(fs, f, false);
    if (err < 0)
        return err;
    expect_mapping(fs, f, off);
    err = stm_stage_write(&d->data, off, buf, len);
    if (err < 0)
        return err;
    touch(fs, d);
    d->cut = false;
    return 0;
}

int stm_draft_truncate(struct stm_fs *fs, struct stm_file *f, uint64_t size)
{
    struct stm_draft *d = &f->draft;
    int err = stm_draft_load(fs, f, size == 0);

    if (err < 0)
        return err;
    expect_mapping(fs, f, size);
    err = stm_stage_truncate(&d->data, size);
    if (err < 0)
        return err;
    touch(fs, d);
    d->cut = size == 0;
    return 0;
}

int stm_draft_zero(struct stm_fs *fs, struct stm_file *f, uint64_t off, uint64_t len)
{
    struct stm_draft *d = &f->draft;
    int err = stm_draft_load(fs, f, false);

    if (err == 0)
        err = stm_stage_zero(&d->data, off, len);
    if (err == 0)
        touch(fs, d);
    return err;
}

bool stm_draft_shows(const struct stm_file *f)
{
    return f->draft.loaded;
}

/* ---- privileges ---- */

struct unprivilege {
    uint64_t object;
    const struct stm_caller *who; /* root keeps set-id bits, as in every filesystem */
    uint32_t mode;
};

static int build_unprivilege(struct stm_txn *txn, void *arg)
{
    struct unprivilege *u = arg;
    struct stm_view v = stm_txn_view(txn);
    struct stm_object o;
    int err = stm_object_get(&v, u->object, &o);

    if (err < 0)
        return err;
    uint32_t mode = u->who->uid == 0 ? o.mode & 07777 : stm_mode_unprivileged(&o, u->who);
    u->mode = (o.mode & S_IFMT) | mode;
    err = stm_capability_drop(txn, &o);
    if (err < 0 || u->mode == o.mode)
        return err;
    return stm_object_set(txn, u->object, &(struct stm_setattr){.valid = STM_SET_MODE, .mode = mode}, NULL);
}

int stm_draft_unprivilege(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who)
{
    struct stm_draft *d = &f->draft;
    struct unprivilege u = {.object = f->object, .who = who};
    struct stm_act act = {.who = *who};

    if (!d->privileged)
        return 0;
    int err = stm_act_commit(fs, &act, build_unprivilege, &u);
    if (err < 0)
        return err;
    d->mode = u.mode;
    d->privileged = u.mode & (S_ISUID | S_ISGID); /* another writer may have fewer rights */
    return 0;
}

/* ---- commit ---- */

struct saving {
    const struct stm_draft *d;
    uint64_t object;
    enum stm_bump bump;
    const struct stm_content *content;
    int (*name)(struct stm_txn *txn, void *arg); /* gives the object a name first; may be NULL */
    void *name_arg;
    /* out, afresh in each build */
    bool nameless, made, amended, unmoved; /* unmoved: the newest version is what it was */
    uint64_t replaced;
    struct stm_object after;
};

static int build_save(struct stm_txn *txn, void *arg)
{
    struct saving *s = arg;
    struct stm_view v = stm_txn_view(txn);
    struct stm_save save = {.content = s->content, .mtime_ns = s->d->mtime_ns, .ctime_ns = s->d->ctime_ns, .bump = s->bump};
    struct stm_object o;
    int err = s->name ? s->name(txn, s->name_arg) : 0;

    if (err < 0)
        return err;
    err = stm_object_get(&v, s->object, &o);
    if (err < 0)
        return err == -ENOENT ? -ESTALE : err;
    s->nameless = o.nlink == 0;
    if (s->nameless)
        return 0; /* nothing that anybody could find by name: no version */
    save.amend = s->d->pending && o.line == s->d->line && o.tip.seq == s->d->seq;
    err = stm_version_save(txn, s->object, &save, &s->after);
    if (err < 0)
        return err;
    bool any = o.tip.seq != 0, now = s->after.tip.seq != 0;
    s->amended = save.amend && now && s->after.tip.ordinal == o.tip.ordinal;
    s->made = now && (!any || s->after.tip.ordinal > o.tip.ordinal);
    s->unmoved = s->after.tip.seq == o.tip.seq;
    return 0;
}

static int build_replace(struct stm_txn *txn, void *arg)
{
    struct saving *s = arg;
    const struct stm_replace *r = s->d->replace;
    struct stm_save save = {
        .content = s->content, .mtime_ns = s->d->mtime_ns, .always = true, .exact = r->exact, .semver = r->semver, .bump = r->bump};

    s->nameless = false;
    s->amended = s->unmoved = false;
    s->made = true;
    return stm_tree_replace(txn, s->object, r->parent, stm_slice_str(r->name), &save, &s->replaced, &s->after);
}

static int read_draft(void *arg, uint64_t off, void *buf, size_t len)
{
    int64_t n = stm_stage_read(arg, off, buf, len);

    if (n < 0)
        return (int)n;
    return (size_t)n == len ? 0 : -EIO;
}

static int draft_extent(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    return stm_stage_extent(arg, off, ret_from, ret_to);
}

/* What the commit made of the draft. */
static void committed(struct stm_draft *d, const struct saving *s, uint64_t seq)
{
    d->dirty = false;
    if (s->nameless) {
        d->unlinked = true;
        d->dirty = true; /* only the draft has the bytes: it serves them until the last handle closes */
        return;
    }
    d->born = false;
    d->pending = s->made || s->amended;
    d->hollow = d->pending && d->cut && s->after.size == 0;
    d->line = s->after.line;
    if (!s->unmoved)
        d->seq = s->made || s->amended ? seq : 0;
    d->mtime_ns = s->after.mtime_ns;
    d->ctime_ns = s->after.ctime_ns;
    d->flushed_ns = stm_monotonic_ns();
}

static int commit(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how, struct saving *s)
{
    struct stm_draft *d = &f->draft;
    struct stm_source source = {.size = d->data.size, .read = read_draft, .extent = draft_extent, .arg = &d->data};
    struct stm_act act = {.who = {.uid = d->uid, .gid = d->gid, .pid = d->pid, .unique = how->unique},
                          .sync = how->sync,
                          .step = STM_STEP_DRAFT,
                          .draft = d->id,
                          .period = d->period};
    act.pressing = d->data.fd < 0; /* small, and accepted when it was written */
    struct stm_content content;
    int err;

    if (fs->opt.read_only)
        return -EROFS;
    if (d->data.fd < 0)
        source.mem = d->data.size > 0 ? (const void *)d->data.mem : "";
    err = stm_content_put(fs->store, &source, &content);
    if (err < 0)
        return err;
    s->content = &content;
    err = stm_act_commit(fs, &act, d->replace ? build_replace : build_save, s);
    stm_content_release(&content);
    if (err < 0)
        return err;
    committed(d, s, act.seq);
    stm_file_epoch_advance(fs, f->object);
    return 0;
}

int stm_draft_commit(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how)
{
    struct stm_draft *d = &f->draft;
    struct saving s = {.d = d, .object = f->object};
    int err = 0;

    if (d->replace || d->unlinked || (!d->dirty && !(how->final && d->born)))
        return 0;
    err = stm_draft_load(fs, f, false);
    if (err < 0)
        return err;
    s.bump = stm_bump_get(fs, f->object, false);
    err = commit(fs, f, how, &s);
    if (err == 0 && s.made)
        (void)stm_bump_get(fs, f->object, true);
    bool base_gone = d->has_base && s.amended && d->base.row.ordinal == s.after.tip.ordinal;
    if (err == 0 && (base_gone || atomic_load(&fs->draft_bytes) > MEMORY_WANTED))
        stm_draft_forget(f); /* the next write reads it again */
    return err;
}

int stm_draft_replace(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how, uint64_t *ret_replaced)
{
    struct stm_draft *d = &f->draft;
    struct saving s = {.d = d, .object = f->object};
    int err;

    *ret_replaced = 0;
    if (!d->replace || (!d->dirty && !(how->final && d->replace->even_empty)))
        return 0;
    err = stm_draft_load(fs, f, false);
    if (err == 0)
        err = commit(fs, f, how, &s);
    if (err < 0)
        return err;
    free(d->replace);
    d->replace = NULL;
    *ret_replaced = s.replaced;
    return 0;
}

int stm_draft_name(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how, int (*name)(struct stm_txn *txn, void *arg),
                   void *arg)
{
    struct saving s = {.d = &f->draft, .object = f->object, .name = name, .name_arg = arg};
    int err = f->draft.replace ? -ENOENT : stm_draft_load(fs, f, false);

    if (err == 0)
        err = commit(fs, f, how, &s);
    if (err == 0)
        f->draft.unlinked = false;
    return err;
}

void stm_draft_forget(struct stm_file *f)
{
    struct stm_draft *d = &f->draft;

    if (!d->loaded || d->dirty || d->unlinked)
        return;
    stm_stage_release(&d->data);
    drop_base(d);
    d->loaded = false;
}

void stm_draft_release(struct stm_draft *d)
{
    stm_stage_release(&d->data);
    drop_base(d);
    d->loaded = d->dirty = false;
    free(d->replace);
    d->replace = NULL;
}
