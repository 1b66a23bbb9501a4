/*
 * bulk_batch.h (internal): one batch of the bulk loader: a list of things to do, kept so that a build can do them as often as it must, and
 * what doing them needs to find its way. bulk.c collects batches, bulk_replay.c carries them out.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_BULK_BATCH_H
#define STEMMA_BULK_BATCH_H

#include "stemma/bulk.h"

/* Bytes in a batch's text, by offset, since the text moves as it grows. */
struct stm_span {
    size_t at, len;
};

struct stm_batch_op {
    enum stm_bulk_kind kind;
    uint32_t type;
    uint64_t rdev;
    struct stm_span path;      /* from the root, without a leading '/' */
    struct stm_span target;    /* LINK: from the root too */
    struct stm_bulk_attr attr; /* without xattrs: */
    size_t xattr_first;        /* pairs of spans in xattrs */
    struct stm_content content;
};

struct stm_batch {
    struct stm_buf text;
    struct stm_batch_op *ops;
    size_t count, cap;
    struct stm_span *xattrs; /* name, value, name, value, ... */
    size_t xattr_count, xattr_cap;
    size_t bytes; /* roughly what it holds in memory */
};

static inline struct stm_slice stm_batch_text(const struct stm_batch *b, struct stm_span s)
{
    return s.len ? stm_slice(b->text.data + s.at, s.len) : stm_slice("", 0);
}

/* Empties it and frees the contents. */
void stm_batch_clear(struct stm_batch *b);
void stm_batch_release(struct stm_batch *b);
/* Appends an operation; prefix stands before path and a LINK's target. Takes over content (may be NULL) on success only. */
STM_MUST_CHECK int stm_batch_add(struct stm_batch *b, struct stm_slice prefix, const struct stm_bulk_item *item,
                                 struct stm_content *content);

/*
 * Walking down paths of which one mostly begins like the one before: the directories of the last path are remembered. With a txn, missing
 * directories are made.
 */
struct stm_walk {
    struct stm_view view;
    struct stm_txn *txn; /* NULL: look only */
    uint32_t uid, gid;   /* of directories that are made */
    bool made;           /* a directory was made, since somebody cleared this */
    struct stm_buf path; /* the last one */
    struct stm_walk_level {
        size_t end; /* the part of path that leads here */
        uint64_t id;
    } * levels;
    size_t depth, cap;
};
void stm_walk_release(struct stm_walk *w);
/* Forgets the path: after a directory went away. */
void stm_walk_reset(struct stm_walk *w);
/*
 * The directory at path ("" is the root). -ENOTDIR. -ENOENT (without txn): then *ret is the deepest directory that is there and
 * *ret_missing (may be NULL) the name that is missing in it.
 */
STM_MUST_CHECK int stm_walk_to(struct stm_walk *w, struct stm_slice path, uint64_t *ret, struct stm_slice *ret_missing);
/* Cuts "a/b/c" into "a/b" and "c"; "c" into "" and "c". */
void stm_path_split(struct stm_slice path, struct stm_slice *ret_dir, struct stm_slice *ret_name);

/* A batch as a build for stm_update. */
struct stm_replay {
    const struct stm_batch *batch;
    struct stm_slice target; /* the loader's directory, like the paths */
    uint32_t uid, gid;
    bool keep;                           /* things may be open somewhere: nothing is purged at once */
    struct stm_slice mark;               /* to be remembered with the target, or empty */
    int64_t effective_ns;                /* with mark: the commit's date */
    const struct stm_bulk_touched *seen; /* entries that must be (or, object 0, not be) there still: else -ESTALE */
    size_t seen_count;
    struct stm_bulk_counts counts; /* out: set afresh by each run */
    size_t failed;                 /* out: the operation that failed, or the batch's count */
    bool changed;                  /* out: there is something to commit */
    /* private to a run */
    struct stm_txn *txn;
    struct stm_view view;
    struct stm_walk walk;
};
STM_MUST_CHECK int stm_replay_build(struct stm_txn *txn, void *arg);
/* The key under which the last commit that was imported into directory `id` is remembered. */
enum { STM_BULK_KEY = 13 };
void stm_bulk_key(uint64_t id, uint8_t out[STM_BULK_KEY]);

#endif
