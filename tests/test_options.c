/* test_options.c: mount options as text -> values, and the help that their table makes. */
#include <stdio.h>
#include <stdlib.h>

#include "support/cmocka.h"

#include "exit.h"
#include "params.h"

static int parse(const char *text, struct stm_mount_options *o)
{
    char *why = NULL;
    int code = stm_mount_options_parse(text, false, o, &why);

    assert_true((code == 0) == (why == NULL));
    free(why);
    return code;
}

static void each_option_sets_its_field(void **state)
{
    struct stm_mount_options o = {0};

    (void)state;
    assert_int_equal(parse("ro,allow_other,versions=listed,max_threads=3,debug,nonempty,noexec", &o), 0);
    assert_true(o.read_only && o.allow_other && o.debug && o.nonempty && o.noexec);
    assert_int_equal(o.versions, STM_VERSIONS_LISTED);
    assert_int_equal(o.max_threads, 3);
}

static void a_later_option_wins_over_an_earlier_one(void **state)
{
    struct stm_mount_options o = {0};

    (void)state;
    assert_int_equal(parse("ro,rw,allow_other,noallow_other,versions=listed,versions=hidden", &o), 0);
    assert_false(o.read_only);
    assert_false(o.allow_other);
    assert_int_equal(o.versions, STM_VERSIONS_HIDDEN);
}

static void what_fstab_says_to_mount_is_accepted_and_means_nothing(void **state)
{
    struct stm_mount_options o = {0}, before = o;

    (void)state;
    assert_int_equal(parse("_netdev,nofail,user,users,nodev,nosuid,dev,suid,auto,noauto,defaults,rw,owner,comment=x,x-systemd.automount,"
                           "x-a=b,noatime,exec",
                           &o),
                     0);
    assert_memory_equal(&o, &before, sizeof(o));
}

static void empty_text_and_stray_commas_are_no_options(void **state)
{
    struct stm_mount_options o = {0};

    (void)state;
    assert_int_equal(parse("", &o), 0);
    assert_int_equal(parse(",,ro,,", &o), 0);
    assert_true(o.read_only);
}

static void a_wrong_option_is_a_usage_error_and_changes_nothing(void **state)
{
    static const char *const wrong[] = {"nosuch",
                                        "ro=1",
                                        "versions",
                                        "versions=",
                                        "versions=all",
                                        "versions=listed|hidden",
                                        "max_threads=0",
                                        "max_threads=65",
                                        "max_threads=-1",
                                        "max_threads=4x",
                                        "max_threads",
                                        "roo",
                                        "r",
                                        "x",
                                        "max_threads=99999999999999999999"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct stm_mount_options o = {0};
        char text[80];

        snprintf(text, sizeof(text), "nonempty,%s", wrong[i]);
        assert_int_equal(parse(text, &o), STM_EXIT_USAGE);
        assert_false(o.nonempty);
    }
}

static void the_sentence_names_the_option_and_the_help(void **state)
{
    struct stm_mount_options o = {0};
    char *why = NULL;

    (void)state;
    assert_int_equal(stm_mount_options_parse("ro,frobnicate=7", false, &o, &why), STM_EXIT_USAGE);
    assert_non_null(strstr(why, "'frobnicate'"));
    assert_non_null(strstr(why, "--help"));
    free(why);
}

static void sloppy_parsing_passes_over_what_is_unknown_only(void **state)
{
    struct stm_mount_options o = {0};
    char *why = NULL;

    (void)state;
    assert_int_equal(stm_mount_options_parse("frobnicate,ro,x=y", true, &o, &why), 0);
    assert_true(o.read_only);
    assert_int_equal(stm_mount_options_parse("versions=7", true, &o, &why), STM_EXIT_USAGE);
    free(why);
}

static void help_shows_each_row_that_has_a_text(void **state)
{
    struct stm_buf help = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_params_help(stm_mount_params, false, &help), 0);
    assert_non_null(strstr((const char *)help.data, "versions=hidden|listed"));
    assert_non_null(strstr((const char *)help.data, "max_threads=N"));
    assert_non_null(strstr((const char *)help.data, "(1 to 64 threads)"));
    assert_null(strstr((const char *)help.data, "_netdev"));
    stm_buf_release(&help);
}

/* What a supervisor passes to its daemons, which may have other defaults. */
static void options_as_text_say_the_same(void **state)
{
    static const char *const given[] = {"", "ro,allow_other,versions=listed,max_threads=3,debug,nonempty,noexec,nosupervise,hang_timeout=0",
                                        "rw,noallow_other,exec,supervise,hang_timeout=5"};

    (void)state;
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        struct stm_mount_options o, again;
        struct stm_buf text = STM_BUF_INIT;

        memset(&o, 0, sizeof(o));
        stm_mount_options_default(&o);
        assert_int_equal(parse(given[i], &o), 0);
        assert_int_equal(stm_mount_options_text(&o, &text), 0);
        again = o;
        again.read_only = !o.read_only; /* which the text must set right */
        again.allow_other = !o.allow_other;
        again.nosupervise = !o.nosupervise;
        again.versions = 1 - o.versions;
        again.hang_timeout++;
        assert_int_equal(parse((const char *)text.data, &again), 0);
        assert_memory_equal(&o, &again, sizeof(o));
        stm_buf_release(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_sets_its_field),
        cmocka_unit_test(a_later_option_wins_over_an_earlier_one),
        cmocka_unit_test(what_fstab_says_to_mount_is_accepted_and_means_nothing),
        cmocka_unit_test(empty_text_and_stray_commas_are_no_options),
        cmocka_unit_test(a_wrong_option_is_a_usage_error_and_changes_nothing),
        cmocka_unit_test(the_sentence_names_the_option_and_the_help),
        cmocka_unit_test(sloppy_parsing_passes_over_what_is_unknown_only),
        cmocka_unit_test(help_shows_each_row_that_has_a_text),
        cmocka_unit_test(options_as_text_say_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
