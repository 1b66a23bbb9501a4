/*
 * import.h: the sources of `stemma import`: they read a directory, a dictd database or a git repository and feed a sink (stemma/bulk.h),
 * which is the store's loader, or a stream to the daemon that has the store (stm_remote here, stm_import_serve there).
 *
 *     struct stm_import im = {.sink = stm_bulk_sink(bulk), .out = &out, .progress = isatty(2)};
 *     code = stm_import_dictd(&im, "gcide");
 *     if (im.finished) stm_import_summary(&out, &im.counts);
 *
 * Invariants: (1) nothing is put before the source is known to be usable; (2) memory stays bounded, whatever the source's size: a
 * dictionary's index, the small files of one commit of a repository, the paths of files that have several; (3) sentences on out's ERR
 * channel name the thing.
 * Thread-safety: one thread at a time per struct.
 */
#ifndef STEMMA_IMPORT_H
#define STEMMA_IMPORT_H

#include "exit.h"
#include "out.h"
#include "stemma/bulk.h"

struct stm_import {
    /* to be filled in */
    struct stm_sink sink;
    struct stm_out *out;
    bool progress;            /* draw a line on stderr as it goes */
    const char *avoid_store;  /* the store's directory: not imported into itself; or NULL */
    const char *avoid_target; /* the target as a path inside a mount, if it is known: the source may not contain it; or NULL */
    /* results, valid when finished */
    bool finished; /* the sink took everything (even if something was skipped) */
    struct stm_bulk_counts counts;
    /* private */
    uint64_t skipped, items, bytes; /* so far */
    uint64_t done, total;           /* of what the source counts in; total 0: not known */
    int64_t drawn_ns;
    bool drawn;
};

/* Each returns an exit code (exit.h) and has then said why: STM_EXIT_FAILED too when the rest went well but something was skipped. */

/* Modes, times, symlinks, hard links, extended attributes; owners too when run by root. What cannot be read is skipped. */
STM_MUST_CHECK int stm_import_dir(struct stm_import *im, const char *dir);
/* name: of a database in /usr/share/dictd, or a path with a '/' to NAME.index (the suffix may be left out). */
STM_MUST_CHECK int stm_import_dictd(struct stm_import *im, const char *name);
/* The first-parent history of HEAD; commits that the target has from an earlier import are not made again. */
STM_MUST_CHECK int stm_import_git(struct stm_import *im, const char *repo);

/* One line: how many files, versions, unchanged, skipped, bytes. */
void stm_import_summary(struct stm_out *out, const struct stm_bulk_counts *counts);

/* The name of the file for a headword: '/' is %2F; '%' is %25 where it could be mistaken for an escape; "." and ".." are %2E and %2E%2E. */
STM_MUST_CHECK int stm_import_headword(struct stm_slice headword, struct stm_buf *ret);

/*
 * A sink that turns everything into a stream of bytes. send returns 0, or an error that the sink passes on; -ECANCELED says that the
 * other side has given up and tells why itself, so that nothing more is said here. The last bytes are sent by the sink's finish, whose
 * counts are then all 0: the other side has them.
 */
struct stm_remote;
STM_MUST_CHECK int stm_remote_new(int (*send)(void *arg, const void *data, size_t len), void *arg, struct stm_remote **ret);
void stm_remote_free(struct stm_remote *r);
struct stm_sink stm_remote_sink(struct stm_remote *r);

/*
 * The other side: feeds sink with the stream that next gives piece by piece (1, 0 at the end, or an error; a piece is borrowed until
 * the next call) and finishes it. -EPROTO when the bytes are no such stream or end early; else next's or sink's first final error.
 */
STM_MUST_CHECK int stm_import_serve(int (*next)(void *arg, struct stm_slice *ret), void *arg, struct stm_sink *sink,
                                    struct stm_bulk_counts *ret);

/* ---- for the sources ---- */

/* Puts an item and counts it. 0; 1 when it was refused or could not be read, which is then said and counted; or a final error. */
STM_MUST_CHECK int stm_import_put(struct stm_import *im, const struct stm_bulk_item *item, const int *source_error);
/* Counts one thing as skipped and says why: a sentence. */
void stm_import_skip(struct stm_import *im, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Draws the progress line, ten times a second at most. */
void stm_import_progress(struct stm_import *im);
/* Removes it, so that other text can be printed. */
void stm_import_progress_end(struct stm_import *im);
/* Ends the import: finishes the sink when err is 0, says what err means otherwise. Returns the exit code; code is the one for success. */
STM_MUST_CHECK int stm_import_end(struct stm_import *im, int err, const char *what, int code);

#endif
