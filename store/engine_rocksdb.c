/*
 * engine_rocksdb.c: the engine of every store on disk: RocksDB through its C interface, one column family per space. It does not decide
 * what is stored, and keeps no state of its own between calls. How RocksDB is set up: engine_rocksdb_options.c. No other file of the
 * project knows RocksDB.
 *
 * Locks: none of ours; RocksDB locks internally. The counters are atomic.
 */
#include "engine_rocksdb_options.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FLUSH_AT_CLOSE = 4 * 1024 * 1024, /* more than this in memtables is written out, so that the next open need not replay it */
    DELETES_PER_BATCH = 1000,
    MENDS_MAX = 4,
    SWEEP_READAHEAD = 2 * 1024 * 1024
};

struct rocks {
    struct stm_engine base;
    /* immutable after open */
    rocksdb_t *db;
    rocksdb_column_family_handle_t *families[STM_FAMILIES];
    struct stm_rocks_options options;
    char *dir, *stage;
    bool read_only;
    const rocksdb_snapshot_t *frozen; /* all else is borrowed from the engine that was frozen; NULL: none */
    /* atomic */
    _Atomic uint64_t written, synced; /* commits that have returned; how many of them are known to be durable */
    _Atomic uint64_t staged;          /* for names of files in stage */
    atomic_bool degraded;
};

struct rocks_iter {
    struct stm_iter base;
    bool frozen;
    rocksdb_readoptions_t *read; /* RocksDB points into it as long as the iterator lives */
    rocksdb_iterator_t *it;
    uint8_t bounds[]; /* lower, upper */
};

struct rocks_ingest {
    struct stm_ingest base;
    struct rocks *r;
    enum stm_space space;
    rocksdb_sstfilewriter_t *writer;
    uint64_t keys;
    struct stm_buf first, last; /* keys */
    char path[];
};

static const struct stm_engine_ops rocks_ops;

/* Remembers for stats whether writing works. */
static int wrote(struct rocks *r, char *sentence)
{
    int err = stm_rocks_error(sentence);

    if (err != -EINVAL && err != -EROFS)
        atomic_store_explicit(&r->degraded, err < 0, memory_order_relaxed);
    return err;
}

/* Reading and writing */

static int rocks_get(struct stm_engine *e, enum stm_space space, struct stm_slice key, struct stm_buf *ret)
{
    struct rocks *r = (struct rocks *)e;
    char *sentence = NULL;
    rocksdb_pinnableslice_t *pin = rocksdb_get_pinned_cf(r->db, r->options.read, r->families[space], key.data, key.len, &sentence);

    if (!pin)
        return sentence ? stm_rocks_read_error(sentence, r->frozen != NULL) : -ENOENT;
    size_t len;
    const char *value = rocksdb_pinnableslice_value(pin, &len);
    int err = stm_buf_set(ret, value, len);
    rocksdb_pinnableslice_destroy(pin);
    return err;
}

static int rocks_commit(struct stm_engine *e, const struct stm_op *ops, size_t n, bool sync)
{
    struct rocks *r = (struct rocks *)e;
    char *sentence = NULL;

    if (r->frozen)
        return -EROFS;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (size_t i = 0; i < n; i++) {
        const struct stm_op *op = &ops[i];
        rocksdb_column_family_handle_t *family = r->families[op->space];
        if (op->kind == STM_OP_PUT)
            rocksdb_writebatch_put_cf(batch, family, op->key.data, op->key.len, op->value.data, op->value.len);
        else
            rocksdb_writebatch_delete_cf(batch, family, op->key.data, op->key.len);
    }
    rocksdb_write(r->db, sync ? r->options.write_sync : r->options.write, batch, &sentence);
    rocksdb_writebatch_destroy(batch);
    int err = wrote(r, sentence);
    if (err == 0)
        atomic_fetch_add(&r->written, 1);
    return err;
}

static int rocks_sync(struct stm_engine *e)
{
    struct rocks *r = (struct rocks *)e;
    uint64_t written = atomic_load(&r->written), synced = atomic_load(&r->synced);
    char *sentence = NULL;

    if (synced >= written)
        return 0;
    if (atomic_load(&r->degraded)) { /* flushing a log whose last write failed ends the process: ask whether writing works, first */
        int failed = rocks_commit(e, NULL, 0, false);
        if (failed < 0)
            return failed;
    }
    rocksdb_flush_wal(r->db, 1, &sentence);
    int err = wrote(r, sentence);
    if (err < 0)
        return err;
    while (synced < written && !atomic_compare_exchange_weak(&r->synced, &synced, written))
        ;
    return 0;
}

/* Iterators */

static int rocks_iter_new(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper,
                          size_t readahead_bytes, struct stm_iter **ret)
{
    struct rocks *r = (struct rocks *)e;
    struct rocks_iter *it = malloc(sizeof *it + lower.len + upper.len);

    if (!it)
        return -ENOMEM;
    it->base.ops = &rocks_ops;
    it->frozen = r->frozen != NULL;
    it->read = rocksdb_readoptions_create();
    if (lower.len > 0) {
        memcpy(it->bounds, lower.data, lower.len);
        rocksdb_readoptions_set_iterate_lower_bound(it->read, (const char *)it->bounds, lower.len);
    }
    if (upper.len > 0) {
        memcpy(it->bounds + lower.len, upper.data, upper.len);
        rocksdb_readoptions_set_iterate_upper_bound(it->read, (const char *)it->bounds + lower.len, upper.len);
    }
    if (readahead_bytes == STM_READ_SWEEP)
        rocksdb_readoptions_set_fill_cache(it->read, 0);
    if (readahead_bytes > 0)
        rocksdb_readoptions_set_readahead_size(it->read, readahead_bytes == STM_READ_SWEEP ? SWEEP_READAHEAD : readahead_bytes);
    if (r->frozen)
        rocksdb_readoptions_set_snapshot(it->read, r->frozen);
    it->it = rocksdb_create_iterator_cf(r->db, it->read, r->families[space]);
    *ret = &it->base;
    return 0;
}

/* 1 at a key; 0 at none, unless that is because of an error. */
static int position(const struct rocks_iter *it)
{
    if (rocksdb_iter_valid(it->it))
        return 1;
    char *sentence = NULL;
    rocksdb_iter_get_error(it->it, &sentence);
    return stm_rocks_read_error(sentence, it->frozen);
}

static int rocks_iter_seek(struct stm_iter *base, struct stm_slice key)
{
    struct rocks_iter *it = (struct rocks_iter *)base;

    rocksdb_iter_seek(it->it, key.data, key.len);
    return position(it);
}

static int rocks_iter_seek_back(struct stm_iter *base, struct stm_slice key)
{
    struct rocks_iter *it = (struct rocks_iter *)base;

    rocksdb_iter_seek_for_prev(it->it, key.data, key.len);
    return position(it);
}

static int rocks_iter_next(struct stm_iter *base)
{
    struct rocks_iter *it = (struct rocks_iter *)base;

    assert(rocksdb_iter_valid(it->it));
    rocksdb_iter_next(it->it);
    return position(it);
}

static void rocks_iter_get(const struct stm_iter *base, struct stm_slice *ret_key, struct stm_slice *ret_value)
{
    const struct rocks_iter *it = (const struct rocks_iter *)base;

    ret_key->data = rocksdb_iter_key(it->it, &ret_key->len);
    ret_value->data = rocksdb_iter_value(it->it, &ret_value->len);
}

static void rocks_iter_free(struct stm_iter *base)
{
    struct rocks_iter *it = (struct rocks_iter *)base;

    if (!it)
        return;
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->read);
    free(it);
}

/* Ingestion: a file of its own in stage, which becomes the database's by a rename. */

static int rocks_ingest_new(struct stm_engine *e, enum stm_space space, struct stm_ingest **ret)
{
    struct rocks *r = (struct rocks *)e;
    size_t size = strlen(r->stage) + sizeof "/ingest-18446744073709551615-18446744073709551615.sst";

    if (r->read_only)
        return -EROFS;
    struct rocks_ingest *in = malloc(sizeof *in + size);
    if (!in)
        return -ENOMEM;
    in->base.ops = &rocks_ops;
    in->r = r;
    in->space = space;
    in->keys = 0;
    in->first = in->last = (struct stm_buf)STM_BUF_INIT;
    (void)snprintf(in->path, size, "%s/ingest-%jd-%ju.sst", r->stage, (intmax_t)getpid(), (uintmax_t)atomic_fetch_add(&r->staged, 1));
    in->writer = rocksdb_sstfilewriter_create(r->options.env, r->options.families[space]);

    char *sentence = NULL;
    rocksdb_sstfilewriter_open(in->writer, in->path, &sentence);
    int err = stm_rocks_error(sentence);
    if (err < 0) {
        rocksdb_sstfilewriter_destroy(in->writer);
        free(in);
        return err == STM_E_CORRUPT ? -EIO : err; /* "no such file": it is the stage that is missing */
    }
    *ret = &in->base;
    return 0;
}

static int rocks_ingest_put(struct stm_ingest *base, struct stm_slice key, struct stm_slice value)
{
    struct rocks_ingest *in = (struct rocks_ingest *)base;
    char *sentence = NULL;

    rocksdb_sstfilewriter_put(in->writer, key.data, key.len, value.data, value.len, &sentence);
    int err = stm_rocks_error(sentence);
    if (err == 0 && in->keys == 0)
        err = stm_buf_set(&in->first, key.data, key.len);
    if (err == 0)
        err = stm_buf_set(&in->last, key.data, key.len);
    if (err == 0)
        in->keys++;
    return err;
}

/*
 * RocksDB reads the bounds of a file that it takes in, and where that fails takes it for empty and says nothing: its keys are never found. So the
 * first and the last are asked for.
 */
static int check_ingested(const struct rocks_ingest *in)
{
    const struct stm_buf *ends[] = {&in->first, &in->last};
    struct stm_buf value = STM_BUF_INIT;
    int err = 0;

    for (int i = 0; err == 0 && i < 2; i++)
        err = rocks_get(&in->r->base, in->space, stm_buf_slice(ends[i]), &value);
    stm_buf_release(&value);
    return err == -ENOENT ? -EIO : err;
}

static int rocks_ingest_finish(struct stm_ingest *base, bool abort)
{
    struct rocks_ingest *in = (struct rocks_ingest *)base;
    struct rocks *r = in->r;
    const char *const path = in->path;
    int err = 0;

    if (!abort && in->keys > 0) {
        char *sentence = NULL;
        rocksdb_sstfilewriter_finish(in->writer, &sentence);
        bool taken = !sentence;
        if (taken)
            rocksdb_ingest_external_file_cf(r->db, r->families[in->space], &path, 1, r->options.ingest, &sentence);
        err = wrote(r, sentence);
        if (err == 0)
            err = check_ingested(in);
        else if (taken)
            stm_rocks_keep_unsure(r->dir, path);
    }
    rocksdb_sstfilewriter_destroy(in->writer);
    stm_buf_release(&in->first);
    stm_buf_release(&in->last);
    (void)unlink(path); /* RocksDB has made the file its own, under another name */
    free(in);
    return err;
}

/* Dropping */

/* The last key of the range, which is what delete_file_in_range wants: its upper end is inclusive. 1, 0 when the range is empty. */
static int last_key(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper, struct stm_buf *ret)
{
    struct stm_iter *base;
    int found = rocks_iter_new(e, space, lower, upper, 0, &base);

    if (found < 0)
        return found;
    struct rocks_iter *it = (struct rocks_iter *)base;
    rocksdb_iter_seek_to_last(it->it);
    found = position(it);
    if (found > 0) {
        struct stm_slice key, value;
        rocks_iter_get(base, &key, &value);
        int err = stm_buf_set(ret, key.data, key.len);
        found = err < 0 ? err : found;
    }
    rocks_iter_free(base);
    return found;
}

/* One batch of deletions from where the iterator stands. 1: there is more, 0: at the end. */
static int delete_some(struct rocks *r, enum stm_space space, struct rocks_iter *it)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    int more = 1;

    for (int n = 0; more > 0 && n < DELETES_PER_BATCH; n++) {
        size_t len;
        const char *key = rocksdb_iter_key(it->it, &len);
        rocksdb_writebatch_delete_cf(batch, r->families[space], key, len);
        rocksdb_iter_next(it->it);
        more = position(it);
    }
    char *sentence = NULL;
    rocksdb_write(r->db, r->options.write, batch, &sentence);
    rocksdb_writebatch_destroy(batch);
    int err = wrote(r, sentence);
    if (err == 0)
        atomic_fetch_add(&r->written, 1);
    return err < 0 ? err : more;
}

/* Whole files first; what lies in files that reach beyond the range, or in memory, goes key by key (no DeleteRange: see the top). */
static int rocks_drop_range(struct stm_engine *e, enum stm_space space, struct stm_slice lower, struct stm_slice upper)
{
    struct rocks *r = (struct rocks *)e;
    struct stm_buf last = STM_BUF_INIT;
    int found = r->frozen ? -EROFS : last_key(e, space, lower, upper, &last);

    if (found > 0) {
        char *sentence = NULL;
        rocksdb_delete_file_in_range_cf(r->db, r->families[space], lower.len > 0 ? lower.data : NULL, lower.len, (const char *)last.data,
                                        last.len, &sentence);
        int err = stm_rocks_error(sentence);
        found = err < 0 ? err : found;
    }
    stm_buf_release(&last);
    if (found <= 0)
        return found;

    struct stm_iter *base;
    int more = rocks_iter_new(e, space, lower, upper, 0, &base);
    if (more < 0)
        return more;
    more = rocks_iter_seek(base, lower);
    while (more > 0)
        more = delete_some(r, space, (struct rocks_iter *)base);
    rocks_iter_free(base);
    return more;
}

/* Statistics */

static uint64_t sum_of(struct rocks *r, const char *property)
{
    uint64_t sum = 0, value;

    for (int i = 0; i < STM_SPACES; i++)
        if (rocksdb_property_int_cf(r->db, r->families[i], property, &value) == 0)
            sum += value;
    return sum;
}

static int disk_usage(const char *dir, uint64_t *ret)
{
    DIR *d = opendir(dir);
    uint64_t sum = 0;
    struct dirent *entry;
    struct stat st;

    if (!d)
        return -errno;
    while ((entry = readdir(d)))
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_blocks * 512;
    closedir(d);
    *ret = sum;
    return 0;
}

static int rocks_stats(struct stm_engine *e, struct stm_engine_stats *ret)
{
    struct rocks *r = (struct rocks *)e;
    struct stm_engine_stats stats = {.degraded = atomic_load_explicit(&r->degraded, memory_order_relaxed)};
    int err = disk_usage(r->dir, &stats.bytes_on_disk);

    if (err < 0)
        return err;
    stats.keys_estimate = sum_of(r, "rocksdb.estimate-num-keys");
    stats.cache_bytes = rocksdb_cache_get_usage(r->options.cache) + rocksdb_cache_get_usage(r->options.chunk_cache) +
                        sum_of(r, "rocksdb.cur-size-all-mem-tables") + sum_of(r, "rocksdb.estimate-table-readers-mem");
    *ret = stats;
    return 0;
}

/* Opening and closing */

/* A flush that fails loses nothing: the log has it all. */
static void flush_for_close(struct rocks *r)
{
    if (r->read_only || atomic_load(&r->degraded) || sum_of(r, "rocksdb.cur-size-all-mem-tables") < FLUSH_AT_CLOSE)
        return;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    for (int i = 0; i < STM_SPACES; i++) {
        char *sentence = NULL;
        rocksdb_flush_cf(r->db, options, r->families[i], &sentence);
        if (stm_rocks_error(sentence) < 0)
            break;
    }
    rocksdb_flushoptions_destroy(options);
}

static void close_db(struct rocks *r)
{
    if (!r->db)
        return;
    flush_for_close(r);
    rocksdb_cancel_all_background_work(r->db, 1);
    /* Closing a log whose last write failed ends the process (an assertion in Debian's library). So the rest stays, and goes with the process. */
    if (atomic_load(&r->degraded))
        return;
    for (int i = 0; i < STM_FAMILIES; i++)
        rocksdb_column_family_handle_destroy(r->families[i]);
    rocksdb_close(r->db);
}

static void rocks_free(struct stm_engine *e)
{
    struct rocks *r = (struct rocks *)e;

    if (!r)
        return;
    if (r->frozen) {
        rocksdb_readoptions_destroy(r->options.read);
        rocksdb_release_snapshot(r->db, r->frozen);
        free(r);
        return;
    }
    close_db(r);
    stm_rocks_options_release(&r->options);
    free(r->dir);
    free(r->stage);
    free(r);
}

/* A snapshot is taken between batches, so it is one moment of all families. */
static int rocks_freeze(struct stm_engine *e, struct stm_engine **ret)
{
    const struct rocks *r = (struct rocks *)e;
    struct rocks *f = calloc(1, sizeof *f);

    if (!f)
        return -ENOMEM;
    f->base.ops = &rocks_ops;
    f->db = r->db;
    memcpy(f->families, r->families, sizeof f->families);
    f->options = r->options;
    f->dir = r->dir;
    f->stage = r->stage;
    f->read_only = true;
    f->frozen = rocksdb_create_snapshot(r->db);
    f->options.read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(f->options.read, f->frozen);
    *ret = &f->base;
    return 0;
}

static int rocks_find_file(struct stm_engine *e, enum stm_space space, const struct stm_damage *d, struct stm_file_found *ret)
{
    const struct rocks *r = (struct rocks *)e;
    return stm_rocks_find_file(r->db, stm_space_name(space), d, ret);
}

static int rocks_drop_file(struct stm_engine *e, const struct stm_file_found *file)
{
    const struct rocks *r = (struct rocks *)e;

    if (r->frozen || r->read_only)
        return -EROFS;
    return stm_rocks_drop_file(r->db, file);
}

static const struct stm_engine_ops rocks_ops = {
    .name = "rocksdb",
    .free = rocks_free,
    .get = rocks_get,
    .iter_new = rocks_iter_new,
    .iter_seek = rocks_iter_seek,
    .iter_seek_back = rocks_iter_seek_back,
    .iter_next = rocks_iter_next,
    .iter_get = rocks_iter_get,
    .iter_free = rocks_iter_free,
    .commit = rocks_commit,
    .sync = rocks_sync,
    .ingest_new = rocks_ingest_new,
    .ingest_put = rocks_ingest_put,
    .ingest_finish = rocks_ingest_finish,
    .drop_range = rocks_drop_range,
    .stats = rocks_stats,
    .freeze = rocks_freeze,
    .find_file = rocks_find_file,
    .drop_file = rocks_drop_file,
};

static int open_db(struct rocks *r, char **ret_why)
{
    const char *names[STM_FAMILIES];
    char *sentence = NULL;

    for (int i = 0; i < STM_SPACES; i++)
        names[i] = stm_space_name((enum stm_space)i);
    names[STM_SPACES] = "default";

    const rocksdb_options_t *const *options = (const rocksdb_options_t *const *)r->options.families;
    r->db = r->read_only
                ? rocksdb_open_for_read_only_column_families(options[0], r->dir, STM_FAMILIES, names, options, r->families, 0, &sentence)
                : rocksdb_open_column_families(options[0], r->dir, STM_FAMILIES, names, options, r->families, &sentence);
    if (!sentence)
        return 0;
    r->db = NULL;
    *ret_why = strdup(sentence);
    return stm_rocks_error(sentence);
}

int stm_engine_rocksdb_new(const struct stm_engine_rocksdb_options *opt, struct stm_engine **ret, char **ret_why)
{
    char *why = NULL;

    if (ret_why)
        *ret_why = NULL;
    int there = stm_rocks_look(opt->dir);
    if (there == STM_E_CORRUPT && ret_why)
        *ret_why = strdup("the file CURRENT of the database is gone, others of its files are there");
    if (there < 0)
        return there;
    if (there == 0 && (opt->read_only || !opt->create))
        return -ENOENT;

    struct rocks *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->base.ops = &rocks_ops;
    r->read_only = opt->read_only;
    stm_rocks_options_init(&r->options, opt);
    r->dir = strdup(opt->dir);
    r->stage = strdup(opt->stage ? opt->stage : opt->dir);
    int err = r->dir && r->stage ? open_db(r, &why) : -ENOMEM;
    for (int tries = 0; err == STM_E_CORRUPT && !r->read_only && tries < MENDS_MAX && stm_rocks_mend(r->dir, why); tries++) {
        free(why);
        why = NULL;
        err = open_db(r, &why);
    }
    if (err == 0 && !r->read_only)
        stm_rocks_drop_unsure(r->dir);
    if (ret_why)
        *ret_why = why;
    else
        free(why);
    if (err < 0) {
        rocks_free(&r->base);
        return err;
    }
    *ret = &r->base;
    return 0;
}
