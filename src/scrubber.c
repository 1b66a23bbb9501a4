/* scrubber.c: see scrubber.h. What a step reads and what it does about damage is the store's business. */
#include "scrubber.h"

#include "log.h"

#include "stemma/fsck.h"
#include "stemma/health.h"
#include "stemma_fs/fs.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 100,
    IDLE_MS = 30000, /* between two looks whether a pass is due */
    TICKS_A_SECOND = 1000 / TICK_MS,
    YIELD_TICKS = 20,     /* requests may keep it from reading for so many ticks in a row */
    SAVE_TICKS = 600,     /* how often it writes down where it is */
    NICE = 10,            /* of the thread */
    IDLE_CLASS = 3 << 13, /* ioprio_set(2): only when nobody else wants the disk */
    BUSY = 5              /* requests in a tick */
};
#define PAUSE_NS (INT64_C(86400) * 1000000000)

struct stm_scrubber {
    struct stm_store *store;
    struct stm_fs *fs;
    unsigned mib_s;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* guarded by lock */
    bool stopping;
    struct stm_scrubber_status status;
    /* the thread's own */
    struct stm_scrub scrub;
    uint64_t requests;
    int yielded, unsaved;
};

/* Waits; false when it is time to end. */
static bool wait_ms(struct stm_scrubber *s, int ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    while (!s->stopping && pthread_cond_clockwait(&s->wake, &s->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

/* Requests come first, but not for ever. */
static bool gives_way(struct stm_scrubber *s)
{
    struct stm_fs_stats stats;

    stm_fs_stats(s->fs, &stats);
    bool busy = stats.requests - s->requests > BUSY;
    s->requests = stats.requests;
    s->yielded = busy && s->yielded < YIELD_TICKS ? s->yielded + 1 : 0;
    return s->yielded > 0;
}

static void log_finding(void *arg, const struct stm_finding *f)
{
    (void)arg;
    stm_log(STM_FS_ERROR, "scrub_found", "code=%s record=\"%s\" what=\"%s\" consequence=\"%s\" remedy=\"%s\"", f->code, f->record, f->what,
            f->consequence, f->remedy);
}

static void publish(struct stm_scrubber *s, bool running)
{
    const struct stm_scrub *c = &s->scrub;

    pthread_mutex_lock(&s->lock);
    s->status = (struct stm_scrubber_status){.running = running,
                                             .mib_s = s->mib_s,
                                             .bytes = c->bytes,
                                             .findings = c->bytes > 0 ? c->findings : c->last_findings,
                                             .healed = c->healed,
                                             .passes = c->passes,
                                             .completed_ns = c->completed_ns};
    pthread_mutex_unlock(&s->lock);
}

static void save(struct stm_scrubber *s)
{
    if (stm_store_failing(s->store) == 0)
        (void)!stm_scrub_save(s->store, &s->scrub); /* it begins a little earlier then */
    s->unsaved = 0;
}

/* Is it time to read? Between passes it is not, unless the clock went back. */
static bool is_due(const struct stm_scrubber *s)
{
    int64_t since = stm_store_now_ns(s->store) - s->scrub.completed_ns;

    return !s->scrub.loaded || s->scrub.bytes > 0 || s->scrub.completed_ns == 0 || since < 0 || since > PAUSE_NS;
}

static void read_on(struct stm_scrubber *s)
{
    size_t budget = ((size_t)s->mib_s << 20) / TICKS_A_SECOND;
    int64_t n = 0;

    if (!s->scrub.loaded) { /* where it was, before it is decided whether there is anything to do */
        n = stm_scrub_step(s->store, &s->scrub, 0, log_finding, NULL);
        publish(s, is_due(s));
        return;
    }
    n = stm_scrub_step(s->store, &s->scrub, budget, log_finding, NULL);
    if (++s->unsaved >= SAVE_TICKS)
        save(s);
    publish(s, n > 0);
}

static void *run(void *arg)
{
    struct stm_scrubber *s = arg;
    pid_t tid = (pid_t)syscall(SYS_gettid);

    (void)setpriority(PRIO_PROCESS, (id_t)tid, NICE);
    (void)syscall(SYS_ioprio_set, 1, 0, IDLE_CLASS);
    while (wait_ms(s, is_due(s) ? TICK_MS : IDLE_MS)) {
        if (is_due(s) && !gives_way(s))
            read_on(s);
    }
    save(s);
    return NULL;
}

int stm_scrubber_new(struct stm_store *store, struct stm_fs *fs, unsigned mib_s, struct stm_scrubber **ret)
{
    struct stm_scrubber *s;

    *ret = NULL;
    if (mib_s == 0)
        return 0;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->store = store;
    s->fs = fs;
    s->mib_s = mib_s;
    s->status.mib_s = mib_s;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    int err = -pthread_create(&s->thread, NULL, run, s);
    if (err < 0) {
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        free(s);
        return err;
    }
    *ret = s;
    return 0;
}

void stm_scrubber_free(struct stm_scrubber *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    stm_scrub_release(&s->scrub);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void stm_scrubber_status(struct stm_scrubber *s, struct stm_scrubber_status *ret)
{
    *ret = (struct stm_scrubber_status){.mib_s = 0};
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    *ret = s->status;
    pthread_mutex_unlock(&s->lock);
}
