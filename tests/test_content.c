/* Tests of content.c, list.c and segment.c: every size class, deduplication, edits of large contents, damage. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "list.h"
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

/* ---- holes ---- */

enum { KIB = 1024, BLOCK = 4096 };

/* Data here and there: `n` stretches of noise in a content of zeros. */
struct sparse {
    uint64_t size;
    struct piece {
        uint64_t off, len;
        char *data;
    } piece[8];
    size_t n;
    uint64_t reads; /* bytes asked for */
};

static void add_piece(struct sparse *s, uint64_t off, uint64_t len)
{
    s->piece[s->n++] = (struct piece){off, len, noise(len, off + len)};
}

static void free_pieces(struct sparse *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->piece[i].data);
}

static int read_sparse(void *arg, uint64_t off, void *buf, size_t len)
{
    struct sparse *s = arg;
    memset(buf, 0, len);
    s->reads += len;
    for (size_t i = 0; i < s->n; i++) {
        const struct piece *p = &s->piece[i];
        uint64_t from = off > p->off ? off : p->off, to = off + len < p->off + p->len ? off + len : p->off + p->len;
        if (from < to)
            memcpy((char *)buf + (from - off), p->data + (from - p->off), to - from);
    }
    return 0;
}

static int sparse_extent(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    struct sparse *s = arg;
    *ret_from = *ret_to = s->size;
    for (size_t i = 0; i < s->n; i++) {
        const struct piece *p = &s->piece[i];
        if (p->off + p->len > off && p->off < *ret_from) {
            *ret_from = p->off > off ? p->off : off;
            *ret_to = p->off + p->len;
        }
    }
    return 0;
}

struct saving {
    uint64_t object;
    struct stm_content *c;
    struct stm_object after;
};

static int build_save(struct stm_txn *t, void *arg)
{
    struct saving *s = arg;
    return stm_version_save(t, s->object, &(struct stm_save){.content = s->c}, &s->after);
}

static struct stm_object save_sparse(uint64_t f, struct sparse *s, bool extents)
{
    struct stm_source src = {.size = s->size, .read = read_sparse, .extent = extents ? sparse_extent : NULL, .arg = s};
    struct stm_content c;
    struct saving saving = {.object = f, .c = &c};

    assert_int_equal(stm_content_put(w.store, &src, &c), 0);
    assert_int_equal(stm_update(w.store, &w.change, build_save, &saving, NULL), 0);
    stm_content_release(&c);
    return saving.after;
}

/* Extents are in order, apart, and hold every byte that is not zero. Returns how much they cover. */
static uint64_t check_extents(const struct stm_version *v, const struct sparse *s)
{
    uint64_t at = 0, covered = 0, from, to, held = 0;

    for (;;) {
        assert_int_equal(stm_content_extent(w.store, v, at, &from, &to), 0);
        if (from == s->size)
            break;
        assert_true(from >= at && to > from && to <= s->size);
        covered += to - from;
        for (size_t i = 0; i < s->n; i++) {
            uint64_t low = s->piece[i].off > from ? s->piece[i].off : from, end = s->piece[i].off + s->piece[i].len;
            held += low < to && low < end ? (end < to ? end : to) - low : 0;
        }
        at = to;
    }
    assert_true(to == s->size);
    for (size_t i = 0; i < s->n; i++)
        held -= s->piece[i].len;
    assert_true(held == 0);
    return covered;
}

static void check_pieces(const struct stm_version *v, const struct sparse *s)
{
    char buf[3 * BLOCK], want[3 * BLOCK];
    struct sparse copy = *s;

    for (size_t i = 0; i < s->n * 3 + 1; i++) {
        const struct piece *p = &s->piece[i / 3];
        uint64_t off = i == s->n * 3 ? s->size - 10 : i % 3 == 0 ? p->off : i % 3 == 1 ? p->off + p->len : p->off + p->len / 2;
        off = off > BLOCK ? off - BLOCK : 0;
        size_t len = s->size - off < sizeof buf ? (size_t)(s->size - off) : sizeof buf;
        assert_int_equal(stm_content_read(w.store, v, off, buf, sizeof buf), len);
        assert_int_equal(read_sparse(&copy, off, want, len), 0);
        assert_memory_equal(buf, want, len);
    }
}

static void holes_take_no_room_and_no_reading(void **state)
{
    struct sparse s = {.size = (UINT64_C(10) << 30) + 5};
    uint64_t f = world_create(&w, root, "f");

    (void)state;
    add_piece(&s, 0, 10);
    add_piece(&s, (UINT64_C(1) << 30) + 77, 600 * KIB);
    add_piece(&s, UINT64_C(6) << 30, 400 * KIB);
    add_piece(&s, s.size - 3, 3);
    save_sparse(f, &s, true);
    assert_true(s.reads < 1100 * KIB);
    struct stm_version v = newest(f);
    assert_true(v.size_stored < 1100 * KIB);
    assert_true(v.data < 1100 * KIB && v.data >= 1000 * KIB + 13);
    assert_true(check_extents(&v, &s) == v.data);
    check_pieces(&v, &s);
    assert_true(world_object(&w, f).data == v.data);
    stm_version_release(&v);
    world_check(&w);
    free_pieces(&s);
}

static void all_holes_is_a_content_too(void **state)
{
    struct sparse s = {.size = 100000};
    uint64_t f = world_create(&w, root, "f"), from, to;

    (void)state;
    save_sparse(f, &s, true);
    struct stm_version v = newest(f);
    assert_true(v.size_stored == 0 && v.data == 0 && v.row.size == 100000);
    assert_int_equal(stm_content_extent(w.store, &v, 5, &from, &to), 0);
    assert_true(from == 100000 && to == 100000);
    char *zeros = calloc(1, 100000);
    expect_bytes(f, zeros, 100000);
    struct stm_hash h = stm_hash_of(stm_slice(zeros, 100000));
    assert_true(stm_hash_eq(&h, &v.row.hash));
    stm_version_release(&v);
    assert_int_equal(count_pairs(STM_CHUNKREF), 0);
    world_check(&w);
    free(zeros);
}

/* Random stretches of noise and zeros of all lengths around the limits: written out or left out, the list is the same. */
static void equal_bytes_make_equal_lists_whoever_made_the_holes(void **state)
{
    enum { LEN = 2000000 };
    uint64_t seed = 77;
    int with_holes = 0;

    (void)state;
    for (int round = 0; round < 12; round++) {
        struct sparse s = {.size = LEN - (uint64_t)round};
        uint64_t at = 0;
        char name[16];
        for (int i = 0; i < 8; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint64_t gap = (seed >> 33) % (round % 2 ? 40000 : 400000), len = (seed >> 20) % (i % 3 ? 9000 : 300000) + 1;
            if (round % 4 == 3)
                gap = gap / BLOCK * BLOCK + (i % 2 ? 0 : BLOCK - at % BLOCK);
            if (at + gap + len > s.size)
                break;
            add_piece(&s, at + gap, len);
            at += gap + len;
        }
        snprintf(name, sizeof name, "f%d", round);
        uint64_t f = world_create(&w, root, name);
        struct stm_object sparse = save_sparse(f, &s, true), dense = save_sparse(f, &s, false);
        assert_int_equal(sparse.tip.ordinal, 0);
        assert_int_equal(dense.tip.ordinal, 0); /* the same bytes: no version */
        struct stm_version v = newest(f);
        check_extents(&v, &s);
        check_pieces(&v, &s);
        with_holes += v.data < v.row.size;
        char *all = calloc(1, s.size);
        assert_int_equal(read_sparse(&s, 0, all, s.size), 0);
        expect_bytes(f, all, s.size);
        struct stm_hash h = stm_hash_of(stm_slice(all, s.size));
        assert_true(stm_hash_eq(&h, &v.row.hash));
        all[LEN / 2] ^= 1; /* the control: another byte is another version */
        assert_int_equal(world_try_save(&w, f, stm_slice(all, s.size), 0), 0);
        assert_int_equal(world_object(&w, f).tip.ordinal, 1);
        expect_bytes(f, all, s.size);
        free(all);
        stm_version_release(&v);
        free_pieces(&s);
    }
    assert_true(with_holes > 7);
    world_check(&w);
}

/* Many holes, so that pages have them: found, read and referred to through the tree. */
static void holes_in_pages_are_found(void **state)
{
    enum { PIECES = 240, STEP = 65536, DATA = 5000 };
    size_t len = (size_t)PIECES * STEP;
    char *data = calloc(1, len), *part = noise((size_t)PIECES * DATA, 4);
    uint64_t at = 0, from, to, n = 0;

    (void)state;
    for (size_t i = 0; i < PIECES; i++)
        memcpy(data + i * STEP + 100, part + i * DATA, DATA);
    uint64_t f = save_new("f", data, len);
    struct stm_version v = newest(f);
    assert_true(v.body.data[0] > 0);
    for (; stm_content_extent(w.store, &v, at, &from, &to) == 0 && from < len; at = to, n++) {
        assert_int_equal(from, n * STEP);
        assert_int_equal(to, n * STEP + 2 * BLOCK);
    }
    assert_int_equal(n, PIECES);
    assert_true(v.data == UINT64_C(2) * BLOCK * PIECES);
    expect_bytes(f, data, len);
    assert_int_equal(stm_content_extent(w.store, &v, 100 * STEP + 9000, &from, &to), 0);
    assert_int_equal(from, 101 * STEP);
    stm_version_release(&v);
    world_check(&w);
    free(part);
    free(data);
}

/* A list whose lengths do not add up, as no list is written: refused, not believed, and no search goes on for ever. */
static void extents_of_a_damaged_list_are_an_error(void **state)
{
    enum { STEP = 100000, LENGTH_AT = 1 + 12 };
    struct sparse s = {.size = 4 * STEP};
    uint64_t f = world_create(&w, root, "f"), from, to;

    (void)state;
    add_piece(&s, STEP, 10);
    add_piece(&s, UINT64_C(3) * STEP, 10);
    save_sparse(f, &s, true);
    struct stm_version v = newest(f);
    uint8_t *length = v.body.data + LENGTH_AT;
    uint64_t good = stm_get_u64(length);
    assert_int_equal(v.body.len, 1 + 5 * STM_ENTRY_BYTES); /* hole, data, hole, data, hole */
    for (uint64_t bad = 1; bad < 4; bad++) {
        stm_put_u64(length, bad == 1 ? 0 : bad == 2 ? good + 1 : UINT64_MAX - 50);
        uint64_t at = 0;
        int err = 0;
        for (int i = 0; i < 10 && err == 0 && at < s.size; i++, at = to)
            err = stm_content_extent(w.store, &v, at, &from, &to);
        assert_int_equal(err, STM_E_CORRUPT);
    }
    stm_put_u64(length, good); /* the control */
    check_extents(&v, &s);
    stm_version_release(&v);
    free_pieces(&s);
}

static void data_of_the_past_is_that_of_the_past(void **state)
{
    struct sparse s = {.size = 1000000};
    uint64_t f = world_create(&w, root, "f");
    struct stm_object o;

    (void)state;
    add_piece(&s, 0, 10);
    save_sparse(f, &s, true);
    uint64_t sparse_seq = world_object(&w, f).tip.seq;
    world_save(&w, f, "short", 0);
    assert_true(world_object(&w, f).data == 5);
    struct stm_view past = stm_view_at(w.store, sparse_seq);
    assert_int_equal(stm_object_get(&past, f, &o), 0);
    assert_true(o.size == 1000000 && o.data == BLOCK);
    free_pieces(&s);
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
        T(holes_take_no_room_and_no_reading),
        T(all_holes_is_a_content_too),
        T(equal_bytes_make_equal_lists_whoever_made_the_holes),
        T(holes_in_pages_are_found),
        T(extents_of_a_damaged_list_are_an_error),
        T(data_of_the_past_is_that_of_the_past),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
