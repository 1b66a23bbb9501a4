/*
 * loader.h: an import under test: a store in memory, a loader into it, and what the import says.
 *
 *     loader_open(&l, "/t");
 *     assert_int_equal(stm_import_dir(&l.im, dir), STM_EXIT_OK);
 *     loader_expect(&l, "/t/file", "content");
 *     loader_close(&l);
 *
 * loader_again gives a fresh loader, as a second run of the command would have. Thread-safety: none.
 */
#ifndef STEMMA_TESTS_LOADER_H
#define STEMMA_TESTS_LOADER_H

#include "import.h"
#include "world.h"

struct loader {
    struct world w;
    struct stm_bulk *bulk;
    struct stm_out out;
    struct stm_buf said; /* zero-terminated */
    struct stm_import im;
    char target[64];
};

void loader_open(struct loader *l, const char *target);
void loader_again(struct loader *l);
void loader_close(struct loader *l); /* checks the store too */

/* The object at a path; 0 when there is none. */
uint64_t loader_find(struct loader *l, const char *path);
/* A file with that content; NULL: nothing is there. */
void loader_expect(struct loader *l, const char *path, const char *content);
/* The text was said (and since: everything that was said is forgotten). */
void loader_expect_said(struct loader *l, const char *part);
/* Writes a file for a source to read. */
void loader_write(const char *path, const void *data, size_t len);

#endif
