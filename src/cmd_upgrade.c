/*
 * cmd_upgrade.c: `stemma upgrade`: another program serves a mount from now on, under everything that is open in it. The daemon answers what
 * it has begun and leaves; its supervisor starts the other program, or the same again if that does not come to serve (supervisor.h).
 */
#include "client.h"
#include "command.h"
#include "log.h"
#include "mountinfo.h"
#include "process.h"

#include "stemma_fs/fs.h"
#include "stemma_fs/handover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 1200, PAUSE_MS = 50 };

/* ---- in the daemon ---- */

/* Does the file lie in the mount itself? It could not be read while nobody serves that. */
static bool in_mount(const struct stm_env *env, const struct stat *st)
{
    struct stm_mount m = {0};
    char *text = NULL, device[24];
    bool in = false;

    snprintf(device, sizeof(device), "%u:%u", major(st->st_dev), minor(st->st_dev));
    if (stm_mountinfo_read(&text) == 0)
        in = stm_mount_of(text, stm_store_path(env->store), device, &m) == 1;
    stm_mount_release(&m);
    free(text);
    return in;
}

static int check_binary(const struct stm_env *env, const char *path)
{
    struct stat st;

    if (path[0] != '/' || strlen(path) >= sizeof(env->handover->binary))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "the path of the program must be absolute, and shorter than that");
    if (stat(path, &st) < 0)
        return stm_out_fail(env->out, STM_EXIT_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || access(path, X_OK) < 0)
        return stm_out_fail(env->out, STM_EXIT_USAGE, "%s is no program that can be run", path);
    if (in_mount(env, &st))
        return stm_out_fail(env->out, STM_EXIT_USAGE, "%s lies in the mount itself, which cannot be read while its daemon is replaced",
                            path);
    return 0;
}

static int give_way(const struct stm_env *env, const char *binary)
{
    struct stm_handover *h = env->handover;
    uint32_t number = atomic_load(&h->daemons);

    if (atomic_exchange(&h->upgrading, number) == number)
        return stm_out_fail(env->out, STM_EXIT_BUSY, "the daemon is giving way already");
    memcpy(h->binary, binary, strlen(binary) + 1);
    stm_log(STM_FS_INFO, "upgrading", "binary=\"%s\"", binary);
    stm_fs_hand_over(env->fs);
    return STM_EXIT_OK;
}

int stm_upgrade_service(const struct stm_env *env, const json_t *request)
{
    char *binary = NULL;
    int code;

    if (env->fs == NULL)
        return stm_out_fail(env->out, STM_EXIT_FAILED, "%s is not mounted: there is no daemon to replace", stm_store_path(env->store));
    if (env->handover == NULL)
        return stm_out_fail(env->out, STM_EXIT_FAILED,
                            "%s was mounted without a supervisor (-o nosupervise), so its daemon cannot be replaced: unmount it, and mount "
                            "it with the new program",
                            env->mount_dir);
    if (!stm_handover_possible(env->handover))
        return stm_out_fail(env->out, STM_EXIT_FAILED,
                            "%s: this kernel cannot hand a mount over: unmount it, and mount it with the new program", env->mount_dir);
    if (stm_request_get(request, "binary", &binary) < 0)
        return stm_out_fail(env->out, STM_EXIT_USAGE, "the request names no program");
    code = check_binary(env, binary);
    if (code == 0)
        code = give_way(env, binary);
    free(binary);
    return code;
}

/* ---- in the command ---- */

/* What `stemma status --json` says of the daemon. */
struct seen {
    int pid, daemons, failed;
    char version[64];
};

static int keep_text(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    return channel == STM_CHANNEL_OUT ? stm_buf_append(arg, data, len) : 0;
}

static int look(const char *store, struct seen *ret)
{
    struct stm_buf text = STM_BUF_INIT;
    struct stm_out quiet = {.write = keep_text, .arg = &text};
    json_t *request = json_pack("{s:s, s:b}", "command", "status", "json", 1), *answer = NULL;
    const char *version = NULL;
    int fd = stm_client_connect(store), code = -1;

    if (fd >= 0 && request != NULL && stm_client_send(fd, request) == 0)
        code = stm_client_receive(fd, false, &quiet);
    if (stm_out_release(&quiet) == 0 && code == 0)
        answer = json_loadb((const char *)text.data, text.len, 0, NULL);
    code = json_unpack(answer, "{s:i, s:i, s:i, s:s}", "daemon_pid", &ret->pid, "daemons", &ret->daemons, "failed_upgrades", &ret->failed,
                       "version", &version);
    if (code == 0)
        snprintf(ret->version, sizeof(ret->version), "%s", version);
    if (fd >= 0)
        close(fd);
    json_decref(request);
    json_decref(answer);
    stm_buf_release(&text);
    return code;
}

static int wait_for_next(const char *store, const struct seen *before, struct stm_out *out)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    struct seen now = {0};

    for (int i = 0; i < TRIES; i++) {
        if (look(store, &now) == 0 && now.daemons > before->daemons)
            break;
        if (i % 20 == 19 && stm_process_supervisor(store) == 0)
            return stm_out_fail(out, STM_EXIT_FAILED, "%s was unmounted meanwhile, or has lost its supervisor", store);
        nanosleep(&pause, NULL);
    }
    if (now.daemons <= before->daemons)
        return stm_out_fail(out, STM_EXIT_FAILED, "no daemon serves %s yet: the log says why (journalctl -t stemma)", store);
    if (now.failed > before->failed)
        return stm_out_fail(
            out, STM_EXIT_FAILED,
            "the program could not take the mount over: the one before goes on as process %d (version %s); the log says why "
            "(journalctl -t stemma)",
            now.pid, now.version);
    stm_out_print(out, "process %d (version %s) serves %s; it was process %d (version %s)\n", now.pid, now.version, store, before->pid,
                  before->version);
    return STM_EXIT_OK;
}

static int upgrade(const struct stm_resource *r, const char *binary, struct stm_out *out)
{
    json_t *request = stm_request_new("upgrade", r);
    struct seen before = {0};
    int fd = stm_client_reach(r->store), code;

    if (request != NULL && stm_request_set(request, "binary", stm_slice_str(binary)) < 0) {
        json_decref(request);
        request = NULL;
    }
    if (request == NULL)
        code = stm_out_fail(out, STM_EXIT_FAILED, "out of memory");
    else if (fd == -ENOENT || fd == -ENOTDIR)
        code = stm_out_fail(out, STM_EXIT_FAILED, "%s is not mounted: there is no daemon to replace", r->store);
    else if (fd < 0)
        code = stm_client_no_daemon(r->store, fd, out);
    else if (look(r->store, &before) < 0)
        code = stm_out_fail(out, STM_EXIT_FAILED, "%s: its daemon does not say which it is: is it of an older version?", r->store);
    else
        code = stm_client_send(fd, request) < 0 ? -EPIPE : stm_client_receive(fd, false, out);
    if (code == 0 || code == -EPIPE || code == -ECONNRESET) /* it may be gone before its last word comes */
        code = wait_for_next(r->store, &before, out);
    else if (code < 0)
        code = stm_out_fail(out, STM_EXIT_FAILED, "%s: talking to its daemon failed: %s", r->store, strerror(-code));
    json_decref(request);
    if (fd >= 0)
        close(fd);
    return code;
}

static int run(const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    struct stm_resource r = {0};
    char *why = NULL, *binary = realpath(args->binary != NULL ? args->binary : "/proc/self/exe", NULL);
    int err = errno, code = stm_resource_parse_store(args->operand[0], &r, &why);

    if (code != 0)
        code = stm_out_fail(&out, code, "%s", why != NULL ? why : "out of memory");
    else if (binary == NULL)
        code = stm_out_fail(&out, STM_EXIT_NOT_FOUND, "%s: %s", args->binary != NULL ? args->binary : "this program", strerror(err));
    else
        code = upgrade(&r, binary, &out);
    free(binary);
    free(why);
    stm_resource_release(&r);
    return stm_out_end(&out, code);
}

static const struct stm_param options[] = {
    STM_OPTION_HELP,
    {"binary", STM_PARAM_TEXT, .unit = "PROGRAM", .offset = offsetof(struct stm_args, binary),
     .text = "the stemma program that is to serve the mount (default: this one)"},
    STM_OPTION_END,
};

const struct stm_command stm_cmd_upgrade = {
    .name = "upgrade",
    .operands = "[--binary PROGRAM] (DIR | STORE)",
    .summary = "replace the daemon of a mount, while it is in use",
    .text = "Another program serves the mount from now on, with the same options. Open files stay open; what comes in meanwhile waits for "
            "some milliseconds. If the program cannot take over, the one before goes on, and the exit code is 1.",
    .examples = "  stemma upgrade ./mnt\n"
                "  stemma upgrade --binary /usr/local/bin/stemma /srv/words\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
