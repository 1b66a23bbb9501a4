/* Tests of content.c, list.c and segment.c: every size class, deduplication, edits of large contents, damage. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "segment.h"
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
    world_close(&w);
    return 0;
}

/* Bytes that hardly compress and never repeat; the same for the same seed. */
static char *noise(size_t len, uint64_t seed)
{
    char *b = malloc(len + 1);

    assert_non_null(b);
    for (size_t i = 0; i < len; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        b[i] = (char)(seed >> 56);
    }
    return b;
}

static uint64_t save_new(const char *name, const char *data, size_t len)
{
    uint64_t f = world_create(&w, root, name);
    assert_int_equal(world_try_save(&w, f, stm_slice(data, len), 0), 0);
    return f;
}

static struct stm_version newest(uint64_t f)
{
    struct stm_object o = world_object(&w, f);
    struct stm_version v;
    assert_int_equal(stm_version_at(&w.head, &o, &v), 0);
    return v;
}

static void expect_bytes(uint64_t f, const char *data, size_t len)
{
    size_t got;
    char *text = world_content(&w.head, f, &got);

    assert_non_null(text);
    assert_int_equal(got, len);
    assert_memory_equal(text, data, len);
    free(text);
}

static void every_size_comes_back_as_it_was_saved(void **state)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 131072, 1000003, 5000000};
    char name[32];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *data = noise(sizes[i], i + 1);
        snprintf(name, sizeof name, "f%zu", sizes[i]);
        uint64_t f = save_new(name, data, sizes[i]);
        expect_bytes(f, data, sizes[i]);
        struct stm_version v = newest(f);
        assert_int_equal(v.stored, sizes[i] <= STM_INLINE_MAX  ? STM_STORED_INLINE
                                   : sizes[i] <= STM_SMALL_MAX ? STM_STORED_SMALL
                                                               : STM_STORED_CHUNKED);
        struct stm_hash h = stm_hash_of(stm_slice(data, sizes[i]));
        assert_true(stm_hash_eq(&h, &v.row.hash));
        stm_version_release(&v);
        free(data);
    }
}

static void any_range_of_a_large_content_can_be_read(void **state)
{
    enum { LEN = 3000000, TRIES = 300 };
    char *data = noise(LEN, 9), *part = malloc(LEN);
    uint64_t f = save_new("big", data, LEN), seed = 5;
    struct stm_version v = newest(f);

    (void)state;
    for (int i = 0; i < TRIES; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        uint64_t off = (seed >> 20) % (LEN + 10);
        size_t len = (size_t)(seed >> 40) % (i % 3 ? 5000 : LEN);
        int64_t want = off >= LEN ? 0 : (int64_t)(LEN - off < len ? LEN - off : len);
        assert_int_equal(stm_content_read(w.store, &v, off, part, len), want);
        assert_memory_equal(part, data + off, (size_t)want);
    }
    stm_version_release(&v);
    free(part);
    free(data);
}

/* Pairs in a space, counted in the engine itself. */
static size_t count_pairs(enum stm_space space)
{
    struct stm_engine *e = w.store->engine;
    struct stm_iter *it;
    size_t n = 0;

    assert_int_equal(e->ops->iter_new(e, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
    for (int more = e->ops->iter_seek(it, stm_slice("", 0)); more > 0; more = e->ops->iter_next(it))
        n++;
    e->ops->iter_free(it);
    return n;
}

static void equal_contents_are_stored_once(void **state)
{
    enum { LEN = 2000000 };
    char *data = noise(LEN, 4);

    (void)state;
    save_new("a", data, LEN);
    size_t chunks = count_pairs(STM_CHUNK);
    uint64_t b = save_new("b", data, LEN);
    assert_int_equal(count_pairs(STM_CHUNK), chunks);
    struct stm_version v = newest(b);
    assert_int_equal(v.size_stored, 0);
    stm_version_release(&v);
    expect_bytes(b, data, LEN);
    free(data);
}

static void a_content_that_repeats_itself_is_stored_once(void **state)
{
    enum { PART = 500000, TIMES = 6 };
    char *part = noise(PART, 3), *data = malloc(PART * TIMES);

    (void)state;
    for (int i = 0; i < TIMES; i++)
        memcpy(data + (size_t)i * PART, part, PART);
    uint64_t f = save_new("f", data, PART * TIMES);
    struct stm_version v = newest(f);
    assert_true(v.size_stored < 2 * PART);
    stm_version_release(&v);
    expect_bytes(f, data, PART * TIMES);
    free(data);
    free(part);
}

static void an_insertion_in_the_middle_stores_little(void **state)
{
    enum { LEN = 8000000, AT = 4000001 };
    char *data = noise(LEN, 8), *edited = malloc(LEN + 5);
    uint64_t f = save_new("f", data, LEN);

    (void)state;
    memcpy(edited, data, AT);
    memcpy(edited + AT, "hello", 5);
    memcpy(edited + AT + 5, data + AT, LEN - AT);
    assert_int_equal(world_try_save(&w, f, stm_slice(edited, LEN + 5), 0), 0);
    struct stm_version v = newest(f);
    assert_true(v.size_stored < 400000);
    assert_true(v.size_stored > 0);
    stm_version_release(&v);
    expect_bytes(f, edited, LEN + 5);
    assert_int_equal(stm_version_get(&w.head, f, 0, &v), 0); /* and the version before is what it was */
    char *old = malloc(LEN);
    assert_int_equal(stm_content_read(w.store, &v, 0, old, LEN), LEN);
    assert_memory_equal(old, data, LEN);
    stm_version_release(&v);
    free(old);
    free(edited);
    free(data);
}

static void a_list_of_many_chunks_becomes_a_tree(void **state)
{
    enum { LEN = 12000000 };
    char *data = noise(LEN, 2);
    uint64_t f = save_new("f", data, LEN);
    struct stm_version v = newest(f);

    (void)state;
    assert_true(v.body.data[0] > 0); /* the root's level */
    assert_true(v.body.len < 6000);
    stm_version_release(&v);
    expect_bytes(f, data, LEN);
    free(data);
}

/* Flips one bit of every stored chunk in turn: reading must fail or, where the bytes are not used, be right. */
static void a_damaged_chunk_is_an_error_and_never_other_bytes(void **state)
{
    enum { LEN = 300000 };
    char *data = noise(LEN, 6), *got = malloc(LEN);
    uint64_t f = save_new("f", data, LEN);
    struct stm_engine *e = w.store->engine;
    struct stm_version v = newest(f);
    struct stm_slice key, value;
    struct stm_iter *it;
    int damaged = 0;

    (void)state;
    assert_int_equal(e->ops->iter_new(e, STM_CHUNK, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
    for (int more = e->ops->iter_seek(it, stm_slice("", 0)); more > 0; more = e->ops->iter_next(it)) {
        struct stm_buf k = STM_BUF_INIT, whole = STM_BUF_INIT;
        e->ops->iter_get(it, &key, &value);
        assert_int_equal(stm_buf_set(&k, key.data, key.len), 0);
        assert_int_equal(stm_buf_set(&whole, value.data, value.len), 0);
        for (size_t at = 0; at < whole.len; at += whole.len / 7 + 1) {
            whole.data[at] ^= 4;
            struct stm_op op = {STM_OP_PUT, STM_CHUNK, stm_buf_slice(&k), stm_buf_slice(&whole)};
            assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
            stm_cache_free(w.store->cache); /* nothing decoded may help */
            assert_int_equal(stm_cache_new(1 << 20, &w.store->cache), 0);
            assert_int_equal(stm_content_read(w.store, &v, 0, got, LEN), STM_E_CORRUPT);
            damaged++;
            whole.data[at] ^= 4;
            assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
        }
        stm_buf_release(&whole);
        stm_buf_release(&k);
    }
    e->ops->iter_free(it);
    assert_true(damaged > 20);
    assert_int_equal(stm_content_read(w.store, &v, 0, got, LEN), LEN); /* the control: undamaged again, it reads */
    assert_memory_equal(got, data, LEN);
    stm_version_release(&v);
    free(got);
    free(data);
}

static void what_no_commit_registered_is_swept(void **state)
{
    enum { LEN = 200000 };
    char *data = noise(LEN, 7), *other = noise(LEN, 17);
    struct stm_source src = {.size = LEN, .mem = other};
    struct stm_content c;
    uint64_t f = save_new("f", data, LEN);
    size_t chunks = count_pairs(STM_CHUNK);

    (void)state;
    assert_int_equal(stm_content_put(w.store, &src, &c), 0); /* and the process dies here */
    stm_content_release(&c);
    assert_true(count_pairs(STM_CHUNK) > chunks);
    assert_int_equal(stm_segment_sweep(w.store, 0), 0);
    assert_int_equal(count_pairs(STM_CHUNK), chunks);
    expect_bytes(f, data, LEN);
    free(other);
    free(data);
}

static int failing_read(void *arg, uint64_t off, void *buf, size_t len)
{
    memset(buf, 'x', len);
    return off > *(uint64_t *)arg ? -EIO : 0;
}

static void a_source_that_fails_makes_no_content(void **state)
{
    uint64_t limit = 500000;
    struct stm_source src = {.size = 3000000, .read = failing_read, .arg = &limit};
    struct stm_content c;

    (void)state;
    assert_int_equal(stm_content_put(w.store, &src, &c), -EIO);
    assert_int_equal(count_pairs(STM_CHUNKHASH), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_size_comes_back_as_it_was_saved),
        T(any_range_of_a_large_content_can_be_read),
        T(equal_contents_are_stored_once),
        T(a_content_that_repeats_itself_is_stored_once),
        T(an_insertion_in_the_middle_stores_little),
        T(a_list_of_many_chunks_becomes_a_tree),
        T(a_damaged_chunk_is_an_error_and_never_other_bytes),
        T(what_no_commit_registered_is_swept),
        T(a_source_that_fails_makes_no_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
