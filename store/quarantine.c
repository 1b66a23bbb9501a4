/* quarantine.c: see quarantine.h. What is damaged is found by fsck*.c and scrub.c, or by whoever reads. */
#include "quarantine.h"

#include <stdlib.h>

#include "list.h"

enum { PIECE = 1 << 20, TAG_PAGE = 1 };

int stm_key_quarantine(enum stm_space space, struct stm_slice key, struct stm_key *ret)
{
    struct stm_key k = {.fix = -1, .len = (uint16_t)(2 + key.len)};

    if (key.len > sizeof k.bytes - 2)
        return -EINVAL;
    k.bytes[0] = STM_IX_QUARANTINE;
    k.bytes[1] = (uint8_t)space;
    if (key.len > 0)
        memcpy(k.bytes + 2, key.data, key.len);
    *ret = k;
    return 0;
}

int stm_quarantine_decode(struct stm_slice payload, struct stm_quarantine *ret)
{
    struct stm_dec d = stm_dec(payload);
    struct stm_quarantine q = {.since_ns = stm_dec_i64(&d)};

    q.reason = (enum stm_quarantine_reason)stm_dec_u8(&d);
    q.length = stm_dec_u64(&d);
    const void *hash = stm_dec_raw(&d, STM_HASH_LEN);
    if (hash)
        memcpy(q.hash.bytes, hash, STM_HASH_LEN);
    int err = stm_dec_end(&d);
    if (err == 0)
        *ret = q;
    return err;
}

int stm_quarantine_encode(const struct stm_quarantine *q, struct stm_buf *ret)
{
    uint8_t b[8 + 1 + 8 + STM_HASH_LEN];

    stm_put_u64(b, (uint64_t)q->since_ns);
    b[8] = (uint8_t)q->reason;
    stm_put_u64(b + 9, q->length);
    memcpy(b + 17, q->hash.bytes, STM_HASH_LEN);
    return stm_buf_append(ret, b, sizeof b);
}

int stm_quarantine_get(const struct stm_view *v, enum stm_space space, struct stm_slice key, struct stm_quarantine *ret)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_quarantine q;
    struct stm_slice payload;
    struct stm_key at;
    int err = stm_key_quarantine(space, key, &at);

    if (err == 0)
        err = stm_read(v, STM_INDEX, &at, &buf, &payload);
    if (err == 0)
        err = stm_quarantine_decode(payload, &q);
    stm_buf_release(&buf);
    if (err == 0 && ret)
        *ret = q;
    return err == 0 ? 1 : err == -ENOENT || err == -EINVAL ? 0 : err;
}

/* ---- adding ------------------------------------------------------------------------------------------------------------------ */

struct adding {
    enum stm_space space;
    struct stm_slice key;
    const struct stm_quarantine *q;
};

/* Deduplication must not find a chunk that cannot be read. */
static int hide_chunk(struct stm_txn *t, const struct adding *a)
{
    struct stm_key key = stm_key_chunkhash(a->q->hash.bytes);
    struct stm_view v = stm_txn_view(t);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&v, STM_CHUNKHASH, &key, &buf, &payload);

    if (err == 0 && payload.len == 12 && stm_slice_eq(payload, a->key))
        err = stm_txn_delete(t, STM_CHUNKHASH, &key);
    stm_buf_release(&buf);
    return err == -ENOENT ? 0 : err;
}

static int build_add(struct stm_txn *t, void *arg)
{
    const struct adding *a = arg;
    struct stm_view v = stm_txn_view(t);
    struct stm_buf payload = STM_BUF_INIT;
    struct stm_rec r = STM_REC_INIT;
    struct stm_key at;
    int there = stm_quarantine_get(&v, a->space, a->key, NULL);

    if (there != 0)
        return there < 0 ? there : 0;
    int err = stm_key_quarantine(a->space, a->key, &at);
    if (err == 0)
        err = stm_quarantine_encode(a->q, &payload);
    if (err == 0) {
        stm_rec_raw(&r, payload.data, payload.len);
        err = stm_txn_put(t, STM_INDEX, &at, &r);
    }
    stm_buf_release(&payload);
    return err == 0 && a->space == STM_CHUNK ? hide_chunk(t, a) : err;
}

int stm_quarantine_add(struct stm_store *s, enum stm_space space, struct stm_slice key, const struct stm_quarantine *q)
{
    struct adding a = {space, key, q};
    struct stm_change change = {0};
    int err = stm_update(s, &change, build_add, &a, NULL);

    return err < 0 || space != STM_VERSION ? err : stm_quarantine_count(s);
}

/* ---- healing ----------------------------------------------------------------------------------------------------------------- */

int stm_heal_build(struct stm_txn *t, void *arg)
{
    const struct stm_healing *h = arg;
    struct stm_key key = stm_key_chunk(h->place->segment, h->place->index), at;
    struct stm_key segment = stm_key_index(STM_IX_SEGMENT, h->place->segment);
    struct stm_rec r = STM_REC_INIT, empty = STM_REC_INIT;
    int err = stm_chunk_encode(h->raw, &h->place->hash, &r);

    if (err < 0) {
        stm_rec_release(&r);
        return err;
    }
    err = stm_txn_put(t, STM_CHUNK, &key, &r);
    stm_rec_raw(&empty, NULL, 0);
    if (err == 0)
        err = stm_txn_put(t, STM_INDEX, &segment, &empty);
    else
        stm_rec_release(&empty);
    if (err == 0)
        err = stm_key_quarantine(STM_CHUNK, stm_key_slice(&key), &at);
    return err < 0 ? err : stm_txn_delete(t, STM_INDEX, &at);
}

int stm_chunk_twin(struct stm_store *s, const struct stm_place *place, uint8_t **ret)
{
    struct stm_place other;
    uint8_t *raw = NULL;
    size_t len = 0;
    int err = stm_chunk_find(s, &place->hash, &other);

    if (err == 0 && other.segment == place->segment && other.index == place->index)
        err = -ENOENT;
    if (err == 0)
        err = stm_chunk_load(s, &other, &raw, &len);
    if (err == 0 && place->length != len) {
        free(raw);
        err = -ENOENT;
    }
    if (err == 0)
        *ret = raw;
    return err == STM_E_CORRUPT ? -ENOENT : err;
}

int stm_chunk_heal(struct stm_store *s, const struct stm_place *place)
{
    struct stm_change change = {0};
    uint8_t *raw = NULL;
    int err = stm_chunk_twin(s, place, &raw);

    if (err == 0) {
        struct stm_healing h = {place, stm_slice(raw, (size_t)place->length)};
        err = stm_update(s, &change, stm_heal_build, &h, NULL);
    }
    free(raw);
    return err == -ENOENT ? 0 : err < 0 ? err : 1;
}

/* ---- what uses a chunk --------------------------------------------------------------------------------------------------------- */

static int page_list(const struct stm_view *v, uint64_t segment, uint32_t index, struct stm_buf *ret)
{
    struct stm_key key = stm_key_chunk(segment, index);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    struct stm_hash hash;
    uint8_t *raw = NULL;
    size_t len = 0;
    int err = stm_read(v, STM_CHUNK, &key, &buf, &payload);

    if (err == 0)
        err = stm_chunk_decode(payload, &hash, &raw, &len);
    if (err == 0)
        err = stm_buf_set(ret, raw, len);
    free(raw);
    stm_buf_release(&buf);
    return err;
}

int stm_ref_list(const struct stm_view *v, const uint8_t *owner, struct stm_buf *ret)
{
    uint64_t id = stm_get_u64(owner + 1);
    uint32_t part = stm_get_u32(owner + 9);
    struct stm_version_row row;
    struct stm_version ver;

    if (owner[0] == TAG_PAGE)
        return page_list(v, id, part, ret);
    int err = stm_version_row(v, id, part, &row);
    if (err == 0 && row.line != id)
        err = -ENOENT;
    if (err == 0)
        err = stm_version_load(v, row.line, row.seq, &ver);
    if (err == 0) {
        err = stm_buf_set(ret, ver.body.data, ver.stored == STM_STORED_CHUNKED ? ver.body.len : 0);
        stm_version_release(&ver);
    }
    return err;
}

/* 1: the list has the place, and ret gets its entry; 0: it has not. */
static int find_entry(struct stm_slice list, const uint8_t place[12], struct stm_place *ret)
{
    const uint8_t *b = list.data;

    for (size_t at = 1; at + STM_ENTRY_BYTES <= list.len; at += STM_ENTRY_BYTES) {
        if (memcmp(b + at, place, 12) != 0)
            continue;
        *ret = stm_place_decode(b + at);
        return 1;
    }
    return 0;
}

int stm_chunk_wanted(struct stm_store *s, uint64_t segment, uint32_t index, struct stm_place *ret)
{
    struct stm_key low = stm_key_chunk(segment, index), high = stm_key_chunk(segment, index + 1);
    struct stm_view v = stm_view_head(s);
    struct stm_engine *e = s->engine;
    struct stm_buf list = STM_BUF_INIT;
    struct stm_slice key, value;
    struct stm_iter *it;
    int found = 0, err = e->ops->iter_new(e, STM_CHUNKREF, stm_key_slice(&low), stm_key_slice(&high), 0, &it);

    if (err < 0)
        return err;
    for (err = e->ops->iter_seek(it, stm_key_slice(&low)); err > 0 && !found; err = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        if (key.len == (size_t)low.len + 13 && stm_ref_list(&v, (const uint8_t *)key.data + low.len, &list) == 0)
            found = find_entry(stm_buf_slice(&list), key.data, ret);
    }
    e->ops->iter_free(it);
    stm_buf_release(&list);
    return found ? 0 : err < 0 ? err : -ENOENT;
}

/* ---- contents ------------------------------------------------------------------------------------------------------------------ */

/* A content that is being hashed. */
struct hashing {
    struct stm_hasher *h;
    uint8_t *piece;
    uint64_t *bytes;
    int (*go_on)(void *arg);
    void *arg;
};

/* Hashes the content, leaving holes out. */
static int hash_content(struct stm_store *s, const struct stm_version *ver, const struct hashing *now)
{
    uint64_t off = 0, from, to, size = ver->row.size;
    int err = 0;

    while (err == 0 && off < size) {
        err = stm_content_extent(s, ver, off, &from, &to);
        if (err == 0 && (from < off || to < from || (from == to && from != size)))
            err = STM_E_CORRUPT;
        if (err == 0 && from > off)
            stm_hasher_zeros(now->h, from - off);
        for (off = from; err == 0 && off < to;) {
            int64_t n = stm_content_read(s, ver, off, now->piece, to - off < PIECE ? (size_t)(to - off) : PIECE);
            if (n <= 0) {
                err = n == 0 || n == -ESTALE ? STM_E_CORRUPT : (int)n;
                continue;
            }
            stm_hasher_update(now->h, stm_slice(now->piece, (size_t)n));
            off += (uint64_t)n;
            *now->bytes += (uint64_t)n;
            err = now->go_on ? now->go_on(now->arg) : 0;
        }
    }
    return err;
}

int stm_content_verify(struct stm_store *s, const struct stm_version *ver, uint64_t *bytes, int (*go_on)(void *arg), void *arg)
{
    struct hashing now = {stm_hasher_new(), malloc(PIECE), bytes, go_on, arg};
    int err = now.h && now.piece ? hash_content(s, ver, &now) : -ENOMEM;

    if (err == 0) {
        struct stm_hash got = stm_hasher_digest(now.h);
        err = stm_hash_eq(&got, &ver->row.hash);
    }
    stm_hasher_free(now.h);
    free(now.piece);
    return err == STM_E_CORRUPT ? 0 : err;
}

int stm_quarantine_count(struct stm_store *s)
{
    static const uint8_t low[2] = {STM_IX_QUARANTINE, STM_VERSION}, high[2] = {STM_IX_QUARANTINE, STM_VERSION + 1};
    struct stm_engine *e = s->engine;
    struct stm_slice key, value, payload;
    struct stm_quarantine q;
    struct stm_iter *it;
    uint64_t n = 0;
    int err = e->ops->iter_new(e, STM_INDEX, stm_slice(low, 2), stm_slice(high, 2), 0, &it);

    if (err < 0)
        return err;
    for (err = e->ops->iter_seek(it, stm_slice(low, 2)); err > 0; err = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        if (stm_frame_open(STM_INDEX, key, value, &payload) == 0 && stm_quarantine_decode(payload, &q) == 0)
            n += q.reason == STM_QUARANTINE_CONTENT;
    }
    e->ops->iter_free(it);
    if (err == 0)
        atomic_store_explicit(&s->quarantined, n, memory_order_relaxed);
    return err;
}

int stm_quarantine_check(struct stm_store *s, const struct stm_version *ver)
{
    struct stm_key key = stm_key_version(ver->row.line, ver->row.seq);
    struct stm_view v = stm_view_head(s);

    if (atomic_load_explicit(&s->quarantined, memory_order_relaxed) == 0)
        return 0;
    struct stm_quarantine q;
    int there = stm_quarantine_get(&v, STM_VERSION, stm_key_slice(&key), &q);
    return there > 0 && q.reason == STM_QUARANTINE_CONTENT ? STM_E_CORRUPT : there < 0 ? there : 0;
}

/* ---- healing all that can be ------------------------------------------------------------------------------------------------------ */

/* One record in quarantine, as found by next_in. */
struct inmate {
    struct stm_key key; /* of the damaged record */
    struct stm_quarantine q;
};

/* The first record of the space in quarantine after the key (which gets its place). 1, 0 or an error. */
static int next_in(struct stm_store *s, enum stm_space space, struct inmate *i)
{
    struct stm_engine *e = s->engine;
    uint8_t high[2] = {STM_IX_QUARANTINE, (uint8_t)(space + 1)};
    struct stm_slice key, value, payload;
    struct stm_iter *it;
    struct stm_key at;
    int err = stm_key_quarantine(space, stm_key_slice(&i->key), &at);

    if (err == 0)
        err = e->ops->iter_new(e, STM_INDEX, stm_key_slice(&at), stm_slice(high, 2), 0, &it);
    if (err < 0)
        return err;
    err = e->ops->iter_seek(it, stm_key_slice(&at));
    if (err > 0) {
        e->ops->iter_get(it, &key, &value);
        if (stm_slice_eq(key, stm_key_slice(&at)))
            err = e->ops->iter_next(it);
    }
    if (err > 0) {
        e->ops->iter_get(it, &key, &value);
        i->key.len = (uint16_t)(key.len - 2);
        memcpy(i->key.bytes, (const uint8_t *)key.data + 2, key.len - 2);
        i->q = (struct stm_quarantine){.length = 0};
        if (stm_frame_open(STM_INDEX, key, value, &payload) == 0)
            (void)!stm_quarantine_decode(payload, &i->q);
    }
    e->ops->iter_free(it);
    return err;
}

static int build_release(struct stm_txn *t, void *arg)
{
    const struct inmate *i = arg;
    struct stm_key at;
    int err = stm_key_quarantine(STM_VERSION, stm_key_slice(&i->key), &at);

    return err < 0 ? err : stm_txn_delete(t, STM_INDEX, &at);
}

/* Versions that waited for their chunks. */
static int release_versions(struct stm_store *s)
{
    struct stm_view v = stm_view_head(s);
    struct inmate i = {.key = {.len = 0}};
    uint64_t bytes = 0;
    int more, err = 0;

    while (err >= 0 && (more = next_in(s, STM_VERSION, &i)) > 0) {
        struct stm_version ver;
        struct stm_change change = {0};
        if (i.key.len != 16 || i.q.reason != STM_QUARANTINE_PARTS ||
            stm_version_load(&v, stm_get_u64(i.key.bytes), ~stm_get_u64(i.key.bytes + 8), &ver) < 0)
            continue;
        err = stm_content_verify(s, &ver, &bytes, NULL, NULL);
        stm_version_release(&ver);
        if (err > 0)
            err = stm_update(s, &change, build_release, &i, NULL);
    }
    return err < 0 ? err : more;
}

int stm_quarantine_heal(struct stm_store *s, uint64_t *healed)
{
    struct inmate i = {.key = {.len = 0}};
    int more, done = 0, n = 0;

    while (done >= 0 && (more = next_in(s, STM_CHUNK, &i)) > 0) {
        struct stm_place p = {.length = i.q.length, .hash = i.q.hash};
        if (i.key.len != 12 || p.length == 0)
            continue;
        p.segment = stm_get_u64(i.key.bytes);
        p.index = stm_get_u32(i.key.bytes + 8);
        done = stm_chunk_heal(s, &p);
        n += done > 0;
    }
    *healed += (uint64_t)n;
    return done < 0 ? done : more < 0 ? more : n > 0 ? release_versions(s) : 0;
}
