/*
 * import_remote.c: a sink that writes everything it is given to a stream, for a daemon that has the store (import_stream.h). It stores
 * nothing and knows no sockets: `send` does.
 */
#include <stdlib.h>

#include "import.h"
#include "import_stream.h"

enum { BUFFER = 1 << 16 };

struct stm_remote {
    int (*send)(void *arg, const void *data, size_t len);
    void *arg;
    struct stm_buf record; /* being made */
    struct stm_buf out;    /* not sent yet */
    uint8_t *piece;        /* STM_PIECE_MAX bytes */
};

static int send_out(struct stm_remote *r)
{
    int err = r->out.len ? r->send(r->arg, r->out.data, r->out.len) : 0;

    stm_buf_clear(&r->out);
    return err;
}

static int add_out(struct stm_remote *r, const void *data, size_t len)
{
    int err = stm_buf_append(&r->out, data, len);

    return err == 0 && r->out.len >= BUFFER ? send_out(r) : err;
}

int stm_remote_new(int (*send)(void *arg, const void *data, size_t len), void *arg, struct stm_remote **ret)
{
    struct stm_remote *r = calloc(1, sizeof *r);

    if (!r)
        return -ENOMEM;
    r->send = send;
    r->arg = arg;
    r->piece = malloc(STM_PIECE_MAX);
    int err = r->piece ? stm_buf_append(&r->out, STM_STREAM_MAGIC, strlen(STM_STREAM_MAGIC)) : -ENOMEM;
    if (err < 0)
        stm_remote_free(r);
    else
        *ret = r;
    return err;
}

void stm_remote_free(struct stm_remote *r)
{
    if (!r)
        return;
    stm_buf_release(&r->record);
    stm_buf_release(&r->out);
    free(r->piece);
    free(r);
}

static void put_number(uint8_t *to, uint64_t n, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, n >>= 8)
        to[i] = (uint8_t)n;
}

/* Appends to the record; an earlier error stays. */
static void number(struct stm_remote *r, int *err, uint64_t n, int bytes)
{
    uint8_t b[8];

    put_number(b, n, bytes);
    if (*err == 0)
        *err = stm_buf_append(&r->record, b, (size_t)bytes);
}

static void bytes(struct stm_remote *r, int *err, struct stm_slice s)
{
    if (*err == 0 && s.len > STM_RECORD_MAX)
        *err = -E2BIG;
    number(r, err, s.len, 4);
    if (*err == 0 && s.len)
        *err = stm_buf_append(&r->record, s.data, s.len);
}

static void start(struct stm_remote *r, int *err, uint8_t kind)
{
    stm_buf_clear(&r->record);
    number(r, err, 0, 4); /* the length, when it is known */
    number(r, err, kind, 1);
}

static int end(struct stm_remote *r, int err)
{
    if (err == 0 && r->record.len - 4 > STM_RECORD_MAX)
        err = -E2BIG;
    if (err < 0)
        return err;
    put_number(r->record.data, r->record.len - 4, 4);
    return add_out(r, r->record.data, r->record.len);
}

static int put_piece(struct stm_remote *r, const void *data, uint32_t len)
{
    uint8_t head[4];

    put_number(head, len, 4);
    int err = add_out(r, head, sizeof head);
    return err == 0 && data ? add_out(r, data, len) : err;
}

/* What source->read failed with is returned after the other side was told to drop the file. */
static int put_content(struct stm_remote *r, const struct stm_source *s)
{
    int err = 0;

    for (uint64_t off = 0; err == 0 && off < s->size;) {
        uint32_t len = s->size - off < STM_PIECE_MAX ? (uint32_t)(s->size - off) : STM_PIECE_MAX;
        const uint8_t *data = s->mem ? (const uint8_t *)s->mem + off : r->piece;
        int failed = s->mem ? 0 : s->read(s->arg, off, r->piece, len);
        err = failed < 0 ? put_piece(r, NULL, STM_PIECE_GONE) : put_piece(r, data, len);
        if (err == 0 && failed < 0)
            return failed;
        off += len;
    }
    return err;
}

static int remote_put(void *arg, const struct stm_bulk_item *item)
{
    struct stm_remote *r = arg;
    const struct stm_bulk_attr *a = &item->attr;
    int err = stm_bulk_check(item);

    if (err < 0)
        return err;
    start(r, &err, STM_STREAM_ITEM);
    number(r, &err, item->kind, 1);
    number(r, &err, a->valid, 4);
    number(r, &err, a->mode, 4);
    number(r, &err, a->uid, 4);
    number(r, &err, a->gid, 4);
    number(r, &err, item->type, 4);
    number(r, &err, item->rdev, 8);
    number(r, &err, (uint64_t)a->atime_ns, 8);
    number(r, &err, (uint64_t)a->mtime_ns, 8);
    number(r, &err, item->kind == STM_BULK_FILE ? item->source->size : 0, 8);
    bytes(r, &err, item->path);
    bytes(r, &err, item->target);
    number(r, &err, a->xattr_count, 4);
    for (size_t i = 0; i < a->xattr_count; i++) {
        bytes(r, &err, a->xattrs[i].name);
        bytes(r, &err, a->xattrs[i].value);
    }
    err = end(r, err);
    return err == 0 && item->kind == STM_BULK_FILE ? put_content(r, item->source) : err;
}

static int remote_begin(void *arg, const struct stm_bulk_commit *c)
{
    struct stm_remote *r = arg;
    int err = 0;

    start(r, &err, STM_STREAM_BEGIN);
    number(r, &err, (uint64_t)c->effective_ns, 8);
    bytes(r, &err, c->id);
    bytes(r, &err, stm_slice_str(c->author ? c->author : ""));
    bytes(r, &err, stm_slice_str(c->message ? c->message : ""));
    return end(r, err);
}

static int remote_commit(void *arg)
{
    struct stm_remote *r = arg;
    int err = 0;

    start(r, &err, STM_STREAM_COMMIT);
    return end(r, err);
}

static int remote_finish(void *arg, uint64_t skipped, struct stm_bulk_counts *ret)
{
    struct stm_remote *r = arg;
    int err = 0;

    start(r, &err, STM_STREAM_END);
    number(r, &err, skipped, 8);
    err = end(r, err);
    if (err == 0)
        err = send_out(r);
    if (err == 0)
        *ret = (struct stm_bulk_counts){0};
    return err;
}

static const char *remote_where(void *arg)
{
    (void)arg;
    return "";
}

struct stm_sink stm_remote_sink(struct stm_remote *r)
{
    return (struct stm_sink){
        .arg = r, .put = remote_put, .begin = remote_begin, .commit = remote_commit, .finish = remote_finish, .where = remote_where};
}
