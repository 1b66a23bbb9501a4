/*
 * handover.h: what outlives a daemon: the kernel's connection, held by the supervisor (src/supervisor.c), and a piece of memory that the
 * supervisor and each daemon of one mount share. A new daemon reads there what the one before it had agreed with the kernel, what it was
 * working on and what it had in memory only. Nothing of it outlives the mount, and nothing of it is a store's content.
 *
 *     supervisor                                      daemon
 *     stm_handover_new(&memory, &h)
 *     stm_connection_mount(&options, dir, &device)
 *     fork, exec ------------------------------------> stm_handover_map(memory, &h); stm_fs_options.handover = h
 *                                                      stm_fs_adopt(fs, device, dir)
 *     it died: stm_handover_blame(h, signal)
 *     stm_connection_resend(device)
 *     fork, exec ------------------------------------> the same; stm_handover_begun(h): this is a takeover
 *
 * The layout is one format: a daemon of another version may map it (stemma upgrade). Whoever changes it, changes STM_HANDOVER_VERSION;
 * a daemon refuses a version that it does not know, and the one before it goes on.
 *
 * Thread-safety: fields are atomic, or written once before anyone else may look (`generation`, the recorded INIT before `reply_len`).
 */
#ifndef STEMMA_HANDOVER_H
#define STEMMA_HANDOVER_H

#include "stemma_fs/remains.h"

enum {
    STM_HANDOVER_VERSION = 1,
    STM_HANDOVER_WORKERS = 64,  /* requests being worked on at a time */
    STM_HANDOVER_SUSPECTS = 64, /* requests that were in flight when a daemon died by its own fault */
    STM_HANDOVER_FATAL = 3,     /* in flight in so many such deaths: answered EIO */
    STM_HANDOVER_INIT = 512,    /* bytes of an INIT request or reply */
    STM_HANDOVER_TEXT = 256     /* the last cause of death */
};
#define STM_UNIQUE_RESENT (UINT64_C(1) << 63) /* in a request's id: the kernel asks again */

/* What a worker works on; a line of the cache for each. */
struct stm_in_flight {
    _Alignas(64) _Atomic uint64_t unique; /* without STM_UNIQUE_RESENT; 0: nothing */
    _Atomic uint64_t node;
    _Atomic uint32_t opcode;
};

struct stm_suspect {
    _Atomic uint64_t unique; /* 0: free */
    _Atomic uint32_t deaths;
};

/*
 * How a daemon left, by its own word: 1 + the exit code of its process, and whether the mount is to end with it. Codes of its own beside
 * those of src/exit.h:
 */
enum stm_left {
    STM_LEFT_HANDOVER = 64, /* start another at once: an upgrade, or it wants to open the store afresh */
    STM_LEFT_REFUSED = 65,  /* it cannot take this connection over (INIT differs, unknown layout) */
    STM_LEFT_FINAL = 256    /* a bit: unmounted, or told to stop. Alone: it is still saving */
};
#define STM_LEFT_CODE(left) ((int)(((left)&255) - 1))

struct stm_handover {
    char magic[8];
    uint32_t version, size;
    uint64_t generation; /* random, of this mount: together with a request's id it names the request for all time */
    _Atomic int64_t mounted_ns;
    /* INIT as the kernel asked and as it was answered, whole messages; reply_len 0: not yet answered. */
    _Atomic uint32_t init_len, reply_len;
    unsigned char init[STM_HANDOVER_INIT], reply[STM_HANDOVER_INIT];
    /* the supervisor's */
    _Atomic int32_t supervisor;       /* its pid */
    _Atomic int32_t daemon;           /* pid of the daemon that was started last */
    _Atomic uint32_t daemons;         /* how many were started so far, this one included */
    _Atomic uint32_t deaths;          /* of them: those that did not leave by their own word */
    _Atomic int64_t died_ns;          /* when the last one did (CLOCK_REALTIME); 0: none */
    char cause[STM_HANDOVER_TEXT];    /* how; written while no daemon runs */
    _Atomic uint32_t failed_upgrades; /* binaries that did not come to serve */
    /* the daemon's */
    _Atomic uint32_t serving;   /* number (`daemons`) of the daemon that came to serve last */
    _Atomic uint32_t left;      /* enum stm_left, stored last; 0: it has not said a word. Cleared by the supervisor. */
    _Atomic uint32_t upgrading; /* number of the daemon that was asked to give way; who sets it writes `binary` */
    char binary[4096];          /* what to start next ("" : the same again); written by a daemon before it leaves */
    struct stm_in_flight in_flight[STM_HANDOVER_WORKERS];
    _Atomic uint32_t suspected; /* how many there are at most */
    struct stm_suspect suspects[STM_HANDOVER_SUSPECTS];
    struct stm_remains remains; /* the filesystem's; sparse */
};

/* ---- the shared memory (handover.c) ---- */

/* Makes it; the descriptor (close-on-exec) is to be inherited by daemons. 0 or -errno. */
STM_MUST_CHECK int stm_handover_new(int *ret_fd, struct stm_handover **ret);
/* Maps what an inherited descriptor shows. -EPROTO: it is of another version, or none at all. */
STM_MUST_CHECK int stm_handover_map(int fd, struct stm_handover **ret);
void stm_handover_unmap(struct stm_handover *h);

/* Did a daemon agree with the kernel already? Then the next one takes a mount over that is in use. */
bool stm_handover_begun(const struct stm_handover *h);
/* Can the kernel ask again for what a dead daemon had taken (FUSE_HAS_RESEND)? Known once begun; false before. */
bool stm_handover_possible(const struct stm_handover *h);

/* A daemon's worker, around each request. slot < STM_HANDOVER_WORKERS, its own. */
void stm_handover_enter(struct stm_handover *h, unsigned slot, uint64_t unique, uint32_t opcode, uint64_t node);
void stm_handover_leave(struct stm_handover *h, unsigned slot);

/*
 * The supervisor, when no daemon runs: what was in flight is forgotten, and remembered as suspect if the daemon died by its own fault.
 * Returns how many requests were in flight.
 */
unsigned stm_handover_blame(struct stm_handover *h, bool own_fault);
/* In how many such deaths was the request in flight? STM_HANDOVER_FATAL and more: do not run it again. Cheap when there are no suspects. */
unsigned stm_handover_suspicion(const struct stm_handover *h, uint64_t unique);
/* It has been answered. */
void stm_handover_acquit(struct stm_handover *h, uint64_t unique);

/* ---- the connection (connection.c) ---- */

struct stm_fs_options;

/* Mounts on dir (absolute, existing) without serving; the descriptor of the connection is close-on-exec. As stm_fs_mount. */
STM_MUST_CHECK int stm_connection_mount(const struct stm_fs_options *opt, const char *dir, int *ret_fd);
/* The kernel asks again for everything that was taken and not answered. -errno; -EINVAL where the kernel cannot. */
STM_MUST_CHECK int stm_connection_resend(int fd);
/* Has it ended (unmounted, or aborted)? Does not block. */
bool stm_connection_gone(int fd);
/* Takes the mount point away; what has files open there goes on being served while the connection lives. */
void stm_connection_detach(const char *dir);

#endif
