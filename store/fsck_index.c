/* fsck_index.c: the index, by tag; rows of lines are fsck_line.c's. Each row agrees with what it is an index of. */
#include <stdlib.h>
#include <sys/stat.h>

#include "fsck.h"
#include "list.h"

enum { ID_KEY = 9, EFFECTIVE_KEY = 25, NUMBER = 8 };

static int strange(struct stm_fsck *f, struct stm_slice key)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_STRANGE, .space = STM_INDEX, .key = key};
    return stm_fsck_found(f, &flaw, "no record of the index has such a key or value");
}

/* A flaw whose mend removes the row; `other`, if given, must be as it is as well. */
static int remove_row(struct stm_fsck *f, struct stm_flaw *flaw, const struct stm_key *other, const char *why)
{
    struct stm_mend mend = {0};
    struct stm_key key;

    flaw->space = STM_INDEX;
    mend.err = stm_fsck_key(flaw->key, &key);
    stm_mend_guard(&mend, STM_INDEX, &key);
    if (other)
        stm_mend_guard(&mend, STM_OBJECT, other);
    stm_mend_remove(&mend, STM_INDEX, &key);
    flaw->mend = &mend;
    return stm_fsck_found(f, flaw, "%s", why);
}

static uint64_t id_of(struct stm_slice key)
{
    return stm_get_u64((const uint8_t *)key.data + 1);
}

/* ---- objects ------------------------------------------------------------------------------------------------------------------- */

static int each_orphan(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_ORPHAN, .key = key};
    struct stm_object o;

    if (key.len != ID_KEY || payload.len != 0)
        return strange(f, key);
    struct stm_key object = stm_key_object(id_of(key));
    int err = stm_object_load(&f->v, id_of(key), &o);
    if (err == -ENOENT || (err == 0 && (!(o.flags & STM_OBJ_ORPHAN) || o.nlink > 0))) {
        flaw.object = id_of(key);
        return remove_row(f, &flaw, &object,
                          err < 0 ? "an object that is not there is to be purged" : "an object that has names is to be purged");
    }
    return err == STM_E_CORRUPT ? 0 : err;
}

/* Names and values in pairs, sorted by name. */
static bool well_formed(struct stm_slice pairs)
{
    struct stm_dec d = stm_dec(pairs);
    struct stm_slice last = {NULL, 0};
    bool ok = pairs.len > 0;

    while (ok && !d.failed && d.at < d.end) {
        struct stm_slice name = stm_dec_blob(&d);
        (void)stm_dec_blob(&d);
        int c = last.data && !d.failed ? memcmp(last.data, name.data, last.len < name.len ? last.len : name.len) : -1;
        ok = !d.failed && name.len > 0 && name.len <= STM_NAME_MAX && (c < 0 || (c == 0 && last.len < name.len));
        last = name;
    }
    return ok && stm_dec_end(&d) == 0;
}

static int each_xattr(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_XATTR, .space = STM_INDEX, .key = key};
    struct stm_object_fix fix = {.flags_set = STM_OBJ_XATTR};
    struct stm_mend mend = {.extra = stm_object_fix_build, .arg = &fix};
    struct stm_object o;
    struct stm_key row;

    if (key.len != ID_KEY || !well_formed(payload))
        return strange(f, key);
    fix.object = id_of(key);
    struct stm_key object = stm_key_object(fix.object);
    int err = stm_object_load(&f->v, fix.object, &o);
    if (err == -ENOENT)
        return remove_row(f, &flaw, &object, "they are of an object that is not there");
    if (err < 0 || (o.flags & STM_OBJ_XATTR))
        return err == STM_E_CORRUPT ? 0 : err;
    mend.err = stm_fsck_key(key, &row);
    stm_mend_guard(&mend, STM_INDEX, &row);
    stm_mend_guard(&mend, STM_OBJECT, &object);
    mend.touch.object = flaw.object = fix.object;
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw, "it has extended attributes, and does not say so");
}

static int each_effective(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_EFFECTIVE, .key = key};
    const uint8_t *k = key.data;
    struct stm_log_record r = {0};
    struct stm_object o;

    if (key.len != EFFECTIVE_KEY || payload.len != 0)
        return strange(f, key);
    int64_t ns = (int64_t)(stm_get_u64(k + 9) ^ (UINT64_C(1) << 63));
    int err = stm_object_load(&f->v, id_of(key), &o), log = stm_log_get(f->frozen, stm_get_u64(k + 17), &r, NULL, NULL);
    if (err == -ENOENT || (err == 0 && !S_ISDIR(o.mode)))
        return remove_row(f, &flaw, NULL, "the directory is not there");
    flaw.object = id_of(key);
    if (log == -ENOENT || (log == 0 && r.effective_ns != ns))
        return remove_row(f, &flaw, NULL, "the commit that it names is not there, or has another date");
    return err == STM_E_CORRUPT ? 0 : err;
}

/* ---- views --------------------------------------------------------------------------------------------------------------------- */

/* Each of the two rows of a view has the other. */
static int each_view(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_VIEW, .space = STM_INDEX, .key = key};
    bool by_seq = *(const uint8_t *)key.data == STM_IX_VIEW_ID;
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_mend mend = {0};
    struct stm_slice back;
    struct stm_key own;
    uint8_t mine[8];

    if (key.len != ID_KEY || payload.len != NUMBER)
        return strange(f, key);
    uint64_t a = id_of(key), b = stm_get_u64(payload.data), id = by_seq ? b : a;
    struct stm_key other = stm_key_index(by_seq ? STM_IX_VIEW_SEQ : STM_IX_VIEW_ID, b);
    f->top_view = id > f->top_view ? id : f->top_view;
    int err = stm_read(&f->v, STM_INDEX, &other, &buf, &back);
    bool agree = err == 0 && back.len == NUMBER && stm_get_u64(back.data) == a;
    stm_buf_release(&buf);
    if (agree || err == STM_E_CORRUPT || (err < 0 && err != -ENOENT))
        return agree || err == STM_E_CORRUPT ? 0 : err;
    mend.err = stm_fsck_key(key, &own);
    stm_mend_guard(&mend, STM_INDEX, &own);
    stm_mend_guard(&mend, STM_INDEX, &other);
    stm_put_u64(mine, a);
    if (err == -ENOENT)
        stm_mend_put(&mend, STM_INDEX, &other, stm_slice(mine, sizeof mine));
    else
        stm_mend_remove(&mend, STM_INDEX, &own);
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw, "view %llu and commit %llu do not name each other", (unsigned long long)id,
                          (unsigned long long)(by_seq ? a : b));
}

/* ---- segments ------------------------------------------------------------------------------------------------------------------ */

static int each_segment(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_SEGMENT_GONE, .key = key};

    if (key.len != ID_KEY || payload.len != 0)
        return strange(f, key);
    flaw.segment = id_of(key);
    stm_fsck_saw(f, flaw.segment);
    struct stm_key low = stm_key_chunk(flaw.segment, 0), high = stm_key_chunk(flaw.segment + 1, 0);
    int any = stm_fsck_any(f, STM_CHUNK, &low, &high);
    if (any == 0)
        any = stm_fsck_any(f, STM_CHUNKREF, &low, &high);
    return any == 0 ? remove_row(f, &flaw, NULL, "the segment is registered, and holds nothing") : any < 0 ? any : 0;
}

/* ---- quarantine ---------------------------------------------------------------------------------------------------------------- */

/* Is what is in quarantine sound again? Contents are looked at with their versions. 1, 0, or an error. */
static int is_sound(struct stm_fsck *f, enum stm_space space, const struct stm_key *key, const struct stm_quarantine *q)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_hash hash;
    struct stm_slice payload;
    uint8_t *raw = NULL;
    size_t len;
    int err = stm_read(&f->v, space, key, &buf, &payload);

    if (err == 0 && space == STM_CHUNK) {
        err = stm_chunk_decode(payload, &hash, &raw, &len);
        if (err == 0 && q->length && (len != q->length || !stm_hash_eq(&hash, &q->hash)))
            err = STM_E_CORRUPT;
    }
    free(raw);
    stm_buf_release(&buf);
    return err == 0 ? 1 : err == -ENOENT || err == STM_E_CORRUPT ? 0 : err;
}

/* A damaged record that nothing needs any more: of a version that was purged, say. */
static int is_needless(struct stm_fsck *f, enum stm_space space, const struct stm_key *key, const struct stm_quarantine *q)
{
    struct stm_key low, high;

    if (space != STM_CHUNK || key->len != 12 || q->reason != STM_QUARANTINE_MISSING)
        return 0;
    low = stm_key_chunk(stm_get_u64(key->bytes), stm_get_u32(key->bytes + 8));
    high = stm_key_chunk(stm_get_u64(key->bytes), stm_get_u32(key->bytes + 8) + 1);
    int any = stm_fsck_any(f, STM_CHUNKREF, &low, &high);
    return any < 0 ? any : !any;
}

static int each_quarantine(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    const uint8_t *k = key.data;
    struct stm_flaw flaw = {.kind = STM_FLAW_HEALED, .space = STM_INDEX, .key = key};
    struct stm_mend mend = {0};
    struct stm_quarantine q;
    struct stm_key damaged, at;

    if (key.len < 2 || k[1] >= STM_SPACES || stm_quarantine_decode(payload, &q) < 0 ||
        stm_fsck_key(stm_slice(k + 2, key.len - 2), &damaged) < 0)
        return strange(f, key);
    enum stm_space space = (enum stm_space)k[1];
    if (space == STM_VERSION && (q.reason == STM_QUARANTINE_CONTENT || q.reason == STM_QUARANTINE_PARTS)) {
        int there = stm_fsck_has(f, STM_VERSION, &damaged); /* purged meanwhile? */
        if (there != 0)
            return there < 0 && there != STM_E_CORRUPT ? there : 0;
    } else {
        int sound = is_sound(f, space, &damaged, &q);
        if (sound == 0)
            sound = is_needless(f, space, &damaged, &q);
        if (sound <= 0)
            return sound;
    }
    mend.err = stm_fsck_key(key, &at);
    stm_mend_guard(&mend, space, &damaged);
    stm_mend_guard(&mend, STM_INDEX, &at);
    stm_mend_remove(&mend, STM_INDEX, &at);
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw, "the record of '%s' in quarantine is sound, or gone", stm_space_name(space));
}

/* ---- all of them ----------------------------------------------------------------------------------------------------------------- */

static int each_row(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    switch (key.len > 0 ? *(const uint8_t *)key.data : 0) {
    case STM_IX_ROW:
        return stm_fsck_row(f, key, payload);
    case STM_IX_LINE:
        return stm_fsck_line(f, key, payload);
    case STM_IX_PAST_LINE:
        return stm_fsck_past_line(f, key, payload);
    case STM_IX_ORPHAN:
        return each_orphan(f, key, payload);
    case STM_IX_XATTR:
        return each_xattr(f, key, payload);
    case STM_IX_VIEW_ID:
    case STM_IX_VIEW_SEQ:
        return each_view(f, key, payload);
    case STM_IX_EFFECTIVE:
        return each_effective(f, key, payload);
    case STM_IX_SEGMENT:
        return each_segment(f, key, payload);
    case STM_IX_QUARANTINE:
        return each_quarantine(f, key, payload);
    default:
        return strange(f, key);
    }
}

/* Attributes cannot be made again; all other rows can, or say nothing that others do not know: the next round makes what is missing. */
static int bad_row(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .reason = STM_QUARANTINE_CHECKSUM};
    struct stm_flaw flaw = {.kind = STM_FLAW_RECORD, .space = STM_INDEX, .key = key};
    uint8_t tag = key.len > 0 ? *(const uint8_t *)key.data : 0;
    struct stm_mend mend = {0};
    char why[] = "a row of the index with tag '?' fails its checksum";

    (void)payload;
    *strchr(why, '?') = tag > ' ' && tag < 0x7f ? (char)tag : '?';
    if (tag != STM_IX_XATTR && tag != STM_IX_PAST_LINE)
        return remove_row(f, &flaw, NULL, why);
    flaw.object = key.len >= ID_KEY ? id_of(key) : 0;
    flaw.known = stm_quarantine_get(&f->v, STM_INDEX, key, NULL) > 0;
    if (!flaw.known) {
        stm_mend_quarantine(&mend, STM_INDEX, key, &q);
        flaw.mend = &mend;
    }
    return stm_fsck_found(f, &flaw, "%s", why);
}

int stm_fsck_index(struct stm_fsck *f)
{
    struct stm_scan s = {.space = STM_INDEX, .each = each_row, .bad = bad_row};

    return stm_fsck_scan(f, &s);
}
