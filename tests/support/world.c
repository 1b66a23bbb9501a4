/* world.c: see world.h. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cmocka.h"
#include "tmpdir.h"

static void world_begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->clock.ns = INT64_C(1700000000000000000);
    w->injected = stm_clock_manual(&w->clock);
}

static void tick(struct world *w)
{
    w->clock.ns += 1000000;
}

void world_open_mem(struct world *w)
{
    world_begin(w);
    struct stm_store_options opt = {.engine = STM_ENGINE_MEM, .clock = &w->injected};
    assert_int_equal(stm_store_open(&opt, &w->store, NULL), 0);
    w->head = stm_view_head(w->store);
}

int world_open_dir(struct world *w, const char *dir, bool create)
{
    char *path = stm_tmpdir_path(dir, "store"), *why = NULL;

    world_begin(w);
    struct stm_store_options opt = {.path = path, .create = create, .clock = &w->injected};
    int err = stm_store_open(&opt, &w->store, &why);
    if (err == 0)
        w->head = stm_view_head(w->store);
    free(why);
    return err;
}

void world_close(struct world *w)
{
    assert_int_equal(stm_store_close(w->store), 0);
    w->store = NULL;
}

struct create_args {
    uint64_t parent;
    struct stm_slice name;
    struct stm_new n;
    struct stm_object o;
};

static int build_create(struct stm_txn *t, void *arg)
{
    struct create_args *a = arg;
    return stm_tree_create(t, a->parent, a->name, &a->n, &a->o);
}

int world_try_create(struct world *w, uint64_t parent, const char *name, uint32_t mode, uint64_t *ret)
{
    struct create_args a = {.parent = parent, .name = stm_slice_str(name), .n = {.mode = mode}};

    tick(w);
    if (S_ISLNK(mode))
        a.n.target = stm_slice_str("target");
    int err = stm_update(w->store, &w->change, build_create, &a, NULL);
    if (err == 0 && ret)
        *ret = a.o.id;
    return err;
}

uint64_t world_create(struct world *w, uint64_t parent, const char *name)
{
    uint64_t id = 0;
    assert_int_equal(world_try_create(w, parent, name, S_IFREG | 0644, &id), 0);
    return id;
}

uint64_t world_mkdir(struct world *w, uint64_t parent, const char *name)
{
    uint64_t id = 0;
    assert_int_equal(world_try_create(w, parent, name, S_IFDIR | 0755, &id), 0);
    return id;
}

struct save_args {
    uint64_t object;
    struct stm_save save;
    struct stm_object o;
};

static int build_save(struct stm_txn *t, void *arg)
{
    struct save_args *a = arg;
    return stm_version_save(t, a->object, &a->save, &a->o);
}

int world_try_save(struct world *w, uint64_t object, struct stm_slice content, unsigned flags)
{
    struct stm_source src = {.size = content.len, .mem = content.data};
    struct stm_content c;
    int err = stm_content_put(w->store, &src, &c);

    tick(w);
    if (err < 0)
        return err;
    struct save_args a = {.object = object,
                          .save = {.content = &c,
                                   .mtime_ns = w->clock.ns,
                                   .amend = flags & WORLD_AMEND,
                                   .always = flags & WORLD_ALWAYS,
                                   .bump = flags & WORLD_MAJOR   ? STM_BUMP_MAJOR
                                           : flags & WORLD_MINOR ? STM_BUMP_MINOR
                                                                 : STM_BUMP_PATCH}};
    err = stm_update(w->store, &w->change, build_save, &a, NULL);
    stm_content_release(&c);
    return err;
}

void world_save(struct world *w, uint64_t object, const char *content, unsigned flags)
{
    assert_int_equal(world_try_save(w, object, stm_slice_str(content), flags), 0);
}

struct name_args {
    uint64_t parent, object;
    struct stm_slice name;
    struct stm_object o;
};

static int build_unlink(struct stm_txn *t, void *arg)
{
    struct name_args *a = arg;
    return stm_tree_unlink(t, a->parent, a->name, false, &a->o);
}

int world_try_unlink(struct world *w, uint64_t parent, const char *name)
{
    struct name_args a = {.parent = parent, .name = stm_slice_str(name)};
    tick(w);
    return stm_update(w->store, &w->change, build_unlink, &a, NULL);
}

void world_unlink(struct world *w, uint64_t parent, const char *name)
{
    assert_int_equal(world_try_unlink(w, parent, name), 0);
}

static int build_link(struct stm_txn *t, void *arg)
{
    struct name_args *a = arg;
    return stm_tree_link(t, a->object, a->parent, a->name, &a->o);
}

uint64_t world_link(struct world *w, uint64_t object, uint64_t parent, const char *name)
{
    struct name_args a = {.parent = parent, .object = object, .name = stm_slice_str(name)};
    tick(w);
    assert_int_equal(stm_update(w->store, &w->change, build_link, &a, NULL), 0);
    return a.o.id;
}

static int build_rename(struct stm_txn *t, void *arg)
{
    return stm_tree_rename(t, arg);
}

int world_try_rename(struct world *w, struct stm_rename *r)
{
    tick(w);
    return stm_update(w->store, &w->change, build_rename, r, NULL);
}

void world_rename(struct world *w, uint64_t parent, const char *from, const char *to, bool drop_line)
{
    struct stm_rename r = {
        .from_parent = parent, .to_parent = parent, .from = stm_slice_str(from), .to = stm_slice_str(to), .drop_line = drop_line};
    assert_int_equal(world_try_rename(w, &r), 0);
}

uint64_t world_at(const struct stm_view *v, uint64_t parent, const char *name)
{
    struct stm_entry e;
    int err = stm_tree_lookup(v, parent, stm_slice_str(name), &e);

    assert_true(err == 0 || err == -ENOENT);
    return err == 0 ? e.object : 0;
}

uint64_t world_find(struct world *w, uint64_t parent, const char *name)
{
    return world_at(&w->head, parent, name);
}

struct stm_object world_object(struct world *w, uint64_t id)
{
    struct stm_object o;
    assert_int_equal(stm_object_get(&w->head, id, &o), 0);
    return o;
}

static char *read_version(struct stm_store *s, const struct stm_version *v, size_t *ret_len)
{
    char *text = malloc(v->row.size + 1);

    assert_non_null(text);
    assert_int_equal(stm_content_read(s, v, 0, text, v->row.size), (int64_t)v->row.size);
    text[v->row.size] = 0;
    if (ret_len)
        *ret_len = v->row.size;
    return text;
}

char *world_content(const struct stm_view *v, uint64_t object, size_t *ret_len)
{
    struct stm_object o;
    struct stm_version ver;

    assert_int_equal(stm_object_get(v, object, &o), 0);
    int err = stm_version_at(v, &o, &ver);
    assert_true(err == 0 || err == -ENOENT);
    if (err < 0)
        return NULL;
    char *text = read_version(v->store, &ver, ret_len);
    stm_version_release(&ver);
    return text;
}

void world_expect_at(const struct stm_view *v, uint64_t object, const char *content)
{
    char *text = world_content(v, object, NULL);

    if (!content)
        assert_null(text);
    else
        assert_string_equal(text ? text : "(no version)", content);
    free(text);
}

void world_expect(struct world *w, uint64_t object, const char *content)
{
    world_expect_at(&w->head, object, content);
}

void world_expect_chain(struct world *w, uint64_t object, const char *chain)
{
    struct stm_object o = world_object(w, object);
    struct stm_buf all = STM_BUF_INIT;
    char number[STM_SEMVER_TEXT];

    for (uint32_t i = 0; o.tip.seq && i <= o.tip.ordinal; i++) {
        struct stm_version v;
        assert_int_equal(stm_version_get(&w->head, o.line, i, &v), 0);
        char *text = read_version(w->store, &v, NULL);
        stm_semver_format(v.row.semver, number);
        assert_int_equal(stm_buf_printf(&all, "%s%s=%s", i ? " " : "", number, text), 0);
        free(text);
        stm_version_release(&v);
    }
    assert_string_equal(all.data ? (char *)all.data : "", chain);
    stm_buf_release(&all);
}
