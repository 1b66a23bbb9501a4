/*
 * tree_inner.h: steps that tree.c and rename.c share. Each changes one object or entry within a transaction.
 * Thread-safety: as tree.h.
 */
#ifndef STEMMA_TREE_INNER_H
#define STEMMA_TREE_INNER_H

#include "inner.h"

enum { STM_LINK_MAX = 65000 }; /* names of an object, subdirectories of a directory */

/* A directory that entries may be made in: -ENOTDIR, -ENOENT when it was removed. */
STM_MUST_CHECK int stm_parent_load(struct stm_txn *t, uint64_t parent, struct stm_object *ret);
/* Counts entries and subdirectories up or down, moves its times, and puts it. */
STM_MUST_CHECK int stm_parent_change(struct stm_txn *t, struct stm_object *parent, int entries, int subdirs);
/* One name less; purges or orphans an object without history that has none left. Puts it. */
STM_MUST_CHECK int stm_object_unname(struct stm_txn *t, struct stm_object *o, bool keep);
/* Puts the object whose waiting line another has taken; one that was there for that alone is deleted. */
STM_MUST_CHECK int stm_waiting_done(struct stm_txn *t, const struct stm_object *old);
/* The directory itself goes: -ENOTEMPTY, else puts it with no links. */
STM_MUST_CHECK int stm_dir_remove(struct stm_txn *t, struct stm_object *o);

#endif
