/*
 * commit.c: every change that a request makes passes here, with the request's id. A marker that must commit with the change (so that a request
 * which is asked again after a crash is not done twice) is a stm_txn_mark in stm_change.extra, made from what the act holds.
 */
#include "inner.h"

struct stm_act stm_act_of(fuse_req_t req)
{
    return (struct stm_act){.who = stm_caller_of(req)};
}

int stm_act_commit(struct stm_fs *fs, struct stm_act *act, int (*build)(struct stm_txn *txn, void *arg), void *arg)
{
    struct stm_change change = {
        .uid = act->who.uid,
        .gid = act->who.gid,
        .pid = act->who.pid,
        .sync = act->sync,
        .pressing = act->pressing,
    };

    if (fs->opt.read_only)
        return -EROFS;
    return stm_update(fs->store, &change, build, arg, &act->seq);
}
