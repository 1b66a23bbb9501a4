/*
 * alloc.h: allocations that fail on demand. Only in tests that are linked with the wrappers (stm_wrap_allocations in tests/CMakeLists.txt):
 * then malloc, calloc, realloc, aligned_alloc, strdup, strndup and asprintf of our own code pass through here; those of shared libraries do not.
 *
 *     alloc_fail(3, ALLOC_ONCE);     // the third from now on
 *     err = stm_update(...);
 *     fired = alloc_end();           // how many failed
 *
 * Thread-safety: one thread.
 */
#ifndef STEMMA_TESTS_ALLOC_H
#define STEMMA_TESTS_ALLOC_H

enum alloc_mode { ALLOC_ONCE, ALLOC_EVER };

/* The n-th allocation from now on fails (n >= 1), and with ALLOC_EVER all after it. */
void alloc_fail(unsigned long n, enum alloc_mode mode);
/* Ends that; returns how many allocations failed. */
unsigned long alloc_end(void);

#endif
