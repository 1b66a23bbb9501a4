/*
 * notify.c: the notify threads and their queues. What the kernel does not have (-ENOENT) needs no forgetting; any other failure means that the
 * mount is going away.
 *
 * There are two, because forgetting an entry takes the lock of its directory, which the sender of a request holds until it is answered. A rename
 * that waits here for attributes to be forgotten must not stand behind an entry of the same directory. Attributes and pages need no
 * lock of a directory.
 */
#include <stdlib.h>

#include "notify.h"

struct job {
    struct job *next;
    void (*done)(void *arg);
    void *arg;
    size_t n;
    struct stm_inval *list; /* names lie behind it */
};

struct lane {
    struct stm_fs *fs;
    pthread_t thread;
    bool started;         /* by the creator alone */
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t cond;
    struct job *first, **last;
    bool stop;
};

enum { LANE_ENTRIES, LANE_INODES, LANES };

struct stm_notify {
    struct lane lanes[LANES];
};

static void send_one(struct stm_fs *fs, const struct stm_inval *i)
{
    if (i->kind == STM_INVAL_ENTRY)
        (void)fuse_lowlevel_notify_inval_entry(fs->session, i->ino, i->name.data, i->name.len);
    else
        (void)fuse_lowlevel_notify_inval_inode(fs->session, i->ino, i->kind == STM_INVAL_ATTR ? -1 : 0, 0);
    atomic_fetch_add_explicit(&fs->invalidations, 1, memory_order_relaxed);
}

static void *notify_main(void *arg)
{
    struct lane *q = arg;
    struct stm_fs *fs = q->fs;

    pthread_mutex_lock(&q->lock);
    while (q->first || !q->stop) {
        struct job *j = q->first;
        if (!j) {
            pthread_cond_wait(&q->cond, &q->lock);
            continue;
        }
        q->first = j->next;
        if (!q->first)
            q->last = &q->first;
        pthread_mutex_unlock(&q->lock);
        for (size_t i = 0; i < j->n && atomic_load(&fs->mounted); i++)
            send_one(fs, &j->list[i]);
        if (j->done)
            j->done(j->arg);
        free(j);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static int lane_start(struct stm_fs *fs, struct lane *q)
{
    q->fs = fs;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->cond, NULL);
    q->last = &q->first;
    int err = -pthread_create(&q->thread, NULL, notify_main, q);
    q->started = err == 0;
    return err;
}

static void lane_stop(struct lane *q)
{
    if (!q->started)
        return;
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_signal(&q->cond);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->cond);
}

int stm_notify_new(struct stm_fs *fs)
{
    int err = 0;

    fs->notify = calloc(1, sizeof *fs->notify);
    if (!fs->notify)
        return -ENOMEM;
    for (int i = 0; err == 0 && i < LANES; i++)
        err = lane_start(fs, &fs->notify->lanes[i]);
    return err; /* stm_notify_free stops what runs */
}

void stm_notify_free(struct stm_fs *fs)
{
    if (!fs->notify)
        return;
    for (int i = 0; i < LANES; i++)
        lane_stop(&fs->notify->lanes[i]);
    free(fs->notify);
    fs->notify = NULL;
}

static struct lane *lane_for(struct stm_fs *fs, const struct stm_inval *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].kind == STM_INVAL_ENTRY)
            return &fs->notify->lanes[LANE_ENTRIES];
    }
    return &fs->notify->lanes[LANE_INODES];
}

static struct job *job_new(const struct stm_inval *list, size_t n)
{
    size_t bytes = sizeof(struct job) + n * sizeof *list;

    for (size_t i = 0; i < n; i++)
        bytes += list[i].name.len + 1;
    struct job *j = malloc(bytes);
    if (!j)
        return NULL;
    *j = (struct job){.n = n, .list = (struct stm_inval *)(j + 1)};
    char *names = (char *)(j->list + n);
    for (size_t i = 0; i < n; i++) {
        j->list[i] = list[i];
        if (list[i].name.len > 0)
            memcpy(names, list[i].name.data, list[i].name.len);
        names[list[i].name.len] = 0;
        j->list[i].name.data = names;
        names += list[i].name.len + 1;
    }
    return j;
}

int stm_notify_post(struct stm_fs *fs, const struct stm_inval *list, size_t n, void (*done)(void *arg), void *arg)
{
    struct lane *q = lane_for(fs, list, n);
    struct job *j = job_new(list, n);

    if (!j)
        return -ENOMEM;
    j->done = done;
    j->arg = arg;
    pthread_mutex_lock(&q->lock);
    *q->last = j;
    q->last = &j->next;
    pthread_cond_signal(&q->cond);
    pthread_mutex_unlock(&q->lock);
    return 0;
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done; /* guarded by lock */
};

static void wake(void *arg)
{
    struct waiter *w = arg;

    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

int stm_notify_wait(struct stm_fs *fs, const struct stm_inval *list, size_t n)
{
    struct waiter w = {.done = false};
    int err;

    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.cond, NULL);
    err = stm_notify_post(fs, list, n, wake, &w);
    pthread_mutex_lock(&w.lock);
    while (err == 0 && !w.done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.cond);
    return err;
}
