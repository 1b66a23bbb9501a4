/*
 * import_git.h (internal to the import): running the git program on a repository.
 * Thread-safety: one thread at a time per process struct.
 */
#ifndef STEMMA_IMPORT_GIT_H
#define STEMMA_IMPORT_GIT_H

#include <stdio.h>
#include <sys/types.h>

#include "import.h"

struct stm_git_process {
    pid_t pid;      /* 0: not started */
    FILE *in, *out; /* its standard input and output */
};

/* Starts `git -C repo args...`; what it says on standard error is dropped. -ENOENT when there is no git. */
STM_MUST_CHECK int stm_git_start(const char *repo, const char *const *args, struct stm_git_process *ret);
/* Closes its pipes and waits. 0 when it ended well or was not running any more for being closed; -EIO when it failed. */
int stm_git_end(struct stm_git_process *p);
/*
 * Runs `git -C repo args...` and gives its output without the last newline. Not 0: it failed, and *ret_why is what it said. Both are to
 * be freed, and replace (free) what was there before.
 */
STM_MUST_CHECK int stm_git_ask(const char *repo, const char *const *args, char **ret, char **ret_why);

#endif
