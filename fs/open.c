/*
 * open.c: handles: open, create, flush, fsync, release. A handle for writing has a number (remains.h), any other 0. Creating `word@minor` and the
 * like (DESIGN §2): a nameless object takes its name when written bytes are flushed, or at the last release.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"
#include "notify.h"
#include "task.h"
#include "vnode.h"

static bool wants_write(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

/* ---- opening ---- */

static int open_reader(struct stm_fs *fs, const struct stm_caller *who, uint64_t object, struct fuse_file_info *fi)
{
    fi->fh = 0;
    fi->keep_cache = !who->uncached;
    fi->noflush = 1;
    return stm_file_open_reader(fs, object);
}

/*
 * Counts a handle of f and gives it a number; where an earlier daemon did so for the same request, that one is it. ret_old: and what was lost
 * since is not this handle's loss. File locked.
 */
static int join_writers(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who, struct fuse_file_info *fi,
                        struct stm_handle **ret_old)
{
    struct stm_handle *old = stm_handle_of_request(fs, f->object, who->unique);
    int err = 0;

    if (old) {
        fi->fh = atomic_load(&old->fh);
    } else {
        err = stm_slot_take(fs, f);
        if (err == 0)
            err = stm_handle_new(fs, f->object, who->unique, &fi->fh);
        if (err == 0)
            stm_file_opened(fs, f, true);
    }
    stm_draft_author(f, who);
    fi->keep_cache = !who->uncached;
    *ret_old = old;
    return err;
}

/*
 * Who opens begins a new save. Close returns before the kernel's release comes, so the writer before may still be counted: what it flushed is
 * over all the same, unless it has written more since. File locked.
 */
static int end_previous_save(struct stm_fs *fs, struct stm_file *f)
{
    struct stm_draft *d = &f->draft;

    if (d->dirty || d->replace)
        return 0;
    if (d->born && d->flushed) {
        int err = stm_draft_commit(fs, f, &(struct stm_draft_commit){.final = true});
        if (err < 0)
            return err;
    }
    d->pending = d->hollow = false;
    return 0;
}

/* O_TRUNC, unless an earlier daemon did it for the same request and it was not lost. */
static int cut_at_open(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who, struct stm_handle *h)
{
    if (atomic_load(&h->flags) & STM_HANDLE_CUT)
        return 0;
    int err = stm_draft_truncate(fs, f, 0);
    if (err < 0)
        return err;
    atomic_fetch_or(&h->flags, STM_HANDLE_CUT);
    if (!f->draft.privileged)
        return 0;
    err = stm_draft_unprivilege(fs, f, who);
    /* The kernel still shows the set-id bits. */
    (void)stm_notify_post(fs, &(struct stm_inval){.kind = STM_INVAL_ATTR, .ino = stm_nodeid_head(f->object)}, 1, NULL, NULL);
    return err;
}

static int open_writer(struct stm_fs *fs, const struct stm_caller *who, uint64_t object, struct fuse_file_info *fi)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_MAKE);
    struct stm_handle *old = NULL;
    bool last, gone;
    int err;

    if (!f)
        return -ENOMEM;
    stm_file_lock(f);
    err = end_previous_save(fs, f);
    if (err == 0)
        err = join_writers(fs, f, who, fi, &old);
    if (err == 0) {
        if (old && atomic_load(&old->flags) & STM_HANDLE_LOST)
            atomic_store(&old->flags, 0); /* nobody has written through it yet: not its loss, but for the cut */
        if (fi->flags & O_TRUNC)
            err = cut_at_open(fs, f, who, stm_handle_of(fs, fi->fh));
        if (err < 0) {
            stm_file_closed(fs, f, true, &last, &gone);
            stm_handle_drop(fs, fi->fh);
        }
    }
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
    return err;
}

static int open_text(struct stm_again *a, const struct stm_node *node)
{
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_buf text = STM_BUF_INIT;
    struct stm_vnode v;
    uint64_t object;
    int err = stm_vnode_get(fs, node->id, &v);

    if (err < 0)
        return err;
    if (v.kind != STM_V_LOG && v.kind != STM_V_JSONL)
        err = -EINVAL;
    else if (wants_write(a->fi.flags))
        err = -EROFS;
    if (err == 0)
        err = stm_virtual_text(fs, &v, a->waited, &text, &object);
    if (err == 0)
        err = stm_text_keep(fs, &text, &a->fi.fh);
    stm_buf_release(&text);
    stm_vnode_release(&v);
    if (err == 1)
        return stm_again_post(fs, object, a) < 0 ? -ENOMEM : 1;
    a->fi.direct_io = 1;
    a->fi.noflush = 1;
    return err;
}

/* Undoes an open whose answer the kernel did not take. */
static void open_lost(struct stm_fs *fs, const struct stm_caller *who, const struct stm_node *node, const struct fuse_file_info *fi)
{
    bool last, gone = false;

    if (node->kind == STM_NODE_VIRTUAL)
        stm_text_drop(fs, fi->fh);
    if (node->kind != STM_NODE_HEAD)
        return;
    struct stm_file *f = stm_file_pin(fs, node->id, STM_PIN_FIND);
    if (!f)
        return;
    stm_file_closed(fs, f, fi->fh != 0, &last, &gone);
    stm_handle_drop(fs, fi->fh);
    stm_file_unpin(fs, f);
    if (gone)
        stm_purge(fs, who, node->id);
}

/* An open that is answered when the kernel has forgotten what was lost of the object. */
struct waiting {
    fuse_req_t req;
    struct stm_caller who;
    struct stm_node node;
    struct fuse_file_info fi;
};

static void reply_open(void *arg)
{
    struct waiting *w = arg;

    if (fuse_reply_open(w->req, &w->fi) < 0)
        open_lost(stm_fs_of(w->req), &w->who, &w->node, &w->fi);
    free(w);
}

/* False: there is nothing to wait for, or no memory to do it. */
static bool open_later(const struct stm_again *a, const struct stm_node *node)
{
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_file *f = fs->done && node->kind == STM_NODE_HEAD ? stm_file_pin(fs, node->id, STM_PIN_FIND) : NULL;
    bool later = false;

    if (!f)
        return false;
    stm_file_lock(f);
    bool untold = f->slot && atomic_load(&f->slot->untold);
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
    struct waiting *w = untold ? malloc(sizeof *w) : NULL;
    if (w) {
        *w = (struct waiting){a->req, a->who, *node, a->fi};
        later = stm_notify_post(fs, &(struct stm_inval){STM_INVAL_DATA, a->ino, {NULL, 0}}, 1, reply_open, w) == 0;
        if (!later)
            free(w);
    }
    return later;
}

static void open_again(struct stm_again *a)
{
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_node node;
    int err = stm_nodeid_parse(a->ino, &node);

    if (err == 0 && node.kind == STM_NODE_VIRTUAL) {
        err = open_text(a, &node);
        if (err == 1)
            return; /* posted */
    } else if (err == 0 && node.kind == STM_NODE_HEAD) {
        err = wants_write(a->fi.flags) ? open_writer(fs, &a->who, node.id, &a->fi) : open_reader(fs, &a->who, node.id, &a->fi);
    } else if (err == 0) {
        err = wants_write(a->fi.flags) ? -EROFS : 0;
        a->fi.keep_cache = 1;
        a->fi.noflush = 1;
    }
    if (err < 0)
        stm_reply_fail(a->req, "open", a->ino, err);
    else if (!open_later(a, &node) && fuse_reply_open(a->req, &a->fi) < 0)
        open_lost(fs, &a->who, &node, &a->fi);
}

void stm_do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stm_again a = {.req = req, .who = stm_caller_of(req), .ino = ino, .fi = *fi, .again = open_again};

    a.fi.fh = 0;
    open_again(&a);
}

/* ---- creating ---- */

/* The file exists after all: somebody else was faster. */
static int create_open(struct stm_fs *fs, struct stm_making *m, struct fuse_file_info *fi)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_entry e;
    int err = fi->flags & O_EXCL ? -EEXIST : stm_tree_lookup(&v, m->parent, m->name, &e);

    if (err == 0)
        err = stm_object_get(&v, e.object, &m->act.object);
    if (err == 0 && !S_ISREG(m->act.object.mode))
        err = -EEXIST;
    return err < 0 ? err : open_writer(fs, &m->act.who, e.object, fi);
}

/* The first handle of a new object. replace (may be NULL) becomes the draft's, also on failure. */
static int open_new(struct stm_fs *fs, struct stm_making *m, struct stm_replace *replace, struct fuse_file_info *fi)
{
    struct stm_file *f = stm_file_pin(fs, m->act.object.id, STM_PIN_MAKE);
    struct stm_handle *old;

    if (!f) {
        free(replace);
        return -ENOMEM;
    }
    stm_file_lock(f);
    int err = join_writers(fs, f, &m->act.who, fi, &old);
    f->draft.born = !m->nameless && m->act.object.head_seq == 0;
    free(f->draft.replace);
    f->draft.replace = replace;
    if (replace && f->slot)
        *stm_slot_replace(fs, f->slot) = *replace;
    stm_file_unlock(f);
    if (err == 0 && m->nameless)
        (void)stm_file_orphan(fs, m->act.object.id);
    else if (err == 0 && !m->act.again && m->act.object.line == m->act.object.id)
        stm_fresh_add(fs, m->act.object.id);
    stm_file_unpin(fs, f);
    return err;
}

/* `word@v2.0.0`, `word@minor`: what the object is to replace. 0 and NULL for an ordinary name. */
static int plan_replace(struct stm_fs *fs, struct stm_making *m, const char *name, int flags, struct stm_replace **ret)
{
    struct stm_pick p = {.fs = fs, .who = m->act.who, .parent = m->parent, .name = name};
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object dir;
    struct stm_entry e;
    int err = strchr(name, '@') ? stm_tree_lookup(&v, m->parent, m->name, &e) : 0;

    *ret = NULL;
    if (err != -ENOENT)
        return err;
    err = stm_pick_create(&p);
    if (err <= 0)
        return err;
    err = stm_object_get(&v, m->parent, &dir);
    if (err < 0)
        return err;
    /* It is a rename over the file: a sticky directory protects what is not one's own. */
    if (dir.mode & S_ISVTX && m->act.who.uid != 0 && m->act.who.uid != dir.uid && m->act.who.uid != p.object.uid)
        return -EPERM;
    struct stm_replace *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    *r = (struct stm_replace){.parent = m->parent,
                              .exact = p.sel.kind == STM_SEL_EXACT,
                              .semver = p.sel.semver,
                              .bump = p.sel.bump,
                              .even_empty = (flags & O_ACCMODE) != O_RDONLY && flags & (O_TRUNC | O_EXCL)};
    memcpy(r->name, p.base.data, p.base.len);
    m->name.len = p.base.len; /* only asked whether it is junk: the base's name stands at its front */
    m->nameless = true;
    *ret = r;
    return 0;
}

static int create(struct stm_fs *fs, struct stm_making *m, const char *name, struct fuse_file_info *fi)
{
    struct stm_replace *replace = NULL;
    int err = 0;

    if (strcmp(name, "/") == 0) { /* O_TMPFILE (connection.c) */
        m->nameless = true;
        m->name = stm_slice_str("tmpfile");
    } else {
        err = stm_name_allowed(m->parent, name);
        if (err == 0)
            err = plan_replace(fs, m, name, fi->flags, &replace);
    }
    if (err == 0)
        err = stm_act_commit(fs, &m->act, stm_build_make, m);
    if (err == -EEXIST && !m->nameless)
        return create_open(fs, m, fi);
    if (err < 0) {
        free(replace);
        return err;
    }
    return open_new(fs, m, replace, fi);
}

void stm_do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_making m = {.fs = fs, .act = stm_act_of(req), .name = stm_slice_str(name)};
    struct stm_found found;
    int err = stm_head_object(parent, &m.parent);

    m.n = (struct stm_new){.mode = S_IFREG | (mode & 07777), .uid = m.act.who.uid, .gid = m.act.who.gid};
    if (err == 0)
        err = create(fs, &m, name, fi);
    if (err < 0) {
        stm_reply_fail(req, "create", parent, err);
        return;
    }
    stm_found_object(fs, &m.act.who, &m.act.object, &found);
    if (m.nameless)
        found.e.entry_timeout = 0;
    if (fuse_reply_create(req, &found.e, fi) < 0) {
        struct stm_node node = {STM_NODE_HEAD, 0, m.act.object.id};
        open_lost(fs, &m.act.who, &node, fi);
    }
}

/* ---- the replacement behind `cp new word@minor` ---- */

struct replacing {
    struct stm_fs *fs;
    fuse_req_t req; /* NULL: a release, nobody waits */
    uint64_t fh;    /* final: of the handle that is released */
    struct stm_caller who;
    struct stm_file *f; /* pinned */
    bool sync, final;
    uint64_t replaced;
};

static int replace_commit(void *arg)
{
    struct replacing *r = arg;
    struct stm_draft_commit how = {.unique = r->who.unique, .sync = r->sync, .final = r->final};

    stm_file_lock(r->f);
    int err = stm_draft_replace(r->fs, r->f, &how, &r->replaced);
    stm_file_unlock(r->f);
    return err;
}

/* `word` is another object now: the kernel, which did not do it, must forget its name first. */
static int replace_now(struct replacing *r)
{
    struct stm_fs_affected what = {.parent = 0};
    char name[STM_NAME_MAX + 1];
    int err;

    stm_file_lock(r->f);
    if (r->f->draft.replace) {
        what.parent = r->f->draft.replace->parent;
        memcpy(name, r->f->draft.replace->name, sizeof name);
        what.name = stm_slice_str(name);
    }
    stm_file_unlock(r->f);
    if (what.parent == 0)
        return 0; /* another flush did it */
    err = stm_fs_apply(r->fs, &what, 1, replace_commit, r);
    if (err < 0 || r->replaced == 0)
        return err;
    stm_file_adopt(r->fs, r->f);
    stm_unnamed(r->fs, &r->who, r->replaced);
    return stm_notify_post(r->fs, &(struct stm_inval){.kind = STM_INVAL_ATTR, .ino = stm_nodeid_head(r->replaced)}, 1, NULL, NULL);
}

static void finish_release(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who, uint64_t fh);

static void run_replace(struct stm_fs *fs, void *arg)
{
    struct replacing *r = arg;
    int err = replace_now(r);

    if (r->req)
        stm_reply_fail(r->req, "flush", stm_nodeid_head(r->f->object), err);
    else if (err < 0)
        stm_fs_log(fs, STM_FS_ERROR, "write_lost", "object=%llu error=\"%s\" consequence=\"the version is not made\"",
                   (unsigned long long)r->f->object, stm_error_text(err));
    if (r->final)
        finish_release(fs, r->f, &r->who, r->fh);
    stm_file_unpin(fs, r->f);
    free(r);
}

/* Hands a replacement to the task thread, which may wait for the kernel. Takes over the pin, unless it fails. */
static int post_replace(struct stm_fs *fs, const struct replacing *r)
{
    struct replacing *copy = malloc(sizeof *copy);

    if (!copy)
        return -ENOMEM;
    *copy = *r;
    int err = stm_task_post(fs, &(struct stm_task){.run = run_replace, .arg = copy, .waits = true});
    if (err < 0)
        free(copy);
    return err;
}

/* ---- flush, fsync, release ---- */

static void reply_lost(void *arg)
{
    stm_reply_err(arg, -EIO);
}

/* Commits what is dirty; answers, now or from the task thread. */
static void save(fuse_req_t req, uint64_t object, const struct fuse_file_info *fi, bool sync)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct replacing r = {.fs = fs, .req = req, .who = stm_caller_of(req), .f = stm_file_pin(fs, object, STM_PIN_FIND), .sync = sync};
    int err;

    if (r.f)
        stm_file_lock(r.f);
    if (!r.f || stm_handle_use(fs, fi->fh, object, r.who.unique) < 0) { /* the draft is lost, and close must say so */
        if (r.f)
            stm_file_unlock(r.f);
        stm_file_unpin(fs, r.f);
        /* Who hears of it reads what is saved. */
        if (stm_notify_post(fs, &(struct stm_inval){STM_INVAL_DATA, stm_nodeid_head(object), {NULL, 0}}, 1, reply_lost, req) < 0)
            reply_lost(req);
        return;
    }
    bool replace = r.f->draft.replace && r.f->draft.dirty;
    bool clean = !r.f->draft.dirty || r.f->draft.unlinked;
    err = stm_draft_flush(fs, r.f, &(struct stm_draft_commit){.unique = r.who.unique, .sync = sync});
    if (!sync)
        r.f->draft.flushed = true;
    stm_file_unlock(r.f);
    if (replace) {
        err = post_replace(fs, &r);
        if (err == 0)
            return;
    }
    stm_file_unpin(fs, r.f);
    if (err == 0 && sync && clean)
        err = stm_store_sync(fs->store);
    stm_reply_fail(req, sync ? "fsync" : "flush", object, err);
}

void stm_do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (ino >> 60 == STM_NODE_HEAD && fi->fh != 0)
        save(req, ino, fi, false);
    else
        stm_reply_err(req, 0);
}

void stm_do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    if (ino >> 60 == STM_NODE_HEAD && fi->fh != 0)
        save(req, ino, fi, true);
    else
        stm_reply_err(req, ino >> 60 == STM_NODE_HEAD ? stm_store_sync(stm_fs_of(req)->store) : 0);
}

/* The last handle was counted out just before the last name went: then the object was purged, and nobody can miss what it held. */
static bool is_purged(struct stm_fs *fs, uint64_t object)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;

    return stm_object_get(&v, object, &o) == -ENOENT;
}

/* The draft's last writer has gone: what it wrote is a version now, or lost. File locked. */
static void end_draft(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who)
{
    struct stm_draft *d = &f->draft;
    int err = stm_draft_commit(fs, f, &(struct stm_draft_commit){.unique = who->unique, .final = true});

    if (err == -ESTALE && is_purged(fs, f->object)) {
        d->dirty = false;
    } else if (err < 0) {
        stm_fs_log(fs, STM_FS_ERROR, "write_lost", "object=%llu error=\"%s\" consequence=\"the file keeps its last saved content\"",
                   (unsigned long long)f->object, stm_error_text(err));
        d->dirty = false;
        (void)stm_notify_post(fs, &(struct stm_inval){.kind = STM_INVAL_DATA, .ino = stm_nodeid_head(f->object)}, 1, NULL, NULL);
    }
    d->pending = d->hollow = d->born = d->flushed = false;
    stm_draft_forget(f);
}

/* Counts a handle out; with the last ones goes what they kept. */
static void finish_release(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who, uint64_t fh)
{
    bool last, gone;

    stm_file_lock(f);
    stm_file_closed(fs, f, true, &last, &gone);
    if (last) {
        free(f->draft.replace); /* it could not be done */
        f->draft.replace = NULL;
        end_draft(fs, f, who);
    }
    stm_file_unlock(f);
    stm_task_wake(fs, f->object);
    if (gone)
        stm_purge(fs, who, f->object);
    stm_handle_drop(fs, fh); /* last: until then a successor has the handle, and is asked for the release again */
}

static void release_reader(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who)
{
    bool last, gone;

    stm_file_closed(fs, f, false, &last, &gone);
    if (gone)
        stm_purge(fs, who, f->object);
}

void stm_do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_caller who = stm_caller_of(req);
    struct stm_node node = {.kind = STM_NODE_VERSION};
    int err = stm_nodeid_parse(ino, &node);

    if (err == 0 && node.kind == STM_NODE_VIRTUAL)
        stm_text_drop(fs, fi->fh);
    struct stm_file *f = err == 0 && node.kind == STM_NODE_HEAD ? stm_file_pin(fs, node.id, STM_PIN_FIND) : NULL;
    if (!f) {
        stm_reply_err(req, 0);
        return;
    }
    if (fi->fh == 0) {
        release_reader(fs, f, &who);
    } else if (stm_handle_of(fs, fi->fh)) { /* else an earlier daemon has released it */
        stm_file_lock(f);
        bool replace = f->draft.replace && stm_file_writers(fs, f) == 1;
        stm_file_unlock(f);
        struct replacing r = {.fs = fs, .fh = fi->fh, .who = who, .f = f, .final = true};
        if (replace && post_replace(fs, &r) == 0) { /* which counts the handle out and unpins */
            stm_reply_err(req, 0);
            return;
        }
        finish_release(fs, f, &who, fi->fh);
    }
    stm_file_unpin(fs, f);
    stm_reply_err(req, 0);
}
