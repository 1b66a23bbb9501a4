/*
 * import.c: what the sources of `stemma import` share: putting with counts, the progress line, the end (import.h). It reads no source.
 */
#include "import.h"

#include "stemma/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { DRAW_EVERY_NS = 100 * 1000 * 1000 };

void stm_import_progress(struct stm_import *im)
{
    if (!im->progress)
        return;
    int64_t now = stm_monotonic_ns();
    if (im->drawn && now - im->drawn_ns < DRAW_EVERY_NS)
        return;
    im->drawn = true;
    im->drawn_ns = now;
    fprintf(stderr, "\r\033[K");
    if (im->total) {
        int done = (int)(im->done * 30 / im->total), percent = (int)(im->done * 100 / im->total);
        fprintf(stderr, "[%.*s%*s] %3d %%  ", done, "##############################", 30 - done, "", percent);
    }
    fprintf(stderr, "%" PRIu64 " items, %.1f MB ", im->items, (double)im->bytes / 1e6);
    fflush(stderr);
}

void stm_import_progress_end(struct stm_import *im)
{
    if (im->drawn)
        fprintf(stderr, "\r\033[K");
    im->drawn = false;
}

void stm_import_skip(struct stm_import *im, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    stm_import_progress_end(im);
    im->skipped++;
    (void)stm_out_fail(im->out, 0, "%s", n < 0 ? "something was skipped" : text);
    if (n >= 0)
        free(text);
}

int stm_import_put(struct stm_import *im, const struct stm_bulk_item *item, const int *source_error)
{
    int err = im->sink.put(im->sink.arg, item), len = (int)item->path.len;
    const char *path = item->path.data;

    if (err == 0) {
        im->items++;
        im->bytes += item->kind == STM_BULK_FILE ? item->source->size : 0;
        stm_import_progress(im);
        return 0;
    }
    if (source_error && *source_error == -ENODATA) {
        stm_import_skip(im, "'%.*s' became shorter while it was read: skipped", len, path);
        return 1;
    }
    if (source_error && *source_error < 0) {
        stm_import_skip(im, "'%.*s' cannot be read: %s: skipped", len, path, stm_error_text(*source_error));
        return 1;
    }
    if (err == STM_E_BAD_NAME || err == -ENAMETOOLONG) {
        stm_import_skip(im, "'%.*s': %s: skipped", len, path, stm_error_text(err));
        return 1;
    }
    return err;
}

static int say_why(struct stm_import *im, int err, const char *what)
{
    const char *where = im->sink.where(im->sink.arg);

    if (err == -ECANCELED)
        return STM_EXIT_FAILED; /* the other side says why */
    if (err == -ESTALE)
        return stm_out_fail(
            im->out, STM_EXIT_INPUT,
            "%s: the target holds an earlier import whose last commit is not in this history: import into another directory", what);
    if (*where && err == -EISDIR)
        return stm_out_fail(im->out, STM_EXIT_FAILED, "'/%s' is a directory in the store and not empty: a file cannot replace it", where);
    if (*where && err == -ENOTDIR)
        return stm_out_fail(im->out, STM_EXIT_FAILED, "'/%s': it, or something above it, is not a directory in the store", where);
    if (*where)
        return stm_out_error(im->out, err, "cannot import '/%s'", where);
    return stm_out_error(im->out, err, "cannot import %s", what);
}

int stm_import_end(struct stm_import *im, int err, const char *what, int code)
{
    if (err == 0)
        err = im->sink.finish(im->sink.arg, im->skipped, &im->counts);
    stm_import_progress_end(im);
    if (err < 0)
        return say_why(im, err, what);
    im->finished = true;
    return code == STM_EXIT_OK && im->skipped ? STM_EXIT_FAILED : code;
}

void stm_import_summary(struct stm_out *out, const struct stm_bulk_counts *c)
{
    stm_out_print(out,
                  "%" PRIu64 " files (%.1f MB): %" PRIu64 " versions made, %" PRIu64 " unchanged, %" PRIu64 " others, %" PRIu64
                  " removed, %" PRIu64 " skipped; %" PRIu64 " commits\n",
                  c->files, (double)c->bytes / 1e6, c->versions, c->unchanged, c->others, c->removed, c->skipped, c->commits);
}
