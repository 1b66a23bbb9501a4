/*
 * fs.c: a filesystem from new to free: its parts, its workers, its connection to the kernel. Requests are read by a function of our own, so that
 * each worker knows the id of the request it works on, and so that the connection may as well be one that was handed over.
 */
#include <linux/fuse.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dirlist.h"
#include "file.h"
#include "notify.h"
#include "task.h"
#include "vnode.h"

enum { SPARE_READERS = 3, DEFAULT_THREADS = 10, DEFAULT_CHECKPOINT_S = 60, DETACH_WAIT_MS = 2000 };

struct worker {
    struct stm_fs *fs;
    pthread_t thread;
    _Atomic bool gone;
    struct fuse_buf buf;
};

/* The request that this thread works on, as its read function saw it. */
struct current {
    uint64_t unique;
    bool uncached;
};

static struct current *current(void)
{
    static _Thread_local struct current c;

    return &c;
}

struct stm_fs *stm_fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

struct stm_caller stm_caller_of(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    const struct current *c = current();

    return (struct stm_caller){.uid = ctx->uid, .gid = ctx->gid, .pid = (uint32_t)ctx->pid, .unique = c->unique, .uncached = c->uncached};
}

uint64_t stm_new_handle(struct stm_fs *fs)
{
    return atomic_fetch_add_explicit(&fs->next_handle, 1, memory_order_relaxed);
}

void stm_fs_log(struct stm_fs *fs, enum stm_fs_level level, const char *event, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    if (!fs->opt.log)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fs->opt.log(fs->opt.log_arg, level, event, text);
}

/* ---- the connection ---- */

static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
    struct stm_fs *fs = userdata;
    ssize_t n = read(fd, buf, len);

    if (n < (ssize_t)sizeof(struct fuse_in_header))
        return n;
    const struct fuse_in_header *in = buf;
    current()->unique = in->unique;
    atomic_fetch_add_explicit(&fs->requests, 1, memory_order_relaxed);
    if (in->opcode == FUSE_INIT && n >= (ssize_t)(sizeof *in + sizeof(struct fuse_init_in))) {
        const struct fuse_init_in *init = (const void *)(in + 1);
        if (init->flags & FUSE_HANDLE_KILLPRIV_V2)
            atomic_store(&fs->init_unique, in->unique);
    }
    return n;
}

/*
 * The set-id bits and security.capability of a written file are taken off here (stm_draft_unprivilege). Told so, the kernel does not ask for
 * security.capability before each write, which would halve the speed of small writes. This libfuse has no name for the flag.
 */
static ssize_t write_init(int fd, struct iovec *iov)
{
    struct fuse_init_out out;

    memcpy(&out, iov[1].iov_base, sizeof out);
    out.flags |= FUSE_HANDLE_KILLPRIV_V2;
    struct iovec both[2] = {iov[0], {&out, iov[1].iov_len}};
    return writev(fd, both, 2);
}

static ssize_t write_answer(int fd, struct iovec *iov, int count, void *userdata)
{
    struct stm_fs *fs = userdata;
    const struct fuse_out_header *out = iov[0].iov_base;
    uint64_t unique = atomic_load_explicit(&fs->init_unique, memory_order_relaxed);

    if (unique == 0 || out->unique != unique)
        return writev(fd, iov, count);
    atomic_store(&fs->init_unique, 0);
    if (out->error != 0 || count != 2 || iov[1].iov_len != sizeof(struct fuse_init_out))
        return writev(fd, iov, count);
    return write_init(fd, iov);
}

static void end_run(struct stm_fs *fs, int err)
{
    pthread_mutex_lock(&fs->run_lock);
    fs->ended = true;
    if (err < 0 && fs->run_error == 0)
        fs->run_error = err;
    pthread_cond_broadcast(&fs->run_cond);
    pthread_mutex_unlock(&fs->run_lock);
}

/*
 * The kernel hands requests to waiting workers in turn, so many of them only cool each other's caches (measured: half as many creations a
 * second with ten as with two). A few wait there, the rest are parked here until all of those are busy. False: the end has come.
 */
static bool may_read(struct stm_fs *fs)
{
    bool on = !atomic_load(&fs->closing);

    while (on && atomic_fetch_add(&fs->reading, 1) >= SPARE_READERS) {
        /* First this, then that: either the last reader sees that somebody is parked, or this worker that nobody is left to read. */
        atomic_fetch_add(&fs->parked, 1);
        bool needed = atomic_fetch_sub(&fs->reading, 1) == 1;
        pthread_mutex_lock(&fs->park_lock);
        while (!needed && fs->unpark == 0 && !atomic_load(&fs->closing))
            pthread_cond_wait(&fs->park_cond, &fs->park_lock);
        fs->unpark -= fs->unpark > 0;
        atomic_fetch_sub(&fs->parked, 1);
        on = !atomic_load(&fs->closing);
        pthread_mutex_unlock(&fs->park_lock);
    }
    return on;
}

/* This worker has a request now. If it was the last that waited, another must. */
static void have_read(struct stm_fs *fs)
{
    if (atomic_fetch_sub(&fs->reading, 1) > 1 || atomic_load(&fs->parked) == 0)
        return;
    pthread_mutex_lock(&fs->park_lock);
    fs->unpark++;
    pthread_cond_signal(&fs->park_cond);
    pthread_mutex_unlock(&fs->park_lock);
}

static void release_parked(struct stm_fs *fs)
{
    pthread_mutex_lock(&fs->park_lock);
    atomic_store(&fs->closing, true);
    pthread_cond_broadcast(&fs->park_cond);
    pthread_mutex_unlock(&fs->park_lock);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct stm_fs *fs = w->fs;
    sigset_t set;
    int n = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN); /* stop_worker's */
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    while (may_read(fs)) {
        n = fuse_session_receive_buf(fs->session, &w->buf);
        have_read(fs);
        if (n == -EINTR || n == -EAGAIN) {
            n = 0;
            continue;
        }
        if (n <= 0)
            break;
        struct stm_flight flight = stm_flight_begin(fs);
        current()->uncached = atomic_load(&fs->applies) > 0;
        fuse_session_process_buf(fs->session, &w->buf);
        stm_flight_end(flight);
    }
    end_run(fs, n);
    atomic_store(&w->gone, true);
    return NULL;
}

static void wake(int sig)
{
    (void)sig;
}

/* A worker that waits for a request is woken by a signal; again and again, since it may come just before the wait. */
static void stop_worker(struct worker *w)
{
    struct timespec ts = {.tv_nsec = 1000000};

    while (!atomic_load(&w->gone)) {
        pthread_kill(w->thread, SIGRTMIN);
        nanosleep(&ts, NULL);
    }
    pthread_join(w->thread, NULL);
    free(w->buf.mem);
}

/* ---- new and free ---- */

static int make_parts(struct stm_fs *fs)
{
    int err = stm_files_new(fs);

    if (err == 0)
        err = stm_vnodes_new(fs);
    if (err == 0)
        err = stm_listings_new(fs);
    if (err == 0)
        err = stm_notify_new(fs);
    if (err == 0)
        err = stm_tasks_new(fs);
    return err;
}

static int make_session(struct stm_fs *fs)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    char *options = NULL, *name = NULL;
    int err = -ENOMEM;

    /* A comma or backslash in the name must not end the option. */
    if (fs->fsname && !(name = calloc(2, strlen(fs->fsname) + 1)))
        return -ENOMEM;
    char *to = name;
    for (const char *c = fs->fsname; c && *c; c++) {
        if (*c == ',' || *c == '\\')
            *to++ = '\\';
        *to++ = *c;
    }
    if (asprintf(&options, "default_permissions,subtype=stemma,fsname=%s%s%s%s", name ? name : "stemma",
                 fs->opt.allow_other ? ",allow_other" : "", fs->opt.read_only ? ",ro" : "", fs->opt.noexec ? ",noexec" : "") < 0) {
        free(name);
        return -ENOMEM;
    }
    if (fuse_opt_add_arg(&args, "stemma") == 0 && fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, options) == 0 &&
        (!fs->opt.debug || fuse_opt_add_arg(&args, "-d") == 0)) {
        fs->session = fuse_session_new(&args, &stm_ops, sizeof stm_ops, fs);
        err = fs->session ? 0 : -EIO;
    }
    fuse_opt_free_args(&args);
    free(options);
    free(name);
    return err;
}

int stm_fs_new(struct stm_store *store, const struct stm_fs_options *opt, struct stm_fs **ret)
{
    struct stm_fs *fs = calloc(1, sizeof *fs);
    int err;

    if (!fs)
        return -ENOMEM;
    fs->store = store;
    fs->opt = *opt;
    fs->opt.fsname = NULL;
    if (fs->opt.max_threads == 0)
        fs->opt.max_threads = DEFAULT_THREADS;
    if (fs->opt.checkpoint_s == 0)
        fs->opt.checkpoint_s = DEFAULT_CHECKPOINT_S;
    pthread_mutex_init(&fs->apply_lock, NULL);
    pthread_mutex_init(&fs->run_lock, NULL);
    pthread_mutex_init(&fs->park_lock, NULL);
    pthread_cond_init(&fs->park_cond, NULL);
    pthread_cond_init(&fs->run_cond, NULL);
    /* Numbers of an earlier daemon are not given again in any time that matters. */
    atomic_store(&fs->next_handle, ((uint64_t)stm_store_now_ns(store) / 1000000 << 20) | 1);
    err = opt->fsname && !(fs->fsname = strdup(opt->fsname)) ? -ENOMEM : 0;
    if (err == 0)
        err = make_parts(fs);
    if (err == 0)
        err = make_session(fs);
    if (err < 0) {
        (void)stm_fs_free(fs);
        return err;
    }
    *ret = fs;
    return 0;
}

int stm_fs_mount(struct stm_fs *fs, const char *dir)
{
    static const struct fuse_custom_io io = {.writev = write_answer, .read = read_request};

    fs->mountpoint = realpath(dir, NULL);
    if (!fs->mountpoint)
        return -errno;
    errno = 0;
    if (fuse_session_mount(fs->session, dir) < 0)
        return errno > 0 ? -errno : -EIO;
    int err = fuse_session_custom_io(fs->session, &io, fuse_session_fd(fs->session));
    if (err < 0) {
        fuse_session_unmount(fs->session);
        return err;
    }
    atomic_store(&fs->mounted, true);
    return 0;
}

/* Takes the mount point away; what has files open there goes on being served. */
static void detach(struct stm_fs *fs)
{
    char *argv[] = {(char[]){"fusermount3"}, (char[]){"-uqz"}, (char[]){"--"}, fs->mountpoint, NULL};
    char *envp[] = {NULL};
    pid_t pid;
    int status;

    if (umount2(fs->mountpoint, MNT_DETACH) == 0 || errno != EPERM)
        return;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, envp) == 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
}

/* Waits for the end of the connection or a stop; then, for a stop, detaches and gives what is open a moment to be closed. */
static void wait_for_end(struct stm_fs *fs)
{
    struct timespec until;
    bool detached = false;
    int err = 0;

    pthread_mutex_lock(&fs->run_lock);
    while (!fs->ended && !fs->stopping)
        pthread_cond_wait(&fs->run_cond, &fs->run_lock);
    if (!fs->ended) {
        pthread_mutex_unlock(&fs->run_lock);
        detach(fs);
        detached = fs->detached = true;
        pthread_mutex_lock(&fs->run_lock);
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until = stm_timespec(stm_nanoseconds(until) + DETACH_WAIT_MS * INT64_C(1000000));
    while (detached && !fs->ended && err == 0)
        err = pthread_cond_timedwait(&fs->run_cond, &fs->run_lock, &until);
    pthread_mutex_unlock(&fs->run_lock);
}

static void checkpoint(struct stm_fs *fs, void *arg);

static void checkpoint_post(struct stm_fs *fs)
{
    struct stm_task task = {.run = checkpoint, .delay_ns = fs->opt.checkpoint_s * INT64_C(250000000)};

    if (stm_task_post(fs, &task) < 0)
        stm_fs_log(fs, STM_FS_WARNING, "no_checkpoints", "error=\"out of memory\" consequence=\"open files become versions when closed\"");
}

static void seal_if_old(struct stm_fs *fs, struct stm_file *f, void *arg)
{
    const int64_t *now = arg;

    stm_file_lock(f);
    if (f->draft.pending && *now - f->draft.flushed_ns > fs->opt.checkpoint_s * INT64_C(1000000000))
        f->draft.pending = false;
    stm_file_unlock(f);
}

/* Handles that stay open for long: what was flushed becomes a version after a while. */
static void checkpoint(struct stm_fs *fs, void *arg)
{
    struct timespec ts;
    (void)arg;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now = stm_nanoseconds(ts);
    stm_files_each(fs, seal_if_old, &now);
    pthread_mutex_lock(&fs->run_lock);
    bool over = fs->stopping || fs->ended;
    pthread_mutex_unlock(&fs->run_lock);
    if (!over)
        checkpoint_post(fs);
}

int stm_fs_run(struct stm_fs *fs)
{
    struct worker *workers = calloc(fs->opt.max_threads, sizeof *workers);
    struct sigaction on_wake = {.sa_handler = wake}, old;
    unsigned n = 0;
    int err = workers ? 0 : -ENOMEM;

    sigaction(SIGRTMIN, &on_wake, &old);
    checkpoint_post(fs);
    while (err == 0 && n < fs->opt.max_threads) {
        workers[n].fs = fs;
        err = -pthread_create(&workers[n].thread, NULL, worker_main, &workers[n]);
        n += err == 0;
    }
    if (n > 0) {
        wait_for_end(fs);
        err = 0; /* fewer threads than wished will do */
    }
    atomic_store(&fs->mounted, false);
    release_parked(fs);
    for (unsigned i = 0; i < n; i++)
        stop_worker(&workers[i]);
    sigaction(SIGRTMIN, &old, NULL);
    free(workers);
    pthread_mutex_lock(&fs->run_lock);
    fs->ended = true;
    if (err == 0)
        err = fs->run_error;
    pthread_mutex_unlock(&fs->run_lock);
    return err;
}

void stm_fs_stop(struct stm_fs *fs)
{
    pthread_mutex_lock(&fs->run_lock);
    fs->stopping = true;
    pthread_cond_broadcast(&fs->run_cond);
    pthread_mutex_unlock(&fs->run_lock);
}

/* Saves what a writer left: its close will never come. */
static void drain_one(struct stm_fs *fs, struct stm_file *f, void *arg)
{
    int *result = arg, err;

    stm_file_lock(f);
    if (f->draft.replace)
        err = 0;
    else
        err = stm_draft_commit(fs, f, &(struct stm_draft_commit){.final = true});
    stm_file_unlock(f);
    if (err == 0)
        return;
    stm_fs_log(fs, STM_FS_ERROR, "write_lost", "object=%llu error=\"%s\" consequence=\"the file keeps its last saved content\"",
               (unsigned long long)f->object, stm_error_text(err));
    if (*result == 0)
        *result = err;
}

/* libfuse would complain on stderr that there is no such mount any more. */
static void say_nothing(enum fuse_log_level level, const char *fmt, va_list ap)
{
    (void)level;
    (void)fmt;
    (void)ap;
}

static void end_session(struct stm_fs *fs)
{
    if (!fs->session)
        return;
    if (fs->detached)
        fuse_set_log_func(say_nothing);
    fuse_session_unmount(fs->session);
    if (fs->detached)
        fuse_set_log_func(NULL);
    fuse_session_destroy(fs->session);
}

int stm_fs_free(struct stm_fs *fs)
{
    int result = 0, err;

    if (!fs)
        return 0;
    stm_fs_stop(fs);
    stm_tasks_free(fs);
    if (fs->files)
        stm_files_each(fs, drain_one, &result);
    stm_notify_free(fs);
    end_session(fs);
    stm_listings_free(fs);
    stm_files_free(fs);
    stm_vnodes_free(fs);
    err = fs->opt.read_only ? 0 : stm_store_sync(fs->store);
    pthread_mutex_destroy(&fs->apply_lock);
    pthread_mutex_destroy(&fs->run_lock);
    pthread_mutex_destroy(&fs->park_lock);
    pthread_cond_destroy(&fs->park_cond);
    pthread_cond_destroy(&fs->run_cond);
    free(fs->fsname);
    free(fs->mountpoint);
    free(fs);
    return result < 0 ? result : err;
}

void stm_fs_stats(struct stm_fs *fs, struct stm_fs_stats *ret)
{
    *ret = (struct stm_fs_stats){
        .requests = atomic_load(&fs->requests),
        .errors = atomic_load(&fs->errors),
        .draft_bytes = atomic_load(&fs->draft_bytes),
        .virtual_nodes = stm_vnodes_count(fs),
        .invalidations = atomic_load(&fs->invalidations),
        .mounted = atomic_load(&fs->mounted),
    };
    stm_files_count(fs, ret);
}
