/*
 * reply.c: answers. Store errors become errnos here and nowhere else. What an operation did is never undone because its answer could not be
 * delivered (the caller was killed); only the count of an interned node is, since the kernel did not learn of it.
 */
#include "notify.h"
#include "stemma/health.h"
#include "vnode.h"

int stm_errno_of(int err)
{
    return err >= 0 ? 0 : stm_error_errno(err);
}

static void count(struct stm_fs *fs, int err)
{
    if (err < 0 && err != -ENOENT && err != -ENODATA && err != -EEXIST)
        atomic_fetch_add_explicit(&fs->errors, 1, memory_order_relaxed);
}

void stm_reply_err(fuse_req_t req, int err)
{
    count(stm_fs_of(req), err);
    fuse_reply_err(req, stm_errno_of(err));
}

/* A program that meets damage asks again, and again; who reads the log needs to hear of each thing once. */
static bool is_news(struct stm_fs *fs, uint64_t ino, int err)
{
    return err != STM_E_CORRUPT || atomic_exchange_explicit(&fs->damaged[ino % STM_DAMAGED], ino, memory_order_relaxed) != ino;
}

void stm_reply_fail(fuse_req_t req, const char *op, uint64_t ino, int err)
{
    struct stm_fs *fs = stm_fs_of(req);
    int number = stm_errno_of(err);

    /* A full disk, and an engine that cannot write, have one line for all (stm_store_health). */
    if (((number == EIO && err != stm_store_failing(fs->store)) || number == ENOMEM) && is_news(fs, ino, err))
        stm_fs_log(fs, STM_FS_ERROR, "request_failed", "op=%s node=%#llx error=\"%s\" consequence=\"answered %s\"", op,
                   (unsigned long long)ino, stm_error_text(err), strerrorname_np(number));
    stm_reply_err(req, err);
}

void stm_reply_found(fuse_req_t req, const struct stm_found *f)
{
    struct stm_fs *fs = stm_fs_of(req);

    if (fuse_reply_entry(req, &f->e) < 0 && f->vnode)
        stm_vnode_forget(fs, f->vnode, 1);
}

void stm_reply_attr(fuse_req_t req, const struct stm_attr *a)
{
    fuse_reply_attr(req, &a->st, a->timeout);
}

static void reply_success(void *arg)
{
    fuse_reply_err(arg, 0);
}

void stm_reply_after(fuse_req_t req, const struct stm_inval *list, size_t n)
{
    if (n == 0)
        stm_reply_err(req, 0);
    else if (stm_notify_post(stm_fs_of(req), list, n, reply_success, req) < 0)
        stm_reply_err(req, -ENOMEM);
}
