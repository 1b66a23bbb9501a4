/*
 * make.c: new objects of every kind: what their directory hands down to them. Which names may be made is link.c's and selector.c's business,
 * handles open.c's.
 */
#include <sys/stat.h>

#include "inner.h"

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

int stm_build_make(struct stm_txn *txn, void *making)
{
    struct stm_making *m = making;
    struct stm_new n = m->n;
    int err = m->nameless ? take_group(txn, m, &n) : 0;

    return err < 0 ? err : stm_tree_create(txn, m->nameless ? 0 : m->parent, m->name, &n, &m->act.object);
}
