/*
 * test_properties.c: the twelve properties that a cache over a versioned store must have (requirement R32), each over at least 100 random
 * cases, or the place where it is tested. STEMMA_TEST_SEED repeats a run.
 *
 *      1 consistency            reads_are_what_was_saved_cached_or_not
 *      2 promotion              a_miss_fills_the_cache
 *      3 complete invalidation  no_read_is_older_than_the_last_change; through the kernel's caches: versions/latest-is-fresh
 *      4 thread safety          threads_never_see_a_torn_content, here and in the TSan build
 *      5 error recovery         after_an_error_everything_is_as_before; each allocation and each system call: docs/RELIABILITY.md
 *      6 key uniqueness         different_things_have_different_keys
 *      7 compression            every_codec_gives_back_what_it_got
 *      8 exact LRU              test_cache.c, the_order_is_exactly_lru: 10,000 operations beside a list
 *      9 expiry (TTL)           nothing in this cache expires: what it holds never changes. To be tested when a tier has a TTL
 *     10 exact statistics       every_look_up_is_counted_once
 *     11 clean build            script/check builds with warnings as errors
 *     12 clean start            a_store_starts_clean_every_time
 *
 * Not for single cases that are worth a name: those are in the test of their module.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "key.h"
#include "state.h"
#include "stemma/codec.h"
#include "support/cmocka.h"
#include "support/tmpdir.h"
#include "support/world.h"

enum { CASES = 100, LARGEST = 400000 };

static const uint64_t root = STM_ROOT_OBJECT;
static uint64_t first_seed;

/* Deterministic, one stream for each property. */
struct dice {
    uint64_t state;
};

static uint64_t roll(struct dice *d, uint64_t sides)
{
    d->state = d->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (d->state >> 33) % sides;
}

static struct dice dice_of(uint64_t property)
{
    return (struct dice){(first_seed + property) * UINT64_C(0x9e3779b97f4a7c15)};
}

/* Half of it repeating, and nowhere a hole. */
static void fill(struct dice *d, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = i % 1000 < 500 ? (uint8_t)roll(d, 256) : (uint8_t)(i % 7);
}

/* A content of any size class. */
static size_t make_content(struct dice *d, uint8_t *buf)
{
    static const size_t classes[] = {100, STM_INLINE_MAX + 1, STM_SMALL_MAX + 1, LARGEST};
    size_t len = roll(d, classes[roll(d, 4)]);

    fill(d, buf, len);
    return len;
}

static void empty_cache(struct world *w)
{
    stm_cache_free(w->store->cache);
    assert_int_equal(stm_cache_new(32 << 20, &w->store->cache), 0);
}

static struct stm_version newest(struct world *w, uint64_t f)
{
    struct stm_object o = world_object(w, f);
    struct stm_version v;

    assert_int_equal(stm_version_at(&w->head, &o, &v), 0);
    return v;
}

static void expect(struct world *w, uint64_t f, const uint8_t *data, size_t len)
{
    size_t got;
    char *text = world_content(&w->head, f, &got);

    assert_non_null(text);
    assert_int_equal(got, len);
    assert_memory_equal(text, data, len);
    free(text);
}

/* ---- 1 ---- */

static void reads_are_what_was_saved_cached_or_not(void **state)
{
    static uint8_t data[LARGEST], got[LARGEST];
    struct dice d = dice_of(1);
    struct world w;

    (void)state;
    world_open_mem(&w);
    uint64_t f = world_create(&w, root, "word");
    for (int i = 0; i < CASES; i++) {
        size_t len = make_content(&d, data), off = roll(&d, len + 1), want = roll(&d, len - off + 1);
        assert_int_equal(world_try_save(&w, f, stm_slice(data, len), WORLD_ALWAYS), 0);
        struct stm_version v = newest(&w, f);
        for (int pass = 0; pass < 3; pass++) { /* as it is, from the cache, and from the engine */
            if (pass == 2)
                empty_cache(&w);
            for (size_t at = 0; at < want;) {
                int64_t n = stm_content_read(w.store, &v, off + at, got + at, want - at);
                assert_true(n > 0);
                at += (size_t)n;
            }
            assert_memory_equal(got, data + off, want);
        }
        stm_version_release(&v);
    }
    world_close(&w);
}

/* ---- 2 ---- */

static void a_miss_fills_the_cache(void **state)
{
    static uint8_t data[LARGEST];
    struct dice d = dice_of(2);
    struct stm_cache_stats before, cold, warm;
    struct world w;
    uint8_t byte;

    (void)state;
    world_open_mem(&w);
    uint64_t f = world_create(&w, root, "word");
    for (int i = 0; i < CASES; i++) {
        size_t len = STM_SMALL_MAX + 1 + roll(&d, LARGEST - STM_SMALL_MAX);
        fill(&d, data, len);
        assert_int_equal(world_try_save(&w, f, stm_slice(data, len), WORLD_ALWAYS), 0);
        struct stm_version v = newest(&w, f);
        uint64_t at = roll(&d, len), from, to;
        assert_int_equal(stm_content_extent(w.store, &v, at, &from, &to), 0);
        at = from < len ? from : 0; /* zeros in a hole are read from nowhere */
        empty_cache(&w);
        stm_cache_stats(w.store->cache, &before);
        assert_int_equal(stm_content_read(w.store, &v, at, &byte, 1), 1);
        stm_cache_stats(w.store->cache, &cold);
        assert_true(cold.misses > before.misses && cold.entries > 0);
        assert_int_equal(stm_content_read(w.store, &v, at, &byte, 1), 1);
        stm_cache_stats(w.store->cache, &warm);
        assert_int_equal(warm.misses, cold.misses);
        assert_true(warm.hits > cold.hits);
        assert_int_equal(byte, data[at]);
        stm_version_release(&v);
    }
    world_close(&w);
}

/* ---- 3 ---- */

enum { NAMES = 4 };

static void change_one(struct world *w, struct dice *d, char model[NAMES][32], const char *const *names, int i)
{
    unsigned n = (unsigned)roll(d, NAMES), to = (unsigned)roll(d, NAMES);
    uint64_t f = world_find(w, root, names[n]);

    switch (roll(d, 4)) {
    case 0:
        if (f)
            world_unlink(w, root, names[n]);
        model[n][0] = 0;
        break;
    case 1:
        if (f && n != to) {
            world_rename(w, root, names[n], names[to], false);
            memcpy(model[to], model[n], sizeof model[to]);
            model[n][0] = 0;
        }
        break;
    default:
        f = f ? f : world_create(w, root, names[n]);
        snprintf(model[n], sizeof model[n], "content %d", i);
        world_save(w, f, model[n], 0);
    }
}

static void no_read_is_older_than_the_last_change(void **state)
{
    static const char *const names[NAMES] = {"a", "b", "c", "d"};
    char model[NAMES][32] = {""};
    struct dice d = dice_of(3);
    struct world w;

    (void)state;
    world_open_mem(&w);
    for (int i = 0; i < 5 * CASES; i++) {
        change_one(&w, &d, model, names, i);
        for (unsigned n = 0; n < NAMES; n++) {
            uint64_t f = world_find(&w, root, names[n]);
            assert_int_equal(f != 0, model[n][0] != 0);
            if (f)
                world_expect(&w, f, model[n]);
        }
    }
    world_check(&w);
    world_close(&w);
}

/* ---- 4 ---- */

struct player {
    struct world *w;
    uint64_t file;
    uint64_t seed;
    bool failed;
};

/* Contents are one byte repeated, so that a mixture of two would be seen. */
static void *play(void *arg)
{
    struct player *p = arg;
    struct dice d = {p->seed};
    char *data = malloc(LARGEST);

    for (int i = 0; data && i < CASES && !p->failed; i++) {
        size_t len = 1 + roll(&d, i % 10 == 0 ? LARGEST : 5000);
        memset(data, (int)roll(&d, 256), len);
        struct stm_view head = stm_view_head(p->w->store);
        p->failed = world_try_save(p->w, p->file, stm_slice(data, len), 0) < 0;
        char *got = world_content(&head, p->file, &len);
        for (size_t j = 1; got && j < len; j++)
            p->failed |= got[j] != got[0];
        free(got);
    }
    p->failed |= !data;
    free(data);
    return NULL;
}

static void threads_never_see_a_torn_content(void **state)
{
    struct player players[4];
    pthread_t threads[4];
    struct world w;

    (void)state;
    world_open_mem(&w);
    uint64_t f = world_create(&w, root, "shared");
    for (int i = 0; i < 4; i++) {
        players[i] = (struct player){.w = &w, .file = f, .seed = dice_of(4).state + (uint64_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, play, &players[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_false(players[i].failed);
    }
    world_check(&w);
    world_close(&w);
}

/* ---- 5 ---- */

static void after_an_error_everything_is_as_before(void **state)
{
    static uint8_t old[LARGEST], data[LARGEST];
    struct stm_engine *faulty;
    struct dice d = dice_of(5);
    struct world w;
    int failures = 0;

    (void)state;
    world_open_mem(&w);
    assert_int_equal(stm_engine_fault_new(w.store->engine, &faulty), 0);
    w.store->engine = faulty;
    uint64_t f = world_create(&w, root, "word");
    size_t old_len = make_content(&d, old);
    assert_int_equal(world_try_save(&w, f, stm_slice(old, old_len), WORLD_ALWAYS), 0);
    for (int i = 0; i < 3 * CASES || failures < CASES; i++) {
        size_t len = make_content(&d, data);
        empty_cache(&w);
        stm_engine_fault_arm(faulty, 1 + roll(&d, 6), roll(&d, 2) ? -EIO : -ENOSPC, roll(&d, 2), STM_FAULT_ALL);
        int err = world_try_save(&w, f, stm_slice(data, len), WORLD_ALWAYS);
        stm_engine_fault_arm(faulty, 0, 0, false, STM_FAULT_ALL);
        failures += err < 0;
        if (err == 0) {
            memcpy(old, data, len);
            old_len = len;
        }
        expect(&w, f, old, old_len);
    }
    world_check(&w);
    world_close(&w);
}

/* ---- 6 ---- */

/* Small numbers and short names of few letters, so that whatever could be confused is met soon. */
static struct stm_key random_key(struct dice *d, char *ret_name, size_t cap)
{
    uint64_t a = roll(d, 3), b = roll(d, 3), c = roll(d, 3);
    uint32_t i = (uint32_t)roll(d, 3), j = (uint32_t)roll(d, 3);
    char name[4] = "";

    for (size_t k = 0; k < 1 + roll(d, 2); k++)
        name[k] = "\x01x\xff"[roll(d, 3)];
    unsigned kind = (unsigned)roll(d, 9);
    snprintf(ret_name, cap, "%u %d.%d.%d %d.%d %s", kind, (int)a, (int)b, (int)c, (int)i, (int)j, name);
    switch (kind) {
    case 0:
        snprintf(ret_name, cap, "dentry %d %s", (int)a, name);
        return stm_key_dentry(a, stm_slice_str(name));
    case 1:
        snprintf(ret_name, cap, "hist %d %s %d", (int)a, name, (int)b + 1);
        return stm_key_hist(a, stm_slice_str(name), b + 1);
    case 2:
        snprintf(ret_name, cap, "tombstone %d %s", (int)a, name);
        return stm_key_tombstone(a, stm_slice_str(name));
    case 3:
        snprintf(ret_name, cap, "version %d %d", (int)a, (int)b);
        return stm_key_version(a, b);
    case 4:
        snprintf(ret_name, cap, "refpage %d %u %d %u", (int)a, i, (int)b, j);
        return stm_key_ref_page(a, i, b, j);
    case 5:
        snprintf(ret_name, cap, "refversion %d %u %d %u", (int)a, i, (int)b, j);
        return stm_key_ref_version(a, i, b, j);
    case 6:
        snprintf(ret_name, cap, "row %d %u", (int)a, i);
        return stm_key_row(a, i);
    case 7:
        snprintf(ret_name, cap, "past %d %d", (int)a, (int)b);
        return stm_key_past_line(a, b);
    default:
        snprintf(ret_name, cap, "effective %d %d %d", (int)a, (int)b - 1, (int)c);
        return stm_key_effective(a, (int64_t)b - 1, c);
    }
}

static enum stm_space space_of(const char *what)
{
    return strncmp(what, "dentry", 6) == 0                                           ? STM_DENTRY
           : strncmp(what, "hist", 4) == 0 || strncmp(what, "tombstone", 9) == 0     ? STM_DENTRYHIST
           : strncmp(what, "version", 7) == 0                                        ? STM_VERSION
           : strncmp(what, "refpage", 7) == 0 || strncmp(what, "refversion", 9) == 0 ? STM_CHUNKREF
                                                                                     : STM_INDEX;
}

static void different_things_have_different_keys(void **state)
{
    enum { KEYS = 10 * CASES };
    static struct stm_key keys[KEYS];
    static char what[KEYS][64];
    struct dice d = dice_of(6);
    int same = 0;

    (void)state;
    for (int i = 0; i < KEYS; i++) {
        keys[i] = random_key(&d, what[i], sizeof what[i]);
        for (int j = 0; j < i; j++) {
            bool equal = space_of(what[i]) == space_of(what[j]) && keys[i].len == keys[j].len &&
                         memcmp(keys[i].bytes, keys[j].bytes, keys[i].len) == 0;
            assert_int_equal(equal, strcmp(what[i], what[j]) == 0);
            same += equal;
        }
    }
    assert_true(same > CASES); /* the same things were met too */
}

/* ---- 7 ---- */

static void every_codec_gives_back_what_it_got(void **state)
{
    static uint8_t data[LARGEST], got[LARGEST];
    struct dice d = dice_of(7);

    (void)state;
    for (int i = 0; i < CASES; i++) {
        size_t len = make_content(&d, data);
        for (enum stm_codec codec = STM_CODEC_NONE; codec <= STM_CODEC_GZIP; codec++) {
            struct stm_buf packed = STM_BUF_INIT;
            int used = stm_codec_pack(codec, 1 + (int)roll(&d, 9), stm_slice(data, len), &packed);
            assert_true(used >= 0);
            assert_int_equal(stm_codec_unpack((enum stm_codec)used, stm_buf_slice(&packed), got, len), 0);
            assert_memory_equal(got, data, len);
            stm_buf_release(&packed);
        }
    }
}

/* ---- 10 ---- */

static void every_look_up_is_counted_once(void **state)
{
    struct dice d = dice_of(10);
    struct stm_cache_stats s;
    struct stm_cache *c;

    (void)state;
    for (int i = 0; i < CASES; i++) {
        uint64_t hits = 0, misses = 0, puts = 0;
        assert_int_equal(stm_cache_new(1 + roll(&d, 40000), &c), 0);
        for (int n = (int)roll(&d, 300); n > 0; n--) {
            uint64_t segment = roll(&d, 8);
            uint32_t index = (uint32_t)roll(&d, 8);
            const struct stm_cached *e = stm_cache_get(c, segment, index);
            hits += e != NULL;
            misses += e == NULL;
            if (!e) {
                size_t len = roll(&d, 300);
                bool kept = stm_cache_has(c, segment, index);
                e = stm_cache_put(c, segment, index, calloc(1, len + 1), len);
                assert_non_null(e);
                puts += !kept && stm_cache_has(c, segment, index);
            }
            stm_cache_unref(c, e);
        }
        stm_cache_stats(c, &s);
        assert_int_equal(s.hits, hits);
        assert_int_equal(s.misses, misses);
        assert_int_equal(s.entries, puts - s.evictions);
        assert_int_equal(s.bytes == 0, s.entries == 0);
        stm_cache_free(c);
    }
}

/* ---- 12 ---- */

static void a_store_starts_clean_every_time(void **state)
{
    const char *dir = stm_tmpdir();
    struct world w;
    char name[16];

    (void)state;
    for (int i = 0; i < CASES; i++) {
        world_open_mem(&w);
        assert_int_equal(world_object(&w, root).entries, 0);
        world_check(&w);
        world_close(&w);
    }
    if (STM_TSAN)
        return;
    for (int i = 0; i < CASES; i++) {
        assert_int_equal(world_open_dir(&w, dir, i == 0), 0);
        assert_int_equal(world_object(&w, root).entries, (uint64_t)i);
        for (int j = 0; j < i; j++) {
            snprintf(name, sizeof name, "f%d", j);
            world_expect(&w, world_find(&w, root, name), j % 3 == 0 ? "one" : "two");
        }
        snprintf(name, sizeof name, "f%d", i);
        uint64_t f = world_create(&w, root, name);
        world_save(&w, f, i % 3 == 0 ? "one" : "two", 0);
        world_close(&w);
    }
    stm_tmpdir_remove(dir);
}

int main(void)
{
    const char *given = getenv("STEMMA_TEST_SEED");

    first_seed = given ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u;
    print_message("STEMMA_TEST_SEED=%llu\n", (unsigned long long)first_seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_are_what_was_saved_cached_or_not), cmocka_unit_test(a_miss_fills_the_cache),
        cmocka_unit_test(no_read_is_older_than_the_last_change),  cmocka_unit_test(threads_never_see_a_torn_content),
        cmocka_unit_test(after_an_error_everything_is_as_before), cmocka_unit_test(different_things_have_different_keys),
        cmocka_unit_test(every_codec_gives_back_what_it_got),     cmocka_unit_test(every_look_up_is_counted_once),
        cmocka_unit_test(a_store_starts_clean_every_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
