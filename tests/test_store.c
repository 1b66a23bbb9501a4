/* Tests of store.c and layout.c: opening good and bad directories, reopening, failure at every call, random operations on two engines. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "support/cmocka.h"
#include "support/tmpdir.h"
#include "support/world.h"

static const uint64_t root = STM_ROOT_OBJECT;

static int open_with(const char *path, bool create, struct stm_store **ret, char **why)
{
    struct stm_store_options opt = {.path = path, .create = create};
    return stm_store_open(&opt, ret, why);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* Fails with err, and the sentence names the thing. */
static void expect_refusal(const char *path, bool create, int err, const char *word)
{
    struct stm_store *s = NULL;
    char *why = NULL;

    assert_int_equal(open_with(path, create, &s, &why), err);
    assert_non_null(why);
    assert_non_null(strstr(why, path));
    assert_non_null(strstr(why, word));
    free(why);
}

static void what_is_no_store_is_refused_with_a_sentence(void **state)
{
    const char *dir = stm_tmpdir();
    char *store = stm_tmpdir_path(dir, "store"), *file = stm_tmpdir_path(dir, "file"), *marker = stm_tmpdir_path(store, "stemma");
    struct stm_store *s;

    (void)state;
    expect_refusal(store, false, -ENOENT, "stemma init");
    write_file(file, "x");
    expect_refusal(file, false, STM_E_NOT_A_STORE, "not a Stemma store");
    expect_refusal(dir, false, STM_E_NOT_A_STORE, "not a Stemma store");
    expect_refusal(dir, true, -ENOTEMPTY, "not empty");
    expect_refusal(file, true, -ENOTDIR, "not a directory");
    assert_int_equal(open_with(store, true, &s, NULL), 0);
    assert_int_equal(stm_store_close(s), 0);
    expect_refusal(store, true, -EEXIST, "already");
    write_file(marker, "stemma store, format 99\n");
    expect_refusal(store, false, STM_E_NEWER_FORMAT, "newer");
    write_file(marker, "garbage");
    expect_refusal(store, false, STM_E_CORRUPT, "damaged");
    write_file(marker, "stemma store, format 1\n");
    assert_int_equal(open_with(store, false, &s, NULL), 0); /* the control: it was only the marker */
    assert_int_equal(stm_store_close(s), 0);
}

static void a_store_in_use_names_its_process(void **state)
{
    const char *dir = stm_tmpdir();
    char *store = stm_tmpdir_path(dir, "store"), pid[24];
    struct stm_store *s;

    (void)state;
    assert_int_equal(open_with(store, true, &s, NULL), 0);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    expect_refusal(store, false, STM_E_LOCKED, pid);
    assert_int_equal(stm_store_close(s), 0);
    assert_int_equal(open_with(store, false, &s, NULL), 0);
    assert_int_equal(stm_store_close(s), 0);
}

static void everything_is_there_after_reopening(void **state)
{
    const char *dir = stm_tmpdir();
    struct world w;

    (void)state;
    assert_int_equal(world_open_dir(&w, dir, true), 0);
    uint64_t d = world_mkdir(&w, root, "d"), f = world_create(&w, d, "f");
    world_save(&w, f, "one", 0);
    world_save(&w, f, "two", 0);
    uint64_t seq = stm_store_seq(w.store);
    char uuid[33];
    memcpy(uuid, stm_store_uuid(w.store), 33);
    world_close(&w);
    assert_int_equal(world_open_dir(&w, dir, false), 0);
    assert_int_equal(stm_store_seq(w.store), seq);
    assert_string_equal(stm_store_uuid(w.store), uuid);
    assert_int_equal(world_find(&w, root, "d"), d);
    world_expect_chain(&w, world_find(&w, d, "f"), "v1.0.0=one v1.0.1=two");
    uint64_t g = world_create(&w, d, "g");
    assert_true(g > f); /* ids are never used twice */
    world_check(&w);
    world_close(&w);
}

/* One run of a fixed story; every step's failure is reported, never fatal. Returns the first error. */
static int story(struct world *w)
{
    static char large[100000];
    uint64_t d, f, t;
    int err = world_try_create(w, root, "d", S_IFDIR | 0755, &d);

    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * i >> 7);
    if (err == 0)
        err = world_try_create(w, d, "f", S_IFREG | 0644, &f);
    if (err == 0)
        err = world_try_save(w, f, stm_slice_str("one"), 0);
    if (err == 0)
        err = world_try_save(w, f, stm_slice(large, sizeof large), 0);
    if (err == 0)
        err = world_try_create(w, d, "t", S_IFREG | 0644, &t);
    if (err == 0)
        err = world_try_save(w, t, stm_slice_str("tmp"), 0);
    struct stm_rename r = {.from_parent = d, .to_parent = d, .from = {"t", 1}, .to = {"f", 1}, .drop_line = true};
    if (err == 0)
        err = world_try_rename(w, &r);
    if (err == 0)
        err = world_try_unlink(w, d, "f");
    if (err == 0)
        err = world_try_create(w, d, "f", S_IFREG | 0644, &f);
    return err;
}

static void after_a_failure_at_any_call_the_store_is_whole(void **state)
{
    struct stm_engine *faulty;
    struct world w;
    uint64_t calls = 0;
    int err = -EIO;

    (void)state;
    for (uint64_t n = 1; err < 0; n++) {
        world_open_mem(&w);
        assert_int_equal(stm_engine_fault_new(w.store->engine, &faulty), 0);
        w.store->engine = faulty;
        stm_engine_fault_arm(faulty, n, -EIO, false, STM_FAULT_ALL);
        err = story(&w);
        assert_true(err == 0 || err == -EIO);
        calls = stm_engine_fault_count(faulty);
        stm_engine_fault_arm(faulty, 0, 0, false, 0);
        world_check(&w);
        /* and it goes on: whatever was done, a new name can be made */
        world_create(&w, root, "afterwards");
        world_check(&w);
        world_close(&w);
        assert_true(n < 1000);
    }
    assert_true(calls > 30);
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* One random operation; the same seed does the same in any world. Returns its result. */
static int random_operation(struct world *w, uint64_t *seed)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", ".a.swp", "f~"};
    const char *x = names[next(seed) % 7], *y = names[next(seed) % 7];
    char text[64];
    uint64_t f = world_find(w, root, x);

    switch (next(seed) % 8) {
    case 0:
    case 1:
        return world_try_create(w, root, x, S_IFREG | 0644, NULL);
    case 2:
        return world_try_unlink(w, root, x);
    case 3:
        return f ? (int)world_link(w, f, root, "link") * 0 + world_try_unlink(w, root, "link") : -ENOENT;
    case 4: {
        struct stm_rename r = {.from_parent = root,
                               .to_parent = root,
                               .from = stm_slice_str(x),
                               .to = stm_slice_str(y),
                               .drop_line = next(seed) % 2,
                               .exchange = next(seed) % 4 == 0};
        return world_try_rename(w, &r);
    }
    default:
        snprintf(text, sizeof text, "text %llu", (unsigned long long)(next(seed) % 5));
        return f ? world_try_save(w, f, stm_slice_str(text), next(seed) % 16) : -ENOENT;
    }
}

/* The same records, but for the identity and the ids' block: what the engines hold must be equal, pair by pair. */
static void expect_same_records(struct world *a, struct world *b)
{
    for (enum stm_space space = STM_DENTRY; space < STM_SPACES; space++) {
        struct stm_engine *ea = a->store->engine, *eb = b->store->engine;
        struct stm_slice ka, va, kb, vb;
        struct stm_iter *ia, *ib;
        assert_int_equal(ea->ops->iter_new(ea, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &ia), 0);
        assert_int_equal(eb->ops->iter_new(eb, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &ib), 0);
        int ma = ea->ops->iter_seek(ia, stm_slice("", 0)), mb = eb->ops->iter_seek(ib, stm_slice("", 0));
        while (ma > 0 && mb > 0) {
            ea->ops->iter_get(ia, &ka, &va);
            eb->ops->iter_get(ib, &kb, &vb);
            assert_true(stm_slice_eq(ka, kb));
            assert_true(stm_slice_eq(va, vb));
            ma = ea->ops->iter_next(ia);
            mb = eb->ops->iter_next(ib);
        }
        assert_int_equal(ma, mb);
        ea->ops->iter_free(ia);
        eb->ops->iter_free(ib);
    }
}

static void random_operations_give_the_same_store_on_both_engines(void **state)
{
    const char *dir = stm_tmpdir();
    struct world mem, disk;
    const char *given = getenv("STEMMA_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u, s1 = seed, s2 = seed;
    int done = 0;

    (void)state;
    print_message("STEMMA_TEST_SEED=%llu\n", (unsigned long long)seed);
    world_open_mem(&mem);
    assert_int_equal(world_open_dir(&disk, dir, true), 0);
    for (int i = 0; i < 1500; i++) {
        int a = random_operation(&mem, &s1), b = random_operation(&disk, &s2);
        assert_int_equal(a, b);
        done += a == 0;
        if (i % 250 == 0)
            world_check(&mem);
    }
    assert_true(done > 300);
    world_check(&mem);
    world_check(&disk);
    expect_same_records(&mem, &disk);
    world_close(&mem);
    world_close(&disk);
}

static int build_orphan(struct stm_txn *t, void *arg)
{
    struct stm_object o;
    int err = stm_tree_unlink(t, root, stm_slice_str(".x.swp"), true, &o);
    *(uint64_t *)arg = o.id;
    return err;
}

static void an_orphan_is_purged_at_the_next_open(void **state)
{
    const char *dir = stm_tmpdir();
    struct stm_object o;
    struct world w;
    uint64_t id = 0;

    (void)state;
    assert_int_equal(world_open_dir(&w, dir, true), 0);
    uint64_t f = world_create(&w, root, ".x.swp");
    world_save(&w, f, "swap", 0);
    assert_int_equal(stm_update(w.store, &w.change, build_orphan, &id, NULL), 0);
    assert_int_equal(stm_object_get(&w.head, f, &o), 0); /* someone may hold it open */
    world_expect(&w, f, "swap");
    world_close(&w);
    assert_int_equal(world_open_dir(&w, dir, false), 0);
    assert_int_equal(stm_object_get(&w.head, f, &o), -ENOENT);
    world_check(&w);
    world_close(&w);
}

static void view_ids_are_allotted_once_and_kept(void **state)
{
    const char *dir = stm_tmpdir();
    struct world w;
    uint32_t a, b, again;
    uint64_t seq;

    (void)state;
    assert_int_equal(world_open_dir(&w, dir, true), 0);
    assert_int_equal(stm_view_id(w.store, 1, &a), 0);
    assert_int_equal(stm_view_id(w.store, 7, &b), 0);
    assert_int_not_equal(a, b);
    world_close(&w);
    assert_int_equal(world_open_dir(&w, dir, false), 0);
    assert_int_equal(stm_view_id(w.store, 1, &again), 0);
    assert_int_equal(again, a);
    assert_int_equal(stm_view_seq(w.store, b, &seq), 0);
    assert_int_equal(seq, 7);
    assert_int_equal(stm_view_seq(w.store, 999, &seq), -ENOENT);
    world_close(&w);
}

static int build_effective(struct stm_txn *t, void *arg)
{
    return stm_effective_mark(t, root, *(int64_t *)arg);
}

static void a_directorys_moment_is_the_later_of_recorded_and_written(void **state)
{
    struct world w;
    int64_t written = 1000;
    uint64_t imported, later, seq;

    (void)state;
    world_open_mem(&w);
    assert_int_equal(stm_seq_of_dir(w.store, root, written, &seq), -ENOENT); /* no history, and nothing recorded yet */
    assert_int_equal(stm_update(w.store, &w.change, build_effective, &written, &imported), 0);
    world_create(&w, root, "local");
    later = stm_store_seq(w.store);
    assert_int_equal(stm_seq_of_dir(w.store, root, written - 1, &seq), -ENOENT);
    assert_int_equal(stm_seq_of_dir(w.store, root, written, &seq), 0);
    assert_int_equal(seq, imported);
    assert_int_equal(stm_seq_of_dir(w.store, root, w.clock.ns, &seq), 0);
    assert_int_equal(seq, later); /* what became of it since the import */
    world_close(&w);
}

static void moments_become_seqs(void **state)
{
    struct world w;
    int64_t times[30];
    uint64_t seq;

    (void)state;
    world_open_mem(&w);
    uint64_t base = stm_store_seq(w.store);
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        world_create(&w, root, name);
        times[i] = w.clock.ns;
    }
    for (int i = 0; i < 30; i++) {
        assert_int_equal(stm_seq_at_time(w.store, times[i], &seq), 0);
        assert_int_equal(seq, base + 1 + (uint64_t)i);
        assert_int_equal(stm_seq_at_time(w.store, times[i] - 1, &seq), 0);
        assert_int_equal(seq, base + (uint64_t)i);
    }
    assert_int_equal(stm_seq_at_time(w.store, 0, &seq), 0);
    assert_int_equal(seq, 0);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest anywhere[] = {
        cmocka_unit_test(after_a_failure_at_any_call_the_store_is_whole),
        cmocka_unit_test(moments_become_seqs),
        cmocka_unit_test(a_directorys_moment_is_the_later_of_recorded_and_written),
    };
    const struct CMUnitTest on_disk[] = {
        cmocka_unit_test(what_is_no_store_is_refused_with_a_sentence),
        cmocka_unit_test(a_store_in_use_names_its_process),
        cmocka_unit_test(everything_is_there_after_reopening),
        cmocka_unit_test(random_operations_give_the_same_store_on_both_engines),
        cmocka_unit_test(an_orphan_is_purged_at_the_next_open),
        cmocka_unit_test(view_ids_are_allotted_once_and_kept),
    };
    int failed = cmocka_run_group_tests(anywhere, NULL, NULL);

    if (!STM_TSAN) /* RocksDB is not instrumented */
        failed += cmocka_run_group_tests(on_disk, NULL, NULL);
    return failed;
}
