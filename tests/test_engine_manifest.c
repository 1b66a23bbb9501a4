/*
 * test_engine_manifest.c: a database's directory as accidents leave it: the MANIFEST's newest record torn, with zeros where bytes are missing; a
 * table that RocksDB deleted too early. Those are mended; every other damage is refused. The record that is cut off here was flushed, so what it did is gone: not in a real cut.
 */
#include "support/cmocka.h"
#include "support/tmpdir.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine_rocksdb_options.h"

/* A database with a few records in its MANIFEST; gives the MANIFEST's path and length. */
static const char *made(char **ret_manifest, off_t *ret_len)
{
    const char *dir = stm_tmpdir();
    char *db = stm_tmpdir_path(dir, "db"), name[64] = "";
    struct stm_engine_rocksdb_options opt = {.dir = db, .stage = dir, .create = true};
    struct stm_engine *e;
    struct stat st;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(stm_engine_rocksdb_new(&opt, &e, NULL), 0);
        struct stm_op op = {STM_OP_PUT, STM_OBJECT, stm_slice("key", 3), stm_slice("value", 5)};
        assert_int_equal(e->ops->commit(e, &op, 1, true), 0);
        e->ops->free(e);
    }
    FILE *f = fopen(stm_tmpdir_path(db, "CURRENT"), "r");
    assert_non_null(f);
    assert_non_null(fgets(name, sizeof name, f));
    fclose(f);
    name[strcspn(name, "\n")] = 0;
    *ret_manifest = stm_tmpdir_path(db, name);
    assert_int_equal(stat(*ret_manifest, &st), 0);
    *ret_len = st.st_size;
    return db;
}

static void blank(const char *path, off_t from, off_t to)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    for (; from < to; from++)
        assert_int_equal(pwrite(fd, "", 1, from), 1);
    close(fd);
}

static void a_record_that_ends_in_zeros_is_cut_off(void **state)
{
    char *manifest;
    struct stat st;
    off_t len;
    const char *db = made(&manifest, &len);

    (void)state;
    blank(manifest, len - 30, len);
    assert_true(stm_rocks_mend(db, NULL));
    assert_int_equal(stat(manifest, &st), 0);
    assert_true(st.st_size > 0 && st.st_size <= len - 30);
    assert_false(stm_rocks_mend(db, NULL)); /* what is left is whole */
}

static void other_damage_is_left_as_it_is(void **state)
{
    char *manifest;
    struct stat st;
    off_t len;
    const char *db = made(&manifest, &len);
    uint8_t byte;

    (void)state;
    assert_false(stm_rocks_mend(db, NULL));
    for (off_t at = 4; at < len; at += len / 9) { /* flipped bits, one after the other */
        int fd = open(manifest, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_false(stm_rocks_mend(db, NULL));
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
    }
    blank(manifest, 10, 60); /* zeros, and more behind them */
    assert_false(stm_rocks_mend(db, NULL));
    assert_int_equal(stat(manifest, &st), 0);
    assert_int_equal(st.st_size, len);
    assert_false(stm_rocks_mend("/nowhere", NULL));
}

static void a_store_with_such_a_record_opens(void **state)
{
    char *manifest;
    off_t len;
    const char *db = made(&manifest, &len);
    struct stm_engine_rocksdb_options opt = {.dir = db, .stage = db};
    struct stm_engine *e;
    struct stm_buf value = STM_BUF_INIT;
    char *why = NULL;

    (void)state;
    blank(manifest, len - 30, len);
    assert_int_equal(stm_engine_rocksdb_new(&opt, &e, &why), 0);
    assert_null(why);
    assert_int_equal(e->ops->get(e, STM_OBJECT, stm_slice("key", 3), &value), 0);
    stm_buf_release(&value);
    e->ops->free(e);
}

/* A table that was taken in, moved to another name of the directory ("" : away altogether). */
static char *with_a_table_moved(const char *to)
{
    const char *dir = stm_tmpdir();
    char *db = stm_tmpdir_path(dir, "db"), command[1000];
    struct stm_engine_rocksdb_options opt = {.dir = db, .stage = dir, .create = true};
    struct stm_ingest *in;
    struct stm_engine *e;

    assert_int_equal(stm_engine_rocksdb_new(&opt, &e, NULL), 0);
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), 0);
    assert_int_equal(e->ops->ingest_put(in, stm_slice("a", 1), stm_slice("one", 3)), 0);
    assert_int_equal(e->ops->ingest_put(in, stm_slice("b", 1), stm_slice("two", 3)), 0);
    assert_int_equal(e->ops->ingest_finish(in, false), 0);
    e->ops->free(e);
    snprintf(command, sizeof command, "cd %s && set -- *.sst && test $# = 1 && mv $1 %s", db, *to ? to : "../away");
    assert_int_equal(system(command), 0);
    return db;
}

static void a_table_that_was_kept_is_put_where_it_is_missed(void **state)
{
    struct stm_buf value = STM_BUF_INIT;
    struct stm_engine *e;

    (void)state;
    struct stm_engine_rocksdb_options opt = {.dir = with_a_table_moved("unsure-ingest-1-2.sst")};
    opt.stage = opt.dir;
    assert_int_equal(stm_engine_rocksdb_new(&opt, &e, NULL), 0);
    assert_int_equal(e->ops->get(e, STM_CHUNK, stm_slice("b", 1), &value), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&value), stm_slice("two", 3)));
    stm_buf_release(&value);
    e->ops->free(e);
}

static void a_table_that_is_gone_and_another_one_are_refused(void **state)
{
    struct stm_engine *e;
    FILE *f;

    (void)state;
    struct stm_engine_rocksdb_options opt = {.dir = with_a_table_moved("")};
    opt.stage = opt.dir;
    assert_int_equal(stm_engine_rocksdb_new(&opt, &e, NULL), STM_E_CORRUPT);
    f = fopen(stm_tmpdir_path(opt.dir, "unsure-other.sst"), "w");
    assert_non_null(f);
    assert_true(fputs("not the table that is missed", f) > 0);
    fclose(f);
    assert_int_equal(stm_engine_rocksdb_new(&opt, &e, NULL), STM_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_that_ends_in_zeros_is_cut_off),
        cmocka_unit_test(other_damage_is_left_as_it_is),
        cmocka_unit_test(a_table_that_was_kept_is_put_where_it_is_missed),
        cmocka_unit_test(a_table_that_is_gone_and_another_one_are_refused),
        cmocka_unit_test(a_store_with_such_a_record_opens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
