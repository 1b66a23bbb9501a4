/*
 * Checking and repairing a store: a sound store has no finding, each kind of damage is found by its code, and a repair leaves none, or only
 * what is known to be lost. Damage is written by hand into the engine below the store. The control of each: the same store before the damage
 * is clean. STEMMA_TEST_SHOW=1 prints the findings, STEMMA_TEST_ONLY=WORDS runs the damages with these words.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support/cmocka.h"
#include "support/stage.h"

static const struct stm_slice all = {"", 0};

static void ruin_log(struct stage *s)
{
    stage_raw_delete(s, STM_LOG, stm_key_log(4));
}
static void ruin_log_record(struct stage *s)
{
    stage_raw_change(s, STM_LOG, stm_key_log(4), 3, false);
}
static void ruin_log_time(struct stage *s)
{
    stage_raw_change(s, STM_LOG, stm_key_log(4), 0, true);
}
static void ruin_ids(struct stage *s)
{
    uint8_t low[8] = {0, 0, 0, 0, 0, 0, 0, 2};
    stage_raw_put(s, STM_SYS, stm_key_sys("ids"), stm_slice(low, 8));
}
static void ruin_views(struct stage *s)
{
    uint8_t low[8] = {0};
    stage_raw_put(s, STM_SYS, stm_key_sys("views"), stm_slice(low, 8));
}
static void lose_object(struct stage *s)
{
    stage_raw_delete(s, STM_OBJECT, stm_key_object(s->file));
}
static void ruin_object(struct stage *s)
{
    stage_raw_change(s, STM_OBJECT, stm_key_object(s->file), 5, false);
}
static void ruin_entry(struct stage *s)
{
    stage_raw_change(s, STM_DENTRY, stm_key_dentry(s->dir, stm_slice_str("file")), 5, false);
}
static void lose_entry(struct stage *s)
{
    stage_raw_delete(s, STM_DENTRY, stm_key_dentry(s->dir, stm_slice_str("file")));
}
static void lose_dir_entry(struct stage *s)
{
    stage_raw_delete(s, STM_DENTRY, stm_key_dentry(s->dir, stm_slice_str("sub")));
}
static void entry_type(struct stage *s)
{
    stage_raw_change(s, STM_DENTRY, stm_key_dentry(s->dir, stm_slice_str("file")), 16, true);
}
static void link_count(struct stage *s)
{
    stage_raw_change(s, STM_OBJECT, stm_key_object(s->file), 15, true);
}
static void entry_count(struct stage *s)
{
    stage_raw_change(s, STM_OBJECT, stm_key_object(s->dir), 67, true);
}
static void orphan_flag(struct stage *s)
{
    stage_raw_delete(s, STM_INDEX, stage_tagged(s, 'o'));
}
static void orphan_row(struct stage *s)
{
    stage_raw_put(s, STM_INDEX, stm_key_index('o', s->file), stm_slice("", 0));
}
static void xattr_flag(struct stage *s)
{
    stage_raw_delete(s, STM_INDEX, stage_tagged(s, 'x'));
}
static void xattr_row(struct stage *s)
{
    stage_raw_change(s, STM_OBJECT, stm_key_object(s->file), 19, true);
}
static void xattr_record(struct stage *s)
{
    stage_raw_change(s, STM_INDEX, stage_tagged(s, 'x'), 5, false);
}
static void file_size(struct stage *s)
{
    stage_raw_change(s, STM_OBJECT, stm_key_object(s->file), 59, true);
}
static void tip(struct stage *s)
{
    stage_raw_change(s, STM_OBJECT, stm_key_object(s->file), 111, true);
}
static void head(struct stage *s)
{
    stage_raw_delete(s, STM_VERSION, stage_version(s, s->file));
}
static void version_record(struct stage *s)
{
    stage_raw_change(s, STM_VERSION, stage_version(s, s->file), 30, false);
}
static void row(struct stage *s)
{
    stage_raw_delete(s, STM_INDEX, stm_key_row(s->file, 1));
}
static void row_record(struct stage *s)
{
    stage_raw_change(s, STM_INDEX, stm_key_row(s->file, 1), 1, false);
}
static void row_wrong(struct stage *s)
{
    stage_raw_change(s, STM_INDEX, stm_key_row(s->file, 1), 30, true);
}
static void inline_bytes(struct stage *s)
{
    struct stm_engine *e = s->w.store->engine;
    struct stm_key key = stage_version(s, s->file);
    struct stm_buf b = STM_BUF_INIT;

    assert_int_equal(e->ops->get(e, STM_VERSION, stm_key_slice(&key), &b), 0);
    size_t last = b.len - STM_FRAME_HEAD - STM_FRAME_TAIL - 1;
    stm_buf_release(&b);
    stage_raw_change(s, STM_VERSION, key, last, true);
}
static void small_lost(struct stage *s)
{
    stage_raw_delete(s, STM_CONTENT, stage_version(s, s->linked));
}
static void small_bytes(struct stage *s)
{
    stage_raw_change(s, STM_CONTENT, stage_version(s, s->linked), 77, true);
}
static void small_left(struct stage *s)
{
    stage_raw_put(s, STM_CONTENT, stm_key_version(s->file, 2), stm_slice("left", 4));
}
static struct stm_key a_chunk(struct stage *s)
{
    return stage_key(s, STM_CHUNK, all, 2);
}
static void chunk(struct stage *s)
{
    stage_raw_change(s, STM_CHUNK, a_chunk(s), 40, false);
}
static void chunk_lost(struct stage *s)
{
    stage_raw_delete(s, STM_CHUNK, a_chunk(s));
}
static void chunk_bytes(struct stage *s)
{
    stage_raw_change(s, STM_CHUNK, a_chunk(s), 40, true);
}
static void hash_lost(struct stage *s)
{
    stage_raw_delete(s, STM_CHUNKHASH, stage_key(s, STM_CHUNKHASH, all, 3));
}
static void hash_record(struct stage *s)
{
    stage_raw_change(s, STM_CHUNKHASH, stage_key(s, STM_CHUNKHASH, all, 3), 3, false);
}
static void hash_wrong(struct stage *s)
{
    uint8_t hash[16] = {1, 2, 3}, place[12] = {0, 0, 0, 0, 0, 0, 9};
    stage_raw_put(s, STM_CHUNKHASH, stm_key_chunkhash(hash), stm_slice(place, 12));
}
static void ref_lost(struct stage *s)
{
    stage_raw_delete(s, STM_CHUNKREF, stage_key(s, STM_CHUNKREF, all, 3));
}
static void ref_record(struct stage *s)
{
    stage_raw_change(s, STM_CHUNKREF, stage_key(s, STM_CHUNKREF, all, 3), 0, false);
}
static void ref_left(struct stage *s)
{
    struct stm_key k = a_chunk(s);
    stage_raw_put(s, STM_CHUNKREF, stm_key_ref_version(stm_get_u64(k.bytes), stm_get_u32(k.bytes + 8), s->file, 0), stm_slice("", 0));
}
static void ref_page(struct stage *s)
{
    struct stm_key k = a_chunk(s);
    stage_raw_put(s, STM_CHUNKREF, stm_key_ref_page(stm_get_u64(k.bytes), stm_get_u32(k.bytes + 8), 99, 1), stm_slice("", 0));
}
static void segment(struct stage *s)
{
    uint8_t above[8];
    stm_put_u64(above, 1 << 20);
    stage_raw_delete(s, STM_INDEX, stage_tagged(s, 'g'));
    stage_raw_put(s, STM_SYS, stm_key_sys("swept"), stm_slice(above, 8));
}
static void segment_gone(struct stage *s)
{
    stage_raw_put(s, STM_INDEX, stm_key_index('g', 4000), stm_slice("", 0));
}
static void view(struct stage *s)
{
    stage_raw_delete(s, STM_INDEX, stage_tagged(s, 'W'));
}
static void view_wrong(struct stage *s)
{
    stage_raw_change(s, STM_INDEX, stage_tagged(s, 'w'), 7, true);
}
static void effective(struct stage *s)
{
    stage_raw_put(s, STM_INDEX, stm_key_effective(STM_ROOT_OBJECT, 99, 3), stm_slice("", 0));
}
static void owner(struct stage *s)
{
    uint8_t line[20] = {0};
    stm_put_u64(line, s->dir);
    stage_raw_put(s, STM_INDEX, stm_key_index('l', s->file), stm_slice(line, 20));
}
static void fork_lost(struct stage *s)
{
    uint8_t line[20] = {0};
    stm_put_u64(line, s->file);
    stm_put_u64(line + 8, 77);
    stm_put_u32(line + 16, 2);
    stage_raw_put(s, STM_INDEX, stm_key_index('l', s->file), stm_slice(line, 20));
}
static void past_line(struct stage *s)
{
    uint8_t past[24] = {0};
    stm_put_u64(past + 8, 1);
    stage_raw_put(s, STM_INDEX, stm_key_past_line(s->file, 9), stm_slice(past, 24));
}
static void past_entry(struct stage *s)
{
    uint8_t past[17] = {0};
    stm_put_u64(past, s->file);
    stm_put_u64(past + 8, 1000);
    past[16] = S_IFREG >> 12;
    stage_raw_put(s, STM_DENTRYHIST, stm_key_hist(s->dir, stm_slice_str("file"), 2), stm_slice(past, 17));
}
static void past_record(struct stage *s)
{
    stage_raw_change(s, STM_DENTRYHIST, stage_key(s, STM_DENTRYHIST, all, 1), 3, false);
}
static void strange_row(struct stage *s)
{
    stage_raw_put(s, STM_INDEX, stm_key_index('?', 1), stm_slice("", 0));
}
static void strange_object(struct stage *s)
{
    stage_raw_put(s, STM_OBJECT, stm_key_object(s->file), stm_slice("x", 1));
}
static void nowhere(struct stage *s)
{
    uint8_t entry[17] = {0};
    stm_put_u64(entry, s->file);
    entry[16] = S_IFREG >> 12;
    stage_raw_put(s, STM_DENTRY, stm_key_dentry(5000, stm_slice_str("lost")), stm_slice(entry, 17));
}
static void twice(struct stage *s)
{
    uint8_t entry[17] = {0};
    stm_put_u64(entry, s->sub);
    entry[16] = S_IFDIR >> 12;
    stage_raw_put(s, STM_DENTRY, stm_key_dentry(STM_ROOT_OBJECT, stm_slice_str("again")), stm_slice(entry, 17));
}
static void parent(struct stage *s)
{
    stage_raw_change(s, STM_OBJECT, stm_key_object(s->sub), 59, true);
}

/* dir/sub/dir: both say that the other is their parent, and the root names neither. */
static void circle(struct stage *s)
{
    struct stm_engine *e = s->w.store->engine;
    struct stm_key key = stm_key_object(s->dir);
    uint8_t entry[17] = {0};
    struct stm_buf b = STM_BUF_INIT;

    stage_raw_delete(s, STM_DENTRY, stm_key_dentry(STM_ROOT_OBJECT, stm_slice_str("dir")));
    stm_put_u64(entry, s->dir);
    entry[16] = S_IFDIR >> 12;
    stage_raw_put(s, STM_DENTRY, stm_key_dentry(s->sub, stm_slice_str("dir")), stm_slice(entry, 17));
    assert_int_equal(e->ops->get(e, STM_OBJECT, stm_key_slice(&key), &b), 0);
    stm_put_u64(b.data + STM_FRAME_HEAD + 52, s->sub);
    stm_frame_close(STM_OBJECT, stm_key_slice(&key), b.data, b.len);
    struct stm_op op = {STM_OP_PUT, STM_OBJECT, stm_key_slice(&key), stm_buf_slice(&b)};
    assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
    stm_buf_release(&b);
}

enum after { CLEAN, KNOWN, LEFT };

static const struct damage {
    const char *name, *code;
    void (*ruin)(struct stage *s);
    enum after after; /* a repair */
} damages[] = {
    {"a commit is not in the log", "log-hole", ruin_log, KNOWN},
    {"a log record is damaged", "record-damaged", ruin_log_record, KNOWN},
    {"time goes back", "log-time", ruin_log_time, LEFT},
    {"the allocator of ids is low", "ids-low", ruin_ids, CLEAN},
    {"the allocator of views is low", "views-low", ruin_views, CLEAN},
    {"an object is not there", "entry-dangling", lose_object, CLEAN},
    {"an object is damaged", "record-damaged", ruin_object, KNOWN},
    {"an entry is damaged", "record-damaged", ruin_entry, CLEAN},
    {"an entry is not there", "unreachable", lose_entry, CLEAN},
    {"a directory has lost its name", "unreachable", lose_dir_entry, CLEAN},
    {"an entry has a wrong type", "entry-type", entry_type, CLEAN},
    {"a link count is wrong", "link-count", link_count, CLEAN},
    {"an entry count is wrong", "entry-count", entry_count, CLEAN},
    {"an orphan is not indexed", "orphan-index", orphan_flag, CLEAN},
    {"the index has an orphan that is none", "orphan-index", orphan_row, CLEAN},
    {"attributes are not there", "xattr-index", xattr_flag, CLEAN},
    {"attributes are not known", "xattr-index", xattr_row, CLEAN},
    {"attributes are damaged", "record-damaged", xattr_record, KNOWN},
    {"a size is wrong", "size-wrong", file_size, CLEAN},
    {"a tip is wrong", "tip-wrong", tip, CLEAN},
    {"the newest version is not there", "head-missing", head, KNOWN},
    {"a version is damaged", "record-damaged", version_record, KNOWN},
    {"a row is not there", "version-row", row, CLEAN},
    {"a row is damaged", "record-damaged", row_record, CLEAN},
    {"a row is another's", "version-row", row_wrong, CLEAN},
    {"inline bytes are wrong", "content-damaged", inline_bytes, KNOWN},
    {"a small content is not there and is elsewhere", "content-damaged", small_lost, CLEAN},
    {"a small content is wrong and is elsewhere", "content-damaged", small_bytes, CLEAN},
    {"a small content is left over", "content-left-over", small_left, CLEAN},
    {"a chunk is damaged", "chunk-damaged", chunk, KNOWN},
    {"a chunk is not there", "chunk-missing", chunk_lost, KNOWN},
    {"a chunk has other bytes", "chunk-damaged", chunk_bytes, KNOWN},
    {"a hash is not there", "chunkhash-missing", hash_lost, CLEAN},
    {"a hash is damaged", "record-damaged", hash_record, CLEAN},
    {"a hash leads nowhere", "chunkhash-dangling", hash_wrong, CLEAN},
    {"a reference is not there", "reference-missing", ref_lost, CLEAN},
    {"a reference is damaged", "record-damaged", ref_record, CLEAN},
    {"a reference of a version is left over", "reference-dangling", ref_left, CLEAN},
    {"a reference of a page is left over", "reference-dangling", ref_page, CLEAN},
    {"a segment is not registered", "segment-unregistered", segment, CLEAN},
    {"a segment is not there", "segment-missing", segment_gone, CLEAN},
    {"a view has one row", "view-index", view, CLEAN},
    {"the rows of a view disagree", "view-index", view_wrong, CLEAN},
    {"a date is nobody's", "effective-index", effective, CLEAN},
    {"a line is another's", "line-owner", owner, CLEAN},
    {"a fork leads nowhere", "line-fork", fork_lost, LEFT},
    {"a past line overlaps", "past-line", past_line, CLEAN},
    {"past entries overlap", "past-interval", past_entry, CLEAN},
    {"a past entry is damaged", "record-damaged", past_record, CLEAN},
    {"an unknown row", "record-strange", strange_row, LEFT},
    {"an object means nothing", "record-strange", strange_object, LEFT},
    {"an entry without a directory", "entry-without-directory", nowhere, CLEAN},
    {"a directory has two names", "entry-twice", twice, CLEAN},
    {"a directory has another parent", "directory-parent", parent, CLEAN},
    {"a directory lies below itself", "directory-cycle", circle, CLEAN},
};

static void a_sound_store_is_clean(void **state)
{
    stage_expect_clean(*state);
    struct stage *s = *state;
    struct stm_fsck_result r = stage_check(s, true); /* and a repair of it changes nothing */
    assert_int_equal(r.left + r.known + r.repaired + r.quarantined, 0);
    assert_int_equal(r.passes, 1);
}

static void try_damage(const struct damage *d, bool dry)
{
    struct stm_fsck_result r;
    struct stage *s;
    void *state;

    if (getenv("STEMMA_TEST_SHOW"))
        fprintf(stderr, "---- %s\n", d->name);
    stage_new(&state);
    s = state;
    stage_expect_clean(s);
    d->ruin(s);
    r = stage_check(s, false);
    if (!stage_found(s, d->code, STM_FINDING_LEFT) || r.left == 0)
        fail_msg("%s: not found as %s", d->name, d->code);
    if (dry) {
        struct stm_fsck_options opt = {.repair = true, .dry_run = true, .finding = stage_note, .arg = s};
        s->n = 0;
        assert_int_equal(stm_fsck(s->w.store, &opt, &r), 0);
        if (!stage_found(s, d->code, d->after == LEFT ? STM_FINDING_LEFT : STM_FINDING_PLANNED))
            fail_msg("%s: a dry run does not say so", d->name);
    }
    r = stage_check(s, true);
    if ((r.left > 0) != (d->after == LEFT) || (r.known > 0) != (d->after == KNOWN))
        fail_msg("%s: after a repair %d are left, %d known, %d repaired", d->name, (int)r.left, (int)r.known, (int)r.repaired);
    r = stage_check(s, false);
    if ((r.left > 0) != (d->after == LEFT) || (r.known > 0) != (d->after == KNOWN))
        fail_msg("%s: a check after the repair finds %d, %d known", d->name, (int)r.left, (int)r.known);
    stage_free(&state);
}

static void each_kind_of_damage_is_found_and_repaired(void **state)
{
    const char *only = getenv("STEMMA_TEST_ONLY");

    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
        if (!only || strstr(damages[i].name, only))
            try_damage(&damages[i], i % 2);
}

struct patience {
    unsigned asked, gives_up; /* after so many questions; 0: never */
};

static bool be_patient(void *arg, const char *phase, uint64_t done, uint64_t total, uint64_t bytes)
{
    struct patience *p = arg;

    (void)phase, (void)done, (void)total, (void)bytes;
    return ++p->asked != p->gives_up;
}

/* However few records there are: a large content is not read to its end for nobody. */
static void a_check_can_be_stopped_anywhere(void **state)
{
    enum { MIB = 1 << 20, SIZE = 8 * MIB };
    struct stage *s = *state;
    struct patience small = {0}, large = {0};
    struct stm_fsck_options opt = {.progress = be_patient, .arg = &small};
    struct stm_fsck_result r;
    uint8_t *content = malloc(SIZE);

    assert_non_null(content);
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)(s->bytes[i % STAGE_BIG] ^ (i / STAGE_BIG));
    assert_int_equal(stm_fsck(s->w.store, &opt, &r), 0);
    assert_int_equal(world_try_save(&s->w, s->big, stm_slice(content, SIZE), 0), 0);
    free(content);
    opt.arg = &large;
    assert_int_equal(stm_fsck(s->w.store, &opt, &r), 0);
    assert_true(large.asked >= small.asked + SIZE / MIB);
    for (unsigned i = 1; i <= large.asked; i++) {
        struct patience p = {.gives_up = i};
        opt.arg = &p;
        assert_int_equal(stm_fsck(s->w.store, &opt, &r), -ECANCELED);
        assert_int_equal(p.asked, i);
    }
    stage_expect_clean(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_store_is_clean, stage_new, stage_free),
        cmocka_unit_test_setup_teardown(a_check_can_be_stopped_anywhere, stage_new, stage_free),
        cmocka_unit_test(each_kind_of_damage_is_found_and_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
