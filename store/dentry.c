/* dentry.c: see dentry.h. The rules of names (who may replace what, what becomes of lines) are tree.c's. */
#include "dentry.h"

#include <sys/stat.h>

#include "stemma/name.h"

enum { TYPE_SHIFT = 12 }; /* S_IFMT in one byte, as in struct dirent */

int stm_dentry_decode(struct stm_slice payload, struct stm_dentry *ret)
{
    struct stm_dec d = stm_dec(payload);
    struct stm_dentry e = {.until = STM_SEQ_HEAD};

    e.object = stm_dec_u64(&d);
    e.seq = stm_dec_u64(&d);
    e.type = (uint32_t)stm_dec_u8(&d) << TYPE_SHIFT;
    int err = stm_dec_end(&d);
    if (err == 0)
        *ret = e;
    return err;
}

/* The start of the interval is in the key; stm_dir_next and past_at fill it in. */
int stm_past_decode(struct stm_slice payload, struct stm_dentry *ret)
{
    struct stm_dec d = stm_dec(payload);
    struct stm_dentry e = {0};

    e.object = stm_dec_u64(&d);
    e.until = stm_dec_u64(&d);
    e.type = (uint32_t)stm_dec_u8(&d) << TYPE_SHIFT;
    int err = stm_dec_end(&d);
    if (err == 0)
        *ret = e;
    return err;
}

static int take_past(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct stm_dentry *d = arg;
    int err = stm_past_decode(payload, d);

    d->seq = ~stm_get_u64((const uint8_t *)key.data + key.len - 8);
    return err;
}

/* The past entry of the name that was there at the view's seq. */
static int past_at(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_dentry *ret)
{
    struct stm_key from = stm_key_hist(parent, name, v->seq), to = stm_key_hist(parent, name, 0);
    int err = stm_read_first(v, STM_DENTRYHIST, &from, &to, take_past, ret);

    return err == 0 && v->seq >= ret->until ? -ENOENT : err;
}

int stm_dentry_load(const struct stm_view *v, uint64_t parent, struct stm_slice name, struct stm_dentry *ret)
{
    struct stm_key key = stm_key_dentry(parent, name);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    struct stm_dentry d;
    int err = stm_read(v, STM_DENTRY, &key, &buf, &payload);

    if (err == 0)
        err = stm_dentry_decode(payload, &d);
    stm_buf_release(&buf);
    if (err == -ENOENT || (err == 0 && d.seq > v->seq)) {
        if (v->seq == STM_SEQ_HEAD)
            return -ENOENT;
        err = past_at(v, parent, name, &d);
    }
    if (err == 0)
        *ret = d;
    return err;
}

int stm_dentry_put(struct stm_txn *t, uint64_t parent, struct stm_slice name, uint64_t object, uint32_t type)
{
    struct stm_key key = stm_key_dentry(parent, name);
    struct stm_rec r = STM_REC_INIT;

    stm_rec_u64(&r, object);
    stm_rec_seq(&r, STM_SEQ_THIS);
    stm_rec_u8(&r, (uint8_t)(type >> TYPE_SHIFT));
    return stm_txn_put(t, STM_DENTRY, &key, &r);
}

int stm_dentry_end(struct stm_txn *t, uint64_t parent, struct stm_slice name, const struct stm_dentry *d, bool forget)
{
    struct stm_key key = stm_key_dentry(parent, name);
    struct stm_rec r = STM_REC_INIT;
    int err = stm_txn_delete(t, STM_DENTRY, &key);

    if (err < 0 || forget || d->seq == STM_SEQ_THIS || stm_name_is_junk(name))
        return err;
    key = stm_key_hist(parent, name, d->seq);
    stm_rec_u64(&r, d->object);
    stm_rec_seq(&r, STM_SEQ_THIS);
    stm_rec_u8(&r, (uint8_t)(d->type >> TYPE_SHIFT));
    return stm_txn_put(t, STM_DENTRYHIST, &key, &r);
}

int stm_tombstone_put(struct stm_txn *t, uint64_t parent, struct stm_slice name, uint64_t object)
{
    struct stm_key key = stm_key_tombstone(parent, name);
    struct stm_rec r = STM_REC_INIT;

    stm_rec_u64(&r, object);
    stm_rec_seq(&r, STM_SEQ_THIS);
    stm_rec_u8(&r, 0);
    return stm_txn_put(t, STM_DENTRYHIST, &key, &r);
}

int stm_tombstone_load(const struct stm_view *v, uint64_t parent, struct stm_slice name, uint64_t *ret_object)
{
    struct stm_key key = stm_key_tombstone(parent, name);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    struct stm_dentry d;
    int err = stm_read(v, STM_DENTRYHIST, &key, &buf, &payload);

    if (err == 0)
        err = stm_past_decode(payload, &d);
    stm_buf_release(&buf);
    if (err == 0)
        *ret_object = d.object;
    return err;
}

int stm_tombstone_delete(struct stm_txn *t, uint64_t parent, struct stm_slice name)
{
    struct stm_key key = stm_key_tombstone(parent, name);
    return stm_txn_delete(t, STM_DENTRYHIST, &key);
}
