/*
 * engine_rocksdb_manifest.c: one thing that RocksDB cannot forgive and a power cut may leave: the newest record of its MANIFEST, written and not yet
 * flushed, of which the length has reached the disk and its last bytes have not (they read as zeros). Nothing has been done yet because of
 * such a record, so it is cut off. Any other damage is left to be refused. The file is in blocks of 32 KiB; a record is checksum u32, length u16
 * little-endian, type u8, bytes, and a record too long for its block goes on in the next (RocksDB's log_format.h).
 */
#include "engine_rocksdb_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 32768, RECORD_HEAD = 7, MISSING_MIN = 24, MANIFEST_MAX = 64 << 20, TYPE_FIRST = 2, TYPE_MIDDLE = 3 };

/* How long the file is up to the record (with all its parts) in which the zeros begin that it ends with: 0 when there are too few of them. */
static size_t whole_length(const uint8_t *b, size_t len)
{
    size_t zeros = len, at = 0, begin = 0;
    bool inside = false;

    while (zeros > 0 && b[zeros - 1] == 0)
        zeros--;
    if (len - zeros < MISSING_MIN)
        return 0;
    while (at < zeros) {
        size_t left = BLOCK - at % BLOCK;
        if (left < RECORD_HEAD) {
            at += left;
            continue;
        }
        begin = inside ? begin : at;
        if (at + RECORD_HEAD > zeros)
            return begin;
        size_t n = RECORD_HEAD + b[at + 4] + b[at + 5] * (size_t)256;
        if (n > left)
            return 0; /* no log of records */
        inside = b[at + 6] == TYPE_FIRST || b[at + 6] == TYPE_MIDDLE;
        at += n;
    }
    return begin;
}

/* The file that CURRENT names, opened. */
static int open_manifest(const char *dir)
{
    char name[64] = "";
    int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = top < 0 ? -1 : openat(top, "CURRENT", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);

    if (fd >= 0)
        close(fd);
    fd = -1;
    if (n > 1 && name[n - 1] == '\n') {
        name[n - 1] = '\0';
        fd = strncmp(name, "MANIFEST-", 9) == 0 && !strchr(name, '/') ? openat(top, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC) : -1;
    }
    if (top >= 0)
        close(top);
    return fd;
}

bool stm_rocks_mend_manifest(const char *dir)
{
    int fd = open_manifest(dir);
    struct stat st = {0};
    size_t begin = 0;
    bool mended = false;
    uint8_t *bytes = NULL;

    if (fd < 0)
        return false;
    if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= MANIFEST_MAX)
        bytes = malloc((size_t)st.st_size);
    if (bytes && pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size)
        begin = whole_length(bytes, (size_t)st.st_size);
    if (begin > 0)
        mended = ftruncate(fd, (off_t)begin) == 0 && fdatasync(fd) == 0;
    free(bytes);
    close(fd);
    return mended;
}
