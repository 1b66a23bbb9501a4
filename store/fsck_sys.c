/* fsck_sys.c: the store's own records: superblock, allocators, and the log of commits. */
#include "fsck.h"

enum { SUPER_BYTES = 4 + 16, NUMBER = 8 };

static bool is_key(struct stm_slice key, const char *name)
{
    return stm_slice_eq(key, stm_slice_str(name));
}

static int strange(struct stm_fsck *f, struct stm_slice key, size_t len)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_STRANGE, .space = STM_SYS, .key = key};
    return stm_fsck_found(f, &flaw, "the record '%.*s' has %zu bytes", (int)key.len, (const char *)key.data, len);
}

static int each_sys(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    bool super = is_key(key, "super"), number = is_key(key, "ids") || is_key(key, "swept") || is_key(key, "views");

    if ((super && payload.len != SUPER_BYTES) || (number && payload.len != NUMBER))
        return strange(f, key, payload.len);
    if (is_key(key, "swept"))
        f->swept = stm_get_u64(payload.data);
    return 0;
}

/* What was stored with a commit by its maker can go, and so can what is made again; the rest is in quarantine if the store still opens. */
static int bad_sys(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = is_key(key, "super") ? STM_FLAW_SUPER : STM_FLAW_RECORD, .space = STM_SYS, .key = key};
    bool mark = key.len > 5 && memcmp(key.data, "mark.", 5) == 0;
    struct stm_mend mend = {0};
    struct stm_key k;

    (void)payload;
    if ((mark || is_key(key, "views") || is_key(key, "scrub") || is_key(key, "swept")) && stm_fsck_key(key, &k) == 0) {
        stm_mend_guard(&mend, STM_SYS, &k);
        stm_mend_remove(&mend, STM_SYS, &k);
        flaw.mend = &mend;
    }
    return stm_fsck_found(f, &flaw, "the record '%.*s' fails its checksum", (int)key.len, (const char *)key.data);
}

/* ---- the log ----------------------------------------------------------------------------------------------------------------- */

struct log_state {
    uint64_t last;
    int64_t last_ns;
};

static int no_item(void *arg, const struct stm_log_item *item)
{
    (void)arg;
    return memchr("culraxvXp", item->op, 9) ? 0 : STM_E_CORRUPT;
}

/* A commit that is not there, or not readable: nothing can bring it back; in quarantine it is known. */
static int lost_commit(struct stm_fsck *f, enum stm_flaw_kind kind, uint64_t seq, uint64_t to)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .reason = STM_QUARANTINE_MISSING};
    struct stm_key key = stm_key_log(seq);
    struct stm_mend mend = {0};
    int known = stm_quarantine_get(&f->v, STM_LOG, stm_key_slice(&key), NULL);
    struct stm_flaw flaw = {
        .kind = kind, .space = STM_LOG, .key = stm_key_slice(&key), .seq = seq, .known = known > 0, .mend = known > 0 ? NULL : &mend};

    if (known <= 0)
        stm_mend_quarantine(&mend, STM_LOG, stm_key_slice(&key), &q);
    if (kind == STM_FLAW_LOG_HOLE)
        return stm_fsck_found(f, &flaw, "commits %llu to %llu are not in the log", (unsigned long long)seq, (unsigned long long)to);
    return stm_fsck_found(f, &flaw, "the log's record of commit %llu is damaged", (unsigned long long)seq);
}

static int at_seq(struct stm_fsck *f, struct stm_slice key)
{
    struct log_state *s = f->arg;
    uint64_t seq = key.len == NUMBER ? stm_get_u64(key.data) : 0;

    if (seq == 0) {
        struct stm_flaw flaw = {.kind = STM_FLAW_STRANGE, .space = STM_LOG, .key = key};
        return stm_fsck_found(f, &flaw, "a key of %zu bytes in the log", key.len);
    }
    int err = seq > s->last + 1 ? lost_commit(f, STM_FLAW_LOG_HOLE, s->last + 1, seq - 1) : 0;
    s->last = seq;
    return err;
}

static int each_log(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_log_record r = {0};
    struct log_state *s = f->arg;
    struct stm_flaw flaw = {.kind = STM_FLAW_LOG_TIME, .space = STM_LOG, .key = key, .seq = key.len == NUMBER ? stm_get_u64(key.data) : 0};
    int err = at_seq(f, key);

    if (err < 0)
        return err;
    if (stm_log_decode(payload, &r, no_item, NULL) < 0) {
        flaw.kind = STM_FLAW_STRANGE;
        return stm_fsck_found(f, &flaw, "the log's record of commit %llu cannot be understood", (unsigned long long)flaw.seq);
    }
    if (r.recorded_ns < s->last_ns)
        err = stm_fsck_found(f, &flaw, "commit %llu is dated before the one that it follows", (unsigned long long)flaw.seq);
    if (r.recorded_ns > s->last_ns)
        s->last_ns = r.recorded_ns;
    return err;
}

static int bad_log(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    int err = at_seq(f, key);

    (void)payload;
    return err < 0 || key.len != NUMBER ? err : lost_commit(f, STM_FLAW_RECORD, stm_get_u64(key.data), 0);
}

int stm_fsck_sys(struct stm_fsck *f)
{
    struct stm_scan sys = {.space = STM_SYS, .each = each_sys, .bad = bad_sys}, log = {.space = STM_LOG, .each = each_log, .bad = bad_log};
    struct log_state state = {.last_ns = INT64_MIN};
    struct stm_key super = stm_key_sys("super");
    int err = stm_fsck_scan(f, &sys);

    if (err == 0 && stm_fsck_has(f, STM_SYS, &super) == 0) {
        struct stm_flaw flaw = {.kind = STM_FLAW_SUPER, .space = STM_SYS, .key = stm_key_slice(&super)};
        err = stm_fsck_found(f, &flaw, "the superblock is not there");
    }
    f->phase = "log";
    f->arg = &state;
    if (err == 0)
        err = stm_fsck_scan(f, &log);
    f->seq = state.last;
    f->result->seq = state.last;
    return err;
}

/* ---- allocators ---------------------------------------------------------------------------------------------------------------- */

static int number_of(struct stm_fsck *f, const char *name, uint64_t *ret)
{
    struct stm_key key = stm_key_sys(name);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&f->v, STM_SYS, &key, &buf, &payload);

    if (err == 0)
        *ret = payload.len == NUMBER ? stm_get_u64(payload.data) : 0;
    stm_buf_release(&buf);
    return err == STM_E_CORRUPT || err == -ENOENT ? 0 : err;
}

static int raise_number(struct stm_txn *t, void *arg)
{
    (void)t;
    struct stm_fsck *f = arg;
    return stm_store_raise_ids(f->store, f->top_id + 1);
}

static int check_number(struct stm_fsck *f, const char *name, uint64_t least, enum stm_flaw_kind kind)
{
    struct stm_key key = stm_key_sys(name);
    struct stm_mend mend = {0};
    struct stm_flaw flaw = {.kind = kind, .space = STM_SYS, .key = stm_key_slice(&key), .mend = &mend};
    uint64_t has = 0;
    uint8_t raised[NUMBER];
    int err = number_of(f, name, &has);

    if (err < 0 || has >= least)
        return err;
    stm_put_u64(raised, least);
    stm_mend_guard(&mend, STM_SYS, &key);
    if (kind == STM_FLAW_IDS)
        mend.extra = raise_number;
    else
        stm_mend_put(&mend, STM_SYS, &key, stm_slice(raised, sizeof raised));
    mend.arg = f;
    return stm_fsck_found(f, &flaw, "'%s' is %llu, and %llu is in use", name, (unsigned long long)has,
                          (unsigned long long)least - (kind == STM_FLAW_IDS));
}

int stm_fsck_ids(struct stm_fsck *f)
{
    int err = f->top_id > STM_ROOT_OBJECT ? check_number(f, "ids", f->top_id + 1, STM_FLAW_IDS) : 0;

    return err < 0 || f->top_view == 0 ? err : check_number(f, "views", f->top_view, STM_FLAW_VIEWS);
}
