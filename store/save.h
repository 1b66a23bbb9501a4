/*
 * save.h (internal): what version.c (reading) and save.c (making versions) share.
 * Thread-safety: as version.h.
 */
#ifndef STEMMA_SAVE_H
#define STEMMA_SAVE_H

#include "inner.h"

/* The fixed part of a version's record, its text and its body (of small contents the body is kept elsewhere and not encoded). */
STM_MUST_CHECK int stm_version_encode(struct stm_rec *r, const struct stm_version *v);
/* The version recorded under exactly that key. */
STM_MUST_CHECK int stm_version_load(const struct stm_view *v, uint64_t line, uint64_t seq, struct stm_version *ret);
/* A stored record; v's line and seq are in the key, which is the caller's. Fills v's buffers, also on failure. STM_E_CORRUPT. */
STM_MUST_CHECK int stm_version_decode(struct stm_slice payload, struct stm_version *v);
/* Which line an object carried in commits [key's since, until), and which of its versions were its own. */
struct stm_past_line {
    uint64_t line, until, floor;
};
STM_MUST_CHECK int stm_past_line_decode(struct stm_slice payload, struct stm_past_line *ret);
/* Remembers that the object carries its present line until this commit. */
STM_MUST_CHECK int stm_past_line_put(struct stm_txn *t, const struct stm_object *o);

#endif
