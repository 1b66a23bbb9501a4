/*
 * buf.h: a growable byte buffer.
 *
 *     struct stm_buf b = STM_BUF_INIT;
 *     if (stm_buf_append(&b, "x", 1) < 0) ...
 *     stm_buf_release(&b);
 *
 * Invariants: (1) len <= cap; (2) data is NULL exactly when cap is 0; (3) a zeroed struct is an empty buffer.
 * Growth is geometric. All functions that may allocate return 0 or -ENOMEM and leave the buffer as it was on failure.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_BUF_H
#define STEMMA_BUF_H

#include "stemma/types.h"

struct stm_buf {
    uint8_t *data;
    size_t len, cap;
};

#define STM_BUF_INIT                                                                                                                       \
    {                                                                                                                                      \
        NULL, 0, 0                                                                                                                         \
    }

/* Frees the memory and leaves an empty buffer; a released buffer may be used again. */
void stm_buf_release(struct stm_buf *b);
/* Empties without freeing. */
void stm_buf_clear(struct stm_buf *b);
/* Makes room for at least `more` further bytes. */
STM_MUST_CHECK int stm_buf_reserve(struct stm_buf *b, size_t more);
/* Sets len; bytes that become visible are zero. */
STM_MUST_CHECK int stm_buf_resize(struct stm_buf *b, size_t len);
STM_MUST_CHECK int stm_buf_append(struct stm_buf *b, const void *data, size_t len);
/* Replaces the content. data may not point into b. */
STM_MUST_CHECK int stm_buf_set(struct stm_buf *b, const void *data, size_t len);
/* Appends text as printf would; no terminating zero is counted in len (but one byte after len is zero). */
STM_MUST_CHECK int stm_buf_printf(struct stm_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline struct stm_slice stm_buf_slice(const struct stm_buf *b)
{
    return stm_slice(b->data, b->len);
}

#endif
