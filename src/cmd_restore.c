/* cmd_restore.c: `stemma restore`: makes an old content the newest version; brings a removed file back. */
#include "client.h"
#include "command.h"

#include "stemma/tree.h"
#include "stemma_fs/fs.h"

#include <sys/stat.h>

struct restore {
    const struct stm_env *env;
    const struct stm_located *at;
    const struct stm_version *version;
    struct stm_content content;
    /* set by build */
    bool made;
    struct stm_object after;
};

static int read_version(void *arg, uint64_t off, void *buf, size_t len)
{
    struct restore *r = arg;
    char *to = buf;

    while (len > 0) {
        int64_t n = stm_content_read(r->env->store, r->version, off, to, len);

        if (n <= 0)
            return n == 0 ? STM_E_CORRUPT : (int)n;
        to += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int version_extent(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    const struct restore *r = arg;

    return stm_content_extent(r->env->store, r->version, off, ret_from, ret_to);
}

/* The object that has the name now, or a new one on the line that waits there. */
static int target(struct stm_txn *txn, struct restore *r, struct stm_object *ret)
{
    struct stm_slice name = stm_slice_str(r->at->name);
    struct stm_view view = stm_txn_view(txn);
    struct stm_entry entry;
    struct stm_new fresh = {.mode = S_IFREG | (r->version->mode & 07777), .uid = r->at->object.uid, .gid = r->at->object.gid};
    int err = stm_tree_lookup(&view, r->at->parent, name, &entry);

    if (err == -ENOENT)
        return stm_tree_create(txn, r->at->parent, name, &fresh, ret);
    if (err < 0)
        return err;
    return entry.object == r->at->object.id ? stm_object_get(&view, entry.object, ret) : -ESTALE;
}

static int build(struct stm_txn *txn, void *arg)
{
    struct restore *r = arg;
    struct stm_save save = {.content = &r->content};
    struct stm_object object;
    int err = target(txn, r, &object);

    if (err < 0)
        return err;
    r->after = object;
    r->made = object.head_seq == 0 || object.head_seq != r->version->row.seq;
    if (!r->made)
        return 0; /* it is that very version: not even the times move */
    err = stm_version_save(txn, object.id, &save, &r->after);
    r->made = err == 0 && (object.tip.seq == 0 || r->after.tip.ordinal != object.tip.ordinal);
    return err;
}

static int commit(void *arg)
{
    struct restore *r = arg;
    struct stm_change change = {
        .uid = r->env->caller.uid, .gid = r->env->caller.gid, .pid = r->env->caller.pid, .message = "restored", .sync = true};

    return stm_update(r->env->store, &change, build, r, NULL);
}

static int run_commit(struct restore *r)
{
    struct stm_fs_affected affected = {
        .parent = r->at->parent, .name = stm_slice_str(r->at->name), .object = r->at->removed ? 0 : r->at->object.id};

    return r->env->fs != NULL ? stm_fs_apply(r->env->fs, &affected, 1, commit, r) : commit(r);
}

static int restore_version(const struct stm_env *env, const struct stm_located *at, const struct stm_version *v)
{
    struct restore r = {.env = env, .at = at, .version = v};
    struct stm_source source = {.size = v->row.size, .read = read_version, .extent = version_extent, .arg = &r};
    char old[STM_SEMVER_TEXT], new[STM_SEMVER_TEXT];
    int err = stm_content_put(env->store, &source, &r.content);

    if (err == 0) {
        err = run_commit(&r);
        stm_content_release(&r.content);
    }
    if (err == -ESTALE)
        return stm_out_fail(env->out, STM_EXIT_BUSY, "'%s' was replaced meanwhile: nothing was restored; try again", at->name);
    if (err < 0)
        return stm_out_error(env->out, err, "'%s' was not restored", at->name);
    (void)stm_semver_format(v->row.semver, old);
    (void)stm_semver_format(r.after.tip.semver, new);
    if (at->removed)
        stm_out_print(env->out, "%s is back, with the content of %s, as %s\n", at->name, old, new);
    else if (r.made)
        stm_out_print(env->out, "%s: the content of %s is now %s\n", at->name, old, new);
    else
        stm_out_print(env->out, "%s: the content of %s is what it holds already\n", at->name, old);
    return STM_EXIT_OK;
}

int stm_restore_service(const struct stm_env *env, const json_t *request)
{
    struct stm_located at;
    struct stm_version v;
    int code;

    if (env->read_only)
        return stm_out_fail(env->out, STM_EXIT_FAILED, "the store is mounted read-only: mount it with -o rw to restore");
    code = stm_locate(env, request, &at);
    if (code != 0)
        return code;
    if (at.view.seq != STM_SEQ_HEAD)
        return stm_out_fail(env->out, STM_EXIT_USAGE, "a path in the past cannot be written: name the file of today and a version of it");
    if (!at.selected && !at.removed)
        return stm_out_fail(env->out, STM_EXIT_USAGE, "which version? Write %s@v1.0.0 or another selector ('stemma log' lists them)",
                            at.name);
    code = stm_locate_version(env, &at, &v);
    if (code != 0)
        return code;
    code = restore_version(env, &at, &v);
    stm_version_release(&v);
    return code;
}

static int run(const struct stm_args *args)
{
    return stm_run_on_path("restore", args->operand[0], args);
}

static const struct stm_param options[] = {STM_OPTION_HELP, STM_OPTION_END};

const struct stm_command stm_cmd_restore = {
    .name = "restore",
    .operands = "PATH@SELECTOR",
    .summary = "make an old version the newest",
    .text = "Makes the content of an old version the file's content again, as a new version: nothing is lost, the versions between stay. A "
            "removed "
            "file comes back under its name (PATH alone: as it was last). If the file holds that content already, nothing changes.\n"
            "Selectors are those of 'stemma show --help'.",
    .examples = "  stemma restore mnt/poems/ode@v1.0.0\n"
                "  stemma restore mnt/poems/ode@~1\n"
                "  stemma restore ./var/store:/poems/removed@latest\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
