/*
 * test_engine.c: the contract of engine.h, run unchanged on every engine: in memory, RocksDB, and the fault engine over each of them.
 * What only one of them can do has a test file of its own.
 */
#include "support/cmocka.h"
#include "support/kv.h"
#include "support/tmpdir.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static struct stm_engine *mem_open(void)
{
    struct stm_engine *e;

    assert_int_equal(stm_engine_mem_new(&e), 0);
    return e;
}

static struct stm_engine *rocksdb_open_new(void)
{
    return kv_open_rocksdb(stm_tmpdir());
}

static struct stm_engine *fault_over(struct stm_engine *below)
{
    struct stm_engine *e;

    assert_int_equal(stm_engine_fault_new(below, &e), 0);
    return e;
}

static struct stm_engine *fault_mem_open(void)
{
    return fault_over(mem_open());
}

static struct stm_engine *fault_rocksdb_open(void)
{
    return fault_over(rocksdb_open_new());
}

/* *state is how to open the engine before setup, and the engine after it. */
struct kind {
    const char *name;
    struct stm_engine *(*open)(void);
};

static int setup(void **state)
{
    *state = ((const struct kind *)*state)->open();
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    struct stm_engine *e = *state;

    e->ops->free(e);
    return 0;
}

static int seek(struct stm_iter *it, const char *key, bool back)
{
    return back ? it->ops->iter_seek_back(it, stm_slice_str(key)) : it->ops->iter_seek(it, stm_slice_str(key));
}

/* key NULL: the seek or step returned 0. */
static void expect_at(struct stm_iter *it, int returned, const char *key)
{
    struct stm_slice got, value;

    assert_int_equal(returned, key ? 1 : 0);
    if (!key)
        return;
    it->ops->iter_get(it, &got, &value);
    assert_true(stm_slice_eq(got, stm_slice_str(key)));
}

static struct stm_iter *iter(struct stm_engine *e, enum stm_space space, const char *lower, const char *upper)
{
    struct stm_iter *it;

    assert_int_equal(e->ops->iter_new(e, space, stm_slice_str(lower), stm_slice_str(upper), 0, &it), 0);
    return it;
}

static void a_key_that_was_never_put_is_not_there(void **state)
{
    kv_expect(*state, STM_SYS, "nothing", NULL);
    kv_expect_keys(*state, STM_SYS, "", "", "");
}

static void a_get_of_a_missing_key_leaves_the_buffer_alone(void **state)
{
    struct stm_engine *e = *state;
    struct stm_buf buf = STM_BUF_INIT;

    assert_int_equal(stm_buf_set(&buf, "before", 6), 0);
    assert_int_equal(e->ops->get(e, STM_LOG, stm_slice_str("x"), &buf), -ENOENT);
    assert_true(stm_slice_eq(stm_buf_slice(&buf), stm_slice_str("before")));
    stm_buf_release(&buf);
}

static void what_was_put_is_read_back_byte_for_byte(void **state)
{
    struct stm_engine *e = *state;
    static const size_t lens[] = {0, 1, 255, 4096, 100000};
    static uint8_t value[100000];
    struct stm_buf got = STM_BUF_INIT;

    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (uint8_t)(i * 31 + i / 251);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        uint8_t key[] = {0, (uint8_t)i, 255};
        struct stm_op op = {STM_OP_PUT, STM_CONTENT, stm_slice(key, sizeof key), stm_slice(value, lens[i])};
        assert_int_equal(e->ops->commit(e, &op, 1, i % 2 == 0), 0);
        assert_int_equal(e->ops->get(e, STM_CONTENT, op.key, &got), 0);
        assert_true(stm_slice_eq(stm_buf_slice(&got), op.value));
    }
    stm_buf_release(&got);
}

static void a_later_put_replaces_the_value(void **state)
{
    kv_put(*state, STM_OBJECT, "k", "old and long");
    kv_put(*state, STM_OBJECT, "k", "new");
    kv_expect(*state, STM_OBJECT, "k", "new");
}

static void spaces_do_not_see_each_other(void **state)
{
    for (int i = 0; i < STM_SPACES; i++)
        kv_put(*state, (enum stm_space)i, "k", stm_space_name((enum stm_space)i));
    for (int i = 0; i < STM_SPACES; i++)
        kv_expect(*state, (enum stm_space)i, "k", stm_space_name((enum stm_space)i));
    kv_delete(*state, STM_LOG, "k");
    kv_expect(*state, STM_LOG, "k", NULL);
    kv_expect(*state, STM_INDEX, "k", "index");
}

static void operations_of_one_batch_apply_in_their_order(void **state)
{
    struct stm_engine *e = *state;
    struct stm_op ops[] = {kv_op_put(STM_SYS, "a", "1"), kv_op_delete(STM_SYS, "a"),     kv_op_put(STM_SYS, "a", "2"),
                           kv_op_put(STM_SYS, "b", "1"), kv_op_put(STM_LOG, "b", "log"), kv_op_delete(STM_SYS, "b")};

    assert_int_equal(e->ops->commit(e, ops, sizeof ops / sizeof ops[0], false), 0);
    kv_expect(e, STM_SYS, "a", "2");
    kv_expect(e, STM_SYS, "b", NULL);
    kv_expect(e, STM_LOG, "b", "log");
}

static void deleting_what_is_not_there_succeeds(void **state)
{
    kv_delete(*state, STM_DENTRY, "never");
    kv_put(*state, STM_DENTRY, "k", "v");
    kv_delete(*state, STM_DENTRY, "k");
    kv_delete(*state, STM_DENTRY, "k");
    kv_expect(*state, STM_DENTRY, "k", NULL);
}

static void an_empty_commit_and_a_sync_succeed(void **state)
{
    struct stm_engine *e = *state;

    assert_int_equal(e->ops->commit(e, NULL, 0, false), 0);
    assert_int_equal(e->ops->commit(e, NULL, 0, true), 0);
    kv_put(e, STM_SYS, "k", "v");
    assert_int_equal(e->ops->sync(e), 0);
    assert_int_equal(e->ops->sync(e), 0);
}

static void keys_come_in_the_order_of_their_bytes(void **state)
{
    kv_put(*state, STM_VERSION, "b", "");
    kv_put(*state, STM_VERSION, "\xff", "");
    kv_put(*state, STM_VERSION, "ab", "");
    kv_put(*state, STM_VERSION, "a", "");
    kv_put(*state, STM_VERSION, "B", "");
    kv_put(*state, STM_VERSION, "abc", "");
    kv_expect_keys(*state, STM_VERSION, "", "", "B a ab abc b \xff");
}

static void bounds_include_the_lower_and_exclude_the_upper_end(void **state)
{
    for (const char *k = "a\0b\0c\0d\0e\0"; *k; k += 2)
        kv_put(*state, STM_INDEX, k, "");
    kv_expect_keys(*state, STM_INDEX, "b", "d", "b c");
    kv_expect_keys(*state, STM_INDEX, "bb", "", "c d e");
    kv_expect_keys(*state, STM_INDEX, "", "b", "a");
    kv_expect_keys(*state, STM_INDEX, "c", "c", "");
    kv_expect_keys(*state, STM_INDEX, "f", "z", "");
}

static void seeks_find_the_next_and_the_previous_key(void **state)
{
    for (const char *k = "b\0d\0f\0"; *k; k += 2)
        kv_put(*state, STM_VERSION, k, "");
    struct stm_iter *it = iter(*state, STM_VERSION, "", "");

    expect_at(it, seek(it, "d", false), "d");
    expect_at(it, seek(it, "c", false), "d");
    expect_at(it, seek(it, "", false), "b");
    expect_at(it, seek(it, "g", false), NULL);
    expect_at(it, seek(it, "d", true), "d");
    expect_at(it, seek(it, "e", true), "d");
    expect_at(it, seek(it, "a", true), NULL);
    expect_at(it, seek(it, "z", true), "f");
    expect_at(it, it->ops->iter_next(it), NULL);
    expect_at(it, seek(it, "c", true), "b");
    expect_at(it, it->ops->iter_next(it), "d");
    expect_at(it, it->ops->iter_next(it), "f");
    it->ops->iter_free(it);
}

static void seeks_beyond_the_bounds_stop_at_the_bounds(void **state)
{
    for (const char *k = "a\0b\0c\0d\0e\0"; *k; k += 2)
        kv_put(*state, STM_LOG, k, "");
    struct stm_iter *it = iter(*state, STM_LOG, "b", "d");

    expect_at(it, seek(it, "a", false), "b");
    expect_at(it, seek(it, "d", false), NULL);
    expect_at(it, seek(it, "z", true), "c");
    expect_at(it, seek(it, "d", true), "c");
    expect_at(it, seek(it, "a", true), NULL);
    expect_at(it, seek(it, "c", true), "c");
    expect_at(it, it->ops->iter_next(it), NULL);
    it->ops->iter_free(it);
}

static void an_iterator_sees_the_store_as_it_was_when_made(void **state)
{
    struct stm_engine *e = *state;

    kv_put(e, STM_DENTRY, "a", "1");
    kv_put(e, STM_DENTRY, "b", "1");
    struct stm_iter *it = iter(e, STM_DENTRY, "", "");
    kv_put(e, STM_DENTRY, "a", "2");
    kv_put(e, STM_DENTRY, "aa", "2");
    kv_delete(e, STM_DENTRY, "b");
    kv_expect_keys(e, STM_DENTRY, "", "", "a aa");

    struct stm_slice key, value;
    expect_at(it, seek(it, "a", false), "a");
    it->ops->iter_get(it, &key, &value);
    assert_true(stm_slice_eq(value, stm_slice_str("1")));
    expect_at(it, it->ops->iter_next(it), "b");
    expect_at(it, it->ops->iter_next(it), NULL);
    it->ops->iter_free(it);
}

static void a_frozen_engine_stays_as_it_was(void **state)
{
    struct stm_engine *e = *state, *frozen;
    struct stm_op op = kv_op_put(STM_OBJECT, "c", "no");

    kv_put(e, STM_OBJECT, "a", "1");
    kv_put(e, STM_DENTRY, "a", "2");
    assert_int_equal(e->ops->freeze(e, &frozen), 0);
    kv_put(e, STM_OBJECT, "a", "changed");
    kv_put(e, STM_OBJECT, "b", "new");
    kv_delete(e, STM_DENTRY, "a");
    kv_expect(frozen, STM_OBJECT, "a", "1");
    kv_expect(frozen, STM_DENTRY, "a", "2");
    kv_expect_keys(frozen, STM_OBJECT, "", "", "a");
    kv_expect_keys(frozen, STM_DENTRY, "", "", "a");
    assert_int_equal(frozen->ops->commit(frozen, &op, 1, false), -EROFS);
    kv_expect_keys(e, STM_OBJECT, "", "", "a b"); /* control: the engine itself went on */
    frozen->ops->free(frozen);
    kv_expect(e, STM_OBJECT, "a", "changed");
}

static void the_bounds_of_an_iterator_are_copied(void **state)
{
    char lower[] = "b", upper[] = "d";

    for (const char *k = "a\0b\0c\0d\0"; *k; k += 2)
        kv_put(*state, STM_LOG, k, "");
    struct stm_iter *it = iter(*state, STM_LOG, lower, upper);
    lower[0] = upper[0] = 'z';
    expect_at(it, seek(it, "", false), "b");
    expect_at(it, it->ops->iter_next(it), "c");
    expect_at(it, it->ops->iter_next(it), NULL);
    it->ops->iter_free(it);
}

static void an_ingestion_is_seen_when_it_is_finished(void **state)
{
    struct stm_engine *e = *state;
    struct stm_ingest *in;

    kv_put(e, STM_CHUNK, "1", "small");
    kv_put(e, STM_CHUNK, "3", "small");
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("2a"), stm_slice_str("A")), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("2b"), stm_slice_str("B")), 0);
    struct stm_iter *before = iter(e, STM_CHUNK, "", "");
    kv_expect_keys(e, STM_CHUNK, "", "", "1 3");
    assert_int_equal(in->ops->ingest_finish(in, false), 0);
    kv_expect_keys(e, STM_CHUNK, "", "", "1 2a 2b 3");
    kv_expect(e, STM_CHUNK, "2b", "B");

    expect_at(before, seek(before, "2", false), "3");
    before->ops->iter_free(before);
    kv_put(e, STM_CHUNK, "2b", "over");
    kv_expect(e, STM_CHUNK, "2b", "over");
}

static void an_aborted_or_empty_ingestion_leaves_nothing(void **state)
{
    struct stm_engine *e = *state;
    struct stm_ingest *in;

    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("a"), stm_slice_str("A")), 0);
    assert_int_equal(in->ops->ingest_finish(in, true), 0);
    assert_int_equal(kv_ingest(e, STM_CHUNK, "k", 0), 0);
    kv_expect_keys(e, STM_CHUNK, "", "", "");
    assert_int_equal(kv_ingest(e, STM_CHUNK, "k", 2), 0);
    kv_expect_keys(e, STM_CHUNK, "", "", "k000000 k000001");
}

static void an_ingestion_out_of_order_or_over_old_keys_is_refused(void **state)
{
    struct stm_engine *e = *state;
    struct stm_ingest *in;

    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("b"), stm_slice_str("")), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("b"), stm_slice_str("")), -EINVAL);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("a"), stm_slice_str("")), -EINVAL);
    assert_int_equal(in->ops->ingest_finish(in, true), 0);

    kv_put(e, STM_CHUNK, "k000001", "mine");
    assert_int_equal(kv_ingest(e, STM_CHUNK, "k", 3), -EINVAL);
    kv_expect_keys(e, STM_CHUNK, "", "", "k000001");
    kv_expect(e, STM_CHUNK, "k000001", "mine");
}

static void a_dropped_range_is_gone_and_nothing_else(void **state)
{
    struct stm_engine *e = *state;

    assert_int_equal(kv_ingest(e, STM_CHUNK, "a", 3), 0);
    assert_int_equal(kv_ingest(e, STM_CHUNK, "b", 3), 0);
    assert_int_equal(kv_ingest(e, STM_CHUNK, "c", 3), 0);
    kv_put(e, STM_CHUNK, "b", "in memory");
    kv_put(e, STM_CHUNK, "c", "in memory");
    kv_put(e, STM_LOG, "b000001", "other space");
    struct stm_iter *before = iter(e, STM_CHUNK, "b000001", "");

    assert_int_equal(e->ops->drop_range(e, STM_CHUNK, stm_slice_str("b"), stm_slice_str("c000001")), 0);
    kv_expect_keys(e, STM_CHUNK, "", "", "a000000 a000001 a000002 c000001 c000002");
    assert_int_equal(e->ops->drop_range(e, STM_CHUNK, stm_slice_str("b"), stm_slice_str("c000001")), 0);
    kv_expect(e, STM_LOG, "b000001", "other space");
    expect_at(before, seek(before, "", false), "b000001");
    before->ops->iter_free(before);

    assert_int_equal(e->ops->drop_range(e, STM_CHUNK, stm_slice(NULL, 0), stm_slice(NULL, 0)), 0);
    kv_expect_keys(e, STM_CHUNK, "", "", "");
}

static void the_upper_end_of_a_dropped_range_stays(void **state)
{
    struct stm_engine *e = *state;

    /* "a000002" is the last key of its file, and so the end that a careless drop would take for inclusive. */
    assert_int_equal(kv_ingest(e, STM_CHUNK, "a", 3), 0);
    assert_int_equal(e->ops->drop_range(e, STM_CHUNK, stm_slice_str("a"), stm_slice_str("a000002")), 0);
    kv_expect_keys(e, STM_CHUNK, "", "", "a000002");
}

static void a_large_range_is_dropped_in_several_batches(void **state)
{
    struct stm_engine *e = *state;

    assert_int_equal(kv_ingest(e, STM_CHUNK, "k", 2500), 0);
    assert_int_equal(e->ops->drop_range(e, STM_CHUNK, stm_slice_str("k000001"), stm_slice_str("k002499")), 0);
    kv_expect_keys(e, STM_CHUNK, "", "", "k000000 k002499");
}

static void statistics_count_what_is_there(void **state)
{
    struct stm_engine *e = *state;
    struct stm_engine_stats stats;

    for (int i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%d", i);
        kv_put(e, STM_OBJECT, key, "some value");
    }
    assert_int_equal(e->ops->stats(e, &stats), 0);
    assert_int_equal(stats.keys_estimate, 100);
    assert_true(stats.bytes_on_disk >= 1000);
    assert_false(stats.degraded);
}

/* One writer sets all of these keys to the same number; no reader may ever see two numbers. */
enum { SHARED_KEYS = 8, READERS = 2, ROUNDS = 400 };

struct shared {
    struct stm_engine *e;
    atomic_bool done;
    atomic_int torn;
};

static void *read_shared(void *arg)
{
    struct shared *s = arg;

    while (!atomic_load(&s->done)) {
        struct stm_iter *it = iter(s->e, STM_OBJECT, "", "");
        struct stm_buf first = STM_BUF_INIT;
        int n = 0;
        for (int at = seek(it, "", false); at > 0; at = it->ops->iter_next(it), n++) {
            struct stm_slice key, value;
            it->ops->iter_get(it, &key, &value);
            if (n == 0 && stm_buf_set(&first, value.data, value.len) < 0)
                break;
            if (!stm_slice_eq(stm_buf_slice(&first), value))
                atomic_fetch_add(&s->torn, 1);
        }
        if (n != 0 && n != SHARED_KEYS)
            atomic_fetch_add(&s->torn, 1);
        if (n != 0 && s->e->ops->get(s->e, STM_OBJECT, stm_slice_str("3"), &first) != 0)
            atomic_fetch_add(&s->torn, 1);
        stm_buf_release(&first);
        it->ops->iter_free(it);
    }
    return NULL;
}

static void readers_never_see_part_of_a_commit(void **state)
{
    struct shared s = {.e = *state};
    pthread_t threads[READERS];

    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_shared, &s), 0);
    for (int round = 0; round < ROUNDS; round++) {
        char keys[SHARED_KEYS][16], value[16];
        struct stm_op ops[SHARED_KEYS];
        (void)snprintf(value, sizeof value, "%d", round);
        for (int i = 0; i < SHARED_KEYS; i++) {
            (void)snprintf(keys[i], sizeof keys[i], "%d", i);
            ops[i] = kv_op_put(STM_OBJECT, keys[i], value);
        }
        assert_int_equal(s.e->ops->commit(s.e, ops, SHARED_KEYS, false), 0);
    }
    atomic_store(&s.done, true);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&s.torn), 0);
}

#define ON(test) cmocka_unit_test_prestate_setup_teardown(test, setup, teardown, (void *)(uintptr_t)kind)

static int run_contract(const struct kind *kind)
{
    const struct CMUnitTest tests[] = {
        ON(a_key_that_was_never_put_is_not_there),
        ON(a_get_of_a_missing_key_leaves_the_buffer_alone),
        ON(what_was_put_is_read_back_byte_for_byte),
        ON(a_later_put_replaces_the_value),
        ON(spaces_do_not_see_each_other),
        ON(operations_of_one_batch_apply_in_their_order),
        ON(deleting_what_is_not_there_succeeds),
        ON(an_empty_commit_and_a_sync_succeed),
        ON(keys_come_in_the_order_of_their_bytes),
        ON(bounds_include_the_lower_and_exclude_the_upper_end),
        ON(seeks_find_the_next_and_the_previous_key),
        ON(seeks_beyond_the_bounds_stop_at_the_bounds),
        ON(an_iterator_sees_the_store_as_it_was_when_made),
        ON(a_frozen_engine_stays_as_it_was),
        ON(the_bounds_of_an_iterator_are_copied),
        ON(an_ingestion_is_seen_when_it_is_finished),
        ON(an_aborted_or_empty_ingestion_leaves_nothing),
        ON(an_ingestion_out_of_order_or_over_old_keys_is_refused),
        ON(a_dropped_range_is_gone_and_nothing_else),
        ON(the_upper_end_of_a_dropped_range_stays),
        ON(a_large_range_is_dropped_in_several_batches),
        ON(statistics_count_what_is_there),
        ON(readers_never_see_part_of_a_commit),
    };

    return cmocka_run_group_tests_name(kind->name, tests, NULL, NULL);
}

int main(void)
{
    static const struct kind kinds[] = {
        {"mem", mem_open}, {"fault over mem", fault_mem_open}, {"rocksdb", rocksdb_open_new}, {"fault over rocksdb", fault_rocksdb_open}};
    int failures = 0;

    for (size_t i = 0; i < (STM_TSAN ? 2 : 4); i++)
        failures += run_contract(&kinds[i]);
    return failures > 0;
}
