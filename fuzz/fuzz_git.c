/*
 * fuzz_git.c: any bytes as what the git program answers: the lines of `git fast-export --no-data` and the replies of `git cat-file
 * --batch`. Nobody writes those but git; yet authors, messages, paths and contents are whatever a repository holds.
 *
 * Input: export length u16, export, replies.
 */
#include "import_git.c" /* the parser is not seen from outside */

#include "fuzz.h"

#include "stemma/name.h"

struct seen {
    bool open; /* a commit has begun */
};

static int see_put(void *arg, const struct stm_bulk_item *item)
{
    const struct seen *s = arg;
    char first[64];

    FUZZ_CHECK(s->open);
    FUZZ_CHECK(item->kind == STM_BULK_FILE || item->kind == STM_BULK_SYMLINK || item->kind == STM_BULK_REMOVE);
    if (item->kind == STM_BULK_FILE) {
        const struct stm_source *src = item->source;
        size_t len = src->size < sizeof first ? (size_t)src->size : sizeof first;
        if (src->mem != NULL)
            memcpy(first, src->mem, len);
        else
            FUZZ_CHECK(src->read(src->arg, 0, first, len) == 0);
    }
    return stm_bulk_check(item);
}

static int see_begin(void *arg, const struct stm_bulk_commit *c)
{
    struct seen *s = arg;

    FUZZ_CHECK(!s->open && c->id.len <= 100 && c->effective_ns != 0);
    s->open = true;
    return c->id.len > 0 && *(const char *)c->id.data == '0';
}

static int see_commit(void *arg)
{
    struct seen *s = arg;

    FUZZ_CHECK(s->open);
    s->open = false;
    return 0;
}

static const char *see_where(void *arg)
{
    (void)arg;
    return "";
}

static int quiet(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    (void)arg, (void)channel, (void)data, (void)len;
    return 0;
}

static FILE *open_bytes(struct stm_slice s)
{
    /* fmemopen refuses an empty buffer */
    FILE *f = fmemopen(s.len > 0 ? (void *)(uintptr_t)s.data : (void *)(uintptr_t) "\n", s.len > 0 ? s.len : 1, "r");

    FUZZ_CHECK(f != NULL);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct stm_slice export = fuzz_bytes(&in, fuzz_u16(&in)), replies = fuzz_rest(&in);
    struct seen seen = {0};
    struct stm_out out = {.write = quiet};
    struct stm_import im = {.out = &out,
                            .sink = {.arg = &seen, .put = see_put, .begin = see_begin, .commit = see_commit, .where = see_where}};
    struct history h = {.im = &im, .spool = {.dir = "/dev/shm"}};

    h.export.out = open_bytes(export);
    h.cat.out = open_bytes(replies);
    h.cat.in = fopen("/dev/null", "w");
    FUZZ_CHECK(h.cat.in != NULL);
    int err = put_history(&h);
    FUZZ_CHECK(err <= 0);
    fclose(h.export.out);
    fclose(h.cat.out);
    fclose(h.cat.in);
    free(h.line);
    free(h.author);
    stm_buf_release(&h.message);
    stm_buf_release(&h.path);
    stm_buf_release(&h.data);
    stm_spool_release(&h.spool);
    (void)stm_out_release(&out);
    return 0;
}
