/*
 * tag.h: what each commit of a mount says about itself in the log (stm_change.tag): the request that asked for it, or the draft that became
 * a version by it. docs/FORMAT.md has the bytes.
 * Thread-safety: plain values.
 */
#ifndef STEMMA_TAG_H
#define STEMMA_TAG_H

#include "inner.h"

struct stm_tag {
    uint64_t mount;  /* stm_handover.generation */
    uint64_t unique; /* of the request, without STM_UNIQUE_RESENT; 0: none */
    enum stm_step step;
    uint64_t draft; /* DRAFT */
    uint32_t period;
};

/* How many bytes were written to out, which has STM_TAG_MAX. */
size_t stm_tag_encode(const struct stm_tag *t, uint8_t *out);
/* False: not one of these. */
bool stm_tag_decode(const uint8_t *in, size_t len, struct stm_tag *ret);

#endif
