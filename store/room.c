/* room.c: see room.h. */
#include "room.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

enum {
    MIB = 1 << 20,
    UNIT_MIN = 2 * MIB,
    UNIT_MAX = 64 * MIB,
    UNIT_SHARE = 32,
    LOOK_BYTES = 16 * MIB,
    OPEN_BYTES = 4 * MIB, /* a manifest, a new log and what the filesystem needs for them */
    INODES = 32
};
#define LOOK_NS INT64_C(100000000)

static const char reserve[] = "reserve";

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Bytes that may be written by anybody (or, all of them, by us). 0 when the filesystem does not say. */
static uint64_t available(const struct stm_room *r, bool all, uint64_t *ret_total)
{
    struct statfs s;

    if (fstatfs(r->dir, &s) < 0)
        return 0;
    if (ret_total)
        *ret_total = (uint64_t)s.f_blocks * (uint64_t)s.f_bsize;
    return (uint64_t)(all && geteuid() == 0 ? s.f_bfree : s.f_bavail) * (uint64_t)s.f_bsize;
}

/* Can the engine make files? Some filesystems have so many inodes and no more. */
static bool has_inodes(const struct stm_room *r)
{
    struct statfs s;

    return fstatfs(r->dir, &s) == 0 && (s.f_files == 0 || s.f_ffree >= INODES);
}

/* ---- the reserve ---- */

static uint64_t reserve_size(const struct stm_room *r)
{
    struct stat st;

    return fstatat(r->dir, reserve, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
}

static void give_up(struct stm_room *r)
{
    if (r->held > 0 && unlinkat(r->dir, reserve, 0) == 0)
        r->held = 0;
}

/* Really allocated. Where that cannot be had, there is no reserve, and the margin is larger. */
static void make(struct stm_room *r, uint64_t size)
{
    struct stat st;
    int fd = openat(r->dir, reserve, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return;
    if (fallocate(fd, 0, 0, (off_t)size) == 0) {
        r->held = size;
        if (geteuid() == 0 && fstat(r->dir, &st) == 0 && st.st_uid != 0)
            (void)!fchown(fd, st.st_uid, st.st_gid);
    } else {
        if (errno == EOPNOTSUPP) {
            r->margin += r->wanted;
            r->wanted = 0;
        }
        r->held = 0;
        (void)unlinkat(r->dir, reserve, 0);
    }
    close(fd);
}

/* ---- looking ---- */

/* What lies above the margin goes to the reserve first; an engine that is recovering from a full disk gets it before that. */
static void replenish(struct stm_room *r, uint64_t avail)
{
    uint64_t missing = r->wanted - r->held, above = avail > r->margin ? avail - r->margin : 0;

    if (missing == 0 || (atomic_load(&r->failed) && above < missing + r->unit / 4))
        return;
    if (above >= missing || above >= r->unit / 8)
        make(r, r->held + (above < missing ? above : missing));
}

/* busy held. */
static void look_locked(struct stm_room *r)
{
    uint64_t avail = available(r, false, NULL);
    bool full = atomic_load(&r->full);
    uint64_t enough = r->margin + (full ? r->unit / 4 : 0);

    replenish(r, avail);
    avail = available(r, false, NULL);
    if (r->held > 0 && avail < (atomic_load(&r->failed) ? r->unit : r->unit / 4)) {
        give_up(r);
        avail = available(r, false, NULL);
    }
    bool room = r->held >= r->wanted && avail >= enough && has_inodes(r);
    uint64_t spare = room ? avail - r->margin : 0;
    atomic_store(&r->spare, spare);
    atomic_store(&r->left, spare / 4 < LOOK_BYTES ? (int64_t)(spare / 4) : LOOK_BYTES);
    atomic_store(&r->exhausted, avail + r->held < r->last_ditch);
    if (room)
        atomic_store(&r->failed, false);
    uint64_t want = r->wanted - r->held + r->margin + r->unit / 4;
    atomic_store(&r->missing, !room && want > avail ? want - avail : 0);
    atomic_store(&r->full, !room || atomic_load(&r->failed));
    atomic_store(&r->next_ns, now_ns() + LOOK_NS);
}

bool stm_room_look(struct stm_room *r)
{
    if (r->dir >= 0 && !atomic_flag_test_and_set(&r->busy)) {
        look_locked(r);
        atomic_flag_clear(&r->busy);
    }
    return atomic_load(&r->full);
}

int stm_room_ask(struct stm_room *r, enum stm_want want, uint64_t bytes)
{
    if (r->dir < 0)
        return 0;
    if (atomic_load_explicit(&r->left, memory_order_relaxed) < (int64_t)bytes ||
        now_ns() >= atomic_load_explicit(&r->next_ns, memory_order_relaxed))
        (void)stm_room_look(r);
    if (want == STM_WANT_PRESS)
        return atomic_load_explicit(&r->exhausted, memory_order_relaxed) ? -ENOSPC : 0;
    if (atomic_load_explicit(&r->full, memory_order_relaxed) || bytes > atomic_load_explicit(&r->spare, memory_order_relaxed))
        return -ENOSPC;
    return 0;
}

void stm_room_spent(struct stm_room *r, uint64_t bytes)
{
    if (r->dir >= 0)
        atomic_fetch_sub_explicit(&r->left, (int64_t)bytes, memory_order_relaxed);
}

void stm_room_failed(struct stm_room *r)
{
    if (r->dir < 0)
        return;
    atomic_store(&r->failed, true);
    atomic_store(&r->full, true);
    if (!atomic_flag_test_and_set(&r->busy)) {
        give_up(r);
        atomic_flag_clear(&r->busy);
    }
    atomic_store(&r->next_ns, now_ns() + LOOK_NS);
}

uint64_t stm_room_spare(struct stm_room *r, uint64_t avail)
{
    if (r->dir < 0)
        return avail;
    if (atomic_load(&r->full))
        return 0;
    uint64_t kept = r->margin + (r->wanted - r->held);
    return avail > kept ? avail - kept : 0;
}

/* ---- beginning and end ---- */

void stm_room_none(struct stm_room *r)
{
    *r = (struct stm_room){.dir = -1, .busy = ATOMIC_FLAG_INIT};
}

int stm_room_init(struct stm_room *r, const char *store)
{
    struct statfs s;
    uint64_t total = 0;

    stm_room_none(r);
    r->dir = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->dir < 0)
        return -errno;
    (void)available(r, false, &total);
    r->unit = total / UNIT_SHARE < UNIT_MIN ? UNIT_MIN : total / UNIT_SHARE > UNIT_MAX ? UNIT_MAX : total / UNIT_SHARE;
    r->unit -= r->unit % MIB;
    r->margin = 2 * r->unit;
    r->wanted = r->unit + r->unit / 2;
    r->last_ditch = r->unit / 2;
    if (fstatfs(r->dir, &s) == 0 && s.f_type == TMPFS_MAGIC) { /* blocks there are memory: they are not taken for nothing */
        r->margin += r->wanted;
        r->wanted = 0;
    }
    uint64_t there = reserve_size(r);
    r->held = there < r->wanted ? there : r->wanted;
    return 0;
}

bool stm_room_to_open(struct stm_room *r, uint64_t log)
{
    uint64_t need = OPEN_BYTES + (log < r->unit ? log : r->unit);

    if (r->dir < 0)
        return true;
    if (available(r, true, NULL) < need)
        give_up(r);
    return available(r, true, NULL) >= need;
}

void stm_room_release(struct stm_room *r)
{
    if (r->dir >= 0)
        close(r->dir);
    r->dir = -1;
}
