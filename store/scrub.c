/*
 * scrub.c: reading everything through, a piece at a time (stemma/fsck.h). It looks at one record after the other: that records agree with each
 * other is a check's business (fsck.c). When and how fast is the caller's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fsck.h"
#include "segment.h"

enum { AT_MAX = 300, RECORD_BYTES = 48, FIXED = 8 + 8 + 8 + 8 + 1, CHUNK_KEY = 12, GAP_MAX = 256 };

void stm_scrub_release(struct stm_scrub *scrub)
{
    stm_buf_release(&scrub->at);
}

/* ---- where it is ----------------------------------------------------------------------------------------------------------------- */

static int load(struct stm_store *s, struct stm_scrub *scrub)
{
    struct stm_key key = stm_key_sys("scrub");
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice payload;
    int err = stm_read(&v, STM_SYS, &key, &buf, &payload);

    if (err == 0) {
        struct stm_dec d = stm_dec(payload);
        scrub->passes = stm_dec_u64(&d);
        scrub->completed_ns = stm_dec_i64(&d);
        scrub->findings = stm_dec_u64(&d);
        scrub->bytes = stm_dec_u64(&d);
        scrub->space = stm_dec_u8(&d);
        struct stm_slice at = stm_dec_blob(&d);
        err = stm_dec_end(&d) < 0 || scrub->space >= STM_SPACES ? STM_E_CORRUPT : stm_buf_set(&scrub->at, at.data, at.len);
    }
    stm_buf_release(&buf);
    if (err == STM_E_CORRUPT) { /* then it begins anew */
        scrub->space = 0;
        stm_buf_clear(&scrub->at);
    }
    scrub->loaded = err == 0 || err == -ENOENT || err == STM_E_CORRUPT;
    return scrub->loaded ? 0 : err;
}

int stm_scrub_save(struct stm_store *s, struct stm_scrub *scrub)
{
    struct stm_key key = stm_key_sys("scrub");
    uint8_t frame[STM_FRAME_HEAD + FIXED + 4 + AT_MAX + STM_FRAME_TAIL], *p = frame + STM_FRAME_HEAD;
    size_t at_len = scrub->at.len <= AT_MAX ? scrub->at.len : 0;

    if (s->read_only || !scrub->loaded)
        return 0;
    frame[0] = STM_RECORD_FORMAT;
    stm_put_u64(p, scrub->passes);
    stm_put_u64(p + 8, (uint64_t)scrub->completed_ns);
    stm_put_u64(p + 16, scrub->findings);
    stm_put_u64(p + 24, scrub->bytes);
    p[32] = (uint8_t)scrub->space;
    stm_put_u32(p + FIXED, (uint32_t)at_len);
    if (at_len > 0)
        memcpy(p + FIXED + 4, scrub->at.data, at_len);
    size_t size = STM_FRAME_HEAD + FIXED + 4 + at_len + STM_FRAME_TAIL;
    stm_frame_close(STM_SYS, stm_key_slice(&key), frame, size);
    struct stm_op op = {STM_OP_PUT, STM_SYS, stm_key_slice(&key), stm_slice(frame, size)};
    int err = s->engine->ops->commit(s->engine, &op, 1, false);
    return err < 0 ? err : stm_quarantine_heal(s, &scrub->healed);
}

/* ---- what it finds ----------------------------------------------------------------------------------------------------------------- */

struct step {
    struct stm_store *s;
    struct stm_scrub *scrub;
    void (*finding)(void *arg, const struct stm_finding *finding);
    void *arg;
};

static void tell(const struct step *st, enum stm_space space, struct stm_slice key, const char *what)
{
    char record[32 + 2 * RECORD_BYTES], *to = record;
    struct stm_finding f = {.code = space == STM_CHUNK ? "chunk-damaged" : "record-damaged",
                            .where = "",
                            .record = record,
                            .what = what,
                            .consequence = "reads of it fail with EIO",
                            .remedy = "'stemma fsck' names the files",
                            .state = STM_FINDING_LEFT};

    to += snprintf(to, 32, "%s ", stm_space_name(space));
    for (size_t i = 0; i < key.len && i < RECORD_BYTES; i++)
        to += snprintf(to, 3, "%02x", ((const uint8_t *)key.data)[i]);
    if (st->finding)
        st->finding(st->arg, &f);
}

/* A record that is damaged, and still is when it is looked at again: it may have been replaced. */
static int damaged(struct step *st, enum stm_space space, struct stm_slice key)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(st->s), .reason = STM_QUARANTINE_CHECKSUM};
    struct stm_view v = stm_view_head(st->s);
    struct stm_place place;

    st->scrub->findings++;
    int known = stm_quarantine_get(&v, space, key, NULL);
    if (known != 0 || space == STM_SYS)
        return known < 0 && known != STM_E_CORRUPT ? known : 0;
    tell(st, space, key, "a record cannot be read, or fails its checksum");
    if (space == STM_CHUNK && key.len == 12 &&
        stm_chunk_wanted(st->s, stm_get_u64(key.data), stm_get_u32((const uint8_t *)key.data + 8), &place) == 0) {
        q.length = place.length;
        q.hash = place.hash;
    }
    return st->s->read_only ? 0 : stm_quarantine_add(st->s, space, key, &q);
}

static bool is_sound(enum stm_space space, struct stm_slice key, struct stm_slice value)
{
    struct stm_slice payload;
    struct stm_hash hash;
    uint8_t *raw = NULL;
    size_t len;

    if (stm_frame_open(space, key, value, &payload) == STM_E_CORRUPT)
        return false;
    if (space != STM_CHUNK)
        return true;
    bool sound = stm_chunk_decode(payload, &hash, &raw, &len) != STM_E_CORRUPT;
    free(raw);
    return sound;
}

/* Is the record as it is now damaged? The iterator may have shown one that was replaced since. */
static bool still_damaged(struct step *st, enum stm_space space, struct stm_slice key)
{
    struct stm_buf now = STM_BUF_INIT;
    int err = st->s->engine->ops->get(st->s->engine, space, key, &now);
    bool bad = err == STM_E_CORRUPT || err == -EIO || (err == 0 && !is_sound(space, key, stm_buf_slice(&now)));

    stm_buf_release(&now);
    return bad;
}

/* ---- reading on -------------------------------------------------------------------------------------------------------------------- */

/* Chunks are numbered: those between two that can be read are what the block held. 1: they were told, 0: they cannot be named. */
static int name_chunks(struct step *st, struct stm_slice last, struct stm_slice next)
{
    const uint8_t *a = last.data, *b = next.data;
    int named = 0, err = 0;

    if (st->scrub->space != STM_CHUNK || last.len < CHUNK_KEY || next.len != CHUNK_KEY || memcmp(a, b, 8) != 0)
        return 0;
    uint32_t from = stm_get_u32(a + 8) + 1, to = stm_get_u32(b + 8);
    for (uint32_t i = from; err == 0 && i < to && i - from < GAP_MAX; i++) {
        struct stm_key key = stm_key_chunk(stm_get_u64(a), i);
        if (still_damaged(st, STM_CHUNK, stm_key_slice(&key)))
            err = damaged(st, STM_CHUNK, stm_key_slice(&key));
        named = 1;
    }
    return err < 0 ? err : named;
}

/* Gets behind a block that cannot be read. As iter_next. */
static int pass_block(struct step *st, struct stm_iter *it, int error)
{
    struct stm_slice last = stm_buf_slice(&st->scrub->at), next = stm_slice("", 0), value;
    int more = stm_seek_past(it, last, error);

    if (more > 0)
        it->ops->iter_get(it, &next, &value);
    int named = more < 0 ? more : name_chunks(st, last, next);
    if (named == 0) {
        st->scrub->findings++;
        tell(st, (enum stm_space)st->scrub->space, last, "what follows this record cannot be read");
    }
    return named < 0 ? named : more;
}

/* Reads on in one space. 1: there is more, 0: at its end, or an error. */
static int read_on(struct step *st, struct stm_iter *it, uint64_t until)
{
    enum stm_space space = (enum stm_space)st->scrub->space;
    struct stm_scrub *scrub = st->scrub;
    struct stm_slice key, value;
    int more = it->ops->iter_seek(it, stm_buf_slice(&scrub->at)), err = 0;

    while (err == 0 && scrub->bytes < until) {
        if (more == -EIO) /* once more: it may have been a failure of the moment */
            more = it->ops->iter_seek(it, stm_buf_slice(&scrub->at));
        if (more == STM_E_CORRUPT || more == -EIO)
            more = pass_block(st, it, more);
        if (more <= 0)
            return more;
        it->ops->iter_get(it, &key, &value);
        scrub->bytes += key.len + value.len;
        if (!is_sound(space, key, value) && still_damaged(st, space, key))
            err = damaged(st, space, key);
        if (err == 0)
            err = stm_buf_set(&scrub->at, key.data, key.len);
        if (err == 0)
            err = stm_buf_append(&scrub->at, "", 1); /* the first key that can come after it */
        if (err == 0)
            more = it->ops->iter_next(it);
    }
    return err < 0 ? err : more == STM_E_CORRUPT || more == -EIO ? 1 : more;
}

static int end_pass(struct step *st)
{
    struct stm_scrub *scrub = st->scrub;

    scrub->passes++;
    scrub->completed_ns = stm_store_now_ns(st->s);
    scrub->last_findings = scrub->findings;
    scrub->space = 0;
    scrub->findings = 0;
    scrub->bytes = 0;
    stm_buf_clear(&scrub->at);
    return stm_scrub_save(st->s, scrub);
}

int64_t stm_scrub_step(struct stm_store *s, struct stm_scrub *scrub, size_t bytes,
                       void (*finding)(void *arg, const struct stm_finding *finding), void *arg)
{
    struct step st = {s, scrub, finding, arg};
    struct stm_engine *e = s->engine;
    int err = scrub->loaded ? 0 : load(s, scrub);
    uint64_t from = scrub->bytes, until = from + bytes;

    while (err == 0 && scrub->bytes < until) {
        struct stm_iter *it;
        if (scrub->space >= STM_SPACES)
            return end_pass(&st);
        err = e->ops->iter_new(e, (enum stm_space)scrub->space, stm_slice(NULL, 0), stm_slice(NULL, 0), STM_READ_SWEEP, &it);
        if (err < 0)
            break;
        int more = read_on(&st, it, until);
        e->ops->iter_free(it);
        if (more == 0) {
            scrub->space++;
            stm_buf_clear(&scrub->at);
        }
        err = more < 0 ? more : 0;
    }
    return err < 0 ? err : (int64_t)(scrub->bytes - from);
}
