/*
 * version.h: the chain of versions of a line: saving, finding, listing.
 *
 * Invariants: (1) ordinals of a line count from 0 without holes, and grow with seq and with semver alike; (2) a line that was forked
 * shows the inherited versions below its fork under their own ordinals; (3) of two neighbouring versions of a line the contents differ,
 * unless one was asked for by `always` or `exact`; (4) a version never changes once a later one exists or its saver stopped amending.
 * Thread-safety: readers any thread; mutators within their build call.
 */
#ifndef STEMMA_VERSION_H
#define STEMMA_VERSION_H

#include "stemma/content.h"
#include "stemma/name.h"
#include "stemma/object.h"

/* A row of a line's index of versions: enough for listing and selecting. */
struct stm_version_row {
    uint64_t line, seq; /* the line that really holds it (an ancestor's for inherited ones) */
    uint32_t ordinal;
    struct stm_semver semver;
    int64_t recorded_ns;
    uint64_t size;
    struct stm_hash hash;
};

struct stm_version {
    struct stm_version_row row;
    int64_t effective_ns, mtime_ns;
    uint32_t uid, mode; /* who made it; the mode it was saved with */
    enum stm_stored stored;
    enum stm_codec codec;
    uint64_t size_stored;
    uint64_t data;       /* what of the size is not in holes */
    uint64_t owner;      /* object that carries the line now */
    struct stm_buf text; /* private: author, message and xattrs */
    struct stm_buf body; /* private: content or its root */
};
void stm_version_release(struct stm_version *v);

/* The content of a regular object in the view: -ENOENT when it is empty without a version. obj must come from the same view. */
STM_MUST_CHECK int stm_version_at(const struct stm_view *v, const struct stm_object *obj, struct stm_version *ret);
/* Version number `ordinal` of a line, inherited ones included. -ENOENT. */
STM_MUST_CHECK int stm_version_get(const struct stm_view *v, uint64_t line, uint32_t ordinal, struct stm_version *ret);
STM_MUST_CHECK int stm_version_row(const struct stm_view *v, uint64_t line, uint32_t ordinal, struct stm_version_row *ret);
/*
 * The version that the selector means on the line whose newest ordinal is tip_ordinal: EXACT, LATEST, MAJOR, MINOR, BACK, TIME, HASH.
 * -ENOENT none, STM_E_AMBIGUOUS several (HASH), -EINVAL for other kinds. O(log n) reads, HASH O(n).
 */
STM_MUST_CHECK int stm_version_find(const struct stm_view *v, uint64_t line, uint32_t tip_ordinal, const struct stm_selector *sel,
                                    struct stm_version_row *ret);
/* The object that carries the line now, or carried it last. */
STM_MUST_CHECK int stm_line_owner(const struct stm_view *v, uint64_t line, uint64_t *ret_object);

/* Author and message as they were given (slices into v, empty when none). */
struct stm_slice stm_version_author(const struct stm_version *v);
struct stm_slice stm_version_message(const struct stm_version *v);
/* Calls each with every user.* attribute that the version was saved with; stops at the first non-zero result and returns it. */
STM_MUST_CHECK int stm_version_xattrs(const struct stm_version *v, int (*each)(void *arg, struct stm_slice name, struct stm_slice value),
                                      void *arg);

struct stm_save {
    const struct stm_content *content;
    int64_t mtime_ns, ctime_ns; /* of the object; 0: the commit's time. A ctime that is not newer leaves the object's as it is */
    bool amend;                 /* the object's newest version is pending: replace it, same number */
    bool always;                /* make a version even if the bytes are the newest's */
    enum stm_bump bump;
    bool exact; /* the number is `semver`: must be newer than the newest, else STM_E_VERSION_EXISTS */
    struct stm_semver semver;
};
/*
 * Makes the content the object's, and a version of its line. Equal to the newest version: no version (an amended one that now equals
 * its predecessor is taken back), mtime and ctime move all the same. ret: the object after it. ret->tip.seq == ret->head_seq tells
 * which version is the content; whether one was made: compare tip.ordinal. -ESTALE: the object was replaced or removed and its line is
 * another object's now. A line gets at most one version of a commit, the last one made in it.
 */
STM_MUST_CHECK int stm_version_save(struct stm_txn *txn, uint64_t object, const struct stm_save *save, struct stm_object *ret);

#endif
