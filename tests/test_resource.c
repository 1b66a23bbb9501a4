/* test_resource.c: paths on the command line, the table of mounts, and how requests carry bytes: the parts that need no mount. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/cmocka.h"

#include "mountinfo.h"
#include "resource.h"
#include "service.h"

/* ---- paths ---- */

static void cleaned(const char *given, const char *expected)
{
    char *path;

    assert_int_equal(stm_path_clean(given, &path), 0);
    assert_string_equal(path, expected);
    free(path);
}

static void a_clean_path_has_no_empty_or_dot_components(void **state)
{
    (void)state;
    cleaned("", "/");
    cleaned("/", "/");
    cleaned("a//b/./c/", "/a/b/c");
    cleaned("/./", "/");
    cleaned("/.a/..b/c..", "/.a/..b/c..");
    cleaned("word@v1.0.0", "/word@v1.0.0");
}

static void dot_dot_and_long_names_are_refused(void **state)
{
    char name[300], *path;

    (void)state;
    assert_int_equal(stm_path_clean("/a/../b", &path), -EINVAL);
    assert_int_equal(stm_path_clean("..", &path), -EINVAL);
    memset(name, 'x', sizeof(name));
    name[256] = '\0';
    assert_int_equal(stm_path_clean(name, &path), -ENAMETOOLONG);
    name[255] = '\0';
    assert_int_equal(stm_path_clean(name, &path), 0);
    free(path);
}

static void a_view_is_taken_off_the_front(void **state)
{
    uint64_t seq;

    (void)state;
    assert_string_equal(stm_path_view("/.stemma/at/#12/a/b", &seq), "/a/b");
    assert_int_equal(seq, 12);
    assert_string_equal(stm_path_view("/.stemma/at/#7", &seq), "/");
    assert_int_equal(seq, 7);
    assert_string_equal(stm_path_view("/.stemma/at/#x/a", &seq), "/.stemma/at/#x/a");
    assert_true(seq == STM_SEQ_HEAD);
    assert_string_equal(stm_path_view("/.stemma/at/#12a/b", &seq), "/.stemma/at/#12a/b");
    assert_true(seq == STM_SEQ_HEAD);
    assert_string_equal(stm_path_view("/.stemma/at/#-1/b", &seq), "/.stemma/at/#-1/b");
    assert_string_equal(stm_path_view("/.stemma/at/#99999999999999999999/b", &seq), "/.stemma/at/#99999999999999999999/b");
    assert_true(seq == STM_SEQ_HEAD);
    assert_string_equal(stm_path_view("/a", &seq), "/a");
}

static void inside(const char *dir, const char *root, const char *path, const char *expected)
{
    char *out = stm_path_inside(dir, root, path);

    assert_string_equal(out, expected);
    free(out);
}

static void a_path_inside_a_mount_counts_from_the_mounted_root(void **state)
{
    (void)state;
    inside("/mnt", "/", "/mnt", "/");
    inside("/mnt", "/", "/mnt/a/b", "/a/b");
    inside("/", "/", "/a", "/a");
    inside("/", "/", "/", "/");
    inside("/bind", "/dictionary/en", "/bind", "/dictionary/en");
    inside("/bind", "/dictionary/en", "/bind/word", "/dictionary/en/word");
}

static void a_store_and_a_path_are_split_at_the_colon(void **state)
{
    char dir[] = "/tmp/stemma-test-XXXXXX", text[100], *why = NULL, *real;
    struct stm_resource r;

    (void)state;
    assert_non_null(mkdtemp(dir));
    real = realpath(dir, NULL);
    snprintf(text, sizeof(text), "%s/:/a//b@v1.0.0/", dir);
    assert_int_equal(stm_resource_parse(text, &r, &why), 0);
    assert_string_equal(r.store, real);
    assert_string_equal(r.path, "/a/b@v1.0.0");
    assert_null(r.mount);
    stm_resource_release(&r);
    snprintf(text, sizeof(text), "%s:/.stemma/at/#3/x", dir);
    assert_int_equal(stm_resource_parse(text, &r, &why), 0);
    assert_int_equal(r.seq, 3);
    assert_string_equal(r.path, "/x");
    stm_resource_release(&r);
    rmdir(dir);
    free(real);
}

static void what_is_neither_gets_a_sentence(void **state)
{
    static const struct {
        const char *text;
        int code;
    } wrong[] = {{"", STM_EXIT_USAGE},
                 {"/tmp", STM_EXIT_NOT_FOUND},
                 {"/tmp/no such file", STM_EXIT_NOT_FOUND},
                 {"/no/such/store:/a", STM_EXIT_NOT_FOUND},
                 {"/tmp:/a/../b", STM_EXIT_USAGE},
                 {"/etc/passwd/x", STM_EXIT_NOT_FOUND}};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct stm_resource r;
        char *why = NULL;

        assert_int_equal(stm_resource_parse(wrong[i].text, &r, &why), wrong[i].code);
        assert_non_null(why);
        free(why);
    }
}

/* ---- mountinfo ---- */

static const char table[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 22 0:40 / /mnt/words rw,nosuid,nodev,relatime shared:5 master:2 - fuse.stemma /srv/my\\040words rw,user_id=0,group_id=0\n"
    "31 22 0:40 /dictionary /srv/d\\134x rw - fuse.stemma /srv/my\\040words rw\n"
    "not a line of it\n"
    "32 22 0:41 / /mnt/words/deep rw - tmpfs tmpfs rw\n"
    "33 22 0:42 / /mnt/twice rw - tmpfs tmpfs rw\n"
    "34 22 0:43 / /mnt/twice rw - fuse.stemma mem: rw\n";

static void the_mount_of_a_path_is_the_deepest_and_topmost(void **state)
{
    struct stm_mount m;

    (void)state;
    assert_int_equal(stm_mount_covering(table, "/mnt/words/a/b", &m), 1);
    assert_string_equal(m.dir, "/mnt/words");
    assert_string_equal(m.source, "/srv/my words");
    assert_string_equal(m.device, "0:40");
    assert_true(m.stemma);
    stm_mount_release(&m);
    assert_int_equal(stm_mount_covering(table, "/mnt/wordsmith", &m), 1);
    assert_string_equal(m.dir, "/");
    stm_mount_release(&m);
    assert_int_equal(stm_mount_covering(table, "/mnt/words/deep/x", &m), 1);
    assert_false(m.stemma);
    stm_mount_release(&m);
    assert_int_equal(stm_mount_at(table, "/mnt/twice", &m), 1);
    assert_string_equal(m.source, "mem:");
    stm_mount_release(&m);
    assert_int_equal(stm_mount_at(table, "/mnt/words/a", &m), 0);
}

static void escapes_and_bind_mounts_are_understood(void **state)
{
    struct stm_mount m;

    (void)state;
    assert_int_equal(stm_mount_at(table, "/srv/d\\x", &m), 1);
    assert_string_equal(m.root, "/dictionary");
    stm_mount_release(&m);
    assert_int_equal(stm_mount_of(table, "/srv/my words", "0:40", &m), 1);
    stm_mount_release(&m);
    assert_int_equal(stm_mount_of(table, "/srv/my words", "0:99", &m), 0);
    assert_int_equal(stm_mount_of(table, "/srv/other", NULL, &m), 0);
}

static void the_owner_of_a_mount_is_known(void **state)
{
    static const struct {
        const char *options;
        uint32_t owner;
    } cases[] = {{"rw,user_id=1000,group_id=0", 1000},
                 {"user_id=0", 0},
                 {"rw", UINT32_MAX},
                 {"rw,user_id=", UINT32_MAX},
                 {"my_user_id=7", UINT32_MAX},
                 {"user_id=99999999999999999999", UINT32_MAX}};
    char line[200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stm_mount m = {0};

        snprintf(line, sizeof(line), "30 22 0:40 / /mnt rw - fuse.stemma /s %s\n", cases[i].options);
        assert_int_equal(stm_mount_parse(line, &m), 0);
        assert_int_equal(m.owner, cases[i].owner);
        stm_mount_release(&m);
    }
}

static void a_line_cut_anywhere_is_parsed_or_refused(void **state)
{
    static const char line[] = "30 22 0:40 / /mnt/words rw,nosuid shared:5 - fuse.stemma /srv/my\\040words rw";

    (void)state;
    for (size_t len = 0; len < sizeof(line); len++) {
        char *cut = strndup(line, len);
        struct stm_mount m = {0};

        if (stm_mount_parse(cut, &m) == 0)
            assert_non_null(m.source);
        stm_mount_release(&m);
        free(cut);
    }
}

/* ---- requests ---- */

static void any_bytes_survive_percent_encoding(void **state)
{
    uint8_t bytes[256];
    struct stm_buf text = STM_BUF_INIT, back = STM_BUF_INIT;

    (void)state;
    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(stm_percent_encode(stm_slice(bytes, 256), &text), 0);
    assert_int_equal(stm_buf_append(&text, "", 1), 0);
    assert_int_equal(stm_percent_decode((const char *)text.data, &back), 0);
    assert_int_equal(back.len, 256);
    assert_memory_equal(back.data, bytes, 256);
    stm_buf_release(&text);
    stm_buf_release(&back);
}

static void broken_escapes_and_zero_bytes_are_refused(void **state)
{
    static const char *const wrong[] = {"%", "%4", "%zz", "a%0", "%%"};
    json_t *request = json_pack("{s:s, s:s}", "zero", "a%00b", "good", "a%20b");
    char *text;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct stm_buf back = STM_BUF_INIT;

        assert_int_equal(stm_percent_decode(wrong[i], &back), -EINVAL);
        stm_buf_release(&back);
    }
    assert_int_equal(stm_request_get(request, "zero", &text), -EINVAL);
    assert_int_equal(stm_request_get(request, "none", &text), -ENOENT);
    assert_int_equal(stm_request_get(request, "good", &text), 0);
    assert_string_equal(text, "a b");
    free(text);
    json_decref(request);
}

static void bytes_that_are_no_utf8_become_replacement_characters_in_json(void **state)
{
    json_t *text = stm_json_text(stm_slice("a\xff"
                                           "b\xc3\xa9\xc3",
                                           6));

    (void)state;
    assert_string_equal(json_string_value(text), "a\xef\xbf\xbd"
                                                 "b\xc3\xa9\xef\xbf\xbd");
    json_decref(text);
    text = stm_json_text(stm_slice(NULL, 0));
    assert_string_equal(json_string_value(text), "");
    json_decref(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_path_has_no_empty_or_dot_components),
        cmocka_unit_test(dot_dot_and_long_names_are_refused),
        cmocka_unit_test(a_view_is_taken_off_the_front),
        cmocka_unit_test(a_path_inside_a_mount_counts_from_the_mounted_root),
        cmocka_unit_test(a_store_and_a_path_are_split_at_the_colon),
        cmocka_unit_test(what_is_neither_gets_a_sentence),
        cmocka_unit_test(the_mount_of_a_path_is_the_deepest_and_topmost),
        cmocka_unit_test(escapes_and_bind_mounts_are_understood),
        cmocka_unit_test(the_owner_of_a_mount_is_known),
        cmocka_unit_test(a_line_cut_anywhere_is_parsed_or_refused),
        cmocka_unit_test(any_bytes_survive_percent_encoding),
        cmocka_unit_test(broken_escapes_and_zero_bytes_are_refused),
        cmocka_unit_test(bytes_that_are_no_utf8_become_replacement_characters_in_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
