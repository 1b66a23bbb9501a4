/*
 * logtext.c: one version of a line in words (stemma_fs/logtext.h).
 */
#include "stemma_fs/logtext.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "inner.h"

const char *stm_stored_name(enum stm_stored stored)
{
    switch (stored) {
    case STM_STORED_INLINE:
        return "inline";
    case STM_STORED_SMALL:
        return "small";
    case STM_STORED_CHUNKED:
        return "chunked";
    }
    return "unknown";
}

/* ---- log: one line for each version, the newest first; messages indented below ---- */

static int append_message(struct stm_buf *b, struct stm_slice message)
{
    const char *p = message.data, *end = p + message.len;
    int err = 0;

    while (err == 0 && p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            stop = end;
        err = stm_buf_printf(b, "    %.*s\n", (int)(stop - p), p);
        p = stop + 1;
    }
    return err;
}

static int append_log(struct stm_buf *b, const struct stm_version *v)
{
    char semver[STM_SEMVER_TEXT], hash[33], when[40], uid[24];
    struct stm_slice author = stm_version_author(v);

    stm_semver_format(v->row.semver, semver);
    stm_hash_format(&v->row.hash, hash);
    stm_time_text(v->effective_ns, when);
    when[10] = ' ';
    when[19] = 0;
    snprintf(uid, sizeof uid, "uid %u", v->uid);
    int err = stm_buf_printf(b, "%-10s  %s UTC  %10llu bytes  %.12s  %.*s\n", semver, when, (unsigned long long)v->row.size, hash,
                             author.len ? (int)author.len : (int)strlen(uid), author.len ? (const char *)author.data : uid);
    return err < 0 ? err : append_message(b, stm_version_message(v));
}

int stm_log_entry(const struct stm_view *view, uint64_t line, uint32_t ordinal, struct stm_buf *ret)
{
    struct stm_version v;
    int err = stm_version_get(view, line, ordinal, &v);

    if (err < 0)
        return err == -ENOENT ? STM_E_CORRUPT : err;
    err = append_log(ret, &v);
    stm_version_release(&v);
    return err;
}

/* ---- log.jsonl: one object for each version, the oldest first ---- */

static json_t *text_or_null(struct stm_slice s)
{
    if (s.len == 0)
        return json_null();
    json_t *j = json_stringn(s.data, s.len);
    if (j)
        return j;
    /* Not UTF-8: each byte as the character of that number, so that nothing is lost. */
    struct stm_buf b = STM_BUF_INIT;
    const unsigned char *p = s.data;
    for (size_t i = 0; i < s.len; i++) {
        char two[2] = {(char)(0xc0 | p[i] >> 6), (char)(0x80 | (p[i] & 0x3f))};
        if (stm_buf_append(&b, p[i] < 0x80 ? (const char *)&p[i] : two, p[i] < 0x80 ? 1 : 2) < 0)
            break;
    }
    j = json_stringn((const char *)b.data, b.len);
    stm_buf_release(&b);
    return j;
}

static json_t *semver_json(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static int append_json(struct stm_buf *b, const struct stm_version *v, const char *before, const char *after)
{
    char semver[STM_SEMVER_TEXT], hash[33], recorded[40], effective[40], mtime[40], mode[16];

    stm_semver_format(v->row.semver, semver);
    stm_hash_format(&v->row.hash, hash);
    stm_time_text(v->row.recorded_ns, recorded);
    stm_time_text(v->effective_ns, effective);
    stm_time_text(v->mtime_ns, mtime);
    snprintf(mode, sizeof mode, "%04o", v->mode & 07777);
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:s, s:I, s:s}", "version", semver, "seq",
                  (json_int_t)v->row.seq, "size", (json_int_t)v->row.size, "hash", hash, "created", recorded, "effective", effective,
                  "mtime", mtime, "mode", mode, "uid", (json_int_t)v->uid, "author", text_or_null(stm_version_author(v)), "message",
                  text_or_null(stm_version_message(v)), "supersedes", semver_json(before), "superseded_by", semver_json(after), "stored",
                  stm_stored_name(v->stored), "size_stored", (json_int_t)v->size_stored, "codec", stm_codec_name(v->codec));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    int err = text ? stm_buf_printf(b, "%s\n", text) : -ENOMEM;
    free(text);
    json_decref(j);
    return err;
}

int stm_version_number(const struct stm_view *view, uint64_t line, uint32_t i, uint32_t n, char *out)
{
    struct stm_version_row row;

    out[0] = 0;
    if (i >= n)
        return 0;
    int err = stm_version_row(view, line, i, &row);
    if (err == 0)
        stm_semver_format(row.semver, out);
    return err == -ENOENT ? STM_E_CORRUPT : err;
}

int stm_log_entry_json(const struct stm_view *view, uint64_t line, uint32_t ordinal, uint32_t n, struct stm_buf *ret)
{
    char before[STM_SEMVER_TEXT] = "", after[STM_SEMVER_TEXT];
    struct stm_version v;
    int err = ordinal > 0 ? stm_version_number(view, line, ordinal - 1, n, before) : 0;

    if (err == 0)
        err = stm_version_number(view, line, ordinal + 1, n, after);
    if (err == 0)
        err = stm_version_get(view, line, ordinal, &v);
    if (err < 0)
        return err == -ENOENT ? STM_E_CORRUPT : err;
    err = append_json(ret, &v, before, after);
    stm_version_release(&v);
    return err;
}
