/*
 * tree.c: names and what becomes of objects and lines when names are made, removed and moved. Listing is dir.c's, records of entries
 * dentry.c's, renames rename.c's business.
 */
#include <sys/stat.h>

#include "dentry.h"
#include "stemma/name.h"
#include "tree_inner.h"

enum { WALK_MAX = 10000 };

static const struct stm_slice keep_target = {NULL, 0};

int stm_tree_lookup(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_entry *ret)
{
    struct stm_dentry d;
    int err = stm_name_check(name);

    if (err == 0)
        err = stm_dentry_load(v, parent, name, &d);
    if (err < 0)
        return err;
    *ret = (struct stm_entry){
        .object = d.object, .seq = d.seq, .type = d.type, .cookie = stm_name_cookie(name), .until = d.until, .name_len = name.len};
    memcpy(ret->name, name.data, name.len);
    return 0;
}

/* The removed object behind the name if its line is still free to go on. */
static int waiting_line(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_object *ret)
{
    uint64_t id;
    int err = stm_tombstone_load(v, parent, name, &id);

    if (err == 0)
        err = stm_object_load(v, id, ret);
    if (err == 0 && (!S_ISREG(ret->mode) || ret->nlink > 0 || (ret->flags & STM_OBJ_LINE_GONE)))
        err = -ENOENT;
    return err;
}

int stm_tree_removed(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_entry *ret)
{
    struct stm_object o;
    int err = stm_name_check(name);

    if (err == 0)
        err = v->seq == STM_SEQ_HEAD ? waiting_line(v, parent, name, &o) : -ENOENT;
    if (err < 0)
        return err;
    *ret = (struct stm_entry){.object = o.id, .type = S_IFREG, .cookie = stm_name_cookie(name), .name_len = name.len};
    memcpy(ret->name, name.data, name.len);
    return 0;
}

int stm_tree_resolve(const struct stm_view *v, struct stm_slice path, uint64_t *ret_object)
{
    const char *p = path.data, *end = p + path.len;
    uint64_t at = STM_ROOT_OBJECT;
    uint32_t type = S_IFDIR;

    while (p < end) {
        const char *stop = memchr(p, '/', (size_t)(end - p));
        struct stm_slice part = stm_slice(p, (size_t)((stop ? stop : end) - p));
        struct stm_entry e;
        p = stop ? stop + 1 : end;
        if (part.len == 0 || (part.len == 1 && *(const char *)part.data == '.'))
            continue;
        if (type != S_IFDIR)
            return -ENOTDIR;
        int err = stm_tree_lookup(v, at, part, &e);
        if (err < 0)
            return err;
        at = e.object;
        type = e.type;
    }
    *ret_object = at;
    return 0;
}

/* Finds the name of `child` in `parent` by listing it. */
static int name_of(const struct stm_view *v, uint64_t parent, uint64_t child, struct stm_entry *ret)
{
    struct stm_dir *d;
    int err = stm_dir_open(v, parent, 0, &d);

    if (err < 0)
        return err;
    do
        err = stm_dir_next(d, ret, NULL);
    while (err > 0 && ret->object != child);
    stm_dir_free(d);
    return err > 0 ? 0 : err == 0 ? -ENOENT : err;
}

int stm_tree_path(const struct stm_view *v, uint64_t dir, struct stm_buf *ret)
{
    struct stm_buf path = STM_BUF_INIT, longer = STM_BUF_INIT;
    struct stm_object o;
    struct stm_entry e;
    int err = 0;

    for (int i = 0; err == 0 && dir != STM_ROOT_OBJECT && i < WALK_MAX; i++) {
        err = stm_object_load(v, dir, &o);
        if (err == 0)
            err = S_ISDIR(o.mode) ? name_of(v, o.parent, dir, &e) : -ENOTDIR;
        if (err == 0)
            err = stm_buf_printf(&longer, "/%s", e.name);
        if (err == 0)
            err = stm_buf_append(&longer, path.data, path.len);
        struct stm_buf swap = path;
        path = longer;
        longer = swap;
        stm_buf_clear(&longer);
        dir = o.parent;
    }
    if (err == 0)
        err = path.len ? stm_buf_append(ret, path.data, path.len) : stm_buf_append(ret, "/", 1);
    stm_buf_release(&path);
    stm_buf_release(&longer);
    return err;
}

int stm_parent_load(struct stm_txn *t, uint64_t parent, struct stm_object *ret)
{
    struct stm_view v = stm_txn_view(t);
    int err = stm_object_load(&v, parent, ret);

    if (err == 0 && !S_ISDIR(ret->mode))
        err = -ENOTDIR;
    if (err == 0 && ret->nlink == 0)
        err = -ENOENT; /* the directory itself was removed */
    return err;
}

int stm_parent_change(struct stm_txn *t, struct stm_object *parent, int entries, int subdirs)
{
    parent->entries += (uint64_t)(int64_t)entries;
    parent->nlink += (uint32_t)subdirs;
    stm_object_touch(t, parent, true);
    return stm_object_put(t, parent, keep_target);
}

/* The fields of a fresh object. */
static int new_object(struct stm_txn *t, const struct stm_object *parent, const struct stm_new *n, bool junk, struct stm_object *o)
{
    int64_t now = stm_txn_now_ns(t);

    *o = (struct stm_object){.mode = n->mode, .uid = n->uid, .gid = n->gid, .nlink = S_ISDIR(n->mode) ? 2 : 1, .rdev = n->rdev};
    o->ctime_ns = o->btime_ns = now;
    o->mtime_ns = n->mtime_ns ? n->mtime_ns : now;
    o->atime_ns = n->atime_ns ? n->atime_ns : now;
    o->flags = junk && !S_ISDIR(n->mode) ? STM_OBJ_NOHISTORY : 0;
    if (parent && (parent->mode & S_ISGID)) {
        o->gid = parent->gid;
        if (S_ISDIR(o->mode))
            o->mode |= S_ISGID;
    }
    int err = stm_store_new_id(t->store, &o->id);
    if (S_ISDIR(o->mode) && parent)
        o->parent = parent->id;
    if (S_ISREG(o->mode)) {
        o->line = o->id;
        o->line_since = STM_SEQ_THIS;
        o->line_until = STM_SEQ_HEAD;
    }
    return err;
}

int stm_waiting_done(struct stm_txn *t, const struct stm_object *old)
{
    struct stm_key key = stm_key_object(old->id);

    return old->flags & STM_OBJ_KEEPER ? stm_txn_delete(t, STM_OBJECT, &key) : stm_object_put(t, old, keep_target);
}

/* A file whose name was unlinked goes on with the line that waits there. */
static int revive_line(struct stm_txn *t, uint64_t parent, struct stm_slice name, struct stm_object *o)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_object old;

    if (!S_ISREG(o->mode) || (o->flags & STM_OBJ_NOHISTORY))
        return 0;
    int err = waiting_line(&v, parent, name, &old);
    if (err == -ENOENT)
        return 0;
    if (err == 0)
        err = stm_line_continue(t, o, &old);
    if (err == 0)
        err = stm_waiting_done(t, &old);
    return err < 0 ? err : stm_tombstone_delete(t, parent, name);
}

/* An orphan from the start: a file that will take another's name when it is closed. */
static int create_nameless(struct stm_txn *t, struct stm_slice name, const struct stm_new *n, struct stm_object *ret)
{
    struct stm_object o;
    int err = S_ISREG(n->mode) ? new_object(t, NULL, n, stm_name_is_junk(name), &o) : -EINVAL;

    if (err < 0)
        return err;
    o.nlink = 0;
    err = stm_object_discard(t, &o, true);
    if (err == 0)
        err = stm_txn_log(t, 'c', o.id, 0, stm_slice(NULL, 0)); /* a request that is asked again finds its object there */
    if (err == 0)
        *ret = o;
    return err;
}

int stm_tree_create(struct stm_txn *t, uint64_t parent, struct stm_slice name, const struct stm_new *n, struct stm_object *ret)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_object dir, o;
    struct stm_dentry d;
    int err = stm_name_check(name);

    if (err < 0)
        return err;
    if (parent == 0)
        return create_nameless(t, name, n, ret);
    if (S_ISLNK(n->mode) && (n->target.len == 0 || n->target.len > STM_TARGET_MAX))
        return n->target.len ? -ENAMETOOLONG : -ENOENT;
    err = stm_parent_load(t, parent, &dir);
    if (err == 0) {
        err = stm_dentry_load(&v, parent, name, &d);
        err = err == 0 ? -EEXIST : err == -ENOENT ? 0 : err;
    }
    if (err == 0 && S_ISDIR(n->mode) && dir.nlink >= STM_LINK_MAX)
        err = -EMLINK;
    if (err == 0)
        err = new_object(t, &dir, n, stm_name_is_junk(name), &o);
    if (err == 0)
        err = revive_line(t, parent, name, &o);
    if (err == 0)
        err = stm_object_put(t, &o, n->target);
    if (err == 0)
        err = stm_dentry_put(t, parent, name, o.id, o.mode & S_IFMT);
    if (err == 0)
        err = stm_parent_change(t, &dir, 1, S_ISDIR(o.mode) ? 1 : 0);
    if (err == 0)
        err = stm_txn_log(t, 'c', o.id, parent, name);
    if (err == 0) {
        if (S_ISLNK(o.mode))
            o.size = n->target.len;
        *ret = o;
    }
    return err;
}

/* A nameless object gets its first name: from then on it is as if it had been created there. */
static int name_first(struct stm_txn *t, uint64_t parent, struct stm_slice name, struct stm_object *o)
{
    struct stm_key orphan = stm_key_index(STM_IX_ORPHAN, o->id);

    o->flags &= ~(uint32_t)(STM_OBJ_ORPHAN | STM_OBJ_NOHISTORY);
    if (stm_name_is_junk(name))
        o->flags |= STM_OBJ_NOHISTORY;
    int err = stm_txn_delete(t, STM_INDEX, &orphan);
    return err < 0 ? err : revive_line(t, parent, name, o);
}

/* An object that has a name gets another: a line that waits at that name is let go. */
static int name_again(struct stm_txn *t, uint64_t parent, struct stm_slice name, struct stm_object *o)
{
    struct stm_view v = stm_txn_view(t);
    uint64_t waits;

    if (stm_name_is_junk(name))
        return 0;
    o->flags &= ~(uint32_t)STM_OBJ_NOHISTORY;
    int err = S_ISREG(o->mode) ? stm_tombstone_load(&v, parent, name, &waits) : -ENOENT;
    if (err == 0)
        err = stm_tombstone_delete(t, parent, name);
    return err == -ENOENT ? 0 : err;
}

static int check_link(const struct stm_object *o)
{
    if (S_ISDIR(o->mode))
        return -EPERM;
    if (o->nlink == 0 && !(o->flags & STM_OBJ_ORPHAN))
        return -ENOENT;
    return o->nlink >= STM_LINK_MAX ? -EMLINK : 0;
}

int stm_tree_link(struct stm_txn *t, uint64_t object, uint64_t parent, struct stm_slice name, struct stm_object *ret)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_object dir, o;
    struct stm_dentry d;
    int err = stm_name_check(name);

    if (err == 0)
        err = stm_parent_load(t, parent, &dir);
    if (err == 0)
        err = stm_object_load(&v, object, &o);
    if (err == 0)
        err = check_link(&o);
    if (err < 0)
        return err;
    err = stm_dentry_load(&v, parent, name, &d);
    if (err != -ENOENT)
        return err == 0 ? -EEXIST : err;
    bool first = o.nlink++ == 0;
    err = first ? name_first(t, parent, name, &o) : name_again(t, parent, name, &o);
    stm_object_touch(t, &o, false);
    if (err == 0)
        err = stm_object_put(t, &o, keep_target);
    if (err == 0)
        err = stm_dentry_put(t, parent, name, object, o.mode & S_IFMT);
    if (err == 0)
        err = stm_parent_change(t, &dir, 1, 0);
    if (err == 0)
        err = stm_txn_log(t, first ? 'c' : 'l', object, parent, name);
    if (err == 0)
        *ret = o;
    return err;
}

int stm_object_unname(struct stm_txn *t, struct stm_object *o, bool keep)
{
    o->nlink--;
    stm_object_touch(t, o, false);
    if (o->nlink == 0 && (o->flags & STM_OBJ_NOHISTORY))
        return stm_object_discard(t, o, keep);
    return stm_object_put(t, o, keep_target);
}

/* An entry that is to go: its directory, itself, and the object that it names. */
static int load_entry(struct stm_txn *t, uint64_t parent, struct stm_slice name, struct stm_object *dir, struct stm_dentry *d,
                      struct stm_object *o)
{
    struct stm_view v = stm_txn_view(t);
    int err = stm_name_check(name);

    if (err == 0)
        err = stm_parent_load(t, parent, dir);
    if (err == 0)
        err = stm_dentry_load(&v, parent, name, d);
    return err < 0 ? err : stm_object_load(&v, d->object, o);
}

int stm_tree_unlink(struct stm_txn *t, uint64_t parent, struct stm_slice name, bool keep, struct stm_object *ret)
{
    struct stm_object dir, o;
    struct stm_dentry d;
    int err = load_entry(t, parent, name, &dir, &d, &o);

    if (err < 0)
        return err;
    if (S_ISDIR(o.mode))
        return -EISDIR;
    err = stm_dentry_end(t, parent, name, &d, o.flags & STM_OBJ_NOHISTORY);
    if (err == 0)
        err = stm_object_unname(t, &o, keep);
    if (err == 0 && S_ISREG(o.mode) && o.nlink == 0 && !(o.flags & STM_OBJ_NOHISTORY) && !stm_name_is_junk(name))
        err = stm_tombstone_put(t, parent, name, o.id);
    if (err == 0)
        err = stm_parent_change(t, &dir, -1, 0);
    if (err == 0)
        err = stm_txn_log(t, 'u', o.id, parent, name);
    if (err == 0 && ret)
        *ret = o;
    return err;
}

int stm_dir_remove(struct stm_txn *t, struct stm_object *o)
{
    if (o->entries > 0)
        return -ENOTEMPTY;
    o->nlink = 0;
    stm_object_touch(t, o, false);
    return stm_object_put(t, o, keep_target);
}

int stm_tree_rmdir(struct stm_txn *t, uint64_t parent, struct stm_slice name)
{
    struct stm_object dir, o;
    struct stm_dentry d;
    int err = load_entry(t, parent, name, &dir, &d, &o);

    if (err < 0)
        return err;
    if (!S_ISDIR(o.mode))
        return -ENOTDIR;
    err = stm_dir_remove(t, &o);
    if (err == 0)
        err = stm_dentry_end(t, parent, name, &d, false);
    if (err == 0)
        err = stm_parent_change(t, &dir, -1, -1);
    if (err == 0)
        err = stm_txn_log(t, 'u', o.id, parent, name);
    return err;
}
