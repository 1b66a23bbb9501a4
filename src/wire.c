/* wire.c: frames on the daemon's socket (wire.h). Not here: what the payloads mean. */
#include "wire.h"

#include "stemma/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

void stm_wire_frame_release(struct stm_wire_frame *f)
{
    stm_buf_release(&f->payload);
}

void stm_wire_head(uint8_t out[STM_WIRE_HEAD], enum stm_wire_type type, uint32_t len)
{
    out[0] = (uint8_t)(len >> 24);
    out[1] = (uint8_t)(len >> 16);
    out[2] = (uint8_t)(len >> 8);
    out[3] = (uint8_t)len;
    out[4] = (uint8_t)type;
}

static bool known_type(uint8_t type)
{
    return type != 0 && strchr("QDFROEX", type) != NULL;
}

/* The length that a head announces; -EPROTO when it is none of ours. */
static int64_t parse_head(const uint8_t *head)
{
    uint32_t len = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];

    if (len > STM_WIRE_MAX || !known_type(head[4]))
        return -EPROTO;
    return len;
}

int64_t stm_wire_parse(struct stm_slice data, enum stm_wire_type *ret_type, struct stm_slice *ret_payload)
{
    const uint8_t *bytes = data.data;
    int64_t len;

    if (data.len < STM_WIRE_HEAD)
        return 0;
    len = parse_head(bytes);
    if (len < 0)
        return len;
    if (data.len - STM_WIRE_HEAD < (size_t)len)
        return 0;
    *ret_type = (enum stm_wire_type)bytes[4];
    *ret_payload = stm_slice(bytes + STM_WIRE_HEAD, (size_t)len);
    return STM_WIRE_HEAD + len;
}

int stm_wire_send(int fd, enum stm_wire_type type, const void *data, size_t len)
{
    uint8_t head[STM_WIRE_HEAD];
    struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)data, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

    if (len > STM_WIRE_MAX)
        return -EMSGSIZE;
    stm_wire_head(head, type, (uint32_t)len);
    while (iov[0].iov_len + iov[1].iov_len > 0) {
        ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

            if (part > 0) /* without a payload there is nothing to point to */
                iov[i].iov_base = (char *)iov[i].iov_base + part;
            iov[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
    return 0;
}

int stm_wire_send_all(int fd, enum stm_wire_type type, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        size_t part = len < STM_WIRE_MAX ? len : STM_WIRE_MAX;
        int err = stm_wire_send(fd, type, at, part);

        if (err < 0)
            return err;
        at += part;
        len -= part;
    }
    return 0;
}

/* Waits until something can be received; -EAGAIN after the deadline (0: none, and the socket's own timeout holds). */
static int wait_until(int fd, int64_t deadline_ms)
{
    while (deadline_ms > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline_ms - stm_monotonic_ms();
        int n = left > 0 ? poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left) : 0;

        if (n > 0)
            break;
        if (n == 0)
            return -EAGAIN;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Reads exactly len bytes: 1; 0 when the stream ended before the first; -EPROTO when it ended later. */
static int recv_exactly(int fd, void *out, size_t len, int64_t deadline_ms)
{
    size_t got = 0;

    while (got < len) {
        int err = wait_until(fd, deadline_ms);

        if (err < 0)
            return err;
        ssize_t n = recv(fd, (char *)out + got, len - got, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return got == 0 ? 0 : -EPROTO;
        got += (size_t)n;
    }
    return 1;
}

static int recv_frame(int fd, size_t max, int64_t deadline_ms, struct stm_wire_frame *f)
{
    uint8_t head[STM_WIRE_HEAD];
    int64_t len;
    int err = recv_exactly(fd, head, sizeof(head), deadline_ms);

    if (err <= 0)
        return err;
    len = parse_head(head);
    if (len < 0)
        return (int)len;
    if ((size_t)len > max)
        return -EMSGSIZE;
    err = stm_buf_resize(&f->payload, (size_t)len + 1);
    if (err < 0)
        return err;
    f->payload.data[len] = 0;
    f->payload.len = (size_t)len;
    f->type = (enum stm_wire_type)head[4];
    if (len == 0)
        return 1;
    err = recv_exactly(fd, f->payload.data, (size_t)len, deadline_ms);
    return err == 0 ? -EPROTO : err;
}

int stm_wire_recv(int fd, size_t max, struct stm_wire_frame *f)
{
    return recv_frame(fd, max, 0, f);
}

int stm_wire_recv_within(int fd, size_t max, int timeout_ms, struct stm_wire_frame *f)
{
    return recv_frame(fd, max, stm_monotonic_ms() + timeout_ms, f);
}
