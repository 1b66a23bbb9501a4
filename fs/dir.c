/*
 * dir.c: listing directories. Cookies of stored directories are the store's, good for ever, so a handle holds nothing; only `-o versions=listed`
 * keeps a list for each handle (dirlist.c). Selectors are not listed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dirlist.h"
#include "file.h"
#include "task.h"
#include "vnode.h"

enum { COOKIE_DOT = 1, COOKIE_DOTDOT = 2, COOKIE_FIRST = 3, COOKIE_VERSIONS = 16 };
enum { EPOCHS = 64 }; /* as many as a table of files has; see stm_file_epoch */

/* One answer that is being filled. */
struct filling {
    struct stm_fs *fs;
    fuse_req_t req;
    struct stm_caller who;
    bool plus;
    char *buf;
    size_t size, used;
    uint64_t epochs[EPOCHS]; /* from before the first entry was read */
};

/* 1: added; 0: there is no room. */
static int add(struct filling *f, const char *name, const struct stm_found *found, uint64_t next)
{
    char *to = f->buf + f->used;
    size_t room = f->size - f->used, n;

    if (f->plus)
        n = fuse_add_direntry_plus(f->req, to, room, name, &found->e, (off_t)next);
    else
        n = fuse_add_direntry(f->req, to, room, name, &found->e.attr, (off_t)next);
    if (n > room)
        return 0;
    f->used += n;
    return 1;
}

/* An entry without attributes of its own: "." and "..", and everything in a plain listing. */
static int add_bare(struct filling *f, const char *name, uint64_t ino, uint32_t type, uint64_t next)
{
    struct stm_found found = {.e = {.attr = {.st_ino = ino, .st_mode = type}}};

    return add(f, name, &found, next);
}

static int add_dots(struct filling *f, uint64_t self, uint64_t parent, uint64_t off)
{
    int more = 1;

    if (off < COOKIE_DOT)
        more = add_bare(f, ".", self, S_IFDIR, COOKIE_DOT);
    if (more == 1 && off < COOKIE_DOTDOT)
        more = add_bare(f, "..", parent, S_IFDIR, COOKIE_DOTDOT);
    return more;
}

static int add_object(struct filling *f, const struct stm_node *dir, const struct stm_entry *e, const struct stm_object *o)
{
    uint64_t ino = dir->kind == STM_NODE_VIEW ? stm_nodeid_view(dir->n, e->object) : stm_nodeid_head(e->object);
    struct stm_found found;
    struct stm_attr a;
    int err;

    if (!f->plus)
        return add_bare(f, e->name, ino, e->type, e->cookie);
    if (dir->kind == STM_NODE_VIEW)
        err = stm_attr_view(f->fs, dir->n, o, &a);
    else
        err = stm_attr_object(f->fs, o, f->epochs[e->object % EPOCHS], &a);
    if (err == -ENOENT)
        return add_bare(f, e->name, ino, e->type, e->cookie); /* removed meanwhile */
    if (err < 0)
        return err;
    found = (struct stm_found){.e = {.ino = ino,
                                     .attr = a.st,
                                     .attr_timeout = f->who.uncached ? 0 : a.timeout,
                                     .entry_timeout = f->who.uncached ? 0 : STM_TIMEOUT_S}};
    return add(f, e->name, &found, e->cookie);
}

/* A directory of the head or of a view. */
static int fill_stored(struct filling *f, const struct stm_node *dir, uint64_t off)
{
    struct stm_view v = stm_view_head(f->fs->store);
    struct stm_entry e;
    struct stm_object o;
    struct stm_dir *d;
    uint64_t seq, self = stm_nodeid_head(dir->id), up = self;
    int err, more = 1;

    if (dir->kind == STM_NODE_VIEW) {
        if (stm_view_seq(f->fs->store, dir->n, &seq) < 0)
            return -ESTALE;
        v = stm_view_at(f->fs->store, seq);
        self = up = stm_nodeid_view(dir->n, dir->id);
    }
    if (off < COOKIE_DOTDOT) {
        err = stm_object_get(&v, dir->id, &o);
        if (err < 0)
            return err == -ENOENT ? -ESTALE : err;
        if (dir->id != STM_ROOT_OBJECT)
            up = dir->kind == STM_NODE_VIEW ? stm_nodeid_view(dir->n, o.parent) : stm_nodeid_head(o.parent);
        if (add_dots(f, self, up, off) == 0)
            return 0;
    }
    for (size_t i = 0; i < EPOCHS; i++)
        f->epochs[i] = stm_file_epoch(f->fs, i);
    err = stm_dir_open(&v, dir->id, off <= COOKIE_DOTDOT ? 0 : off, &d);
    if (err < 0)
        return err == -ENOENT ? 0 : err; /* removed, and so empty */
    while (more == 1 && (err = stm_dir_next(d, &e, f->plus ? &o : NULL)) == 1)
        more = add_object(f, dir, &e, &o);
    stm_dir_free(d);
    return more < 0 ? more : err < 0 ? err : 0;
}

/* ---- virtual directories ---- */

/* One name of `word@/`: looked up like any other, when attributes are wanted. */
static int add_version_name(struct filling *f, uint64_t dir, const char *name, uint32_t type, uint64_t next)
{
    struct stm_again a = {.req = f->req, .who = f->who, .ino = dir, .waited = true};
    struct stm_found found = {.vnode = 0};

    snprintf(a.name, sizeof a.name, "%s", name);
    if (!f->plus || stm_virtual_lookup(f->fs, &a, &found) != 0)
        return add_bare(f, name, STM_ID_MAX, type, next);
    int more = add(f, name, &found, next);
    if (more == 0 && found.vnode)
        stm_vnode_forget(f->fs, found.vnode, 1);
    return more;
}

static int fill_versions(struct filling *f, const struct stm_vnode *dir, uint64_t off)
{
    static const struct {
        const char *name;
        uint32_t type;
    } fixed[] = {{"latest", S_IFLNK}, {"log", S_IFREG}, {"log.jsonl", S_IFREG}};
    struct stm_view v = stm_view_head(f->fs->store);
    uint64_t self = stm_nodeid_virtual(dir->number);
    struct stm_version_row row;
    struct stm_chain c;
    char name[STM_SEMVER_TEXT];
    int err = stm_chain_of(f->fs, dir->line, true, &c), more = 1;

    if (err < 0)
        return err;
    for (uint64_t i = off < COOKIE_FIRST ? 0 : off - COOKIE_FIRST + 1; more == 1 && i < 3; i++) {
        if (i > 0 || c.n > 0) /* no latest without a version */
            more = add_version_name(f, self, fixed[i].name, fixed[i].type, COOKIE_FIRST + i);
    }
    for (uint64_t i = off < COOKIE_VERSIONS ? 0 : off - COOKIE_VERSIONS + 1; more == 1 && i < c.n; i++) {
        err = stm_version_row(&v, dir->line, (uint32_t)i, &row);
        if (err < 0)
            return err;
        stm_semver_format(row.semver, name);
        if (f->plus)
            more = add_version_name(f, self, name, S_IFREG, COOKIE_VERSIONS + i);
        else
            more = add_bare(f, name, stm_nodeid_version(dir->line, (uint32_t)i), S_IFREG, COOKIE_VERSIONS + i);
    }
    return more < 0 ? more : 0;
}

static int fill_virtual(struct filling *f, const struct stm_node *node, uint64_t off)
{
    uint64_t at = stm_nodeid_virtual(STM_VNODE_AT);
    struct stm_found found;
    struct stm_vnode dir;
    int err = stm_vnode_get(f->fs, node->id, &dir);

    if (err < 0)
        return err;
    int more = add_dots(f, stm_nodeid_virtual(node->id), dir.parent, off);
    if (more == 1 && dir.kind == STM_V_VERSIONS) {
        err = fill_versions(f, &dir, off);
    } else if (more == 1 && dir.kind == STM_V_STEMMA && off < COOKIE_FIRST) {
        err = stm_found_entry(f->fs, &f->who, at, &found);
        if (err == 0)
            (void)add(f, "at", &found, COOKIE_FIRST);
    } else if (dir.kind == STM_V_LINK || dir.kind == STM_V_LOG || dir.kind == STM_V_JSONL) {
        err = -ENOTDIR;
    }
    stm_vnode_release(&dir);
    return err;
}

/* ---- -o versions=listed ---- */

static int fill_listed(struct filling *f, const struct fuse_file_info *fi, const struct stm_node *dir, uint64_t off)
{
    struct stm_listed l;
    char name[STM_NAME_MAX + 1];
    int err = 0, more = 1;

    if (off == 0)
        err = stm_listing_fill(f->fs, fi->fh, dir->id);
    for (uint64_t i = off; err >= 0 && more == 1; i++) {
        struct stm_found found;
        err = stm_listing_get(f->fs, fi->fh, i, &l, name);
        if (err == -EBADF) { /* an earlier daemon had it: what has been listed stays in front, as long as nothing changed */
            err = stm_listing_fill(f->fs, fi->fh, dir->id);
            if (err == 0)
                err = stm_listing_get(f->fs, fi->fh, i, &l, name);
        }
        if (err <= 0)
            break;
        if (f->plus && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && stm_found_entry(f->fs, &f->who, l.ino, &found) == 0) {
            if (l.ino >> 60 == STM_NODE_VERSION)
                found.e.entry_timeout = 0;
            more = add(f, name, &found, i + 1);
        } else {
            more = add_bare(f, name, l.ino, l.type, i + 1);
        }
    }
    return err < 0 ? err : 0;
}

/* ---- requests ---- */

static bool is_listed(const struct stm_fs *fs, uint64_t ino)
{
    return fs->opt.versions_listed && ino >> 60 == STM_NODE_HEAD;
}

/* Opening `word@/` is looking at versions. */
static void opendir_again(struct stm_again *a)
{
    struct stm_fs *fs = stm_fs_of(a->req);
    struct stm_node node = {.id = 0};
    struct stm_chain c;
    struct stm_vnode v;
    int err = stm_nodeid_parse(a->ino, &node);

    if (err == 0 && node.kind == STM_NODE_VIRTUAL) {
        err = stm_vnode_get(fs, node.id, &v);
        if (err == 0 && v.kind == STM_V_VERSIONS)
            err = stm_chain_of(fs, v.line, a->waited, &c);
        if (err >= 0)
            stm_vnode_release(&v);
    } else if (err == 0 && is_listed(fs, a->ino)) {
        err = stm_listing_open(fs, &a->fi.fh);
    }
    if (err == 1) {
        err = stm_again_post(fs, c.object.id, a);
        if (err == 0)
            return;
    }
    if (err < 0)
        stm_reply_fail(a->req, "opendir", a->ino, err);
    else if (fuse_reply_open(a->req, &a->fi) < 0 && a->fi.fh)
        stm_listing_close(fs, a->fi.fh);
}

void stm_do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stm_again a = {.req = req, .who = stm_caller_of(req), .ino = ino, .fi = *fi, .again = opendir_again};

    a.fi.fh = 0;
    opendir_again(&a);
}

static void list(fuse_req_t req, fuse_ino_t ino, struct filling *f, off_t off, const struct fuse_file_info *fi)
{
    struct stm_node node;
    int err = stm_nodeid_parse(ino, &node);

    f->req = req;
    f->fs = stm_fs_of(req);
    f->who = stm_caller_of(req);
    f->buf = malloc(f->size);
    if (!f->buf)
        err = -ENOMEM;
    if (err == 0 && is_listed(f->fs, ino))
        err = fill_listed(f, fi, &node, (uint64_t)off);
    else if (err == 0 && node.kind == STM_NODE_VIRTUAL)
        err = fill_virtual(f, &node, (uint64_t)off);
    else if (err == 0)
        err = node.kind == STM_NODE_VERSION ? -ENOTDIR : fill_stored(f, &node, (uint64_t)off);
    /* What was added is counted by the kernel: it must be told, whatever came after. */
    if (err < 0 && f->used == 0)
        stm_reply_fail(req, "readdir", ino, err);
    else
        fuse_reply_buf(req, f->buf, f->used);
    free(f->buf);
}

void stm_do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct filling f = {.size = size};

    list(req, ino, &f, off, fi);
}

void stm_do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct filling f = {.size = size, .plus = true};

    list(req, ino, &f, off, fi);
}

void stm_do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (is_listed(stm_fs_of(req), ino))
        stm_listing_close(stm_fs_of(req), fi->fh);
    stm_reply_err(req, 0);
}

void stm_do_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    (void)fi;
    stm_reply_err(req, ino >> 60 == STM_NODE_HEAD ? stm_store_sync(stm_fs_of(req)->store) : 0);
}
