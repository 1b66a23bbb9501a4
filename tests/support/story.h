/*
 * story.h: a story that uses all operations of the store, step by step, each of which reports its error instead of ending the test; and what a store
 * looks like, as text that can be compared between stores. For tests that disturb a store and see what becomes of it.
 *
 *     story_begin();
 *     for (const struct story_step *s = story_steps; s->name; s++)
 *         err = s->run(&world);
 *     story_end();
 *
 * A step that failed with nothing done can be run again. Thread-safety: one thread, one story at a time.
 */
#ifndef STEMMA_TESTS_STORY_H
#define STEMMA_TESTS_STORY_H

#include "world.h"

struct story_step {
    const char *name;
    int (*run)(struct world *w);
    bool partial;    /* may be done in part when it fails: it is several commits */
    unsigned sparse; /* not 0: has many allocations; a test may leave out more and more, an n-th of how far it has come */
};

extern const struct story_step story_steps[]; /* the last has no name */

/* What the steps share: contents. */
void story_begin(void);
void story_end(void);
/* Every name, below the root, with its attributes and versions; the caller frees it. */
char *story_describe(struct world *w);

#endif
