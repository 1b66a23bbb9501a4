/*
 * types.h: the few plain types that every other header of the store uses.
 *
 * Ids: objects, lines and segments take their ids from one allocator; an id is 40 bits, never 0 and never reused. The line that is
 * born with an object has the object's id. Object 1 is the root directory.
 * Times are signed nanoseconds since the Unix epoch (UTC), fields end in _ns.
 * Sequence numbers (seq) count commits from 1, one store-wide order without holes.
 *
 * Thread-safety: immutable.
 */
#ifndef STEMMA_TYPES_H
#define STEMMA_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STM_MUST_CHECK __attribute__((warn_unused_result))

enum {
    STM_NAME_MAX = 255,   /* bytes in one name */
    STM_HASH_LEN = 16,    /* XXH3-128, canonical (big-endian) form */
    STM_TARGET_MAX = 4095 /* bytes in a symlink target */
};

#define STM_ROOT_OBJECT UINT64_C(1)
#define STM_ID_MAX ((UINT64_C(1) << 40) - 1)
#define STM_ORDINAL_MAX ((UINT32_C(1) << 20) - 1)

/* As a view: now. As the end of an interval: not ended. */
#define STM_SEQ_HEAD UINT64_MAX

/* Borrowed bytes. */
struct stm_slice {
    const void *data;
    size_t len;
};

static inline struct stm_slice stm_slice(const void *data, size_t len)
{
    return (struct stm_slice){data, len};
}

static inline struct stm_slice stm_slice_str(const char *s)
{
    return (struct stm_slice){s, strlen(s)};
}

static inline bool stm_slice_eq(struct stm_slice a, struct stm_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif
