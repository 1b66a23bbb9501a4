/* cmd_init.c: `stemma init`: makes a store. */
#include "client.h"
#include "command.h"

#include "stemma/health.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(struct stm_out *out, const char *path, int err, const char *why)
{
    if (err == -EEXIST)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s is a store already: nothing was changed; mount it with 'stemma mount %s DIR'", path,
                            path);
    if (err == -ENOTEMPTY)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s is not empty: nothing was changed; give a new name or an empty directory", path);
    if (err == -ENOTDIR)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s is not a directory, or something above it is not", path);
    if (err == -ENOENT)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s cannot be made: the directory above it does not exist (mkdir -p makes it)", path);
    if (why != NULL)
        return stm_out_fail(out, stm_exit_of(err), "%s", why);
    return stm_out_error(out, err, "%s", path);
}

static int make_store(const char *path, struct stm_out *out)
{
    struct stm_store_options opt = {
        .path = path, .engine = STM_ENGINE_ROCKSDB, .create = true, .root_uid = geteuid(), .root_gid = getegid()};
    struct stm_health health;
    struct stm_store *store;
    char *why = NULL;
    int err;

    if (*path == '\0' || strcmp(path, "mem:") == 0)
        return stm_out_fail(out, STM_EXIT_USAGE, "'%s' is no directory that a store could be made in", path);
    umask(077); /* what users may read is for the mount to decide */
    err = stm_store_open(&opt, &store, &why);
    if (err == 0) {
        stm_store_health(store, &health);
        err = stm_store_close(store);
        if (err == 0)
            stm_out_print(out, "%s is a store now: mount it with 'stemma mount %s DIR'\n", path, path);
    }
    if (err == 0 && health.missing > 0)
        (void)stm_out_fail(out, 0, "%s: there is not enough room to write into it: %llu MiB more must be free on that disk", path,
                           (unsigned long long)(health.missing >> 20) + 1);
    if (err < 0)
        err = failed(out, path, err, why);
    free(why);
    return err;
}

static int run(const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    int code = make_store(args->operand[0], &out);

    return stm_out_end(&out, code);
}

static const struct stm_param options[] = {STM_OPTION_HELP, STM_OPTION_END};

const struct stm_command stm_cmd_init = {
    .name = "init",
    .operands = "STORE",
    .summary = "make a store",
    .text = "Makes the directory STORE and an empty store in it. STORE may exist if it is empty; a store or other files there are never "
            "touched.",
    .examples = "  stemma init ./var/store\n"
                "  stemma mount ./var/store ./mnt\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
