/*
 * process.h: the processes of a mount. `stemma mount` starts a supervisor, which holds the kernel's connection; the supervisor starts a daemon,
 * and another one when that dies or is replaced. Both are this program again, with arguments that only it gives (hidden commands), so that
 * they can be told apart and found by their command line:
 *
 *     stemma supervise STORE DIR OPTIONS MODE CONNECTION MEMORY PROBER
 *     stemma serve     STORE DIR OPTIONS MODE CONNECTION MEMORY PROBER
 *     stemma watch     DIR SOCKET                                       (watch.c)
 *
 * MODE is "foreground" or "background"; the last three are inherited descriptors or -1: the connection (/dev/fuse), the shared memory
 * (stemma_fs/handover.h), and the socket of the one who waits for the first daemon to be ready.
 *
 * Thread-safety: any thread; run is for a fresh process.
 */
#ifndef STEMMA_PROCESS_H
#define STEMMA_PROCESS_H

#include "daemon.h"

#include <sys/types.h>

enum { STM_PROCESS_ARGS = 10 };

/* The argument list of such a process, zero-terminated; the strings belong to it. -ENOMEM. */
STM_MUST_CHECK int stm_process_args(const char *role, const struct stm_daemon *d, char *ret[STM_PROCESS_ARGS + 1]);
void stm_process_args_free(char *args[STM_PROCESS_ARGS + 1]);
/* Is the word such a role? Then run is the whole life of this process; it returns its exit code. */
bool stm_process_is(const char *word);
int stm_process_run(int argc, char **argv);

/* In a fresh child that is about to exec: the descriptor stays open then. Nothing for -1. */
void stm_process_inherit(int fd);

/* The supervisor of a mounted store; 0 when there is none, or it may not be seen. Looks through /proc. */
pid_t stm_process_supervisor(const char *store);

#endif
