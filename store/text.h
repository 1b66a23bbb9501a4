/*
 * text.h: the small readers that the parsers of numbers, times and selectors share. Internal to store/.
 * Each looks at the start of *text; where it returns true it has moved *text past what it read, else *text is as it was.
 * ASCII only and the same in every locale, which is why not <ctype.h>.
 * Thread-safety: immutable.
 */
#ifndef STEMMA_TEXT_H
#define STEMMA_TEXT_H

#include "stemma/types.h"

static inline bool stm_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool stm_is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static inline bool stm_is_alnum(char c)
{
    return stm_is_digit(c) || stm_is_upper(c) || (c >= 'a' && c <= 'z');
}

static inline struct stm_slice stm_text_from(struct stm_slice text, size_t pos)
{
    return stm_slice((const char *)text.data + pos, text.len - pos);
}

/* Exactly this character. */
static inline bool stm_text_char(struct stm_slice *text, char c)
{
    if (text->len == 0 || *(const char *)text->data != c)
        return false;
    *text = stm_text_from(*text, 1);
    return true;
}

/* Exactly this word. */
static inline bool stm_text_word(struct stm_slice *text, const char *word)
{
    size_t len = strlen(word);

    if (text->len < len || memcmp(text->data, word, len) != 0)
        return false;
    *text = stm_text_from(*text, len);
    return true;
}

/* Exactly n digits (n <= 9), as in the fields of a date. */
static inline bool stm_text_digits(struct stm_slice *text, size_t n, uint32_t *ret)
{
    const char *s = text->data;
    uint32_t value = 0;

    if (text->len < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!stm_is_digit(s[i]))
            return false;
        value = value * 10 + (uint32_t)(s[i] - '0');
    }
    *text = stm_text_from(*text, n);
    *ret = value;
    return true;
}

/* A decimal number without leading zeros, at most 2^32-1. */
static inline bool stm_text_u32(struct stm_slice *text, uint32_t *ret)
{
    const char *s = text->data;
    uint64_t value = 0;
    size_t n = 0;

    for (; n < text->len && stm_is_digit(s[n]); n++) {
        value = value * 10 + (uint64_t)(s[n] - '0');
        if (value > UINT32_MAX || (n == 1 && s[0] == '0'))
            return false;
    }
    if (n == 0)
        return false;
    *text = stm_text_from(*text, n);
    *ret = (uint32_t)value;
    return true;
}

#endif
