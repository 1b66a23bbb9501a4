/*
 * remains.h: keeping account of what a successor must know (stemma_fs/remains.h): handles that are open for writing, and the state of drafts. The
 * same account is kept where there will be no successor: it says which handles are valid.
 *
 *     err = stm_handle_new(fs, object, who.unique, &fh);    before the OPEN is answered
 *     err = stm_handle_use(fs, fh, object, who.unique);     at each WRITE, FLUSH, FSYNC through it
 *     stm_handle_drop(fs, fh);                              when its RELEASE has had its effect
 *
 * Not here: what a draft is (file.h), and what a successor makes of all this (takeover.c).
 * Thread-safety: handles are internally locked (a leaf); a draft's slot is guarded by its file's mutex.
 */
#ifndef STEMMA_FS_REMAINS_H
#define STEMMA_FS_REMAINS_H

#include "inner.h"
#include "stemma_fs/remains.h"

struct stm_file;

STM_MUST_CHECK int stm_remains_new(struct stm_fs *fs);
void stm_remains_free(struct stm_fs *fs);
/* Will there be a successor, so that drafts must be recorded? */
static inline bool stm_is_kept(const struct stm_fs *fs)
{
    return fs->opt.handover != NULL;
}
/* A daemon that has not come to serve yet, and perhaps never will, must not touch what is recorded. */
static inline bool stm_only_looks(const struct stm_fs *fs)
{
    return fs->done && !fs->served;
}
/* Is all that is recorded for the next daemon? To be asked when the workers have ended. */
static inline bool stm_leaves(const struct stm_fs *fs)
{
    return fs->handing_over || stm_only_looks(fs);
}
static inline bool stm_was_asked_before(uint64_t unique)
{
    return unique >> 63;
}
static inline uint64_t stm_unique(uint64_t unique)
{
    return unique & INT64_MAX;
}

/* A new handle's number. -ENFILE: all records are taken. */
STM_MUST_CHECK int stm_handle_new(struct stm_fs *fs, uint64_t object, uint64_t unique, uint64_t *ret_fh);
/* -EIO: it is not known, or its draft was lost, but for a request that can do again all that was lost. */
STM_MUST_CHECK int stm_handle_use(struct stm_fs *fs, uint64_t fh, uint64_t object, uint64_t unique);
/* Was something lost that was written through a handle which is still open? */
bool stm_handle_is_lost(struct stm_fs *fs, uint64_t object);
void stm_handle_drop(struct stm_fs *fs, uint64_t fh);
/* The handle that this OPEN or CREATE has made already, before an earlier daemon died; NULL. */
struct stm_handle *stm_handle_of_request(struct stm_fs *fs, uint64_t object, uint64_t unique);
struct stm_handle *stm_handle_of(struct stm_fs *fs, uint64_t fh);
/* Calls each handle that is open. For the start of a daemon, when nobody else is at work. */
void stm_handles_each(struct stm_fs *fs, void (*each)(struct stm_fs *fs, struct stm_handle *h, void *arg), void *arg);

/* Gives the file a slot if it needs one and has none. -ENFILE. File locked. */
STM_MUST_CHECK int stm_slot_take(struct stm_fs *fs, struct stm_file *f);
void stm_slot_give(struct stm_fs *fs, struct stm_draft_slot *slot);
/* Records the draft's state as it is now. File locked. */
void stm_slot_publish(struct stm_file *f);
static inline const struct stm_draft_state *stm_slot_state(const struct stm_draft_slot *s)
{
    return &s->copy[atomic_load_explicit(&s->which, memory_order_acquire) & 1];
}
struct stm_replace *stm_slot_replace(struct stm_fs *fs, const struct stm_draft_slot *s);

#endif
