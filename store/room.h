/*
 * room.h (internal): is there room on the disk? A database that meets a full disk in the middle of its own work can only stop; so changes
 * that grow the store are refused while there is still space, and a file of allocated blocks, the reserve, is given up when even that is gone.
 *
 *     free space     reserve   growth   removals
 *     > margin       held      yes      yes
 *     < margin       held      ENOSPC   yes
 *     < unit / 4     given up  ENOSPC   yes, until less than half a unit is free
 *
 * Growth begins again when there is room for the reserve, the margin and a quarter of a unit; what lies above the margin goes to the reserve
 * first. A unit is what the engine keeps in memory, 1/32 of the filesystem, at least 2 and at most 64 MiB. The margin is two units, since a
 * compaction of fresh tables may need as much before it can delete them; the reserve is 1.5: an engine that recovers writes out what it
 * has in memory, and RocksDB waits for half a unit of free space before it does.
 *
 * Not here: what is done about an engine that fails (store.c), and quotas.
 *
 * Thread-safety: ask, look and failed by any thread, and under any lock: whoever finds somebody else looking goes by what is known.
 */
#ifndef STEMMA_ROOM_H
#define STEMMA_ROOM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "stemma/buf.h"
#include "stemma/error.h"

struct stm_room {
    /* immutable after init */
    int dir;             /* the store's directory; -1: nothing is watched */
    uint64_t unit;       /* bytes */
    uint64_t last_ditch; /* free bytes, the reserve counted, that removals leave */
    /* atomic; the first three are changed by whoever holds busy */
    atomic_flag busy;
    _Atomic uint64_t wanted;  /* size of the reserve, 0 where none can be made */
    _Atomic uint64_t margin;  /* free bytes that growth leaves */
    _Atomic uint64_t held;    /* bytes of the reserve */
    _Atomic int64_t left;     /* bytes to be written before the disk is looked at again */
    _Atomic int64_t next_ns;  /* and when, at the latest (CLOCK_MONOTONIC) */
    _Atomic uint64_t spare;   /* what growth may still take, at the last look */
    _Atomic uint64_t missing; /* what has to be freed until growth goes on; 0 when it does */
    _Atomic bool full, exhausted, failed;
};

enum stm_want {
    STM_WANT_GROW,  /* an ordinary change */
    STM_WANT_PRESS, /* removals, and what had been accepted before: goes on for longer */
};

/* Watches nothing. */
void stm_room_none(struct stm_room *r);
/* Watches the filesystem of the store's directory; the reserve is made if there is room, and given up if the engine needs it to open. */
STM_MUST_CHECK int stm_room_init(struct stm_room *r, const char *store);
/* Enough for an engine that has `log` bytes of log to be replayed. Gives the reserve up if that helps. */
bool stm_room_to_open(struct stm_room *r, uint64_t log);
void stm_room_release(struct stm_room *r);
/* May about so many bytes be written? 0 or -ENOSPC. Costs an atomic addition and a coarse clock; a statvfs 10 times a second or each 16 MiB. */
STM_MUST_CHECK int stm_room_ask(struct stm_room *r, enum stm_want want, uint64_t bytes);
/* So many bytes have been written. */
void stm_room_spent(struct stm_room *r, uint64_t bytes);
/* The engine itself met a full disk: gives the reserve up at once. */
void stm_room_failed(struct stm_room *r);
/* Looks at the disk now. True when growth is refused. */
bool stm_room_look(struct stm_room *r);
/* Bytes that a user may still write, given what statvfs calls available. */
uint64_t stm_room_spare(struct stm_room *r, uint64_t available);

#endif
