/*
 * test_draft.c: the life of a version (DESIGN §3) from draft to sealed, on a store in memory, without a mount.
 */
#define FUSE_USE_VERSION 314 /* file.h shows types of libfuse */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "file.h"

struct world {
    struct stm_store *store;
    struct stm_fs *fs;
    uint64_t object;
    struct stm_file *file; /* pinned, one writer */
};

static int build_create(struct stm_txn *txn, void *arg)
{
    struct stm_object o;
    int err = stm_tree_create(txn, STM_ROOT_OBJECT, stm_slice_str("word"), &(struct stm_new){.mode = S_IFREG | 0644}, &o);

    *(uint64_t *)arg = o.id;
    return err;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    char *why = NULL;

    assert_int_equal(stm_store_open(&(struct stm_store_options){.engine = STM_ENGINE_MEM, .create = true}, &w->store, &why), 0);
    assert_int_equal(stm_fs_new(w->store, &(struct stm_fs_options){.fsname = "test"}, &w->fs), 0);
    assert_int_equal(stm_update(w->store, &(struct stm_change){.uid = 0}, build_create, &w->object, NULL), 0);
    w->file = stm_file_pin(w->fs, w->object, STM_PIN_MAKE);
    assert_non_null(w->file);
    stm_file_opened(w->fs, w->file, true);
    w->file->draft.born = true;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    bool last, purge;

    stm_file_closed(w->fs, w->file, true, &last, &purge);
    stm_file_unpin(w->fs, w->file);
    assert_int_equal(stm_fs_free(w->fs), 0);
    stm_store_close(w->store);
    free(w);
    return 0;
}

static void write_text(struct world *w, const char *text)
{
    stm_file_lock(w->file);
    assert_int_equal(stm_draft_write(w->fs, w->file, 0, text, strlen(text)), 0);
    stm_file_unlock(w->file);
}

static void cut(struct world *w)
{
    stm_file_lock(w->file);
    assert_int_equal(stm_draft_truncate(w->fs, w->file, 0), 0);
    stm_file_unlock(w->file);
}

static void flush(struct world *w)
{
    stm_file_lock(w->file);
    assert_int_equal(stm_draft_commit(w->fs, w->file, &(struct stm_draft_commit){.final = false}), 0);
    stm_file_unlock(w->file);
}

static unsigned versions(struct world *w)
{
    struct stm_view v = stm_view_head(w->store);
    struct stm_object o;

    assert_int_equal(stm_object_get(&v, w->object, &o), 0);
    return o.tip.seq ? o.tip.ordinal + 1 : 0;
}

static void what_is_not_flushed_is_not_stored(void **state)
{
    struct world *w = *state;

    write_text(w, "draft");
    assert_int_equal(versions(w), 0);
}

static void a_flush_stores_and_the_next_one_amends(void **state)
{
    struct world *w = *state;

    write_text(w, "one");
    flush(w);
    assert_int_equal(versions(w), 1);
    write_text(w, "one and two");
    flush(w);
    assert_int_equal(versions(w), 1);
    assert_true(w->file->draft.pending);
}

static void an_observer_seals_so_that_the_next_flush_makes_a_version(void **state)
{
    struct world *w = *state;
    bool hidden;

    write_text(w, "one");
    flush(w);
    assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 0);
    assert_false(hidden);
    write_text(w, "two");
    flush(w);
    assert_int_equal(versions(w), 2);
}

static void an_observer_never_sees_what_is_not_flushed(void **state)
{
    struct world *w = *state;
    bool hidden;

    write_text(w, "one");
    flush(w);
    write_text(w, "two");
    assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 0);
    assert_int_equal(versions(w), 1);
    flush(w);
    assert_int_equal(versions(w), 2);
}

static void an_emptied_file_makes_the_observer_wait_and_then_hides_it(void **state)
{
    struct world *w = *state;
    bool hidden;

    write_text(w, "one");
    flush(w);
    assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 0);
    cut(w);
    flush(w);
    assert_int_equal(versions(w), 2);
    assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 1);
    assert_int_equal(stm_observe(w->fs, w->object, true, &hidden), 0);
    assert_true(hidden);
    write_text(w, "two");
    flush(w);
    assert_int_equal(versions(w), 2);
    assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 0);
    assert_false(hidden);
}

static void saving_the_same_bytes_makes_no_version(void **state)
{
    struct world *w = *state;
    bool hidden;

    write_text(w, "one");
    flush(w);
    assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 0);
    write_text(w, "one");
    flush(w);
    assert_int_equal(versions(w), 1);
    assert_false(w->file->draft.pending);
}

static void a_new_file_that_nobody_wrote_gets_its_version_when_closed(void **state)
{
    struct world *w = *state;
    bool hidden;

    assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 1); /* a writer may be about to write */
    assert_int_equal(stm_observe(w->fs, w->object, true, &hidden), 0);
    assert_int_equal(versions(w), 0);
    w->file->draft.flushed = true;
    assert_int_equal(stm_observe(w->fs, w->object, true, &hidden), 0);
    assert_int_equal(versions(w), 1);
}

static int build_unlink(struct stm_txn *txn, void *arg)
{
    (void)arg;
    return stm_tree_unlink(txn, STM_ROOT_OBJECT, stm_slice_str("word"), true, NULL);
}

static void a_file_without_a_name_keeps_its_bytes_and_makes_no_version(void **state)
{
    struct world *w = *state;
    char buf[8];

    write_text(w, "one");
    flush(w);
    assert_int_equal(stm_update(w->store, &(struct stm_change){.uid = 0}, build_unlink, NULL, NULL), 0);
    write_text(w, "two");
    flush(w);
    assert_true(w->file->draft.unlinked);
    stm_file_lock(w->file);
    stm_draft_forget(w->file);
    assert_true(stm_draft_shows(w->file));
    assert_true(stm_stage_read(&w->file->draft.data, 0, buf, 8) == 3);
    stm_file_unlock(w->file);
    assert_memory_equal(buf, "two", 3);
}

static void mtime_strictly_increases_from_write_to_write(void **state)
{
    struct world *w = *state;
    int64_t last = 0;

    for (int i = 0; i < 1000; i++) {
        write_text(w, "x");
        assert_true(w->file->draft.mtime_ns > last);
        last = w->file->draft.mtime_ns;
    }
}

static void a_bump_is_used_once(void **state)
{
    struct world *w = *state;
    struct stm_view v = stm_view_head(w->store);
    struct stm_object o;
    bool hidden;

    write_text(w, "one");
    flush(w);
    assert_int_equal(stm_bump_set(w->fs, w->object, STM_BUMP_MINOR), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stm_observe(w->fs, w->object, false, &hidden), 0);
        write_text(w, i ? "three" : "two");
        flush(w);
    }
    assert_int_equal(stm_object_get(&v, w->object, &o), 0);
    assert_int_equal(o.tip.semver.minor, 1);
    assert_int_equal(o.tip.semver.patch, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_flushed_is_not_stored),
        TEST(a_flush_stores_and_the_next_one_amends),
        TEST(an_observer_seals_so_that_the_next_flush_makes_a_version),
        TEST(an_observer_never_sees_what_is_not_flushed),
        TEST(an_emptied_file_makes_the_observer_wait_and_then_hides_it),
        TEST(saving_the_same_bytes_makes_no_version),
        TEST(a_new_file_that_nobody_wrote_gets_its_version_when_closed),
        TEST(a_file_without_a_name_keeps_its_bytes_and_makes_no_version),
        TEST(mtime_strictly_increases_from_write_to_write),
        TEST(a_bump_is_used_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
