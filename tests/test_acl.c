/* Tests of acl.h: what ACLs and modes say to each other, and what is no ACL, without a mount. */
#define FUSE_USE_VERSION 314 /* acl.h shows types of libfuse */

#include <linux/posix_acl.h>
#include <sys/stat.h>

#include "acl.h"
#include "support/cmocka.h"

enum { ANYBODY = -1 };

static void put(struct stm_buf *b, unsigned tag, unsigned perm, int id)
{
    uint8_t e[8] = {(uint8_t)tag, 0, (uint8_t)perm, 0, (uint8_t)id, (uint8_t)(id >> 8), (uint8_t)(id >> 16), (uint8_t)(id >> 24)};

    assert_int_equal(stm_buf_append(b, e, sizeof e), 0);
}

static void begin(struct stm_buf *b)
{
    stm_buf_clear(b);
    assert_int_equal(stm_buf_append(b, "\2\0\0\0", 4), 0);
}

/* user::rwx user:7:rwx group::r-x mask::MASK other::r-- */
static void named(struct stm_buf *b, unsigned mask)
{
    begin(b);
    put(b, ACL_USER_OBJ, 7, ANYBODY);
    put(b, ACL_USER, 7, 7);
    put(b, ACL_GROUP_OBJ, 5, ANYBODY);
    put(b, ACL_MASK, mask, ANYBODY);
    put(b, ACL_OTHER, 4, ANYBODY);
}

static void plain(struct stm_buf *b)
{
    begin(b);
    put(b, ACL_USER_OBJ, 6, ANYBODY);
    put(b, ACL_GROUP_OBJ, 4, ANYBODY);
    put(b, ACL_OTHER, 0, ANYBODY);
}

static unsigned perm_of(const struct stm_buf *b, size_t entry)
{
    return b->data[4 + 8 * entry + 2];
}

static void the_group_class_is_the_mask_if_there_is_one(void **state)
{
    struct stm_buf b = STM_BUF_INIT;
    uint32_t mode = S_IFREG | 04000;

    (void)state;
    named(&b, 3);
    assert_int_equal(stm_acl_to_mode(&b, &mode), 0);
    assert_int_equal(mode, S_IFREG | 04734);
    plain(&b);
    assert_int_equal(stm_acl_to_mode(&b, &mode), 1); /* nothing that the mode does not say */
    assert_int_equal(mode, S_IFREG | 04640);
    stm_buf_release(&b);
}

static void chmod_sets_owner_mask_and_others_only(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    named(&b, 7);
    assert_int_equal(stm_acl_chmod(&b, 04621), 0);
    const unsigned want[] = {6, 7, 5, 2, 1};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(perm_of(&b, i), want[i]);
    plain(&b);
    assert_int_equal(stm_acl_chmod(&b, 0357), 0);
    const unsigned flat[] = {3, 5, 7};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(perm_of(&b, i), flat[i]);
    stm_buf_release(&b);
}

static void creating_cuts_both_to_what_both_allow(void **state)
{
    struct stm_buf b = STM_BUF_INIT;
    uint32_t mode = S_IFREG | 0666;

    (void)state;
    named(&b, 7);
    assert_int_equal(stm_acl_create(&b, &mode), 0);
    assert_int_equal(mode, S_IFREG | 0664);
    const unsigned want[] = {6, 7, 5, 6, 4};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(perm_of(&b, i), want[i]);
    plain(&b);
    mode = S_IFDIR | 02777;
    assert_int_equal(stm_acl_create(&b, &mode), 1);
    assert_int_equal(mode, S_IFDIR | 02640);
    stm_buf_release(&b);
}

static void reading_becomes_searching(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    named(&b, 4);
    assert_int_equal(stm_acl_read_is_search(&b), 0);
    assert_int_equal(perm_of(&b, 3), 5);
    assert_int_equal(perm_of(&b, 4), 5);
    stm_buf_release(&b);
}

/* Each must be refused by every function, and leave the mode alone. */
static void refused(struct stm_buf *b)
{
    uint32_t mode = 0123;

    assert_int_equal(stm_acl_to_mode(b, &mode), -EINVAL);
    assert_int_equal(stm_acl_create(b, &mode), -EINVAL);
    assert_int_equal(stm_acl_chmod(b, 0777), -EINVAL);
    assert_int_equal(stm_acl_read_is_search(b), -EINVAL);
    assert_int_equal(mode, 0123);
}

static void what_is_no_acl_is_refused(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    refused(&b);
    begin(&b);
    refused(&b); /* no entries */
    named(&b, 7);
    b.data[0] = 1;
    refused(&b); /* another version */
    named(&b, 7);
    b.len--;
    refused(&b); /* cut short */
    named(&b, 8);
    refused(&b); /* no such permission */
    plain(&b);
    put(&b, ACL_OTHER, 1, ANYBODY);
    refused(&b); /* twice */
    plain(&b);
    put(&b, ACL_GROUP, 1, 5);
    refused(&b); /* a name, and no mask */
    plain(&b);
    put(&b, 64, 1, 5);
    refused(&b); /* no such kind of entry */
    begin(&b);
    put(&b, ACL_USER_OBJ, 7, ANYBODY);
    put(&b, ACL_OTHER, 7, ANYBODY);
    refused(&b); /* no group */
    stm_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_group_class_is_the_mask_if_there_is_one),
        cmocka_unit_test(chmod_sets_owner_mask_and_others_only),
        cmocka_unit_test(creating_cuts_both_to_what_both_allow),
        cmocka_unit_test(reading_becomes_searching),
        cmocka_unit_test(what_is_no_acl_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
