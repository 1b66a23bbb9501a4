/*
 * time.c: times in names: text to nanoseconds and back. UTC only, no colons, no time zones, no locale.
 * A text stands for all the nanoseconds that it covers (a date for its whole day); what counts is the last of them, so that
 * `word@DATE` is the newest version of that day.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "stemma/name.h"
#include "text.h"

#define SECOND_NS INT64_C(1000000000)

struct stamp {
    uint32_t year, month, day, hour, minute, second;
    uint32_t from_ns, span_ns; /* within the second; span only where seconds were given */
    uint32_t span_s;           /* seconds that the text covers */
};

static bool is_leap(uint32_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool is_date(const struct stamp *t)
{
    static const uint32_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (t->month < 1 || t->month > 12 || t->day < 1)
        return false;
    return t->day <= days[t->month - 1] + (t->month == 2 && is_leap(t->year));
}

/* Days since 1970-01-01 in the Gregorian calendar, for years from 1 on. Years are counted from March, so that the leap day is last. */
static int64_t days_from_epoch(const struct stamp *t)
{
    int64_t year = (int64_t)t->year - (t->month <= 2);
    int64_t month = (t->month + 9) % 12;
    int64_t era = year / 400, of_era = year % 400;
    int64_t of_year = (153 * month + 2) / 5 + t->day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* ".123": one to nine digits after the point. None is fine as well. */
static bool parse_fraction(struct stm_slice *text, struct stamp *t)
{
    uint32_t unit = (uint32_t)SECOND_NS;

    if (!stm_text_char(text, '.'))
        return true;
    for (uint32_t digit; unit > 1 && stm_text_digits(text, 1, &digit);) {
        unit /= 10;
        t->from_ns += digit * unit;
    }
    t->span_ns = unit;
    return unit < SECOND_NS;
}

/* "T10", "T10.15", "T10.15.00", "T10.15.00.123456789" or nothing, then perhaps "Z". */
static bool parse_clock(struct stm_slice *text, struct stamp *t)
{
    if (stm_text_char(text, 'T')) {
        if (!stm_text_digits(text, 2, &t->hour))
            return false;
        t->span_s = 3600;
        if (stm_text_char(text, '.')) {
            if (!stm_text_digits(text, 2, &t->minute))
                return false;
            t->span_s = 60;
            if (stm_text_char(text, '.')) {
                if (!stm_text_digits(text, 2, &t->second) || !parse_fraction(text, t))
                    return false;
                t->span_s = 1;
            }
        }
    }
    (void)stm_text_char(text, 'Z');
    return true;
}

static bool parse_iso(struct stm_slice *text, struct stamp *t)
{
    return stm_text_digits(text, 4, &t->year) && stm_text_char(text, '-') && stm_text_digits(text, 2, &t->month) &&
           stm_text_char(text, '-') && stm_text_digits(text, 2, &t->day) && parse_clock(text, t);
}

static bool parse_samba(struct stm_slice *text, struct stamp *t)
{
    t->span_s = 1;
    return stm_text_digits(text, 4, &t->year) && stm_text_char(text, '.') && stm_text_digits(text, 2, &t->month) &&
           stm_text_char(text, '.') && stm_text_digits(text, 2, &t->day) && stm_text_char(text, '-') &&
           stm_text_digits(text, 2, &t->hour) && stm_text_char(text, '.') && stm_text_digits(text, 2, &t->minute) &&
           stm_text_char(text, '.') && stm_text_digits(text, 2, &t->second);
}

int stm_time_parse(struct stm_slice text, int64_t *ret_ns)
{
    struct stamp t = {.span_s = 86400};
    bool samba = stm_text_word(&text, "@GMT-") || stm_text_word(&text, "GMT-");
    bool fits = samba ? parse_samba(&text, &t) : parse_iso(&text, &t);

    if (!fits || text.len > 0 || !is_date(&t) || t.hour > 23 || t.minute > 59 || t.second > 59)
        return -EINVAL;

    int64_t start_s = days_from_epoch(&t) * 86400 + t.hour * 3600 + t.minute * 60 + t.second;
    int64_t span_ns = t.span_ns > 0 ? t.span_ns : t.span_s * SECOND_NS;
    /* The years 0 to 9999 are more than 64 bits of nanoseconds hold: beyond their ends is the same as at them, for every use of a time. */
    if (__builtin_mul_overflow(start_s, SECOND_NS, ret_ns) || __builtin_add_overflow(*ret_ns, t.from_ns + span_ns - 1, ret_ns))
        *ret_ns = start_s < 0 ? INT64_MIN : INT64_MAX;
    return 0;
}

void stm_time_format(int64_t ns, char *out)
{
    time_t s = (time_t)(ns / SECOND_NS - (ns % SECOND_NS < 0)); /* rounds down, also before 1970 */
    struct tm tm;

    if (!gmtime_r(&s, &tm)) { /* cannot be: 64 bits of nanoseconds are the years 1677 to 2262 */
        out[0] = '\0';
        return;
    }
    (void)snprintf(out, 32, "%04u-%02u-%02uT%02u.%02u.%02uZ", (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
                   (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}
