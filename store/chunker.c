/*
 * chunker.c: FastCDC. One pass, no state between calls, no copy of the data.
 */
#include "chunker.h"

#include <assert.h>

const struct stm_chunker stm_chunker_default = {8192, 32768, 131072};

/* How many more bits must be zero before the average size than after it is doubled: level 2 of the paper's normalisation. */
enum { NORMAL_BITS = 2 };

/* 256 outputs of splitmix64, seed 0x5374656d6d612031 ("Stemma 1"). Part of the format: another table finds no old chunk again. */
static const uint64_t gear[256] = {
    /* clang-format off */
    UINT64_C(0x6c3f439ddd6224ca), UINT64_C(0x43303182edf3ee51), UINT64_C(0xc0c6514b2bf3a3fb), UINT64_C(0xb182b04e05540299),
    UINT64_C(0x9206fd282a1724d8), UINT64_C(0xe1972a45a2fbb029), UINT64_C(0x8838e7545dbd09ac), UINT64_C(0x3a2edc06ffd70e11),
    UINT64_C(0x7cb8992c0a0575ba), UINT64_C(0x640eb44c97308669), UINT64_C(0xe579591def36fd0b), UINT64_C(0x948a44451e91f672),
    UINT64_C(0x34f85732f93f1a74), UINT64_C(0xd7daeeac9275d0e4), UINT64_C(0x8fe6d83ea01ae79e), UINT64_C(0xfb70e0167461abbb),
    UINT64_C(0x79e7273fd84713f7), UINT64_C(0x0a26b8dd7dbfb07c), UINT64_C(0x49456e95922f73a2), UINT64_C(0x49acdf5a2ba60dbd),
    UINT64_C(0x0d89b14b515b45e6), UINT64_C(0x039a480746f80f5a), UINT64_C(0xa531fa74fbef8497), UINT64_C(0x32784bae52820eb1),
    UINT64_C(0x7e6a2142a2bb7f83), UINT64_C(0x6a12f1abd36b1093), UINT64_C(0xd54f4b8648c2e611), UINT64_C(0x3316e5fcec5f2927),
    UINT64_C(0xd1df7d8a1b0172cd), UINT64_C(0x2b43bb64a1eb25f8), UINT64_C(0xfc0ea70521c53293), UINT64_C(0x1be774b073d3f470),
    UINT64_C(0x87a1c14da2c758c5), UINT64_C(0xd82205a6aa0db279), UINT64_C(0xc3c22aa14fe8fc09), UINT64_C(0x168d1f3c6dfff905),
    UINT64_C(0xc7115a15b4daa455), UINT64_C(0x1a5834858269724d), UINT64_C(0x3aad27cbfb0241de), UINT64_C(0xbecf9ea9420119cf),
    UINT64_C(0x620b9071a3a4d668), UINT64_C(0x10a066cdb2d59e85), UINT64_C(0x9563750e46a0f7cd), UINT64_C(0x6482478c57e07da8),
    UINT64_C(0xf5fb942c11eddb63), UINT64_C(0xc82af74a9aae8d6c), UINT64_C(0xc37f5add8b629861), UINT64_C(0x105f21ea3976eb66),
    UINT64_C(0xb1a994570b4f84cf), UINT64_C(0x2b9c72a6fd3675d9), UINT64_C(0x74c7fe1eb6d4dbf7), UINT64_C(0x8305b6ac71290962),
    UINT64_C(0x0a068bf139100ab2), UINT64_C(0x14784de65ffb2756), UINT64_C(0x920b2fcb83c3e89f), UINT64_C(0x018f85888d3abbfe),
    UINT64_C(0x4ce16c2cf465e91f), UINT64_C(0x510efd8446e28fda), UINT64_C(0x57dfca65c4079ca8), UINT64_C(0xadf1ac9a82131024),
    UINT64_C(0x38982b6eb922cd82), UINT64_C(0xc8c8c835044b2b75), UINT64_C(0x189b96c98ab4ce64), UINT64_C(0xfb3d261e0084ca92),
    UINT64_C(0x14b941b50bd8b911), UINT64_C(0x86a471d98474c848), UINT64_C(0x595cf6cb0861eea7), UINT64_C(0x28b1394f43876d99),
    UINT64_C(0x0c98e1bb650d8341), UINT64_C(0xef3ce95469787591), UINT64_C(0xcadbbc6fa05e117b), UINT64_C(0x6fae2ade582a9571),
    UINT64_C(0x6c60c2ca0613963f), UINT64_C(0x5b9717068c5d9bb5), UINT64_C(0x0309023cfa39a545), UINT64_C(0x514fb740abc82af5),
    UINT64_C(0x15e70432e179d0a3), UINT64_C(0x95461dcb43a2bfdf), UINT64_C(0x50623e44a64e31ee), UINT64_C(0xb82d782f87914d48),
    UINT64_C(0xe3c595ac2bda3049), UINT64_C(0x9169be53061184f6), UINT64_C(0x47bc3bad9fa789cb), UINT64_C(0x25206eb0e80a8c2c),
    UINT64_C(0x64657e5607ece5c3), UINT64_C(0xe2b5fcbe80496899), UINT64_C(0x8ce8a33ad6487e9c), UINT64_C(0x7acee9a8640d8c9a),
    UINT64_C(0x3eeba28eb064a4e5), UINT64_C(0x3381039cb5d2e192), UINT64_C(0x70f2ed8081b09e4b), UINT64_C(0x4d8bdd93b08cb694),
    UINT64_C(0xac4a48e62fc3b2b1), UINT64_C(0x1eeb0f212bea0ee9), UINT64_C(0x0841dc0e82d31a74), UINT64_C(0x0aabb7e739e64f38),
    UINT64_C(0x8ec0676a887762dc), UINT64_C(0x0de2a35a80466352), UINT64_C(0x7ec0318949635e86), UINT64_C(0x17a3f67070ed247d),
    UINT64_C(0xe66073422893a81e), UINT64_C(0x440f6d6724ff81f2), UINT64_C(0x8323c1624e76b61c), UINT64_C(0xd37beb0ef9d43034),
    UINT64_C(0x822a7dc6b4f55b33), UINT64_C(0xe2ead1f90a3be864), UINT64_C(0x35fd98551f581b3a), UINT64_C(0xfac2567ba0a4ca1f),
    UINT64_C(0xd37df35979312176), UINT64_C(0x035b19917bda10f2), UINT64_C(0xff17af1a0b6c28d3), UINT64_C(0xdccc4389896a6992),
    UINT64_C(0x9afc2c1a4a77771a), UINT64_C(0xe3c5a5f833908717), UINT64_C(0x36cd3519eb93949d), UINT64_C(0x791a490265be71b4),
    UINT64_C(0x648afd2979506c18), UINT64_C(0x172081757aa12032), UINT64_C(0xb382cf4e70b9ae89), UINT64_C(0x5774387a32178269),
    UINT64_C(0xdff0bfbce31f0d95), UINT64_C(0x095ab0986adeee9b), UINT64_C(0x4e55c8e8c8d5d66b), UINT64_C(0xbb1bdfddb037d139),
    UINT64_C(0xd8a4988176f685a0), UINT64_C(0x015d0fc2608a2da9), UINT64_C(0xa7251d6cc9cb441a), UINT64_C(0x62076a32e5a83a62),
    UINT64_C(0x2473e4d42d092cd9), UINT64_C(0xb082927c0dfc656e), UINT64_C(0x2ad8c2e9324a8973), UINT64_C(0x5f9df5d28697189d),
    UINT64_C(0x071207e82c4f10e8), UINT64_C(0xb78894379458d38f), UINT64_C(0xbc6745e5027052f3), UINT64_C(0x45439f6665342c4e),
    UINT64_C(0x0d1dabe8fa29785f), UINT64_C(0xe472c0257ba14649), UINT64_C(0x419e4ebf1f771ef2), UINT64_C(0xe685dfd7c6bddc2d),
    UINT64_C(0x47dd2acc5d6647bc), UINT64_C(0x60c730d5e51107d3), UINT64_C(0x5f1a59296da5d16f), UINT64_C(0x594ec801f7e41f38),
    UINT64_C(0xab5bbacee7f8e206), UINT64_C(0xa1b341f4ba4d07ab), UINT64_C(0x7c2a8a148a408c2f), UINT64_C(0xe255d62ffbda3c30),
    UINT64_C(0xdbd2e0d222de19ec), UINT64_C(0x5917b9556e5cc717), UINT64_C(0x64193ee48701ab5c), UINT64_C(0x04fc91bebca8ec7f),
    UINT64_C(0x71d0e53f5480512e), UINT64_C(0x4e63140a99777020), UINT64_C(0xafa5dd5457ec130d), UINT64_C(0x336c8a970b33f8e8),
    UINT64_C(0x3097e97522faed87), UINT64_C(0xd6549f6ebd374d5b), UINT64_C(0x94b2fb3ba3bb84aa), UINT64_C(0x1fb0827ddd2fe220),
    UINT64_C(0x396d8d757b0331ba), UINT64_C(0x59c1cd80d8702f7c), UINT64_C(0xcdfa4bdfeecd47f4), UINT64_C(0x0f5823e76398101c),
    UINT64_C(0xb1ed3b62c1040d2c), UINT64_C(0xfef43d27b47e43a5), UINT64_C(0x5b25062243819a34), UINT64_C(0x4907edbd95492856),
    UINT64_C(0x7b17d4965d843354), UINT64_C(0xd45a4d1a19a501fa), UINT64_C(0x2a7bf47133cd418a), UINT64_C(0x31dd7700ff1918f9),
    UINT64_C(0x10c3eb67017804e3), UINT64_C(0xf17d5bbccae43e06), UINT64_C(0xb3a88acad5447c66), UINT64_C(0x3db62d27f1cbaa5e),
    UINT64_C(0x10429354eb0ed14e), UINT64_C(0xdb82e465fafae90a), UINT64_C(0x53e4f611592666e4), UINT64_C(0x247898eca1436c1a),
    UINT64_C(0xb7ad641cc51482d2), UINT64_C(0x6c115007a2fe9315), UINT64_C(0x5d04bf5360c73714), UINT64_C(0x6866bfbd80e7d19d),
    UINT64_C(0x643ebe3bd17343a1), UINT64_C(0xbc4baed8ca6653a4), UINT64_C(0x9da8cb3c14792e6b), UINT64_C(0x0e3d194a21631d58),
    UINT64_C(0xcea5f263baa8832b), UINT64_C(0x501533869adb1f84), UINT64_C(0x98d8a4bf4ab73d01), UINT64_C(0xae9d7e8efb82c70f),
    UINT64_C(0xf4535e755dce9a33), UINT64_C(0x4d05d5022c7a098e), UINT64_C(0x7ecd3d0c774d00b1), UINT64_C(0xc1a09ecb990cac29),
    UINT64_C(0x1f6bd17b929ad025), UINT64_C(0xa45ef4964036e02d), UINT64_C(0x523660e9c4fa3cf5), UINT64_C(0xcb0a39239e418fc0),
    UINT64_C(0x38f76996b67c4343), UINT64_C(0xc57a901057e60305), UINT64_C(0xad99539e8e80a339), UINT64_C(0x08533bcc5ea53d90),
    UINT64_C(0x48c7fb0ddbe89e04), UINT64_C(0xa8b0b5b7dd2224f0), UINT64_C(0x00664cb8c3bc04f7), UINT64_C(0xc628cf5d985ffe48),
    UINT64_C(0xc631604c8380b6ae), UINT64_C(0x922aa331618b3c08), UINT64_C(0x3f981f38e8e0146e), UINT64_C(0x9d6cb0559117aebf),
    UINT64_C(0x62cdc0e66e3a0346), UINT64_C(0x4c6dd62c45e0f079), UINT64_C(0x23b184b047a43560), UINT64_C(0xe8f5518069cf6f44),
    UINT64_C(0xb1cd58896ef62813), UINT64_C(0x232c5da6bede7c15), UINT64_C(0x6218c74c65021580), UINT64_C(0xf725b8e54046afd9),
    UINT64_C(0xd0529a0e12216886), UINT64_C(0xb791f3d20ebb5ed6), UINT64_C(0x9c2b0cdf0c1e8cd8), UINT64_C(0xaec58a58cf2da5fd),
    UINT64_C(0x4809ecc16e36137b), UINT64_C(0x8191a20dae8f09c4), UINT64_C(0x6bfaf23fc21ea3b5), UINT64_C(0x16c5f0b51a869dd3),
    UINT64_C(0x2e747c33f6891565), UINT64_C(0x31a383462421e033), UINT64_C(0x39fd339cec48f7aa), UINT64_C(0x2ae0328c7322055d),
    UINT64_C(0x5328f4340b250f0e), UINT64_C(0x083f43cf71b86bd1), UINT64_C(0x9e864aa1aa49e4fc), UINT64_C(0xac0816238c08b3c0),
    UINT64_C(0xf27d3d6ac6484827), UINT64_C(0x4a52cca4b820d691), UINT64_C(0x04dbd7063227df86), UINT64_C(0x8212193d51481e7a),
    UINT64_C(0xc36d73f641c93e59), UINT64_C(0x4312320a29a8a59c), UINT64_C(0x8b0e9815f2c4f1e9), UINT64_C(0xb9b9415f566ee2a7),
    UINT64_C(0x6ade831be9853099), UINT64_C(0x79b6e136b9d34ea8), UINT64_C(0x0d13174bd293a238), UINT64_C(0x6abaad01e53558ac),
    UINT64_C(0x71b0f33eb0910142), UINT64_C(0x91ca4616124ccaca), UINT64_C(0x0ddc846636c15f83), UINT64_C(0x526e67224ac7013f),
    UINT64_C(0x35e59788965fcd1e), UINT64_C(0xc1c7495fbd6ebba8), UINT64_C(0xd879690d860e1783), UINT64_C(0x5df6d4ef9a5762a3),
    /* clang-format on */
};

/* The uppermost bits: the gear hash shifts left, so that they depend on the most bytes (the last 64). */
static uint64_t mask(unsigned bits)
{
    return ~UINT64_C(0) << (64 - bits);
}

/*
 * Looks for a cut in data[pos .. end): the place just behind the byte that makes it, or 0. Four bytes a turn, because the compilers do
 * not unroll a loop that may end at each of them, and this one sets the speed.
 */
static size_t find_cut(const uint8_t *data, size_t pos, size_t end, uint64_t *hash, uint64_t zero_bits)
{
    uint64_t h = *hash;

    for (; pos + 4 <= end; pos += 4) {
        uint64_t h1 = (h << 1) + gear[data[pos]];
        uint64_t h2 = (h1 << 1) + gear[data[pos + 1]];
        uint64_t h3 = (h2 << 1) + gear[data[pos + 2]];
        h = (h3 << 1) + gear[data[pos + 3]];
        if ((h1 & zero_bits) == 0)
            return pos + 1;
        if ((h2 & zero_bits) == 0)
            return pos + 2;
        if ((h3 & zero_bits) == 0)
            return pos + 3;
        if ((h & zero_bits) == 0)
            return pos + 4;
    }
    for (; pos < end; pos++) {
        h = (h << 1) + gear[data[pos]];
        if ((h & zero_bits) == 0)
            return pos + 1;
    }
    *hash = h;
    return 0;
}

size_t stm_chunker_cut(const struct stm_chunker *c, const uint8_t *data, size_t len, bool last)
{
    assert(c->min_bytes > 0 && c->min_bytes < c->avg_bytes && c->avg_bytes < c->max_bytes);
    assert(c->avg_bytes > 1 << NORMAL_BITS && (c->avg_bytes & (c->avg_bytes - 1)) == 0);
    assert(len > 0 && (last || len >= c->max_bytes));

    size_t end = len < c->max_bytes ? len : c->max_bytes;
    size_t normal = end < c->avg_bytes ? end : c->avg_bytes;
    size_t pos = c->min_bytes; /* no cut lies before it, so nothing before it is hashed */
    unsigned bits = (unsigned)__builtin_ctzll(c->avg_bytes);
    uint64_t hash = 0;

    /* Where even the minimum is not reached, neither search has a byte to look at. */
    size_t cut = find_cut(data, pos, normal, &hash, mask(bits + NORMAL_BITS));
    if (cut == 0)
        cut = find_cut(data, normal, end, &hash, mask(bits - NORMAL_BITS));
    return cut ? cut : end;
}
