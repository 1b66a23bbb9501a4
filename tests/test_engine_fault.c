/*
 * test_engine_fault.c: the fault engine breaks what it was told to break, when it was told, and nothing else. That it is an engine like
 * any other while it is not armed, test_engine.c shows.
 */
#include "support/cmocka.h"
#include "support/kv.h"

static int setup(void **state)
{
    struct stm_engine *mem, *e;

    if (stm_engine_mem_new(&mem) < 0 || stm_engine_fault_new(mem, &e) < 0)
        return -1;
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    struct stm_engine *e = *state;

    e->ops->free(e);
    return 0;
}

static int try_put(struct stm_engine *e, const char *key)
{
    struct stm_op op = kv_op_put(STM_SYS, key, "v");

    return e->ops->commit(e, &op, 1, false);
}

static int try_get(struct stm_engine *e, const char *key)
{
    struct stm_buf buf = STM_BUF_INIT;
    int err = e->ops->get(e, STM_SYS, stm_slice_str(key), &buf);

    stm_buf_release(&buf);
    return err;
}

static void only_the_nth_operation_fails(void **state)
{
    stm_engine_fault_arm(*state, 2, -EIO, false, STM_FAULT_COMMIT);
    assert_int_equal(try_put(*state, "a"), 0);
    assert_int_equal(try_put(*state, "b"), -EIO);
    assert_int_equal(try_put(*state, "c"), 0);
    assert_int_equal(stm_engine_fault_count(*state), 3);
    kv_expect_keys(*state, STM_SYS, "", "", "a c");
}

static void a_sticky_fault_lasts_until_the_next_arm(void **state)
{
    stm_engine_fault_arm(*state, 1, -ENOSPC, true, STM_FAULT_COMMIT | STM_FAULT_SYNC);
    assert_int_equal(try_put(*state, "a"), -ENOSPC);
    assert_int_equal(((struct stm_engine *)*state)->ops->sync(*state), -ENOSPC);
    assert_int_equal(try_put(*state, "a"), -ENOSPC);
    stm_engine_fault_arm(*state, 0, 0, false, STM_FAULT_ALL);
    assert_int_equal(stm_engine_fault_count(*state), 0);
    assert_int_equal(try_put(*state, "a"), 0);
    assert_int_equal(stm_engine_fault_count(*state), 1);
}

static void what_the_mask_leaves_out_is_neither_counted_nor_broken(void **state)
{
    stm_engine_fault_arm(*state, 1, -EIO, true, STM_FAULT_GET);
    assert_int_equal(try_put(*state, "a"), 0);
    assert_int_equal(stm_engine_fault_count(*state), 0);
    assert_int_equal(try_get(*state, "a"), -EIO);
    assert_int_equal(stm_engine_fault_count(*state), 1);
}

static void every_step_of_an_iterator_can_fail(void **state)
{
    struct stm_engine *e = *state;
    struct stm_iter *it;

    kv_put(e, STM_SYS, "a", "");
    kv_put(e, STM_SYS, "b", "");
    stm_engine_fault_arm(e, 1, STM_E_CORRUPT, false, STM_FAULT_ITER);
    assert_int_equal(e->ops->iter_new(e, STM_SYS, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), STM_E_CORRUPT);
    assert_int_equal(e->ops->iter_new(e, STM_SYS, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
    stm_engine_fault_arm(e, 1, STM_E_CORRUPT, true, STM_FAULT_ITER);
    assert_int_equal(it->ops->iter_seek(it, stm_slice("", 0)), STM_E_CORRUPT);
    assert_int_equal(it->ops->iter_seek_back(it, stm_slice("z", 1)), STM_E_CORRUPT);
    stm_engine_fault_arm(e, 2, STM_E_CORRUPT, true, STM_FAULT_ITER);
    assert_int_equal(it->ops->iter_seek(it, stm_slice("", 0)), 1);
    assert_int_equal(it->ops->iter_next(it), STM_E_CORRUPT);
    it->ops->iter_free(it);
}

static void an_ingestion_that_fails_anywhere_leaves_nothing(void **state)
{
    struct stm_engine *e = *state;
    struct stm_ingest *in;

    stm_engine_fault_arm(e, 1, -ENOSPC, false, STM_FAULT_INGEST);
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), -ENOSPC);
    stm_engine_fault_arm(e, 3, -ENOSPC, true, STM_FAULT_INGEST);
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("a"), stm_slice_str("")), 0);
    assert_int_equal(in->ops->ingest_put(in, stm_slice_str("b"), stm_slice_str("")), -ENOSPC);
    assert_int_equal(in->ops->ingest_finish(in, false), -ENOSPC);
    kv_expect_keys(e, STM_CHUNK, "", "", "");

    stm_engine_fault_arm(e, 2, -ENOSPC, true, STM_FAULT_INGEST);
    assert_int_equal(e->ops->ingest_new(e, STM_CHUNK, &in), 0);
    assert_int_equal(in->ops->ingest_finish(in, true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_nth_operation_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sticky_fault_lasts_until_the_next_arm, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_mask_leaves_out_is_neither_counted_nor_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(every_step_of_an_iterator_can_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(an_ingestion_that_fails_anywhere_leaves_nothing, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
