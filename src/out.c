/* out.c: output of commands (out.h) and the exit code of an error. Not here: frames; server.c writes those. */
#include "out.h"

#include "exit.h"
#include "stemma/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FLUSH_AT = 64 * 1024 };

int stm_exit_of(int err)
{
    switch (err) {
    case STM_E_NOT_A_STORE:
    case STM_E_NEWER_FORMAT:
    case STM_E_CORRUPT:
        return STM_EXIT_STORE;
    case STM_E_LOCKED:
    case -EBUSY:
        return STM_EXIT_BUSY;
    case STM_E_BAD_SELECTOR:
    case STM_E_AMBIGUOUS:
    case STM_E_PRUNED:
    case -ENOENT:
    case -ENOTDIR:
    case -ENAMETOOLONG:
        return STM_EXIT_NOT_FOUND;
    default:
        return err < 0 ? STM_EXIT_FAILED : STM_EXIT_OK;
    }
}

static int write_fully(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int terminal_write(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    (void)arg;
    return write_fully(channel == STM_CHANNEL_OUT ? STDOUT_FILENO : STDERR_FILENO, data, len);
}

struct stm_out stm_out_terminal(void)
{
    return (struct stm_out){.write = terminal_write};
}

int stm_out_flush(struct stm_out *out)
{
    if (out->err == 0 && out->pending.len > 0)
        out->err = out->write(out->arg, STM_CHANNEL_OUT, out->pending.data, out->pending.len);
    stm_buf_clear(&out->pending);
    return out->err;
}

int stm_out_release(struct stm_out *out)
{
    (void)stm_out_flush(out);
    stm_buf_release(&out->pending);
    return out->err;
}

static void flush_if_full(struct stm_out *out)
{
    if (out->pending.len >= FLUSH_AT)
        (void)stm_out_flush(out);
}

void stm_out_write(struct stm_out *out, const void *data, size_t len)
{
    if (out->err != 0)
        return;
    out->err = stm_buf_append(&out->pending, data, len);
    flush_if_full(out);
}

void stm_out_print(struct stm_out *out, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    int n;

    if (out->err != 0)
        return;
    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0) {
        out->err = -ENOMEM;
        return;
    }
    stm_out_write(out, text, (size_t)n);
    free(text);
}

/* One write per sentence, so that sentences of several processes do not mix on a terminal. */
static void print_sentence(struct stm_out *out, const char *text, const char *cause)
{
    char *line = NULL;
    int n;

    (void)stm_out_flush(out);
    n = asprintf(&line, "stemma: %s%s%s\n", text, cause ? ": " : "", cause ? cause : "");
    if (n < 0)
        return;
    (void)out->write(out->arg, STM_CHANNEL_ERR, line, (size_t)n);
    free(line);
}

static void print_formatted(struct stm_out *out, const char *cause, const char *fmt, va_list ap)
{
    char *text = NULL;

    if (vasprintf(&text, fmt, ap) < 0)
        return;
    print_sentence(out, text, cause);
    free(text);
}

int stm_out_fail(struct stm_out *out, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_formatted(out, NULL, fmt, ap);
    va_end(ap);
    return code;
}

int stm_out_error(struct stm_out *out, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_formatted(out, stm_error_text(err), fmt, ap);
    va_end(ap);
    return stm_exit_of(err);
}

int stm_out_end(struct stm_out *out, int code)
{
    int err = stm_out_release(out);

    if (err < 0 && err != -EPIPE)
        (void)stm_out_fail(out, STM_EXIT_FAILED, "the output could not be written: %s", strerror(-err));
    return err < 0 && code == STM_EXIT_OK ? STM_EXIT_FAILED : code;
}
