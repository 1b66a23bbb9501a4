/*
 * quarantine.h (internal): records of what is known to be damaged (docs/FORMAT.md, tag q), and healing. A record in quarantine is where it
 * was; the quarantine's record names it (space and key), says since when and why, and for a chunk which bytes it should hold.
 *
 * Reading is not slowed down: what fails its checksum fails anyway. Only contents whose parts are sound and whose hash is not must be asked
 * for, and the store knows how many of those there are.
 * Thread-safety: as their public headers.
 */
#ifndef STEMMA_QUARANTINE_H
#define STEMMA_QUARANTINE_H

#include "save.h"

enum stm_quarantine_reason {
    STM_QUARANTINE_CHECKSUM = 1, /* the record or its bytes fail their checksum */
    STM_QUARANTINE_MISSING = 2,  /* it is named and not there */
    STM_QUARANTINE_CONTENT = 3,  /* a version whose content has not the hash it should have: it must not be read */
    STM_QUARANTINE_PARTS = 4     /* a version of whose content some chunks cannot be read */
};

struct stm_quarantine {
    int64_t since_ns;
    enum stm_quarantine_reason reason;
    uint64_t length;      /* of a chunk's bytes; 0: not known */
    struct stm_hash hash; /* of a chunk's bytes, or of a content; zeros: not known */
};

/* -EINVAL for a key that is too long to be named. */
STM_MUST_CHECK int stm_key_quarantine(enum stm_space space, struct stm_slice key, struct stm_key *ret);
STM_MUST_CHECK int stm_quarantine_decode(struct stm_slice payload, struct stm_quarantine *ret);
STM_MUST_CHECK int stm_quarantine_encode(const struct stm_quarantine *q, struct stm_buf *ret);
/* Is the record in quarantine? 1 (ret may be NULL), 0, or an error. */
STM_MUST_CHECK int stm_quarantine_get(const struct stm_view *v, enum stm_space space, struct stm_slice key, struct stm_quarantine *ret);
/* Puts a damaged record there by a commit of its own, and takes a chunk out of the index by hash. 0, also when it is there already. */
STM_MUST_CHECK int stm_quarantine_add(struct stm_store *s, enum stm_space space, struct stm_slice key, const struct stm_quarantine *q);
/*
 * Is there another place with these bytes? Then they are written to the place as well, and its quarantine ends. 1, 0 (there is none), or an
 * error.
 */
STM_MUST_CHECK int stm_chunk_heal(struct stm_store *s, const struct stm_place *place);
/* The same as a build, for who has the bytes: arg is a struct stm_healing. */
struct stm_healing {
    const struct stm_place *place;
    struct stm_slice raw;
};
STM_MUST_CHECK int stm_heal_build(struct stm_txn *t, void *arg);
/* The bytes of a place that cannot be read, malloc'd, from another place that has them. -ENOENT. */
STM_MUST_CHECK int stm_chunk_twin(struct stm_store *s, const struct stm_place *place, uint8_t **ret);
/*
 * Do the version's bytes have the hash that it says? 1, 0 (also when they cannot be read), or an error. Adds to *bytes what was read. After
 * each MiB go_on(arg) is asked (NULL: nobody); it ends with what that returns, unless it is 0.
 */
STM_MUST_CHECK int stm_content_verify(struct stm_store *s, const struct stm_version *ver, uint64_t *bytes, int (*go_on)(void *arg),
                                      void *arg);
/* The list that a reference's owner has (the 13 bytes after the chunk in a key of chunkref): -ENOENT, STM_E_CORRUPT. */
STM_MUST_CHECK int stm_ref_list(const struct stm_view *v, const uint8_t *owner, struct stm_buf *ret);
/* What a chunk should hold, as one of the lists that use it says. -ENOENT: none does. */
STM_MUST_CHECK int stm_chunk_wanted(struct stm_store *s, uint64_t segment, uint32_t index, struct stm_place *ret);
/* Heals what can be healed now: chunks of which a good copy has turned up, and versions that were waiting for them. Adds to *healed. */
STM_MUST_CHECK int stm_quarantine_heal(struct stm_store *s, uint64_t *healed);
/* Counts the versions whose content must not be read (at open, and after changes). */
STM_MUST_CHECK int stm_quarantine_count(struct stm_store *s);
/* May the version's content be read? 0 or STM_E_CORRUPT. */
STM_MUST_CHECK int stm_quarantine_check(struct stm_store *s, const struct stm_version *ver);

#endif
