/*
 * daemon.h: the life of a mount: from a checked request to mount until the process that serves it has ended. It forks before any
 * thread exists, and returns when the root answers. What a request of the kernel does is fs/'s business; what may be mounted where is
 * cmd_mount.c's.
 *
 * Phases of the daemon, and what each may still fail with:
 *
 *     open the store -> make the filesystem, the socket -> mount -> serve -> the prober's word: ready -> (signal or unmount)
 *     -> stop taking requests -> save and sync -> close the store -> tell those who wait -> end
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
};

/* Background: 0 when the mount works, else an exit code; the daemon has printed why. Foreground: returns when it has ended. */
int stm_daemon_start(const struct stm_daemon *d);

/* The prober (probe.c): waits for 'M' on fd, tries the mount, answers 'R' or 'F'. Returns the daemon's exit code if it gave up before. */
int stm_probe(int fd, const char *dir);

/* After that, for a service manager's watchdog: tries again and again, and sends 'W' when the mount answered; until fd is closed. */
void stm_probe_watch(int fd, const char *dir, int interval_ms);

enum { STM_PROBE_TIMEOUT_S = 30 };

#endif
