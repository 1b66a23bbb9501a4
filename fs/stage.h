/*
 * stage.h: bytes that are being written, over an immutable base. Up to STM_STAGE_MEMORY bytes lie in memory; more go to a sparse file in
 * which a map of 4 KiB blocks tells what was written; the rest shows the base. A large base is never copied.
 * It knows neither objects nor versions: draft.c does.
 *
 *     struct stm_stage st;
 *     err = stm_stage_init(&st, &(struct stm_stage_base){.size = n, .read = read_old, .arg = v}, dir, id);
 *     err = stm_stage_write(&st, 4096, "x", 1);
 *     n = stm_stage_read(&st, 0, buf, sizeof buf);
 *     stm_stage_release(&st);
 *
 * With `keep` set a stage file survives the process: a file beside it has the map, written before the bytes that it tells of (a write that was
 * not answered will be asked for again), and stm_stage_reopen goes on with both. Page cache is enough: they outlive a process, not
 * a power cut.
 *
 * Invariants: (1) bytes at or after size read as nothing, and as zero once the size grows over them; (2) base bytes at or after base_len are never
 * shown again, whatever the size becomes.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_STAGE_H
#define STEMMA_STAGE_H

#include <stdatomic.h>

#include "stemma/types.h"

/*
 * In memory: at most MEMORY each; while all together hold more than CROWD, only what is SMALL, as long as descriptors are below CROWD_FD (the
 * engine needs them, too).
 */
enum {
    STM_STAGE_MEMORY = 1 << 20,
    STM_STAGE_SMALL = 64 << 10,
    STM_STAGE_CROWD = 64 << 20,
    STM_STAGE_CROWD_FD = 4000,
    STM_STAGE_BLOCK = 4096
};
#define STM_STAGE_MAX (UINT64_C(1) << 44) /* larger is -EFBIG */

/* What lies below. read fills exactly len bytes at off, all below size; 0 or an error. extent as in stm_source (content.h); NULL: data all over. */
struct stm_stage_base {
    uint64_t size, data; /* data: what of the size is not in holes */
    int (*read)(void *arg, uint64_t off, void *buf, size_t len);
    int (*extent)(void *arg, uint64_t off, uint64_t *ret_from, uint64_t *ret_to);
    void *arg;
};

struct stm_stage {
    uint64_t size;     /* of the content */
    uint64_t base_len; /* base bytes below this show where nothing was written */
    struct stm_stage_base base;
    uint8_t *mem; /* the content while fd < 0 */
    size_t mem_cap;
    int fd, map_fd;   /* the file, and the one that has the map (-1: none) */
    char *dir, *path; /* dir "" : a file without a name */
    bool keep;        /* set before stm_stage_init: for a successor */
    bool leave;       /* stm_stage_release leaves the files where they are */
    uint64_t id;
    uint64_t **map; /* pages of bits, one bit a block; NULL pages are all zero */
    size_t map_pages;
    _Atomic uint64_t *memory_gauge; /* counts mem_cap of all stages; may be NULL */
};

/* dir is copied. With a base of at most STM_STAGE_MEMORY it is read now. 0, -ENOMEM, or the base's error. */
STM_MUST_CHECK int stm_stage_init(struct stm_stage *st, const struct stm_stage_base *base, const char *dir, uint64_t id);
/*
 * Goes on with the file of another stage that had `keep` set: its id, size and base_len. What was not yet answered when that one ended may be
 * there or not. -ENOENT: there is no such file.
 */
STM_MUST_CHECK int stm_stage_reopen(struct stm_stage *st, const struct stm_stage_base *base, const char *dir, uint64_t id, uint64_t size,
                                    uint64_t base_len);
/* Moves the content into a file, if it is in memory; crowded: -EMFILE where descriptors are rare. */
STM_MUST_CHECK int stm_stage_spill(struct stm_stage *st, bool crowded);
/* Frees, and removes the file. A zeroed stage may be released. */
void stm_stage_release(struct stm_stage *st);
/* Grows the content as needed. 0, -EFBIG, -ENOSPC, -ENOMEM, others: I/O. A failed write may have changed bytes of its range. */
STM_MUST_CHECK int stm_stage_write(struct stm_stage *st, uint64_t off, const void *buf, size_t len);
/* How many bytes were read; 0 at the end. */
STM_MUST_CHECK int64_t stm_stage_read(struct stm_stage *st, uint64_t off, void *buf, size_t len);
STM_MUST_CHECK int stm_stage_truncate(struct stm_stage *st, uint64_t size);
/* Zeroes the part of [off, off + len) that lies below size. */
STM_MUST_CHECK int stm_stage_zero(struct stm_stage *st, uint64_t off, uint64_t len);
/*
 * The first stretch [from, to) of data at or after off: what lies between off and it is zero; adjoining ones may follow. from = to = size: no more.
 * What is in memory is data. Costs as much as there are stretches, not as the content is long.
 */
STM_MUST_CHECK int stm_stage_extent(const struct stm_stage *st, uint64_t off, uint64_t *ret_from, uint64_t *ret_to);
/* About how much of the content is data, at most its size: what was written over the base counts twice. */
uint64_t stm_stage_data(const struct stm_stage *st);

#endif
