/*
 * segment.h (internal): bulk content. A segment is a run of chunks written once, read by (segment, index), dropped whole. Up to
 * STM_SEGMENT_INGEST stored bytes it goes to the engine as ordinary keys, above that it is ingested as a file of its own, which costs
 * one device write instead of two to four. Nothing refers to a segment before the commit that registers it; one that no commit
 * registered (a crash in between) is swept when the store is opened.
 *
 * A chunk is kept with its codec, its raw length and the XXH3-128 of its raw bytes, in the frame of every record.
 * Thread-safety: a writer belongs to one thread; reading is internally locked.
 */
#ifndef STEMMA_SEGMENT_H
#define STEMMA_SEGMENT_H

#include "inner.h"

enum { STM_SEGMENT_INGEST = 8 << 20 };

struct stm_segment {
    struct stm_store *store;
    uint64_t id; /* 0: not begun */
    uint32_t count;
    uint64_t bytes; /* stored so far */
    struct stm_ingest *ingest;
    struct stm_buf waiting; /* (length u32, frame)* of chunks not yet with the engine */
    uint32_t waiting_from;  /* index of the first of them */
};

/* Adds a chunk: compressed when that pays; takes an id at the first one. ret_place gets where it is; its length is raw.len. */
STM_MUST_CHECK int stm_segment_add(struct stm_segment *s, struct stm_slice raw, const struct stm_hash *hash, struct stm_place *ret_place,
                                   enum stm_codec *ret_codec);
/* Makes all of it readable (durable with the next synced commit). Frees what the writer holds, also on failure. */
STM_MUST_CHECK int stm_segment_finish(struct stm_segment *s);
void stm_segment_abort(struct stm_segment *s);
/* Reads a chunk past the cache: malloc'd bytes that fit the place's hash. STM_E_CORRUPT, also when it is not there. */
STM_MUST_CHECK int stm_chunk_load(struct stm_store *s, const struct stm_place *p, uint8_t **ret, size_t *ret_len);
/* Unpacks a stored chunk as it describes itself: malloc'd bytes, and the hash that they were checked against. STM_E_CORRUPT. */
STM_MUST_CHECK int stm_chunk_decode(struct stm_slice payload, struct stm_hash *ret_hash, uint8_t **ret, size_t *ret_len);
/* A chunk's record. */
STM_MUST_CHECK int stm_chunk_encode(struct stm_slice raw, const struct stm_hash *hash, struct stm_rec *ret);
/* Drops segments with ids from `first` on that no commit has registered. */
STM_MUST_CHECK int stm_segment_sweep(struct stm_store *s, uint64_t first);

#endif
