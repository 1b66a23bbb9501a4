/* segment.c: see segment.h. Which chunks a content has, and whether one is known already, is content.c's business. */
#include "segment.h"

#include <stdlib.h>

#include "stemma/codec.h"

enum {
    CHUNK_ZSTD_LEVEL = 1,
    BATCH_BYTES = 1 << 20,
    CHUNK_HEAD = STM_FRAME_HEAD + 1 + 4 + STM_HASH_LEN,
    RAW_MAX = 16 << 20,
    RUN_READAHEAD = 512 << 10
};

/* Sends the waiting chunks to the ingest. */
static int feed_ingest(struct stm_segment *s)
{
    const struct stm_engine_ops *ops = s->store->engine->ops;
    size_t at = 0;

    for (uint32_t i = s->waiting_from; at < s->waiting.len; i++) {
        struct stm_key key = stm_key_chunk(s->id, i);
        uint32_t len = stm_get_u32(s->waiting.data + at);
        int err = stm_room_ask(&s->store->room, STM_WANT_GROW, len);
        stm_room_spent(&s->store->room, len);
        if (err == 0)
            err = ops->ingest_put(s->ingest, stm_key_slice(&key), stm_slice(s->waiting.data + at + 4, len));
        if (err < 0)
            return err;
        at += 4 + len;
    }
    s->waiting_from = s->count;
    stm_buf_clear(&s->waiting);
    return 0;
}

/* Writes chunks [first, ...) from *at until a batch is full. */
static int write_batch(struct stm_segment *s, uint32_t *index, size_t *at)
{
    enum { KEYS = 256 };
    struct stm_engine *e = s->store->engine;
    struct stm_key keys[KEYS];
    struct stm_op ops[KEYS];
    size_t n = 0, bytes = 0;

    while (*at < s->waiting.len && n < KEYS && bytes < BATCH_BYTES) {
        uint32_t len = stm_get_u32(s->waiting.data + *at);
        keys[n] = stm_key_chunk(s->id, (*index)++);
        ops[n] = (struct stm_op){STM_OP_PUT, STM_CHUNK, stm_key_slice(&keys[n]), stm_slice(s->waiting.data + *at + 4, len)};
        *at += 4 + len;
        bytes += len;
        n++;
    }
    stm_room_spent(&s->store->room, bytes);
    return stm_store_wrote(s->store, e->ops->commit(e, ops, n, false));
}

/* Appends the chunk's frame to what is waiting. */
static int add_frame(struct stm_segment *s, struct stm_slice raw, const struct stm_hash *hash, enum stm_codec *ret_codec)
{
    struct stm_key key = stm_key_chunk(s->id, s->count);
    struct stm_buf *w = &s->waiting;
    uint8_t head[4 + CHUNK_HEAD] = {0};
    static const uint8_t tail[STM_FRAME_TAIL];
    size_t at = w->len;
    int codec, err = stm_buf_append(w, head, sizeof head);

    if (err < 0)
        return err;
    codec = stm_codec_pack(STM_CODEC_ZSTD, CHUNK_ZSTD_LEVEL, raw, w);
    err = codec < 0 ? codec : stm_buf_append(w, tail, sizeof tail);
    if (err < 0) {
        w->len = at;
        return err;
    }
    uint8_t *frame = w->data + at + 4;
    size_t len = w->len - at - 4;
    stm_put_u32(w->data + at, (uint32_t)len);
    frame[0] = STM_RECORD_FORMAT;
    frame[1] = (uint8_t)codec;
    stm_put_u32(frame + 2, (uint32_t)raw.len);
    memcpy(frame + 6, hash->bytes, STM_HASH_LEN);
    stm_frame_close(STM_CHUNK, stm_key_slice(&key), frame, len);
    s->bytes += len;
    *ret_codec = (enum stm_codec)codec;
    return 0;
}

int stm_segment_add(struct stm_segment *s, struct stm_slice raw, const struct stm_hash *hash, struct stm_place *ret_place,
                    enum stm_codec *ret_codec)
{
    int err = s->id ? 0 : stm_store_new_id(s->store, &s->id);

    if (err == 0)
        err = add_frame(s, raw, hash, ret_codec);
    if (err < 0)
        return err;
    *ret_place = (struct stm_place){s->id, s->count++, raw.len, *hash};
    if (!s->ingest && s->bytes >= STM_SEGMENT_INGEST)
        err = s->store->engine->ops->ingest_new(s->store->engine, STM_CHUNK, &s->ingest);
    if (err == 0 && s->ingest)
        err = feed_ingest(s);
    return err;
}

int stm_segment_finish(struct stm_segment *s)
{
    uint32_t index = s->waiting_from;
    size_t at = 0;
    int err = 0;

    if (s->ingest) {
        err = stm_store_wrote(s->store, s->store->engine->ops->ingest_finish(s->ingest, false));
        s->ingest = NULL;
    }
    while (err == 0 && at < s->waiting.len)
        err = write_batch(s, &index, &at);
    stm_buf_release(&s->waiting);
    return err;
}

void stm_segment_abort(struct stm_segment *s)
{
    if (s->ingest)
        (void)s->store->engine->ops->ingest_finish(s->ingest, true);
    s->ingest = NULL;
    stm_buf_release(&s->waiting);
}

/* What a stored chunk says of itself; the packed bytes are what is left in the decoder. */
static int open_chunk(struct stm_slice payload, const struct stm_hash *want, enum stm_codec *ret_codec, uint32_t *ret_len,
                      struct stm_slice *ret_packed)
{
    struct stm_dec d = stm_dec(payload);

    *ret_codec = (enum stm_codec)stm_dec_u8(&d);
    *ret_len = stm_dec_u32(&d);
    const void *hash = stm_dec_raw(&d, STM_HASH_LEN);
    if (d.failed || *ret_len == 0 || *ret_len > RAW_MAX || memcmp(hash, want->bytes, STM_HASH_LEN) != 0)
        return STM_E_CORRUPT;
    *ret_packed = stm_slice(d.at, (size_t)(d.end - d.at));
    return 0;
}

/* Unpacks into raw and checks the bytes against their hash. */
static int unpack_into(enum stm_codec codec, struct stm_slice packed, const struct stm_hash *want, uint8_t *raw, size_t len)
{
    int err = stm_codec_unpack(codec, packed, raw, len);

    if (err < 0)
        return err == -EINVAL ? STM_E_CORRUPT : err;
    struct stm_hash got = stm_hash_of(stm_slice(raw, len));
    return stm_hash_eq(&got, want) ? 0 : STM_E_CORRUPT;
}

/* Unpacks one stored chunk into malloc'd memory. */
static int unpack(struct stm_slice payload, const struct stm_hash *want, uint8_t **ret, size_t *ret_len)
{
    struct stm_slice packed;
    enum stm_codec codec;
    uint32_t raw_len;
    int err = open_chunk(payload, want, &codec, &raw_len, &packed);

    if (err < 0)
        return err;
    uint8_t *raw = malloc(raw_len);
    if (!raw)
        return -ENOMEM;
    err = unpack_into(codec, packed, want, raw, raw_len);
    if (err < 0) {
        free(raw);
        return err;
    }
    *ret = raw;
    *ret_len = raw_len;
    return 0;
}

/* Unpacks the chunk that the iterator is at, which must be p. */
static int run_step(const struct stm_iter *it, const struct stm_place *p, uint8_t *buf)
{
    struct stm_key want = stm_key_chunk(p->segment, p->index);
    struct stm_slice key, value, payload, packed;
    enum stm_codec codec;
    uint32_t raw_len;

    it->ops->iter_get(it, &key, &value);
    if (!stm_slice_eq(key, stm_key_slice(&want)))
        return STM_E_CORRUPT;
    int err = stm_frame_open(STM_CHUNK, key, value, &payload);
    if (err == 0)
        err = open_chunk(payload, &p->hash, &codec, &raw_len, &packed);
    if (err == 0 && raw_len != p->length)
        err = STM_E_CORRUPT;
    return err < 0 ? err : unpack_into(codec, packed, &p->hash, buf, raw_len);
}

int stm_chunk_run(struct stm_store *s, const struct stm_place *p, size_t n, uint8_t *buf)
{
    const struct stm_engine_ops *ops = s->engine->ops;
    struct stm_key from = stm_key_chunk(p->segment, p->index), to = stm_key_chunk(p->segment, p[n - 1].index + 1);
    struct stm_iter *it;
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += (size_t)p[i].length;
    int err = ops->iter_new(s->engine, STM_CHUNK, stm_key_slice(&from), stm_key_slice(&to), bytes / 2, &it); /* texts shrink to that */
    if (err < 0)
        return err;
    int more = ops->iter_seek(it, stm_key_slice(&from));
    for (size_t i = 0; err == 0 && i < n; i++) {
        err = more > 0 ? run_step(it, &p[i], buf) : more < 0 ? more : STM_E_CORRUPT;
        buf += p[i].length;
        if (err == 0 && i + 1 < n)
            more = ops->iter_next(it);
    }
    ops->iter_free(it);
    return err;
}

int stm_chunk_load(struct stm_store *s, const struct stm_place *p, uint8_t **ret, size_t *ret_len)
{
    struct stm_key key = stm_key_chunk(p->segment, p->index);
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&v, STM_CHUNK, &key, &buf, &payload);

    if (err == 0)
        err = unpack(payload, &p->hash, ret, ret_len);
    stm_buf_release(&buf);
    return err == -ENOENT ? STM_E_CORRUPT : err;
}

int stm_chunk_decode(struct stm_slice payload, struct stm_hash *ret_hash, uint8_t **ret, size_t *ret_len)
{
    struct stm_hash hash;

    if (payload.len < 1 + 4 + STM_HASH_LEN)
        return STM_E_CORRUPT;
    memcpy(hash.bytes, (const uint8_t *)payload.data + 5, STM_HASH_LEN);
    int err = unpack(payload, &hash, ret, ret_len);
    if (err == 0)
        *ret_hash = hash;
    return err;
}

int stm_chunk_encode(struct stm_slice raw, const struct stm_hash *hash, struct stm_rec *ret)
{
    struct stm_buf packed = STM_BUF_INIT;
    int codec = stm_codec_pack(STM_CODEC_ZSTD, CHUNK_ZSTD_LEVEL, raw, &packed);

    if (codec >= 0) {
        stm_rec_u8(ret, (uint8_t)codec);
        stm_rec_u32(ret, (uint32_t)raw.len);
        stm_rec_raw(ret, hash->bytes, STM_HASH_LEN);
        stm_rec_raw(ret, packed.data, packed.len);
    }
    stm_buf_release(&packed);
    return codec < 0 ? codec : ret->failed ? -ENOMEM : 0;
}

int stm_chunk_get(struct stm_store *s, const struct stm_place *p, const struct stm_cached **ret)
{
    const struct stm_cached *c = stm_cache_get(s->cache, p->segment, p->index);
    uint8_t *raw = NULL;
    size_t len = 0;

    if (c) {
        *ret = c;
        return 0;
    }
    int err = stm_chunk_load(s, p, &raw, &len);
    if (err < 0)
        return err;
    c = stm_cache_put(s->cache, p->segment, p->index, raw, len);
    if (!c)
        return -ENOMEM;
    *ret = c;
    return 0;
}

/* Has a commit registered the segment? 1, 0 or an error. */
static int registered(struct stm_store *s, uint64_t segment)
{
    struct stm_key key = stm_key_index(STM_IX_SEGMENT, segment);
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&v, STM_INDEX, &key, &buf, &payload);

    stm_buf_release(&buf);
    return err == 0 ? 1 : err == -ENOENT ? 0 : err;
}

int stm_segment_sweep(struct stm_store *s, uint64_t first)
{
    struct stm_engine *e = s->engine;
    struct stm_key from = stm_key_chunk(first, 0);
    struct stm_slice key, value;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_CHUNK, stm_key_slice(&from), stm_slice(NULL, 0), 0, &it);

    if (err < 0)
        return err;
    while ((err = e->ops->iter_seek(it, stm_key_slice(&from))) > 0) {
        e->ops->iter_get(it, &key, &value);
        if (key.len < 8) {
            err = STM_E_CORRUPT;
            break;
        }
        uint64_t segment = stm_get_u64(key.data);
        struct stm_key low = stm_key_chunk(segment, 0);
        from = stm_key_chunk(segment + 1, 0);
        err = registered(s, segment);
        if (err == 0)
            err = e->ops->drop_range(e, STM_CHUNK, stm_key_slice(&low), stm_key_slice(&from));
        if (err < 0)
            break;
    }
    e->ops->iter_free(it);
    return err < 0 ? err : 0;
}
