/*
 * fsck.h: checking a whole store, repairing it, and reading it through in the background.
 *
 * A check looks at the store as it was at one moment (a frozen engine), so that it runs beside writers and reports nothing that they
 * explain. What it checks: the superblock, the allocators, the log (no hole, no time that goes back), entries and objects both ways,
 * link and entry counts, parents and cycles, the past of names, lines and their rows, versions, contents and chunk lists, every chunk,
 * the index by hash and the references both ways, the rest of the index, the frame of every record; without `quick` also the bytes of
 * every chunk and the hash of every content.
 *
 * A repair is a transaction of its own that is made only if the records it was concluded from are still as they were. It never invents
 * data: what is lost is put into quarantine (docs/FORMAT.md), which names it; reads of it answer STM_E_CORRUPT; a chunk in quarantine is
 * no longer found by deduplication, so that saving the same bytes again stores them anew, and heals the old place.
 *
 *     struct stm_fsck_options opt = {.repair = true, .finding = print};
 *     struct stm_fsck_result result;
 *     err = stm_fsck(store, &opt, &result);        // 0: it was checked; what was found is in result
 *
 * Memory: 16 MiB for counting links (in as many passes over the entries as there are 4 Mi ids), 16 MiB for decoded pages, and what the
 * engine caches; nothing grows with the store but the time.
 * Thread-safety: any thread; one stm_fsck or stm_scrub_step at a time per store. Callbacks run on the caller's thread.
 */
#ifndef STEMMA_FSCK_H
#define STEMMA_FSCK_H

#include "stemma/store.h"

enum stm_finding_state {
    STM_FINDING_LEFT,        /* needs a repair, or cannot be repaired: see remedy */
    STM_FINDING_REPAIRED,    /* and is no more */
    STM_FINDING_PLANNED,     /* a dry run: a repair would be tried */
    STM_FINDING_QUARANTINED, /* damage that was put into quarantine by this repair */
    STM_FINDING_KNOWN        /* damage that is in quarantine already */
};

/* All borrowed for the call; texts are UTF-8 as far as names are, never NULL, "" where there is nothing to say. */
struct stm_finding {
    const char *code;   /* stable: "entry-dangling"; all are listed in stemma(1) */
    const char *where;  /* a path, a version of it, an object, a chunk */
    const char *record; /* which record: "dentry 00000001…" */
    const char *what;   /* what is wrong, with its figures */
    const char *consequence, *remedy;
    uint64_t object, line, seq, segment; /* 0: does not apply */
    uint32_t index;
    enum stm_finding_state state;
};

struct stm_fsck_touch {
    uint64_t parent, object;
    struct stm_slice name;
};

struct stm_fsck_options {
    bool repair, dry_run; /* dry_run: repairs nothing, says what would be repaired */
    bool quick;           /* records only: no chunk is unpacked, no large content hashed */
    void (*finding)(void *arg, const struct stm_finding *finding);
    /*
     * Often, in a large content after each MiB: what is being read, how many records of about how many (0: not known), how many bytes. false:
     * stop (-ECANCELED).
     */
    bool (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total, uint64_t bytes);
    /*
     * Runs commit(commit_arg) where somebody caches what is stored: an entry (parent and name, or parent 0) and an object (or 0) will
     * change. Returns commit's result. NULL: it is simply run.
     */
    int (*apply)(void *arg, const struct stm_fsck_touch *touch, int (*commit)(void *commit_arg), void *commit_arg);
    void *arg;
};
struct stm_fsck_result {
    uint64_t seq;      /* the commit at which the (last) check looked */
    uint64_t records;  /* read by one pass */
    uint64_t contents; /* whose hash was recomputed */
    uint64_t bytes;    /* of contents and chunks that were unpacked */
    uint64_t left, repaired, quarantined, planned, known;
    unsigned passes;
};

/* 0 when all was looked at, whatever was found; else an error that kept it from looking. -EROFS: to be repaired, but read-only. */
STM_MUST_CHECK int stm_fsck(struct stm_store *s, const struct stm_fsck_options *opt, struct stm_fsck_result *ret);

/*
 * Scrub: reads everything, a piece at a time, checks every frame and the bytes of every chunk, puts what is damaged into quarantine (once) and heals chunks of
 * which a good copy has turned up. Where it is, it writes down in the store (not in a read-only one), so that it goes on after a restart.
 */
struct stm_scrub {
    /* may be read */
    uint64_t passes;        /* that were completed, ever */
    int64_t completed_ns;   /* when the last one was; 0: never */
    uint64_t findings;      /* damaged records that this pass has met */
    uint64_t last_findings; /* and the last complete one, if it was completed since the store was opened */
    uint64_t healed;        /* since the store was opened */
    uint64_t bytes;         /* read in this pass */
    /* private */
    struct stm_buf at;
    unsigned space;
    bool loaded;
};
void stm_scrub_release(struct stm_scrub *scrub);
/*
 * Reads on for about `bytes` bytes; finding (may be NULL) is told of each damaged record that is not in quarantine yet. Returns the bytes it
 * read; 0 at the end of a pass (the next call begins another); or an error.
 */
STM_MUST_CHECK int64_t stm_scrub_step(struct stm_store *s, struct stm_scrub *scrub, size_t bytes,
                                      void (*finding)(void *arg, const struct stm_finding *finding), void *arg);
/* Writes down where it is; 0 or an error. Call it at a stop, and now and then. */
STM_MUST_CHECK int stm_scrub_save(struct stm_store *s, struct stm_scrub *scrub);

#endif
