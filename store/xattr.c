/*
 * xattr.c: extended attributes of heads. All of an object's lie in one record, sorted by name, as (blob name, blob value)*: they are
 * few and asked for together. Virtual attributes (stemma.*) are the filesystem's.
 */
#include <sys/stat.h>
#include <sys/xattr.h>

#include "inner.h"

enum { XATTR_TOTAL_MAX = 65536 }; /* bytes of an object's record; ext4 stops at one block */

struct pair {
    struct stm_slice name, value;
};

/* The next pair; false at the end (or damage: check stm_dec_end). */
static bool next_pair(struct stm_dec *d, struct pair *p)
{
    if (d->failed || d->at == d->end)
        return false;
    p->name = stm_dec_blob(d);
    p->value = stm_dec_blob(d);
    return !d->failed;
}

/* The object's record; empty payload when it has none. */
static int load(const struct stm_view *v, const struct stm_object *o, struct stm_buf *buf, struct stm_slice *ret)
{
    struct stm_key key = stm_key_index(STM_IX_XATTR, o->id);
    int err = -ENOENT;

    if (o->flags & STM_OBJ_XATTR)
        err = stm_read(v, STM_INDEX, &key, buf, ret);
    if (err == -ENOENT)
        *ret = stm_slice("", 0);
    return err == -ENOENT ? 0 : err;
}

static int find(struct stm_slice all, struct stm_slice name, struct stm_slice *ret)
{
    struct stm_dec d = stm_dec(all);
    struct pair p;

    while (next_pair(&d, &p))
        if (stm_slice_eq(p.name, name)) {
            *ret = p.value;
            return 0;
        }
    return stm_dec_end(&d) < 0 ? STM_E_CORRUPT : -ENODATA;
}

int stm_xattr_get(const struct stm_view *v, uint64_t id, struct stm_slice name, struct stm_buf *ret)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice all, value;
    struct stm_object o;
    int err = stm_object_load(v, id, &o);

    if (err == 0)
        err = load(v, &o, &buf, &all);
    if (err == 0)
        err = find(all, name, &value);
    if (err == 0)
        err = stm_buf_set(ret, value.data, value.len);
    stm_buf_release(&buf);
    return err;
}

int stm_xattr_list(const struct stm_view *v, uint64_t id, struct stm_buf *ret)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice all;
    struct stm_object o;
    int err = stm_object_load(v, id, &o);

    if (err == 0)
        err = load(v, &o, &buf, &all);
    if (err == 0) {
        struct stm_dec d = stm_dec(all);
        struct pair p;
        while (err == 0 && next_pair(&d, &p)) {
            err = stm_buf_append(ret, p.name.data, p.name.len);
            if (err == 0)
                err = stm_buf_append(ret, "", 1);
        }
        if (err == 0)
            err = stm_dec_end(&d);
    }
    stm_buf_release(&buf);
    return err;
}

static int name_cmp(struct stm_slice a, struct stm_slice b)
{
    int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* Writes all pairs but `name`, with (name, value) in its place when value is not NULL. */
static int rewrite(struct stm_slice all, struct stm_slice name, const struct stm_slice *value, struct stm_rec *out, size_t *ret_pairs)
{
    struct stm_dec d = stm_dec(all);
    struct pair p;
    bool placed = !value;
    size_t n = 0;

    while (next_pair(&d, &p)) {
        int c = name_cmp(p.name, name);
        if (!placed && c >= 0) {
            stm_rec_blob(out, name);
            stm_rec_blob(out, *value);
            placed = true;
            n++;
        }
        if (c != 0) {
            stm_rec_blob(out, p.name);
            stm_rec_blob(out, p.value);
            n++;
        }
    }
    if (!placed) {
        stm_rec_blob(out, name);
        stm_rec_blob(out, *value);
        n++;
    }
    *ret_pairs = n;
    return stm_dec_end(&d);
}

/* Replaces, adds or (value NULL) removes one attribute. */
static int change(struct stm_txn *txn, uint64_t id, struct stm_slice name, const struct stm_slice *value, int flags)
{
    struct stm_view v = stm_txn_view(txn);
    struct stm_key key = stm_key_index(STM_IX_XATTR, id);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_rec rec = STM_REC_INIT;
    struct stm_slice all, old;
    struct stm_object o;
    size_t pairs = 0;
    int err = stm_object_load(&v, id, &o);

    if (err == 0)
        err = load(&v, &o, &buf, &all);
    if (err < 0)
        goto out;
    int found = find(all, name, &old);
    if (found < 0 && found != -ENODATA)
        err = found;
    else if (found == 0 && value && (flags & XATTR_CREATE))
        err = -EEXIST;
    else if (found < 0 && (!value || (flags & XATTR_REPLACE)))
        err = -ENODATA;
    else
        err = rewrite(all, name, value, &rec, &pairs);
    if (err == 0 && rec.buf.len > XATTR_TOTAL_MAX)
        err = -ENOSPC;
    if (err < 0)
        goto out;
    o.flags = pairs ? o.flags | STM_OBJ_XATTR : o.flags & ~(uint32_t)STM_OBJ_XATTR;
    stm_object_touch(txn, &o, false);
    err = pairs ? stm_txn_put(txn, STM_INDEX, &key, &rec) : stm_txn_delete(txn, STM_INDEX, &key);
    if (err == 0)
        err = stm_object_put(txn, &o, stm_slice(NULL, 0));
    if (err == 0)
        err = stm_txn_log(txn, 'x', id, 0, name);
out:
    stm_rec_release(&rec);
    stm_buf_release(&buf);
    return err;
}

int stm_xattr_set(struct stm_txn *txn, uint64_t id, struct stm_slice name, struct stm_slice value, int flags)
{
    if (name.len == 0 || name.len > STM_NAME_MAX)
        return -ERANGE;
    if (value.len > XATTR_TOTAL_MAX)
        return -E2BIG;
    return change(txn, id, name, &value, flags);
}

int stm_xattr_remove(struct stm_txn *txn, uint64_t id, struct stm_slice name)
{
    return change(txn, id, name, NULL, 0);
}

int stm_xattr_pack_user(const struct stm_view *v, const struct stm_object *o, struct stm_buf *ret)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice all;
    int err = load(v, o, &buf, &all);

    if (err == 0 && all.len > 0) {
        struct stm_rec rec = STM_REC_INIT;
        struct stm_dec d = stm_dec(all);
        struct pair p;
        while (next_pair(&d, &p))
            if (p.name.len > 5 && memcmp(p.name.data, "user.", 5) == 0) {
                stm_rec_blob(&rec, p.name);
                stm_rec_blob(&rec, p.value);
            }
        err = stm_dec_end(&d);
        if (err == 0 && rec.failed)
            err = -ENOMEM;
        if (err == 0 && rec.buf.len > STM_FRAME_HEAD)
            err = stm_buf_append(ret, rec.buf.data + STM_FRAME_HEAD, rec.buf.len - STM_FRAME_HEAD);
        stm_rec_release(&rec);
    }
    stm_buf_release(&buf);
    return err;
}
