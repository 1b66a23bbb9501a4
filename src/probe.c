/* probe.c: does the mount answer? Asked from outside the daemon, by real system calls on it (daemon.h). */
#include "daemon.h"

#include "exit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { UNMOUNT_TIMEOUT_S = 10 };

struct attempt {
    const char *dir;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool finished;
    int err;
};

/* The attributes of the root, a name in it, and what the kernel never remembers: the state of the filesystem. */
static int try_mount(const char *dir)
{
    struct statvfs fs;
    struct stat st;
    char *name = NULL;
    int err = 0;

    if (asprintf(&name, "%s/.stemma", dir) < 0)
        return -ENOMEM;
    if (stat(dir, &st) < 0 || (lstat(name, &st) < 0 && errno != ENOENT) || statvfs(dir, &fs) < 0)
        err = -errno;
    free(name);
    return err;
}

static void *attempt_thread(void *arg)
{
    struct attempt *a = arg;
    int err = try_mount(a->dir);

    pthread_mutex_lock(&a->lock);
    a->err = err;
    a->finished = true;
    pthread_cond_signal(&a->done);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/*
 * On a thread, since a mount that does not answer holds whoever asks; then the attempt is left behind, and ends with the process.
 */
static int try_in_time(const char *dir)
{
    struct attempt *a = calloc(1, sizeof(*a));
    struct timespec until;
    pthread_t thread;
    int err;

    if (a == NULL)
        return -ENOMEM;
    *a = (struct attempt){.dir = dir, .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    err = -pthread_create(&thread, NULL, attempt_thread, a);
    if (err < 0) {
        free(a);
        return err;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STM_PROBE_TIMEOUT_S;
    pthread_mutex_lock(&a->lock);
    while (!a->finished && err == 0)
        err = -pthread_cond_clockwait(&a->done, &a->lock, CLOCK_MONOTONIC, &until);
    err = a->finished ? a->err : -ETIMEDOUT;
    pthread_mutex_unlock(&a->lock);
    if (err == -ETIMEDOUT)
        return err;
    pthread_join(thread, NULL);
    free(a);
    return err;
}

int stm_probe(int fd, const char *dir)
{
    unsigned char word[2];
    ssize_t n = read(fd, word, 1);
    int err;

    if (n == 1 && word[0] == 'E') /* it has said why, and gives its exit code */
        return read(fd, word, 1) == 1 ? word[0] : STM_EXIT_FAILED;
    if (n != 1)
        return -EPIPE;
    err = try_in_time(dir);
    if (err < 0)
        fprintf(stderr, "stemma: %s was mounted, but does not answer: %s\n", dir, strerror(-err));
    (void)!write(fd, err < 0 ? "F" : "R", 1);
    if (err < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = UNMOUNT_TIMEOUT_S}, sizeof(struct timeval));
    /* Until the daemon has let go of our terminal, or has unmounted again. */
    n = read(fd, word, 1);
    return err < 0 ? STM_EXIT_FAILED : n == 1 && word[0] == 'K' ? STM_EXIT_OK : -EPIPE;
}

void stm_probe_watch(int fd, const char *dir, int interval_ms)
{
    struct pollfd daemon = {.fd = fd, .events = POLLIN};

    while (poll(&daemon, 1, interval_ms) == 0) {
        if (try_in_time(dir) == 0)
            (void)!write(fd, "W", 1);
    }
}
