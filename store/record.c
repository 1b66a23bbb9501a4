/* record.c: see record.h. Field by field, no structure overlays: what is written here is what docs/FORMAT.md says, on every machine. */
#include "record.h"

#include <assert.h>

#include "stemma/hash.h"

void stm_put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

void stm_put_u64(uint8_t *p, uint64_t v)
{
    stm_put_u32(p, (uint32_t)(v >> 32));
    stm_put_u32(p + 4, (uint32_t)v);
}

uint32_t stm_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t stm_get_u64(const uint8_t *p)
{
    return (uint64_t)stm_get_u32(p) << 32 | stm_get_u32(p + 4);
}

void stm_rec_release(struct stm_rec *r)
{
    stm_buf_release(&r->buf);
    r->fixes = 0;
    r->failed = false;
}

void stm_rec_raw(struct stm_rec *r, const void *data, size_t len)
{
    static const uint8_t format = STM_RECORD_FORMAT;

    if (r->failed)
        return;
    if (r->buf.len == 0 && (stm_buf_reserve(&r->buf, 256) < 0 || stm_buf_append(&r->buf, &format, 1) < 0))
        r->failed = true;
    else if (len > 0 && stm_buf_append(&r->buf, data, len) < 0)
        r->failed = true;
}

void stm_rec_format(struct stm_rec *r, uint8_t format)
{
    if (!r->failed)
        r->buf.data[0] = format;
}

void stm_rec_u8(struct stm_rec *r, uint8_t v)
{
    stm_rec_raw(r, &v, 1);
}

void stm_rec_u32(struct stm_rec *r, uint32_t v)
{
    uint8_t b[4];
    stm_put_u32(b, v);
    stm_rec_raw(r, b, sizeof b);
}

void stm_rec_u64(struct stm_rec *r, uint64_t v)
{
    uint8_t b[8];
    stm_put_u64(b, v);
    stm_rec_raw(r, b, sizeof b);
}

/* Writes eight bytes that the commit will patch. */
static void rec_fix(struct stm_rec *r, enum stm_fix_kind kind, uint64_t placeholder)
{
    stm_rec_u64(r, placeholder);
    if (r->failed)
        return;
    assert(r->fixes < STM_REC_FIXES);
    r->fix[r->fixes++] = (struct stm_fix){(uint32_t)(r->buf.len - 8), kind};
}

void stm_rec_seq(struct stm_rec *r, uint64_t seq)
{
    if (seq == STM_SEQ_THIS)
        rec_fix(r, STM_FIX_SEQ, seq);
    else
        stm_rec_u64(r, seq);
}

void stm_rec_time(struct stm_rec *r, int64_t ns)
{
    if (ns == STM_TIME_THIS)
        rec_fix(r, STM_FIX_TIME, (uint64_t)ns);
    else
        stm_rec_u64(r, (uint64_t)ns);
}

void stm_rec_blob(struct stm_rec *r, struct stm_slice s)
{
    assert(s.len <= UINT32_MAX);
    stm_rec_u32(r, (uint32_t)s.len);
    stm_rec_raw(r, s.data, s.len);
}

const void *stm_dec_raw(struct stm_dec *d, size_t len)
{
    if (d->failed || (size_t)(d->end - d->at) < len) {
        d->failed = true;
        return NULL;
    }
    const void *p = d->at;
    d->at += len;
    return p;
}

uint8_t stm_dec_u8(struct stm_dec *d)
{
    const uint8_t *p = stm_dec_raw(d, 1);
    return p ? *p : 0;
}

uint32_t stm_dec_u32(struct stm_dec *d)
{
    const uint8_t *p = stm_dec_raw(d, 4);
    return p ? stm_get_u32(p) : 0;
}

uint64_t stm_dec_u64(struct stm_dec *d)
{
    const uint8_t *p = stm_dec_raw(d, 8);
    return p ? stm_get_u64(p) : 0;
}

struct stm_slice stm_dec_blob(struct stm_dec *d)
{
    uint32_t len = stm_dec_u32(d);
    const void *p = stm_dec_raw(d, len);
    return p ? stm_slice(p, len) : stm_slice(NULL, 0);
}

int stm_dec_end(const struct stm_dec *d)
{
    return d->failed || d->at != d->end ? STM_E_CORRUPT : 0;
}

static uint32_t frame_sum(enum stm_space space, struct stm_slice key, const uint8_t *frame, size_t len)
{
    uint64_t seed = stm_hash64(key, (uint64_t)space);
    return (uint32_t)stm_hash64(stm_slice(frame, len - STM_FRAME_TAIL), seed);
}

void stm_frame_close(enum stm_space space, struct stm_slice key, uint8_t *frame, size_t len)
{
    assert(len >= STM_FRAME_HEAD + STM_FRAME_TAIL);
    stm_put_u32(frame + len - STM_FRAME_TAIL, frame_sum(space, key, frame, len));
}

int stm_frame_open(enum stm_space space, struct stm_slice key, struct stm_slice frame, struct stm_slice *ret_payload)
{
    const uint8_t *p = frame.data, newest = space == STM_VERSION ? STM_RECORD_FORMAT_HOLES : STM_RECORD_FORMAT;

    if (frame.len < STM_FRAME_HEAD + STM_FRAME_TAIL || stm_get_u32(p + frame.len - STM_FRAME_TAIL) != frame_sum(space, key, p, frame.len))
        return STM_E_CORRUPT;
    if (p[0] < STM_RECORD_FORMAT || p[0] > newest)
        return p[0] > newest ? STM_E_NEWER_FORMAT : STM_E_CORRUPT;
    *ret_payload = stm_slice(p + STM_FRAME_HEAD, frame.len - STM_FRAME_HEAD - STM_FRAME_TAIL);
    return 0;
}
