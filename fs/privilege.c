/*
 * privilege.c: see privilege.h. When it happens is the business of draft.c (content), attr.c (owner) and acl.c.
 */
#include "privilege.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

bool stm_caller_in_group(const struct stm_caller *who, uint32_t gid)
{
    char path[64], *line = NULL, *end;
    size_t room = 0;
    bool found = who->gid == gid;

    if (found || who->pid == 0)
        return found;
    snprintf(path, sizeof path, "/proc/%u/task/%u/status", who->pid, who->pid);
    FILE *f = fopen(path, "re");
    while (f && getline(&line, &room, f) > 0) {
        if (strncmp(line, "Groups:", 7) != 0)
            continue;
        for (const char *at = line + 7; !found; at = end) {
            unsigned long group = strtoul(at, &end, 10);
            if (end == at)
                break;
            found = group == gid;
        }
        break;
    }
    free(line);
    if (f)
        (void)fclose(f);
    return found;
}

uint32_t stm_mode_unprivileged(const struct stm_object *o, const struct stm_caller *who)
{
    uint32_t mode = o->mode & 07777 & ~(uint32_t)S_ISUID;

    if (mode & S_ISGID && (mode & S_IXGRP || (who->uid != 0 && !stm_caller_in_group(who, o->gid))))
        mode &= ~(uint32_t)S_ISGID;
    return mode;
}

int stm_capability_drop(struct stm_txn *txn, const struct stm_object *o)
{
    int err = o->flags & STM_OBJ_XATTR ? stm_xattr_remove(txn, o->id, stm_slice_str("security.capability")) : 0;

    return err == -ENODATA ? 0 : err;
}
