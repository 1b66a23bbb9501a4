/*
 * link.c: making and removing names, except through open (open.c) and rename (rename.c).
 */
#include <sys/stat.h>

#include "file.h"

int stm_name_allowed(uint64_t parent, const char *name)
{
    size_t len = strlen(name);

    if (len > STM_NAME_MAX)
        return -ENAMETOOLONG;
    if (stm_name_is_root_entry(parent, name) || stm_name_is_refused(stm_slice(name, len)))
        return -EPERM;
    return 0;
}

/* A regular file that mknod made has no handle whose release would make its empty first version. */
static int first_version(struct stm_fs *fs, const struct stm_making *m)
{
    struct stm_file *f = stm_file_pin(fs, m->act.object.id, STM_PIN_MAKE);
    int err;

    if (!f)
        return -ENOMEM;
    atomic_store(&f->active, true);
    stm_file_lock(f);
    stm_draft_author(f, &m->act.who);
    f->draft.born = true;
    err = stm_draft_commit(fs, f, &(struct stm_draft_commit){.unique = m->act.who.unique, .final = true});
    f->draft.born = f->draft.pending = false;
    stm_draft_forget(f);
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
    return err;
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, struct stm_making *m)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_found found;
    int err = stm_head_object(parent, &m->parent);

    m->fs = fs;
    m->act = stm_act_of(req);
    m->name = stm_slice_str(name);
    m->n.uid = m->act.who.uid;
    m->n.gid = m->act.who.gid;
    if (err == 0)
        err = stm_name_allowed(m->parent, name);
    if (err == 0)
        err = stm_act_commit(fs, &m->act, stm_build_make, m);
    if (err == 0 && S_ISREG(m->n.mode) && m->act.object.head_seq == 0)
        err = first_version(fs, m);
    if (err < 0) {
        stm_reply_fail(req, "make", parent, err);
        return;
    }
    stm_found_object(fs, &m->act.who, &m->act.object, &found);
    if (S_ISREG(m->n.mode))
        found.e.attr_timeout = 0; /* the first version came after */
    stm_reply_found(req, &found);
}

void stm_do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct stm_making m = {.n = {.mode = mode, .rdev = rdev}};

    if ((mode & S_IFMT) == 0)
        m.n.mode |= S_IFREG;
    make(req, parent, name, &m);
}

void stm_do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct stm_making m = {.n = {.mode = S_IFDIR | (mode & 07777)}};

    make(req, parent, name, &m);
}

void stm_do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct stm_making m = {.n = {.mode = S_IFLNK | 0777, .target = stm_slice_str(target)}};

    if (m.n.target.len > STM_TARGET_MAX)
        stm_reply_err(req, -ENAMETOOLONG);
    else
        make(req, parent, name, &m);
}

/* ---- link ---- */

struct linking {
    struct stm_act act;
    uint64_t object, parent;
    struct stm_slice name;
};

static int build_link(struct stm_txn *txn, void *arg)
{
    struct linking *l = arg;

    return stm_tree_link(txn, l->object, l->parent, l->name, &l->act.object);
}

/* A file that O_TMPFILE made gets its first name together with what was written so far. 1: it has a name. */
static int name_first(struct stm_fs *fs, struct linking *l)
{
    struct stm_file *f = stm_file_pin(fs, l->object, STM_PIN_FIND);
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;
    int err = 1;

    if (!f)
        return err;
    stm_file_lock(f);
    err = stm_object_get(&v, l->object, &o);
    if (err == 0 && o.nlink == 0) {
        err = stm_handle_is_lost(fs, l->object) ? -EIO : 0; /* a name for what is left of it would say that it is whole */
        if (err == 0)
            err = stm_draft_name(fs, f, &(struct stm_draft_commit){.unique = l->act.who.unique}, build_link, l);
    } else if (err == 0 && stm_done_before(fs, l->act.who.unique, STM_STEP_DRAFT, NULL)) {
        l->act.object = o;
    } else if (err == 0) {
        err = 1;
    }
    stm_file_unlock(f);
    if (err == 0) {
        stm_file_adopt(fs, f);
        if (l->act.object.line == l->object)
            stm_fresh_add(fs, l->object);
    }
    stm_file_unpin(fs, f);
    return err;
}

void stm_do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct linking l = {.act = stm_act_of(req), .name = stm_slice_str(newname)};
    struct stm_node node = {.id = 0};
    struct stm_found found;
    int err = stm_act_done(fs, &l.act), done = err;

    if (err >= 0)
        err = stm_nodeid_parse(ino, &node);
    l.object = node.id;
    if (err == 0 && node.kind != STM_NODE_HEAD)
        err = -EXDEV;
    if (err == 0)
        err = stm_head_object(newparent, &l.parent);
    if (err == 0)
        err = stm_name_allowed(l.parent, newname);
    if (err == 0 && done == 0 && stm_pick_is_selector(fs, l.parent, newname))
        err = -EXDEV;
    if (err == 0)
        err = name_first(fs, &l);
    if (err == 1)
        err = stm_act_commit(fs, &l.act, build_link, &l);
    if (err < 0) {
        stm_reply_fail(req, "link", ino, err);
        return;
    }
    stm_found_object(fs, &l.act.who, &l.act.object, &found);
    stm_reply_found(req, &found);
}

/* ---- unlink, rmdir ---- */

struct removing {
    struct stm_fs *fs;
    struct stm_act act;
    uint64_t parent, object;
    struct stm_slice name;
};

static int build_unlink(struct stm_txn *txn, void *arg)
{
    struct removing *r = arg;
    struct stm_view v = stm_txn_view(txn);
    struct stm_entry e;
    int err = stm_tree_lookup(&v, r->parent, r->name, &e);

    if (err < 0)
        return err;
    r->object = e.object;
    return stm_tree_unlink(txn, r->parent, r->name, stm_file_may_be_open(r->fs, e.object), NULL);
}

void stm_do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct removing r = {.fs = stm_fs_of(req), .act = stm_act_of(req), .name = stm_slice_str(name)};
    int err = stm_head_object(parent, &r.parent);

    r.act.pressing = true;
    if (err == 0 && stm_name_is_root_entry(r.parent, name))
        err = -EPERM;
    if (err == 0)
        err = stm_act_commit(r.fs, &r.act, build_unlink, &r);
    if (err == 0)
        stm_unnamed(r.fs, &r.act.who, r.act.again ? r.act.object.id : r.object);
    else if (err == -ENOENT && stm_pick_is_selector(r.fs, r.parent, name))
        err = r.fs->opt.versions_listed ? -EROFS : -EPERM; /* a version: listed ones must survive rm -r; pruning does not exist yet */
    stm_reply_fail(req, "unlink", parent, err);
}

static int build_rmdir(struct stm_txn *txn, void *arg)
{
    struct removing *r = arg;

    return stm_tree_rmdir(txn, r->parent, r->name);
}

void stm_do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct removing r = {.fs = stm_fs_of(req), .act = stm_act_of(req), .name = stm_slice_str(name)};
    int err = stm_head_object(parent, &r.parent);

    r.act.pressing = true;
    if (err == 0 && stm_name_is_root_entry(r.parent, name))
        err = -EPERM;
    if (err == 0)
        err = stm_act_commit(r.fs, &r.act, build_rmdir, &r);
    if (err == -ENOENT && stm_pick_is_selector(r.fs, r.parent, name))
        err = -EPERM; /* `word@/` goes with its file */
    stm_reply_fail(req, "rmdir", parent, err);
}
