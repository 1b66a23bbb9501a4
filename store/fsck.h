/*
 * fsck.h (internal): what the parts of a check share: the frozen store, the scan that gets past damage, flaws and their mends.
 *
 *     fsck.c          passes in their order, rounds of repair, the result
 *     fsck_scan.c     reading a space to its end whatever is damaged in it
 *     fsck_flaw.c     from a flaw to a finding with a place, a consequence and a remedy
 *     fsck_mend.c     repairs as guarded transactions
 *     fsck_rescue.c   what mends do to objects
 *     fsck_sys.c fsck_tree.c fsck_object.c fsck_line.c fsck_index.c fsck_content.c fsck_list.c fsck_chunk.c      the passes
 *     fsck_seen.c     what they remember, within bounds
 *     quarantine.c    the records of what is damaged, and healing
 *
 * Thread-safety: one thread.
 */
#ifndef STEMMA_FSCK_INNER_H
#define STEMMA_FSCK_INNER_H

#include "dentry.h"
#include "quarantine.h"
#include "save.h"
#include "stemma/fsck.h"

/* X(name, code, consequence, remedy) */
#define STM_FLAWS(X)                                                                                                                       \
    X(RECORD, "record-damaged", "reads of it fail with EIO",                                                                               \
      "restore what it held from a backup; --repair removes or rebuilds what others know, and names the rest")                             \
    X(RANGE, "range-unreadable", "records of this range cannot be read",                                                                   \
      "--repair drops the part of the database that cannot be read and keeps all else; the disk may be failing")                           \
    X(STRANGE, "record-strange", "it means nothing to this program, or contradicts itself", "report it; a newer program may know it")      \
    X(SUPER, "superblock", "the store cannot be opened again", "restore the store from a backup")                                          \
    X(IDS, "ids-low", "an id could be given twice", "--repair raises the allocator")                                                       \
    X(VIEWS, "views-low", "a number of a view could be given twice", "--repair raises the allocator")                                      \
    X(LOG_HOLE, "log-hole", "a commit is missing: what it changed may be lost, and dates may be answered wrongly",                         \
      "restore from a backup what that commit changed")                                                                                    \
    X(LOG_TIME, "log-time", "dates around it may be answered wrongly", "none is needed")                                                   \
    X(ENTRY_DANGLING, "entry-dangling", "the name is listed and cannot be opened", "--repair removes the name")                            \
    X(ENTRY_TYPE, "entry-type", "listings show another type than the object has", "--repair writes the object's type")                     \
    X(ENTRY_TWICE, "entry-twice", "a directory has two names", "--repair removes the one its directory does not know")                     \
    X(ENTRY_LOST, "entry-without-directory", "the name cannot be reached", "--repair removes it; what it names gets one in /lost+found")   \
    X(PAST, "past-interval", "views of the past show a name wrongly", "--repair removes the interval")                                     \
    X(LINKS, "link-count", "the link count is wrong: the file could go too early, or never", "--repair writes the count")                  \
    X(ENTRIES, "entry-count", "the directory's size and link count are wrong, and it may not be removable", "--repair writes the counts")  \
    X(LOST, "unreachable", "nothing names it", "--repair gives it a name in /lost+found")                                                  \
    X(CYCLE, "directory-cycle", "a directory lies below itself, and cannot be reached", "--repair moves it to /lost+found")                \
    X(PARENT, "directory-parent", "the way up from the directory leads elsewhere", "--repair writes the directory that names it")          \
    X(ORPHAN, "orphan-index", "an unlinked object is never purged, or another would be", "--repair makes object and index agree")          \
    X(XATTR, "xattr-index", "extended attributes are not found, or nobody's", "--repair makes object and index agree")                     \
    X(HEAD, "head-missing", "reading the file fails with EIO; older versions may be readable",                                             \
      "restore an older version ('stemma restore'), or the file from a backup")                                                            \
    X(SIZE, "size-wrong", "the file is shown with a wrong size", "--repair writes the version's")                                          \
    X(TIP, "tip-wrong", "the next save could take a number that was given", "--repair writes the newest version")                          \
    X(OWNER, "line-owner", "the versions are shown as another object's", "--repair writes the object that carries the line")               \
    X(FORK, "line-fork", "older versions of the line are not found", "restore them from a backup")                                         \
    X(PAST_LINE, "past-line", "views of the past show another content of the object", "--repair removes the record")                       \
    X(ROW, "version-row", "the version is not found by its number", "--repair rebuilds the row from the version")                          \
    X(ROW_DANGLING, "row-dangling", "a number is listed that no version has", "--repair removes the row")                                  \
    X(VERSION_LOST, "version-missing", "reads of that version fail with EIO", "restore that version from a backup")                        \
    X(ORDER, "version-order", "versions of the line may not be found by number or date", "report it")                                      \
    X(CONTENT, "content-damaged", "reads of that version fail with EIO",                                                                   \
      "save the same bytes again, or restore the version from a backup")                                                                   \
    X(CONTENT_LEFT, "content-left-over", "space is wasted", "--repair removes it")                                                         \
    X(CHUNK, "chunk-damaged", "reads of the versions that share it fail with EIO",                                                         \
      "save the same bytes again, or restore those versions from a backup")                                                                \
    X(CHUNK_LOST, "chunk-missing", "reads of the versions that share it fail with EIO",                                                    \
      "save the same bytes again, or restore those versions from a backup")                                                                \
    X(HASH_DANGLING, "chunkhash-dangling", "equal bytes are stored anew instead of shared", "--repair removes the row")                    \
    X(HASH_MISSING, "chunkhash-missing", "equal bytes are stored anew instead of shared", "--repair adds the row")                         \
    X(REF_MISSING, "reference-missing", "a chunk in use would count as unused", "--repair adds the reference")                             \
    X(REF_DANGLING, "reference-dangling", "an unused chunk would count as used", "--repair removes the reference")                         \
    X(SEGMENT, "segment-unregistered", "chunks in use could be swept", "--repair registers the segment")                                   \
    X(SEGMENT_GONE, "segment-missing", "nothing uses it", "--repair removes the row")                                                      \
    X(VIEW, "view-index", "a number of a view means nothing", "--repair makes both rows agree")                                            \
    X(EFFECTIVE, "effective-index", "dates of an imported history may be answered wrongly", "--repair removes the row")                    \
    X(HEALED, "quarantine-stale", "what is in quarantine can be read again", "--repair takes it out of quarantine")

enum stm_flaw_kind {
#define X(name, code, consequence, remedy) STM_FLAW_##name,
    STM_FLAWS(X)
#undef X
};

enum { STM_FSCK_WINDOW = 1 << 22 /* ids counted at a time */, STM_FSCK_RANGES = 32 };

/* A range that cannot be read: dealt with after the round, since the frozen store must not lose what is written anew. */
struct stm_fsck_range {
    enum stm_space space;
    struct stm_key low, high;
};

struct stm_fsck {
    struct stm_store *store;  /* to be repaired */
    struct stm_store *frozen; /* what is looked at */
    struct stm_view v;        /* its head */
    const struct stm_fsck_options *opt;
    struct stm_fsck_result *result;
    bool repair, tell; /* this round: repairs are made; what is not repaired is told */
    uint64_t total;    /* keys, for progress */
    const char *phase;
    uint64_t top_id;   /* the highest object, line or segment seen */
    uint64_t top_view; /* the highest number of a view */
    uint64_t seq;      /* the newest commit */
    uint64_t swept;    /* segments from here on may be unregistered */
    bool blind;        /* an entry could not be read: that nothing names an object proves nothing */
    unsigned named;    /* objects whose name was searched for, which is slow */
    uint32_t *links;   /* names of the objects [base, base + STM_FSCK_WINDOW) */
    uint64_t base;
    void *arg; /* of the pass that runs */
    struct stm_fsck_range ranges[STM_FSCK_RANGES];
    unsigned n_ranges;
    struct stm_fsck_seen *seen;
};

/* ---- scanning ---- */

/* Tells how far the check (a struct stm_fsck) is: 0, or -ECANCELED to stop it. */
STM_MUST_CHECK int stm_fsck_go_on(void *fsck);

/*
 * Positions an iterator that failed with `error` (STM_E_CORRUPT; or -EIO, when the disk does not give a block back) after `last` where reading
 * works again: as iter_seek.
 */
STM_MUST_CHECK int stm_seek_past(struct stm_iter *it, struct stm_slice last, int error);
/* key and payload are borrowed. 0 to go on, or an error. */
typedef int stm_scan_fn(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload);
/*
 * Calls each for every sound record of the space with from <= key < to (empty slices: all). Damaged ones go to `bad` (NULL: passed over).
 */
struct stm_scan {
    enum stm_space space;
    struct stm_slice from, to;
    stm_scan_fn *each, *bad; /* bad gets the key and no payload */
};
STM_MUST_CHECK int stm_fsck_scan(struct stm_fsck *f, const struct stm_scan *s);
/* Is it there? 1, 0, or an error (STM_E_CORRUPT: it is there and damaged, or that cannot be told). */
STM_MUST_CHECK int stm_fsck_has(struct stm_fsck *f, enum stm_space space, const struct stm_key *key);
/* Is there a key in [low, high)? 1 (also when that cannot be told), 0, or an error. */
STM_MUST_CHECK int stm_fsck_any(struct stm_fsck *f, enum stm_space space, const struct stm_key *low, const struct stm_key *high);
/* The bytes as a key. -EINVAL: too long to be one. */
STM_MUST_CHECK int stm_fsck_key(struct stm_slice bytes, struct stm_key *ret);
void stm_fsck_saw(struct stm_fsck *f, uint64_t id);

/* ---- mends ---- */

enum { STM_MEND_GUARDS = 4, STM_MEND_WRITES = 6 };
struct stm_mend_part {
    enum stm_space space;
    struct stm_key key;
    bool remove;
    struct stm_buf payload;
};
/* Made by the words below; consumed by stm_fsck_found. */
struct stm_mend {
    struct stm_mend_part guard[STM_MEND_GUARDS], write[STM_MEND_WRITES];
    unsigned guards, writes;
    bool quarantines;                           /* it mends nothing, but says what is known */
    int err;                                    /* of a word that failed */
    int (*extra)(struct stm_txn *t, void *arg); /* after the guards held; a plain struct that outlives the mend */
    void *arg;
    struct stm_fsck_touch touch;
};
/* The mend holds only if this record is as it is in the frozen store. */
void stm_mend_guard(struct stm_mend *m, enum stm_space space, const struct stm_key *key);
void stm_mend_remove(struct stm_mend *m, enum stm_space space, const struct stm_key *key);
void stm_mend_put(struct stm_mend *m, enum stm_space space, const struct stm_key *key, struct stm_slice payload);
/* Puts it into quarantine; hash may be NULL (not known). */
void stm_mend_quarantine(struct stm_mend *m, enum stm_space space, struct stm_slice key, const struct stm_quarantine *q);
void stm_mend_release(struct stm_mend *m);
/* 1 done, 0 something has changed meanwhile, or an error. */
STM_MUST_CHECK int stm_mend_run(struct stm_fsck *f, struct stm_mend *m);

/* ---- flaws ---- */

struct stm_flaw {
    enum stm_flaw_kind kind;
    enum stm_space space; /* of the record that it is about */
    struct stm_slice key;
    uint64_t parent; /* an entry */
    struct stm_slice name;
    uint64_t object, line, seq, segment;
    uint32_t index;
    struct stm_semver semver; /* with line: which version; major 0: not known */
    bool known;               /* it is in quarantine */
    bool done;                /* it was mended already */
    struct stm_mend *mend;    /* NULL: there is none */
};
/* Counts it, mends it if this round mends, tells it. The text says what is wrong, with figures. Releases the mend. 0, or an error that ends the check. */
STM_MUST_CHECK int stm_fsck_found(struct stm_fsck *f, const struct stm_flaw *flaw, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- passes ---- */

STM_MUST_CHECK int stm_fsck_sys(struct stm_fsck *f);
STM_MUST_CHECK int stm_fsck_ids(struct stm_fsck *f); /* at the end: the allocators */
STM_MUST_CHECK int stm_fsck_tree(struct stm_fsck *f);
STM_MUST_CHECK int stm_fsck_past(struct stm_fsck *f);
STM_MUST_CHECK int stm_fsck_objects(struct stm_fsck *f);
STM_MUST_CHECK int stm_fsck_versions(struct stm_fsck *f);
STM_MUST_CHECK int stm_fsck_index(struct stm_fsck *f);
STM_MUST_CHECK int stm_fsck_contents(struct stm_fsck *f);
STM_MUST_CHECK int stm_fsck_chunks(struct stm_fsck *f);

/* fsck_line.c: rows of lines, called for each key with that tag. */
STM_MUST_CHECK int stm_fsck_row(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload);
STM_MUST_CHECK int stm_fsck_line(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload);
STM_MUST_CHECK int stm_fsck_past_line(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload);

/* fsck_content.c: the bytes of one version, whose record is sound. */
STM_MUST_CHECK int stm_fsck_content(struct stm_fsck *f, const struct stm_version *ver);

/* fsck_list.c: the list of a chunked content: shape, lengths, references; *ret_bad is set where a page cannot be read or is wrong. */
STM_MUST_CHECK int stm_fsck_list(struct stm_fsck *f, const struct stm_version *ver, bool *ret_bad);
/* Looks at each chunk of the content by itself: cannot some be read, was one of them healed? */
STM_MUST_CHECK int stm_fsck_leaves(struct stm_fsck *f, const struct stm_version *ver, bool *ret_parts, bool *ret_healed);
/* A chunk that cannot be read, or is not there: healed from another place, or put into quarantine. Told once in a round. */
STM_MUST_CHECK int stm_fsck_bad_chunk(struct stm_fsck *f, const struct stm_place *p, bool *ret_healed);

/* fsck_seen.c: what a round remembers, in bounded memory: forgetting costs time, or a second line about the same damage. */
STM_MUST_CHECK int stm_fsck_seen_new(struct stm_fsck_seen **ret);
void stm_fsck_seen_free(struct stm_fsck_seen *s);
/* Was it here before? It is remembered from now on. */
bool stm_seen_damage(struct stm_fsck_seen *s, uint64_t segment, uint32_t index);
bool stm_seen_page(struct stm_fsck_seen *s, uint64_t segment, uint32_t index);
/* The list of the owner of a reference, for as long as it is among the last ones; new: it is not filled yet. */
struct stm_owner {
    uint8_t tag;
    uint64_t owner;
    uint32_t part;
    bool gone, unreadable; /* the list */
    struct stm_buf list;
};
struct stm_owner *stm_seen_owner(struct stm_fsck_seen *s, struct stm_slice ref_key, bool *ret_new);

/* fsck_rescue.c: what mends of objects do, as extra; arg is one of these. Nothing of the kind (0) when the object is gone. */
struct stm_rescue {
    uint64_t object;
    uint32_t nlink; /* that it gets, with its name */
};
/* Names an object in /lost+found, which is made if need be. */
STM_MUST_CHECK int stm_rescue_build(struct stm_txn *t, void *arg);
/* Sets what a mend has found out about an object. */
struct stm_object_fix {
    uint64_t object;
    enum { STM_FIX_LINKS = 1, STM_FIX_ENTRIES = 2, STM_FIX_PARENT = 4, STM_FIX_SIZE = 8, STM_FIX_TIP = 16 } what;
    uint32_t nlink;
    uint64_t entries, parent, size;
    struct stm_tip tip;
    uint32_t flags_set, flags_clear;
};
STM_MUST_CHECK int stm_object_fix_build(struct stm_txn *t, void *arg);

/*
 * salvage.c: saves what can be read of the engine's file that has this range, and drops the file. 0; -ENOENT or -EINVAL when that cannot be
 * done. Commits wait meanwhile.
 */
STM_MUST_CHECK int stm_salvage(struct stm_store *s, enum stm_space space, const struct stm_damage *d);

/* store.c: a store that shows another as it is now; read-only, with a small cache of its own. */
STM_MUST_CHECK int stm_store_freeze(struct stm_store *s, struct stm_store **ret);
void stm_store_thaw(struct stm_store *frozen);
/* store.c: the allocator gives nothing below id. */
STM_MUST_CHECK int stm_store_raise_ids(struct stm_store *s, uint64_t id);

#endif
