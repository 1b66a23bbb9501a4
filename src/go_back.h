/*
 * go_back.h: before a repair: a store that is refused because its log is damaged, or because its newest commits are gone, is taken back to
 * the last commit that is whole (stm_store_options.salvage), and whoever asked hears what that cost. For a store that is not mounted.
 * Thread-safety: one at a time for one store.
 */
#ifndef STEMMA_GO_BACK_H
#define STEMMA_GO_BACK_H

#include "out.h"

/* Nothing to do for a store that can be opened. 0, or an exit code with a sentence. Tells on stderr what it did. */
STM_MUST_CHECK int stm_go_back(const char *store, struct stm_out *out);

#endif
