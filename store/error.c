/*
 * error.c: the sentences and errno classes of the store's errors. It neither logs nor remembers the last error.
 */
#include "stemma/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct row {
    int err;
    int class;
    const char *sentence;
};

static const struct row rows[] = {
#define X(name, number, class, sentence) {name, class, sentence},
    STM_ERRORS(X)
#undef X
};

static const struct row *find(int err)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].err == err)
            return &rows[i];
    return NULL;
}

/* Our own numbers begin at 2001, the system's end long before. */
static bool is_errno(int err)
{
    return err < 0 && err > -2000;
}

const char *stm_error_text(int err)
{
    const struct row *row = find(err);

    if (row)
        return row->sentence;
    /* strerrordesc_np, unlike strerror, hands out immutable text, so that threads need no buffer. */
    const char *text = is_errno(err) ? strerrordesc_np(-err) : NULL;
    return text ? text : "unknown error";
}

int stm_error_errno(int err)
{
    const struct row *row = find(err);

    if (row)
        return row->class;
    /* A number that is no errno must not travel on as one: the kernel would refuse the reply and the caller hang. */
    return is_errno(err) ? -err : EIO;
}
