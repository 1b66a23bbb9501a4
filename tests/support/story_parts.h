/*
 * story_parts.h: what the files of the story share (story.h); nobody else's business. Thread-safety: as the story's.
 */
#ifndef STEMMA_TESTS_STORY_PARTS_H
#define STEMMA_TESTS_STORY_PARTS_H

#include "story.h"

enum { STORY_LARGE = 200000, STORY_SPARSE = 17 << 20, STORY_GAP = 200000, STORY_PIECE = 3000 };

extern char *story_large; /* STORY_LARGE bytes that hardly compress */

int story_find(struct world *w, const char *path, uint64_t *ret);
/* The source of the sparse content: a piece of data at every gap. */
int story_read_pieces(void *arg, uint64_t off, void *buf, size_t len);

int story_list(struct world *w);
int story_read_large(struct world *w);
int story_read_sparse(struct world *w);
int story_find_extents(struct world *w);
int story_read_the_past(struct world *w);
int story_find_versions(struct world *w);
int story_read_log(struct world *w);
int story_mark(struct world *w);
int story_read_mark(struct world *w);
int story_open_another(struct world *w);
int story_check(struct world *w);
int story_scrub(struct world *w);
int story_bulk(struct world *w);

#endif
