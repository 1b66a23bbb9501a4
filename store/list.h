/*
 * list.h (internal): the list of chunks of a large content: a tree of pages. Level 0 entries are chunks, entries of level k are pages of
 * level k-1. An entry of level 0 with segment 0 is a hole: zeros. A list is a level byte and entries of 36 bytes: segment u64, index u32, length u64 (bytes of content covered), hash (16). The
 * root (at most STM_ROOT_ENTRIES) lies in the version's record; pages are stored like chunks, so equal pages are stored once.
 * A page ends after an entry whose hash says so (content-defined), so that an edit in the middle changes one page of each level.
 * Thread-safety: a writer belongs to one thread; reading any thread.
 */
#ifndef STEMMA_LIST_H
#define STEMMA_LIST_H

#include "segment.h"

enum { STM_ENTRY_BYTES = 36, STM_ROOT_ENTRIES = 128, STM_PAGE_MIN = 64, STM_PAGE_MAX = 1024 };

struct stm_list {
    struct stm_place *places;
    size_t n, cap;
};
STM_MUST_CHECK int stm_list_add(struct stm_list *l, const struct stm_place *p);

/* Writing one content: its segment, its list, and what it has seen of itself. */
struct stm_seen;
struct stm_writer {
    struct stm_store *store;
    struct stm_segment segment;
    struct stm_list level0;
    struct stm_buf fresh;  /* what the commit must register; see stm_content_register */
    struct stm_seen *seen; /* open addressing */
    size_t n_seen, cap_seen;
};
STM_MUST_CHECK int stm_writer_init(struct stm_writer *w, struct stm_store *s);
void stm_writer_release(struct stm_writer *w);
/* Was a chunk with that hash added before, to this content? 1 (where it is, and at which offset of the content) or 0. */
STM_MUST_CHECK int stm_writer_seen(const struct stm_writer *w, const struct stm_hash *hash, struct stm_place *ret, uint64_t *ret_off);
STM_MUST_CHECK int stm_writer_remember(struct stm_writer *w, const struct stm_place *p, uint64_t off);
/* Finds the bytes in the store (compared byte by byte: 0) or stores them (1, and the codec used). */
STM_MUST_CHECK int stm_writer_store(struct stm_writer *w, struct stm_slice raw, const struct stm_hash *hash, struct stm_place *ret,
                                    enum stm_codec *ret_codec);
/* Builds the tree, finishes the segment; gives the root and what to register (both to be released by the caller). */
STM_MUST_CHECK int stm_writer_finish(struct stm_writer *w, struct stm_buf *ret_root, struct stm_buf *ret_fresh, uint64_t *ret_stored);

/* Where a chunk with that hash is said to be stored; its length is not known from there (0). -ENOENT. */
STM_MUST_CHECK int stm_chunk_find(struct stm_store *s, const struct stm_hash *hash, struct stm_place *ret);
struct stm_place stm_place_decode(const uint8_t *entry); /* STM_ENTRY_BYTES */
/* Reads exactly len bytes at off; the range must lie within the content. STM_E_CORRUPT. */
STM_MUST_CHECK int stm_list_read(struct stm_store *s, struct stm_slice root, uint64_t off, void *buf, size_t len);
/* In: from, where to begin, and to, the content's size. Out: the next stretch of chunks, adjoining ones may follow; from = to: no more. */
STM_MUST_CHECK int stm_list_extent(struct stm_store *s, struct stm_slice root, uint64_t *from, uint64_t *to);

#endif
