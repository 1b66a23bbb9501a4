/*
 * layout.h (internal): the files around the engine: the marker that tells what the directory is, the lock, the stage.
 * Thread-safety: used by open and close only.
 */
#ifndef STEMMA_LAYOUT_H
#define STEMMA_LAYOUT_H

#include "stemma/store.h"

enum { STM_STORE_FORMAT = 1 };

/* Every function: on failure *ret_why may get a malloc'd sentence. */

/* A fresh directory for a store: made, or found empty. -EEXIST: a store is there; -ENOTEMPTY. */
STM_MUST_CHECK int stm_layout_create(const char *path, char **ret_why);
/* Takes back a store that could not be completed: everything in a directory that was empty. */
void stm_layout_undo(const char *path);
/* The marker that makes the directory a store; written last. */
STM_MUST_CHECK int stm_layout_mark(const char *path, char **ret_why);
/* -ENOENT, STM_E_NOT_A_STORE, STM_E_NEWER_FORMAT. */
STM_MUST_CHECK int stm_layout_check(const char *path, char **ret_why);
/* Takes the lock (shared for reading) and writes the pid; gives its descriptor. STM_E_LOCKED names the holder. */
STM_MUST_CHECK int stm_layout_lock(const char *path, bool shared, int *ret_fd, char **ret_why);
/*
 * Removes the temporary files that RocksDB leaves behind where its options cannot be written out (one at each open), and, when root works on
 * the store of another user, gives the files in db/ to that user. As far as it goes: nothing depends on it.
 */
void stm_layout_tidy(const char *path);
/* Removes what an earlier process left in the stage; keep_drafts: but for what somebody is still writing. */
STM_MUST_CHECK int stm_layout_sweep_stage(const char *stage, bool keep_drafts);

#endif
