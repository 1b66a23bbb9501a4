/* daemon.c: the life of a mount (daemon.h). */
#include "daemon.h"

#include "client.h"
#include "guardian.h"
#include "health.h"
#include "log.h"
#include "mountinfo.h"
#include "process.h"
#include "scrubber.h"
#include "sdnotify.h"
#include "server.h"

#include "stemma_fs/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct daemon {
    const struct stm_daemon *setup;
    struct stm_store *store;
    struct stm_fs *fs;
    struct stm_server *server;
    struct stm_scrubber *scrubber;
    struct stm_handover *handover; /* NULL: not supervised */
    bool takeover;                 /* an earlier daemon served this mount */
    struct stm_guardian guardian;  /* the supervisor, seen from here */
    pthread_t runner;
    int prober, signals, ended; /* descriptors, open till the end; ended becomes readable when run has returned */
    struct stm_health_watch health;
    bool helpless; /* it was said that only a new mount helps */
    bool ready;
    int run_err; /* of stm_fs_run, valid once ended */
};

enum { TICK_MS = 1000 }; /* how often the store's health is looked at, and a missing supervisor is replaced */

/* ---- opening and mounting; failures are printed while somebody still waits at the terminal, and logged after that ---- */

static int complain(int code, const char *what, const char *why)
{
    fprintf(stderr, "stemma: %s: %s\n", what, why);
    return code;
}

static int complain_in_log(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    (void)arg;
    (void)channel;
    while (len > 0 && ((const char *)data)[len - 1] == '\n')
        len--;
    stm_log(STM_FS_ERROR, "takeover_failed", "error=\"%.*s\"", (int)len, (const char *)data);
    return 0;
}

static int fail(const struct daemon *d, int code, const char *what, const char *why)
{
    if (!d->takeover)
        return complain(code, what, why);
    stm_log(STM_FS_ERROR, "takeover_failed", "error=\"%s: %s\"", what, why);
    return code;
}

/* A store that can only be read, for want of room, is mounted all the same: whoever waits at the terminal hears why. */
static void tell_health(struct daemon *d, struct stm_out *out)
{
    struct stm_health h;

    stm_store_health(d->store, &h);
    if (h.state != STM_HEALTH_GOOD)
        (void)stm_out_fail(out, 0, "%s: %s", d->setup->store, stm_health_reason(&h));
}

static int open_store(struct daemon *d, bool *ret_read_only)
{
    bool mem = strcmp(d->setup->store, "mem:") == 0;
    struct stm_store_options opt = {.path = mem ? NULL : d->setup->store,
                                    .engine = mem ? STM_ENGINE_MEM : STM_ENGINE_ROCKSDB,
                                    .create = mem,
                                    .or_read_only = true,
                                    .takeover = d->takeover,
                                    .root_uid = geteuid(),
                                    .root_gid = getegid()};
    struct stm_out out = d->takeover ? (struct stm_out){.write = complain_in_log} : stm_out_terminal();
    int code, err;

    *ret_read_only = d->setup->options.read_only;
    if (mem) {
        err = stm_store_open(&opt, &d->store, NULL);
        return err < 0 ? stm_out_error(&out, err, "mem:") : 0;
    }
    opt.read_only = *ret_read_only && access(d->setup->store, W_OK) < 0;
    code = stm_client_open_as(&opt, &out, &d->store);
    if (code == 0 && !d->takeover)
        tell_health(d, &out);
    (void)stm_out_release(&out);
    return code;
}

int stm_mount_error(const char *dir, int err)
{
    if (err == -EPERM || err == -EACCES)
        return complain(STM_EXIT_FAILED, dir, "mounting is not permitted: is it your own directory, and is fusermount3 installed?");
    if (err == -ENODEV || err == -ENOENT)
        return complain(STM_EXIT_FAILED, dir, "there is no /dev/fuse: load the kernel module with 'modprobe fuse'");
    return complain(STM_EXIT_FAILED, dir, err == -EIO ? "it could not be mounted" : strerror(-err));
}

static int make_filesystem(struct daemon *d)
{
    const struct stm_mount_options *o = &d->setup->options;
    struct stm_fs_options opt = {
        .fsname = d->setup->store,
        .allow_other = o->allow_other,
        .read_only = o->read_only,
        .noexec = o->noexec,
        .acl = o->acl,
        .versions_listed = o->versions == STM_VERSIONS_LISTED,
        .debug = o->debug,
        .max_threads = o->max_threads,
        .log = stm_log_fs,
        .handover = d->handover,
        .forgetful = getenv("STEMMA_TEST_FORGETFUL") != NULL,
    };
    int err = stm_fs_new(d->store, &opt, &d->fs);

    return err < 0 ? fail(d, STM_EXIT_FAILED, "the filesystem could not be started", stm_error_text(err)) : 0;
}

/* Without one the mount works as well. */
static void make_scrubber(struct daemon *d)
{
    int err = stm_scrubber_new(d->store, d->fs, d->setup->options.scrub, &d->scrubber);

    if (err < 0)
        stm_log(STM_FS_WARNING, "no_scrub", "error=\"%s\" consequence=\"damage is found when it is read\"", strerror(-err));
}

static int make_server(struct daemon *d, bool read_only)
{
    struct stm_env env = {.store = d->store,
                          .fs = d->fs,
                          .mount_dir = d->setup->dir,
                          .since_ns = stm_store_now_ns(d->store),
                          .read_only = read_only,
                          .handover = d->handover,
                          .scrubber = d->scrubber};
    int err;

    if (d->handover != NULL)
        env.since_ns = atomic_load(&d->handover->mounted_ns);
    if (strcmp(d->setup->store, "mem:") == 0)
        return 0; /* it has no directory for one */
    err = stm_server_new(d->setup->store, &env, &d->server);
    if ((err == -EROFS && read_only) || err == -ENOSPC)
        return 0;
    return err < 0 ? fail(d, STM_EXIT_FAILED, "the daemon's socket could not be made in the store", strerror(-err)) : 0;
}

static int mount_it(struct daemon *d)
{
    int err;

    if (d->handover == NULL) {
        err = stm_fs_mount(d->fs, d->setup->dir);
        return err < 0 ? stm_mount_error(d->setup->dir, err) : 0;
    }
    err = stm_fs_adopt(d->fs, d->setup->connection, d->setup->dir);
    if (err == -EPROTO)
        return fail(d, STM_LEFT_REFUSED, d->setup->dir, "this program would not agree with the kernel on what was agreed at the mount");
    return err < 0 ? fail(d, STM_EXIT_FAILED, d->setup->dir, strerror(-err)) : 0;
}

/* ---- serving ---- */

static void *run_thread(void *arg)
{
    struct daemon *d = arg;
    uint64_t one = 1;

    d->run_err = stm_fs_run(d->fs);
    (void)!write(d->ended, &one, sizeof(one));
    return NULL;
}

/* The waiting command goes its way: nothing of its terminal may be held. */
static void let_go(struct daemon *d)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (!d->setup->foreground && null >= 0) {
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
    if (null >= 0)
        close(null);
    if (!d->setup->foreground)
        stm_log_start(true);
}

/*
 * FUSE starts with a readahead of 128 KiB. With 4 MiB a large file is read in requests of 1 MiB, each of which the store serves with one
 * sequential read, and several are under way, so that more than one core decodes (measured, cold: 1 MiB 363 MiB/s, 2 MiB 402, 4 MiB 446).
 * Only root may say so; without it reading is merely slower.
 */
static void read_ahead(const struct daemon *d)
{
    struct stm_mount m = {.dir = NULL};
    char path[64], *text = NULL;

    if (stm_mountinfo_read(&text) == 0 && stm_mount_of(text, d->setup->store, NULL, &m) == 1) {
        snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", m.device);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            (void)!write(fd, "4096", 4);
            close(fd);
        }
    }
    stm_mount_release(&m);
    free(text);
}

/* Those before are gone for good from here on. */
static void say_serving(struct daemon *d)
{
    d->ready = true;
    if (d->handover != NULL)
        atomic_store(&d->handover->serving, atomic_load(&d->handover->daemons));
}

/* The prober's first word: false when the mount does not work and must come down again. */
static bool hear_first_word(struct daemon *d, char word)
{
    char status[256];

    if (word != 'R')
        return false;
    say_serving(d);
    read_ahead(d);
    let_go(d);
    snprintf(status, sizeof(status), "READY=1\nSTATUS=%.200s is mounted", d->setup->dir);
    stm_sd_notify(status);
    stm_log(STM_FS_INFO, "mounted", "store=\"%s\" dir=\"%s\" version=%s%s", d->setup->store, d->setup->dir, STEMMA_VERSION,
            d->setup->options.read_only ? " read_only=yes" : "");
    if (d->handover != NULL && !stm_handover_possible(d->handover))
        stm_log(STM_FS_WARNING, "no_handover", "reason=\"%s\" consequence=\"the mount ends with its daemon\"",
                "this kernel cannot ask again for what a dead daemon had taken");
    (void)!write(d->prober, "K", 1);
    return true;
}

/* False when there is no more to hear: it has ended, as the waiting command does when the mount works. */
static bool hear_prober(struct daemon *d)
{
    char word = 0;
    bool more = read(d->prober, &word, 1) == 1;

    if (!d->ready && !hear_first_word(d, word))
        stm_fs_stop(d->fs);
    else if (word == 'W')
        stm_sd_notify("WATCHDOG=1");
    return more;
}

static void hear_signal(struct daemon *d)
{
    struct signalfd_siginfo info;

    if (read(d->signals, &info, sizeof(info)) != sizeof(info))
        return;
    stm_log(STM_FS_INFO, "stopping", "signal=%s sender_pid=%u", strsignal((int)info.ssi_signo), info.ssi_pid);
    stm_fs_stop(d->fs);
}

/* The engine does not recover by itself; the next daemon may open it. */
static void start_anew(struct daemon *d)
{
    if (d->handover != NULL) {
        stm_log(STM_FS_WARNING, "store_reopen", "consequence=\"the next daemon tries to open it\"");
        stm_fs_hand_over(d->fs);
    } else if (!d->helpless) {
        d->helpless = true;
        stm_log(STM_FS_ERROR, "store_reopen", "consequence=\"changes fail until it is unmounted and mounted again\"");
    }
}

/* Until the filesystem has stopped, by whatever cause. */
static void wait_for_end(struct daemon *d)
{
    struct pollfd fds[4] = {{.fd = d->ended, .events = POLLIN},
                            {.fd = d->signals, .events = POLLIN},
                            {.fd = d->prober, .events = POLLIN},
                            {.fd = -1, .events = POLLIN}};

    while (fds[0].revents == 0) {
        fds[3].fd = d->guardian.process;
        if (poll(fds, 4, TICK_MS) < 0)
            continue;
        if (stm_health_tick(&d->health, d->store))
            start_anew(d);
        if (fds[1].revents != 0)
            hear_signal(d);
        if (fds[2].revents != 0 && !hear_prober(d))
            fds[2].fd = -1;
        if (d->handover != NULL && fds[0].revents == 0 && (fds[3].revents != 0 || d->guardian.process < 0))
            stm_guardian_replace(&d->guardian, d->setup, d->handover);
    }
}

static int run(struct daemon *d)
{
    d->ended = eventfd(0, EFD_CLOEXEC);
    if (d->ended < 0)
        return -errno;
    int err = -pthread_create(&d->runner, NULL, run_thread, d);
    if (err < 0) {
        close(d->ended);
        return err;
    }
    if (d->takeover) {
        say_serving(d);
        stm_log(STM_FS_INFO, "taken_over", "store=\"%s\" dir=\"%s\" version=%s daemons=%u", d->setup->store, d->setup->dir, STEMMA_VERSION,
                atomic_load(&d->handover->daemons));
    }
    if (d->prober >= 0)
        (void)!write(d->prober, "M", 1);
    wait_for_end(d);
    pthread_join(d->runner, NULL);
    close(d->ended);
    return 0;
}

static int serve(struct daemon *d)
{
    int err = run(d);

    if (err < 0)
        return fail(d, STM_EXIT_FAILED, "no thread could be started", strerror(-err));
    if (d->run_err == 1)
        return STM_LEFT_HANDOVER;
    if (d->run_err == 0) {
        stm_sd_notify("STOPPING=1");
        if (d->handover != NULL)
            atomic_store(&d->handover->left, STM_LEFT_FINAL);
    } else
        stm_log(STM_FS_ERROR, "serving_failed", "error=\"%s\" consequence=\"%s\"", strerror(-d->run_err),
                d->handover != NULL ? "another daemon takes over" : "unmounting");
    return d->ready && d->run_err == 0 ? STM_EXIT_OK : STM_EXIT_FAILED;
}

/*
 * In this order: no more requests, everything saved, the store closed; only then do those who wait hear whether all is safe, which it
 * is as well when the mount ended before it was ready (code).
 */
static int shut_down(struct daemon *d, int code)
{
    int err, unsafe = STM_EXIT_OK;

    stm_server_stop(d->server);
    stm_scrubber_free(d->scrubber);
    err = stm_fs_free(d->fs);
    if (err < 0) {
        stm_log(STM_FS_ERROR, "saving_failed", "error=\"%s\" consequence=\"the last changes may be lost\"", stm_error_text(err));
        unsafe = STM_EXIT_FAILED;
    }
    err = stm_store_close(d->store);
    if (err < 0) {
        stm_log(STM_FS_ERROR, "closing_failed", "error=\"%s\" consequence=\"the last changes may not be durable\"", stm_error_text(err));
        unsafe = STM_EXIT_FAILED;
    }
    if (d->ready)
        stm_log(STM_FS_INFO, code == STM_LEFT_HANDOVER ? "handed_over" : "unmounted", "store=\"%s\" dir=\"%s\"", d->setup->store,
                d->setup->dir);
    stm_server_free(d->server, unsafe);
    return code != 0 ? code : unsafe;
}

static int block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/*
 * glibc raises its threshold for giving memory back to the kernel as large blocks come and go, and then keeps what the store's write
 * buffers (blocks of 1 MiB) leave: measured, 100 MB more with each import of a dictionary, without end. A fixed threshold keeps the daemon where it was.
 */
static void keep_memory_small(void)
{
    mallopt(M_MMAP_THRESHOLD, 512 * 1024);
}

/* The engine keeps its files open, one for each large content among them: as many as the system lets us have. */
static void allow_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* The daemon's whole life; returns its exit code. */
static int live(struct daemon *d)
{
    bool read_only;
    unsigned char given_up[2] = {'E', 0};
    int code;

    keep_memory_small();
    allow_files();
    umask(077);
    code = open_store(d, &read_only);
    if (code == 0)
        code = make_filesystem(d);
    if (code == 0)
        make_scrubber(d);
    if (code == 0)
        code = make_server(d, read_only);
    if (code == 0)
        code = mount_it(d);
    if (code == 0)
        code = serve(d);
    code = shut_down(d, code);
    given_up[1] = (unsigned char)code;
    if (!d->ready && d->prober >= 0)
        (void)!write(d->prober, given_up, sizeof(given_up));
    return code;
}

static int live_alone(const struct stm_daemon *setup, int prober)
{
    struct daemon d = {.setup = setup, .prober = prober, .signals = block_signals(), .guardian = {.process = -1}};

    return live(&d);
}

int stm_daemon_serve(const struct stm_daemon *setup)
{
    struct daemon d = {.setup = setup, .prober = setup->prober, .signals = block_signals()};
    unsigned left;
    int code, err = stm_handover_map(setup->memory, &d.handover);

    if (err < 0) {
        stm_log(STM_FS_ERROR, "takeover_failed", "error=\"the supervisor's memory is of another version: %s\"", strerror(-err));
        return STM_LEFT_REFUSED;
    }
    d.takeover = stm_handover_begun(d.handover);
    if (d.takeover && !setup->foreground)
        stm_log_start(true);
    stm_guardian_find(&d.guardian, d.handover);
    d.run_err = 1; /* until it has run */
    code = live(&d);
    left = (unsigned)code + 1;
    if (d.run_err == 0)
        left |= STM_LEFT_FINAL;
    else if (d.ready)
        stm_guardian_ensure(&d.guardian, setup, d.handover);
    atomic_store(&d.handover->left, left);
    return code;
}

/* ---- processes ---- */

/* The first process of the mount ended, and nobody has said why. */
static int post_mortem(int status)
{
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) > 128 ? WEXITSTATUS(status) - 128 : 0;
    char text[64];

    snprintf(text, sizeof(text), "signal %d (%s)", number, strsignal(number));
    if (number > 0)
        return complain(STM_EXIT_FAILED, "the daemon was ended by", text);
    return complain(STM_EXIT_FAILED, "the daemon ended", "before the mount answered");
}

/* This process becomes the supervisor; it returns only when it cannot. */
static int start_supervisor(const struct stm_daemon *d, int prober)
{
    char *args[STM_PROCESS_ARGS + 1];
    struct stm_daemon setup = *d;

    setup.connection = setup.memory = -1;
    setup.prober = prober;
    if (stm_process_args("supervise", &setup, args) < 0)
        return complain(STM_EXIT_FAILED, "the supervisor could not be started", strerror(ENOMEM));
    stm_process_inherit(prober);
    execv("/proc/self/exe", args);
    stm_process_args_free(args);
    return complain(STM_EXIT_FAILED, "the supervisor could not be started", strerror(errno));
}

/* The first process of a mount that nobody waits for: the supervisor, or the daemon itself. */
static void background(const struct stm_daemon *d, int prober)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (null >= 0)
        (void)dup2(null, STDIN_FILENO);
    (void)setsid();
    (void)!chdir("/");
    _exit(d->options.nosupervise ? live_alone(d, prober) : start_supervisor(d, prober));
}

static int start_background(const struct stm_daemon *d, int fds[2])
{
    pid_t pid = fork();
    int code, status;

    if (pid < 0)
        return complain(STM_EXIT_FAILED, "fork", strerror(errno));
    if (pid == 0) {
        close(fds[0]);
        background(d, fds[1]);
    }
    close(fds[1]);
    code = stm_probe(fds[0], d->dir);
    if (code != 0 && waitpid(pid, &status, 0) == pid && code < 0)
        return post_mortem(status);
    return code < 0 ? STM_EXIT_FAILED : code;
}

/* Here the prober is the child, and the daemon, or its supervisor, stays the process that was started. */
static int start_foreground(const struct stm_daemon *d, int fds[2])
{
    int watchdog_ms = stm_sd_watchdog_ms(), code;
    pid_t pid = fork();

    if (pid < 0)
        return complain(STM_EXIT_FAILED, "fork", strerror(errno));
    if (pid == 0) {
        close(fds[1]);
        code = stm_probe(fds[0], d->dir);
        if (code == 0 && watchdog_ms > 0 && d->options.nosupervise)
            stm_probe_watch(fds[0], d->dir, watchdog_ms > 1 ? watchdog_ms / 2 : 1);
        _exit(code == 0 ? 0 : 1);
    }
    close(fds[0]);
    code = d->options.nosupervise ? live_alone(d, fds[1]) : start_supervisor(d, fds[1]);
    close(fds[1]);
    (void)waitpid(pid, NULL, 0);
    return code;
}

int stm_daemon_start(const struct stm_daemon *given)
{
    struct stm_daemon setup = *given;
    const struct stm_daemon *d = &setup;
    int fds[2];

    if (strcmp(d->store, "mem:") == 0)
        setup.options.nosupervise = true; /* what it holds ends with its daemon: there is nothing to take over */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return complain(STM_EXIT_FAILED, "socketpair", strerror(errno));
    return d->foreground ? start_foreground(d, fds) : start_background(d, fds);
}
