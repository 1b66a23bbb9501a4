/*
 * health.c: how an open store is: what its last write said, whether the disk has room, since when, and when opening it anew is worth a try.
 * It counts nothing and repairs nothing; room.c decides about space, whoever keeps the store open decides about opening it again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "state.h"

enum { PROBE_BYTES = 65536 };
#define SECOND INT64_C(1000000000)
#define FIRST_TRY (8 * SECOND) /* an engine that has not recovered by itself by then will not */
#define NEXT_TRY (60 * SECOND) /* after it was opened, if only for reading */

int stm_store_wrote(struct stm_store *s, int err)
{
    if (err == 0) {
        if (atomic_load_explicit(&s->write_error, memory_order_relaxed) != 0)
            atomic_store(&s->write_error, 0);
        return 0;
    }
    if (err == -EINVAL || err == -EROFS || err == -ENOMEM)
        return err; /* no fault of the disk */
    if (err == -ENOSPC || err == -EDQUOT)
        stm_room_failed(&s->room);
    atomic_store(&s->write_error, err);
    return err;
}

int stm_store_room(struct stm_store *s, uint64_t bytes, uint64_t later)
{
    if (s->refusal < 0)
        return s->refusal;
    int err = stm_room_ask(&s->room, STM_WANT_GROW, bytes + later);
    if (err == 0)
        stm_room_spent(&s->room, bytes);
    return err;
}

uint64_t stm_store_spare(struct stm_store *s, uint64_t available)
{
    return s->refusal < 0 && s->refusal != -EROFS ? 0 : stm_room_spare(&s->room, available);
}

int stm_store_failing(struct stm_store *s)
{
    return s->refusal < 0 ? s->refusal : atomic_load_explicit(&s->write_error, memory_order_relaxed);
}

/* Can anything be written and flushed where the store lies? */
static bool disk_works(const struct stm_store *s)
{
    static const uint8_t bytes[PROBE_BYTES] = {1};
    char *path = NULL;

    if (!s->path[0])
        return false;
    if (asprintf(&path, "%s/probe", s->path) < 0)
        return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool works = fd >= 0 && write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
        (void)unlink(path);
    }
    free(path);
    return works;
}

/* An engine that failed may have recovered without anybody having written since: an empty commit finds out. */
static int probe_engine(struct stm_store *s)
{
    int err = atomic_load(&s->write_error);

    if (err == 0 || s->refusal < 0)
        return err;
    return stm_store_wrote(s, s->engine->ops->commit(s->engine, NULL, 0, true));
}

static bool worth_reopening(struct stm_store *s, const struct stm_health *h, bool full, const struct stm_health_times *t)
{
    int64_t now = stm_monotonic_ns();

    if (h->state == STM_HEALTH_GOOD || full)
        return false;
    if (h->read_only && h->error == -ENOSPC)
        return true;
    if (now - t->full_ns < FIRST_TRY) /* there is room since just now: it will go on by itself */
        return false;
    return now - (h->read_only ? t->opened_ns : t->changed_ns) >= (h->read_only ? NEXT_TRY : FIRST_TRY) && disk_works(s);
}

void stm_store_health(struct stm_store *s, struct stm_health *ret)
{
    bool full = stm_room_look(&s->room);
    int err = s->refusal < 0 && s->refusal != -EROFS ? s->refusal : probe_engine(s);
    struct stm_health h = {.error = err, .read_only = err < 0 && err == s->refusal};
    struct stm_health_times times;

    if (err == -ENOSPC || err == -EDQUOT || (err == 0 && full))
        h.state = STM_HEALTH_FULL;
    else if (err < 0)
        h.state = STM_HEALTH_DEGRADED;
    if (h.state == STM_HEALTH_FULL && err == 0)
        h.error = -ENOSPC;
    if (h.state == STM_HEALTH_FULL)
        h.missing = atomic_load(&s->room.missing);
    stm_mutex_lock(&s->health_lock);
    int64_t now = stm_monotonic_ns();
    bool same = h.state == s->health.state && h.read_only == s->health.read_only && s->health.since_ns != 0;
    h.since_ns = same ? s->health.since_ns : stm_store_now_ns(s);
    s->health = h;
    if (s->times.opened_ns == 0)
        s->times.opened_ns = now;
    if (!same)
        s->times.changed_ns = now;
    if (full)
        s->times.full_ns = now;
    times = s->times;
    stm_mutex_unlock(&s->health_lock);
    h.reopen = worth_reopening(s, &h, full, &times);
    *ret = h;
}

const char *stm_health_word(enum stm_health_state state)
{
    static const char *const words[] = {[STM_HEALTH_GOOD] = "good", [STM_HEALTH_FULL] = "full", [STM_HEALTH_DEGRADED] = "degraded"};

    return words[state];
}

const char *stm_health_reason(const struct stm_health *h)
{
    if (h->state == STM_HEALTH_FULL && h->read_only)
        return "the disk was full when the store was opened: it can only be read until there is room";
    if (h->state == STM_HEALTH_FULL)
        return "the disk is full: changes are refused, and go on by themselves when there is room";
    if (h->state == STM_HEALTH_DEGRADED && h->read_only)
        return "the disk did not let the store be opened for writing: it can only be read; look at the disk and the system's log";
    if (h->state == STM_HEALTH_DEGRADED)
        return "writing fails: look at the disk and the system's log; reading goes on";
    return "";
}
