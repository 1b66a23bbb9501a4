/*
 * fsck_chunk.c: the chunks themselves, once each; the index by hash that deduplication asks; and references, that each has an owner who uses the
 * chunk. (That each use has a reference: fsck_list.c.)
 */
#include <stdlib.h>

#include "fsck.h"
#include "list.h"

enum { CHUNK_KEY = 12, REF_KEY = 25, OWNER_AT = 12, TAG_PAGE = 1, TAG_VERSION = 2 };

struct chunk_state {
    uint64_t segment; /* at hand; 0: none */
    bool registered;
    uint64_t found_by_hash; /* chunks that the index by hash names */
    uint64_t hashes;        /* rows of that index */
};

static int strange(struct stm_fsck *f, enum stm_space space, struct stm_slice key)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_STRANGE, .space = space, .key = key};
    return stm_fsck_found(f, &flaw, "it has such a key or value as none has");
}

/* ---- chunks ------------------------------------------------------------------------------------------------------------------------ */

/* A segment that no commit registered is one that is being written, or was when somebody crashed, unless it is an old one. */
static int begin_segment(struct stm_fsck *f, struct chunk_state *s, uint64_t segment)
{
    struct stm_key key = stm_key_index(STM_IX_SEGMENT, segment);
    struct stm_mend mend = {0};
    struct stm_flaw flaw = {.kind = STM_FLAW_SEGMENT, .space = STM_INDEX, .key = stm_key_slice(&key), .segment = segment, .mend = &mend};
    int there = stm_fsck_has(f, STM_INDEX, &key);

    s->segment = segment;
    s->registered = there != 0;
    if (there != 0 || segment >= f->swept)
        return there < 0 && there != STM_E_CORRUPT ? there : 0;
    stm_fsck_saw(f, segment);
    stm_mend_guard(&mend, STM_INDEX, &key);
    stm_mend_put(&mend, STM_INDEX, &key, stm_slice("", 0));
    return stm_fsck_found(f, &flaw, "segment %llu holds chunks, and no commit has registered it", (unsigned long long)segment);
}

static int check_hash(struct stm_fsck *f, struct chunk_state *s, struct stm_slice key, const struct stm_hash *hash)
{
    struct stm_key row = stm_key_chunkhash(hash->bytes), chunk;
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice place;
    struct stm_mend mend = {0};
    int err = stm_read(&f->v, STM_CHUNKHASH, &row, &buf, &place);

    if (err == 0)
        s->found_by_hash += stm_slice_eq(place, key);
    stm_buf_release(&buf);
    if (err != -ENOENT || !s->registered)
        return err == STM_E_CORRUPT || err == -ENOENT ? 0 : err;
    struct stm_flaw flaw = {.kind = STM_FLAW_HASH_MISSING, .space = STM_CHUNKHASH, .key = stm_key_slice(&row), .mend = &mend};
    flaw.segment = stm_get_u64(key.data);
    flaw.index = stm_get_u32((const uint8_t *)key.data + 8);
    mend.err = stm_fsck_key(key, &chunk);
    stm_mend_guard(&mend, STM_CHUNK, &chunk);
    stm_mend_guard(&mend, STM_CHUNKHASH, &row);
    stm_mend_put(&mend, STM_CHUNKHASH, &row, key);
    return stm_fsck_found(f, &flaw, "the index does not know the hash of the chunk");
}

/* Damaged chunks that a content uses were told about with it. Others are left over: they go, if nothing refers to them. */
static int bad_chunk(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .reason = STM_QUARANTINE_CHECKSUM};
    struct stm_flaw flaw = {.kind = STM_FLAW_CHUNK, .space = STM_CHUNK, .key = key};
    struct stm_mend mend = {0};
    struct stm_key low, high;

    (void)payload;
    if (key.len != CHUNK_KEY)
        return strange(f, STM_CHUNK, key);
    flaw.segment = stm_get_u64(key.data);
    flaw.index = stm_get_u32((const uint8_t *)key.data + 8);
    low = stm_key_chunk(flaw.segment, flaw.index);
    high = stm_key_chunk(flaw.segment, flaw.index + 1);
    int used = stm_fsck_any(f, STM_CHUNKREF, &low, &high);
    if (used < 0)
        return used;
    struct stm_place place;
    if (used > 0 && stm_chunk_wanted(f->frozen, flaw.segment, flaw.index, &place) == 0) {
        bool healed;
        return stm_fsck_bad_chunk(f, &place, &healed);
    }
    if (stm_seen_damage(f->seen, flaw.segment, flaw.index))
        return 0;
    flaw.known = used > 0 && stm_quarantine_get(&f->v, STM_CHUNK, key, NULL) > 0;
    flaw.mend = flaw.known ? NULL : &mend;
    if (used > 0 && !flaw.known)
        stm_mend_quarantine(&mend, STM_CHUNK, key, &q);
    if (used == 0) {
        stm_mend_guard(&mend, STM_CHUNK, &low);
        stm_mend_remove(&mend, STM_CHUNK, &low);
    }
    return stm_fsck_found(f, &flaw, "a chunk is damaged%s", used ? "" : "; nothing uses it");
}

static int each_chunk(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct chunk_state *s = f->arg;
    struct stm_hash hash;
    uint8_t *raw = NULL;
    size_t len = 0;

    if (key.len != CHUNK_KEY)
        return strange(f, STM_CHUNK, key);
    int err = s->segment == stm_get_u64(key.data) ? 0 : begin_segment(f, s, stm_get_u64(key.data));
    if (err < 0)
        return err;
    err = stm_chunk_decode(payload, &hash, &raw, &len);
    free(raw);
    f->result->bytes += len;
    if (err == STM_E_CORRUPT)
        return bad_chunk(f, key, payload);
    return err < 0 ? err : check_hash(f, s, key, &hash);
}

/* ---- the index by hash --------------------------------------------------------------------------------------------------------------- */

static int count_hash(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct chunk_state *s = f->arg;

    if (key.len != STM_HASH_LEN || payload.len != CHUNK_KEY)
        return strange(f, STM_CHUNKHASH, key);
    s->hashes++;
    return 0;
}

static int remove_hash(struct stm_fsck *f, struct stm_slice key, const struct stm_place *p, enum stm_flaw_kind kind)
{
    struct stm_flaw flaw = {.kind = kind, .space = STM_CHUNKHASH, .key = key};
    struct stm_mend mend = {0};
    struct stm_key row;

    flaw.segment = p->segment;
    flaw.index = p->index;
    mend.err = stm_fsck_key(key, &row);
    stm_mend_guard(&mend, STM_CHUNKHASH, &row);
    stm_mend_remove(&mend, STM_CHUNKHASH, &row);
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw,
                          kind == STM_FLAW_RECORD ? "a row of the index by hash is damaged" : "the chunk with that hash is not there");
}

/* Only when the numbers say that a row must be wrong: each costs a random read. */
static int each_hash(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_place p = {.segment = 0};
    uint8_t *raw = NULL;
    size_t len;

    if (key.len != STM_HASH_LEN || payload.len != CHUNK_KEY)
        return 0;
    p.segment = stm_get_u64(payload.data);
    p.index = stm_get_u32((const uint8_t *)payload.data + 8);
    memcpy(p.hash.bytes, key.data, STM_HASH_LEN);
    int err = stm_chunk_load(f->frozen, &p, &raw, &len);
    free(raw);
    return err == STM_E_CORRUPT ? remove_hash(f, key, &p, STM_FLAW_HASH_DANGLING) : err;
}

static int bad_hash(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_place p = {.segment = 0};
    (void)payload;
    return remove_hash(f, key, &p, STM_FLAW_RECORD);
}

/* ---- references ------------------------------------------------------------------------------------------------------------------------ */

static bool names(const struct stm_owner *o, const uint8_t *place)
{
    bool found = false;

    for (size_t at = 1; !found && at + STM_ENTRY_BYTES <= o->list.len; at += STM_ENTRY_BYTES)
        found = memcmp(o->list.data + at, place, CHUNK_KEY) == 0;
    return found;
}

static int each_ref(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    const uint8_t *k = key.data;
    struct stm_mend mend = {0};
    struct stm_flaw flaw = {.kind = STM_FLAW_REF_DANGLING, .space = STM_CHUNKREF, .key = key, .mend = &mend};
    struct stm_key row;
    bool is_new;

    (void)payload;
    if (key.len != REF_KEY || (k[OWNER_AT] != TAG_PAGE && k[OWNER_AT] != TAG_VERSION))
        return strange(f, STM_CHUNKREF, key);
    struct stm_owner *o = stm_seen_owner(f->seen, key, &is_new);
    int err = is_new ? stm_ref_list(&f->v, k + OWNER_AT, &o->list) : 0;
    if (is_new) {
        o->gone = err == -ENOENT;
        o->unreadable = err == STM_E_CORRUPT;
        err = o->gone || o->unreadable ? 0 : err;
    }
    if (err < 0 || o->unreadable || (!o->gone && names(o, k)))
        return err;
    if (o->gone && o->tag == TAG_VERSION) { /* its record may be what is lost: then the row tells */
        struct stm_key version = stm_key_row(o->owner, o->part);
        int there = stm_fsck_has(f, STM_INDEX, &version);
        if (there != 0)
            return there < 0 && there != STM_E_CORRUPT ? there : 0;
    }
    flaw.segment = stm_get_u64(k);
    flaw.index = stm_get_u32(k + 8);
    mend.err = stm_fsck_key(key, &row);
    stm_mend_guard(&mend, STM_CHUNKREF, &row);
    stm_mend_remove(&mend, STM_CHUNKREF, &row);
    return stm_fsck_found(f, &flaw, "%s %llu:%u %s", o->tag == TAG_VERSION ? "version" : "page", (unsigned long long)o->owner, o->part,
                          o->gone ? "is not there" : "does not use it");
}

/* A reference is its key: it is written again. */
static int bad_ref(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_mend mend = {0};
    struct stm_flaw flaw = {.kind = STM_FLAW_RECORD, .space = STM_CHUNKREF, .key = key, .mend = &mend};
    struct stm_key row;

    (void)payload;
    mend.err = stm_fsck_key(key, &row);
    stm_mend_guard(&mend, STM_CHUNKREF, &row);
    stm_mend_put(&mend, STM_CHUNKREF, &row, stm_slice("", 0));
    return stm_fsck_found(f, &flaw, "a reference fails its checksum");
}

/* ---- all of them ----------------------------------------------------------------------------------------------------------------------- */

int stm_fsck_chunks(struct stm_fsck *f)
{
    struct stm_scan refs = {.space = STM_CHUNKREF, .each = each_ref, .bad = bad_ref};
    struct stm_scan chunks = {.space = STM_CHUNK, .each = each_chunk, .bad = bad_chunk};
    struct stm_scan hashes = {.space = STM_CHUNKHASH, .each = count_hash, .bad = bad_hash};
    struct stm_scan wrong = {.space = STM_CHUNKHASH, .each = each_hash};
    struct chunk_state s = {.segment = 0};

    f->arg = &s;
    int err = stm_fsck_scan(f, &refs);
    if (err == 0 && !f->opt->quick)
        err = stm_fsck_scan(f, &chunks);
    if (err == 0)
        err = stm_fsck_scan(f, &hashes);
    if (err == 0 && !f->opt->quick && s.hashes != s.found_by_hash)
        err = stm_fsck_scan(f, &wrong);
    return err;
}
