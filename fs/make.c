/*
 * make.c: new objects of every kind: what their directory hands down to them. Which names may be made is link.c's and selector.c's business,
 * handles open.c's.
 */
#include <sys/stat.h>

#include "acl.h"

/* What the store does for an object that gets an entry, here for one that gets none yet. */
static int take_group(struct stm_txn *txn, const struct stm_making *m, struct stm_new *n)
{
    struct stm_view v = stm_txn_view(txn);
    struct stm_object dir;
    int err = stm_object_get(&v, m->parent, &dir);

    if (err == 0 && dir.mode & S_ISGID)
        n->gid = dir.gid;
    return err;
}

/* The object with its ACLs; empty ones it does not get. */
static int make(struct stm_txn *txn, struct stm_making *m, const struct stm_new *n, const struct stm_buf *access,
                const struct stm_buf *dflt)
{
    struct stm_view v = stm_txn_view(txn);
    int err = stm_tree_create(txn, m->nameless ? 0 : m->parent, m->name, n, &m->act.object);
    uint64_t id = m->act.object.id;

    if (err < 0 || (access->len == 0 && dflt->len == 0))
        return err;
    if (access->len > 0)
        err = stm_xattr_set(txn, id, stm_slice_str(STM_ACL_ACCESS), stm_buf_slice(access), 0);
    if (err == 0 && dflt->len > 0)
        err = stm_xattr_set(txn, id, stm_slice_str(STM_ACL_DEFAULT), stm_buf_slice(dflt), 0);
    return err < 0 ? err : stm_object_get(&v, id, &m->act.object);
}

int stm_build_make(struct stm_txn *txn, void *making)
{
    struct stm_making *m = making;
    struct stm_buf access = STM_BUF_INIT, dflt = STM_BUF_INIT;
    struct stm_new n = m->n;
    int err = m->nameless ? take_group(txn, m, &n) : 0;

    if (err == 0 && m->fs->opt.acl && !S_ISLNK(n.mode))
        err = stm_acl_inherit(txn, m->parent, m->act.who.umask, &n.mode, &access, &dflt);
    if (err == 0)
        err = make(txn, m, &n, &access, &dflt);
    stm_buf_release(&access);
    stm_buf_release(&dflt);
    return err;
}
