/*
 * bulk.c: the bulk loader (stemma/bulk.h): takes what importers put, gathers it into batches and commits them, one stm_update each. What a
 * batch does to the tree is bulk_replay.c's business.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "bulk_batch.h"
#include "stemma/name.h"
#include "stemma/view.h"

enum { BATCH_ITEMS = 1000, BATCH_BYTES = 4 << 20, ID_MAX = 100, TRIES = 100 };

struct stm_bulk {
    struct stm_store *store;
    struct stm_bulk_options opt; /* strings are ours */
    char *target, *message;      /* target: without '/' at either end */
    struct stm_batch batch;
    struct stm_bulk_counts counts;
    /* the commit that was begun */
    bool begun, skipping;
    char id[ID_MAX + 1];
    char *author, *text;
    int64_t effective_ns;
    /* the commit that the target remembers, until it comes by */
    bool asked, waiting;
    struct stm_buf mark;
    /* with apply: what the batch will find */
    struct stm_bulk_touched *seen;
    size_t seen_count, seen_cap;
    struct stm_replay replay; /* of the flush that is running */
    struct stm_buf where;     /* zero-terminated */
};

static int copy_text(const char *s, char **ret)
{
    if (!s)
        return 0;
    *ret = strdup(s);
    return *ret ? 0 : -ENOMEM;
}

/* Every name of a path, and the path itself. */
static int check_path(struct stm_slice path)
{
    const char *p = path.data;
    int err = 0;

    for (size_t pos = 0; err == 0 && pos < path.len;) {
        const char *slash = memchr(p + pos, '/', path.len - pos);
        size_t end = slash ? (size_t)(slash - p) : path.len;
        err = stm_name_check(stm_slice(p + pos, end - pos));
        if (err == 0 && stm_name_is_refused(stm_slice(p + pos, end - pos)))
            err = STM_E_BAD_NAME;
        if (slash && end + 1 == path.len)
            err = STM_E_BAD_NAME;
        pos = end + 1;
    }
    return err;
}

/* The target without needless slashes: "//a/b/" is "a/b". */
static int tidy_target(const char *target, char **ret)
{
    char *t = malloc(strlen(target) + 1), *to = t;

    if (!t)
        return -ENOMEM;
    for (; *target; target++)
        if (*target != '/' || (to > t && to[-1] != '/'))
            *to++ = *target;
    if (to > t && to[-1] == '/')
        to--;
    *to = 0;
    *ret = t;
    return check_path(stm_slice_str(t));
}

/* The target's id; -ENOENT when it is not there yet. */
static int find_target(struct stm_bulk *b, uint64_t *ret)
{
    struct stm_walk w = {.view = stm_view_head(b->store)};
    int err = stm_walk_to(&w, stm_slice_str(b->target), ret, NULL);

    stm_walk_release(&w);
    return err;
}

int stm_bulk_new(struct stm_store *s, const struct stm_bulk_options *opt, struct stm_bulk **ret)
{
    struct stm_bulk *b = calloc(1, sizeof *b);
    uint64_t id;

    if (!b)
        return -ENOMEM;
    b->store = s;
    b->opt = *opt;
    if (!b->opt.batch_items)
        b->opt.batch_items = BATCH_ITEMS;
    if (!b->opt.batch_bytes)
        b->opt.batch_bytes = BATCH_BYTES;
    int err = tidy_target(opt->target, &b->target);
    if (err == 0)
        err = copy_text(opt->message, &b->message);
    if (err == 0)
        err = find_target(b, &id);
    if (err == -ENOENT)
        err = 0;
    if (err < 0)
        stm_bulk_free(b);
    else
        *ret = b;
    return err;
}

void stm_bulk_free(struct stm_bulk *b)
{
    if (!b)
        return;
    stm_batch_release(&b->batch);
    stm_buf_release(&b->mark);
    stm_buf_release(&b->where);
    free(b->seen);
    free(b->target);
    free(b->message);
    free(b->author);
    free(b->text);
    free(b);
}

static int see(struct stm_bulk *b, uint64_t parent, struct stm_slice name, uint64_t object)
{
    if (b->seen_count == b->seen_cap) {
        size_t cap = b->seen_cap ? b->seen_cap * 2 : 256;
        struct stm_bulk_touched *list = realloc(b->seen, cap * sizeof *list);
        if (!list)
            return -ENOMEM;
        b->seen = list;
        b->seen_cap = cap;
    }
    b->seen[b->seen_count++] = (struct stm_bulk_touched){parent, name, object};
    return 0;
}

/* Notes what is at path now: an entry, or the first name on the way that is missing. */
static int see_path(struct stm_bulk *b, struct stm_walk *w, struct stm_slice path)
{
    struct stm_slice dir, name;
    struct stm_entry e = {.object = 0};
    uint64_t parent;

    stm_path_split(path, &dir, &name);
    int err = name.len ? stm_walk_to(w, dir, &parent, &name) : 0;
    if (name.len == 0 || err == -ENOTDIR)
        return 0; /* the root, always told; or the replay's business */
    if (err == 0)
        err = stm_tree_lookup(&w->view, parent, name, &e);
    return err == 0 || err == -ENOENT ? see(b, parent, name, e.object) : err;
}

/* What the batch will find: its entries, those of links' targets, and the directories that removing may empty. */
static int see_all(struct stm_bulk *b)
{
    struct stm_walk w = {.view = stm_view_head(b->store)};
    size_t keep = strlen(b->target);
    int err = 0;

    b->seen_count = 0;
    for (size_t i = 0; err == 0 && i < b->batch.count; i++) {
        const struct stm_batch_op *op = &b->batch.ops[i];
        struct stm_slice path = stm_batch_text(&b->batch, op->path), name;
        err = see_path(b, &w, path);
        if (err == 0 && op->kind == STM_BULK_LINK)
            err = see_path(b, &w, stm_batch_text(&b->batch, op->target));
        while (err == 0 && op->kind == STM_BULK_REMOVE && path.len > keep) {
            stm_path_split(path, &path, &name);
            err = path.len > keep ? see_path(b, &w, path) : 0;
        }
    }
    stm_walk_release(&w);
    return err;
}

static int update(struct stm_bulk *b, int (*build)(struct stm_txn *txn, void *arg))
{
    struct stm_change change = {.uid = b->opt.uid, .gid = b->opt.gid, .pid = b->opt.pid, .message = b->message};

    if (b->begun) {
        change.author = b->author;
        change.message = b->text;
        change.effective_ns = b->effective_ns;
    }
    return stm_update(b->store, &change, build, &b->replay, NULL);
}

static int run(void *arg)
{
    return update(arg, stm_replay_build);
}

/* A build that refuses to change anything. */
static int build_unchanged(struct stm_txn *txn, void *arg)
{
    const struct stm_replay *r = arg;
    int err = stm_replay_build(txn, arg);

    return err == 0 && r->changed ? -EAGAIN : err;
}

/* Worth a look whether the batch changes anything at all: most of it is there. */
static bool mostly_there(const struct stm_bulk *b)
{
    size_t there = 0;

    for (size_t i = 0; i < b->seen_count; i++)
        there += b->seen[i].object != 0;
    return there > b->seen_count / 2;
}

/* What the kernel may have cached: entries that exist, and the directories that get new ones. */
static int tell_list(const struct stm_bulk *b, struct stm_bulk_touched **ret, size_t *ret_count)
{
    struct stm_bulk_touched *list = malloc((b->seen_count * 2 + 1) * sizeof *list);
    size_t n = 0;
    uint64_t last = 0;

    if (!list)
        return -ENOMEM;
    list[n++] = (struct stm_bulk_touched){0, {"", 0}, STM_ROOT_OBJECT};
    for (size_t i = 0; i < b->seen_count; i++) {
        if (b->seen[i].object)
            list[n++] = b->seen[i];
        if (b->seen[i].parent != last)
            list[n++] = (struct stm_bulk_touched){0, {"", 0}, b->seen[i].parent};
        last = b->seen[i].parent;
    }
    *ret = list;
    *ret_count = n;
    return 0;
}

/*
 * Commits where the kernel looks on. Between looking and committing somebody may change what was seen: then look again. A repeated import
 * mostly changes nothing, and then the kernel keeps what it has cached.
 */
static int run_applied(struct stm_bulk *b)
{
    struct stm_bulk_touched *list = NULL;
    size_t n = 0;
    int err = -ESTALE;

    for (int i = 0; err == -ESTALE && i < TRIES; i++) {
        err = see_all(b);
        b->replay.seen = b->seen;
        b->replay.seen_count = b->seen_count;
        if (err == 0)
            err = mostly_there(b) ? update(b, build_unchanged) : -EAGAIN;
        if (err != -EAGAIN)
            continue;
        err = tell_list(b, &list, &n);
        if (err == 0)
            err = b->opt.apply(b->opt.apply_arg, list, n, run, b);
        free(list);
        list = NULL;
    }
    return err == -ESTALE ? STM_E_CONFLICT : err;
}

static void add_counts(struct stm_bulk_counts *sum, const struct stm_bulk_counts *c)
{
    sum->files += c->files;
    sum->versions += c->versions;
    sum->unchanged += c->unchanged;
    sum->others += c->others;
    sum->removed += c->removed;
    sum->bytes += c->bytes;
}

/* Remembers which item was to blame. */
static void note_where(struct stm_bulk *b)
{
    stm_buf_clear(&b->where);
    if (b->replay.failed < b->batch.count) {
        struct stm_slice path = stm_batch_text(&b->batch, b->batch.ops[b->replay.failed].path);
        if (stm_buf_append(&b->where, path.data, path.len) < 0 || stm_buf_append(&b->where, "", 1) < 0)
            stm_buf_clear(&b->where);
    }
}

static const char *bulk_where(void *arg)
{
    struct stm_bulk *b = arg;

    return b->where.len ? (const char *)b->where.data : "";
}

static int flush(struct stm_bulk *b)
{
    if (b->batch.count == 0 && !b->begun)
        return 0;
    b->replay = (struct stm_replay){.batch = &b->batch,
                                    .failed = b->batch.count,
                                    .target = stm_slice_str(b->target),
                                    .uid = b->opt.uid,
                                    .gid = b->opt.gid,
                                    .keep = b->opt.apply != NULL};
    if (b->begun) {
        b->replay.mark = stm_slice_str(b->id);
        b->replay.effective_ns = b->effective_ns;
    }
    uint64_t seq = stm_store_seq(b->store);
    int err = b->opt.apply ? run_applied(b) : run(b);
    if (err < 0) {
        note_where(b);
        return err;
    }
    add_counts(&b->counts, &b->replay.counts);
    if (stm_store_seq(b->store) != seq)
        b->counts.commits++;
    stm_batch_clear(&b->batch);
    return 0;
}

/* "/.stemma" is where a mount shows its views: an entry of that name could be neither seen nor removed. */
static bool is_hidden_root(struct stm_slice path)
{
    static const char name[] = ".stemma";
    size_t len = sizeof name - 1;

    return path.len >= len && memcmp(path.data, name, len) == 0 && (path.len == len || ((const char *)path.data)[len] == '/');
}

static int bulk_put(void *arg, const struct stm_bulk_item *item)
{
    struct stm_bulk *b = arg;
    struct stm_content content = {0};
    int err = stm_bulk_check(item);

    if (err == 0 && b->target[0] == 0 && is_hidden_root(item->path))
        err = STM_E_BAD_NAME;
    if (err < 0 || b->skipping)
        return err;
    if (item->kind == STM_BULK_FILE)
        err = stm_content_put(b->store, item->source, &content);
    if (err == 0)
        err = stm_batch_add(&b->batch, stm_slice_str(b->target), item, &content);
    if (err < 0) {
        stm_content_release(&content);
        return err;
    }
    if (b->begun || (b->batch.count < b->opt.batch_items && b->batch.bytes < b->opt.batch_bytes))
        return 0;
    return flush(b);
}

/* Reads what the target remembers of an earlier import. */
static int ask_mark(struct stm_bulk *b)
{
    uint8_t key[STM_BULK_KEY];
    uint64_t id;
    int err = find_target(b, &id);

    if (err == 0) {
        stm_bulk_key(id, key);
        err = stm_store_mark_get(b->store, stm_slice(key, sizeof key), &b->mark);
    }
    if (err < 0 && err != -ENOENT)
        return err;
    b->waiting = err == 0 && b->mark.len > 0;
    b->asked = true;
    return 0;
}

static int bulk_begin(void *arg, const struct stm_bulk_commit *c)
{
    struct stm_bulk *b = arg;

    if (c->id.len == 0 || c->id.len > ID_MAX || b->begun)
        return -EINVAL;
    int err = flush(b);
    if (err == 0 && !b->asked)
        err = ask_mark(b);
    if (err < 0)
        return err;
    free(b->author);
    free(b->text);
    b->author = b->text = NULL;
    err = copy_text(c->author, &b->author);
    if (err == 0)
        err = copy_text(c->message, &b->text);
    if (err < 0)
        return err;
    memcpy(b->id, c->id.data, c->id.len);
    b->id[c->id.len] = 0;
    b->effective_ns = c->effective_ns;
    b->begun = true;
    b->skipping = b->waiting;
    if (b->waiting && stm_slice_eq(c->id, stm_buf_slice(&b->mark)))
        b->waiting = false;
    return b->skipping;
}

static int bulk_commit(void *arg)
{
    struct stm_bulk *b = arg;
    int err = !b->begun ? -EINVAL : b->skipping ? 0 : flush(b);

    b->begun = b->skipping = false;
    return err;
}

static int bulk_finish(void *arg, uint64_t skipped, struct stm_bulk_counts *ret)
{
    struct stm_bulk *b = arg;
    int err = b->begun ? -EINVAL : b->waiting ? -ESTALE : flush(b);

    if (err == 0)
        err = stm_store_sync(b->store);
    if (err == 0) {
        *ret = b->counts;
        ret->skipped = skipped;
    }
    return err;
}

struct stm_sink stm_bulk_sink(struct stm_bulk *b)
{
    return (struct stm_sink){.arg = b,
                             .put = bulk_put,
                             .begin = bulk_begin,
                             .commit = bulk_commit,
                             .finish = bulk_finish,
                             .where = bulk_where,
                             .spool = stm_store_stage(b->store)};
}

int stm_bulk_check(const struct stm_bulk_item *item)
{
    int err = item->path.len || item->kind == STM_BULK_DIR ? check_path(item->path) : STM_E_BAD_NAME;

    if (err == 0 && item->kind == STM_BULK_LINK)
        err = item->target.len ? check_path(item->target) : STM_E_BAD_NAME;
    if (err == 0 && item->kind == STM_BULK_SYMLINK)
        err = item->target.len > STM_TARGET_MAX                                         ? -ENAMETOOLONG
              : item->target.len == 0 || memchr(item->target.data, 0, item->target.len) ? STM_E_BAD_NAME
                                                                                        : 0;
    if (err == 0 && (item->kind < STM_BULK_DIR || item->kind > STM_BULK_REMOVE || (item->kind == STM_BULK_FILE && !item->source)))
        err = -EINVAL;
    if (err == 0 && item->kind == STM_BULK_SPECIAL &&
        !(S_ISFIFO(item->type) || S_ISSOCK(item->type) || S_ISCHR(item->type) || S_ISBLK(item->type)))
        err = -EINVAL;
    return err;
}
