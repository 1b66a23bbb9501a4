/* options.c: the mount options, their parser, and the help text of any table of options (params.h). */
#include "params.h"

#include "exit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WIDTH = 79, HELP_COLUMN = 27 };

#define AT(field) .offset = offsetof(struct stm_mount_options, field)
#define IGNORED(option)                                                                                                                    \
    {                                                                                                                                      \
        .name = option, .type = STM_PARAM_IGNORED                                                                                          \
    }

const struct stm_param stm_mount_params[] = {
    {"ro", STM_PARAM_FLAG, .value = true, AT(read_only), .text = "nothing can be changed through this mount"},
    {"rw", STM_PARAM_FLAG, .value = false, AT(read_only), .text = "files can be changed (the default)"},
    {"allow_other", STM_PARAM_FLAG, .value = true, AT(allow_other),
     .text = "other users may enter; file permissions are always checked (root's default)"},
    {"noallow_other", STM_PARAM_FLAG, .value = false, AT(allow_other),
     .text = "only the user who mounts may enter (the default of others)"},
    {"versions", STM_PARAM_CHOICE, .choices = "hidden|listed", AT(versions),
     .text = "are NAME@vX.Y.Z listed by readdir? (hidden: reached by name only)"},
    {"max_threads", STM_PARAM_UINT, .min = 1, .max = 64, .unit = "threads", AT(max_threads), .text = "at most so many requests at a time"},
    {"nonempty", STM_PARAM_FLAG, .value = true, AT(nonempty), .text = "mount over a directory that is not empty"},
    {"noexec", STM_PARAM_FLAG, .value = true, AT(noexec), .text = "no program can be run from the mount"},
    {"exec", STM_PARAM_FLAG, .value = false, AT(noexec), .text = "programs can be run (the default)"},
    {"acl", STM_PARAM_FLAG, .value = true, AT(acl), .text = "POSIX ACLs are obeyed and can be set"},
    {"noacl", STM_PARAM_FLAG, .value = false, AT(acl), .text = "ACLs are neither obeyed nor set (the default)"},
    {"nosupervise", STM_PARAM_FLAG, .value = true, AT(nosupervise),
     .text = "one process without a supervisor: the mount is dead when its daemon dies, and cannot be upgraded"},
    {"supervise", STM_PARAM_FLAG, .value = false, AT(nosupervise),
     .text = "another daemon takes over when one dies (the default, but not for mem:)"},
    {"hang_timeout", STM_PARAM_UINT, .min = 0, .max = 86400, .unit = "seconds", AT(hang_timeout),
     .text = "a daemon that answers nothing for so long is replaced; 60 by default, 0: never"},
    {"scrub", STM_PARAM_UINT, .min = 0, .max = 10000, .unit = "MiB a second", AT(scrub),
     .text = "all that is stored is read through once a day, not faster than this; 4 by default, 0: never"},
    {"debug", STM_PARAM_FLAG, .value = true, AT(debug), .text = "print every request of the kernel (with -f)"},
    /* What mount(8) and fstab say to themselves, or what holds anyway. */
    IGNORED("defaults"),
    IGNORED("auto"),
    IGNORED("noauto"),
    IGNORED("user"),
    IGNORED("users"),
    IGNORED("nouser"),
    IGNORED("owner"),
    IGNORED("group"),
    IGNORED("_netdev"),
    IGNORED("nofail"),
    IGNORED("dev"),
    IGNORED("nodev"),
    IGNORED("suid"),
    IGNORED("nosuid"),
    IGNORED("atime"),
    IGNORED("noatime"),
    IGNORED("relatime"),
    IGNORED("async"),
    IGNORED("comment="),
    IGNORED("x-"),
    IGNORED("X-"),
    {.type = STM_PARAM_END},
};

void stm_mount_options_default(struct stm_mount_options *o)
{
    *o = (struct stm_mount_options){.allow_other = geteuid() == 0, .hang_timeout = STM_HANG_TIMEOUT_S, .scrub = STM_SCRUB_MIB_S};
}

static int fail(char **ret_why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(char **ret_why, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(ret_why, fmt, ap) < 0)
        *ret_why = NULL;
    va_end(ap);
    return STM_EXIT_USAGE;
}

static const struct stm_param *find(struct stm_slice name)
{
    for (const struct stm_param *p = stm_mount_params; p->type != STM_PARAM_END; p++) {
        size_t len = strlen(p->name);
        char last = p->name[len - 1];

        if (last == '=' && name.len == len - 1 && memcmp(p->name, name.data, name.len) == 0)
            return p;
        if (last == '-' && name.len > len && memcmp(p->name, name.data, len) == 0)
            return p;
        if (name.len == len && memcmp(p->name, name.data, len) == 0)
            return p;
    }
    return NULL;
}

/* The place of value in "a|b|c", or -1. */
static int choice(const char *choices, const char *value)
{
    int place = 0;

    for (const char *at = choices; *at != '\0'; place++) {
        size_t len = strcspn(at, "|");

        if (strlen(value) == len && memcmp(at, value, len) == 0)
            return place;
        at += len;
        at += *at == '|';
    }
    return -1;
}

/* value: what stands after the '=', or NULL. */
static int apply(const struct stm_param *p, const char *value, void *target, char **ret_why)
{
    char *end, *at = (char *)target + p->offset;
    unsigned long number;
    int place;

    if (p->type == STM_PARAM_IGNORED)
        return 0;
    if (p->type == STM_PARAM_FLAG) {
        if (value != NULL)
            return fail(ret_why, "mount option '%s' takes no value (see 'stemma mount --help')", p->name);
        *(bool *)at = p->value;
        return 0;
    }
    if (value == NULL || *value == '\0')
        return fail(ret_why, "mount option '%s' needs a value (see 'stemma mount --help')", p->name);
    if (p->type == STM_PARAM_CHOICE) {
        place = choice(p->choices, value);
        if (place < 0)
            return fail(ret_why, "mount option '%s=%s': the value must be one of %s", p->name, value, p->choices);
        *(unsigned *)at = (unsigned)place;
        return 0;
    }
    errno = 0;
    number = strtoul(value, &end, 10);
    if (errno != 0 || *end != '\0' || *value == '-' || number < p->min || number > p->max)
        return fail(ret_why, "mount option '%s=%s': the value must be a number from %u to %u", p->name, value, p->min, p->max);
    *(unsigned *)at = (unsigned)number;
    return 0;
}

int stm_mount_options_parse(const char *text, bool sloppy, struct stm_mount_options *o, char **ret_why)
{
    struct stm_mount_options parsed = *o;
    char *copy = strdup(text), *rest = copy, *option;
    int code = 0;

    if (copy == NULL)
        return fail(ret_why, "out of memory");
    while (code == 0 && (option = strsep(&rest, ",")) != NULL) {
        char *equal = strchr(option, '=');
        const struct stm_param *p;

        if (*option == '\0')
            continue;
        p = find(stm_slice(option, equal != NULL ? (size_t)(equal - option) : strlen(option)));
        if (equal != NULL)
            *equal = '\0';
        if (p != NULL)
            code = apply(p, equal != NULL ? equal + 1 : NULL, &parsed, ret_why);
        else if (!sloppy)
            code = fail(ret_why, "mount option '%s' does not exist (see 'stemma mount --help')", option);
    }
    free(copy);
    if (code == 0)
        *o = parsed;
    return code;
}

/* The n-th of "a|b|c". */
static struct stm_slice choice_name(const char *choices, unsigned n)
{
    for (; n > 0; n--) {
        choices += strcspn(choices, "|");
        choices += *choices == '|';
    }
    return stm_slice(choices, strcspn(choices, "|"));
}

int stm_mount_options_text(const struct stm_mount_options *o, struct stm_buf *ret)
{
    int err = stm_buf_printf(ret, "defaults");

    for (const struct stm_param *p = stm_mount_params; err == 0 && p->type != STM_PARAM_END; p++) {
        const char *at = (const char *)o + p->offset;

        if (p->type == STM_PARAM_FLAG && *(const bool *)at == p->value) {
            err = stm_buf_printf(ret, ",%s", p->name);
        } else if (p->type == STM_PARAM_CHOICE) {
            struct stm_slice name = choice_name(p->choices, *(const unsigned *)at);
            err = stm_buf_printf(ret, ",%s=%.*s", p->name, (int)name.len, (const char *)name.data);
        } else if (p->type == STM_PARAM_UINT && *(const unsigned *)at >= p->min) {
            err = stm_buf_printf(ret, ",%s=%u", p->name, *(const unsigned *)at);
        }
    }
    return err;
}

/* "-f, --foreground", "--git REPO", "versions=hidden|listed" */
static int term(const struct stm_param *p, bool command_line, char *out, size_t size)
{
    const char *value = p->choices != NULL ? p->choices : p->type == STM_PARAM_UINT ? "N" : p->unit;
    bool has_value = p->type != STM_PARAM_FLAG;

    if (!command_line)
        return snprintf(out, size, "%s%s%s", p->name, has_value ? "=" : "", has_value ? value : "");
    if (p->letter == 0)
        return snprintf(out, size, "    --%s%s%s", p->name, has_value ? " " : "", has_value ? value : "");
    return snprintf(out, size, "-%c, --%s%s%s", p->letter, p->name, has_value ? " " : "", has_value ? value : "");
}

/* Appends words of text from column `at` on, in lines of WIDTH columns, with `indent` spaces before all but the first; newlines stay. */
int stm_wrap(const char *text, int at, int indent, struct stm_buf *ret)
{
    int err = 0;

    while (err == 0 && *text != '\0') {
        int len = (int)strcspn(text, " \n");
        bool newline = text[len] == '\n';

        if (at > indent && at + len > WIDTH) {
            err = stm_buf_printf(ret, "\n%*s", indent, "");
            at = indent;
        }
        if (err == 0)
            err = stm_buf_printf(ret, "%s%.*s", at > indent ? " " : "", len, text);
        at += len + (at > indent);
        if (err == 0 && newline) {
            err = stm_buf_printf(ret, "\n%*s", indent, "");
            at = indent;
        }
        text += len;
        text += *text != '\0';
    }
    return err < 0 ? err : stm_buf_printf(ret, "\n");
}

int stm_params_help(const struct stm_param *table, bool command_line, struct stm_buf *ret)
{
    for (const struct stm_param *p = table; p->type != STM_PARAM_END; p++) {
        char left[64], right[256], limits[64] = "";
        int err;

        if (p->text == NULL)
            continue;
        (void)term(p, command_line, left, sizeof(left));
        if (p->type == STM_PARAM_UINT)
            snprintf(limits, sizeof(limits), " (%u to %u %s)", p->min, p->max, p->unit);
        snprintf(right, sizeof(right), "%s%s", p->text, limits);
        err = stm_buf_printf(ret, "  %-*s ", HELP_COLUMN - 3, left);
        if (err == 0)
            err = stm_wrap(right, HELP_COLUMN, HELP_COLUMN, ret);
        if (err < 0)
            return err;
    }
    return 0;
}
