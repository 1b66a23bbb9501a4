/* Tests of bulk.h: batches, repeated imports, commits of a source's own, removals, failures, and what the kernel is told. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine.h"
#include "state.h"
#include "stemma/bulk.h"
#include "support/cmocka.h"
#include "support/world.h"

static struct world w;
static struct stm_bulk *bulk;
static struct stm_sink sink;
static struct stm_bulk_counts counts;

static void open_bulk(const struct stm_bulk_options *opt)
{
    stm_bulk_free(bulk);
    bulk = NULL;
    assert_int_equal(stm_bulk_new(w.store, opt, &bulk), 0);
    sink = stm_bulk_sink(bulk);
}

static int setup(void **state)
{
    (void)state;
    world_open_mem(&w);
    open_bulk(&(struct stm_bulk_options){.target = "/t", .uid = 7, .gid = 8, .batch_items = 3});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stm_bulk_free(bulk);
    bulk = NULL;
    world_check(&w);
    world_close(&w);
    return 0;
}

static int try_put(const char *path, const char *content)
{
    struct stm_source src = {.size = strlen(content), .mem = content};

    return sink.put(sink.arg, &(struct stm_bulk_item){.kind = STM_BULK_FILE, .path = stm_slice_str(path), .source = &src});
}

static void put(const char *path, const char *content)
{
    assert_int_equal(try_put(path, content), 0);
}

static void put_item(const struct stm_bulk_item *item)
{
    assert_int_equal(sink.put(sink.arg, item), 0);
}

static void put_removal(const char *path)
{
    put_item(&(struct stm_bulk_item){.kind = STM_BULK_REMOVE, .path = stm_slice_str(path)});
}

static int begin(const char *id)
{
    return sink.begin(sink.arg,
                      &(struct stm_bulk_commit){.id = stm_slice_str(id), .author = "A <a@b>", .message = "why", .effective_ns = 1000});
}

static void commit(void)
{
    assert_int_equal(sink.commit(sink.arg), 0);
}

static void finish(void)
{
    assert_int_equal(sink.finish(sink.arg, 0, &counts), 0);
}

static uint64_t find(const char *path)
{
    uint64_t id;
    int err = stm_tree_resolve(&w.head, stm_slice_str(path), &id);

    assert_true(err == 0 || err == -ENOENT);
    return err == 0 ? id : 0;
}

static void expect(const char *path, const char *content)
{
    uint64_t id = find(path);

    if (!content)
        assert_int_equal(id, 0);
    else if (id == 0)
        fail_msg("'%s' is not there", path);
    else
        world_expect(&w, id, content);
}

static void what_is_put_is_there_after_finish_with_the_directories_it_needs(void **state)
{
    (void)state;
    put("a", "1");
    put("d/e/f", "2");
    assert_int_equal(find("/t"), 0); /* the batch is not full */
    put("d/g", "3");
    expect("/t/d/g", "3");
    put("d/e/h", "");
    finish();
    expect("/t/a", "1");
    expect("/t/d/e/f", "2");
    expect("/t/d/e/h", "");
    assert_int_equal(world_object(&w, find("/t/d/e")).mode, S_IFDIR | 0755);
    assert_int_equal(world_object(&w, find("/t/a")).mode, S_IFREG | 0644);
    assert_int_equal(world_object(&w, find("/t/a")).uid, 7);
    assert_int_equal(counts.files, 4);
    assert_int_equal(counts.versions, 4);
    assert_int_equal(counts.commits, 2);
    assert_int_equal(counts.bytes, 3);
}

static void importing_twice_changes_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        uint64_t seq = stm_store_seq(w.store);
        put("a", "1");
        put("b", "2");
        put_item(&(struct stm_bulk_item){.kind = STM_BULK_SYMLINK, .path = stm_slice_str("l"), .target = stm_slice_str("a")});
        put_item(&(struct stm_bulk_item){.kind = STM_BULK_LINK, .path = stm_slice_str("h"), .target = stm_slice_str("b")});
        put_item(&(struct stm_bulk_item){.kind = STM_BULK_SPECIAL, .path = stm_slice_str("p"), .type = S_IFIFO});
        put_item(&(struct stm_bulk_item){.kind = STM_BULK_DIR, .path = stm_slice_str("d"), .attr = {.valid = STM_SET_MODE, .mode = 0700}});
        finish();
        assert_int_equal(counts.unchanged, i ? 2 : 0);
        assert_int_equal(counts.others, i ? 0 : 4);
        assert_true(i ? stm_store_seq(w.store) == seq : stm_store_seq(w.store) > seq);
        open_bulk(&(struct stm_bulk_options){.target = "/t", .uid = 7, .gid = 8, .batch_items = 3});
    }
    world_expect_chain(&w, find("/t/a"), "v1.0.0=1");
}

static void a_changed_file_gets_its_next_version(void **state)
{
    (void)state;
    put("a", "1");
    put("b", "2");
    finish();
    uint64_t a = find("/t/a");
    put("a", "one");
    put("b", "2");
    finish();
    assert_int_equal(find("/t/a"), a);
    world_expect_chain(&w, a, "v1.0.0=1 v1.0.1=one");
    world_expect_chain(&w, find("/t/b"), "v1.0.0=2");
}

static void attributes_are_given_and_put_right(void **state)
{
    struct stm_bulk_xattr x = {stm_slice_str("user.k"), stm_slice_str("v")};
    struct stm_source src = {.size = 1, .mem = "1"};
    struct stm_bulk_item item = {.kind = STM_BULK_FILE,
                                 .path = stm_slice_str("f"),
                                 .source = &src,
                                 .attr = {.valid = STM_SET_MODE | STM_SET_UID | STM_SET_GID | STM_SET_MTIME | STM_SET_ATIME,
                                          .mode = 04750,
                                          .uid = 1,
                                          .gid = 2,
                                          .mtime_ns = 3000000001,
                                          .atime_ns = -5,
                                          .xattrs = &x,
                                          .xattr_count = 1}};
    struct stm_buf value = STM_BUF_INIT;

    (void)state;
    put_item(&item);
    finish();
    struct stm_object o = world_object(&w, find("/t/f"));
    assert_int_equal(o.mode, S_IFREG | 04750);
    assert_int_equal(o.uid, 1);
    assert_int_equal(o.gid, 2);
    assert_int_equal(o.mtime_ns, 3000000001);
    assert_int_equal(o.atime_ns, -5);
    assert_int_equal(stm_xattr_get(&w.head, o.id, x.name, &value), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&value), x.value));
    stm_buf_release(&value);
    item.attr.mode = 0600;
    item.attr.mtime_ns = 4;
    put_item(&item);
    finish();
    o = world_object(&w, o.id);
    assert_int_equal(o.mode, S_IFREG | 0600);
    assert_int_equal(o.mtime_ns, 4);
    world_expect_chain(&w, o.id, "v1.0.0=1");
}

static void links_and_symlinks_replace_what_is_no_directory(void **state)
{
    struct stm_buf target = STM_BUF_INIT;

    (void)state;
    put("a", "1");
    put("b", "2");
    put("c", "3");
    put_item(&(struct stm_bulk_item){.kind = STM_BULK_SYMLINK, .path = stm_slice_str("b"), .target = stm_slice_str("x")});
    put_item(&(struct stm_bulk_item){.kind = STM_BULK_LINK, .path = stm_slice_str("c"), .target = stm_slice_str("a")});
    finish();
    assert_int_equal(stm_object_target(&w.head, find("/t/b"), &target), 0);
    assert_string_equal(target.data, "x");
    stm_buf_release(&target);
    assert_int_equal(find("/t/c"), find("/t/a"));
    assert_int_equal(world_object(&w, find("/t/a")).nlink, 2);
    put("b", "file again");
    finish();
    expect("/t/b", "file again");
}

static void a_directory_in_the_way_is_an_error_that_names_the_place(void **state)
{
    (void)state;
    put("d/f", "1");
    put("g", "2");
    finish();
    put("d", "no");
    assert_int_equal(sink.finish(sink.arg, 0, &counts), -EISDIR);
    assert_string_equal(sink.where(sink.arg), "t/d");
    open_bulk(&(struct stm_bulk_options){.target = "//t/"});
    put("g/h", "no");
    assert_int_equal(sink.finish(sink.arg, 0, &counts), -ENOTDIR);
    assert_string_equal(sink.where(sink.arg), "t/g/h");
    expect("/t/d/f", "1");
    expect("/t/g", "2");
    open_bulk(&(struct stm_bulk_options){.target = ""});
    struct stm_bulk *other = NULL;
    assert_int_equal(stm_bulk_new(w.store, &(struct stm_bulk_options){.target = "/t/g"}, &other), -ENOTDIR);
    assert_int_equal(stm_bulk_new(w.store, &(struct stm_bulk_options){.target = "/t/../x"}, &other), STM_E_BAD_NAME);
}

static void names_that_cannot_be_are_refused_and_the_rest_goes_on(void **state)
{
    char longest[STM_NAME_MAX + 2];
    static const char *const bad[] = {"", ".", "a/../b", "/a", "a/", "a//b"};

    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[STM_NAME_MAX + 1] = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(try_put(bad[i], "no"), STM_E_BAD_NAME);
    assert_int_equal(try_put(longest, "no"), -ENAMETOOLONG);
    put(longest + 1, "yes");
    finish();
    assert_int_equal(counts.files, 1);
}

static int fail_read(void *arg, uint64_t off, void *buf, size_t len)
{
    (void)arg, (void)off, (void)buf, (void)len;
    return -EACCES;
}

static void a_source_that_fails_drops_only_its_file(void **state)
{
    struct stm_source src = {.size = 100000, .read = fail_read};

    (void)state;
    put("a", "1");
    assert_int_equal(sink.put(sink.arg, &(struct stm_bulk_item){.kind = STM_BULK_FILE, .path = stm_slice_str("b"), .source = &src}),
                     -EACCES);
    put("c", "3");
    finish();
    expect("/t/a", "1");
    expect("/t/b", NULL);
    expect("/t/c", "3");
}

static void a_commit_of_the_source_is_one_commit_with_its_author_and_date(void **state)
{
    char name[16];
    struct stm_version v;
    struct stm_object o;

    (void)state;
    uint64_t before = stm_store_seq(w.store);
    assert_int_equal(begin("one"), 0);
    for (int i = 0; i < 10; i++) { /* more than a batch */
        snprintf(name, sizeof name, "f%d", i);
        put(name, name);
    }
    assert_int_equal(find("/t"), 0);
    commit();
    finish();
    assert_int_equal(counts.commits, 1);
    o = world_object(&w, find("/t/f7"));
    assert_int_equal(stm_version_at(&w.head, &o, &v), 0);
    assert_true(v.row.seq > before);
    assert_int_equal(v.effective_ns, 1000);
    assert_true(stm_slice_eq(stm_version_author(&v), stm_slice_str("A <a@b>")));
    assert_true(stm_slice_eq(stm_version_message(&v), stm_slice_str("why")));
    uint64_t seq;
    assert_int_equal(stm_seq_at_effective(w.store, find("/t"), 5000, &seq), 0);
    assert_int_equal(seq, v.row.seq);
    stm_version_release(&v);
}

static void commits_that_the_target_has_are_not_made_again(void **state)
{
    (void)state;
    assert_int_equal(begin("one"), 0);
    put("a", "1");
    commit();
    finish();
    open_bulk(&(struct stm_bulk_options){.target = "/t"});
    assert_int_equal(begin("zero"), 1); /* comes before the remembered one */
    put("a", "0");
    commit();
    assert_int_equal(begin("one"), 1);
    put("a", "1");
    commit();
    assert_int_equal(begin("two"), 0);
    put("a", "2");
    commit();
    finish();
    world_expect_chain(&w, find("/t/a"), "v1.0.0=1 v1.0.1=2");
    open_bulk(&(struct stm_bulk_options){.target = "/t"});
    assert_int_equal(begin("other"), 1);
    put("a", "3");
    commit();
    assert_int_equal(sink.finish(sink.arg, 0, &counts), -ESTALE);
    world_expect_chain(&w, find("/t/a"), "v1.0.0=1 v1.0.1=2");
}

static void removing_takes_the_directories_that_end_up_empty(void **state)
{
    (void)state;
    put("a/b/c/f", "1");
    put("a/g", "2");
    put("h", "3");
    finish();
    uint64_t a = find("/t/a");
    put_removal("a/b/c/f");
    put_removal("never/was");
    put_removal("h/never");
    finish();
    assert_int_equal(counts.removed, 1);
    expect("/t/a/b", NULL);
    put_removal("a/g");
    put("a/new", "4"); /* so that it is not empty at the end */
    finish();
    assert_int_equal(find("/t/a"), a);
    put_removal("a/new");
    put_removal("h");
    finish();
    expect("/t/a", NULL);
    assert_int_not_equal(find("/t"), 0);
}

static void a_file_and_a_directory_can_change_places_in_one_commit(void **state)
{
    (void)state;
    assert_int_equal(begin("1"), 0);
    put("x", "file");
    put("d/e/f", "deep");
    commit();
    assert_int_equal(begin("2"), 0);
    put("x/y", "now below");
    put_removal("x");
    put("d", "now a file");
    put_removal("d/e/f");
    commit();
    finish();
    expect("/t/x/y", "now below");
    expect("/t/d", "now a file");
}

static void a_failing_commit_leaves_the_batches_before_it(void **state)
{
    struct stm_engine *faulty;
    char name[32];

    (void)state;
    assert_int_equal(stm_engine_fault_new(w.store->engine, &faulty), 0);
    w.store->engine = faulty;
    for (uint64_t n = 1; n <= 4; n++) {
        snprintf(name, sizeof name, "/n%d", (int)n);
        open_bulk(&(struct stm_bulk_options){.target = name, .batch_items = 2});
        put("warm", "up"); /* ids are taken before the commits are counted */
        finish();
        stm_engine_fault_arm(faulty, n, -ENOSPC, false, STM_FAULT_COMMIT);
        int err = 0, done = 0;
        for (int i = 0; err == 0 && i < 8; i++, done++) {
            snprintf(name, sizeof name, "f%d", i);
            err = try_put(name, "x");
        }
        stm_engine_fault_arm(faulty, 0, 0, false, 0);
        assert_int_equal(err, -ENOSPC);
        assert_int_equal(done, 2 * n);
        for (int i = 0; i < 8; i++) {
            snprintf(name, sizeof name, "/n%d/f%d", (int)n, i);
            expect(name, i < 2 * ((int)n - 1) ? "x" : NULL);
        }
    }
}

/* An apply that remembers what it was told, and may do something behind the loader's back first. */
static struct stm_bulk_touched told[64];
static char told_names[64][32];
static size_t told_count;
static void (*meanwhile)(void);

static int apply(void *arg, const struct stm_bulk_touched *touched, size_t count, int (*run)(void *run_arg), void *run_arg)
{
    (void)arg;
    assert_true(count <= 64);
    told_count = count;
    for (size_t i = 0; i < count; i++) {
        told[i] = touched[i];
        snprintf(told_names[i], 32, "%.*s", (int)touched[i].name.len, (const char *)touched[i].name.data);
    }
    void (*first)(void) = meanwhile;
    meanwhile = NULL;
    if (first)
        first();
    return run(run_arg);
}

static bool was_told(uint64_t parent, const char *name, uint64_t object)
{
    for (size_t i = 0; i < told_count; i++)
        if (told[i].parent == parent && told[i].object == object && strcmp(told_names[i], name) == 0)
            return true;
    return false;
}

static void open_applied(void)
{
    open_bulk(&(struct stm_bulk_options){.target = "/t", .apply = apply});
}

static void the_kernel_is_told_what_is_going_to_change(void **state)
{
    (void)state;
    open_applied();
    put("a/f", "1");
    put("g", "2");
    finish();
    assert_true(was_told(0, "", STM_ROOT_OBJECT));
    put("a/f", "changed");
    put("a/new", "3");
    put_removal("g");
    finish();
    assert_true(was_told(find("/t/a"), "f", find("/t/a/f")));
    assert_true(was_told(0, "", find("/t/a")));
    assert_true(was_told(0, "", find("/t")));
    assert_false(was_told(find("/t/a"), "new", 0));
    put_removal("a/f");
    put_removal("a/new");
    uint64_t a = find("/t/a");
    finish();
    assert_true(was_told(find("/t"), "a", a)); /* it was empty then */
}

static void the_kernel_is_not_bothered_when_nothing_changes(void **state)
{
    (void)state;
    open_applied();
    put("a", "1");
    put("b", "2");
    finish();
    told_count = 0;
    put("a", "1");
    put("b", "2");
    finish();
    assert_int_equal(told_count, 0);
    assert_int_equal(counts.unchanged, 2);
    put("a", "1");
    put("b", "3");
    finish();
    assert_true(told_count > 0);
    expect("/t/b", "3");
}

static uint64_t intruder;

static void intrude(void)
{
    intruder = world_create(&w, find("/t"), "new");
    world_save(&w, intruder, "mine", 0);
}

static void what_appears_between_telling_and_committing_is_told_too(void **state)
{
    (void)state;
    open_applied();
    put("a", "1");
    finish();
    meanwhile = intrude;
    put("new", "2");
    finish();
    assert_true(was_told(find("/t"), "new", intruder));
    world_expect_chain(&w, intruder, "v1.0.0=mine v1.0.1=2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_there_after_finish_with_the_directories_it_needs, setup, teardown),
        cmocka_unit_test_setup_teardown(importing_twice_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_file_gets_its_next_version, setup, teardown),
        cmocka_unit_test_setup_teardown(attributes_are_given_and_put_right, setup, teardown),
        cmocka_unit_test_setup_teardown(links_and_symlinks_replace_what_is_no_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_in_the_way_is_an_error_that_names_the_place, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_cannot_be_are_refused_and_the_rest_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_that_fails_drops_only_its_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_of_the_source_is_one_commit_with_its_author_and_date, setup, teardown),
        cmocka_unit_test_setup_teardown(commits_that_the_target_has_are_not_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(removing_takes_the_directories_that_end_up_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_and_a_directory_can_change_places_in_one_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_commit_leaves_the_batches_before_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_kernel_is_told_what_is_going_to_change, setup, teardown),
        cmocka_unit_test_setup_teardown(the_kernel_is_not_bothered_when_nothing_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_appears_between_telling_and_committing_is_told_too, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
