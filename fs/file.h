/*
 * file.h: the live state of objects that somebody has open: how many handles, and the draft that all writers share (DESIGN §3). The
 * table is as large as what is open, never as what is stored.
 *
 *     struct stm_file *f = stm_file_pin(fs, object, STM_PIN_MAKE);
 *     stm_file_lock(f);
 *     err = stm_draft_write(fs, f, off, buf, len);
 *     stm_file_unlock(f);
 *     stm_file_unpin(fs, f);
 *
 * Invariants: (1) a file is in the table while it is pinned, has a handle, or remembers a bump; (2) what a draft's fields say at stm_file_unlock is
 * recorded for a successor (remains.h), before any answer; (3) `pending` is set only while the object's newest version is one that this draft made and nobody has seen.
 * Thread-safety: pins and counts by the table's locks; the draft by the file's own mutex. That one is long: it is held over store I/O
 * of a commit. Nobody replies or notifies under either. Order: file mutex, then table.
 */
#ifndef STEMMA_FILE_H
#define STEMMA_FILE_H

#include "inner.h"
#include "remains.h"
#include "stage.h"

struct stm_draft {
    struct stm_store *store;
    uint64_t id; /* its name in stage/ and in commits; 0: none yet */
    /* of the requests that change it, and how often it became dirty: so that a successor can tell what it has (takeover.c) */
    uint64_t asker; /* who changes it now */
    uint64_t first, last;
    uint32_t period;
    /* content */
    bool loaded; /* data holds what readers must see */
    bool dirty;  /* and it differs from what is committed */
    bool has_base;
    struct stm_stage data;
    struct stm_version base; /* below a large draft */
    uint32_t mode;           /* when loaded; permission bits kept up to date */
    bool privileged;         /* set-id bits or a capability may have to go at the next write */
    int64_t mtime_ns, ctime_ns;
    /* life */
    bool born;            /* made by CREATE; no version yet */
    bool flushed;         /* somebody closed a handle since */
    bool cut;             /* the content became empty by truncation */
    bool unlinked;        /* nothing of it need be stored any more */
    bool pending, hollow; /* hollow: the pending version is empty by truncation */
    uint64_t line, seq;   /* of the pending version */
    int64_t flushed_ns;   /* monotonic: last commit */
    struct stm_replace *replace;
    uint32_t uid, gid, pid; /* who wrote last: the author of the version; the kernel does not tell at release */
};

struct stm_file {
    struct stm_file *next; /* in its shard */
    uint64_t object;       /* immutable */
    /* guarded by the shard's lock */
    unsigned pins, readers, writers;
    bool orphan; /* to be purged with the last handle */
    bool bump_set;
    enum stm_bump bump;
    /* the draft and its mutex */
    pthread_mutex_t mutex;
    struct stm_draft draft;
    struct stm_draft_slot *slot; /* where its state is recorded; NULL: no successor, or nothing to record yet */
    _Atomic bool active;         /* there is or was a writer: the draft must be asked */
};

STM_MUST_CHECK int stm_files_new(struct stm_fs *fs);
void stm_files_free(struct stm_fs *fs);

enum stm_pin { STM_PIN_FIND, STM_PIN_MAKE };
/* NULL: not there (FIND), no memory (MAKE). */
struct stm_file *stm_file_pin(struct stm_fs *fs, uint64_t object, enum stm_pin how);
/* NULL is fine. */
void stm_file_unpin(struct stm_fs *fs, struct stm_file *f);
void stm_file_lock(struct stm_file *f);
void stm_file_unlock(struct stm_file *f);
/* Handles: the file must be pinned. close tells whether it was the last writer, and the last handle of an orphan. */
void stm_file_opened(struct stm_fs *fs, struct stm_file *f, bool writer);
void stm_file_closed(struct stm_fs *fs, struct stm_file *f, bool writer, bool *ret_last_writer, bool *ret_purge);
/* A read-only handle, in one step. */
STM_MUST_CHECK int stm_file_open_reader(struct stm_fs *fs, uint64_t object);
bool stm_file_is_open(struct stm_fs *fs, uint64_t object);
/* The same, but also when an earlier daemon may have opened it: handles for reading are not handed over. */
bool stm_file_may_be_open(struct stm_fs *fs, uint64_t object);
unsigned stm_file_writers(struct stm_fs *fs, struct stm_file *f);
/* The object has no name any more: purge it with the last handle, or when the kernel forgets it. False: nobody has it open. */
bool stm_file_orphan(struct stm_fs *fs, uint64_t object);
/* It has a name again. */
void stm_file_adopt(struct stm_fs *fs, struct stm_file *f);
/* Changes when a draft of this or a neighbouring object is committed. */
uint64_t stm_file_epoch(struct stm_fs *fs, uint64_t object);
void stm_file_epoch_advance(struct stm_fs *fs, uint64_t object);
/* The next version's bump, as asked for by xattr. take: forget it. */
STM_MUST_CHECK int stm_bump_set(struct stm_fs *fs, uint64_t object, enum stm_bump bump);
enum stm_bump stm_bump_get(struct stm_fs *fs, uint64_t object, bool take);
/* Calls each file that has or had a writer, pinned and unlocked. */
void stm_files_each(struct stm_fs *fs, void (*each)(struct stm_fs *fs, struct stm_file *f, void *arg), void *arg);
void stm_files_count(struct stm_fs *fs, struct stm_fs_stats *ret);

/* draft.c; all with the file locked. */
/* Makes the draft ready to be written: reads what is below. cut: start from nothing instead. */
STM_MUST_CHECK int stm_draft_load(struct stm_fs *fs, struct stm_file *f, bool cut);
STM_MUST_CHECK int stm_draft_write(struct stm_fs *fs, struct stm_file *f, uint64_t off, const void *buf, size_t len);
STM_MUST_CHECK int stm_draft_truncate(struct stm_fs *fs, struct stm_file *f, uint64_t size);
STM_MUST_CHECK int stm_draft_zero(struct stm_fs *fs, struct stm_file *f, uint64_t off, uint64_t len);
/* Does the draft, not the store, have the bytes? */
bool stm_draft_shows(const struct stm_file *f);
/* The caller is the one who writes. */
static inline void stm_draft_author(struct stm_file *f, const struct stm_caller *who)
{
    f->draft.asker = stm_unique(who->unique);
    f->draft.uid = who->uid;
    f->draft.gid = who->gid;
    f->draft.pid = who->pid;
}
/* Takes the set-id bits and security.capability off an object that is being written, if it has any. */
STM_MUST_CHECK int stm_draft_unprivilege(struct stm_fs *fs, struct stm_file *f, const struct stm_caller *who);
/* Commits changed bytes, if any, as the pending version. final: also an empty new file. replace drafts are left alone (open.c). */
struct stm_draft_commit {
    uint64_t unique; /* of the request that asks for it, if one does */
    bool sync, final;
};
STM_MUST_CHECK int stm_draft_commit(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how);
/* The same, and what is in no version, since the file has no name, goes on with the next daemon: to the stage file. */
STM_MUST_CHECK int stm_draft_flush(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how);
/* Commits for a nameless object; ret: the object that lost its name. */
STM_MUST_CHECK int stm_draft_replace(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how, uint64_t *ret_replaced);
/* Gives a nameless object its first name, by name, with what was written so far as its version: one commit. -ENOENT: it is to replace another. */
STM_MUST_CHECK int stm_draft_name(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_commit *how,
                                  int (*name)(struct stm_txn *txn, void *arg), void *arg);
/* Goes on with what an earlier daemon staged: reads the file, checks the base. -EIO: its base is not there any more. */
STM_MUST_CHECK int stm_draft_recover(struct stm_fs *fs, struct stm_file *f, const struct stm_draft_state *state);
/* For a planned successor: dirty bytes that lie in memory go to a file, and no file is removed at the end. */
STM_MUST_CHECK int stm_draft_spill(struct stm_fs *fs, struct stm_file *f);
/* Drops bytes that are committed, so that the next reader asks the store. Nothing happens to a dirty one. */
void stm_draft_forget(struct stm_file *f);
void stm_draft_release(struct stm_draft *d);

#endif
