/*
 * read.c: bytes of every kind of file, symlink targets. Drafts first, then the store; one code path for the head, versions and views.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"
#include "vnode.h"

enum { RACES_MAX = 50 };

/* -EAGAIN: the draft does not have the bytes, the store does. */
static int64_t read_draft(struct stm_fs *fs, uint64_t object, uint64_t off, void *buf, size_t len)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);
    int64_t n = -EAGAIN;

    if (!f)
        return n;
    if (atomic_load(&f->active)) {
        stm_file_lock(f);
        if (stm_draft_shows(f))
            n = stm_stage_read(&f->draft.data, off, buf, len);
        stm_file_unlock(f);
    }
    stm_file_unpin(fs, f);
    return n;
}

/* -ESTALE: the version was amended between the two looks. */
static int64_t try_object(const struct stm_view *v, uint64_t object, uint64_t off, void *buf, size_t len)
{
    struct stm_object o;
    struct stm_version ver;
    int64_t n;
    int err = stm_object_get(v, object, &o);

    if (err < 0)
        return err;
    if (S_ISDIR(o.mode))
        return -EISDIR;
    err = stm_version_at(v, &o, &ver);
    if (err < 0)
        return err == -ENOENT ? 0 : err; /* empty, no version yet */
    n = stm_content_read(v->store, &ver, off, buf, len);
    stm_version_release(&ver);
    return n;
}

static int64_t read_object(const struct stm_view *v, uint64_t object, uint64_t off, void *buf, size_t len)
{
    int64_t n = -ESTALE;

    for (int i = 0; i < RACES_MAX && n == -ESTALE; i++)
        n = try_object(v, object, off, buf, len);
    return n == -ENOENT ? -ESTALE : n; /* the object is gone */
}

static int64_t read_version(struct stm_fs *fs, const struct stm_node *node, uint64_t off, void *buf, size_t len)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_version ver;
    int err = stm_version_get(&v, node->id, node->n, &ver);

    if (err < 0)
        return err == -ENOENT ? -ESTALE : err;
    int64_t n = stm_content_read(fs->store, &ver, off, buf, len);
    stm_version_release(&ver);
    return n;
}

static int64_t read_part(struct stm_fs *fs, const struct stm_node *node, uint64_t off, void *buf, size_t len)
{
    struct stm_view v = stm_view_head(fs->store);
    uint64_t seq;
    int64_t n;

    switch (node->kind) {
    case STM_NODE_HEAD:
        n = read_draft(fs, node->id, off, buf, len);
        return n == -EAGAIN ? read_object(&v, node->id, off, buf, len) : n;
    case STM_NODE_VERSION:
        return read_version(fs, node, off, buf, len);
    case STM_NODE_VIEW:
        if (stm_view_seq(fs->store, node->n, &seq) < 0)
            return -ESTALE;
        v = stm_view_at(fs->store, seq);
        return read_object(&v, node->id, off, buf, len);
    case STM_NODE_VIRTUAL:
        break;
    }
    return -EINVAL;
}

int64_t stm_read_node(struct stm_fs *fs, uint64_t ino, uint64_t off, void *buf, size_t len)
{
    struct stm_node node;
    size_t done = 0;
    int err = stm_nodeid_parse(ino, &node);

    if (err < 0)
        return err;
    while (done < len) {
        int64_t n = read_part(fs, &node, off + done, (char *)buf + done, len - done);
        if (n < 0)
            return n; /* not what there is so far: the kernel would take a short read for the end of the file */
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

void stm_do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct stm_fs *fs = stm_fs_of(req);
    char *buf = malloc(size + 1);
    int64_t n = -ENOMEM;

    if (buf && ino >> 60 == STM_NODE_VIRTUAL)
        n = stm_text_read(fs, fi->fh, (uint64_t)off, buf, size);
    else if (buf)
        n = stm_read_node(fs, ino, (uint64_t)off, buf, size);
    if (n < 0)
        stm_reply_fail(req, "read", ino, (int)n);
    else
        fuse_reply_buf(req, buf, (size_t)n);
    free(buf);
}

void stm_do_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_view v = stm_view_head(fs->store);
    struct stm_buf target = STM_BUF_INIT;
    struct stm_vnode link = {.target = NULL};
    struct stm_node node;
    uint64_t seq;
    int err = stm_nodeid_parse(ino, &node);

    if (err == 0 && node.kind == STM_NODE_VIRTUAL) {
        err = stm_vnode_get(fs, node.id, &link);
        if (err == 0 && link.kind != STM_V_LINK)
            err = -EINVAL;
    } else if (err == 0 && node.kind == STM_NODE_VIEW) {
        err = stm_view_seq(fs->store, node.n, &seq);
        if (err == 0)
            v = stm_view_at(fs->store, seq);
    } else if (err == 0 && node.kind == STM_NODE_VERSION) {
        err = -EINVAL;
    }
    if (err == 0 && node.kind != STM_NODE_VIRTUAL)
        err = stm_object_target(&v, node.id, &target);
    if (err < 0)
        stm_reply_fail(req, "readlink", ino, err == -ENOENT ? -ESTALE : err);
    else
        fuse_reply_readlink(req, link.target ? link.target : (const char *)target.data);
    stm_vnode_release(&link);
    stm_buf_release(&target);
}
