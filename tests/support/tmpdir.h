/*
 * tmpdir.h: directories for tests, removed with everything in them when the process that made them exits.
 *
 *     const char *dir = stm_tmpdir();          // never NULL: without a directory the test program ends
 *     char *path = stm_tmpdir_path(dir, "db"); // "DIR/db", lives as long as the directory
 *
 * They are made below $TMPDIR, or /tmp. A child that was forked removes nothing.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_TESTS_TMPDIR_H
#define STEMMA_TESTS_TMPDIR_H

const char *stm_tmpdir(void);
char *stm_tmpdir_path(const char *dir, const char *name);

/* Removes a tree at once; that it is not there is fine. */
void stm_tmpdir_remove(const char *path);

#endif
