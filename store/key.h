/*
 * key.h: the layout of every key (docs/FORMAT.md). Integers are big-endian, so that byte order is number order; ~seq is the bitwise
 * complement, so that the newest comes first. Pure.
 *
 * A seq of STM_SEQ_THIS in a key is patched by the commit, as in a record.
 * Thread-safety: immutable.
 */
#ifndef STEMMA_KEY_H
#define STEMMA_KEY_H

#include "record.h"

struct stm_key {
    uint16_t len;
    int16_t fix; /* offset of a seq to patch, or -1 */
    bool fix_not;
    uint8_t bytes[8 + 8 + STM_NAME_MAX + 1 + 8];
};

static inline struct stm_slice stm_key_slice(const struct stm_key *k)
{
    return stm_slice(k->bytes, k->len);
}

/* First bytes of keys in the index space. */
enum stm_index_tag {
    STM_IX_ORPHAN = 'o',    /* object */
    STM_IX_ROW = 'n',       /* line, ordinal */
    STM_IX_LINE = 'l',      /* line */
    STM_IX_PAST_LINE = 'j', /* object, ~since */
    STM_IX_XATTR = 'x',     /* object */
    STM_IX_VIEW_ID = 'w',   /* seq */
    STM_IX_VIEW_SEQ = 'W',  /* view id */
    STM_IX_EFFECTIVE = 'e', /* directory, effective time, seq */
    STM_IX_SEGMENT = 'g',   /* segment */
    STM_IX_QUARANTINE = 'q' /* space u8, key of the damaged record */
};

/* 56 bits of the name's hash, never 0, shifted left by 7: also the listing cookie of the first name with that hash. */
uint64_t stm_name_cookie(struct stm_slice name);

struct stm_key stm_key_sys(const char *name);
struct stm_key stm_key_mark(struct stm_slice mark); /* at most 200 bytes */
struct stm_key stm_key_dentry(uint64_t parent, struct stm_slice name);
struct stm_key stm_key_dentry_from(uint64_t parent, uint64_t cookie); /* the first possible key with that cookie or a later one */
struct stm_key stm_key_hist(uint64_t parent, struct stm_slice name, uint64_t from);
struct stm_key stm_key_tombstone(uint64_t parent, struct stm_slice name);
struct stm_key stm_key_object(uint64_t object);
struct stm_key stm_key_version(uint64_t line, uint64_t seq); /* also the key in the content space */
struct stm_key stm_key_chunk(uint64_t segment, uint32_t index);
struct stm_key stm_key_chunkhash(const uint8_t *hash);
struct stm_key stm_key_ref_page(uint64_t segment, uint32_t index, uint64_t page_segment, uint32_t page_index);
struct stm_key stm_key_ref_version(uint64_t segment, uint32_t index, uint64_t line, uint32_t ordinal);
struct stm_key stm_key_log(uint64_t seq);
struct stm_key stm_key_index(enum stm_index_tag tag, uint64_t id);
struct stm_key stm_key_row(uint64_t line, uint32_t ordinal);
struct stm_key stm_key_past_line(uint64_t object, uint64_t since);
struct stm_key stm_key_effective(uint64_t dir, int64_t effective_ns, uint64_t seq);

#endif
