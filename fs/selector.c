/*
 * selector.c: `base@text` where no entry has that name (DESIGN §2). Exact versions are nodes of their own; everything that may move is a
 * symlink which is answered anew at each look-up, with a node for each target.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "file.h"
#include "vnode.h"

enum { NUMBER_MAX = 999999999 };

/* Splits the name and finds the base: -ENOENT when there is no selector or no such base. */
static int find_base(struct stm_pick *p)
{
    struct stm_view v = stm_view_head(p->fs->store);
    struct stm_entry e;
    int err;

    if (!stm_name_split(stm_slice_str(p->name), &p->base, &p->text))
        return -ENOENT;
    err = stm_tree_lookup(&v, p->parent, p->base, &e);
    p->removed = err == -ENOENT;
    if (p->removed)
        err = stm_tree_removed(&v, p->parent, p->base, &e);
    if (err == 0)
        err = stm_object_get(&v, e.object, &p->object);
    return err == STM_E_BAD_NAME ? -ENOENT : err;
}

/* A symlink below the directory node `dir`. */
static int found_link(struct stm_pick *p, uint64_t dir, char *target, struct stm_found *ret)
{
    struct stm_vnode want = {.kind = STM_V_LINK, .parent = dir, .target = target};

    snprintf(want.name, sizeof want.name, "%s", p->name);
    int err = stm_found_vnode(p->fs, &p->who, &want, ret);
    if (err == 0)
        ret->e.entry_timeout = 0;
    return err;
}

/* Was the directory under today's path then? If it has been moved since, there is no way to it by name. */
static int was_there(struct stm_pick *p, uint64_t seq, const struct stm_buf *path)
{
    struct stm_view then = stm_view_at(p->fs->store, seq);
    uint64_t parent;
    struct stm_entry e;
    int err = stm_tree_resolve(&then, stm_buf_slice(path), &parent);

    if (err == 0)
        err = stm_tree_lookup(&then, parent, p->base, &e);
    if (err == -ENOTDIR || (err == 0 && e.object != p->object.id))
        err = -ENOENT;
    return err;
}

/* `dir@TIME`: the way to the directory as it was, relative from where the link is. */
static int found_dir_time(struct stm_pick *p, struct stm_found *ret)
{
    struct stm_view v = stm_view_head(p->fs->store);
    struct stm_buf path = STM_BUF_INIT, target = STM_BUF_INIT;
    uint64_t seq;
    int err = stm_observe_all(p->fs);

    if (err == 0)
        err = stm_seq_of_dir(p->fs->store, p->object.id, p->sel.time_ns, &seq);
    if (err == 0)
        err = stm_tree_path(&v, p->parent, &path);
    if (err == 0)
        err = was_there(p, seq, &path);
    bool root = path.len <= 1;
    for (size_t i = 0; err == 0 && !root && i < path.len; i++) {
        if (path.data[i] == '/')
            err = stm_buf_append(&target, "../", 3);
    }
    if (err == 0)
        err = stm_buf_printf(&target, ".stemma/at/#%llu%.*s/%.*s", (unsigned long long)seq, root ? 0 : (int)path.len,
                             (const char *)path.data, (int)p->base.len, (const char *)p->base.data);
    if (err == 0 && target.len > STM_TARGET_MAX)
        err = -ENAMETOOLONG;
    if (err == 0)
        err = found_link(p, stm_nodeid_head(p->parent), (char *)target.data, ret);
    stm_buf_release(&path);
    stm_buf_release(&target);
    return err;
}

static int found_versions(struct stm_pick *p, struct stm_found *ret)
{
    struct stm_vnode want = {.kind = STM_V_VERSIONS, .parent = stm_nodeid_head(p->parent), .line = p->object.line};

    memcpy(want.name, p->base.data, p->base.len);
    int err = stm_found_vnode(p->fs, &p->who, &want, ret);
    if (err == 0)
        ret->e.entry_timeout = 0;
    return err;
}

/* Seals what is pending and finds the version. 1: wait. */
static int find_row(struct stm_pick *p, struct stm_version_row *ret)
{
    struct stm_view v = stm_view_head(p->fs->store);
    bool hidden;
    uint32_t tip;
    int err = stm_observe(p->fs, p->object.id, p->waited, &hidden);

    if (err != 0)
        return err;
    err = stm_object_get(&v, p->object.id, &p->object);
    if (err == 0)
        err = stm_visible_tip(&p->object, hidden, &tip);
    return err < 0 ? err : stm_version_find(&v, p->object.line, tip, &p->sel, ret);
}

static int found_version(struct stm_pick *p, uint64_t dir, struct stm_found *ret)
{
    struct stm_version_row row;
    char version[STM_SEMVER_TEXT], target[STM_NAME_MAX + STM_SEMVER_TEXT + 2];
    int err = find_row(p, &row);

    if (err != 0)
        return err;
    if (p->sel.kind == STM_SEL_EXACT) {
        err = stm_found_entry(p->fs, &p->who, stm_nodeid_version(p->object.line, row.ordinal), ret);
        if (err == 0 && p->base.len > 0)
            ret->e.entry_timeout = 0;
        return err;
    }
    stm_semver_format(row.semver, version);
    snprintf(target, sizeof target, "%.*s%s%s", (int)p->base.len, (const char *)p->base.data, p->base.len ? "@" : "", version);
    return found_link(p, dir, target, ret);
}

static bool picks_version(enum stm_selector_kind kind)
{
    return kind == STM_SEL_EXACT || kind == STM_SEL_LATEST || kind == STM_SEL_MAJOR || kind == STM_SEL_MINOR || kind == STM_SEL_BACK ||
           kind == STM_SEL_TIME || kind == STM_SEL_HASH;
}

int stm_pick_lookup(struct stm_pick *p, struct stm_found *ret)
{
    int err = find_base(p);

    if (err < 0)
        return err;
    if (stm_selector_parse(p->text, &p->sel) < 0)
        return -ENOENT;
    if (S_ISDIR(p->object.mode) && p->sel.kind == STM_SEL_TIME)
        return found_dir_time(p, ret);
    if (!S_ISREG(p->object.mode))
        return -ENOENT;
    if (p->sel.kind == STM_SEL_DIR)
        return found_versions(p, ret);
    return picks_version(p->sel.kind) ? found_version(p, stm_nodeid_head(p->parent), ret) : -ENOENT;
}

int stm_pick_in_versions(struct stm_pick *p, uint64_t dir, uint64_t line, struct stm_found *ret)
{
    struct stm_view v = stm_view_head(p->fs->store);
    uint64_t owner;
    int err = stm_selector_parse(stm_slice_str(p->name), &p->sel);

    if (err < 0 || !picks_version(p->sel.kind))
        return -ENOENT;
    err = stm_line_owner(&v, line, &owner);
    if (err == 0)
        err = stm_object_get(&v, owner, &p->object);
    p->base = stm_slice("", 0);
    return err < 0 ? err : found_version(p, dir, ret);
}

int stm_pick_create(struct stm_pick *p)
{
    int err = find_base(p);

    if (err < 0)
        return err == -ENOENT ? 0 : err;
    if (p->removed || stm_selector_parse(p->text, &p->sel) < 0)
        return 0;
    if (!S_ISREG(p->object.mode))
        return S_ISDIR(p->object.mode) && p->sel.kind == STM_SEL_TIME ? -EINVAL : 0;
    if (p->sel.kind == STM_SEL_BUMP)
        return 1;
    if (p->sel.kind != STM_SEL_EXACT)
        return -EINVAL;
    if (p->sel.semver.major > NUMBER_MAX || p->sel.semver.minor > NUMBER_MAX || p->sel.semver.patch > NUMBER_MAX)
        return -EINVAL; /* the next ones must have numbers too */
    return p->object.tip.seq != 0 && stm_semver_cmp(p->sel.semver, p->object.tip.semver) <= 0 ? STM_E_VERSION_EXISTS : 1;
}

bool stm_pick_is_selector(struct stm_fs *fs, uint64_t parent, const char *name)
{
    struct stm_pick p = {.fs = fs, .parent = parent, .name = name};

    if (!strchr(name, '@') || find_base(&p) < 0 || stm_selector_parse(p.text, &p.sel) < 0)
        return false;
    return S_ISREG(p.object.mode) || (S_ISDIR(p.object.mode) && p.sel.kind == STM_SEL_TIME);
}
