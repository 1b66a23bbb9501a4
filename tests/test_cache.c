/*
 * test_cache.c: the cache of decoded chunks. Which keys share a shard is found out by what they drive out, not by knowing the hash.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache.h"

enum { SHARDS = 16, LEN = 100, SHARING = 12 };

static struct stm_cache *make(size_t budget)
{
    struct stm_cache *c;

    assert_int_equal(stm_cache_new(budget, &c), 0);
    return c;
}

static struct stm_cache_stats stats_of(struct stm_cache *c)
{
    struct stm_cache_stats s;

    stm_cache_stats(c, &s);
    return s;
}

/* Puts len bytes that tell the key, and gives the reference back. */
static void put(struct stm_cache *c, uint64_t segment, uint32_t index, size_t len)
{
    uint8_t *data = malloc(len + 1); /* malloc(0) may be NULL */

    assert_non_null(data);
    memset(data, (int)(segment * 31 + index), len);
    const struct stm_cached *e = stm_cache_put(c, segment, index, data, len);
    assert_non_null(e);
    assert_ptr_equal(e->data, data);
    assert_int_equal(e->len, len);
    stm_cache_unref(c, e);
}

static bool is_there(struct stm_cache *c, uint64_t segment, uint32_t index)
{
    const struct stm_cached *e = stm_cache_get(c, segment, index);

    if (!e)
        return false;
    for (size_t i = 0; i < e->len; i++)
        assert_int_equal(e->data[i], (uint8_t)(segment * 31 + index));
    stm_cache_unref(c, e);
    return true;
}

/* What one entry of so many bytes costs: the budget counts its bookkeeping too. */
static size_t cost_of(size_t len)
{
    struct stm_cache *c = make(1 << 20);

    put(c, 1, 0, len);
    size_t cost = stats_of(c).bytes;
    stm_cache_free(c);
    return cost;
}

/* Indexes of segment 1 that live in one shard: with room for one entry a shard, each drives the first one out. */
static void find_sharing(uint32_t indexes[SHARING])
{
    struct stm_cache *c = make(SHARDS * cost_of(LEN));
    size_t n = 1;

    indexes[0] = 0;
    for (uint32_t i = 1; n < SHARING; i++) {
        assert_true(i < 10000);
        if (!is_there(c, 1, 0))
            put(c, 1, 0, LEN);
        put(c, 1, i, LEN);
        if (!is_there(c, 1, 0))
            indexes[n++] = i;
    }
    stm_cache_free(c);
}

static void what_was_put_is_there_under_its_key_only(void **state)
{
    struct stm_cache *c = make(1 << 20);

    (void)state;
    assert_false(is_there(c, 7, 3));
    put(c, 7, 3, LEN);
    assert_true(is_there(c, 7, 3));
    assert_false(is_there(c, 7, 4));
    assert_false(is_there(c, 3, 7));
    assert_false(is_there(c, 8, 3));
    stm_cache_free(c);
}

static void the_entry_that_came_first_wins(void **state)
{
    struct stm_cache *c = make(1 << 20);
    uint8_t *one = malloc(1), *two = malloc(1);

    (void)state;
    assert_true(one && two);
    *one = 1;
    *two = 2;
    const struct stm_cached *a = stm_cache_put(c, 1, 1, one, 1);
    const struct stm_cached *b = stm_cache_put(c, 1, 1, two, 1); /* frees two */
    assert_ptr_equal(a, b);
    assert_ptr_equal(b->data, one);
    assert_int_equal(stats_of(c).entries, 1);
    stm_cache_unref(c, a);
    stm_cache_unref(c, b);
    stm_cache_free(c);
}

static void thousands_of_entries_are_all_found(void **state)
{
    struct stm_cache *c = make(64 << 20);

    (void)state;
    for (uint32_t i = 0; i < 20000; i++)
        put(c, i / 100, i % 100, 10);
    for (uint32_t i = 0; i < 20000; i++)
        assert_true(is_there(c, i / 100, i % 100));
    struct stm_cache_stats s = stats_of(c);
    assert_int_equal(s.entries, 20000);
    assert_int_equal(s.bytes, 20000 * cost_of(10));
    assert_int_equal(s.evictions, 0);
    stm_cache_free(c);
}

static void keys_are_spread_over_all_shards(void **state)
{
    struct stm_cache *c = make(SHARDS * cost_of(LEN));

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) /* one segment, as a large file has */
        put(c, 1, i, LEN);
    assert_int_equal(stats_of(c).entries, SHARDS);
    stm_cache_free(c);

    c = make(SHARDS * cost_of(LEN));
    for (uint64_t i = 0; i < 1000; i++) /* one chunk each, as small files have */
        put(c, i, 0, LEN);
    assert_int_equal(stats_of(c).entries, SHARDS);
    stm_cache_free(c);
}

static void the_least_recently_used_entry_goes_first(void **state)
{
    uint32_t k[SHARING];

    (void)state;
    find_sharing(k);
    struct stm_cache *c = make(3 * SHARDS * cost_of(LEN));
    put(c, 1, k[0], LEN);
    put(c, 1, k[1], LEN);
    put(c, 1, k[2], LEN);
    assert_true(is_there(c, 1, k[0])); /* a use: k1 is the oldest now */
    put(c, 1, k[3], LEN);
    assert_false(is_there(c, 1, k[1]));
    put(c, 1, k[4], LEN); /* the miss was no use of k1; k2 is the oldest */
    assert_false(is_there(c, 1, k[2]));
    assert_true(is_there(c, 1, k[0]));
    assert_true(is_there(c, 1, k[3]));
    assert_true(is_there(c, 1, k[4]));
    assert_int_equal(stats_of(c).evictions, 2);
    stm_cache_free(c);
}

/* Ten thousand random operations on one shard, beside a list that is moved by hand. */
static void the_order_is_exactly_lru(void **state)
{
    enum { ROOM = 5 };
    uint32_t k[SHARING], order[ROOM + 1]; /* newest first */
    size_t n = 0;
    unsigned seed = 1;

    (void)state;
    find_sharing(k);
    struct stm_cache *c = make(ROOM * SHARDS * cost_of(LEN));
    for (int round = 0; round < 10000; round++) {
        uint32_t key = k[(seed = seed * 1103515245 + 12345) >> 16 & 7];
        size_t at = 0;
        while (at < n && order[at] != key)
            at++;
        assert_int_equal(is_there(c, 1, key), at < n);
        if (at == n) {
            put(c, 1, key, LEN);
            n += n < ROOM;
            at = at < ROOM ? at : ROOM - 1; /* the last one falls out */
        }
        memmove(order + 1, order, at * sizeof order[0]);
        order[0] = key;
        assert_int_equal(stats_of(c).entries, n);
    }
    stm_cache_free(c);
}

static void a_large_entry_drives_out_as_many_as_it_needs_and_no_more(void **state)
{
    uint32_t k[SHARING];

    (void)state;
    find_sharing(k);
    struct stm_cache *c = make(4 * SHARDS * cost_of(LEN));
    for (int i = 0; i < 4; i++)
        put(c, 1, k[i], LEN);
    put(c, 1, k[4], LEN + 1); /* one byte more than the place of one: two must go */
    assert_false(is_there(c, 1, k[0]));
    assert_false(is_there(c, 1, k[1]));
    assert_true(is_there(c, 1, k[2]));
    assert_true(is_there(c, 1, k[3]));
    assert_true(is_there(c, 1, k[4]));
    stm_cache_free(c);
}

static void an_entry_larger_than_a_shards_budget_is_usable_but_not_kept(void **state)
{
    uint32_t k[SHARING];

    (void)state;
    find_sharing(k);
    struct stm_cache *c = make(SHARDS * cost_of(LEN));
    put(c, 1, k[0], LEN);
    put(c, 1, k[1], LEN + 1);
    assert_false(is_there(c, 1, k[1]));
    assert_true(is_there(c, 1, k[0])); /* and nothing had to go for it */
    assert_int_equal(stats_of(c).evictions, 0);
    stm_cache_free(c);

    c = make(0);
    put(c, 1, 0, 1);
    put(c, 1, 0, 0);
    assert_false(is_there(c, 1, 0));
    assert_int_equal(stats_of(c).bytes, 0);
    stm_cache_free(c);
}

static void an_evicted_entry_lives_until_its_last_reader_is_done(void **state)
{
    struct stm_cache *c = make(SHARDS * cost_of(LEN));

    (void)state;
    put(c, 1, 0, LEN);
    const struct stm_cached *a = stm_cache_get(c, 1, 0), *b = stm_cache_get(c, 1, 0);
    assert_ptr_equal(a, b);
    for (uint32_t i = 1; i < 500; i++)
        put(c, 1, i, LEN);
    assert_null(stm_cache_get(c, 1, 0));
    stm_cache_unref(c, a);
    for (size_t i = 0; i < LEN; i++)
        assert_int_equal(b->data[i], 31);
    put(c, 1, 0, LEN); /* the key may come again meanwhile */
    assert_true(is_there(c, 1, 0));
    assert_int_equal(b->data[0], 31);
    stm_cache_unref(c, b);
    stm_cache_free(c);
}

static void statistics_are_exact(void **state)
{
    struct stm_cache *c = make(SHARDS * cost_of(LEN));
    struct stm_cache_stats s;

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        assert_false(is_there(c, 9, i));
        put(c, 9, i, LEN);
        assert_true(is_there(c, 9, i));
        assert_true(is_there(c, 9, i));
    }
    s = stats_of(c);
    assert_int_equal(s.misses, 100);
    assert_int_equal(s.hits, 200);
    assert_int_equal(s.evictions + s.entries, 100);
    assert_int_equal(s.bytes, s.entries * cost_of(LEN));
    assert_in_range(s.bytes, cost_of(LEN), SHARDS * cost_of(LEN));
    stm_cache_free(c);
}

static void nothing_is_given_back_and_freed_without_harm(void **state)
{
    struct stm_cache *c = make(1000);

    (void)state;
    stm_cache_unref(c, NULL);
    stm_cache_free(c);
    stm_cache_free(NULL);
}

enum { THREADS = 8, ROUNDS = 5000, KEYS = 200 };

struct crowd {
    struct stm_cache *cache;
    unsigned seed;
    uint64_t gets, wrong;
};

static void *crowd_run(void *arg)
{
    struct crowd *w = arg;

    for (int i = 0; i < ROUNDS; i++) {
        w->seed = w->seed * 1103515245 + 12345;
        uint32_t key = (w->seed >> 16) % KEYS;
        size_t len = 50 + key;
        const struct stm_cached *e = stm_cache_get(w->cache, 5, key);
        w->gets++;
        if (!e) {
            uint8_t *data = malloc(len);
            if (!data)
                return NULL;
            memset(data, (int)key, len);
            e = stm_cache_put(w->cache, 5, key, data, len);
        }
        w->wrong += !e || e->len != len || e->data[0] != (uint8_t)key || e->data[len - 1] != (uint8_t)key;
        stm_cache_unref(w->cache, e);
    }
    return NULL;
}

static void threads_share_entries_and_never_see_others_bytes(void **state)
{
    size_t budget = 100 * cost_of(150); /* about half of the keys fit */
    struct crowd workers[THREADS];
    struct stm_cache *c = make(budget);
    pthread_t threads[THREADS];
    uint64_t gets = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct crowd){.cache = c, .seed = (unsigned)i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].wrong, 0);
        gets += workers[i].gets;
    }
    struct stm_cache_stats s = stats_of(c);
    assert_int_equal(gets, THREADS * ROUNDS);
    assert_int_equal(s.hits + s.misses, gets);
    assert_true(s.hits > 0 && s.evictions > 0);
    assert_true(s.bytes <= budget);
    stm_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_there_under_its_key_only),
        cmocka_unit_test(the_entry_that_came_first_wins),
        cmocka_unit_test(thousands_of_entries_are_all_found),
        cmocka_unit_test(keys_are_spread_over_all_shards),
        cmocka_unit_test(the_least_recently_used_entry_goes_first),
        cmocka_unit_test(the_order_is_exactly_lru),
        cmocka_unit_test(a_large_entry_drives_out_as_many_as_it_needs_and_no_more),
        cmocka_unit_test(an_entry_larger_than_a_shards_budget_is_usable_but_not_kept),
        cmocka_unit_test(an_evicted_entry_lives_until_its_last_reader_is_done),
        cmocka_unit_test(statistics_are_exact),
        cmocka_unit_test(nothing_is_given_back_and_freed_without_harm),
        cmocka_unit_test(threads_share_entries_and_never_see_others_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
