/* cmd_log.c: `stemma log`: the versions of one file. */
#include "client.h"
#include "command.h"

#include "stemma_fs/logtext.h"

#include <sys/stat.h>

static int print_version(const struct stm_env *env, const struct stm_located *at, uint32_t ordinal, bool json)
{
    struct stm_buf text = STM_BUF_INIT;
    int err = json ? stm_log_entry_json(&at->view, at->object.line, ordinal, at->object.tip.ordinal + 1, &text)
                   : stm_log_entry(&at->view, at->object.line, ordinal, &text);

    if (err == 0)
        stm_out_write(env->out, text.data, text.len);
    stm_buf_release(&text);
    return err < 0 ? stm_out_error(env->out, err, "'%s': version number %u", at->name, ordinal) : STM_EXIT_OK;
}

int stm_log_service(const struct stm_env *env, const json_t *request)
{
    bool json = stm_request_flag(request, "json");
    struct stm_located at;
    int code = stm_locate(env, request, &at);

    if (code != 0)
        return code;
    if (S_ISDIR(at.object.mode))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "'%s' is a directory: log lists the versions of a file", at.name[0] ? at.name : "/");
    if (!S_ISREG(at.object.mode))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "'%s' is not a regular file, and only those have versions", at.name);
    if (at.object.tip.seq == 0)
        return STM_EXIT_OK;
    for (uint32_t i = 0; code == 0 && i <= at.object.tip.ordinal && env->out->err == 0; i++)
        code = print_version(env, &at, json ? i : at.object.tip.ordinal - i, json);
    return code;
}

static int run(const struct stm_args *args)
{
    return stm_run_on_path("log", args->operand[0], args);
}

static const struct stm_param options[] = {
    STM_OPTION_HELP,
    STM_OPTION_JSON("one JSON object a line, oldest version first"),
    STM_OPTION_END,
};

const struct stm_command stm_cmd_log = {
    .name = "log",
    .operands = "[--json] PATH",
    .summary = "list the versions of a file",
    .text =
        "One line a version, newest first: number, time (UTC), size, start of the content's hash, author; the message below it. Works for "
        "removed files too. Inside a mount, 'cat PATH@/log' says the same.",
    .examples = "  stemma log mnt/poems/ode\n"
                "  stemma log --json mnt/poems/ode\n"
                "  stemma log ./var/store:/poems/ode\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
