/*
 * engine.c: the names of the spaces. Which engine a store uses is chosen where the store is opened, not here.
 */
#include "engine.h"

#include <assert.h>

const char *stm_space_name(enum stm_space space)
{
    static const char *const names[] = {
        [STM_SYS] = "sys",           [STM_DENTRY] = "dentry",   [STM_DENTRYHIST] = "dentryhist", [STM_OBJECT] = "object",
        [STM_VERSION] = "version",   [STM_CONTENT] = "content", [STM_CHUNK] = "chunk",           [STM_CHUNKHASH] = "chunkhash",
        [STM_CHUNKREF] = "chunkref", [STM_LOG] = "log",         [STM_INDEX] = "index",
    };

    static_assert(sizeof names / sizeof names[0] == STM_SPACES, "every space has a name");
    assert((unsigned)space < STM_SPACES);
    return names[space];
}
