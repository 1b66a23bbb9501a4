/* stage.c: see stage.h. */
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cmocka.h"

static void fill(uint8_t *b, size_t n, uint32_t x)
{
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        b[i] = (uint8_t)(x >> 24);
    }
}

struct xattr_args {
    uint64_t object;
    int64_t effective;
};

static int build_xattr(struct stm_txn *t, void *arg)
{
    const struct xattr_args *a = arg;
    int err = stm_xattr_set(t, a->object, stm_slice_str("user.a"), stm_slice_str("1"), 0);

    if (err == 0)
        err = stm_xattr_set(t, a->object, stm_slice_str("user.b"), stm_slice_str("2"), 0);
    return err < 0 ? err : stm_effective_mark(t, STM_ROOT_OBJECT, a->effective);
}

static int build_orphan(struct stm_txn *t, void *arg)
{
    (void)arg;
    struct stm_object o;
    return stm_tree_create(t, 0, stm_slice_str("nameless"), &(struct stm_new){.mode = S_IFREG | 0600}, &o);
}

int stage_new(void **state)
{
    struct stage *s = calloc(1, sizeof *s);
    struct world *w = &s->w;

    s->bytes = malloc(STAGE_BIG);
    fill(s->bytes, STAGE_BIG, 7);
    world_open_mem(w);
    s->dir = world_mkdir(w, STM_ROOT_OBJECT, "dir");
    s->sub = world_mkdir(w, s->dir, "sub");
    s->file = world_create(w, s->dir, "file");
    world_save(w, s->file, "one", 0);
    world_save(w, s->file, "two", 0);
    world_save(w, s->file, "three", WORLD_MINOR);
    s->big = world_create(w, s->sub, "big");
    assert_int_equal(world_try_save(w, s->big, stm_slice(s->bytes, STAGE_BIG), 0), 0);
    assert_int_equal(world_try_save(w, s->big, stm_slice(s->bytes, STAGE_BIG - 1000), 0), 0);
    s->linked = world_create(w, s->dir, "linked");
    assert_int_equal(world_try_save(w, s->linked, stm_slice(s->bytes, 9000), 0), 0); /* small */
    world_save(w, s->linked, "between", 0);
    assert_int_equal(world_try_save(w, s->linked, stm_slice(s->bytes, 9000), 0), 0); /* the same once more */
    world_link(w, s->linked, s->sub, "other");
    s->gone = world_create(w, s->dir, "gone");
    world_save(w, s->gone, "was here", 0);
    world_unlink(w, s->dir, "gone");
    world_create(w, s->dir, "new");
    world_rename(w, s->dir, "new", "newer", false);
    world_rename(w, s->dir, "newer", "new", false);
    assert_int_equal(world_try_create(w, s->dir, "link", S_IFLNK | 0777, NULL), 0);
    struct xattr_args a = {s->file, 12345};
    struct stm_change change = {.effective_ns = a.effective};
    assert_int_equal(stm_update(w->store, &change, build_xattr, &a, NULL), 0);
    assert_int_equal(stm_update(w->store, &w->change, build_orphan, NULL, NULL), 0);
    assert_int_equal(stm_view_id(w->store, 3, &s->view), 0);
    *state = s;
    return 0;
}

int stage_free(void **state)
{
    struct stage *s = *state;

    world_close(&s->w);
    free(s->bytes);
    free(s);
    return 0;
}

/* ---- checking ---------------------------------------------------------------------------------------------------------- */

void stage_note(void *arg, const struct stm_finding *f)
{
    struct stage *s = arg;

    if (getenv("STEMMA_TEST_SHOW"))
        fprintf(stderr, "%s: %s: %s (%s) state %d\n", f->code, f->where, f->what, f->record, f->state);
    assert_true(f->what[0] && f->consequence[0] && f->remedy[0] && f->record[0]);
    if (s->n == STAGE_CODES)
        return;
    snprintf(s->codes[s->n], sizeof s->codes[0], "%s", f->code);
    snprintf(s->where[s->n], sizeof s->where[0], "%s", f->where);
    s->states[s->n++] = f->state;
}

struct stm_fsck_result stage_check(struct stage *s, bool repair)
{
    struct stm_fsck_options opt = {.repair = repair, .finding = stage_note, .arg = s};
    struct stm_fsck_result r;

    s->n = 0;
    assert_int_equal(stm_fsck(s->w.store, &opt, &r), 0);
    return r;
}

bool stage_found(const struct stage *s, const char *code, enum stm_finding_state state)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->codes[i], code) == 0 && s->states[i] == state)
            return true;
    return false;
}

void stage_expect_clean(struct stage *s)
{
    struct stm_fsck_result r = stage_check(s, false);

    for (int i = 0; i < s->n; i++)
        fprintf(stderr, "not clean: %s %s\n", s->codes[i], s->where[i]);
    assert_int_equal(r.left + r.known, 0);
    assert_int_equal(s->n, 0);
    assert_true(r.records > 50 && r.contents > 5);
}

/* ---- damaging ------------------------------------------------------------------------------------------------------------ */

void stage_raw_put(struct stage *s, enum stm_space space, struct stm_key key, struct stm_slice payload)
{
    uint8_t frame[5000];
    size_t size = STM_FRAME_HEAD + payload.len + STM_FRAME_TAIL;
    struct stm_op op = {STM_OP_PUT, space, stm_key_slice(&key), stm_slice(frame, size)};

    assert_true(size <= sizeof frame);
    frame[0] = STM_RECORD_FORMAT;
    memcpy(frame + 1, payload.data, payload.len);
    stm_frame_close(space, stm_key_slice(&key), frame, size);
    assert_int_equal(s->w.store->engine->ops->commit(s->w.store->engine, &op, 1, false), 0);
}

void stage_raw_delete(struct stage *s, enum stm_space space, struct stm_key key)
{
    struct stm_op op = {STM_OP_DELETE, space, stm_key_slice(&key), stm_slice(NULL, 0)};
    assert_int_equal(s->w.store->engine->ops->commit(s->w.store->engine, &op, 1, false), 0);
}

/* Changes a byte of a record: the last but `back` of its payload. With `close` the checksum is right again. */
void stage_raw_change(struct stage *s, enum stm_space space, struct stm_key key, size_t at, bool close)
{
    struct stm_engine *e = s->w.store->engine;
    struct stm_buf b = STM_BUF_INIT;

    assert_int_equal(e->ops->get(e, space, stm_key_slice(&key), &b), 0);
    assert_true(at + STM_FRAME_HEAD < b.len);
    b.data[STM_FRAME_HEAD + at] ^= 1;
    if (close)
        stm_frame_close(space, stm_key_slice(&key), b.data, b.len);
    struct stm_op op = {STM_OP_PUT, space, stm_key_slice(&key), stm_buf_slice(&b)};
    assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
    stm_buf_release(&b);
}

struct stm_key stage_key(struct stage *s, enum stm_space space, struct stm_slice prefix, int n)
{
    struct stm_engine *e = s->w.store->engine;
    struct stm_slice key = {NULL, 0}, value;
    struct stm_key k = {.fix = -1};
    struct stm_iter *it;

    assert_int_equal(e->ops->iter_new(e, space, prefix, stm_slice(NULL, 0), 0, &it), 0);
    int more = e->ops->iter_seek(it, prefix);
    for (; more > 0 && n > 0; n--)
        more = e->ops->iter_next(it);
    assert_int_equal(more, 1);
    e->ops->iter_get(it, &key, &value);
    assert_true(key.len >= prefix.len && (prefix.len == 0 || memcmp(key.data, prefix.data, prefix.len) == 0));
    k.len = (uint16_t)key.len;
    memcpy(k.bytes, key.data, key.len);
    e->ops->iter_free(it);
    return k;
}

struct stm_key stage_tagged(struct stage *s, char tag)
{
    return stage_key(s, STM_INDEX, stm_slice(&tag, 1), 0);
}

struct stm_key stage_version(struct stage *s, uint64_t object)
{
    struct stm_object o = world_object(&s->w, object);
    return stm_key_version(o.line, o.head_seq);
}
