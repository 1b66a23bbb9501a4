/*
 * codec.c: zstd, lz4 and gzip over one run of bytes. No framing of its own and no checksum: records and segments have theirs.
 */
#include "stemma/codec.h"

#include <assert.h>
#include <errno.h>
#include <lz4.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/types.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "stemma/error.h"

enum {
    GAIN = 16,                   /* at least one part in so many must be gained */
    PROBE_BYTES = 4096,          /* one sample; there are two */
    PROBE_FROM = 16384,          /* shorter runs are not probed: trying costs little more */
    RUN_MAX = 1 << 30,           /* lz4 and zlib count in ints: longer runs stay raw */
    GZIP_WINDOW = MAX_WBITS + 16 /* zlib's way of asking for gzip's header and CRC */
};

const char *stm_codec_name(enum stm_codec codec)
{
    static const char *const names[] = {"none", "lz4", "zstd", "gzip"};

    return (unsigned)codec < sizeof names / sizeof names[0] ? names[codec] : "unknown";
}

/*
 * Setting up zstd's contexts costs more than packing a dictionary entry (17 µs against 7), so that each thread keeps a pair until it
 * ends. The key is the only way to have them freed then; the two variables change once, before any thread sees the key.
 */
struct contexts {
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
};

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;

static void contexts_free(void *arg)
{
    struct contexts *c = arg;

    (void)ZSTD_freeCCtx(c->pack); /* NULL is fine to both */
    (void)ZSTD_freeDCtx(c->unpack);
    free(c);
}

static void contexts_init(void)
{
    int err = pthread_key_create(&contexts_key, contexts_free);

    assert(err == 0); /* a process has 1,024 keys; this is the store's only one */
    (void)err;
}

/* This thread's contexts, perhaps still without one or the other; NULL: no memory. */
static struct contexts *contexts_get(void)
{
    (void)pthread_once(&contexts_once, contexts_init);
    struct contexts *c = pthread_getspecific(contexts_key);
    if (c)
        return c;
    c = calloc(1, sizeof *c);
    if (c && pthread_setspecific(contexts_key, c) != 0) {
        free(c);
        return NULL;
    }
    return c;
}

/* --- packing: each returns the packed size, 0 when it does not fit into max bytes, or -ENOMEM --- */

static ssize_t pack_zstd(int level, struct stm_slice raw, void *out, size_t max)
{
    struct contexts *c = contexts_get();

    if (c && !c->pack)
        c->pack = ZSTD_createCCtx();
    if (!c || !c->pack)
        return -ENOMEM;
    size_t n = ZSTD_compressCCtx(c->pack, out, max, raw.data, raw.len, level);
    if (!ZSTD_isError(n))
        return (ssize_t)n;
    return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
}

static ssize_t pack_lz4(struct stm_slice raw, void *out, size_t max)
{
    return LZ4_compress_default(raw.data, out, (int)raw.len, (int)max);
}

static ssize_t pack_gzip(struct stm_slice raw, void *out, size_t max)
{
    z_stream z = {.next_in = (void *)(uintptr_t)raw.data, .avail_in = (uInt)raw.len, .next_out = out, .avail_out = (uInt)max};

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    int end = deflate(&z, Z_FINISH);
    ssize_t n = end == Z_STREAM_END ? (ssize_t)z.total_out : 0;
    (void)deflateEnd(&z); /* Z_DATA_ERROR only says that it did not finish */
    return n;
}

static ssize_t pack(enum stm_codec codec, int level, struct stm_slice raw, void *out, size_t max)
{
    if (codec == STM_CODEC_ZSTD)
        return pack_zstd(level, raw, out, max);
    return codec == STM_CODEC_LZ4 ? pack_lz4(raw, out, max) : pack_gzip(raw, out, max);
}

/* Counts how often each byte occurs in the sample, and returns what lz4 gains on it. */
static size_t probe_sample(const uint8_t *sample, uint32_t counts[256])
{
    char out[LZ4_COMPRESSBOUND(PROBE_BYTES)];
    int n = LZ4_compress_default((const char *)sample, out, PROBE_BYTES, sizeof out);

    for (size_t i = 0; i < PROBE_BYTES; i++)
        counts[sample[i]]++;
    return n > 0 && n < PROBE_BYTES ? (size_t)(PROBE_BYTES - n) : 0;
}

/*
 * Is packing worth trying? lz4 tells whether anything repeats, but is blind to what the entropy coders of zstd and gzip live on: base-64
 * text repeats nothing and still has two bits to spare in each byte. So the bytes' distribution has a say as well: the sum of squared
 * frequencies is 2^-H for the collision entropy H, and 1/16 can be gained when that is below 7.5 of 8 bits, that is above 1/181.
 */
static bool probe(enum stm_codec codec, struct stm_slice raw)
{
    const uint8_t *data = raw.data;
    uint32_t counts[256] = {0};
    uint64_t squares = 0, n = 2 * PROBE_BYTES;

    if (raw.len <= PROBE_FROM)
        return true;
    size_t gain = probe_sample(data + raw.len / 4, counts);
    gain += probe_sample(data + raw.len / 4 * 3 - PROBE_BYTES, counts);
    if (gain * GAIN >= n)
        return true;
    for (size_t i = 0; i < 256; i++)
        squares += (uint64_t)counts[i] * counts[i];
    return codec != STM_CODEC_LZ4 && squares * 181 > n * n;
}

int stm_codec_pack(enum stm_codec codec, int level, struct stm_slice raw, struct stm_buf *out)
{
    if ((unsigned)codec > STM_CODEC_GZIP)
        return -EINVAL;

    /* More than this is not worth having, and an encoder that knows stops early. */
    size_t max = raw.len - (raw.len + GAIN - 1) / GAIN;
    if (codec != STM_CODEC_NONE && max > 0 && raw.len <= RUN_MAX && probe(codec, raw)) {
        int err = stm_buf_reserve(out, max);
        if (err < 0)
            return err;
        ssize_t n = pack(codec, level, raw, out->data + out->len, max);
        if (n < 0)
            return (int)n;
        if (n > 0) {
            out->len += (size_t)n;
            return (int)codec;
        }
    }
    int err = stm_buf_append(out, raw.data, raw.len);
    return err < 0 ? err : STM_CODEC_NONE;
}

/* --- unpacking --- */

static int unpack_none(struct stm_slice packed, void *raw, size_t raw_len)
{
    if (packed.len != raw_len)
        return STM_E_CORRUPT;
    memcpy(raw, packed.data, raw_len);
    return 0;
}

static int unpack_zstd(struct stm_slice packed, void *raw, size_t raw_len)
{
    struct contexts *c = contexts_get();

    if (c && !c->unpack)
        c->unpack = ZSTD_createDCtx();
    if (!c || !c->unpack)
        return -ENOMEM;
    size_t n = ZSTD_decompressDCtx(c->unpack, raw, raw_len, packed.data, packed.len);
    if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
        return -ENOMEM;
    return n == raw_len ? 0 : STM_E_CORRUPT; /* error codes are sizes that no memory has */
}

static int unpack_lz4(struct stm_slice packed, void *raw, size_t raw_len)
{
    int n = LZ4_decompress_safe(packed.data, raw, (int)packed.len, (int)raw_len);

    return n >= 0 && (size_t)n == raw_len ? 0 : STM_E_CORRUPT;
}

static int unpack_gzip(struct stm_slice packed, void *raw, size_t raw_len)
{
    z_stream z = {.next_in = (void *)(uintptr_t)packed.data, .avail_in = (uInt)packed.len, .next_out = raw, .avail_out = (uInt)raw_len};

    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return -ENOMEM;
    int end = inflate(&z, Z_FINISH);
    bool whole = end == Z_STREAM_END && z.avail_in == 0 && z.avail_out == 0;
    (void)inflateEnd(&z);
    if (end == Z_MEM_ERROR)
        return -ENOMEM;
    return whole ? 0 : STM_E_CORRUPT;
}

int stm_codec_unpack(enum stm_codec codec, struct stm_slice packed, void *raw, size_t raw_len)
{
    if ((unsigned)codec > STM_CODEC_GZIP)
        return -EINVAL;
    if (raw_len == 0 || packed.len == 0) /* the packer makes nothing of nothing, whatever the codec */
        return raw_len == packed.len ? 0 : STM_E_CORRUPT;
    if (codec == STM_CODEC_NONE)
        return unpack_none(packed, raw, raw_len);
    if (raw_len > RUN_MAX || packed.len > RUN_MAX)
        return STM_E_CORRUPT; /* never packed by us */
    if (codec == STM_CODEC_ZSTD)
        return unpack_zstd(packed, raw, raw_len);
    return codec == STM_CODEC_LZ4 ? unpack_lz4(packed, raw, raw_len) : unpack_gzip(packed, raw, raw_len);
}
