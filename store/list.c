/* list.c: see list.h. */
#include "list.h"

#include <stdlib.h>

enum { RUN_MIN = 3, RUN_MAX = 64, LEVELS_MAX = 8, PAGE_ENDS = 0xff /* mask: one entry in 256 ends a page */ };

struct stm_seen {
    struct stm_place place;
    uint64_t off;
    bool used;
};

int stm_list_add(struct stm_list *l, const struct stm_place *p)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct stm_place *places = realloc(l->places, cap * sizeof *places);
        if (!places)
            return -ENOMEM;
        l->places = places;
        l->cap = cap;
    }
    l->places[l->n++] = *p;
    return 0;
}

int stm_writer_init(struct stm_writer *w, struct stm_store *s)
{
    memset(w, 0, sizeof *w);
    w->store = s;
    w->segment.store = s;
    w->cap_seen = 256;
    w->seen = calloc(w->cap_seen, sizeof *w->seen);
    return w->seen ? 0 : -ENOMEM;
}

void stm_writer_release(struct stm_writer *w)
{
    stm_segment_abort(&w->segment);
    free(w->level0.places);
    stm_buf_release(&w->fresh);
    free(w->seen);
}

static struct stm_seen *seen_slot(const struct stm_writer *w, const struct stm_hash *hash)
{
    size_t at = (size_t)stm_get_u64(hash->bytes) & (w->cap_seen - 1);
    while (w->seen[at].used && !stm_hash_eq(&w->seen[at].place.hash, hash))
        at = (at + 1) & (w->cap_seen - 1);
    return &w->seen[at];
}

int stm_writer_seen(const struct stm_writer *w, const struct stm_hash *hash, struct stm_place *ret, uint64_t *ret_off)
{
    const struct stm_seen *slot = seen_slot(w, hash);

    if (!slot->used)
        return 0;
    *ret = slot->place;
    *ret_off = slot->off;
    return 1;
}

int stm_writer_remember(struct stm_writer *w, const struct stm_place *p, uint64_t off)
{
    if ((w->n_seen + 1) * 2 > w->cap_seen) {
        struct stm_seen *old = w->seen;
        size_t old_cap = w->cap_seen;
        struct stm_seen *bigger = calloc(old_cap * 2, sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        w->seen = bigger;
        w->cap_seen = old_cap * 2;
        for (size_t i = 0; i < old_cap; i++)
            if (old[i].used)
                *seen_slot(w, &old[i].place.hash) = old[i];
        free(old);
    }
    struct stm_seen *slot = seen_slot(w, &p->hash);
    w->n_seen += !slot->used;
    *slot = (struct stm_seen){*p, off, true};
    return 0;
}

int stm_chunk_find(struct stm_store *s, const struct stm_hash *hash, struct stm_place *ret)
{
    struct stm_key key = stm_key_chunkhash(hash->bytes);
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&v, STM_CHUNKHASH, &key, &buf, &payload);

    if (err == 0) {
        struct stm_dec d = stm_dec(payload);
        struct stm_place p = {.hash = *hash};
        p.segment = stm_dec_u64(&d);
        p.index = stm_dec_u32(&d);
        err = stm_dec_end(&d);
        if (err == 0)
            *ret = p;
    }
    stm_buf_release(&buf);
    return err;
}

int stm_writer_store(struct stm_writer *w, struct stm_slice raw, const struct stm_hash *hash, struct stm_place *ret,
                     enum stm_codec *ret_codec)
{
    const struct stm_cached *stored;
    int err = stm_chunk_find(w->store, hash, ret);

    if (err == 0) {
        ret->length = raw.len;
        /* A chunk that cannot be read is no reason to fail: store the bytes anew. Want of memory says nothing about the chunk. */
        err = stm_chunk_get(w->store, ret, &stored);
        if (err == -ENOMEM)
            return err;
        bool same = err == 0 && stm_slice_eq(stm_slice(stored->data, stored->len), raw);
        if (err == 0)
            stm_cache_unref(w->store->cache, stored);
        if (same)
            return 0;
    } else if (err != -ENOENT) {
        return err;
    }
    err = stm_segment_add(&w->segment, raw, hash, ret, ret_codec);
    if (err == 0) {
        uint8_t item[1 + STM_HASH_LEN + 12] = {'c'};
        memcpy(item + 1, hash->bytes, STM_HASH_LEN);
        stm_put_u64(item + 17, ret->segment);
        stm_put_u32(item + 25, ret->index);
        err = stm_buf_append(&w->fresh, item, sizeof item);
    }
    return err < 0 ? err : 1;
}

/* Level byte and entries. */
static int encode_list(int level, const struct stm_place *p, size_t n, struct stm_buf *out)
{
    uint8_t b[STM_ENTRY_BYTES] = {(uint8_t)level};
    int err = stm_buf_append(out, b, 1);

    for (size_t i = 0; err == 0 && i < n; i++) {
        stm_put_u64(b, p[i].segment);
        stm_put_u32(b + 8, p[i].index);
        stm_put_u64(b + 12, p[i].length);
        memcpy(b + 20, p[i].hash.bytes, STM_HASH_LEN);
        err = stm_buf_append(out, b, sizeof b);
    }
    return err;
}

/* A fresh page refers to its entries: the commit must say so. */
static int note_children(struct stm_writer *w, const struct stm_place *page, const struct stm_place *p, size_t n)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < n; i++) {
        uint8_t item[1 + 24] = {'p'};
        if (stm_place_is_hole(&p[i]))
            continue;
        stm_put_u64(item + 1, p[i].segment);
        stm_put_u32(item + 9, p[i].index);
        stm_put_u64(item + 13, page->segment);
        stm_put_u32(item + 21, page->index);
        err = stm_buf_append(&w->fresh, item, sizeof item);
    }
    return err;
}

static int put_page(struct stm_writer *w, int level, const struct stm_place *p, size_t n, struct stm_list *up)
{
    struct stm_buf page = STM_BUF_INIT;
    struct stm_place place;
    enum stm_codec codec;
    int err = encode_list(level, p, n, &page);

    if (err == 0) {
        struct stm_hash hash = stm_hash_of(stm_buf_slice(&page));
        err = stm_writer_store(w, stm_buf_slice(&page), &hash, &place, &codec);
    }
    if (err > 0)
        err = note_children(w, &place, p, n);
    stm_buf_release(&page);
    if (err < 0)
        return err;
    place.length = 0;
    for (size_t i = 0; i < n; i++)
        place.length += p[i].length;
    return stm_list_add(up, &place);
}

/* Cuts one level into pages; `up` gets an entry for each. */
static int put_level(struct stm_writer *w, int level, const struct stm_list *l, struct stm_list *up)
{
    size_t from = 0;
    int err = 0;

    for (size_t i = 0; err == 0 && i < l->n; i++) {
        size_t n = i + 1 - from;
        bool ends = !stm_place_is_hole(&l->places[i]) && (l->places[i].hash.bytes[STM_HASH_LEN - 1] & PAGE_ENDS) == 0;
        if (i + 1 == l->n || n == STM_PAGE_MAX || (n >= STM_PAGE_MIN && ends)) {
            err = put_page(w, level, l->places + from, n, up);
            from = i + 1;
        }
    }
    return err;
}

int stm_writer_finish(struct stm_writer *w, struct stm_buf *ret_root, struct stm_buf *ret_fresh, uint64_t *ret_stored)
{
    struct stm_list now = w->level0, up = {0};
    uint8_t segment[1 + 8] = {'g'};
    int level = 0, err = 0;

    while (err == 0 && now.n > STM_ROOT_ENTRIES && level < LEVELS_MAX - 1) {
        err = put_level(w, level, &now, &up);
        if (level > 0)
            free(now.places);
        now = up;
        up = (struct stm_list){0};
        level++;
    }
    if (err == 0)
        err = encode_list(level, now.places, now.n, ret_root);
    if (level > 0)
        free(now.places);
    if (err == 0)
        err = stm_segment_finish(&w->segment);
    if (err == 0 && w->segment.id) {
        stm_put_u64(segment + 1, w->segment.id);
        err = stm_buf_append(&w->fresh, segment, sizeof segment);
    }
    if (err == 0) {
        *ret_fresh = w->fresh;
        w->fresh = (struct stm_buf)STM_BUF_INIT;
        *ret_stored = w->segment.bytes;
    }
    return err;
}

struct stm_place stm_place_decode(const uint8_t *b)
{
    struct stm_place p = {stm_get_u64(b), stm_get_u32(b + 8), stm_get_u64(b + 12), {{0}}};
    memcpy(p.hash.bytes, b + 20, STM_HASH_LEN);
    return p;
}

/* What is left to read. */
struct range {
    uint64_t off; /* within the list at hand */
    uint8_t *buf;
    size_t len;
};

/* Copies the part of the range that begins in a chunk or hole. */
static int read_chunk(struct stm_store *s, const struct stm_place *p, struct range *r)
{
    const struct stm_cached *c;

    if (stm_place_is_hole(p)) {
        size_t zeros = p->length - r->off < r->len ? (size_t)(p->length - r->off) : r->len;
        memset(r->buf, 0, zeros);
        r->buf += zeros;
        r->len -= zeros;
        return 0;
    }
    int err = stm_chunk_get(s, p, &c);
    if (err < 0)
        return err;
    if (c->len != p->length) {
        stm_cache_unref(s->cache, c);
        return STM_E_CORRUPT;
    }
    size_t n = c->len - (size_t)r->off < r->len ? c->len - (size_t)r->off : r->len;
    memcpy(r->buf, c->data + r->off, n);
    stm_cache_unref(s->cache, c);
    r->buf += n;
    r->len -= n;
    return 0;
}

/*
 * Reads as many whole chunks as lie side by side from the entry on, when they are several and the first is not decoded already.
 * Returns how many entries it read, or an error.
 */
static int read_run(struct stm_store *s, const uint8_t *entry, const uint8_t *end, struct range *r)
{
    struct stm_place run[RUN_MAX];
    size_t n = 0, bytes = 0;

    for (; entry < end && n < RUN_MAX; entry += STM_ENTRY_BYTES, n++) {
        run[n] = stm_place_decode(entry);
        bool beside = n == 0 || (run[n].segment == run[0].segment && run[n].index == run[0].index + n);
        if (!beside || run[n].length > r->len - bytes)
            break;
        bytes += (size_t)run[n].length;
    }
    if (n < RUN_MIN || stm_cache_has(s->cache, run[0].segment, run[0].index))
        return 0;
    int err = stm_chunk_run(s, run, n, r->buf);
    if (err < 0)
        return err;
    r->buf += bytes;
    r->len -= bytes;
    return (int)n;
}

/* Reads on from one list as far as it goes; depth bounds damaged trees. */
static int read_list(struct stm_store *s, struct stm_slice list, int depth, struct range *r)
{
    const uint8_t *b = list.data;
    int err = 0;

    if (list.len < 1 || (list.len - 1) % STM_ENTRY_BYTES != 0 || b[0] > depth)
        return STM_E_CORRUPT;
    int level = b[0];
    for (size_t at = 1; err == 0 && at < list.len && r->len > 0; at += STM_ENTRY_BYTES) {
        struct stm_place p = stm_place_decode(b + at);
        if (r->off >= p.length) {
            r->off -= p.length;
            continue;
        }
        if (level == 0) {
            int n = r->off == 0 ? read_run(s, b + at, b + list.len, r) : 0;
            err = n < 0 ? n : n == 0 ? read_chunk(s, &p, r) : 0;
            at += n > 1 ? (size_t)(n - 1) * STM_ENTRY_BYTES : 0;
        } else {
            const struct stm_cached *page;
            err = stm_chunk_get(s, &p, &page);
            if (err < 0)
                break;
            err = read_list(s, stm_slice(page->data, page->len), level - 1, r);
            stm_cache_unref(s->cache, page);
        }
        r->off = 0;
    }
    return err;
}

int stm_list_read(struct stm_store *s, struct stm_slice root, uint64_t off, void *buf, size_t len)
{
    struct range r = {off, buf, len};
    int err = read_list(s, root, LEVELS_MAX, &r);

    return err < 0 ? err : r.len == 0 ? 0 : STM_E_CORRUPT;
}

/* A search for data. */
struct search {
    uint64_t pos; /* of the entry at hand, in the content */
    uint64_t from, to;
    bool found;
};

/* 1: the stretch has ended; 0: it may go on after this list; depth as in read_list. */
static int find_data(struct stm_store *s, struct stm_slice list, int depth, struct search *f)
{
    const uint8_t *b = list.data;

    if (list.len < 1 || (list.len - 1) % STM_ENTRY_BYTES != 0 || b[0] > depth)
        return STM_E_CORRUPT;
    for (size_t at = 1; at < list.len; at += STM_ENTRY_BYTES) {
        struct stm_place p = stm_place_decode(b + at);
        if (f->pos + p.length <= f->from) {
            f->pos += p.length;
        } else if (b[0] > 0) {
            const struct stm_cached *page;
            int err = stm_chunk_get(s, &p, &page);
            if (err < 0)
                return err;
            err = find_data(s, stm_slice(page->data, page->len), b[0] - 1, f);
            stm_cache_unref(s->cache, page);
            if (err != 0 || f->found)
                return err < 0 ? err : 1; /* the caller asks again for what adjoins */
        } else if (!stm_place_is_hole(&p)) {
            f->from = f->found || f->from > f->pos ? f->from : f->pos;
            f->found = true;
            f->pos = f->to = f->pos + p.length;
        } else if (f->found) {
            return 1;
        } else {
            f->pos += p.length;
        }
    }
    return 0;
}

int stm_list_extent(struct stm_store *s, struct stm_slice root, uint64_t *from, uint64_t *to)
{
    struct search f = {.from = *from};
    int err = find_data(s, root, LEVELS_MAX, &f);

    if (err < 0)
        return err;
    if (f.found ? f.to > *to || f.to <= f.from : f.pos != *to)
        return STM_E_CORRUPT; /* the list does not cover what the version says */
    *from = f.found ? f.from : *to;
    *to = f.found ? f.to : *to;
    return 0;
}

/* ---- what a commit writes about chunks ------------------------------------------------------------------------------ */

static int put_empty(struct stm_txn *t, enum stm_space space, const struct stm_key *key)
{
    struct stm_rec r = STM_REC_INIT;
    stm_rec_raw(&r, NULL, 0);
    return stm_txn_put(t, space, key, &r);
}

static int register_item(struct stm_txn *t, uint8_t kind, struct stm_dec *d)
{
    struct stm_rec r = STM_REC_INIT;
    struct stm_key key;

    if (kind == 'c') {
        const void *hash = stm_dec_raw(d, STM_HASH_LEN);
        uint64_t segment = stm_dec_u64(d);
        uint32_t index = stm_dec_u32(d);
        if (d->failed)
            return STM_E_CORRUPT;
        key = stm_key_chunkhash(hash);
        stm_rec_u64(&r, segment);
        stm_rec_u32(&r, index);
        return stm_txn_put(t, STM_CHUNKHASH, &key, &r);
    }
    if (kind == 'p') {
        uint64_t segment = stm_dec_u64(d);
        uint32_t index = stm_dec_u32(d);
        uint64_t page_segment = stm_dec_u64(d);
        key = stm_key_ref_page(segment, index, page_segment, stm_dec_u32(d));
        return put_empty(t, STM_CHUNKREF, &key);
    }
    key = stm_key_index(STM_IX_SEGMENT, stm_dec_u64(d));
    return put_empty(t, STM_INDEX, &key);
}

int stm_content_register(struct stm_txn *t, const struct stm_content *c)
{
    struct stm_dec d = stm_dec(stm_buf_slice(&c->fresh));
    int err = 0;

    while (err == 0 && !d.failed && d.at < d.end)
        err = register_item(t, stm_dec_u8(&d), &d);
    return err < 0 ? err : stm_dec_end(&d);
}

int stm_content_refer(struct stm_txn *t, struct stm_slice root, uint64_t line, uint32_t ordinal, bool add)
{
    const uint8_t *b = root.data;
    int err = 0;

    if (root.len < 1 || (root.len - 1) % STM_ENTRY_BYTES != 0)
        return STM_E_CORRUPT;
    for (size_t at = 1; err == 0 && at < root.len; at += STM_ENTRY_BYTES) {
        struct stm_place p = stm_place_decode(b + at);
        if (stm_place_is_hole(&p))
            continue;
        struct stm_key key = stm_key_ref_version(p.segment, p.index, line, ordinal);
        err = add ? put_empty(t, STM_CHUNKREF, &key) : stm_txn_delete(t, STM_CHUNKREF, &key);
    }
    return err;
}
