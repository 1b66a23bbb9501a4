/*
 * test_name.c: the grammar of names: every row of the tables in the design, and what must not be taken for a selector.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "stemma/error.h"
#include "stemma/name.h"

static struct stm_selector parse(const char *text)
{
    struct stm_selector sel;

    memset(&sel, 0xee, sizeof sel);
    if (stm_selector_parse(stm_slice_str(text), &sel) != 0)
        fail_msg("'%s' is no selector", text);
    return sel;
}

static void assert_kind(const char *text, enum stm_selector_kind kind)
{
    if (parse(text).kind != kind)
        fail_msg("'%s' is of kind %d, not %d", text, (int)parse(text).kind, (int)kind);
}

static void assert_no_selector(struct stm_slice text)
{
    struct stm_selector sel, before;

    memset(&sel, 0xee, sizeof sel);
    before = sel;
    if (stm_selector_parse(text, &sel) != STM_E_BAD_SELECTOR)
        fail_msg("'%.*s' was taken for a selector", (int)text.len, (const char *)text.data);
    assert_memory_equal(&sel, &before, sizeof sel);
}

static void assert_semver(struct stm_semver v, uint32_t major, uint32_t minor, uint32_t patch)
{
    assert_int_equal(v.major, major);
    assert_int_equal(v.minor, minor);
    assert_int_equal(v.patch, patch);
}

static void assert_split(const char *name, const char *base, const char *selector)
{
    struct stm_slice b = stm_slice("?", 1), s = stm_slice("!", 1);

    if (!stm_name_split(stm_slice_str(name), &b, &s))
        fail_msg("'%s' was not split", name);
    if (!stm_slice_eq(b, stm_slice_str(base)) || !stm_slice_eq(s, stm_slice_str(selector)))
        fail_msg("'%s' became '%.*s' and '%.*s'", name, (int)b.len, (const char *)b.data, (int)s.len, (const char *)s.data);
}

static void assert_no_split(const char *name)
{
    struct stm_slice b = stm_slice("?", 1), s = stm_slice("!", 1);

    if (stm_name_split(stm_slice_str(name), &b, &s))
        fail_msg("'%s' was split", name);
    assert_true(stm_slice_eq(b, stm_slice("?", 1)) && stm_slice_eq(s, stm_slice("!", 1)));
}

/* --- splitting --- */

static void names_split_at_their_last_sign(void **state)
{
    (void)state;
    assert_split("word@v1.2.3", "word", "v1.2.3");
    assert_split("word@", "word", "");
    assert_split("me@example.org", "me", "example.org");
    assert_split("me@example.org@v1.0.0", "me@example.org", "v1.0.0");
    assert_split("a@@v1", "a@", "v1");
    assert_split("@@v1", "@", "v1");
    assert_split("@@", "@", "");
    assert_split("@a@v1", "@a", "v1");
    assert_split("word@v1.2.0..v1.3.0", "word", "v1.2.0..v1.3.0");
}

static void without_a_sign_or_a_base_there_is_no_split(void **state)
{
    (void)state;
    assert_no_split("word");
    assert_no_split("");
    assert_no_split("@");
    assert_no_split("@v1.2.3");
    assert_no_split("@GMT-2026.11.20-10.15.00");
}

static void sambas_form_splits_before_both_signs(void **state)
{
    (void)state;
    assert_split("word@@GMT-2026.11.20-10.15.00", "word", "@GMT-2026.11.20-10.15.00");
    assert_split("word@GMT-2026.11.20-10.15.00", "word", "GMT-2026.11.20-10.15.00");
    assert_split("a@b@@GMT-2026.11.20-10.15.00", "a@b", "@GMT-2026.11.20-10.15.00");
    /* Not a time of Samba's, or no base before both: an ordinary split. */
    assert_split("word@@GMT-2026.11.31-10.15.00", "word@", "GMT-2026.11.31-10.15.00");
    assert_split("word@@GMT-", "word@", "GMT-");
    assert_split("word@@2026-11-20", "word@", "2026-11-20");
    assert_split("@@GMT-2026.11.20-10.15.00", "@", "GMT-2026.11.20-10.15.00");
}

static void splitting_is_about_bytes_not_characters(void **state)
{
    struct stm_slice b, s;

    (void)state;
    assert_true(stm_name_split(stm_slice("\xff\xfe@v1", 5), &b, &s));
    assert_true(stm_slice_eq(b, stm_slice("\xff\xfe", 2)));
    assert_true(stm_slice_eq(s, stm_slice("v1", 2)));
    assert_split("wörter@~1", "wörter", "~1");
    assert_true(stm_name_split(stm_slice("ab@cd", 3), &b, &s)); /* no further than the slice */
    assert_int_equal(s.len, 0);
}

/* --- selectors --- */

static void every_row_of_the_table_of_names_is_understood(void **state)
{
    struct stm_selector sel;

    (void)state;
    sel = parse("v1.2.3");
    assert_int_equal(sel.kind, STM_SEL_EXACT);
    assert_semver(sel.semver, 1, 2, 3);
    assert_kind("latest", STM_SEL_LATEST);
    sel = parse("v7");
    assert_int_equal(sel.kind, STM_SEL_MAJOR);
    assert_int_equal(sel.semver.major, 7);
    sel = parse("v1.20");
    assert_int_equal(sel.kind, STM_SEL_MINOR);
    assert_int_equal(sel.semver.major, 1);
    assert_int_equal(sel.semver.minor, 20);
    sel = parse("~2");
    assert_int_equal(sel.kind, STM_SEL_BACK);
    assert_int_equal(sel.back, 2);
    sel = parse("2026-11-20");
    assert_int_equal(sel.kind, STM_SEL_TIME);
    assert_int_equal(sel.time_ns, INT64_C(1795219199999999999));
    sel = parse("2026-11-20T10.15.00Z");
    assert_int_equal(sel.kind, STM_SEL_TIME);
    assert_int_equal(sel.time_ns, INT64_C(1795169700999999999));
    sel = parse("=3fa9c2");
    assert_int_equal(sel.kind, STM_SEL_HASH);
    assert_string_equal(sel.hash, "3fa9c2");
    sel = parse("v1.2.0..v1.3.0");
    assert_int_equal(sel.kind, STM_SEL_DIFF);
    assert_semver(sel.semver, 1, 2, 0);
    assert_semver(sel.semver2, 1, 3, 0);
    assert_kind("", STM_SEL_DIR);
}

static void the_words_that_create_versions_name_their_part(void **state)
{
    (void)state;
    assert_kind("major", STM_SEL_BUMP);
    assert_int_equal(parse("major").bump, STM_BUMP_MAJOR);
    assert_kind("minor", STM_SEL_BUMP);
    assert_int_equal(parse("minor").bump, STM_BUMP_MINOR);
    assert_kind("patch", STM_SEL_BUMP);
    assert_int_equal(parse("patch").bump, STM_BUMP_PATCH);
}

static void other_reserved_words_mean_nothing_yet(void **state)
{
    static const char *const words[] = {"log", "log.jsonl", "head", "first", "draft", "pending"};

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_kind(words[i], STM_SEL_RESERVED);
}

static void sambas_times_are_times_with_and_without_their_sign(void **state)
{
    (void)state;
    assert_kind("GMT-2026.11.20-10.15.00", STM_SEL_TIME);
    assert_kind("@GMT-2026.11.20-10.15.00", STM_SEL_TIME);
    assert_int_equal(parse("@GMT-2026.11.20-10.15.00").time_ns, parse("2026-11-20T10.15.00").time_ns);
}

static void going_back_takes_any_count_of_32_bits(void **state)
{
    (void)state;
    assert_int_equal(parse("~0").back, 0);
    assert_int_equal(parse("~4294967295").back, UINT32_MAX);
    assert_no_selector(stm_slice_str("~4294967296"));
    assert_no_selector(stm_slice_str("~"));
    assert_no_selector(stm_slice_str("~01"));
    assert_no_selector(stm_slice_str("~-1"));
    assert_no_selector(stm_slice_str("~1 "));
    assert_no_selector(stm_slice_str("~~1"));
}

static void hashes_have_1_to_32_digits_and_become_lower_case(void **state)
{
    (void)state;
    assert_string_equal(parse("=a").hash, "a");
    assert_string_equal(parse("=ABCDEFabcdef0123456789").hash, "abcdefabcdef0123456789");
    assert_string_equal(parse("=0123456789abcdef0123456789ABCDEF").hash, "0123456789abcdef0123456789abcdef");
    assert_no_selector(stm_slice_str("="));
    assert_no_selector(stm_slice_str("=0123456789abcdef0123456789abcdef0"));
    assert_no_selector(stm_slice_str("=g"));
    assert_no_selector(stm_slice_str("=3f a9"));
    assert_no_selector(stm_slice_str("=0x3f"));
    assert_no_selector(stm_slice_str("=@"));
    assert_no_selector(stm_slice_str("=`"));
    assert_no_selector(stm_slice_str("=/"));
    assert_no_selector(stm_slice_str("=:"));
}

static void malformed_versions_are_no_selectors(void **state)
{
    static const char *const bad[] = {
        "v",
        "V1",
        "v1.",
        "v1.2.",
        "v1.2.3.",
        "v1.2.3.4",
        "v01",
        "v1.02",
        "v4294967296",
        "v1.x",
        "v1.2.3-rc",
        "v1 ",
        " v1",
        "1.2.3",
        "1",
        "v-1",
        "v1..v2",
        "v1.2..v1.3",
        "v1.2.0...v1.3.0",
        "v1.2.0..",
        "..v1.3.0",
        "..",
        "v1.2.0.v1.3.0",
        "v1.2.0..v1.3.0..v1.4.0",
        "v1.2.0..latest",
        "v1.2.0..v1.3.x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_no_selector(stm_slice_str(bad[i]));
}

static void malformed_times_and_words_are_no_selectors(void **state)
{
    static const char *const bad[] = {
        "2026-11-31", "2026-13-01", "2026-11", "2026",    "2026-11-20T25", "2026-11-20T10:15", "Latest",
        "LATEST",     "latest ",    "late",    "latests", "Major",         "example.org",      "2x",
        "2x.png",     ".",          "@",       "@v1.2.3", "@2026-11-20",   "@latest",          "lo",
        "logs",       "log.json",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_no_selector(stm_slice_str(bad[i]));
    assert_no_selector(stm_slice("\xff", 1));
    assert_no_selector(stm_slice("v1\0", 3));
    assert_no_selector(stm_slice("latest\0", 7));
    assert_no_selector(stm_slice("\0", 1));
}

/* Every text of up to three characters of the grammar's alphabet: either a selector or untouched output, never anything else. */
static void every_short_text_is_either_a_selector_or_refused(void **state)
{
    static const char alphabet[] = "v0159.~=@afgTZ-";
    const size_t n = sizeof alphabet - 1;
    size_t taken = 0;

    (void)state;
    for (size_t i = 0; i < n * n * n; i++) {
        char text[3] = {alphabet[i % n], alphabet[i / n % n], alphabet[i / n / n]};
        struct stm_selector sel = {.kind = STM_SEL_DIR};
        int err = stm_selector_parse(stm_slice(text, 3), &sel);
        assert_true(err == 0 || err == STM_E_BAD_SELECTOR);
        assert_true((err == 0) == (sel.kind != STM_SEL_DIR));
        taken += err == 0;
    }
    /* v and two digits (3 * 4), ~ and two digits (3 * 4), = and two of 0 1 5 9 a f (6 * 6); v0. and the like are none. */
    assert_int_equal(taken, 12 + 12 + 36);
}

/* --- tags --- */

static void tags_are_words_of_letters_digits_and_a_few_signs(void **state)
{
    static const char *const good[] = {"release",           "a",    "2026", "rc-1",   "v1.2.3-rc1", "first_edition", "...", ".hidden", "-",
                                       "Ausgabe-für-Ärzte", "版本", "𐍈",    "LATEST", "logs",       "2026-13-01"};
    static const char *const bad[] = {"",      " ",  "a b", "a/b", "a@b", "a:b", "a=b", "~1x", "a~", "a\n",
                                      "a\x7f", "a*", "\"",  "(",   "a,b", "a+b", "#1",  ".",   ".."};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!stm_tag_valid(stm_slice_str(good[i])))
            fail_msg("'%s' was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (stm_tag_valid(stm_slice_str(bad[i])))
            fail_msg("'%s' was taken", bad[i]);
    assert_false(stm_tag_valid(stm_slice("a\0", 2)));
}

static void no_selector_and_no_reserved_word_is_a_tag(void **state)
{
    static const char *const bad[] = {"latest",
                                      "major",
                                      "minor",
                                      "patch",
                                      "log",
                                      "log.jsonl",
                                      "head",
                                      "first",
                                      "draft",
                                      "pending",
                                      "v1",
                                      "v1.2",
                                      "v1.2.3",
                                      "v1.2.0..v1.3.0",
                                      "2026-11-20",
                                      "2026-11-20T10",
                                      "GMT-2026.11.20-10.15.00"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (stm_tag_valid(stm_slice_str(bad[i])))
            fail_msg("'%s' was taken", bad[i]);
}

static void tags_have_at_most_100_bytes(void **state)
{
    char text[101];

    (void)state;
    memset(text, 'x', sizeof text);
    assert_true(stm_tag_valid(stm_slice(text, 100)));
    assert_false(stm_tag_valid(stm_slice(text, 101)));
}

static void tags_are_well_formed_utf8(void **state)
{
    static const char *const good[] = {"\xc2\x80",     "\xdf\xbf",         "\xe0\xa0\x80",    "\xed\x9f\xbf",
                                       "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x7f",
        "\xc2\xc0",
        "\xe0\x9f\xbf",
        "\xe0\xa0",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xf0\x90\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xe2\x28\xa1",
        "\xe2\x82\x28",
        "a\xff",
        "\xc2\x80\x80",
        "\xf0\x90\x28\x80",
        "\xf0\x90\x80\xc0",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(stm_tag_valid(stm_slice_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (stm_tag_valid(stm_slice_str(bad[i])))
            fail_msg("bad sequence %zu was taken", i);
    assert_false(stm_tag_valid(stm_slice("\xe7\x89\x88", 2))); /* no further than the slice */
}

/* --- names --- */

static void ordinary_names_of_any_bytes_are_fine(void **state)
{
    static const char *const good[] = {"a",    "...",  ".hidden", "..a", "a b", "me@example.org", "@", "\xff\xfe",
                                       "a\\b", "a\nb", "版本",    "-rf", "*"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(stm_name_check(stm_slice_str(good[i])), 0);
}

static void names_that_no_directory_can_hold_are_refused(void **state)
{
    (void)state;
    assert_int_equal(stm_name_check(stm_slice(NULL, 0)), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice_str("")), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice_str(".")), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice_str("..")), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice_str("/")), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice_str("a/b")), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice_str("ab/")), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice("a\0b", 3)), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice("\0", 1)), STM_E_BAD_NAME);
    assert_int_equal(stm_name_check(stm_slice("a\0", 2)), STM_E_BAD_NAME);
}

static void names_have_at_most_255_bytes(void **state)
{
    char name[257];

    (void)state;
    memset(name, 'x', sizeof name);
    assert_int_equal(stm_name_check(stm_slice(name, 255)), 0);
    assert_int_equal(stm_name_check(stm_slice(name, 256)), -ENAMETOOLONG);
    assert_int_equal(stm_name_check(stm_slice(name, 257)), -ENAMETOOLONG);
    memset(name, 0xff, sizeof name);
    assert_int_equal(stm_name_check(stm_slice(name, 255)), 0);
    name[254] = '/';
    assert_int_equal(stm_name_check(stm_slice(name, 255)), STM_E_BAD_NAME);
}

/* --- junk --- */

static void leavings_of_editors_and_systems_are_junk(void **state)
{
    static const char *const junk[] = {
        ".word.swp",
        "word.swp",
        ".swp",
        ".word.swo",
        ".word.swx",
        ".word.swpx",
        "word~",
        "~",
        "word.tmp~",
        ".word.un~",
        "4913",
        ".DS_Store",
        "._word",
        "._",
        ".fuse_hidden0000000100000001",
        ".fuse_hidden",
        ".nfs00000000001",
        ".#word",
        ".#",
        "#word#",
        "##",
        "#word with spaces#",
        "sedAbC12x",
        "sedXXXXXX",
        "sed000000",
        ".word.A1b2C3",
        ".word.XXXXXX",
        ".word.txt.aB3dE6",
        "..hidden.a1b2c3",
        ".a.zzzzz9",
        ".goutputstream-A1B2C3",
        ".goutputstream-XXXXXX",
        ".serendipity.Q8yKzl",
        "\xff~",
    };

    (void)state;
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++)
        if (!stm_name_is_junk(stm_slice_str(junk[i])))
            fail_msg("'%s' is junk", junk[i]);
}

static void what_only_looks_like_junk_keeps_its_history(void **state)
{
    static const char *const kept[] = {
        "word",
        "swp",
        "word.swp.txt",
        "wordswp",
        "word.swpy",
        "word.SWP",
        "~word",
        "wo~rd",
        "49130",
        "04913",
        "4914",
        "DS_Store",
        ".DS_Store2",
        ".ds_store",
        "_word",
        ".word",
        ".fuse_hidde",
        "fuse_hidden1",
        ".nf",
        "nfs0001",
        "#",
        "#word",
        "word#",
        ".",
        "..",
        "",
        "sed",
        "sedan",
        "sedA1b2C",
        "sedA1b2C34",
        "SedA1b2C3",
        "sedA1b-c3",
        "xsedA1b2C3",
        ".word.A1b2C",
        ".word.A1b2C34",
        "word.A1b2C3",
        ".word.A1b2-3",
        ".wordA1b2C3",
        "..A1b2C3",
        ".A1b2C3",
        ".word.A1b2C\xc3",
        ".goutputstream-A1B2C",
        ".goutputstream-A1B2C34",
        "goutputstream-A1B2C3",
        ".goutputstream-",
    };

    (void)state;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (stm_name_is_junk(stm_slice_str(kept[i])))
            fail_msg("'%s' is not junk", kept[i]);
}

static void words_that_begin_like_a_temporary_file_of_sed_keep_their_history(void **state)
{
    static const char *const words[] = {"sedentary", "sediments",      "seditious",         "seduction",       "seductive",
                                        "sedatives", ".bashrc.backup", ".gitignore.sample", ".eslintrc.config"};

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (stm_name_is_junk(stm_slice_str(words[i])))
            fail_msg("'%s' is not junk", words[i]);
}

static void only_trash_and_trash_of_a_user_number_are_refused(void **state)
{
    static const char *const kept[] = {"",        ".Tras",      ".Trash-", ".Trash-a", ".Trash-1a", ".Trash-a1",
                                       ".Trash1", ".Trash-1-2", ".trash",  "Trash",    ".Trashes",  ".Trash--1"};

    (void)state;
    assert_true(stm_name_is_refused(stm_slice_str(".Trash")));
    assert_true(stm_name_is_refused(stm_slice_str(".Trash-0")));
    assert_true(stm_name_is_refused(stm_slice_str(".Trash-1000")));
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (stm_name_is_refused(stm_slice_str(kept[i])))
            fail_msg("'%s' was refused", kept[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_split_at_their_last_sign),
        cmocka_unit_test(without_a_sign_or_a_base_there_is_no_split),
        cmocka_unit_test(sambas_form_splits_before_both_signs),
        cmocka_unit_test(splitting_is_about_bytes_not_characters),
        cmocka_unit_test(every_row_of_the_table_of_names_is_understood),
        cmocka_unit_test(the_words_that_create_versions_name_their_part),
        cmocka_unit_test(other_reserved_words_mean_nothing_yet),
        cmocka_unit_test(sambas_times_are_times_with_and_without_their_sign),
        cmocka_unit_test(going_back_takes_any_count_of_32_bits),
        cmocka_unit_test(hashes_have_1_to_32_digits_and_become_lower_case),
        cmocka_unit_test(malformed_versions_are_no_selectors),
        cmocka_unit_test(malformed_times_and_words_are_no_selectors),
        cmocka_unit_test(every_short_text_is_either_a_selector_or_refused),
        cmocka_unit_test(tags_are_words_of_letters_digits_and_a_few_signs),
        cmocka_unit_test(no_selector_and_no_reserved_word_is_a_tag),
        cmocka_unit_test(tags_have_at_most_100_bytes),
        cmocka_unit_test(tags_are_well_formed_utf8),
        cmocka_unit_test(ordinary_names_of_any_bytes_are_fine),
        cmocka_unit_test(names_that_no_directory_can_hold_are_refused),
        cmocka_unit_test(names_have_at_most_255_bytes),
        cmocka_unit_test(leavings_of_editors_and_systems_are_junk),
        cmocka_unit_test(what_only_looks_like_junk_keeps_its_history),
        cmocka_unit_test(words_that_begin_like_a_temporary_file_of_sed_keep_their_history),
        cmocka_unit_test(only_trash_and_trash_of_a_user_number_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
