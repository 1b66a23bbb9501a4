/*
 * failcall.c: makes one system call of a program fail. Preloaded (LD_PRELOAD) into the daemon by the case crash/failing-calls. Calls that concern
 * files below FAILCALL_DIR/db and FAILCALL_DIR/stage are counted; the one with the armed number, and all later ones when `sticky`, fails
 * with the armed error without being done, or (SHORT) is done in part.
 *
 * The state is the file FAILCALL_STATE, mapped and shared: the test writes it while the daemon runs, and reads what happened. One struct,
 * little-endian: LAYOUT in the case.
 *
 * Not for programs that are linked with a sanitizer, which wants to be loaded first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, NAMES = 16, SIZE = 32 };
enum { SHORT = 1000, DESCRIPTORS = 65536 };

struct state {
    _Atomic uint64_t armed;    /* the number of the call that fails; 0: none */
    _Atomic uint64_t count;    /* calls so far of the kinds in mask */
    _Atomic uint64_t injected; /* how many failed */
    _Atomic uint32_t error;    /* errno, or SHORT */
    _Atomic uint32_t mask;     /* of enum kind */
    _Atomic uint32_t sticky;
    char last[64]; /* the call that failed last */
};

static struct state *state;
static char db[PATH_MAX], stage[PATH_MAX];
static _Atomic unsigned char ours[DESCRIPTORS]; /* descriptors of files that count */

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}
#define REAL(type, name) ((type)real(name))

__attribute__((constructor)) static void begin(void)
{
    const char *dir = getenv("FAILCALL_DIR"), *file = getenv("FAILCALL_STATE");
    int fd = dir != NULL && file != NULL ? REAL(int (*)(const char *, int, ...), "open")(file, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd >= 0 ? mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (map == MAP_FAILED)
        return;
    snprintf(db, sizeof db, "%s/db/", dir);
    snprintf(stage, sizeof stage, "%s/stage/", dir);
    close(fd);
    state = map;
}

static int below(const char *path)
{
    return strncmp(path, db, strlen(db)) == 0 || strncmp(path, stage, strlen(stage)) == 0 || strncmp(path, db, strlen(db) - 1) == 0;
}

static int path_counts(int dirfd, const char *path)
{
    char full[PATH_MAX * 2], link[64];
    ssize_t n;

    if (state == NULL || path == NULL)
        return 0;
    if (path[0] == '/' || dirfd == AT_FDCWD)
        return below(path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    n = readlink(link, full, PATH_MAX - 1);
    if (n < 0)
        return 0;
    snprintf(full + n, sizeof full - (size_t)n, "/%s", path);
    return below(full);
}

static int fd_counts(int fd)
{
    return state != NULL && fd >= 0 && fd < DESCRIPTORS && ours[fd];
}

/* Counts a call; errno to fail with, SHORT, or 0. */
static int fate(enum kind kind, const char *what)
{
    if ((atomic_load(&state->mask) & (uint32_t)kind) == 0)
        return 0;
    uint64_t number = atomic_fetch_add(&state->count, 1) + 1, armed = atomic_load(&state->armed);

    if (armed == 0 || number < armed || (number > armed && !atomic_load(&state->sticky)))
        return 0;
    atomic_fetch_add(&state->injected, 1);
    strncpy(state->last, what, sizeof state->last - 1);
    return (int)atomic_load(&state->error);
}

static int fails(enum kind kind, const char *what)
{
    int error = fate(kind, what);

    if (error == 0 || error == SHORT)
        return 0;
    errno = error;
    return 1;
}

/* How much of a transfer is done: len, a part of it, or -1 and errno. */
static ssize_t allowed(enum kind kind, int fd, size_t len, const char *what)
{
    int error = fd_counts(fd) ? fate(kind, what) : 0;

    if (error == SHORT)
        return len > 1 ? (ssize_t)(len / 2) : (ssize_t)len;
    if (error == 0)
        return (ssize_t)len;
    errno = error;
    return -1;
}

static int remember(int fd, int counts)
{
    if (fd >= 0 && fd < DESCRIPTORS)
        ours[fd] = (unsigned char)counts;
    return fd;
}

/* ---- opening ---- */

static int open_any(const char *name, int dirfd, const char *path, int flags, mode_t mode)
{
    int counts = path_counts(dirfd, path);

    if (counts && fails(OPEN, "open"))
        return -1;
    return remember(REAL(int (*)(int, const char *, int, ...), name)(dirfd, path, flags, mode), counts);
}

#define MODE_OF(flags)                                                                                                                     \
    mode_t mode = 0;                                                                                                                       \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                                                 \
        va_list ap;                                                                                                                        \
        va_start(ap, flags);                                                                                                               \
        mode = (mode_t)va_arg(ap, int);                                                                                                    \
        va_end(ap);                                                                                                                        \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_any("openat", AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_any("openat64", AT_FDCWD, path, flags, mode);
}

int openat(int dirfd, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_any("openat", dirfd, path, flags, mode);
}

int openat64(int dirfd, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_any("openat64", dirfd, path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    if (path_counts(AT_FDCWD, path) && fails(OPEN, "fopen"))
        return NULL;
    return REAL(FILE * (*)(const char *, const char *), "fopen")(path, mode);
}

int close(int fd)
{
    remember(fd, 0);
    return REAL(int (*)(int), "close")(fd);
}

/* ---- reading and writing ---- */

#define TRANSFER(name, kind, buffer, offset_type)                                                                                          \
    ssize_t name(int fd, buffer data, size_t len, offset_type offset)                                                                      \
    {                                                                                                                                      \
        ssize_t n = allowed(kind, fd, len, #name);                                                                                         \
        return n < 0 ? -1 : REAL(ssize_t(*)(int, buffer, size_t, offset_type), #name)(fd, data, (size_t)n, offset);                        \
    }
TRANSFER(pread, READ, void *, off_t)
TRANSFER(pread64, READ, void *, off64_t)
TRANSFER(pwrite, WRITE, const void *, off_t)
TRANSFER(pwrite64, WRITE, const void *, off64_t)

ssize_t read(int fd, void *data, size_t len)
{
    ssize_t n = allowed(READ, fd, len, "read");

    return n < 0 ? -1 : REAL(ssize_t(*)(int, void *, size_t), "read")(fd, data, (size_t)n);
}

ssize_t write(int fd, const void *data, size_t len)
{
    ssize_t n = allowed(WRITE, fd, len, "write");

    return n < 0 ? -1 : REAL(ssize_t(*)(int, const void *, size_t), "write")(fd, data, (size_t)n);
}

/* ---- syncs, sizes ---- */

#define ON_FD(name, kind)                                                                                                                  \
    int name(int fd)                                                                                                                       \
    {                                                                                                                                      \
        if (fd_counts(fd) && fails(kind, #name))                                                                                           \
            return -1;                                                                                                                     \
        return REAL(int (*)(int), #name)(fd);                                                                                              \
    }
ON_FD(fsync, SYNC)
ON_FD(fdatasync, SYNC)

#define RESIZE(name, offset_type)                                                                                                          \
    int name(int fd, offset_type size)                                                                                                     \
    {                                                                                                                                      \
        if (fd_counts(fd) && fails(SIZE, #name))                                                                                           \
            return -1;                                                                                                                     \
        return REAL(int (*)(int, offset_type), #name)(fd, size);                                                                           \
    }
RESIZE(ftruncate, off_t)
RESIZE(ftruncate64, off64_t)

int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
    if (fd_counts(fd) && fails(SYNC, "sync_file_range"))
        return -1;
    return REAL(int (*)(int, off64_t, off64_t, unsigned), "sync_file_range")(fd, offset, len, flags);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (fd_counts(fd) && fails(SIZE, "fallocate"))
        return -1;
    return REAL(int (*)(int, int, off_t, off_t), "fallocate")(fd, mode, offset, len);
}

/* ---- names ---- */

#define ON_TWO_PATHS(name)                                                                                                                 \
    int name(const char *from, const char *to)                                                                                             \
    {                                                                                                                                      \
        if ((path_counts(AT_FDCWD, from) || path_counts(AT_FDCWD, to)) && fails(NAMES, #name))                                             \
            return -1;                                                                                                                     \
        return REAL(int (*)(const char *, const char *), #name)(from, to);                                                                 \
    }
ON_TWO_PATHS(rename)
ON_TWO_PATHS(link)

int unlink(const char *path)
{
    if (path_counts(AT_FDCWD, path) && fails(NAMES, "unlink"))
        return -1;
    return REAL(int (*)(const char *), "unlink")(path);
}

int mkdir(const char *path, mode_t mode)
{
    if (path_counts(AT_FDCWD, path) && fails(NAMES, "mkdir"))
        return -1;
    return REAL(int (*)(const char *, mode_t), "mkdir")(path, mode);
}
