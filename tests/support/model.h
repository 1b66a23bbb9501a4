/*
 * model.h: what a store must do, in plain arrays: names, objects, lines and their versions, without records, seqs in keys, or sharing.
 * The model is told the same operations as the store and says which error each gives and how the tree looks afterwards; lines are whole
 * copies of chains, so that the store's forks and floors have nothing in common with it. A model is a plain value: it may be copied.
 *
 *     struct model m;
 *     model_begin(&m);
 *     err = model_apply(&m, &op, seq);      // the error the store must give, too
 *
 * Contents are small numbers, names are numbers of model_names. Object 0 is the root directory; as an entry 0 means none.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_TESTS_MODEL_H
#define STEMMA_TESTS_MODEL_H

#include "stemma/semver.h"

enum {
    MODEL_NAMES = 8,
    MODEL_JUNK = 6 /* the names from here on are junk */,
    MODEL_OBJECTS = 900,
    MODEL_CHAIN = 24,
    MODEL_IDS = 4096,
    MODEL_NONE = -1
};

extern const char *const model_names[MODEL_NAMES];

enum model_kind {
    MODEL_CREATE,
    MODEL_SAVE,
    MODEL_UNLINK,
    MODEL_RMDIR,
    MODEL_LINK,
    MODEL_RENAME,
    MODEL_EXCHANGE,
    MODEL_REPLACE,
    MODEL_KINDS
};

struct model_op {
    enum model_kind kind;
    int dir, name, dir2, name2; /* dir2, name2: where to */
    int object;                 /* save, link; create and replace: out, the new one */
    int content;
    unsigned flags; /* save, replace: enum world_flags */
    uint32_t type;  /* create: S_IFMT bits */
    bool drop, noreplace;
};

struct model_version {
    int content, id; /* id: which act of saving; never the same again */
    struct stm_semver semver;
    int maker, carry; /* the object that made it, and how many lines that had carried before */
    bool inherited;   /* another line's, listed here too */
    uint64_t seq;
};

struct model_object {
    uint32_t type;
    int nlink, parent, entries;                /* directories: of the three, and the next */
    int name[MODEL_NAMES], waits[MODEL_NAMES]; /* objects; waits: the removed one whose line waits for the name */
    struct model_version line[MODEL_CHAIN];    /* regular files: the chain of the line it carries */
    int versions, carry;
    int shows, shows_id;               /* content and act, MODEL_NONE: empty without a version */
    bool junk, gone, purged, borrowed; /* gone: its line went on; borrowed: its line was not born with it */
    bool keeper;                       /* is no object: holds a line that waits where its file was renamed to a junk name */
    uint64_t dropped;                  /* its line as a temporary file was forgotten by this commit */
};

struct model {
    struct model_object o[MODEL_OBJECTS];
    int n, next_id;
    bool dead[MODEL_IDS]; /* acts of saving that were amended: the past need not show them */
    bool full;            /* an array is full: the last operation must not be done */
};

void model_begin(struct model *m);
/* 0 or the error. After an error, or with m->full set, the model is spoilt: go on with a copy made before. */
int model_apply(struct model *m, struct model_op *op, uint64_t seq);

#endif
