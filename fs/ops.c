/*
 * ops.c: the table of operations, what is agreed with the kernel at the start, and the few requests that need no file of their own.
 */
#include <sys/statvfs.h>

#include "stemma/health.h"
#include "vnode.h"

enum { MIB = 1 << 20, BACKGROUND = 64 };

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
    /* Off: splice (the request's id is read from the request), writeback cache (hides bytes), auto invalidation (we say what is old). */
    unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_READDIRPLUS |
                    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS |
                    FUSE_CAP_EXPLICIT_INVAL_DATA;
    const struct stm_fs *fs = userdata;

    if (fs->opt.acl)
        want |= FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK; /* a default ACL stands in for the umask: make.c */
    conn->want = want & conn->capable;
    conn->max_write = MIB;
    conn->max_readahead = MIB;
    conn->max_background = BACKGROUND;
    conn->congestion_threshold = BACKGROUND * 3 / 4;
    conn->time_gran = 1;
}

static void forget(struct stm_fs *fs, fuse_ino_t ino, uint64_t n)
{
    if (ino >> 60 == STM_NODE_VIRTUAL)
        stm_vnode_forget(fs, ino & STM_ID_MAX, n);
    else if (ino >> 60 == STM_NODE_HEAD)
        stm_orphan_forgotten(fs, ino);
}

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    forget(stm_fs_of(req), ino, n);
    fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(stm_fs_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* Of the filesystem that the store lies on, without what the store keeps free there; a store in memory makes its size up. */
static void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct stm_store *store = stm_fs_of(req)->store;
    const char *path = stm_store_path(store);
    struct statvfs s = {
        .f_bsize = 4096, .f_frsize = 4096, .f_blocks = MIB, .f_bfree = MIB, .f_bavail = MIB, .f_files = MIB, .f_ffree = MIB};
    (void)ino;

    if (path[0] && statvfs(path, &s) < 0) {
        stm_reply_err(req, -errno);
        return;
    }
    if (path[0] && s.f_frsize > 0)
        s.f_bavail = stm_store_spare(store, (uint64_t)s.f_bavail * s.f_frsize) / s.f_frsize;
    s.f_namemax = STM_NAME_MAX;
    fuse_reply_statfs(req, &s);
}

const struct fuse_lowlevel_ops stm_ops = {
    .init = do_init,
    .lookup = stm_do_lookup,
    .forget = do_forget,
    .forget_multi = do_forget_multi,
    .getattr = stm_do_getattr,
    .setattr = stm_do_setattr,
    .readlink = stm_do_readlink,
    .mknod = stm_do_mknod,
    .mkdir = stm_do_mkdir,
    .symlink = stm_do_symlink,
    .link = stm_do_link,
    .unlink = stm_do_unlink,
    .rmdir = stm_do_rmdir,
    .rename = stm_do_rename,
    .open = stm_do_open,
    .create = stm_do_create,
    .read = stm_do_read,
    .write = stm_do_write,
    .flush = stm_do_flush,
    .fsync = stm_do_fsync,
    .release = stm_do_release,
    .opendir = stm_do_opendir,
    .readdir = stm_do_readdir,
    .readdirplus = stm_do_readdirplus,
    .releasedir = stm_do_releasedir,
    .fsyncdir = stm_do_fsyncdir,
    .statfs = do_statfs,
    .setxattr = stm_do_setxattr,
    .getxattr = stm_do_getxattr,
    .listxattr = stm_do_listxattr,
    .removexattr = stm_do_removexattr,
    .fallocate = stm_do_fallocate,
    .lseek = stm_do_lseek,
    .copy_file_range = stm_do_copy_file_range,
};
