/*
 * notify.c: the notify thread and its queue. What the kernel does not have (-ENOENT) needs no forgetting; any other failure means that the
 * mount is going away.
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

struct stm_notify {
    pthread_t thread;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t cond;
    struct job *first, **last;
    bool stop;
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
    struct stm_fs *fs = arg;
    struct stm_notify *q = fs->notify;

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

int stm_notify_new(struct stm_fs *fs)
{
    struct stm_notify *q = calloc(1, sizeof *q);

    if (!q)
        return -ENOMEM;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->cond, NULL);
    q->last = &q->first;
    fs->notify = q;
    int err = -pthread_create(&q->thread, NULL, notify_main, fs);
    if (err == 0)
        return 0;
    fs->notify = NULL;
    free(q);
    return err;
}

void stm_notify_free(struct stm_fs *fs)
{
    struct stm_notify *q = fs->notify;

    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_signal(&q->cond);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->cond);
    free(q);
    fs->notify = NULL;
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
    struct stm_notify *q = fs->notify;
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
