/* Tests of import_dictd.c: headwords and their files, homographs, both forms of the text, and what is wrong with an index. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "support/cmocka.h"
#include "support/loader.h"
#include "support/tmpdir.h"

static struct loader l;
static const char *dir;
static char *base;

static int setup(void **state)
{
    (void)state;
    dir = stm_tmpdir();
    base = stm_tmpdir_path(dir, "tiny");
    loader_open(&l, "/d");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loader_close(&l);
    return 0;
}

static void number(char *out, unsigned n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char rev[8];
    int len = 0;

    do
        rev[len++] = digits[n % 64];
    while ((n /= 64) > 0);
    while (len > 0)
        *out++ = rev[--len];
    *out = 0;
}

/* A text and its index, being made. */
static struct stm_buf text, lines;

static void add_line(const char *headword, unsigned off, unsigned len)
{
    char o[8], n[8];

    number(o, off);
    number(n, len);
    assert_int_equal(stm_buf_printf(&lines, "%s\t%s\t%s\n", headword, o, n), 0);
}

static void add(const char *headword, const char *article)
{
    add_line(headword, (unsigned)text.len, (unsigned)strlen(article));
    assert_int_equal(stm_buf_append(&text, article, strlen(article)), 0);
}

static void write_index(void)
{
    loader_write(stm_tmpdir_path(dir, "tiny.index"), lines.data, lines.len);
    stm_buf_release(&lines);
}

static void write_plain(void)
{
    write_index();
    loader_write(stm_tmpdir_path(dir, "tiny.dict"), text.data ? (const void *)text.data : "", text.len);
    stm_buf_release(&text);
}

static void write_packed(size_t cut)
{
    char *path = stm_tmpdir_path(dir, "tiny.dict.dz");
    gzFile f = gzopen(path, "wb");

    write_index();
    assert_int_equal(gzwrite(f, text.data, (unsigned)text.len), text.len);
    assert_int_equal(gzclose(f), Z_OK);
    stm_buf_release(&text);
    if (cut) {
        FILE *again = fopen(path, "r+");
        assert_int_equal(fseek(again, 0, SEEK_END), 0);
        assert_int_equal(ftruncate(fileno(again), ftell(again) - (long)cut), 0);
        fclose(again);
    }
}

static void each_headword_becomes_a_file(void **state)
{
    (void)state;
    add("ant", "ant: an insect\n");
    add("bee phrase ", "bee: another\n");
    add("Caf\xc3\xa9", "no newline at the end");
    write_plain();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_OK);
    loader_expect(&l, "/d/ant", "ant: an insect\n");
    loader_expect(&l, "/d/bee phrase ", "bee: another\n");
    loader_expect(&l, "/d/Caf\xc3\xa9", "no newline at the end");
    assert_int_equal(l.im.counts.files, 3);
}

static void packed_text_reads_the_same_and_importing_twice_changes_nothing(void **state)
{
    (void)state;
    add("ant", "ant: an insect\n");
    add("bee", "bee\n");
    write_packed(0);
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_OK);
    loader_expect(&l, "/d/ant", "ant: an insect\n");
    uint64_t seq = stm_store_seq(l.w.store);
    loader_again(&l);
    assert_int_equal(stm_import_dictd(&l.im, stm_tmpdir_path(dir, "tiny.index")), STM_EXIT_OK); /* a path to the file does as well */
    assert_int_equal(l.im.counts.unchanged, 2);
    assert_int_equal(stm_store_seq(l.w.store), seq);
}

static void homographs_are_joined_in_the_order_of_the_index(void **state)
{
    (void)state;
    add("bank", "bank 1\n");
    unsigned second = (unsigned)text.len;
    add("other", "bank 2, no newline");
    add("bankrupt", "bankrupt\n");
    add_line("bank", second, 18); /* not beside the first */
    add_line("bank", 0, 7);       /* the first once more */
    add("bank", "bank 3\n\n");
    add("bank", "");
    add("bank", "bank 4\n");
    write_plain();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_OK);
    loader_expect(&l, "/d/bank", "bank 1\n\nbank 2, no newline\n\nbank 3\n\nbank 4\n");
    assert_int_equal(l.im.counts.files, 3);
}

static void large_entries_are_streamed(void **state)
{
    enum { HALF = 900000 };
    char *article = malloc(HALF + 1), *all = malloc(2 * HALF + 3);

    (void)state;
    memset(article, 'x', HALF);
    article[HALF] = 0;
    add("long", article);
    article[0] = 'y';
    add("long", article);
    write_packed(0);
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_OK);
    memset(all, 'x', 2 * HALF + 2);
    memcpy(all + HALF, "\n\ny", 3);
    all[2 * HALF + 2] = 0;
    loader_expect(&l, "/d/long", all);
    free(article);
    free(all);
}

static void names_are_escaped_only_where_they_must_be(void **state)
{
    static const char *const pairs[][2] = {{"and/or", "and%2For"},
                                           {"100%", "100%"},
                                           {"a%2Fb", "a%252Fb"},
                                           {"a%2fb", "a%2fb"},
                                           {"%252F", "%25252F"},
                                           {"%2E", "%252E"},
                                           {".", "%2E"},
                                           {"..", "%2E%2E"},
                                           {"...", "..."},
                                           {"word@v1.0.0", "word@v1.0.0"},
                                           {"%2", "%2"}};
    struct stm_buf name = STM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(stm_import_headword(stm_slice_str(pairs[i][0]), &name), 0);
        assert_true(stm_slice_eq(stm_buf_slice(&name), stm_slice_str(pairs[i][1])));
        add(pairs[i][0], "x\n");
    }
    stm_buf_release(&name);
    write_plain();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_OK);
    loader_expect(&l, "/d/and%2For", "x\n");
    loader_expect(&l, "/d/%2E%2E", "x\n");
    assert_int_equal(l.im.counts.files, sizeof pairs / sizeof *pairs);
}

static void names_that_are_too_long_are_said_and_counted(void **state)
{
    char longest[257];

    (void)state;
    memset(longest, 'w', sizeof longest);
    longest[256] = 0;
    add("a", "1\n");
    add(longest, "2\n");
    add(longest + 1, "3\n");
    longest[10] = '/'; /* 255 bytes, but not when it is escaped */
    add(longest + 1, "4\n");
    write_plain();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_FAILED);
    assert_int_equal(l.im.counts.files, 2);
    assert_int_equal(l.im.counts.skipped, 2);
    loader_expect_said(&l, "line 2: the headword");
}

static void a_fourth_field_is_the_headword_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(stm_buf_append(&text, "x\n", 2), 0);
    assert_int_equal(stm_buf_printf(&lines, "dont\tA\tC\tdon't\n"), 0);
    write_plain();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_OK);
    loader_expect(&l, "/d/don't", "x\n");
    loader_expect(&l, "/d/dont", NULL);
}

static void invalid_lines_are_named_and_nothing_is_changed(void **state)
{
    static const char *const bad[] = {"word",
                                      "word\tA",
                                      "word\tA\t",
                                      "word\t\tA",
                                      "word\tA-\tA",
                                      "word\tA\tA A",
                                      "\tA\tA",
                                      "",
                                      "word\tA\tZZ",
                                      "word\tC\tD",
                                      "word\t//////////////\tA",
                                      "word\tA\t//////////////",
                                      "word\tA\tA\tx\ty",
                                      "word\tA\tA\r"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        add("good", "1\n");
        assert_int_equal(stm_buf_printf(&lines, "%s\n", bad[i]), 0);
        add("fine", "2\n");
        write_plain();
        assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_INPUT);
        loader_expect_said(&l, "tiny.index:2: ");
        assert_false(l.im.finished);
        loader_expect(&l, "/d", NULL);
    }
    for (int i = 0; i < 40; i++)
        assert_int_equal(stm_buf_printf(&lines, "bad\n"), 0);
    write_plain();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_INPUT);
    loader_expect_said(&l, "40 invalid lines; nothing was imported");
}

static void a_zero_byte_in_a_headword_is_an_invalid_line(void **state)
{
    (void)state;
    assert_int_equal(stm_buf_append(&lines, "a\0b\tA\tA\n", 8), 0);
    write_plain();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_INPUT);
    loader_expect_said(&l, "tiny.index:1: a zero byte");
}

static void what_is_missing_or_damaged_is_said(void **state)
{
    (void)state;
    assert_int_equal(stm_import_dictd(&l.im, "no-such-dictionary"), STM_EXIT_NOT_FOUND);
    loader_expect_said(&l, "no dictd database 'no-such-dictionary'");
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_NOT_FOUND);
    add("a", "1\n");
    write_index();
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_NOT_FOUND);
    loader_expect_said(&l, "has no text");
    add("a", "1\n");
    write_packed(3);
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_INPUT);
    loader_expect_said(&l, "damaged or cut short");
    loader_write(stm_tmpdir_path(dir, "tiny.index"), "", 0);
    loader_write(stm_tmpdir_path(dir, "tiny.dict.dz"), "", 0);
    assert_int_equal(stm_import_dictd(&l.im, base), STM_EXIT_INPUT);
    loader_expect_said(&l, "no headwords");
    loader_expect(&l, "/d", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_headword_becomes_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(packed_text_reads_the_same_and_importing_twice_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(homographs_are_joined_in_the_order_of_the_index, setup, teardown),
        cmocka_unit_test_setup_teardown(large_entries_are_streamed, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_escaped_only_where_they_must_be, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_are_too_long_are_said_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fourth_field_is_the_headword_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(invalid_lines_are_named_and_nothing_is_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_zero_byte_in_a_headword_is_an_invalid_line, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_or_damaged_is_said, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
