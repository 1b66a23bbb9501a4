/* import_spool.c: see import_spool.h. */
#include "import_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK = 1 << 17 };

int stm_spool_open(struct stm_spool *s)
{
    const char *dir = s->dir && *s->dir ? s->dir : getenv("TMPDIR");

    if (s->fd > 0)
        return 0;
    int fd = open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        FILE *f = tmpfile(); /* where the filesystem has no O_TMPFILE */
        fd = f ? fcntl(fileno(f), F_DUPFD_CLOEXEC, 3) : -1;
        if (f)
            fclose(f);
    }
    if (fd < 0)
        return -errno;
    s->fd = fd;
    return 0;
}

void stm_spool_release(struct stm_spool *s)
{
    if (s->fd > 0)
        close(s->fd);
    s->fd = 0;
}

int stm_spool_append(struct stm_spool *s, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(s->fd, p, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int stm_spool_fill(struct stm_spool *s, uint64_t size, int (*read_next)(void *arg, void *buf, size_t len), void *arg)
{
    int err = stm_spool_open(s);
    char *block = err == 0 ? malloc(BLOCK) : NULL;

    if (err == 0 && !block)
        err = -ENOMEM;
    if (err == 0 && (lseek(s->fd, 0, SEEK_SET) < 0 || ftruncate(s->fd, 0) < 0))
        err = -errno;
    while (err == 0 && size > 0) {
        size_t n = size < BLOCK ? (size_t)size : BLOCK;
        err = read_next(arg, block, n);
        if (err == 0)
            err = stm_spool_append(s, block, n);
        size -= n;
    }
    free(block);
    return err;
}

int stm_spool_read(void *arg, uint64_t off, void *buf, size_t len)
{
    const struct stm_spool *s = arg;
    char *p = buf;

    while (len > 0) {
        ssize_t n = pread(s->fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}
