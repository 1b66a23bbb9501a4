/* supervisor.c: holds the mount, starts daemons (supervisor.h). When to start the next is restart.c's, whether one hangs watch.c's. */
#include "supervisor.h"

#include "exit.h"
#include "log.h"
#include "mountinfo.h"
#include "process.h"
#include "sdnotify.h"

#include "stemma/clock.h"
#include "stemma_fs/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROBE_MS = 20000, UPGRADE_LOOK_MS = 100, DIED = 128 };

struct supervisor {
    struct stm_daemon setup; /* its connection, memory and prober are descriptors held here */
    struct stm_handover *h;
    int signals;
    int binary, previous; /* O_PATH: what daemons are started from; what to go back to while a new one has not served, or -1 */
    char device[24];      /* the mount's "major:minor" */
    bool stopping;
    /* the daemon */
    pid_t pid;
    int process; /* pidfd */
    bool child;  /* its status can be asked for */
    int64_t started_ms;
    struct stm_restarts restarts;
    struct stm_watch *watch;
    struct stm_stuck starting; /* while it does not serve yet */
};

static int64_t wall_ns(void)
{
    return stm_clock_system().now_ns(NULL);
}

static bool served(const struct supervisor *s)
{
    return atomic_load(&s->h->serving) == atomic_load(&s->h->daemons);
}

/* ---- the mount ---- */

static void learn_device(struct supervisor *s)
{
    struct stm_mount m = {0};
    char *text = NULL;

    if (stm_mountinfo_read(&text) == 0 && stm_mount_at(text, s->setup.dir, &m) == 1 && m.stemma)
        memcpy(s->device, m.device, sizeof(s->device));
    stm_mount_release(&m);
    free(text);
}

static int make_mount(struct supervisor *s)
{
    const struct stm_mount_options *o = &s->setup.options;
    struct stm_fs_options opt = {
        .fsname = s->setup.store, .allow_other = o->allow_other, .read_only = o->read_only, .noexec = o->noexec, .debug = o->debug};
    int err = stm_handover_new(&s->setup.memory, &s->h);

    if (err == 0) {
        atomic_store(&s->h->mounted_ns, wall_ns());
        err = stm_connection_mount(&opt, s->setup.dir, &s->setup.connection);
    }
    return err < 0 ? stm_mount_error(s->setup.dir, err) : 0;
}

/* Ours, wherever it may be now, and nothing else that may lie at the same place. */
static void unmount(const struct supervisor *s)
{
    struct stm_mount m = {0};
    char *text = NULL;

    if (!stm_connection_gone(s->setup.connection) && stm_mountinfo_read(&text) == 0 &&
        stm_mount_of(text, s->setup.store, s->device, &m) == 1)
        stm_connection_detach(m.dir);
    stm_mount_release(&m);
    free(text);
}

/* ---- a daemon ---- */

/* Returns when it cannot. The interpreter of a script has to open it once more. */
static void exec_binary(const struct supervisor *s, char *const *args)
{
    (void)syscall(SYS_execveat, s->binary, "", args, environ, AT_EMPTY_PATH);
    if (errno == ENOENT) {
        stm_process_inherit(s->binary);
        (void)syscall(SYS_execveat, s->binary, "", args, environ, AT_EMPTY_PATH);
    }
}

static void exec_daemon(struct supervisor *s, char *const *args)
{
    sigset_t set;

    sigemptyset(&set); /* the three signals stay blocked: the daemon has them by a descriptor */
    sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    stm_process_inherit(s->setup.connection);
    stm_process_inherit(s->setup.memory);
    stm_process_inherit(s->setup.prober);
    exec_binary(s, args);
    _exit(127);
}

static int start_daemon(struct supervisor *s)
{
    char *args[STM_PROCESS_ARGS + 1];
    int err = stm_process_args("serve", &s->setup, args);

    if (err < 0)
        return err;
    atomic_store(&s->h->supervisor, getpid());
    atomic_store(&s->h->left, 0);
    atomic_fetch_add(&s->h->daemons, 1);
    s->started_ms = stm_monotonic_ms();
    s->pid = fork();
    if (s->pid == 0)
        exec_daemon(s, args);
    stm_process_args_free(args);
    s->process = s->pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, s->pid, 0);
    if (s->process < 0)
        return -errno;
    s->child = true;
    atomic_store(&s->h->daemon, s->pid);
    return 0;
}

/* Goes on with the daemon of a supervisor before: one that died, or this process before it became another program. */
static bool adopt_daemon(struct supervisor *s)
{
    siginfo_t info;

    s->pid = atomic_load(&s->h->daemon);
    s->child = waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    s->started_ms = stm_monotonic_ms();
    s->process = s->child || s->pid == getppid() ? (int)syscall(SYS_pidfd_open, s->pid, 0) : -1;
    atomic_store(&s->h->supervisor, getpid());
    return s->process >= 0;
}

/* Nothing of the terminal, or of who waits for the mount, may be held once the first daemon has both. */
static void let_go(struct supervisor *s)
{
    int null;

    if (s->setup.prober >= 0)
        close(s->setup.prober);
    s->setup.prober = -1;
    if (s->setup.foreground)
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        close(null);
    }
    stm_log_start(true);
}

/* ---- while it runs ---- */

static void reap_others(const struct supervisor *s)
{
    siginfo_t info = {0};

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0 && info.si_pid != s->pid) {
        (void)waitpid(info.si_pid, NULL, WNOHANG);
        info.si_pid = 0;
    }
}

static void hear_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD) {
        reap_others(s);
        return;
    }
    stm_log(STM_FS_INFO, "stopping", "signal=%s sender_pid=%u", strsignal((int)info.ssi_signo), info.ssi_pid);
    s->stopping = true;
    if (s->process >= 0)
        (void)syscall(SYS_pidfd_send_signal, s->process, SIGTERM, NULL, 0);
}

/* A program that came to serve is the one from now on, for the supervisor too: its own memory and descriptors carry over. */
static void become_upgraded(struct supervisor *s)
{
    char *args[STM_PROCESS_ARGS + 1];

    close(s->previous);
    s->previous = -1;
    if (stm_process_args("supervise", &s->setup, args) < 0)
        return;
    stm_watch_free(s->watch);
    s->watch = NULL;
    stm_process_inherit(s->setup.connection);
    stm_process_inherit(s->setup.memory);
    exec_binary(s, args);
    (void)fcntl(s->setup.connection, F_SETFD, FD_CLOEXEC);
    (void)fcntl(s->setup.memory, F_SETFD, FD_CLOEXEC);
    (void)fcntl(s->binary, F_SETFD, FD_CLOEXEC);
    stm_process_args_free(args); /* it could not: then go on as before */
}

static void kill_hung(struct supervisor *s)
{
    stm_log(STM_FS_ERROR, "daemon_hangs", "pid=%d seconds=%u consequence=\"it is killed and replaced\"", (int)s->pid,
            s->setup.options.hang_timeout);
    (void)syscall(SYS_pidfd_send_signal, s->process, SIGKILL, NULL, 0);
}

static void look_at_daemon(struct supervisor *s)
{
    int limit_ms = (int)s->setup.options.hang_timeout * 1000, watchdog_ms = stm_sd_watchdog_ms() / 2;
    int interval_ms = watchdog_ms > 0 && watchdog_ms < PROBE_MS ? watchdog_ms : PROBE_MS;

    if (s->previous >= 0 && !s->stopping)
        become_upgraded(s);
    if (limit_ms > 0 && limit_ms < interval_ms)
        interval_ms = limit_ms;
    if (s->watch == NULL && (limit_ms > 0 || watchdog_ms > 0)) {
        s->watch = stm_watch_new(s->setup.dir, interval_ms, limit_ms);
        if (s->watch != NULL)
            stm_watch_reset(s->watch, stm_monotonic_ms());
    }
    if (s->watch == NULL)
        return;
    switch (stm_watch_tick(s->watch, s->pid, stm_monotonic_ms())) {
    case STM_WATCH_ANSWERED:
        stm_sd_notify("WATCHDOG=1");
        break;
    case STM_WATCH_HANGS:
        /* One that has stopped reading to save or to hand over need not answer. */
        if (atomic_load(&s->h->left) == 0 && atomic_load(&s->h->upgrading) != atomic_load(&s->h->daemons))
            kill_hung(s);
        stm_watch_reset(s->watch, stm_monotonic_ms());
        break;
    default:
        break;
    }
}

/* One that takes over, and does not come to it. */
static void look_at_start(struct supervisor *s)
{
    int64_t limit_ms = s->setup.options.hang_timeout * INT64_C(1000);

    if (limit_ms == 0 || atomic_load(&s->h->serving) == 0 || stm_stuck_look(&s->starting, s->pid, stm_monotonic_ms()) < limit_ms)
        return;
    kill_hung(s);
    stm_stuck_reset(&s->starting, stm_monotonic_ms());
}

/* Until the next look, ms. */
static int due(const struct supervisor *s)
{
    if (!served(s))
        return UPGRADE_LOOK_MS;
    return s->watch != NULL ? stm_watch_due(s->watch, stm_monotonic_ms()) : -1;
}

static void wait_for_daemon(struct supervisor *s)
{
    struct pollfd fds[3] = {{.fd = s->process, .events = POLLIN}, {.fd = s->signals, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    bool looked = false;

    if (s->watch != NULL)
        stm_watch_reset(s->watch, stm_monotonic_ms());
    stm_stuck_reset(&s->starting, stm_monotonic_ms());
    while (fds[0].revents == 0) {
        int timeout = looked || !served(s) ? due(s) : 0;

        fds[2].fd = s->watch != NULL ? stm_watch_fd(s->watch) : -1;
        if (poll(fds, 3, timeout) < 0)
            continue;
        if (fds[1].revents != 0)
            hear_signal(s);
        if (fds[0].revents == 0 && !served(s))
            look_at_start(s);
        if (fds[0].revents == 0 && served(s)) {
            look_at_daemon(s);
            looked = true;
        }
    }
}

/* ---- when it has ended ---- */

struct death {
    unsigned left; /* its word, or 0 */
    bool known;    /* status is */
    int status;
};

static bool is_fault(int signal_number)
{
    switch (signal_number) {
    case SIGSEGV:
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS:
        return true;
    default:
        return false;
    }
}

/* Without its word, an exit is a fault too: some library ended it. */
static bool own_fault(const struct death *d)
{
    return (d->left & 255) == 0 && d->known && (WIFSIGNALED(d->status) ? is_fault(WTERMSIG(d->status)) : true);
}

static void name_cause(const struct death *d, char *ret, size_t size)
{
    if ((d->left & 255) != 0)
        snprintf(ret, size, "it gave up with exit code %u", STM_LEFT_CODE(d->left));
    else if (!d->known)
        snprintf(ret, size, "unknown: it was not this supervisor's child");
    else if (WIFSIGNALED(d->status))
        snprintf(ret, size, "signal %d (%s)", WTERMSIG(d->status), strsignal(WTERMSIG(d->status)));
    else
        snprintf(ret, size, "it exited with %d, without a word", WEXITSTATUS(d->status));
}

static struct death collect(struct supervisor *s)
{
    struct death d = {.left = atomic_exchange(&s->h->left, 0)};

    d.known = s->child && waitpid(s->pid, &d.status, 0) == s->pid;
    if (s->process >= 0)
        close(s->process);
    s->process = -1;
    return d;
}

/* Takes note of a death that was not planned: in the log, and for `stemma status`. */
static void record(struct supervisor *s, const struct death *d)
{
    unsigned open;

    name_cause(d, s->h->cause, sizeof(s->h->cause));
    atomic_store(&s->h->died_ns, wall_ns());
    atomic_fetch_add(&s->h->deaths, 1);
    open = stm_handover_blame(s->h, own_fault(d));
    stm_log(STM_FS_ERROR, "daemon_died", "pid=%d cause=\"%s\" after_ms=%lld requests_in_flight=%u", (int)s->pid, s->h->cause,
            (long long)(stm_monotonic_ms() - s->started_ms), open);
}

/* Which program is next. True: another than the last, which has its own luck. */
static bool choose_binary(struct supervisor *s)
{
    bool other = false;
    int fd;

    if (s->previous >= 0 && !served(s)) {
        stm_log(STM_FS_ERROR, "upgrade_failed", "consequence=\"the program before it goes on\"");
        close(s->binary);
        s->binary = s->previous;
        s->previous = -1;
        atomic_fetch_add(&s->h->failed_upgrades, 1);
        other = true;
    }
    if (s->h->binary[0] == '\0')
        return other;
    s->h->binary[sizeof(s->h->binary) - 1] = '\0';
    fd = open(s->h->binary, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        stm_log(STM_FS_ERROR, "upgrade_failed", "binary=\"%s\" error=\"%s\" consequence=\"the program before it goes on\"", s->h->binary,
                strerror(errno));
        atomic_fetch_add(&s->h->failed_upgrades, 1);
    } else {
        if (s->previous >= 0)
            close(s->previous);
        s->previous = s->binary;
        s->binary = fd;
        other = true;
    }
    s->h->binary[0] = '\0';
    return other;
}

/* Before the mount ever answered. The daemon has said why, if it could. */
static int never_ready(struct supervisor *s, const struct death *d)
{
    unmount(s);
    if (d->left != 0)
        return STM_LEFT_CODE(d->left);
    if (s->setup.foreground) {
        char cause[STM_HANDOVER_TEXT];
        name_cause(d, cause, sizeof(cause));
        fprintf(stderr, "stemma: the daemon ended before the mount answered: %s\n", cause);
        return STM_EXIT_FAILED;
    }
    return d->known && WIFSIGNALED(d->status) ? DIED + WTERMSIG(d->status) : STM_EXIT_FAILED;
}

/* The exit code when all is over, or -1: another one is to be started, after *ret_pause ms. */
static int judge(struct supervisor *s, int *ret_pause)
{
    struct stm_end end = {.served = served(s), .life_ms = stm_monotonic_ms() - s->started_ms};
    struct death d = collect(s);
    bool gone = stm_connection_gone(s->setup.connection);

    if (d.left & STM_LEFT_FINAL) {
        if (d.left == STM_LEFT_FINAL)
            record(s, &d); /* it died while it saved */
        unmount(s);
        return d.left == STM_LEFT_FINAL ? STM_EXIT_FAILED : STM_LEFT_CODE(d.left);
    }
    if (gone) /* unmounted after it had died: nothing was open, so nothing was unsaved */
        return d.left != 0 ? STM_LEFT_CODE(d.left) : STM_EXIT_OK;
    if (atomic_load(&s->h->serving) == 0)
        return never_ready(s, &d);
    end.spoke = d.left != 0;
    end.own_fault = own_fault(&d);
    if (STM_LEFT_CODE(d.left) != STM_LEFT_HANDOVER)
        record(s, &d);
    if (s->stopping) {
        unmount(s);
        return STM_EXIT_FAILED;
    }
    /* What it took and did not answer is lost then; one that handed over, or never served, has taken nothing. */
    if (!stm_handover_possible(s->h) && end.served && STM_LEFT_CODE(d.left) != STM_LEFT_HANDOVER) {
        stm_log(STM_FS_ERROR, "no_handover",
                "reason=\"this kernel cannot ask again for what a dead daemon had taken\" consequence=\"the mount is dead\"");
        return STM_EXIT_FAILED;
    }
    if (choose_binary(s)) {
        s->restarts = (struct stm_restarts){0};
        *ret_pause = 0;
        return -1;
    }
    *ret_pause = stm_restart_pause(&s->restarts, &end, stm_monotonic_ms());
    if (*ret_pause >= 0)
        return -1;
    stm_log(STM_FS_ERROR, "giving_up", "tries=%u consequence=\"the mount is dead; clear it with 'stemma umount %s'\"", s->restarts.idle,
            s->setup.dir);
    return STM_EXIT_FAILED;
}

/* False: it was unmounted, or a signal came, before the time was over. */
static bool pause_before_start(struct supervisor *s, int pause)
{
    struct pollfd fds[2] = {{.fd = s->signals, .events = POLLIN}, {.fd = s->setup.connection, .events = 0}};
    int64_t until = stm_monotonic_ms() + pause;

    if (pause > 0)
        stm_log(STM_FS_WARNING, "pausing", "ms=%d reason=\"daemons end soon after their start\"", pause);
    for (int64_t left = pause; left >= 0 && !s->stopping; left = until - stm_monotonic_ms()) {
        int n = poll(fds, 2, (int)left);

        if (n > 0 && fds[1].revents != 0)
            return false;
        if (n > 0)
            hear_signal(s);
        if (left == 0)
            break;
    }
    return !s->stopping;
}

/* ---- the whole ---- */

/* A daemon has ended: the exit code when all is over, or -1 when the kernel asks again and another one may start. */
static int after_end(struct supervisor *s)
{
    int pause = 0, code = judge(s, &pause);

    if (code < 0 && !pause_before_start(s, pause)) {
        unmount(s);
        return STM_EXIT_OK;
    }
    if (code < 0 && stm_connection_resend(s->setup.connection) < 0 && stm_connection_gone(s->setup.connection))
        return STM_EXIT_OK;
    return code;
}

/* adopting: a daemon was there before, be it alive or not. */
static int supervise(struct supervisor *s, bool adopting)
{
    bool running = adopting && adopt_daemon(s);
    int code = adopting && !running ? after_end(s) : -1;

    while (code < 0) {
        if (!running) {
            int err = start_daemon(s);
            if (err < 0) {
                stm_log(STM_FS_ERROR, "no_daemon", "error=\"%s\"", strerror(-err));
                return STM_EXIT_FAILED;
            }
        }
        let_go(s);
        wait_for_daemon(s);
        running = false;
        code = after_end(s);
    }
    return code;
}

static int block_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&set, numbers[i]);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int stm_supervise(const struct stm_daemon *d)
{
    struct supervisor s = {.setup = *d, .previous = -1, .process = -1, .binary = open("/proc/self/exe", O_PATH | O_CLOEXEC)};
    bool adopting = d->connection >= 0;
    int code = STM_EXIT_OK;

    s.signals = block_signals();
    if (s.signals < 0 || s.binary < 0) {
        fprintf(stderr, "stemma: the supervisor could not be started: %s\n", strerror(errno));
        code = STM_EXIT_FAILED;
    } else if (adopting) {
        code = stm_handover_map(d->memory, &s.h) < 0 ? STM_EXIT_FAILED : 0;
    } else {
        code = make_mount(&s);
    }
    if (code != 0) {
        unsigned char given_up[2] = {'E', (unsigned char)code};
        if (d->prober >= 0)
            (void)!write(d->prober, given_up, sizeof(given_up));
        return code;
    }
    if (adopting && !d->foreground)
        stm_log_start(true);
    learn_device(&s);
    if (adopting)
        stm_log(STM_FS_INFO, "supervising", "store=\"%s\" dir=\"%s\" daemon_pid=%d", d->store, d->dir, (int)atomic_load(&s.h->daemon));
    code = supervise(&s, adopting);
    stm_watch_free(s.watch);
    stm_handover_unmap(s.h);
    return code;
}
