/*
 * bulk.h: bringing many things into a store: a sink that importers feed, and the loader that stands behind it. The loader gathers what
 * it is given and commits it in batches; it makes no version of a file whose content is the newest already, so that importing twice
 * changes nothing. It does not read directories, dictionaries or repositories: src/import_*.c do. A sink may also be a stream to
 * another process.
 *
 *     struct stm_bulk *b;
 *     err = stm_bulk_new(store, &(struct stm_bulk_options){.target = "/dictionary/en"}, &b);
 *     struct stm_sink sink = stm_bulk_sink(b);
 *     err = sink.put(sink.arg, &(struct stm_bulk_item){.kind = STM_BULK_FILE, .path = stm_slice_str("word"), .source = &src});
 *     err = sink.finish(sink.arg, 0, &counts);
 *     stm_bulk_free(b);
 *
 * Invariants: (1) what was put is committed in the order of the puts, but removals first within a commit; a failure leaves a prefix of
 * the batches, never part of one; (2) what is put between begin and commit is one commit; (3) directories that a path needs are made
 * with mode 0755; (4) a directory never gives way to something else unless it is empty, and nothing but a directory ever becomes one:
 * -EISDIR, -ENOTDIR.
 * Thread-safety: one thread at a time per sink or loader.
 */
#ifndef STEMMA_BULK_H
#define STEMMA_BULK_H

#include "stemma/content.h"
#include "stemma/tree.h"

struct stm_bulk_xattr {
    struct stm_slice name, value;
};

/* Attributes to give. What `valid` (enum stm_set) leaves out is kept, or made up for what is new: 0755 or 0644, the loader's owner, now. */
struct stm_bulk_attr {
    unsigned valid; /* of STM_SET_MODE, UID, GID, ATIME, MTIME; atime is given to new things only, since reading a source changes it */
    uint32_t mode;  /* permission bits */
    uint32_t uid, gid;
    int64_t atime_ns, mtime_ns;
    const struct stm_bulk_xattr *xattrs; /* set where they differ; others are left alone */
    size_t xattr_count;
};

/* Stored in streams: never renumber. */
enum stm_bulk_kind {
    STM_BULK_DIR = 1,
    STM_BULK_FILE = 2,    /* source */
    STM_BULK_SYMLINK = 3, /* target */
    STM_BULK_SPECIAL = 4, /* type, rdev: fifos, sockets, devices */
    STM_BULK_LINK = 5,    /* target: the path (like `path`) of a thing put before */
    STM_BULK_REMOVE = 6   /* whatever is there but a directory; directories above it that the commit leaves empty go too */
};

/* All borrowed for the call. */
struct stm_bulk_item {
    enum stm_bulk_kind kind;
    struct stm_slice path; /* "a/b", relative to the loader's target; "" is the target itself (DIR only) */
    struct stm_bulk_attr attr;
    const struct stm_source *source; /* FILE; may be read anywhere, and twice */
    struct stm_slice target;
    uint32_t type; /* S_IFMT bits */
    uint64_t rdev;
};

/* A commit of the source's own. */
struct stm_bulk_commit {
    struct stm_slice id;          /* the source's name for it; remembered with the target. Not empty, at most 100 bytes */
    const char *author, *message; /* or NULL */
    int64_t effective_ns;         /* the author's date */
};

struct stm_bulk_counts {
    uint64_t files;     /* put */
    uint64_t versions;  /* made */
    uint64_t unchanged; /* files that had that content already */
    uint64_t others;    /* directories, symlinks, fifos, links made */
    uint64_t removed;
    uint64_t skipped; /* as the importer said at finish */
    uint64_t commits;
    uint64_t bytes; /* of the files put */
};

struct stm_sink {
    void *arg;
    /*
     * 0. Refused with nothing done, so that the importer may skip it and go on: STM_E_BAD_NAME, -ENAMETOOLONG (a name, or a symlink's
     * target). The error of source->read when that failed: the item is dropped. Any other error is final.
     */
    int (*put)(void *arg, const struct stm_bulk_item *item);
    /*
     * What follows until commit is one commit. 1: the target has it already (or it comes before the one that the target has), put
     * nothing; commit is to be called all the same.
     */
    int (*begin)(void *arg, const struct stm_bulk_commit *c);
    int (*commit)(void *arg);
    /* Commits the rest, makes it durable. -ESTALE: the commit that the target remembers never came, so nothing was done. */
    int (*finish)(void *arg, uint64_t skipped, struct stm_bulk_counts *ret);
    /* The path of the item at which the last call failed, as far as it is known; else "". Borrowed until the next call. */
    const char *(*where)(void *arg);
    const char *spool; /* a directory with room for contents that the importer must copy first, or NULL; lives as long as the sink */
};

/* What a batch is going to change: an entry that is there, an object (0: none), or both. Parent 0: no entry. */
struct stm_bulk_touched {
    uint64_t parent;
    struct stm_slice name;
    uint64_t object;
};

struct stm_bulk_options {
    const char *target; /* directory in the store, "/a/b"; made with those above it when the first batch needs it */
    uint32_t uid, gid, pid;
    const char *message;             /* of the loader's own batches, or NULL */
    size_t batch_items, batch_bytes; /* a batch is committed when it has so much; 0: 1,000 and 4 MiB */
    /*
     * Where the store is mounted: runs commit(commit_arg) between telling the kernel and telling it again, and returns its result.
     * NULL: the loader just commits.
     */
    int (*apply)(void *arg, const struct stm_bulk_touched *touched, size_t count, int (*commit)(void *commit_arg), void *commit_arg);
    void *apply_arg;
};

/* Would put refuse it? STM_E_BAD_NAME, -ENAMETOOLONG; -EINVAL for an item that makes no sense. */
STM_MUST_CHECK int stm_bulk_check(const struct stm_bulk_item *item);

struct stm_bulk;
/* Copies the options. -ENOTDIR when the target or something above it is no directory, STM_E_BAD_NAME, -ENAMETOOLONG. */
STM_MUST_CHECK int stm_bulk_new(struct stm_store *s, const struct stm_bulk_options *opt, struct stm_bulk **ret);
/* Drops what is not committed. NULL is fine. */
void stm_bulk_free(struct stm_bulk *b);
/* The loader as a sink; valid as long as the loader. */
struct stm_sink stm_bulk_sink(struct stm_bulk *b);

#endif
