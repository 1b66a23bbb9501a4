/*
 * task.c: the task threads. Requests that are asked again have one of their own: their senders may hold locks of directories for which a task
 * on the other, that waits for the kernel, is waiting. The list of tasks is short (what waits, and one timer), so it is searched from the front.
 */
#include <stdlib.h>
#include <time.h>

#include "task.h"

struct item {
    struct item *next;
    struct stm_task task;
    int64_t due_ns; /* CLOCK_MONOTONIC */
};

struct lane {
    struct stm_fs *fs;
    pthread_t thread;
    bool started;         /* by the creator alone */
    pthread_mutex_t lock; /* guards first, stop */
    pthread_cond_t cond;
    struct item *first;
    bool stop;
    _Atomic unsigned waiting; /* items with an object */
};

enum { LANE_SHORT, LANE_LONG, LANES };

struct stm_tasks {
    struct lane lanes[LANES];
};

/* Unlinks the item that is due first, if any is due (or all are, at the end); else tells when. */
static struct item *take_due(struct lane *t, int64_t *ret_due_ns)
{
    struct item **best = NULL;

    for (struct item **p = &t->first; *p; p = &(*p)->next) {
        if (!best || (*p)->due_ns < (*best)->due_ns)
            best = p;
    }
    if (!best)
        return NULL;
    *ret_due_ns = (*best)->due_ns;
    if (!t->stop && (*best)->due_ns > stm_monotonic_ns())
        return NULL;
    struct item *i = *best;
    *best = i->next;
    if (i->task.object)
        atomic_fetch_sub(&t->waiting, 1);
    return i;
}

static void *task_main(void *arg)
{
    struct lane *t = arg;
    struct stm_fs *fs = t->fs;

    pthread_mutex_lock(&t->lock);
    for (;;) {
        int64_t due_ns = INT64_MAX;
        struct item *i = take_due(t, &due_ns);
        if (i) {
            pthread_mutex_unlock(&t->lock);
            i->task.run(fs, i->task.arg);
            free(i);
            pthread_mutex_lock(&t->lock);
        } else if (t->stop) {
            break;
        } else if (due_ns == INT64_MAX) {
            pthread_cond_wait(&t->cond, &t->lock);
        } else {
            struct timespec ts = stm_timespec(due_ns);
            pthread_cond_timedwait(&t->cond, &t->lock, &ts);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static int lane_start(struct stm_fs *fs, struct lane *t)
{
    pthread_condattr_t attr;

    t->fs = fs;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->cond, &attr);
    pthread_condattr_destroy(&attr);
    int err = -pthread_create(&t->thread, NULL, task_main, t);
    t->started = err == 0;
    return err;
}

static void lane_stop(struct lane *t)
{
    if (!t->started)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->cond);
}

int stm_tasks_new(struct stm_fs *fs)
{
    int err = 0;

    fs->tasks = calloc(1, sizeof *fs->tasks);
    if (!fs->tasks)
        return -ENOMEM;
    for (int i = 0; err == 0 && i < LANES; i++)
        err = lane_start(fs, &fs->tasks->lanes[i]);
    return err; /* stm_tasks_free stops what runs */
}

void stm_tasks_free(struct stm_fs *fs)
{
    if (!fs->tasks)
        return;
    for (int i = 0; i < LANES; i++)
        lane_stop(&fs->tasks->lanes[i]);
    free(fs->tasks);
    fs->tasks = NULL;
}

int stm_task_post(struct stm_fs *fs, const struct stm_task *task)
{
    struct lane *t = &fs->tasks->lanes[task->waits ? LANE_LONG : LANE_SHORT];
    struct item *i = malloc(sizeof *i);

    if (!i)
        return -ENOMEM;
    *i = (struct item){.task = *task, .due_ns = stm_monotonic_ns() + task->delay_ns};
    pthread_mutex_lock(&t->lock);
    if (task->object)
        atomic_fetch_add(&t->waiting, 1);
    i->next = t->first;
    t->first = i;
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

void stm_task_wake(struct stm_fs *fs, uint64_t object)
{
    struct lane *t = &fs->tasks->lanes[LANE_SHORT];

    if (atomic_load(&t->waiting) == 0)
        return;
    pthread_mutex_lock(&t->lock);
    for (struct item *i = t->first; i; i = i->next) {
        if (i->task.object == object)
            i->due_ns = 0;
    }
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
}

static void run_again(struct stm_fs *fs, void *arg)
{
    struct stm_again *a = arg;
    struct stm_flight flight = stm_flight_begin(fs);

    if (atomic_load(&fs->applies) > 0)
        a->who.uncached = true;
    a->again(a);
    stm_flight_end(flight);
    free(a);
}

int stm_again_post(struct stm_fs *fs, uint64_t object, const struct stm_again *a)
{
    struct stm_again *copy = malloc(sizeof *copy);

    if (!copy)
        return -ENOMEM;
    *copy = *a;
    copy->waited = true;
    int err = stm_task_post(
        fs, &(struct stm_task){.run = run_again, .arg = copy, .object = object, .delay_ns = STM_OBSERVE_WAIT_MS * INT64_C(1000000)});
    if (err < 0)
        free(copy);
    return err;
}
