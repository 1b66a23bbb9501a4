/*
 * The store against a model (support/model.h): random operations, alone and two in one commit, give the same errors, and the same tree
 * now and at every moment of the past. STEMMA_TEST_SEED repeats a run, STEMMA_TEST_OPS makes it longer or shorter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "support/cmocka.h"
#include "support/model.h"
#include "support/world.h"

enum { OPS = 500, IN_COMMIT = 2, CONTENTS = 12, LARGEST = 200000, ENTRIES = 64, PAST_CHECKS = 150 };

/* What the tree looked like after a commit; junk names left out. */
struct seen {
    int dir, name, object, shows, shows_id;
};
struct snapshot {
    uint64_t seq;
    int n;
    struct seen e[ENTRIES];
};

struct run {
    struct world w;
    struct model m, before;
    uint64_t seed, ids[MODEL_OBJECTS]; /* ids: of the model's objects in the store */
    struct snapshot *past;
    int n_past, cap_past, done;
    struct model_op op[IN_COMMIT];
    int ops;
    uint8_t *read;
    bool lenient; /* for the control: count differences instead of failing */
    int differences;
};

static struct stm_slice contents[CONTENTS];

/* Empty, short, kept apart (small), and in chunks of which neighbours share most. */
static void make_contents(void)
{
    static const size_t size[CONTENTS] = {0, 1, 6, 100, 4096, 4097, 9000, 65536, 65537, 120000, 120000, LARGEST};

    for (int i = 0; i < CONTENTS; i++) {
        uint8_t *b = malloc(size[i] + 1);
        assert_non_null(b);
        uint32_t x = 12345;
        for (size_t k = 0; k < size[i]; k++) {
            x = x * 1664525u + 1013904223u;
            b[k] = k == size[i] / 2 ? (uint8_t)i : (uint8_t)(x >> 24);
        }
        if (size[i] == 1)
            b[0] = 'x';
        contents[i] = stm_slice(b, size[i]);
    }
}

static uint32_t rnd(struct run *r, uint32_t n)
{
    r->seed = r->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(r->seed >> 33) % n;
}

static void differ(struct run *r, const char *what, uint64_t seq, const struct seen *e)
{
    r->differences++;
    if (r->lenient)
        return;
    fprintf(stderr, "%s: seq %llu, directory %d, name %s, object %d (id %llu)\n", what, (unsigned long long)seq, e->dir,
            model_names[e->name], e->object, (unsigned long long)r->ids[e->object]);
    fail();
}

/* ---- doing ---------------------------------------------------------------------------------------------------------- */

static struct stm_save save_of(const struct model_op *op, const struct stm_content *c)
{
    return (struct stm_save){.content = c,
                             .amend = op->flags & WORLD_AMEND,
                             .always = (op->flags & WORLD_ALWAYS) || op->kind == MODEL_REPLACE,
                             .bump = op->flags & WORLD_MAJOR   ? STM_BUMP_MAJOR
                                     : op->flags & WORLD_MINOR ? STM_BUMP_MINOR
                                                               : STM_BUMP_PATCH};
}

struct doing {
    struct run *r;
    struct stm_content c[IN_COMMIT];
};

static int do_replace(struct stm_txn *t, struct doing *d, int i)
{
    const struct model_op *op = &d->r->op[i];
    struct stm_save save = save_of(op, &d->c[i]);
    struct stm_slice name = stm_slice_str(model_names[op->name]);
    struct stm_object o;
    uint64_t replaced;
    int err = stm_tree_create(t, 0, name, &(struct stm_new){.mode = S_IFREG | 0644}, &o);

    if (err == 0)
        err = stm_tree_replace(t, o.id, d->r->ids[op->dir], name, &save, &replaced, &o);
    if (err == 0)
        d->r->ids[op->object] = o.id;
    return err;
}

static int do_create(struct stm_txn *t, struct run *r, const struct model_op *op)
{
    struct stm_new n = {.mode = op->type | 0755, .target = stm_slice_str("target")};
    struct stm_object o;
    int err = stm_tree_create(t, r->ids[op->dir], stm_slice_str(model_names[op->name]), &n, &o);

    if (err == 0)
        r->ids[op->object] = o.id;
    return err;
}

static int do_rename(struct stm_txn *t, const struct run *r, const struct model_op *op)
{
    struct stm_rename n = {.from_parent = r->ids[op->dir],
                           .to_parent = r->ids[op->dir2],
                           .from = stm_slice_str(model_names[op->name]),
                           .to = stm_slice_str(model_names[op->name2]),
                           .noreplace = op->noreplace,
                           .exchange = op->kind == MODEL_EXCHANGE,
                           .drop_line = op->drop};
    return stm_tree_rename(t, &n);
}

static int do_one(struct stm_txn *t, struct doing *d, int i)
{
    struct run *r = d->r;
    const struct model_op *op = &r->op[i];
    struct stm_slice name = stm_slice_str(model_names[op->name]);
    struct stm_save save = save_of(op, &d->c[i]);
    struct stm_object o;

    switch (op->kind) {
    case MODEL_CREATE:
        return do_create(t, r, op);
    case MODEL_SAVE:
        return stm_version_save(t, r->ids[op->object], &save, &o);
    case MODEL_UNLINK:
        return stm_tree_unlink(t, r->ids[op->dir], name, false, &o);
    case MODEL_RMDIR:
        return stm_tree_rmdir(t, r->ids[op->dir], name);
    case MODEL_LINK:
        return stm_tree_link(t, r->ids[op->object], r->ids[op->dir], name, &o);
    case MODEL_RENAME:
    case MODEL_EXCHANGE:
        return do_rename(t, r, op);
    case MODEL_REPLACE:
        return do_replace(t, d, i);
    case MODEL_KINDS:
        break;
    }
    return -EINVAL;
}

static int build(struct stm_txn *t, void *arg)
{
    struct doing *d = arg;
    int err = 0;

    for (int i = 0; err == 0 && i < d->r->ops; i++)
        err = do_one(t, d, i);
    return err;
}

static int run_on_store(struct run *r)
{
    struct doing d = {.r = r};

    for (int i = 0; i < r->ops; i++) {
        struct stm_source src = {.size = contents[r->op[i].content].len, .mem = contents[r->op[i].content].data};
        assert_int_equal(stm_content_put(r->w.store, &src, &d.c[i]), 0);
    }
    r->w.clock.ns += 1000;
    int err = stm_update(r->w.store, &r->w.change, build, &d, NULL);
    for (int i = 0; i < r->ops; i++)
        stm_content_release(&d.c[i]);
    return err;
}

/* ---- choosing ------------------------------------------------------------------------------------------------------- */

/* A directory, mostly one that is there. */
static int some_dir(struct run *r)
{
    for (int i = 0; i < 40; i++) {
        int o = (int)rnd(r, (uint32_t)r->m.n);
        if (S_ISDIR(r->m.o[o].type) && (r->m.o[o].nlink || rnd(r, 10) == 0))
            return o;
        if (i > 20 || rnd(r, 4) == 0)
            return 0;
    }
    return 0;
}

/* A name, mostly one that is there. */
static int some_name(struct run *r, int dir)
{
    int name = (int)rnd(r, MODEL_NAMES);

    for (int i = 0; i < 3 && !r->m.o[dir].name[name]; i++)
        name = (int)rnd(r, MODEL_NAMES);
    return name;
}

/* An object to save or link: one with a name, mostly. */
static int some_object(struct run *r)
{
    int dir = some_dir(r), o = r->m.o[dir].name[some_name(r, dir)];

    return o && rnd(r, 12) ? o : (int)rnd(r, (uint32_t)r->m.n);
}

static enum model_kind some_kind(struct run *r)
{
    static const uint8_t weight[MODEL_KINDS] = {22, 34, 8, 2, 6, 18, 4, 6};
    uint32_t x = rnd(r, 100);
    int k = 0;

    while (x >= weight[k])
        x -= weight[k++];
    return (enum model_kind)k;
}

static struct model_op choose(struct run *r)
{
    static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFLNK};
    struct model_op op = {.kind = some_kind(r), .dir = some_dir(r), .dir2 = some_dir(r), .content = (int)rnd(r, CONTENTS)};

    op.name = op.kind == MODEL_CREATE || op.kind == MODEL_LINK ? (int)rnd(r, MODEL_NAMES) : some_name(r, op.dir);
    op.name2 = some_name(r, op.dir2);
    op.object = some_object(r);
    op.type = types[rnd(r, 8)];
    op.drop = rnd(r, 2);
    op.noreplace = op.kind == MODEL_RENAME && rnd(r, 12) == 0;
    if (rnd(r, 2) == 0)
        op.content %= 4; /* few contents, so that the same comes again */
    op.flags = rnd(r, 2) ? WORLD_AMEND : 0;
    op.flags |= rnd(r, 8) ? 0 : WORLD_ALWAYS;
    op.flags |= rnd(r, 6) ? 0 : rnd(r, 2) ? WORLD_MINOR : WORLD_MAJOR;
    if (op.kind == MODEL_REPLACE && op.name >= MODEL_JUNK)
        op.name = 0;
    return op;
}

/* ---- comparing ------------------------------------------------------------------------------------------------------ */

static void remember(struct run *r)
{
    if (r->n_past == r->cap_past) {
        r->cap_past = r->cap_past ? r->cap_past * 2 : 64;
        r->past = realloc(r->past, (size_t)r->cap_past * sizeof *r->past);
        assert_non_null(r->past);
    }
    struct snapshot *s = &r->past[r->n_past++];
    s->seq = stm_store_seq(r->w.store);
    s->n = 0;
    for (int dir = 0; dir < r->m.n; dir++)
        for (int name = 0; S_ISDIR(r->m.o[dir].type) && r->m.o[dir].nlink && name < MODEL_JUNK; name++) {
            int o = r->m.o[dir].name[name];
            if (!o)
                continue;
            assert_true(s->n < ENTRIES);
            s->e[s->n++] = (struct seen){dir, name, o, r->m.o[o].shows, r->m.o[o].shows_id};
        }
}

static int model_name(const char *name)
{
    for (int i = 0; i < MODEL_NAMES; i++)
        if (strcmp(name, model_names[i]) == 0)
            return i;
    return MODEL_NONE;
}

/* Is it what version v holds? */
static bool holds(struct run *r, const struct stm_version *v, int content)
{
    return content != MODEL_NONE && v->row.size == contents[content].len &&
           stm_content_read(r->w.store, v, 0, r->read, LARGEST) == (int64_t)v->row.size &&
           stm_slice_eq(stm_slice(r->read, v->row.size), contents[content]);
}

/* The content of one entry in a view. */
static void compare_content(struct run *r, const struct stm_view *v, const struct seen *e)
{
    const struct model_object *m = &r->m.o[e->object];
    struct stm_object o;
    struct stm_version ver;

    if (!S_ISREG(m->type) || r->m.dead[e->shows_id] || m->dropped > v->seq)
        return;
    if (stm_object_get(v, r->ids[e->object], &o) < 0) {
        differ(r, "an object is not there", v->seq, e);
        return;
    }
    int err = stm_version_at(v, &o, &ver);
    if (err < 0) {
        if (err != -ENOENT || e->shows != MODEL_NONE || o.size != 0)
            differ(r, "a version is not there", v->seq, e);
        return;
    }
    if (!holds(r, &ver, e->shows) || o.size != ver.row.size)
        differ(r, "another content", v->seq, e);
    stm_version_release(&ver);
}

/* One directory in a view: every name that was there and no other. Names of dropped temporary files may be missing. */
static void compare_dir(struct run *r, const struct stm_view *v, const struct snapshot *s, int dir)
{
    uint64_t listed[MODEL_NAMES] = {0};
    struct stm_entry e;
    struct stm_dir *d;
    int more;

    assert_int_equal(stm_dir_open(v, r->ids[dir], 0, &d), 0);
    while ((more = stm_dir_next(d, &e, NULL)) > 0) {
        int name = model_name(e.name);
        assert_true(name != MODEL_NONE);
        assert_int_equal(listed[name], 0); /* once */
        listed[name] = e.object;
    }
    stm_dir_free(d);
    assert_int_equal(more, 0);
    for (int i = 0; i < s->n; i++) {
        const struct seen *n = &s->e[i];
        if (n->dir != dir)
            continue;
        uint64_t want = r->ids[n->object], at = world_at(v, r->ids[dir], model_names[n->name]);
        bool may_miss = r->m.o[n->object].dropped > v->seq;
        if ((listed[n->name] != want && !(may_miss && !listed[n->name])) || at != listed[n->name])
            differ(r, "another object under the name", v->seq, n);
        listed[n->name] = 0;
        compare_content(r, v, n);
    }
    for (int i = 0; i < MODEL_JUNK; i++)
        if (listed[i])
            differ(r, "a name too many", v->seq, &(struct seen){.dir = dir, .name = i});
}

static void compare_tree(struct run *r, const struct stm_view *v, const struct snapshot *s)
{
    compare_dir(r, v, s, 0);
    for (int i = 0; i < s->n; i++)
        if (S_ISDIR(r->m.o[s->e[i].object].type))
            compare_dir(r, v, s, s->e[i].object);
}

/* Three ways to name a version that is known. */
static void compare_selectors(struct run *r, int id, const struct stm_object *o, uint32_t i)
{
    const struct model_object *m = &r->m.o[id];
    struct stm_selector exact = {.kind = STM_SEL_EXACT, .semver = m->line[i].semver};
    struct stm_selector back = {.kind = STM_SEL_BACK, .back = (uint32_t)m->versions - 1 - i};
    struct stm_selector major = {.kind = STM_SEL_MAJOR, .semver = m->line[i].semver};
    struct stm_version_row row;

    assert_int_equal(stm_version_find(&r->w.head, o->line, o->tip.ordinal, &exact, &row), 0);
    assert_int_equal(row.ordinal, i);
    assert_int_equal(stm_version_find(&r->w.head, o->line, o->tip.ordinal, &back, &row), 0);
    assert_int_equal(row.ordinal, i);
    assert_int_equal(stm_version_find(&r->w.head, o->line, o->tip.ordinal, &major, &row), 0);
    assert_true(row.semver.major == m->line[i].semver.major && row.ordinal >= i);
}

/* The chain of the line that an object carries. */
static void compare_chain(struct run *r, int id)
{
    const struct model_object *m = &r->m.o[id];
    struct stm_object o = world_object(&r->w, r->ids[id]);
    struct seen e = {.object = id};

    if ((int)(o.tip.seq ? o.tip.ordinal + 1 : 0) != m->versions) {
        differ(r, "another number of versions", STM_SEQ_HEAD, &e);
        return;
    }
    for (int i = 0; i < m->versions; i++) {
        struct stm_version v;
        assert_int_equal(stm_version_get(&r->w.head, o.line, (uint32_t)i, &v), 0);
        if (!holds(r, &v, m->line[i].content) || stm_semver_cmp(v.row.semver, m->line[i].semver) != 0)
            differ(r, "another version", STM_SEQ_HEAD, &e);
        stm_version_release(&v);
        compare_selectors(r, id, &o, (uint32_t)i);
    }
}

/* Every object that there is: its chain if it has one, and what it shows, also to those who only hold it open. */
static void compare_objects(struct run *r)
{
    for (int i = 0; i < r->m.n; i++) {
        const struct model_object *m = &r->m.o[i];
        struct stm_object o;
        if (m->purged)
            assert_int_equal(stm_object_get(&r->w.head, r->ids[i], &o), -ENOENT);
        if (m->purged || !S_ISREG(m->type))
            continue;
        if (!m->gone)
            compare_chain(r, i);
        if (!m->dropped || m->nlink)
            compare_content(r, &r->w.head, &(struct seen){.object = i, .shows = m->shows, .shows_id = m->shows_id});
    }
}

/* ---- the test ------------------------------------------------------------------------------------------------------- */

static void print_op(struct run *r, const struct model_op *op, int err)
{
    static const char *const kinds[] = {"create", "save", "unlink", "rmdir", "link", "rename", "exchange", "replace"};
    fprintf(stderr, "%llu: %s %d/%s to %d/%s, object %d, content %d, flags %u, type %o, drop %d: %d\n",
            (unsigned long long)stm_store_seq(r->w.store), kinds[op->kind], op->dir, model_names[op->name], op->dir2,
            model_names[op->name2], op->object, op->content, op->flags, op->type >> 12, op->drop, err);
}

/* One commit, or none if the model has no room for it. */
static void step(struct run *r)
{
    int err = 0;

    r->before = r->m;
    r->ops = rnd(r, 5) ? 1 : IN_COMMIT;
    for (int i = 0; err == 0 && i < r->ops; i++) {
        r->op[i] = choose(r);
        err = model_apply(&r->m, &r->op[i], stm_store_seq(r->w.store) + 1);
        if (r->m.full) {
            r->m = r->before;
            return;
        }
        if (err < 0)
            r->ops = i + 1;
    }
    int got = run_on_store(r);
    if (getenv("STEMMA_TEST_TRACE"))
        for (int i = 0; i < r->ops; i++)
            print_op(r, &r->op[i], got);
    if (got != err)
        print_op(r, &r->op[r->ops - 1], err);
    assert_int_equal(got, err);
    if (err < 0) {
        r->m = r->before;
        return;
    }
    r->done++;
    if (r->n_past == 0 || r->past[r->n_past - 1].seq != stm_store_seq(r->w.store))
        remember(r);
    compare_tree(r, &r->w.head, &r->past[r->n_past - 1]);
}

static void compare_past(struct run *r, int checks)
{
    for (int i = 0; i < checks; i++) {
        const struct snapshot *s = &r->past[rnd(r, (uint32_t)r->n_past)];
        struct stm_view v = stm_view_at(r->w.store, s->seq);
        compare_tree(r, &v, s);
    }
}

static uint64_t a_seed(void)
{
    const char *given = getenv("STEMMA_TEST_SEED");
    return given ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u;
}

static struct run *run_new(uint64_t seed)
{
    struct run *r = calloc(1, sizeof *r);

    assert_non_null(r);
    print_message("STEMMA_TEST_SEED=%llu\n", (unsigned long long)seed);
    world_open_mem(&r->w);
    model_begin(&r->m);
    r->seed = seed;
    r->ids[0] = STM_ROOT_OBJECT;
    r->read = malloc(LARGEST);
    assert_non_null(r->read);
    return r;
}

static void run_free(struct run *r)
{
    world_close(&r->w);
    free(r->read);
    free(r->past);
    free(r);
}

static void the_store_does_what_the_model_says_now_and_in_the_past(void **state)
{
    const char *ops = getenv("STEMMA_TEST_OPS");
    struct run *r = run_new(a_seed());
    int n = ops ? atoi(ops) : OPS;

    (void)state;
    for (int i = 0; i < n; i++) {
        step(r);
        if (i % 50 == 49)
            compare_objects(r);
        if (i % 200 == 199)
            compare_past(r, PAST_CHECKS / 4);
    }
    assert_true(r->done > n / 5);
    compare_objects(r);
    compare_past(r, PAST_CHECKS);
    world_check(&r->w);
    run_free(r);
}

/* Deletes what every second key of the space says, tombstones excepted. */
static void damage(struct run *r, enum stm_space space)
{
    struct stm_engine *e = r->w.store->engine;
    struct stm_slice key, value;
    struct stm_iter *it;
    int n = 0;

    assert_int_equal(e->ops->iter_new(e, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
    for (int more = e->ops->iter_seek(it, stm_slice("", 0)); more > 0; more = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        struct stm_op op = {STM_OP_DELETE, space, key, stm_slice(NULL, 0)};
        if (stm_get_u64((const uint8_t *)key.data + key.len - 8) != 0 && n++ % 2 == 0)
            assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
    }
    e->ops->iter_free(it);
    assert_true(n > 1);
}

static void a_store_that_forgets_is_found_out(void **state)
{
    static const enum stm_space spaces[] = {STM_DENTRYHIST, STM_VERSION, STM_CONTENT};

    (void)state;
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        struct run *r = run_new(7);
        for (int k = 0; k < 250; k++)
            step(r);
        r->lenient = true;
        compare_past(r, PAST_CHECKS);
        assert_int_equal(r->differences, 0);
        damage(r, spaces[i]);
        compare_past(r, PAST_CHECKS);
        assert_true(r->differences > 0);
        run_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_does_what_the_model_says_now_and_in_the_past),
        cmocka_unit_test(a_store_that_forgets_is_found_out),
    };
    make_contents();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < CONTENTS; i++)
        free((void *)contents[i].data);
    return failed;
}
