/*
 * semver.h: version numbers of the form vMAJOR.MINOR.PATCH, their order, text and successors.
 * Each part is 0 .. 2^32-1 in decimal without leading zeros. Pre-release and build parts of semver.org 2.0.0 are not used.
 *
 * Thread-safety: immutable.
 */
#ifndef STEMMA_SEMVER_H
#define STEMMA_SEMVER_H

#include "stemma/types.h"

struct stm_semver {
    uint32_t major, minor, patch;
};

enum stm_bump { STM_BUMP_PATCH = 0, STM_BUMP_MINOR = 1, STM_BUMP_MAJOR = 2 };

enum { STM_SEMVER_TEXT = 36 }; /* bytes that the longest text and its zero need */

/* Less than, equal to or greater than 0, as strcmp. */
int stm_semver_cmp(struct stm_semver a, struct stm_semver b);
/* Parses exactly "vA.B.C" (whole slice). 0, or -EINVAL. */
STM_MUST_CHECK int stm_semver_parse(struct stm_slice text, struct stm_semver *ret);
/* Writes "vA.B.C" and a zero into out (STM_SEMVER_TEXT bytes); returns the length. */
int stm_semver_format(struct stm_semver v, char *out);
/* The next version. 0, or -EOVERFLOW when the part is at its end. */
STM_MUST_CHECK int stm_semver_next(struct stm_semver v, enum stm_bump bump, struct stm_semver *ret);
/* "patch", "minor", "major" (whole slice) -> the bump; 0 or -EINVAL. */
STM_MUST_CHECK int stm_bump_parse(struct stm_slice text, enum stm_bump *ret);
const char *stm_bump_name(enum stm_bump bump);

#endif
