/*
 * import_serve.c: the daemon's end of an import: reads the stream that import_remote.c wrote and feeds a sink. Every length is checked
 * before it is believed; memory is bounded by one record and one small file.
 */
#include <stdlib.h>

#include "import.h"
#include "import_spool.h"
#include "import_stream.h"

enum { MEMORY_MAX = 1 << 20 }; /* larger contents go through a file */

struct serve {
    int (*next)(void *arg, struct stm_slice *ret);
    void *arg;
    struct stm_slice left; /* of the current piece of input */
    struct stm_sink *sink;
    struct stm_buf record, content;
    size_t at; /* in record */
    bool bad;  /* a field went over the record's end */
    struct stm_bulk_xattr *xattrs;
    uint64_t refused;
    struct stm_spool spool;
    /* the content being read */
    uint64_t size, pos;
    uint32_t piece; /* bytes left of its current piece */
    bool gone;
};

/* Exactly len bytes; -EPROTO when the stream ends before. */
static int take(struct serve *s, void *to, size_t len)
{
    uint8_t *p = to;

    while (len > 0) {
        if (s->left.len == 0) {
            int err = s->next(s->arg, &s->left);
            if (err <= 0)
                return err < 0 ? err : -EPROTO;
            continue;
        }
        size_t n = s->left.len < len ? s->left.len : len;
        memcpy(p, s->left.data, n);
        s->left = stm_slice((const uint8_t *)s->left.data + n, s->left.len - n);
        p += n;
        len -= n;
    }
    return 0;
}

static uint64_t get_number(const uint8_t *p, int bytes)
{
    uint64_t n = 0;

    for (int i = 0; i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

static int take_u32(struct serve *s, uint32_t *ret)
{
    uint8_t b[4];
    int err = take(s, b, sizeof b);

    if (err == 0)
        *ret = (uint32_t)get_number(b, 4);
    return err;
}

static uint64_t number(struct serve *s, int bytes)
{
    if (s->record.len - s->at < (size_t)bytes) {
        s->bad = true;
        s->at = s->record.len;
        return 0;
    }
    s->at += (size_t)bytes;
    return get_number(s->record.data + s->at - bytes, bytes);
}

static struct stm_slice bytes(struct serve *s)
{
    size_t len = number(s, 4);

    if (s->record.len - s->at < len) {
        s->bad = true;
        len = 0;
    }
    struct stm_slice r = stm_slice(s->record.data + s->at, len);
    s->at += len;
    return r;
}

static int take_record(struct serve *s)
{
    uint32_t len;
    int err = take_u32(s, &len);

    if (err == 0 && (len == 0 || len > STM_RECORD_MAX))
        err = -EPROTO;
    stm_buf_clear(&s->record);
    if (err == 0)
        err = stm_buf_resize(&s->record, len);
    if (err == 0)
        err = take(s, s->record.data, len);
    s->at = 0;
    s->bad = false;
    return err;
}

/* The next len bytes of the content, over its pieces. -ECANCELED when the sender could not read on. */
static int take_content(struct serve *s, uint8_t *to, size_t len)
{
    while (len > 0) {
        int err = 0;
        if (s->piece == 0) {
            err = take_u32(s, &s->piece);
            s->gone = err == 0 && s->piece == STM_PIECE_GONE;
            if (s->gone)
                return -ECANCELED;
            if (err == 0 && (s->piece == 0 || s->piece > STM_PIECE_MAX || s->piece > s->size - s->pos))
                err = -EPROTO;
        }
        if (err < 0)
            return err;
        uint32_t n = s->piece < len ? s->piece : (uint32_t)len;
        err = take(s, to, n);
        if (err < 0)
            return err;
        s->piece -= n;
        s->pos += n;
        to += n;
        len -= n;
    }
    return 0;
}

static int next_content(void *arg, void *buf, size_t len)
{
    return take_content(arg, buf, len);
}

/* Reads all of the content, so that the stream goes on behind it whatever the sink thinks of it. */
static int serve_file(struct serve *s, struct stm_bulk_item *item)
{
    struct stm_source source = {.size = s->size};
    int err = 0;

    s->pos = s->piece = 0;
    s->gone = false;
    if (s->size <= MEMORY_MAX) {
        stm_buf_clear(&s->content);
        err = stm_buf_resize(&s->content, (size_t)s->size);
        if (err == 0)
            err = take_content(s, s->content.data, (size_t)s->size);
        source.mem = s->content.data ? (const void *)s->content.data : "";
    } else {
        err = stm_spool_fill(&s->spool, s->size, next_content, s);
        source.read = stm_spool_read;
        source.arg = &s->spool;
    }
    if (s->gone)
        return 0; /* the sender has counted it */
    item->source = &source;
    if (err == 0)
        err = s->sink->put(s->sink->arg, item);
    item->source = NULL;
    return err;
}

static int read_xattrs(struct serve *s, struct stm_bulk_attr *a)
{
    size_t n = number(s, 4);

    if (s->bad || n > (s->record.len - s->at) / 8)
        return -EPROTO;
    a->xattr_count = n;
    if (n) {
        struct stm_bulk_xattr *x = realloc(s->xattrs, n * sizeof *x);
        if (!x)
            return -ENOMEM;
        s->xattrs = x;
    }
    for (size_t i = 0; i < n; i++) {
        s->xattrs[i].name = bytes(s);
        s->xattrs[i].value = bytes(s);
    }
    a->xattrs = s->xattrs;
    return 0;
}

static int serve_item(struct serve *s)
{
    struct stm_bulk_item item = {.kind = (enum stm_bulk_kind)number(s, 1)};
    struct stm_bulk_attr *a = &item.attr;

    a->valid = (unsigned)number(s, 4);
    a->mode = (uint32_t)number(s, 4);
    a->uid = (uint32_t)number(s, 4);
    a->gid = (uint32_t)number(s, 4);
    item.type = (uint32_t)number(s, 4);
    item.rdev = number(s, 8);
    a->atime_ns = (int64_t)number(s, 8);
    a->mtime_ns = (int64_t)number(s, 8);
    s->size = number(s, 8);
    item.path = bytes(s);
    item.target = bytes(s);
    int err = read_xattrs(s, a);
    if (err == 0 && (s->bad || s->at != s->record.len))
        err = -EPROTO;
    if (err == 0)
        err = item.kind == STM_BULK_FILE ? serve_file(s, &item) : s->sink->put(s->sink->arg, &item);
    if (err == STM_E_BAD_NAME || err == -ENAMETOOLONG) {
        s->refused++;
        err = 0;
    }
    return err;
}

/* A text of the record as a string, which must not hold a zero byte; NULL for an empty one. */
static int text(struct serve *s, char **ret)
{
    struct stm_slice t = bytes(s);

    if (t.len && memchr(t.data, 0, t.len))
        return -EPROTO;
    *ret = t.len ? strndup(t.data, t.len) : NULL;
    return t.len && !*ret ? -ENOMEM : 0;
}

static int serve_begin(struct serve *s)
{
    struct stm_bulk_commit c = {.effective_ns = (int64_t)number(s, 8)};
    char *author = NULL, *message = NULL;

    c.id = bytes(s);
    int err = text(s, &author);

    if (err == 0)
        err = text(s, &message);
    if (err == 0 && (s->bad || s->at != s->record.len))
        err = -EPROTO;
    if (err == 0) {
        c.author = author;
        c.message = message;
        err = s->sink->begin(s->sink->arg, &c);
    }
    free(author);
    free(message);
    return err < 0 ? err : 0; /* 1, the target has it: the sink drops what follows */
}

/* 1 when the import is complete. */
static int serve_record(struct serve *s, struct stm_bulk_counts *ret)
{
    uint64_t skipped;
    int err = take_record(s);

    if (err < 0)
        return err;
    switch (number(s, 1)) {
    case STM_STREAM_ITEM:
        return serve_item(s);
    case STM_STREAM_BEGIN:
        return serve_begin(s);
    case STM_STREAM_COMMIT:
        return s->record.len == 1 ? s->sink->commit(s->sink->arg) : -EPROTO;
    case STM_STREAM_END:
        skipped = number(s, 8);
        if (s->bad || s->at != s->record.len)
            return -EPROTO;
        err = s->sink->finish(s->sink->arg, skipped + s->refused, ret);
        return err < 0 ? err : 1;
    default:
        return -EPROTO;
    }
}

int stm_import_serve(int (*next)(void *arg, struct stm_slice *ret), void *arg, struct stm_sink *sink, struct stm_bulk_counts *ret)
{
    struct serve s = {.next = next, .arg = arg, .sink = sink, .spool = {.dir = sink->spool}};
    char magic[sizeof STM_STREAM_MAGIC - 1];
    int err = take(&s, magic, sizeof magic);

    if (err == 0 && memcmp(magic, STM_STREAM_MAGIC, sizeof magic) != 0)
        err = -EPROTO;
    while (err == 0)
        err = serve_record(&s, ret);
    stm_buf_release(&s.record);
    stm_buf_release(&s.content);
    stm_spool_release(&s.spool);
    free(s.xattrs);
    return err < 0 ? err : 0;
}
