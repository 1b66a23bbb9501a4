/*
 * engine_rocksdb_manifest.c: the directory of a database as accidents leave it that RocksDB cannot forgive, though nothing is lost:
 *
 * - A power cut: the newest record of the MANIFEST, written and not yet flushed, of which the length has reached the disk and its last bytes have
 *   not (they read as zeros). Nothing has been done yet because of such a record, so it is cut off. The file is in blocks of 32 KiB; a record is
 *   checksum u32, length u16 little-endian, type u8, bytes; one too long for its block goes on in the next (RocksDB's log_format.h).
 * - A flush of the MANIFEST that fails while a file is taken in: RocksDB deletes the file, whose name may stand in the MANIFEST all the same. So
 *   the file is kept beside (`unsure-…`), and put under the name that is missed at the next opening.
 *
 * Any other damage is left to be refused.
 */
#include "engine_rocksdb_options.h"

#include <dirent.h>
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

/* All of the MANIFEST, malloc'd; NULL when it cannot be had. */
static uint8_t *read_manifest(int fd, size_t *ret_len)
{
    struct stat st;
    uint8_t *bytes = NULL;

    if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= MANIFEST_MAX)
        bytes = malloc((size_t)st.st_size);
    if (bytes && pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size) {
        *ret_len = (size_t)st.st_size;
        return bytes;
    }
    free(bytes);
    return NULL;
}

static bool cut_torn_record(int fd, const uint8_t *bytes, size_t len)
{
    size_t whole = whole_length(bytes, len);

    return whole > 0 && ftruncate(fd, (off_t)whole) == 0 && fdatasync(fd) == 0;
}

/* The table that is missed, as the MANIFEST speaks of it. */
struct missed {
    uint64_t number;
    const uint8_t *manifest;
    size_t len;
};

/* Calls use for each file that was kept until it returns true. */
static bool each_unsure(const char *dir, bool (*use)(int top, const char *name, const struct missed *m), const struct missed *m)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    bool done = false;

    if (!d)
        return false;
    while (!done && (entry = readdir(d)))
        done = strncmp(entry->d_name, "unsure-", 7) == 0 && use(dirfd(d), entry->d_name, m);
    closedir(d);
    return done;
}

static size_t put_varint(uint8_t *to, uint64_t v)
{
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    return n;
}

/* Number and length stand side by side where a table is added. Several files may have been kept; this tells which is meant. */
static bool give_name(int top, const char *name, const struct missed *m)
{
    uint8_t added[20];
    char table[32];
    struct stat st;

    if (fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    size_t n = put_varint(added, m->number);
    n += put_varint(added + n, (uint64_t)st.st_size);
    (void)snprintf(table, sizeof table, "%06ju.sst", (uintmax_t)m->number);
    return memmem(m->manifest, m->len, added, n) && renameat(top, name, top, table) == 0 && fsync(top) == 0;
}

static bool drop(int top, const char *name, const struct missed *m)
{
    (void)m;
    (void)unlinkat(top, name, 0);
    return false;
}

/* The number of the table that the sentence says is not there; 0: it says something else. */
static uint64_t missing_table(const char *sentence)
{
    const char *at = sentence ? strstr(sentence, "No such file or directory") : NULL, *end;

    for (end = at ? strstr(at, ".ldb") : NULL; end; end = strstr(end + 1, ".ldb")) {
        const char *digits = end;
        while (digits > at && digits[-1] >= '0' && digits[-1] <= '9')
            digits--;
        if (digits < end && digits[-1] == '/')
            return strtoull(digits, NULL, 10);
    }
    return 0;
}

bool stm_rocks_mend(const char *dir, const char *sentence)
{
    struct missed m = {.number = missing_table(sentence)};
    int fd = open_manifest(dir);
    uint8_t *bytes = fd < 0 ? NULL : read_manifest(fd, &m.len);
    bool mended = false;

    m.manifest = bytes;
    if (bytes && m.number > 0)
        mended = each_unsure(dir, give_name, &m);
    else if (bytes)
        mended = cut_torn_record(fd, bytes, m.len);
    free(bytes);
    if (fd >= 0)
        close(fd);
    return mended;
}

void stm_rocks_keep_unsure(const char *dir, const char *path)
{
    const char *name = strrchr(path, '/');
    char *kept = NULL;

    if (name && asprintf(&kept, "%s/unsure-%s", dir, name + 1) >= 0)
        (void)!rename(path, kept);
    free(kept);
}

void stm_rocks_drop_unsure(const char *dir)
{
    (void)each_unsure(dir, drop, NULL);
}

static bool ends_with(const char *s, const char *end)
{
    size_t len = strlen(s), end_len = strlen(end);

    return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

/*
 * RocksDB takes a directory without CURRENT for an empty one: it would begin a new database and delete the tables of the old. 1: there
 * is a database, 0: none and no trace of one, STM_E_CORRUPT: tables or logs without CURRENT.
 */
int stm_rocks_look(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    bool current = false, data = false;

    if (!d)
        return errno == ENOENT ? 0 : -errno;
    while ((entry = readdir(d))) {
        current |= strcmp(entry->d_name, "CURRENT") == 0;
        data |= ends_with(entry->d_name, ".sst") || ends_with(entry->d_name, ".log");
    }
    closedir(d);
    if (current)
        return 1;
    return data ? STM_E_CORRUPT : 0;
}
