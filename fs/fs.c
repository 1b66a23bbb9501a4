/*
 * fs.c: a filesystem from new to free: its parts, its workers, its end: unmounted, stopped, or handed over to the next daemon (handover.h). Not
 * here: how requests come in and answers go out (connection.c).
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "dirlist.h"
#include "file.h"
#include "notify.h"
#include "stemma_fs/handover.h"
#include "task.h"
#include "vnode.h"

enum { SPARE_READERS = 3, DEFAULT_THREADS = 10, DEFAULT_CHECKPOINT_S = 60, DETACH_WAIT_MS = 2000 };

struct worker {
    struct stm_fs *fs;
    unsigned number;
    pthread_t thread;
    _Atomic bool gone;
    struct fuse_buf buf;
};

struct stm_fs *stm_fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

struct stm_caller stm_caller_of(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    const struct stm_current *c = stm_current();

    return (struct stm_caller){.uid = ctx->uid,
                               .gid = ctx->gid,
                               .pid = (uint32_t)ctx->pid,
                               .umask = ctx->umask & 0777,
                               .unique = c->unique,
                               .uncached = c->uncached};
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

/* ---- the workers ---- */

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

/*
 * What was in flight in several daemons that crashed is not run again; what was in one is run alone, so that the next crash tells which it
 * was. Answered, it is beyond suspicion.
 */
static void process_watched(struct stm_fs *fs, struct worker *w)
{
    struct stm_handover *h = fs->opt.handover;
    const struct stm_current c = *stm_current();
    unsigned suspicion = stm_handover_suspicion(h, c.unique);

    if (suspicion >= STM_HANDOVER_FATAL) {
        stm_fs_log(fs, STM_FS_ERROR, "request_refused", "opcode=%u node=%#llx crashes=%u consequence=\"answered EIO\"", c.opcode,
                   (unsigned long long)c.node, suspicion);
        stm_connection_refuse(fs, c.unique, c.opcode);
        stm_handover_acquit(h, c.unique);
        return;
    }
    if (suspicion > 0)
        pthread_mutex_lock(&fs->suspects_lock);
    stm_handover_enter(h, w->number, c.unique, c.opcode, c.node);
    fuse_session_process_buf(fs->session, &w->buf);
    stm_handover_leave(h, w->number);
    if (suspicion > 0) {
        stm_handover_acquit(h, c.unique);
        pthread_mutex_unlock(&fs->suspects_lock);
    }
}

/*
 * Where a daemon is killed while the kernel copies a request to it, a page of the buffer that is not there yet seems to make the kernel
 * answer EIO, and not ask again: so the pages are there from the start. libfuse makes the buffer itself where there is none.
 */
static void buffer_in_memory(struct worker *w)
{
    enum { SIZE = (1 << 20) + 65536 }; /* max_write (ops.c), and more than libfuse adds */

    w->buf.mem = aligned_alloc(4096, SIZE);
    if (w->buf.mem)
        memset(w->buf.mem, 0, SIZE);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct stm_fs *fs = w->fs;
    sigset_t set;
    int n = 0;

    if (fs->opt.handover)
        buffer_in_memory(w);
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
        stm_current()->uncached = atomic_load(&fs->applies) > 0;
        if (fs->opt.handover)
            process_watched(fs, w);
        else
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
    int err = stm_remains_new(fs);

    if (err == 0)
        err = stm_files_new(fs);
    if (err == 0)
        err = stm_orphans_new(fs);
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
    if (fs->opt.handover && fs->opt.max_threads > STM_HANDOVER_WORKERS)
        fs->opt.max_threads = STM_HANDOVER_WORKERS;
    if (fs->opt.checkpoint_s == 0)
        fs->opt.checkpoint_s = DEFAULT_CHECKPOINT_S;
    pthread_mutex_init(&fs->apply_lock, NULL);
    pthread_mutex_init(&fs->run_lock, NULL);
    pthread_mutex_init(&fs->park_lock, NULL);
    pthread_mutex_init(&fs->suspects_lock, NULL);
    pthread_cond_init(&fs->park_cond, NULL);
    pthread_cond_init(&fs->run_cond, NULL);
    /* Numbers of an earlier daemon are not given again in any time that matters. */
    atomic_store(&fs->next_handle, ((uint64_t)stm_store_now_ns(store) / 1000000 << 20) | 1);
    err = opt->fsname && !(fs->fsname = strdup(opt->fsname)) ? -ENOMEM : 0;
    if (err == 0)
        err = make_parts(fs);
    if (err == 0 && fs->opt.handover && stm_handover_begun(fs->opt.handover))
        err = stm_takeover(fs);
    if (err == 0)
        err = stm_session_new(
            &(struct stm_session_setup){.opt = &fs->opt, .fsname = fs->fsname, .ops = &stm_ops, .size = sizeof stm_ops, .userdata = fs},
            &fs->session);
    if (err < 0) {
        (void)stm_fs_free(fs);
        return err;
    }
    *ret = fs;
    return 0;
}

/*
 * Waits for the end of the connection, a stop, or to be told to hand over. For a stop, then detaches and gives what is open a moment to be
 * closed.
 */
static void wait_for_end(struct stm_fs *fs)
{
    struct timespec until;
    bool detached = false;
    int err = 0;

    pthread_mutex_lock(&fs->run_lock);
    while (!fs->ended && !fs->stopping && !fs->handing_over)
        pthread_cond_wait(&fs->run_cond, &fs->run_lock);
    if (fs->handing_over)
        fs->handing_over = !fs->ended && !fs->stopping;
    if (!fs->ended && !fs->handing_over) {
        pthread_mutex_unlock(&fs->run_lock);
        stm_connection_detach(fs->mountpoint);
        detached = fs->detached = true;
        pthread_mutex_lock(&fs->run_lock);
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until = stm_timespec(stm_nanoseconds(until) + DETACH_WAIT_MS * INT64_C(1000000));
    while (detached && !fs->ended && err == 0)
        err = pthread_cond_clockwait(&fs->run_cond, &fs->run_lock, CLOCK_MONOTONIC, &until);
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
    int64_t now = stm_monotonic_ns();
    (void)arg;

    stm_files_each(fs, seal_if_old, &now);
    pthread_mutex_lock(&fs->run_lock);
    bool over = fs->stopping || fs->ended || fs->handing_over;
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
    fs->served = true;
    stm_takeover_tell(fs);
    while (err == 0 && n < fs->opt.max_threads) {
        workers[n].fs = fs;
        workers[n].number = n;
        err = -pthread_create(&workers[n].thread, NULL, worker_main, &workers[n]);
        n += err == 0;
    }
    if (n > 0) {
        wait_for_end(fs);
        err = 0; /* fewer threads than wished will do */
    }
    atomic_store(&fs->mounted, fs->handing_over); /* then the kernel still has to hear what it must forget */
    release_parked(fs);
    for (unsigned i = 0; i < n; i++)
        stop_worker(&workers[i]);
    sigaction(SIGRTMIN, &old, NULL);
    free(workers);
    pthread_mutex_lock(&fs->run_lock);
    fs->ended = true;
    if (err == 0)
        err = fs->run_error;
    if (err == 0)
        err = fs->handing_over;
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

void stm_fs_hand_over(struct stm_fs *fs)
{
    pthread_mutex_lock(&fs->run_lock);
    fs->handing_over = true;
    pthread_cond_broadcast(&fs->run_cond);
    pthread_mutex_unlock(&fs->run_lock);
}

/* Saves what a writer left: its close will never come, or to the next daemon, which gets the draft. */
static void drain_one(struct stm_fs *fs, struct stm_file *f, void *arg)
{
    int *result = arg, err;

    stm_file_lock(f);
    if (stm_leaves(fs))
        err = stm_draft_spill(fs, f);
    else if (f->draft.replace)
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
    stm_connection_end(fs);
    stm_listings_free(fs);
    stm_files_free(fs);
    stm_orphans_free(fs);
    stm_vnodes_free(fs);
    stm_takeover_free(fs);
    stm_remains_free(fs);
    err = fs->opt.read_only ? 0 : stm_store_sync(fs->store);
    pthread_mutex_destroy(&fs->apply_lock);
    pthread_mutex_destroy(&fs->run_lock);
    pthread_mutex_destroy(&fs->park_lock);
    pthread_mutex_destroy(&fs->suspects_lock);
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
