/*
 * test_engine_mem_tree.c: the treap of the reference engine when memory runs out at any of its allocations: the old tree is untouched,
 * and nothing leaks (the address sanitizer counts). It takes the source file in, with an allocator that fails on demand.
 */
#include "support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

static long allocations_left = -1; /* -1: no limit */

static void *limited_malloc(size_t size)
{
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    return malloc(size);
}

#define malloc limited_malloc
#include "engine_mem_tree.c" /* NOLINT(bugprone-suspicious-include) */
#undef malloc

enum { KEYS = 64 };

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 16;
}

static struct stm_slice name(char *buf, int key)
{
    (void)snprintf(buf, 8, "%03d", key);
    return stm_slice(buf, 3);
}

static int put(struct stm_treap **root, int key, uint64_t priority)
{
    char buf[8];
    struct stm_pair *pair = stm_pair_new(name(buf, key), stm_slice("v", 1));

    if (!pair)
        return -ENOMEM;
    int err = stm_treap_put(root, pair, priority);
    stm_pair_unref(pair);
    return err;
}

static int remove_key(struct stm_treap **root, int key)
{
    char buf[8];

    return stm_treap_remove(root, name(buf, key));
}

static void expect_keys(const struct stm_treap *root, const bool *there)
{
    const struct stm_treap *n = stm_treap_first(root, stm_slice(NULL, 0), false);
    char buf[8];

    for (int k = 0; k < KEYS; k++) {
        assert_int_equal(stm_treap_find(root, name(buf, k)) != NULL, there[k]);
        if (!there[k])
            continue;
        assert_non_null(n);
        assert_true(stm_slice_eq(stm_pair_key(n->pair), name(buf, k)));
        n = stm_treap_first(root, stm_pair_key(n->pair), true);
    }
    assert_null(n);
}

static void expect_heap(const struct stm_treap *n)
{
    if (!n)
        return;
    assert_true(!n->left || n->left->priority <= n->priority);
    assert_true(!n->right || n->right->priority <= n->priority);
    expect_heap(n->left);
    expect_heap(n->right);
}

/* The change is tried with 0, 1, 2, ... allocations until it succeeds. */
static void change(struct stm_treap **root, bool *there, int key, uint64_t priority, bool add)
{
    for (long limit = 0;; limit++) {
        struct stm_treap *before = stm_treap_ref(*root);
        allocations_left = limit;
        int err = add ? put(root, key, priority) : remove_key(root, key);
        allocations_left = -1;
        if (err == 0) {
            expect_keys(before, there);
            stm_treap_unref(before);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        stm_treap_unref(*root);
        *root = before;
        expect_keys(*root, there);
    }
    there[key] = add;
    expect_keys(*root, there);
    expect_heap(*root);
}

static void a_change_without_memory_leaves_the_old_tree(void **state)
{
    struct stm_treap *root = NULL;
    bool there[KEYS] = {false};
    uint64_t random = 7;

    (void)state;
    for (int i = 0; i < 400; i++) {
        int key = (int)(next_random(&random) % KEYS);
        bool add = !there[key] || next_random(&random) % 2;
        change(&root, there, key, next_random(&random), add);
    }
    stm_treap_unref(root);
}

static void a_tree_that_nobody_shares_is_changed_in_place(void **state)
{
    struct stm_treap *root = NULL;

    (void)state;
    for (int k = 0; k < KEYS; k++)
        assert_int_equal(put(&root, k, (uint64_t)(k * 7919 % 1009)), 0);
    allocations_left = 2; /* a pair and nothing else; then a pair and one node */
    assert_int_equal(put(&root, 5, 0), 0);
    allocations_left = 0;
    assert_int_equal(remove_key(&root, 5), 0);
    allocations_left = 2;
    assert_int_equal(put(&root, 5, 500), 0);
    assert_int_equal(allocations_left, 0);
    allocations_left = -1;
    stm_treap_unref(root);
}

static void a_prefix_comes_before_what_it_begins(void **state)
{
    (void)state;
    assert_true(stm_treap_compare(stm_slice("a", 1), stm_slice("ab", 2)) < 0);
    assert_true(stm_treap_compare(stm_slice("", 0), stm_slice("a", 1)) < 0);
    assert_true(stm_treap_compare(stm_slice("\xff", 1), stm_slice("a", 1)) > 0);
    assert_int_equal(stm_treap_compare(stm_slice(NULL, 0), stm_slice("", 0)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_without_memory_leaves_the_old_tree),
        cmocka_unit_test(a_tree_that_nobody_shares_is_changed_in_place),
        cmocka_unit_test(a_prefix_comes_before_what_it_begins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
