/* guardian.c: see guardian.h. */
#include "guardian.h"

#include "log.h"
#include "process.h"

#include "stemma_fs/handover.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void stm_guardian_find(struct stm_guardian *g, const struct stm_handover *h)
{
    pid_t parent = getppid();

    *g = (struct stm_guardian){.process = (int)syscall(SYS_pidfd_open, parent, 0)};
    /* Dead already, and this process somebody else's child? */
    if (g->process >= 0 && (parent != atomic_load(&h->supervisor) || getppid() != parent)) {
        close(g->process);
        g->process = -1;
    }
}

/* dup2 onto itself is how posix_spawn is told to leave a descriptor open. */
static int spawn(const struct stm_daemon *d, char *const *args, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    int err;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    err = posix_spawn_file_actions_adddup2(&actions, d->connection, d->connection);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&actions, d->memory, d->memory);
    if (err == 0)
        err = posix_spawnattr_setsigmask(&attr, &none);
    if (err == 0)
        err = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    if (err == 0)
        err = posix_spawn(ret, "/proc/self/exe", &actions, &attr, args, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return -err;
}

void stm_guardian_replace(struct stm_guardian *g, const struct stm_daemon *d, struct stm_handover *h)
{
    char *args[STM_PROCESS_ARGS + 1];
    struct stm_daemon setup = *d;
    bool again = g->child > 0; /* this process's own did not live long: not at once again */
    int err;

    if (g->process >= 0)
        close(g->process);
    if (again)
        (void)waitpid(g->child, NULL, 0);
    *g = (struct stm_guardian){.process = -1};
    if (again)
        return;
    setup.prober = -1;
    err = stm_process_args("supervise", &setup, args);
    if (err == 0) {
        atomic_store(&h->daemon, getpid());
        err = spawn(d, args, &g->child);
        stm_process_args_free(args);
    }
    if (err == 0)
        g->process = (int)syscall(SYS_pidfd_open, g->child, 0);
    stm_log(STM_FS_WARNING, "supervisor_lost", "started_pid=%d%s%s", (int)g->child, err < 0 ? " error=" : "",
            err < 0 ? strerror(-err) : "");
}

static bool is_gone(const struct stm_guardian *g)
{
    struct pollfd p = {.fd = g->process, .events = POLLIN};

    return g->process < 0 || poll(&p, 1, 0) > 0;
}

void stm_guardian_ensure(struct stm_guardian *g, const struct stm_daemon *d, struct stm_handover *h)
{
    for (int i = 0; i < 2 && is_gone(g); i++) /* the first may only collect one that this process had started */
        stm_guardian_replace(g, d, h);
}
