/*
 * test_engine_rocksdb.c: what only an engine with a disk can show: reopening, locking, read-only opening, stage files, random operations
 * compared with the reference, and damage. Damage may be refused at opening or at reading; other bytes than were put never come back.
 */
#include "support/cmocka.h"
#include "support/kv.h"
#include "support/tmpdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* Files of DIR/db or DIR/stage */

static bool ends_with(const char *s, const char *end)
{
    size_t len = strlen(s), end_len = strlen(end);

    return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

/* How many files end so; the largest of them into *ret_path, if that is not NULL. */
static int files(const char *dir, const char *end, char **ret_path)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    struct stat st;
    off_t largest = -1;
    int n = 0;

    assert_non_null(d);
    while ((entry = readdir(d))) {
        if (entry->d_name[0] == '.' || !ends_with(entry->d_name, end))
            continue;
        n++;
        assert_int_equal(fstatat(dirfd(d), entry->d_name, &st, 0), 0);
        if (ret_path && st.st_size > largest) {
            largest = st.st_size;
            *ret_path = stm_tmpdir_path(dir, entry->d_name);
        }
    }
    closedir(d);
    return n;
}

/* Names, sizes and times of all files: equal when nothing was written. */
static uint64_t picture(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    struct stat st;
    uint64_t sum = 0;

    assert_non_null(d);
    while ((entry = readdir(d))) {
        assert_int_equal(fstatat(dirfd(d), entry->d_name, &st, 0), 0);
        sum += st.st_ino * 31 + (uint64_t)st.st_size * 7 + (uint64_t)st.st_mtim.tv_nsec + (uint64_t)st.st_mtim.tv_sec;
    }
    closedir(d);
    return sum;
}

static void flip(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static off_t size_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Opening */

static void reopening_finds_everything(void **state)
{
    const char *dir = stm_tmpdir();
    struct stm_engine *e = kv_open_rocksdb(dir);

    (void)state;
    kv_put(e, STM_OBJECT, "a", "1");
    assert_int_equal(kv_ingest(e, STM_CHUNK, "c", 2), 0);
    kv_put(e, STM_OBJECT, "b", "2");
    kv_delete(e, STM_OBJECT, "a");
    e->ops->free(e);
    assert_int_equal(kv_try_rocksdb(dir, false, false, &e), 0);
    kv_expect(e, STM_OBJECT, "a", NULL);
    kv_expect(e, STM_OBJECT, "b", "2");
    kv_expect_keys(e, STM_CHUNK, "", "", "c000000 c000001");
    e->ops->free(e);
}

static void a_missing_database_is_not_made_unless_asked_for(void **state)
{
    const char *dir = stm_tmpdir();
    struct stm_engine *e = NULL;

    (void)state;
    assert_int_equal(kv_try_rocksdb(dir, false, false, &e), -ENOENT);
    assert_int_equal(kv_try_rocksdb(dir, true, true, &e), -ENOENT);
    assert_int_equal(access(stm_tmpdir_path(dir, "db"), F_OK), -1);
    assert_null(e);
}

static void a_second_opening_is_refused_and_says_why(void **state)
{
    const char *dir = stm_tmpdir();
    struct stm_engine *e = kv_open_rocksdb(dir), *second = NULL;
    struct stm_engine_rocksdb_options opt = {.dir = stm_tmpdir_path(dir, "db"), .stage = dir};
    char *why = NULL;

    (void)state;
    assert_int_equal(stm_engine_rocksdb_new(&opt, &second, &why), STM_E_LOCKED);
    assert_null(second);
    assert_non_null(why);
    assert_non_null(strstr(why, "LOCK"));
    free(why);
    e->ops->free(e);
}

static void a_read_only_engine_reads_all_and_writes_nothing(void **state)
{
    const char *dir = stm_tmpdir();
    struct stm_engine *e = kv_open_rocksdb(dir);
    struct stm_op op = kv_op_put(STM_LOG, "b", "2");
    struct stm_ingest *in;

    (void)state;
    kv_put(e, STM_LOG, "a", "1");
    assert_int_equal(kv_ingest(e, STM_CHUNK, "c", 1), 0);
    e->ops->free(e);
    uint64_t before = picture(stm_tmpdir_path(dir, "db"));
    assert_int_equal(kv_try_rocksdb(dir, false, true, &e), 0);
    kv_expect(e, STM_LOG, "a", "1");
    kv_expect_keys(e, STM_CHUNK, "", "", "c000000");
    assert_int_equal(e->ops->commit(e, &op, 1, false), -EROFS);
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), -EROFS);
    assert_int_equal(e->ops->drop_range(e, STM_LOG, stm_slice(NULL, 0), stm_slice(NULL, 0)), -EROFS);
    assert_int_equal(e->ops->sync(e), 0);
    e->ops->free(e);
    assert_int_equal(picture(stm_tmpdir_path(dir, "db")), before);
}

/* Ingestion and dropping */

static void an_ingestion_leaves_no_file_in_the_stage(void **state)
{
    const char *dir = stm_tmpdir(), *stage = stm_tmpdir_path(dir, "stage");
    struct stm_engine *e = kv_open_rocksdb(dir);
    struct stm_ingest *in;

    (void)state;
    assert_int_equal(kv_ingest(e, STM_CHUNK, "k", 100), 0);
    assert_int_equal(kv_ingest(e, STM_CHUNK, "k", 100), -EINVAL);
    assert_int_equal(kv_ingest(e, STM_CHUNK, "x", 0), 0);
    assert_int_equal(files(stage, "", NULL), 0);
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("y"), stm_slice_str("y")), 0);
    assert_int_equal(files(stage, ".sst", NULL), 1);
    assert_int_equal(in->ops->ingest_finish(in, true), 0);
    assert_int_equal(files(stage, "", NULL), 0);

    assert_int_equal(rmdir(stage), 0);
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), -EIO);
    kv_put(e, STM_SYS, "still", "writes");
    e->ops->free(e);
}

static void dropping_an_ingested_range_removes_its_file(void **state)
{
    const char *dir = stm_tmpdir(), *db = stm_tmpdir_path(dir, "db");
    struct stm_engine *e = kv_open_rocksdb(dir);

    (void)state;
    for (char prefix[] = "a"; prefix[0] <= 'd'; prefix[0]++)
        assert_int_equal(kv_ingest(e, STM_CHUNK, prefix, 1000), 0);
    assert_int_equal(files(db, ".sst", NULL), 4);
    assert_int_equal(e->ops->drop_range(e, STM_CHUNK, stm_slice_str("b"), stm_slice_str("d")), 0);
    kv_expect(e, STM_CHUNK, "b000000", NULL);
    kv_expect(e, STM_CHUNK, "d000000", "d000000");
    /* A thread of RocksDB's removes the files. */
    for (int wait_ms = 0; wait_ms < 5000 && files(db, ".sst", NULL) > 2; wait_ms++)
        usleep(1000);
    assert_int_equal(files(db, ".sst", NULL), 2);
    e->ops->free(e);
}

/* Random operations */

enum { KEYS = 300, STEPS = 3000, MAX_OPS = 8 };

static void random_commit(struct stm_engine *a, struct stm_engine *b, uint64_t *random)
{
    char keys[MAX_OPS][8], values[MAX_OPS][400];
    struct stm_op ops[MAX_OPS];
    size_t n = 1 + next_random(random) % MAX_OPS;

    for (size_t i = 0; i < n; i++) {
        size_t len = next_random(random) % sizeof values[i];
        memset(values[i], 'a' + (int)(next_random(random) % 26), len);
        (void)snprintf(keys[i], sizeof keys[i], "%03u", next_random(random) % KEYS);
        ops[i] = (struct stm_op){.kind = next_random(random) % 3 ? STM_OP_PUT : STM_OP_DELETE,
                                 .space = (enum stm_space)(next_random(random) % 3 + STM_VERSION),
                                 .key = stm_slice_str(keys[i]),
                                 .value = stm_slice(values[i], len)};
    }
    bool sync = next_random(random) % 16 == 0;
    assert_int_equal(a->ops->commit(a, ops, n, sync), 0);
    assert_int_equal(b->ops->commit(b, ops, n, sync), 0);
}

static void random_drop(struct stm_engine *a, struct stm_engine *b, uint64_t *random)
{
    unsigned from = next_random(random) % KEYS;
    char lower[16], upper[16];

    (void)snprintf(lower, sizeof lower, "%03u", from);
    (void)snprintf(upper, sizeof upper, "%03u", from + next_random(random) % 10);
    assert_int_equal(a->ops->drop_range(a, STM_CONTENT, stm_slice_str(lower), stm_slice_str(upper)), 0);
    assert_int_equal(b->ops->drop_range(b, STM_CONTENT, stm_slice_str(lower), stm_slice_str(upper)), 0);
}

static void random_ingest(struct stm_engine *a, struct stm_engine *b, unsigned step)
{
    char prefix[16];

    (void)snprintf(prefix, sizeof prefix, "s%05u-", step);
    assert_int_equal(kv_ingest(a, STM_CHUNK, prefix, 20), 0);
    assert_int_equal(kv_ingest(b, STM_CHUNK, prefix, 20), 0);
}

/* A pair of iterators, made at one moment, that are moved together later. */
struct both {
    struct stm_iter *a, *b;
};

static void expect_same(const struct both *it, int at_a, int at_b)
{
    struct stm_slice key_a, value_a, key_b, value_b;

    assert_int_equal(at_a, at_b);
    if (at_a <= 0)
        return;
    it->a->ops->iter_get(it->a, &key_a, &value_a);
    it->b->ops->iter_get(it->b, &key_b, &value_b);
    assert_true(stm_slice_eq(key_a, key_b));
    assert_true(stm_slice_eq(value_a, value_b));
}

static void make_both(struct stm_engine *a, struct stm_engine *b, struct both *it, uint64_t *random)
{
    unsigned from = next_random(random) % KEYS;
    char lower[16] = "", upper[16] = "";
    enum stm_space space = (enum stm_space)(next_random(random) % 3 + STM_VERSION);

    if (from % 2)
        (void)snprintf(lower, sizeof lower, "%03u", from);
    if (from % 3)
        (void)snprintf(upper, sizeof upper, "%03u", from + 100);
    size_t readahead = from % 5 ? 0 : 65536;
    assert_int_equal(a->ops->iter_new(a, space, stm_slice_str(lower), stm_slice_str(upper), readahead, &it->a), 0);
    assert_int_equal(b->ops->iter_new(b, space, stm_slice_str(lower), stm_slice_str(upper), readahead, &it->b), 0);
}

static void walk_both(struct both *it, uint64_t *random)
{
    for (int i = 0; i < 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%03u", next_random(random) % (KEYS + 10));
        struct stm_slice k = stm_slice_str(key);
        bool back = next_random(random) % 2;
        int at_a = back ? it->a->ops->iter_seek_back(it->a, k) : it->a->ops->iter_seek(it->a, k);
        int at_b = back ? it->b->ops->iter_seek_back(it->b, k) : it->b->ops->iter_seek(it->b, k);
        expect_same(it, at_a, at_b);
        for (int step = 0; at_a > 0 && at_b > 0 && step < 15; step++) {
            at_a = it->a->ops->iter_next(it->a);
            at_b = it->b->ops->iter_next(it->b);
            expect_same(it, at_a, at_b);
        }
    }
    it->a->ops->iter_free(it->a);
    it->b->ops->iter_free(it->b);
}

static void random_operations_agree_with_the_reference(void **state)
{
    const char *dir = stm_tmpdir();
    struct stm_engine *rocks = kv_open_rocksdb(dir), *mem;
    struct both it;
    uint64_t random = 1;

    (void)state;
    assert_int_equal(stm_engine_mem_new(&mem), 0);
    make_both(rocks, mem, &it, &random);
    for (unsigned step = 1; step <= STEPS; step++) {
        random_commit(rocks, mem, &random);
        if (step % 20 == 0)
            random_drop(rocks, mem, &random);
        if (step % 300 == 0)
            random_ingest(rocks, mem, step);
        if (step % 7 == 0) {
            walk_both(&it, &random);
            make_both(rocks, mem, &it, &random);
        }
        if (step % 1000 == 0) {
            walk_both(&it, &random);
            rocks->ops->free(rocks);
            assert_int_equal(kv_try_rocksdb(dir, false, false, &rocks), 0);
            kv_expect_equal(rocks, mem);
            make_both(rocks, mem, &it, &random);
        }
    }
    walk_both(&it, &random);
    kv_expect_equal(rocks, mem);
    rocks->ops->free(rocks);
    mem->ops->free(mem);
}

/* Damage */

enum { COMMITS = 60 };

/* Commit i puts the key i and sets "last" to i, in two spaces: any state that can be read must be that after some commit. */
static void write_commits(const char *dir)
{
    struct stm_engine *e = kv_open_rocksdb(dir);

    for (int i = 1; i <= COMMITS; i++) {
        char key[16], value[640];
        (void)snprintf(key, sizeof key, "%03d", i);
        (void)snprintf(value, sizeof value, "%03d%590d", i, i);
        struct stm_op ops[] = {kv_op_put(STM_CONTENT, key, value), kv_op_put(STM_SYS, "last", key)};
        assert_int_equal(e->ops->commit(e, ops, 2, false), 0);
    }
    e->ops->free(e);
}

/* How many commits there are; all of them in full and none beyond. */
static int expect_prefix(struct stm_engine *e)
{
    struct stm_buf last = STM_BUF_INIT;
    int err = e->ops->get(e, STM_SYS, stm_slice_str("last"), &last), n = 0;

    if (err == 0) {
        assert_int_equal(last.len, 3);
        n = (last.data[0] - '0') * 100 + (last.data[1] - '0') * 10 + last.data[2] - '0';
    }
    assert_true(err == 0 || err == -ENOENT);
    assert_in_range(n, 0, COMMITS);
    stm_buf_release(&last);
    for (int i = 1; i <= COMMITS; i++) {
        char key[16], value[640];
        (void)snprintf(key, sizeof key, "%03d", i);
        (void)snprintf(value, sizeof value, "%03d%590d", i, i);
        kv_expect(e, STM_CONTENT, key, i <= n ? value : NULL);
    }
    return n;
}

static void a_flipped_bit_in_the_log_never_drops_a_commit_from_the_middle(void **state)
{
    const char *dir = stm_tmpdir();
    char *log = NULL;
    int refused = 0, tried = 0;

    (void)state;
    write_commits(dir);
    assert_int_equal(files(stm_tmpdir_path(dir, "db"), ".log", &log), 1);
    off_t size = size_of(log);
    for (off_t at = 3; at < size; at += 797, tried++) {
        struct stm_engine *e = NULL;
        flip(log, at);
        int err = kv_try_rocksdb(dir, false, true, &e);
        flip(log, at);
        assert_true(err == 0 || err == STM_E_CORRUPT);
        refused += err < 0;
        if (err == 0) {
            (void)expect_prefix(e);
            e->ops->free(e);
        }
    }
    print_message("%d of %d flips refused\n", refused, tried);
    assert_true(refused > tried * 9 / 10);

    flip(log, size / 2);
    struct stm_engine *e = NULL;
    assert_int_equal(kv_try_rocksdb(dir, false, false, &e), STM_E_CORRUPT);
    flip(log, size / 2);
    assert_int_equal(kv_try_rocksdb(dir, false, false, &e), 0);
    assert_int_equal(expect_prefix(e), COMMITS);
    e->ops->free(e);
}

static void a_log_that_was_cut_short_leaves_the_commits_before_the_cut(void **state)
{
    const char *dir = stm_tmpdir();
    char *log = NULL;
    int last = COMMITS;

    (void)state;
    write_commits(dir);
    assert_int_equal(files(stm_tmpdir_path(dir, "db"), ".log", &log), 1);
    for (off_t size = size_of(log) - 1; size > 0; size = size > 997 ? size - 997 : 0) {
        struct stm_engine *e = NULL;
        assert_int_equal(truncate(log, size), 0);
        assert_int_equal(kv_try_rocksdb(dir, false, true, &e), 0);
        int n = expect_prefix(e);
        assert_in_range(n, 0, last);
        assert_true(n >= last - 3);
        last = n;
        e->ops->free(e);
    }
    assert_true(last <= 1);
}

enum { TABLE_KEYS = 2000 };

static struct stm_slice table_value(char *buf, size_t size, int i)
{
    (void)snprintf(buf, size, "value %d of the table %d", i, i * 7919 % 4001);
    return stm_slice_str(buf);
}

static void write_table(const char *dir)
{
    struct stm_engine *e = kv_open_rocksdb(dir);
    struct stm_ingest *in;

    assert_int_equal(e->ops->ingest_new(e, STM_DENTRY, &in), 0);
    for (int i = 0; i < TABLE_KEYS; i++) {
        char key[16], value[64];
        (void)snprintf(key, sizeof key, "%05d", i);
        assert_int_equal(in->ops->ingest_put(in, stm_slice_str(key), table_value(value, sizeof value, i)), 0);
    }
    assert_int_equal(in->ops->ingest_finish(in, false), 0);
    e->ops->free(e);
}

/* Reads everything both ways. Returns whether an error was met; what was read must be right, and nothing may be missing. */
static bool read_table(struct stm_engine *e)
{
    struct stm_buf got = STM_BUF_INIT;
    struct stm_slice key, value;
    struct stm_iter *it;
    char name[16], expected[64];
    bool damaged = false;

    for (int i = 0; i < TABLE_KEYS; i += 3) {
        (void)snprintf(name, sizeof name, "%05d", i);
        int err = e->ops->get(e, STM_DENTRY, stm_slice_str(name), &got);
        assert_true(err == 0 || err == STM_E_CORRUPT);
        damaged |= err < 0;
        assert_true(err < 0 || stm_slice_eq(stm_buf_slice(&got), table_value(expected, sizeof expected, i)));
    }
    stm_buf_release(&got);

    int n = 0, at = e->ops->iter_new(e, STM_DENTRY, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it);
    assert_int_equal(at, 0);
    for (at = it->ops->iter_seek(it, stm_slice("", 0)); at > 0; at = it->ops->iter_next(it), n++) {
        it->ops->iter_get(it, &key, &value);
        (void)snprintf(name, sizeof name, "%05d", n);
        assert_true(stm_slice_eq(key, stm_slice_str(name)));
        assert_true(stm_slice_eq(value, table_value(expected, sizeof expected, n)));
    }
    assert_true(at == STM_E_CORRUPT || (at == 0 && n == TABLE_KEYS));
    it->ops->iter_free(it);
    return damaged || at < 0;
}

static void a_damaged_table_never_gives_other_bytes(void **state)
{
    const char *dir = stm_tmpdir();
    char *table = NULL;
    int refused = 0, met = 0, harmless = 0;

    (void)state;
    write_table(dir);
    assert_int_equal(files(stm_tmpdir_path(dir, "db"), ".sst", &table), 1);
    off_t size = size_of(table);
    for (off_t at = 1; at < size; at += size / 61) {
        struct stm_engine *e = NULL;
        flip(table, at);
        int err = kv_try_rocksdb(dir, false, true, &e);
        assert_true(err == 0 || err == STM_E_CORRUPT);
        if (err < 0) {
            refused++;
        } else {
            bool damaged = read_table(e);
            met += damaged;
            harmless += !damaged;
            e->ops->free(e);
        }
        flip(table, at);
    }
    print_message("flips: %d refused at opening, %d at reading, %d harmless\n", refused, met, harmless);
    assert_true(harmless < 61 / 5);
}

static void a_missing_or_shortened_file_is_damage_not_absence(void **state)
{
    const char *dir = stm_tmpdir(), *db = stm_tmpdir_path(dir, "db"), *away = stm_tmpdir_path(dir, "away");
    const char *ends[] = {".sst", "CURRENT"};
    struct stm_engine *e = NULL;
    char *path = NULL;

    (void)state;
    write_table(dir);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(files(db, ends[i], &path), 1);
        assert_int_equal(rename(path, away), 0);
        assert_int_equal(kv_try_rocksdb(dir, false, true, &e), STM_E_CORRUPT);
        assert_int_equal(kv_try_rocksdb(dir, true, false, &e), STM_E_CORRUPT);
        assert_int_equal(rename(away, path), 0);
    }
    assert_int_equal(kv_try_rocksdb(dir, false, false, &e), 0);
    assert_false(read_table(e));
    e->ops->free(e);

    assert_int_equal(files(db, ".sst", &path), 1);
    assert_int_equal(truncate(path, size_of(path) / 2), 0);
    assert_int_equal(kv_try_rocksdb(dir, false, false, &e), STM_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reopening_finds_everything),
        cmocka_unit_test(a_missing_database_is_not_made_unless_asked_for),
        cmocka_unit_test(a_second_opening_is_refused_and_says_why),
        cmocka_unit_test(a_read_only_engine_reads_all_and_writes_nothing),
        cmocka_unit_test(an_ingestion_leaves_no_file_in_the_stage),
        cmocka_unit_test(dropping_an_ingested_range_removes_its_file),
        cmocka_unit_test(random_operations_agree_with_the_reference),
        cmocka_unit_test(a_flipped_bit_in_the_log_never_drops_a_commit_from_the_middle),
        cmocka_unit_test(a_log_that_was_cut_short_leaves_the_commits_before_the_cut),
        cmocka_unit_test(a_damaged_table_never_gives_other_bytes),
        cmocka_unit_test(a_missing_or_shortened_file_is_damage_not_absence),
    };

    if (STM_TSAN)
        return 77; /* RocksDB is not instrumented */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
