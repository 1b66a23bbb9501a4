/*
 * hash.c: XXH3 behind the store's own names. Not cryptographic, and no table of hashes: see hash.h.
 * The functions are inlined from the library's header, which is what makes hashing short keys cheap.
 */
#include "stemma/hash.h"

#include <assert.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct stm_hasher {
    XXH3_state_t state; /* wants 64-byte alignment */
};

static struct stm_hash canonical(XXH128_hash_t value)
{
    XXH128_canonical_t c;
    struct stm_hash hash;

    static_assert(sizeof c.digest == STM_HASH_LEN, "XXH3-128 has 16 bytes");
    XXH128_canonicalFromHash(&c, value);
    memcpy(hash.bytes, c.digest, STM_HASH_LEN);
    return hash;
}

struct stm_hash stm_hash_of(struct stm_slice data)
{
    return canonical(XXH3_128bits(data.data, data.len));
}

void stm_hash_format(const struct stm_hash *h, char out[33])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < STM_HASH_LEN; i++) {
        out[2 * i] = digits[h->bytes[i] >> 4];
        out[2 * i + 1] = digits[h->bytes[i] & 15];
    }
    out[2 * STM_HASH_LEN] = '\0';
}

uint32_t stm_checksum32(struct stm_slice data)
{
    return (uint32_t)XXH3_64bits(data.data, data.len);
}

uint64_t stm_hash64(struct stm_slice data, uint64_t seed)
{
    return XXH3_64bits_withSeed(data.data, data.len, seed);
}

struct stm_hasher *stm_hasher_new(void)
{
    static_assert(sizeof(struct stm_hasher) % _Alignof(struct stm_hasher) == 0, "aligned_alloc wants a multiple");
    struct stm_hasher *h = aligned_alloc(_Alignof(struct stm_hasher), sizeof *h);

    if (!h)
        return NULL;
    XXH3_INITSTATE(&h->state);
    (void)XXH3_128bits_reset(&h->state);
    return h;
}

void stm_hasher_free(struct stm_hasher *h)
{
    free(h);
}

void stm_hasher_update(struct stm_hasher *h, struct stm_slice data)
{
    if (data.len > 0)
        (void)XXH3_128bits_update(&h->state, data.data, data.len);
}

struct stm_hash stm_hasher_digest(const struct stm_hasher *h)
{
    return canonical(XXH3_128bits_digest(&h->state));
}
