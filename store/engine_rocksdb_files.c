/*
 * engine_rocksdb_files.c: RocksDB's tables as files, for the one case in which that matters: a block of one cannot be read. As long as its table
 * is there, every compaction that comes to it fails, and writing ends. What decides to drop one, and saves what can be read of it before, is
 * salvage.c.
 */
#include "engine_rocksdb_options.h"

#include <stdio.h>
#include <string.h>

static int compare(struct stm_slice a, struct stm_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.data, b.data, n) : 0;

    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static struct stm_slice first_key(const rocksdb_livefiles_t *files, int i)
{
    size_t len;
    const char *key = rocksdb_livefiles_smallestkey(files, i, &len);
    return stm_slice(key, len);
}

static struct stm_slice last_key(const rocksdb_livefiles_t *files, int i)
{
    size_t len;
    const char *key = rocksdb_livefiles_largestkey(files, i, &len);
    return stm_slice(key, len);
}

/* May the table have keys in the range? */
static bool overlaps(const rocksdb_livefiles_t *files, int i, const char *family, const struct stm_damage *d)
{
    return strcmp(rocksdb_livefiles_column_family_name(files, i), family) == 0 && compare(last_key(files, i), d->low) > 0 &&
           (d->high.len == 0 || compare(first_key(files, i), d->high) < 0);
}

int stm_rocks_find_file(rocksdb_t *db, const char *family, const struct stm_damage *d, struct stm_file_found *ret)
{
    const rocksdb_livefiles_t *files = rocksdb_livefiles(db);
    int n = files ? rocksdb_livefiles_count(files) : 0, at = -1, found = 0, err = -ENOENT;
    struct stm_file_found f = {.name = ""};

    for (int i = 0; i < n; i++) {
        if (!overlaps(files, i, family, d))
            continue;
        at = i;
        found++;
    }
    if (found == 1 && (size_t)snprintf(f.name, sizeof f.name, "%s", rocksdb_livefiles_name(files, at)) < sizeof f.name) {
        struct stm_slice first = first_key(files, at), last = last_key(files, at);
        f.keys = rocksdb_livefiles_entries(files, at);
        err = stm_buf_set(&f.first, first.data, first.len);
        if (err == 0)
            err = stm_buf_set(&f.last, last.data, last.len);
    }
    if (files)
        rocksdb_livefiles_destroy(files);
    if (err == 0)
        *ret = f;
    else
        stm_buf_release(&f.first);
    return err;
}

static bool is_there(rocksdb_t *db, const char *name)
{
    const rocksdb_livefiles_t *files = rocksdb_livefiles(db);
    int n = files ? rocksdb_livefiles_count(files) : 0;
    bool there = false;

    for (int i = 0; i < n; i++)
        there |= strcmp(rocksdb_livefiles_name(files, i), name) == 0;
    if (files)
        rocksdb_livefiles_destroy(files);
    return there;
}

/* RocksDB refuses (and does not say so) unless the table is of the last level: below it there could be what its deletions hide. */
int stm_rocks_drop_file(rocksdb_t *db, const struct stm_file_found *file)
{
    rocksdb_delete_file(db, file->name);
    return is_there(db, file->name) ? -EINVAL : 0;
}
