/*
 * fsck.c: a check from beginning to end: what is looked at in which order, and the rounds of a repair. What a repair brings to light is
 * repaired by the next round; a last round, which repairs nothing, tells what is left.
 */
#include "fsck.h"

enum { ROUNDS_MAX = 8 };

static const struct pass {
    const char *phase;
    int (*run)(struct stm_fsck *f);
} passes[] = {
    {"system", stm_fsck_sys},      {"names", stm_fsck_tree},        {"past names", stm_fsck_past},
    {"objects", stm_fsck_objects}, {"versions", stm_fsck_versions}, {"contents", stm_fsck_contents},
    {"index", stm_fsck_index},     {"chunks", stm_fsck_chunks},     {"allocators", stm_fsck_ids},
};

static int run_passes(struct stm_fsck *f)
{
    int err = stm_fsck_seen_new(&f->seen);

    for (size_t i = 0; err == 0 && i < sizeof passes / sizeof passes[0]; i++) {
        f->phase = passes[i].phase;
        err = stm_fsck_go_on(f);
        if (err == 0)
            err = passes[i].run(f);
    }
    stm_fsck_seen_free(f->seen);
    return err;
}

/* What could not be read goes, and takes nothing else with it. Where that cannot be done it stays, and is told by the last round. */
static int salvage_ranges(struct stm_fsck *f)
{
    int err = 0;

    for (unsigned i = 0; err == 0 && i < f->n_ranges; i++) {
        const struct stm_fsck_range *r = &f->ranges[i];
        struct stm_damage d = {stm_key_slice(&r->low), stm_key_slice(&r->high)};
        struct stm_flaw flaw = {.kind = STM_FLAW_RANGE, .space = r->space, .key = d.low, .done = true};
        if (stm_salvage(f->store, r->space, &d) == 0)
            err = stm_fsck_found(f, &flaw, "the table that could not be read was replaced by what could be read of it");
    }
    return err;
}

/* Looks at everything once. repair: mends are made; tell: what is not mended is told. */
static int run_round(struct stm_store *s, const struct stm_fsck_options *opt, struct stm_fsck_result *r, bool repair, bool tell)
{
    struct stm_fsck f = {.store = s, .opt = opt, .result = r, .repair = repair, .tell = tell};
    struct stm_engine_stats stats;
    int err = stm_store_freeze(s, &f.frozen);

    if (err < 0)
        return err;
    f.v = stm_view_head(f.frozen);
    f.total = s->engine->ops->stats(s->engine, &stats) == 0 ? stats.keys_estimate : 0;
    r->left = r->known = r->planned = r->records = r->contents = r->bytes = 0;
    r->passes++;
    err = run_passes(&f);
    stm_store_thaw(f.frozen);
    return err == 0 && repair ? salvage_ranges(&f) : err;
}

int stm_fsck(struct stm_store *s, const struct stm_fsck_options *opt, struct stm_fsck_result *ret)
{
    bool repair = opt->repair && !opt->dry_run;
    uint64_t before = 0, done;
    int err;

    *ret = (struct stm_fsck_result){.passes = 0};
    if (!repair)
        return run_round(s, opt, ret, false, true);
    if (s->read_only)
        return -EROFS;
    for (int i = 0; i < ROUNDS_MAX; i++) {
        err = run_round(s, opt, ret, true, false);
        done = ret->repaired + ret->quarantined;
        if (err < 0 || done == before)
            break;
        before = done;
    }
    if (err == 0 && before > 0)
        err = stm_quarantine_count(s);
    if (err == 0 && ret->left + ret->known > 0)
        err = run_round(s, opt, ret, false, true);
    if (err == 0 && before > 0)
        err = stm_store_sync(s);
    return err;
}
