/*
 * bulk_replay.c: a batch of the bulk loader as a build for stm_update: does what the list says, where it is not so already. It may be run
 * several times, and so keeps nothing from one run to the next. Collecting and committing are bulk.c's business.
 */
#include <sys/stat.h>
#include <sys/xattr.h>

#include "bulk_batch.h"
#include "stemma/version.h"

enum { MODE_BITS = 07777 };

/* An operation and the place where it happens. */
struct place {
    const struct stm_batch_op *op;
    uint64_t parent;
    struct stm_slice name;
    struct stm_object object; /* id 0: the name is free */
};

void stm_bulk_key(uint64_t id, uint8_t out[STM_BULK_KEY])
{
    memcpy(out, "bulk:", 5);
    for (int i = 0; i < 8; i++)
        out[5 + i] = (uint8_t)(id >> (8 * (7 - i)));
}

static struct stm_slice text(const struct stm_replay *r, struct stm_span s)
{
    return stm_batch_text(r->batch, s);
}

static int object_at(struct stm_replay *r, uint64_t parent, struct stm_slice name, struct stm_object *ret)
{
    struct stm_entry e;
    int err = stm_tree_lookup(&r->view, parent, name, &e);

    return err < 0 ? err : stm_object_get(&r->view, e.object, ret);
}

/* As stm_walk_to, but makes nothing. */
static int look(struct stm_replay *r, struct stm_slice dir, uint64_t *ret)
{
    r->walk.txn = NULL;
    int err = stm_walk_to(&r->walk, dir, ret, NULL);
    r->walk.txn = r->txn;
    return err;
}

static int find_place(struct stm_replay *r, const struct stm_batch_op *op, struct place *p)
{
    struct stm_slice dir;

    *p = (struct place){.op = op};
    stm_path_split(text(r, op->path), &dir, &p->name);
    if (p->name.len == 0) /* the root itself */
        return stm_object_get(&r->view, STM_ROOT_OBJECT, &p->object);
    int err = op->kind == STM_BULK_REMOVE ? look(r, dir, &p->parent) : stm_walk_to(&r->walk, dir, &p->parent, NULL);
    if (err == 0)
        err = object_at(r, p->parent, p->name, &p->object);
    if (err == -ENOENT || (err == -ENOTDIR && op->kind == STM_BULK_REMOVE)) {
        p->object.id = 0;
        err = 0;
    }
    return err;
}

/* Removes the directories above a removed path, down to a depth of `keep` bytes of path, as far as they are empty. */
static int prune(struct stm_replay *r, struct stm_slice path, size_t keep)
{
    struct stm_slice dir, name;
    struct stm_object o;
    uint64_t parent;

    for (stm_path_split(path, &dir, &name); dir.len > keep;) {
        path = dir;
        stm_path_split(path, &dir, &name);
        int err = look(r, dir, &parent);
        if (err == 0)
            err = object_at(r, parent, name, &o);
        if (err == -ENOENT || err == -ENOTDIR)
            continue; /* went already */
        if (err < 0 || !S_ISDIR(o.mode) || o.entries > 0)
            return err;
        err = stm_tree_rmdir(r->txn, parent, name);
        stm_walk_reset(&r->walk);
        if (err < 0)
            return err;
    }
    return 0;
}

/* Prunes what this batch's removals left empty below path ("" and 0: everywhere below the target). */
static int prune_all(struct stm_replay *r, struct stm_slice below, size_t keep)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < r->batch->count; i++) {
        const struct stm_batch_op *op = &r->batch->ops[i];
        struct stm_slice path = text(r, op->path);
        if (op->kind != STM_BULK_REMOVE || path.len <= below.len || (below.len && memcmp(path.data, below.data, below.len) != 0))
            continue;
        if (below.len == 0 || ((const char *)path.data)[below.len] == '/')
            err = prune(r, path, keep);
    }
    return err;
}

/* Makes the name free. A directory gives way only if there are no files in it. */
static int clear_place(struct stm_replay *r, struct place *p)
{
    struct stm_slice path = text(r, p->op->path);
    int err;

    if (S_ISDIR(p->object.mode)) {
        err = prune_all(r, path, path.len);
        if (err == 0)
            err = stm_tree_rmdir(r->txn, p->parent, p->name);
        stm_walk_reset(&r->walk);
        if (err == -ENOTEMPTY)
            err = -EISDIR;
    } else {
        err = stm_tree_unlink(r->txn, p->parent, p->name, r->keep, NULL);
    }
    if (err == 0)
        p->object.id = 0;
    return err;
}

static int make(struct stm_replay *r, struct place *p, uint32_t type, uint32_t mode)
{
    const struct stm_bulk_attr *a = &p->op->attr;
    struct stm_new n = {.mode = type | (a->valid & STM_SET_MODE ? a->mode & MODE_BITS : mode),
                        .uid = a->valid & STM_SET_UID ? a->uid : r->uid,
                        .gid = a->valid & STM_SET_GID ? a->gid : r->gid,
                        .rdev = p->op->rdev,
                        .mtime_ns = a->valid & STM_SET_MTIME ? a->mtime_ns : 0,
                        .atime_ns = a->valid & STM_SET_ATIME ? a->atime_ns : 0};

    if (type == S_IFLNK)
        n.target = text(r, p->op->target);
    r->changed = true;
    return stm_tree_create(r->txn, p->parent, p->name, &n, &p->object);
}

static int fix_xattrs(struct stm_replay *r, const struct place *p, bool fresh)
{
    bool bare = fresh || !(p->object.flags & STM_OBJ_XATTR);
    struct stm_buf have = STM_BUF_INIT;
    int err = 0;

    for (size_t i = 0; err == 0 && i < p->op->attr.xattr_count; i++) {
        const struct stm_span *pair = &r->batch->xattrs[p->op->xattr_first + 2 * i];
        struct stm_slice name = text(r, pair[0]), value = text(r, pair[1]);
        stm_buf_clear(&have);
        err = bare ? -ENODATA : stm_xattr_get(&r->view, p->object.id, name, &have);
        if (err == -ENODATA || (err == 0 && !stm_slice_eq(stm_buf_slice(&have), value))) {
            err = stm_xattr_set(r->txn, p->object.id, name, value, 0);
            r->changed = true;
        }
    }
    stm_buf_release(&have);
    return err;
}

/* Sets what differs. */
static int fix_attr(struct stm_replay *r, const struct place *p)
{
    const struct stm_bulk_attr *a = &p->op->attr;
    const struct stm_object *o = &p->object;
    struct stm_setattr set = {.mode = a->mode & MODE_BITS, .uid = a->uid, .gid = a->gid, .mtime_ns = a->mtime_ns};

    if ((a->valid & STM_SET_MODE) && !S_ISLNK(o->mode) && set.mode != (o->mode & MODE_BITS))
        set.valid |= STM_SET_MODE;
    if ((a->valid & STM_SET_UID) && set.uid != o->uid)
        set.valid |= STM_SET_UID;
    if ((a->valid & STM_SET_GID) && set.gid != o->gid)
        set.valid |= STM_SET_GID;
    if ((a->valid & STM_SET_MTIME) && set.mtime_ns != o->mtime_ns)
        set.valid |= STM_SET_MTIME;
    r->changed |= set.valid != 0;
    return set.valid ? stm_object_set(r->txn, o->id, &set, NULL) : 0;
}

static bool has_content(const struct stm_object *o, const struct stm_content *c)
{
    return o->head_seq != 0 && o->head_seq == o->tip.seq && o->tip.size == c->size && stm_hash_eq(&o->tip.hash, &c->hash);
}

static int save(struct stm_replay *r, struct place *p)
{
    const struct stm_bulk_attr *a = &p->op->attr;
    struct stm_save s = {.content = &p->op->content, .mtime_ns = a->valid & STM_SET_MTIME ? a->mtime_ns : 0};
    struct stm_tip before = p->object.tip;

    r->changed = true;
    int err = stm_version_save(r->txn, p->object.id, &s, &p->object);

    if (err == 0 && (before.seq == 0 || before.ordinal != p->object.tip.ordinal))
        r->counts.versions++;
    else if (err == 0)
        r->counts.unchanged++; /* made again under a removed name, with the bytes it had */
    return err;
}

static int do_file(struct stm_replay *r, struct place *p)
{
    bool fresh;
    int err = 0;

    if (p->object.id && !S_ISREG(p->object.mode))
        err = clear_place(r, p);
    fresh = p->object.id == 0;
    if (err == 0 && fresh)
        err = make(r, p, S_IFREG, 0644);
    if (err == 0)
        err = fix_xattrs(r, p, fresh); /* before the version, which records them */
    if (err == 0 && !fresh && has_content(&p->object, &p->op->content))
        r->counts.unchanged++;
    else if (err == 0)
        err = save(r, p);
    r->counts.files++;
    r->counts.bytes += p->op->content.size;
    return err < 0 ? err : fix_attr(r, p);
}

static int do_dir(struct stm_replay *r, struct place *p)
{
    bool fresh = p->object.id == 0;
    int err = fresh ? make(r, p, S_IFDIR, 0755) : S_ISDIR(p->object.mode) ? 0 : -ENOTDIR;

    r->counts.others += fresh;
    if (err == 0)
        err = fix_xattrs(r, p, fresh);
    return err < 0 ? err : fix_attr(r, p);
}

/* Symlinks and special files: is what is there the same kind, with the same target or device? */
static int is_same(struct stm_replay *r, const struct place *p, uint32_t type, bool *ret)
{
    struct stm_buf target = STM_BUF_INIT;
    int err = 0;

    *ret = p->object.id && (p->object.mode & S_IFMT) == type && p->object.rdev == p->op->rdev;
    if (*ret && type == S_IFLNK) {
        err = stm_object_target(&r->view, p->object.id, &target);
        *ret = err == 0 && stm_slice_eq(stm_buf_slice(&target), text(r, p->op->target));
    }
    stm_buf_release(&target);
    return err;
}

static int do_other(struct stm_replay *r, struct place *p, uint32_t type)
{
    bool same;
    int err = is_same(r, p, type, &same);

    if (err == 0 && !same && p->object.id)
        err = clear_place(r, p);
    if (err == 0 && !same) {
        err = make(r, p, type, type == S_IFLNK ? 0777 : 0644);
        r->counts.others++;
    }
    if (err == 0)
        err = fix_xattrs(r, p, !same);
    return err < 0 ? err : fix_attr(r, p);
}

static int do_link(struct stm_replay *r, struct place *p)
{
    struct stm_slice dir, name;
    struct stm_entry e;
    struct stm_object o;
    uint64_t parent;
    int err;

    stm_path_split(text(r, p->op->target), &dir, &name);
    err = look(r, dir, &parent);
    if (err == 0)
        err = stm_tree_lookup(&r->view, parent, name, &e);
    if (err < 0 || e.object == p->object.id)
        return err;
    if (p->object.id)
        err = clear_place(r, p);
    r->counts.others++;
    r->changed = true;
    return err < 0 ? err : stm_tree_link(r->txn, e.object, p->parent, p->name, &o);
}

static int do_remove(struct stm_replay *r, struct place *p)
{
    if (p->object.id == 0 || S_ISDIR(p->object.mode))
        return 0;
    int err = clear_place(r, p);
    if (err == 0)
        r->counts.removed++;
    r->changed = true;
    return err;
}

static int do_op(struct stm_replay *r, const struct stm_batch_op *op)
{
    struct place p;
    int err = find_place(r, op, &p);

    if (err < 0)
        return err;
    if (op->kind == STM_BULK_FILE)
        return do_file(r, &p);
    if (op->kind == STM_BULK_REMOVE)
        return do_remove(r, &p);
    switch (op->kind) {
    case STM_BULK_DIR:
        return do_dir(r, &p);
    case STM_BULK_SYMLINK:
        return do_other(r, &p, S_IFLNK);
    case STM_BULK_SPECIAL:
        return do_other(r, &p, op->type);
    case STM_BULK_LINK:
        return do_link(r, &p);
    default:
        return -EINVAL;
    }
}

/* Is everything that the kernel was told about still so? */
static int check_seen(struct stm_replay *r)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < r->seen_count; i++) {
        const struct stm_bulk_touched *t = &r->seen[i];
        struct stm_entry e = {.object = 0};
        err = stm_tree_lookup(&r->view, t->parent, t->name, &e);
        if (err == -ENOENT)
            err = 0;
        if (err == 0 && e.object != t->object)
            err = -ESTALE;
    }
    return err;
}

static int remember(struct stm_replay *r)
{
    uint8_t key[STM_BULK_KEY];
    uint64_t id;
    int err = stm_walk_to(&r->walk, r->target, &id, NULL);

    if (err < 0)
        return err;
    stm_bulk_key(id, key);
    err = stm_txn_mark(r->txn, stm_slice(key, sizeof key), r->mark);
    if (err == 0 && r->effective_ns)
        err = stm_effective_mark(r->txn, id, r->effective_ns);
    return err;
}

/* Removals first, so that a file may become a directory in one commit, and the other way round. */
static int do_all(struct stm_replay *r)
{
    const struct stm_batch *b = r->batch;
    int err = 0;

    for (int removals = 1; removals >= 0; removals--)
        for (size_t i = 0; err == 0 && i < b->count; i++)
            if ((b->ops[i].kind == STM_BULK_REMOVE) == removals) {
                err = do_op(r, &b->ops[i]);
                r->failed = err < 0 ? i : r->failed;
            }
    return err;
}

int stm_replay_build(struct stm_txn *txn, void *arg)
{
    struct stm_replay *r = arg;

    r->counts = (struct stm_bulk_counts){0};
    r->failed = r->batch->count;
    r->changed = r->mark.len > 0;
    r->txn = txn;
    r->view = stm_txn_view(txn);
    r->walk = (struct stm_walk){.view = r->view, .txn = txn, .uid = r->uid, .gid = r->gid};
    int err = check_seen(r);
    if (err == 0)
        err = do_all(r);
    if (err == 0)
        err = prune_all(r, stm_slice("", 0), r->target.len);
    if (err == 0 && r->mark.len)
        err = remember(r);
    r->changed |= r->walk.made;
    stm_walk_release(&r->walk);
    return err;
}
