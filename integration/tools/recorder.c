/*
 * recorder.c: a filesystem that shows a directory as it is and writes down everything that changes it, in the order in which it happened. A store
 * lies on it in the case crash/powercut, which then builds what a disk may hold after the power failed at some point of the record.
 *
 *     recorder BACKING RECORD MOUNTPOINT [FUSE option...]
 *
 * One thread serves all requests, so there is one order. What is written to the file `.mark` in the root is not stored: it becomes a line of the
 * record, by which a test says "now this has returned"; a line "fail N" is no mark, but makes the next N syncs of files fail with EIO. A sync is
 * recorded and not passed on: nothing here ever loses power.
 * Not recorded: modes, owners, times, extended attributes.
 *
 * The record: struct head (little-endian, packed), path, second path, data; see lib/powercut.py, which reads it.
 */
#define FUSE_USE_VERSION 314
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    uint8_t op, flags;
    uint16_t path_len, path2_len;
    uint64_t ino, offset, length; /* length: of the data that follow, or of a range */
} __attribute__((packed));

static int top = -1, record_fd = -1;
static long failing; /* so many syncs are still to fail */

static const char MARK[] = "/.mark";

/* Paths relative to the backing directory. */
static const char *rel(const char *path)
{
    return path[1] != '\0' ? path + 1 : ".";
}

static uint64_t ino_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static uint64_t ino_at(const char *path)
{
    struct stat st;

    return fstatat(top, rel(path), &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

/* A record that cannot be written would make every check that follows worthless. */
static void append(struct head h, const char *path, const char *path2, const void *data)
{
    struct iovec iov[4] = {{&h, sizeof h}, {(void *)(uintptr_t)path, 0}, {(void *)(uintptr_t)path2, 0}, {(void *)(uintptr_t)data, 0}};
    size_t all = sizeof h;

    h.path_len = (uint16_t)(path != NULL ? strlen(path) : 0);
    h.path2_len = (uint16_t)(path2 != NULL ? strlen(path2) : 0);
    iov[1].iov_len = h.path_len;
    iov[2].iov_len = h.path2_len;
    iov[3].iov_len = data != NULL ? h.length : 0;
    for (int i = 1; i < 4; i++)
        all += iov[i].iov_len;
    if (writev(record_fd, iov, 4) != (ssize_t)all) {
        perror("recorder: the record");
        abort();
    }
}

static void note(char op, const char *path, const char *path2, uint64_t ino)
{
    append((struct head){.op = (uint8_t)op, .ino = ino}, path, path2, NULL);
}

static int done(int result)
{
    return result < 0 ? -errno : 0;
}

/* Handles of the file for marks carry a bit above the descriptor, which a cast to int drops. */
static const uint64_t IS_MARK = UINT64_C(1) << 40;

static int is_mark(const struct fuse_file_info *fi)
{
    return (fi->fh & IS_MARK) != 0;
}

static uint64_t handle(int fd, const char *path)
{
    return (uint64_t)fd | (strcmp(path, MARK) == 0 ? IS_MARK : 0);
}

/* ---- what changes nothing ---- */

static int rec_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    return done(fi != NULL ? fstat((int)fi->fh, st) : fstatat(top, rel(path), st, AT_SYMLINK_NOFOLLOW));
}

static int rec_readlink(const char *path, char *buf, size_t size)
{
    ssize_t n = readlinkat(top, rel(path), buf, size - 1);

    if (n < 0)
        return -errno;
    buf[n] = '\0';
    return 0;
}

static int rec_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off, struct fuse_file_info *fi,
                       enum fuse_readdir_flags flags)
{
    int fd = openat((int)fi->fh, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    (void)path, (void)off, (void)flags;

    if (d == NULL)
        return -errno;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        fill(buf, e->d_name, NULL, 0, 0);
    closedir(d);
    return 0;
}

static int rec_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
    ssize_t n = pread((int)fi->fh, buf, size, off);
    (void)path;

    return n < 0 ? -errno : (int)n;
}

static int rec_statfs(const char *path, struct statvfs *st)
{
    (void)path;
    return done(fstatvfs(top, st));
}

static int rec_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    close((int)fi->fh);
    return 0;
}

static int rec_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)fi;
    return done(fchmodat(top, rel(path), mode, 0));
}

static int rec_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
    (void)fi;
    return done(fchownat(top, rel(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int rec_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    (void)fi;
    return done(utimensat(top, rel(path), times, AT_SYMLINK_NOFOLLOW));
}

/* ---- names ---- */

static int rec_mknod(const char *path, mode_t mode, dev_t dev)
{
    int err = done(mknodat(top, rel(path), mode, dev));

    if (err == 0)
        append((struct head){.op = 'N', .ino = ino_at(path), .offset = mode}, path, NULL, NULL);
    return err;
}

static int rec_mkdir(const char *path, mode_t mode)
{
    int err = done(mkdirat(top, rel(path), mode));

    if (err == 0)
        note('D', path, NULL, ino_at(path));
    return err;
}

static int rec_symlink(const char *target, const char *path)
{
    int err = done(symlinkat(target, top, rel(path)));

    if (err == 0)
        note('Y', path, target, ino_at(path));
    return err;
}

static int rec_unlink(const char *path)
{
    int err = done(unlinkat(top, rel(path), 0));

    if (err == 0 && strcmp(path, MARK) != 0)
        note('U', path, NULL, 0);
    return err;
}

static int rec_rmdir(const char *path)
{
    int err = done(unlinkat(top, rel(path), AT_REMOVEDIR));

    if (err == 0)
        note('X', path, NULL, 0);
    return err;
}

static int rec_rename(const char *from, const char *to, unsigned flags)
{
    if (flags != 0)
        return -EINVAL;
    int err = done(renameat(top, rel(from), top, rel(to)));

    if (err == 0)
        note('R', from, to, 0);
    return err;
}

static int rec_link(const char *from, const char *to)
{
    int err = done(linkat(top, rel(from), top, rel(to), 0));

    if (err == 0)
        note('L', from, to, 0);
    return err;
}

static int rec_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int fd = openat(top, rel(path), (fi->flags & ~(O_APPEND | O_DIRECT)) | O_CREAT | O_CLOEXEC, mode);

    if (fd < 0)
        return -errno;
    fi->fh = handle(fd, path);
    if (strcmp(path, MARK) != 0)
        note('C', path, NULL, ino_of(fd));
    return 0;
}

/* ---- contents ---- */

static int rec_open(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(top, rel(path), (fi->flags & ~(O_APPEND | O_DIRECT)) | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    fi->fh = handle(fd, path);
    if ((fi->flags & O_TRUNC) != 0 && strcmp(path, MARK) != 0)
        append((struct head){.op = 'T', .ino = ino_of(fd)}, NULL, NULL, NULL);
    return 0;
}

static int rec_write(const char *path, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
    if (is_mark(fi) && size > 5 && memcmp(buf, "fail ", 5) == 0) {
        failing = buf[5] - '0';
        return (int)size;
    }
    if (is_mark(fi)) {
        append((struct head){.op = 'M', .length = size}, NULL, NULL, buf);
        return (int)size;
    }
    (void)path;
    ssize_t n = pwrite((int)fi->fh, buf, size, off);

    if (n < 0)
        return -errno;
    append((struct head){.op = 'W', .ino = ino_of((int)fi->fh), .offset = (uint64_t)off, .length = (uint64_t)n}, NULL, NULL, buf);
    return (int)n;
}

static int rec_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    int fd = fi != NULL ? (int)fi->fh : openat(top, rel(path), O_WRONLY | O_CLOEXEC), err;

    if (fd < 0)
        return -errno;
    err = done(ftruncate(fd, size));
    if (err == 0 && (fi == NULL || !is_mark(fi)))
        append((struct head){.op = 'T', .ino = ino_of(fd), .offset = (uint64_t)size}, NULL, NULL, NULL);
    if (fi == NULL)
        close(fd);
    return err;
}

static int rec_fallocate(const char *path, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    int err = done(fallocate((int)fi->fh, mode, off, len));
    (void)path;

    if (err == 0)
        append(
            (struct head){.op = 'A', .flags = (uint8_t)mode, .ino = ino_of((int)fi->fh), .offset = (uint64_t)off, .length = (uint64_t)len},
            NULL, NULL, NULL);
    return err;
}

static int rec_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path;
    if (failing > 0) {
        failing--;
        note('e', NULL, NULL, ino_of((int)fi->fh));
        return -EIO;
    }
    note(data_only ? 'f' : 'F', NULL, NULL, ino_of((int)fi->fh));
    return 0;
}

static int rec_opendir(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(top, rel(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    fi->fh = (uint64_t)fd;
    return fd < 0 ? -errno : 0;
}

static int rec_fsyncdir(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path, (void)data_only;
    note('S', NULL, NULL, ino_of((int)fi->fh));
    return 0;
}

/* Paths of files that are open and unlinked stay unknown; handles serve those. */
static void *rec_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
    (void)conn;
    config->use_ino = 1;
    config->nullpath_ok = 1;
    config->hard_remove = 1;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = rec_init,
    .getattr = rec_getattr,
    .readlink = rec_readlink,
    .mknod = rec_mknod,
    .mkdir = rec_mkdir,
    .unlink = rec_unlink,
    .rmdir = rec_rmdir,
    .symlink = rec_symlink,
    .rename = rec_rename,
    .link = rec_link,
    .chmod = rec_chmod,
    .chown = rec_chown,
    .truncate = rec_truncate,
    .open = rec_open,
    .read = rec_read,
    .write = rec_write,
    .statfs = rec_statfs,
    .release = rec_release,
    .fsync = rec_fsync,
    .opendir = rec_opendir,
    .readdir = rec_readdir,
    .releasedir = rec_release,
    .fsyncdir = rec_fsyncdir,
    .create = rec_create,
    .utimens = rec_utimens,
    .fallocate = rec_fallocate,
};

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: recorder BACKING RECORD MOUNTPOINT [FUSE option...]\n");
        return 2;
    }
    umask(0);
    top = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    record_fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (top < 0 || record_fd < 0) {
        perror("recorder");
        return 1;
    }
    argv[2] = argv[0];
    return fuse_main(argc - 2, argv + 2, &operations, NULL);
}
