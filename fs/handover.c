/*
 * handover.c: the memory that the daemons of one mount share with their supervisor (handover.h). Not here: the drafts that it names
 * (draft.c), and when a daemon is started or given up (src/supervisor.c).
 *
 * A request that was in flight when a daemon crashed may have crashed it. Others were in flight beside it, so each suspect is run alone from
 * then on (fs.c): what is innocent is answered and acquitted, and only what crashes again and again reaches the fatal count.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stemma_fs/handover.h"

static const char magic[8] = "stemmaH";

int stm_handover_new(int *ret_fd, struct stm_handover **ret)
{
    int fd = memfd_create("stemma-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct stm_handover *h;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, sizeof *h) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        goto fail;
    h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h == MAP_FAILED)
        goto fail;
    if (getrandom(&h->generation, sizeof h->generation, 0) != sizeof h->generation) {
        munmap(h, sizeof *h);
        goto fail;
    }
    memcpy(h->magic, magic, sizeof magic);
    h->version = STM_HANDOVER_VERSION;
    h->size = sizeof *h;
    *ret_fd = fd;
    *ret = h;
    return 0;
fail:;
    int err = -errno;
    close(fd);
    return err;
}

int stm_handover_map(int fd, struct stm_handover **ret)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size != sizeof(struct stm_handover))
        return -EPROTO;
    struct stm_handover *h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h == MAP_FAILED)
        return -errno;
    if (memcmp(h->magic, magic, sizeof magic) != 0 || h->version != STM_HANDOVER_VERSION || h->size != sizeof *h) {
        munmap(h, sizeof *h);
        return -EPROTO;
    }
    *ret = h;
    return 0;
}

void stm_handover_unmap(struct stm_handover *h)
{
    if (h)
        munmap(h, sizeof *h);
}

bool stm_handover_begun(const struct stm_handover *h)
{
    return atomic_load(&h->reply_len) > 0;
}

/* The system's header may be older than the kernel: bit 39 of the flags. */
bool stm_handover_possible(const struct stm_handover *h)
{
    enum { HAS_RESEND = 1 << 7 };
    struct fuse_init_in init;

    if (atomic_load(&h->init_len) < sizeof(struct fuse_in_header) + sizeof init)
        return false;
    memcpy(&init, h->init + sizeof(struct fuse_in_header), sizeof init);
    return (init.flags & FUSE_INIT_EXT) && (init.flags2 & HAS_RESEND);
}

/* ---- requests in flight, and suspects ---- */

void stm_handover_enter(struct stm_handover *h, unsigned slot, uint64_t unique, uint32_t opcode, uint64_t node)
{
    struct stm_in_flight *f = &h->in_flight[slot];

    atomic_store_explicit(&f->opcode, opcode, memory_order_relaxed);
    atomic_store_explicit(&f->node, node, memory_order_relaxed);
    atomic_store_explicit(&f->unique, unique & ~STM_UNIQUE_RESENT, memory_order_release);
}

void stm_handover_leave(struct stm_handover *h, unsigned slot)
{
    atomic_store_explicit(&h->in_flight[slot].unique, 0, memory_order_release);
}

static struct stm_suspect *find_suspect(const struct stm_handover *h, uint64_t unique)
{
    uint32_t n = atomic_load_explicit(&h->suspected, memory_order_relaxed);

    for (uint32_t i = 0; i < n && i < STM_HANDOVER_SUSPECTS; i++)
        if (atomic_load_explicit(&h->suspects[i].unique, memory_order_relaxed) == unique)
            return (struct stm_suspect *)&h->suspects[i];
    return NULL;
}

/* Where there is no room, the one with the fewest deaths makes some: it has crashed nothing since. */
static struct stm_suspect *make_room(struct stm_handover *h)
{
    struct stm_suspect *least = &h->suspects[0];
    uint32_t n = atomic_load(&h->suspected);

    if (n < STM_HANDOVER_SUSPECTS) {
        atomic_store(&h->suspected, n + 1);
        return &h->suspects[n];
    }
    for (uint32_t i = 1; i < STM_HANDOVER_SUSPECTS; i++)
        if (atomic_load(&h->suspects[i].deaths) < atomic_load(&least->deaths))
            least = &h->suspects[i];
    return least;
}

static void accuse(struct stm_handover *h, uint64_t unique)
{
    struct stm_suspect *s = find_suspect(h, unique);

    if (!s)
        s = find_suspect(h, 0); /* one that was acquitted */
    if (!s)
        s = make_room(h);
    if (atomic_load(&s->unique) != unique) {
        atomic_store(&s->deaths, 0);
        atomic_store(&s->unique, unique);
    }
    atomic_fetch_add(&s->deaths, 1);
}

unsigned stm_handover_blame(struct stm_handover *h, bool own_fault)
{
    unsigned n = 0;

    for (unsigned i = 0; i < STM_HANDOVER_WORKERS; i++) {
        uint64_t unique = atomic_exchange(&h->in_flight[i].unique, 0);
        if (unique == 0)
            continue;
        if (own_fault)
            accuse(h, unique);
        n++;
    }
    return n;
}

unsigned stm_handover_suspicion(const struct stm_handover *h, uint64_t unique)
{
    if (atomic_load_explicit(&h->suspected, memory_order_relaxed) == 0)
        return 0;
    const struct stm_suspect *s = find_suspect(h, unique & ~STM_UNIQUE_RESENT);
    return s ? atomic_load(&s->deaths) : 0;
}

void stm_handover_acquit(struct stm_handover *h, uint64_t unique)
{
    struct stm_suspect *s = find_suspect(h, unique & ~STM_UNIQUE_RESENT);

    if (s)
        atomic_store(&s->unique, 0);
}
