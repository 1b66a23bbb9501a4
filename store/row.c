/*
 * row.c: the index of a line's versions (one short row for each ordinal) and the record of the line: who carries it, what it was forked
 * from. Selectors are answered from rows alone. The versions themselves are version.c's.
 */
#include "inner.h"

int stm_line_decode(struct stm_slice payload, struct stm_line *ret)
{
    struct stm_dec d = stm_dec(payload);
    struct stm_line l;

    l.owner = stm_dec_u64(&d);
    l.fork_line = stm_dec_u64(&d);
    l.fork_ordinal = stm_dec_u32(&d);
    int err = stm_dec_end(&d);
    if (err == 0)
        *ret = l;
    return err;
}

int stm_line_load(const struct stm_view *v, uint64_t line, struct stm_line *ret)
{
    struct stm_key key = stm_key_index(STM_IX_LINE, line);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(v, STM_INDEX, &key, &buf, &payload);

    if (err == 0) {
        err = stm_line_decode(payload, ret);
    } else if (err == -ENOENT) {
        /* Not written until something about it changes: carried by the object it was born with. */
        *ret = (struct stm_line){.owner = line};
        err = 0;
    }
    stm_buf_release(&buf);
    return err;
}

int stm_line_put(struct stm_txn *t, uint64_t line, const struct stm_line *l)
{
    struct stm_key key = stm_key_index(STM_IX_LINE, line);
    struct stm_rec r = STM_REC_INIT;

    stm_rec_u64(&r, l->owner);
    stm_rec_u64(&r, l->fork_line);
    stm_rec_u32(&r, l->fork_ordinal);
    return stm_txn_put(t, STM_INDEX, &key, &r);
}

int stm_line_owner(const struct stm_view *v, uint64_t line, uint64_t *ret_object)
{
    struct stm_line l;
    int err = stm_line_load(v, line, &l);

    if (err == 0)
        *ret_object = l.owner;
    return err;
}

int stm_row_put(struct stm_txn *t, const struct stm_version_row *row)
{
    struct stm_key key = stm_key_row(row->line, row->ordinal);
    struct stm_rec r = STM_REC_INIT;

    stm_rec_seq(&r, row->seq);
    stm_rec_u32(&r, row->semver.major);
    stm_rec_u32(&r, row->semver.minor);
    stm_rec_u32(&r, row->semver.patch);
    stm_rec_time(&r, row->recorded_ns);
    stm_rec_u64(&r, row->size);
    stm_rec_raw(&r, row->hash.bytes, STM_HASH_LEN);
    return stm_txn_put(t, STM_INDEX, &key, &r);
}

int stm_row_decode(struct stm_slice payload, uint64_t line, uint32_t ordinal, struct stm_version_row *ret)
{
    struct stm_dec d = stm_dec(payload);
    struct stm_version_row row = {.line = line, .ordinal = ordinal};

    row.seq = stm_dec_u64(&d);
    row.semver.major = stm_dec_u32(&d);
    row.semver.minor = stm_dec_u32(&d);
    row.semver.patch = stm_dec_u32(&d);
    row.recorded_ns = stm_dec_i64(&d);
    row.size = stm_dec_u64(&d);
    const void *hash = stm_dec_raw(&d, STM_HASH_LEN);
    if (hash)
        memcpy(row.hash.bytes, hash, STM_HASH_LEN);
    int err = stm_dec_end(&d);
    if (err == 0)
        *ret = row;
    return err;
}

/* The line's own row; -ENOENT also for inherited ordinals. */
static int own_row(const struct stm_view *v, uint64_t line, uint32_t ordinal, struct stm_version_row *ret)
{
    struct stm_key key = stm_key_row(line, ordinal);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(v, STM_INDEX, &key, &buf, &payload);

    if (err == 0)
        err = stm_row_decode(payload, line, ordinal, ret);
    stm_buf_release(&buf);
    return err;
}

int stm_version_row(const struct stm_view *v, uint64_t line, uint32_t ordinal, struct stm_version_row *ret)
{
    for (;;) {
        struct stm_line l;
        int err = own_row(v, line, ordinal, ret);
        if (err != -ENOENT)
            return err;
        err = stm_line_load(v, line, &l);
        if (err < 0)
            return err;
        if (!l.fork_line || ordinal >= l.fork_ordinal)
            return -ENOENT;
        if (l.fork_line >= line)
            return STM_E_CORRUPT; /* a fork is younger than what it was forked from: so this ends */
        line = l.fork_line;
    }
}

/* What a binary search looks for: the last row for which `before` is not positive. */
struct search {
    const struct stm_selector *sel;
    int (*before)(const struct stm_version_row *row, const struct stm_selector *sel);
};

static int by_semver(const struct stm_version_row *row, const struct stm_selector *sel)
{
    return stm_semver_cmp(row->semver, sel->semver);
}

static int by_major(const struct stm_version_row *row, const struct stm_selector *sel)
{
    return stm_semver_cmp(row->semver, (struct stm_semver){sel->semver.major, UINT32_MAX, UINT32_MAX});
}

static int by_minor(const struct stm_version_row *row, const struct stm_selector *sel)
{
    return stm_semver_cmp(row->semver, (struct stm_semver){sel->semver.major, sel->semver.minor, UINT32_MAX});
}

static int by_time(const struct stm_version_row *row, const struct stm_selector *sel)
{
    return (row->recorded_ns > sel->time_ns) - (row->recorded_ns < sel->time_ns);
}

/* Rows are sorted by ordinal, semver and time alike. Where all versions were made by patches, the first guess hits. */
static int last_not_after(const struct stm_view *v, uint64_t line, uint32_t tip, const struct search *s, struct stm_version_row *ret)
{
    uint32_t low = 0, high = tip + 1; /* the answer is in [low, high) if there is one */
    bool found = false, first = true;
    struct stm_version_row row;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (first && s->sel->kind == STM_SEL_EXACT && s->sel->semver.patch <= tip)
            mid = s->sel->semver.patch;
        first = false;
        int err = stm_version_row(v, line, mid, &row);
        if (err < 0)
            return err;
        int c = s->before(&row, s->sel);
        if (c <= 0) {
            *ret = row;
            found = true;
            low = mid + 1;
        } else {
            high = mid;
        }
        if (c == 0 && s->sel->kind == STM_SEL_EXACT)
            return 0;
    }
    return found ? 0 : -ENOENT;
}

static bool hash_fits(const struct stm_hash *h, const char *digits)
{
    char text[33];
    stm_hash_format(h, text);
    return strncmp(text, digits, strlen(digits)) == 0;
}

/* Equal bytes saved again later are no ambiguity: the newest of them is meant. */
static int find_hash(const struct stm_view *v, uint64_t line, uint32_t tip, const char *digits, struct stm_version_row *ret)
{
    struct stm_version_row row, best;
    bool found = false;

    for (uint32_t i = 0; i <= tip; i++) {
        int err = stm_version_row(v, line, i, &row);
        if (err < 0)
            return err;
        if (!hash_fits(&row.hash, digits))
            continue;
        if (found && !stm_hash_eq(&row.hash, &best.hash))
            return STM_E_AMBIGUOUS;
        best = row;
        found = true;
    }
    if (found)
        *ret = best;
    return found ? 0 : -ENOENT;
}

int stm_version_find(const struct stm_view *v, uint64_t line, uint32_t tip_ordinal, const struct stm_selector *sel,
                     struct stm_version_row *ret)
{
    struct search s = {.sel = sel};
    struct stm_version_row row;

    switch (sel->kind) {
    case STM_SEL_LATEST:
        return stm_version_row(v, line, tip_ordinal, ret);
    case STM_SEL_BACK:
        return sel->back > tip_ordinal ? -ENOENT : stm_version_row(v, line, tip_ordinal - sel->back, ret);
    case STM_SEL_HASH:
        return find_hash(v, line, tip_ordinal, sel->hash, ret);
    case STM_SEL_EXACT:
        s.before = by_semver;
        break;
    case STM_SEL_MAJOR:
        s.before = by_major;
        break;
    case STM_SEL_MINOR:
        s.before = by_minor;
        break;
    case STM_SEL_TIME:
        s.before = by_time;
        break;
    default:
        return -EINVAL;
    }
    int err = last_not_after(v, line, tip_ordinal, &s, &row);
    bool fits = err == 0;
    if (fits && sel->kind == STM_SEL_EXACT)
        fits = stm_semver_cmp(row.semver, sel->semver) == 0;
    else if (fits && sel->kind != STM_SEL_TIME)
        fits = row.semver.major == sel->semver.major && (sel->kind == STM_SEL_MAJOR || row.semver.minor == sel->semver.minor);
    if (fits)
        *ret = row;
    return err < 0 ? err : fits ? 0 : -ENOENT;
}
