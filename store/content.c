/*
 * content.c: putting contents away and reading them back. Small ones are bytes; large ones are cut by content, each chunk stored
 * once, and listed in a tree of pages whose boundaries depend on the content as well, so that an edit rewrites one page of each level.
 * Where chunks lie is the business of segment.c, the tree that of list.c.
 */
#include <stdlib.h>

#include "chunker.h"
#include "list.h"
#include "segment.h"

/* A content being cut. */
struct cutting {
    struct stm_store *store;
    const struct stm_source *src;
    struct stm_writer w;
    uint64_t codecs[4]; /* chunks by codec */
};

static int source_read(const struct stm_source *src, uint64_t off, void *buf, size_t len)
{
    if (!src->mem)
        return src->read(src->arg, off, buf, len);
    memcpy(buf, (const uint8_t *)src->mem + off, len);
    return 0;
}

/* Are the bytes at that place of the source the same? They were cut before, in this very content. 1, 0 or an error. */
static int same_in_source(const struct stm_source *src, uint64_t off, struct stm_slice raw)
{
    if (src->mem)
        return memcmp((const uint8_t *)src->mem + off, raw.data, raw.len) == 0;
    uint8_t *copy = malloc(raw.len);
    if (!copy)
        return -ENOMEM;
    int err = source_read(src, off, copy, raw.len);
    if (err == 0)
        err = memcmp(copy, raw.data, raw.len) == 0;
    free(copy);
    return err;
}

/* Stores one chunk of the source, or finds it stored. */
static int put_chunk(struct cutting *c, uint64_t off, struct stm_slice raw)
{
    struct stm_hash hash = stm_hash_of(raw);
    struct stm_place place;
    enum stm_codec codec = STM_CODEC_NONE;
    uint64_t seen;
    int err = stm_writer_seen(&c->w, &hash, &place, &seen);

    if (err > 0)
        err = place.length == raw.len ? same_in_source(c->src, seen, raw) : 0;
    if (err == 0) {
        err = stm_writer_store(&c->w, raw, &hash, &place, &codec);
        if (err > 0)
            c->codecs[codec & 3]++;
        if (err >= 0)
            err = stm_writer_remember(&c->w, &place, off);
    }
    return err < 0 ? err : stm_list_add(&c->w.level0, &place);
}

/* Cuts what lies in the window [data, data+len) at content offset off; returns how much was cut, or an error. */
static int64_t cut_window(struct cutting *c, uint64_t off, const uint8_t *data, size_t len, bool last)
{
    const struct stm_chunker *ch = &stm_chunker_default;
    size_t at = 0;

    while (at < len && (last || len - at >= ch->max_bytes)) {
        size_t n = stm_chunker_cut(ch, data + at, len - at, last);
        int err = put_chunk(c, off + at, stm_slice(data + at, n));
        if (err < 0)
            return err;
        at += n;
    }
    return (int64_t)at;
}

/* Reads the source from front to back through a window and cuts it. */
static int cut_source(struct cutting *c, struct stm_hasher *hasher)
{
    size_t window = stm_chunker_default.max_bytes * 8, have = 0;
    uint64_t off = 0, size = c->src->size; /* off: of the window's first byte */
    uint8_t *buf = malloc(window);
    int64_t err = buf ? 0 : -ENOMEM;

    while (err >= 0 && off < size) {
        size_t more = window - have < size - off - have ? window - have : (size_t)(size - off - have);
        err = source_read(c->src, off + have, buf + have, more);
        if (err < 0)
            break;
        stm_hasher_update(hasher, stm_slice(buf + have, more));
        have += more;
        err = cut_window(c, off, buf, have, off + have == size);
        if (err < 0)
            break;
        memmove(buf, buf + err, have - (size_t)err);
        have -= (size_t)err;
        off += (uint64_t)err;
    }
    free(buf);
    return err < 0 ? (int)err : 0;
}

static enum stm_codec main_codec(const struct cutting *c)
{
    int best = 0;
    for (int i = 1; i < 4; i++)
        if (c->codecs[i] > c->codecs[best])
            best = i;
    return (enum stm_codec)best;
}

static int put_chunked(struct stm_store *s, const struct stm_source *src, struct stm_content *c)
{
    struct cutting cut = {.store = s, .src = src};
    struct stm_hasher *hasher = stm_hasher_new();
    int err = hasher ? stm_writer_init(&cut.w, s) : -ENOMEM;

    if (err == 0)
        err = cut_source(&cut, hasher);
    if (err == 0) {
        c->hash = stm_hasher_digest(hasher);
        c->stored = STM_STORED_CHUNKED;
        c->codec = main_codec(&cut);
        err = stm_writer_finish(&cut.w, &c->body, &c->fresh, &c->size_stored);
    }
    stm_writer_release(&cut.w);
    stm_hasher_free(hasher);
    return err;
}

int stm_content_put(struct stm_store *s, const struct stm_source *src, struct stm_content *ret)
{
    struct stm_content c = {.size = src->size};
    int err;

    if (src->size > STM_SMALL_MAX) {
        err = put_chunked(s, src, &c);
    } else {
        c.stored = src->size <= STM_INLINE_MAX ? STM_STORED_INLINE : STM_STORED_SMALL;
        c.size_stored = src->size;
        err = stm_buf_resize(&c.body, src->size);
        if (err == 0 && src->size > 0)
            err = source_read(src, 0, c.body.data, src->size);
        c.hash = stm_hash_of(err == 0 ? stm_buf_slice(&c.body) : stm_slice("", 0));
    }
    if (err < 0)
        stm_content_release(&c);
    else
        *ret = c;
    return err;
}

void stm_content_release(struct stm_content *c)
{
    stm_buf_release(&c->body);
    stm_buf_release(&c->fresh);
}

static int64_t copy_part(struct stm_slice bytes, uint64_t off, void *buf, size_t len)
{
    if (off >= bytes.len)
        return 0;
    size_t n = bytes.len - off < len ? bytes.len - (size_t)off : len;
    memcpy(buf, (const uint8_t *)bytes.data + off, n);
    return (int64_t)n;
}

static int64_t read_small(struct stm_store *s, const struct stm_version *v, uint64_t off, void *buf, size_t len)
{
    struct stm_key key = stm_key_version(v->row.line, v->row.seq);
    struct stm_view view = stm_view_head(s);
    struct stm_buf value = STM_BUF_INIT;
    struct stm_slice payload;
    int64_t n = stm_read(&view, STM_CONTENT, &key, &value, &payload);

    if (n == 0)
        n = payload.len == v->row.size ? copy_part(payload, off, buf, len) : STM_E_CORRUPT;
    stm_buf_release(&value);
    return n == -ENOENT ? -ESTALE : n;
}

int64_t stm_content_read(struct stm_store *s, const struct stm_version *v, uint64_t off, void *buf, size_t len)
{
    if (off >= v->row.size)
        return 0;
    if (len > v->row.size - off)
        len = (size_t)(v->row.size - off);
    switch (v->stored) {
    case STM_STORED_INLINE:
        return copy_part(stm_buf_slice(&v->body), off, buf, len);
    case STM_STORED_SMALL:
        return read_small(s, v, off, buf, len);
    case STM_STORED_CHUNKED:
        break;
    }
    int err = stm_list_read(s, stm_buf_slice(&v->body), off, buf, len);
    return err < 0 ? err : (int64_t)len;
}
