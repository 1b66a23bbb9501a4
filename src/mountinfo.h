/*
 * mountinfo.h: which mounts there are, from the text of /proc/self/mountinfo (proc(5)). It touches no mount, so it works on
 * dead ones.
 *
 *     err = stm_mountinfo_read(&text);
 *     if (stm_mount_covering(text, "/mnt/words/a", &m) == 1 && m.stemma) ... m.source is the store ...
 *
 * Thread-safety: immutable.
 */
#ifndef STEMMA_MOUNTINFO_H
#define STEMMA_MOUNTINFO_H

#include "stemma/types.h"

struct stm_mount {
    char *dir;    /* where */
    char *root;   /* which directory of the filesystem is seen there: "/" unless it is a bind mount */
    char *source; /* of ours: the store's absolute path, or "mem:" */
    char *fstype;
    char *options;
    char device[24]; /* "major:minor" */
    bool stemma;
    uint32_t owner; /* of a FUSE mount: the uid of who mounted it; else UINT32_MAX */
};
/* Frees the strings and leaves a zeroed struct, which is also fine to release. */
void stm_mount_release(struct stm_mount *m);

/* The whole text, malloc'd. */
STM_MUST_CHECK int stm_mountinfo_read(char **ret_text);
/* One line (up to its newline or end). 0, -EINVAL when it is none, -ENOMEM. */
STM_MUST_CHECK int stm_mount_parse(const char *line, struct stm_mount *ret);
/* The mount that an absolute path without symlinks lies in. 1, 0 when there is none, or an error. */
STM_MUST_CHECK int stm_mount_covering(const char *text, const char *path, struct stm_mount *ret);
/* The topmost mount exactly at path. 1, 0, or an error. */
STM_MUST_CHECK int stm_mount_at(const char *text, const char *path, struct stm_mount *ret);
/* A Stemma mount of the given source, with that device unless it is NULL. 1, 0, or an error. */
STM_MUST_CHECK int stm_mount_of(const char *text, const char *source, const char *device, struct stm_mount *ret);

#endif
