/*
 * recover.h (internal): opening the engine of a store that may have been hurt. Used by stm_store_open alone.
 * On failure *ret_why may get a malloc'd sentence that names the thing and the remedy.
 */
#ifndef STEMMA_RECOVER_H
#define STEMMA_RECOVER_H

#include "state.h"

/*
 * Opens s->engine as s->how says. When there is no room to write (or the disk fails) and or_read_only allows it, opens it for reading and sets
 * s->refusal and s->read_only.
 */
STM_MUST_CHECK int stm_recover_engine(struct stm_store *s, char **ret_why);
/*
 * Finds the newest commit and begins to count there. STM_E_CORRUPT when commits are missing: before it (a hole in the commit log as far back as
 * the engine's log can reach), or after it (the watermark knew of more; with `salvage` that is accepted).
 */
STM_MUST_CHECK int stm_recover_commits(struct stm_store *s, char **ret_why);
/*
 * For a store that could only be opened for reading: opens the engine again, for writing, and puts it in the place of the other beside running
 * readers. The other stays as it is, open until the store is closed, since nobody knows who still reads in it.
 */
STM_MUST_CHECK int stm_recover_writing(struct stm_store *s);

#endif
