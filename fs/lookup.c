/*
 * lookup.c: names to nodes. An entry that literally has the name wins; only then is an `@` looked at (selector.c). Names that are not there
 * are never cached by the kernel, since a version may appear behind a selector without a change of the directory.
 */
#include <sys/stat.h>

#include "file.h"
#include "task.h"
#include "vnode.h"

bool stm_name_is_root_entry(uint64_t parent, const char *name)
{
    return parent == STM_ROOT_OBJECT && strcmp(name, ".stemma") == 0;
}

int stm_head_object(uint64_t ino, uint64_t *ret_object)
{
    struct stm_node n;
    int err = stm_nodeid_parse(ino, &n);

    if (err < 0)
        return err;
    if (n.kind != STM_NODE_HEAD)
        return n.kind == STM_NODE_VERSION ? -ENOTDIR : -EROFS;
    *ret_object = n.id;
    return 0;
}

int stm_found_entry(struct stm_fs *fs, const struct stm_caller *who, uint64_t ino, struct stm_found *ret)
{
    struct stm_attr a;
    int err = stm_attr_get(fs, who, ino, &a);

    if (err < 0)
        return err;
    *ret = (struct stm_found){
        .e = {.ino = ino, .attr = a.st, .attr_timeout = a.timeout, .entry_timeout = who->uncached ? 0 : STM_TIMEOUT_S},
    };
    return 0;
}

void stm_found_object(struct stm_fs *fs, const struct stm_caller *who, const struct stm_object *o, struct stm_found *ret)
{
    struct stm_attr a;

    if (stm_attr_object(fs, o, stm_file_epoch(fs, o->id), &a) < 0)
        stm_attr_stored(o, &a);
    *ret = (struct stm_found){
        .e = {.ino = stm_nodeid_head(o->id),
              .attr = a.st,
              .attr_timeout = who->uncached ? 0 : a.timeout,
              .entry_timeout = who->uncached ? 0 : STM_TIMEOUT_S},
    };
}

static int parent_of(struct stm_fs *fs, const struct stm_node *n, uint64_t *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_vnode node;
    struct stm_object o;
    int err;

    if (n->kind == STM_NODE_VIRTUAL) {
        err = stm_vnode_get(fs, n->id, &node);
        if (err == 0) {
            *ret = node.parent;
            stm_vnode_release(&node);
        }
        return err;
    }
    if (n->kind == STM_NODE_VERSION)
        return -ENOTDIR;
    err = stm_object_get(&v, n->id, &o);
    if (err < 0)
        return err == -ENOENT ? -ESTALE : err;
    if (n->kind == STM_NODE_HEAD)
        *ret = stm_nodeid_head(n->id == STM_ROOT_OBJECT ? n->id : o.parent);
    else
        *ret = n->id == STM_ROOT_OBJECT ? stm_nodeid_virtual(STM_VNODE_AT) : stm_nodeid_view(n->n, o.parent);
    return 0;
}

/* A removed object's record stays for its history, but a file handle of it is stale. */
static int still_there(struct stm_fs *fs, uint64_t object)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;
    int err = stm_object_get(&v, object, &o);

    if (err == 0 && o.nlink == 0 && !stm_file_is_open(fs, object))
        err = -ESTALE;
    return err == -ENOENT ? -ESTALE : err;
}

/* "." and "..": asked for when a file handle is opened (export support), with any node. */
static int lookup_dots(struct stm_fs *fs, const struct stm_caller *who, uint64_t ino, bool up, struct stm_found *ret)
{
    struct stm_node n;
    int err = stm_nodeid_parse(ino, &n);

    if (err == 0 && n.kind == STM_NODE_HEAD)
        err = still_there(fs, n.id);
    if (err == 0 && up)
        err = parent_of(fs, &n, &ino);
    return err < 0 ? err : stm_found_entry(fs, who, ino, ret);
}

static int lookup_head(struct stm_fs *fs, struct stm_again *a, uint64_t parent, struct stm_found *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_entry e;

    if (stm_name_is_root_entry(parent, a->name))
        return stm_found_entry(fs, &a->who, stm_nodeid_virtual(STM_VNODE_STEMMA), ret);
    int err = stm_tree_lookup(&v, parent, stm_slice_str(a->name), &e);
    if (err == 0)
        return stm_found_entry(fs, &a->who, stm_nodeid_head(e.object), ret);
    if (err != -ENOENT)
        return err;
    if (!strchr(a->name, '@'))
        return -ENOENT;
    struct stm_pick p = {.fs = fs, .who = a->who, .parent = parent, .name = a->name, .waited = a->waited};
    err = stm_pick_lookup(&p, ret);
    if (err != 1)
        return err;
    return stm_again_post(fs, p.object.id, a) < 0 ? -ENOMEM : 1;
}

static int lookup_view(struct stm_fs *fs, const struct stm_caller *who, const struct stm_node *dir, const char *name, struct stm_found *ret)
{
    struct stm_entry e;
    uint64_t seq;
    int err = stm_view_seq(fs->store, dir->n, &seq);

    if (err < 0)
        return -ESTALE;
    struct stm_view v = stm_view_at(fs->store, seq);
    err = stm_tree_lookup(&v, dir->id, stm_slice_str(name), &e);
    return err < 0 ? err : stm_found_entry(fs, who, stm_nodeid_view(dir->n, e.object), ret);
}

/* Answers, or has posted itself to be asked again. */
static void lookup(struct stm_again *a)
{
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_found found;
    struct stm_node dir;
    int err = stm_nodeid_parse(a->ino, &dir);

    if (err == 0 && (strcmp(a->name, ".") == 0 || strcmp(a->name, "..") == 0))
        err = lookup_dots(fs, &a->who, a->ino, a->name[1] == '.', &found);
    else if (err == 0 && dir.kind == STM_NODE_HEAD)
        err = lookup_head(fs, a, dir.id, &found);
    else if (err == 0 && dir.kind == STM_NODE_VIEW)
        err = lookup_view(fs, &a->who, &dir, a->name, &found);
    else if (err == 0 && dir.kind == STM_NODE_VIRTUAL)
        err = stm_virtual_lookup(fs, a, &found);
    else if (err == 0)
        err = -ENOTDIR;
    if (err == 1)
        return; /* posted */
    if (err < 0)
        stm_reply_fail(a->req, "lookup", a->ino, err);
    else
        stm_reply_found(a->req, &found);
}

void stm_do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct stm_again a = {.req = req, .who = stm_caller_of(req), .ino = parent, .again = lookup};

    if (strlen(name) > STM_NAME_MAX) {
        stm_reply_err(req, -ENAMETOOLONG);
        return;
    }
    strcpy(a.name, name);
    lookup(&a);
}
