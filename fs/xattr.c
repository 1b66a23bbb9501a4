/*
 * xattr.c: extended attributes: user.*, trusted.* and security.* are stored; stemma.NAME (or user.stemma.NAME) tells about versions, is never
 * listed (copying tools copy what is listed), and only stemma.bump can be set; POSIX ACLs (acl.h) are there with `-o acl`.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "acl.h"
#include "file.h"
#include "notify.h"
#include "task.h"
#include "vnode.h"

enum { VALUE_MAX = 65536 };

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* The part behind "stemma.", or NULL. */
static const char *about_name(const char *name)
{
    if (starts(name, "user.stemma."))
        return name + 12;
    return starts(name, "stemma.") ? name + 7 : NULL;
}

/* 0: can be stored; a prefix with nothing behind it is no name. */
static int check_stored(const struct stm_fs *fs, const char *name)
{
    if (stm_acl_is(name))
        return fs->opt.acl ? 0 : -EOPNOTSUPP;
    if (!starts(name, "user.") && !starts(name, "trusted.") && !starts(name, "security."))
        return -EOPNOTSUPP;
    return strchr(name, '.')[1] != '\0' ? 0 : -EINVAL;
}

/* Answers with bytes, or how many there are. */
static void reply_bytes(fuse_req_t req, const struct stm_buf *b, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, b->len);
    else if (b->len > size)
        stm_reply_err(req, -ERANGE);
    else
        fuse_reply_buf(req, (const char *)b->data, b->len);
}

/* ---- what a version tells ---- */

static int about_version(struct stm_fs *fs, const struct stm_version *v, const char *name, struct stm_buf *ret)
{
    struct stm_about about = {.fs = fs, .v = v, .line = v->row.line, .n = v->row.ordinal + 1};

    return stm_version_attribute(&about, name, ret);
}

/* On a head: of the newest version. 1: wait. */
static int about_head(struct stm_again *a, uint64_t object, const char *name, struct stm_buf *ret)
{
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_view v = stm_view_head(fs->store);
    struct stm_version ver;
    struct stm_object o;
    bool hidden;
    uint32_t tip;
    int err = stm_object_get(&v, object, &o);

    if (err < 0 || !S_ISREG(o.mode))
        return err < 0 ? err : -ENODATA;
    if (strcmp(name, "bump") == 0)
        return stm_buf_printf(ret, "%s", stm_bump_name(stm_bump_get(fs, object, false)));
    err = stm_observe(fs, object, a->waited, &hidden);
    if (err != 0)
        return err;
    err = stm_object_get(&v, object, &o);
    if (err == 0)
        err = stm_visible_tip(&o, hidden, &tip);
    if (err == 0)
        err = stm_version_get(&v, o.line, tip, &ver);
    if (err < 0)
        return err == -ENOENT ? -ENODATA : err;
    err = about_version(fs, &ver, name, ret);
    stm_version_release(&ver);
    return err;
}

/* On a version's own node. The line is the node's: a version that was inherited is superseded by one of the heir. 1: wait. */
static int about_node(struct stm_again *a, const struct stm_node *n, const char *name, struct stm_buf *ret)
{
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o = {.id = 0};
    struct stm_version ver;
    uint64_t owner;
    bool hidden;
    uint32_t tip = 0;
    int err = stm_line_owner(&v, n->id, &owner);

    if (err == 0)
        err = stm_observe(fs, owner, true, &hidden);
    if (err == 0)
        err = stm_object_get(&v, owner, &o);
    if (err == 0)
        err = stm_visible_tip(&o, hidden, &tip);
    if (err == 0)
        err = stm_version_get(&v, n->id, n->n, &ver);
    if (err < 0)
        return err == -ENOENT ? -ENODATA : err;
    struct stm_about about = {.fs = fs, .v = &ver, .line = n->id, .n = tip + 1};
    err = stm_version_attribute(&about, name, ret);
    stm_version_release(&ver);
    return err;
}

static int view_version(struct stm_fs *fs, const struct stm_node *n, struct stm_version *ret)
{
    struct stm_object o;
    uint64_t seq;

    if (stm_view_seq(fs->store, n->n, &seq) < 0)
        return -ESTALE;
    struct stm_view v = stm_view_at(fs->store, seq);
    int err = stm_object_get(&v, n->id, &o);
    if (err == 0 && !S_ISREG(o.mode))
        err = -ENODATA;
    if (err == 0)
        err = stm_version_at(&v, &o, ret);
    return err == -ENOENT ? -ENODATA : err;
}

static int about(struct stm_again *a, const struct stm_node *n, const char *name, struct stm_buf *ret)
{
    struct stm_version ver;
    int err;

    if (n->kind == STM_NODE_HEAD)
        return about_head(a, n->id, name, ret);
    if (n->kind == STM_NODE_VERSION)
        return about_node(a, n, name, ret);
    if (n->kind == STM_NODE_VIRTUAL)
        return -ENODATA;
    err = view_version(stm_fs_of(a->req), n, &ver);
    if (err < 0)
        return err;
    err = about_version(stm_fs_of(a->req), &ver, name, ret);
    stm_version_release(&ver);
    return err;
}

/* ---- what is stored ---- */

struct wanted {
    struct stm_slice name; /* data NULL: list all */
    struct stm_buf *ret;
    int found;
};

static int pick_old(void *arg, struct stm_slice name, struct stm_slice value)
{
    struct wanted *w = arg;
    int err;

    if (!w->name.data) {
        err = stm_buf_append(w->ret, name.data, name.len);
        return err < 0 ? err : stm_buf_append(w->ret, "", 1);
    }
    if (!stm_slice_eq(name, w->name))
        return 0;
    err = stm_buf_append(w->ret, value.data, value.len);
    return err < 0 ? err : 1;
}

/* Attributes that a version was saved with; name NULL: their names. */
static int old_xattrs(struct stm_fs *fs, const struct stm_node *n, const char *name, struct stm_buf *ret)
{
    struct wanted w = {.name = name ? stm_slice_str(name) : stm_slice(NULL, 0), .ret = ret};
    struct stm_view v = stm_view_head(fs->store);
    struct stm_version ver;
    int err;

    if (n->kind == STM_NODE_VERSION)
        err = stm_version_get(&v, n->id, n->n, &ver);
    else
        err = n->kind == STM_NODE_VIEW ? view_version(fs, n, &ver) : -ENODATA;
    if (err < 0)
        return err;
    err = stm_version_xattrs(&ver, pick_old, &w);
    stm_version_release(&ver);
    if (err == 0)
        return name ? -ENODATA : 0;
    return err == 1 ? 0 : err;
}

/* The past obeys the ACL of today. */
static int past_acl(struct stm_fs *fs, const struct stm_caller *who, uint64_t ino, const struct stm_node *n, struct stm_buf *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_vnode node = {.line = n->kind == STM_NODE_VERSION ? n->id : 0};
    uint64_t object = n->id;
    struct stm_attr a;
    int err = n->kind == STM_NODE_VIRTUAL ? stm_vnode_get(fs, n->id, &node) : 0;

    if (err < 0)
        return err;
    if (n->kind == STM_NODE_VIRTUAL)
        stm_vnode_release(&node);
    if (n->kind != STM_NODE_VIEW)
        err = node.line ? stm_line_owner(&v, node.line, &object) : -ENODATA;
    if (err == 0)
        err = stm_attr_get(fs, who, ino, &a);
    if (err == 0)
        err = stm_acl_past(fs, object, a.st.st_mode, ret);
    if (err == 0 && n->kind == STM_NODE_VIRTUAL && S_ISDIR(a.st.st_mode))
        err = stm_acl_read_is_search(ret);
    return err;
}

static int stored_value(struct stm_fs *fs, const struct stm_node *n, const char *name, struct stm_buf *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;

    if (n->kind != STM_NODE_HEAD)
        return old_xattrs(fs, n, name, ret);
    int err = stm_object_get(&v, n->id, &o);
    if (err == 0 && !(o.flags & STM_OBJ_XATTR))
        err = -ENODATA;
    return err < 0 ? err : stm_xattr_get(&v, n->id, stm_slice_str(name), ret);
}

/*
 * The answer for a stored name. A label that nobody set is "not supported" rather than "no data": `ls -l` then asks once for the whole
 * filesystem instead of once for each entry.
 */
static int stored_or_not(const struct stm_again *a, const struct stm_node *n, struct stm_buf *ret)
{
    struct stm_fs *fs = stm_fs_of(a->req);

    if (n->kind != STM_NODE_HEAD && strcmp(a->name, STM_ACL_ACCESS) == 0)
        return past_acl(fs, &a->who, a->ino, n, ret);
    int err = stored_value(fs, n, a->name, ret);
    return err == -ENODATA && strcmp(a->name, "security.selinux") == 0 ? -EOPNOTSUPP : err;
}

static void getxattr_again(struct stm_again *a)
{
    const char *stemma = about_name(a->name);
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_buf value = STM_BUF_INIT;
    struct stm_node n;
    int err = stm_nodeid_parse(a->ino, &n);

    if (err == 0 && !stemma)
        err = check_stored(fs, a->name);
    if (err == 0)
        err = stemma ? about(a, &n, stemma, &value) : stored_or_not(a, &n, &value);
    if (err == 1) {
        err = stm_again_post(fs, n.id, a);
        if (err == 0)
            goto out;
    }
    if (err < 0)
        stm_reply_fail(a->req, "getxattr", a->ino, err == -ENOENT ? -ENODATA : err);
    else
        reply_bytes(a->req, &value, a->size);
out:
    stm_buf_release(&value);
}

void stm_do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct stm_again a = {.req = req, .who = stm_caller_of(req), .ino = ino, .size = size, .again = getxattr_again};

    if (strlen(name) > STM_NAME_MAX) {
        stm_reply_err(req, -ERANGE);
        return;
    }
    strcpy(a.name, name);
    getxattr_again(&a);
}

/* trusted.* is shown to root alone, ACLs where they count. */
static int visible_names(const struct stm_buf *all, bool root, bool acls, struct stm_buf *ret)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < all->len;) {
        const char *name = (const char *)all->data + i;
        size_t len = strlen(name) + 1;
        if ((root || !starts(name, "trusted.")) && (acls || !stm_acl_is(name)))
            err = stm_buf_append(ret, name, len);
        i += len;
    }
    return err;
}

void stm_do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct stm_fs *fs = stm_fs_of(req);
    struct stm_buf all = STM_BUF_INIT, shown = STM_BUF_INIT;
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;
    struct stm_node n;
    int err = stm_nodeid_parse(ino, &n);

    if (err == 0 && n.kind == STM_NODE_HEAD) {
        err = stm_object_get(&v, n.id, &o);
        if (err == 0 && o.flags & STM_OBJ_XATTR)
            err = stm_xattr_list(&v, n.id, &all);
    } else if (err == 0) {
        err = old_xattrs(fs, &n, NULL, &all);
    }
    if (err == -ENODATA)
        err = 0;
    if (err == 0)
        err = visible_names(&all, stm_caller_of(req).uid == 0, fs->opt.acl, &shown);
    if (err < 0)
        stm_reply_fail(req, "listxattr", ino, err == -ENOENT ? -ESTALE : err);
    else
        reply_bytes(req, &shown, size);
    stm_buf_release(&all);
    stm_buf_release(&shown);
}

/* ---- setting ---- */

struct setting {
    struct stm_act act;
    uint64_t object;
    struct stm_slice name, value; /* value.data NULL: remove */
    int flags;
    bool acl;
};

static int build_set(struct stm_txn *txn, void *arg)
{
    struct setting *s = arg;

    if (s->acl)
        return stm_acl_set(txn, &s->act.who, s->object, s->name, s->value, &s->act.object);
    if (!s->value.data)
        return stm_xattr_remove(txn, s->object, s->name);
    return stm_xattr_set(txn, s->object, s->name, s->value, s->flags);
}

/* A draft that is being written must look for capabilities again. */
static void tell_draft(struct stm_fs *fs, uint64_t object)
{
    struct stm_file *f = stm_file_pin(fs, object, STM_PIN_FIND);

    if (!f)
        return;
    stm_file_lock(f);
    f->draft.privileged = true;
    stm_file_unlock(f);
    stm_file_unpin(fs, f);
}

static int set_about(struct stm_fs *fs, const struct setting *s, const char *name)
{
    struct stm_view v = stm_view_head(fs->store);
    enum stm_bump bump = STM_BUMP_PATCH;
    struct stm_object o;

    if (strcmp(name, "bump") != 0)
        return -EPERM;
    int err = stm_object_get(&v, s->object, &o);
    if (err == 0 && !S_ISREG(o.mode))
        err = -EPERM;
    if (err == 0 && s->value.data)
        err = stm_bump_parse(s->value, &bump);
    return err < 0 ? err : stm_bump_set(fs, s->object, bump);
}

static void set(fuse_req_t req, fuse_ino_t ino, const char *name, struct setting *s)
{
    struct stm_fs *fs = stm_fs_of(req);
    const char *stemma = about_name(name);
    struct stm_node n = {.id = 0};
    struct stm_inval *list = NULL;
    size_t count = 0;
    int err = stm_nodeid_parse(ino, &n);

    s->act = stm_act_of(req);
    s->object = n.id;
    s->name = stm_slice_str(name);
    s->acl = stm_acl_is(name);
    if (err == 0 && n.kind != STM_NODE_HEAD)
        err = -EROFS;
    else if (err == 0 && !stemma)
        err = check_stored(fs, name);
    if (err == 0 && s->value.len > VALUE_MAX)
        err = -E2BIG;
    if (err == 0 && stemma) {
        err = fs->opt.read_only ? -EROFS : set_about(fs, s, stemma);
    } else if (err == 0) {
        err = stm_act_commit(fs, &s->act, build_set, s);
        if (err == 0 && starts(name, "security."))
            tell_draft(fs, n.id);
    }
    if (err == 0 && s->acl) /* who may see the past has changed */
        err = stm_past_attrs(fs, &s->act.object, &list, &count);
    if (err < 0)
        stm_reply_fail(req, "setxattr", ino, err == -ENOENT ? -ESTALE : err);
    else
        stm_reply_after(req, list, count);
    free(list);
}

void stm_do_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    struct setting s = {.value = stm_slice(value ? value : "", size), .flags = flags};

    set(req, ino, name, &s);
}

void stm_do_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct setting s = {.flags = 0};

    set(req, ino, name, &s);
}
