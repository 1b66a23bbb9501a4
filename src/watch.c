/*
 * watch.c: does the daemon answer? (supervisor.h) A child process asks, since who asks a daemon that hangs hangs himself. It is told when to ask,
 * so that it never does while no daemon runs: then its question would keep the mount busy.
 */
#include "process.h"
#include "supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUSY_TICKS = 5 }; /* between two looks: it computes */

struct stm_watch {
    pid_t pid;
    int fd, interval_ms, limit_ms;
    bool asked;
    int64_t next_ms;
    struct stm_stuck stuck; /* while a question is open */
};

int stm_watch_run(int fd, const char *dir)
{
    struct statvfs fs;
    char word;

    while (read(fd, &word, 1) == 1) {
        word = statvfs(dir, &fs) == 0 ? 'W' : 'F';
        if (write(fd, &word, 1) != 1)
            break;
    }
    return 0;
}

/* A program of its own, so that it holds nothing that a supervisor holds, and is not taken for one. */
static void exec_child(int fd, const char *dir)
{
    char number[16];
    char *args[] = {(char[]){"stemma"}, (char[]){"watch"}, (char *)dir, number, NULL};

    snprintf(number, sizeof(number), "%d", fd);
    stm_process_inherit(fd);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv("/proc/self/exe", args);
    _exit(127);
}

struct stm_watch *stm_watch_new(const char *dir, int interval_ms, int limit_ms)
{
    struct stm_watch *w = calloc(1, sizeof(*w));
    int fds[2];

    if (w == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        free(w);
        return NULL;
    }
    *w = (struct stm_watch){.fd = fds[0], .interval_ms = interval_ms, .limit_ms = limit_ms, .pid = fork()};
    if (w->pid == 0)
        exec_child(fds[1], dir);
    close(fds[1]);
    if (w->pid < 0) {
        close(fds[0]);
        free(w);
        return NULL;
    }
    return w;
}

int stm_watch_fd(const struct stm_watch *w)
{
    return w->fd;
}

int stm_watch_due(const struct stm_watch *w, int64_t now_ms)
{
    int64_t at = w->asked ? w->stuck.looked_ms + STM_STUCK_LOOK_MS : w->next_ms;

    return at <= now_ms ? 0 : at - now_ms > w->interval_ms ? w->interval_ms : (int)(at - now_ms);
}

void stm_watch_reset(struct stm_watch *w, int64_t now_ms)
{
    stm_stuck_reset(&w->stuck, now_ms);
    w->next_ms = now_ms + w->interval_ms;
}

/* ---- is it busy? ---- */

/* A stat file of /proc from the letter of the state on, behind the name; empty when there is none. */
static const char *read_stat(int at, const char *path, char *text, size_t size)
{
    int fd = openat(at, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    char *end;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end + 2 : "";
}

/* A thread waits for the disk or for a processor, or a debugger holds it. */
static bool waits(int pid)
{
    char path[64], text[512];
    const struct dirent *e;
    bool found = false;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    d = opendir(path);
    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof(path), "%.20s/stat", e->d_name);
        found = e->d_name[0] != '.' && strchr("DRt", *read_stat(dirfd(d), path, text, sizeof(text))) != NULL && *text != '\0';
    }
    if (d != NULL)
        closedir(d);
    return found;
}

/* Its time on a processor, in clock ticks. */
static unsigned long ticks_of(int pid)
{
    unsigned long user = 0, system = 0;
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (sscanf(read_stat(AT_FDCWD, path, text, sizeof(text)), "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return user + system;
}

void stm_stuck_reset(struct stm_stuck *s, int64_t now_ms)
{
    s->ms = 0;
    s->looked_ms = now_ms;
}

int64_t stm_stuck_look(struct stm_stuck *s, int pid, int64_t now_ms)
{
    unsigned long ticks;

    if (now_ms - s->looked_ms < STM_STUCK_LOOK_MS)
        return s->ms;
    /* What passed while this process itself did not run counts as one look. */
    ticks = ticks_of(pid);
    s->ms = waits(pid) || ticks >= s->ticks + BUSY_TICKS ? 0 : s->ms + STM_STUCK_LOOK_MS;
    s->ticks = ticks;
    s->looked_ms = now_ms;
    return s->ms;
}

/* ---- does it answer? ---- */

static bool take_answer(struct stm_watch *w)
{
    char word;
    bool good = false;

    while (recv(w->fd, &word, 1, MSG_DONTWAIT) == 1) {
        good = good || word == 'W';
        w->asked = false;
    }
    return good;
}

enum stm_watch_state stm_watch_tick(struct stm_watch *w, int daemon_pid, int64_t now_ms)
{
    if (w->asked && take_answer(w)) {
        stm_watch_reset(w, now_ms);
        return STM_WATCH_ANSWERED;
    }
    if (!w->asked) {
        if (now_ms >= w->next_ms) {
            w->asked = send(w->fd, "?", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
            stm_watch_reset(w, now_ms);
        }
        return STM_WATCH_NOTHING;
    }
    return stm_stuck_look(&w->stuck, daemon_pid, now_ms) >= w->limit_ms && w->limit_ms > 0 ? STM_WATCH_HANGS : STM_WATCH_NOTHING;
}

void stm_watch_free(struct stm_watch *w)
{
    if (w == NULL)
        return;
    close(w->fd);
    (void)kill(w->pid, SIGKILL);
    (void)waitpid(w->pid, NULL, WNOHANG); /* it may be held by a mount that does not answer: who is left collects it */
    free(w);
}
