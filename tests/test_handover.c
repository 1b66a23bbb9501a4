/* test_handover.c: the memory that daemons of one mount share: its layout's guard, and who is suspected of having crashed a daemon. */
#include <errno.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "stemma_fs/handover.h"

static void test_another_process_sees_the_same(void **state)
{
    struct stm_handover *h, *again;
    int fd;
    (void)state;

    assert_int_equal(stm_handover_new(&fd, &h), 0);
    assert_int_not_equal(h->generation, 0);
    assert_false(stm_handover_begun(h));
    assert_int_equal(stm_handover_map(fd, &again), 0);
    atomic_store(&again->daemons, 7);
    assert_int_equal(atomic_load(&h->daemons), 7);
    stm_handover_unmap(again);
    h->version++;
    assert_int_equal(stm_handover_map(fd, &again), -EPROTO);
    h->version--;
    h->magic[0] ^= 1;
    assert_int_equal(stm_handover_map(fd, &again), -EPROTO);
    stm_handover_unmap(h);
    close(fd);
    assert_int_equal(stm_handover_map(STDIN_FILENO, &again) < 0, 1);
    fd = memfd_create("short", MFD_CLOEXEC);
    assert_int_equal(stm_handover_map(fd, &again), -EPROTO);
    close(fd);
}

static void test_the_kernel_must_offer_to_ask_again(void **state)
{
    struct fuse_init_in init = {.flags = FUSE_INIT_EXT, .flags2 = 1 << 7};
    struct stm_handover *h;
    int fd;
    (void)state;

    assert_int_equal(stm_handover_new(&fd, &h), 0);
    assert_false(stm_handover_possible(h));
    memcpy(h->init + sizeof(struct fuse_in_header), &init, sizeof init);
    assert_false(stm_handover_possible(h)); /* not there yet */
    atomic_store(&h->init_len, sizeof(struct fuse_in_header) + sizeof init);
    assert_true(stm_handover_possible(h));
    init.flags2 = 0;
    memcpy(h->init + sizeof(struct fuse_in_header), &init, sizeof init);
    assert_false(stm_handover_possible(h));
    init = (struct fuse_init_in){.flags2 = 1 << 7}; /* without INIT_EXT those bits mean nothing */
    memcpy(h->init + sizeof(struct fuse_in_header), &init, sizeof init);
    assert_false(stm_handover_possible(h));
    stm_handover_unmap(h);
    close(fd);
}

static void test_only_what_crashes_again_is_fatal(void **state)
{
    struct stm_handover *h;
    int fd;
    (void)state;

    assert_int_equal(stm_handover_new(&fd, &h), 0);
    stm_handover_enter(h, 0, 100, FUSE_LOOKUP, 1);
    stm_handover_enter(h, 1, 102, FUSE_READ, 2);
    stm_handover_enter(h, 2, 104, FUSE_READ, 2);
    stm_handover_leave(h, 2);
    assert_int_equal(stm_handover_blame(h, true), 2);
    assert_int_equal(stm_handover_blame(h, true), 0); /* they count once a death */
    assert_int_equal(stm_handover_suspicion(h, 100 | STM_UNIQUE_RESENT), 1);
    assert_int_equal(stm_handover_suspicion(h, 104), 0);
    stm_handover_acquit(h, 102 | STM_UNIQUE_RESENT);
    assert_int_equal(stm_handover_suspicion(h, 102), 0);
    stm_handover_enter(h, 5, 100 | STM_UNIQUE_RESENT, FUSE_LOOKUP, 1);
    assert_int_equal(stm_handover_blame(h, false), 1); /* it was killed from outside: nobody's fault */
    assert_int_equal(stm_handover_suspicion(h, 100), 1);
    for (int i = 1; i < STM_HANDOVER_FATAL; i++) {
        assert_true(stm_handover_suspicion(h, 100) < STM_HANDOVER_FATAL);
        stm_handover_enter(h, 5, 100 | STM_UNIQUE_RESENT, FUSE_LOOKUP, 1);
        (void)stm_handover_blame(h, true);
    }
    assert_int_equal(stm_handover_suspicion(h, 100 | STM_UNIQUE_RESENT), STM_HANDOVER_FATAL);
    stm_handover_unmap(h);
    close(fd);
}

/* More suspects than there is room for: the one that crashed most is not the one that is forgotten. */
static void test_the_worst_suspect_is_kept(void **state)
{
    struct stm_handover *h;
    int fd;
    (void)state;

    assert_int_equal(stm_handover_new(&fd, &h), 0);
    for (int i = 0; i < 2; i++) {
        stm_handover_enter(h, 0, 2, FUSE_LOOKUP, 1);
        (void)stm_handover_blame(h, true);
    }
    for (uint64_t unique = 4; unique < 4 + UINT64_C(4) * STM_HANDOVER_SUSPECTS; unique += 2) {
        stm_handover_enter(h, 0, unique, FUSE_LOOKUP, 1);
        (void)stm_handover_blame(h, true);
        assert_int_equal(stm_handover_suspicion(h, unique), 1);
    }
    assert_int_equal(stm_handover_suspicion(h, 2), 2);
    assert_int_equal(stm_handover_suspicion(h, 4), 0); /* the control: there was not room for all */
    stm_handover_unmap(h);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_process_sees_the_same),
        cmocka_unit_test(test_the_kernel_must_offer_to_ask_again),
        cmocka_unit_test(test_only_what_crashes_again_is_fatal),
        cmocka_unit_test(test_the_worst_suspect_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
