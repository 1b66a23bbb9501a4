/*
 * Tests of docs/FORMAT.md against tests/golden/format-1*.txt: every record of small fixed stores, one a line: space, key and value in
 * hex. Writing the same store today must give the same bytes, and what was written then must be readable today.
 * STEMMA_GOLDEN_WRITE=FILE, STEMMA_GOLDEN_WRITE_HOLES=FILE write a list instead of comparing it; one once released is never changed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fsck.h"
#include "inner.h"
#include "layout.h"
#include "support/cmocka.h"
#include "support/tmpdir.h"
#include "support/world.h"

#ifndef STEMMA_GOLDEN_DIR
#define STEMMA_GOLDEN_DIR "tests/golden"
#endif

enum { LINE = 400000, LARGE = 70000, SPARSE = 1000000, HOLE = 500000 /* where its only byte is */ };

static const uint64_t root = STM_ROOT_OBJECT;

static int set_attr(struct stm_txn *t, void *arg)
{
    return stm_xattr_set(t, *(uint64_t *)arg, stm_slice_str("user.lang"), stm_slice_str("en"), 0);
}

/* A bit of everything. */
static void story(struct world *w)
{
    char *large = malloc(LARGE);
    uint64_t d = world_mkdir(w, root, "dictionary"), f = world_create(w, d, "word"), tmp;

    world_save(w, f, "first", 0);
    assert_int_equal(stm_update(w->store, &w->change, set_attr, &f, NULL), 0);
    w->change.author = "A. Writer <a@example.org>";
    w->change.message = "a better text";
    world_save(w, f, "second", WORLD_MINOR);
    w->change.author = w->change.message = NULL;
    world_link(w, f, root, "alias");
    tmp = world_create(w, d, "tmp");
    world_save(w, tmp, "third", 0);
    world_rename(w, d, "tmp", "word", true); /* the alias goes on with a forked line */
    uint64_t small = world_create(w, d, "small"), big = world_create(w, d, "big");
    memset(large, 's', LARGE);
    assert_int_equal(world_try_save(w, small, stm_slice(large, 5000), 0), 0);
    assert_int_equal(world_try_save(w, big, stm_slice(large, LARGE), 0), 0);
    assert_int_equal(world_try_create(w, d, "link", S_IFLNK | 0777, NULL), 0);
    assert_int_equal(world_try_create(w, d, "fifo", S_IFIFO | 0600, NULL), 0);
    world_unlink(w, d, "small");
    free(large);
}

static int read_byte_amid_zeros(void *arg, uint64_t off, void *buf, size_t len)
{
    (void)arg;
    memset(buf, 0, len);
    if (off <= HOLE && HOLE < off + len)
        ((char *)buf)[HOLE - off] = 'h';
    return 0;
}

static int extent_of_byte(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    (void)arg;
    *ret_from = off <= HOLE ? HOLE : SPARSE;
    *ret_to = off <= HOLE ? HOLE + 1 : SPARSE;
    return 0;
}

static int save_content(struct stm_txn *t, void *arg)
{
    struct stm_object after;
    return stm_version_save(t, 2, &(struct stm_save){.content = arg}, &after);
}

/* One content with holes: a version of format 2. */
static void story_of_holes(struct world *w)
{
    struct stm_source src = {.size = SPARSE, .read = read_byte_amid_zeros, .extent = extent_of_byte};
    struct stm_content c;

    assert_int_equal(world_create(w, root, "sparse"), 2);
    assert_int_equal(stm_content_put(w->store, &src, &c), 0);
    assert_int_equal(stm_update(w->store, &w->change, save_content, &c, NULL), 0);
    stm_content_release(&c);
}

struct golden {
    const char *path;
    void (*story)(struct world *w);
};
static const struct golden format_1 = {STEMMA_GOLDEN_DIR "/format-1.txt", story};
static const struct golden format_1_holes = {STEMMA_GOLDEN_DIR "/format-1-holes.txt", story_of_holes};

static void put_hex(FILE *out, struct stm_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        fprintf(out, "%02x", ((const uint8_t *)s.data)[i]);
}

/* The identity and the allocator's blocks are not part of the story. */
static void write_list(struct world *w, FILE *out)
{
    struct stm_engine *e = w->store->engine;

    for (enum stm_space space = STM_DENTRY; space < STM_SPACES; space++) {
        struct stm_slice key, value;
        struct stm_iter *it;
        assert_int_equal(e->ops->iter_new(e, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
        for (int more = e->ops->iter_seek(it, stm_slice("", 0)); more > 0; more = e->ops->iter_next(it)) {
            e->ops->iter_get(it, &key, &value);
            fprintf(out, "%s ", stm_space_name(space));
            put_hex(out, key);
            fputc(' ', out);
            put_hex(out, value);
            fputc('\n', out);
        }
        e->ops->iter_free(it);
    }
}

static FILE *open_golden(const struct golden *g)
{
    FILE *f = fopen(g->path, "r");
    assert_non_null(f);
    return f;
}

static void compare(const struct golden *g, const char *target)
{
    struct world w;
    char *now = NULL, *golden = malloc(LINE), *rest;
    size_t len = 0;

    world_open_mem(&w);
    g->story(&w);
    world_check(&w);
    FILE *out = target ? fopen(target, "w") : open_memstream(&now, &len);
    assert_non_null(out);
    write_list(&w, out);
    fclose(out);
    world_close(&w);
    if (!target) {
        FILE *in = open_golden(g);
        rest = now;
        for (int line = 1; fgets(golden, LINE, in); line++) {
            char *mine = strsep(&rest, "\n");
            golden[strcspn(golden, "\n")] = 0;
            if (!mine || strcmp(mine, golden) != 0)
                print_message("line %d differs:\n%s\n%s\n", line, golden, mine ? mine : "(missing)");
            assert_non_null(mine);
            assert_string_equal(mine, golden);
        }
        assert_int_equal(strlen(rest), 0);
        fclose(in);
    }
    free(golden);
    free(now);
}

static void the_same_story_gives_the_same_bytes(void **state)
{
    (void)state;
    compare(&format_1, getenv("STEMMA_GOLDEN_WRITE"));
}

static void the_same_holes_give_the_same_bytes(void **state)
{
    (void)state;
    compare(&format_1_holes, getenv("STEMMA_GOLDEN_WRITE_HOLES"));
}

static enum stm_space space_named(const char *name)
{
    enum stm_space space = STM_SYS;
    while (space < STM_SPACES && strcmp(stm_space_name(space), name) != 0)
        space++;
    assert_true(space < STM_SPACES);
    return space;
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + i * 2, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

/* Puts every record of the list into the engine. */
static void load_list(struct stm_engine *e, const struct golden *g)
{
    char *line = malloc(LINE), *rest;
    uint8_t *key = malloc(LINE), *value = malloc(LINE);
    FILE *in = open_golden(g);

    while (fgets(line, LINE, in)) {
        line[strcspn(line, "\n")] = 0;
        rest = line;
        enum stm_space space = space_named(strsep(&rest, " "));
        size_t key_len = from_hex(strsep(&rest, " "), key), value_len = from_hex(rest, value);
        struct stm_op op = {STM_OP_PUT, space, stm_slice(key, key_len), stm_slice(value, value_len)};
        assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
    }
    fclose(in);
    free(line);
    free(key);
    free(value);
}

/* Returns the newest seq. */
static uint64_t load_golden(struct world *w, const struct golden *g)
{
    struct stm_log_record last;
    uint64_t seq = 1;

    load_list(w->store->engine, g);
    while (stm_log_get(w->store, seq + 1, &last, NULL, NULL) == 0)
        seq++;
    atomic_store(&w->store->pipeline.published, seq);
    assert_int_equal(stm_store_raise_ids(w->store, 1000), 0); /* the allocator is no part of the records */
    return seq;
}

static void what_was_written_then_is_readable_now(void **state)
{
    struct world w;
    char *large = malloc(LARGE + 1);

    (void)state;
    world_open_mem(&w);
    uint64_t seq = load_golden(&w, &format_1);
    uint64_t d = world_find(&w, root, "dictionary");
    world_expect_chain(&w, world_find(&w, d, "word"), "v1.0.0=first v1.1.0=second v1.1.1=third");
    world_expect_chain(&w, world_find(&w, root, "alias"), "v1.0.0=first v1.1.0=second");
    memset(large, 's', LARGE);
    large[LARGE] = 0;
    world_expect(&w, world_find(&w, d, "big"), large);
    struct stm_view past = stm_view_at(w.store, seq - 1);
    large[5000] = 0;
    world_expect_at(&past, world_at(&past, d, "small"), large);
    assert_int_equal(world_find(&w, d, "small"), 0);
    world_check(&w);
    world_close(&w);
    free(large);
}

static void holes_written_then_are_holes_now(void **state)
{
    struct world w;
    struct stm_version v;
    uint64_t from, to;
    size_t len;

    (void)state;
    world_open_mem(&w);
    load_golden(&w, &format_1_holes);
    struct stm_object o = world_object(&w, world_find(&w, root, "sparse"));
    char *text = world_content(&w.head, o.id, &len), *want = calloc(1, SPARSE);
    want[HOLE] = 'h';
    assert_int_equal(len, SPARSE);
    assert_memory_equal(text, want, SPARSE);
    assert_int_equal(stm_version_at(&w.head, &o, &v), 0);
    assert_int_equal(stm_content_extent(w.store, &v, 0, &from, &to), 0);
    assert_true(from == HOLE / 4096 * 4096 && to == from + 4096 && v.data == 4096);
    stm_version_release(&v);
    world_check(&w);
    world_close(&w);
    free(want);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_story_gives_the_same_bytes),
        cmocka_unit_test(what_was_written_then_is_readable_now),
        cmocka_unit_test(the_same_holes_give_the_same_bytes),
        cmocka_unit_test(holes_written_then_are_holes_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
