/*
 * write.c: changing bytes through a handle: into the draft that all writers of the object share. Nothing is stored before a flush.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "file.h"
#include "notify.h"

enum { COPY_STEP = 1 << 20, COPY_MAX = 16 << 20 }; /* copy_file_range: at a time; a call */

/* The file behind a handle that was opened for writing, pinned and locked. A handle whose draft is lost gets -EIO, so that close tells. */
static int take_writer(struct stm_fs *fs, uint64_t ino, const struct fuse_file_info *fi, struct stm_file **ret)
{
    struct stm_node node;
    int err = stm_nodeid_parse(ino, &node);

    if (err == 0 && node.kind != STM_NODE_HEAD)
        err = -EROFS;
    if (err < 0)
        return err;
    struct stm_file *f = stm_file_pin(fs, node.id, STM_PIN_FIND);
    if (!f)
        return -EIO;
    stm_file_lock(f);
    if (fi->fh == 0 || f->draft.id != fi->fh) {
        stm_file_unlock(f);
        stm_file_unpin(fs, f);
        return fi->fh == 0 ? -EBADF : -EIO;
    }
    *ret = f;
    return 0;
}

static void put_writer(struct stm_fs *fs, struct stm_file *f)
{
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
}

/* Before the first change: who it is, and privileges. The kernel, which still shows the set-id bits, is told. */
static int before_change(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who)
{
    int err = stm_draft_load(fs, f, false);

    stm_draft_author(f, who);
    if (err < 0 || !f->draft.privileged)
        return err;
    err = stm_draft_unprivilege(fs, f, who);
    if (err == 0)
        (void)stm_notify_post(fs, &(struct stm_inval){.kind = STM_INVAL_ATTR, .ino = stm_nodeid_head(f->object)}, 1, NULL, NULL);
    return err;
}

void stm_do_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_caller who = stm_caller_of(req);
    bool moved = false;
    struct stm_file *f;
    int err = take_writer(fs, ino, fi, &f);

    if (err < 0) {
        stm_reply_fail(req, "write", ino, err);
        return;
    }
    if (!fi->writepage) { /* a page that the kernel writes back has no author */
        err = before_change(fs, f, &who);
        if (err == 0 && fi->flags & O_APPEND && (uint64_t)off != f->draft.data.size) {
            off = (off_t)f->draft.data.size; /* the kernel's idea of the end was old */
            moved = true;
        }
    }
    if (err == 0)
        err = stm_draft_write(fs, f, (uint64_t)off, buf, size);
    put_writer(fs, f);
    if (err == 0 && moved)
        (void)stm_notify_post(fs, &(struct stm_inval){.kind = STM_INVAL_DATA, .ino = ino}, 1, NULL, NULL);
    if (err < 0)
        stm_reply_fail(req, "write", ino, err);
    else
        fuse_reply_write(req, size);
}

static int change_range(struct stm_fs *fs, struct stm_file *f, int mode, uint64_t off, uint64_t len)
{
    bool keep = mode & FALLOC_FL_KEEP_SIZE;
    uint64_t size = f->draft.data.size;
    int err = 0;

    if (off > STM_STAGE_MAX || len > STM_STAGE_MAX - off)
        return -EFBIG;
    if (!keep && off + len > size)
        err = stm_draft_truncate(fs, f, off + len);
    if (err == 0 && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && off < size)
        err = stm_draft_zero(fs, f, off, len);
    return err;
}

void stm_do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_caller who = stm_caller_of(req);
    int kind = mode & ~FALLOC_FL_KEEP_SIZE, err = 0;
    struct stm_file *f;

    if (kind != 0 && kind != FALLOC_FL_ZERO_RANGE && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        err = -EOPNOTSUPP;
    else if (off < 0 || len <= 0)
        err = -EINVAL;
    if (err == 0)
        err = take_writer(fs, ino, fi, &f);
    if (err < 0) {
        stm_reply_err(req, err);
        return;
    }
    err = before_change(fs, f, &who);
    if (err == 0)
        err = change_range(fs, f, mode, (uint64_t)off, (uint64_t)len);
    put_writer(fs, f);
    stm_reply_err(req, err);
}

struct copy {
    uint64_t from, to, off_in, off_out;
    struct fuse_file_info *fi;
    struct stm_caller who;
};

/* Copies one step; returns how many bytes, 0 at the end of the source. Only one of two files is locked at a time. */
static int64_t copy_step(struct stm_fs *fs, const struct copy *c, size_t done, char *buf, size_t len)
{
    struct stm_file *f;
    int64_t n = stm_read_node(fs, c->from, c->off_in + done, buf, len);

    if (n <= 0)
        return n;
    int err = take_writer(fs, c->to, c->fi, &f);
    if (err < 0)
        return err;
    err = before_change(fs, f, &c->who);
    if (err == 0)
        err = stm_draft_write(fs, f, c->off_out + done, buf, (size_t)n);
    put_writer(fs, f);
    return err < 0 ? err : n;
}

void stm_do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out,
                            off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct copy c = {ino_in, ino_out, (uint64_t)off_in, (uint64_t)off_out, fi_out, stm_caller_of(req)};
    char *buf = malloc(COPY_STEP);
    size_t done = 0;
    int64_t n = 0;
    (void)fi_in;

    if (flags != 0 || off_in < 0 || off_out < 0 || !buf) {
        stm_reply_err(req, buf ? -EINVAL : -ENOMEM);
        free(buf);
        return;
    }
    if (len > COPY_MAX)
        len = COPY_MAX;
    while (done < len) {
        n = copy_step(fs, &c, done, buf, len - done < COPY_STEP ? len - done : COPY_STEP);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    free(buf);
    if (n < 0 && done == 0)
        stm_reply_fail(req, "copy_file_range", ino_out, (int)n);
    else
        fuse_reply_write(req, done);
}
