/*
 * fsck_line.c: lines: their versions, the rows by which versions are found, who carries a line and what it was forked from. The bytes of a
 * version are fsck_content.c's.
 */
#include "fsck.h"

enum { KEY = 16, ROW_KEY = 13, ROW_BYTES = 8 + 12 + 8 + 8 + STM_HASH_LEN, PAST_KEY = 17 };

/* The version that was seen last, which of its line is the newer one. */
struct line_state {
    uint64_t line; /* 0: none yet */
    bool any;      /* row is filled */
    bool holed;    /* a version of the line could not be read: numbers may be missing */
    struct stm_version_row row;
};

static struct stm_flaw about(enum stm_flaw_kind kind, const struct stm_version_row *row, struct stm_slice key)
{
    return (struct stm_flaw){.kind = kind, .space = STM_VERSION, .key = key, .line = row->line, .seq = row->seq, .semver = row->semver};
}

/* ---- versions ------------------------------------------------------------------------------------------------------------------ */

static void encode_row(const struct stm_version_row *row, uint8_t b[ROW_BYTES])
{
    stm_put_u64(b, row->seq);
    stm_put_u32(b + 8, row->semver.major);
    stm_put_u32(b + 12, row->semver.minor);
    stm_put_u32(b + 16, row->semver.patch);
    stm_put_u64(b + 20, (uint64_t)row->recorded_ns);
    stm_put_u64(b + 28, row->size);
    memcpy(b + 36, row->hash.bytes, STM_HASH_LEN);
}

/* The version's row says what the version says. */
static int check_row(struct stm_fsck *f, const struct stm_version_row *row, struct stm_slice key)
{
    struct stm_key row_key = stm_key_row(row->line, row->ordinal), ver_key = stm_key_version(row->line, row->seq);
    struct stm_flaw flaw = about(STM_FLAW_ROW, row, key);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_mend mend = {0};
    struct stm_slice payload;
    uint8_t want[ROW_BYTES];

    encode_row(row, want);
    int err = stm_read(&f->v, STM_INDEX, &row_key, &buf, &payload);
    bool same = err == 0 && stm_slice_eq(payload, stm_slice(want, sizeof want));
    stm_buf_release(&buf);
    if (same || (err < 0 && err != -ENOENT && err != STM_E_CORRUPT))
        return same ? 0 : err;
    stm_mend_guard(&mend, STM_VERSION, &ver_key);
    stm_mend_guard(&mend, STM_INDEX, &row_key);
    stm_mend_put(&mend, STM_INDEX, &row_key, stm_slice(want, sizeof want));
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw, "the row of version number %u of line %llu is %s", row->ordinal, (unsigned long long)row->line,
                          err == 0         ? "another's"
                          : err == -ENOENT ? "not there"
                                           : "damaged");
}

/* The line that was read has ended: its numbers begin where its record says. */
static int end_line(struct stm_fsck *f, struct line_state *s)
{
    struct stm_key key = stm_key_index(STM_IX_LINE, s->line);
    struct stm_line line;

    if (!s->any || s->holed)
        return 0;
    int err = stm_line_load(&f->v, s->row.line, &line);
    if (err < 0)
        return err == STM_E_CORRUPT ? 0 : err;
    uint32_t first = line.fork_line ? line.fork_ordinal : 0;
    if (s->row.ordinal == first)
        return 0;
    struct stm_flaw flaw = about(STM_FLAW_FORK, &s->row, stm_key_slice(&key));
    flaw.space = STM_INDEX;
    return stm_fsck_found(f, &flaw, "line %llu begins with number %u, and should with %u", (unsigned long long)s->row.line, s->row.ordinal,
                          first);
}

static int begin_line(struct stm_fsck *f, struct line_state *s, uint64_t line)
{
    int err = s->line != line ? end_line(f, s) : 0;

    if (s->line != line)
        *s = (struct line_state){.line = line};
    return err;
}

/* Ordinal, number and time grow together. */
static int check_order(struct stm_fsck *f, struct line_state *s, const struct stm_version_row *row, struct stm_slice key)
{
    struct stm_flaw flaw = about(STM_FLAW_ORDER, row, key);
    int err = begin_line(f, s, row->line);

    if (err == 0 && s->any &&
        (row->ordinal >= s->row.ordinal || stm_semver_cmp(row->semver, s->row.semver) >= 0 || row->recorded_ns > s->row.recorded_ns)) {
        err = stm_fsck_found(f, &flaw, "number %u of line %llu does not come before number %u", row->ordinal, (unsigned long long)row->line,
                             s->row.ordinal);
    } else if (err == 0 && s->any && row->ordinal + 1 != s->row.ordinal && !s->holed) {
        struct stm_key missing = stm_key_row(row->line, row->ordinal + 1);
        int there = stm_fsck_has(f, STM_INDEX, &missing); /* then the row is told about */
        err = there != 0 ? 0
                         : stm_fsck_found(f, &flaw, "numbers %u to %u of line %llu are missing", row->ordinal + 1, s->row.ordinal - 1,
                                          (unsigned long long)row->line);
    }
    s->row = *row;
    s->any = true;
    return err;
}

static int bad_version(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .reason = STM_QUARANTINE_CHECKSUM};
    struct stm_version_row row = {.line = key.len == KEY ? stm_get_u64(key.data) : 0};
    struct line_state *s = f->arg;
    struct stm_mend mend = {0};
    int known = stm_quarantine_get(&f->v, STM_VERSION, key, NULL), err;

    (void)payload;
    if (key.len == KEY)
        row.seq = ~stm_get_u64((const uint8_t *)key.data + 8);
    err = begin_line(f, s, row.line);
    s->holed = true;
    struct stm_flaw flaw = about(STM_FLAW_RECORD, &row, key);
    flaw.known = known > 0;
    if (known <= 0) {
        stm_mend_quarantine(&mend, STM_VERSION, key, &q);
        flaw.mend = &mend;
    }
    return err < 0 ? err : stm_fsck_found(f, &flaw, "the version of commit %llu is damaged", (unsigned long long)row.seq);
}

static int each_version(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_version ver = {.row = {.line = key.len == KEY ? stm_get_u64(key.data) : 0}};
    struct line_state *s = f->arg;

    if (key.len == KEY)
        ver.row.seq = ~stm_get_u64((const uint8_t *)key.data + 8);
    int err = key.len == KEY && ver.row.seq <= f->seq && ver.row.line <= STM_ID_MAX ? stm_version_decode(payload, &ver) : STM_E_CORRUPT;
    if (err == STM_E_CORRUPT) {
        stm_version_release(&ver);
        return bad_version(f, key, payload);
    }
    stm_fsck_saw(f, ver.row.line);
    if (err == 0)
        err = check_order(f, s, &ver.row, key);
    if (err == 0)
        err = check_row(f, &ver.row, key);
    if (err == 0)
        err = stm_fsck_content(f, &ver);
    stm_version_release(&ver);
    return err;
}

int stm_fsck_versions(struct stm_fsck *f)
{
    struct stm_scan s = {.space = STM_VERSION, .each = each_version, .bad = bad_version};
    struct line_state state = {.holed = false};

    f->arg = &state;
    int err = stm_fsck_scan(f, &s);
    return err < 0 ? err : end_line(f, &state);
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------------- */

static int strange(struct stm_fsck *f, struct stm_slice key)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_STRANGE, .space = STM_INDEX, .key = key};
    return stm_fsck_found(f, &flaw, "no record of the index has such a key or value");
}

static int remove_row(struct stm_fsck *f, struct stm_flaw *flaw, const struct stm_version_row *row, const char *why)
{
    struct stm_key row_key = stm_key_row(row->line, row->ordinal), ver_key = stm_key_version(row->line, row->seq);
    struct stm_mend mend = {0};

    stm_mend_guard(&mend, STM_INDEX, &row_key);
    stm_mend_guard(&mend, STM_VERSION, &ver_key);
    stm_mend_remove(&mend, STM_INDEX, &row_key);
    flaw->mend = &mend;
    return stm_fsck_found(f, flaw, "number %u of line %llu: %s", row->ordinal, (unsigned long long)row->line, why);
}

/* A row without its version. The version is lost if its object knows of it, or of a later one; else the row is left over. */
static int lost_version(struct stm_fsck *f, struct stm_flaw *flaw, const struct stm_version_row *row)
{
    struct stm_quarantine q = {
        .since_ns = stm_store_now_ns(f->store), .reason = STM_QUARANTINE_MISSING, .length = row->size, .hash = row->hash};
    struct stm_key ver_key = stm_key_version(row->line, row->seq);
    struct stm_mend mend = {0};
    struct stm_object o;
    uint64_t owner;
    int err = stm_line_owner(&f->v, row->line, &owner);

    if (err == 0)
        err = stm_object_load(&f->v, owner, &o);
    if (err == -ENOENT || (err == 0 && o.line == row->line && (o.tip.seq == 0 || o.tip.ordinal < row->ordinal)))
        return remove_row(f, flaw, row, "it has no version, and nobody knows of one");
    flaw->kind = STM_FLAW_VERSION_LOST;
    flaw->known = stm_quarantine_get(&f->v, STM_VERSION, stm_key_slice(&ver_key), NULL) > 0;
    if (!flaw->known) {
        stm_mend_quarantine(&mend, STM_VERSION, stm_key_slice(&ver_key), &q);
        flaw->mend = &mend;
    }
    return stm_fsck_found(f, flaw, "number %u of line %llu, of commit %llu and %llu bytes, is not there", row->ordinal,
                          (unsigned long long)row->line, (unsigned long long)row->seq, (unsigned long long)row->size);
}

int stm_fsck_row(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    const uint8_t *k = key.data;
    struct stm_version_row row;
    struct stm_version ver;

    if (key.len != ROW_KEY || stm_row_decode(payload, stm_get_u64(k + 1), stm_get_u32(k + 9), &row) < 0 || row.line > STM_ID_MAX)
        return strange(f, key);
    struct stm_flaw flaw = about(STM_FLAW_ROW_DANGLING, &row, key);
    flaw.space = STM_INDEX;
    int err = stm_version_load(&f->v, row.line, row.seq, &ver);
    if (err == -ENOENT)
        return lost_version(f, &flaw, &row);
    if (err < 0)
        return err == STM_E_CORRUPT ? 0 : err;
    uint32_t ordinal = ver.row.ordinal;
    stm_version_release(&ver);
    return ordinal == row.ordinal ? 0 : remove_row(f, &flaw, &row, "its version has another number");
}

int stm_fsck_line(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_FORK, .space = STM_INDEX, .key = key};
    struct stm_version_row row;
    struct stm_line l;

    if (key.len != 9 || stm_line_decode(payload, &l) < 0)
        return strange(f, key);
    flaw.line = stm_get_u64((const uint8_t *)key.data + 1);
    stm_fsck_saw(f, flaw.line);
    stm_fsck_saw(f, l.owner);
    if (!l.fork_line || l.fork_ordinal == 0)
        return 0;
    int err = l.fork_line < flaw.line ? stm_version_row(&f->v, l.fork_line, l.fork_ordinal - 1, &row) : -ENOENT;
    if (err == 0 || err == STM_E_CORRUPT)
        return 0;
    if (err != -ENOENT)
        return err;
    return stm_fsck_found(f, &flaw, "it goes on from number %u of line %llu, which is not there", l.fork_ordinal,
                          (unsigned long long)l.fork_line);
}

/* An object's lines of the past do not overlap, nor with the one of now. */
int stm_fsck_past_line(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_PAST_LINE, .space = STM_INDEX, .key = key};
    struct stm_past_line p;
    struct stm_mend mend = {0};
    struct stm_object o;
    struct stm_key at;

    if (key.len != PAST_KEY || stm_past_line_decode(payload, &p) < 0)
        return strange(f, key);
    flaw.object = stm_get_u64((const uint8_t *)key.data + 1);
    uint64_t since = ~stm_get_u64((const uint8_t *)key.data + 9);
    stm_fsck_saw(f, p.line);
    int err = stm_object_load(&f->v, flaw.object, &o);
    if (err < 0 && err != -ENOENT)
        return err == STM_E_CORRUPT ? 0 : err;
    if (err == 0 && since <= p.until && p.until <= o.line_since && p.until <= f->seq)
        return 0;
    mend.err = stm_fsck_key(key, &at);
    stm_mend_guard(&mend, STM_INDEX, &at);
    stm_mend_remove(&mend, STM_INDEX, &at);
    flaw.mend = &mend;
    return stm_fsck_found(f, &flaw, "object %llu is said to have carried line %llu from commit %llu to %llu",
                          (unsigned long long)flaw.object, (unsigned long long)p.line, (unsigned long long)since,
                          (unsigned long long)p.until);
}
