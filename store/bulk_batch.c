/*
 * bulk_batch.c: the list behind a batch of the bulk loader, and the way from paths to directories (bulk_batch.h). Nothing here changes the
 * store, except that walking makes directories that are missing.
 */
#include "bulk_batch.h"

#include <stdlib.h>
#include <sys/stat.h>

/* What an operation costs beside its bytes. */
enum { OP_COST = 512 };

void stm_batch_clear(struct stm_batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        stm_content_release(&b->ops[i].content);
    b->count = b->xattr_count = b->bytes = 0;
    stm_buf_clear(&b->text);
}

void stm_batch_release(struct stm_batch *b)
{
    stm_batch_clear(b);
    stm_buf_release(&b->text);
    free(b->ops);
    free(b->xattrs);
    memset(b, 0, sizeof *b);
}

static int grow(void **list, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 64;
    while (more < need)
        more *= 2;
    void *p = realloc(*list, more * size);
    if (!p)
        return -ENOMEM;
    *list = p;
    *cap = more;
    return 0;
}

static int add_text(struct stm_batch *b, struct stm_slice s, struct stm_span *ret)
{
    size_t at = b->text.len;
    int err = s.len ? stm_buf_append(&b->text, s.data, s.len) : 0;

    if (err == 0)
        *ret = (struct stm_span){at, s.len};
    return err;
}

/* prefix/path, without a '/' where either is empty */
static int add_path(struct stm_batch *b, struct stm_slice prefix, struct stm_slice path, struct stm_span *ret)
{
    struct stm_span head, slash = {0, 0}, tail;
    int err = add_text(b, prefix, &head);

    if (err == 0 && prefix.len && path.len)
        err = add_text(b, stm_slice_str("/"), &slash);
    if (err == 0)
        err = add_text(b, path, &tail);
    if (err == 0)
        *ret = (struct stm_span){head.at, head.len + slash.len + tail.len};
    return err;
}

static int add_xattrs(struct stm_batch *b, const struct stm_bulk_attr *a)
{
    int err = grow((void **)&b->xattrs, &b->xattr_cap, b->xattr_count + 2 * a->xattr_count, sizeof *b->xattrs);

    for (size_t i = 0; err == 0 && i < a->xattr_count; i++) {
        err = add_text(b, a->xattrs[i].name, &b->xattrs[b->xattr_count]);
        if (err == 0)
            err = add_text(b, a->xattrs[i].value, &b->xattrs[b->xattr_count + 1]);
        if (err == 0)
            b->xattr_count += 2;
    }
    return err;
}

int stm_batch_add(struct stm_batch *b, struct stm_slice prefix, const struct stm_bulk_item *item, struct stm_content *content)
{
    size_t text = b->text.len, xattrs = b->xattr_count;
    struct stm_batch_op op = {.kind = item->kind, .type = item->type, .rdev = item->rdev, .attr = item->attr, .xattr_first = xattrs};
    int err = grow((void **)&b->ops, &b->cap, b->count + 1, sizeof *b->ops);

    if (err == 0)
        err = add_path(b, prefix, item->path, &op.path);
    if (err == 0)
        err = item->kind == STM_BULK_LINK ? add_path(b, prefix, item->target, &op.target) : add_text(b, item->target, &op.target);
    if (err == 0)
        err = add_xattrs(b, &item->attr);
    if (err < 0) {
        b->text.len = text;
        b->xattr_count = xattrs;
        return err;
    }
    op.attr.xattrs = NULL;
    if (content) {
        op.content = *content;
        *content = (struct stm_content){0};
    }
    b->ops[b->count++] = op;
    b->bytes += OP_COST + b->text.len - text + op.content.body.len + op.content.fresh.len;
    return 0;
}

void stm_walk_reset(struct stm_walk *w)
{
    w->depth = 0;
}

void stm_walk_release(struct stm_walk *w)
{
    stm_buf_release(&w->path);
    free(w->levels);
    w->levels = NULL;
    w->depth = w->cap = 0;
}

void stm_path_split(struct stm_slice path, struct stm_slice *ret_dir, struct stm_slice *ret_name)
{
    const char *p = path.data;
    const char *slash = path.len ? memrchr(p, '/', path.len) : NULL;

    *ret_dir = slash ? stm_slice(p, (size_t)(slash - p)) : stm_slice("", 0);
    *ret_name = slash ? stm_slice(slash + 1, path.len - (size_t)(slash - p) - 1) : path;
}

/* How many of the remembered levels lead to path as well. */
static size_t common_levels(const struct stm_walk *w, struct stm_slice path)
{
    const char *p = path.data;

    for (size_t n = w->depth; n > 0; n--) {
        size_t end = w->levels[n - 1].end;
        if (end <= path.len && memcmp(w->path.data, p, end) == 0 && (end == path.len || p[end] == '/'))
            return n;
    }
    return 0;
}

static int step(struct stm_walk *w, uint64_t parent, struct stm_slice name, uint64_t *ret)
{
    struct stm_entry e;
    struct stm_object o;
    int err = stm_tree_lookup(&w->view, parent, name, &e);

    if (err == 0 && e.type != S_IFDIR)
        return -ENOTDIR;
    if (err == 0)
        *ret = e.object;
    if (err != -ENOENT || !w->txn)
        return err;
    w->made = true;
    err = stm_tree_create(w->txn, parent, name, &(struct stm_new){.mode = S_IFDIR | 0755, .uid = w->uid, .gid = w->gid}, &o);
    if (err == 0)
        *ret = o.id;
    return err;
}

int stm_walk_to(struct stm_walk *w, struct stm_slice path, uint64_t *ret, struct stm_slice *ret_missing)
{
    const char *p = path.data;
    size_t pos;
    int err = 0;

    w->depth = common_levels(w, path);
    uint64_t id = w->depth ? w->levels[w->depth - 1].id : STM_ROOT_OBJECT;
    pos = w->depth ? w->levels[w->depth - 1].end : 0;
    if (pos < path.len) {
        w->path.len = pos;
        err = stm_buf_append(&w->path, p + pos, path.len - pos);
    }
    while (err == 0 && pos < path.len) {
        size_t from = pos + (p[pos] == '/');
        const char *slash = memchr(p + from, '/', path.len - from);
        size_t end = slash ? (size_t)(slash - p) : path.len;
        struct stm_slice name = stm_slice(p + from, end - from);
        err = step(w, id, name, &id);
        if (err == -ENOENT && ret_missing)
            *ret_missing = name;
        if (err == 0)
            err = grow((void **)&w->levels, &w->cap, w->depth + 1, sizeof *w->levels);
        if (err == 0)
            w->levels[w->depth++] = (struct stm_walk_level){end, id};
        pos = end;
    }
    if (err == 0 || err == -ENOENT)
        *ret = id;
    return err;
}
