/*
 * rename.c: moving names: rename over nothing, over another object, exchange, and the replacement behind `cp new word@minor`.
 * The rule of lines: when a regular file is replaced, its line goes to the object that takes the name (version.c: stm_line_take).
 */
#include <sys/stat.h>

#include "dentry.h"
#include "stemma/name.h"
#include "tree_inner.h"

enum { DEPTH_MAX = 5000 };

static const struct stm_slice keep_target = {NULL, 0};

/* Everything a rename is about, as loaded. `to_dir` is a pointer, since both may be one directory. */
struct move {
    struct stm_txn *t;
    struct stm_rename *r;
    struct stm_object from_dir, other_dir, *to_dir;
    struct stm_dentry src, dst;
    struct stm_object n, o; /* the moved object; the one that had the name */
    bool over;              /* there was one */
};

/* -EINVAL when `dir` is `object` or lies below it. */
static int not_below(struct stm_txn *t, uint64_t object, uint64_t dir)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_object o;

    for (int i = 0; i < DEPTH_MAX; i++) {
        if (dir == object)
            return -EINVAL;
        if (dir == STM_ROOT_OBJECT)
            return 0;
        int err = stm_object_load(&v, dir, &o);
        if (err < 0)
            return err;
        dir = o.parent;
    }
    return -ELOOP;
}

static int load_move(struct move *m)
{
    struct stm_view v = stm_txn_view(m->t);
    int err = stm_name_check(m->r->from);

    if (err == 0)
        err = stm_name_check(m->r->to);
    if (err == 0)
        err = stm_parent_load(m->t, m->r->from_parent, &m->from_dir);
    m->to_dir = &m->from_dir;
    if (err == 0 && m->r->to_parent != m->r->from_parent) {
        m->to_dir = &m->other_dir;
        err = stm_parent_load(m->t, m->r->to_parent, m->to_dir);
    }
    if (err == 0)
        err = stm_dentry_load(&v, m->r->from_parent, m->r->from, &m->src);
    if (err == 0)
        err = stm_object_load(&v, m->src.object, &m->n);
    if (err < 0)
        return err;
    err = stm_dentry_load(&v, m->r->to_parent, m->r->to, &m->dst);
    m->over = err == 0;
    if (err == -ENOENT)
        return 0;
    return err < 0 ? err : stm_object_load(&v, m->dst.object, &m->o);
}

/* A directory that gains a subdirectory must have a link left for it. */
static int check_links(const struct move *m)
{
    bool moves = S_ISDIR(m->n.mode), returns = m->r->exchange && S_ISDIR(m->o.mode);
    const struct stm_object *gains = moves ? m->to_dir : &m->from_dir;

    if (m->to_dir == &m->from_dir || moves == returns || (m->over && !m->r->exchange))
        return 0;
    return gains->nlink >= STM_LINK_MAX ? -EMLINK : 0;
}

static int check_move(const struct move *m)
{
    int err = check_links(m);

    if (m->over && m->r->noreplace)
        return -EEXIST;
    if (!m->over && m->r->exchange)
        return -ENOENT;
    if (err == 0 && S_ISDIR(m->n.mode) && m->r->to_parent != m->r->from_parent)
        err = not_below(m->t, m->n.id, m->r->to_parent);
    if (err == 0 && m->r->exchange && S_ISDIR(m->o.mode) && m->r->to_parent != m->r->from_parent)
        err = not_below(m->t, m->o.id, m->r->from_parent);
    if (err < 0 || !m->over || m->r->exchange)
        return err;
    if (S_ISDIR(m->n.mode) && !S_ISDIR(m->o.mode))
        return -ENOTDIR;
    return !S_ISDIR(m->n.mode) && S_ISDIR(m->o.mode) ? -EISDIR : 0;
}

/* Puts one or both directories, with the changes of their counts. */
static int put_dirs(struct move *m, int from_entries, int from_subdirs, int to_entries, int to_subdirs)
{
    if (m->to_dir == &m->from_dir)
        return stm_parent_change(m->t, &m->from_dir, from_entries + to_entries, from_subdirs + to_subdirs);
    int err = stm_parent_change(m->t, &m->from_dir, from_entries, from_subdirs);
    return err < 0 ? err : stm_parent_change(m->t, m->to_dir, to_entries, to_subdirs);
}

/* The object that had the name loses it; a regular file's line goes to the newcomer. */
static int replace_old(struct move *m, bool *ret_dropped)
{
    bool keeps_history = S_ISREG(m->o.mode) && S_ISREG(m->n.mode) && !(m->o.flags & STM_OBJ_NOHISTORY) && !stm_name_is_junk(m->r->to);
    int err = stm_dentry_end(m->t, m->r->to_parent, m->r->to, &m->dst, m->o.flags & STM_OBJ_NOHISTORY);

    if (err < 0)
        return err;
    if (S_ISDIR(m->o.mode))
        return stm_dir_remove(m->t, &m->o);
    if (keeps_history) {
        struct stm_take take = {.n = &m->n, .old = &m->o, .drop = m->r->drop_line || (m->n.flags & STM_OBJ_NOHISTORY)};
        m->o.nlink--;
        stm_object_touch(m->t, &m->o, false);
        err = stm_line_take(m->t, &take);
        m->r->made_version = take.made_version;
        *ret_dropped = take.drop;
        return err < 0 ? err : stm_object_put(m->t, &m->o, keep_target);
    }
    err = stm_object_unname(m->t, &m->o, m->r->keep);
    bool waits = S_ISREG(m->o.mode) && m->o.nlink == 0 && !(m->o.flags & STM_OBJ_NOHISTORY) && !stm_name_is_junk(m->r->to);
    if (err == 0 && waits) /* a symlink, say, stands on its name for a while */
        err = stm_tombstone_put(m->t, m->r->to_parent, m->r->to, m->o.id);
    return err;
}

/*
 * Nothing has the name, but a line may wait there: that of a file that was moved to a backup goes on with whatever comes, that of a removed file
 * with a temporary file only; any other keeps its own.
 */
static int take_waiting(struct move *m, bool *ret_dropped)
{
    struct stm_view v = stm_txn_view(m->t);
    struct stm_object old;
    uint64_t id;

    if (!S_ISREG(m->n.mode) || stm_name_is_junk(m->r->to))
        return 0;
    int err = stm_tombstone_load(&v, m->r->to_parent, m->r->to, &id);
    if (err == -ENOENT)
        return 0;
    if (err == 0)
        err = stm_object_load(&v, id, &old);
    if (err < 0 && err != -ENOENT)
        return err;
    bool free_line = err == 0 && old.nlink == 0 && !(old.flags & STM_OBJ_LINE_GONE) && old.id != m->n.id;
    bool drop = m->r->drop_line || (m->n.flags & STM_OBJ_NOHISTORY);
    if (free_line && (drop || (old.flags & STM_OBJ_KEEPER))) {
        struct stm_take take = {.n = &m->n, .old = &old, .drop = drop};
        err = stm_line_take(m->t, &take);
        if (err == 0)
            err = stm_waiting_done(m->t, &old);
        if (err < 0)
            return err;
        m->r->made_version = take.made_version;
        *ret_dropped = take.drop;
    }
    return stm_tombstone_delete(m->t, m->r->to_parent, m->r->to);
}

/* A name that keeps no history takes none away: editors move a file to `word~` and write `word` anew. Its line waits where it was. */
static int leave_line(struct move *m)
{
    struct stm_object keeper;
    bool backup = S_ISREG(m->n.mode) && m->n.nlink == 1 && m->n.tip.seq != 0 && !(m->n.flags & STM_OBJ_NOHISTORY) &&
                  stm_name_is_junk(m->r->to) && !stm_name_is_junk(m->r->from);
    int err = backup ? stm_line_leave(m->t, &m->n, &keeper) : 0;

    return err < 0 || !backup ? err : stm_tombstone_put(m->t, m->r->from_parent, m->r->from, keeper.id);
}

static int move_over(struct move *m)
{
    bool dir = S_ISDIR(m->n.mode), dropped = (m->n.flags & STM_OBJ_NOHISTORY) != 0;
    int err = m->over ? replace_old(m, &dropped) : take_waiting(m, &dropped);

    if (err == 0)
        err = leave_line(m);
    if (err == 0)
        err = stm_dentry_end(m->t, m->r->from_parent, m->r->from, &m->src, dropped);
    if (err == 0)
        err = stm_dentry_put(m->t, m->r->to_parent, m->r->to, m->n.id, m->n.mode & S_IFMT);
    if (err < 0)
        return err;
    if (!stm_name_is_junk(m->r->to))
        m->n.flags &= ~(uint32_t)STM_OBJ_NOHISTORY;
    if (dir)
        m->n.parent = m->r->to_parent;
    stm_object_touch(m->t, &m->n, false);
    err = stm_object_put(m->t, &m->n, keep_target);
    return err < 0 ? err : put_dirs(m, -1, dir ? -1 : 0, m->over ? 0 : 1, dir && !m->over ? 1 : 0);
}

static int move_exchange(struct move *m)
{
    int sub = (S_ISDIR(m->o.mode) ? 1 : 0) - (S_ISDIR(m->n.mode) ? 1 : 0); /* what the source directory gains */
    int err = stm_dentry_end(m->t, m->r->from_parent, m->r->from, &m->src, false);

    if (err == 0)
        err = stm_dentry_end(m->t, m->r->to_parent, m->r->to, &m->dst, false);
    if (err == 0)
        err = stm_dentry_put(m->t, m->r->to_parent, m->r->to, m->n.id, m->n.mode & S_IFMT);
    if (err == 0)
        err = stm_dentry_put(m->t, m->r->from_parent, m->r->from, m->o.id, m->o.mode & S_IFMT);
    if (S_ISDIR(m->n.mode))
        m->n.parent = m->r->to_parent;
    if (S_ISDIR(m->o.mode))
        m->o.parent = m->r->from_parent;
    if (!stm_name_is_junk(m->r->to))
        m->n.flags &= ~(uint32_t)STM_OBJ_NOHISTORY;
    if (!stm_name_is_junk(m->r->from))
        m->o.flags &= ~(uint32_t)STM_OBJ_NOHISTORY;
    stm_object_touch(m->t, &m->n, false);
    stm_object_touch(m->t, &m->o, false);
    if (err == 0)
        err = stm_object_put(m->t, &m->n, keep_target);
    if (err == 0)
        err = stm_object_put(m->t, &m->o, keep_target);
    return err < 0 ? err : put_dirs(m, 0, sub, 0, -sub);
}

int stm_tree_rename(struct stm_txn *txn, struct stm_rename *r)
{
    struct move m = {.t = txn, .r = r};
    int err;

    r->moved = r->replaced = 0;
    r->made_version = false;
    if (r->noreplace && r->exchange)
        return -EINVAL;
    err = load_move(&m);
    if (err == 0)
        err = check_move(&m);
    if (err < 0)
        return err;
    r->moved = m.n.id;
    if (m.over && m.o.id == m.n.id)
        return 0; /* two names of one object: POSIX says do nothing */
    r->replaced = m.over ? m.o.id : 0;
    err = r->exchange ? move_exchange(&m) : move_over(&m);
    if (err == 0)
        err = stm_txn_log(txn, r->exchange ? 'X' : 'r', m.n.id, r->from_parent, r->from);
    if (err == 0)
        err = stm_txn_log(txn, r->exchange ? 'X' : 'r', m.n.id, r->to_parent, r->to);
    return err;
}

int stm_tree_replace(struct stm_txn *txn, uint64_t nameless, uint64_t parent, struct stm_slice to, const struct stm_save *save,
                     uint64_t *ret_replaced, struct stm_object *ret)
{
    struct stm_key orphan = stm_key_index(STM_IX_ORPHAN, nameless);
    struct stm_view v = stm_txn_view(txn);
    struct stm_object dir, n, o;
    struct stm_dentry d;
    int err = stm_name_check(to);

    if (err == 0)
        err = stm_parent_load(txn, parent, &dir);
    if (err == 0)
        err = stm_dentry_load(&v, parent, to, &d);
    if (err == 0)
        err = stm_object_load(&v, d.object, &o);
    if (err == 0)
        err = stm_object_load(&v, nameless, &n);
    if (err == 0 && (!S_ISREG(o.mode) || !S_ISREG(n.mode) || n.nlink != 0))
        err = -EINVAL;
    if (err < 0)
        return err;
    struct stm_take take = {.n = &n, .old = &o, .save = save, .drop = true};
    o.nlink--;
    stm_object_touch(txn, &o, false);
    err = stm_line_take(txn, &take);
    if (err == 0)
        err = stm_object_put(txn, &o, keep_target);
    if (err == 0)
        err = stm_dentry_end(txn, parent, to, &d, false);
    if (err == 0)
        err = stm_dentry_put(txn, parent, to, nameless, S_IFREG);
    if (err == 0)
        err = stm_txn_delete(txn, STM_INDEX, &orphan);
    n.nlink = 1;
    n.flags &= ~(uint32_t)(STM_OBJ_ORPHAN | STM_OBJ_NOHISTORY);
    stm_object_touch(txn, &n, true);
    if (err == 0)
        err = stm_object_put(txn, &n, keep_target);
    if (err == 0)
        err = stm_parent_change(txn, &dir, 0, 0);
    if (err == 0)
        err = stm_txn_log(txn, 'r', nameless, parent, to);
    if (err < 0)
        return err;
    *ret_replaced = o.id;
    *ret = n;
    return 0;
}
