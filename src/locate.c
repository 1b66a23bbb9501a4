/*
 * locate.c: from a path inside a store, perhaps with a selector at its end, to an object and a version (service.h). The rules are
 * DESIGN §2's: an entry that literally has the name wins; a removed name may still be asked for its versions.
 */
#include "service.h"

#include "stemma/tree.h"
#include "stemma_fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int not_found(const struct stm_env *env, const char *path)
{
    return stm_out_fail(env->out, STM_EXIT_NOT_FOUND, "%s does not exist", path);
}

/* Reads "path" and "seq"; *ret_path is malloc'd. */
static int read_request(const struct stm_env *env, const json_t *request, char **ret_path, struct stm_view *ret_view)
{
    const json_t *seq = json_object_get(request, "seq");
    char *given = NULL, *path = NULL;
    int err = stm_request_get(request, "path", &given);

    if (err == 0)
        err = stm_path_clean(given, &path);
    free(given);
    if (err < 0)
        return stm_out_fail(env->out, STM_EXIT_USAGE, "the request has no valid path");
    *ret_path = path;
    *ret_view = stm_view_head(env->store);
    if (json_is_integer(seq))
        *ret_view = stm_view_at(env->store, (uint64_t)json_integer_value(seq));
    return 0;
}

/* "/a/word@/v1.0.0" says the same as "/a/word@v1.0.0": takes the slash out, in place, unless "word@" is a real directory. */
static void join_version_dir(const struct stm_view *view, char *path)
{
    char *slash = strrchr(path, '/');
    uint64_t dir;

    if (slash == path || slash[-1] != '@')
        return;
    if (stm_tree_resolve(view, stm_slice(path, (size_t)(slash - path)), &dir) == 0)
        return;
    memmove(slash, slash + 1, strlen(slash));
}

/* The live or removed object of that name. */
static int find_name(struct stm_located *at, struct stm_slice name)
{
    struct stm_entry entry;
    int err = stm_tree_lookup(&at->view, at->parent, name, &entry);

    at->removed = false;
    if (err == -ENOENT && at->view.seq == STM_SEQ_HEAD) {
        err = stm_tree_removed(&at->view, at->parent, name, &entry);
        at->removed = err == 0;
    }
    if (err == 0)
        err = stm_object_get(&at->view, entry.object, &at->object);
    if (err < 0)
        return err;
    memcpy(at->name, name.data, name.len);
    at->name[name.len] = '\0';
    return 0;
}

/* The last component: literally, else as BASE@SELECTOR. */
static int find_last(const struct stm_env *env, const char *path, struct stm_slice last, struct stm_located *at)
{
    struct stm_slice base, text;
    int err = find_name(at, last);

    if (err == 0 && !at->removed)
        return 0;
    if (err < 0 && err != -ENOENT)
        return stm_out_error(env->out, err, "%s", path);
    if (!stm_name_split(last, &base, &text))
        return err == 0 ? 0 : not_found(env, path);
    if (err == 0)
        return 0; /* a removed literal name with an '@' */
    err = find_name(at, base);
    if (err == -ENOENT)
        return stm_out_fail(env->out, STM_EXIT_NOT_FOUND, "%s does not exist, and neither does '%.*s'", path, (int)base.len,
                            (const char *)base.data);
    if (err < 0)
        return stm_out_error(env->out, err, "%s", path);
    if (stm_selector_parse(text, &at->sel) < 0)
        return stm_out_fail(env->out, STM_EXIT_NOT_FOUND,
                            "%s: '%.*s' selects no version: write v1.2.3, v1.2, v1, latest, ~2, =3fa9c2 (a hash's start) or "
                            "2026-11-20T10.15.00Z",
                            path, (int)text.len, (const char *)text.data);
    at->selected = at->sel.kind != STM_SEL_DIR;
    return 0;
}

/* "dir@2026-11-20" in the middle of a path: from there on everything is as it was then. */
static int enter_past(struct stm_located *at, struct stm_slice name)
{
    struct stm_slice base, text;
    struct stm_selector sel;
    struct stm_entry entry;
    uint64_t seq;
    int err;

    if (at->view.seq != STM_SEQ_HEAD || !stm_name_split(name, &base, &text))
        return -ENOENT;
    if (stm_selector_parse(text, &sel) < 0 || sel.kind != STM_SEL_TIME)
        return -ENOENT;
    err = stm_tree_lookup(&at->view, at->parent, base, &entry);
    if (err < 0)
        return err;
    err = stm_seq_of_dir(at->view.store, entry.object, sel.time_ns, &seq);
    if (err < 0)
        return err;
    at->view = stm_view_at(at->view.store, seq);
    at->parent = entry.object;
    return 0;
}

/* The directory that the path names (len bytes of it), into at->parent. */
static int find_parent(const char *path, size_t len, struct stm_located *at)
{
    const char *end = path + len;
    int err = stm_tree_resolve(&at->view, stm_slice(path, len), &at->parent);

    if (err != -ENOENT)
        return err;
    at->parent = STM_ROOT_OBJECT;
    for (err = 0; err == 0 && path < end; path += strcspn(path, "/")) {
        struct stm_slice name = stm_slice(path + 1, strcspn(path + 1, "/"));
        struct stm_entry entry;

        err = stm_tree_lookup(&at->view, at->parent, name, &entry);
        if (err == 0)
            at->parent = entry.object;
        else if (err == -ENOENT)
            err = enter_past(at, name);
        path++;
    }
    return err;
}

static int locate_path(const struct stm_env *env, const char *path, struct stm_located *at)
{
    const char *slash = strrchr(path, '/');
    int err;

    if (strcmp(path, "/") == 0) {
        err = stm_object_get(&at->view, STM_ROOT_OBJECT, &at->object);
        return err < 0 ? stm_out_error(env->out, err, "/") : 0;
    }
    err = find_parent(path, (size_t)(slash - path), at);
    if (err == -ENOENT || err == -ENOTDIR)
        return stm_out_fail(env->out, STM_EXIT_NOT_FOUND, "%s does not exist: there is no directory %.*s", path, (int)(slash - path), path);
    if (err < 0)
        return stm_out_error(env->out, err, "%s", path);
    return find_last(env, path, stm_slice_str(slash + 1), at);
}

/* Whoever asks for versions is an observer: what is pending becomes one first. */
static int seal(const struct stm_env *env, const char *path, struct stm_located *at)
{
    int err;

    if (env->fs == NULL || !S_ISREG(at->object.mode))
        return 0;
    err = stm_fs_seal_object(env->fs, at->object.id);
    if (err == 0)
        err = stm_object_get(&at->view, at->object.id, &at->object);
    return err < 0 ? stm_out_error(env->out, err, "%s", path) : 0;
}

int stm_locate(const struct stm_env *env, const json_t *request, struct stm_located *ret)
{
    struct stm_located at = {0};
    char *path = NULL;
    int code = read_request(env, request, &path, &at.view);

    if (code != 0)
        return code;
    join_version_dir(&at.view, path);
    code = locate_path(env, path, &at);
    if (code == 0)
        code = seal(env, path, &at);
    free(path);
    if (code == 0)
        *ret = at;
    return code;
}

static int version_error(const struct stm_env *env, const struct stm_located *at, int err)
{
    if (err == -ENOENT && at->object.tip.seq == 0)
        return stm_out_fail(env->out, STM_EXIT_NOT_FOUND, "'%s' has no version yet: nothing was written to it", at->name);
    if (err == -ENOENT)
        return stm_out_fail(env->out, STM_EXIT_NOT_FOUND, "'%s' has no such version: 'stemma log' lists those that it has", at->name);
    if (err == STM_E_AMBIGUOUS)
        return stm_out_fail(env->out, STM_EXIT_NOT_FOUND, "several versions of '%s' have a hash that starts so: give more of it", at->name);
    return stm_out_error(env->out, err, "'%s'", at->name);
}

int stm_locate_version(const struct stm_env *env, const struct stm_located *at, struct stm_version *ret)
{
    struct stm_version_row row;
    int err;

    if (S_ISDIR(at->object.mode))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "'%s' is a directory: name a file in it", at->name[0] ? at->name : "/");
    if (!S_ISREG(at->object.mode))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "'%s' is not a regular file, and only those have versions", at->name);
    if (at->selected && at->sel.kind == STM_SEL_DIFF)
        return stm_out_fail(env->out, STM_EXIT_USAGE, "one version can be shown at a time: compare two with diff(1)");
    if (at->selected && (at->sel.kind == STM_SEL_BUMP || at->sel.kind == STM_SEL_RESERVED))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "'major', 'minor' and 'patch' are for writing a version, not for reading one");
    if (!at->selected && !at->removed) {
        err = stm_version_at(&at->view, &at->object, ret);
        return err < 0 ? version_error(env, at, err) : 0;
    }
    if (at->object.tip.seq == 0)
        return version_error(env, at, -ENOENT);
    err = stm_version_find(&at->view, at->object.line, at->object.tip.ordinal,
                           at->selected ? &at->sel : &(struct stm_selector){.kind = STM_SEL_LATEST}, &row);
    if (err == 0)
        err = stm_version_get(&at->view, at->object.line, row.ordinal, ret);
    return err < 0 ? version_error(env, at, err) : 0;
}
