/*
 * fuzz_chunk.c: bytes of contents: packing and unpacking, cutting into chunks, and lists of chunks that somebody made up. What was put
 * away is read back equal, from everywhere; packed bytes that nobody packed give an error or the announced length, nothing else.
 *
 * Input: how u8, number u16, bytes.
 */
#include "fuzz.h"

#include "chunker.h"
#include "inner.h"
#include "stemma/codec.h"

enum { RAW_MAX = 1 << 16, REPEAT = 24 };

static void check_pack(enum stm_codec codec, struct stm_slice raw)
{
    struct stm_buf packed = STM_BUF_INIT;
    uint8_t *again = malloc(raw.len + 1);
    int used = stm_codec_pack(codec, 1, raw, &packed);

    FUZZ_CHECK(again != NULL && used >= 0 && packed.len <= raw.len);
    FUZZ_CHECK(stm_codec_unpack((enum stm_codec)used, stm_buf_slice(&packed), again, raw.len) == 0);
    FUZZ_CHECK(raw.len == 0 || memcmp(again, raw.data, raw.len) == 0);
    if (raw.len > 0)
        FUZZ_CHECK(stm_codec_unpack((enum stm_codec)used, stm_buf_slice(&packed), again, raw.len - 1) < 0);
    free(again);
    stm_buf_release(&packed);
}

static void check_unpack(enum stm_codec codec, struct stm_slice packed, size_t raw_len)
{
    uint8_t *raw = malloc(raw_len + 1);

    FUZZ_CHECK(raw != NULL);
    raw[raw_len] = 0x5a;
    (void)!stm_codec_unpack(codec, packed, raw, raw_len);
    FUZZ_CHECK(raw[raw_len] == 0x5a);
    free(raw);
}

static void check_cut(struct stm_slice raw)
{
    static const struct stm_chunker small = {16, 64, 256};
    const uint8_t *p = raw.data;

    for (size_t at = 0, n; at < raw.len; at += n) {
        n = stm_chunker_cut(&small, p + at, raw.len - at, true);
        FUZZ_CHECK(n > 0 && n <= raw.len - at && n <= small.max_bytes);
        FUZZ_CHECK(n >= small.min_bytes || at + n == raw.len);
    }
}

/* The bytes over and over, with a number in between, so that there are several chunks. */
static int read_repeated(void *arg, uint64_t off, void *buf, size_t len)
{
    const struct stm_slice *s = arg;
    uint8_t *to = buf;

    for (size_t i = 0; i < len; i++, off++)
        to[i] = (uint8_t)(((const uint8_t *)s->data)[off % s->len] + (off / 5000) * 7);
    return 0;
}

/* A search for data in a list of any bytes ends, goes on only, and stays within the content. */
static void check_extents(struct stm_store *s, const struct stm_version *v)
{
    uint64_t from = 0, to = 0;

    for (uint64_t at = 0; at < v->row.size && stm_content_extent(s, v, at, &from, &to) == 0 && from < v->row.size; at = to)
        FUZZ_CHECK(from >= at && to > from && to <= v->row.size);
}

static void check_content(struct stm_slice raw, size_t off)
{
    struct stm_store_options opt = {.engine = STM_ENGINE_MEM, .content_cache_bytes = 1 << 20};
    struct stm_source source = {.size = raw.len * REPEAT, .read = read_repeated, .arg = &raw};
    struct stm_content c;
    struct stm_store *s;
    uint8_t got[300], want[300];

    FUZZ_CHECK(stm_store_open(&opt, &s, NULL) == 0);
    FUZZ_CHECK(stm_content_put(s, &source, &c) == 0);
    if (c.stored == STM_STORED_CHUNKED) {
        struct stm_version v = {.row.size = c.size, .stored = c.stored, .codec = c.codec, .body = c.body};
        for (uint64_t at = off; at < c.size; at += 4999) {
            int64_t n = stm_content_read(s, &v, at, got, sizeof got);
            FUZZ_CHECK(n == (int64_t)(c.size - at < sizeof got ? c.size - at : sizeof got));
            read_repeated(&raw, at, want, (size_t)n);
            FUZZ_CHECK(memcmp(got, want, (size_t)n) == 0);
        }
        v.body = (struct stm_buf){.data = (uint8_t *)(uintptr_t)raw.data, .len = raw.len};
        v.row.size = RAW_MAX;
        (void)!stm_content_read(s, &v, off, got, sizeof got);
        check_extents(s, &v);
    }
    stm_content_release(&c);
    (void)stm_store_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t how = fuzz_u8(&in);
    uint32_t number = fuzz_u16(&in);
    struct stm_slice bytes = fuzz_rest(&in);

    check_pack((enum stm_codec)(how % 4), bytes);
    check_unpack((enum stm_codec)(how % 5), bytes, number);
    check_cut(bytes);
    if (bytes.len > 3000 || how >= 0xc0)
        check_content(bytes.len > 0 ? bytes : stm_slice("x", 1), number);
    return 0;
}
