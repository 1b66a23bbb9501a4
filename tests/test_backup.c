/* Tests of rename.c with names of backups (ADR 10): the history stays with the name that people use. */
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

static void a_backup_name_takes_no_history_away(void **state)
{
    uint64_t f = world_create(&w, root, "word"), g, h;

    (void)state;
    world_save(&w, f, "one", 0);
    world_save(&w, f, "two", 0);
    uint64_t before = stm_store_seq(w.store);
    world_rename(&w, root, "word", "word~", false);
    world_expect(&w, f, "two");
    world_expect_chain(&w, f, "v1.0.0=one v1.0.1=two"); /* the backup shows it as well */
    g = world_create(&w, root, "word");
    world_save(&w, g, "three", 0);
    world_expect_chain(&w, g, "v1.0.0=one v1.0.1=two v1.0.2=three");
    world_rename(&w, root, "word", "word~", false); /* over the old backup */
    h = world_create(&w, root, "other");
    world_save(&w, h, "four", 0);
    world_rename(&w, root, "other", "word", false); /* a file with a line of its own, written beside it */
    world_expect_chain(&w, h, "v1.0.0=one v1.0.1=two v1.0.2=three v1.0.3=four");
    struct stm_view beside = stm_view_at(w.store, stm_store_seq(w.store) - 1);
    world_expect_at(&beside, world_at(&beside, root, "other"), "four"); /* which somebody may have seen */
    world_unlink(&w, root, "word~");
    world_expect_chain(&w, h, "v1.0.0=one v1.0.1=two v1.0.2=three v1.0.3=four");
    struct stm_view then = stm_view_at(w.store, before);
    assert_int_equal(world_at(&then, root, "word"), f);
    world_expect_at(&then, f, "two");
    world_rename(&w, root, "word", "word~", false); /* there and back */
    assert_int_equal(world_find(&w, root, "word"), 0);
    world_rename(&w, root, "word~", "word", false);
    world_expect_chain(&w, h, "v1.0.0=one v1.0.1=two v1.0.2=three v1.0.3=four");
    world_save(&w, h, "five", 0);
    world_expect_chain(&w, h, "v1.0.0=one v1.0.1=two v1.0.2=three v1.0.3=four v1.0.4=five");
}

static void an_ordinary_name_takes_the_history_along(void **state)
{
    uint64_t f = world_create(&w, root, "word"), g;

    (void)state;
    world_save(&w, f, "one", 0);
    world_rename(&w, root, "word", "renamed", false);
    g = world_create(&w, root, "word");
    world_save(&w, g, "two", 0);
    world_expect_chain(&w, f, "v1.0.0=one");
    world_expect_chain(&w, g, "v1.0.0=two");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_backup_name_takes_no_history_away),
        T(an_ordinary_name_takes_the_history_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
