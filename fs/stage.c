/*
 * stage.c: see stage.h. The map has two levels, so that one byte written far away costs one page of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage.h"
#include "stemma/store.h"

enum { MAP_WORDS = 512, MAP_BITS = MAP_WORDS * 64 }; /* of one page of the map */

static bool map_get(const struct stm_stage *st, uint64_t block)
{
    uint64_t page = block / MAP_BITS, bit = block % MAP_BITS;

    return page < st->map_pages && st->map[page] && (st->map[page][bit / 64] >> (bit % 64) & 1);
}

static int map_grow(struct stm_stage *st, uint64_t page)
{
    if (page >= st->map_pages) {
        size_t pages = st->map_pages ? st->map_pages : 8;
        while (pages <= page)
            pages *= 2;
        uint64_t **map = realloc(st->map, pages * sizeof *map);
        if (!map)
            return -ENOMEM;
        memset(map + st->map_pages, 0, (pages - st->map_pages) * sizeof *map);
        st->map = map;
        st->map_pages = pages;
    }
    if (!st->map[page])
        st->map[page] = calloc(MAP_WORDS, sizeof **st->map);
    return st->map[page] ? 0 : -ENOMEM;
}

static int map_set(struct stm_stage *st, uint64_t block)
{
    uint64_t page = block / MAP_BITS, bit = block % MAP_BITS;
    int err = map_grow(st, page);

    if (err < 0)
        return err;
    st->map[page][bit / 64] |= UINT64_C(1) << (bit % 64);
    return 0;
}

/* Marks all of [first, last]. */
static int map_set_all(struct stm_stage *st, uint64_t first, uint64_t last)
{
    int err = 0;

    for (uint64_t b = first; err == 0 && b <= last;) {
        err = map_set(st, b);
        if (err == 0 && b % 64 == 0 && last - b >= 63) {
            st->map[b / MAP_BITS][b % MAP_BITS / 64] = UINT64_MAX;
            b += 64;
        } else {
            b++;
        }
    }
    return err;
}

static int pwrite_all(int fd, const uint8_t *buf, size_t len, uint64_t off);

/* Writes the words of the map that tell of blocks first to last to its file. */
static int map_store(const struct stm_stage *st, uint64_t first, uint64_t last)
{
    int err = 0;

    if (st->map_fd < 0)
        return 0;
    for (uint64_t page = first / MAP_BITS; err == 0 && page <= last / MAP_BITS; page++) {
        uint64_t from = page == first / MAP_BITS ? first % MAP_BITS / 64 : 0;
        uint64_t to = page == last / MAP_BITS ? last % MAP_BITS / 64 : MAP_WORDS - 1;
        uint64_t off = (page * MAP_WORDS + from) * sizeof(uint64_t);
        err = pwrite_all(st->map_fd, (const uint8_t *)(st->map[page] + from), (to - from + 1) * sizeof(uint64_t), off);
    }
    return err;
}

/* The first block from b on, before end, of which the map says `written`; end if there is none. */
static uint64_t map_find(const struct stm_stage *st, uint64_t b, uint64_t end, bool written)
{
    while (b < end) {
        uint64_t page = b / MAP_BITS;
        if (page >= st->map_pages || !st->map[page]) {
            if (!written)
                return b;
            b = page < st->map_pages ? (page + 1) * MAP_BITS : end;
            continue;
        }
        uint64_t word = st->map[page][b % MAP_BITS / 64];
        word = (written ? word : ~word) >> (b % 64);
        if (word)
            return b + (unsigned)__builtin_ctzll(word) < end ? b + (unsigned)__builtin_ctzll(word) : end;
        b += 64 - b % 64;
    }
    return end;
}

static int pwrite_all(int fd, const uint8_t *buf, size_t len, uint64_t off)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, buf, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        buf += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* Bytes of the file; what lies behind its end is zero. */
static int pread_zero(int fd, uint8_t *buf, size_t len, uint64_t off)
{
    while (len > 0) {
        ssize_t n = pread(fd, buf, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0) {
            memset(buf, 0, len);
            return 0;
        }
        buf += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* What shows where nothing was written. */
static int read_below(struct stm_stage *st, uint64_t off, uint8_t *buf, size_t len)
{
    size_t n = 0;

    if (off < st->base_len) {
        n = st->base_len - off < len ? (size_t)(st->base_len - off) : len;
        int err = st->base.read(st->base.arg, off, buf, n);
        if (err < 0)
            return err;
    }
    memset(buf + n, 0, len - n);
    return 0;
}

static int mem_reserve(struct stm_stage *st, size_t need)
{
    size_t cap = st->mem_cap ? st->mem_cap : 4096;

    if (need <= st->mem_cap)
        return 0;
    while (cap < need)
        cap *= 2;
    uint8_t *mem = realloc(st->mem, cap);
    if (!mem)
        return -ENOMEM;
    if (st->memory_gauge)
        atomic_fetch_add(st->memory_gauge, cap - st->mem_cap);
    st->mem = mem;
    st->mem_cap = cap;
    return 0;
}

static void mem_free(struct stm_stage *st)
{
    if (st->memory_gauge)
        atomic_fetch_sub(st->memory_gauge, st->mem_cap);
    free(st->mem);
    st->mem = NULL;
    st->mem_cap = 0;
}

static int open_named(const struct stm_stage *st, const char *suffix, int flags, int *ret_fd)
{
    char *path = NULL;

    if (asprintf(&path, "%s%s", st->path, suffix) < 0)
        return -ENOMEM;
    *ret_fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
    int err = *ret_fd < 0 ? -errno : 0;
    free(path);
    return err;
}

static void close_file(struct stm_stage *st)
{
    char *map = NULL;

    if (st->fd >= 0)
        close(st->fd);
    if (st->path && !st->leave)
        unlink(st->path);
    if (st->map_fd >= 0) {
        close(st->map_fd);
        if (!st->leave && asprintf(&map, "%s.map", st->path) >= 0)
            unlink(map);
        free(map);
    }
    free(st->path);
    st->path = NULL;
    st->fd = st->map_fd = -1;
}

/* flags: O_CREAT | O_EXCL, or 0 for one that is there. */
static int open_file(struct stm_stage *st, int flags)
{
    int err;

    if (st->dir[0] == 0) {
        st->fd = memfd_create("stemma-draft", MFD_CLOEXEC);
        return st->fd < 0 ? -errno : 0;
    }
    if (asprintf(&st->path, "%s/" STM_STAGE_DRAFT "%016llx", st->dir, (unsigned long long)st->id) < 0) {
        st->path = NULL;
        return -ENOMEM;
    }
    err = open_named(st, "", flags, &st->fd);
    if (err == 0 && st->keep) {
        err = open_named(st, ".map", flags, &st->map_fd);
        if (err < 0 && flags == 0)
            st->leave = true; /* another may know better */
    }
    if (err == 0)
        return 0;
    if (st->fd < 0) { /* nothing of ours to be removed */
        free(st->path);
        st->path = NULL;
    }
    close_file(st);
    st->leave = false;
    return err;
}

/* Moves the content from memory to a file; crowded: unless descriptors are rare. */
static int spill(struct stm_stage *st, bool crowded)
{
    uint64_t blocks = (st->size + STM_STAGE_BLOCK - 1) / STM_STAGE_BLOCK;
    int err = open_file(st, O_CREAT | O_EXCL);

    if (err == 0 && crowded && st->fd > STM_STAGE_CROWD_FD)
        err = -EMFILE;
    for (uint64_t b = 0; err == 0 && b < blocks; b++)
        err = map_set(st, b);
    if (err == 0 && blocks > 0)
        err = map_store(st, 0, blocks - 1);
    if (err == 0 && blocks > 0)
        err = pwrite_all(st->fd, st->mem, (size_t)st->size, 0);
    if (err < 0) {
        close_file(st);
        return err;
    }
    mem_free(st);
    return 0;
}

int stm_stage_spill(struct stm_stage *st, bool crowded)
{
    return st->dir && st->fd < 0 ? spill(st, crowded) : 0;
}

/* Before a content in memory grows to this size. When all together hold too much, a file is better, but memory will do. */
static int make_room(struct stm_stage *st, uint64_t size)
{
    if (size > STM_STAGE_MEMORY)
        return spill(st, false);
    if (size > STM_STAGE_SMALL && st->memory_gauge && atomic_load(st->memory_gauge) > STM_STAGE_CROWD)
        (void)spill(st, true);
    return 0;
}

static int start(struct stm_stage *st, const struct stm_stage_base *base, const char *dir, uint64_t id)
{
    _Atomic uint64_t *gauge = st->memory_gauge;

    *st = (struct stm_stage){.base = *base,
                             .size = base->size,
                             .base_len = base->size,
                             .fd = -1,
                             .map_fd = -1,
                             .keep = st->keep,
                             .id = id,
                             .memory_gauge = gauge};
    st->dir = strdup(dir);
    return st->dir ? 0 : -ENOMEM;
}

/* Reads the map back; holes of its file are blocks that nobody wrote. */
static int map_load(struct stm_stage *st)
{
    enum { PAGE = MAP_WORDS * sizeof(uint64_t) };
    off_t at = 0;
    int err = 0;

    while (err == 0 && (at = lseek(st->map_fd, at, SEEK_DATA)) >= 0) {
        uint64_t page = (uint64_t)at / PAGE;
        err = map_grow(st, page);
        if (err == 0)
            err = pread_zero(st->map_fd, (uint8_t *)st->map[page], PAGE, page * PAGE);
        at = (off_t)((page + 1) * PAGE);
    }
    if (err == 0 && at < 0 && errno != ENXIO)
        err = -errno;
    return err;
}

int stm_stage_reopen(struct stm_stage *st, const struct stm_stage_base *base, const char *dir, uint64_t id, uint64_t size,
                     uint64_t base_len)
{
    struct stat s;
    int err = start(st, base, dir, id);

    if (err < 0)
        return err;
    st->size = size;
    st->base_len = base_len;
    err = dir[0] ? open_file(st, 0) : -ENOENT;
    if (err == 0)
        err = map_load(st);
    /* A write that was not answered may have made it longer. */
    if (err == 0 && (fstat(st->fd, &s) < 0 || (s.st_size > (off_t)size && ftruncate(st->fd, (off_t)size) < 0)))
        err = -errno;
    if (err < 0)
        stm_stage_release(st);
    return err;
}

int stm_stage_init(struct stm_stage *st, const struct stm_stage_base *base, const char *dir, uint64_t id)
{
    int err = start(st, base, dir, id);

    if (err < 0)
        return err;
    if (base->size > STM_STAGE_MEMORY) {
        err = open_file(st, O_CREAT | O_EXCL);
    } else {
        err = mem_reserve(st, (size_t)base->size);
        if (err == 0 && base->size > 0)
            err = base->read(base->arg, 0, st->mem, (size_t)base->size);
        st->base_len = 0;
    }
    if (err < 0)
        stm_stage_release(st);
    return err;
}

void stm_stage_release(struct stm_stage *st)
{
    if (!st->dir)
        return;
    mem_free(st);
    close_file(st);
    for (size_t i = 0; i < st->map_pages; i++)
        free(st->map[i]);
    free(st->map);
    free(st->dir);
    *st = (struct stm_stage){.fd = -1, .map_fd = -1, .keep = st->keep, .memory_gauge = st->memory_gauge};
}

/* Brings into the file what shows of a block that is about to be written in part. */
static int fill_block(struct stm_stage *st, uint64_t block)
{
    uint8_t buf[STM_STAGE_BLOCK];
    uint64_t off = block * STM_STAGE_BLOCK;

    if (map_get(st, block) || off >= st->base_len)
        return map_set(st, block);
    size_t len = st->base_len - off < sizeof buf ? (size_t)(st->base_len - off) : sizeof buf;
    int err = st->base.read(st->base.arg, off, buf, len);
    if (err == 0)
        err = pwrite_all(st->fd, buf, len, off);
    return err < 0 ? err : map_set(st, block);
}

/*
 * Before [off, end) is changed in the file: fills the blocks at both edges, and sees to it that marking will need no memory. What is not yet
 * marked goes on showing the base, so that a write which fails loses nothing that was there.
 */
static int prepare(struct stm_stage *st, uint64_t off, uint64_t end)
{
    uint64_t first = off / STM_STAGE_BLOCK, last = (end - 1) / STM_STAGE_BLOCK;
    int err = 0;

    if (off % STM_STAGE_BLOCK != 0)
        err = fill_block(st, first);
    if (err == 0 && end % STM_STAGE_BLOCK != 0)
        err = fill_block(st, last);
    for (uint64_t page = first / MAP_BITS; err == 0 && page <= last / MAP_BITS; page++)
        err = map_grow(st, page);
    return err;
}

/* After [off, end) was changed. */
static int mark(struct stm_stage *st, uint64_t off, uint64_t end)
{
    uint64_t first = off / STM_STAGE_BLOCK, last = (end - 1) / STM_STAGE_BLOCK;
    int err = map_set_all(st, first, last);

    return err < 0 ? err : map_store(st, first, last);
}

/* Zeroes the file's bytes. */
static int wipe(struct stm_stage *st, uint64_t off, uint64_t len)
{
    static const uint8_t zeroes[65536];
    int err = 0;

    if (fallocate(st->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0)
        return 0;
    for (uint64_t done = 0; err == 0 && done < len;) {
        size_t n = len - done < sizeof zeroes ? (size_t)(len - done) : sizeof zeroes;
        err = pwrite_all(st->fd, zeroes, n, off + done);
        done += n;
    }
    return err;
}

int stm_stage_write(struct stm_stage *st, uint64_t off, const void *buf, size_t len)
{
    int err = 0;

    if (len == 0)
        return 0;
    if (off > STM_STAGE_MAX || len > STM_STAGE_MAX - off)
        return -EFBIG;
    if (st->fd < 0)
        err = make_room(st, off + len);
    if (err == 0 && st->fd < 0) {
        err = mem_reserve(st, (size_t)(off + len));
        if (err < 0)
            return err;
        if (off > st->size)
            memset(st->mem + st->size, 0, (size_t)(off - st->size));
        memcpy(st->mem + off, buf, len);
    } else if (err == 0) {
        err = prepare(st, off, off + len);
        if (err == 0)
            err = pwrite_all(st->fd, buf, len, off);
        if (err == 0)
            err = mark(st, off, off + len);
    }
    if (err == 0 && off + len > st->size)
        st->size = off + len;
    return err;
}

/* How far from off the map says the same, at most len. */
static size_t run_length(const struct stm_stage *st, uint64_t off, size_t len, bool *ret_written)
{
    uint64_t block = off / STM_STAGE_BLOCK, stop = (off + len + STM_STAGE_BLOCK - 1) / STM_STAGE_BLOCK;

    *ret_written = map_get(st, block);
    uint64_t end = map_find(st, block, stop, !*ret_written) * STM_STAGE_BLOCK;
    return end - off < len ? (size_t)(end - off) : len;
}

int64_t stm_stage_read(struct stm_stage *st, uint64_t off, void *buf, size_t len)
{
    uint8_t *to = buf;

    if (off >= st->size)
        return 0;
    if (len > st->size - off)
        len = (size_t)(st->size - off);
    if (st->fd < 0) {
        memcpy(buf, st->mem + off, len);
        return (int64_t)len;
    }
    for (size_t n, done = 0; done < len; done += n) {
        bool written;
        n = run_length(st, off + done, len - done, &written);
        int err = written ? pread_zero(st->fd, to + done, n, off + done) : read_below(st, off + done, to + done, n);
        if (err < 0)
            return err;
    }
    return (int64_t)len;
}

int stm_stage_truncate(struct stm_stage *st, uint64_t size)
{
    int err = 0;

    if (size > STM_STAGE_MAX)
        return -EFBIG;
    if (st->fd < 0)
        err = make_room(st, size);
    if (err < 0)
        return err;
    if (st->fd < 0) {
        err = mem_reserve(st, (size_t)size);
        if (err == 0 && size > st->size)
            memset(st->mem + st->size, 0, (size_t)(size - st->size));
    } else if (size < st->size) {
        err = ftruncate(st->fd, (off_t)size) < 0 ? -errno : 0;
    }
    if (err < 0)
        return err;
    st->size = size;
    if (st->base_len > size)
        st->base_len = size;
    return 0;
}

int stm_stage_zero(struct stm_stage *st, uint64_t off, uint64_t len)
{
    if (off >= st->size || len == 0)
        return 0;
    if (len > st->size - off)
        len = st->size - off;
    if (st->fd < 0) {
        memset(st->mem + off, 0, (size_t)len);
        return 0;
    }
    /* Behind the base nothing shows where nothing was written. */
    uint64_t shown = (st->base_len + STM_STAGE_BLOCK - 1) / STM_STAGE_BLOCK * STM_STAGE_BLOCK;
    uint64_t end = off + len < shown ? off + len : shown;
    int err = off < end ? prepare(st, off, end) : 0;

    if (err == 0)
        err = wipe(st, off, len);
    return err == 0 && off < end ? mark(st, off, end) : err;
}

/* Data of the file in [off, end), all of it written; false: none. A filesystem that does not know its holes has data all over. */
static bool file_extent(int fd, uint64_t off, uint64_t end, uint64_t *ret_from, uint64_t *ret_to)
{
    off_t from = lseek(fd, (off_t)off, SEEK_DATA);

    if (from < 0 && errno == ENXIO)
        return false;
    *ret_from = from < 0 ? off : (uint64_t)from;
    if (*ret_from >= end)
        return false;
    off_t to = from < 0 ? -1 : lseek(fd, from, SEEK_HOLE);
    *ret_to = to < 0 || (uint64_t)to > end ? end : (uint64_t)to;
    return true;
}

/* Data of the base that shows in [off, end). 1, 0 or an error. */
static int base_extent(const struct stm_stage *st, uint64_t off, uint64_t end, uint64_t *ret_from, uint64_t *ret_to)
{
    if (end > st->base_len)
        end = st->base_len;
    *ret_from = off;
    *ret_to = end;
    if (off >= end)
        return 0;
    int err = st->base.extent ? st->base.extent(st->base.arg, off, ret_from, ret_to) : 0;
    if (err < 0)
        return err;
    if (*ret_to > end)
        *ret_to = end;
    return *ret_from < end;
}

int stm_stage_extent(const struct stm_stage *st, uint64_t off, uint64_t *ret_from, uint64_t *ret_to)
{
    uint64_t blocks = (st->size + STM_STAGE_BLOCK - 1) / STM_STAGE_BLOCK;
    int found = st->fd < 0 && off < st->size;

    *ret_from = off;
    *ret_to = st->size;
    while (!found && off < st->size) {
        uint64_t block = off / STM_STAGE_BLOCK;
        bool written = map_get(st, block);
        uint64_t end = map_find(st, block, blocks, !written) * STM_STAGE_BLOCK;
        if (end > st->size)
            end = st->size;
        found = written ? file_extent(st->fd, off, end, ret_from, ret_to) : base_extent(st, off, end, ret_from, ret_to);
        off = end;
    }
    if (found == 0)
        *ret_from = *ret_to = st->size;
    return found < 0 ? found : 0;
}

uint64_t stm_stage_data(const struct stm_stage *st)
{
    struct stat file;
    uint64_t from = 0, to = 0;

    if (st->fd < 0 || fstat(st->fd, &file) < 0)
        return st->size;
    uint64_t data = (uint64_t)file.st_blocks * 512 + (st->base.data < st->base_len ? st->base.data : st->base_len);
    if (data == 0 && stm_stage_extent(st, 0, &from, &to) == 0)
        data = to - from; /* not yet counted below: a file of no blocks would be taken for one hole */
    return data < st->size ? data : st->size;
}
