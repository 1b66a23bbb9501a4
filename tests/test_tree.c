/* Tests of tree.h: POSIX rules of names, listings with stable cookies, and past views, without a mount. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "support/cmocka.h"
#include "support/world.h"
#include "tree_inner.h"

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

static void names_are_checked(void **state)
{
    char longest[257];

    (void)state;
    memset(longest, 'n', 256);
    longest[256] = 0;
    assert_int_equal(world_try_create(&w, root, longest, S_IFREG, NULL), -ENAMETOOLONG);
    longest[255] = 0;
    assert_int_equal(world_try_create(&w, root, longest, S_IFREG, NULL), 0);
    assert_int_equal(world_try_create(&w, root, "", S_IFREG, NULL), STM_E_BAD_NAME);
    assert_int_equal(world_try_create(&w, root, "..", S_IFREG, NULL), STM_E_BAD_NAME);
    assert_int_equal(world_try_create(&w, root, "a/b", S_IFREG, NULL), STM_E_BAD_NAME);
}

static void errors_of_creating_and_removing_are_posix(void **state)
{
    uint64_t f = world_create(&w, root, "f"), d = world_mkdir(&w, root, "d");

    (void)state;
    assert_int_equal(world_try_create(&w, root, "f", S_IFREG, NULL), -EEXIST);
    assert_int_equal(world_try_create(&w, f, "x", S_IFREG, NULL), -ENOTDIR);
    assert_int_equal(world_try_create(&w, 999, "x", S_IFREG, NULL), -ENOENT);
    assert_int_equal(world_try_unlink(&w, root, "d"), -EISDIR);
    assert_int_equal(world_try_unlink(&w, root, "nothing"), -ENOENT);
    assert_int_equal(world_object(&w, d).nlink, 2);
    world_mkdir(&w, d, "sub");
    assert_int_equal(world_object(&w, d).nlink, 3);
}

static int build_rmdir(struct stm_txn *t, void *arg)
{
    return stm_tree_rmdir(t, root, *(struct stm_slice *)arg);
}

static int rm_dir(const char *name)
{
    struct stm_slice s = stm_slice_str(name);
    return stm_update(w.store, &w.change, build_rmdir, &s, NULL);
}

static void rmdir_wants_an_empty_directory(void **state)
{
    uint64_t d = world_mkdir(&w, root, "d");

    (void)state;
    world_create(&w, d, "f");
    world_create(&w, root, "g");
    assert_int_equal(rm_dir("d"), -ENOTEMPTY);
    assert_int_equal(rm_dir("g"), -ENOTDIR);
    assert_int_equal(rm_dir("nothing"), -ENOENT);
    world_unlink(&w, d, "f");
    assert_int_equal(rm_dir("d"), 0);
    assert_int_equal(world_try_create(&w, d, "late", S_IFREG, NULL), -ENOENT); /* the directory is gone, though someone still holds it */
    assert_int_not_equal(world_mkdir(&w, root, "d"), d);
}

static int rename_in(uint64_t from_dir, const char *from, uint64_t to_dir, const char *to)
{
    struct stm_rename r = {.from_parent = from_dir, .to_parent = to_dir, .from = stm_slice_str(from), .to = stm_slice_str(to)};
    return world_try_rename(&w, &r);
}

static void rename_follows_posix(void **state)
{
    uint64_t d = world_mkdir(&w, root, "d"), sub = world_mkdir(&w, d, "sub"), f = world_create(&w, root, "f");

    (void)state;
    assert_int_equal(rename_in(root, "d", sub, "inside"), -EINVAL);
    assert_int_equal(rename_in(root, "d", d, "itself"), -EINVAL);
    assert_int_equal(rename_in(root, "f", root, "d"), -EISDIR);
    assert_int_equal(rename_in(root, "d", root, "f"), -ENOTDIR);
    assert_int_equal(rename_in(root, "nothing", root, "x"), -ENOENT);
    world_mkdir(&w, root, "e");
    assert_int_equal(rename_in(root, "e", root, "d"), -ENOTEMPTY);
    assert_int_equal(rename_in(d, "sub", root, "e"), 0); /* over an empty directory */
    assert_int_equal(world_find(&w, root, "e"), sub);
    assert_int_equal(world_object(&w, sub).parent, root);
    assert_int_equal(world_object(&w, d).nlink, 2);
    assert_int_equal(rename_in(root, "f", sub, "g"), 0);
    assert_int_equal(world_find(&w, sub, "g"), f);
    world_link(&w, f, sub, "h");
    assert_int_equal(rename_in(sub, "g", sub, "h"), 0); /* two names of one file: nothing happens */
    assert_int_equal(world_find(&w, sub, "g"), f);
}

static void noreplace_and_exchange_do_what_they_say(void **state)
{
    uint64_t d = world_mkdir(&w, root, "d"), f = world_create(&w, root, "f"), g = world_create(&w, d, "g");
    struct stm_rename keep = {.from_parent = root, .to_parent = d, .from = {"f", 1}, .to = {"g", 1}, .noreplace = true};
    struct stm_rename swap = {.from_parent = root, .to_parent = root, .from = {"f", 1}, .to = {"d", 1}, .exchange = true};
    struct stm_rename inside = {.from_parent = root, .to_parent = d, .from = {"d", 1}, .to = {"g", 1}, .exchange = true};
    struct stm_rename missing = {.from_parent = root, .to_parent = root, .from = {"f", 1}, .to = {"no", 2}, .exchange = true};

    (void)state;
    assert_int_equal(world_try_rename(&w, &keep), -EEXIST);
    assert_int_equal(world_try_rename(&w, &inside), -EINVAL);
    assert_int_equal(world_try_rename(&w, &missing), -ENOENT);
    assert_int_equal(world_try_rename(&w, &swap), 0);
    assert_int_equal(world_find(&w, root, "d"), f);
    assert_int_equal(world_find(&w, root, "f"), d);
    assert_int_equal(world_find(&w, d, "g"), g);
}

static void hard_links_are_counted(void **state)
{
    uint64_t f = world_create(&w, root, "f"), d = world_mkdir(&w, root, "d");

    (void)state;
    world_link(&w, f, d, "g");
    assert_int_equal(world_object(&w, f).nlink, 2);
    world_unlink(&w, root, "f");
    assert_int_equal(world_object(&w, f).nlink, 1);
    assert_int_equal(world_find(&w, d, "g"), f);
}

enum { MANY = 300 };

/* Lists the directory from a cookie; counts how often each fNNN was seen; returns the last cookie. */
static uint64_t list_some(const struct stm_view *v, uint64_t dir, uint64_t cookie, int limit, int *seen)
{
    struct stm_dir *d;
    struct stm_entry e;

    assert_int_equal(stm_dir_open(v, dir, cookie, &d), 0);
    for (int i = 0; i < limit && stm_dir_next(d, &e, NULL) == 1; i++) {
        assert_true(e.cookie > cookie && e.cookie > 127);
        cookie = e.cookie;
        if (e.name[0] == 'f')
            seen[atoi(e.name + 1)]++;
    }
    stm_dir_free(d);
    return cookie;
}

struct count {
    uint64_t object;
    uint32_t nlink;
};

static int build_count(struct stm_txn *t, void *arg)
{
    const struct count *c = arg;
    struct stm_view v = stm_txn_view(t);
    struct stm_object o;
    int err = stm_object_load(&v, c->object, &o);

    o.nlink = c->nlink;
    return err < 0 ? err : stm_object_put(t, &o, (struct stm_slice){NULL, 0});
}

/* As if the object had so many links. */
static void pretend_links(uint64_t object, uint32_t nlink)
{
    struct count c = {object, nlink};

    assert_int_equal(stm_update(w.store, &w.change, build_count, &c, NULL), 0);
}

static int build_link(struct stm_txn *t, void *arg)
{
    struct stm_object o;

    return stm_tree_link(t, *(const uint64_t *)arg, root, stm_slice_str("linked"), &o);
}

static void links_have_a_limit_wherever_they_come_from(void **state)
{
    uint64_t full = world_mkdir(&w, root, "full"), other = world_mkdir(&w, root, "other"), f = world_create(&w, root, "f");
    uint64_t moving = world_mkdir(&w, other, "moving"), made;
    struct stm_rename in = {.from_parent = root, .to_parent = full, .from = {"f", 1}, .to = {"inner", 5}, .exchange = true};

    (void)state;
    world_mkdir(&w, full, "inner");
    world_create(&w, other, "plain");
    pretend_links(full, STM_LINK_MAX);
    assert_int_equal(world_try_create(&w, full, "new", S_IFDIR, &made), -EMLINK);
    assert_int_equal(rename_in(other, "moving", full, "moved"), -EMLINK);
    struct stm_rename back = {.from_parent = full, .to_parent = other, .from = {"x", 1}, .to = {"moving", 6}, .exchange = true};
    world_create(&w, full, "x"); /* a file takes no link of its directory */
    assert_int_equal(world_try_rename(&w, &back), -EMLINK);
    back = (struct stm_rename){.from_parent = other, .to_parent = full, .from = {"moving", 6}, .to = {"x", 1}, .exchange = true};
    assert_int_equal(world_try_rename(&w, &back), -EMLINK);
    assert_int_equal(rename_in(full, "inner", full, "same"), 0); /* within the directory nothing is gained */
    in.to = stm_slice_str("same");
    assert_int_equal(rename_in(other, "moving", full, "same"), 0); /* over an empty one neither */
    assert_int_equal(world_try_rename(&w, &in), 0);                /* a directory goes, a file comes */
    assert_int_equal(world_object(&w, full).nlink, STM_LINK_MAX - 1);
    pretend_links(full, 2);
    assert_int_equal(world_find(&w, full, "same"), f);
    assert_int_equal(world_find(&w, root, "f"), moving);
    pretend_links(f, STM_LINK_MAX);
    assert_int_equal(stm_update(w.store, &w.change, build_link, &f, NULL), -EMLINK);
    pretend_links(f, 1);
    assert_int_equal(stm_update(w.store, &w.change, build_link, &f, NULL), 0); /* control */
}

static int build_nameless(struct stm_txn *t, void *arg)
{
    struct stm_new n = {.mode = S_IFREG | 0600};
    struct stm_object o;
    int err = stm_tree_create(t, 0, stm_slice_str("tmpfile"), &n, &o);

    *(uint64_t *)arg = o.id;
    return err;
}

static int note_created(void *arg, const struct stm_log_item *item)
{
    assert_int_equal(item->op, 'c');
    assert_int_equal(item->parent, 0);
    *(uint64_t *)arg = item->object;
    return 0;
}

static void a_nameless_file_is_in_the_log(void **state)
{
    struct stm_log_record r;
    uint64_t made = 0, logged = 0, seq;

    (void)state;
    assert_int_equal(stm_update(w.store, &w.change, build_nameless, &made, &seq), 0);
    assert_int_equal(stm_log_get(w.store, seq, &r, note_created, &logged), 0);
    assert_true(made != 0 && logged == made);
}

static void a_nameless_file_is_given_a_name(void **state)
{
    uint64_t old = world_create(&w, root, "linked"), fresh, second;

    (void)state;
    world_save(&w, old, "one", 0);
    world_unlink(&w, root, "linked");
    assert_int_equal(stm_update(w.store, &w.change, build_nameless, &fresh, NULL), 0);
    assert_int_equal(stm_update(w.store, &w.change, build_link, &fresh, NULL), 0);
    struct stm_object o = world_object(&w, fresh);
    assert_int_equal(o.nlink, 1);
    assert_int_equal(o.flags & STM_OBJ_ORPHAN, 0);
    world_save(&w, fresh, "two", 0);
    world_expect_chain(&w, fresh, "v1.0.0=one v1.0.1=two"); /* the line that waited */
    assert_int_equal(stm_update(w.store, &w.change, build_nameless, &second, NULL), 0);
    assert_int_equal(stm_update(w.store, &w.change, build_link, &second, NULL), -EEXIST);
    assert_int_equal(stm_update(w.store, &w.change, build_link, &old, NULL), -ENOENT); /* removed, not an orphan */
}

static void cookies_stay_valid_while_names_come_and_go(void **state)
{
    uint64_t d = world_mkdir(&w, root, "d"), cookie = 0, last;
    int seen[MANY] = {0};
    char name[16];

    (void)state;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "f%d", i);
        world_create(&w, d, name);
    }
    for (int round = 0;; round++) {
        last = cookie;
        cookie = list_some(&w.head, d, cookie, 7, seen);
        if (cookie == last)
            break;
        snprintf(name, sizeof name, "x%d", round); /* strangers come and go between the calls */
        world_create(&w, d, name);
        if (round % 2)
            world_unlink(&w, d, name);
    }
    for (int i = 0; i < MANY; i++)
        assert_int_equal(seen[i], 1);
}

static void a_past_view_lists_what_was_there(void **state)
{
    uint64_t d = world_mkdir(&w, root, "d"), then;
    int seen[MANY] = {0}, now[MANY] = {0};
    char name[16];

    (void)state;
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "f%d", i);
        world_create(&w, d, name);
    }
    then = stm_store_seq(w.store);
    for (int i = 0; i < 20; i += 2) {
        snprintf(name, sizeof name, "f%d", i);
        world_unlink(&w, d, name);
    }
    world_create(&w, d, "f30");
    world_create(&w, d, "f2"); /* again: another object */
    struct stm_view past = stm_view_at(w.store, then);
    list_some(&past, d, 0, 1000, seen);
    list_some(&w.head, d, 0, 1000, now);
    for (int i = 0; i < 31; i++) {
        assert_int_equal(seen[i], i < 20);
        assert_int_equal(now[i], i == 30 || i == 2 || (i < 20 && i % 2 == 1));
    }
    assert_int_not_equal(world_at(&past, d, "f2"), world_find(&w, d, "f2"));
    struct stm_view before = stm_view_at(w.store, then - 1);
    assert_int_equal(world_at(&before, d, "f19"), 0);
}

static void paths_are_resolved_and_found_back(void **state)
{
    uint64_t a = world_mkdir(&w, root, "a"), b = world_mkdir(&w, a, "b"), f = world_create(&w, b, "f"), got;
    struct stm_buf path = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_tree_resolve(&w.head, stm_slice_str("/a/b/f"), &got), 0);
    assert_int_equal(got, f);
    assert_int_equal(stm_tree_resolve(&w.head, stm_slice_str(""), &got), 0);
    assert_int_equal(got, root);
    assert_int_equal(stm_tree_resolve(&w.head, stm_slice_str("a//b/"), &got), 0);
    assert_int_equal(got, b);
    assert_int_equal(stm_tree_resolve(&w.head, stm_slice_str("a/b/f/g"), &got), -ENOTDIR);
    assert_int_equal(stm_tree_resolve(&w.head, stm_slice_str("a/c"), &got), -ENOENT);
    assert_int_equal(stm_tree_path(&w.head, b, &path), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&path), stm_slice_str("/a/b")));
    stm_buf_release(&path);
}

static int build_new(struct stm_txn *t, void *arg)
{
    struct stm_new n = {.mode = *(uint32_t *)arg, .uid = 7, .gid = 8, .target = stm_slice_str("over/there"), .rdev = 0x103};
    struct stm_object o;
    return stm_tree_create(t, root, stm_slice_str("n"), &n, &o);
}

static void every_kind_keeps_what_it_was_made_with(void **state)
{
    uint32_t kinds[] = {S_IFIFO | 0600, S_IFSOCK | 0700, S_IFCHR | 0640, S_IFBLK | 0640, S_IFLNK | 0777, S_IFDIR | 01777};
    struct stm_buf target = STM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(stm_update(w.store, &w.change, build_new, &kinds[i], NULL), 0);
        uint64_t id = world_find(&w, root, "n");
        struct stm_object o = world_object(&w, id);
        assert_int_equal(o.mode, kinds[i]);
        assert_int_equal(o.uid, 7);
        if (S_ISCHR(o.mode) || S_ISBLK(o.mode))
            assert_int_equal(o.rdev, 0x103);
        if (S_ISLNK(o.mode)) {
            assert_int_equal(stm_object_target(&w.head, id, &target), 0);
            assert_string_equal((char *)target.data, "over/there");
            assert_int_equal(o.size, 10);
        } else {
            assert_int_equal(stm_object_target(&w.head, id, &target), -EINVAL);
        }
        if (S_ISDIR(o.mode))
            assert_int_equal(rm_dir("n"), 0);
        else
            world_unlink(&w, root, "n");
    }
    stm_buf_release(&target);
}

struct attr {
    uint64_t object;
    const char *name, *value;
    int flags;
};

static int build_xattr(struct stm_txn *t, void *arg)
{
    struct attr *a = arg;
    return a->value ? stm_xattr_set(t, a->object, stm_slice_str(a->name), stm_slice_str(a->value), a->flags)
                    : stm_xattr_remove(t, a->object, stm_slice_str(a->name));
}

static int set(uint64_t object, const char *name, const char *value, int flags)
{
    struct attr a = {object, name, value, flags};
    return stm_update(w.store, &w.change, build_xattr, &a, NULL);
}

static void attributes_are_set_listed_and_removed(void **state)
{
    uint64_t f = world_create(&w, root, "f");
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_xattr_get(&w.head, f, stm_slice_str("user.a"), &b), -ENODATA);
    assert_int_equal(set(f, "user.b", "2", 0), 0);
    assert_int_equal(set(f, "user.a", "1", XATTR_CREATE), 0);
    assert_int_equal(set(f, "user.a", "x", XATTR_CREATE), -EEXIST);
    assert_int_equal(set(f, "user.c", "x", XATTR_REPLACE), -ENODATA);
    assert_int_equal(set(f, "user.a", "longer", XATTR_REPLACE), 0);
    assert_int_equal(stm_xattr_list(&w.head, f, &b), 0);
    assert_int_equal(b.len, 14);
    assert_memory_equal(b.data, "user.a\0user.b\0", 14);
    assert_int_equal(stm_xattr_get(&w.head, f, stm_slice_str("user.a"), &b), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&b), stm_slice_str("longer")));
    assert_int_equal(set(f, "user.a", NULL, 0), 0);
    assert_int_equal(set(f, "user.a", NULL, 0), -ENODATA);
    assert_int_equal(set(f, "user.b", NULL, 0), 0);
    assert_false(world_object(&w, f).flags & STM_OBJ_XATTR);
    stm_buf_release(&b);
}

static int build_mode(struct stm_txn *t, void *arg)
{
    struct stm_setattr s = {.valid = STM_SET_MODE | STM_SET_MTIME, .mode = 0400, .mtime_ns = -5};
    return stm_object_set(t, *(uint64_t *)arg, &s, NULL);
}

static void ctime_strictly_increases_though_the_clock_stands_still(void **state)
{
    uint64_t f = world_create(&w, root, "f");
    struct stm_object a = world_object(&w, f), b;

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(stm_update(w.store, &w.change, build_mode, &f, NULL), 0);
        b = world_object(&w, f);
        assert_true(b.ctime_ns > a.ctime_ns);
        a = b;
    }
    assert_int_equal(b.mode, S_IFREG | 0400);
    assert_int_equal(b.mtime_ns, -5);
}

static int build_last_mtime(struct stm_txn *t, void *arg)
{
    struct stm_setattr s = {.valid = STM_SET_MTIME, .mtime_ns = INT64_MAX};
    return stm_object_set(t, *(uint64_t *)arg, &s, NULL);
}

static void after_the_last_time_that_there_is_comes_the_clock(void **state)
{
    uint64_t d = world_mkdir(&w, root, "d");

    (void)state;
    assert_int_equal(stm_update(w.store, &w.change, build_last_mtime, &d, NULL), 0);
    assert_int_equal(world_object(&w, d).mtime_ns, INT64_MAX);
    world_create(&w, d, "f"); /* changes the directory */
    assert_int_equal(world_object(&w, d).mtime_ns, world_object(&w, d).ctime_ns);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(names_are_checked),
        T(errors_of_creating_and_removing_are_posix),
        T(rmdir_wants_an_empty_directory),
        T(rename_follows_posix),
        T(noreplace_and_exchange_do_what_they_say),
        T(hard_links_are_counted),
        T(links_have_a_limit_wherever_they_come_from),
        T(a_nameless_file_is_in_the_log),
        T(a_nameless_file_is_given_a_name),
        T(cookies_stay_valid_while_names_come_and_go),
        T(a_past_view_lists_what_was_there),
        T(paths_are_resolved_and_found_back),
        T(every_kind_keeps_what_it_was_made_with),
        T(attributes_are_set_listed_and_removed),
        T(after_the_last_time_that_there_is_comes_the_clock),
        T(ctime_strictly_increases_though_the_clock_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
