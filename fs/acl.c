/*
 * acl.c: see acl.h. Getting and setting as requests are xattr.c's business.
 */
#include "acl.h"

#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "privilege.h"

enum { HEAD = sizeof(struct posix_acl_xattr_header), ENTRY = sizeof(struct posix_acl_xattr_entry) };

bool stm_acl_is(const char *name)
{
    return strcmp(name, STM_ACL_ACCESS) == 0 || strcmp(name, STM_ACL_DEFAULT) == 0;
}

/* ---- bytes ---- */

/* Where the permissions of the entries that a mode corresponds to are. */
struct acl {
    uint8_t *owner, *group, *mask, *other;
    bool named;
};

static uint16_t get16(const uint8_t *at)
{
    uint16_t v;

    memcpy(&v, at, sizeof v);
    return le16toh(v);
}

static void put16(uint8_t *at, uint32_t value)
{
    uint16_t v = htole16((uint16_t)(value & 7));

    memcpy(at, &v, sizeof v);
}

static int place(uint8_t **which, uint8_t *at)
{
    if (*which)
        return -EINVAL;
    *which = at;
    return 0;
}

static int take_entry(struct acl *a, uint8_t *at)
{
    uint8_t *perm = at + offsetof(struct posix_acl_xattr_entry, e_perm);

    if (get16(perm) > 7)
        return -EINVAL;
    switch (get16(at)) {
    case ACL_USER_OBJ:
        return place(&a->owner, perm);
    case ACL_GROUP_OBJ:
        return place(&a->group, perm);
    case ACL_MASK:
        return place(&a->mask, perm);
    case ACL_OTHER:
        return place(&a->other, perm);
    case ACL_USER:
    case ACL_GROUP:
        a->named = true;
        return 0;
    default:
        return -EINVAL;
    }
}

static int parse(struct stm_buf *b, struct acl *ret)
{
    struct acl a = {.owner = NULL};
    uint32_t version = 0;
    int err = 0;

    if (b->len >= HEAD)
        memcpy(&version, b->data, sizeof version);
    if (le32toh(version) != POSIX_ACL_XATTR_VERSION || (b->len - HEAD) % ENTRY != 0)
        return -EINVAL;
    for (size_t at = HEAD; err == 0 && at < b->len; at += ENTRY)
        err = take_entry(&a, b->data + at);
    if (err < 0 || !a.owner || !a.group || !a.other || (a.named && !a.mask))
        return -EINVAL;
    *ret = a;
    return 0;
}

static uint8_t *group_class(const struct acl *a)
{
    return a->mask ? a->mask : a->group;
}

static int to_mode(const struct acl *a, uint32_t *mode)
{
    *mode = (*mode & ~0777u) | (uint32_t)get16(a->owner) << 6 | (uint32_t)get16(group_class(a)) << 3 | get16(a->other);
    return !a->mask;
}

int stm_acl_to_mode(struct stm_buf *acl, uint32_t *mode)
{
    struct acl a;
    int err = parse(acl, &a);

    return err < 0 ? err : to_mode(&a, mode);
}

int stm_acl_create(struct stm_buf *acl, uint32_t *mode)
{
    struct acl a;
    int err = parse(acl, &a);

    if (err < 0)
        return err;
    put16(a.owner, get16(a.owner) & *mode >> 6);
    put16(group_class(&a), get16(group_class(&a)) & *mode >> 3);
    put16(a.other, get16(a.other) & *mode);
    return to_mode(&a, mode);
}

int stm_acl_chmod(struct stm_buf *acl, uint32_t mode)
{
    struct acl a;
    int err = parse(acl, &a);

    if (err < 0)
        return err;
    put16(a.owner, mode >> 6);
    put16(group_class(&a), mode >> 3);
    put16(a.other, mode);
    return 0;
}

int stm_acl_read_is_search(struct stm_buf *acl)
{
    struct acl a;
    int err = parse(acl, &a);

    for (size_t at = HEAD; err == 0 && at < acl->len; at += ENTRY) {
        uint8_t *perm = acl->data + at + offsetof(struct posix_acl_xattr_entry, e_perm);
        if (get16(perm) & ACL_READ)
            put16(perm, get16(perm) | ACL_EXECUTE);
    }
    return err;
}

/* ---- within a transaction ---- */

static int load(const struct stm_view *v, uint64_t object, const char *name, struct stm_buf *ret)
{
    return stm_xattr_get(v, object, stm_slice_str(name), ret);
}

static int store(struct stm_txn *txn, uint64_t object, const char *name, const struct stm_buf *acl)
{
    return stm_xattr_set(txn, object, stm_slice_str(name), stm_buf_slice(acl), 0);
}

static int forget(struct stm_txn *txn, uint64_t object, struct stm_slice name)
{
    int err = stm_xattr_remove(txn, object, name);

    return err == -ENODATA ? 0 : err;
}

/* What is stored was checked when it was set. */
static int damaged(int err)
{
    return err == -EINVAL ? STM_E_CORRUPT : err;
}

int stm_acl_inherit(struct stm_txn *txn, uint64_t dir, uint32_t umask, uint32_t *mode, struct stm_buf *access, struct stm_buf *dflt)
{
    struct stm_view v = stm_txn_view(txn);
    struct stm_object o;
    int err = stm_object_get(&v, dir, &o);

    if (err == 0)
        err = o.flags & STM_OBJ_XATTR ? load(&v, dir, STM_ACL_DEFAULT, access) : -ENODATA;
    if (err == -ENODATA) {
        *mode &= ~umask;
        return 0;
    }
    if (err == 0 && S_ISDIR(*mode))
        err = stm_buf_set(dflt, access->data, access->len);
    if (err == 0)
        err = damaged(stm_acl_create(access, mode));
    if (err == 1)
        stm_buf_clear(access); /* the mode says it all */
    return err < 0 ? err : 0;
}

static int set_access(struct stm_txn *txn, const struct stm_caller *who, const struct stm_object *o, struct stm_buf *acl,
                      struct stm_object *ret)
{
    struct stm_setattr set = {.valid = STM_SET_MODE, .mode = o->mode & 07777};
    int all = stm_acl_to_mode(acl, &set.mode);
    int err = all;

    if (all == 1)
        err = forget(txn, o->id, stm_slice_str(STM_ACL_ACCESS));
    else if (all == 0)
        err = store(txn, o->id, STM_ACL_ACCESS, acl);
    if (set.mode & S_ISGID && who->uid != 0 && !stm_caller_in_group(who, o->gid))
        set.mode &= ~(uint32_t)S_ISGID;
    return err < 0 ? err : stm_object_set(txn, o->id, &set, ret);
}

int stm_acl_set(struct stm_txn *txn, const struct stm_caller *who, uint64_t object, struct stm_slice name, struct stm_slice value,
                struct stm_object *ret)
{
    struct stm_view v = stm_txn_view(txn);
    struct stm_buf acl = STM_BUF_INIT;
    uint32_t ignored = 0;
    int err = stm_object_get(&v, object, ret);

    if (err < 0)
        return err;
    if (!value.data) {
        err = forget(txn, object, name);
    } else {
        err = stm_buf_set(&acl, value.data, value.len);
        if (err == 0 && stm_slice_eq(name, stm_slice_str(STM_ACL_ACCESS))) {
            err = set_access(txn, who, ret, &acl, ret);
        } else if (err == 0) {
            err = S_ISDIR(ret->mode) ? stm_acl_to_mode(&acl, &ignored) : -EACCES;
            if (err >= 0)
                err = store(txn, object, STM_ACL_DEFAULT, &acl);
        }
    }
    stm_buf_release(&acl);
    return err < 0 ? err : stm_object_get(&v, object, ret);
}

int stm_acl_follow(struct stm_txn *txn, const struct stm_object *o, uint32_t mode)
{
    struct stm_view v = stm_txn_view(txn);
    struct stm_buf acl = STM_BUF_INIT;
    int err = 0;

    if (o->flags & STM_OBJ_XATTR && (o->mode & 0777) != (mode & 0777)) {
        err = load(&v, o->id, STM_ACL_ACCESS, &acl);
        if (err == 0)
            err = damaged(stm_acl_chmod(&acl, mode));
        if (err == 0)
            err = store(txn, o->id, STM_ACL_ACCESS, &acl);
    }
    stm_buf_release(&acl);
    return err == -ENODATA ? 0 : err;
}

/* ---- the past ---- */

uint32_t stm_acl_past_mode(const struct stm_fs *fs, const struct stm_object *o, uint32_t mode)
{
    bool may_have_one = fs->opt.acl && o->flags & STM_OBJ_XATTR;

    return may_have_one && !(mode & S_IRWXG) ? mode & ~(uint32_t)S_IRWXO : mode;
}

int stm_acl_past(struct stm_fs *fs, uint64_t object, uint32_t mode, struct stm_buf *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    int err = load(&v, object, STM_ACL_ACCESS, ret);

    return err < 0 ? err : damaged(stm_acl_chmod(ret, mode));
}
