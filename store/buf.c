/*
 * buf.c: a growable byte buffer. Not a string class: bytes in, bytes out.
 */
#include "stemma/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_CAP = 64 };

void stm_buf_release(struct stm_buf *b)
{
    free(b->data);
    *b = (struct stm_buf)STM_BUF_INIT;
}

void stm_buf_clear(struct stm_buf *b)
{
    b->len = 0;
}

int stm_buf_reserve(struct stm_buf *b, size_t more)
{
    assert(b->len <= b->cap);
    if (more <= b->cap - b->len)
        return 0;
    if (more > PTRDIFF_MAX - b->len)
        return -ENOMEM;

    /* Half as much again: geometric, and realloc can still reuse what earlier growth left behind. */
    size_t need = b->len + more;
    size_t cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap + b->cap / 2;
    if (cap < need)
        cap = need;
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return -ENOMEM;
    b->data = data;
    b->cap = cap;
    return 0;
}

int stm_buf_resize(struct stm_buf *b, size_t len)
{
    if (len > b->len) {
        int err = stm_buf_reserve(b, len - b->len);
        if (err < 0)
            return err;
        memset(b->data + b->len, 0, len - b->len);
    }
    b->len = len;
    return 0;
}

int stm_buf_append(struct stm_buf *b, const void *data, size_t len)
{
    int err = stm_buf_reserve(b, len);
    if (err < 0)
        return err;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int stm_buf_set(struct stm_buf *b, const void *data, size_t len)
{
    /* Reserve before clearing: on failure the old content must still be there. */
    if (len > b->len) {
        int err = stm_buf_reserve(b, len - b->len);
        if (err < 0)
            return err;
    }
    if (len > 0)
        memcpy(b->data, data, len);
    b->len = len;
    return 0;
}

int stm_buf_printf(struct stm_buf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0)
        return -ENOMEM;

    int err = stm_buf_reserve(b, (size_t)len + 1);
    if (err < 0)
        return err;
    va_start(args, fmt);
    (void)vsnprintf((char *)b->data + b->len, (size_t)len + 1, fmt, args);
    va_end(args);
    b->len += (size_t)len;
    return 0;
}
