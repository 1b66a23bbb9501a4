/* log.c: the daemon's log (log.h). */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

static bool use_syslog;

void stm_log_start(bool to_syslog)
{
    use_syslog = to_syslog;
    if (to_syslog)
        openlog("stemma", LOG_PID, LOG_DAEMON);
}

static int priority(enum stm_fs_level level)
{
    switch (level) {
    case STM_FS_ERROR:
        return LOG_ERR;
    case STM_FS_WARNING:
        return LOG_WARNING;
    default:
        return LOG_INFO;
    }
}

void stm_log_fs(void *arg, enum stm_fs_level level, const char *event, const char *fields)
{
    const char *space = fields[0] != '\0' ? " " : "";

    (void)arg;
    if (use_syslog)
        syslog(priority(level), "%s%s%s", event, space, fields);
    else if (getenv("JOURNAL_STREAM") != NULL) /* systemd takes the priority from "<N>" */
        fprintf(stderr, "<%d>%s%s%s\n", priority(level), event, space, fields);
    else
        fprintf(stderr, "stemma: %s%s%s\n", event, space, fields);
}

void stm_log(enum stm_fs_level level, const char *event, const char *fmt, ...)
{
    char fields[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(fields, sizeof(fields), fmt, ap);
    va_end(ap);
    stm_log_fs(NULL, level, event, fields);
}
