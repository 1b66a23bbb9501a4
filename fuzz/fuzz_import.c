/*
 * fuzz_import.c: any bytes as the stream of an import. First a sink takes down what it is given; sent on as a stream of its own and served
 * again, that must be the same. Then the loader gets it, with a store in memory, which it must leave readable.
 */
#include "fuzz.h"

#include "import.h"
#include "import_stream.h"
#include "stemma/version.h"

enum { NOTE_MAX = 1 << 16 };

/* What was given, taken down. */
struct notes {
    struct stm_buf text;
    struct stm_sink next; /* it goes on to this sink, when there is one */
};

static void note(struct notes *n, const void *data, size_t len)
{
    FUZZ_CHECK(stm_buf_printf(&n->text, " %zu:", len) == 0);
    FUZZ_CHECK(stm_buf_append(&n->text, data, len) == 0);
}

static void note_content(struct notes *n, const struct stm_source *s)
{
    size_t len = s->size < NOTE_MAX ? (size_t)s->size : NOTE_MAX;
    char *bytes = malloc(len + 1);

    FUZZ_CHECK(bytes != NULL);
    if (s->mem != NULL)
        memcpy(bytes, s->mem, len);
    else
        FUZZ_CHECK(s->read(s->arg, 0, bytes, len) == 0);
    note(n, &s->size, sizeof s->size);
    note(n, bytes, len);
    free(bytes);
}

static int put(void *arg, const struct stm_bulk_item *item)
{
    const struct stm_bulk_attr *a = &item->attr;
    struct notes *n = arg;
    int err = stm_bulk_check(item);

    if (err < 0)
        return err;
    FUZZ_CHECK(stm_buf_printf(&n->text, "I %d %u %u %u %u %u %llu %lld %lld", item->kind, a->valid, a->mode, a->uid, a->gid, item->type,
                              (unsigned long long)item->rdev, (long long)a->atime_ns, (long long)a->mtime_ns) == 0);
    note(n, item->path.data, item->path.len);
    note(n, item->target.data, item->target.len);
    for (size_t i = 0; i < a->xattr_count; i++) {
        note(n, a->xattrs[i].name.data, a->xattrs[i].name.len);
        note(n, a->xattrs[i].value.data, a->xattrs[i].value.len);
    }
    if (item->kind == STM_BULK_FILE)
        note_content(n, item->source);
    return n->next.put ? n->next.put(n->next.arg, item) : 0;
}

static int begin(void *arg, const struct stm_bulk_commit *c)
{
    struct notes *n = arg;

    FUZZ_CHECK(stm_buf_printf(&n->text, "B %lld", (long long)c->effective_ns) == 0);
    note(n, c->id.data, c->id.len);
    note(n, c->author ? c->author : "", c->author ? strlen(c->author) : 0);
    note(n, c->message ? c->message : "", c->message ? strlen(c->message) : 0);
    return n->next.begin ? n->next.begin(n->next.arg, c) : 0;
}

static int commit(void *arg)
{
    struct notes *n = arg;

    FUZZ_CHECK(stm_buf_append(&n->text, "C", 1) == 0);
    return n->next.commit ? n->next.commit(n->next.arg) : 0;
}

static int finish(void *arg, uint64_t skipped, struct stm_bulk_counts *ret)
{
    struct notes *n = arg;

    FUZZ_CHECK(stm_buf_printf(&n->text, "E %llu", (unsigned long long)skipped) == 0);
    *ret = (struct stm_bulk_counts){0};
    return n->next.finish ? n->next.finish(n->next.arg, skipped, ret) : 0;
}

static const char *where(void *arg)
{
    (void)arg;
    return "";
}

static struct stm_sink sink_of(struct notes *n)
{
    return (struct stm_sink){.arg = n, .put = put, .begin = begin, .commit = commit, .finish = finish, .where = where};
}

/* The input in two pieces, cut where its first byte says. */
static int next_piece(void *arg, struct stm_slice *ret)
{
    struct fuzz_input *in = arg;
    size_t len = in->left > 0 ? in->data[in->left - 1] : 0;

    if (in->left == 0)
        return 0;
    *ret = fuzz_bytes(in, len > 0 ? len : in->left);
    return 1;
}

static int keep(void *arg, const void *data, size_t len)
{
    return stm_buf_append(arg, data, len);
}

/* Sends on what comes, and serves that again: both must have been given the same. */
static int check_sent_on(const uint8_t *data, size_t size)
{
    struct stm_buf stream = STM_BUF_INIT;
    struct notes first = {.text = STM_BUF_INIT}, second = {.text = STM_BUF_INIT};
    struct fuzz_input in = {data, size};
    struct stm_bulk_counts counts;
    struct stm_remote *r;

    FUZZ_CHECK(stm_remote_new(keep, &stream, &r) == 0);
    first.next = stm_remote_sink(r);
    struct stm_sink sink = sink_of(&first), again = sink_of(&second);
    int err = stm_import_serve(next_piece, &in, &sink, &counts);
    stm_remote_free(r);
    if (err == 0) {
        in = (struct fuzz_input){stream.data, stream.len};
        FUZZ_CHECK(stm_import_serve(next_piece, &in, &again, &counts) == 0);
        FUZZ_CHECK(stm_slice_eq(stm_buf_slice(&first.text), stm_buf_slice(&second.text)));
    }
    stm_buf_release(&stream);
    stm_buf_release(&first.text);
    stm_buf_release(&second.text);
    return err;
}

/* Lists everything below dir; every regular file's content must be readable. */
static void read_tree(struct stm_store *s, uint64_t dir)
{
    struct stm_view v = stm_view_head(s);
    struct stm_object o;
    struct stm_version ver;
    struct stm_entry e;
    struct stm_dir *d;
    char bytes[256];
    int more;

    FUZZ_CHECK(stm_dir_open(&v, dir, 0, &d) == 0);
    while ((more = stm_dir_next(d, &e, &o)) > 0) {
        if ((o.mode & 0170000) == 0040000)
            read_tree(s, e.object);
        if ((o.mode & 0170000) != 0100000)
            continue;
        int err = stm_version_at(&v, &o, &ver);
        FUZZ_CHECK(err == 0 || err == -ENOENT);
        FUZZ_CHECK(err < 0 || stm_content_read(s, &ver, 0, bytes, sizeof bytes) >= 0);
        if (err == 0)
            stm_version_release(&ver);
    }
    FUZZ_CHECK(more == 0);
    stm_dir_free(d);
}

static void check_loaded(const uint8_t *data, size_t size, int expected)
{
    struct stm_store_options opt = {.engine = STM_ENGINE_MEM, .content_cache_bytes = 1 << 20};
    struct stm_bulk_options bulk = {.target = "/t", .batch_items = 3};
    struct fuzz_input in = {data, size};
    struct stm_bulk_counts counts;
    struct stm_store *s;
    struct stm_bulk *b;

    FUZZ_CHECK(stm_store_open(&opt, &s, NULL) == 0);
    FUZZ_CHECK(stm_bulk_new(s, &bulk, &b) == 0);
    struct stm_sink sink = stm_bulk_sink(b);
    int err = stm_import_serve(next_piece, &in, &sink, &counts);
    FUZZ_CHECK(err < 0 || expected == 0);
    stm_bulk_free(b);
    read_tree(s, STM_ROOT_OBJECT);
    FUZZ_CHECK(stm_store_close(s) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int err = check_sent_on(data, size);

    check_loaded(data, size, err);
    return 0;
}
