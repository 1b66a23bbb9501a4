/*
 * hash.c: XXH3 behind the store's own names. Not cryptographic, and no table of hashes: see hash.h.
 * The functions are inlined from the library's header, which is what makes hashing short keys cheap.
 */
#include "stemma/hash.h"

#include <assert.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { BLOCK = 1024, LANES = 8, STRIPES = 16, STRIPE_SHIFT = 8 }; /* of XXH3 with its default secret: bytes a block, and how one is eaten */

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

/* What one stripe of zeros, the n-th of its block, adds to the lanes: zero bytes leave only the secret. */
static void add_zero_stripe(uint64_t lanes[LANES], size_t n)
{
    for (size_t i = 0; i < LANES; i++) {
        uint64_t key = XXH_readLE64(XXH3_kSecret + n * STRIPE_SHIFT + i * 8);
        lanes[i] += (key & UINT32_MAX) * (key >> 32);
    }
}

/* The end of a block, and the stripes of the next one: k times. Source: XXH3_scrambleAcc, doc/xxhash_spec.md. */
static void scramble_and_add(uint64_t acc[LANES], const uint64_t add[LANES], uint64_t k)
{
    uint64_t a[LANES], secret[LANES];

    memcpy(a, acc, sizeof a);
    for (size_t i = 0; i < LANES; i++)
        secret[i] = XXH_readLE64(XXH3_kSecret + XXH_SECRET_DEFAULT_SIZE - BLOCK / STRIPES + i * 8);
    for (; k > 0; k--)
#pragma GCC unroll 8
        for (size_t i = 0; i < LANES; i++)
            a[i] = (a[i] ^ (a[i] >> 47) ^ secret[i]) * XXH_PRIME32_1 + add[i];
    memcpy(acc, a, sizeof a);
}

/*
 * A block of zeros changes the state in a way that does not depend on where it stands: the stripes left in the block at hand, the scrambling
 * at its end, and the stripes before that place in the next block. All but the scrambling is one addition, which costs some 8 cycles a KiB.
 */
static void skip_zero_blocks(XXH3_state_t *st, uint64_t blocks)
{
    uint64_t before[LANES] = {0}, after[LANES] = {0}, whole[LANES];

    for (size_t n = 0; n < STRIPES; n++)
        add_zero_stripe(n < st->nbStripesSoFar ? before : after, n);
    for (size_t i = 0; i < LANES; i++) {
        whole[i] = before[i] + after[i];
        st->acc[i] += after[i];
    }
    scramble_and_add(st->acc, whole, blocks - 1);
    scramble_and_add(st->acc, before, 1);
    st->totalLen += blocks * BLOCK;
}

void stm_hasher_zeros(struct stm_hasher *h, uint64_t len)
{
    static const uint8_t zeros[2 * BLOCK];

    static_assert(sizeof zeros > sizeof h->state.buffer, "then all that the state still holds back are zeros");
    if (len > 4 * sizeof zeros) {
        stm_hasher_update(h, stm_slice(zeros, sizeof zeros));
        len -= sizeof zeros;
        skip_zero_blocks(&h->state, len / BLOCK);
        len %= BLOCK;
    }
    for (size_t n; len > 0; len -= n) {
        n = len < sizeof zeros ? (size_t)len : sizeof zeros;
        stm_hasher_update(h, stm_slice(zeros, n));
    }
}
