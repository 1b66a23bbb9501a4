/*
 * test_alloc_fs.c: allocations of fs/ that fail: of stages, drafts and virtual nodes. Each operation is tried with its n-th allocation failing, for
 * every n (of many, some are left out unless STEMMA_TORTURE is set), alone and with all that follow. Refused, it must say -ENOMEM and leave what was there; tried again it must do what it should.
 */
#define FUSE_USE_VERSION 314 /* file.h shows types of libfuse */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"
#include "support/alloc.h"
#include "support/cmocka.h"
#include "vnode.h"

/* Runs op with every allocation failing in turn; calls check after each try (done: it succeeded). Returns how often it was refused, or -1. */
static long refusals(int (*op)(void *arg), bool (*check)(void *arg, bool done), void *arg, enum alloc_mode mode)
{
    long refused = 0;

    for (unsigned long n = 1;; n += getenv("STEMMA_TORTURE") ? 1 : 1 + n / 20) {
        alloc_fail(n, mode);
        int err = op(arg);
        unsigned long failed = alloc_end();
        if (err < 0 && (err != -ENOMEM || failed == 0)) {
            print_message("%s when allocation %lu failed\n", stm_error_text(err), n);
            return -1;
        }
        if (!check(arg, err == 0)) {
            print_message("%s when allocation %lu failed\n", err == 0 ? "not done" : "something was changed", n);
            return -1;
        }
        if (err == 0)
            return refused;
        refused++;
    }
}

/* ---- stages ---- */

enum { SIZE = 3 << 20, BASE = 2 << 20 };

struct staged {
    struct stm_stage st;
    uint8_t *model, *got;
    uint64_t size;
    /* the operation under way */
    uint64_t off, len;
    const uint8_t *bytes;
    char what; /* 'i'nit, 'w'rite, 't'runcate, 'z'ero, 's'pill */
    uint64_t base;
};

static int read_base(void *arg, uint64_t off, void *buf, size_t len)
{
    (void)arg;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)((off + i) % 251 + 1);
    return 0;
}

static int stage_op(void *arg)
{
    struct staged *s = arg;

    switch (s->what) {
    case 'i':
        s->st = (struct stm_stage){.fd = -1};
        return stm_stage_init(&s->st, &(struct stm_stage_base){.size = s->base, .data = s->base, .read = read_base}, "/tmp", 0x5a5a5a);
    case 'w':
        return stm_stage_write(&s->st, s->off, s->bytes, s->len);
    case 't':
        return stm_stage_truncate(&s->st, s->off);
    case 's':
        return stm_stage_spill(&s->st, false);
    default:
        return stm_stage_zero(&s->st, s->off, s->len);
    }
}

/* What the operation makes of the model. */
static void apply(struct staged *s)
{
    uint64_t end = s->off + s->len;

    if (s->what == 'i') {
        s->size = s->base;
        assert_int_equal(read_base(NULL, 0, s->model, s->base), 0);
    } else if (s->what == 't') {
        if (s->off > s->size)
            memset(s->model + s->size, 0, s->off - s->size);
        s->size = s->off;
    } else if (s->what == 'w') {
        if (s->off > s->size)
            memset(s->model + s->size, 0, s->off - s->size);
        memcpy(s->model + s->off, s->bytes, s->len);
        s->size = end > s->size ? end : s->size;
    } else if (s->what == 'z' && s->off < s->size) {
        memset(s->model + s->off, 0, (end < s->size ? end : s->size) - s->off);
    }
}

static bool stage_is_right(void *arg, bool done)
{
    struct staged *s = arg;

    if (done)
        apply(s);
    else if (s->what == 'i')
        return s->st.dir == NULL && s->st.fd < 0; /* nothing to release */
    return s->st.size == s->size && stm_stage_read(&s->st, 0, s->got, SIZE) == (int64_t)s->size && memcmp(s->got, s->model, s->size) == 0;
}

static long stage_step(struct staged *s, char what, uint64_t off, uint64_t len, enum alloc_mode mode)
{
    s->what = what;
    s->off = off;
    s->len = len;
    long n = refusals(stage_op, stage_is_right, s, mode);
    assert_true(n >= 0);
    return n;
}

static void stages_survive(uint64_t base, enum alloc_mode mode)
{
    static const uint8_t bytes[300000] = {1, 2, 3};
    struct staged s = {.model = calloc(1, SIZE), .got = malloc(SIZE), .bytes = bytes, .base = base};
    long refused = stage_step(&s, 'i', 0, 0, mode);

    refused += stage_step(&s, 'w', 100, 5000, mode);
    refused += stage_step(&s, 'w', 900000, 1000, mode);
    refused += stage_step(&s, 't', 1100000, 0, mode);
    refused += stage_step(&s, 'z', 4000, 70000, mode);
    refused += stage_step(&s, 's', 0, 0, mode);
    refused += stage_step(&s, 'w', 1000001, 300000, mode);
    refused += stage_step(&s, 't', 1050000, 0, mode);
    refused += stage_step(&s, 'w', 2000000, 300000, mode);
    stm_stage_release(&s.st);
    assert_true(refused >= 5);
    free(s.model);
    free(s.got);
}

static void a_stage_refuses_and_keeps_what_it_has(void **state)
{
    (void)state;
    for (enum alloc_mode mode = ALLOC_ONCE; mode <= ALLOC_EVER; mode++) {
        stages_survive(0, mode);
        stages_survive(50000, mode);
        stages_survive(BASE, mode);
    }
}

/* ---- drafts ---- */

struct drafted {
    struct stm_store *store;
    struct stm_fs *fs;
    uint64_t object;
    struct stm_file *file;
    char what; /* 'w'rite, 't'runcate, 'c'ommit */
    const char *text;
    uint64_t off;
    size_t len;
    unsigned versions; /* that there are */
};

static int build_create(struct stm_txn *txn, void *arg)
{
    struct stm_object o;
    int err = stm_tree_create(txn, STM_ROOT_OBJECT, stm_slice_str("word"), &(struct stm_new){.mode = S_IFREG | 0644}, &o);

    *(uint64_t *)arg = o.id;
    return err;
}

static int setup(void **state)
{
    struct drafted *d = calloc(1, sizeof *d);
    char *why = NULL;

    assert_int_equal(stm_store_open(&(struct stm_store_options){.engine = STM_ENGINE_MEM, .create = true}, &d->store, &why), 0);
    assert_int_equal(stm_fs_new(d->store, &(struct stm_fs_options){.fsname = "test"}, &d->fs), 0);
    assert_int_equal(stm_update(d->store, &(struct stm_change){.uid = 0}, build_create, &d->object, NULL), 0);
    d->file = stm_file_pin(d->fs, d->object, STM_PIN_MAKE);
    assert_non_null(d->file);
    stm_file_opened(d->fs, d->file, true);
    d->file->draft.born = true;
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct drafted *d = *state;
    bool last, purge;

    stm_file_closed(d->fs, d->file, true, &last, &purge);
    stm_file_unpin(d->fs, d->file);
    assert_int_equal(stm_fs_free(d->fs), 0);
    stm_store_close(d->store);
    free(d);
    return 0;
}

static int draft_op(void *arg)
{
    struct drafted *d = arg;

    stm_file_lock(d->file);
    int err = d->what == 'w'   ? stm_draft_write(d->fs, d->file, d->off, d->text, d->len)
              : d->what == 't' ? stm_draft_truncate(d->fs, d->file, d->off)
                               : stm_draft_commit(d->fs, d->file, &(struct stm_draft_commit){.final = true});
    if (err == 0 && d->what == 'c') {
        d->file->draft.pending = false; /* sealed */
        stm_draft_forget(d->file);      /* the next write reads what is stored */
    }
    stm_file_unlock(d->file);
    return err;
}

static bool draft_is_right(void *arg, bool done)
{
    struct drafted *d = arg;
    struct stm_view v = stm_view_head(d->store);
    struct stm_object o;

    if (stm_object_get(&v, d->object, &o) < 0)
        return false;
    d->versions += done && d->what == 'c';
    return (o.tip.seq ? o.tip.ordinal + 1 : 0) == d->versions && (d->what != 'c' || done || d->file->draft.dirty);
}

static long draft_step(struct drafted *d, char what, uint64_t off, size_t len, enum alloc_mode mode)
{
    d->what = what;
    d->off = off;
    d->len = len;
    long n = refusals(draft_op, draft_is_right, d, mode);
    assert_true(n >= 0);
    return n;
}

static void a_draft_that_is_refused_can_be_saved_later(void **state)
{
    enum { LEN = 1500000 };
    struct drafted *d = *state;
    char *text = malloc(LEN), *got = malloc(LEN);
    long refused = 0;

    for (size_t i = 0; i < LEN; i++)
        text[i] = (char)(i * i % 251 + i / 997);
    d->text = text;
    for (enum alloc_mode mode = ALLOC_ONCE; mode <= ALLOC_EVER; mode++) {
        text[0]++;
        refused += draft_step(d, 'w', 0, 3000, mode);
        refused += draft_step(d, 'c', 0, 0, mode);
        text[0]++;
        refused += draft_step(d, 'w', 0, 100000, mode);
        refused += draft_step(d, 'c', 0, 0, mode);
        text[0]++;
        refused += draft_step(d, 'w', 0, LEN, mode);
        refused += draft_step(d, 'c', 0, 0, mode);
        text[0]++;
        refused += draft_step(d, 'w', 0, 10, mode);
        refused += draft_step(d, 'c', 0, 0, mode);
        assert_int_equal(stm_read_node(d->fs, stm_nodeid_head(d->object), 0, got, LEN), LEN);
        assert_memory_equal(got, text, LEN);
        refused += draft_step(d, 't', 0, 0, mode);
        refused += draft_step(d, 'c', 0, 0, mode);
    }
    print_message("refused %ld times\n", refused);
    assert_true(refused > 300);
    free(text);
    free(got);
}

/* ---- virtual nodes ---- */

static int intern(void *arg)
{
    struct drafted *d = arg;
    struct stm_vnode want = {.kind = STM_V_LINK, .parent = 1, .name = "word@latest"}, got;
    char target[] = "word@v1.0.0";
    uint64_t number;

    want.target = target;
    int err = stm_vnode_intern(d->fs, &want, &number);
    if (err < 0)
        return err;
    err = stm_vnode_get(d->fs, number, &got);
    if (err == 0)
        stm_vnode_release(&got);
    stm_vnode_forget(d->fs, number, 1);
    return err;
}

static bool nothing_is_interned(void *arg, bool done)
{
    (void)done;
    return stm_vnodes_count(((struct drafted *)arg)->fs) == 0;
}

static void a_node_that_cannot_be_made_is_not_there(void **state)
{
    for (enum alloc_mode mode = ALLOC_ONCE; mode <= ALLOC_EVER; mode++)
        assert_true(refusals(intern, nothing_is_interned, *state, mode) >= 2);
}

/* ---- the control ---- */

static int careless(void *arg)
{
    char *p = malloc(100);

    *(bool *)arg = p != NULL;
    free(p);
    return 0;
}

static bool was_done(void *arg, bool done)
{
    return *(bool *)arg || !done;
}

static void what_does_not_look_at_its_allocations_is_found_out(void **state)
{
    bool there = false;

    (void)state;
    assert_int_equal(refusals(careless, was_done, &there, ALLOC_ONCE), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_look_at_its_allocations_is_found_out),
        cmocka_unit_test(a_stage_refuses_and_keeps_what_it_has),
        cmocka_unit_test_setup_teardown(a_draft_that_is_refused_can_be_saved_later, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_cannot_be_made_is_not_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
