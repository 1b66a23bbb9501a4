/*
 * object.h: objects (inodes): attributes, extended attributes, symlink targets.
 *
 * Invariants: (1) ctime_ns strictly increases with every change of an object; (2) link count of a directory is 2 + its
 * subdirectories; (3) an object whose nlink is 0 is in no directory, but its record stays while history needs it;
 * (4) size of a regular file is the size of the version at head_seq, 0 when there is none.
 * Thread-safety: readers any thread; mutators within their build call.
 */
#ifndef STEMMA_OBJECT_H
#define STEMMA_OBJECT_H

#include "stemma/hash.h"
#include "stemma/semver.h"
#include "stemma/view.h"

enum stm_object_flags {
    STM_OBJ_XATTR = 1,     /* has extended attributes (else readers need not look) */
    STM_OBJ_NOHISTORY = 2, /* born under a junk name: keeps one version only, leaves nothing behind */
    STM_OBJ_LINE_GONE = 4, /* its line was taken over by another object at line_until */
    STM_OBJ_ORPHAN = 8,    /* nlink 0 and to be purged when its last handle closes (swept at open) */
    STM_OBJ_HOLES = 16,    /* has, or once had, a content with holes (else readers need not look how much of the size is data) */
    STM_OBJ_KEEPER = 32    /* never had a name: carries the line that waits where a file was renamed to a junk name */
};

/* The newest version of an object's line, so that saving need not read it. */
struct stm_tip {
    uint64_t seq; /* 0: the line has no version yet */
    uint32_t ordinal;
    struct stm_semver semver;
    uint64_t size;
    struct stm_hash hash;
};

struct stm_object {
    uint64_t id;
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t uid, gid, nlink, flags;
    uint64_t rdev; /* device nodes, as st_rdev */
    uint64_t size; /* regular: content; symlink: target; directory: entries * 32 */
    uint64_t data; /* what of the size is not in holes of the content; not stored here */
    int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
    /* directories */
    uint64_t parent, entries;
    /* regular files */
    uint64_t line, line_since, line_until; /* carries `line` in commits [since, until); until STM_SEQ_HEAD: still */
    uint64_t floor_seq;                    /* versions of the line older than this were never this object's content */
    uint64_t head_seq;                     /* the version that is its content; 0: empty, no version */
    struct stm_tip tip;
};

/* -ENOENT when there is none. In an as-of view, size and mtime of a regular file are that moment's, and the mode has the
 * bits that it had both then and now. */
STM_MUST_CHECK int stm_object_get(const struct stm_view *v, uint64_t id, struct stm_object *ret);
/* A symlink's target (no terminating zero counted, one follows). -EINVAL: not a symlink. */
STM_MUST_CHECK int stm_object_target(const struct stm_view *v, uint64_t id, struct stm_buf *ret);

enum stm_set { STM_SET_MODE = 1, STM_SET_UID = 2, STM_SET_GID = 4, STM_SET_ATIME = 8, STM_SET_MTIME = 16, STM_SET_FLAGS = 32 };
struct stm_setattr {
    unsigned valid; /* of enum stm_set */
    uint32_t mode;  /* permission bits only (07777) */
    uint32_t uid, gid;
    int64_t atime_ns, mtime_ns;
    uint32_t flags_set, flags_clear;
};
/* Sets what valid names; always advances ctime. ret may be NULL. */
STM_MUST_CHECK int stm_object_set(struct stm_txn *txn, uint64_t id, const struct stm_setattr *set, struct stm_object *ret);

/* Calls each object that is an orphan now; stops at the first non-zero result and returns it. */
STM_MUST_CHECK int stm_orphans_each(struct stm_store *s, int (*each)(void *arg, uint64_t object), void *arg);

/* Extended attributes of the head. Names are full ("user.x"), 1..255 bytes; values up to 64 KiB. -ENODATA when not there. */
STM_MUST_CHECK int stm_xattr_get(const struct stm_view *v, uint64_t id, struct stm_slice name, struct stm_buf *ret);
/* Appends each name with its terminating zero to ret, in byte order. */
STM_MUST_CHECK int stm_xattr_list(const struct stm_view *v, uint64_t id, struct stm_buf *ret);
/* flags: XATTR_CREATE, XATTR_REPLACE of <sys/xattr.h>. -EEXIST, -ENODATA, -E2BIG, -ERANGE for a bad name. */
STM_MUST_CHECK int stm_xattr_set(struct stm_txn *txn, uint64_t id, struct stm_slice name, struct stm_slice value, int flags);
STM_MUST_CHECK int stm_xattr_remove(struct stm_txn *txn, uint64_t id, struct stm_slice name);

/* Forgets an orphan (STM_OBJ_ORPHAN) with its versions; nothing to do (0) when it is none. */
STM_MUST_CHECK int stm_object_purge(struct stm_txn *txn, uint64_t id);

#endif
