/*
 * check.c: world_check: what must hold between the records of a store, recounted from the records themselves. It reads the engine
 * directly, so that a mistake in the layer of meaning cannot hide itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cmocka.h"
#include "list.h"
#include "save.h"
#include "stemma/fsck.h"
#include "world.h"

#define CHECK(cond, ...)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(cond)) {                                                                                                                     \
            fprintf(stderr, __VA_ARGS__);                                                                                                  \
            fputc('\n', stderr);                                                                                                           \
            fail();                                                                                                                        \
        }                                                                                                                                  \
    } while (0)

enum { MAX_OBJECTS = 100000 };

struct counts {
    uint64_t links, entries, subdirs;
};

/* Calls each for every pair of a space. */
static void each_pair(struct stm_engine *e, enum stm_space space, void (*each)(void *arg, struct stm_slice key, struct stm_slice value),
                      void *arg)
{
    struct stm_iter *it;
    struct stm_slice key, value, payload;

    assert_int_equal(e->ops->iter_new(e, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
    for (int more = e->ops->iter_seek(it, stm_slice("", 0)); more > 0; more = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        CHECK(stm_frame_open(space, key, value, &payload) == 0, "a record of %s is damaged", stm_space_name(space));
        each(arg, key, payload);
    }
    e->ops->iter_free(it);
}

struct checker {
    struct world *w;
    struct counts *counts; /* by object id */
    uint64_t last_seq;
    int64_t last_ns;
};

static void check_log(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct checker *c = arg;
    uint64_t seq = stm_get_u64(key.data);
    struct stm_dec d = stm_dec(payload);
    int64_t ns = stm_dec_i64(&d);

    CHECK(seq == c->last_seq + 1, "the log has a hole: %llu after %llu", (unsigned long long)seq, (unsigned long long)c->last_seq);
    CHECK(ns >= c->last_ns, "time goes backwards at %llu", (unsigned long long)seq);
    c->last_seq = seq;
    c->last_ns = ns;
}

static void check_dentry(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct checker *c = arg;
    uint64_t parent = stm_get_u64(key.data), object = stm_get_u64(payload.data);
    struct stm_object o;

    CHECK(object < MAX_OBJECTS && parent < MAX_OBJECTS, "ids are small in tests");
    CHECK(stm_object_load(&c->w->head, object, &o) == 0, "an entry names object %llu, which is not there", (unsigned long long)object);
    c->counts[object].links++;
    c->counts[parent].entries++;
    if (S_ISDIR(o.mode)) {
        c->counts[parent].subdirs++;
        CHECK(o.parent == parent, "directory %llu has the wrong parent", (unsigned long long)object);
    }
}

/* The version's bytes, read by extents in parts, have its hash, and `data` counts what is not in holes. */
static bool bytes_are_right(struct world *w, const struct stm_version *v)
{
    enum { PART = 1 << 20 };
    struct stm_hasher *hasher = stm_hasher_new();
    uint64_t at = 0, data = 0, from, to;
    char *part = malloc(PART);

    while (at < v->row.size) {
        CHECK(stm_content_extent(w->store, v, at, &from, &to) == 0, "the list of line %llu is damaged", (unsigned long long)v->row.line);
        stm_hasher_zeros(hasher, from - at);
        data += to - from;
        for (at = from; at < to;) {
            size_t n = to - at < PART ? (size_t)(to - at) : PART;
            CHECK(stm_content_read(w->store, v, at, part, n) == (int64_t)n, "version %u cannot be read", v->row.ordinal);
            stm_hasher_update(hasher, stm_slice(part, n));
            at += n;
        }
    }
    struct stm_hash h = stm_hasher_digest(hasher);
    stm_hasher_free(hasher);
    free(part);
    return data == v->data && stm_hash_eq(&h, &v->row.hash);
}

/* Every version of the line is there, numbered without holes, readable, and has the hash it claims. */
static void check_line(struct world *w, const struct stm_object *o)
{
    struct stm_version_row last = {0};

    for (uint32_t i = 0; i <= o->tip.ordinal; i++) {
        struct stm_version v;
        CHECK(stm_version_get(&w->head, o->line, i, &v) == 0, "version %u of line %llu is not there", i, (unsigned long long)o->line);
        CHECK(i == 0 || (stm_semver_cmp(last.semver, v.row.semver) < 0 && last.seq < v.row.seq), "versions out of order");
        last = v.row;
        CHECK(bytes_are_right(w, &v), "version %u of line %llu has other bytes", i, (unsigned long long)o->line);
        stm_version_release(&v);
    }
    CHECK(last.seq == o->tip.seq && stm_hash_eq(&last.hash, &o->tip.hash), "the tip of object %llu is wrong", (unsigned long long)o->id);
}

static void check_object(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct checker *c = arg;
    uint64_t id = stm_get_u64(key.data);
    const struct counts *n = &c->counts[id];
    struct stm_object o;
    struct stm_version v;

    (void)payload;
    CHECK(stm_object_load(&c->w->head, id, &o) == 0, "object %llu cannot be decoded", (unsigned long long)id);
    if (S_ISDIR(o.mode)) {
        CHECK(o.entries == n->entries, "directory %llu counts %llu entries, has %llu", (unsigned long long)id,
              (unsigned long long)o.entries, (unsigned long long)n->entries);
        CHECK(o.nlink == (o.nlink ? 2 + n->subdirs : 0), "directory %llu has a wrong link count", (unsigned long long)id);
        return;
    }
    CHECK(o.nlink || !(o.flags & STM_OBJ_NOHISTORY) || (o.flags & STM_OBJ_ORPHAN), "object %llu is left behind", (unsigned long long)id);
    CHECK(o.nlink == n->links, "object %llu counts %u links, has %llu", (unsigned long long)id, o.nlink, (unsigned long long)n->links);
    if (!S_ISREG(o.mode))
        return;
    if (o.head_seq) {
        CHECK(stm_version_at(&c->w->head, &o, &v) == 0, "object %llu has no content", (unsigned long long)id);
        CHECK(v.row.size == o.size, "object %llu has a wrong size", (unsigned long long)id);
        stm_version_release(&v);
    }
    if (o.tip.seq && !(o.flags & STM_OBJ_LINE_GONE))
        check_line(c->w, &o);
}

/* ---- nothing is left behind, nothing is named that is not there ----------------------------------------------------------- */

static bool exists(struct world *w, enum stm_space space, struct stm_key key)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&w->head, space, &key, &buf, &payload);

    stm_buf_release(&buf);
    return err == 0;
}

/* The line's own row of that ordinal names version `seq`. */
static bool row_names(struct world *w, uint64_t line, uint32_t ordinal, uint64_t seq)
{
    struct stm_version_row row;
    return stm_version_row(&w->head, line, ordinal, &row) == 0 && row.line == line && row.seq == seq;
}

/* Places of the entries of a list's root. */
static size_t root_entries(const struct stm_version *v)
{
    return v->stored == STM_STORED_CHUNKED ? (v->body.len - 1) / STM_ENTRY_BYTES : 0;
}

static void check_version(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct checker *c = arg;
    uint64_t line = stm_get_u64(key.data), seq = ~stm_get_u64((const uint8_t *)key.data + 8);
    struct stm_version v;

    (void)payload;
    CHECK(stm_version_load(&c->w->head, line, seq, &v) == 0, "a version of line %llu is damaged", (unsigned long long)line);
    CHECK(row_names(c->w, line, v.row.ordinal, seq), "version %llu of line %llu is in no row", (unsigned long long)seq,
          (unsigned long long)line);
    CHECK(exists(c->w, STM_CONTENT, stm_key_version(line, seq)) == (v.stored == STM_STORED_SMALL),
          "the content of version %llu of line %llu is left over or missing", (unsigned long long)seq, (unsigned long long)line);
    for (size_t i = 0; i < root_entries(&v); i++) {
        const uint8_t *e = v.body.data + 1 + i * STM_ENTRY_BYTES;
        if (stm_get_u64(e) == 0)
            continue; /* a hole */
        CHECK(exists(c->w, STM_CHUNKREF, stm_key_ref_version(stm_get_u64(e), stm_get_u32(e + 8), line, v.row.ordinal)),
              "a chunk of version %llu of line %llu is not referred to", (unsigned long long)seq, (unsigned long long)line);
    }
    stm_version_release(&v);
}

static void check_content(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct checker *c = arg;
    uint64_t line = stm_get_u64(key.data), seq = ~stm_get_u64((const uint8_t *)key.data + 8);

    (void)payload;
    CHECK(exists(c->w, STM_VERSION, stm_key_version(line, seq)), "the content of a version of line %llu is left behind",
          (unsigned long long)line);
}

/* The root of that version names the chunk. */
static bool refers(struct world *w, const uint8_t *place, uint64_t line, uint32_t ordinal)
{
    struct stm_version_row row;
    struct stm_version v;
    bool found = false;

    if (stm_version_row(&w->head, line, ordinal, &row) < 0 || row.line != line || stm_version_load(&w->head, line, row.seq, &v) < 0)
        return false;
    for (size_t i = 0; i < root_entries(&v); i++)
        found |= memcmp(v.body.data + 1 + i * STM_ENTRY_BYTES, place, 12) == 0;
    stm_version_release(&v);
    return found;
}

static void check_reference(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct checker *c = arg;
    const uint8_t *k = key.data;
    uint64_t owner = stm_get_u64(k + 13);
    uint32_t part = stm_get_u32(k + 21);

    (void)payload;
    CHECK(exists(c->w, STM_CHUNK, stm_key_chunk(stm_get_u64(k), stm_get_u32(k + 8))), "a reference to a chunk that is not there");
    if (k[12] == 2)
        CHECK(refers(c->w, k, owner, part), "a reference of version %u of line %llu is left behind", part, (unsigned long long)owner);
    else
        CHECK(exists(c->w, STM_CHUNK, stm_key_chunk(owner, part)), "a reference of a page that is not there");
}

static void check_index(void *arg, struct stm_slice key, struct stm_slice payload)
{
    struct checker *c = arg;
    const uint8_t *k = key.data;
    uint64_t id = stm_get_u64(k + 1);
    struct stm_object o;

    if (k[0] == STM_IX_ROW)
        CHECK(exists(c->w, STM_VERSION, stm_key_version(id, stm_get_u64(payload.data))), "a row of line %llu names no version",
              (unsigned long long)id);
    if (k[0] == STM_IX_ORPHAN)
        CHECK(stm_object_load(&c->w->head, id, &o) == 0 && (o.flags & STM_OBJ_ORPHAN) && o.nlink == 0, "object %llu is no orphan",
              (unsigned long long)id);
    if (k[0] == STM_IX_XATTR)
        CHECK(exists(c->w, STM_OBJECT, stm_key_object(id)), "attributes of object %llu are left behind", (unsigned long long)id);
}

static void print_finding(void *arg, const struct stm_finding *f)
{
    (void)arg;
    fprintf(stderr, "%s: %s: %s (%s)\n", f->code, f->where, f->what, f->record);
}

/* The same by the store's own means, which look at more. */
static void check_by_fsck(struct world *w)
{
    struct stm_fsck_options opt = {.finding = print_finding};
    struct stm_fsck_result r;

    assert_int_equal(stm_fsck(w->store, &opt, &r), 0);
    assert_int_equal(r.left + r.known, 0);
    assert_true(r.seq == stm_store_seq(w->store) && r.records > 0);
}

void world_check(struct world *w)
{
    struct checker c = {.w = w, .counts = calloc(MAX_OBJECTS, sizeof(struct counts))};

    each_pair(w->store->engine, STM_LOG, check_log, &c);
    CHECK(c.last_seq == stm_store_seq(w->store), "the log ends at %llu", (unsigned long long)c.last_seq);
    each_pair(w->store->engine, STM_DENTRY, check_dentry, &c);
    each_pair(w->store->engine, STM_OBJECT, check_object, &c);
    each_pair(w->store->engine, STM_VERSION, check_version, &c);
    each_pair(w->store->engine, STM_CONTENT, check_content, &c);
    each_pair(w->store->engine, STM_CHUNKREF, check_reference, &c);
    each_pair(w->store->engine, STM_INDEX, check_index, &c);
    free(c.counts);
    check_by_fsck(w);
}
