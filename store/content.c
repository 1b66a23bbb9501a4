/*
 * content.c: putting contents away and reading them back. Small ones are bytes; large ones are cut by content, each chunk stored
 * once, and listed in a tree of pages whose boundaries depend on the content as well, so that an edit rewrites one page of each level.
 * Long runs of zeros are holes: entries without a chunk. What is a hole depends on the bytes alone, so that equal contents have equal lists.
 * Where chunks lie is the business of segment.c, the tree that of list.c.
 */
#include <stdlib.h>

#include "chunker.h"
#include "list.h"
#include "quarantine.h"
#include "segment.h"

enum { HOLE_BLOCK = 4096, HOLE_MIN = 32768, WINDOW = 1 << 20 }; /* holes begin at a multiple of the block */

/*
 * A content being cut, read from front to back. The window holds [off, pos) of it, what is not cut yet, from `start` to `end`; while the run of
 * zeros at its end is shorter than HOLE_MIN it is in there too. A longer one is a hole, and nothing is in the window.
 */
struct cutting {
    const struct stm_source *src;
    struct stm_writer w;
    struct stm_hasher *hasher;
    uint64_t codecs[4]; /* chunks by codec */
    uint64_t data;      /* bytes that are in chunks */
    uint64_t off, pos;
    uint64_t run; /* zeros just before pos, in whole blocks */
    uint8_t *buf;
    size_t start, end;
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

/* Cuts the window up to `end`; what the next bytes may still belong to is left, unless it is the last of this stretch of data. */
static int cut_window(struct cutting *c, size_t end, bool last)
{
    const struct stm_chunker *ch = &stm_chunker_default;

    while (c->start < end && (last || end - c->start >= ch->max_bytes)) {
        size_t n = stm_chunker_cut(ch, c->buf + c->start, end - c->start, last);
        int err = put_chunk(c, c->off, stm_slice(c->buf + c->start, n));
        if (err < 0)
            return err;
        c->start += n;
        c->off += n;
        c->data += n;
    }
    return 0;
}

static int put_hole(struct cutting *c)
{
    struct stm_place hole = {.length = c->run};

    c->off = c->pos;
    c->run = 0;
    return stm_list_add(&c->w.level0, &hole);
}

/* The next n bytes are zero. If the run stays short they are in the window already, at its end. */
static int take_zeros(struct cutting *c, uint64_t n)
{
    uint64_t before = c->run;
    int err = 0;

    c->run += n;
    c->pos += n;
    if (c->run < HOLE_MIN) {
        c->end += (size_t)n;
        return 0;
    }
    if (before < HOLE_MIN)
        err = cut_window(c, c->end - (size_t)before, true);
    c->start = c->end = 0;
    return err;
}

/* The next n bytes, at `at` of the window's memory, are not all zero. */
static int take_data(struct cutting *c, size_t at, size_t n)
{
    int err = 0;

    if (c->run >= HOLE_MIN) {
        err = put_hole(c);
        c->start = at;
    }
    c->run = 0;
    c->end = at + n;
    c->pos += n;
    return err;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* Reads on, to `to` at most, which is a block's end or the content's. */
static int take_piece(struct cutting *c, uint64_t to)
{
    size_t at = c->end, room = (WINDOW - at) / HOLE_BLOCK * HOLE_BLOCK;
    size_t end = at + (to - c->pos < room ? (size_t)(to - c->pos) : room);
    int err = source_read(c->src, c->pos, c->buf + at, end - at);

    if (err == 0)
        stm_hasher_update(c->hasher, stm_slice(c->buf + at, end - at));
    for (size_t n; err == 0 && at < end; at += n) {
        n = end - at < HOLE_BLOCK ? end - at : HOLE_BLOCK;
        err = all_zero(c->buf + at, n) ? take_zeros(c, n) : take_data(c, at, n);
    }
    if (err == 0 && c->run < HOLE_MIN)
        err = cut_window(c, c->end - (size_t)c->run, false);
    memmove(c->buf, c->buf + c->start, c->end - c->start);
    c->end -= c->start;
    c->start = 0;
    return err;
}

/* The source says that the next n bytes are zero. */
static int skip_zeros(struct cutting *c, uint64_t n)
{
    stm_hasher_zeros(c->hasher, n);
    if (c->run + n < HOLE_MIN)
        memset(c->buf + c->end, 0, (size_t)n);
    return take_zeros(c, n);
}

/* Where the source has data from pos on: whole blocks. */
static int next_data(const struct cutting *c, uint64_t *ret_from, uint64_t *ret_to)
{
    uint64_t size = c->src->size, from = c->pos, to = size;

    if (c->src->extent) {
        int err = c->src->extent(c->src->arg, c->pos, &from, &to);
        if (err < 0)
            return err;
        from = from < size ? from / HOLE_BLOCK * HOLE_BLOCK : size;
        to = to < size ? (to + HOLE_BLOCK - 1) / HOLE_BLOCK * HOLE_BLOCK : size;
    }
    *ret_from = from > c->pos ? from : c->pos;
    *ret_to = to < size ? to : size;
    return from < size && to <= *ret_from ? -EIO : 0; /* it would never end */
}

static int cut_source(struct cutting *c)
{
    uint64_t from = 0, to = 0;
    int err = 0;

    while (err == 0 && c->pos < c->src->size) {
        if (c->pos >= to)
            err = next_data(c, &from, &to);
        if (err == 0)
            err = c->pos < from ? skip_zeros(c, from - c->pos) : take_piece(c, to);
    }
    if (err == 0)
        err = c->run >= HOLE_MIN ? put_hole(c) : cut_window(c, c->end, true);
    return err;
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
    struct cutting cut = {.src = src, .hasher = stm_hasher_new(), .buf = malloc(WINDOW)};
    int err = stm_writer_init(&cut.w, s);

    if (err == 0 && (!cut.hasher || !cut.buf))
        err = -ENOMEM;
    if (err == 0)
        err = cut_source(&cut);
    if (err == 0) {
        c->hash = stm_hasher_digest(cut.hasher);
        c->stored = STM_STORED_CHUNKED;
        c->codec = main_codec(&cut);
        c->data = cut.data;
        err = stm_writer_finish(&cut.w, &c->body, &c->fresh, &c->size_stored);
    }
    stm_writer_release(&cut.w);
    stm_hasher_free(cut.hasher);
    free(cut.buf);
    return err;
}

int stm_content_put(struct stm_store *s, const struct stm_source *src, struct stm_content *ret)
{
    struct stm_content c = {.size = src->size, .data = src->size};
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
    int err = stm_quarantine_check(s, v);
    if (err == 0)
        err = stm_list_read(s, stm_buf_slice(&v->body), off, buf, len);
    return err < 0 ? err : (int64_t)len;
}

int stm_content_extent(struct stm_store *s, const struct stm_version *v, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    *ret_from = off < v->row.size ? off : v->row.size;
    *ret_to = v->row.size;
    if (off >= v->row.size || v->data == v->row.size)
        return 0;
    return stm_list_extent(s, stm_buf_slice(&v->body), ret_from, ret_to);
}
