/*
 * cmd_import.c: `stemma import`: brings a directory, a dictd database or a git repository into a store. Reading the source happens
 * here, in the caller's process, with the caller's rights; what it yields goes straight into the store, or through the socket to
 * the daemon that has it. Not here: the sources (import_*.c) and the loader (stemma/bulk.h).
 */
#include "client.h"
#include "command.h"
#include "import.h"
#include "wire.h"

#include "stemma_fs/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the loader, in either process ---- */

struct applying {
    struct stm_fs *fs;
};

/* What the loader is about to touch, in the filesystem's words. */
static int apply(void *arg, const struct stm_bulk_touched *touched, size_t count, int (*commit)(void *commit_arg), void *commit_arg)
{
    const struct applying *a = arg;
    struct stm_fs_affected *list = calloc(count > 0 ? count : 1, sizeof(*list));
    int err;

    if (list == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct stm_fs_affected){.parent = touched[i].parent, .name = touched[i].name, .object = touched[i].object};
    err = stm_fs_apply(a->fs, list, count, commit, commit_arg);
    free(list);
    return err;
}

static int open_loader(const struct stm_env *env, const char *target, struct applying *a, struct stm_bulk **ret)
{
    struct stm_bulk_options opt = {.target = target,
                                   .uid = env->caller.uid,
                                   .gid = env->caller.gid,
                                   .pid = env->caller.pid,
                                   .apply = env->fs != NULL ? apply : NULL,
                                   .apply_arg = a};
    int err;

    if (env->read_only)
        return stm_out_fail(env->out, STM_EXIT_FAILED, "the store is mounted read-only: mount it with -o rw to import");
    if (strncmp(target, "/.stemma", 8) == 0 && (target[8] == '/' || target[8] == '\0'))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "%s: nothing can be imported below /.stemma", target);
    err = stm_bulk_new(env->store, &opt, ret);
    if (err == -ENOTDIR)
        return stm_out_fail(env->out, STM_EXIT_FAILED, "%s: it, or something above it, is not a directory in the store", target);
    return err < 0 ? stm_out_error(env->out, err, "%s", target) : 0;
}

/* ---- in the daemon ---- */

static int serve(const struct stm_env *env, struct stm_bulk *loader, const char *target)
{
    struct stm_import im = {.sink = stm_bulk_sink(loader), .out = env->out};
    int err = env->ready(env->arg);

    if (err == 0)
        err = stm_import_serve(env->next_data, env->arg, &im.sink, &im.counts);
    if (err < 0)
        return stm_import_end(&im, err, target, STM_EXIT_FAILED);
    stm_import_summary(env->out, &im.counts);
    return STM_EXIT_OK;
}

int stm_import_service(const struct stm_env *env, const json_t *request)
{
    struct applying a = {env->fs};
    struct stm_bulk *loader;
    char *given = NULL, *target = NULL;
    int code = 0;

    if (env->next_data == NULL || stm_request_get(request, "path", &given) < 0 || stm_path_clean(given, &target) < 0)
        code = stm_out_fail(env->out, STM_EXIT_USAGE, "the request has no valid path");
    if (code == 0)
        code = open_loader(env, target, &a, &loader);
    if (code == 0) {
        code = serve(env, loader, target);
        stm_bulk_free(loader);
    }
    free(given);
    free(target);
    return code;
}

/* ---- in the command ---- */

/* Reads the source that was asked for into im's sink. */
static int read_source(const struct stm_args *args, const struct stm_resource *r, struct stm_import *im)
{
    im->progress = isatty(STDERR_FILENO);
    im->avoid_store = r->store;
    im->avoid_target = r->outside;
    if (args->dictd != NULL)
        return stm_import_dictd(im, args->dictd);
    if (args->git != NULL)
        return stm_import_git(im, args->git);
    return stm_import_dir(im, args->operand[0]);
}

static int import_here(const struct stm_args *args, const struct stm_resource *r, struct stm_out *out)
{
    struct stm_env env = {.out = out, .caller = {geteuid(), getegid(), (uint32_t)getpid()}};
    struct stm_import im = {.out = out};
    struct stm_bulk *loader;
    int err, code = stm_client_open(r->store, true, out, &env.store);

    if (code != 0)
        return code;
    code = open_loader(&env, r->path, NULL, &loader);
    if (code == 0) {
        im.sink = stm_bulk_sink(loader);
        code = read_source(args, r, &im);
        if (im.finished)
            stm_import_summary(out, &im.counts);
        stm_bulk_free(loader);
    }
    err = stm_store_close(env.store);
    return err < 0 ? stm_out_error(out, err, "%s: the import may not be durable", r->store) : code;
}

struct stream {
    int fd;
    bool broken; /* the daemon has stopped listening: it says why, not this end */
};

static int send_piece(void *arg, const void *data, size_t len)
{
    struct stream *s = arg;
    int err = stm_wire_send_all(s->fd, STM_WIRE_DATA, data, len);

    if (err != -EPIPE && err != -ECONNRESET)
        return err;
    s->broken = true;
    return -ECANCELED;
}

static int daemon_gone(const struct stm_resource *r, int err, struct stm_out *out)
{
    if (err == -EPIPE || err == -ECONNRESET)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s: its daemon went away; what it had committed until then is there", r->store);
    return stm_out_fail(out, STM_EXIT_FAILED, "%s: talking to its daemon failed: %s", r->store, strerror(-err));
}

/* The daemon is ready: streams the source, and hears how it went. Without an END frame it drops what it has not committed. */
static int stream_source(int fd, const struct stm_args *args, const struct stm_resource *r, struct stm_out *out)
{
    struct stm_import im = {.out = out};
    struct stream s = {.fd = fd};
    struct stm_remote *remote;
    int err = stm_remote_new(send_piece, &s, &remote), code, theirs;

    if (err < 0)
        return stm_out_error(out, err, "import");
    im.sink = stm_remote_sink(remote);
    code = read_source(args, r, &im);
    stm_remote_free(remote);
    if (!im.finished && !s.broken)
        return code; /* the source failed, and it has been said why */
    if (im.finished)
        err = stm_wire_send(fd, STM_WIRE_END, NULL, 0);
    if (err < 0 && err != -EPIPE)
        return daemon_gone(r, err, out);
    theirs = stm_client_receive(fd, false, out);
    if (theirs < 0)
        return daemon_gone(r, theirs, out);
    return theirs != 0 ? theirs : code;
}

static int import_through(int fd, const struct stm_args *args, const struct stm_resource *r, struct stm_out *out)
{
    json_t *request = stm_request_new("import", r);
    int code = request == NULL ? -ENOMEM : stm_client_send(fd, request);

    json_decref(request);
    if (code == 0 || code == -EPIPE)
        code = stm_client_receive(fd, true, out);
    if (code == -EAGAIN)
        code = stream_source(fd, args, r, out);
    else if (code < 0)
        code = daemon_gone(r, code, out);
    close(fd);
    return code;
}

static int import_into(const struct stm_args *args, const struct stm_resource *r, struct stm_out *out)
{
    int fd;

    if (r->seq != STM_SEQ_HEAD)
        return stm_out_fail(out, STM_EXIT_USAGE, "%s is in the past, and cannot be written", args->operand[args->operands - 1]);
    fd = stm_client_reach(r->store);
    if (fd >= 0)
        return import_through(fd, args, r, out);
    return fd == -ENOENT ? import_here(args, r, out) : stm_client_no_daemon(r->store, fd, out);
}

/* Exactly one source, and the target. */
static int check(const struct stm_args *args, struct stm_out *out)
{
    bool named = args->dictd != NULL || args->git != NULL;

    if (args->dictd != NULL && args->git != NULL)
        return stm_out_fail(out, STM_EXIT_USAGE, "--dictd and --git are two sources: give one (see 'stemma import --help')");
    if (named && args->operands != 1)
        return stm_out_fail(out, STM_EXIT_USAGE, "with --dictd or --git there is one operand, the target (see 'stemma import --help')");
    if (!named && args->operands != 2)
        return stm_out_fail(out, STM_EXIT_USAGE, "a source is missing: DIR, --dictd NAME or --git REPO (see 'stemma import --help')");
    return 0;
}

static int run(const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    struct stm_resource r = {0};
    char *why = NULL;
    int code = check(args, &out);

    if (code == 0) {
        code = stm_resource_parse(args->operand[args->operands - 1], &r, &why);
        if (code != 0)
            (void)stm_out_fail(&out, code, "%s", why != NULL ? why : "out of memory");
    }
    if (code == 0)
        code = import_into(args, &r, &out);
    free(why);
    stm_resource_release(&r);
    return stm_out_end(&out, code);
}

static const struct stm_param options[] = {
    STM_OPTION_HELP,
    {"dictd", STM_PARAM_TEXT, .unit = "NAME", .offset = offsetof(struct stm_args, dictd),
     .text = "a dictd database: its name in /usr/share/dictd, or a path to NAME.index"},
    {"git", STM_PARAM_TEXT, .unit = "REPO", .offset = offsetof(struct stm_args, git),
     .text = "a git repository: the first-parent history of HEAD"},
    STM_OPTION_END,
};

const struct stm_command stm_cmd_import = {
    .name = "import",
    .operands = "(DIR | --dictd NAME | --git REPO) TARGET",
    .summary = "bring a directory, dictionary or git history in",
    .text =
        "Puts the source below the directory TARGET, which is made if it is missing: a path inside a mount, or STORE:/path.\n"
        "DIR: with modes, times, symlinks, hard links and extended attributes. --dictd: one file a headword; '/' in one becomes '%2F'.\n"
        "--git: one commit for each of the repository's, with its author, date and message.\n"
        "Files that hold the same bytes already get no new version, so importing twice changes nothing. Nothing is deleted, except what "
        "a git history deletes. What cannot be read or named is reported, counted and left out (exit code 1).",
    .examples = "  stemma import ~/texts mnt/literature\n"
                "  stemma import --dictd gcide mnt/dictionary/en/gcide\n"
                "  stemma import --git ~/src/poems ./var/store:/poems\n",
    .options = options,
    .min = 1,
    .max = 2,
    .run = run,
};
