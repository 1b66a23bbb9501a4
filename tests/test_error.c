/*
 * test_error.c: the sentences and errno classes of errors.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "stemma/error.h"
#include "stemma/types.h"

static void every_own_error_has_its_sentence_and_class(void **state)
{
    (void)state;
#define X(name, number, class, sentence)                                                                                                   \
    assert_int_equal(name, -(number));                                                                                                     \
    assert_string_equal(stm_error_text(name), sentence);                                                                                   \
    assert_int_equal(stm_error_errno(name), class);
    STM_ERRORS(X)
#undef X
}

static void own_numbers_are_distinct_and_no_errno(void **state)
{
    static const int all[] = {
#define X(name, number, class, sentence) name,
        STM_ERRORS(X)
#undef X
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_true(all[i] <= -2001);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(all[i], all[j]);
    }
}

static void errno_values_keep_their_meaning(void **state)
{
    (void)state;
    assert_string_equal(stm_error_text(-ENOENT), strerror(ENOENT));
    assert_string_equal(stm_error_text(-ENOSPC), strerror(ENOSPC));
    assert_int_equal(stm_error_errno(-ENOENT), ENOENT);
    assert_int_equal(stm_error_errno(-EIO), EIO);
}

static void numbers_that_are_no_error_still_have_text_and_become_eio(void **state)
{
    static const int strange[] = {-1999, -2000, -2999, INT_MIN, INT_MIN + 1, 5, INT_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++)
        assert_string_equal(stm_error_text(strange[i]), "unknown error");
    for (size_t i = 1; i < sizeof strange / sizeof strange[0]; i++)
        assert_int_equal(stm_error_errno(strange[i]), EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_own_error_has_its_sentence_and_class),
        cmocka_unit_test(own_numbers_are_distinct_and_no_errno),
        cmocka_unit_test(errno_values_keep_their_meaning),
        cmocka_unit_test(numbers_that_are_no_error_still_have_text_and_become_eio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
