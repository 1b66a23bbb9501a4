/*
 * version.c: records of versions, finding the one that an object shows in a view, and the reading side of lines. Making versions is
 * save.c's, rows and selectors row.c's, bytes of contents content.c's business.
 */
#include <sys/stat.h>

#include "save.h"

enum { RACES_MAX = 50, STORED_HOLES = 3 /* on disk: chunked, and how much of the size is data follows */ };

void stm_version_release(struct stm_version *v)
{
    stm_buf_release(&v->text);
    stm_buf_release(&v->body);
}

/* text holds what follows the fixed fields up to the body: blob author, blob message, blob xattrs. */
static struct stm_slice text_part(const struct stm_version *v, int which)
{
    struct stm_dec d = stm_dec(stm_buf_slice(&v->text));
    struct stm_slice part = {NULL, 0};

    for (int i = 0; i <= which; i++)
        part = stm_dec_blob(&d);
    return part.data ? part : stm_slice("", 0);
}

struct stm_slice stm_version_author(const struct stm_version *v)
{
    return text_part(v, 0);
}

struct stm_slice stm_version_message(const struct stm_version *v)
{
    return text_part(v, 1);
}

int stm_version_xattrs(const struct stm_version *v, int (*each)(void *arg, struct stm_slice name, struct stm_slice value), void *arg)
{
    struct stm_dec d = stm_dec(text_part(v, 2));
    int err = 0;

    while (err == 0 && !d.failed && d.at < d.end) {
        struct stm_slice name = stm_dec_blob(&d), value = stm_dec_blob(&d);
        if (!d.failed)
            err = each(arg, name, value);
    }
    return err ? err : stm_dec_end(&d);
}

int stm_version_encode(struct stm_rec *r, const struct stm_version *v)
{
    stm_rec_u32(r, v->row.ordinal);
    stm_rec_u32(r, v->row.semver.major);
    stm_rec_u32(r, v->row.semver.minor);
    stm_rec_u32(r, v->row.semver.patch);
    stm_rec_u64(r, v->row.size);
    stm_rec_raw(r, v->row.hash.bytes, STM_HASH_LEN);
    stm_rec_time(r, v->row.recorded_ns);
    stm_rec_time(r, v->effective_ns);
    stm_rec_time(r, v->mtime_ns);
    stm_rec_u32(r, v->uid);
    stm_rec_u32(r, v->mode);
    stm_rec_u8(r, v->data < v->row.size ? STORED_HOLES : (uint8_t)v->stored);
    stm_rec_u8(r, (uint8_t)v->codec);
    stm_rec_u64(r, v->size_stored);
    if (v->data < v->row.size) {
        stm_rec_u64(r, v->data);
        stm_rec_format(r, STM_RECORD_FORMAT_HOLES);
    }
    stm_rec_raw(r, v->text.data, v->text.len);
    stm_rec_blob(r, v->stored == STM_STORED_SMALL ? stm_slice("", 0) : stm_buf_slice(&v->body));
    return r->failed ? -ENOMEM : 0;
}

int stm_version_decode(struct stm_slice payload, struct stm_version *v)
{
    struct stm_dec d = stm_dec(payload);

    v->row.ordinal = stm_dec_u32(&d);
    v->row.semver.major = stm_dec_u32(&d);
    v->row.semver.minor = stm_dec_u32(&d);
    v->row.semver.patch = stm_dec_u32(&d);
    v->row.size = stm_dec_u64(&d);
    const void *hash = stm_dec_raw(&d, STM_HASH_LEN);
    if (hash)
        memcpy(v->row.hash.bytes, hash, STM_HASH_LEN);
    v->row.recorded_ns = stm_dec_i64(&d);
    v->effective_ns = stm_dec_i64(&d);
    v->mtime_ns = stm_dec_i64(&d);
    v->uid = stm_dec_u32(&d);
    v->mode = stm_dec_u32(&d);
    uint8_t stored = stm_dec_u8(&d);
    v->codec = (enum stm_codec)stm_dec_u8(&d);
    v->size_stored = stm_dec_u64(&d);
    v->data = stored == STORED_HOLES ? stm_dec_u64(&d) : v->row.size;
    v->stored = stored == STORED_HOLES ? STM_STORED_CHUNKED : (enum stm_stored)stored;
    const uint8_t *text = d.at;
    for (int i = 0; i < 3; i++)
        (void)stm_dec_blob(&d);
    size_t text_len = d.failed ? 0 : (size_t)(d.at - text);
    struct stm_slice body = stm_dec_blob(&d);
    if (stm_dec_end(&d) < 0 || v->stored > STM_STORED_CHUNKED || v->data > v->row.size ||
        (v->stored == STM_STORED_INLINE && body.len != v->row.size) || (v->stored == STM_STORED_SMALL && body.len != 0))
        return STM_E_CORRUPT;
    int err = stm_buf_set(&v->text, text, text_len);
    return err < 0 ? err : stm_buf_set(&v->body, body.data, body.len);
}

int stm_version_load(const struct stm_view *v, uint64_t line, uint64_t seq, struct stm_version *ret)
{
    struct stm_key key = stm_key_version(line, seq);
    struct stm_version ver = {.row = {.line = line, .seq = seq}, .owner = line};
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(v, STM_VERSION, &key, &buf, &payload);

    if (err == 0)
        err = stm_version_decode(payload, &ver);
    stm_buf_release(&buf);
    if (err < 0)
        stm_version_release(&ver);
    else
        *ret = ver;
    return err;
}

static int take_version(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct stm_version *v = arg;

    v->row.seq = ~stm_get_u64((const uint8_t *)key.data + 8);
    return stm_version_decode(payload, v);
}

/* The newest version of the line at or before seq. */
static int load_at(const struct stm_view *v, uint64_t line, uint64_t seq, struct stm_version *ret)
{
    struct stm_key from = stm_key_version(line, seq), to = stm_key_version(line + 1, UINT64_MAX);
    struct stm_version ver = {.row = {.line = line}, .owner = line};
    int err = stm_read_first(v, STM_VERSION, &from, &to, take_version, &ver);

    if (err < 0)
        stm_version_release(&ver);
    else
        *ret = ver;
    return err;
}

int stm_past_line_put(struct stm_txn *t, const struct stm_object *o)
{
    struct stm_key key = stm_key_past_line(o->id, o->line_since);
    struct stm_rec r = STM_REC_INIT;

    stm_rec_u64(&r, o->line);
    stm_rec_seq(&r, STM_SEQ_THIS);
    stm_rec_seq(&r, o->floor_seq);
    return stm_txn_put(t, STM_INDEX, &key, &r);
}

int stm_past_line_decode(struct stm_slice payload, struct stm_past_line *ret)
{
    struct stm_dec d = stm_dec(payload);

    ret->line = stm_dec_u64(&d);
    ret->until = stm_dec_u64(&d);
    ret->floor = stm_dec_u64(&d);
    return stm_dec_end(&d);
}

static int take_span(void *arg, struct stm_slice key, struct stm_slice payload)
{
    (void)key;
    return stm_past_line_decode(payload, arg);
}

static int past_span(const struct stm_view *v, uint64_t object, struct stm_past_line *ret)
{
    struct stm_key from = stm_key_past_line(object, v->seq), to = stm_key_past_line(object, 0);
    int err = stm_read_first(v, STM_INDEX, &from, &to, take_span, ret);

    return err == 0 && v->seq >= ret->until ? -ENOENT : err;
}

static int version_as_of(const struct stm_view *v, const struct stm_object *o, struct stm_version *ret)
{
    struct stm_past_line s = {o->line, o->line_until, o->floor_seq};
    int err = 0;

    if (v->seq < o->line_since)
        err = past_span(v, o->id, &s);
    if (err == 0)
        err = load_at(v, s.line, v->seq < s.until ? v->seq : s.until - 1, ret);
    if (err == 0 && ret->row.seq < s.floor) {
        stm_version_release(ret);
        err = -ENOENT;
    }
    return err;
}

int stm_version_at(const struct stm_view *v, const struct stm_object *obj, struct stm_version *ret)
{
    struct stm_object o = *obj;
    int err = -ENOENT;

    if (v->seq != STM_SEQ_HEAD) {
        err = version_as_of(v, &o, ret);
    } else {
        /* The newest version may be amended between the reads of object and version: then the object says where it is now. */
        for (int i = 0; i < RACES_MAX && o.head_seq != 0; i++) {
            uint64_t line = o.line, seq = o.head_seq;
            err = stm_version_load(v, line, seq, ret);
            if (err != -ENOENT)
                break;
            err = stm_object_load(v, o.id, &o);
            if (err < 0)
                return err;
            err = o.line == line && o.head_seq == seq ? STM_E_CORRUPT : -ENOENT;
            if (err == STM_E_CORRUPT)
                break;
        }
    }
    if (err == 0)
        ret->owner = obj->id;
    return err;
}

int stm_version_get(const struct stm_view *v, uint64_t line, uint32_t ordinal, struct stm_version *ret)
{
    struct stm_version_row row;
    uint64_t owner;
    int err = -ENOENT;

    for (int i = 0; i < RACES_MAX && err == -ENOENT; i++) {
        err = stm_version_row(v, line, ordinal, &row);
        if (err < 0)
            return err;
        err = stm_version_load(v, row.line, row.seq, ret);
    }
    if (err == 0) {
        err = stm_line_owner(v, line, &owner);
        if (err < 0)
            stm_version_release(ret);
        else
            ret->owner = owner;
    }
    return err == -ENOENT ? STM_E_CORRUPT : err;
}
