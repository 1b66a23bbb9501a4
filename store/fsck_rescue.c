/* fsck_rescue.c: mends of objects, as builds of transactions: writing what was recounted, and naming what nothing names. */
#include <stdio.h>
#include <sys/stat.h>

#include "fsck.h"
#include "tree_inner.h"

enum { LOST_MODE = S_IFDIR | 0700 };

int stm_object_fix_build(struct stm_txn *t, void *arg)
{
    const struct stm_object_fix *fix = arg;
    struct stm_view v = stm_txn_view(t);
    struct stm_object o;
    int err = stm_object_load(&v, fix->object, &o);

    if (err < 0)
        return err == -ENOENT ? 0 : err;
    if (fix->what & STM_FIX_LINKS)
        o.nlink = fix->nlink;
    if (fix->what & STM_FIX_ENTRIES)
        o.entries = fix->entries;
    if (fix->what & STM_FIX_PARENT)
        o.parent = fix->parent;
    if (fix->what & STM_FIX_SIZE)
        o.size = fix->size;
    if (fix->what & STM_FIX_TIP)
        o.tip = fix->tip;
    o.flags = (o.flags | fix->flags_set) & ~fix->flags_clear;
    err = stm_object_put(t, &o, stm_slice(NULL, 0));
    return err < 0 ? err : stm_txn_log(t, 'a', o.id, 0, stm_slice(NULL, 0));
}

/* The directory for what is found; made for root alone, since nobody knows who may see it. */
static int lost_found(struct stm_txn *t, struct stm_object *ret)
{
    struct stm_slice name = stm_slice_str("lost+found");
    struct stm_view v = stm_txn_view(t);
    struct stm_new n = {.mode = LOST_MODE};
    struct stm_entry e;
    int err = stm_tree_lookup(&v, STM_ROOT_OBJECT, name, &e);

    if (err == -ENOENT)
        return stm_tree_create(t, STM_ROOT_OBJECT, name, &n, ret);
    return err < 0 ? err : stm_parent_load(t, e.object, ret);
}

int stm_rescue_build(struct stm_txn *t, void *arg)
{
    struct stm_key orphan = stm_key_index(STM_IX_ORPHAN, ((struct stm_rescue *)arg)->object);
    const struct stm_rescue *r = arg;
    struct stm_view v = stm_txn_view(t);
    struct stm_object o, dir;
    struct stm_dentry there;
    char name[32];
    int err = stm_object_load(&v, r->object, &o);

    if (err < 0)
        return err == -ENOENT ? 0 : err;
    snprintf(name, sizeof name, "#%llu", (unsigned long long)r->object);
    err = lost_found(t, &dir);
    if (err < 0)
        return err;
    err = stm_dentry_load(&v, dir.id, stm_slice_str(name), &there);
    if (err != -ENOENT)
        return err < 0 ? err : -EEXIST;
    bool is_dir = S_ISDIR(o.mode);
    o.nlink = r->nlink;
    o.flags &= ~(uint32_t)(STM_OBJ_ORPHAN | STM_OBJ_NOHISTORY);
    if (is_dir)
        o.parent = dir.id;
    stm_object_touch(t, &o, false);
    err = stm_object_put(t, &o, stm_slice(NULL, 0));
    if (err == 0)
        err = stm_txn_delete(t, STM_INDEX, &orphan);
    if (err == 0)
        err = stm_dentry_put(t, dir.id, stm_slice_str(name), o.id, o.mode & S_IFMT);
    if (err == 0)
        err = stm_parent_change(t, &dir, 1, is_dir ? 1 : 0);
    return err < 0 ? err : stm_txn_log(t, 'l', o.id, dir.id, stm_slice_str(name));
}
