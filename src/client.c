/* client.c: runs a request in the daemon of a store or on the store itself (client.h). */
#include "client.h"

#include "command.h"
#include "mountinfo.h"
#include "process.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 30, LOCK_PAUSE_MS = 100, REACH_TRIES = 400, REACH_PAUSE_MS = 25, DAEMONS_TRIED = 5, LOOKS = 10 };

int stm_socket_address(const char *store, struct sockaddr_un *ret, int *ret_dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int dir = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return -errno;
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", dir);
    *ret = address;
    *ret_dir = dir;
    return 0;
}

int stm_client_connect(const char *store)
{
    struct sockaddr_un address;
    int dir, fd, err = strcmp(store, "mem:") == 0 ? -EINVAL : stm_socket_address(store, &address, &dir);

    if (err < 0)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        err = -errno;
    close(dir);
    if (err == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return err == -ECONNREFUSED ? -ENOENT : err;
}

static void pause_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    (void)nanosleep(&t, NULL);
}

static bool is_mounted(const char *store)
{
    struct stm_mount m = {0};
    char *text = NULL;
    bool found = stm_mountinfo_read(&text) == 0 && stm_mount_of(text, store, NULL, &m) == 1;

    stm_mount_release(&m);
    free(text);
    return found;
}

/* A supervisor that is just being replaced has no command line for a moment, so a mount gets a second look. */
static bool will_be_served(const char *store)
{
    for (int i = 0; i < LOOKS; i++) {
        if (stm_process_supervisor(store) > 0)
            return true;
        if (!is_mounted(store))
            return false;
        pause_ms(REACH_PAUSE_MS);
    }
    return false;
}

int stm_client_reach(const char *store)
{
    int fd = stm_client_connect(store);

    for (int i = 0; fd == -ENOENT && will_be_served(store); i++) {
        if (i == REACH_TRIES)
            return -ETIMEDOUT;
        pause_ms(REACH_PAUSE_MS);
        fd = stm_client_connect(store);
    }
    return fd;
}

bool stm_client_daemon_gone(const char *store)
{
    int fd = stm_client_connect(store);

    if (fd >= 0)
        close(fd);
    return fd == -ENOENT && !will_be_served(store);
}

int stm_client_holder(const char *store)
{
    char *path = NULL, text[32] = "";
    int fd = -1, held;

    if (asprintf(&path, "%s/lock", store) < 0)
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0)
        return 0;
    held = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    (void)!read(fd, text, sizeof(text) - 1);
    close(fd);
    return held ? atoi(text) : 0;
}

int stm_client_send(int fd, const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    int err = text == NULL ? -ENOMEM : stm_wire_send(fd, STM_WIRE_REQUEST, text, strlen(text));

    free(text);
    return err;
}

static int exit_code(const struct stm_wire_frame *f)
{
    json_t *object = json_loadb((const char *)f->payload.data, f->payload.len, 0, NULL);
    const json_t *code = json_object_get(object, "code");
    int value = json_is_integer(code) ? (int)json_integer_value(code) : -EPROTO;

    json_decref(object);
    return value;
}

int stm_client_receive(int fd, bool until_ready, struct stm_out *out)
{
    struct stm_wire_frame f = {0};
    int result = -EINPROGRESS, gone = -ECONNRESET;

    for (; result == -EINPROGRESS; gone = -EPIPE) {
        int got = stm_wire_recv(fd, STM_WIRE_MAX, &f);

        if (got <= 0) {
            result = got == 0 || got == -ECONNRESET ? gone : got;
        } else if (f.type == STM_WIRE_OUT) {
            stm_out_write(out, f.payload.data, f.payload.len);
        } else if (f.type == STM_WIRE_ERR) {
            (void)stm_out_flush(out);
            (void)out->write(out->arg, STM_CHANNEL_ERR, f.payload.data, f.payload.len);
        } else if (f.type == STM_WIRE_READY && until_ready) {
            result = -EAGAIN;
        } else {
            result = f.type == STM_WIRE_EXIT ? exit_code(&f) : -EPROTO;
        }
        if (out->err != 0 && result == -EINPROGRESS)
            result = STM_EXIT_FAILED; /* nobody reads what we print */
    }
    stm_wire_frame_release(&f);
    return result;
}

/* An empty directory may be a mount point that is not mounted, a file no store at all: stm_store_open's sentence says which. */
static int open_failed(const char *store, int err, char *why, struct stm_out *out)
{
    int code = stm_exit_of(err);

    if (why != NULL)
        code = stm_out_fail(out, err == -ENOENT ? STM_EXIT_STORE : code, "%s", why);
    else
        code = stm_out_error(out, err, "%s", store);
    free(why);
    return code;
}

/* A store is locked for a moment by every other command: try for a while before saying so. */
int stm_client_open_as(const struct stm_store_options *opt, struct stm_out *out, struct stm_store **ret)
{
    char *why = NULL;
    int err;

    for (int tries = 0;; tries++) {
        err = stm_store_open(opt, ret, &why);
        if (err != STM_E_LOCKED || tries == LOCK_TRIES)
            break;
        free(why);
        why = NULL;
        pause_ms(LOCK_PAUSE_MS);
    }
    return err < 0 ? open_failed(opt->path, err, why, out) : 0;
}

int stm_client_open(const char *store, bool writes, struct stm_out *out, struct stm_store **ret)
{
    struct stm_store_options opt = {.path = store, .engine = STM_ENGINE_ROCKSDB, .read_only = !writes};

    return stm_client_open_as(&opt, out, ret);
}

static int call_here(const char *store, const struct stm_service *service, const json_t *request, struct stm_out *out)
{
    struct stm_env env = {.out = out, .caller = {geteuid(), getegid(), (uint32_t)getpid()}};
    int err, code = stm_client_open(store, service->writes, out, &env.store);

    if (code != 0)
        return code;
    code = service->run(&env, request);
    err = stm_store_close(env.store);
    if (err < 0 && service->writes)
        return stm_out_error(out, err, "%s: the change may not be durable", store);
    return code;
}

static int call_daemon(int fd, const char *store, const json_t *request, struct stm_out *out)
{
    int code = stm_client_send(fd, request);

    if (code == 0 || code == -EPIPE)
        code = stm_client_receive(fd, false, out);
    close(fd);
    if (code == -EPIPE)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s: its daemon went away before it had answered", store);
    if (code < 0 && code != -ECONNRESET)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s: talking to its daemon failed: %s", store, strerror(-code));
    return code;
}

int stm_client_no_daemon(const char *store, int err, struct stm_out *out)
{
    if (err == -EACCES || err == -EPERM)
        return stm_out_fail(out, STM_EXIT_FAILED,
                            "%s: only its owner and root may use the store; versions can be read through the mount: "
                            "'ls NAME@', 'cat NAME@/log'",
                            store);
    if (err == -EINVAL)
        return stm_out_fail(out, STM_EXIT_FAILED, "a store in memory can only be used through its mount");
    if (err == -ETIMEDOUT)
        return stm_out_fail(
            out, STM_EXIT_FAILED,
            "%s: no daemon serves it at the moment, though its supervisor (process %d) tries to start one: its log says why "
            "(journalctl -t stemma)",
            store, (int)stm_process_supervisor(store));
    return stm_out_fail(out, STM_EXIT_FAILED, "%s/socket: %s", store, strerror(-err));
}

/* A daemon that dies before its first word has perhaps done what it was asked for: the next one is asked only if that changes nothing. */
static int call(const char *store, const struct stm_service *service, const json_t *request, struct stm_out *out)
{
    int code = -ECONNRESET;

    for (int i = 0; code == -ECONNRESET && i < (service->writes ? 1 : DAEMONS_TRIED); i++) {
        int fd = stm_client_reach(store);

        if (fd >= 0)
            code = call_daemon(fd, store, request, out);
        else
            code = fd == -ENOENT || fd == -ENOTDIR ? call_here(store, service, request, out) : stm_client_no_daemon(store, fd, out);
    }
    if (code == -ECONNRESET)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s: its daemon went away before it had answered", store);
    return code;
}

int stm_client_call(const char *store, json_t *request, struct stm_out *out)
{
    const struct stm_service *service = stm_service_find(json_string_value(json_object_get(request, "command")));
    int code;

    if (request == NULL || service == NULL)
        code = stm_out_fail(out, STM_EXIT_FAILED, "out of memory");
    else
        code = call(store, service, request, out);
    json_decref(request);
    return code;
}

int stm_client_run(const char *command, const struct stm_resource *r, const struct stm_args *args, struct stm_out *out)
{
    json_t *request = stm_request_new(command, r);

    if (request != NULL && args->json)
        json_object_set_new(request, "json", json_true());
    return stm_client_call(r->store, request, out);
}

int stm_run_on_path(const char *command, const char *path, const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    struct stm_resource r = {0};
    char *why = NULL;
    int code = stm_resource_parse(path, &r, &why);

    if (code != 0)
        code = stm_out_fail(&out, code, "%s", why != NULL ? why : "out of memory");
    else
        code = stm_client_run(command, &r, args, &out);
    free(why);
    stm_resource_release(&r);
    return stm_out_end(&out, code);
}
