/*
 * fs.h: a store as a mounted filesystem. This is all that src/ needs to know of fs/; it says nothing of libfuse.
 * It prints nothing, reads no arguments and never exits: what is worth telling goes to the log callback.
 *
 *     struct stm_fs *fs;
 *     err = stm_fs_new(store, &options, &fs);
 *     err = stm_fs_mount(fs, "/mnt");          // the kernel may send requests from now on
 *     err = stm_fs_run(fs);                    // serves them; returns when unmounted, or stopped from another thread
 *     err = stm_fs_free(fs);                   // saves what was being written, unmounts, syncs
 *     err = stm_store_close(store);
 *
 * Fork before stm_fs_new: it and stm_fs_run start threads.
 *
 * Thread-safety: stm_fs_stop, stm_fs_seal_object, stm_fs_apply and stm_fs_stats may be called by any thread between new and free; the others
 * by one thread in the order above.
 */
#ifndef STEMMA_FS_H
#define STEMMA_FS_H

#include "stemma/store.h"

struct stm_fs;
struct stm_handover;

enum stm_fs_level { STM_FS_ERROR, STM_FS_WARNING, STM_FS_INFO };

struct stm_fs_options {
    const char *fsname;    /* shown as the mount's source: the store's absolute path */
    bool allow_other;      /* users other than the daemon's may come in (their permissions are checked in any case) */
    bool read_only;        /* every change is EROFS */
    bool noexec;           /* no program can be run from the mount */
    bool acl;              /* POSIX ACLs are obeyed, inherited, and can be set */
    bool versions_listed;  /* directories list `word@vX.Y.Z` beside `word` */
    bool debug;            /* libfuse writes each request to stderr */
    unsigned max_threads;  /* workers; 0: 10 */
    unsigned checkpoint_s; /* an open file's flushed content becomes a version after so many seconds; 0: 60 */
    bool forgetful;        /* for a test's control: requests that are asked again run again */
    /* One event: a name and "key=value key=value" (values with spaces are quoted). Any thread; may be NULL. */
    void (*log)(void *arg, enum stm_fs_level level, const char *event, const char *fields);
    void *log_arg;
    /* Shared with the supervisor and with the daemons before and after this one (handover.h); NULL: it is the only one. Borrowed. */
    struct stm_handover *handover;
};

/* Copies the options. The store stays the caller's and must outlive the filesystem. 0, -ENOMEM, -EAGAIN (no thread). */
STM_MUST_CHECK int stm_fs_new(struct stm_store *store, const struct stm_fs_options *opt, struct stm_fs **ret);
/* Mounts on dir, which must be an existing directory. -errno of mount(2) as far as it is known; -EIO if only libfuse knows why. */
STM_MUST_CHECK int stm_fs_mount(struct stm_fs *fs, const char *dir);
/*
 * Instead, with opt.handover: serves a connection that was made elsewhere (stm_connection_mount) and mounted on dir, be it fresh or used by
 * an earlier daemon. It is duplicated, and never unmounted by stm_fs_free. -EPROTO: what this program would agree with the kernel is not
 * what was agreed. Call it before stm_fs_run.
 */
STM_MUST_CHECK int stm_fs_adopt(struct stm_fs *fs, int fd, const char *dir);
/*
 * Serves requests until the filesystem is unmounted (from outside), stm_fs_stop, or stm_fs_hand_over. 0; 1 when it is to be handed over; -errno
 * when the device failed.
 */
STM_MUST_CHECK int stm_fs_run(struct stm_fs *fs);
/* Makes stm_fs_run return soon. For a thread that waits for signals, not for a signal handler. May be called before stm_fs_run, and twice. */
void stm_fs_stop(struct stm_fs *fs);
/*
 * With opt.handover: makes stm_fs_run return 1 when the requests that were read are answered; the mount stays, and the kernel's next requests
 * wait for the daemon that adopts the connection. stm_fs_free then leaves drafts to it. From any thread.
 */
void stm_fs_hand_over(struct stm_fs *fs);
/*
 * After stm_fs_run: commits what was flushed or written and not yet saved, seals it, detaches the mount point if it still is mounted, syncs
 * the store and frees. NULL is fine. Returns the first error that lost something (already logged), else 0.
 */
int stm_fs_free(struct stm_fs *fs);

/*
 * An observer that does not come through the kernel. What is pending of the object becomes a version, as if somebody had looked (DESIGN §3): call this before
 * a command reads versions. May wait up to 20 ms for a file that a writer has just emptied. 0, or the error of a commit.
 */
STM_MUST_CHECK int stm_fs_seal_object(struct stm_fs *fs, uint64_t object);

/* What a change that the kernel did not make will touch. Give what applies: an entry (made, removed, replaced), an object, or both. */
struct stm_fs_affected {
    uint64_t parent;       /* directory object of the entry; 0: no entry */
    struct stm_slice name; /* of the entry */
    uint64_t object;       /* object whose content or attributes change, directories too; 0: none, or not known yet */
};

/*
 * Runs commit (any number of stm_update calls) so that no kernel cache keeps what it makes untrue: the affected entries and objects are marked
 * volatile, invalidated, commit runs, they are invalidated again and unmarked (DESIGN §1). An object that is being written is flushed
 * and sealed first. Meanwhile the kernel caches nothing that it is told, so keep commit short: one batch a call. Returns commit's result, or an
 * error before it ran. Do not call it from commit, nor while holding a lock that a request needs.
 */
STM_MUST_CHECK int stm_fs_apply(struct stm_fs *fs, const struct stm_fs_affected *list, size_t n, int (*commit)(void *arg), void *arg);

struct stm_fs_stats {
    uint64_t requests, errors;    /* since the start; errors: answers other than success and ENOENT */
    uint64_t drafts, draft_bytes; /* files being written, and what they hold in memory */
    uint64_t pending;             /* flushed contents that nobody has seen as a version yet */
    uint64_t virtual_nodes;       /* interned */
    uint64_t invalidations;       /* sent to the kernel */
    uint64_t open_handles;        /* files open for writing */
    bool mounted;
};
void stm_fs_stats(struct stm_fs *fs, struct stm_fs_stats *ret);

#endif
