/*
 * fsck_flaw.c: from a flaw to a finding: where it is in words that a person knows, what follows from it, what can be done; counted, and mended
 * when this round mends.
 */
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fsck.h"

enum { WHAT_MAX = 512, NAMES_MAX = 100, DEPTH_MAX = 256, RECORD_BYTES = 48 };

static const struct {
    const char *code, *consequence, *remedy;
} texts[] = {
#define X(name, code, consequence, remedy) [STM_FLAW_##name] = {code, consequence, remedy},
    STM_FLAWS(X)
#undef X
};

/* ---- where ----------------------------------------------------------------------------------------------------------------- */

/* "/a/b" of a directory that can be reached; else what can be said without a path. */
static int dir_text(struct stm_fsck *f, uint64_t dir, struct stm_buf *ret)
{
    struct stm_object o;
    uint64_t at = dir;
    int depth = 0;

    while (at != STM_ROOT_OBJECT && depth < DEPTH_MAX && stm_object_load(&f->v, at, &o) == 0 && S_ISDIR(o.mode)) {
        at = o.parent;
        depth++;
    }
    size_t before = ret->len;
    if (at == STM_ROOT_OBJECT && stm_tree_path(&f->v, dir, ret) == 0)
        return 0;
    ret->len = before;
    return stm_buf_printf(ret, "(directory %llu)", (unsigned long long)dir);
}

static int entry_text(struct stm_fsck *f, uint64_t parent, struct stm_slice name, struct stm_buf *ret)
{
    int err = dir_text(f, parent, ret);

    if (err == 0 && ret->data[ret->len - 1] != '/')
        err = stm_buf_append(ret, "/", 1);
    return err < 0 ? err : stm_buf_append(ret, name.data, name.len);
}

/* Any name of the object, by reading all entries: 0, or -ENOENT. */
static int find_name(struct stm_fsck *f, uint64_t object, struct stm_buf *ret)
{
    struct stm_engine *e = f->frozen->engine;
    struct stm_slice key, value, payload;
    struct stm_dentry d;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_DENTRY, stm_slice(NULL, 0), stm_slice(NULL, 0), STM_READ_SWEEP, &it), found = -ENOENT;

    if (err < 0)
        return err;
    for (err = e->ops->iter_seek(it, stm_slice("", 0)); err > 0 && found == -ENOENT; err = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        if (stm_frame_open(STM_DENTRY, key, value, &payload) < 0 || stm_dentry_decode(payload, &d) < 0 || d.object != object ||
            key.len <= 16)
            continue;
        found = entry_text(f, stm_get_u64(key.data), stm_slice((const uint8_t *)key.data + 16, key.len - 16), ret);
    }
    e->ops->iter_free(it);
    return found;
}

static int object_text(struct stm_fsck *f, uint64_t object, struct stm_buf *ret)
{
    struct stm_object o;
    int err = stm_object_load(&f->v, object, &o);

    if (err == 0 && S_ISDIR(o.mode))
        return dir_text(f, object, ret);
    err = (err < 0 || o.nlink > 0) && f->named++ < NAMES_MAX ? find_name(f, object, ret) : -ENOENT;
    return err == 0 ? 0 : stm_buf_printf(ret, "(object %llu)", (unsigned long long)object);
}

static int version_text(struct stm_fsck *f, const struct stm_flaw *flaw, struct stm_buf *ret)
{
    char number[STM_SEMVER_TEXT];
    uint64_t owner = flaw->line;
    int err = stm_line_owner(&f->v, flaw->line, &owner);

    err = object_text(f, owner, ret);
    if (err < 0 || flaw->semver.major == 0)
        return err;
    (void)stm_semver_format(flaw->semver, number);
    return stm_buf_printf(ret, "@%s", number);
}

static int where_text(struct stm_fsck *f, const struct stm_flaw *flaw, struct stm_buf *ret)
{
    int err = 0;

    if (flaw->name.len)
        err = entry_text(f, flaw->parent, flaw->name, ret);
    else if (flaw->object)
        err = object_text(f, flaw->object, ret);
    else if (flaw->line)
        err = version_text(f, flaw, ret);
    else if (flaw->segment)
        err = stm_buf_printf(ret, "(chunk %llu:%u)", (unsigned long long)flaw->segment, flaw->index);
    return err < 0 ? err : stm_buf_append(ret, "", 1);
}

static int record_text(const struct stm_flaw *flaw, struct stm_buf *ret)
{
    const uint8_t *k = flaw->key.data;
    int err = stm_buf_printf(ret, "%s ", stm_space_name(flaw->space));

    for (size_t i = 0; err == 0 && i < flaw->key.len && i < RECORD_BYTES; i++)
        err = stm_buf_printf(ret, "%02x", k[i]);
    return err < 0 ? err : stm_buf_append(ret, "", 1);
}

/* ---- telling ----------------------------------------------------------------------------------------------------------------- */

static int tell(struct stm_fsck *f, const struct stm_flaw *flaw, enum stm_finding_state state, const char *what)
{
    struct stm_buf where = STM_BUF_INIT, record = STM_BUF_INIT;
    int err = where_text(f, flaw, &where);

    if (err == 0)
        err = record_text(flaw, &record);
    if (err == 0) {
        struct stm_finding finding = {.code = texts[flaw->kind].code,
                                      .where = (const char *)where.data,
                                      .record = (const char *)record.data,
                                      .what = what,
                                      .consequence = texts[flaw->kind].consequence,
                                      .remedy = texts[flaw->kind].remedy,
                                      .object = flaw->object,
                                      .line = flaw->line,
                                      .seq = flaw->seq,
                                      .segment = flaw->segment,
                                      .index = flaw->index,
                                      .state = state};
        f->opt->finding(f->opt->arg, &finding);
    }
    stm_buf_release(&where);
    stm_buf_release(&record);
    return err;
}

/* What becomes of it in this round; or an error that ends the check: writing does not work at all. */
static int settle(struct stm_fsck *f, const struct stm_flaw *flaw, enum stm_finding_state *ret)
{
    struct stm_fsck_result *r = f->result;
    int done = 0;

    *ret = STM_FINDING_LEFT;
    if (flaw->done)
        *ret = STM_FINDING_REPAIRED;
    else if (flaw->known)
        *ret = STM_FINDING_KNOWN;
    else if ((flaw->mend || flaw->kind == STM_FLAW_RANGE) && f->opt->dry_run)
        *ret = STM_FINDING_PLANNED;
    else if (flaw->mend && f->repair)
        done = stm_mend_run(f, flaw->mend);
    if (done > 0)
        *ret = flaw->mend->quarantines ? STM_FINDING_QUARANTINED : STM_FINDING_REPAIRED;
    r->left += *ret == STM_FINDING_LEFT;
    r->known += *ret == STM_FINDING_KNOWN;
    r->planned += *ret == STM_FINDING_PLANNED;
    r->repaired += *ret == STM_FINDING_REPAIRED;
    r->quarantined += *ret == STM_FINDING_QUARANTINED;
    return done == -EROFS || done == -ENOSPC || done == -ENOMEM ? done : 0;
}

int stm_fsck_found(struct stm_fsck *f, const struct stm_flaw *flaw, const char *fmt, ...)
{
    enum stm_finding_state state;
    char what[WHAT_MAX];
    va_list ap;
    int err = settle(f, flaw, &state);

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (err == 0 && f->opt->finding && (state == STM_FINDING_REPAIRED || state == STM_FINDING_QUARANTINED || f->tell))
        err = tell(f, flaw, state, what);
    if (flaw->mend)
        stm_mend_release(flaw->mend);
    return err;
}
