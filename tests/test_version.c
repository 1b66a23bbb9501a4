/* Tests of version.h and save.c: the chain of versions and the rules by which a line moves from object to object. */
#include <stdio.h>
#include <sys/stat.h>

#include "support/cmocka.h"
#include "support/world.h"

static struct world w;
static const uint64_t root = STM_ROOT_OBJECT;

static int setup(void **state)
{
    (void)state;
    world_open_mem(&w);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_check(&w);
    world_close(&w);
    return 0;
}

static void the_first_version_is_1_0_0_and_patches_follow(void **state)
{
    uint64_t f = world_create(&w, root, "word");

    (void)state;
    world_expect(&w, f, NULL);
    world_save(&w, f, "one", 0);
    world_save(&w, f, "two", 0);
    world_save(&w, f, "three", WORLD_MINOR);
    world_save(&w, f, "four", WORLD_MAJOR);
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two v1.1.0=three v2.0.0=four");
    world_expect(&w, f, "four");
}

static void saving_the_newest_bytes_again_makes_no_version(void **state)
{
    uint64_t f = world_create(&w, root, "word");
    int64_t mtime;

    (void)state;
    world_save(&w, f, "one", 0);
    mtime = world_object(&w, f).mtime_ns;
    world_save(&w, f, "one", 0);
    world_expect_chain(&w, f, "v1.0.0=one");
    assert_true(world_object(&w, f).mtime_ns > mtime);
    world_save(&w, f, "two", 0);
    world_save(&w, f, "one", 0); /* going back does make one */
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two v1.0.2=one");
    world_save(&w, f, "one", WORLD_ALWAYS);
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two v1.0.2=one v1.0.3=one");
}

static void an_amended_version_keeps_its_number(void **state)
{
    uint64_t f = world_create(&w, root, "word");

    (void)state;
    world_save(&w, f, "", 0);
    world_save(&w, f, "x", WORLD_AMEND);
    world_save(&w, f, "xy", WORLD_AMEND);
    world_expect_chain(&w, f, "v1.0.0=xy");
    world_save(&w, f, "z", 0);
    world_expect_chain(&w, f, "v1.0.0=xy v1.0.1=z");
}

static void an_amended_version_that_equals_the_one_before_is_taken_back(void **state)
{
    uint64_t f = world_create(&w, root, "word");

    (void)state;
    world_save(&w, f, "same", 0);
    world_save(&w, f, "", 0);
    world_save(&w, f, "same", WORLD_AMEND);
    world_expect_chain(&w, f, "v1.0.0=same");
    world_save(&w, f, "next", 0);
    world_expect_chain(&w, f, "v1.0.0=same v1.0.1=next");
}

static struct stm_save exact(const struct stm_content *c, uint32_t major, uint32_t minor, uint32_t patch)
{
    return (struct stm_save){.content = c, .exact = true, .semver = {major, minor, patch}};
}

struct exact_args {
    uint64_t object;
    struct stm_save save;
};

static int build_exact(struct stm_txn *t, void *arg)
{
    struct exact_args *a = arg;
    struct stm_object o;
    return stm_version_save(t, a->object, &a->save, &o);
}

static void an_exact_number_must_be_newer_than_the_newest(void **state)
{
    uint64_t f = world_create(&w, root, "word");
    struct stm_source src = {.size = 1, .mem = "e"};
    struct stm_content c;

    (void)state;
    world_save(&w, f, "one", 0);
    assert_int_equal(stm_content_put(w.store, &src, &c), 0);
    struct exact_args a = {f, exact(&c, 2, 5, 0)};
    assert_int_equal(stm_update(w.store, &w.change, build_exact, &a, NULL), 0);
    assert_int_equal(stm_update(w.store, &w.change, build_exact, &a, NULL), STM_E_VERSION_EXISTS);
    a.save = exact(&c, 2, 4, 9);
    assert_int_equal(stm_update(w.store, &w.change, build_exact, &a, NULL), STM_E_VERSION_EXISTS);
    stm_content_release(&c);
    world_expect_chain(&w, f, "v1.0.0=one v2.5.0=e");
}

static void a_temporary_file_renamed_over_another_becomes_its_next_version(void **state)
{
    uint64_t f = world_create(&w, root, "word"), tmp;

    (void)state;
    world_save(&w, f, "old", 0);
    tmp = world_create(&w, root, "word.new");
    world_save(&w, tmp, "new", 0);
    uint64_t before = stm_store_seq(w.store);
    world_rename(&w, root, "word.new", "word", true);
    assert_int_equal(world_find(&w, root, "word"), tmp); /* the name has the new inode */
    assert_int_equal(world_find(&w, root, "word.new"), 0);
    world_expect_chain(&w, tmp, "v1.0.0=old v1.0.1=new");
    world_expect(&w, f, "old"); /* whoever holds the replaced file open */
    assert_int_equal(world_object(&w, f).nlink, 0);
    struct stm_view past = stm_view_at(w.store, before);
    assert_int_equal(world_at(&past, root, "word"), f);
    world_expect_at(&past, f, "old");
    world_save(&w, tmp, "newer", 0);
    world_expect_chain(&w, tmp, "v1.0.0=old v1.0.1=new v1.0.2=newer");
}

static void renaming_the_same_bytes_over_a_file_makes_no_version(void **state)
{
    uint64_t f = world_create(&w, root, "word"), tmp = world_create(&w, root, "t");

    (void)state;
    world_save(&w, f, "same", 0);
    world_save(&w, tmp, "same", 0);
    world_rename(&w, root, "t", "word", true);
    world_expect_chain(&w, tmp, "v1.0.0=same");
    world_expect(&w, tmp, "same");
    world_save(&w, tmp, "next", 0);
    world_expect_chain(&w, tmp, "v1.0.0=same v1.0.1=next");
}

static void a_file_with_a_history_keeps_it_in_the_past_when_it_replaces_another(void **state)
{
    uint64_t a = world_create(&w, root, "a"), b = world_create(&w, root, "b");

    (void)state;
    world_save(&w, a, "a1", 0);
    world_save(&w, a, "a2", 0);
    world_save(&w, b, "b1", 0);
    uint64_t before = stm_store_seq(w.store), line = world_object(&w, a).line;
    world_rename(&w, root, "a", "b", false);
    world_expect_chain(&w, a, "v1.0.0=b1 v1.0.1=a2");
    struct stm_view past = stm_view_at(w.store, before);
    world_expect_at(&past, world_at(&past, root, "a"), "a2");
    world_expect_at(&past, world_at(&past, root, "b"), "b1");
    struct stm_version_row row;
    assert_int_equal(stm_version_row(&w.head, line, 0, &row), 0); /* a's own versions are still there */
}

static void creating_a_removed_name_goes_on_with_its_line(void **state)
{
    uint64_t f = world_create(&w, root, "word"), again;
    struct stm_entry gone;

    (void)state;
    world_save(&w, f, "one", 0);
    uint64_t before = stm_store_seq(w.store);
    world_unlink(&w, root, "word");
    assert_int_equal(stm_tree_removed(&w.head, root, stm_slice_str("word"), &gone), 0);
    assert_int_equal(gone.object, f);
    again = world_create(&w, root, "word");
    assert_int_not_equal(again, f);
    world_expect(&w, again, NULL); /* new and empty, whatever the line holds */
    struct stm_view now = stm_view_at(w.store, stm_store_seq(w.store)), past = stm_view_at(w.store, before);
    world_expect_at(&now, again, NULL);
    world_expect_at(&past, world_at(&past, root, "word"), "one");
    world_save(&w, again, "two", 0);
    world_expect_chain(&w, again, "v1.0.0=one v1.0.1=two");
    assert_int_equal(stm_tree_removed(&w.head, root, stm_slice_str("word"), &gone), -ENOENT);
    world_expect(&w, f, "one");
}

static void recreating_with_the_same_bytes_makes_no_version(void **state)
{
    uint64_t f = world_create(&w, root, "word");

    (void)state;
    world_save(&w, f, "one", 0);
    world_unlink(&w, root, "word");
    f = world_create(&w, root, "word");
    world_save(&w, f, "one", 0);
    world_expect(&w, f, "one");
    world_expect_chain(&w, f, "v1.0.0=one");
}

static void a_name_that_went_away_by_rename_starts_a_new_line(void **state)
{
    uint64_t f = world_create(&w, root, "word"), other;

    (void)state;
    world_save(&w, f, "one", 0);
    world_rename(&w, root, "word", "elsewhere", false);
    other = world_create(&w, root, "word");
    world_save(&w, other, "new", 0);
    world_expect_chain(&w, other, "v1.0.0=new");
    world_expect_chain(&w, f, "v1.0.0=one");
}

static void a_replaced_file_with_other_links_goes_on_with_a_forked_line(void **state)
{
    uint64_t f = world_create(&w, root, "word"), tmp;

    (void)state;
    world_save(&w, f, "one", 0);
    world_save(&w, f, "two", 0);
    world_link(&w, f, root, "alias");
    tmp = world_create(&w, root, "t");
    world_save(&w, tmp, "three", 0);
    uint64_t before = stm_store_seq(w.store);
    world_rename(&w, root, "t", "word", true);
    assert_int_equal(world_find(&w, root, "alias"), f);
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two"); /* inherited, then its own */
    world_save(&w, f, "alias goes on", 0);
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two v1.0.2=alias goes on");
    world_expect_chain(&w, tmp, "v1.0.0=one v1.0.1=two v1.0.2=three");
    struct stm_view past = stm_view_at(w.store, before);
    world_expect_at(&past, f, "two");
}

static void exchange_leaves_lines_with_their_objects(void **state)
{
    uint64_t a = world_create(&w, root, "a"), b = world_create(&w, root, "b");
    struct stm_rename r = {.from_parent = root, .to_parent = root, .from = {"a", 1}, .to = {"b", 1}, .exchange = true};

    (void)state;
    world_save(&w, a, "A", 0);
    world_save(&w, b, "B", 0);
    assert_int_equal(world_try_rename(&w, &r), 0);
    assert_int_equal(world_find(&w, root, "a"), b);
    assert_int_equal(world_find(&w, root, "b"), a);
    world_expect_chain(&w, a, "v1.0.0=A");
    world_expect_chain(&w, b, "v1.0.0=B");
}

static void junk_keeps_one_version_and_leaves_nothing_behind(void **state)
{
    uint64_t f = world_create(&w, root, ".word.swp");
    struct stm_object o;

    (void)state;
    world_save(&w, f, "one", 0);
    world_save(&w, f, "two", 0);
    world_expect_chain(&w, f, "v1.0.0=two");
    world_unlink(&w, root, ".word.swp");
    assert_int_equal(stm_object_get(&w.head, f, &o), -ENOENT);
}

static void junk_renamed_to_a_real_name_becomes_real(void **state)
{
    uint64_t f = world_create(&w, root, ".word.a1B2c3"), g = world_create(&w, root, "old");

    (void)state;
    world_save(&w, g, "old text", 0);
    world_save(&w, f, "synced", 0);
    world_rename(&w, root, ".word.a1B2c3", "old", false);
    world_expect_chain(&w, f, "v1.0.0=old text v1.0.1=synced");
    world_save(&w, f, "more", 0);
    world_expect_chain(&w, f, "v1.0.0=old text v1.0.1=synced v1.0.2=more");
}

struct replace_args {
    uint64_t nameless, replaced;
    struct stm_save save;
    struct stm_object o;
};

static int build_nameless(struct stm_txn *t, void *arg)
{
    struct stm_new n = {.mode = S_IFREG | 0644};
    return stm_tree_create(t, 0, stm_slice_str("word"), &n, arg);
}

static int build_replace(struct stm_txn *t, void *arg)
{
    struct replace_args *a = arg;
    return stm_tree_replace(t, a->nameless, root, stm_slice_str("word"), &a->save, &a->replaced, &a->o);
}

static void a_nameless_file_replaces_with_the_asked_number(void **state)
{
    uint64_t f = world_create(&w, root, "word");
    struct stm_source src = {.size = 3, .mem = "new"};
    struct stm_content c;
    struct stm_object o;

    (void)state;
    world_save(&w, f, "old", 0);
    assert_int_equal(stm_update(w.store, &w.change, build_nameless, &o, NULL), 0);
    assert_int_equal(stm_content_put(w.store, &src, &c), 0);
    struct replace_args a = {.nameless = o.id, .save = {.content = &c, .always = true, .bump = STM_BUMP_MINOR}};
    assert_int_equal(stm_update(w.store, &w.change, build_replace, &a, NULL), 0);
    stm_content_release(&c);
    assert_int_equal(a.replaced, f);
    assert_int_equal(world_find(&w, root, "word"), o.id);
    world_expect_chain(&w, o.id, "v1.0.0=old v1.1.0=new");
}

static void a_file_recreated_empty_was_empty_until_its_old_bytes_came_back(void **state)
{
    uint64_t f = world_create(&w, root, "word");

    (void)state;
    world_save(&w, f, "one", 0);
    world_unlink(&w, root, "word");
    f = world_create(&w, root, "word");
    struct stm_view empty = stm_view_at(w.store, stm_store_seq(w.store));
    world_save(&w, f, "one", 0);
    struct stm_view full = stm_view_at(w.store, stm_store_seq(w.store));
    world_save(&w, f, "two", 0);
    world_expect_at(&empty, f, NULL);
    world_expect_at(&full, f, "one");
    world_expect(&w, f, "two");
}

static void a_fork_that_began_empty_can_get_the_inherited_bytes(void **state)
{
    uint64_t f = world_create(&w, root, "word"), tmp;

    (void)state;
    world_save(&w, f, "one", 0);
    world_unlink(&w, root, "word");
    f = world_create(&w, root, "word");
    world_link(&w, f, root, "alias");
    tmp = world_create(&w, root, "t");
    world_save(&w, tmp, "new", 0);
    world_rename(&w, root, "t", "word", true);
    world_save(&w, f, "one", 0);
    world_expect(&w, f, "one");
    world_expect_chain(&w, f, "v1.0.0=one");
    world_expect_chain(&w, tmp, "v1.0.0=one v1.0.1=new");
    world_save(&w, f, "more", 0);
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=more");
}

static void a_file_whose_line_went_on_cannot_be_saved(void **state)
{
    uint64_t f = world_create(&w, root, "word"), tmp = world_create(&w, root, "t");

    (void)state;
    world_save(&w, f, "old", 0);
    world_save(&w, tmp, "new", 0);
    world_rename(&w, root, "t", "word", true);
    assert_int_equal(world_try_save(&w, f, stm_slice_str("late"), 0), -ESTALE);
    world_expect_chain(&w, tmp, "v1.0.0=old v1.0.1=new");
}

static void junk_exchanged_with_a_real_name_becomes_real(void **state)
{
    uint64_t f = world_create(&w, root, "word"), junk = world_create(&w, root, ".word.swp");
    struct stm_rename r = {.from_parent = root, .to_parent = root, .from = {".word.swp", 9}, .to = {"word", 4}, .exchange = true};

    (void)state;
    world_save(&w, f, "one", 0);
    world_save(&w, junk, "two", 0);
    assert_int_equal(world_try_rename(&w, &r), 0);
    world_save(&w, junk, "three", 0);
    world_expect_chain(&w, junk, "v1.0.0=two v1.0.1=three");
    struct stm_view past = stm_view_at(w.store, stm_store_seq(w.store));
    world_unlink(&w, root, "word");
    world_expect_at(&past, world_at(&past, root, "word"), "three");
}

static void a_linked_name_has_the_linked_line_and_not_one_that_waited(void **state)
{
    uint64_t f = world_create(&w, root, "word"), g = world_create(&w, root, "other");

    (void)state;
    world_save(&w, f, "one", 0);
    world_save(&w, g, "elsewhere", 0);
    world_unlink(&w, root, "word");
    world_link(&w, g, root, "word");
    world_unlink(&w, root, "word");
    f = world_create(&w, root, "word");
    world_save(&w, f, "new", 0);
    world_expect_chain(&w, f, "v1.0.0=new");
}

static void a_long_chain_of_forks_keeps_all_its_versions(void **state)
{
    uint64_t f = world_create(&w, root, "template"), tmp;
    char text[16];

    (void)state;
    world_save(&w, f, "first", 0);
    for (int i = 0; i < 150; i++) { /* edited, linked to its place, and replaced there */
        snprintf(text, sizeof text, "edit %d", i / 2);
        world_save(&w, f, text, 0);
        world_link(&w, f, root, "place");
        tmp = world_create(&w, root, "t");
        world_save(&w, tmp, "changed", 0);
        world_rename(&w, root, "t", "place", true);
        world_unlink(&w, root, "place");
    }
    struct stm_object o = world_object(&w, f);
    struct stm_version_row row;
    assert_int_equal(o.tip.ordinal, 75);
    for (uint32_t i = 0; i <= o.tip.ordinal; i++)
        assert_int_equal(stm_version_row(&w.head, o.line, i, &row), 0);
}

struct both {
    uint64_t object;
    struct stm_content c;
};

static int build_save_and_replace(struct stm_txn *t, void *arg)
{
    struct both *b = arg;
    struct stm_save save = {.content = &b->c};
    struct stm_rename r = {.from_parent = root, .to_parent = root, .from = {"t", 1}, .to = {"word", 4}};
    struct stm_object o;
    int err = stm_version_save(t, b->object, &save, &o);
    return err < 0 ? err : stm_tree_rename(t, &r);
}

static void a_line_has_one_version_of_a_commit(void **state)
{
    uint64_t f = world_create(&w, root, "word"), tmp = world_create(&w, root, "t");
    struct stm_source src = {.size = 4, .mem = "lost"};
    struct both b = {.object = f};

    (void)state;
    world_save(&w, f, "one", 0);
    world_save(&w, tmp, "two", 0);
    assert_int_equal(stm_content_put(w.store, &src, &b.c), 0);
    assert_int_equal(stm_update(w.store, &w.change, build_save_and_replace, &b, NULL), 0);
    stm_content_release(&b.c);
    world_expect_chain(&w, tmp, "v1.0.0=one v1.0.1=two");
    world_expect(&w, f, "lost"); /* whoever holds it open */
}

static void expect_selected(uint64_t f, const char *text, const char *want)
{
    struct stm_object o = world_object(&w, f);
    struct stm_selector sel;
    struct stm_version_row row;
    char number[STM_SEMVER_TEXT] = "none";

    assert_int_equal(stm_selector_parse(stm_slice_str(text), &sel), 0);
    if (stm_version_find(&w.head, o.line, o.tip.ordinal, &sel, &row) == 0)
        stm_semver_format(row.semver, number);
    assert_string_equal(number, want);
}

static void selectors_find_what_they_name(void **state)
{
    uint64_t f = world_create(&w, root, "word");

    (void)state;
    world_save(&w, f, "a", 0);           /* v1.0.0 */
    world_save(&w, f, "b", 0);           /* v1.0.1 */
    world_save(&w, f, "c", WORLD_MINOR); /* v1.1.0 */
    world_save(&w, f, "d", 0);           /* v1.1.1 */
    w.clock.ns += INT64_C(86400000000000) * 30;
    world_save(&w, f, "e", WORLD_MAJOR); /* v2.0.0 */
    expect_selected(f, "latest", "v2.0.0");
    expect_selected(f, "v1", "v1.1.1");
    expect_selected(f, "v1.0", "v1.0.1");
    expect_selected(f, "v1.1", "v1.1.1");
    expect_selected(f, "v1.2", "none");
    expect_selected(f, "v3", "none");
    expect_selected(f, "v1.1.0", "v1.1.0");
    expect_selected(f, "v1.0.2", "none");
    expect_selected(f, "~0", "v2.0.0");
    expect_selected(f, "~2", "v1.1.0");
    expect_selected(f, "~4", "v1.0.0");
    expect_selected(f, "~5", "none");
    expect_selected(f, "2023-11-13", "none");
    expect_selected(f, "2023-11-14", "v1.1.1");
    expect_selected(f, "2099-01-01", "v2.0.0");
    struct stm_hash h = stm_hash_of(stm_slice_str("b"));
    char hex[33], text[40];
    stm_hash_format(&h, hex);
    snprintf(text, sizeof text, "=%.8s", hex);
    expect_selected(f, text, "v1.0.1");
}

static int set_attr(struct stm_txn *t, void *arg)
{
    return stm_xattr_set(t, *(uint64_t *)arg, stm_slice_str("user.lang"), stm_slice_str("en"), 0);
}

static int see_attr(void *arg, struct stm_slice name, struct stm_slice value)
{
    assert_int_equal(name.len, 9);
    assert_memory_equal(value.data, "en", 2);
    ++*(int *)arg;
    return 0;
}

static void user_attributes_travel_with_the_version(void **state)
{
    uint64_t f = world_create(&w, root, "word");
    struct stm_version v;
    int seen = 0;

    (void)state;
    assert_int_equal(stm_update(w.store, &w.change, set_attr, &f, NULL), 0);
    w.change.author = "A. Writer <a@example.org>";
    w.change.message = "why";
    world_save(&w, f, "text", 0);
    w.change.author = w.change.message = NULL;
    assert_int_equal(stm_version_get(&w.head, f, 0, &v), 0);
    assert_int_equal(stm_version_xattrs(&v, see_attr, &seen), 0);
    assert_int_equal(seen, 1);
    assert_true(stm_slice_eq(stm_version_message(&v), stm_slice_str("why")));
    assert_true(stm_slice_eq(stm_version_author(&v), stm_slice_str("A. Writer <a@example.org>")));
    stm_version_release(&v);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_first_version_is_1_0_0_and_patches_follow),
        T(saving_the_newest_bytes_again_makes_no_version),
        T(an_amended_version_keeps_its_number),
        T(an_amended_version_that_equals_the_one_before_is_taken_back),
        T(an_exact_number_must_be_newer_than_the_newest),
        T(a_temporary_file_renamed_over_another_becomes_its_next_version),
        T(renaming_the_same_bytes_over_a_file_makes_no_version),
        T(a_file_with_a_history_keeps_it_in_the_past_when_it_replaces_another),
        T(creating_a_removed_name_goes_on_with_its_line),
        T(recreating_with_the_same_bytes_makes_no_version),
        T(a_name_that_went_away_by_rename_starts_a_new_line),
        T(a_replaced_file_with_other_links_goes_on_with_a_forked_line),
        T(exchange_leaves_lines_with_their_objects),
        T(junk_keeps_one_version_and_leaves_nothing_behind),
        T(junk_renamed_to_a_real_name_becomes_real),
        T(a_nameless_file_replaces_with_the_asked_number),
        T(a_file_recreated_empty_was_empty_until_its_old_bytes_came_back),
        T(a_fork_that_began_empty_can_get_the_inherited_bytes),
        T(a_file_whose_line_went_on_cannot_be_saved),
        T(junk_exchanged_with_a_real_name_becomes_real),
        T(a_linked_name_has_the_linked_line_and_not_one_that_waited),
        T(a_long_chain_of_forks_keeps_all_its_versions),
        T(a_line_has_one_version_of_a_commit),
        T(selectors_find_what_they_name),
        T(user_attributes_travel_with_the_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
