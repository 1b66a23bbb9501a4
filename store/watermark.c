/* watermark.c: see watermark.h. */
#include "watermark.h"

#include "record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stemma/hash.h"

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U
#endif

/* Two parts, each written in one go: committed at 0 with the identity, durable at 64. */
enum { COMMITTED_LEN = 8 + STM_WATERMARK_IDENTITY + 8, DURABLE_AT = 64, DURABLE_LEN = 8 + 8, FILE_LEN = DURABLE_AT + DURABLE_LEN };

static uint64_t checksum(const uint8_t *part, size_t len)
{
    return stm_hash64(stm_slice(part, len), 0);
}

/* The boot, the mount (a number that is never given twice in a boot; older kernels have none) and the file: 16 + 8 + 8 bytes. */
static bool identify(int fd, uint8_t *ret)
{
    struct statx st;
    char text[64] = "", *at = text;
    int boot = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (boot < 0)
        return false;
    ssize_t n = read(boot, text, sizeof text - 1);
    close(boot);
    if (n < 36 || statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID_UNIQUE, &st) < 0 || !(st.stx_mask & STATX_MNT_ID_UNIQUE))
        return false;
    for (int i = 0; i < 16; i++, at += 2) {
        char digits[3] = {0};
        at += *at == '-';
        memcpy(digits, at, 2);
        ret[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    stm_put_u64(ret + 16, st.stx_mnt_id);
    stm_put_u64(ret + 24, st.stx_ino);
    return true;
}

static uint64_t sealed_seq(const uint8_t *part, size_t len)
{
    return checksum(part, len - 8) == stm_get_u64(part + len - 8) ? stm_get_u64(part) : 0;
}

static void give_to_owner(int fd, const char *store)
{
    struct stat st;

    if (geteuid() == 0 && stat(store, &st) == 0 && st.st_uid != 0)
        (void)!fchown(fd, st.st_uid, st.st_gid);
}

void stm_watermark_open(struct stm_watermark *w, const char *store, bool write, uint64_t *ret_committed, uint64_t *ret_durable)
{
    uint8_t file[FILE_LEN] = {0};
    char *path = NULL;

    *w = (struct stm_watermark){.fd = -1};
    *ret_committed = *ret_durable = 0;
    if (asprintf(&path, "%s/watermark", store) < 0)
        return;
    int fd = open(path, (write ? O_RDWR | O_CREAT : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC, 0600);
    free(path);
    if (fd < 0)
        return;
    bool known = identify(fd, w->identity);
    ssize_t n = pread(fd, file, sizeof file, 0);
    if (n == FILE_LEN) {
        *ret_durable = sealed_seq(file + DURABLE_AT, DURABLE_LEN);
        if (known && memcmp(file + 8, w->identity, STM_WATERMARK_IDENTITY) == 0)
            *ret_committed = sealed_seq(file, COMMITTED_LEN);
    }
    if (!write) {
        close(fd);
        return;
    }
    w->fd = fd;
    if (n != FILE_LEN) {
        memset(file, 0, sizeof file);
        (void)!pwrite(fd, file, sizeof file, 0);
        give_to_owner(fd, store);
    }
}

static void put(const struct stm_watermark *w, uint8_t *part, size_t len, off_t at, uint64_t seq)
{
    stm_put_u64(part, seq);
    stm_put_u64(part + len - 8, checksum(part, len - 8));
    (void)!pwrite(w->fd, part, len, at); /* what cannot be noted proves nothing, that is all */
}

void stm_watermark_committed(const struct stm_watermark *w, uint64_t seq)
{
    uint8_t part[COMMITTED_LEN];

    if (w->fd < 0)
        return;
    memcpy(part + 8, w->identity, STM_WATERMARK_IDENTITY);
    put(w, part, sizeof part, 0, seq);
}

void stm_watermark_durable(const struct stm_watermark *w, uint64_t seq)
{
    uint8_t part[DURABLE_LEN];

    if (w->fd >= 0)
        put(w, part, sizeof part, DURABLE_AT, seq);
}

void stm_watermark_close(struct stm_watermark *w, bool flush)
{
    if (w->fd < 0)
        return;
    if (flush)
        (void)fdatasync(w->fd);
    close(w->fd);
    w->fd = -1;
}
