/*
 * times.c: nanoseconds and timespecs.
 */
#include <stdio.h>
#include <time.h>

#include "inner.h"

#define BILLION INT64_C(1000000000)

struct timespec stm_timespec(int64_t ns)
{
    int64_t s = ns / BILLION, rest = ns % BILLION;

    if (rest < 0) {
        rest += BILLION;
        s--;
    }
    return (struct timespec){.tv_sec = s, .tv_nsec = rest};
}

int64_t stm_nanoseconds(struct timespec ts)
{
    /* What 64 bits of nanoseconds cannot hold is set to the nearest that they can. */
    if (ts.tv_sec >= INT64_MAX / BILLION)
        return INT64_MAX;
    if (ts.tv_sec <= INT64_MIN / BILLION)
        return INT64_MIN;
    return ts.tv_sec * BILLION + ts.tv_nsec;
}

int64_t stm_now(struct stm_fs *fs)
{
    return stm_store_now_ns(fs->store);
}

void stm_time_text(int64_t ns, char *out)
{
    struct timespec ts = stm_timespec(ns);
    struct tm tm;
    size_t n;

    if (!gmtime_r(&ts.tv_sec, &tm))
        memset(&tm, 0, sizeof tm);
    n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%09ldZ", ts.tv_nsec);
}
