/*
 * out.h: where a command's output goes: the terminal, or a frame on the socket. Services print here and nowhere else, so that
 * they run alike in the command and in the daemon.
 *
 *     stm_out_print(out, "%s\n", name);
 *     if (out->err) return STM_EXIT_FAILED;
 *     return stm_out_fail(out, STM_EXIT_NOT_FOUND, "'%s' does not exist", path);
 *
 * Invariants: (1) bytes of one channel arrive in order; what was printed before a failure sentence arrives before it; (2) once a
 * write failed, err holds its error and everything later is discarded, so callers need to look only in long loops and at the end.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_OUT_H
#define STEMMA_OUT_H

#include "stemma/buf.h"

enum stm_channel { STM_CHANNEL_OUT, STM_CHANNEL_ERR };

struct stm_out {
    int (*write)(void *arg, enum stm_channel channel, const void *data, size_t len); /* 0 or -errno */
    void *arg;
    struct stm_buf pending; /* of the OUT channel */
    int err;
};

/* Standard output and standard error of this process. */
struct stm_out stm_out_terminal(void);
/* Flushes and frees the buffer; returns err. */
int stm_out_release(struct stm_out *out);
/* The same at a command's end: says what went wrong with the output, and returns the exit code, which is not 0 then. */
int stm_out_end(struct stm_out *out, int code);

void stm_out_write(struct stm_out *out, const void *data, size_t len);
void stm_out_print(struct stm_out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int stm_out_flush(struct stm_out *out);
/* Prints "stemma: " and the sentence on the ERR channel, and returns code. */
int stm_out_fail(struct stm_out *out, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for an error of the store: "stemma: WHAT: its sentence"; the code is stm_exit_of's. */
int stm_out_error(struct stm_out *out, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
