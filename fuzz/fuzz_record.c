/*
 * fuzz_record.c: any bytes as records, under any key, in any combination: a store in memory is given them with right checksums (or, as
 * asked, with none), is read from end to end in several views, checked, repaired, and then changed. Nothing but an error may come of it; and a record that is
 * accepted is written again as the same bytes. Not here: the engine's own files, which the power-cut and bit-flip cases treat.
 *
 * Input: (space u8, key length u8, value length u16, key, payload)*. Bit 7 of the space: the payload is a whole frame, right or not.
 */
#include "fuzz.h"

#include <sys/stat.h>

#include "dentry.h"
#include "list.h"
#include "save.h"
#include "stemma/fsck.h"

enum { RECORDS_MAX = 64, DEPTH_MAX = 6, ENTRIES_MAX = 64, VERSIONS_MAX = 12, READ_MAX = 1 << 18, FSCK_RECORDS_MAX = 12 };

struct record {
    enum stm_space space;
    struct stm_slice key, payload;
};

struct story {
    struct stm_store *store;
    struct record records[RECORDS_MAX];
    size_t count;
    int entries; /* visited so far */
};

/* ---- filling ---- */

static void put_raw(struct stm_store *s, enum stm_space space, struct stm_slice key, struct stm_slice frame)
{
    struct stm_op op = {STM_OP_PUT, space, key, frame};
    FUZZ_CHECK(s->engine->ops->commit(s->engine, &op, 1, false) == 0);
}

static void put_framed(struct stm_store *s, const struct record *r)
{
    struct stm_buf frame = STM_BUF_INIT;

    FUZZ_CHECK(stm_buf_resize(&frame, r->payload.len + STM_FRAME_HEAD + STM_FRAME_TAIL) == 0);
    frame.data[0] = STM_RECORD_FORMAT;
    if (r->payload.len > 0)
        memcpy(frame.data + STM_FRAME_HEAD, r->payload.data, r->payload.len);
    stm_frame_close(r->space, r->key, frame.data, frame.len);
    put_raw(s, r->space, r->key, stm_buf_slice(&frame));
    stm_buf_release(&frame);
}

static void fill(struct story *st, struct fuzz_input *in)
{
    uint64_t seq = 1;

    while (in->left > 4 && st->count < RECORDS_MAX) {
        uint8_t space = fuzz_u8(in);
        size_t key_len = fuzz_u8(in), len = fuzz_u16(in);
        struct record r = {(enum stm_space)((space & 0x7f) % STM_SPACES), fuzz_bytes(in, key_len), {NULL, 0}};

        r.payload = fuzz_bytes(in, len);
        if (r.key.len == 0)
            continue;
        if (space & 0x80)
            put_raw(st->store, r.space, r.key, r.payload);
        else
            put_framed(st->store, &r);
        st->records[st->count++] = r;
    }
    for (struct stm_log_record last; seq < RECORDS_MAX && stm_log_get(st->store, seq + 1, &last, NULL, NULL) == 0;)
        seq++;
    atomic_store(&st->store->pipeline.published, seq);
}

/* ---- reading ---- */

static int no_attribute(void *arg, struct stm_slice name, struct stm_slice value)
{
    (void)arg;
    return name.len + value.len > READ_MAX ? -EINVAL : 0;
}

static void read_version(struct story *st, const struct stm_version *v)
{
    size_t len = v->row.size < READ_MAX ? (size_t)v->row.size : READ_MAX;
    uint8_t *bytes = malloc(len + 1), part[16];

    FUZZ_CHECK(bytes != NULL);
    int64_t n = stm_content_read(st->store, v, 0, bytes, len);
    FUZZ_CHECK(n < 0 || n == (int64_t)len);
    if (n > 20) {
        int64_t some = stm_content_read(st->store, v, (uint64_t)n - 20, part, sizeof part);
        FUZZ_CHECK(some == sizeof part && memcmp(part, bytes + n - 20, sizeof part) == 0);
    }
    FUZZ_CHECK(stm_version_author(v).len + stm_version_message(v).len <= v->text.len);
    (void)!stm_version_xattrs(v, no_attribute, NULL);
    free(bytes);
}

static void read_line(struct story *st, const struct stm_view *view, const struct stm_object *o)
{
    static const char *const selectors[] = {"latest", "v1.0.0", "v1", "v1.0", "~1", "2023-11-15", "=", "=a"};
    struct stm_version_row row;
    struct stm_selector sel;
    struct stm_version v;

    for (uint32_t i = 0; i <= o->tip.ordinal && i < VERSIONS_MAX; i++)
        if (stm_version_get(view, o->line, i, &v) == 0) {
            read_version(st, &v);
            stm_version_release(&v);
        }
    for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
        bool all = selectors[i][0] == '='; /* looks at every version */
        if (stm_selector_parse(stm_slice_str(selectors[i]), &sel) == 0 && (!all || o->tip.ordinal < 1000))
            (void)!stm_version_find(view, o->line, o->tip.ordinal, &sel, &row);
    }
}

static void read_attributes(const struct stm_view *view, uint64_t id)
{
    struct stm_buf names = STM_BUF_INIT, value = STM_BUF_INIT;

    if (stm_xattr_list(view, id, &names) == 0)
        for (size_t at = 0; at < names.len; at += strlen((char *)names.data + at) + 1)
            (void)!stm_xattr_get(view, id, stm_slice_str((char *)names.data + at), &value);
    stm_buf_release(&names);
    (void)!stm_object_target(view, id, &value);
    stm_buf_clear(&value);
    (void)!stm_tree_path(view, id, &value);
    stm_buf_release(&value);
}

static void read_object(struct story *st, const struct stm_view *view, uint64_t id)
{
    struct stm_object o;
    struct stm_version v;

    if (stm_object_get(view, id, &o) < 0)
        return;
    read_attributes(view, id);
    if (!S_ISREG(o.mode))
        return;
    if (stm_version_at(view, &o, &v) == 0) {
        read_version(st, &v);
        stm_version_release(&v);
    }
    read_line(st, view, &o);
}

static void walk(struct story *st, const struct stm_view *view, uint64_t dir, int depth)
{
    struct stm_entry e, again;
    struct stm_object o;
    struct stm_dir *d;
    uint64_t before = 0;

    if (depth > DEPTH_MAX || stm_dir_open(view, dir, 0, &d) < 0)
        return;
    while (st->entries++ < ENTRIES_MAX && stm_dir_next(d, &e, &o) > 0) {
        FUZZ_CHECK(e.cookie > before && e.name_len > 0 && e.name_len <= STM_NAME_MAX && e.name[e.name_len] == 0);
        before = e.cookie;
        (void)!stm_tree_lookup(view, dir, stm_slice(e.name, e.name_len), &again);
        (void)!stm_tree_removed(view, dir, stm_slice(e.name, e.name_len), &again);
        read_object(st, view, e.object);
        walk(st, view, e.object, depth + 1);
    }
    stm_dir_free(d);
}

static int see_item(void *arg, const struct stm_log_item *item)
{
    (void)arg;
    return strlen(item->name) > STM_NAME_MAX ? -EINVAL : 0;
}

static void read_all(struct story *st)
{
    uint64_t seq = stm_store_seq(st->store), at;
    struct stm_view views[] = {stm_view_head(st->store), stm_view_at(st->store, seq), stm_view_at(st->store, seq / 2)};
    struct stm_log_record r;
    uint32_t view_id;

    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        st->entries = 0;
        walk(st, &views[i], STM_ROOT_OBJECT, 0);
        for (size_t k = 0; k < st->count; k++)
            if (st->records[k].space == STM_OBJECT && st->records[k].key.len == 8)
                read_object(st, &views[i], stm_get_u64(st->records[k].key.data));
    }
    for (uint64_t i = 1; i <= seq; i++)
        (void)!stm_log_get(st->store, i, &r, see_item, NULL);
    (void)!stm_seq_at_time(st->store, INT64_C(1700000000000000000), &at);
    (void)!stm_seq_of_dir(st->store, STM_ROOT_OBJECT, INT64_C(1700000000000000000), &at);
    (void)!stm_view_id(st->store, seq, &view_id);
    (void)!stm_view_seq(st->store, 1, &at);
}

/* ---- what is accepted is written again as the same bytes ---- */

static int put_again(struct stm_txn *t, void *arg)
{
    return stm_object_put(t, arg, stm_slice(NULL, 0));
}

static bool same_payload(struct stm_slice payload, const struct stm_rec *r)
{
    return r->buf.len == payload.len + STM_FRAME_HEAD && memcmp(r->buf.data + STM_FRAME_HEAD, payload.data, payload.len) == 0;
}

/* Does it say "this commit" somewhere? That is never stored, and would be replaced. */
static bool has_sentinel(const struct stm_object *o)
{
    const int64_t times[] = {o->atime_ns, o->mtime_ns, o->ctime_ns, o->btime_ns};
    const uint64_t seqs[] = {o->line_since, o->line_until, o->floor_seq, o->head_seq, o->tip.seq};
    bool has = false;

    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        has |= times[i] == STM_TIME_THIS;
    for (size_t i = 0; i < sizeof seqs / sizeof *seqs; i++)
        has |= seqs[i] == STM_SEQ_THIS;
    return has;
}

static void check_object(struct story *st, const struct record *r)
{
    struct stm_view v = stm_view_head(st->store);
    uint64_t id = stm_get_u64(r->key.data);
    struct stm_buf frame = STM_BUF_INIT;
    struct stm_change change = {0};
    struct stm_object o;

    if (stm_object_load(&v, id, &o) < 0 || has_sentinel(&o))
        return;
    struct stm_engine *e = st->store->engine;
    struct stm_buf old = STM_BUF_INIT;
    FUZZ_CHECK(e->ops->get(e, STM_OBJECT, r->key, &old) == 0);
    FUZZ_CHECK(stm_update(st->store, &change, put_again, &o, NULL) == 0);
    FUZZ_CHECK(e->ops->get(e, STM_OBJECT, r->key, &frame) == 0);
    FUZZ_CHECK(stm_slice_eq(stm_buf_slice(&frame), stm_buf_slice(&old)));
    stm_buf_release(&frame);
    stm_buf_release(&old);
}

static void check_version(struct story *st, const struct record *r)
{
    struct stm_view view = stm_view_head(st->store);
    uint64_t line = stm_get_u64(r->key.data), seq = ~stm_get_u64((const uint8_t *)r->key.data + 8);
    struct stm_key key = stm_key_version(line, seq);
    struct stm_rec again = STM_REC_INIT;
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    struct stm_version v;

    if (seq >= STM_SEQ_THIS || stm_version_load(&view, line, seq, &v) < 0)
        return;
    if (v.row.recorded_ns == STM_TIME_THIS || v.effective_ns == STM_TIME_THIS || v.mtime_ns == STM_TIME_THIS) {
        stm_version_release(&v);
        return;
    }
    FUZZ_CHECK(stm_read(&view, STM_VERSION, &key, &buf, &payload) == 0);
    FUZZ_CHECK(stm_version_encode(&again, &v) == 0 && same_payload(payload, &again));
    stm_rec_release(&again);
    stm_version_release(&v);
    stm_buf_release(&buf);
}

/* ---- changing ---- */

struct changing {
    uint64_t object, dir;
    struct stm_slice name;
    struct stm_content content;
};

static int change_object(struct stm_txn *t, void *arg)
{
    const struct changing *c = arg;
    struct stm_setattr set = {.valid = STM_SET_MODE | STM_SET_MTIME, .mode = 0600, .mtime_ns = 5};
    int err = stm_xattr_set(t, c->object, stm_slice_str("user.a"), stm_slice_str("b"), 0);

    return err < 0 ? err : stm_object_set(t, c->object, &set, NULL);
}

static int save_object(struct stm_txn *t, void *arg)
{
    const struct changing *c = arg;
    struct stm_save save = {.content = &c->content};
    struct stm_object o;

    return stm_version_save(t, c->object, &save, &o);
}

static int rename_entry(struct stm_txn *t, void *arg)
{
    const struct changing *c = arg;
    struct stm_rename r = {.from_parent = c->dir, .to_parent = STM_ROOT_OBJECT, .from = c->name, .to = stm_slice_str("word")};

    return stm_tree_rename(t, &r);
}

static int unlink_entry(struct stm_txn *t, void *arg)
{
    const struct changing *c = arg;
    int err = stm_tree_unlink(t, c->dir, c->name, false, NULL);

    return err == -EISDIR ? stm_tree_rmdir(t, c->dir, c->name) : err;
}

static int create_entry(struct stm_txn *t, void *arg)
{
    const struct changing *c = arg;
    struct stm_new n = {.mode = S_IFREG | 0644};
    struct stm_object o;

    return stm_tree_create(t, c->dir, c->name, &n, &o);
}

static int purge_object(struct stm_txn *t, void *arg)
{
    return stm_object_purge(t, ((const struct changing *)arg)->object);
}

static void change_all(struct story *st)
{
    struct stm_change change = {0};
    struct stm_source source = {.size = 3, .mem = "new"};
    struct changing c = {0};

    FUZZ_CHECK(stm_content_put(st->store, &source, &c.content) == 0);
    for (size_t i = 0; i < st->count; i++) {
        const struct record *r = &st->records[i];
        if (r->space == STM_OBJECT && r->key.len == 8) {
            c.object = stm_get_u64(r->key.data);
            (void)!stm_update(st->store, &change, change_object, &c, NULL);
            (void)!stm_update(st->store, &change, save_object, &c, NULL);
            (void)!stm_update(st->store, &change, purge_object, &c, NULL);
        } else if (r->space == STM_DENTRY && r->key.len > 16 && r->key.len <= 16 + STM_NAME_MAX) {
            c.dir = stm_get_u64(r->key.data);
            c.name = stm_slice((const uint8_t *)r->key.data + 16, r->key.len - 16);
            (void)!stm_update(st->store, &change, rename_entry, &c, NULL);
            (void)!stm_update(st->store, &change, create_entry, &c, NULL);
            (void)!stm_update(st->store, &change, unlink_entry, &c, NULL);
            (void)!stm_update(st->store, &change, create_entry, &c, NULL);
        }
    }
    stm_content_release(&c.content);
}

/* ---- fsck ---- */

/* Whatever it finds: it comes to an end, and so does a repair; what is read afterwards may be an error. */
static void check_and_repair(struct story *st)
{
    struct stm_fsck_options look = {0}, repair = {.repair = true};
    struct stm_fsck_result before, result;

    int err = stm_fsck(st->store, &look, &before);
    FUZZ_CHECK(err <= 0);
    if (st->count == 0)
        FUZZ_CHECK(err == 0 && before.left == 0);
    (void)!stm_fsck(st->store, &repair, &result);
    read_all(st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct stm_clock_manual clock;
    struct stm_clock injected = stm_clock_manual(&clock);
    struct stm_store_options opt = {.engine = STM_ENGINE_MEM, .clock = &injected, .content_cache_bytes = 1 << 20};
    struct fuzz_input in = {data, size};
    struct story st = {0};

    clock.ns = INT64_C(1700000000000000000);
    FUZZ_CHECK(stm_store_open(&opt, &st.store, NULL) == 0);
    fill(&st, &in);
    read_all(&st);
    for (size_t i = 0; i < st.count; i++) {
        if (st.records[i].space == STM_OBJECT && st.records[i].key.len == 8)
            check_object(&st, &st.records[i]);
        if (st.records[i].space == STM_VERSION && st.records[i].key.len == 16)
            check_version(&st, &st.records[i]);
    }
    if (size % 16 == 0 && st.count <= FSCK_RECORDS_MAX) /* it clears 16 MiB for each range of ids that is used */
        check_and_repair(&st);
    change_all(&st);
    read_all(&st);
    (void)stm_store_close(st.store);
    return 0;
}
