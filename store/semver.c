/*
 * semver.c: vMAJOR.MINOR.PATCH: order, text and successors. No pre-release or build parts.
 */
#include "stemma/semver.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "text.h"

static int cmp(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

int stm_semver_cmp(struct stm_semver a, struct stm_semver b)
{
    if (a.major != b.major)
        return cmp(a.major, b.major);
    if (a.minor != b.minor)
        return cmp(a.minor, b.minor);
    return cmp(a.patch, b.patch);
}

int stm_semver_parse(struct stm_slice text, struct stm_semver *ret)
{
    struct stm_semver v;

    if (stm_text_char(&text, 'v') && stm_text_u32(&text, &v.major) && stm_text_char(&text, '.') && stm_text_u32(&text, &v.minor) &&
        stm_text_char(&text, '.') && stm_text_u32(&text, &v.patch) && text.len == 0) {
        *ret = v;
        return 0;
    }
    return -EINVAL;
}

int stm_semver_format(struct stm_semver v, char *out)
{
    return snprintf(out, STM_SEMVER_TEXT, "v%u.%u.%u", v.major, v.minor, v.patch);
}

int stm_semver_next(struct stm_semver v, enum stm_bump bump, struct stm_semver *ret)
{
    struct stm_semver next = v;
    uint32_t *part = &next.patch;

    if (bump == STM_BUMP_MINOR) {
        part = &next.minor;
        next.patch = 0;
    } else if (bump == STM_BUMP_MAJOR) {
        part = &next.major;
        next.minor = next.patch = 0;
    }
    if (*part == UINT32_MAX)
        return -EOVERFLOW;
    (*part)++;
    *ret = next;
    return 0;
}

int stm_bump_parse(struct stm_slice text, enum stm_bump *ret)
{
    for (enum stm_bump bump = STM_BUMP_PATCH; bump <= STM_BUMP_MAJOR; bump++)
        if (stm_slice_eq(text, stm_slice_str(stm_bump_name(bump)))) {
            *ret = bump;
            return 0;
        }
    return -EINVAL;
}

const char *stm_bump_name(enum stm_bump bump)
{
    static const char *const names[] = {[STM_BUMP_PATCH] = "patch", [STM_BUMP_MINOR] = "minor", [STM_BUMP_MAJOR] = "major"};

    assert(bump >= STM_BUMP_PATCH && bump <= STM_BUMP_MAJOR);
    return names[bump];
}
