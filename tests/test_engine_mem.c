/*
 * test_engine_mem.c: the reference engine against something simpler still: an array. And that it is cheap enough for large tests.
 */
#include "support/cmocka.h"
#include "support/kv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 200, STEPS = 20000, HELD = 8, ABSENT = -1 };

struct model {
    int value[KEYS]; /* ABSENT, or the number that is the key's value */
};

struct held {
    struct stm_iter *it; /* NULL: none */
    struct model then;
};

static uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static void name(char *ret, int key)
{
    (void)snprintf(ret, 8, "%03d", key);
}

static void expect_scan(struct stm_iter *it, const struct model *m, int from)
{
    char key_name[8];
    struct stm_slice key, value;

    name(key_name, from);
    int at = it->ops->iter_seek(it, stm_slice_str(key_name));
    for (int k = from; k < KEYS; k++) {
        if (m->value[k] == ABSENT)
            continue;
        assert_int_equal(at, 1);
        it->ops->iter_get(it, &key, &value);
        name(key_name, k);
        assert_true(stm_slice_eq(key, stm_slice_str(key_name)));
        assert_int_equal(value.len, sizeof(int));
        assert_memory_equal(value.data, &m->value[k], sizeof(int));
        at = it->ops->iter_next(it);
    }
    assert_int_equal(at, 0);
}

static void expect_seek_back(struct stm_iter *it, const struct model *m, int from)
{
    char key_name[8];
    struct stm_slice key, value;
    int k = from;

    while (k >= 0 && m->value[k] == ABSENT)
        k--;
    name(key_name, from);
    assert_int_equal(it->ops->iter_seek_back(it, stm_slice_str(key_name)), k >= 0);
    if (k < 0)
        return;
    it->ops->iter_get(it, &key, &value);
    name(key_name, k);
    assert_true(stm_slice_eq(key, stm_slice_str(key_name)));
}

static void change(struct stm_engine *e, struct model *m, uint64_t *random)
{
    char names[4][8];
    int values[4], n = 1 + (int)(next_random(random) % 4);
    struct stm_op ops[4];

    for (int i = 0; i < n; i++) {
        int k = (int)(next_random(random) % KEYS);
        bool put = next_random(random) % 3 > 0;
        name(names[i], k);
        values[i] = (int)(next_random(random) & 0xffff);
        m->value[k] = put ? values[i] : ABSENT;
        ops[i] =
            (struct stm_op){put ? STM_OP_PUT : STM_OP_DELETE, STM_VERSION, stm_slice_str(names[i]), stm_slice(&values[i], sizeof(int))};
    }
    assert_int_equal(e->ops->commit(e, ops, (size_t)n, false), 0);
}

static void drop(struct stm_engine *e, struct model *m, uint64_t *random)
{
    int from = (int)(next_random(random) % KEYS), to = from + (int)(next_random(random) % 20);
    char lower[8], upper[8];

    name(lower, from);
    name(upper, to);
    assert_int_equal(e->ops->drop_range(e, STM_VERSION, stm_slice_str(lower), stm_slice_str(upper)), 0);
    for (int k = from; k < to && k < KEYS; k++)
        m->value[k] = ABSENT;
}

/* Looks through the iterator that is held longest, and makes a new one in its place. */
static void turn_over(struct stm_engine *e, struct held *h, const struct model *m, uint64_t *random)
{
    if (h->it) {
        expect_scan(h->it, &h->then, (int)(next_random(random) % KEYS));
        expect_seek_back(h->it, &h->then, (int)(next_random(random) % KEYS));
        h->it->ops->iter_free(h->it);
    }
    assert_int_equal(e->ops->iter_new(e, STM_VERSION, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &h->it), 0);
    h->then = *m;
}

static void random_operations_agree_with_an_array(void **state)
{
    struct stm_engine *e;
    struct model m;
    struct held held[HELD] = {0};
    uint64_t random = 42;

    (void)state;
    for (int k = 0; k < KEYS; k++)
        m.value[k] = ABSENT;
    assert_int_equal(stm_engine_mem_new(&e), 0);
    for (int step = 0; step < STEPS; step++) {
        change(e, &m, &random);
        if (step % 50 == 0)
            drop(e, &m, &random);
        if (step % 10 == 0)
            turn_over(e, &held[step / 10 % HELD], &m, &random);
    }

    struct stm_engine_stats stats;
    uint64_t keys = 0;
    for (int k = 0; k < KEYS; k++)
        keys += m.value[k] != ABSENT;
    assert_int_equal(e->ops->stats(e, &stats), 0);
    assert_int_equal(stats.keys_estimate, keys);
    assert_int_equal(stats.bytes_on_disk, keys * (3 + sizeof(int)));
    for (int i = 0; i < HELD; i++)
        held[i].it->ops->iter_free(held[i].it);
    e->ops->free(e);
}

static void an_iterator_costs_nothing_whatever_the_size(void **state)
{
    enum { MANY = 100000 };
    struct stm_engine *e;
    struct stm_slice key, value;

    (void)state;
    assert_int_equal(stm_engine_mem_new(&e), 0);
    assert_int_equal(kv_ingest(e, STM_CHUNK, "k", MANY), 0);
    for (int i = 0; i < MANY; i++) {
        struct stm_iter *it;
        char name_of[16];
        (void)snprintf(name_of, sizeof name_of, "k%06d", i);
        assert_int_equal(e->ops->iter_new(e, STM_CHUNK, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
        assert_int_equal(it->ops->iter_seek(it, stm_slice_str(name_of)), 1);
        it->ops->iter_get(it, &key, &value);
        assert_true(stm_slice_eq(key, stm_slice_str(name_of)));
        kv_delete(e, STM_CHUNK, name_of);
        it->ops->iter_free(it);
    }
    kv_expect_keys(e, STM_CHUNK, "", "", "");
    e->ops->free(e);
}

/* Several writers, each with a key of its own, and iterators that come and go: what the thread sanitizer is for. */
static void *write_own_key(void *arg)
{
    struct stm_engine *e = arg;
    char key[32];

    (void)snprintf(key, sizeof key, "%jx", (uintmax_t)pthread_self());
    for (int i = 0; i < 500; i++) {
        struct stm_op op = i % 3 < 2 ? kv_op_put(STM_LOG, key, "value") : kv_op_delete(STM_LOG, key);
        struct stm_iter *it;
        struct stm_engine_stats stats;
        int err = e->ops->commit(e, &op, 1, false);
        err |= e->ops->iter_new(e, STM_LOG, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it);
        err |= e->ops->stats(e, &stats);
        for (int at = it->ops->iter_seek(it, stm_slice("", 0)); at > 0;)
            at = it->ops->iter_next(it);
        it->ops->iter_free(it);
        if (err)
            return arg;
    }
    return NULL;
}

static void many_threads_may_write_and_iterate(void **state)
{
    enum { THREADS = 4 };
    struct stm_engine *e;
    pthread_t threads[THREADS];
    void *failed;

    (void)state;
    assert_int_equal(stm_engine_mem_new(&e), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_own_key, e), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    e->ops->free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_an_array),
        cmocka_unit_test(an_iterator_costs_nothing_whatever_the_size),
        cmocka_unit_test(many_threads_may_write_and_iterate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
