/* cmd_show.c: `stemma show`: the bytes of one version on standard output. */
#include "client.h"
#include "command.h"

#include <stdlib.h>
#include <sys/stat.h>

enum { PIECE = 256 * 1024 };

static int send_content(const struct stm_env *env, const struct stm_located *at, const struct stm_version *v)
{
    char *piece = malloc(PIECE);
    int64_t n = piece == NULL ? -ENOMEM : 1;

    for (uint64_t off = 0; n > 0 && off < v->row.size; off += (uint64_t)n) {
        n = stm_content_read(env->store, v, off, piece, PIECE);
        if (n == 0)
            n = STM_E_CORRUPT; /* shorter than its record says */
        if (n > 0)
            stm_out_write(env->out, piece, (size_t)n);
        if (env->out->err != 0)
            break;
    }
    free(piece);
    if (n < 0)
        return stm_out_error(env->out, (int)n, "'%s'", at->name);
    return env->out->err != 0 ? STM_EXIT_FAILED : STM_EXIT_OK;
}

int stm_show_service(const struct stm_env *env, const json_t *request)
{
    struct stm_located at;
    struct stm_version v;
    int code = stm_locate(env, request, &at);

    if (code != 0)
        return code;
    if (S_ISREG(at.object.mode) && !at.selected && !at.removed && at.object.head_seq == 0)
        return STM_EXIT_OK; /* empty, and nothing was ever written */
    code = stm_locate_version(env, &at, &v);
    if (code != 0)
        return code;
    code = send_content(env, &at, &v);
    stm_version_release(&v);
    return code;
}

static int run(const struct stm_args *args)
{
    return stm_run_on_path("show", args->operand[0], args);
}

static const struct stm_param options[] = {STM_OPTION_HELP, STM_OPTION_END};

const struct stm_command stm_cmd_show = {
    .name = "show",
    .operands = "PATH[@SELECTOR]",
    .summary = "print one version of a file",
    .text =
        "Prints the bytes of a version as they are. Without a selector: what the file holds now; of a removed file, what it held last.\n"
        "Selectors: v1.2.3, v1.2 or v1 (the newest of those), latest, ~2 (two before the newest), =3fa9c2 (a hash that starts so), "
        "2026-11-20 or 2026-11-20T10.15.00Z (what was newest then, UTC).",
    .examples = "  stemma show mnt/poems/ode@v1.0.0\n"
                "  stemma show mnt/poems/ode@2026-11-20 > then\n"
                "  stemma show ./var/store:/poems/ode@~1\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
