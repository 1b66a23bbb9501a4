/*
 * mounting.h: what `stemma mount` and mount.stemma share, and `stemma umount` and umount.stemma: the checks before, then the deed.
 * Thread-safety: call from a process with one thread.
 */
#ifndef STEMMA_MOUNTING_H
#define STEMMA_MOUNTING_H

#include "out.h"
#include "params.h"

/* Mounts the store `spec` (a directory, or "mem:") on dir: sentence and exit code on failure, the daemon's own included. */
int stm_mount_start(const char *spec, const char *dir, const struct stm_mount_options *o, bool foreground);

/* Detaches dir and waits until everything is safe and the daemon has ended. lazy: does not mind open files. */
int stm_umount(const char *dir, bool lazy, struct stm_out *out);

/* Who keeps a busy mount busy: appends "NAME (pid), NAME (pid)", at most 5. Finds nothing that it may not see. */
STM_MUST_CHECK int stm_mount_users(const char *dir, struct stm_buf *ret);

#endif
