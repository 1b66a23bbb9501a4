/*
 * extent.c: where files have data and where holes: lseek(2) with SEEK_DATA and SEEK_HOLE, for every kind of file, drafts first, then the store.
 * What becomes a hole is not decided here: stage.c knows it of what is being written, stm_content_extent of what is stored.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "vnode.h"

/* -EAGAIN: the draft does not have the bytes, the store does. */
static int draft_extent(struct stm_fs *fs, uint64_t object, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);
    int err = -EAGAIN;

    if (!f)
        return err;
    if (atomic_load(&f->active)) {
        stm_file_lock(f);
        if (stm_draft_shows(f))
            err = stm_stage_extent(&f->draft.data, off, ret_from, ret_to);
        stm_file_unlock(f);
    }
    stm_file_unpin(fs, f);
    return err;
}

static int object_extent(const struct stm_view *v, uint64_t object, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct stm_object o;
    struct stm_version ver;
    int err = stm_object_get(v, object, &o);

    if (err == 0 && !S_ISREG(o.mode))
        err = -EINVAL;
    if (err < 0)
        return err;
    *ret_from = *ret_to = 0;
    err = stm_version_at(v, &o, &ver);
    if (err == 0) {
        err = stm_content_extent(v->store, &ver, off, ret_from, ret_to);
        stm_version_release(&ver);
    }
    return err == -ENOENT ? 0 : err; /* empty, no version yet */
}

static int version_extent(struct stm_fs *fs, const struct stm_node *node, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_version ver;
    int err = stm_version_get(&v, node->id, node->n, &ver);

    if (err < 0)
        return err;
    err = stm_content_extent(fs->store, &ver, off, ret_from, ret_to);
    stm_version_release(&ver);
    return err;
}

static int text_extent(struct stm_fs *fs, uint64_t number, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct stm_attr a;
    int err = stm_virtual_attr(fs, number, &a);

    *ret_to = err == 0 ? (uint64_t)a.st.st_size : 0;
    *ret_from = off < *ret_to ? off : *ret_to;
    return err;
}

int stm_node_extent(struct stm_fs *fs, uint64_t ino, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_node node;
    uint64_t seq;
    int err = stm_nodeid_parse(ino, &node);

    if (err < 0)
        return err;
    switch (node.kind) {
    case STM_NODE_HEAD:
        err = draft_extent(fs, node.id, off, ret_from, ret_to);
        if (err == -EAGAIN)
            err = object_extent(&v, node.id, off, ret_from, ret_to);
        break;
    case STM_NODE_VERSION:
        err = version_extent(fs, &node, off, ret_from, ret_to);
        break;
    case STM_NODE_VIEW:
        err = stm_view_seq(fs->store, node.n, &seq);
        if (err == 0) {
            v = stm_view_at(fs->store, seq);
            err = object_extent(&v, node.id, off, ret_from, ret_to);
        }
        break;
    case STM_NODE_VIRTUAL:
        err = text_extent(fs, node.id, off, ret_from, ret_to);
        break;
    }
    return err == -ENOENT ? -ESTALE : err;
}

/* Where the data that is at off ends, or off itself when there is a hole. */
static int find_hole(struct stm_fs *fs, uint64_t ino, uint64_t *off)
{
    uint64_t from, to;
    int err;

    while ((err = stm_node_extent(fs, ino, *off, &from, &to)) == 0 && from == *off && to > from)
        *off = to;
    return err;
}

void stm_do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct stm_fs *fs = stm_fs_of(req);
    uint64_t at = (uint64_t)off, from = 0, to = 0;
    int err = off < 0 ? -ENXIO : whence != SEEK_DATA && whence != SEEK_HOLE ? -EINVAL : stm_node_extent(fs, ino, at, &from, &to);
    (void)fi;

    if (err == 0 && (to <= at || (from == to && whence == SEEK_DATA)))
        err = -ENXIO; /* behind the end, or no data before it */
    if (err == 0 && whence == SEEK_HOLE)
        err = find_hole(fs, ino, &at);
    if (err < 0)
        stm_reply_fail(req, "lseek", ino, err);
    else
        fuse_reply_lseek(req, (off_t)(whence == SEEK_DATA ? from : at));
}
