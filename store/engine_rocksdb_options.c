/*
 * engine_rocksdb_options.c: the options of RocksDB 7.8, as they were measured, and the numbers for its errors. It opens nothing.
 *
 * What is left out on purpose, because this release has bugs there or loses writes: WAL recovery modes 2 and 3, wal_compression,
 * track_and_verify_wals, unordered_write, manual_wal_flush, DeleteRange, merge operators, ingestion over keys of a live memtable.
 */
#include "engine_rocksdb_options.h"

#include <errno.h>
#include <string.h>

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    BLOCK_CACHE = 64 * MIB,
    MEMTABLES = 64 * MIB /* of all families together; half of it of one; twice that is what has to be replayed after a crash, at most */
};

/* Errors */

/* The first row whose words occur in the sentence. An IO error is never "not there": absence and damage must not be confused. */
static const struct {
    const char *words;
    int err;
} sentences[] = {
    {"Corruption:", STM_E_CORRUPT},
    {"No space left on device", -ENOSPC},
    {"Disk quota exceeded", -EDQUOT},
    {"lock hold by current process", STM_E_LOCKED},
    {"While lock file", STM_E_LOCKED},
    {"read only mode", -EROFS},
    {"Read-only file system", -EROFS},
    {"Permission denied", -EACCES},
    {"Too many open files", -EMFILE},
    {"Column families not opened", STM_E_NEWER_FORMAT},
    {"Column family not found", STM_E_NOT_A_STORE},
    {"does not exist (create_if_missing is false)", -ENOENT},
    {"No such file or directory", STM_E_CORRUPT}, /* a file that the store had written */
    {"Invalid argument:", -EINVAL},
};

static int error_of(const char *sentence)
{
    for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++)
        if (strstr(sentence, sentences[i].words))
            return sentences[i].err;
    return -EIO;
}

int stm_rocks_error(char *sentence)
{
    if (!sentence)
        return 0;
    int err = error_of(sentence);
    rocksdb_free(sentence);
    return err;
}

int stm_rocks_read_error(char *sentence, bool frozen)
{
    int err = stm_rocks_error(sentence);

    return err == -EIO && frozen ? STM_E_CORRUPT : err;
}

/* Options */

/* Which tables of a space get a filter: a get that finds nothing is the usual case, or the exception (then the last level needs none). */
enum filter { NO_FILTER, FILTER_FOR_HITS, FILTER_FOR_MISSES };

/* How a space is read decides its blocks. point: hardly ever scanned. */
static const struct tuning {
    size_t block_size;
    enum filter filter;
    bool point;
} tuning[] = {
    [STM_SYS] = {4 * KIB, NO_FILTER, false},
    [STM_DENTRY] = {4 * KIB, FILTER_FOR_MISSES, true},
    [STM_DENTRYHIST] = {16 * KIB, NO_FILTER, false},
    [STM_OBJECT] = {4 * KIB, FILTER_FOR_HITS, true},
    [STM_VERSION] = {16 * KIB, FILTER_FOR_HITS, false},
    [STM_CONTENT] = {64 * KIB, FILTER_FOR_HITS, false},
    [STM_CHUNK] = {4 * KIB, NO_FILTER, false},
    [STM_CHUNKHASH] = {4 * KIB, FILTER_FOR_MISSES, true},
    [STM_CHUNKREF] = {4 * KIB, NO_FILTER, false},
    [STM_LOG] = {16 * KIB, NO_FILTER, false},
    [STM_INDEX] = {16 * KIB, FILTER_FOR_MISSES, false},
};

static rocksdb_block_based_table_options_t *table_options(const struct tuning *t, rocksdb_cache_t *cache)
{
    enum { XXH3 = 4, FORMAT = 5, BITS_PER_KEY = 10, BLOOM_ABOVE_LEVEL = 1 };
    rocksdb_block_based_table_options_t *o = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_cache(o, cache);
    rocksdb_block_based_options_set_block_size(o, t->block_size);
    rocksdb_block_based_options_set_checksum(o, XXH3);
    rocksdb_block_based_options_set_format_version(o, FORMAT);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(o, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(o, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(o, 1);
    if (t->filter != NO_FILTER)
        rocksdb_block_based_options_set_filter_policy(o, rocksdb_filterpolicy_create_ribbon_hybrid(BITS_PER_KEY, BLOOM_ABOVE_LEVEL));
    if (t->point)
        rocksdb_block_based_options_set_data_block_index_type(o, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    return o;
}

/* What one family has of its own. No prefix extractor: keys have no common prefix length, and every iterator is bounded instead. */
static void set_family(rocksdb_options_t *o, enum stm_space space, rocksdb_cache_t *cache, size_t memory)
{
    const struct tuning *t = &tuning[space];
    rocksdb_block_based_table_options_t *table = table_options(t, cache);

    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_options_set_write_buffer_size(o, memory / 2);
    rocksdb_options_set_target_file_size_base(o, memory);
    rocksdb_options_set_max_bytes_for_level_base(o, 4 * (uint64_t)memory);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_bottommost_compression(o, rocksdb_zstd_compression);
    rocksdb_options_set_optimize_filters_for_hits(o, t->filter == FILTER_FOR_HITS);
    if (t->point) {
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.02);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
    }
    if (space == STM_CHUNK) { /* compressed already, a chunk a block; large files are dropped whole */
        rocksdb_options_set_compression(o, rocksdb_no_compression);
        rocksdb_options_set_bottommost_compression(o, rocksdb_no_compression);
        rocksdb_options_set_target_file_size_base(o, 4 * (uint64_t)memory);
        rocksdb_options_set_max_bytes_for_level_base(o, 16 * (uint64_t)memory);
    }
}

/* What the whole database has; RocksDB takes it from the first options given to open. */
static void set_database(rocksdb_options_t *o, const struct stm_engine_rocksdb_options *opt, size_t memory)
{
    enum { LOG_NOTHING = 6 }; /* one above the highest level */
    bool create = opt->create && !opt->read_only;

    rocksdb_options_set_create_if_missing(o, create);
    rocksdb_options_set_create_missing_column_families(o, create);
    rocksdb_options_set_paranoid_checks(o, 1);
    /* Refuses a flipped bit in the log, accepts the torn tail that a power cut leaves. */
    rocksdb_options_set_wal_recovery_mode(o,
                                          opt->salvage ? rocksdb_point_in_time_recovery : rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_max_total_wal_size(o, 2 * memory);
    rocksdb_options_set_db_write_buffer_size(o, memory);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_open_files(o, -1);
    rocksdb_options_set_max_file_opening_threads(o, 2);      /* the default, 16, are started anew at each open */
    rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1); /* readers never delete files */
    rocksdb_options_set_bytes_per_sync(o, MIB);
    rocksdb_options_set_wal_bytes_per_sync(o, MIB);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    /* Debian's library has asserts: on a full disk a line of the info log that cannot be written ends the process at the next one. */
    rocksdb_options_set_info_log_level(o, LOG_NOTHING);
    rocksdb_options_set_max_log_file_size(o, MIB);
    rocksdb_options_set_keep_log_file_num(o, 1);
}

/* Few shards: a filter of a large table must fit into the half of a shard that is kept for filters and indexes. */
static rocksdb_cache_t *cache_new(size_t bytes, int shard_bits)
{
    rocksdb_lru_cache_options_t *o = rocksdb_lru_cache_options_create();

    rocksdb_lru_cache_options_set_capacity(o, bytes);
    rocksdb_lru_cache_options_set_num_shard_bits(o, shard_bits);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(o);
    rocksdb_lru_cache_options_destroy(o);
    return cache;
}

static rocksdb_ingestexternalfileoptions_t *ingest_options(void)
{
    rocksdb_ingestexternalfileoptions_t *o = rocksdb_ingestexternalfileoptions_create();

    rocksdb_ingestexternalfileoptions_set_move_files(o, 1);
    rocksdb_ingestexternalfileoptions_set_snapshot_consistency(o, 0);
    rocksdb_ingestexternalfileoptions_set_allow_global_seqno(o, 0);
    rocksdb_ingestexternalfileoptions_set_allow_blocking_flush(o, 0);
    return o;
}

/* Chunks have a small cache of their own, where their indexes are safe from their data; their data L1 keeps anyway, decoded. */
void stm_rocks_options_init(struct stm_rocks_options *o, const struct stm_engine_rocksdb_options *opt)
{
    size_t budget = opt->block_cache_bytes ? opt->block_cache_bytes : BLOCK_CACHE;
    size_t memory = opt->memory_bytes ? opt->memory_bytes : MEMTABLES;

    o->chunk_cache = cache_new(budget / 8, 1);
    o->cache = cache_new(budget - budget / 8, 3);
    for (int i = 0; i < STM_FAMILIES; i++) {
        o->families[i] = rocksdb_options_create();
        set_database(o->families[i], opt, memory);
        if (i < STM_SPACES)
            set_family(o->families[i], (enum stm_space)i, i == STM_CHUNK ? o->chunk_cache : o->cache, memory);
    }
    o->read = rocksdb_readoptions_create();
    o->write = rocksdb_writeoptions_create();
    o->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(o->write_sync, 1);
    o->env = rocksdb_envoptions_create();
    o->ingest = ingest_options();
}

void stm_rocks_options_release(struct stm_rocks_options *o)
{
    for (int i = 0; i < STM_FAMILIES; i++)
        rocksdb_options_destroy(o->families[i]);
    rocksdb_cache_destroy(o->cache);
    rocksdb_cache_destroy(o->chunk_cache);
    rocksdb_readoptions_destroy(o->read);
    rocksdb_writeoptions_destroy(o->write);
    rocksdb_writeoptions_destroy(o->write_sync);
    rocksdb_ingestexternalfileoptions_destroy(o->ingest);
    rocksdb_envoptions_destroy(o->env);
}
