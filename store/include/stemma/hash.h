/*
 * hash.h: XXH3 as the store uses it. Content identity is XXH3-128 in canonical form; it is not cryptographic, so whoever
 * finds an equal hash compares the bytes before believing it. Record checksums are the low 32 bits of XXH3-64.
 * Source: https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md.
 * Thread-safety: one thread at a time per stream.
 */
#ifndef STEMMA_HASH_H
#define STEMMA_HASH_H

#include "stemma/types.h"

struct stm_hash {
    uint8_t bytes[STM_HASH_LEN];
};

struct stm_hash stm_hash_of(struct stm_slice data);
static inline bool stm_hash_eq(const struct stm_hash *a, const struct stm_hash *b)
{
    return memcmp(a->bytes, b->bytes, STM_HASH_LEN) == 0;
}
/* 32 lower-case hex digits and a zero. */
void stm_hash_format(const struct stm_hash *h, char out[33]);
uint32_t stm_checksum32(struct stm_slice data);
uint64_t stm_hash64(struct stm_slice data, uint64_t seed);

/* Incremental form: new, update as often as wished, then digest; free accepts NULL. */
struct stm_hasher;
struct stm_hasher *stm_hasher_new(void);
void stm_hasher_free(struct stm_hasher *h);
void stm_hasher_update(struct stm_hasher *h, struct stm_slice data);
/* The same as an update with len zero bytes, some twenty times as fast: about 300 GB/s. */
void stm_hasher_zeros(struct stm_hasher *h, uint64_t len);
struct stm_hash stm_hasher_digest(const struct stm_hasher *h);

#endif
