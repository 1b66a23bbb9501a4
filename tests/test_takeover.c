/*
 * test_takeover.c: a daemon ends at a moment of the test's choice, the next one goes on, without a mount: the first is another process (of this
 * program: the engine's threads do not survive a fork) that opens the store, works, and leaves by _exit; the second is the test itself. Both
 * share the memory of handover.h.
 */
#define FUSE_USE_VERSION 314 /* file.h shows types of libfuse */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "stemma_fs/handover.h"
#include "support/tmpdir.h"
#include "tag.h"

#define RESENT STM_UNIQUE_RESENT
enum { LARGE = 3 << 20, OPENED = 100 };

/* What the child tells the test. */
struct told {
    uint64_t object, fh[2];
};

struct world {
    const char *path;
    struct stm_handover *handover;
    struct told *told; /* in the memory of the handover that nobody uses here */
    struct stm_store *store;
    struct stm_fs *fs;
    bool forgetful;
};

static void begin(struct world *w, bool first)
{
    struct stm_store_options opt = {.path = w->path, .create = first, .takeover = !first};
    struct stm_fs_options fs = {.fsname = "test", .handover = w->handover, .forgetful = w->forgetful};

    assert_int_equal(stm_store_open(&opt, &w->store, NULL), 0);
    assert_int_equal(stm_fs_new(w->store, &fs, &w->fs), 0);
}

/* Runs the first daemon to its end: what it does, by name (see main). */
static void first(struct world *w, const char *work)
{
    char number[16];
    int fd, status;

    w->path = stm_tmpdir_path(stm_tmpdir(), "store");
    assert_int_equal(stm_handover_new(&fd, &w->handover), 0);
    w->told = (struct told *)(void *)w->handover->binary;
    pid_t pid = fork();
    if (pid == 0) {
        int inherited = dup(fd);
        snprintf(number, sizeof number, "%d", inherited);
        execl("/proc/self/exe", "first", work, w->path, number, NULL);
        _exit(127);
    }
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void end(struct world *w)
{
    w->fs->served = true;
    assert_int_equal(stm_fs_free(w->fs), 0);
    assert_int_equal(stm_store_close(w->store), 0);
    stm_handover_unmap(w->handover);
}

struct make {
    struct stm_act act;
    const char *name;
};

static int build_create(struct stm_txn *txn, void *arg)
{
    struct make *m = arg;

    return stm_tree_create(txn, STM_ROOT_OBJECT, stm_slice_str(m->name), &(struct stm_new){.mode = S_IFREG | 0644}, &m->act.object);
}

static int create(struct world *w, struct make *m, const char *name, uint64_t unique)
{
    *m = (struct make){.act = {.who = {.unique = unique}, .step = STM_STEP_MAIN}, .name = name};
    return stm_act_commit(w->fs, &m->act, build_create, m);
}

/* ---- requests ---- */

static void makes_a_file(struct world *w)
{
    struct make m;

    assert_int_equal(create(w, &m, "word", 10), 0);
    w->told->object = m.act.object.id;
}

static void a_request_that_is_asked_again_has_one_effect(void **state)
{
    struct world w = {.path = NULL};
    struct make m;
    (void)state;

    first(&w, "makes_a_file");
    begin(&w, false);
    uint64_t seq = stm_store_seq(w.store);
    assert_int_equal(create(&w, &m, "word", 10 | RESENT), 0);
    assert_true(m.act.again);
    assert_true(m.act.object.id == w.told->object);
    assert_true(stm_store_seq(w.store) == seq);
    /* Another request, and the same number not asked again, run; so does one that was never carried out. */
    assert_int_equal(create(&w, &m, "word", 12 | RESENT), -EEXIST);
    assert_int_equal(create(&w, &m, "word", 10), -EEXIST);
    assert_int_equal(create(&w, &m, "other", 14 | RESENT), 0);
    assert_false(m.act.again);
    end(&w);
}

static void control_without_the_log_it_runs_twice(void **state)
{
    struct world w = {.forgetful = true};
    struct make m;
    (void)state;

    first(&w, "makes_a_file");
    begin(&w, false);
    assert_int_equal(create(&w, &m, "word", 10 | RESENT), -EEXIST);
    end(&w);
}

static void a_request_of_another_mount_is_another_request(void **state)
{
    struct world w = {.path = NULL};
    struct make m;
    (void)state;

    first(&w, "makes_a_file");
    w.handover->generation++;
    begin(&w, false);
    assert_int_equal(create(&w, &m, "word", 10 | RESENT), -EEXIST);
    end(&w);
}

/* ---- drafts ---- */

/* A file that is open for writing; locked. */
static struct stm_file *open_file(struct world *w)
{
    struct make m;

    assert_int_equal(create(w, &m, "word", 10), 0);
    w->told->object = m.act.object.id;
    struct stm_file *f = stm_file_pin(w->fs, m.act.object.id, STM_PIN_MAKE);
    stm_file_lock(f);
    assert_int_equal(stm_slot_take(w->fs, f), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stm_handle_new(w->fs, m.act.object.id, OPENED + (uint64_t)i, &w->told->fh[i]), 0);
        stm_file_opened(w->fs, f, true);
    }
    f->draft.born = true;
    return f;
}

static void write_as(struct world *w, struct stm_file *f, uint64_t unique, const char *text)
{
    f->draft.asker = unique;
    assert_int_equal(stm_draft_write(w->fs, f, 0, text, strlen(text)), 0);
}

static void writes_once(struct world *w)
{
    struct stm_file *f = open_file(w);

    write_as(w, f, 20, "draft");
    stm_file_unlock(f);
}

static void writes_twice(struct world *w)
{
    struct stm_file *f = open_file(w);

    write_as(w, f, 20, "draft");
    write_as(w, f, 22, "draft and more");
    stm_file_unlock(f);
}

static int use(struct world *w, int handle, uint64_t unique)
{
    return stm_handle_use(w->fs, w->told->fh[handle], w->told->object, unique);
}

static void a_small_draft_is_lost_for_all_its_handles(void **state)
{
    struct world w = {.path = NULL};
    uint64_t fresh;
    (void)state;

    first(&w, "writes_twice");
    for (int i = 0; i < 2; i++) { /* a start that does not come to serve changes nothing */
        begin(&w, false);
        struct stm_file *f = stm_file_pin(w.fs, w.told->object, STM_PIN_FIND);
        assert_non_null(f);
        assert_int_equal(stm_file_writers(w.fs, f), 2);
        assert_true(atomic_load(&f->slot->untold));
        assert_int_equal(use(&w, 0, 24), -EIO);
        assert_int_equal(use(&w, 1, 24), -EIO);
        assert_int_equal(use(&w, 0, 22 | RESENT), -EIO); /* it had written only a part of what was lost */
        assert_int_equal(stm_handle_new(w.fs, w.told->object, 26, &fresh), 0);
        assert_int_equal(stm_handle_use(w.fs, fresh, w.told->object, 28), 0);
        stm_handle_drop(w.fs, fresh);
        assert_int_equal(stm_handle_use(w.fs, fresh, w.told->object, 28), -EIO);
        stm_file_unpin(w.fs, f);
        if (i == 0) {
            assert_int_equal(stm_fs_free(w.fs), 0);
            assert_int_equal(stm_store_close(w.store), 0);
        }
    }
    end(&w);
}

static void what_is_asked_again_may_be_all_that_was_lost(void **state)
{
    struct world w = {.path = NULL};
    (void)state;

    first(&w, "writes_once");
    begin(&w, false);
    assert_int_equal(use(&w, 0, 20), -EIO);
    assert_int_equal(use(&w, 1, 30 | RESENT), -EIO);
    assert_int_equal(use(&w, 0, 20 | RESENT), 0);
    assert_int_equal(use(&w, 1, 32), 0); /* nothing is lost any more */
    end(&w);
}

static void commits_and_dies_before_it_says_so(struct world *w)
{
    struct stm_file *f = open_file(w);

    write_as(w, f, 20, "draft");
    stm_file_unlock(f);
    stm_file_lock(f);
    assert_int_equal(stm_draft_commit(w->fs, f, &(struct stm_draft_commit){.unique = 22}), 0);
}

static void the_log_tells_that_a_dirty_draft_was_committed(void **state)
{
    struct world w = {.path = NULL};
    (void)state;

    first(&w, "commits_and_dies_before_it_says_so");
    begin(&w, false);
    assert_int_equal(use(&w, 0, 22 | RESENT), 0);
    assert_int_equal(use(&w, 1, 24), 0);
    assert_true(stm_done_before(w.fs, 22 | RESENT, STM_STEP_DRAFT, NULL));
    end(&w);
}

static void flushes(struct world *w)
{
    struct stm_file *f = open_file(w);

    write_as(w, f, 20, "draft");
    assert_int_equal(stm_draft_commit(w->fs, f, &(struct stm_draft_commit){.unique = 22}), 0);
    stm_file_unlock(f);
}

static void a_pending_version_goes_on(void **state)
{
    struct world w = {.path = NULL};
    struct stm_object o;
    (void)state;

    first(&w, "flushes");
    begin(&w, false);
    struct stm_file *f = stm_file_pin(w.fs, w.told->object, STM_PIN_FIND);
    stm_file_lock(f);
    assert_true(f->draft.pending);
    assert_false(f->draft.born);
    write_as(&w, f, 24, "and on");
    assert_int_equal(stm_draft_commit(w.fs, f, &(struct stm_draft_commit){.unique = 26}), 0);
    stm_file_unlock(f);
    stm_file_unpin(w.fs, f);
    struct stm_view v = stm_view_head(w.store);
    assert_int_equal(stm_object_get(&v, w.told->object, &o), 0);
    assert_int_equal(o.tip.ordinal, 0);
    end(&w);
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
}

static void writes_much(struct world *w)
{
    struct stm_file *f = open_file(w);
    uint8_t *bytes = malloc(LARGE);

    fill(bytes, LARGE, 1);
    f->draft.asker = 20;
    assert_int_equal(stm_draft_write(w->fs, f, 0, bytes, LARGE), 0);
    assert_int_equal(stm_draft_commit(w->fs, f, &(struct stm_draft_commit){.unique = 22, .final = true}), 0);
    stm_draft_forget(f);
    f->draft.pending = false;
    assert_int_equal(stm_draft_write(w->fs, f, 1000, "over", 4), 0);
    stm_file_unlock(f);
}

static void a_large_draft_goes_on_over_its_base(void **state)
{
    struct world w = {.path = NULL};
    uint8_t *want = malloc(LARGE), *got = malloc(LARGE);
    (void)state;

    first(&w, "writes_much");
    begin(&w, false);
    fill(want, LARGE, 1);
    memcpy(want + 1000, "over", 4);
    struct stm_file *f = stm_file_pin(w.fs, w.told->object, STM_PIN_FIND);
    stm_file_lock(f);
    assert_int_equal(use(&w, 0, 24), 0);
    assert_true(f->draft.loaded && f->draft.dirty && f->draft.has_base);
    assert_true(stm_stage_read(&f->draft.data, 0, got, LARGE) == LARGE);
    assert_memory_equal(got, want, LARGE);
    stm_file_unlock(f);
    stm_file_unpin(w.fs, f);
    end(&w);
    free(want);
    free(got);
}

static void hands_over(struct world *w)
{
    struct stm_file *f = open_file(w);

    write_as(w, f, 20, "draft");
    write_as(w, f, 22, "draft and more");
    stm_file_unlock(f);
    stm_file_unpin(w->fs, f);
    w->fs->handing_over = true;
    assert_int_equal(stm_fs_free(w->fs), 0);
    assert_int_equal(stm_store_close(w->store), 0);
}

static void a_planned_hand_over_loses_nothing(void **state)
{
    struct world w = {.path = NULL};
    char got[32] = "";
    (void)state;

    first(&w, "hands_over");
    begin(&w, false);
    assert_int_equal(use(&w, 0, 24), 0);
    struct stm_file *f = stm_file_pin(w.fs, w.told->object, STM_PIN_FIND);
    stm_file_lock(f);
    assert_true(stm_stage_read(&f->draft.data, 0, got, sizeof got) == 14);
    assert_string_equal(got, "draft and more");
    stm_file_unlock(f);
    stm_file_unpin(w.fs, f);
    end(&w);
}

static void a_tag_reads_as_it_was_written(void **state)
{
    struct stm_tag t = {0x0123456789abcdef, 0x7edcba9876543210, STM_STEP_DRAFT, 77, 88}, got;
    uint8_t bytes[STM_TAG_MAX];
    size_t len = stm_tag_encode(&t, bytes);
    (void)state;

    assert_true(stm_tag_decode(bytes, len, &got));
    assert_true(got.mount == t.mount && got.unique == t.unique && got.step == t.step && got.draft == 77 && got.period == 88);
    assert_false(stm_tag_decode(bytes, len - 1, &got));
    bytes[16] = STM_STEP_MAIN;
    assert_false(stm_tag_decode(bytes, len, &got));
}

static int be_first(const char *work, const char *path, int fd)
{
    static const struct {
        const char *name;
        void (*work)(struct world *w);
    } works[] = {{"makes_a_file", makes_a_file}, {"writes_once", writes_once},
                 {"writes_twice", writes_twice}, {"commits_and_dies_before_it_says_so", commits_and_dies_before_it_says_so},
                 {"flushes", flushes},           {"writes_much", writes_much},
                 {"hands_over", hands_over}};
    struct world w = {.path = path};

    if (stm_handover_map(fd, &w.handover) < 0)
        return 2;
    w.told = (struct told *)(void *)w.handover->binary;
    begin(&w, true);
    atomic_store(&w.handover->reply_len, 1); /* it has agreed with the kernel: whoever comes takes over */
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        if (strcmp(work, works[i].name) == 0) {
            works[i].work(&w);
            _exit(0);
        }
    }
    return 3;
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return be_first(argv[1], argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_reads_as_it_was_written),
        cmocka_unit_test(a_request_that_is_asked_again_has_one_effect),
        cmocka_unit_test(control_without_the_log_it_runs_twice),
        cmocka_unit_test(a_request_of_another_mount_is_another_request),
        cmocka_unit_test(a_small_draft_is_lost_for_all_its_handles),
        cmocka_unit_test(what_is_asked_again_may_be_all_that_was_lost),
        cmocka_unit_test(the_log_tells_that_a_dirty_draft_was_committed),
        cmocka_unit_test(a_pending_version_goes_on),
        cmocka_unit_test(a_large_draft_goes_on_over_its_base),
        cmocka_unit_test(a_planned_hand_over_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
