/*
 * content.h: bytes of versions: putting them away before the commit that names them, and reading them back, checked.
 * Up to STM_INLINE_MAX bytes lie in the version's record, up to STM_SMALL_MAX under the line's own key, larger ones as deduplicated
 * chunks (docs/FORMAT.md).
 *
 *     struct stm_content c;
 *     err = stm_content_put(store, &source, &c);          // chunks are in the store, nothing refers to them yet
 *     ... stm_version_save(txn, object, &(struct stm_save){.content = &c}, ...) in a build ...
 *     stm_content_release(&c);
 *
 * Thread-safety: internally locked; a stm_content belongs to one thread.
 */
#ifndef STEMMA_CONTENT_H
#define STEMMA_CONTENT_H

#include "stemma/codec.h"
#include "stemma/hash.h"
#include "stemma/store.h"

enum { STM_INLINE_MAX = 4096, STM_SMALL_MAX = 65536 };

enum stm_stored { STM_STORED_INLINE = 0, STM_STORED_SMALL = 1, STM_STORED_CHUNKED = 2 };

/*
 * Where a content comes from: memory, or a function that reads exactly len bytes at off (0 or -errno). extent (may be NULL: everywhere) tells
 * where data is: the first stretch [from, to) at or after off outside of which, up to there, all bytes are zero; adjoining ones may follow;
 * from = size when there is no more. What it leaves out is never read.
 */
struct stm_source {
    uint64_t size;
    const void *mem; /* all of it, or NULL */
    int (*read)(void *arg, uint64_t off, void *buf, size_t len);
    int (*extent)(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to);
    void *arg;
};

/* A content that is put away. Fields may be read. */
struct stm_content {
    uint64_t size, data; /* data: what of the size is not in holes */
    struct stm_hash hash;
    enum stm_stored stored;
    enum stm_codec codec; /* of chunked content: what most chunks have; else none */
    uint64_t size_stored; /* bytes this content added by itself */
    struct stm_buf body;  /* inline or small: the bytes; chunked: the root of the chunk list */
    struct stm_buf fresh; /* private: chunks and segments that the commit must register */
};

STM_MUST_CHECK int stm_content_put(struct stm_store *s, const struct stm_source *src, struct stm_content *ret);
void stm_content_release(struct stm_content *c);

struct stm_version;
/*
 * Reads up to len bytes at off; returns how many (0 at the end), STM_E_CORRUPT when a checksum fails, -ESTALE when the version was pending and
 * has been amended since v was read: read the object and its version again. Needs v from version.h.
 */
STM_MUST_CHECK int64_t stm_content_read(struct stm_store *s, const struct stm_version *v, uint64_t off, void *buf, size_t len);
/*
 * Where data is at or after off, as stm_source's extent: all outside reads as zero. Long runs of zero blocks are holes, whoever wrote them; small
 * contents have none. from = to = size: no more data. O(depth of the list) pages are read. STM_E_CORRUPT.
 */
STM_MUST_CHECK int stm_content_extent(struct stm_store *s, const struct stm_version *v, uint64_t off, uint64_t *ret_from, uint64_t *ret_to);

#endif
