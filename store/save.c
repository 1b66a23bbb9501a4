/*
 * save.c: making versions: saving, amending a pending one, taking one back, and handing a line from one object to another. All within a
 * transaction; nothing here reads contents, except to compare bytes whose hashes are equal.
 */
#include "save.h"

#include <sys/stat.h>

static const struct stm_slice empty = {"", 0};
static const struct stm_semver first_version = {1, 0, 0};

/* The bytes of an inline or small version, or the root of a chunked one. */
static int load_body(const struct stm_view *v, const struct stm_version *ver, struct stm_buf *buf, struct stm_slice *ret)
{
    struct stm_key key = stm_key_version(ver->row.line, ver->row.seq);

    if (ver->stored != STM_STORED_SMALL) {
        *ret = stm_buf_slice(&ver->body);
        return 0;
    }
    int err = stm_read(v, STM_CONTENT, &key, buf, ret);
    return err == -ENOENT ? STM_E_CORRUPT : err;
}

/*
 * Is the content of that ordinal `now`'s, byte for byte? 1, 0 or an error. Chunks are unique, so equal roots are equal contents. What is
 * damaged is the same as nothing: saving it again makes a version that can be read.
 */
static int same_content(struct stm_txn *t, uint64_t line, uint32_t ordinal, const struct stm_version *now)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice body;
    struct stm_version old;
    int err = stm_version_get(&v, line, ordinal, &old);

    if (err < 0)
        return err == STM_E_CORRUPT ? 0 : err;
    bool alike = old.row.size == now->row.size && old.stored == now->stored && stm_hash_eq(&old.row.hash, &now->row.hash);
    if (alike)
        err = load_body(&v, &old, &buf, &body);
    if (alike && err == 0)
        err = stm_slice_eq(body, stm_buf_slice(&now->body));
    if (err == STM_E_CORRUPT)
        err = 0;
    stm_buf_release(&buf);
    stm_version_release(&old);
    return err;
}

/* Deletes one version of the line with its content and row. */
static int delete_version(struct stm_txn *t, uint64_t line, uint32_t ordinal, uint64_t seq)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_key key = stm_key_version(line, seq), row = stm_key_row(line, ordinal);
    struct stm_version old;
    int err = stm_version_load(&v, line, seq, &old);

    if (err < 0)
        return err == -ENOENT ? STM_E_CORRUPT : err;
    err = stm_txn_delete(t, STM_VERSION, &key);
    if (err == 0 && old.stored == STM_STORED_SMALL)
        err = stm_txn_delete(t, STM_CONTENT, &key);
    if (err == 0 && old.stored == STM_STORED_CHUNKED)
        err = stm_content_refer(t, stm_buf_slice(&old.body), line, ordinal, false);
    if (err == 0)
        err = stm_txn_delete(t, STM_INDEX, &row);
    stm_version_release(&old);
    return err;
}

/* Writes `ver` as the newest of the object's line and makes it the object's content. ver->row holds number, size and hash. */
static int write_version(struct stm_txn *t, struct stm_object *o, struct stm_version *ver)
{
    struct stm_key key = stm_key_version(o->line, STM_SEQ_THIS);
    struct stm_rec rec = STM_REC_INIT, bytes = STM_REC_INIT;
    int err;

    ver->row.line = o->line;
    ver->row.seq = STM_SEQ_THIS;
    err = stm_version_encode(&rec, ver);
    if (err < 0)
        stm_rec_release(&rec);
    else
        err = stm_txn_put(t, STM_VERSION, &key, &rec);
    if (err == 0 && ver->stored == STM_STORED_SMALL) {
        stm_rec_raw(&bytes, ver->body.data, ver->body.len);
        err = stm_txn_put(t, STM_CONTENT, &key, &bytes);
    }
    if (err == 0 && ver->stored == STM_STORED_CHUNKED)
        err = stm_content_refer(t, stm_buf_slice(&ver->body), o->line, ver->row.ordinal, true);
    if (err == 0)
        err = stm_row_put(t, &ver->row);
    if (err < 0)
        return err;
    o->tip = (struct stm_tip){STM_SEQ_THIS, ver->row.ordinal, ver->row.semver, ver->row.size, ver->row.hash};
    o->head_seq = STM_SEQ_THIS;
    o->size = ver->row.size;
    o->data = ver->data;
    if (ver->data < ver->row.size)
        o->flags |= STM_OBJ_HOLES;
    return 0;
}

/*
 * The content becomes what the line's newest version already holds: no version is made. If that version is older than the object's time
 * on the line, the object was empty until now: what was until now is remembered by itself.
 */
static int show_tip(struct stm_txn *t, struct stm_object *o)
{
    int err = 0;

    o->head_seq = o->tip.seq;
    o->size = o->data = o->tip.size;
    if (o->floor_seq <= o->tip.seq)
        return 0;
    if (o->line_since != STM_SEQ_THIS)
        err = stm_past_line_put(t, o);
    o->line_since = STM_SEQ_THIS;
    o->floor_seq = o->tip.seq;
    return err;
}

/* The number of the next version of the line. */
static int next_number(const struct stm_object *o, const struct stm_save *save, struct stm_version_row *row)
{
    bool any = o->tip.seq != 0;

    if (any && o->tip.ordinal >= STM_ORDINAL_MAX)
        return STM_E_ID_RANGE;
    row->ordinal = any ? o->tip.ordinal + 1 : 0;
    if (save && save->exact) {
        row->semver = save->semver;
        return any && stm_semver_cmp(save->semver, o->tip.semver) <= 0 ? STM_E_VERSION_EXISTS : 0;
    }
    row->semver = first_version;
    return any ? stm_semver_next(o->tip.semver, save ? save->bump : STM_BUMP_PATCH, &row->semver) : 0;
}

/* Fills a version that is to be made from content that was just put away. */
static int from_content(struct stm_txn *t, const struct stm_object *o, const struct stm_save *save, struct stm_version *ret)
{
    const struct stm_change *c = t->change;
    const struct stm_content *content = save->content;
    struct stm_view v = stm_txn_view(t);
    struct stm_buf xattrs = STM_BUF_INIT;
    struct stm_rec text = STM_REC_INIT;
    int err = stm_xattr_pack_user(&v, o, &xattrs);

    *ret = (struct stm_version){.row = {.recorded_ns = STM_TIME_THIS, .size = content->size, .hash = content->hash},
                                .effective_ns = c->effective_ns ? c->effective_ns : STM_TIME_THIS,
                                .mtime_ns = save->mtime_ns ? save->mtime_ns : STM_TIME_THIS,
                                .uid = c->uid,
                                .mode = o->mode & 07777,
                                .stored = content->stored,
                                .codec = content->codec,
                                .size_stored = content->size_stored,
                                .data = content->data};
    stm_rec_blob(&text, c->author ? stm_slice_str(c->author) : empty);
    stm_rec_blob(&text, c->message ? stm_slice_str(c->message) : empty);
    stm_rec_blob(&text, stm_buf_slice(&xattrs));
    if (err == 0 && text.failed)
        err = -ENOMEM;
    if (err == 0)
        err = stm_buf_set(&ret->text, text.buf.data + STM_FRAME_HEAD, text.buf.len - STM_FRAME_HEAD);
    if (err == 0)
        err = stm_buf_set(&ret->body, content->body.data, content->body.len);
    stm_rec_release(&text);
    stm_buf_release(&xattrs);
    return err;
}

/* The pending version goes; the one before it is the newest again. */
static int take_back(struct stm_txn *t, struct stm_object *o)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_version_row prev;
    int err = stm_version_row(&v, o->line, o->tip.ordinal - 1, &prev);

    if (err == 0)
        err = delete_version(t, o->line, o->tip.ordinal, o->tip.seq);
    if (err == 0) {
        o->tip = (struct stm_tip){prev.seq, prev.ordinal, prev.semver, prev.size, prev.hash};
        err = show_tip(t, o);
    }
    return err;
}

/* May the version before the pending one be its predecessor in this very line, so that it can be shown again? */
static bool has_own_previous(struct stm_txn *t, const struct stm_object *o, const struct stm_version *now)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_version_row prev;

    return o->tip.ordinal > 0 && stm_version_row(&v, o->line, o->tip.ordinal - 1, &prev) == 0 && prev.line == o->line &&
           stm_hash_eq(&prev.hash, &now->row.hash);
}

/* Must a version be made even if nothing differs? */
static bool is_forced(const struct stm_save *save)
{
    return save && (save->always || save->exact);
}

/* Another content in place of the line's newest version, under its ordinal and the number in ver; the one before may have it already. */
static int replace_tip(struct stm_txn *t, struct stm_object *o, const struct stm_save *save, struct stm_version *ver)
{
    if (!is_forced(save) && has_own_previous(t, o, ver)) {
        int same = same_content(t, o->line, o->tip.ordinal - 1, ver);
        if (same != 0)
            return same < 0 ? same : take_back(t, o);
    }
    ver->row.ordinal = o->tip.ordinal;
    int err = delete_version(t, o->line, o->tip.ordinal, o->tip.seq);
    return err < 0 ? err : write_version(t, o, ver);
}

/* Replaces the object's newest version, which nobody has seen as a version yet. */
static int amend(struct stm_txn *t, struct stm_object *o, const struct stm_save *save, struct stm_version *ver)
{
    int same = is_forced(save) ? 0 : same_content(t, o->line, o->tip.ordinal, ver);

    if (same != 0)
        return same < 0 ? same : 0;
    ver->row.semver = o->tip.semver;
    return replace_tip(t, o, save, ver);
}

/* As show_tip; but a newest version that is inherited lies on another line, where the object's content cannot be: copied, same number. */
static int show_or_copy_tip(struct stm_txn *t, struct stm_object *o, struct stm_version *ver)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_version_row row;
    struct stm_line line;
    int err = stm_version_row(&v, o->line, o->tip.ordinal, &row);

    if (err < 0 || row.line == o->line)
        return err < 0 ? err : show_tip(t, o);
    err = stm_line_load(&v, o->line, &line);
    if (err < 0)
        return err;
    line.fork_ordinal = row.ordinal;
    ver->row.ordinal = row.ordinal;
    ver->row.semver = row.semver;
    ver->row.recorded_ns = row.recorded_ns;
    err = stm_line_put(t, o->line, &line);
    return err < 0 ? err : write_version(t, o, ver);
}

/* Adds a version to the object's line, unless it would equal the newest. */
static int append(struct stm_txn *t, struct stm_object *o, const struct stm_save *save, struct stm_version *ver)
{
    if (o->tip.seq != 0 && !is_forced(save)) {
        int same =
            o->tip.size == ver->row.size && stm_hash_eq(&o->tip.hash, &ver->row.hash) ? same_content(t, o->line, o->tip.ordinal, ver) : 0;
        if (same < 0)
            return same;
        if (same)
            return show_or_copy_tip(t, o, ver);
    }
    int err = next_number(o, save, &ver->row);
    if (err == 0 && o->tip.seq == STM_SEQ_THIS) { /* a line has one version of a commit: what came last in it */
        if (!save || !save->exact)
            ver->row.semver = o->tip.semver;
        return replace_tip(t, o, save, ver);
    }
    return err < 0 ? err : write_version(t, o, ver);
}

/* Only what this object made itself, on the line it carries now: a version it merely shows may be another's content too. */
static bool may_amend(const struct stm_object *o, const struct stm_save *save)
{
    bool own = o->tip.seq != 0 && o->tip.seq == o->head_seq && o->tip.seq >= o->line_since;
    return own && (save->amend || (o->flags & STM_OBJ_NOHISTORY) || o->tip.seq == STM_SEQ_THIS);
}

int stm_version_save(struct stm_txn *txn, uint64_t object, const struct stm_save *save, struct stm_object *ret)
{
    struct stm_view v = stm_txn_view(txn);
    struct stm_version ver = {0};
    struct stm_object o;
    int err = stm_object_load(&v, object, &o);

    if (err == 0 && !S_ISREG(o.mode))
        err = S_ISDIR(o.mode) ? -EISDIR : -EINVAL;
    if (err == 0 && (o.flags & STM_OBJ_LINE_GONE))
        err = -ESTALE; /* its line is another's: a version here would take the place of one of the other's */
    if (err < 0)
        return err;
    err = from_content(txn, &o, save, &ver);
    if (err == 0)
        err = stm_content_register(txn, save->content);
    if (err == 0)
        err = may_amend(&o, save) ? amend(txn, &o, save, &ver) : append(txn, &o, save, &ver);
    stm_version_release(&ver);
    if (err < 0)
        return err;
    if (save->ctime_ns == 0)
        stm_object_touch(txn, &o, save->mtime_ns == 0);
    else if (save->ctime_ns > o.ctime_ns)
        o.ctime_ns = save->ctime_ns;
    if (save->mtime_ns)
        o.mtime_ns = save->mtime_ns;
    err = stm_object_put(txn, &o, stm_slice(NULL, 0));
    if (err == 0)
        err = stm_txn_log(txn, 'v', object, 0, empty);
    if (err == 0)
        *ret = o;
    return err;
}

/* What `n` brings to the line it takes over: the content being saved, or the version it shows. -ENOENT: it is empty. */
static int own_content(struct stm_txn *t, const struct stm_take *take, struct stm_version *ret)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice body;

    if (take->save)
        return from_content(t, take->n, take->save, ret);
    int err = stm_version_at(&v, take->n, ret);
    if (err < 0)
        return err;
    ret->row.recorded_ns = ret->effective_ns = STM_TIME_THIS;
    if (ret->stored == STM_STORED_SMALL) {
        err = load_body(&v, ret, &buf, &body);
        if (err == 0)
            err = stm_buf_set(&ret->body, body.data, body.len);
        stm_buf_release(&buf);
    }
    return err;
}

/* The object that keeps other names goes on with a line of its own, which begins with a copy of the version it shows. */
static int fork_line(struct stm_txn *t, struct stm_object *o)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_line before, line = {.owner = o->id, .fork_line = o->line};
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice body;
    struct stm_version ver = {0};
    uint64_t id;
    bool shows = o->head_seq != 0;
    int err = stm_store_new_id(t->store, &id);

    line.fork_ordinal = o->tip.seq == 0 ? 0 : shows ? o->tip.ordinal : o->tip.ordinal + 1;
    if (err == 0)
        err = stm_line_load(&v, o->line, &before);
    if (err == 0 && before.fork_line && line.fork_ordinal <= before.fork_ordinal)
        line.fork_line = before.fork_line; /* nothing of the line itself is inherited */
    if (err == 0)
        err = stm_past_line_put(t, o);
    if (err == 0)
        err = stm_line_put(t, id, &line);
    if (err == 0 && shows) {
        int64_t recorded = 0;
        err = stm_version_at(&v, o, &ver);
        recorded = ver.row.recorded_ns;
        if (err == 0)
            err = load_body(&v, &ver, &buf, &body);
        if (err == 0 && ver.stored == STM_STORED_SMALL)
            err = stm_buf_set(&ver.body, body.data, body.len);
        ver.row.recorded_ns = recorded;
    }
    o->line = id;
    o->line_since = STM_SEQ_THIS;
    o->floor_seq = 0;
    if (err == 0 && shows)
        err = write_version(t, o, &ver);
    stm_version_release(&ver);
    stm_buf_release(&buf);
    return err;
}

/*
 * The object's line goes to another. It goes on with a fork if it has other names; also if what it shows was saved by this very commit,
 * since the next version of this commit takes that one's place in the line.
 */
static int give_up_line(struct stm_txn *t, struct stm_object *old)
{
    if (old->nlink > 0 || old->head_seq == STM_SEQ_THIS)
        return fork_line(t, old);
    old->line_until = STM_SEQ_THIS;
    old->flags |= STM_OBJ_LINE_GONE;
    return 0;
}

/* `n` leaves its own line: dropped when it holds nothing but the one version that moves on, else remembered. */
static int leave_line(struct stm_txn *t, struct stm_take *take)
{
    struct stm_object *n = take->n;
    bool only_mine = n->tip.seq == n->head_seq && n->tip.ordinal == 0 && n->line == n->id;
    bool elsewhere = n->nlink > 1 && !(n->flags & STM_OBJ_NOHISTORY); /* another name has had that content */

    take->drop = take->drop && only_mine && !elsewhere;
    if (!take->drop)
        return n->line_since == STM_SEQ_THIS ? 0 : stm_past_line_put(t, n);
    return n->tip.seq ? delete_version(t, n->line, 0, n->tip.seq) : 0;
}

int stm_line_take(struct stm_txn *t, struct stm_take *take)
{
    struct stm_object *n = take->n, *old = take->old;
    struct stm_line line;
    struct stm_view v = stm_txn_view(t);
    uint64_t taken = old->line;
    struct stm_tip tip = old->tip;
    struct stm_version ver = {0};
    int err = own_content(t, take, &ver);

    if (err == -ENOENT) {
        struct stm_content nothing = {.stored = STM_STORED_INLINE, .hash = stm_hash_of(empty)};
        struct stm_save save = {.content = &nothing, .mtime_ns = n->mtime_ns};
        err = from_content(t, n, &save, &ver);
    }
    if (err == 0 && take->save)
        err = stm_content_register(t, take->save->content);
    if (err == 0)
        err = leave_line(t, take);
    if (err == 0)
        err = give_up_line(t, old);
    n->line = taken;
    n->line_since = n->floor_seq = STM_SEQ_THIS;
    n->line_until = STM_SEQ_HEAD;
    n->tip = tip;
    n->head_seq = 0;
    n->flags |= old->flags & STM_OBJ_HOLES;
    if (err == 0)
        err = append(t, n, take->save, &ver);
    take->made_version = err == 0 && n->tip.seq == STM_SEQ_THIS;
    stm_version_release(&ver);
    if (err == 0)
        err = stm_line_load(&v, taken, &line);
    line.owner = n->id;
    return err < 0 ? err : stm_line_put(t, taken, &line);
}

int stm_line_continue(struct stm_txn *t, struct stm_object *n, struct stm_object *old)
{
    struct stm_view v = stm_txn_view(t);
    struct stm_line line;
    int err = stm_line_load(&v, old->line, &line);

    if (err < 0)
        return err;
    n->line = old->line;
    n->line_since = n->floor_seq = STM_SEQ_THIS;
    n->tip = old->tip;
    n->head_seq = 0;
    n->flags |= old->flags & STM_OBJ_HOLES;
    line.owner = n->id;
    err = give_up_line(t, old);
    return err < 0 ? err : stm_line_put(t, n->line, &line);
}

int stm_line_leave(struct stm_txn *t, struct stm_object *n, struct stm_object *ret)
{
    struct stm_object k = *n;
    struct stm_view v = stm_txn_view(t);
    struct stm_line line;
    int err = stm_store_new_id(t->store, &k.id);

    k.nlink = 0;
    k.flags = STM_OBJ_KEEPER | (n->flags & STM_OBJ_HOLES);
    if (n->flags & STM_OBJ_XATTR)
        k.mode &= ~077u; /* an ACL may have said less than the mode does */
    k.line_since = STM_SEQ_THIS;
    if (err == 0)
        err = stm_line_load(&v, n->line, &line);
    if (err == 0)
        err = fork_line(t, n);
    line.owner = k.id;
    if (err == 0)
        err = stm_line_put(t, k.line, &line);
    if (err == 0)
        err = stm_object_put(t, &k, stm_slice(NULL, 0));
    if (err == 0)
        *ret = k;
    return err;
}

int stm_line_drop(struct stm_txn *t, const struct stm_object *o)
{
    struct stm_key key = stm_key_index(STM_IX_LINE, o->line);
    struct stm_view v = stm_txn_view(t);
    struct stm_version_row row;
    int err = 0;

    if (o->tip.seq == 0)
        return 0;
    for (uint32_t i = o->tip.ordinal + 1; err == 0 && i-- > 0;) {
        err = stm_version_row(&v, o->line, i, &row);
        if (err < 0 || row.line != o->line)
            break;
        err = delete_version(t, o->line, i, row.seq);
    }
    return err < 0 && err != -ENOENT ? err : stm_txn_delete(t, STM_INDEX, &key);
}
