/*
 * virtual.c: what interned nodes are and answer: /.stemma, /.stemma/at and its times, `word@/` with its texts. Listing them is dir.c's,
 * their names in ordinary directories selector.c's business.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "acl.h"
#include "file.h"
#include "task.h"
#include "vnode.h"

int stm_chain_of(struct stm_fs *fs, uint64_t line, bool waited, struct stm_chain *ret)
{
    struct stm_view v = stm_view_head(fs->store);
    uint64_t owner;
    uint32_t tip;
    bool hidden;
    int err = stm_line_owner(&v, line, &owner);

    if (err < 0)
        return err;
    ret->object.id = owner;
    err = stm_observe(fs, owner, waited, &hidden);
    if (err != 0)
        return err;
    err = stm_object_get(&v, owner, &ret->object);
    if (err == 0 && ret->object.line != line)
        err = -ENOENT; /* a line that nobody had seen went when its object took over another */
    if (err < 0)
        return err == -ENOENT ? -ESTALE : err;
    ret->n = stm_visible_tip(&ret->object, hidden, &tip) == 0 ? tip + 1 : 0;
    return 0;
}

int stm_virtual_text(struct stm_fs *fs, const struct stm_vnode *v, bool waited, struct stm_buf *ret, uint64_t *ret_object)
{
    struct stm_chain c, now;
    int err = stm_chain_of(fs, v->line, waited, &c);

    if (err == 1)
        *ret_object = c.object.id;
    if (err != 0)
        return err;
    err = v->kind == STM_V_LOG ? stm_log_text(fs, v->line, c.n, ret) : stm_log_jsonl(fs, v->line, c.n, ret);
    if (err == STM_E_CORRUPT && (stm_chain_of(fs, v->line, true, &now) < 0 || now.n < c.n))
        err = -ESTALE; /* not damage: the line went meanwhile */
    return err;
}

/* Texts and `word@` belong to whoever owns the file, and are as readable as it is. */
static int attr_of_line(struct stm_fs *fs, const struct stm_vnode *v, struct stm_attr *ret)
{
    struct stm_buf text = STM_BUF_INIT;
    struct stm_view view = stm_view_head(fs->store);
    struct stm_object o;
    uint64_t owner;
    int err = stm_line_owner(&view, v->line, &owner);

    if (err == 0)
        err = stm_object_get(&view, owner, &o);
    if (err < 0)
        return err;
    ret->st.st_uid = o.uid;
    ret->st.st_gid = o.gid;
    ret->timeout = 0;
    if (v->kind == STM_V_VERSIONS) {
        mode_t r = stm_acl_past_mode(fs, &o, o.mode & 0444);
        ret->st.st_mode = S_IFDIR | r | r >> 2;
        ret->st.st_nlink = 2;
        return 0;
    }
    ret->st.st_mode = S_IFREG | stm_acl_past_mode(fs, &o, o.mode & 0444);
    err = stm_virtual_text(fs, v, true, &text, &owner);
    ret->st.st_size = (off_t)text.len; /* exact: tools copy so many bytes */
    ret->st.st_blocks = (blkcnt_t)((text.len + 511) / 512);
    stm_buf_release(&text);
    return err;
}

int stm_virtual_attr(struct stm_fs *fs, uint64_t number, struct stm_attr *ret)
{
    struct stm_vnode v;
    int err = stm_vnode_get(fs, number, &v);

    if (err < 0)
        return err;
    *ret = (struct stm_attr){.timeout = STM_TIMEOUT_S, .st = {.st_ino = stm_nodeid_virtual(number), .st_nlink = 1, .st_blksize = 4096}};
    ret->st.st_atim = ret->st.st_mtim = ret->st.st_ctim = stm_timespec(v.born_ns);
    switch (v.kind) {
    case STM_V_STEMMA:
    case STM_V_AT:
        ret->st.st_mode = S_IFDIR | 0555;
        ret->st.st_nlink = v.kind == STM_V_STEMMA ? 3 : 2;
        break;
    case STM_V_LINK:
        ret->st.st_mode = S_IFLNK | 0777;
        ret->st.st_size = (off_t)strlen(v.target);
        break;
    case STM_V_VERSIONS:
    case STM_V_LOG:
    case STM_V_JSONL:
        err = attr_of_line(fs, &v, ret);
        break;
    }
    stm_vnode_release(&v);
    return err;
}

int stm_found_vnode(struct stm_fs *fs, const struct stm_caller *who, const struct stm_vnode *want, struct stm_found *ret)
{
    uint64_t number;
    int err = stm_vnode_intern(fs, want, &number);

    if (err < 0)
        return err;
    err = stm_found_entry(fs, who, stm_nodeid_virtual(number), ret);
    if (err < 0) {
        stm_vnode_forget(fs, number, 1);
        return err;
    }
    ret->vnode = number;
    return 0;
}

/* ---- /.stemma/at ---- */

static int parse_seq(const char *text, uint64_t *ret)
{
    char *end;

    if (*text < '1' || *text > '9' || strlen(text) > 19)
        return -ENOENT;
    *ret = strtoull(text, &end, 10);
    return *end ? -ENOENT : 0;
}

/* `#SEQ`: the root as it was; anything that names a time: a symlink to such a root. */
static int lookup_at(struct stm_fs *fs, const struct stm_caller *who, const char *name, struct stm_found *ret)
{
    struct stm_vnode want = {.kind = STM_V_LINK, .parent = stm_nodeid_virtual(STM_VNODE_AT)};
    char target[32];
    uint64_t seq;
    uint32_t view;
    int64_t ns;
    int err;

    if (name[0] == '#') {
        err = parse_seq(name + 1, &seq);
        if (err == 0)
            err = stm_observe_all(fs);
        if (err == 0 && seq > stm_store_seq(fs->store))
            err = -ENOENT;
        if (err == 0)
            err = stm_view_id(fs->store, seq, &view);
        return err < 0 ? err : stm_found_entry(fs, who, stm_nodeid_view(view, STM_ROOT_OBJECT), ret);
    }
    if (stm_time_parse(stm_slice_str(name), &ns) < 0)
        return -ENOENT;
    err = stm_observe_all(fs);
    if (err == 0)
        err = stm_seq_at_time(fs->store, ns, &seq);
    if (err < 0 || seq == 0)
        return err < 0 ? err : -ENOENT;
    snprintf(target, sizeof target, "#%llu", (unsigned long long)seq);
    snprintf(want.name, sizeof want.name, "%s", name);
    want.target = target;
    err = stm_found_vnode(fs, who, &want, ret);
    if (err == 0)
        ret->e.entry_timeout = 0;
    return err;
}

/* ---- word@/ ---- */

static int lookup_versions(struct stm_fs *fs, struct stm_again *a, const struct stm_vnode *dir, struct stm_found *ret)
{
    bool log = strcmp(a->name, "log") == 0, jsonl = strcmp(a->name, "log.jsonl") == 0;
    struct stm_vnode want = {.kind = log ? STM_V_LOG : STM_V_JSONL, .parent = a->ino, .line = dir->line};
    struct stm_pick p = {.fs = fs, .who = a->who, .name = a->name, .waited = a->waited};

    if (log || jsonl) {
        snprintf(want.name, sizeof want.name, "%s", a->name);
        return stm_found_vnode(fs, &a->who, &want, ret);
    }
    int err = stm_pick_in_versions(&p, a->ino, dir->line, ret);
    if (err != 1)
        return err;
    return stm_again_post(fs, p.object.id, a) < 0 ? -ENOMEM : 1;
}

int stm_virtual_lookup(struct stm_fs *fs, struct stm_again *a, struct stm_found *ret)
{
    struct stm_vnode dir;
    int err = stm_vnode_get(fs, a->ino & STM_ID_MAX, &dir);

    if (err < 0)
        return err;
    if (dir.kind == STM_V_STEMMA)
        err = strcmp(a->name, "at") == 0 ? stm_found_entry(fs, &a->who, stm_nodeid_virtual(STM_VNODE_AT), ret) : -ENOENT;
    else if (dir.kind == STM_V_AT)
        err = lookup_at(fs, &a->who, a->name, ret);
    else if (dir.kind == STM_V_VERSIONS)
        err = lookup_versions(fs, a, &dir, ret);
    else
        err = -ENOTDIR;
    stm_vnode_release(&dir);
    return err;
}
