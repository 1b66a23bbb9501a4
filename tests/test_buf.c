/*
 * test_buf.c: the growable buffer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "stemma/buf.h"

static void assert_content(const struct stm_buf *b, const char *text)
{
    assert_int_equal(b->len, strlen(text));
    assert_true(b->len <= b->cap);
    if (b->len > 0)
        assert_memory_equal(b->data, text, b->len);
}

static void a_zeroed_struct_is_an_empty_buffer(void **state)
{
    struct stm_buf zeroed, b = STM_BUF_INIT;

    (void)state;
    memset(&zeroed, 0, sizeof zeroed);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
    assert_int_equal(stm_buf_append(&zeroed, "abc", 3), 0);
    assert_content(&zeroed, "abc");
    stm_buf_release(&zeroed);
}

static void release_empties_and_the_buffer_can_be_used_again(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    stm_buf_release(&b); /* nothing to free is fine */
    assert_int_equal(stm_buf_append(&b, "abc", 3), 0);
    stm_buf_release(&b);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, 0);
    assert_int_equal(stm_buf_append(&b, "de", 2), 0);
    assert_content(&b, "de");
    stm_buf_release(&b);
}

static void clear_keeps_the_memory(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_buf_append(&b, "abc", 3), 0);
    const uint8_t *data = b.data;
    size_t cap = b.cap;
    stm_buf_clear(&b);
    assert_content(&b, "");
    assert_ptr_equal(b.data, data);
    assert_int_equal(b.cap, cap);
    stm_buf_release(&b);
}

static void appends_of_every_size_keep_all_bytes_in_order(void **state)
{
    struct stm_buf b = STM_BUF_INIT;
    uint8_t piece[300];

    (void)state;
    for (size_t n = 0; n < sizeof piece; n++) {
        memset(piece, (int)n, n);
        assert_int_equal(stm_buf_append(&b, piece, n), 0);
        assert_int_equal(b.len, n * (n + 1) / 2);
    }
    for (size_t n = 0, at = 0; n < sizeof piece; at += n, n++)
        for (size_t i = 0; i < n; i++)
            assert_int_equal(b.data[at + i], n & 0xff);
    stm_buf_release(&b);
}

static void appending_nothing_needs_no_memory_and_no_pointer(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_buf_append(&b, NULL, 0), 0);
    assert_int_equal(stm_buf_set(&b, NULL, 0), 0);
    assert_int_equal(stm_buf_reserve(&b, 0), 0);
    assert_int_equal(stm_buf_resize(&b, 0), 0);
    assert_null(b.data);
}

static void growth_is_geometric(void **state)
{
    struct stm_buf b = STM_BUF_INIT;
    int grown = 0;

    (void)state;
    for (int i = 0; i < 1000000; i++) {
        size_t cap = b.cap;
        assert_int_equal(stm_buf_append(&b, "x", 1), 0);
        grown += b.cap != cap;
    }
    assert_in_range(grown, 10, 40);
    stm_buf_release(&b);
}

static void reserve_makes_room_and_changes_no_content(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_buf_append(&b, "abc", 3), 0);
    assert_int_equal(stm_buf_reserve(&b, 1000), 0);
    assert_true(b.cap >= 1003);
    assert_content(&b, "abc");
    const uint8_t *data = b.data;
    assert_int_equal(stm_buf_resize(&b, 1003), 0);
    assert_ptr_equal(b.data, data);
    stm_buf_release(&b);
}

static void what_resize_makes_visible_is_zero(void **state)
{
    static const uint8_t zeros[500];
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_buf_append(&b, "abcdef", 6), 0);
    assert_int_equal(stm_buf_resize(&b, 2), 0);
    assert_content(&b, "ab");
    assert_int_equal(stm_buf_resize(&b, 500), 0); /* over the old "cdef" and beyond the capacity */
    assert_memory_equal(b.data, "ab", 2);
    assert_memory_equal(b.data + 2, zeros, 498);
    stm_buf_release(&b);
}

static void set_replaces_with_shorter_and_longer(void **state)
{
    struct stm_buf b = STM_BUF_INIT;
    char longer[1001];

    (void)state;
    memset(longer, 'x', 1000);
    longer[1000] = '\0';
    assert_int_equal(stm_buf_set(&b, "first", 5), 0);
    assert_content(&b, "first");
    assert_int_equal(stm_buf_set(&b, "2", 1), 0);
    assert_content(&b, "2");
    assert_int_equal(stm_buf_set(&b, longer, 1000), 0);
    assert_content(&b, longer);
    stm_buf_release(&b);
}

static void printf_appends_and_ends_in_an_uncounted_zero(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_buf_printf(&b, "%s=%d", "n", 42), 0);
    assert_content(&b, "n=42");
    assert_int_equal(b.data[b.len], 0);
    assert_int_equal(stm_buf_printf(&b, ";%0500d", 7), 0);
    assert_int_equal(b.len, 4 + 501);
    assert_memory_equal(b.data, "n=42;000", 8);
    assert_int_equal(b.data[b.len - 1], '7');
    assert_int_equal(b.data[b.len], 0);
    assert_true(b.len < b.cap);
    stm_buf_release(&b);
}

static void printf_that_just_fills_the_buffer_still_has_room_for_the_zero(void **state)
{
    (void)state;
    for (int width = 60; width < 70; width++) {
        struct stm_buf b = STM_BUF_INIT;
        assert_int_equal(stm_buf_printf(&b, "%*d", width, 1), 0);
        assert_int_equal(b.len, width);
        assert_true(b.cap > b.len);
        assert_int_equal(b.data[b.len], 0);
        stm_buf_release(&b);
    }
}

static void a_size_that_no_memory_has_fails_and_changes_nothing(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_buf_append(&b, "abc", 3), 0);
    struct stm_buf before = b;
    assert_int_equal(stm_buf_reserve(&b, SIZE_MAX), -ENOMEM);
    assert_int_equal(stm_buf_reserve(&b, SIZE_MAX - 2), -ENOMEM);
    assert_int_equal(stm_buf_resize(&b, SIZE_MAX), -ENOMEM);
    assert_int_equal(stm_buf_append(&b, "x", (size_t)PTRDIFF_MAX), -ENOMEM);
    assert_int_equal(stm_buf_set(&b, "x", SIZE_MAX), -ENOMEM);
    assert_memory_equal(&b, &before, sizeof b);
    assert_content(&b, "abc");
    stm_buf_release(&b);
}

static void the_slice_is_the_content(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    assert_int_equal(stm_buf_slice(&b).len, 0);
    assert_int_equal(stm_buf_append(&b, "a\0b", 3), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&b), stm_slice("a\0b", 3)));
    assert_false(stm_slice_eq(stm_buf_slice(&b), stm_slice("a\0c", 3)));
    assert_false(stm_slice_eq(stm_buf_slice(&b), stm_slice("a\0b", 2)));
    stm_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_struct_is_an_empty_buffer),
        cmocka_unit_test(release_empties_and_the_buffer_can_be_used_again),
        cmocka_unit_test(clear_keeps_the_memory),
        cmocka_unit_test(appends_of_every_size_keep_all_bytes_in_order),
        cmocka_unit_test(appending_nothing_needs_no_memory_and_no_pointer),
        cmocka_unit_test(growth_is_geometric),
        cmocka_unit_test(reserve_makes_room_and_changes_no_content),
        cmocka_unit_test(what_resize_makes_visible_is_zero),
        cmocka_unit_test(set_replaces_with_shorter_and_longer),
        cmocka_unit_test(printf_appends_and_ends_in_an_uncounted_zero),
        cmocka_unit_test(printf_that_just_fills_the_buffer_still_has_room_for_the_zero),
        cmocka_unit_test(a_size_that_no_memory_has_fails_and_changes_nothing),
        cmocka_unit_test(the_slice_is_the_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
