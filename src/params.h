/*
 * params.h: options as data. An option of a command or of a mount is a row of a table: name, type, where its value goes, limits, unit,
 * text. The parsers and --help read the tables; nothing else knows an option by name.
 *
 *     struct stm_mount_options o = STM_MOUNT_OPTIONS_INIT;
 *     code = stm_mount_options_parse("ro,versions=listed", 0, &o, &why);
 *
 * Thread-safety: immutable.
 */
#ifndef STEMMA_PARAMS_H
#define STEMMA_PARAMS_H

#include "stemma/buf.h"

enum stm_param_type {
    STM_PARAM_END,    /* closes a table */
    STM_PARAM_FLAG,   /* no value: sets a bool to `value` */
    STM_PARAM_UINT,   /* =N within [min, max]: sets an unsigned */
    STM_PARAM_CHOICE, /* =WORD, one of choices (separated by '|'): sets an unsigned to its place in the list */
    STM_PARAM_TEXT,   /* a value: sets a const char * that borrows from the command line */
    STM_PARAM_LIST,   /* a value: all that are given are joined by commas into a struct stm_buf */
    STM_PARAM_IGNORED /* accepted with or without a value, means nothing to us */
};

struct stm_param {
    const char *name; /* one that ends in '-' or '=' stands for every option that starts so */
    enum stm_param_type type;
    char letter; /* command options: the short form, or 0 */
    bool value;
    size_t offset;
    unsigned min, max;
    const char *unit; /* of a number; of a text, what --help calls it */
    const char *choices;
    const char *text;
};

/* ---- mount options (-o) ---- */

enum stm_versions_shown { STM_VERSIONS_HIDDEN = 0, STM_VERSIONS_LISTED = 1 };

struct stm_mount_options {
    bool read_only, nonempty, debug, noexec, acl;
    bool allow_other;
    unsigned versions; /* enum stm_versions_shown */
    unsigned max_threads;
    bool nosupervise;      /* one process: the mount dies with its daemon */
    unsigned scrub;        /* MiB a second; 0: never */
    unsigned hang_timeout; /* seconds without any answer after which a daemon is replaced; 0: never */
};
enum { STM_HANG_TIMEOUT_S = 60, STM_SCRUB_MIB_S = 4 };

/* What holds without any option; allow_other is on for root, whose mounts are for everybody (permissions are always checked). */
void stm_mount_options_default(struct stm_mount_options *o);

extern const struct stm_param stm_mount_params[];

/*
 * Parses "a,b=c". sloppy: what is unknown is passed over (mount -s). 0, or STM_EXIT_USAGE with a malloc'd sentence; o is changed only on
 * success.
 */
STM_MUST_CHECK int stm_mount_options_parse(const char *text, bool sloppy, struct stm_mount_options *o, char **ret_why);
/* Appends text that parses to the same options, whatever the defaults are; zero-terminated. */
STM_MUST_CHECK int stm_mount_options_text(const struct stm_mount_options *o, struct stm_buf *ret);
/* Appends text in lines that fit a terminal: the first starts at column `at`, the others at `indent`; its own newlines stay. */
STM_MUST_CHECK int stm_wrap(const char *text, int at, int indent, struct stm_buf *ret);
/* Appends a line, wrapped, for each row that --help should show. */
STM_MUST_CHECK int stm_params_help(const struct stm_param *table, bool command_line, struct stm_buf *ret);

#endif
