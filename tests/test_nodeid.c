/*
 * test_nodeid.c: numbers of nodes: round trips, ranges, and that the root is 1.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nodeid.h"

static void the_root_is_one(void **state)
{
    uint64_t ino = 0;
    (void)state;

    assert_int_equal(stm_nodeid_make((struct stm_node){STM_NODE_HEAD, 0, STM_ROOT_OBJECT}, &ino), 0);
    assert_true(ino == 1);
    assert_true(stm_nodeid_head(STM_ROOT_OBJECT) == 1);
}

static void every_kind_comes_back_as_it_was_made(void **state)
{
    static const struct stm_node nodes[] = {
        {STM_NODE_HEAD, 0, 1}, {STM_NODE_HEAD, 0, STM_ID_MAX}, {STM_NODE_VERSION, 0, 1}, {STM_NODE_VERSION, STM_ORDINAL_MAX, STM_ID_MAX},
        {STM_NODE_VIEW, 7, 1}, {STM_NODE_VIRTUAL, 0, 99},
    };
    (void)state;

    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        struct stm_node back;
        uint64_t ino;
        assert_int_equal(stm_nodeid_make(nodes[i], &ino), 0);
        assert_int_equal(stm_nodeid_parse(ino, &back), 0);
        assert_int_equal(back.kind, nodes[i].kind);
        assert_int_equal(back.n, nodes[i].n);
        assert_true(back.id == nodes[i].id);
    }
}

static void the_short_forms_agree_with_the_checked_one(void **state)
{
    uint64_t ino;
    (void)state;

    assert_int_equal(stm_nodeid_make((struct stm_node){STM_NODE_VERSION, 12, 345}, &ino), 0);
    assert_true(ino == stm_nodeid_version(345, 12));
    assert_int_equal(stm_nodeid_make((struct stm_node){STM_NODE_VIEW, 12, 345}, &ino), 0);
    assert_true(ino == stm_nodeid_view(12, 345));
    assert_int_equal(stm_nodeid_make((struct stm_node){STM_NODE_VIRTUAL, 0, 345}, &ino), 0);
    assert_true(ino == stm_nodeid_virtual(345));
}

static void what_does_not_fit_is_an_error_and_never_wraps(void **state)
{
    uint64_t ino = 77;
    (void)state;

    assert_int_equal(stm_nodeid_make((struct stm_node){STM_NODE_HEAD, 0, 0}, &ino), -EOVERFLOW);
    assert_int_equal(stm_nodeid_make((struct stm_node){STM_NODE_HEAD, 0, STM_ID_MAX + 1}, &ino), -EOVERFLOW);
    assert_int_equal(stm_nodeid_make((struct stm_node){STM_NODE_VERSION, STM_ORDINAL_MAX + 1, 1}, &ino), -EOVERFLOW);
    assert_true(ino == 77);
}

static void strange_numbers_are_stale(void **state)
{
    struct stm_node n;
    (void)state;

    assert_int_equal(stm_nodeid_parse(0, &n), -ESTALE);
    assert_int_equal(stm_nodeid_parse(UINT64_C(4) << 60 | 1, &n), -ESTALE);
    assert_int_equal(stm_nodeid_parse(UINT64_C(1) << 60, &n), -ESTALE);
    assert_int_equal(stm_nodeid_parse(UINT64_C(1) << 40 | 1, &n), -ESTALE); /* a head has no ordinal */
    assert_int_equal(stm_nodeid_parse(UINT64_C(3) << 60 | UINT64_C(1) << 40 | 1, &n), -ESTALE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_root_is_one),
        cmocka_unit_test(every_kind_comes_back_as_it_was_made),
        cmocka_unit_test(the_short_forms_agree_with_the_checked_one),
        cmocka_unit_test(what_does_not_fit_is_an_error_and_never_wraps),
        cmocka_unit_test(strange_numbers_are_stale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
