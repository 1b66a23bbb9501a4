/* test_service.c: what commands do to a store (service.h), without a mount: finding paths, log, show, restore, status. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support/cmocka.h"
#include "support/world.h"

#include "service.h"

static struct world w;
static const uint64_t root = STM_ROOT_OBJECT;

/* What a service printed. */
struct page {
    struct stm_buf text[2]; /* by channel */
};

static int keep(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    struct page *p = arg;

    return stm_buf_append(&p->text[channel], data, len);
}

static struct page page;

static int setup(void **state)
{
    (void)state;
    world_open_mem(&w);
    return 0;
}

static void clear_page(void)
{
    stm_buf_release(&page.text[0]);
    stm_buf_release(&page.text[1]);
}

static int teardown(void **state)
{
    (void)state;
    clear_page();
    world_check(&w);
    world_close(&w);
    return 0;
}

static const char *printed(enum stm_channel channel)
{
    assert_int_equal(stm_buf_append(&page.text[channel], "", 1), 0);
    page.text[channel].len--;
    return (const char *)page.text[channel].data;
}

static int run_request(json_t *request, bool read_only)
{
    const struct stm_service *service = stm_service_find(json_string_value(json_object_get(request, "command")));
    struct stm_out out = {.write = keep, .arg = &page};
    struct stm_env env = {.store = w.store, .out = &out, .read_only = read_only, .caller = {1000, 1000, 1}};
    int code;

    clear_page();
    assert_non_null(service);
    code = service->run(&env, request);
    assert_int_equal(stm_out_release(&out), 0);
    json_decref(request);
    return code;
}

static int run(const char *command, const char *path)
{
    struct stm_resource r = {.path = (char *)(uintptr_t)path, .seq = STM_SEQ_HEAD};

    return run_request(stm_request_new(command, &r), false);
}

static void shows(const char *path, const char *expected)
{
    int code = run("show", path);

    if (code != 0)
        fail_msg("show %s: %d: %s", path, code, printed(STM_CHANNEL_ERR));
    assert_string_equal(printed(STM_CHANNEL_OUT), expected);
}

/* Nothing on the output, a sentence beside it, and the code. */
static void fails(const char *command, const char *path, int code, const char *word)
{
    assert_int_equal(run(command, path), code);
    assert_string_equal(printed(STM_CHANNEL_OUT), "");
    if (strstr(printed(STM_CHANNEL_ERR), word) == NULL)
        fail_msg("%s %s: '%s' does not say '%s'", command, path, printed(STM_CHANNEL_ERR), word);
}

static uint64_t make_ode(void)
{
    uint64_t dir = world_mkdir(&w, root, "poems"), f = world_create(&w, dir, "ode");

    world_save(&w, f, "one", 0);
    world_save(&w, f, "two", 0);
    world_save(&w, f, "three", WORLD_MINOR);
    world_save(&w, f, "one", WORLD_MAJOR);
    return f;
}

static void each_selector_shows_its_version(void **state)
{
    (void)state;
    make_ode();
    shows("/poems/ode", "one");
    shows("/poems/ode@v1.0.0", "one");
    shows("/poems/ode@v1.0", "two");
    shows("/poems/ode@v1", "three");
    shows("/poems/ode@latest", "one");
    shows("/poems/ode@~0", "one");
    shows("/poems/ode@~2", "two");
    shows("/poems/ode@/v1.0.1", "two");
    shows("/poems/ode@/latest", "one");
}

static void what_is_not_there_is_said_and_not_shown(void **state)
{
    (void)state;
    make_ode();
    fails("show", "/poems/nothing", STM_EXIT_NOT_FOUND, "/poems/nothing");
    fails("show", "/poems/nothing@v1.0.0", STM_EXIT_NOT_FOUND, "'nothing'");
    fails("show", "/prose/ode", STM_EXIT_NOT_FOUND, "no directory /prose");
    fails("show", "/poems/ode/line", STM_EXIT_NOT_FOUND, "/poems/ode");
    fails("show", "/poems/ode@v9.9.9", STM_EXIT_NOT_FOUND, "no such version");
    fails("show", "/poems/ode@~4", STM_EXIT_NOT_FOUND, "no such version");
    fails("show", "/poems/ode@nonsense", STM_EXIT_NOT_FOUND, "'nonsense' selects no version");
    fails("show", "/poems/ode@2026-02-30", STM_EXIT_NOT_FOUND, "selects no version");
    fails("show", "/poems/ode@minor", STM_EXIT_USAGE, "for writing");
    fails("show", "/poems/ode@v1.0.0..v2.0.0", STM_EXIT_USAGE, "diff");
    fails("show", "/poems", STM_EXIT_USAGE, "directory");
    fails("show", "/", STM_EXIT_USAGE, "directory");
    fails("log", "/poems", STM_EXIT_USAGE, "directory");
    fails("restore", "/poems/ode", STM_EXIT_USAGE, "which version");
}

static void a_name_that_holds_an_at_sign_wins_over_a_selector(void **state)
{
    uint64_t f, literal;

    (void)state;
    f = world_create(&w, root, "word");
    literal = world_create(&w, root, "word@v1.0.0");
    world_save(&w, f, "old", 0);
    world_save(&w, f, "new", 0);
    world_save(&w, literal, "literal", 0);
    shows("/word@v1.0.0", "literal");
    shows("/word@v1.0.1", "new");
    shows("/word@v1.0.0@v1.0.0", "literal");
}

static void the_log_is_newest_first_for_people_and_oldest_first_in_json(void **state)
{
    struct stm_resource r = {.path = (char[]){"/poems/ode"}, .seq = STM_SEQ_HEAD};
    json_t *request = stm_request_new("log", &r), *first;
    const char *text;

    (void)state;
    make_ode();
    assert_int_equal(run("log", "/poems/ode"), 0);
    text = printed(STM_CHANNEL_OUT);
    assert_memory_equal(text, "v2.0.0 ", 7);
    assert_true(strstr(text, "v1.1.0") < strstr(text, "v1.0.1"));
    assert_true(strstr(text, "v1.0.1") < strstr(text, "v1.0.0"));
    assert_int_equal(json_object_set_new(request, "json", json_true()), 0);
    assert_int_equal(run_request(request, false), 0);
    first = json_loads(printed(STM_CHANNEL_OUT), JSON_DISABLE_EOF_CHECK, NULL);
    assert_string_equal(json_string_value(json_object_get(first, "version")), "v1.0.0");
    assert_int_equal(json_integer_value(json_object_get(first, "size")), 3);
    assert_true(json_is_null(json_object_get(first, "supersedes")));
    assert_string_equal(json_string_value(json_object_get(first, "superseded_by")), "v1.0.1");
    json_decref(first);
}

static void a_file_that_was_never_written_has_an_empty_log_and_content(void **state)
{
    (void)state;
    world_create(&w, root, "new");
    assert_int_equal(run("log", "/new"), 0);
    assert_string_equal(printed(STM_CHANNEL_OUT), "");
    shows("/new", "");
    fails("show", "/new@latest", STM_EXIT_NOT_FOUND, "no version yet");
}

static void restore_makes_an_old_content_the_newest_version(void **state)
{
    uint64_t f = make_ode();

    (void)state;
    assert_int_equal(run("restore", "/poems/ode@v1.0.1"), 0);
    assert_non_null(strstr(printed(STM_CHANNEL_OUT), "v1.0.1 is now v2.0.1"));
    world_expect(&w, f, "two");
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two v1.1.0=three v2.0.0=one v2.0.1=two");
}

static void restoring_what_the_file_holds_already_changes_nothing(void **state)
{
    uint64_t f = make_ode();

    (void)state;
    assert_int_equal(run("restore", "/poems/ode@v1.0.0"), 0);
    assert_non_null(strstr(printed(STM_CHANNEL_OUT), "already"));
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two v1.1.0=three v2.0.0=one");
}

static void a_removed_file_is_shown_and_restored_under_its_name(void **state)
{
    uint64_t dir, f;

    (void)state;
    make_ode();
    dir = world_find(&w, root, "poems");
    world_unlink(&w, dir, "ode");
    shows("/poems/ode@v1.0.1", "two");
    shows("/poems/ode", "one");
    assert_int_equal(run("log", "/poems/ode"), 0);
    assert_int_equal(run("restore", "/poems/ode@v1"), 0);
    assert_non_null(strstr(printed(STM_CHANNEL_OUT), "ode is back, with the content of v1.1.0, as v2.0.1"));
    f = world_find(&w, dir, "ode");
    assert_int_not_equal(f, 0);
    world_expect(&w, f, "three");
    assert_int_equal(run("log", "/poems/ode"), 0);
    assert_memory_equal(printed(STM_CHANNEL_OUT), "v2.0.1 ", 7);
}

static void large_contents_are_shown_and_restored_byte_by_byte(void **state)
{
    enum { SIZE = 3 << 20 };
    uint64_t f = world_create(&w, root, "big");
    uint8_t *bytes = malloc(SIZE);
    unsigned seed = 7;

    (void)state;
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)rand_r(&seed);
    assert_int_equal(world_try_save(&w, f, stm_slice(bytes, SIZE), 0), 0);
    world_save(&w, f, "small", 0);
    assert_int_equal(run("show", "/big@v1.0.0"), 0);
    assert_int_equal(page.text[STM_CHANNEL_OUT].len, SIZE);
    assert_memory_equal(page.text[STM_CHANNEL_OUT].data, bytes, SIZE);
    assert_int_equal(run("restore", "/big@v1.0.0"), 0);
    assert_int_equal(world_object(&w, f).size, SIZE);
    assert_int_equal(run("show", "/big"), 0);
    assert_memory_equal(page.text[STM_CHANNEL_OUT].data, bytes, SIZE);
    free(bytes);
}

static void nothing_is_restored_where_nothing_may_be_changed(void **state)
{
    uint64_t f = make_ode();
    struct stm_resource r = {.path = (char[]){"/poems/ode@v1.0.1"}, .seq = STM_SEQ_HEAD};

    (void)state;
    assert_int_equal(run_request(stm_request_new("restore", &r), true), STM_EXIT_FAILED);
    world_expect(&w, f, "one");
    r.seq = stm_store_seq(w.store) - 1;
    assert_int_equal(run_request(stm_request_new("restore", &r), false), STM_EXIT_USAGE);
    world_expect(&w, f, "one");
}

static void a_path_in_the_past_shows_what_was_there_then(void **state)
{
    struct stm_resource r = {.path = (char[]){"/poems/ode"}};

    (void)state;
    make_ode();
    r.seq = stm_store_seq(w.store) - 1;
    assert_int_equal(run_request(stm_request_new("show", &r), false), 0);
    assert_string_equal(printed(STM_CHANNEL_OUT), "three");
    shows("/poems@2999-01-01/ode", "one");
    fails("show", "/poems@1960-01-01/ode", STM_EXIT_NOT_FOUND, "does not exist");
}

static void requests_that_make_no_sense_get_a_sentence(void **state)
{
    static const char *const wrong[] = {
        "{\"command\":\"show\"}",
        "{\"command\":\"show\",\"path\":7}",
        "{\"command\":\"show\",\"path\":\"%zz\"}",
        "{\"command\":\"show\",\"path\":\"/a/../b\"}",
        "{\"command\":\"show\",\"path\":\"a%00b\"}",
        "{\"command\":\"import\",\"path\":\"/a\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(run_request(json_loads(wrong[i], 0, NULL), false), STM_EXIT_USAGE);
        assert_non_null(strstr(printed(STM_CHANNEL_ERR), "stemma: "));
    }
    assert_null(stm_service_find("format"));
    assert_null(stm_service_find(NULL));
}

static void status_counts_commits_and_says_that_it_is_not_mounted(void **state)
{
    struct stm_resource r = {.path = (char[]){"/"}, .seq = STM_SEQ_HEAD};
    json_t *request = stm_request_new("status", &r), *answer;

    (void)state;
    make_ode();
    assert_int_equal(json_object_set_new(request, "json", json_true()), 0);
    assert_int_equal(run_request(request, false), 0);
    answer = json_loads(printed(STM_CHANNEL_OUT), 0, NULL);
    assert_true(json_is_false(json_object_get(answer, "mounted")));
    assert_int_equal(json_integer_value(json_object_get(answer, "seq")), stm_store_seq(w.store));
    json_decref(answer);
    assert_int_equal(run("status", "/"), 0);
    assert_non_null(strstr(printed(STM_CHANNEL_OUT), "mounted     no"));
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(each_selector_shows_its_version),
        WORLD_TEST(what_is_not_there_is_said_and_not_shown),
        WORLD_TEST(a_name_that_holds_an_at_sign_wins_over_a_selector),
        WORLD_TEST(the_log_is_newest_first_for_people_and_oldest_first_in_json),
        WORLD_TEST(a_file_that_was_never_written_has_an_empty_log_and_content),
        WORLD_TEST(restore_makes_an_old_content_the_newest_version),
        WORLD_TEST(restoring_what_the_file_holds_already_changes_nothing),
        WORLD_TEST(a_removed_file_is_shown_and_restored_under_its_name),
        WORLD_TEST(large_contents_are_shown_and_restored_byte_by_byte),
        WORLD_TEST(nothing_is_restored_where_nothing_may_be_changed),
        WORLD_TEST(a_path_in_the_past_shows_what_was_there_then),
        WORLD_TEST(requests_that_make_no_sense_get_a_sentence),
        WORLD_TEST(status_counts_commits_and_says_that_it_is_not_mounted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
