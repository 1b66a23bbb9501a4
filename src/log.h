/*
 * log.h: what the daemon tells those who run it: an event's name and "key=value key=value", once per failure. To stderr in the foreground,
 * to syslog (and so the journal) in the background. Never the contents of files. Commands do not log: they print (out.h).
 * Thread-safety: internally locked, after stm_log_start.
 */
#ifndef STEMMA_LOG_H
#define STEMMA_LOG_H

#include "stemma_fs/fs.h"

/* Called once, before threads; until then lines go to stderr. */
void stm_log_start(bool to_syslog);
void stm_log(enum stm_fs_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* For stm_fs_options.log. */
void stm_log_fs(void *arg, enum stm_fs_level level, const char *event, const char *fields);

#endif
