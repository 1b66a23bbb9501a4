/*
 * fsck_list.c: lists of chunks: their shape, that what their entries cover adds up, and that each entry is referred to by its owner. A page that
 * several versions share is looked at once. Also here: what to do about a chunk that cannot be read.
 */
#include <stdlib.h>

#include "fsck.h"
#include "list.h"

enum { LEVELS_MAX = 8 };

/* A walk over the list of one version. */
struct walk {
    struct stm_fsck *f;
    const struct stm_version *ver;
    bool leaves;             /* read each chunk; else look at the list only */
    bool bad, parts, healed; /* something is wrong; a chunk cannot be read; one was healed */
};

/* Who owns the entries at hand: the version, or a page. */
struct owner {
    const struct stm_place *page; /* NULL: the version */
    int depth;
};

int stm_fsck_bad_chunk(struct stm_fsck *f, const struct stm_place *p, bool *ret_healed)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .length = p->length, .hash = p->hash};
    struct stm_key key = stm_key_chunk(p->segment, p->index), hash = stm_key_chunkhash(p->hash.bytes);
    struct stm_flaw flaw = {
        .kind = STM_FLAW_CHUNK, .space = STM_CHUNK, .key = stm_key_slice(&key), .segment = p->segment, .index = p->index};
    struct stm_mend mend = {0};
    struct stm_healing healing = {.place = p};
    struct stm_place found;
    uint8_t *raw = NULL;
    int there = stm_fsck_has(f, STM_CHUNK, &key), err = stm_chunk_twin(f->frozen, p, &raw);

    if (err < 0 && err != -ENOENT)
        return err;
    *ret_healed = err == 0;
    if (stm_seen_damage(f->seen, p->segment, p->index)) {
        free(raw);
        return 0;
    }
    q.reason = there == 0 ? STM_QUARANTINE_MISSING : STM_QUARANTINE_CHECKSUM;
    flaw.kind = there == 0 ? STM_FLAW_CHUNK_LOST : STM_FLAW_CHUNK;
    flaw.known = err < 0 && stm_quarantine_get(&f->v, STM_CHUNK, stm_key_slice(&key), NULL) > 0;
    flaw.mend = flaw.known ? NULL : &mend;
    if (err == 0) {
        healing.raw = stm_slice(raw, (size_t)p->length);
        stm_mend_guard(&mend, STM_CHUNK, &key);
        mend.extra = stm_heal_build;
        mend.arg = &healing;
    } else if (!flaw.known) {
        stm_mend_quarantine(&mend, STM_CHUNK, stm_key_slice(&key), &q);
        if (stm_chunk_find(f->frozen, &p->hash, &found) == 0 && found.segment == p->segment && found.index == p->index)
            stm_mend_remove(&mend, STM_CHUNKHASH, &hash);
    }
    err = stm_fsck_found(f, &flaw, "a chunk of %llu bytes %s%s", (unsigned long long)p->length, there == 0 ? "is not there" : "is damaged",
                         raw ? "; the same bytes are stored elsewhere" : "");
    free(raw);
    return err;
}

/* The owner's reference to the entry is there. */
static int check_ref(struct walk *w, const struct owner *o, const struct stm_place *p)
{
    const struct stm_version_row *row = &w->ver->row;
    struct stm_key key = o->page ? stm_key_ref_page(p->segment, p->index, o->page->segment, o->page->index)
                                 : stm_key_ref_version(p->segment, p->index, row->line, row->ordinal);
    struct stm_key ver = stm_key_version(row->line, row->seq);
    struct stm_mend mend = {0};
    struct stm_flaw flaw = {.kind = STM_FLAW_REF_MISSING,
                            .space = STM_CHUNKREF,
                            .key = stm_key_slice(&key),
                            .line = row->line,
                            .seq = row->seq,
                            .semver = row->semver,
                            .mend = &mend};
    int there = stm_fsck_has(w->f, STM_CHUNKREF, &key);

    if (there != 0)
        return there < 0 && there != STM_E_CORRUPT ? there : 0;
    stm_mend_guard(&mend, STM_VERSION, &ver);
    stm_mend_guard(&mend, STM_CHUNKREF, &key);
    stm_mend_put(&mend, STM_CHUNKREF, &key, stm_slice("", 0));
    return stm_fsck_found(w->f, &flaw, "nothing says that %s uses chunk %llu:%u", o->page ? "a page of it" : "it",
                          (unsigned long long)p->segment, p->index);
}

static int walk_list(struct walk *w, struct stm_slice list, const struct owner *o, uint64_t length);

static int bad_entry(struct walk *w, const struct stm_place *p)
{
    bool healed = false;
    int err = stm_fsck_bad_chunk(w->f, p, &healed);

    w->bad = w->parts = true;
    w->healed |= healed;
    return err;
}

/* A page: its bytes, and what is below it, unless another version has shown it already. */
static int walk_page(struct walk *w, const struct stm_place *p, int depth)
{
    struct owner o = {p, depth};
    const struct stm_cached *page;

    if (!w->leaves && stm_seen_page(w->f->seen, p->segment, p->index))
        return 0;
    int err = stm_chunk_get(w->f->frozen, p, &page);
    if (err == STM_E_CORRUPT)
        return bad_entry(w, p);
    if (err < 0)
        return err;
    err = walk_list(w, stm_slice(page->data, page->len), &o, p->length);
    stm_cache_unref(w->f->frozen->cache, page);
    return err;
}

static int walk_leaf(struct walk *w, const struct stm_place *p)
{
    uint8_t *raw = NULL;
    size_t len = 0;

    if (!w->leaves)
        return 0;
    int err = stm_chunk_load(w->f->frozen, p, &raw, &len);
    free(raw);
    return err == STM_E_CORRUPT || (err == 0 && len != p->length) ? bad_entry(w, p) : err;
}

static int walk_list(struct walk *w, struct stm_slice list, const struct owner *o, uint64_t length)
{
    const uint8_t *b = list.data;
    uint64_t sum = 0;
    int err = 0;

    if (list.len < 1 || (list.len - 1) % STM_ENTRY_BYTES != 0 || b[0] >= LEVELS_MAX || (o->page && b[0] != o->depth)) {
        w->bad = true;
        return 0;
    }
    for (size_t at = 1; err == 0 && at < list.len; at += STM_ENTRY_BYTES) {
        struct stm_place p = stm_place_decode(b + at);
        sum += p.length;
        if (stm_place_is_hole(&p)) {
            w->bad |= b[0] != 0;
            continue;
        }
        stm_fsck_saw(w->f, p.segment);
        if (!w->leaves)
            err = check_ref(w, o, &p);
        if (err == 0)
            err = b[0] > 0 ? walk_page(w, &p, b[0] - 1) : walk_leaf(w, &p);
    }
    w->bad |= sum != length;
    return err;
}

int stm_fsck_list(struct stm_fsck *f, const struct stm_version *ver, bool *ret_bad)
{
    struct walk w = {.f = f, .ver = ver};
    struct owner o = {NULL, LEVELS_MAX};
    int err = walk_list(&w, stm_buf_slice(&ver->body), &o, ver->row.size);

    *ret_bad = w.bad;
    return err;
}

int stm_fsck_leaves(struct stm_fsck *f, const struct stm_version *ver, bool *ret_parts, bool *ret_healed)
{
    struct walk w = {.f = f, .ver = ver, .leaves = true};
    struct owner o = {NULL, LEVELS_MAX};
    int err = walk_list(&w, stm_buf_slice(&ver->body), &o, ver->row.size);

    *ret_parts = w.parts;
    *ret_healed = w.healed;
    return err;
}
