/*
 * inner.h: what the files of meaning (object, tree, version, content) share among themselves. Not for anyone else.
 * Thread-safety: as their public headers.
 */
#ifndef STEMMA_INNER_H
#define STEMMA_INNER_H

#include "key.h"
#include "record.h"
#include "state.h"
#include "stemma/tree.h"
#include "stemma/version.h"
#include "txn.h"

/* object.c. A symlink's target: given, or (data NULL) kept as it is stored. */
STM_MUST_CHECK int stm_object_put(struct stm_txn *t, const struct stm_object *o, struct stm_slice target);
/* A stored record; ret_target (may be NULL) is borrowed from the payload. STM_E_CORRUPT. */
STM_MUST_CHECK int stm_object_decode(struct stm_slice payload, uint64_t id, struct stm_object *o, struct stm_slice *ret_target);
/* Advances ctime (and mtime when asked) to now, strictly. */
void stm_object_touch(const struct stm_txn *t, struct stm_object *o, bool mtime);
/* The head record only: as-of views adjust it. */
STM_MUST_CHECK int stm_object_load(const struct stm_view *v, uint64_t id, struct stm_object *ret);
/* Marks an object without a name for purging, or purges it at once. */
STM_MUST_CHECK int stm_object_discard(struct stm_txn *t, struct stm_object *o, bool keep);

/* xattr.c: appends the user.* attributes as (blob name, blob value)*; nothing when there are none. */
STM_MUST_CHECK int stm_xattr_pack_user(const struct stm_view *v, const struct stm_object *o, struct stm_buf *ret);

/* version.c */
/* `n` takes over the line of `old` (which loses it), with its own content, or save's when given, as the next version there. Puts neither. */
struct stm_take {
    struct stm_object *n, *old;
    const struct stm_save *save; /* NULL: n's own content */
    bool drop;                   /* n's own line is dropped, else remembered as a past line */
    bool made_version;           /* out */
};
STM_MUST_CHECK int stm_line_take(struct stm_txn *t, struct stm_take *take);
/* `n` (new, without a version) goes on with the line of the removed object `old`. Puts neither. */
STM_MUST_CHECK int stm_line_continue(struct stm_txn *t, struct stm_object *n, struct stm_object *old);
/*
 * `n` leaves its line and goes on with a fork of it; ret is a new object without a name that carries the line until somebody continues it. Puts ret,
 * not n.
 */
STM_MUST_CHECK int stm_line_leave(struct stm_txn *t, struct stm_object *n, struct stm_object *ret);
/* Deletes every version of the line of an object that keeps no history. */
STM_MUST_CHECK int stm_line_drop(struct stm_txn *t, const struct stm_object *o);

/* row.c: a line's index, and the record of the line itself. */
struct stm_line {
    uint64_t owner;        /* object that carries it, or carried it last */
    uint64_t fork_line;    /* 0: not forked */
    uint32_t fork_ordinal; /* first ordinal of its own */
};
/* Stored records of both. STM_E_CORRUPT. */
STM_MUST_CHECK int stm_line_decode(struct stm_slice payload, struct stm_line *ret);
STM_MUST_CHECK int stm_row_decode(struct stm_slice payload, uint64_t line, uint32_t ordinal, struct stm_version_row *ret);
STM_MUST_CHECK int stm_line_load(const struct stm_view *v, uint64_t line, struct stm_line *ret);
STM_MUST_CHECK int stm_line_put(struct stm_txn *t, uint64_t line, const struct stm_line *l);
STM_MUST_CHECK int stm_row_put(struct stm_txn *t, const struct stm_version_row *row);

/* content.c: what a commit must write with a chunked content, and take back with a deleted one. */
STM_MUST_CHECK int stm_content_register(struct stm_txn *t, const struct stm_content *c);
STM_MUST_CHECK int stm_content_refer(struct stm_txn *t, struct stm_slice root, uint64_t line, uint32_t ordinal, bool add);

/* view.c: a stored log record; each (may be NULL) gets its items, and its result is returned. ret->seq is the caller's. STM_E_CORRUPT. */
STM_MUST_CHECK int stm_log_decode(struct stm_slice payload, struct stm_log_record *ret,
                                  int (*each)(void *arg, const struct stm_log_item *item), void *arg);

/* Decoded chunk or page, referenced (cache.h). STM_E_CORRUPT. segment.c */
struct stm_place {
    uint64_t segment;
    uint32_t index;
    uint64_t length; /* bytes of content it covers */
    struct stm_hash hash;
};
/* A stretch of zeros, which lies nowhere: at level 0 of a list, with segment, index and hash zero. */
static inline bool stm_place_is_hole(const struct stm_place *p)
{
    return p->segment == 0;
}
STM_MUST_CHECK int stm_chunk_get(struct stm_store *s, const struct stm_place *p, const struct stm_cached **ret);
/* n chunks that lie side by side in one segment, whole, decoded into buf: one sequential read instead of n, and past the cache. */
STM_MUST_CHECK int stm_chunk_run(struct stm_store *s, const struct stm_place *p, size_t n, uint8_t *buf);

#endif
