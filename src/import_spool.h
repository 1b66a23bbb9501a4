/*
 * import_spool.h (internal to the import): a file without a name for contents that can be read only once, while a sink may read its source
 * anywhere and twice.
 *
 *     struct stm_spool s = {.dir = sink.spool};
 *     err = stm_spool_fill(&s, size, read_next, arg);
 *     source = (struct stm_source){.size = size, .read = stm_spool_read, .arg = &s};
 *     stm_spool_release(&s);
 *
 * The space is given back when it is filled anew or released.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_IMPORT_SPOOL_H
#define STEMMA_IMPORT_SPOOL_H

#include "stemma/types.h"

struct stm_spool {
    const char *dir; /* where; NULL or "": $TMPDIR, or /tmp */
    int fd;          /* 0: not made yet */
};

/* Makes the file if it is not there. */
STM_MUST_CHECK int stm_spool_open(struct stm_spool *s);
/* Replaces what is in it by size bytes, which read_next gives piece by piece (exactly len bytes, or an error, which is returned). */
STM_MUST_CHECK int stm_spool_fill(struct stm_spool *s, uint64_t size, int (*read_next)(void *arg, void *buf, size_t len), void *arg);
/* Exactly len bytes at off; arg is the spool (as stm_source.read). */
STM_MUST_CHECK int stm_spool_read(void *arg, uint64_t off, void *buf, size_t len);
STM_MUST_CHECK int stm_spool_append(struct stm_spool *s, const void *data, size_t len);
void stm_spool_release(struct stm_spool *s);

#endif
