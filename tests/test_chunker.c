/*
 * test_chunker.c: where contents are cut. Golden, since old chunks are found again only by cutting alike.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chunker.h"

enum { DATA_BYTES = 4 << 20 };

static const struct stm_chunker tiny = {16, 64, 256};

static uint64_t splitmix64(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void fill(uint8_t *data, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)splitmix64(&seed);
}

static int make_data(void **state)
{
    *state = malloc(DATA_BYTES);
    if (!*state)
        return -1;
    fill(*state, DATA_BYTES, 1);
    return 0;
}

static int free_data(void **state)
{
    free(*state);
    return 0;
}

/* What FORMAT.md says, as plainly as possible: its own table, no pointers that move, the hash computed anew at every byte. */
static size_t reference_cut(const struct stm_chunker *c, const uint8_t *data, size_t len)
{
    uint64_t gear[256], seed = UINT64_C(0x5374656d6d612031);
    size_t bits = 0;

    for (size_t i = 0; i < 256; i++)
        gear[i] = splitmix64(&seed);
    while ((UINT64_C(1) << bits) < c->avg_bytes)
        bits++;
    for (size_t cut = c->min_bytes + 1; cut < len && cut < c->max_bytes; cut++) {
        size_t zeros = cut <= c->avg_bytes ? bits + 2 : bits - 2;
        uint64_t hash = 0;
        for (size_t i = c->min_bytes; i < cut; i++)
            hash = hash * 2 + gear[data[i]];
        if (hash >> (64 - zeros) == 0)
            return cut;
    }
    return len < c->max_bytes ? len : c->max_bytes;
}

static void cuts_are_those_of_the_plain_reference(void **state)
{
    const uint8_t *data = *state;

    for (size_t at = 0; at < 200000;) {
        size_t cut = stm_chunker_cut(&tiny, data + at, DATA_BYTES - at, true);
        assert_int_equal(cut, reference_cut(&tiny, data + at, DATA_BYTES - at));
        at += cut;
    }
    for (size_t len = 1; len < 400; len++) /* ends everywhere */
        assert_int_equal(stm_chunker_cut(&tiny, data + len, len, true), reference_cut(&tiny, data + len, len));
}

static void default_cuts_are_the_golden_ones(void **state)
{
    static const size_t golden[] = {40305, 34090, 15189, 33641, 37583, 33801, 34371, 47802,
                                    37482, 31124, 42913, 54068, 27346, 33140, 45155, 41124};
    const uint8_t *data = *state;
    size_t at = 0;

    assert_int_equal(stm_chunker_default.min_bytes, 8192);
    assert_int_equal(stm_chunker_default.avg_bytes, 32768);
    assert_int_equal(stm_chunker_default.max_bytes, 131072);
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        size_t cut = stm_chunker_cut(&stm_chunker_default, data + at, DATA_BYTES - at, true);
        assert_int_equal(cut, golden[i]);
        at += cut;
    }
}

static void chunks_cover_the_data_within_their_limits_and_near_the_average(void **state)
{
    const struct stm_chunker *c = &stm_chunker_default;
    const uint8_t *data = *state;
    size_t chunks = 0, at = 0;

    while (at < DATA_BYTES) {
        size_t cut = stm_chunker_cut(c, data + at, DATA_BYTES - at, true);
        assert_true(cut <= c->max_bytes);
        if (at + cut < DATA_BYTES)
            assert_true(cut > c->min_bytes);
        at += cut;
        chunks++;
    }
    assert_int_equal(at, DATA_BYTES);
    assert_in_range(DATA_BYTES / chunks, c->avg_bytes * 3 / 4, c->avg_bytes * 5 / 4);
}

static void short_ends_are_one_chunk(void **state)
{
    const uint8_t *data = *state;

    assert_int_equal(stm_chunker_cut(&stm_chunker_default, data, 1, true), 1);
    assert_int_equal(stm_chunker_cut(&stm_chunker_default, data, 8191, true), 8191);
    assert_int_equal(stm_chunker_cut(&stm_chunker_default, data, 8192, true), 8192);
}

static void data_without_cuts_is_cut_at_the_maximum(void **state)
{
    uint8_t *zeros = calloc(1, 300000);

    (void)state;
    assert_non_null(zeros);
    assert_int_equal(stm_chunker_cut(&stm_chunker_default, zeros, 300000, true), 131072);
    assert_int_equal(stm_chunker_cut(&stm_chunker_default, zeros, 131072, false), 131072);
    assert_int_equal(stm_chunker_cut(&stm_chunker_default, zeros, 100000, true), 100000);
    free(zeros);
}

static void a_cut_depends_on_no_byte_beyond_the_maximum_or_before_the_chunk(void **state)
{
    const struct stm_chunker *c = &stm_chunker_default;
    const uint8_t *data = *state;
    uint8_t *window = malloc(c->max_bytes);

    assert_non_null(window);
    for (size_t at = 0; at + c->max_bytes <= DATA_BYTES;) {
        memcpy(window, data + at, c->max_bytes); /* exactly so much: a sanitizer sees every byte too far */
        size_t cut = stm_chunker_cut(c, window, c->max_bytes, false);
        assert_int_equal(cut, stm_chunker_cut(c, data + at, DATA_BYTES - at, true));
        at += cut;
    }
    free(window);
}

/* Ends of chunks, as a map from offset to yes. */
static uint8_t *map_cuts(const uint8_t *data, size_t len, size_t *ret_n)
{
    uint8_t *map = calloc(1, len + 1);

    assert_non_null(map);
    *ret_n = 0;
    for (size_t at = 0; at < len; (*ret_n)++) {
        at += stm_chunker_cut(&stm_chunker_default, data + at, len - at, true);
        map[at] = 1;
    }
    return map;
}

static void an_insertion_moves_only_the_cuts_near_it(void **state)
{
    static const size_t places[] = {0, 1, 100000, DATA_BYTES / 2, DATA_BYTES - 200000};
    const uint8_t *data = *state;
    uint8_t *edited = malloc(DATA_BYTES + 13);
    size_t n;
    uint8_t *before = map_cuts(data, DATA_BYTES, &n);

    assert_non_null(edited);
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        size_t place = places[p], n_after, shared = 0, unchanged_before = 0, cuts_before = 0;
        memcpy(edited, data, place);
        memcpy(edited + place, "an insertion!", 13);
        memcpy(edited + place + 13, data + place, DATA_BYTES - place);
        uint8_t *after = map_cuts(edited, DATA_BYTES + 13, &n_after);
        for (size_t i = 1; i <= DATA_BYTES; i++) {
            if (i <= place) {
                cuts_before += before[i];
                unchanged_before += before[i] && after[i];
            }
            shared += before[i] && after[i <= place ? i : i + 13];
        }
        assert_int_equal(unchanged_before, cuts_before); /* none before it */
        assert_true(shared + 5 >= n);                    /* and few behind it */
        assert_true(shared <= n);
        free(after);
    }
    free(before);
    free(edited);
}

static void other_data_is_cut_elsewhere(void **state)
{
    const uint8_t *data = *state;
    uint8_t *other = malloc(DATA_BYTES);
    size_t n, n_other, shared = 0;

    assert_non_null(other);
    fill(other, DATA_BYTES, 2);
    uint8_t *a = map_cuts(data, DATA_BYTES, &n), *b = map_cuts(other, DATA_BYTES, &n_other);
    for (size_t i = 1; i < DATA_BYTES; i++)
        shared += a[i] && b[i];
    assert_int_equal(shared, 0);
    free(a);
    free(b);
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_those_of_the_plain_reference),
        cmocka_unit_test(default_cuts_are_the_golden_ones),
        cmocka_unit_test(chunks_cover_the_data_within_their_limits_and_near_the_average),
        cmocka_unit_test(short_ends_are_one_chunk),
        cmocka_unit_test(data_without_cuts_is_cut_at_the_maximum),
        cmocka_unit_test(a_cut_depends_on_no_byte_beyond_the_maximum_or_before_the_chunk),
        cmocka_unit_test(an_insertion_moves_only_the_cuts_near_it),
        cmocka_unit_test(other_data_is_cut_elsewhere),
    };
    return cmocka_run_group_tests(tests, make_data, free_data);
}
