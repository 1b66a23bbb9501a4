/* Tests of commit.c and txn.c: the order of commits, with many threads, with conflicts, and with an engine that fails. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "inner.h"
#include "support/cmocka.h"
#include "support/world.h"

enum { THREADS = 8, ROUNDS = 200 };

static const uint64_t root = STM_ROOT_OBJECT;

struct worker {
    struct world *w;
    uint64_t parent;
    int number, failures;
    uint64_t seqs[ROUNDS];
};

struct make {
    uint64_t parent;
    char name[32];
};

static int build_make(struct stm_txn *t, void *arg)
{
    struct make *m = arg;
    struct stm_new n = {.mode = S_IFREG | 0644};
    struct stm_object o;
    return stm_tree_create(t, m->parent, stm_slice_str(m->name), &n, &o);
}

static void *make_files(void *arg)
{
    struct worker *k = arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct make m = {.parent = k->parent};
        snprintf(m.name, sizeof m.name, "f%d-%d", k->number, i);
        if (stm_update(k->w->store, &k->w->change, build_make, &m, &k->seqs[i]) < 0)
            k->failures++;
    }
    return NULL;
}

static void run_workers(struct world *w, struct worker *k, void *(*body)(void *), uint64_t (*parent)(struct world *, int))
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        k[i] = (struct worker){.w = w, .number = i, .parent = parent(w, i)};
        assert_int_equal(pthread_create(&threads[i], NULL, body, &k[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static uint64_t same_parent(struct world *w, int i)
{
    (void)w;
    (void)i;
    return root;
}

static uint64_t own_parent(struct world *w, int i)
{
    char name[16];
    snprintf(name, sizeof name, "d%d", i);
    return world_mkdir(w, root, name);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* All seqs are different, and each thread saw its own grow. */
static void expect_distinct_seqs(struct worker *k, uint64_t first)
{
    uint64_t all[THREADS * ROUNDS];
    size_t n = 0;

    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(k[i].failures, 0);
        for (int r = 0; r < ROUNDS; r++) {
            assert_true(r == 0 || k[i].seqs[r] > k[i].seqs[r - 1]);
            all[n++] = k[i].seqs[r];
        }
    }
    qsort(all, n, sizeof *all, by_value);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(all[i], first + i);
}

static void threads_in_one_directory_lose_nothing_and_leave_no_hole(void **state)
{
    struct world w;
    struct worker k[THREADS];

    (void)state;
    world_open_mem(&w);
    uint64_t first = stm_store_seq(w.store) + 1;
    run_workers(&w, k, make_files, same_parent);
    expect_distinct_seqs(k, first);
    assert_int_equal(world_object(&w, root).entries, THREADS * ROUNDS);
    world_check(&w);
    world_close(&w);
}

static void threads_in_directories_of_their_own_are_ordered_as_well(void **state)
{
    struct world w;
    struct worker k[THREADS];

    (void)state;
    world_open_mem(&w);
    uint64_t first = stm_store_seq(w.store) + THREADS + 1;
    run_workers(&w, k, make_files, own_parent);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(k[i].failures, 0);
        assert_int_equal(world_object(&w, k[i].parent).entries, ROUNDS);
    }
    assert_int_equal(stm_store_seq(w.store), first - 1 + THREADS * ROUNDS);
    world_check(&w);
    world_close(&w);
}

/* A counter in a mark: read, add one, write. Every lost update would show. */
static int build_count(struct stm_txn *t, void *arg)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_key key = stm_key_mark(stm_slice_str("counter"));
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    uint64_t n = 0;
    uint8_t bytes[8];

    (void)arg;
    int err = stm_read(&v, STM_SYS, &key, &buf, &payload);
    if (err == 0)
        n = stm_get_u64(payload.data);
    stm_buf_release(&buf);
    if (err < 0 && err != -ENOENT)
        return err;
    stm_put_u64(bytes, n + 1);
    return stm_txn_mark(t, stm_slice_str("counter"), stm_slice(bytes, sizeof bytes));
}

static void *count_up(void *arg)
{
    struct worker *k = arg;

    for (int i = 0; i < ROUNDS; i++)
        if (stm_update(k->w->store, &k->w->change, build_count, NULL, &k->seqs[i]) < 0)
            k->failures++;
    return NULL;
}

static void a_hot_counter_loses_no_update(void **state)
{
    struct world w;
    struct worker k[THREADS];
    struct stm_buf buf = STM_BUF_INIT;

    (void)state;
    world_open_mem(&w);
    uint64_t first = stm_store_seq(w.store) + 1;
    run_workers(&w, k, count_up, same_parent);
    expect_distinct_seqs(k, first);
    assert_int_equal(stm_store_mark_get(w.store, stm_slice_str("counter"), &buf), 0);
    assert_int_equal(stm_get_u64(buf.data), THREADS * ROUNDS);
    stm_buf_release(&buf);
    world_close(&w);
}

static int build_nothing(struct stm_txn *t, void *arg)
{
    (void)t;
    (void)arg;
    return 0;
}

static void a_build_that_changes_nothing_makes_no_commit(void **state)
{
    struct world w;
    uint64_t seq = 0;

    (void)state;
    world_open_mem(&w);
    uint64_t before = stm_store_seq(w.store);
    assert_int_equal(stm_update(w.store, &w.change, build_nothing, NULL, &seq), 0);
    assert_int_equal(seq, before);
    assert_int_equal(stm_store_seq(w.store), before);
    world_close(&w);
}

static int build_half(struct stm_txn *t, void *arg)
{
    int err = build_make(t, arg);
    return err < 0 ? err : -EDQUOT;
}

static void a_build_that_fails_writes_nothing(void **state)
{
    struct world w;
    struct make m = {.parent = root, .name = "half"};

    (void)state;
    world_open_mem(&w);
    uint64_t before = stm_store_seq(w.store);
    assert_int_equal(stm_update(w.store, &w.change, build_half, &m, NULL), -EDQUOT);
    assert_int_equal(stm_store_seq(w.store), before);
    assert_int_equal(world_find(&w, root, "half"), 0);
    world_close(&w);
}

static int build_two(struct stm_txn *t, void *arg)
{
    struct make second = {.parent = root, .name = "second"};
    int err = build_make(t, arg);
    return err < 0 ? err : build_make(t, &second);
}

static void a_transaction_sees_its_own_writes_and_has_one_seq(void **state)
{
    struct world w;
    struct make m = {.parent = root, .name = "first"};
    uint64_t seq;

    (void)state;
    world_open_mem(&w);
    assert_int_equal(stm_update(w.store, &w.change, build_two, &m, &seq), 0);
    assert_int_equal(world_object(&w, root).entries, 2);
    struct stm_view before = stm_view_at(w.store, seq - 1), after = stm_view_at(w.store, seq);
    assert_int_equal(world_at(&before, root, "second"), 0);
    assert_int_not_equal(world_at(&after, root, "first"), 0);
    assert_int_not_equal(world_at(&after, root, "second"), 0);
    struct make same = {.parent = root, .name = "second"};
    assert_int_equal(stm_update(w.store, &w.change, build_two, &same, NULL), -EEXIST);
    world_check(&w);
    world_close(&w);
}

static int count_tags(void *arg, const struct stm_log_record *r)
{
    if (r->tag_len > 0)
        ++*(int *)arg;
    return 0;
}

static void a_tag_is_kept_with_its_commit(void **state)
{
    uint8_t longest[STM_TAG_MAX + 1] = "request 7";
    struct world w;
    struct make m = {.parent = root, .name = "f"};
    struct stm_log_record r;
    int tags = 0;

    (void)state;
    world_open_mem(&w);
    w.change.tag = stm_slice(longest, STM_TAG_MAX);
    assert_int_equal(stm_update(w.store, &w.change, build_half, &m, NULL), -EDQUOT);
    assert_int_equal(stm_log_each(w.store, 1, count_tags, &tags), 0);
    assert_int_equal(tags, 0);
    assert_int_equal(stm_update(w.store, &w.change, build_make, &m, NULL), 0);
    assert_int_equal(stm_log_get(w.store, stm_store_seq(w.store), &r, NULL, NULL), 0);
    assert_int_equal(r.tag_len, STM_TAG_MAX);
    assert_memory_equal(r.tag, longest, STM_TAG_MAX);
    assert_true(r.items > 0);
    assert_int_equal(stm_log_each(w.store, 1, count_tags, &tags), 0);
    assert_int_equal(tags, 1);
    w.change.tag.len++;
    strcpy(m.name, "g");
    assert_int_equal(stm_update(w.store, &w.change, build_make, &m, NULL), -EINVAL);
    world_close(&w);
}

static void times_never_go_backwards_though_the_clock_does(void **state)
{
    struct world w;
    struct stm_log_record last = {0}, r;

    (void)state;
    world_open_mem(&w);
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        w.clock.ns -= 7000000;
        world_create(&w, root, name);
    }
    for (uint64_t seq = 1; seq <= stm_store_seq(w.store); seq++) {
        assert_int_equal(stm_log_get(w.store, seq, &r, NULL, NULL), 0);
        assert_true(r.recorded_ns >= last.recorded_ns);
        last = r;
    }
    world_close(&w);
}

static void an_engine_that_fails_once_blocks_nobody_afterwards(void **state)
{
    struct world w;
    struct stm_engine *faulty;

    (void)state;
    world_open_mem(&w);
    assert_int_equal(stm_engine_fault_new(w.store->engine, &faulty), 0);
    w.store->engine = faulty;
    uint64_t before = stm_store_seq(w.store);
    stm_engine_fault_arm(faulty, 1, -EIO, false, STM_FAULT_COMMIT);
    assert_int_equal(world_try_create(&w, root, "f", S_IFREG | 0644, NULL), -EIO);
    assert_int_equal(stm_store_seq(w.store), before);
    assert_int_equal(world_find(&w, root, "f"), 0);
    world_create(&w, root, "f");
    assert_int_equal(stm_store_seq(w.store), before + 1);
    world_check(&w);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_in_one_directory_lose_nothing_and_leave_no_hole),
        cmocka_unit_test(threads_in_directories_of_their_own_are_ordered_as_well),
        cmocka_unit_test(a_hot_counter_loses_no_update),
        cmocka_unit_test(a_build_that_changes_nothing_makes_no_commit),
        cmocka_unit_test(a_build_that_fails_writes_nothing),
        cmocka_unit_test(a_transaction_sees_its_own_writes_and_has_one_seq),
        cmocka_unit_test(a_tag_is_kept_with_its_commit),
        cmocka_unit_test(times_never_go_backwards_though_the_clock_does),
        cmocka_unit_test(an_engine_that_fails_once_blocks_nobody_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
