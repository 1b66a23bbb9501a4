/*
 * text.c: versions in words: the two logs of a line, and the values of stemma.* attributes.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "inner.h"
#include "stemma_fs/logtext.h"

int stm_log_text(struct stm_fs *fs, uint64_t line, uint32_t n, struct stm_buf *ret)
{
    struct stm_view head = stm_view_head(fs->store);
    int err = 0;

    for (uint32_t i = n; err == 0 && i > 0; i--)
        err = stm_log_entry(&head, line, i - 1, ret);
    return err;
}

int stm_log_jsonl(struct stm_fs *fs, uint64_t line, uint32_t n, struct stm_buf *ret)
{
    struct stm_view head = stm_view_head(fs->store);
    int err = 0;

    for (uint32_t i = 0; err == 0 && i < n; i++)
        err = stm_log_entry_json(&head, line, i, n, ret);
    return err;
}

/* ---- stemma.NAME ---- */

static int neighbour(const struct stm_about *a, uint32_t i, struct stm_buf *ret)
{
    char text[STM_SEMVER_TEXT];
    struct stm_view head = stm_view_head(a->fs->store);
    int err = stm_version_number(&head, a->line, i, a->n, text);

    if (err == 0 && !text[0])
        err = -ENODATA;
    return err < 0 ? err : stm_buf_printf(ret, "%s", text);
}

static int slice_or_nothing(struct stm_slice s, struct stm_buf *ret)
{
    return s.len ? stm_buf_append(ret, s.data, s.len) : -ENODATA;
}

/* As selectors take it: no colons, so that it may follow an `@`. */
static void name_time(int64_t ns, char *out)
{
    stm_time_text(ns, out);
    for (char *c = out; *c; c++)
        *c = *c == ':' ? '.' : *c;
}

int stm_version_attribute(const struct stm_about *a, const char *name, struct stm_buf *ret)
{
    const struct stm_version *v = a->v;
    char text[64];

    if (strcmp(name, "supersedes") == 0)
        return v->row.ordinal == 0 ? -ENODATA : neighbour(a, v->row.ordinal - 1, ret);
    if (strcmp(name, "superseded_by") == 0)
        return neighbour(a, v->row.ordinal + 1, ret);
    if (strcmp(name, "message") == 0)
        return slice_or_nothing(stm_version_message(v), ret);
    if (strcmp(name, "author") == 0 && stm_version_author(v).len > 0)
        return slice_or_nothing(stm_version_author(v), ret);
    if (strcmp(name, "author") == 0)
        snprintf(text, sizeof text, "uid %u", v->uid);
    else if (strcmp(name, "version") == 0)
        stm_semver_format(v->row.semver, text);
    else if (strcmp(name, "hash") == 0)
        stm_hash_format(&v->row.hash, text);
    else if (strcmp(name, "created") == 0)
        name_time(v->row.recorded_ns, text);
    else if (strcmp(name, "size_stored") == 0)
        snprintf(text, sizeof text, "%llu", (unsigned long long)v->size_stored);
    else if (strcmp(name, "stored") == 0)
        snprintf(text, sizeof text, "%s", stm_stored_name(v->stored));
    else if (strcmp(name, "codec") == 0)
        snprintf(text, sizeof text, "%s", stm_codec_name(v->codec));
    else if (strcmp(name, "mode") == 0)
        snprintf(text, sizeof text, "%04o", v->mode & 07777);
    else
        return -ENODATA;
    return stm_buf_printf(ret, "%s", text);
}
