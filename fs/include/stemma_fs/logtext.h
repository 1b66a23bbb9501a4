/*
 * logtext.h: the versions of a line in words: what `word@/log` and `word@/log.jsonl` hold, and `stemma log` prints. It needs a store, not a
 * mounted filesystem.
 *
 *     for (uint32_t i = 0; err == 0 && i < n; i++)
 *         err = stm_log_entry_json(&view, line, i, n, &buf);
 *
 * Thread-safety: any thread.
 */
#ifndef STEMMA_FS_LOGTEXT_H
#define STEMMA_FS_LOGTEXT_H

#include "stemma/version.h"

/* Appends what people read of version `ordinal`: a line, and its message indented below. STM_E_CORRUPT when there is no such version. */
STM_MUST_CHECK int stm_log_entry(const struct stm_view *view, uint64_t line, uint32_t ordinal, struct stm_buf *ret);
/* Appends what programs read of version `ordinal` of n: a JSON object and a newline. */
STM_MUST_CHECK int stm_log_entry_json(const struct stm_view *view, uint64_t line, uint32_t ordinal, uint32_t n, struct stm_buf *ret);
/* "v1.2.3" of version i of n, or "" when there is none, into out (STM_SEMVER_TEXT bytes). */
STM_MUST_CHECK int stm_version_number(const struct stm_view *view, uint64_t line, uint32_t i, uint32_t n, char *out);
/* "inline", "small", "chunked". */
const char *stm_stored_name(enum stm_stored stored);

#endif
