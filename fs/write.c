/*
 * write.c: changing bytes through a handle: into the draft that all writers of the object share. Nothing is stored before a flush.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "file.h"
#include "notify.h"
#include "stemma/health.h"

enum { COPY_STEP = 1 << 20, COPY_MAX = 16 << 20, HOLE_COPY_MAX = 1 << 30 }; /* copy_file_range: at a time; a call; a call, with its holes */

/* The file behind a handle that was opened for writing, pinned and locked. A handle whose draft is lost gets -EIO, so that close tells. */
static int take_writer(struct stm_fs *fs, uint64_t ino, const struct fuse_file_info *fi, const struct stm_caller *who,
                       struct stm_file **ret)
{
    struct stm_node node;
    int err = stm_nodeid_parse(ino, &node);

    if (err == 0 && node.kind != STM_NODE_HEAD)
        err = -EROFS;
    if (err == 0 && fi->fh == 0)
        err = -EBADF;
    if (err < 0)
        return err;
    struct stm_file *f = stm_file_pin(fs, node.id, STM_PIN_FIND);
    if (!f)
        return -EIO;
    stm_file_lock(f);
    err = stm_handle_use(fs, fi->fh, node.id, who->unique);
    if (err < 0) {
        stm_file_unlock(f);
        stm_file_unpin(fs, f);
        return err;
    }
    f->draft.asker = stm_unique(who->unique);
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
    int err = take_writer(fs, ino, fi, &who, &f);

    if (err < 0) {
        if (fi->writepage) /* the kernel has in its pages what is not saved and will not be */
            (void)stm_notify_post(fs, &(struct stm_inval){.kind = STM_INVAL_DATA, .ino = ino}, 1, NULL, NULL);
        stm_reply_fail(req, "write", ino, err);
        return;
    }
    if (stm_was_asked_before(who.unique) && f->draft.last == stm_unique(who.unique)) { /* an earlier daemon has written it */
        put_writer(fs, f);
        fuse_reply_write(req, size);
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

/* Is there room for so many bytes more below the drafts? Nothing is set aside: what is written later may find less. */
static int check_room(struct stm_fs *fs, uint64_t len)
{
    const char *dir = stm_store_stage(fs->store);
    struct statvfs s;

    if (dir[0] == 0 || statvfs(dir, &s) < 0)
        return 0;
    return len > stm_store_spare(fs->store, (uint64_t)s.f_bavail * s.f_frsize) ? -ENOSPC : 0;
}

/*
 * fallocate(2). Zeroes a range, or makes it a hole, which is the same here; asked to allocate, it grows the file at most. So nothing is reserved
 * (zeros take no room and other bytes need a new place in each version), but what can never fit is refused.
 */
static int change_range(struct stm_fs *fs, struct stm_file *f, int mode, uint64_t off, uint64_t len)
{
    bool keep = mode & FALLOC_FL_KEEP_SIZE, zero = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    uint64_t size = f->draft.data.size, end = off + len;
    int err = 0;

    if (!(keep && zero) && (off > STM_STAGE_MAX || len > STM_STAGE_MAX - off))
        return -EFBIG;
    if (!zero && end > size)
        err = check_room(fs, off > size ? len : end - size);
    bool grow = !keep && end > size, wipe = zero && off < size;
    if (err == 0 && (grow || (!wipe && size > 0)))
        err = stm_draft_truncate(fs, f, grow ? end : size); /* if nothing else changes, the times do */
    if (err == 0 && wipe)
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
        err = take_writer(fs, ino, fi, &who, &f);
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
    char *buf;     /* COPY_STEP */
    size_t copied; /* bytes that went through it */
};

/* Copies one step, of data or of a hole; returns how many bytes, 0 at the end of the source. Only one of two files is locked at a time. */
static int64_t copy_step(struct stm_fs *fs, struct copy *c, size_t done, size_t len)
{
    uint64_t off = c->off_in + done, from, to;
    struct stm_file *f;
    int64_t n = stm_node_extent(fs, c->from, off, &from, &to);

    if (n < 0)
        return n;
    bool hole = from > off;
    if (hole) {
        n = (int64_t)(from - off < len ? from - off : len);
    } else {
        n = stm_read_node(fs, c->from, off, c->buf, len < COPY_STEP ? len : COPY_STEP);
        c->copied += n > 0 ? (size_t)n : 0;
    }
    if (n <= 0)
        return n;
    int err = take_writer(fs, c->to, c->fi, &c->who, &f);
    if (err < 0)
        return err;
    err = before_change(fs, f, &c->who);
    if (err == 0 && hole)
        err = change_range(fs, f, FALLOC_FL_ZERO_RANGE, c->off_out + done, (uint64_t)n);
    else if (err == 0)
        err = stm_draft_write(fs, f, c->off_out + done, c->buf, (size_t)n);
    put_writer(fs, f);
    return err < 0 ? err : n;
}

void stm_do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out,
                            off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct copy c = {ino_in, ino_out, (uint64_t)off_in, (uint64_t)off_out, fi_out, stm_caller_of(req), malloc(COPY_STEP), 0};
    size_t done = 0;
    int64_t n = 0;
    (void)fi_in;

    if (flags != 0 || off_in < 0 || off_out < 0 || !c.buf) {
        stm_reply_err(req, c.buf ? -EINVAL : -ENOMEM);
        free(c.buf);
        return;
    }
    if (len > HOLE_COPY_MAX)
        len = HOLE_COPY_MAX;
    while (done < len && c.copied < COPY_MAX) {
        n = copy_step(fs, &c, done, len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    free(c.buf);
    if (n < 0 && done > 0) /* the caller asks again for the rest, and hears then */
        stm_fs_log(fs, STM_FS_WARNING, "copy_cut_short", "node=%#llx done=%zu of=%zu error=\"%s\"", (unsigned long long)ino_out, done, len,
                   stm_error_text((int)n));
    if (n < 0 && done == 0)
        stm_reply_fail(req, "copy_file_range", ino_out, (int)n);
    else
        fuse_reply_write(req, done);
}
