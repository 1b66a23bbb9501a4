/* cmd_umount.c: `stemma umount`: detaches a mount and waits until its daemon has made everything safe. */
#include "client.h"
#include "command.h"
#include "mountinfo.h"
#include "mounting.h"
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READY_TIMEOUT_S = 5, BUSY_TRIES = 20 };

/* What to wait on for the daemon's end: a connection that will hear its last word, and its process. Either may be -1. */
struct vigil {
    int connection, process;
};

/* ---- which mount ---- */

/* The absolute path of dir without asking the mount that may be dead there: its parent's real path and the last name. */
static char *path_of(const char *given)
{
    char *copy, *slash, *parent, *path = realpath(given, NULL);
    size_t len = strlen(given);

    if (path != NULL || errno != ENOTCONN)
        return path;
    while (len > 1 && given[len - 1] == '/')
        len--;
    copy = strndup(given, len);
    if (copy == NULL)
        return NULL;
    slash = strrchr(copy, '/');
    if (slash != NULL)
        *slash = '\0';
    parent = realpath(slash == NULL ? "." : slash == copy ? "/" : copy, NULL);
    if (parent != NULL && asprintf(&path, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash == NULL ? copy : slash + 1) < 0)
        path = NULL;
    free(parent);
    free(copy);
    return path;
}

/* dir may also be the store that is mounted, as umount(8) allows. */
static int find_mount(const char *given, struct stm_mount *ret, struct stm_out *out)
{
    struct stm_mount m = {0};
    char *text = NULL, *path = path_of(given);
    int found;

    if (path == NULL)
        return stm_out_fail(out, STM_EXIT_NOT_FOUND, "%s: %s", given, strerror(errno));
    found = stm_mountinfo_read(&text);
    if (found == 0)
        found = stm_mount_at(text, path, &m);
    if (found == 1 && !m.stemma)
        stm_mount_release(&m);
    if (found >= 0 && m.dir == NULL)
        found = stm_mount_of(text, path, NULL, &m);
    if (found == 1)
        *ret = m;
    else if (found == 0 && stm_mount_covering(text, path, &m) == 1 && m.stemma)
        (void)stm_out_fail(out, 0, "%s is not a mount point, it lies inside one: 'stemma umount %s'", given, m.dir);
    else
        (void)stm_out_fail(out, 0, "%s is not the mount point of a store", given);
    if (found != 1)
        stm_mount_release(&m);
    free(text);
    free(path);
    return found == 1 ? 0 : STM_EXIT_FAILED;
}

/* ---- the daemon ---- */

static int discard(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    (void)arg, (void)channel, (void)data, (void)len;
    return 0;
}

/* A connection on which the daemon will say how it ended; -1 when it does not answer. */
static int ask_for_last_word(const char *store)
{
    struct stm_out nowhere = {.write = discard};
    struct timeval timeout = {.tv_sec = READY_TIMEOUT_S};
    json_t *request = json_pack("{s:s}", "command", "wait");
    int fd = request == NULL ? -ENOMEM : stm_client_connect(store);

    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        if (stm_client_send(fd, request) < 0 || stm_client_receive(fd, true, &nowhere) != -EAGAIN) {
            close(fd);
            fd = -1;
        } else {
            timeout.tv_sec = 0;
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        }
    }
    json_decref(request);
    (void)stm_out_release(&nowhere);
    return fd < 0 ? -1 : fd;
}

/* A descriptor of the process that ends last: the supervisor, else who has the store open. -1 when there is none, or it may not be seen. */
static int holder_of(const char *store)
{
    int pid = stm_process_supervisor(store);

    if (pid == 0)
        pid = stm_client_holder(store);

    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static int wait_for_end(const struct vigil *v, const char *store, struct stm_out *out)
{
    int code = 0;

    if (v->connection >= 0)
        code = stm_client_receive(v->connection, false, out);
    if (v->process >= 0)
        while (poll(&(struct pollfd){.fd = v->process, .events = POLLIN}, 1, -1) < 0 && errno == EINTR)
            ;
    if (code < 0)
        return stm_out_fail(out, STM_EXIT_FAILED, "the daemon of %s ended without saying that all is safe: see its log", store);
    if (code > 0)
        return stm_out_fail(out, STM_EXIT_FAILED, "the daemon of %s could not save everything: see its log (journalctl -t stemma)", store);
    return 0;
}

/* ---- detaching ---- */

static int run_fusermount(const char *dir, bool lazy)
{
    pid_t pid = fork();
    int status;

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "--", dir, (char *)NULL);
        fprintf(stderr, "stemma: fusermount3 (Debian package fuse3) could not be run: %s\n", strerror(errno));
        _exit(127);
    }
    if (waitpid(pid, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO; /* it has said why */
}

/* Busy with nobody in it is the daemon's own prober, or a handle on its way to being closed: it passes. */
static int umount_patiently(const char *dir, bool lazy)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    struct stm_buf users = STM_BUF_INIT;
    int err = -EBUSY;

    for (int i = 0; i < BUSY_TRIES && err == -EBUSY && users.len == 0; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        err = umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
        if (err == -EBUSY && stm_mount_users(dir, &users) < 0)
            break;
    }
    stm_buf_release(&users);
    return err;
}

/* Is the filesystem still mounted, here or elsewhere (a bind mount)? Then its daemon stays. */
static bool still_mounted(const struct stm_mount *m)
{
    struct stm_mount other = {0};
    char *text = NULL;
    bool still = stm_mountinfo_read(&text) == 0 && stm_mount_of(text, m->source, m->device, &other) == 1;

    stm_mount_release(&other);
    free(text);
    return still;
}

static int detach(const struct stm_mount *m, bool lazy, struct stm_out *out)
{
    struct stm_buf users = STM_BUF_INIT;
    int err, code;

    err = geteuid() != 0 ? run_fusermount(m->dir, lazy) : umount_patiently(m->dir, lazy);
    if (err == 0 || !still_mounted(m)) /* or somebody else was quicker */
        return 0;
    if (stm_mount_users(m->dir, &users) == 0 && users.len > 0)
        code = stm_out_fail(out, STM_EXIT_BUSY, "%s is busy: in use by %s; when they are done, try again ('-l' detaches it at once)",
                            m->dir, (const char *)users.data);
    else if (err == -EBUSY)
        code = stm_out_fail(out, STM_EXIT_BUSY,
                            "%s is busy: something in it is open; when it is closed, try again ('-l' detaches it at once)", m->dir);
    else
        code = stm_out_fail(out, STM_EXIT_FAILED, "%s could not be unmounted%s%s", m->dir, err == -EIO ? "" : ": ",
                            err == -EIO ? "" : strerror(-err));
    stm_buf_release(&users);
    return code;
}

/* The kernel lets root, and FUSE the user who mounted it. Asking first gives a better sentence than trying. */
static int may_umount(const struct stm_mount *m, struct stm_out *out)
{
    const struct passwd *who;

    if (geteuid() == 0 || m->owner == getuid() || m->owner == UINT32_MAX)
        return 0;
    who = getpwuid(m->owner);
    if (m->owner == 0)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s: not permitted: root has mounted it, so only root may unmount it", m->dir);
    return stm_out_fail(out, STM_EXIT_FAILED, "%s: not permitted: only %s (uid %u), who has mounted it, and root may unmount it", m->dir,
                        who != NULL ? who->pw_name : "the user", m->owner);
}

int stm_umount(const char *dir, bool lazy, struct stm_out *out)
{
    struct vigil v = {-1, -1};
    struct stm_mount m;
    int code = find_mount(dir, &m, out);

    if (code != 0)
        return code;
    code = may_umount(&m, out);
    if (code != 0) {
        stm_mount_release(&m);
        return code;
    }
    if (strcmp(m.source, "mem:") != 0) {
        v.process = holder_of(m.source);
        v.connection = ask_for_last_word(m.source);
    }
    code = detach(&m, lazy, out);
    if (code == 0 && !lazy && !still_mounted(&m))
        code = wait_for_end(&v, m.source, out);
    if (v.process >= 0)
        close(v.process);
    if (v.connection >= 0)
        close(v.connection);
    stm_mount_release(&m);
    return code;
}

/* ---- the command ---- */

static int run(const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    int code = stm_umount(args->operand[0], args->lazy, &out);

    (void)stm_out_release(&out);
    return code;
}

static const struct stm_param options[] = {
    STM_OPTION_HELP,
    {"lazy", STM_PARAM_FLAG, .letter = 'l', .value = true, .offset = offsetof(struct stm_args, lazy),
     .text = "detach at once even if files are open; do not wait"},
    STM_OPTION_END,
};

const struct stm_command stm_cmd_umount = {
    .name = "umount",
    .operands = "[-l] DIR",
    .summary = "unmount, and wait until everything is safe",
    .text = "Detaches the mount at DIR and returns when its daemon has saved and synced everything and has ended. If files are open in it, "
            "nothing "
            "changes, and those who have them open are named.",
    .examples = "  stemma umount ./mnt\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
