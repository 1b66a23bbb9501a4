/*
 * fuzz.h: what the fuzz targets share. A target is a file with LLVMFuzzerTestOneInput (libFuzzer's entry): it takes any bytes, hands
 * them to one part of the program, and checks what must hold whatever they are. It is no unit test: those name their cases.
 *
 *     struct fuzz_input in = {data, size};
 *     uint8_t how = fuzz_u8(&in);
 *     struct stm_slice name = fuzz_bytes(&in, fuzz_u8(&in));
 *     FUZZ_CHECK(stm_slice_eq(again, name));
 *
 * An input that is too short yields zeros and empty slices, so that every input means something.
 * Thread-safety: none; a target runs one input at a time.
 */
#ifndef STEMMA_FUZZ_H
#define STEMMA_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "stemma/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the run with the line that did not hold; libFuzzer then keeps the input. */
#define FUZZ_CHECK(what)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(what)) {                                                                                                                     \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);                                                      \
            abort();                                                                                                                       \
        }                                                                                                                                  \
    } while (0)

struct fuzz_input {
    const uint8_t *data;
    size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->data++;
}

static inline uint32_t fuzz_u16(struct fuzz_input *in)
{
    uint32_t high = fuzz_u8(in);
    return high << 8 | fuzz_u8(in);
}

/* The next len bytes, or as many as are left; borrowed. */
static inline struct stm_slice fuzz_bytes(struct fuzz_input *in, size_t len)
{
    size_t n = len < in->left ? len : in->left;
    struct stm_slice s = stm_slice(in->data, n);

    in->data += n;
    in->left -= n;
    return s;
}

/* The rest of the input. */
static inline struct stm_slice fuzz_rest(struct fuzz_input *in)
{
    return fuzz_bytes(in, in->left);
}

/* A copy with a zero behind it, malloc'd; what follows a zero byte inside is out of sight. */
static inline char *fuzz_text(struct stm_slice s)
{
    char *text = malloc(s.len + 1);

    FUZZ_CHECK(text != NULL);
    if (s.len > 0)
        memcpy(text, s.data, s.len);
    text[s.len] = 0;
    return text;
}

/* Writes the bytes to the file, replacing what was there. */
static inline void fuzz_write(const char *path, struct stm_slice bytes)
{
    FILE *f = fopen(path, "w");

    FUZZ_CHECK(f != NULL);
    FUZZ_CHECK(bytes.len == 0 || fwrite(bytes.data, 1, bytes.len, f) == bytes.len);
    FUZZ_CHECK(fclose(f) == 0);
}

#endif
