/*
 * test_health.c: what a store says of itself when its engine fails, and that each failure is answered with its own error, reading goes on, and
 * all is well again when the engine is. Full disks need a filesystem of their own: integration/cases/space.
 */
#include "support/cmocka.h"
#include "support/tmpdir.h"
#include "support/world.h"

#include "stemma/health.h"

#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const uint64_t root = STM_ROOT_OBJECT;

struct faulty {
    struct world w;
    struct stm_engine *engine;
    uint64_t file;
};

static void begin(struct faulty *f)
{
    world_open_mem(&f->w);
    assert_int_equal(stm_engine_fault_new(f->w.store->engine, &f->engine), 0);
    f->w.store->engine = f->engine;
    f->file = world_create(&f->w, root, "f");
    world_save(&f->w, f->file, "before", 0);
}

static struct stm_health health_of(const struct faulty *f)
{
    struct stm_health h;

    stm_store_health(f->w.store, &h);
    return h;
}

static void a_good_store_says_so(void **state)
{
    struct faulty f;
    struct stm_health h;

    (void)state;
    begin(&f);
    h = health_of(&f);
    assert_int_equal(h.state, STM_HEALTH_GOOD);
    assert_int_equal(h.error, 0);
    assert_false(h.reopen);
    assert_string_equal(stm_health_word(h.state), "good");
    assert_string_equal(stm_health_reason(&h), "");
    world_close(&f.w);
}

static void fails_and_recovers(int error, enum stm_health_state expected)
{
    struct stm_store_stats stats;
    struct faulty f;
    struct stm_health h;

    begin(&f);
    stm_engine_fault_arm(f.engine, 1, error, true, STM_FAULT_COMMIT | STM_FAULT_SYNC);
    assert_int_equal(world_try_save(&f.w, f.file, stm_slice_str("lost"), 0), error);
    world_expect(&f.w, f.file, "before");
    assert_int_equal(stm_store_failing(f.w.store), error);
    h = health_of(&f);
    int64_t since = h.since_ns;
    assert_int_equal(h.state, expected);
    assert_int_equal(h.error, error);
    assert_true(strlen(stm_health_reason(&h)) > 20);
    assert_int_equal(stm_store_stats(f.w.store, &stats), 0);
    assert_true(stats.degraded);
    /* since when: the first time, however often one asks */
    f.w.clock.ns += 1000000000;
    assert_int_equal(health_of(&f).since_ns, since);
    /* the engine works again: nobody has to write to find out */
    stm_engine_fault_arm(f.engine, 0, 0, false, 0);
    h = health_of(&f);
    assert_int_equal(h.state, STM_HEALTH_GOOD);
    assert_true(h.since_ns > since);
    assert_int_equal(stm_store_failing(f.w.store), 0);
    world_save(&f.w, f.file, "after", 0);
    world_expect(&f.w, f.file, "after");
    world_check(&f.w);
    world_close(&f.w);
}

static void an_engine_that_cannot_write_is_degraded(void **state)
{
    (void)state;
    fails_and_recovers(-EIO, STM_HEALTH_DEGRADED);
}

static void an_engine_on_a_full_disk_is_full(void **state)
{
    (void)state;
    fails_and_recovers(-ENOSPC, STM_HEALTH_FULL);
}

static void an_error_that_is_no_fault_of_the_disk_changes_nothing(void **state)
{
    struct faulty f;

    (void)state;
    begin(&f);
    stm_engine_fault_arm(f.engine, 1, -ENOMEM, true, STM_FAULT_COMMIT);
    assert_int_equal(world_try_save(&f.w, f.file, stm_slice_str("x"), 0), -ENOMEM);
    assert_int_equal(health_of(&f).state, STM_HEALTH_GOOD);
    stm_engine_fault_arm(f.engine, 0, 0, false, 0);
    world_close(&f.w);
}

static void a_flush_that_fails_is_noticed(void **state)
{
    struct faulty f;

    (void)state;
    begin(&f);
    stm_engine_fault_arm(f.engine, 1, -EIO, true, STM_FAULT_SYNC);
    world_save(&f.w, f.file, "committed, and not durable", 0);
    assert_int_equal(health_of(&f).state, STM_HEALTH_GOOD);
    assert_int_equal(stm_store_sync(f.w.store), -EIO);
    assert_int_equal(stm_store_failing(f.w.store), -EIO);
    stm_engine_fault_arm(f.engine, 0, 0, false, 0);
    assert_int_equal(stm_store_sync(f.w.store), 0);
    assert_int_equal(stm_store_failing(f.w.store), 0);
    world_close(&f.w);
}

/* Room, as far as a disk with plenty of it can show. */
static void the_watch_takes_what_the_disk_has(void **state)
{
    const char *dir = stm_tmpdir();
    struct stm_room r;
    struct statvfs s;

    (void)state;
    assert_int_equal(stm_room_init(&r, dir), 0);
    assert_int_equal(statvfs(dir, &s), 0);
    uint64_t avail = (uint64_t)s.f_bavail * s.f_frsize;
    if (avail < 3 * (uint64_t)r.unit) {
        stm_room_release(&r);
        skip();
    }
    assert_false(stm_room_look(&r));
    assert_int_equal(r.held, r.wanted);
    assert_int_equal(access(stm_tmpdir_path(dir, "reserve"), F_OK), 0);
    assert_int_equal(stm_room_ask(&r, STM_WANT_GROW, 4096), 0);
    assert_int_equal(stm_room_ask(&r, STM_WANT_GROW, UINT64_C(1) << 62), -ENOSPC); /* control: more than any disk has */
    /* An engine that met a full disk gets the reserve at once; growth ends, removals go on. */
    stm_room_failed(&r);
    assert_int_equal(r.held, 0);
    assert_int_equal(stm_room_ask(&r, STM_WANT_GROW, 1), -ENOSPC);
    assert_int_equal(stm_room_ask(&r, STM_WANT_PRESS, 1), 0);
    /* There is room, so the next look ends it, and makes the reserve again. */
    assert_false(stm_room_look(&r));
    assert_int_equal(r.held, r.wanted);
    assert_int_equal(stm_room_ask(&r, STM_WANT_GROW, 4096), 0);
    stm_room_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_store_says_so),
        cmocka_unit_test(an_engine_that_cannot_write_is_degraded),
        cmocka_unit_test(an_engine_on_a_full_disk_is_full),
        cmocka_unit_test(an_error_that_is_no_fault_of_the_disk_changes_nothing),
        cmocka_unit_test(a_flush_that_fails_is_noticed),
        cmocka_unit_test(the_watch_takes_what_the_disk_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
