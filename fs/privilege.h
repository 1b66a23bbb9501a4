/*
 * privilege.h: which set-id bits and capabilities a change takes from a file, by the kernel's rules (setattr_should_drop_sgid in Linux): the
 * filesystem has promised to do it (FUSE_HANDLE_KILLPRIV_V2). Whether the change is allowed at all the kernel has checked.
 * Thread-safety: any thread.
 */
#ifndef STEMMA_PRIVILEGE_H
#define STEMMA_PRIVILEGE_H

#include "inner.h"

/* The effective or a supplementary group of the caller? Asks /proc, so only for what is rare; false when the caller is gone. */
bool stm_caller_in_group(const struct stm_caller *who, uint32_t gid);
/* The permission bits (07777) that are left: setgid of a file that is not executable by its group stays for root and members of the group. */
uint32_t stm_mode_unprivileged(const struct stm_object *o, const struct stm_caller *who);
/* Takes security.capability off; nothing (0) when there is none. */
STM_MUST_CHECK int stm_capability_drop(struct stm_txn *txn, const struct stm_object *o);

#endif
