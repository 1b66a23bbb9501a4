/* Tests of import_dir.c: what of a directory tree is kept, and what is left out. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/loader.h"
#include "support/tmpdir.h"

static struct loader l;
static const char *dir;

static int setup(void **state)
{
    (void)state;
    dir = stm_tmpdir();
    loader_open(&l, "/t");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loader_close(&l);
    return 0;
}

static char *in(const char *name)
{
    return stm_tmpdir_path(dir, name);
}

static void write_file(const char *name, const char *content)
{
    loader_write(in(name), content, strlen(content));
}

static struct stm_object object(const char *path)
{
    uint64_t id = loader_find(&l, path);

    if (id == 0)
        fail_msg("'%s' is not there", path);
    return world_object(&l.w, id);
}

static void import(void)
{
    loader_again(&l);
    assert_int_equal(stm_import_dir(&l.im, dir), STM_EXIT_OK);
}

static void holes_are_kept(void **state)
{
    struct stm_object o;
    int fd = open(in("sparse"), O_WRONLY | O_CREAT, 0644);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, (off_t)3 << 30), 1);
    assert_int_equal(ftruncate(fd, (off_t)4 << 30), 0);
    close(fd);
    import();
    o = object("t/sparse");
    assert_true(o.size == UINT64_C(4) << 30);
    assert_true(o.data > 0 && o.data <= 65536);
}

static void files_and_directories_are_kept_with_modes_and_times(void **state)
{
    struct timespec file[2] = {{5, 6}, {981173106, 123456789}}, sub[2] = {{7, 8}, {1000, 1}};
    struct stm_object o;

    (void)state;
    assert_int_equal(mkdir(in("sub"), 0700), 0);
    write_file("sub/f", "text");
    write_file("empty", "");
    assert_int_equal(chmod(in("sub/f"), 04751), 0);
    assert_int_equal(utimensat(AT_FDCWD, in("sub/f"), file, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, in("sub"), sub, 0), 0);
    import();
    loader_expect(&l, "/t/sub/f", "text");
    loader_expect(&l, "/t/empty", "");
    o = object("/t/sub/f");
    assert_int_equal(o.mode, S_IFREG | 04751);
    assert_int_equal(o.mtime_ns, INT64_C(981173106123456789));
    assert_int_equal(o.atime_ns, INT64_C(5000000006));
    assert_int_equal(o.uid, geteuid() == 0 ? 0 : 7);
    o = object("/t/sub");
    assert_int_equal(o.mode, S_IFDIR | 0700);
    assert_int_equal(o.mtime_ns, INT64_C(1000000000001));
}

static void symlinks_fifos_and_hard_links_are_kept(void **state)
{
    struct stm_buf target = STM_BUF_INIT;

    (void)state;
    write_file("a", "1");
    assert_int_equal(mkdir(in("sub"), 0755), 0);
    assert_int_equal(link(in("a"), in("sub/b")), 0);
    assert_int_equal(link(in("a"), in("c")), 0);
    assert_int_equal(symlink("../nowhere", in("sub/l")), 0);
    assert_int_equal(mkfifo(in("p"), 0640), 0);
    import();
    assert_int_equal(object("/t/a").id, object("/t/sub/b").id);
    assert_int_equal(object("/t/a").id, object("/t/c").id);
    assert_int_equal(object("/t/a").nlink, 3);
    assert_int_equal(object("/t/p").mode, S_IFIFO | 0640);
    assert_int_equal(stm_object_target(&l.w.head, object("/t/sub/l").id, &target), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&target), stm_slice_str("../nowhere")));
    stm_buf_release(&target);
}

static void extended_attributes_are_kept_where_the_filesystem_has_them(void **state)
{
    struct stm_buf value = STM_BUF_INIT;

    (void)state;
    write_file("f", "1");
    if (setxattr(in("f"), "user.one", "1", 1, 0) < 0)
        skip();
    assert_int_equal(setxattr(in("f"), "user.two", "", 0, 0), 0);
    assert_int_equal(setxattr(in("f"), "user.stemma.bump", "minor", 5, 0), 0);
    import();
    uint64_t id = object("/t/f").id;
    assert_int_equal(stm_xattr_get(&l.w.head, id, stm_slice_str("user.one"), &value), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&value), stm_slice_str("1")));
    stm_buf_clear(&value);
    assert_int_equal(stm_xattr_get(&l.w.head, id, stm_slice_str("user.two"), &value), 0);
    assert_int_equal(value.len, 0);
    assert_int_equal(stm_xattr_get(&l.w.head, id, stm_slice_str("user.stemma.bump"), &value), -ENODATA);
    stm_buf_release(&value);
}

static void a_large_file_is_streamed(void **state)
{
    enum { SIZE = 3000001 };
    char *data = malloc(SIZE + 1);

    (void)state;
    for (int i = 0; i < SIZE; i++)
        data[i] = (char)('a' + i % 1009 % 26);
    data[SIZE] = 0;
    loader_write(in("big"), data, SIZE);
    import();
    loader_expect(&l, "/t/big", data);
    free(data);
}

static void importing_twice_changes_nothing_and_changes_are_versions(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in("sub"), 0755), 0);
    write_file("sub/a", "1");
    write_file("sub/b", "2");
    assert_int_equal(symlink("a", in("sub/l")), 0);
    import();
    uint64_t seq = stm_store_seq(l.w.store);
    import();
    assert_int_equal(stm_store_seq(l.w.store), seq);
    assert_int_equal(l.im.counts.unchanged, 2);
    write_file("sub/a", "one");
    import();
    world_expect_chain(&l.w, object("/t/sub/a").id, "v1.0.0=1 v1.0.1=one");
    world_expect_chain(&l.w, object("/t/sub/b").id, "v1.0.0=2");
}

static void what_cannot_be_read_is_said_counted_and_left_out(void **state)
{
    (void)state;
    write_file("a", "1");
    write_file("secret", "2");
    assert_int_equal(mkdir(in("closed"), 0), 0);
    assert_int_equal(chmod(in("secret"), 0), 0);
    if (geteuid() == 0) { /* root reads everything */
        assert_int_equal(chown(dir, 65534, (gid_t)-1), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    int code = stm_import_dir(&l.im, dir);
    assert_int_equal(seteuid(getuid()), 0);
    assert_int_equal(code, STM_EXIT_FAILED);
    assert_true(l.im.finished);
    assert_int_equal(l.im.counts.skipped, 2);
    loader_expect(&l, "/t/a", "1");
    loader_expect(&l, "/t/secret", NULL);
    loader_expect_said(&l, "cannot be read");
}

static void the_store_itself_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in("store"), 0755), 0);
    write_file("store/db", "1");
    write_file("a", "1");
    l.im.avoid_store = in("store");
    assert_int_equal(stm_import_dir(&l.im, dir), STM_EXIT_FAILED);
    loader_expect(&l, "/t/store", NULL);
    loader_expect(&l, "/t/a", "1");
    loader_expect_said(&l, "is the store itself");
}

static void a_source_that_makes_no_sense_is_refused_with_nothing_changed(void **state)
{
    char inside[512];

    (void)state;
    write_file("file", "1");
    assert_int_equal(stm_import_dir(&l.im, in("missing")), STM_EXIT_NOT_FOUND);
    loader_expect_said(&l, "No such file");
    assert_int_equal(stm_import_dir(&l.im, in("file")), STM_EXIT_INPUT);
    loader_expect_said(&l, "not a directory");
    char *real = realpath(dir, NULL);
    snprintf(inside, sizeof inside, "%s/mnt/t", real);
    free(real);
    l.im.avoid_target = inside;
    assert_int_equal(stm_import_dir(&l.im, dir), STM_EXIT_USAGE);
    loader_expect_said(&l, "into itself");
    loader_expect(&l, "/t", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(holes_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(files_and_directories_are_kept_with_modes_and_times, setup, teardown),
        cmocka_unit_test_setup_teardown(symlinks_fifos_and_hard_links_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(extended_attributes_are_kept_where_the_filesystem_has_them, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_file_is_streamed, setup, teardown),
        cmocka_unit_test_setup_teardown(importing_twice_changes_nothing_and_changes_are_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_said_counted_and_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(the_store_itself_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_that_makes_no_sense_is_refused_with_nothing_changed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
