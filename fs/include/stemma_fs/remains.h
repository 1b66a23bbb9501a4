/*
 * remains.h: what a filesystem knows that lies neither in its store nor in the kernel, laid out so that the next daemon of the same mount can go on
 * with it after SIGKILL at any moment: handles, drafts, what the kernel may have cached. It lies in the memory that handover.h
 * describes, or in private memory where no daemon will follow. This is a layout; what is done with it is fs/remains.c and fs/takeover.c.
 *
 * Invariants: (1) a record is whole at any moment: a handle is there when `fh` is not 0, a draft's state is the copy that `which` names; (2) what
 * was answered to the kernel was recorded before.
 * Thread-safety: see fs/remains.h; a process that died is no thread.
 */
#ifndef STEMMA_REMAINS_H
#define STEMMA_REMAINS_H

#include "stemma/name.h"
#include "stemma/types.h"

#include <stdatomic.h>

enum {
    STM_REMAIN_HANDLES = 1 << 17, /* open for writing at a time */
    STM_REMAIN_DRAFTS = 1 << 17,  /* objects that are open for writing at a time */
    STM_SEEN_BITS = 1 << 16,      /* lines and objects whose past the kernel may have attributes of, by hash */
    STM_SEEN_VIEWS = 64           /* views that the kernel may have nodes of; if there are more, their attributes are not cached */
};

enum stm_handle_flags {
    STM_HANDLE_CUT = 1, /* its O_TRUNC has been done */
    STM_HANDLE_LOST = 2 /* its draft was lost: what is written and saved through it answers EIO */
};

struct stm_handle {
    _Atomic uint64_t fh; /* what the kernel knows; 0: free */
    uint64_t object;
    uint64_t unique; /* of the request that opened it */
    uint64_t redo;   /* LOST: only this request's work was, so that it may be done again; 0: none */
    uint32_t serial; /* how often the record was taken: part of fh */
    _Atomic uint32_t flags;
};

struct stm_draft_state {
    uint64_t object;               /* 0: free */
    uint64_t id;                   /* names the file in stage/ */
    uint64_t first, last;          /* requests: that made it dirty, that changed it last */
    uint64_t size, base_len;       /* of what is staged (stage.h) */
    uint64_t base_line, base_seq;  /* the version below it; seq 0: none */
    uint64_t line, seq;            /* of the pending version */
    int64_t mtime_ns, ctime_ns;    /* while dirty */
    uint32_t base_ordinal, period; /* period: how often it has become dirty */
    uint32_t uid, gid, pid;
    uint8_t dirty, staged, cut, flushed, pending, hollow, replacing;
};

struct stm_draft_slot {
    _Atomic uint32_t which;
    _Atomic uint32_t bump;   /* enum stm_bump: asked for by xattr, of the next version */
    _Atomic uint32_t untold; /* bytes of it were lost, and the kernel may still have them */
    struct stm_draft_state copy[2];
};

/* `cp new word@minor`: what the nameless object is to replace. */
struct stm_replace {
    uint64_t parent;
    char name[STM_NAME_MAX + 1];
    bool exact;
    bool even_empty; /* opened to be written anew: then closing it unwritten makes an empty version */
    struct stm_semver semver;
    enum stm_bump bump;
};

struct stm_remains {
    _Atomic uint64_t next_node; /* virtual nodes below have been told to the kernel */
    _Atomic uint64_t apply_seq; /* a change that the kernel did not make is under way, and commits from here on; 0: none */
    _Atomic uint64_t seen_lines[STM_SEEN_BITS / 64], seen_objects[STM_SEEN_BITS / 64];
    _Atomic uint32_t seen_views[STM_SEEN_VIEWS]; /* filled from the front; 0: free */
    _Atomic uint32_t many_views;
    _Atomic uint32_t handles_used, drafts_used; /* records from here on were never used */
    struct stm_handle handles[STM_REMAIN_HANDLES];
    struct stm_draft_slot drafts[STM_REMAIN_DRAFTS];
    struct stm_replace replaces[STM_REMAIN_DRAFTS]; /* of the draft with the same number */
};

#endif
