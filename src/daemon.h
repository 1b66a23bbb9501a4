/*
 * daemon.h: the life of a mount: from a checked request to mount until the process that serves it has ended. What a request of the kernel
 * does is fs/'s business; what may be mounted where is cmd_mount.c's; what lets the mount outlive its daemon is supervisor.h's.
 *
 *     supervised:    command -> supervisor: mount -> daemon: open the store -> adopt the connection -> serve -> ...
 *     nosupervise:   command -> daemon: open the store -> mount -> serve -> ...
 *
 *     ... -> the prober's word: ready -> (signal, unmount, or hand-over) -> stop taking requests -> save and sync -> close the store
 *         -> tell those who wait -> end
 *
 * A daemon that takes over is ready as soon as it serves. One that finds its supervisor dead starts another.
 *
 * The prober is a process outside the daemon (the waiting command, or a child in the foreground case): only a real lookup through
 * the kernel shows that the mount works.
 *
 * Thread-safety: call it from a process with one thread.
 */
#ifndef STEMMA_DAEMON_H
#define STEMMA_DAEMON_H

#include "params.h"

struct stm_daemon {
    const char *store; /* absolute path, or "mem:" */
    const char *dir;   /* absolute path of the mount point */
    struct stm_mount_options options;
    bool foreground;
    /* Of a process that a supervisor is or has started (process.h); -1: none. */
    int connection, memory, prober;
};

/* Background: 0 when the mount works, else an exit code; the daemon has printed why. Foreground: returns when it has ended. */
int stm_daemon_start(const struct stm_daemon *d);
/* A daemon that a supervisor has started: the whole life of this process; returns its exit code. */
int stm_daemon_serve(const struct stm_daemon *d);
/* Says on stderr why a mount failed; returns the exit code. */
int stm_mount_error(const char *dir, int err);

/* The prober (probe.c): waits for 'M' on fd, tries the mount, answers 'R' or 'F'. Returns the daemon's exit code if it gave up before. */
int stm_probe(int fd, const char *dir);

/* After that, without a supervisor, for a service manager's watchdog: tries again and again, and sends 'W' when the mount answered; until
 * fd is closed. */
void stm_probe_watch(int fd, const char *dir, int interval_ms);

enum { STM_PROBE_TIMEOUT_S = 30 };

#endif
