/*
 * cmocka.h: the test library with the headers it needs before it.
 */
#ifndef STEMMA_TESTS_CMOCKA_H
#define STEMMA_TESTS_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#if defined(__SANITIZE_THREAD__)
#define STM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STM_TSAN 1
#endif
#endif
#ifndef STM_TSAN
#define STM_TSAN 0 /* 1: leave out what runs libraries that are not instrumented */
#endif

#endif
