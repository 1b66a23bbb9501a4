/*
 * commit.c: every change that a request makes passes here. Its commit is tagged with the request's id, so that a request which is asked again after
 * a crash is not done twice: the log tells, and the answer is made from what the log names (takeover.c finds the tags).
 */
#include <sys/stat.h>

#include "remains.h"
#include "stemma_fs/handover.h"
#include "tag.h"

enum { SHORT = 17, LONG = 29 }; /* lengths of a tag */

static void put(uint8_t *to, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static uint64_t get(const uint8_t *from, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | from[i];
    return v;
}

size_t stm_tag_encode(const struct stm_tag *t, uint8_t *out)
{
    put(out, t->mount, 8);
    put(out + 8, t->unique, 8);
    out[16] = (uint8_t)t->step;
    if (t->step != STM_STEP_DRAFT)
        return SHORT;
    put(out + 17, t->draft, 8);
    put(out + 25, t->period, 4);
    return LONG;
}

bool stm_tag_decode(const uint8_t *in, size_t len, struct stm_tag *ret)
{
    if (len != SHORT && len != LONG)
        return false;
    *ret = (struct stm_tag){.mount = get(in, 8), .unique = get(in + 8, 8), .step = (enum stm_step)in[16]};
    if (len == LONG) {
        ret->draft = get(in + 17, 8);
        ret->period = (uint32_t)get(in + 25, 4);
    }
    return (len == LONG) == (ret->step == STM_STEP_DRAFT);
}

struct stm_act stm_act_of(fuse_req_t req)
{
    return (struct stm_act){.who = stm_caller_of(req), .step = STM_STEP_MAIN};
}

/* The object of a request is that of its last item; what was purged or saved along with it comes before. */
static int note_object(void *arg, const struct stm_log_item *item)
{
    if (item->op != 'p' && item->op != 'v')
        *(uint64_t *)arg = item->object;
    return 0;
}

int stm_act_done(struct stm_fs *fs, struct stm_act *act)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_log_record r;
    uint64_t object = 0;

    if (act->step != STM_STEP_MAIN || !stm_done_before(fs, act->who.unique, act->step, &act->seq))
        return 0;
    int err = stm_log_get(fs->store, act->seq, &r, note_object, &object);
    if (err < 0)
        return err;
    act->again = true;
    err = stm_object_get(&v, object, &act->object);
    if (err == -ENOENT) { /* purged by the same request, or since */
        act->object = (struct stm_object){.id = object};
        err = 0;
    }
    return err < 0 ? err : 1;
}

int stm_act_commit(struct stm_fs *fs, struct stm_act *act, int (*build)(struct stm_txn *txn, void *arg), void *arg)
{
    struct stm_change change = {
        .uid = act->who.uid,
        .gid = act->who.gid,
        .pid = act->who.pid,
        .sync = act->sync,
        .pressing = act->pressing,
    };
    uint8_t tag[STM_TAG_MAX];
    int err;

    if (fs->opt.read_only)
        return -EROFS;
    err = stm_act_done(fs, act);
    if (err != 0)
        return err < 0 ? err : 0;
    if (stm_is_kept(fs) && act->step != STM_STEP_OTHER) {
        struct stm_tag t = {fs->opt.handover->generation, stm_unique(act->who.unique), act->step, act->draft, act->period};
        change.tag = stm_slice(tag, stm_tag_encode(&t, tag));
    }
    return stm_update(fs->store, &change, build, arg, &act->seq);
}
