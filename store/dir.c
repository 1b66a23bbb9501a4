/*
 * dir.c: listing a directory in any view. The head lists the entries that are; a past view merges those that are old enough with the past
 * ones that were there. Both spaces have the same order (hash, name), so one merge serves.
 *
 * A cookie is the 56-bit hash of the name shifted left by 7, plus the place among names of equal hash: it needs no stored state and stays
 * valid whatever happens to other names.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "dentry.h"

enum { SAME_HASH_MAX = 127, KEY_HEAD = 16, HIST_TAIL = 9 };

/* One of the two streams that are merged. */
struct stream {
    struct stm_iter *it;
    enum stm_space space;
    bool loaded; /* the entry below waits to be given */
    bool ended;
    struct stm_entry e;
    struct stm_dentry d;
};

struct stm_dir {
    struct stm_view view;
    uint64_t parent;
    struct stream head, past;
    bool with_past;
    uint64_t resume; /* entries up to this cookie were given in an earlier listing */
    uint64_t hash;   /* of the entry given last, and its place among equals */
    uint32_t place;
    bool any;
};

static int stream_open(struct stream *s, const struct stm_view *v, enum stm_space space, uint64_t parent, uint64_t from)
{
    struct stm_engine *e = v->store->engine;
    struct stm_key low = stm_key_dentry_from(parent, from), high = stm_key_dentry_from(parent + 1, 0);

    s->space = space;
    int err = e->ops->iter_new(e, space, stm_key_slice(&low), stm_key_slice(&high), 0, &s->it);
    if (err < 0)
        return err;
    err = e->ops->iter_seek(s->it, stm_key_slice(&low));
    if (err < 0)
        return err;
    s->ended = err == 0;
    return 0;
}

/* Decodes the current pair. 1: it belongs to the view; 0: pass over; or an error. */
static int stream_take(struct stream *s, const struct stm_view *v)
{
    struct stm_slice key, value, payload;
    size_t tail = s->space == STM_DENTRYHIST ? HIST_TAIL : 0;

    s->it->ops->iter_get(s->it, &key, &value);
    if (key.len <= KEY_HEAD + tail || key.len - KEY_HEAD - tail > STM_NAME_MAX)
        return STM_E_CORRUPT;
    int err = stm_frame_open(s->space, key, value, &payload);
    if (err < 0)
        return err;
    const uint8_t *k = key.data;
    if (s->space == STM_DENTRY) {
        err = stm_dentry_decode(payload, &s->d);
        if (err < 0 || s->d.seq > v->seq)
            return err;
    } else {
        err = stm_past_decode(payload, &s->d);
        s->d.seq = ~stm_get_u64(k + key.len - 8);
        if (err < 0 || s->d.seq > v->seq || s->d.until <= v->seq || s->d.seq == UINT64_MAX)
            return err;
    }
    s->e = (struct stm_entry){.object = s->d.object,
                              .seq = s->d.seq,
                              .type = s->d.type,
                              .until = s->d.until,
                              .cookie = stm_get_u64(k + 8),
                              .name_len = key.len - KEY_HEAD - tail};
    memcpy(s->e.name, k + KEY_HEAD, s->e.name_len);
    return 1;
}

/* Makes sure that the stream's next entry is loaded, unless it has ended. */
static int stream_fill(struct stream *s, const struct stm_view *v)
{
    while (!s->loaded && !s->ended) {
        int err = stream_take(s, v);
        if (err < 0)
            return err;
        s->loaded = err > 0;
        err = s->it->ops->iter_next(s->it);
        if (err < 0)
            return err;
        s->ended = err == 0;
    }
    return 0;
}

int stm_dir_open(const struct stm_view *v, uint64_t parent, uint64_t cookie, struct stm_dir **ret)
{
    struct stm_object o;
    struct stm_dir *d;
    int err = stm_object_load(v, parent, &o);

    if (err < 0)
        return err;
    if (!S_ISDIR(o.mode))
        return -ENOTDIR;
    d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->view = *v;
    d->parent = parent;
    d->resume = cookie;
    d->with_past = v->seq != STM_SEQ_HEAD;
    uint64_t from = cookie & ~(uint64_t)SAME_HASH_MAX;
    err = stream_open(&d->head, v, STM_DENTRY, parent, from);
    if (err == 0 && d->with_past)
        err = stream_open(&d->past, v, STM_DENTRYHIST, parent, from);
    if (err < 0) {
        stm_dir_free(d);
        return err;
    }
    *ret = d;
    return 0;
}

static int entry_cmp(const struct stm_entry *a, const struct stm_entry *b)
{
    if (a->cookie != b->cookie)
        return a->cookie < b->cookie ? -1 : 1;
    size_t n = a->name_len < b->name_len ? a->name_len : b->name_len;
    int c = memcmp(a->name, b->name, n);
    return c ? c : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* The smaller of the two streams' entries; 1, 0 at the end, or an error. */
static int merge_next(struct stm_dir *d, struct stm_entry *ret)
{
    struct stream *s = &d->head;
    int err = stream_fill(&d->head, &d->view);

    if (err == 0 && d->with_past)
        err = stream_fill(&d->past, &d->view);
    if (err < 0)
        return err;
    if (d->with_past && d->past.loaded && s->loaded && entry_cmp(&d->past.e, &s->e) == 0)
        d->past.loaded = false; /* ended between the opening of the two streams: still in the one, already in the other */
    if (d->with_past && d->past.loaded && (!s->loaded || entry_cmp(&d->past.e, &s->e) < 0))
        s = &d->past;
    if (!s->loaded)
        return 0;
    *ret = s->e;
    s->loaded = false;
    return 1;
}

/* Gives the entry its cookie: its hash, and its place among names with that hash. */
static void place_entry(struct stm_dir *d, struct stm_entry *e)
{
    d->place = d->any && e->cookie == d->hash ? d->place + 1 : 0;
    d->hash = e->cookie;
    d->any = true;
    e->cookie |= d->place < SAME_HASH_MAX ? d->place : SAME_HASH_MAX;
}

int stm_dir_next(struct stm_dir *d, struct stm_entry *ret, struct stm_object *ret_object)
{
    struct stm_entry e;
    int err;

    while ((err = merge_next(d, &e)) > 0) {
        place_entry(d, &e);
        if (e.cookie <= d->resume)
            continue;
        if (ret_object) {
            err = stm_object_get(&d->view, e.object, ret_object);
            if (err == -ENOENT)
                continue; /* removed since the listing began, and it left nothing behind */
            if (err < 0)
                return err;
        }
        *ret = e;
        return 1;
    }
    return err;
}

void stm_dir_free(struct stm_dir *d)
{
    if (!d)
        return;
    if (d->head.it)
        d->head.it->ops->iter_free(d->head.it);
    if (d->past.it)
        d->past.it->ops->iter_free(d->past.it);
    free(d);
}
