/* story.c: see story.h. No step asserts what may fail for want of memory; what it reads it checks: wrong bytes are -EILSEQ. */
#include "story_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "cmocka.h"
#include "stemma/bulk.h"

char *story_large;

void story_begin(void)
{
    uint64_t seed = 42;

    story_large = malloc(STORY_LARGE);
    assert_non_null(story_large);
    for (size_t i = 0; i < STORY_LARGE; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        story_large[i] = (char)(seed >> 56);
    }
}

void story_end(void)
{
    free(story_large);
    story_large = NULL;
}

int story_find(struct world *w, const char *path, uint64_t *ret)
{
    return stm_tree_resolve(&w->head, stm_slice_str(path), ret);
}

/* ---- making ---- */

static int make(struct world *w, const char *dir, const char *name, uint32_t mode)
{
    uint64_t parent;
    int err = story_find(w, dir, &parent);

    return err < 0 ? err : world_try_create(w, parent, name, mode, NULL);
}

static int make_directory(struct world *w)
{
    return make(w, "", "d", S_IFDIR | 0755);
}

static int make_file(struct world *w)
{
    return make(w, "d", "word", S_IFREG | 0644);
}

static int make_others(struct world *w)
{
    int err = make(w, "d", "link", S_IFLNK | 0777);
    return err < 0 && err != -EEXIST ? err : 0;
}

static int make_fifo(struct world *w)
{
    return make(w, "d", "fifo", S_IFIFO | 0600);
}

static int make_empty_directory(struct world *w)
{
    return make(w, "d", "empty", S_IFDIR | 0700);
}

/* ---- contents ---- */

static int save(struct world *w, const char *path, const void *data, size_t len, unsigned flags)
{
    uint64_t f;
    int err = story_find(w, path, &f);

    return err < 0 ? err : world_try_save(w, f, stm_slice(data, len), flags);
}

static int save_inline(struct world *w)
{
    return save(w, "d/word", "first", 5, 0);
}

static int save_small(struct world *w)
{
    return save(w, "d/word", story_large, 5000, WORLD_MINOR);
}

static int save_large(struct world *w)
{
    return save(w, "d/word", story_large, STORY_LARGE, 0);
}

static int amend_large(struct world *w)
{
    int err;

    story_large[STORY_LARGE / 2] ^= 1;
    err = save(w, "d/word", story_large, STORY_LARGE, WORLD_AMEND);
    story_large[STORY_LARGE / 2] ^= 1;
    return err;
}

static int save_the_same(struct world *w)
{
    story_large[STORY_LARGE / 2] ^= 1;
    int err = save(w, "d/word", story_large, STORY_LARGE, 0);
    story_large[STORY_LARGE / 2] ^= 1;
    return err;
}

static int save_back(struct world *w)
{
    return save(w, "d/word", story_large, STORY_LARGE, WORLD_MAJOR);
}

static int make_sparse(struct world *w)
{
    return make(w, "d", "sparse", S_IFREG | 0644);
}

int story_read_pieces(void *arg, uint64_t off, void *buf, size_t len)
{
    (void)arg;
    for (size_t i = 0; i < len; i++)
        ((char *)buf)[i] = (off + i) % STORY_GAP < STORY_PIECE ? story_large[(off + i) / STORY_GAP + (off + i) % STORY_GAP] : 0;
    return 0;
}

static int piece_extent(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    (void)arg;
    *ret_from = off % STORY_GAP < STORY_PIECE ? off : (off / STORY_GAP + 1) * STORY_GAP;
    *ret_to = *ret_from / STORY_GAP * STORY_GAP + STORY_PIECE;
    return 0;
}

struct saving {
    uint64_t object, replaced, parent;
    struct stm_save save;
    struct stm_object after;
};

static int build_save(struct stm_txn *t, void *arg)
{
    struct saving *s = arg;
    return stm_version_save(t, s->object, &s->save, &s->after);
}

static int save_sparse(struct world *w)
{
    struct stm_source src = {.size = STORY_SPARSE, .read = story_read_pieces, .extent = piece_extent};
    struct saving s = {.save.mtime_ns = w->clock.ns};
    struct stm_content c;
    int err = story_find(w, "d/sparse", &s.object);

    if (err == 0)
        err = stm_content_put(w->store, &src, &c);
    if (err < 0)
        return err;
    s.save.content = &c;
    err = stm_update(w->store, &w->change, build_save, &s, NULL);
    stm_content_release(&c);
    return err;
}

/* ---- names ---- */

static int rename_as(struct world *w, const char *from, const char *to, bool drop, bool exchange)
{
    struct stm_rename r = {.from = stm_slice_str(from), .to = stm_slice_str(to), .drop_line = drop, .exchange = exchange};
    int err = story_find(w, "d", &r.from_parent);

    r.to_parent = r.from_parent;
    return err < 0 ? err : world_try_rename(w, &r);
}

static int make_tmp(struct world *w)
{
    return make(w, "d", "new", S_IFREG | 0600);
}

static int save_tmp(struct world *w)
{
    return save(w, "d/new", story_large, 20000, 0);
}

static int rename_over(struct world *w)
{
    return rename_as(w, "new", "word", true, false);
}

struct linking {
    uint64_t object, parent;
    const char *name;
    bool keep;
    struct stm_object o;
};

static int build_link(struct stm_txn *t, void *arg)
{
    struct linking *l = arg;
    return stm_tree_link(t, l->object, l->parent, stm_slice_str(l->name), &l->o);
}

static int link_word(struct world *w)
{
    struct linking l = {.parent = STM_ROOT_OBJECT, .name = "alias"};
    int err = story_find(w, "d/word", &l.object);

    return err < 0 ? err : stm_update(w->store, &w->change, build_link, &l, NULL);
}

static int rename_over_linked(struct world *w)
{
    return rename_as(w, "other", "word", false, false); /* the alias goes on with a fork */
}

static int make_other(struct world *w)
{
    return make(w, "d", "other", S_IFREG | 0600);
}

static int save_other(struct world *w)
{
    return save(w, "d/other", story_large, 100000, 0);
}

static int exchange(struct world *w)
{
    return rename_as(w, "word", "sparse", false, true);
}

static int rename_back(struct world *w)
{
    return rename_as(w, "sparse", "wide", false, false);
}

static int rename_to_backup(struct world *w)
{
    return rename_as(w, "word", "word~", false, false);
}

static int make_word_again(struct world *w)
{
    return make(w, "d", "word", S_IFREG | 0644);
}

static int unlink_name(struct world *w, const char *name)
{
    uint64_t d;
    int err = story_find(w, "d", &d);

    return err < 0 ? err : world_try_unlink(w, d, name);
}

static int unlink_wide(struct world *w)
{
    return unlink_name(w, "wide");
}

static int make_wide_again(struct world *w)
{
    return make(w, "d", "wide", S_IFREG | 0644);
}

static int save_wide(struct world *w)
{
    return save(w, "d/wide", "again", 5, 0);
}

static int build_rmdir(struct stm_txn *t, void *arg)
{
    return stm_tree_rmdir(t, *(uint64_t *)arg, stm_slice_str("empty"));
}

static int remove_directory(struct world *w)
{
    uint64_t d;
    int err = story_find(w, "d", &d);

    return err < 0 ? err : stm_update(w->store, &w->change, build_rmdir, &d, NULL);
}

static int build_nameless(struct stm_txn *t, void *arg)
{
    struct saving *s = arg;
    int err = stm_tree_create(t, 0, stm_slice_str("wide"), &(struct stm_new){.mode = S_IFREG | 0644}, &s->after);

    return err < 0 ? err : stm_tree_replace(t, s->after.id, s->parent, stm_slice_str("wide"), &s->save, &s->replaced, &s->after);
}

static int replace(struct world *w)
{
    struct stm_source src = {.size = 70000, .mem = story_large};
    struct saving s = {.save = {.always = true, .exact = true, .semver = {7, 0, 0}}};
    struct stm_content c;
    int err = story_find(w, "d", &s.parent);

    if (err == 0)
        err = stm_content_put(w->store, &src, &c);
    if (err < 0)
        return err;
    s.save.content = &c;
    err = stm_update(w->store, &w->change, build_nameless, &s, NULL);
    stm_content_release(&c);
    return err;
}

static int build_unlink_open(struct stm_txn *t, void *arg)
{
    struct linking *l = arg;
    int err = stm_tree_create(t, l->parent, stm_slice_str("x.swp"), &(struct stm_new){.mode = S_IFREG | 0644}, &l->o);

    return err < 0 ? err : stm_tree_unlink(t, l->parent, stm_slice_str("x.swp"), true, &l->o);
}

static int make_orphan(struct world *w)
{
    struct linking l = {.parent = STM_ROOT_OBJECT};
    return stm_update(w->store, &w->change, build_unlink_open, &l, NULL);
}

static int take_id(void *arg, uint64_t object)
{
    *(uint64_t *)arg = object;
    return 0;
}

static int build_purge(struct stm_txn *t, void *arg)
{
    return stm_object_purge(t, *(uint64_t *)arg);
}

static int purge_orphan(struct world *w)
{
    uint64_t object = 0;
    int err = stm_orphans_each(w->store, take_id, &object);

    if (err == 0 && object == 0)
        return -EILSEQ;
    return err < 0 ? err : stm_update(w->store, &w->change, build_purge, &object, NULL);
}

/* ---- attributes ---- */

static int build_attributes(struct stm_txn *t, void *arg)
{
    struct stm_setattr set = {.valid = STM_SET_MODE | STM_SET_MTIME, .mode = 0640, .mtime_ns = 12345};
    uint64_t f = *(uint64_t *)arg;
    int err = stm_object_set(t, f, &set, NULL);

    if (err == 0)
        err = stm_xattr_set(t, f, stm_slice_str("user.lang"), stm_slice_str("en"), 0);
    return err < 0 ? err : stm_xattr_set(t, f, stm_slice_str("user.big"), stm_slice(story_large, 3000), XATTR_CREATE);
}

static int set_attributes(struct world *w)
{
    uint64_t f;
    int err = story_find(w, "d/word", &f);

    return err < 0 ? err : stm_update(w->store, &w->change, build_attributes, &f, NULL);
}

static int build_remove_attribute(struct stm_txn *t, void *arg)
{
    return stm_xattr_remove(t, *(uint64_t *)arg, stm_slice_str("user.big"));
}

static int remove_attribute(struct world *w)
{
    uint64_t f;
    int err = story_find(w, "d/word", &f);

    return err < 0 ? err : stm_update(w->store, &w->change, build_remove_attribute, &f, NULL);
}

static int read_attributes(struct world *w)
{
    struct stm_buf list = STM_BUF_INIT, value = STM_BUF_INIT;
    uint64_t f;
    int err = story_find(w, "d/word", &f);

    if (err == 0)
        err = stm_xattr_list(&w->head, f, &list);
    if (err == 0)
        err = stm_xattr_get(&w->head, f, stm_slice_str("user.big"), &value);
    if (err == 0 && (value.len != 3000 || memcmp(value.data, story_large, 3000) != 0 || list.len != 19))
        err = -EILSEQ;
    stm_buf_release(&list);
    stm_buf_release(&value);
    return err;
}

static int read_link(struct world *w)
{
    struct stm_buf target = STM_BUF_INIT, path = STM_BUF_INIT;
    uint64_t f, d;
    int err = story_find(w, "d/link", &f);

    if (err == 0)
        err = stm_object_target(&w->head, f, &target);
    if (err == 0 && (target.len != 6 || memcmp(target.data, "target", 6) != 0))
        err = -EILSEQ;
    if (err == 0)
        err = story_find(w, "d", &d);
    if (err == 0)
        err = stm_tree_path(&w->head, d, &path);
    if (err == 0 && !stm_slice_eq(stm_buf_slice(&path), stm_slice_str("/d")))
        err = -EILSEQ;
    stm_buf_release(&target);
    stm_buf_release(&path);
    return err;
}

const struct story_step story_steps[] = {
    {"mkdir", make_directory, 0, 0},
    {"create", make_file, 0, 0},
    {"save, inline", save_inline, 0, 0},
    {"save, small", save_small, 0, 0},
    {"save, large", save_large, 0, 0},
    {"amend", amend_large, 0, 0},
    {"save the same", save_the_same, 0, 0},
    {"save back", save_back, 0, 0},
    {"symlink", make_others, 0, 0},
    {"fifo", make_fifo, 0, 0},
    {"mkdir, empty", make_empty_directory, 0, 0},
    {"create, sparse", make_sparse, 0, 0},
    {"save, sparse", save_sparse, 0, 10},
    {"attributes", set_attributes, 0, 0},
    {"read attributes", read_attributes, 0, 0},
    {"readlink and path", read_link, 0, 0},
    {"list", story_list, 0, 0},
    {"read, large", story_read_large, 0, 0},
    {"read, sparse", story_read_sparse, 0, 0},
    {"extents", story_find_extents, 0, 10},
    {"as of", story_read_the_past, 0, 0},
    {"versions", story_find_versions, 0, 0},
    {"log and views", story_read_log, 0, 0},
    {"mark", story_mark, 0, 0},
    {"read a mark, statistics", story_read_mark, 0, 0},
    {"remove attribute", remove_attribute, 0, 0},
    {"create a copy", make_tmp, 0, 0},
    {"save a copy", save_tmp, 0, 0},
    {"rename over", rename_over, 0, 0},
    {"link", link_word, 0, 0},
    {"create another", make_other, 0, 0},
    {"save another", save_other, 0, 0},
    {"rename over a linked one", rename_over_linked, 0, 0},
    {"exchange", exchange, 0, 0},
    {"rename", rename_back, 0, 0},
    {"unlink", unlink_wide, 0, 0},
    {"create on a line", make_wide_again, 0, 0},
    {"save on a line", save_wide, 0, 0},
    {"rename to a backup's name", rename_to_backup, 0, 0},
    {"create beside a backup", make_word_again, 0, 0},
    {"save beside a backup", save_small, 0, 0},
    {"replace", replace, 0, 0},
    {"rmdir", remove_directory, 0, 0},
    {"orphan", make_orphan, 0, 0},
    {"purge", purge_orphan, 0, 0},
    {"bulk", story_bulk, 1, 10},
    {"check", story_check, 0, 2},
    {"scrub", story_scrub, 0, 4},
    {"open another", story_open_another, 0, 0},
    {NULL, NULL, 0, 0},
};
