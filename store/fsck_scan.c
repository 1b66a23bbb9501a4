/*
 * fsck_scan.c: reading a space of the frozen store from one end to the other, whatever is damaged in it. What the records mean is the
 * passes' business.
 *
 * A damaged block stops an iterator. It is passed by seeking beyond it: keys are looked at as 128-bit numbers, and the distance is doubled until
 * a seek works, then halved until it is known where reading works again.
 */
#include "fsck.h"

enum { NUMBER_BYTES = 16, PROGRESS_EVERY = 2048, HEX_MAX = 24 };

int stm_fsck_key(struct stm_slice bytes, struct stm_key *ret)
{
    if (bytes.len > sizeof ret->bytes)
        return -EINVAL;
    ret->len = (uint16_t)bytes.len;
    ret->fix = -1;
    ret->fix_not = false;
    if (bytes.len > 0)
        memcpy(ret->bytes, bytes.data, bytes.len);
    return 0;
}

int stm_fsck_has(struct stm_fsck *f, enum stm_space space, const struct stm_key *key)
{
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&f->v, space, key, &buf, &payload);

    stm_buf_release(&buf);
    return err == 0 ? 1 : err == -ENOENT ? 0 : err;
}

int stm_fsck_any(struct stm_fsck *f, enum stm_space space, const struct stm_key *low, const struct stm_key *high)
{
    struct stm_engine *e = f->frozen->engine;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, space, stm_key_slice(low), stm_key_slice(high), 0, &it);

    if (err < 0)
        return err;
    err = e->ops->iter_seek(it, stm_key_slice(low));
    e->ops->iter_free(it);
    return err == STM_E_CORRUPT ? 1 : err;
}

void stm_fsck_saw(struct stm_fsck *f, uint64_t id)
{
    if (id > f->top_id)
        f->top_id = id;
}

/* ---- past damage --------------------------------------------------------------------------------------------------------- */

static unsigned __int128 number_of(struct stm_slice key)
{
    const uint8_t *k = key.data;
    unsigned __int128 n = 0;

    for (size_t i = 0; i < NUMBER_BYTES; i++)
        n = n << 8 | (i < key.len ? k[i] : 0);
    return n;
}

static struct stm_key key_of(unsigned __int128 n)
{
    struct stm_key k = {.len = NUMBER_BYTES, .fix = -1};

    for (int i = NUMBER_BYTES - 1; i >= 0; i--, n >>= 8)
        k.bytes[i] = (uint8_t)n;
    return k;
}

/*
 * An iterator of RocksDB 7.8 that has failed in a block may show the failure again for the block that it was in before. Behind the last key
 * it has no block.
 */
static int seek_number(struct stm_iter *it, unsigned __int128 n)
{
    static const uint8_t behind[NUMBER_BYTES] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    struct stm_key k = key_of(n);

    (void)!it->ops->iter_seek(it, stm_slice(behind, sizeof behind));
    return it->ops->iter_seek(it, stm_key_slice(&k));
}

int stm_seek_past(struct stm_iter *it, struct stm_slice last, int error)
{
    unsigned __int128 from = number_of(last), low = 0, high = 0;
    int more = error;

    for (int i = 0; i < NUMBER_BYTES * 8 && more == error; i++) {
        low = high;
        high = (unsigned __int128)1 << i;
        if (high > ~(unsigned __int128)0 - from)
            return 0;
        more = seek_number(it, from + high);
    }
    if (more == error)
        return 0;
    while (more >= 0 && high - low > 1) { /* reading fails at `low`, works at `high` */
        unsigned __int128 mid = low + (high - low) / 2;
        int got = seek_number(it, from + mid);
        if (got == error)
            low = mid;
        else
            high = mid;
        more = got < 0 && got != error ? got : more;
    }
    return more < 0 ? more : seek_number(it, from + high);
}

static void hex(struct stm_slice bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = bytes.len < HEX_MAX ? bytes.len : HEX_MAX;

    for (size_t i = 0; i < n; i++) {
        uint8_t b = ((const uint8_t *)bytes.data)[i];
        *out++ = digits[b >> 4];
        *out++ = digits[b & 15];
    }
    *out = 0;
}

/* For the end of the round. */
static void note_range(struct stm_fsck *f, enum stm_space space, struct stm_slice low, struct stm_slice high)
{
    struct stm_fsck_range *r = &f->ranges[f->n_ranges];

    if (f->n_ranges == STM_FSCK_RANGES || stm_fsck_key(low, &r->low) < 0 || stm_fsck_key(high, &r->high) < 0)
        return;
    r->space = space;
    f->n_ranges++;
}

/* Goes on behind a block that cannot be read, and says so. As iter_next. */
static int pass_damage(struct stm_fsck *f, const struct stm_scan *s, struct stm_iter *it, const struct stm_buf *last)
{
    struct stm_slice key = stm_slice("", 0), value;
    char from[2 * HEX_MAX + 1], to[2 * HEX_MAX + 1];
    int more = stm_seek_past(it, stm_buf_slice(last), STM_E_CORRUPT);

    if (more < 0)
        return more;
    if (more > 0)
        it->ops->iter_get(it, &key, &value);
    note_range(f, s->space, stm_buf_slice(last), key);
    hex(stm_buf_slice(last), from);
    hex(key, to);
    struct stm_flaw flaw = {.kind = STM_FLAW_RANGE, .space = s->space, .key = stm_buf_slice(last)};
    if (s->space == STM_DENTRY)
        f->blind = true;
    int err = stm_fsck_found(f, &flaw, "the records after %s and before %s", from[0] ? from : "the first", to[0] ? to : "the end");
    return err < 0 ? err : more;
}

/* ---- scanning ------------------------------------------------------------------------------------------------------------ */

int stm_fsck_go_on(void *fsck)
{
    struct stm_fsck *f = fsck;
    const struct stm_fsck_result *r = f->result;

    return !f->opt->progress || f->opt->progress(f->opt->arg, f->phase, r->records, f->total, r->bytes) ? 0 : -ECANCELED;
}

static int one(struct stm_fsck *f, const struct stm_scan *s, const struct stm_iter *it, struct stm_buf *last)
{
    struct stm_slice key, value, payload;

    it->ops->iter_get(it, &key, &value);
    int err = stm_buf_set(last, key.data, key.len);
    if (err < 0)
        return err;
    f->result->records++;
    err = f->result->records % PROGRESS_EVERY == 0 ? stm_fsck_go_on(f) : 0;
    if (err < 0)
        return err;
    err = stm_frame_open(s->space, key, value, &payload);
    if (err == STM_E_NEWER_FORMAT)
        return err;
    if (err < 0)
        return s->bad ? s->bad(f, key, stm_slice("", 0)) : 0;
    return s->each(f, key, payload);
}

int stm_fsck_scan(struct stm_fsck *f, const struct stm_scan *s)
{
    struct stm_engine *e = f->frozen->engine;
    struct stm_buf last = STM_BUF_INIT;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, s->space, s->from, s->to, STM_READ_SWEEP, &it);

    if (err < 0)
        return err;
    err = stm_buf_set(&last, s->from.data, s->from.len);
    int more = err < 0 ? err : e->ops->iter_seek(it, s->from);
    while (err == 0 && (more > 0 || more == STM_E_CORRUPT)) {
        if (more == STM_E_CORRUPT) {
            more = pass_damage(f, s, it, &last);
            continue;
        }
        err = one(f, s, it, &last);
        if (err == 0)
            more = e->ops->iter_next(it);
    }
    e->ops->iter_free(it);
    stm_buf_release(&last);
    return err < 0 ? err : more < 0 ? more : 0;
}
