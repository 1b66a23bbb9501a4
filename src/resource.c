/* resource.c: from a PATH on the command line to a store and a path inside it (resource.h). */
#include "resource.h"

#include "exit.h"
#include "mountinfo.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void stm_resource_release(struct stm_resource *r)
{
    free(r->store);
    free(r->path);
    free(r->mount);
    free(r->outside);
    *r = (struct stm_resource){0};
}

/* Sets the sentence and returns the code. */
static int fail(char **ret_why, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(char **ret_why, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(ret_why, fmt, ap) < 0)
        *ret_why = NULL;
    va_end(ap);
    return code;
}

int stm_path_clean(const char *path, char **ret)
{
    char *out = malloc(strlen(path) + 2), *to = out;

    if (out == NULL)
        return -ENOMEM;
    for (const char *at = path; *at != '\0';) {
        size_t len = strcspn(at, "/");
        bool skip = len == 0 || (len == 1 && at[0] == '.');

        if ((len == 2 && memcmp(at, "..", 2) == 0) || len > STM_NAME_MAX) {
            free(out);
            return len == 2 ? -EINVAL : -ENAMETOOLONG;
        }
        if (!skip) {
            *to++ = '/';
            memcpy(to, at, len);
            to += len;
        }
        at += len;
        at += *at == '/';
    }
    if (to == out)
        *to++ = '/';
    *to = '\0';
    *ret = out;
    return 0;
}

const char *stm_path_view(const char *path, uint64_t *ret_seq)
{
    static const char prefix[] = "/.stemma/at/#";
    const char *digits = path + sizeof(prefix) - 1;
    char *end;
    unsigned long long seq;

    *ret_seq = STM_SEQ_HEAD;
    if (strncmp(path, prefix, sizeof(prefix) - 1) != 0 || !isdigit((unsigned char)*digits))
        return path;
    errno = 0;
    seq = strtoull(digits, &end, 10);
    if (errno != 0 || (*end != '\0' && *end != '/'))
        return path;
    *ret_seq = seq;
    return *end == '\0' ? "/" : end;
}

char *stm_path_inside(const char *dir, const char *root, const char *path)
{
    const char *rest = strcmp(dir, "/") == 0 ? path : path + strlen(dir);
    const char *base = strcmp(root, "/") == 0 ? "" : root;
    char *out = NULL;

    if (strcmp(rest, "/") == 0)
        rest = "";
    if (asprintf(&out, "%s%s", base, *base == '\0' && *rest == '\0' ? "/" : rest) < 0)
        return NULL;
    return out;
}

/* ---- paths inside a mount ---- */

static int dead_mount(char **ret_why, const char *text)
{
    return fail(
        ret_why, STM_EXIT_FAILED,
        "%s: the mount there has lost its daemon (Transport endpoint is not connected): clear it with 'stemma umount DIR' (if it is "
        "busy: 'umount -l DIR', without root 'fusermount3 -uz DIR'), then mount it again",
        text);
}

/* Takes the last component off part (len bytes; "." stands for none left). False when there is none to take. */
static bool shorten(char *part, size_t *len)
{
    char *slash;

    while (*len > 1 && part[*len - 1] == '/')
        part[--*len] = '\0';
    if (*len == 0 || strcmp(part, "/") == 0)
        return false;
    slash = strrchr(part, '/');
    if (slash == NULL) {
        *len = 0;
        strcpy(part, ".");
        return true;
    }
    *len = slash == part ? 1 : (size_t)(slash - part);
    part[*len] = '\0';
    return true;
}

/*
 * The absolute path without symlinks of the longest part of text that exists, and what is left (borrowed from text; "" when all
 * exists). 0 or -errno of the first failure that is not "missing".
 */
static int real_prefix(const char *text, char **ret_real, const char **ret_rest)
{
    char *part = strdup(text), *real;
    size_t len = strlen(text);
    int err = 0;

    if (part == NULL)
        return -ENOMEM;
    while ((real = realpath(part, NULL)) == NULL) {
        /* A name that is too long gets a sentence of its own from stm_path_clean. */
        err = errno == ENAMETOOLONG || errno == ENOENT ? 0 : -errno;
        if (err < 0 || !shorten(part, &len))
            break;
    }
    free(part);
    if (real == NULL)
        return err < 0 ? err : -ENOENT;
    *ret_real = real;
    *ret_rest = text + len;
    return 0;
}

/* Puts the two parts together and cleans the whole. */
static int join_clean(const char *real, const char *rest, char **ret)
{
    char *joined = NULL;
    int err;

    if (asprintf(&joined, "%s/%s", real, rest) < 0)
        return -ENOMEM;
    err = stm_path_clean(joined, ret);
    free(joined);
    return err;
}

static int path_error(char **ret_why, const char *text, int err)
{
    if (err == -ENOTCONN)
        return dead_mount(ret_why, text);
    if (err == -EINVAL)
        return fail(ret_why, STM_EXIT_USAGE, "%s: '..' after a name that does not exist has no meaning", text);
    if (err == -ENAMETOOLONG)
        return fail(ret_why, STM_EXIT_NOT_FOUND, "%s: a name in it has more than %d bytes", text, STM_NAME_MAX);
    return fail(ret_why, err == -ENOTDIR ? STM_EXIT_NOT_FOUND : STM_EXIT_FAILED, "%s: %s", text, strerror(-err));
}

/* Splits a path of the filesystem at the mount that it is in. */
static int from_mount(const char *text, const char *path, struct stm_resource *ret, char **ret_why)
{
    struct stm_resource r = {.seq = STM_SEQ_HEAD};
    struct stm_mount m = {0};
    char *mounts = NULL, *inside;
    int err = stm_mountinfo_read(&mounts);

    if (err < 0)
        return fail(ret_why, STM_EXIT_FAILED, "/proc/self/mountinfo cannot be read (%s): is /proc mounted?", strerror(-err));
    err = stm_mount_covering(mounts, path, &m);
    free(mounts);
    if (err != 1 || !m.stemma) {
        stm_mount_release(&m);
        return fail(ret_why, STM_EXIT_NOT_FOUND,
                    "%s is not inside a Stemma mount: give a path inside one, or STORE:/path for a store's directory", text);
    }
    inside = stm_path_inside(m.dir, m.root, path);
    if (inside != NULL)
        r.path = strdup(stm_path_view(inside, &r.seq));
    free(inside);
    r.outside = strdup(path);
    r.store = m.source;
    r.mount = m.dir;
    m.source = m.dir = NULL;
    stm_mount_release(&m);
    if (r.path == NULL || r.outside == NULL) {
        stm_resource_release(&r);
        return fail(ret_why, STM_EXIT_FAILED, "out of memory");
    }
    *ret = r;
    return 0;
}

static int parse_mounted(const char *text, struct stm_resource *ret, char **ret_why)
{
    char *real = NULL, *path = NULL;
    const char *rest;
    int err = real_prefix(text, &real, &rest);

    if (err == 0)
        err = join_clean(real, rest, &path);
    free(real);
    if (err < 0)
        return path_error(ret_why, text, err);
    err = from_mount(text, path, ret, ret_why);
    free(path);
    return err;
}

/* ---- STORE:/path ---- */

/* Where the ":/" stands that ends the name of a directory which exists (or of the store in memory); NULL when it is no such form. */
static const char *store_end(const char *text)
{
    for (const char *at = strstr(text, ":/"); at != NULL; at = strstr(at + 1, ":/")) {
        char *dir = strndup(text, (size_t)(at - text));
        struct stat st;
        bool is_dir = dir != NULL && *dir != '\0' && stat(dir, &st) == 0 && S_ISDIR(st.st_mode);

        free(dir);
        if (is_dir)
            return at;
    }
    return NULL;
}

static int parse_store_form(const char *text, const char *colon, struct stm_resource *ret, char **ret_why)
{
    struct stm_resource r = {.seq = STM_SEQ_HEAD};
    char *dir = strndup(text, (size_t)(colon - text)), *path = NULL;
    int err;

    if (dir == NULL)
        return fail(ret_why, STM_EXIT_FAILED, "out of memory");
    r.store = realpath(dir, NULL);
    err = r.store == NULL ? -errno : stm_path_clean(colon + 1, &path);
    free(dir);
    if (err == 0) {
        r.path = strdup(stm_path_view(path, &r.seq));
        err = r.path == NULL ? -ENOMEM : 0;
    }
    free(path);
    if (err < 0) {
        stm_resource_release(&r);
        return path_error(ret_why, text, err);
    }
    *ret = r;
    return 0;
}

int stm_resource_parse(const char *text, struct stm_resource *ret, char **ret_why)
{
    const char *colon;
    struct stat st;

    if (*text == '\0')
        return fail(ret_why, STM_EXIT_USAGE, "an empty path names nothing");
    if (lstat(text, &st) == 0)
        return parse_mounted(text, ret, ret_why);
    colon = store_end(text);
    if (colon != NULL)
        return parse_store_form(text, colon, ret, ret_why);
    return parse_mounted(text, ret, ret_why);
}

int stm_resource_parse_store(const char *text, struct stm_resource *ret, char **ret_why)
{
    struct stm_resource r = {.seq = STM_SEQ_HEAD};
    struct stm_mount m = {0};
    char *mounts = NULL, *real = realpath(text, NULL);
    int err;

    if (real == NULL && errno == ENOENT)
        return fail(ret_why, STM_EXIT_NOT_FOUND, "%s does not exist: give a mount point or a store's directory", text);
    if (real == NULL)
        return path_error(ret_why, text, -errno);
    err = stm_mountinfo_read(&mounts);
    if (err == 0)
        err = stm_mount_covering(mounts, real, &m);
    free(mounts);
    if (err == 1 && m.stemma) {
        r.store = m.source;
        r.mount = m.dir;
        m.source = m.dir = NULL;
        free(real);
    } else {
        r.store = real;
    }
    stm_mount_release(&m);
    r.path = strdup("/");
    if (r.path == NULL) {
        stm_resource_release(&r);
        return fail(ret_why, STM_EXIT_FAILED, "out of memory");
    }
    *ret = r;
    return 0;
}
