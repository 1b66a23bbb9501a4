/*
 * chunker.h: content-defined cutting of a byte stream, so that an insertion moves only the cuts near it.
 * FastCDC (Xia et al., USENIX ATC 2016: "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication"):
 * gear hash, normalised chunking with two masks, minimum-size skipping. The gear table is part of the format (docs/FORMAT.md): it
 * is generated from a fixed seed by splitmix64 and golden tests hold it.
 * Pure. Thread-safety: immutable.
 */
#ifndef STEMMA_CHUNKER_H
#define STEMMA_CHUNKER_H

#include "stemma/types.h"

struct stm_chunker {
    size_t min_bytes, avg_bytes, max_bytes; /* avg a power of two; min < avg < max */
};

/* What the store uses unless policy says otherwise: 8 KiB, 32 KiB, 128 KiB. */
extern const struct stm_chunker stm_chunker_default;

/*
 * The length of the first chunk of data: 1..max_bytes. `last` says that the content ends with data; if it is not set, len must be at
 * least max_bytes, since the cut depends on at most that many bytes and on nothing before them.
 */
size_t stm_chunker_cut(const struct stm_chunker *c, const uint8_t *data, size_t len, bool last);

#endif
