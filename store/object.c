/*
 * object.c: the record of an object: attributes, and for each type what only it has. Directory entries are tree.c's, versions
 * version.c's, extended attributes xattr.c's business.
 */
#include <sys/stat.h>

#include "save.h"

enum { ENTRY_SIZE = 32 }; /* what an entry counts for in a directory's size */

static void decode_tip(struct stm_dec *d, struct stm_tip *tip)
{
    tip->seq = stm_dec_u64(d);
    tip->ordinal = stm_dec_u32(d);
    tip->semver.major = stm_dec_u32(d);
    tip->semver.minor = stm_dec_u32(d);
    tip->semver.patch = stm_dec_u32(d);
    tip->size = stm_dec_u64(d);
    const void *hash = stm_dec_raw(d, STM_HASH_LEN);
    if (hash)
        memcpy(tip->hash.bytes, hash, STM_HASH_LEN);
}

static void encode_tip(struct stm_rec *r, const struct stm_tip *tip)
{
    stm_rec_seq(r, tip->seq);
    stm_rec_u32(r, tip->ordinal);
    stm_rec_u32(r, tip->semver.major);
    stm_rec_u32(r, tip->semver.minor);
    stm_rec_u32(r, tip->semver.patch);
    stm_rec_u64(r, tip->size);
    stm_rec_raw(r, tip->hash.bytes, STM_HASH_LEN);
}

static void decode_regular(struct stm_dec *d, struct stm_object *o)
{
    o->size = stm_dec_u64(d);
    o->line = stm_dec_u64(d);
    o->line_since = stm_dec_u64(d);
    o->line_until = stm_dec_u64(d);
    o->floor_seq = stm_dec_u64(d);
    o->head_seq = stm_dec_u64(d);
    decode_tip(d, &o->tip);
}

static void encode_regular(struct stm_rec *r, const struct stm_object *o)
{
    stm_rec_u64(r, o->size);
    stm_rec_u64(r, o->line);
    stm_rec_seq(r, o->line_since);
    stm_rec_seq(r, o->line_until);
    stm_rec_seq(r, o->floor_seq);
    stm_rec_seq(r, o->head_seq);
    encode_tip(r, &o->tip);
}

int stm_object_decode(struct stm_slice payload, uint64_t id, struct stm_object *o, struct stm_slice *ret_target)
{
    struct stm_dec d = stm_dec(payload);
    struct stm_slice target = {NULL, 0};

    memset(o, 0, sizeof *o);
    o->id = id;
    o->mode = stm_dec_u32(&d);
    o->uid = stm_dec_u32(&d);
    o->gid = stm_dec_u32(&d);
    o->nlink = stm_dec_u32(&d);
    o->flags = stm_dec_u32(&d);
    o->atime_ns = stm_dec_i64(&d);
    o->mtime_ns = stm_dec_i64(&d);
    o->ctime_ns = stm_dec_i64(&d);
    o->btime_ns = stm_dec_i64(&d);
    if (S_ISDIR(o->mode)) {
        o->parent = stm_dec_u64(&d);
        o->entries = stm_dec_u64(&d);
        o->size = o->entries * ENTRY_SIZE;
    } else if (S_ISREG(o->mode)) {
        decode_regular(&d, o);
    } else if (S_ISLNK(o->mode)) {
        target = stm_dec_blob(&d);
        o->size = target.len;
    } else {
        o->rdev = stm_dec_u64(&d);
    }
    o->data = o->size;
    if (ret_target)
        *ret_target = target;
    return stm_dec_end(&d);
}

/* Loads the record; the target is borrowed from buf. */
static int load(const struct stm_view *v, uint64_t id, struct stm_object *o, struct stm_buf *buf, struct stm_slice *ret_target)
{
    struct stm_key key = stm_key_object(id);
    struct stm_slice payload;
    int err = stm_read(v, STM_OBJECT, &key, buf, &payload);

    return err < 0 ? err : stm_object_decode(payload, id, o, ret_target);
}

int stm_object_load(const struct stm_view *v, uint64_t id, struct stm_object *ret)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_object o;
    struct stm_version ver;
    int err = load(v, id, &o, &buf, NULL);

    stm_buf_release(&buf);
    if (err == 0 && o.flags & STM_OBJ_HOLES && o.head_seq != 0 && stm_version_load(v, o.line, o.head_seq, &ver) == 0) {
        o.data = ver.data; /* a record that cannot be read is found out by who reads the content */
        stm_version_release(&ver);
    }
    if (err == 0)
        *ret = o;
    return err;
}

int stm_object_get(const struct stm_view *v, uint64_t id, struct stm_object *ret)
{
    struct stm_object o;
    struct stm_version ver;
    int err = stm_object_load(v, id, &o);

    if (err < 0)
        return err;
    if (v->seq != STM_SEQ_HEAD && S_ISREG(o.mode)) {
        err = stm_version_at(v, &o, &ver);
        if (err < 0 && err != -ENOENT)
            return err;
        o.size = err == 0 ? ver.row.size : 0;
        o.data = err == 0 ? ver.data : 0;
        o.mtime_ns = err == 0 ? ver.mtime_ns : o.btime_ns;
        if (err == 0) {
            o.mode &= S_IFMT | ver.mode; /* opening a file today does not open its past */
            stm_version_release(&ver);
        }
    }
    *ret = o;
    return 0;
}

int stm_object_target(const struct stm_view *v, uint64_t id, struct stm_buf *ret)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_object o;
    struct stm_slice target;
    int err = load(v, id, &o, &buf, &target);

    if (err == 0 && !S_ISLNK(o.mode))
        err = -EINVAL;
    if (err == 0)
        err = stm_buf_set(ret, target.data, target.len);
    if (err == 0)
        err = stm_buf_reserve(ret, 1);
    if (err == 0)
        ret->data[ret->len] = 0;
    stm_buf_release(&buf);
    return err;
}

int stm_object_put(struct stm_txn *t, const struct stm_object *o, struct stm_slice target)
{
    struct stm_key key = stm_key_object(o->id);
    struct stm_view v = stm_txn_view(t);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_rec r = STM_REC_INIT;
    struct stm_object old;
    int err = 0;

    if (S_ISLNK(o->mode) && !target.data)
        err = load(&v, o->id, &old, &buf, &target);
    if (err < 0)
        goto out;
    stm_rec_u32(&r, o->mode);
    stm_rec_u32(&r, o->uid);
    stm_rec_u32(&r, o->gid);
    stm_rec_u32(&r, o->nlink);
    stm_rec_u32(&r, o->flags);
    stm_rec_time(&r, o->atime_ns);
    stm_rec_time(&r, o->mtime_ns);
    stm_rec_time(&r, o->ctime_ns);
    stm_rec_time(&r, o->btime_ns);
    if (S_ISDIR(o->mode)) {
        stm_rec_u64(&r, o->parent);
        stm_rec_u64(&r, o->entries);
    } else if (S_ISREG(o->mode)) {
        encode_regular(&r, o);
    } else if (S_ISLNK(o->mode)) {
        stm_rec_blob(&r, target);
    } else {
        stm_rec_u64(&r, o->rdev);
    }
    err = stm_txn_put(t, STM_OBJECT, &key, &r);
out:
    stm_buf_release(&buf);
    return err;
}

void stm_object_touch(const struct stm_txn *t, struct stm_object *o, bool mtime)
{
    int64_t now = stm_txn_now_ns(t);

    o->ctime_ns = now > o->ctime_ns || o->ctime_ns == INT64_MAX ? now : o->ctime_ns + 1;
    if (mtime)
        o->mtime_ns = o->ctime_ns > o->mtime_ns || o->mtime_ns == INT64_MAX ? o->ctime_ns : o->mtime_ns + 1;
}

int stm_object_set(struct stm_txn *txn, uint64_t id, const struct stm_setattr *set, struct stm_object *ret)
{
    struct stm_view v = stm_txn_view(txn);
    struct stm_object o;
    int err = stm_object_load(&v, id, &o);

    if (err < 0)
        return err;
    if (set->valid & STM_SET_MODE)
        o.mode = (o.mode & S_IFMT) | (set->mode & 07777);
    if (set->valid & STM_SET_UID)
        o.uid = set->uid;
    if (set->valid & STM_SET_GID)
        o.gid = set->gid;
    if (set->valid & STM_SET_ATIME)
        o.atime_ns = set->atime_ns;
    if (set->valid & STM_SET_MTIME)
        o.mtime_ns = set->mtime_ns;
    if (set->valid & STM_SET_FLAGS)
        o.flags = (o.flags | set->flags_set) & ~set->flags_clear;
    stm_object_touch(txn, &o, false);
    err = stm_object_put(txn, &o, stm_slice(NULL, 0));
    if (err == 0)
        err = stm_txn_log(txn, 'a', id, 0, stm_slice(NULL, 0));
    if (err == 0 && ret)
        *ret = o;
    return err;
}

/* Removes everything that is stored of the object. */
static int purge(struct stm_txn *t, const struct stm_object *o)
{
    struct stm_key object = stm_key_object(o->id), xattrs = stm_key_index(STM_IX_XATTR, o->id);
    int err = 0;

    if (S_ISREG(o->mode) && !(o->flags & STM_OBJ_LINE_GONE))
        err = stm_line_drop(t, o);
    if (err == 0 && (o->flags & STM_OBJ_XATTR))
        err = stm_txn_delete(t, STM_INDEX, &xattrs);
    if (err == 0)
        err = stm_txn_delete(t, STM_OBJECT, &object);
    return err < 0 ? err : stm_txn_log(t, 'p', o->id, 0, stm_slice(NULL, 0));
}

int stm_object_discard(struct stm_txn *t, struct stm_object *o, bool keep)
{
    struct stm_key key = stm_key_index(STM_IX_ORPHAN, o->id);
    struct stm_rec r = STM_REC_INIT;

    if (!keep)
        return purge(t, o);
    o->flags |= STM_OBJ_ORPHAN;
    stm_rec_raw(&r, NULL, 0);
    int err = stm_txn_put(t, STM_INDEX, &key, &r);
    return err < 0 ? err : stm_object_put(t, o, stm_slice(NULL, 0));
}

int stm_object_purge(struct stm_txn *txn, uint64_t id)
{
    struct stm_key key = stm_key_index(STM_IX_ORPHAN, id);
    struct stm_view v = stm_txn_view(txn);
    struct stm_object o;
    int err = stm_object_load(&v, id, &o);

    if (err == -ENOENT || (err == 0 && !(o.flags & STM_OBJ_ORPHAN)))
        return 0;
    if (err == 0)
        err = stm_txn_delete(txn, STM_INDEX, &key);
    return err < 0 ? err : purge(txn, &o);
}
