/*
 * attr.c: attributes of every kind of node, and changing those of the head. Who may change them the kernel has checked (default_permissions).
 *
 * The kernel keeps attributes of the head for long, since it sees every change: a commit keeps the times that the draft has had since the last
 * write. One thing it does not see: versions show today's owner and mode, so changing these tells the kernel to forget the versions'
 * attributes before the change is answered.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "acl.h"
#include "file.h"
#include "notify.h"
#include "privilege.h"
#include "vnode.h"

/* Blocks tell what is not in holes, whatever the store makes of the rest by compressing and sharing it. */
static blkcnt_t blocks_of(uint64_t data)
{
    return (blkcnt_t)((data + 511) / 512);
}

void stm_attr_stored(const struct stm_object *o, struct stm_attr *ret)
{
    *ret = (struct stm_attr){
        .timeout = STM_TIMEOUT_S,
        .st = {.st_ino = stm_nodeid_head(o->id),
               .st_mode = o->mode,
               .st_nlink = o->nlink,
               .st_uid = o->uid,
               .st_gid = o->gid,
               .st_rdev = o->rdev,
               .st_size = (off_t)o->size,
               .st_blksize = 4096,
               .st_blocks = blocks_of(o->data),
               .st_atim = stm_timespec(o->atime_ns),
               .st_mtim = stm_timespec(o->mtime_ns),
               .st_ctim = stm_timespec(o->ctime_ns)},
    };
}

/* What the draft knows better than the store. File locked. */
static void overlay(const struct stm_file *f, struct stm_attr *a)
{
    const struct stm_draft *d = &f->draft;

    if (stm_draft_shows(f)) {
        a->st.st_size = (off_t)d->data.size;
        a->st.st_blocks = blocks_of(stm_stage_data(&d->data));
        if (a->st.st_blocks != blocks_of(d->data.size))
            a->timeout = 0; /* an estimate, not to be kept when the draft is committed */
    }
    if (d->dirty) {
        a->st.st_mtim = stm_timespec(d->mtime_ns);
        if (d->ctime_ns > stm_nanoseconds(a->st.st_ctim))
            a->st.st_ctim = stm_timespec(d->ctime_ns);
    }
    if (d->replace) {
        a->st.st_nlink = 1; /* the kernel would throw the inode away */
        a->timeout = 0;
    }
}

int stm_attr_object(struct stm_fs *fs, const struct stm_object *o, uint64_t epoch, struct stm_attr *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object now;
    int err = 0;

    stm_attr_stored(o, ret);
    if (!S_ISREG(o->mode))
        return 0;
    struct stm_file *f = stm_file_pin(fs, o->id, STM_PIN_FIND);
    if (f && atomic_load(&f->active)) {
        stm_file_lock(f);
        err = stm_object_get(&v, o->id, &now);
        if (err == 0) {
            stm_attr_stored(&now, ret);
            overlay(f, ret);
        }
        stm_file_unlock(f);
    } else if (epoch != stm_file_epoch(fs, o->id)) {
        ret->timeout = 0; /* committed and closed between the two looks */
    }
    stm_file_unpin(fs, f);
    return err;
}

int stm_attr_version(struct stm_fs *fs, uint64_t line, uint32_t ordinal, struct stm_attr *ret)
{
    struct stm_view view = stm_view_head(fs->store);
    struct stm_version v;
    struct stm_object o;
    uint64_t owner;

    stm_seen_line(fs, line); /* first: a chmod from here on will tell the kernel */
    int err = stm_version_get(&view, line, ordinal, &v);
    if (err < 0)
        return err;
    err = stm_line_owner(&view, line, &owner);
    if (err == 0)
        err = stm_object_get(&view, owner, &o);
    if (err == 0) {
        stm_attr_stored(&o, ret);
        ret->st.st_ino = stm_nodeid_version(line, ordinal);
        ret->st.st_mode = S_IFREG | stm_acl_past_mode(fs, &o, v.mode & o.mode & 07555);
        ret->st.st_nlink = 1;
        ret->st.st_size = (off_t)v.row.size;
        ret->st.st_blocks = blocks_of(v.data);
        ret->st.st_atim = ret->st.st_mtim = stm_timespec(v.mtime_ns);
        ret->st.st_ctim = stm_timespec(v.row.recorded_ns);
    }
    stm_version_release(&v);
    return err;
}

int stm_attr_view(struct stm_fs *fs, uint32_t view, const struct stm_object *o, struct stm_attr *ret)
{
    stm_seen_object(fs, view, o->id);
    stm_attr_stored(o, ret);
    ret->st.st_ino = stm_nodeid_view(view, o->id);
    ret->st.st_mode = stm_acl_past_mode(fs, o, o->mode & ~0222u);
    if (S_ISREG(o->mode) && ret->st.st_nlink == 0)
        ret->st.st_nlink = 1; /* it had a name then */
    if (atomic_load(&fs->remains->many_views))
        ret->timeout = 0;
    return 0;
}

static int attr_view_node(struct stm_fs *fs, const struct stm_node *n, struct stm_attr *ret)
{
    struct stm_object o;
    uint64_t seq;

    stm_seen_object(fs, n->n, n->id);
    int err = stm_view_seq(fs->store, n->n, &seq);
    if (err == 0) {
        struct stm_view v = stm_view_at(fs->store, seq);
        err = stm_object_get(&v, n->id, &o);
    }
    return err < 0 ? err : stm_attr_view(fs, n->n, &o, ret);
}

static int attr_head(struct stm_fs *fs, uint64_t object, struct stm_attr *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    uint64_t epoch = stm_file_epoch(fs, object);
    struct stm_object o;
    int err = stm_object_get(&v, object, &o);

    return err < 0 ? err : stm_attr_object(fs, &o, epoch, ret);
}

int stm_attr_get(struct stm_fs *fs, const struct stm_caller *who, uint64_t ino, struct stm_attr *ret)
{
    struct stm_node n;
    int err = stm_nodeid_parse(ino, &n);

    if (err < 0)
        return err;
    if (n.kind == STM_NODE_HEAD)
        err = attr_head(fs, n.id, ret);
    else if (n.kind == STM_NODE_VERSION)
        err = stm_attr_version(fs, n.id, n.n, ret);
    else if (n.kind == STM_NODE_VIEW)
        err = attr_view_node(fs, &n, ret);
    else
        err = stm_virtual_attr(fs, n.id, ret);
    if (err == 0 && who->uncached)
        ret->timeout = 0;
    return err == -ENOENT ? -ESTALE : err;
}

void stm_do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stm_caller who = stm_caller_of(req);
    struct stm_attr a;
    int err = stm_attr_get(stm_fs_of(req), &who, ino, &a);
    (void)fi;

    if (err < 0)
        stm_reply_fail(req, "getattr", ino, err);
    else
        stm_reply_attr(req, &a);
}

/* ---- setattr ---- */

int stm_past_attrs(struct stm_fs *fs, const struct stm_object *o, struct stm_inval **ret_list, size_t *ret_n)
{
    bool line = S_ISREG(o->mode) && o->tip.seq != 0 && stm_was_seen(fs->remains->seen_lines, o->line);
    bool views = stm_was_seen(fs->remains->seen_objects, o->id);
    size_t n = (line ? (size_t)o->tip.ordinal + 1 : 0) + (views ? STM_SEEN_VIEWS : 0), k = 0;

    *ret_list = NULL;
    *ret_n = 0;
    if (n == 0)
        return 0;
    struct stm_inval *list = malloc(n * sizeof *list);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; line && i <= o->tip.ordinal; i++)
        list[k++] = (struct stm_inval){STM_INVAL_ATTR, stm_nodeid_version(o->line, i), {NULL, 0}};
    for (size_t i = 0; views && i < STM_SEEN_VIEWS && atomic_load(&fs->remains->seen_views[i]); i++)
        list[k++] = (struct stm_inval){STM_INVAL_ATTR, stm_nodeid_view(atomic_load(&fs->remains->seen_views[i]), o->id), {NULL, 0}};
    *ret_list = list;
    *ret_n = k;
    return 0;
}

struct setting {
    struct stm_act act;
    uint64_t object;
    struct stm_setattr set;
    bool chown;   /* set-id bits and capabilities go, unless the mode is set as well */
    bool nothing; /* chown(-1, -1), or the kernel before a write: anybody may, but the bits of others stay (the write drops them) */
};

static int build_set(struct stm_txn *txn, void *arg)
{
    struct setting *s = arg;
    struct stm_setattr set = s->set;
    struct stm_view v = stm_txn_view(txn);
    struct stm_object o;
    int err = stm_object_get(&v, s->object, &o);

    bool may_drop = !s->nothing || s->act.who.uid == 0 || s->act.who.uid == o.uid;
    if (err == 0 && s->chown && may_drop && !S_ISDIR(o.mode)) {
        if (!(set.valid & STM_SET_MODE)) {
            set.mode = stm_mode_unprivileged(&o, &s->act.who);
            set.valid |= STM_SET_MODE;
        }
        err = stm_capability_drop(txn, &o);
    }
    if (err == 0 && set.valid & STM_SET_MODE)
        err = stm_acl_follow(txn, &o, set.mode);
    return err < 0 ? err : stm_object_set(txn, s->object, &set, &s->act.object);
}

static struct stm_setattr translate(struct stm_fs *fs, const struct stat *st, int to_set)
{
    struct stm_setattr set = {.mode = st->st_mode & 07777, .uid = st->st_uid, .gid = st->st_gid};
    int64_t now = to_set & (FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW) ? stm_now(fs) : 0;

    set.atime_ns = to_set & FUSE_SET_ATTR_ATIME_NOW ? now : stm_nanoseconds(st->st_atim);
    set.mtime_ns = to_set & FUSE_SET_ATTR_MTIME_NOW ? now : stm_nanoseconds(st->st_mtim);
    set.valid = (to_set & FUSE_SET_ATTR_MODE ? STM_SET_MODE : 0u) | (to_set & FUSE_SET_ATTR_UID ? STM_SET_UID : 0u) |
                (to_set & FUSE_SET_ATTR_GID ? STM_SET_GID : 0u) |
                (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW) ? STM_SET_ATIME : 0u) |
                (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW) ? STM_SET_MTIME : 0u);
    if (to_set & FUSE_SET_ATTR_SIZE && !(to_set & FUSE_SET_ATTR_TIMES_SET) && to_set & FUSE_SET_ATTR_MTIME_NOW)
        set.valid &= ~(unsigned)STM_SET_MTIME; /* truncating says when */
    return set;
}

/* truncate(2) has no handle whose close would commit it: it commits at once. fh: 0 for that. */
static int set_size(struct stm_fs *fs, uint64_t object, const struct stm_caller *who, uint64_t size, uint64_t fh)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_MAKE);
    bool handle = fh != 0;
    int err;

    if (!f)
        return -ENOMEM;
    if (!handle && stm_done_before(fs, who->unique, STM_STEP_DRAFT, NULL)) {
        stm_file_unpin(fs, f);
        return 0;
    }
    atomic_store(&f->active, true);
    stm_file_lock(f);
    err = handle ? stm_handle_use(fs, fh, object, who->unique) : stm_slot_take(fs, f);
    stm_draft_author(f, who);
    if (!handle && !f->draft.dirty)
        f->draft.pending = f->draft.hollow = false; /* as opening would (open.c) */
    if (err == 0)
        err = fs->opt.read_only ? -EROFS : stm_draft_truncate(fs, f, size);
    if (err == 0)
        err = stm_draft_unprivilege(fs, f, who);
    if (err == 0 && !handle)
        err = stm_draft_commit(fs, f, &(struct stm_draft_commit){.unique = who->unique});
    if (stm_file_writers(fs, f) == 0) {
        f->draft.pending = false;
        f->draft.dirty = f->draft.unlinked && f->draft.dirty;
        stm_draft_forget(f);
    }
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
    return err;
}

/* With the draft locked, so that its times and the store's do not cross. */
static int set_stored(struct stm_fs *fs, struct setting *s)
{
    struct stm_file *f = stm_file_pin(fs, s->object, STM_PIN_FIND);
    int err;

    if (f)
        stm_file_lock(f);
    err = stm_act_commit(fs, &s->act, build_set, s);
    if (f && err == 0 && f->draft.loaded) {
        if (s->set.valid & STM_SET_MTIME)
            f->draft.mtime_ns = s->set.mtime_ns;
        f->draft.mode = s->act.object.mode;
        f->draft.privileged |= (s->act.object.mode & (S_ISUID | S_ISGID)) != 0;
    }
    if (f)
        stm_file_unlock(f);
    stm_file_unpin(fs, f);
    return err;
}

struct later {
    fuse_req_t req;
    struct stm_attr attr;
};

static void reply_later(void *arg)
{
    struct later *l = arg;

    stm_reply_attr(l->req, &l->attr);
    free(l);
}

/* Answers, after the kernel has forgotten what versions and views showed. */
static void reply_after_past(fuse_req_t req, const struct setting *s, const struct stm_attr *attr)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_inval *list = NULL;
    size_t n = 0;
    int err = 0;

    if (s->chown || s->set.valid & STM_SET_MODE)
        err = stm_past_attrs(fs, &s->act.object, &list, &n);
    if (err == 0 && n == 0) {
        stm_reply_attr(req, attr);
        return;
    }
    struct later *l = err == 0 ? malloc(sizeof *l) : NULL;
    err = -ENOMEM;
    if (l) {
        *l = (struct later){req, *attr};
        err = stm_notify_post(fs, list, n, reply_later, l);
    }
    free(list);
    if (err < 0) {
        free(l);
        stm_reply_err(req, err);
    }
}

void stm_do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct setting s = {.act = stm_act_of(req), .set = translate(fs, attr, to_set)};
    struct stm_node node = {.id = 0};
    struct stm_attr a;
    int err = stm_nodeid_parse(ino, &node);

    if (err == 0 && node.kind != STM_NODE_HEAD)
        err = -EROFS;
    s.object = node.id;
    s.nothing = s.set.valid == 0 && !(to_set & FUSE_SET_ATTR_SIZE);
    s.chown = s.nothing || s.set.valid & (STM_SET_UID | STM_SET_GID);
    if (err == 0 && to_set & FUSE_SET_ATTR_SIZE)
        err = attr->st_size < 0 ? -EINVAL : set_size(fs, node.id, &s.act.who, (uint64_t)attr->st_size, fi ? fi->fh : 0);
    if (err == 0 && (s.set.valid || s.nothing))
        err = set_stored(fs, &s);
    if (err == 0)
        err = stm_attr_get(fs, &s.act.who, ino, &a);
    if (err < 0)
        stm_reply_fail(req, "setattr", ino, err == -ENOENT ? -ESTALE : err);
    else
        reply_after_past(req, &s, &a);
}
