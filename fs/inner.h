/*
 * inner.h: the state of a mounted filesystem, and what the files of fs/ share. Nothing here is for anyone outside fs/.
 *
 * Threads: workers read requests and answer them; the notify threads tell the kernel what to forget (notify.h); the task threads do what
 * must wait for them or for time to pass (task.h). Workers never wait for any of these.
 */
#ifndef STEMMA_FS_INNER_H
#define STEMMA_FS_INNER_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

#include "nodeid.h"
#include "stemma/tree.h"
#include "stemma/version.h"
#include "stemma_fs/fs.h"

enum {
    STM_FRESH_SLOTS = 65536, /* objects whose own line nobody has seen yet, direct-mapped */
    STM_OBSERVE_WAIT_MS = 20 /* how long an observer waits for a writer that has just emptied a file */
};
#define STM_TIMEOUT_S 86400.0 /* the kernel may keep it: this daemon is the only writer, and tells it what changes otherwise */

struct stm_files;
struct stm_vnodes;
struct stm_notify;
struct stm_tasks;
struct stm_listings;
struct stm_account;
struct stm_done;
struct stm_orphans;
struct stm_remains;

enum { STM_DAMAGED = 64 };

struct stm_fs {
    /* immutable after stm_fs_mount */
    struct stm_store *store;
    struct stm_fs_options opt;
    char *fsname, *mountpoint;
    struct fuse_session *session;
    /* own locks */
    struct stm_files *files;
    struct stm_vnodes *vnodes;
    struct stm_notify *notify;
    struct stm_tasks *tasks;
    struct stm_listings *listings;
    struct stm_account *account;
    struct stm_orphans *orphans;
    /* what outlives this daemon (remains.h), and what an earlier one left (takeover.h); immutable after stm_fs_new, but for their content */
    struct stm_remains *remains;
    struct stm_done *done;    /* NULL: no earlier daemon */
    uint64_t inherited_below; /* objects that an earlier daemon may have given handles of; 0: none */
    /* stm_fs_apply (apply.c) */
    pthread_mutex_t apply_lock; /* one at a time; held while it waits: never take it in a worker */
    _Atomic unsigned applies;   /* a change that the kernel did not make is under way */
    _Atomic unsigned phase;
    _Atomic unsigned in_flight[2]; /* requests being answered, by phase */
    /* the loop (fs.c) */
    pthread_mutex_t run_lock; /* guards stopping, ended, handing_over */
    pthread_cond_t run_cond;
    bool stopping, ended, handing_over;
    bool served;   /* stm_fs_run was called */
    bool detached; /* stm_fs_run's and stm_fs_free's alone */
    int run_error;
    pthread_mutex_t park_lock; /* guards unpark; closing is set under it */
    pthread_cond_t park_cond;
    unsigned unpark; /* parked workers that may go on */
    _Atomic bool closing;
    _Atomic unsigned reading; /* workers that wait for a request, or are about to */
    _Atomic unsigned parked;
    pthread_mutex_t suspects_lock; /* held while a request runs that may have crashed a daemon */
    /* the connection (connection.c) */
    _Atomic uint64_t init_unique; /* request id of INIT while its answer is awaited; 0: none */
    bool killpriv;                /* of the thread that handles INIT, as the next three */
    bool replaying, adopted;
    int replayed; /* 1: the INIT of an earlier daemon was answered as it was then */
    _Atomic bool mounted;
    /* atomic */
    _Atomic uint64_t requests, errors, invalidations, draft_bytes;
    _Atomic uint64_t damaged[STM_DAMAGED]; /* nodes that were logged as damaged last, by number modulo: one line each, not one a request */
    _Atomic uint64_t next_handle;
    _Atomic uint64_t fresh[STM_FRESH_SLOTS];
};

/* Who asks: copied, so that another thread may go on with the request. */
struct stm_caller {
    uint32_t uid, gid, pid;
    uint32_t umask;  /* of a request that makes something, with -o acl; else the kernel has applied it */
    uint64_t unique; /* the kernel's id of the request: bit 63 says that it was asked before */
    bool uncached;   /* the answer must not be cached: a change that the kernel did not make began before it */
};

/* connection.c */
/* The request that this thread works on, as its read function saw it. */
struct stm_current {
    uint64_t unique, node;
    uint32_t opcode;
    bool uncached;
};
struct stm_current *stm_current(void);
struct stm_session_setup {
    const struct stm_fs_options *opt;
    const char *fsname;
    const struct fuse_lowlevel_ops *ops;
    size_t size;
    void *userdata;
};
STM_MUST_CHECK int stm_session_new(const struct stm_session_setup *s, struct fuse_session **ret);
/* Unmounts, unless the mount is the supervisor's, and frees the session. */
void stm_connection_end(struct stm_fs *fs);
/* Answers EIO past libfuse, if that request is answered at all. */
void stm_connection_refuse(struct stm_fs *fs, uint64_t unique, uint32_t opcode);

/* fs.c */
struct stm_fs *stm_fs_of(fuse_req_t req);
struct stm_caller stm_caller_of(fuse_req_t req);
/* Around everything that reads the store and answers with timeouts (apply.c waits for it). */
struct stm_flight {
    struct stm_fs *fs;
    unsigned phase;
};
struct stm_flight stm_flight_begin(struct stm_fs *fs);
void stm_flight_end(struct stm_flight f);
void stm_fs_log(struct stm_fs *fs, enum stm_fs_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A number for handles and drafts, not 0, different after each start. */
uint64_t stm_new_handle(struct stm_fs *fs);

/* ops.c */
extern const struct fuse_lowlevel_ops stm_ops;

/* times.c */
struct timespec stm_timespec(int64_t ns);
int64_t stm_nanoseconds(struct timespec ts);
int64_t stm_now(struct stm_fs *fs);

/* reply.c: the only place where store errors become errnos, and where success is told to the kernel. Each answers exactly once. */
int stm_errno_of(int err);
void stm_reply_err(fuse_req_t req, int err); /* 0, or negative as the store returns */
/* For errors worth a line in the log (damage, I/O): also writes it. */
void stm_reply_fail(fuse_req_t req, const char *op, uint64_t ino, int err);

struct stm_attr {
    struct stat st;
    double timeout;
};
struct stm_found {
    struct fuse_entry_param e;
    uint64_t vnode; /* interned node that was counted for this answer; 0: none */
};
void stm_reply_found(fuse_req_t req, const struct stm_found *f);
void stm_reply_attr(fuse_req_t req, const struct stm_attr *a);
/* Success, after the kernel has obeyed (the list is copied; empty: at once). */
struct stm_inval;
void stm_reply_after(fuse_req_t req, const struct stm_inval *list, size_t n);

/*
 * commit.c: the one way in which requests change the store. Where an earlier daemon did the MAIN step of a request that is asked again, build
 * does not run: object is what it is now, `again` is set, and whatever else build would have filled in is as it was.
 */
enum stm_step {
    STM_STEP_OTHER, /* may be done twice */
    STM_STEP_MAIN,  /* what the request asks for */
    STM_STEP_DRAFT  /* a draft becomes a version */
};
struct stm_act {
    struct stm_caller who;
    bool sync, pressing; /* as in stm_change */
    enum stm_step step;
    uint64_t draft; /* DRAFT: which, and which of its periods of being dirty ends (file.h) */
    uint32_t period;
    /* What the request is answered from: filled by build, afresh on each run. */
    struct stm_object object;
    uint64_t seq; /* of the commit; set when it succeeded */
    bool again;
};
STM_MUST_CHECK int stm_act_commit(struct stm_fs *fs, struct stm_act *act, int (*build)(struct stm_txn *txn, void *arg), void *arg);
/* 1: an earlier daemon did it, and act is filled in; 0: nobody did. For who must know before looking at what the request has changed. */
STM_MUST_CHECK int stm_act_done(struct stm_fs *fs, struct stm_act *act);
/* The MAIN step of a request. */
struct stm_act stm_act_of(fuse_req_t req);

/* make.c: the build function for a new object; its argument: */
struct stm_making {
    struct stm_fs *fs;
    struct stm_act act; /* object: what was made */
    uint64_t parent;    /* its directory */
    bool nameless;      /* it gets no entry yet; name is only asked whether it is junk */
    struct stm_slice name;
    struct stm_new n;
};
STM_MUST_CHECK int stm_build_make(struct stm_txn *txn, void *making);
/* takeover.c: what an earlier daemon of this mount left */
STM_MUST_CHECK int stm_takeover(struct stm_fs *fs);
/* Tells the kernel what it must forget of it. When the connection is there, before the workers are. */
void stm_takeover_tell(struct stm_fs *fs);
void stm_takeover_free(struct stm_fs *fs);
/* Was this step of a request, which is asked again, done before? Its seq. */
bool stm_done_before(const struct stm_fs *fs, uint64_t unique, enum stm_step step, uint64_t *ret_seq);
/* orphan.c: objects without a name; some are purged when the kernel forgets them, since nobody else knows who has them open. */
STM_MUST_CHECK int stm_orphans_new(struct stm_fs *fs);
void stm_orphans_free(struct stm_fs *fs);
/* held: a file is pinned until then, for its draft is all there is of the content. -ENOMEM. */
STM_MUST_CHECK int stm_orphan_wait(struct stm_fs *fs, uint64_t object, bool held);
void stm_orphan_forgotten(struct stm_fs *fs, uint64_t object);
void stm_purge(struct stm_fs *fs, const struct stm_caller *who, uint64_t object);
/* Names went from this object, by unlink, rename or replacement: settles its draft and what is to be purged when it is closed. */
void stm_unnamed(struct stm_fs *fs, const struct stm_caller *who, uint64_t object);

/* attr.c */
STM_MUST_CHECK int stm_attr_get(struct stm_fs *fs, const struct stm_caller *who, uint64_t ino, struct stm_attr *ret);
/* Of an object at the head, as stored: no draft is looked at. */
void stm_attr_stored(const struct stm_object *o, struct stm_attr *ret);
/* epoch: stm_file_epoch from before o was read. Adds what a draft knows; timeout 0 where something moved meanwhile. */
STM_MUST_CHECK int stm_attr_object(struct stm_fs *fs, const struct stm_object *o, uint64_t epoch, struct stm_attr *ret);
STM_MUST_CHECK int stm_attr_version(struct stm_fs *fs, uint64_t line, uint32_t ordinal, struct stm_attr *ret);
STM_MUST_CHECK int stm_attr_view(struct stm_fs *fs, uint32_t view, const struct stm_object *o, struct stm_attr *ret);
void stm_do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void stm_do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
/* The invalidations that an owner, mode or ACL change of a line's object calls for (to pass to notify.h); 0 when the kernel cannot have any. */
STM_MUST_CHECK int stm_past_attrs(struct stm_fs *fs, const struct stm_object *o, struct stm_inval **ret_list, size_t *ret_n);

/* lookup.c */
STM_MUST_CHECK int stm_found_entry(struct stm_fs *fs, const struct stm_caller *who, uint64_t ino, struct stm_found *ret);
void stm_found_object(struct stm_fs *fs, const struct stm_caller *who, const struct stm_object *o, struct stm_found *ret);
void stm_do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
bool stm_name_is_root_entry(uint64_t parent, const char *name); /* ".stemma" in the root */
/* The directory object that an operation changes: -EROFS for views and virtual directories, -ESTALE for strange numbers. */
STM_MUST_CHECK int stm_head_object(uint64_t ino, uint64_t *ret_object);

/* selector.c: `base@text` in a directory of the head */
struct stm_pick {
    struct stm_fs *fs;
    struct stm_caller who;
    uint64_t parent; /* directory object */
    const char *name;
    bool waited; /* the caller has waited for a writer already */
    struct stm_slice base, text;
    struct stm_selector sel;
    struct stm_object object; /* of the base */
    bool removed;             /* the base is a removed name */
};
/* 1: wait for p->object and ask again. -ENOENT: the name means nothing. */
STM_MUST_CHECK int stm_pick_lookup(struct stm_pick *p, struct stm_found *ret);
/* Inside `word@/`, where the name is the selector's text alone: dir is that node's number, line whose versions it shows. */
STM_MUST_CHECK int stm_pick_in_versions(struct stm_pick *p, uint64_t dir, uint64_t line, struct stm_found *ret);
/* What making a name that no entry has means (DESIGN §2, CREATE). 1: a version, of p->object by p->sel; 0: a file of that name; -EINVAL, -EEXIST. */
STM_MUST_CHECK int stm_pick_create(struct stm_pick *p);
/* Would a look-up of the name, which no entry has, be answered by a selector? For EXDEV and EPERM. */
bool stm_pick_is_selector(struct stm_fs *fs, uint64_t parent, const char *name);

/* observe.c */
/* 0: what is pending of the object is a version now; 1: wait and ask again (never when waited). ret_hidden: the newest is not to be shown. */
STM_MUST_CHECK int stm_observe(struct stm_fs *fs, uint64_t object, bool waited, bool *ret_hidden);
STM_MUST_CHECK int stm_observe_all(struct stm_fs *fs);
/* The ordinal of the newest version that may be shown: -ENOENT if none. */
STM_MUST_CHECK int stm_visible_tip(const struct stm_object *o, bool hidden, uint32_t *ret_ordinal);
void stm_fresh_add(struct stm_fs *fs, uint64_t object);
void stm_fresh_drop(struct stm_fs *fs, uint64_t object);
bool stm_fresh_is(struct stm_fs *fs, uint64_t object);
void stm_seen_line(struct stm_fs *fs, uint64_t line);
void stm_seen_object(struct stm_fs *fs, uint32_t view, uint64_t object);
bool stm_was_seen(const _Atomic uint64_t *bits, uint64_t id);

/* dir.c */
void stm_do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void stm_do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void stm_do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void stm_do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void stm_do_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* link.c, rename.c */
void stm_do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void stm_do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void stm_do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void stm_do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void stm_do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void stm_do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void stm_do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned flags);
/* May the name be made or removed at all? -EPERM for what is refused or reserved. */
STM_MUST_CHECK int stm_name_allowed(uint64_t parent, const char *name);

/* open.c */
void stm_do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void stm_do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void stm_do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void stm_do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void stm_do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* read.c */
void stm_do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void stm_do_readlink(fuse_req_t req, fuse_ino_t ino);
/* Any regular node but virtual texts: bytes read. */
STM_MUST_CHECK int64_t stm_read_node(struct stm_fs *fs, uint64_t ino, uint64_t off, void *buf, size_t len);

/* extent.c */
void stm_do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
/* The first stretch of data at or after off, adjoining ones may follow; from = to = size: no more. Of any regular node. */
STM_MUST_CHECK int stm_node_extent(struct stm_fs *fs, uint64_t ino, uint64_t off, uint64_t *ret_from, uint64_t *ret_to);

/* write.c */
void stm_do_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi);
void stm_do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void stm_do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out,
                            off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags);

/* xattr.c */
void stm_do_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void stm_do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void stm_do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void stm_do_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* vxattr.c: the value of stemma.NAME (name without the prefix) of a version, as text. -ENODATA: no such name. */
struct stm_about {
    struct stm_fs *fs;
    const struct stm_version *v;
    uint64_t line;
    uint32_t n; /* how many versions may be shown */
};
STM_MUST_CHECK int stm_version_attribute(const struct stm_about *a, const char *name, struct stm_buf *ret);
/* text.c: `word@/log` (people) and `word@/log.jsonl` (programs) of the first n versions of a line. */
STM_MUST_CHECK int stm_log_text(struct stm_fs *fs, uint64_t line, uint32_t n, struct stm_buf *ret);
STM_MUST_CHECK int stm_log_jsonl(struct stm_fs *fs, uint64_t line, uint32_t n, struct stm_buf *ret);
/* "2026-11-20T10:15:00.123456789Z" and a zero; out has 40 bytes. */
void stm_time_text(int64_t ns, char *out);

#endif
