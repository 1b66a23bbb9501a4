/*
 * acl.h: POSIX ACLs (`-o acl`): stored as the extended attributes in which the kernel gives and takes them (linux/posix_acl_xattr.h), kept in step
 * with the mode, and handed down by default ACLs. Who may do what by them the kernel checks.
 *
 * An ACL and a mode say the same of the owner, of others, and of the group class: its bits are the ACL's mask, or the group's entry if there
 * is no mask. The rules are those of acl(5).
 * Thread-safety: any thread.
 */
#ifndef STEMMA_ACL_H
#define STEMMA_ACL_H

#include "inner.h"

#define STM_ACL_ACCESS "system.posix_acl_access"
#define STM_ACL_DEFAULT "system.posix_acl_default"

bool stm_acl_is(const char *name);

/* ---- an ACL's bytes, changed in place; -EINVAL when they are none ---- */

/* Puts what the ACL says into the permission bits of *mode. 1: the mode says it all; 0: the ACL says more. */
STM_MUST_CHECK int stm_acl_to_mode(struct stm_buf *acl, uint32_t *mode);
/* A default ACL becomes a new object's: both are cut to what both allow. Returns as stm_acl_to_mode. */
STM_MUST_CHECK int stm_acl_create(struct stm_buf *acl, uint32_t *mode);
/* What chmod does. */
STM_MUST_CHECK int stm_acl_chmod(struct stm_buf *acl, uint32_t mode);
/* Who may read may search as well: for directories that stand for a file. */
STM_MUST_CHECK int stm_acl_read_is_search(struct stm_buf *acl);

/* ---- within a transaction ---- */

/* What a new object gets from its directory: access and dflt (initialised by the caller) are set when it gets them, *mode is cut. */
STM_MUST_CHECK int stm_acl_inherit(struct stm_txn *txn, uint64_t dir, uint32_t umask, uint32_t *mode, struct stm_buf *access,
                                   struct stm_buf *dflt);
/* Sets, or with value.data NULL removes, an ACL; an access ACL sets the mode too, and one that the mode says is not stored. ret: the object after it. */
STM_MUST_CHECK int stm_acl_set(struct stm_txn *txn, const struct stm_caller *who, uint64_t object, struct stm_slice name,
                               struct stm_slice value, struct stm_object *ret);
/* The object gets another mode: so does its ACL, if it has one. */
STM_MUST_CHECK int stm_acl_follow(struct stm_txn *txn, const struct stm_object *o, uint32_t mode);

/* ---- the past ---- */

/*
 * The mode of a node that shows the past of o: the kernel asks for an ACL only if there are group bits, so without any others get nothing
 * either, lest somebody whom the ACL shuts out counts as one of them.
 */
uint32_t stm_acl_past_mode(const struct stm_fs *fs, const struct stm_object *o, uint32_t mode);
/* The access ACL of such a node, whose mode is given: today's, as far as the mode goes. -ENODATA. */
STM_MUST_CHECK int stm_acl_past(struct stm_fs *fs, uint64_t object, uint32_t mode, struct stm_buf *ret);

#endif
