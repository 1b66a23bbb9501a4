/*
 * rename.c: rename(2). The store moves lines (DESIGN §3); here the drafts of what is moved and replaced are brought in order, so that a file
 * which is renamed while it is being written still makes one version.
 */
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"
#include "notify.h"

struct moving {
    struct stm_fs *fs;
    struct stm_act act;
    struct stm_rename r;
    bool owner_changed; /* of the line that was taken over: its versions show another owner, mode or ACL now */
};

static int build_rename(struct stm_txn *txn, void *arg)
{
    struct moving *m = arg;
    struct stm_view v = stm_txn_view(txn);
    struct stm_object old = {.id = 0};
    struct stm_entry e;
    int err = stm_tree_lookup(&v, m->r.to_parent, m->r.to, &e);

    if (err == 0)
        err = stm_object_get(&v, e.object, &old);
    if (err < 0 && err != -ENOENT)
        return err;
    m->r.keep = err == 0 && stm_file_may_be_open(m->fs, e.object);
    err = stm_tree_rename(txn, &m->r);
    if (err == 0)
        err = stm_object_get(&v, m->r.moved, &m->act.object);
    if (err < 0)
        return err;
    const struct stm_object *o = &m->act.object;
    bool acls = m->fs->opt.acl && (o->flags | old.flags) & STM_OBJ_XATTR;
    m->owner_changed = m->r.replaced && (o->mode != old.mode || o->uid != old.uid || o->gid != old.gid || acls);
    return 0;
}

/* What happened to the moved object's line, as its draft must know it. File locked. */
static void follow(struct stm_file *f, const struct moving *m)
{
    struct stm_draft *d = &f->draft;

    if (m->r.moved != f->object || m->r.exchange)
        return;
    if (m->r.made_version) {
        d->pending = stm_file_writers(m->fs, f) > 0;
        d->hollow = d->pending && d->cut;
        d->born = false;
        d->line = m->act.object.line;
        d->seq = m->act.seq;
    } else if (m->act.object.line != d->line) {
        d->pending = false;
    }
}

/* With the moved file's draft flushed and locked, so that the new name shows what was written under the old one. */
static int move(struct moving *m)
{
    struct stm_view v = stm_view_head(m->fs->store);
    struct stm_entry e;
    int err = stm_tree_lookup(&v, m->r.from_parent, m->r.from, &e);

    if (err < 0)
        return err;
    m->r.drop_line = e.type == S_IFREG && stm_fresh_is(m->fs, e.object);
    struct stm_file *f = e.type == S_IFREG ? stm_file_pin(m->fs, e.object, STM_PIN_FIND) : NULL;
    if (f) {
        stm_file_lock(f);
        err = stm_draft_commit(m->fs, f, &(struct stm_draft_commit){.unique = m->act.who.unique});
    }
    if (err == 0)
        err = stm_act_commit(m->fs, &m->act, build_rename, m);
    if (f) {
        if (err == 0)
            follow(f, m);
        stm_file_unlock(f);
        stm_file_unpin(m->fs, f);
    }
    return err;
}

static int check_names(struct moving *m, const char *from, const char *to)
{
    struct stm_view v = stm_view_head(m->fs->store);
    struct stm_entry e;
    int err = stm_name_is_root_entry(m->r.from_parent, from) ? -EPERM : stm_name_allowed(m->r.to_parent, to);

    if (err < 0 || !strchr(to, '@') || stm_tree_lookup(&v, m->r.to_parent, m->r.to, &e) != -ENOENT)
        return err;
    return stm_pick_is_selector(m->fs, m->r.to_parent, to) ? -EXDEV : 0;
}

static int check_and_move(struct moving *m, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname)
{
    int err = stm_head_object(parent, &m->r.from_parent);

    if (err == 0)
        err = stm_head_object(newparent, &m->r.to_parent);
    if (err == 0)
        err = check_names(m, name, newname);
    if (err == 0) {
        err = move(m);
        if (err == -ENOENT && stm_pick_is_selector(m->fs, m->r.from_parent, name))
            err = -EXDEV; /* mv copies it then */
    }
    if (err == 0 && m->r.replaced && !m->r.exchange)
        stm_unnamed(m->fs, &m->act.who, m->r.replaced);
    return err;
}

void stm_do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned flags)
{
    struct moving m = {.fs = stm_fs_of(req), .act = stm_act_of(req)};
    struct stm_inval *list = NULL;
    size_t n = 0;
    int err = flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ? -EINVAL : stm_act_done(m.fs, &m.act);

    m.r.from = stm_slice_str(name);
    m.r.to = stm_slice_str(newname);
    m.r.noreplace = flags & RENAME_NOREPLACE;
    m.r.exchange = flags & RENAME_EXCHANGE;
    if (err == 0)
        err = check_and_move(&m, parent, name, newparent, newname);
    if (err >= 0 && (m.owner_changed || m.act.again) && !m.r.exchange)
        err = stm_past_attrs(m.fs, &m.act.object, &list, &n);
    if (err < 0)
        stm_reply_fail(req, "rename", parent, err);
    else
        stm_reply_after(req, list, n);
    free(list);
}
