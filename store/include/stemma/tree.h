/*
 * tree.h: directory entries: looking up, listing, making, removing, renaming; in every view.
 *
 * Rules of lines (DESIGN §3): a rename over a regular file moves the replaced file's line to the object that takes the name, with that
 * object's content as the next version. Unlinking leaves a tombstone; creating the name again makes a new object on the same line.
 * Errors are POSIX's: -ENOENT, -EEXIST, -ENOTDIR, -EISDIR, -ENOTEMPTY, -EINVAL (a directory into itself), -EMLINK, -ENAMETOOLONG,
 * STM_E_BAD_NAME. Permissions are not checked here.
 * Thread-safety: readers any thread; mutators within their build call.
 */
#ifndef STEMMA_TREE_H
#define STEMMA_TREE_H

#include "stemma/object.h"

struct stm_entry {
    uint64_t object;
    uint64_t seq;    /* since when the name has this object */
    uint32_t type;   /* S_IFMT bits */
    uint64_t cookie; /* stable place in the listing: > 127, < 2^63 */
    uint64_t until;  /* STM_SEQ_HEAD, or when it ended (history) */
    size_t name_len;
    char name[STM_NAME_MAX + 1]; /* zero-terminated */
};

STM_MUST_CHECK int stm_tree_lookup(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_entry *ret);
/* The object that had the name before it was unlinked, if its line still waits there (head views only); else -ENOENT. */
STM_MUST_CHECK int stm_tree_removed(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_entry *ret);
/* Walks a path ("/a/b", "a/b", "" is the root) without following symlinks. -ENOENT, -ENOTDIR. */
STM_MUST_CHECK int stm_tree_resolve(const struct stm_view *v, struct stm_slice path, uint64_t *ret_object);
/* The path of a directory or, given its parent and name, of any entry: appends "/a/b" to ret. */
STM_MUST_CHECK int stm_tree_path(const struct stm_view *v, uint64_t dir, struct stm_buf *ret);

/*
 * Lists from after cookie (0: from the start), in cookie order, as the directory was when opened. Cookies stay valid for ever,
 * whatever is created or removed meanwhile, also across restarts. "." and ".." are the caller's.
 */
struct stm_dir;
STM_MUST_CHECK int stm_dir_open(const struct stm_view *v, uint64_t parent, uint64_t cookie, struct stm_dir **ret);
/* 1 and an entry, 0 at the end, or an error. with_object: also reads the entry's object (may be NULL). */
STM_MUST_CHECK int stm_dir_next(struct stm_dir *d, struct stm_entry *ret, struct stm_object *ret_object);
void stm_dir_free(struct stm_dir *d);

struct stm_new {
    uint32_t mode; /* with type */
    uint32_t uid, gid;
    uint64_t rdev;
    struct stm_slice target;    /* symlinks */
    int64_t mtime_ns, atime_ns; /* 0: now */
};

/*
 * Makes any kind of object under the name; a setgid parent hands down its group, and setgid to directories. With parent 0 it makes a nameless
 * regular file (nlink 0, orphan) and name is only asked whether it is junk. A regular file starts empty, without a version.
 */
STM_MUST_CHECK int stm_tree_create(struct stm_txn *txn, uint64_t parent, struct stm_slice name, const struct stm_new *n,
                                   struct stm_object *ret);
/* Also gives an orphan a name again (a nameless file its first): then it goes on with a line that waits there, as if it were created. */
STM_MUST_CHECK int stm_tree_link(struct stm_txn *txn, uint64_t object, uint64_t parent, struct stm_slice name, struct stm_object *ret);
/* keep: a handle is open, so that what would be purged becomes an orphan. ret (may be NULL): the object after it. */
STM_MUST_CHECK int stm_tree_unlink(struct stm_txn *txn, uint64_t parent, struct stm_slice name, bool keep, struct stm_object *ret);
STM_MUST_CHECK int stm_tree_rmdir(struct stm_txn *txn, uint64_t parent, struct stm_slice name);

struct stm_rename {
    uint64_t from_parent, to_parent;
    struct stm_slice from, to;
    bool noreplace, exchange; /* RENAME_NOREPLACE, RENAME_EXCHANGE */
    bool drop_line;           /* the source's own line has one version that nobody observed: drop it when it takes over another */
    bool keep;                /* a handle is open on the replaced object */
    /* filled in (afresh on every build) */
    uint64_t moved, replaced; /* object ids; replaced 0 when nothing was */
    bool made_version;        /* the moved object got a version on the line it took over */
};
STM_MUST_CHECK int stm_tree_rename(struct stm_txn *txn, struct stm_rename *r);

/*
 * `cp new word@minor`: the nameless object (stm_tree_create with parent 0) takes the name `to` from the regular file that has it, and its
 * line, with the content just saved on the nameless object as next version; bump or exact as in stm_save. STM_E_VERSION_EXISTS.
 */
struct stm_save;
STM_MUST_CHECK int stm_tree_replace(struct stm_txn *txn, uint64_t nameless, uint64_t parent, struct stm_slice to,
                                    const struct stm_save *save, uint64_t *ret_replaced, struct stm_object *ret);

#endif
