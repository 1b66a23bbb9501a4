/*
 * supervisor.h: the process that lets a mount outlive its daemons. It makes the mount, holds the kernel's connection and the memory that its
 * daemons share (stemma_fs/handover.h), and starts one daemon after the other:
 *
 *     mount -> start a daemon -> it ended
 *                 ^              | unmounted, or never ready at the first start: quit
 *                 |              | it hands over (stemma upgrade): start the next binary; the old one again if that does not come to serve
 *                 +--- resend ---+ died: start another, after a pause if they die one after the other
 *
 * What a dead daemon had taken is asked for again by the kernel (FUSE_NOTIFY_RESEND); meanwhile requests queue. Where the kernel cannot, a
 * death ends the mount as it would without a supervisor. A supervisor that is killed is replaced by the daemon (daemon.c), and then
 * watches a process that is not its child.
 *
 * One thread, no filesystem code, no store. SIGTERM, SIGINT and SIGHUP are passed to the daemon, which unmounts.
 * Thread-safety: for a process with one thread.
 */
#ifndef STEMMA_SUPERVISOR_H
#define STEMMA_SUPERVISOR_H

#include "daemon.h"

/* The whole life; d->connection < 0: makes the mount, else goes on with one. Returns the exit code. */
int stm_supervise(const struct stm_daemon *d);

/* ---- when to start the next one (restart.c) ---- */

/* What became of a daemon. */
struct stm_end {
    bool spoke;      /* it left by its own word */
    bool own_fault;  /* crashed: not killed from outside */
    bool served;     /* it came to serve requests */
    int64_t life_ms; /* how long it ran */
};
/* What a supervisor remembers of those before. Zero: none. */
struct stm_restarts {
    unsigned quick;     /* that ended soon after their start, one after the other */
    unsigned idle;      /* that did not come to serve, one after the other */
    int64_t idle_since; /* ms: when the first of those ended */
};
/* How long to wait, in ms, before the next start; -1: no more, none will ever serve. now_ms: any monotonic clock. */
int stm_restart_pause(struct stm_restarts *r, const struct stm_end *e, int64_t now_ms);

/* ---- does it answer? (watch.c) ---- */

/* For how long has a process that does not answer neither computed nor waited for the disk or a processor, nor been held by a debugger? */
struct stm_stuck {
    int64_t ms, looked_ms;
    unsigned long ticks;
};
enum { STM_STUCK_LOOK_MS = 1000 };
void stm_stuck_reset(struct stm_stuck *s, int64_t now_ms);
/* Looks at it once in STM_STUCK_LOOK_MS, however often it is called; returns that time. */
int64_t stm_stuck_look(struct stm_stuck *s, int pid, int64_t now_ms);

struct stm_watch;
/* A child process asks the mount at dir now and then; NULL when it cannot be started. limit_ms: without an answer for so long, the daemon hangs. */
struct stm_watch *stm_watch_new(const char *dir, int interval_ms, int limit_ms);
/* The child: answers each byte on fd when the mount has answered it; until fd is closed. Returns its exit code. */
int stm_watch_run(int fd, const char *dir);
/* Readable when it has an answer. */
int stm_watch_fd(const struct stm_watch *w);
/* ms until stm_watch_tick is due. */
int stm_watch_due(const struct stm_watch *w, int64_t now_ms);
/* A new daemon serves: whatever was measured before does not count. */
void stm_watch_reset(struct stm_watch *w, int64_t now_ms);
enum stm_watch_state { STM_WATCH_NOTHING, STM_WATCH_ANSWERED, STM_WATCH_HANGS };
/* Looks, and asks if it is time. A daemon that computes, waits for the disk, or is being debugged, does not hang. */
enum stm_watch_state stm_watch_tick(struct stm_watch *w, int daemon_pid, int64_t now_ms);
void stm_watch_free(struct stm_watch *w);

#endif
