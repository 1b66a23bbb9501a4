/*
 * test_vnode.c: interning and counting of nodes that are stored nowhere, without a mount.
 */
#define FUSE_USE_VERSION 314 /* vnode.h shows types of libfuse */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vnode.h"

struct world {
    struct stm_store *store;
    struct stm_fs *fs;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    char *why = NULL;

    assert_int_equal(stm_store_open(&(struct stm_store_options){.engine = STM_ENGINE_MEM, .create = true}, &w->store, &why), 0);
    assert_int_equal(stm_fs_new(w->store, &(struct stm_fs_options){.fsname = "test"}, &w->fs), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    assert_int_equal(stm_fs_free(w->fs), 0);
    stm_store_close(w->store);
    free(w);
    return 0;
}

static uint64_t intern_link(struct stm_fs *fs, const char *name, const char *target)
{
    struct stm_vnode want = {.kind = STM_V_LINK, .parent = 1};
    char copy[64];
    uint64_t number = 0;

    strcpy(want.name, name);
    strcpy(copy, target);
    want.target = copy;
    assert_int_equal(stm_vnode_intern(fs, &want, &number), 0);
    return number;
}

static void the_same_target_is_the_same_node(void **state)
{
    struct stm_fs *fs = ((struct world *)*state)->fs;
    uint64_t a = intern_link(fs, "w@latest", "w@v1.0.0"), b = intern_link(fs, "w@latest", "w@v1.0.0");

    assert_true(a == b);
    assert_true(stm_vnodes_count(fs) == 1);
    stm_vnode_forget(fs, a, 2);
}

static void another_target_is_another_node(void **state)
{
    struct stm_fs *fs = ((struct world *)*state)->fs;
    uint64_t a = intern_link(fs, "w@latest", "w@v1.0.0"), b = intern_link(fs, "w@latest", "w@v1.0.1");
    struct stm_vnode v;

    assert_true(a != b);
    assert_int_equal(stm_vnode_get(fs, b, &v), 0);
    assert_string_equal(v.target, "w@v1.0.1");
    stm_vnode_release(&v);
    stm_vnode_forget(fs, a, 1);
    stm_vnode_forget(fs, b, 1);
}

static void a_node_goes_when_the_kernel_has_forgotten_every_lookup(void **state)
{
    struct stm_fs *fs = ((struct world *)*state)->fs;
    uint64_t a = intern_link(fs, "w@v1", "w@v1.0.0");
    struct stm_vnode v;

    assert_true(intern_link(fs, "w@v1", "w@v1.0.0") == a);
    stm_vnode_forget(fs, a, 1);
    assert_int_equal(stm_vnode_get(fs, a, &v), 0);
    stm_vnode_release(&v);
    stm_vnode_forget(fs, a, 1);
    assert_int_equal(stm_vnode_get(fs, a, &v), -ESTALE);
    assert_true(stm_vnodes_count(fs) == 0);
}

static void numbers_are_not_given_twice(void **state)
{
    struct stm_fs *fs = ((struct world *)*state)->fs;
    uint64_t a = intern_link(fs, "w@v1", "w@v1.0.0");

    stm_vnode_forget(fs, a, 1);
    uint64_t b = intern_link(fs, "w@v1", "w@v1.0.0");
    assert_true(a != b);
    stm_vnode_forget(fs, b, 1);
}

static void the_fixed_directories_are_always_there(void **state)
{
    struct stm_fs *fs = ((struct world *)*state)->fs;
    struct stm_vnode v;

    stm_vnode_forget(fs, STM_VNODE_STEMMA, 100);
    assert_int_equal(stm_vnode_get(fs, STM_VNODE_STEMMA, &v), 0);
    assert_int_equal(stm_vnode_get(fs, STM_VNODE_AT, &v), 0);
    assert_int_equal(v.kind, STM_V_AT);
}

static void a_text_stays_as_it_was_opened(void **state)
{
    struct stm_fs *fs = ((struct world *)*state)->fs;
    struct stm_buf text = STM_BUF_INIT;
    char buf[16];
    uint64_t handle;

    assert_int_equal(stm_buf_set(&text, "0123456789", 10), 0);
    assert_int_equal(stm_text_keep(fs, &text, &handle), 0);
    assert_true(stm_text_read(fs, handle, 4, buf, 3) == 3);
    assert_memory_equal(buf, "456", 3);
    assert_true(stm_text_read(fs, handle, 8, buf, 16) == 2);
    assert_true(stm_text_read(fs, handle, 10, buf, 16) == 0);
    stm_text_drop(fs, handle);
    assert_true(stm_text_read(fs, handle, 0, buf, 16) == -ESTALE);
}

static void *intern_often(void *arg)
{
    for (int i = 0; i < 3000; i++) {
        uint64_t n = intern_link(arg, i % 2 ? "a@latest" : "b@latest", "x@v1.0.0");
        stm_vnode_forget(arg, n, 1);
    }
    return NULL;
}

static void many_threads_leave_nothing_behind(void **state)
{
    struct stm_fs *fs = ((struct world *)*state)->fs;
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, intern_often, fs), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(stm_vnodes_count(fs) == 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_target_is_the_same_node),
        TEST(another_target_is_another_node),
        TEST(a_node_goes_when_the_kernel_has_forgotten_every_lookup),
        TEST(numbers_are_not_given_twice),
        TEST(the_fixed_directories_are_always_there),
        TEST(a_text_stays_as_it_was_opened),
        TEST(many_threads_leave_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
