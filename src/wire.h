/*
 * wire.h: frames on the daemon's socket: a 4-byte big-endian length, a type byte, then that many bytes of payload. It knows
 * what a frame is, not what it means: server.c and client.c do.
 *
 *     err = stm_wire_send(fd, STM_WIRE_REQUEST, json, strlen(json));
 *     while ((err = stm_wire_recv(fd, &frame)) == 1) ... frame.type, frame.payload ...
 *
 * A conversation: the client sends one REQUEST (a JSON object). For an import it then sends DATA frames and one END. The daemon
 * sends OUT and ERR frames (bytes for the client's stdout and stderr) and last one EXIT (a JSON object, see client.h). For an import
 * it first sends READY, so that nothing is streamed to a daemon that refuses.
 *
 * Invariants: (1) a payload is at most STM_WIRE_MAX bytes, whoever sends it; (2) a frame is delivered whole or not at all.
 * Thread-safety: functions on a descriptor are for one thread per direction; the rest is immutable.
 */
#ifndef STEMMA_WIRE_H
#define STEMMA_WIRE_H

#include "stemma/buf.h"

enum { STM_WIRE_HEAD = 5, STM_WIRE_MAX = 1 << 20, STM_WIRE_REQUEST_MAX = 1 << 16 };

enum stm_wire_type {
    STM_WIRE_REQUEST = 'Q',
    STM_WIRE_DATA = 'D',  /* client to daemon: a piece of an import's stream */
    STM_WIRE_END = 'F',   /* client to daemon: the stream is complete (empty payload) */
    STM_WIRE_READY = 'R', /* daemon to client: go on with DATA (empty payload) */
    STM_WIRE_OUT = 'O',
    STM_WIRE_ERR = 'E',
    STM_WIRE_EXIT = 'X'
};

struct stm_wire_frame {
    enum stm_wire_type type;
    struct stm_buf payload; /* a zero byte follows the counted ones */
};
void stm_wire_frame_release(struct stm_wire_frame *f);

/* Writes the five bytes that stand before a payload of len bytes (at most STM_WIRE_MAX). */
void stm_wire_head(uint8_t out[STM_WIRE_HEAD], enum stm_wire_type type, uint32_t len);

/*
 * Looks at the first bytes of a stream. Returns the size of the whole first frame with its head once all of it is there (then
 * *ret_type and *ret_payload, which borrows from data, are set), 0 when more bytes are needed, -EPROTO for an unknown type or a length over
 * STM_WIRE_MAX (told from the head alone).
 */
STM_MUST_CHECK int64_t stm_wire_parse(struct stm_slice data, enum stm_wire_type *ret_type, struct stm_slice *ret_payload);

/* Sends one frame; blocks. 0, -EMSGSIZE, or the socket's error (-EPIPE when the other side is gone; no SIGPIPE). */
STM_MUST_CHECK int stm_wire_send(int fd, enum stm_wire_type type, const void *data, size_t len);
/* The same for any length, in as many frames as it takes. */
STM_MUST_CHECK int stm_wire_send_all(int fd, enum stm_wire_type type, const void *data, size_t len);
/*
 * Receives one frame of at most max payload bytes; blocks (a receive timeout set on the socket gives -EAGAIN). 1; 0 when the other side
 * closed between frames; -EPROTO for garbage or a frame cut short; -EMSGSIZE for one over max. f's payload is replaced.
 */
STM_MUST_CHECK int stm_wire_recv(int fd, size_t max, struct stm_wire_frame *f);
/* The same, but all of the frame must be there within so many milliseconds from now, however it drips in: else -EAGAIN. */
STM_MUST_CHECK int stm_wire_recv_within(int fd, size_t max, int timeout_ms, struct stm_wire_frame *f);

#endif
