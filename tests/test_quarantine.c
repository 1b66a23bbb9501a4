/*
 * Damage that is known: what is in quarantine is answered by an error and never by other bytes, is no target of deduplication, is healed by
 * saving the same bytes again, and is met once by scrubbing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "list.h"
#include "quarantine.h"
#include "support/cmocka.h"
#include "support/stage.h"

static const struct stm_slice all = {"", 0};

enum { MARGIN = 4096 };

static int64_t read_head(struct stage *s, uint64_t object, uint8_t *buf, size_t len)
{
    struct stm_object o = world_object(&s->w, object);
    struct stm_version v;

    int err = stm_version_at(&s->w.head, &o, &v);
    if (err < 0)
        return err;
    int64_t n = stm_content_read(s->w.store, &v, 0, buf, len);
    stm_version_release(&v);
    return n;
}

/* Damage shows where bytes are read from the engine, not where they are remembered. */
static void forget(struct stage *s)
{
    stm_cache_free(s->w.store->cache);
    assert_int_equal(stm_cache_new(1 << 20, &s->w.store->cache), 0);
}

static void expect_big(struct stage *s, size_t len)
{
    uint8_t *buf = malloc(STAGE_BIG + MARGIN);

    assert_int_equal(read_head(s, s->big, buf, STAGE_BIG + MARGIN), len);
    assert_memory_equal(buf, s->bytes, len);
    free(buf);
}

static void expect_big_fails(struct stage *s)
{
    uint8_t *buf = malloc(STAGE_BIG);

    forget(s);
    assert_int_equal(read_head(s, s->big, buf, STAGE_BIG), STM_E_CORRUPT);
    free(buf);
}

static void damaged_chunks_are_no_target_and_heal_when_saved_again(void **state)
{
    struct stage *s = *state;

    stage_raw_change(s, STM_CHUNK, stage_key(s, STM_CHUNK, all, 2), 40, false);
    expect_big_fails(s);
    struct stm_fsck_result r = stage_check(s, true);
    assert_int_equal(r.left, 0);
    assert_true(r.known > 0);
    assert_true(stage_found(s, "chunk-damaged", STM_FINDING_QUARANTINED) && stage_found(s, "content-damaged", STM_FINDING_KNOWN));
    expect_big_fails(s);

    /* The same bytes once more, as another file: stored anew, and then the old place is healed. */
    uint64_t copy = world_create(&s->w, s->dir, "copy");
    assert_int_equal(world_try_save(&s->w, copy, stm_slice(s->bytes, STAGE_BIG), 0), 0);
    uint8_t *buf = malloc(STAGE_BIG);
    assert_int_equal(read_head(s, copy, buf, STAGE_BIG), STAGE_BIG);
    assert_memory_equal(buf, s->bytes, STAGE_BIG);
    free(buf);
    r = stage_check(s, true);
    assert_int_equal(r.left + r.known, 0);
    assert_true(r.repaired > 0);
    stage_expect_clean(s);
    expect_big(s, STAGE_BIG - 1000);
}

/* Control: without a copy there is nothing to heal from. */
static void without_a_copy_nothing_is_healed(void **state)
{
    struct stage *s = *state;

    stage_raw_delete(s, STM_CHUNK, stage_key(s, STM_CHUNK, all, 2));
    (void)stage_check(s, true);
    uint64_t other = world_create(&s->w, s->dir, "other bytes");
    for (size_t i = 0; i < STAGE_BIG; i++)
        s->bytes[i] ^= 0x55;
    assert_int_equal(world_try_save(&s->w, other, stm_slice(s->bytes, STAGE_BIG), 0), 0);
    struct stm_fsck_result r = stage_check(s, true);
    assert_true(r.known > 0 && r.repaired == 0);
    expect_big_fails(s);
}

static void saving_the_same_bytes_over_a_damaged_version_makes_a_good_one(void **state)
{
    struct stage *s = *state;
    uint8_t buf[9000 + MARGIN];
    struct stm_key key = stage_version(s, s->linked), row = stm_key_row(s->linked, 0);
    struct stm_version_row first;

    stage_raw_change(s, STM_CONTENT, key, 77, false);
    assert_int_equal(stm_version_row(&s->w.head, s->linked, 0, &first), 0);
    stage_raw_change(s, STM_CONTENT, stm_key_version(s->linked, first.seq), 78, false); /* its twin as well */
    assert_true(row.len > 0);
    assert_int_equal(read_head(s, s->linked, buf, sizeof buf), STM_E_CORRUPT);
    assert_true(stage_check(s, true).known > 0);
    assert_int_equal(world_try_save(&s->w, s->linked, stm_slice(s->bytes, 9000), 0), 0);
    assert_int_equal(read_head(s, s->linked, buf, sizeof buf), 9000);
    assert_memory_equal(buf, s->bytes, 9000);
    struct stm_fsck_result r = stage_check(s, true);
    assert_int_equal(r.left + r.known, 0);
    stage_expect_clean(s);
}

/* A content whose parts are sound and whose hash is not is not read: nobody knows what it is. */
static void a_content_with_a_wrong_hash_is_not_answered(void **state)
{
    struct stage *s = *state;
    struct stm_key key = stage_version(s, s->big), row = stm_key_row(s->big, 1);
    uint8_t buf[MARGIN];

    stage_raw_change(s, STM_VERSION, key, 24 + 3, true);
    stage_raw_change(s, STM_INDEX, row, 36 + 3, true);
    assert_int_equal(read_head(s, s->big, buf, sizeof buf), MARGIN); /* the control: without a check nobody notices */
    struct stm_fsck_result r = stage_check(s, true);
    assert_true(stage_found(s, "content-damaged", STM_FINDING_QUARANTINED) && r.known > 0);
    assert_int_equal(read_head(s, s->big, buf, sizeof buf), STM_E_CORRUPT);
    assert_true(atomic_load(&s->w.store->quarantined) > 0);
}

/* ---- scrub ------------------------------------------------------------------------------------------------------------------- */

static void pass(struct stage *s, struct stm_scrub *scrub, size_t step)
{
    uint64_t before = scrub->passes;
    int64_t n = 1;

    for (int i = 0; scrub->passes == before; i++) {
        assert_true(i < 100000);
        n = stm_scrub_step(s->w.store, scrub, step, stage_note, s);
        assert_true(n >= 0);
    }
    assert_int_equal(n, 0);
}

static void scrubbing_meets_damage_once_and_goes_on_where_it_was(void **state)
{
    struct stage *s = *state;
    struct stm_scrub scrub = {.passes = 0};

    pass(s, &scrub, 1 << 20);
    assert_int_equal(s->n, 0);
    assert_true(scrub.passes == 1 && scrub.completed_ns > 0);
    pass(s, &scrub, 100); /* in small steps, each of which begins anew where the last one was */
    assert_int_equal(s->n, 0);

    stage_raw_change(s, STM_CHUNK, stage_key(s, STM_CHUNK, all, 2), 40, true);
    stage_raw_change(s, STM_DENTRY, stm_key_dentry(s->dir, stm_slice_str("file")), 5, false);
    pass(s, &scrub, 5000);
    assert_int_equal(s->n, 2);
    assert_int_equal(scrub.last_findings, 2);
    pass(s, &scrub, 1 << 20); /* they are known now */
    assert_int_equal(s->n, 2);
    assert_int_equal(scrub.last_findings, 2);
    stm_scrub_release(&scrub);
}

static void scrubbing_goes_on_after_a_restart(void **state)
{
    struct stage *s = *state;
    struct stm_scrub first = {.passes = 0}, second = {.passes = 0};

    pass(s, &first, 1 << 20);
    for (int i = 0; i < 20; i++)
        assert_true(stm_scrub_step(s->w.store, &first, 500, NULL, NULL) > 0);
    assert_int_equal(stm_scrub_save(s->w.store, &first), 0);
    assert_true(stm_scrub_step(s->w.store, &second, 500, NULL, NULL) > 0);
    assert_int_equal(second.passes, 1);
    assert_true(second.bytes > first.bytes && second.bytes < first.bytes + 100000 && second.space >= first.space);
    stm_scrub_release(&first);
    stm_scrub_release(&second);
    stage_expect_clean(s);
}

static void scrubbing_heals_what_was_saved_again(void **state)
{
    struct stage *s = *state;
    struct stm_scrub scrub = {.passes = 0};

    stage_raw_change(s, STM_CHUNK, stage_key(s, STM_CHUNK, all, 2), 40, false);
    pass(s, &scrub, 1 << 20);
    assert_int_equal(s->n, 1);
    assert_int_equal(scrub.healed, 0);
    expect_big_fails(s);
    uint64_t copy = world_create(&s->w, s->dir, "copy");
    assert_int_equal(world_try_save(&s->w, copy, stm_slice(s->bytes, STAGE_BIG), 0), 0);
    pass(s, &scrub, 1 << 20);
    assert_int_equal(scrub.healed, 1);
    expect_big(s, STAGE_BIG - 1000);
    stage_expect_clean(s);
    stm_scrub_release(&scrub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damaged_chunks_are_no_target_and_heal_when_saved_again, stage_new, stage_free),
        cmocka_unit_test_setup_teardown(without_a_copy_nothing_is_healed, stage_new, stage_free),
        cmocka_unit_test_setup_teardown(saving_the_same_bytes_over_a_damaged_version_makes_a_good_one, stage_new, stage_free),
        cmocka_unit_test_setup_teardown(a_content_with_a_wrong_hash_is_not_answered, stage_new, stage_free),
        cmocka_unit_test_setup_teardown(scrubbing_meets_damage_once_and_goes_on_where_it_was, stage_new, stage_free),
        cmocka_unit_test_setup_teardown(scrubbing_goes_on_after_a_restart, stage_new, stage_free),
        cmocka_unit_test_setup_teardown(scrubbing_heals_what_was_saved_again, stage_new, stage_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
