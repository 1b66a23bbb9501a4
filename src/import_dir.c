/*
 * import_dir.c: a directory tree as the source of an import. It goes down with openat and never follows a symlink; what cannot be read is
 * said, counted and left out. Where things go, and what is new about them, is the sink's business.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "import.h"

enum { MEMORY_MAX = 1 << 20, XATTR_MAX = 1 << 16 };

/* A file with several names, until all of them came by. */
struct linked {
    dev_t dev;
    ino_t ino;
    nlink_t left;
    char path[];
};

struct walk {
    struct stm_import *im;
    struct stm_buf path; /* of the thing at hand, relative to the source */
    struct stm_buf data; /* content of a small file */
    bool owners;
    dev_t avoid_dev;
    ino_t avoid_ino; /* 0: none */
    void *linked;    /* tree of struct linked */
    /* extended attributes of the thing at hand */
    struct stm_buf names, values;
    struct stm_bulk_xattr *xattrs;
    size_t xattr_cap;
};

static struct stm_slice path_of(const struct walk *w)
{
    return stm_buf_slice(&w->path);
}

static void skip(struct walk *w, const char *why)
{
    stm_import_skip(w->im, "'%.*s' %s: skipped", (int)w->path.len, w->path.len ? (const char *)w->path.data : "", why);
}

static void skip_errno(struct walk *w, int error)
{
    stm_import_skip(w->im, "'%.*s' cannot be read: %s: skipped", (int)w->path.len, w->path.len ? (const char *)w->path.data : "",
                    stm_error_text(-error));
}

static int64_t ns(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void attr_of(const struct walk *w, const struct stat *st, struct stm_bulk_attr *a)
{
    *a = (struct stm_bulk_attr){.valid = STM_SET_MODE | STM_SET_ATIME | STM_SET_MTIME,
                                .mode = st->st_mode & 07777,
                                .uid = st->st_uid,
                                .gid = st->st_gid,
                                .atime_ns = ns(st->st_atim),
                                .mtime_ns = ns(st->st_mtim)};
    if (w->owners)
        a->valid |= STM_SET_UID | STM_SET_GID;
}

static bool wanted_xattr(const char *name)
{
    return strncmp(name, "user.stemma.", 12) != 0 && strncmp(name, "stemma.", 7) != 0 &&
           (strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0);
}

/* The list of names into w->names: its length, or -errno. proc is a path that stands for the thing itself. */
static ssize_t list_xattrs(struct walk *w, const char *proc)
{
    stm_buf_clear(&w->names);
    if (stm_buf_reserve(&w->names, XATTR_MAX) < 0)
        return -ENOMEM;
    ssize_t n = llistxattr(proc, (char *)w->names.data, XATTR_MAX);
    return n >= 0 ? n : errno == ENOTSUP || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
}

/* One value, appended to w->values, which must not move: 0 when it is gone or cannot be read. */
static int read_xattr(struct walk *w, const char *proc, const char *name, size_t count)
{
    if (count == w->xattr_cap) {
        size_t cap = w->xattr_cap ? w->xattr_cap * 2 : 16;
        struct stm_bulk_xattr *x = realloc(w->xattrs, cap * sizeof *x);
        if (!x)
            return -ENOMEM;
        w->xattrs = x;
        w->xattr_cap = cap;
    }
    if (stm_buf_reserve(&w->values, XATTR_MAX) < 0)
        return -ENOMEM;
    ssize_t n = lgetxattr(proc, name, w->values.data + w->values.len, XATTR_MAX);
    if (n < 0)
        return 0;
    w->xattrs[count] = (struct stm_bulk_xattr){stm_slice_str(name), stm_slice((void *)(uintptr_t)w->values.len, (size_t)n)};
    w->values.len += (size_t)n;
    return 1;
}

/* Reads the extended attributes that are to be kept. Values are addressed by offset until all are there. */
static int get_xattrs(struct walk *w, int dirfd, const char *name, struct stm_bulk_attr *a)
{
    char proc[sizeof "/proc/self/fd//" + 12 + NAME_MAX];
    size_t count = 0;

    snprintf(proc, sizeof proc, "/proc/self/fd/%d/%s", dirfd, name);
    ssize_t len = list_xattrs(w, proc);
    if (len <= 0)
        return (int)len;
    stm_buf_clear(&w->values);
    const char *list = (const char *)w->names.data;
    for (const char *p = list; p < list + len; p += strlen(p) + 1) {
        int got = wanted_xattr(p) ? read_xattr(w, proc, p, count) : 0;
        if (got < 0)
            return got;
        count += (size_t)got;
    }
    for (size_t i = 0; i < count; i++)
        w->xattrs[i].value.data = w->values.data + (uintptr_t)w->xattrs[i].value.data;
    a->xattrs = w->xattrs;
    a->xattr_count = count;
    return 0;
}

struct reader {
    int fd, error;
    uint64_t size; /* that it had when it was opened */
};

static int read_exactly(void *arg, uint64_t off, void *buf, size_t len)
{
    struct reader *r = arg;
    char *p = buf;

    while (len > 0) {
        ssize_t n = pread(r->fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            r->error = n < 0 ? -errno : -ENODATA;
            return r->error;
        }
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* A filesystem that does not know its holes has data all over. */
static int find_data(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    const struct reader *r = arg;
    struct stat st;
    off_t from = lseek(r->fd, (off_t)off, SEEK_DATA), to = from < 0 ? -1 : lseek(r->fd, from, SEEK_HOLE);

    if (from < 0 && errno == ENXIO && fstat(r->fd, &st) == 0 && (uint64_t)st.st_size >= r->size) {
        *ret_from = *ret_to = UINT64_MAX; /* else it became shorter: reading will tell */
    } else if (to > from) {
        *ret_from = (uint64_t)from;
        *ret_to = (uint64_t)to;
    }
    return 0;
}

static int put_open_file(struct walk *w, struct stm_bulk_item *item, int fd, const struct stat *st)
{
    struct reader r = {.fd = fd, .size = (uint64_t)st->st_size};
    struct stm_source source = {.size = (uint64_t)st->st_size, .read = read_exactly, .extent = find_data, .arg = &r};

    if (source.size <= MEMORY_MAX) {
        stm_buf_clear(&w->data);
        int err = stm_buf_reserve(&w->data, (size_t)source.size + 1);
        if (err < 0)
            return err;
        err = read_exactly(&r, 0, w->data.data, (size_t)source.size);
        if (err < 0) {
            skip(w, err == -ENODATA ? "became shorter while it was read" : "cannot be read");
            return 0;
        }
        source.mem = w->data.data;
    } else {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    item->source = &source;
    int err = stm_import_put(w->im, item, &r.error);
    return err < 0 ? err : 0;
}

static int open_source(int dirfd, const char *name, int flags)
{
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME | flags);

    return fd >= 0 || errno != EPERM ? fd : openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags);
}

static int put_file(struct walk *w, int dirfd, const char *name, struct stm_bulk_item *item)
{
    struct stat st;
    int fd = open_source(dirfd, name, O_NONBLOCK), err = 0;

    if (fd < 0 || fstat(fd, &st) < 0) {
        skip_errno(w, errno);
    } else if (!S_ISREG(st.st_mode)) {
        skip(w, "was replaced while the directory was read");
    } else {
        attr_of(w, &st, &item->attr);
        err = get_xattrs(w, dirfd, name, &item->attr);
        item->kind = STM_BULK_FILE;
        if (err == 0)
            err = put_open_file(w, item, fd, &st);
    }
    if (fd >= 0)
        close(fd);
    return err;
}

static int put_symlink(struct walk *w, int dirfd, const char *name, struct stm_bulk_item *item)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(dirfd, name, target, sizeof target);

    if (n < 0) {
        skip_errno(w, errno);
        return 0;
    }
    item->kind = STM_BULK_SYMLINK;
    item->target = stm_slice(target, (size_t)n);
    int err = stm_import_put(w->im, item, NULL);
    return err < 0 ? err : 0;
}

static int by_inode(const void *a, const void *b)
{
    const struct linked *x = a, *y = b;

    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Remembers the first name of a file that has several. */
static int remember(struct walk *w, const struct stat *st)
{
    struct linked *l = malloc(sizeof *l + w->path.len + 1);

    if (!l)
        return -ENOMEM;
    l->dev = st->st_dev;
    l->ino = st->st_ino;
    l->left = st->st_nlink - 1;
    memcpy(l->path, w->path.data, w->path.len);
    l->path[w->path.len] = 0;
    if (!tsearch(l, &w->linked, by_inode)) {
        free(l);
        return -ENOMEM;
    }
    return 0;
}

/* A further name of a file that was put: 1 done, 0 not known, or an error. */
static int put_link(struct walk *w, const struct stat *st, struct stm_bulk_item *item)
{
    struct linked key = {.dev = st->st_dev, .ino = st->st_ino};
    struct linked **found = tfind(&key, &w->linked, by_inode);

    if (!found)
        return 0;
    struct linked *l = *found;
    item->kind = STM_BULK_LINK;
    item->target = stm_slice_str(l->path);
    int err = stm_import_put(w->im, item, NULL);
    if (--l->left == 0) {
        tdelete(l, &w->linked, by_inode);
        free(l);
    }
    return err < 0 ? err : 1;
}

static int put_other(struct walk *w, int dirfd, const char *name, const struct stat *st)
{
    struct stm_bulk_item item = {.path = path_of(w), .type = st->st_mode & S_IFMT, .rdev = st->st_rdev};
    uint64_t before = w->im->skipped;
    int err = st->st_nlink > 1 ? put_link(w, st, &item) : 0;

    if (err != 0)
        return err < 0 ? err : 0;
    attr_of(w, st, &item.attr);
    if (S_ISREG(st->st_mode)) {
        err = put_file(w, dirfd, name, &item);
    } else {
        err = get_xattrs(w, dirfd, name, &item.attr);
        item.kind = STM_BULK_SPECIAL;
        if (err == 0)
            err = S_ISLNK(st->st_mode) ? put_symlink(w, dirfd, name, &item) : stm_import_put(w->im, &item, NULL);
    }
    if (err >= 0 && st->st_nlink > 1 && w->im->skipped == before)
        err = remember(w, st);
    return err < 0 ? err : 0;
}

static int put_dir(struct walk *w, int dirfd, const char *name, const struct stat *st)
{
    struct stm_bulk_item item = {.kind = STM_BULK_DIR, .path = path_of(w)};

    attr_of(w, st, &item.attr);
    int err = get_xattrs(w, dirfd, name, &item.attr);
    return err < 0 ? err : stm_import_put(w->im, &item, NULL);
}

static int walk_dir(struct walk *w, int dirfd, const char *name);

static int walk_entry(struct walk *w, int dirfd, const char *name)
{
    size_t len = w->path.len;
    struct stat st;
    int err = stm_buf_printf(&w->path, "%s%s", len ? "/" : "", name);

    if (err < 0)
        return err;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        skip_errno(w, errno);
    else
        err = S_ISDIR(st.st_mode) ? walk_dir(w, dirfd, name) : put_other(w, dirfd, name, &st);
    w->path.len = len;
    return err;
}

static int walk_entries(struct walk *w, DIR *d)
{
    struct dirent *e;
    int err = 0;

    while (err == 0) {
        errno = 0;
        e = readdir(d);
        if (!e) {
            if (errno)
                skip_errno(w, errno);
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            err = walk_entry(w, dirfd(d), e->d_name);
    }
    return err;
}

/*
 * The directory is put twice: before its entries, so that nobody can look into a private one meanwhile, and after them, since each of
 * them moves its times.
 */
static int walk_dir(struct walk *w, int parent, const char *name)
{
    struct stat st;
    int fd = open_source(parent, name, O_DIRECTORY);
    DIR *d = fd < 0 || fstat(fd, &st) < 0 ? NULL : fdopendir(fd);

    if (!d) {
        skip_errno(w, errno);
        if (fd >= 0)
            close(fd);
        return 0;
    }
    if (w->avoid_ino && st.st_ino == w->avoid_ino && st.st_dev == w->avoid_dev) {
        skip(w, "is the store itself");
        closedir(d);
        return 0;
    }
    int err = put_dir(w, fd, ".", &st);
    if (err == 0) {
        err = walk_entries(w, d);
        if (err == 0)
            err = put_dir(w, fd, ".", &st);
    }
    closedir(d);
    return err < 0 ? err : 0;
}

/* Each level of a tree keeps a descriptor open. */
static void allow_many_files(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
}

/* True when the target lies inside the source: the import would find what it makes. */
static bool contains_target(const struct stm_import *im, const char *dir)
{
    char *real = im->avoid_target ? realpath(dir, NULL) : NULL;
    size_t len = real ? strlen(real) : 0;
    bool inside = real && strncmp(im->avoid_target, real, len) == 0 &&
                  (im->avoid_target[len] == 0 || im->avoid_target[len] == '/' || strcmp(real, "/") == 0);

    free(real);
    return inside;
}

static int check_dir(struct stm_import *im, const char *dir)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return stm_out_fail(im->out, errno == ENOENT || errno == ENOTDIR ? STM_EXIT_NOT_FOUND : STM_EXIT_FAILED, "cannot import '%s': %s",
                            dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return stm_out_fail(im->out, STM_EXIT_INPUT, "cannot import '%s': it is not a directory; copy single files through the mount", dir);
    if (access(dir, R_OK | X_OK) < 0)
        return stm_out_fail(im->out, STM_EXIT_FAILED, "cannot import '%s': %s", dir, strerror(errno));
    if (contains_target(im, dir))
        return stm_out_fail(im->out, STM_EXIT_USAGE, "cannot import '%s' into itself: choose a target outside it", dir);
    return STM_EXIT_OK;
}

int stm_import_dir(struct stm_import *im, const char *dir)
{
    struct walk w = {.im = im, .owners = geteuid() == 0};
    struct stat st;
    int code = check_dir(im, dir);

    if (code != STM_EXIT_OK)
        return code;
    if (im->avoid_store && stat(im->avoid_store, &st) == 0) {
        w.avoid_dev = st.st_dev;
        w.avoid_ino = st.st_ino;
    }
    allow_many_files();
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* dir itself may be a symlink */
    int err = fd < 0 ? -errno : walk_dir(&w, fd, ".");
    if (fd >= 0)
        close(fd);
    code = stm_import_end(im, err, dir, STM_EXIT_OK);
    stm_buf_release(&w.path);
    stm_buf_release(&w.data);
    stm_buf_release(&w.names);
    stm_buf_release(&w.values);
    free(w.xattrs);
    tdestroy(w.linked, free);
    return code;
}
