/*
 * watermark.h (internal): how far the commits had come, kept beside the engine, so that a store which lost its newest ones is noticed. The
 * engine cannot tell damage at the very end of its log from the torn tail that a power cut leaves; the file `watermark` can:
 *
 *     durable    the newest commit that was flushed to the disk: always a lower bound of what must be there
 *     committed  the newest commit that was acknowledged: a bound too as long as nothing but the process ended, that is, while
 *                the file lies on the very mount, in the very boot, that it was written on
 *
 * Neither is flushed when it is written (closing apart): one pwrite to an allocated page each, and whatever reaches the disk is true.
 * A file that is gone or damaged proves nothing and is made anew. docs/FORMAT.md has the bytes.
 *
 * Thread-safety: committed and durable may run beside each other. committed is called by one thread at a time; where two tell what is durable, the
 * smaller may stay, which is true as well.
 */
#ifndef STEMMA_WATERMARK_H
#define STEMMA_WATERMARK_H

#include <stdbool.h>

#include "stemma/buf.h"
#include "stemma/error.h"

enum { STM_WATERMARK_IDENTITY = 32 };

struct stm_watermark {
    int fd; /* -1: none is kept */
    uint8_t identity[STM_WATERMARK_IDENTITY];
};

/* Reads what the file of the store says, 0 for what it does not, and keeps it open for writing when `write`. Never fails: see above. */
void stm_watermark_open(struct stm_watermark *w, const char *store, bool write, uint64_t *ret_committed, uint64_t *ret_durable);
void stm_watermark_committed(const struct stm_watermark *w, uint64_t seq);
void stm_watermark_durable(const struct stm_watermark *w, uint64_t seq);
/* Flushes it when asked. */
void stm_watermark_close(struct stm_watermark *w, bool flush);

#endif
