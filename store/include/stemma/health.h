/*
 * health.h: how an open store is: is there room, can it be written, and what can be done about it. What has been damaged is fsck's.
 *
 *     struct stm_health h;
 *     stm_store_health(store, &h);                 // once a second
 *     if (h.state != STM_HEALTH_GOOD)
 *         tell(stm_health_reason(&h));
 *
 * Thread-safety: internally locked, except stm_store_reopen.
 */
#ifndef STEMMA_HEALTH_H
#define STEMMA_HEALTH_H

#include "stemma/store.h"

/*
 * May the caller write so many bytes into the store, in drafts or by commits, and `later` more (a draft that is saved is there twice)? 0, -ENOSPC
 * while the disk is (nearly) full, or the error with which all changes are refused. stm_update asks by itself. Cheap: a look at the disk
 * 10 times a second at most.
 */
STM_MUST_CHECK int stm_store_room(struct stm_store *s, uint64_t bytes, uint64_t later);
/* What users may still write, given what statvfs says is available where the store lies: bytes. */
uint64_t stm_store_spare(struct stm_store *s, uint64_t available);

enum stm_health_state {
    STM_HEALTH_GOOD,
    STM_HEALTH_FULL,     /* changes are ENOSPC, removals go on for a while; ends by itself when there is room */
    STM_HEALTH_DEGRADED, /* the engine cannot write: changes are answered with `error`, reading goes on */
};
struct stm_health {
    enum stm_health_state state;
    int error;        /* 0 when good */
    int64_t since_ns; /* when this was noticed first, by the store's clock */
    bool read_only;   /* it could only be opened for reading (or_read_only) */
    bool reopen;      /* opening it again is worth trying now: stm_store_reopen when read_only, else by closing it first */
    uint64_t missing; /* bytes to be freed until changes are accepted, as far as is known; 0 when it is not for want of room */
};
/*
 * Looks at the disk, tries whether an engine that failed works again, and tells how the store is. To be called about once a second by whoever
 * keeps the store open; may write and flush a few kilobytes, but only while something is wrong.
 */
void stm_store_health(struct stm_store *s, struct stm_health *ret);
/*
 * For one that could only be opened for reading, when stm_store_health says `reopen` (one thread): makes it writable beside running readers.
 * 0 also when there is nothing to do. On failure everything is as before.
 */
STM_MUST_CHECK int stm_store_reopen(struct stm_store *s);
/* The error of the engine's last write, or of all changes when it can only be read; 0 when writing works. Cheap. */
int stm_store_failing(struct stm_store *s);
/* "good", "full", "degraded"; and a sentence that says what is wrong and what to do, immutable. */
const char *stm_health_word(enum stm_health_state state);
const char *stm_health_reason(const struct stm_health *h);

#endif
