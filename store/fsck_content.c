/*
 * fsck_content.c: the bytes of versions: those of each have the hash that the version says. Small contents are healed from another version of the
 * line with the same bytes; of large ones each chunk is (fsck_list.c).
 */
#include <stdlib.h>

#include "fsck.h"

enum { KEY = 16 };

/* The bytes of a small content, checked. 0, -ENOENT (not there, or damaged), or an error. */
static int load_small(struct stm_fsck *f, const struct stm_version_row *row, struct stm_buf *buf, struct stm_slice *ret)
{
    struct stm_key key = stm_key_version(row->line, row->seq);
    int err = stm_read(&f->v, STM_CONTENT, &key, buf, ret);

    if (err == 0 && ret->len == row->size) {
        struct stm_hash got = stm_hash_of(*ret);
        return stm_hash_eq(&got, &row->hash) ? 0 : -ENOENT;
    }
    return err == 0 || err == STM_E_CORRUPT ? -ENOENT : err;
}

/* The same bytes in another version of the line. As load_small. */
static int find_twin(struct stm_fsck *f, const struct stm_version_row *row, struct stm_buf *buf, struct stm_slice *ret)
{
    struct stm_key low = stm_key_row(row->line, 0), high = stm_key_row(row->line, UINT32_MAX);
    struct stm_engine *e = f->frozen->engine;
    struct stm_slice key, value, payload;
    struct stm_version_row other;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_INDEX, stm_key_slice(&low), stm_key_slice(&high), 0, &it), found = -ENOENT;

    if (err < 0)
        return err;
    for (err = e->ops->iter_seek(it, stm_key_slice(&low)); err > 0 && found == -ENOENT; err = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        if (stm_frame_open(STM_INDEX, key, value, &payload) < 0 || stm_row_decode(payload, row->line, 0, &other) < 0)
            continue;
        if (other.seq != row->seq && other.size == row->size && stm_hash_eq(&other.hash, &row->hash))
            found = load_small(f, &other, buf, ret);
    }
    e->ops->iter_free(it);
    return found;
}

static struct stm_flaw about(enum stm_flaw_kind kind, const struct stm_version_row *row, const struct stm_key *key)
{
    return (struct stm_flaw){
        .kind = kind, .space = STM_VERSION, .key = stm_key_slice(key), .line = row->line, .seq = row->seq, .semver = row->semver};
}

/* The content cannot be read, or is not what it should be. */
static int content_lost(struct stm_fsck *f, const struct stm_version *ver, enum stm_quarantine_reason reason, const char *why)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .reason = reason, .length = ver->row.size, .hash = ver->row.hash};
    struct stm_key key = stm_key_version(ver->row.line, ver->row.seq);
    struct stm_flaw flaw = about(STM_FLAW_CONTENT, &ver->row, &key);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_mend mend = {0};
    struct stm_slice payload;
    int twin = ver->stored == STM_STORED_SMALL ? find_twin(f, &ver->row, &buf, &payload) : -ENOENT;

    flaw.mend = &mend;
    flaw.known = twin < 0 && stm_quarantine_get(&f->v, STM_VERSION, stm_key_slice(&key), NULL) > 0;
    if (twin == 0) {
        stm_mend_guard(&mend, STM_VERSION, &key);
        stm_mend_guard(&mend, STM_CONTENT, &key);
        stm_mend_put(&mend, STM_CONTENT, &key, payload);
    } else if (!flaw.known) {
        stm_mend_quarantine(&mend, STM_VERSION, stm_key_slice(&key), &q);
    }
    int err = stm_fsck_found(f, &flaw, "its %llu bytes %s%s", (unsigned long long)ver->row.size, why,
                             twin == 0 ? "; another version of the file has the same" : "");
    stm_buf_release(&buf);
    return err;
}

/* The content is right: it need not be in quarantine. */
static int content_fine(struct stm_fsck *f, const struct stm_version *ver)
{
    struct stm_key key = stm_key_version(ver->row.line, ver->row.seq), at;
    struct stm_flaw flaw = about(STM_FLAW_HEALED, &ver->row, &key);
    struct stm_mend mend = {0};
    int there = stm_quarantine_get(&f->v, STM_VERSION, stm_key_slice(&key), NULL);

    if (there <= 0)
        return there == STM_E_CORRUPT ? 0 : there;
    mend.err = stm_key_quarantine(STM_VERSION, stm_key_slice(&key), &at);
    stm_mend_guard(&mend, STM_VERSION, &key);
    stm_mend_remove(&mend, STM_INDEX, &at);
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw, "its content is what it should be");
}

static int check_chunked(struct stm_fsck *f, const struct stm_version *ver)
{
    bool bad = false, parts = false, healed = false;
    int err = stm_fsck_list(f, ver, &bad);

    if (err < 0 || (f->opt->quick && !bad))
        return err;
    int fit = bad ? 0 : stm_content_verify(f->frozen, ver, &f->result->bytes, stm_fsck_go_on, f);
    f->result->contents++;
    if (fit != 0)
        return fit < 0 ? fit : content_fine(f, ver);
    err = stm_fsck_leaves(f, ver, &parts, &healed);
    if (err < 0 || (healed && f->repair))
        return err; /* the next round looks again */
    if (parts)
        return content_lost(f, ver, STM_QUARANTINE_PARTS, "cannot all be read: a chunk of them is damaged");
    return content_lost(f, ver, STM_QUARANTINE_CONTENT, bad ? "are listed wrongly" : "have another hash than they should");
}

int stm_fsck_content(struct stm_fsck *f, const struct stm_version *ver)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload = stm_buf_slice(&ver->body);
    int err = 0;

    if (ver->stored == STM_STORED_CHUNKED)
        return check_chunked(f, ver);
    if (ver->stored == STM_STORED_SMALL)
        err = load_small(f, &ver->row, &buf, &payload);
    struct stm_hash got = stm_hash_of(payload.data ? payload : stm_slice("", 0));
    bool fits = err == 0 && stm_hash_eq(&got, &ver->row.hash);
    f->result->contents++;
    f->result->bytes += ver->row.size;
    stm_buf_release(&buf);
    if (err < 0 && err != -ENOENT)
        return err;
    return fits ? content_fine(f, ver) : content_lost(f, ver, STM_QUARANTINE_CONTENT, "cannot be read, or have another hash");
}

/* ---- small contents that no version has -------------------------------------------------------------------------------------------- */

/* Does a row of the line name that commit? Then the version is lost, and this is what is left of it. 1, 0, or an error. */
static int has_row(struct stm_fsck *f, uint64_t line, uint64_t seq)
{
    struct stm_key low = stm_key_row(line, 0), high = stm_key_row(line, UINT32_MAX);
    struct stm_engine *e = f->frozen->engine;
    struct stm_slice key, value, payload;
    struct stm_version_row row;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_INDEX, stm_key_slice(&low), stm_key_slice(&high), 0, &it), found = 0;

    if (err < 0)
        return err;
    for (err = e->ops->iter_seek(it, stm_key_slice(&low)); err > 0 && !found; err = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        if (stm_frame_open(STM_INDEX, key, value, &payload) < 0 || stm_row_decode(payload, line, 0, &row) < 0)
            continue;
        found = row.seq == seq;
    }
    e->ops->iter_free(it);
    return err < 0 ? err : found;
}

static int each_small(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_CONTENT_LEFT, .space = STM_CONTENT, .key = key};
    struct stm_version ver = {.stored = STM_STORED_INLINE};
    struct stm_mend mend = {0};
    struct stm_key at;

    (void)payload;
    if (key.len != KEY) {
        flaw.kind = STM_FLAW_STRANGE;
        return stm_fsck_found(f, &flaw, "a key of %zu bytes", key.len);
    }
    uint64_t line = stm_get_u64(key.data), seq = ~stm_get_u64((const uint8_t *)key.data + 8);
    int err = stm_version_load(&f->v, line, seq, &ver);
    if (err == 0)
        stm_version_release(&ver);
    if (err == STM_E_CORRUPT || (err == 0 && ver.stored == STM_STORED_SMALL))
        return 0;
    if (err == -ENOENT)
        err = has_row(f, line, seq);
    if (err != 0 && err != -ENOENT)
        return err == 1 || err == STM_E_CORRUPT ? 0 : err;
    flaw.line = line;
    flaw.seq = seq;
    mend.err = stm_fsck_key(key, &at);
    stm_mend_guard(&mend, STM_CONTENT, &at);
    stm_mend_guard(&mend, STM_VERSION, &at);
    stm_mend_remove(&mend, STM_CONTENT, &at);
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw, "the content of commit %llu in line %llu has no version", (unsigned long long)seq,
                          (unsigned long long)line);
}

int stm_fsck_contents(struct stm_fsck *f)
{
    struct stm_scan s = {.space = STM_CONTENT, .each = each_small, .bad = each_small}; /* what is damaged was found by its version */

    return stm_fsck_scan(f, &s);
}
