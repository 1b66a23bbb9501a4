/* story_reads.c: the steps of the story that read, mark and load (story.h). What they read they check: wrong bytes are -EILSEQ. */
#include <stdlib.h>
#include <sys/stat.h>

#include "stemma/bulk.h"
#include "stemma/fsck.h"
#include "story_parts.h"

/* ---- reading ---- */

int story_list(struct world *w)
{
    struct stm_dir *dir;
    struct stm_entry e;
    struct stm_object o;
    uint64_t d;
    int n = 0, err = story_find(w, "d", &d);

    if (err == 0)
        err = stm_dir_open(&w->head, d, 0, &dir);
    if (err < 0)
        return err;
    while ((err = stm_dir_next(dir, &e, &o)) > 0)
        n++;
    stm_dir_free(dir);
    return err < 0 ? err : n == 5 ? 0 : -EILSEQ;
}

/* Reads bytes of version `back` before the newest and compares. */
static int expect(struct world *w, const struct stm_view *v, const char *path, uint64_t off, const void *want, size_t len)
{
    static char got[STORY_LARGE];
    struct stm_object o;
    struct stm_version ver;
    uint64_t f;
    int err = stm_tree_resolve(v, stm_slice_str(path), &f);

    if (err == 0)
        err = stm_object_get(v, f, &o);
    if (err == 0)
        err = stm_version_at(v, &o, &ver);
    if (err < 0)
        return err;
    int64_t n = stm_content_read(w->store, &ver, off, got, len);
    stm_version_release(&ver);
    if (n < 0)
        return (int)n;
    return n == (int64_t)len && memcmp(got, want, len) == 0 ? 0 : -EILSEQ;
}

int story_read_large(struct world *w)
{
    return expect(w, &w->head, "d/word", 0, story_large, STORY_LARGE);
}

int story_read_sparse(struct world *w)
{
    static char want[STORY_LARGE];
    uint64_t off = UINT64_C(47) * STORY_GAP + 1000;
    int err = story_read_pieces(NULL, off, want, STORY_LARGE);

    return err < 0 ? err : expect(w, &w->head, "d/sparse", off, want, STORY_LARGE);
}

int story_find_extents(struct world *w)
{
    struct stm_object o;
    struct stm_version ver;
    uint64_t f, from, to, n = 0;
    int err = story_find(w, "d/sparse", &f);

    if (err == 0)
        err = stm_object_get(&w->head, f, &o);
    if (err == 0)
        err = stm_version_at(&w->head, &o, &ver);
    if (err < 0)
        return err;
    for (uint64_t at = 0; err == 0 && at < STORY_SPARSE; at = to, n++)
        err = stm_content_extent(w->store, &ver, at, &from, &to);
    stm_version_release(&ver);
    return err < 0 ? err : n > (STORY_SPARSE / STORY_GAP) ? 0 : -EILSEQ;
}

int story_read_the_past(struct world *w)
{
    struct stm_version_row row;
    struct stm_object o;
    struct stm_view past;
    uint64_t f, seq;
    int err = story_find(w, "d/word", &f);

    if (err == 0)
        err = stm_object_get(&w->head, f, &o);
    if (err == 0)
        err = stm_version_row(&w->head, o.line, 0, &row);
    if (err == 0)
        err = stm_seq_at_time(w->store, row.recorded_ns, &seq);
    if (err < 0)
        return err;
    past = stm_view_at(w->store, row.seq);
    return seq < row.seq ? -EILSEQ : expect(w, &past, "d/word", 0, "first", 5);
}

int story_find_versions(struct world *w)
{
    struct stm_selector back = {.kind = STM_SEL_BACK, .back = 1}, hash = {.kind = STM_SEL_HASH};
    struct stm_version_row row;
    struct stm_object o;
    struct stm_entry gone;
    uint64_t f, d;
    int err = story_find(w, "d/word", &f);

    if (err == 0)
        err = stm_object_get(&w->head, f, &o);
    if (err < 0)
        return err;
    stm_hash_format(&o.tip.hash, hash.hash);
    err = stm_version_find(&w->head, o.line, o.tip.ordinal, &hash, &row);
    if (err == 0)
        err = stm_version_find(&w->head, o.line, o.tip.ordinal, &back, &row);
    if (err == 0 && row.ordinal + 1 != o.tip.ordinal)
        err = -EILSEQ;
    if (err == 0)
        err = story_find(w, "d", &d);
    if (err == 0)
        err = stm_tree_removed(&w->head, d, stm_slice_str("never"), &gone);
    return err == -ENOENT ? 0 : err;
}

static int count_record(void *arg, const struct stm_log_record *r)
{
    (void)r;
    ++*(uint64_t *)arg;
    return 0;
}

int story_read_log(struct world *w)
{
    uint64_t n = 0;
    uint32_t view;
    int err = stm_log_each(w->store, 1, count_record, &n);

    if (err == 0 && n != stm_store_seq(w->store))
        err = -EILSEQ;
    if (err == 0)
        err = stm_view_id(w->store, 3, &view);
    if (err == 0)
        err = stm_view_seq(w->store, view, &n);
    if (err == 0 && n != 3)
        err = -EILSEQ;
    return err < 0 ? err : stm_store_sync(w->store);
}

static int build_mark(struct stm_txn *t, void *arg)
{
    (void)arg;
    return stm_txn_mark(t, stm_slice_str("k"), stm_slice(story_large, 500));
}

int story_mark(struct world *w)
{
    return stm_update(w->store, &w->change, build_mark, NULL, NULL);
}

int story_read_mark(struct world *w)
{
    struct stm_buf value = STM_BUF_INIT;
    struct stm_store_stats stats;
    int err = stm_store_mark_get(w->store, stm_slice_str("k"), &value);

    if (err == 0 && value.len != 500)
        err = -EILSEQ;
    stm_buf_release(&value);
    return err < 0 ? err : stm_store_stats(w->store, &stats);
}

int story_open_another(struct world *w)
{
    struct stm_store *other;
    char *why = NULL;
    int err = stm_store_open(&(struct stm_store_options){.engine = STM_ENGINE_MEM, .clock = &w->injected}, &other, &why);

    free(why);
    return err < 0 ? err : stm_store_close(other);
}

int story_check(struct world *w)
{
    struct stm_fsck_result result;
    int err = stm_fsck(w->store, &(struct stm_fsck_options){.quick = false}, &result);

    return err < 0 ? err : result.left == 0 && result.known == 0 ? 0 : -EILSEQ;
}

int story_scrub(struct world *w)
{
    struct stm_scrub scrub = {.passes = 0};
    int64_t n = 1;

    while (n > 0)
        n = stm_scrub_step(w->store, &scrub, 1 << 20, NULL, NULL);
    if (n == 0 && scrub.last_findings > 0)
        n = -EILSEQ;
    stm_scrub_release(&scrub);
    return (int)n;
}

/* ---- the loader ---- */

static int put(struct stm_sink *s, enum stm_bulk_kind kind, const char *path, size_t len, const char *target)
{
    struct stm_bulk_xattr xattr = {stm_slice_str("user.a"), stm_slice_str("b")};
    struct stm_source src = {.size = len, .mem = story_large};
    struct stm_bulk_item item = {.kind = kind,
                                 .path = stm_slice_str(path),
                                 .source = kind == STM_BULK_FILE ? &src : NULL,
                                 .target = stm_slice_str(target),
                                 .type = S_IFIFO,
                                 .attr = {.valid = STM_SET_MODE, .mode = 0711}};

    if (kind == STM_BULK_FILE) {
        item.attr.xattrs = &xattr;
        item.attr.xattr_count = 1;
    }
    return s->put(s->arg, &item);
}

static int load_things(struct stm_sink *s)
{
    struct stm_bulk_commit c = {.id = stm_slice_str("one"), .author = "A <a@example.org>", .message = "why", .effective_ns = 1000};
    struct stm_bulk_counts counts;
    int err = put(s, STM_BULK_FILE, "a/small", 100, "");

    if (err == 0)
        err = put(s, STM_BULK_FILE, "a/large", 150000, "");
    if (err == 0)
        err = put(s, STM_BULK_SYMLINK, "a/link", 0, "small");
    if (err == 0)
        err = put(s, STM_BULK_LINK, "b/hard", 0, "a/small");
    if (err == 0)
        err = put(s, STM_BULK_SPECIAL, "fifo", 0, "");
    if (err == 0)
        err = s->begin(s->arg, &c);
    if (err < 0)
        return err;
    if (err == 0)
        err = put(s, STM_BULK_REMOVE, "a/link", 0, "");
    if (err == 0)
        err = put(s, STM_BULK_FILE, "a/small", 200, "");
    int end = err < 0 ? 0 : s->commit(s->arg);
    err = err < 0 ? err : end;
    return err < 0 ? err : s->finish(s->arg, 0, &counts);
}

int story_bulk(struct world *w)
{
    struct stm_bulk *b;
    int err = stm_bulk_new(w->store, &(struct stm_bulk_options){.target = "/loaded", .batch_items = 3}, &b);

    if (err < 0)
        return err;
    struct stm_sink sink = stm_bulk_sink(b);
    err = load_things(&sink);
    stm_bulk_free(b);
    return err;
}
