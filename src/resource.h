/*
 * resource.h: what a PATH on the command line means: a path inside a mount, or STORE:/path -> (store, path inside it, moment).
 * It does not open the store: whether the path exists, and what a selector at its end means, is for locate.h.
 *
 *     struct stm_resource r;
 *     code = stm_resource_parse("mnt/word@v1.0.0", &r, &why);   // exit code; why: a sentence, malloc'd
 *     ... r.store "/data/words", r.path "/word@v1.0.0", r.seq STM_SEQ_HEAD ...
 *     stm_resource_release(&r);
 *
 * Invariant: path starts with '/', has no empty, "." or ".." component and no '/' at its end (the root is "/").
 * Thread-safety: immutable. May look at the mount (and so wait for its daemon), never at the store.
 */
#ifndef STEMMA_RESOURCE_H
#define STEMMA_RESOURCE_H

#include "stemma/types.h"

struct stm_resource {
    char *store; /* absolute, or "mem:" */
    char *path;
    char *mount;   /* the mount's directory when the path was given inside one, else NULL */
    char *outside; /* the path as the system knows it, in the same case */
    uint64_t seq;  /* STM_SEQ_HEAD, or the moment that /.stemma/at/#SEQ named */
};
void stm_resource_release(struct stm_resource *r);

/* 0, or an exit code and *ret_why. The last component, and missing ones before it, need not exist. */
STM_MUST_CHECK int stm_resource_parse(const char *text, struct stm_resource *ret, char **ret_why);
/* For commands about a whole store: a mount's directory (or anything in it), or a store's directory. path is "/" then. */
STM_MUST_CHECK int stm_resource_parse_store(const char *text, struct stm_resource *ret, char **ret_why);

/* The pure parts. */

/* "a//b/./c/" -> "/a/b/c", malloc'd into *ret. -EINVAL when a component is "..", -ENAMETOOLONG when one is over 255 bytes. */
STM_MUST_CHECK int stm_path_clean(const char *path, char **ret);
/* Takes "/.stemma/at/#12" off the front of a clean path: the rest ("/" at least) and *ret_seq; else path and STM_SEQ_HEAD. */
const char *stm_path_view(const char *path, uint64_t *ret_seq);
/* The path inside the filesystem that is mounted (with its root) at dir, malloc'd: dir must cover path. NULL: no memory. */
char *stm_path_inside(const char *dir, const char *root, const char *path);

#endif
