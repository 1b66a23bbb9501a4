/*
 * scrubber.h: the thread that reads a mounted store through in the background (stemma/fsck.h: stm_scrub_step), at a limited rate and giving way
 * to requests. A pass begins a day after the last one was complete; where it is outlives the daemon.
 *
 *     err = stm_scrubber_new(store, fs, 4, &scrubber);      // MiB a second
 *     stm_scrubber_free(scrubber);                          // before the filesystem and the store
 *
 * Thread-safety: status any thread; new and free one.
 */
#ifndef STEMMA_SCRUBBER_H
#define STEMMA_SCRUBBER_H

#include "stemma/store.h"

#include <stdbool.h>

struct stm_fs;
struct stm_scrubber;

struct stm_scrubber_status {
    bool running;         /* a pass is under way */
    unsigned mib_s;       /* the limit */
    uint64_t bytes;       /* read in this pass */
    uint64_t findings;    /* damaged records that this pass has met, or the last one if none is under way */
    uint64_t healed;      /* chunks, since the daemon has begun */
    uint64_t passes;      /* completed, ever */
    int64_t completed_ns; /* when the last one was; 0: never */
};

/* mib_s 0: nothing is done, and *ret is NULL. 0, -ENOMEM, -EAGAIN (no thread). */
STM_MUST_CHECK int stm_scrubber_new(struct stm_store *s, struct stm_fs *fs, unsigned mib_s, struct stm_scrubber **ret);
/* Ends the thread, at once as far as it counts, and writes down where it was. NULL is fine. */
void stm_scrubber_free(struct stm_scrubber *s);
void stm_scrubber_status(struct stm_scrubber *s, struct stm_scrubber_status *ret);

#endif
