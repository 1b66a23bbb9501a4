/*
 * import_dictd.c: a dictd database as the source of an import: one file per headword, which holds its articles in the order of the
 * index with a blank line between them. The format is dictd(8)'s and dictfmt(1)'s: NAME.index has lines "headword TAB offset TAB
 * length" with numbers in base 64, NAME.dict or NAME.dict.dz (gzip) the text. The whole index is checked before anything is put.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "import.h"
#include "import_spool.h"

#define DICTD_DIR "/usr/share/dictd/"

enum { COMPLAINTS = 10, MEMORY_MAX = 1 << 20, BLOCK = 1 << 17 };

struct article {
    struct stm_slice headword; /* in the index text */
    uint64_t off, len;
    size_t line; /* from 1 */
};

struct dict {
    struct stm_import *im;
    char *index_path, *dict_path;
    struct stm_buf index;  /* the text of NAME.index */
    struct stm_spool text; /* the articles, unpacked */
    uint64_t size;
    struct article *articles;
    size_t count, cap, bad;
};

/* ---- names ---- */

int stm_import_headword(struct stm_slice headword, struct stm_buf *ret)
{
    const char *p = headword.data, *end = p + headword.len;
    int err = 0;

    stm_buf_clear(ret);
    if (headword.len <= 2 && memcmp(p, "..", headword.len) == 0)
        return stm_buf_append(ret, "%2E%2E", 3 * headword.len);
    for (; err == 0 && p < end; p++) {
        bool escape =
            *p == '%' && end - p > 2 && (memcmp(p + 1, "2F", 2) == 0 || memcmp(p + 1, "25", 2) == 0 || memcmp(p + 1, "2E", 2) == 0);
        err = *p == '/' ? stm_buf_append(ret, "%2F", 3) : escape ? stm_buf_append(ret, "%25", 3) : stm_buf_append(ret, p, 1);
    }
    return err;
}

/* ---- the index ---- */

static void complain(struct dict *d, size_t line, const char *what)
{
    if (d->bad++ < COMPLAINTS)
        (void)stm_out_fail(d->im->out, 0, "%s:%zu: %s", d->index_path, line, what);
}

/* A big-endian number in base 64 with dictd's digits. */
static bool parse_number(struct stm_slice s, uint64_t *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = s.data;
    uint64_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        const char *digit = memchr(digits, p[i], 64);
        if (!digit || n >> 57)
            return false;
        n = n << 6 | (uint64_t)(digit - digits);
    }
    *ret = n;
    return s.len > 0;
}

/* Cuts a field off the front of a line. */
static struct stm_slice field(struct stm_slice *line)
{
    const char *p = line->data, *tab = line->len ? memchr(p, '\t', line->len) : NULL;
    size_t n = tab ? (size_t)(tab - p) : line->len;

    *line = stm_slice(p + n + (tab != NULL), line->len - n - (tab != NULL));
    return stm_slice(p, n);
}

/* What is wrong with a line, or NULL. A fourth field, which dictfmt may write, is the headword as it was before it was simplified. */
static const char *parse_line(const struct dict *d, struct stm_slice line, struct article *ret)
{
    size_t len = line.len;

    ret->headword = field(&line);
    if (ret->headword.len == len)
        return "no tab in the line";
    if (!parse_number(field(&line), &ret->off))
        return "the offset is not a number in base 64";
    if (!parse_number(field(&line), &ret->len))
        return "the length is not a number in base 64";
    struct stm_slice original = field(&line);
    if (original.len)
        ret->headword = original;
    if (line.len)
        return "more than four fields";
    if (ret->headword.len == 0)
        return "the headword is empty";
    if (memchr(ret->headword.data, 0, ret->headword.len))
        return "a zero byte in the headword";
    if (ret->off > d->size || ret->len > d->size - ret->off)
        return "the article lies outside the dictionary's text";
    return NULL;
}

static int add_article(struct dict *d, const struct article *a)
{
    if (d->count == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4096;
        struct article *list = realloc(d->articles, cap * sizeof *list);
        if (!list)
            return -ENOMEM;
        d->articles = list;
        d->cap = cap;
    }
    d->articles[d->count++] = *a;
    return 0;
}

static int parse_index(struct dict *d)
{
    const char *p = (const char *)d->index.data, *end = p + d->index.len;
    int err = 0;

    for (size_t line = 1; err == 0 && p < end; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        struct article a = {.line = line};
        const char *wrong = parse_line(d, stm_slice(p, (size_t)((stop ? stop : end) - p)), &a);
        if (wrong)
            complain(d, line, wrong);
        else
            err = add_article(d, &a);
        p = stop ? stop + 1 : end;
    }
    return err;
}

static int by_headword(const struct article *x, const struct article *y)
{
    size_t n = x->headword.len < y->headword.len ? x->headword.len : y->headword.len;
    int c = memcmp(x->headword.data, y->headword.data, n);

    return c ? c : (x->headword.len > y->headword.len) - (x->headword.len < y->headword.len);
}

static int by_line(const void *a, const void *b)
{
    const struct article *x = a, *y = b;
    int c = by_headword(x, y);

    return c ? c : (x->line > y->line) - (x->line < y->line);
}

static int by_place(const void *a, const void *b)
{
    const struct article *x = a, *y = b;
    int c = by_headword(x, y);

    if (c == 0)
        c = (x->off > y->off) - (x->off < y->off);
    if (c == 0)
        c = (x->len > y->len) - (x->len < y->len);
    return c ? c : by_line(a, b);
}

/* Sorts by headword, then by line, without the lines that say the same twice. */
static void group(struct dict *d)
{
    size_t kept = 0;

    if (d->count == 0)
        return;
    qsort(d->articles, d->count, sizeof *d->articles, by_place);
    for (size_t i = 1; i < d->count; i++) {
        const struct article *last = &d->articles[kept], *a = &d->articles[i];
        if (a->off != last->off || a->len != last->len || by_headword(a, last) != 0)
            d->articles[++kept] = *a;
    }
    d->count = kept + 1;
    qsort(d->articles, d->count, sizeof *d->articles, by_line);
}

/* ---- the text ---- */

/* What stands between an article and the next: as many newlines as make one blank line. */
static int gap_after(struct dict *d, const struct article *a, size_t *ret)
{
    char tail[2] = {0, 0};
    size_t n = a->len < 2 ? (size_t)a->len : 2;
    int err = stm_spool_read(&d->text, a->off + a->len - n, tail + 2 - n, n);

    if (err == 0)
        *ret = a->len == 0 ? 0 : tail[1] != '\n' ? 2 : tail[0] != '\n';
    return err;
}

/* A headword's articles, read as one text. */
struct entry {
    struct dict *d;
    const struct article *first, *end;
    const struct article *at; /* being read */
    uint64_t start, pos;      /* of it in the text; in it, its gap included */
    size_t gap;
};

static int enter(struct entry *e, const struct article *a)
{
    e->at = a;
    e->pos = 0;
    e->gap = 0;
    return a + 1 < e->end ? gap_after(e->d, a, &e->gap) : 0;
}

/* Goes to an offset of the text: onward from where it is, else from the start. */
static int seek_entry(struct entry *e, uint64_t off)
{
    int err = 0;

    if (off < e->start) {
        e->start = 0;
        err = enter(e, e->first);
    }
    while (err == 0 && off - e->start >= e->at->len + e->gap) {
        e->start += e->at->len + e->gap;
        err = enter(e, e->at + 1);
    }
    e->pos = off - e->start;
    return err;
}

static int read_entry(void *arg, uint64_t off, void *buf, size_t len)
{
    struct entry *e = arg;
    char *to = buf;

    while (len > 0) {
        int err = seek_entry(e, off);
        if (err < 0)
            return err;
        uint64_t left = e->pos < e->at->len ? e->at->len - e->pos : e->at->len + e->gap - e->pos;
        size_t n = left < len ? (size_t)left : len;
        if (e->pos < e->at->len)
            err = stm_spool_read(&e->d->text, e->at->off + e->pos, to, n);
        else
            memset(to, '\n', n);
        if (err < 0)
            return err;
        off += n;
        to += n;
        len -= n;
    }
    return 0;
}

static int entry_size(struct entry *e, uint64_t *ret)
{
    uint64_t size = 0;
    int err = 0;

    for (const struct article *a = e->first; err == 0 && a < e->end; a++) {
        err = enter(e, a);
        size += a->len + e->gap;
    }
    e->start = 0;
    if (err == 0)
        err = enter(e, e->first);
    if (err == 0)
        *ret = size;
    return err;
}

/* ---- opening ---- */

static int unpack_blocks(gzFile in, struct dict *d)
{
    char *block = malloc(BLOCK);
    int err = block ? stm_spool_open(&d->text) : -ENOMEM, n = 1, why;

    while (err == 0 && (n = gzread(in, block, BLOCK)) > 0) {
        err = stm_spool_append(&d->text, block, (size_t)n);
        d->size += (uint64_t)n;
    }
    free(block);
    (void)gzerror(in, &why);
    if (err == 0 && (n < 0 || (why != Z_OK && why != Z_STREAM_END)))
        err = -EINVAL; /* not gzip's bytes, or too few of them */
    return err;
}

/* Unpacks the gzip file, since articles are read in the order of their headwords. */
static int unpack(struct dict *d, int fd)
{
    gzFile in = gzdopen(fd, "rb");
    int err = in ? unpack_blocks(in, d) : -ENOMEM;

    if (in)
        gzclose_r(in); /* closes fd */
    else
        close(fd);
    if (err == -EINVAL)
        return stm_out_fail(d->im->out, STM_EXIT_INPUT, "'%s' is damaged or cut short: install it again", d->dict_path);
    return err == 0 ? STM_EXIT_OK : stm_out_error(d->im->out, err, "cannot unpack '%s' into a temporary file", d->dict_path);
}

static char *join(const char *a, const char *b, const char *c)
{
    char *r = NULL;

    return asprintf(&r, "%s%s%s", a, b, c) < 0 ? NULL : r;
}

/* The path without suffix for a database's name, or for a path to one of its files. */
static char *base_path(const char *name)
{
    static const char *const suffixes[] = {".index", ".dict.dz", ".dict"};
    char *base = strchr(name, '/') ? strdup(name) : join(DICTD_DIR, name, "");

    for (size_t i = 0; base && strchr(name, '/') && i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t len = strlen(base), n = strlen(suffixes[i]);
        if (len > n && strcmp(base + len - n, suffixes[i]) == 0) {
            base[len - n] = 0;
            break;
        }
    }
    return base;
}

static int load_index(struct dict *d, const char *name)
{
    struct stat st;
    int fd = open(d->index_path, O_RDONLY | O_CLOEXEC), err = 0;

    if (fd < 0 && errno == ENOENT && strchr(name, '/'))
        return stm_out_fail(d->im->out, STM_EXIT_NOT_FOUND, "no dictd database '%s': there is no %s", name, d->index_path);
    if (fd < 0 && errno == ENOENT)
        return stm_out_fail(d->im->out, STM_EXIT_NOT_FOUND,
                            "no dictd database '%s': there is no %s; install its package (dict-%s?), or give a path with a '/'", name,
                            d->index_path, name);
    if (fd < 0 || fstat(fd, &st) < 0)
        err = -errno;
    else if (S_ISDIR(st.st_mode))
        err = -EISDIR;
    for (ssize_t n = 1; err == 0 && n > 0;) {
        err = stm_buf_reserve(&d->index, BLOCK);
        n = err == 0 ? read(fd, d->index.data + d->index.len, BLOCK) : 0;
        if (n < 0)
            err = -errno;
        d->index.len += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    return err == 0 ? STM_EXIT_OK : stm_out_error(d->im->out, err, "cannot read '%s'", d->index_path);
}

static int open_text(struct dict *d, const char *base)
{
    struct stat st;
    bool packed = true;

    d->dict_path = join(base, ".dict", ".dz");
    int fd = d->dict_path ? open(d->dict_path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 && d->dict_path && errno == ENOENT) {
        packed = false;
        d->dict_path[strlen(d->dict_path) - 3] = 0;
        fd = open(d->dict_path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return errno == ENOENT ? stm_out_fail(d->im->out, STM_EXIT_NOT_FOUND, "'%s' has no text: neither %s.dict.dz nor %s.dict is there",
                                              d->index_path, base, base)
                               : stm_out_error(d->im->out, -errno, "cannot read '%s'", d->dict_path ? d->dict_path : base);
    if (packed)
        return unpack(d, fd);
    d->text.fd = fd; /* read as it is */
    if (fstat(fd, &st) < 0)
        return stm_out_error(d->im->out, -errno, "cannot read '%s'", d->dict_path);
    d->size = (uint64_t)st.st_size;
    return STM_EXIT_OK;
}

static int load(struct dict *d, const char *name)
{
    char *base = base_path(name);
    int code = STM_EXIT_FAILED;

    d->index_path = base ? join(base, ".index", "") : NULL;
    if (d->index_path)
        code = load_index(d, name);
    if (code == STM_EXIT_OK)
        code = open_text(d, base);
    free(base);
    if (code != STM_EXIT_OK)
        return code;
    int err = parse_index(d);
    if (err < 0)
        return stm_out_error(d->im->out, err, "cannot read '%s'", d->index_path);
    if (d->bad)
        return stm_out_fail(d->im->out, STM_EXIT_INPUT, "%s: %zu invalid lines; nothing was imported", d->index_path, d->bad);
    if (d->count == 0)
        return stm_out_fail(d->im->out, STM_EXIT_INPUT, "%s: no headwords; nothing was imported", d->index_path);
    group(d);
    return STM_EXIT_OK;
}

/* ---- importing ---- */

static int put_entry(struct dict *d, const struct article *first, const struct article *end, struct stm_buf *name, struct stm_buf *text)
{
    struct entry e = {.d = d, .first = first, .end = end};
    struct stm_source source = {.read = read_entry, .arg = &e};
    struct stm_bulk_item item = {.kind = STM_BULK_FILE, .source = &source};
    int err = stm_import_headword(first->headword, name);

    if (err == 0 && name->len > STM_NAME_MAX) {
        stm_import_skip(d->im, "line %zu: the headword '%.60s…' needs a name of %zu bytes, the longest is %d: skipped", first->line,
                        (const char *)name->data, name->len, STM_NAME_MAX);
        return 0;
    }
    if (err == 0)
        err = entry_size(&e, &source.size);
    if (err == 0 && source.size <= MEMORY_MAX) {
        stm_buf_clear(text);
        err = stm_buf_reserve(text, (size_t)source.size + 1);
        if (err == 0)
            err = read_entry(&e, 0, text->data, (size_t)source.size);
        source.mem = text->data;
    }
    item.path = stm_buf_slice(name);
    if (err == 0)
        err = stm_import_put(d->im, &item, NULL);
    return err < 0 ? err : 0;
}

static int put_all(struct dict *d)
{
    const struct article *a = d->articles, *all = a + d->count, *end;
    struct stm_buf name = STM_BUF_INIT, text = STM_BUF_INIT;
    int err = 0;

    d->im->total = d->count;
    for (; err == 0 && a < all; a = end) {
        for (end = a + 1; end < all && by_headword(a, end) == 0;)
            end++;
        err = put_entry(d, a, end, &name, &text);
        d->im->done += (uint64_t)(end - a);
    }
    stm_buf_release(&name);
    stm_buf_release(&text);
    return err;
}

int stm_import_dictd(struct stm_import *im, const char *name)
{
    struct dict d = {.im = im};
    int code = load(&d, name);

    if (code == STM_EXIT_OK)
        code = stm_import_end(im, put_all(&d), name, STM_EXIT_OK);
    stm_spool_release(&d.text);
    stm_buf_release(&d.index);
    free(d.articles);
    free(d.index_path);
    free(d.dict_path);
    return code;
}
