/* process.c: the arguments of supervisors and daemons, there and back (process.h). */
#include "process.h"

#include "exit.h"
#include "supervisor.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char supervise[] = "supervise", serve[] = "serve", watch[] = "watch";

int stm_process_args(const char *role, const struct stm_daemon *d, char *ret[STM_PROCESS_ARGS + 1])
{
    struct stm_buf options = STM_BUF_INIT;
    const int fds[3] = {d->connection, d->memory, d->prober};
    int err = stm_mount_options_text(&d->options, &options);
    int n = 0;

    ret[n++] = strdup("stemma");
    ret[n++] = strdup(role);
    ret[n++] = strdup(d->store);
    ret[n++] = strdup(d->dir);
    ret[n++] = err < 0 ? NULL : strdup((const char *)options.data);
    ret[n++] = strdup(d->foreground ? "foreground" : "background");
    for (int i = 0; i < 3; i++) {
        if (asprintf(&ret[n], "%d", fds[i]) < 0)
            ret[n] = NULL;
        n++;
    }
    stm_buf_release(&options);
    for (int i = 0; i < n; i++)
        err = ret[i] == NULL ? -ENOMEM : err;
    ret[n] = NULL;
    if (err < 0)
        for (int i = 0; i < n; i++)
            free(ret[i]);
    return err;
}

void stm_process_args_free(char *args[STM_PROCESS_ARGS + 1])
{
    for (int i = 0; args[i] != NULL; i++)
        free(args[i]);
}

void stm_process_inherit(int fd)
{
    if (fd >= 0)
        (void)fcntl(fd, F_SETFD, 0);
}

bool stm_process_is(const char *word)
{
    return strcmp(word, supervise) == 0 || strcmp(word, serve) == 0 || strcmp(word, watch) == 0;
}

/* An inherited descriptor, which goes no further by itself. */
static bool read_fd(const char *text, int *ret)
{
    char *end;
    long fd = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || fd < -1 || fd > INT_MAX)
        return false;
    if (fd >= 0 && fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
        return false;
    *ret = (int)fd;
    return true;
}

static int bad_call(const char *role)
{
    fprintf(stderr, "stemma: '%s' is for the program's own use: 'stemma mount' starts it\n", role);
    return STM_EXIT_USAGE;
}

static int run_watch(int argc, char **argv)
{
    int fd = -1;

    return argc == 4 && read_fd(argv[3], &fd) && fd >= 0 ? stm_watch_run(fd, argv[2]) : bad_call(argv[1]);
}

int stm_process_run(int argc, char **argv)
{
    struct stm_daemon d = {.connection = -1, .memory = -1, .prober = -1};
    char *why = NULL;
    bool good = argc == 9;

    (void)prctl(PR_SET_NAME, "stemma");
    if (strcmp(argv[1], watch) == 0)
        return run_watch(argc, argv);
    stm_mount_options_default(&d.options);
    good = good && stm_mount_options_parse(argv[4], true, &d.options, &why) == 0;
    good = good && read_fd(argv[6], &d.connection) && read_fd(argv[7], &d.memory) && read_fd(argv[8], &d.prober);
    free(why);
    if (!good)
        return bad_call(argv[1]);
    d.store = argv[2];
    d.dir = argv[3];
    d.foreground = strcmp(argv[5], "foreground") == 0;
    return strcmp(argv[1], supervise) == 0 ? stm_supervise(&d) : stm_daemon_serve(&d);
}

/* Does the process with that command line supervise the store? */
static bool supervises(int proc, const char *pid, const char *store)
{
    char path[64], text[2 * PATH_MAX];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%.20s/cmdline", pid);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *role = text + strlen(text) + 1, *end = text + n;
    if (role >= end || strcmp(role, supervise) != 0)
        return false;
    role += sizeof(supervise);
    return role < end && strcmp(role, store) == 0;
}

pid_t stm_process_supervisor(const char *store)
{
    DIR *proc = opendir("/proc");
    const struct dirent *e;
    pid_t found = 0;

    if (proc == NULL)
        return 0;
    while (found == 0 && (e = readdir(proc)) != NULL) {
        if (isdigit((unsigned char)e->d_name[0]) && supervises(dirfd(proc), e->d_name, store))
            found = atoi(e->d_name);
    }
    closedir(proc);
    return found;
}
