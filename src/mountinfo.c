/* mountinfo.c: reading /proc/self/mountinfo (mountinfo.h). */
#include "mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void stm_mount_release(struct stm_mount *m)
{
    free(m->dir);
    free(m->root);
    free(m->source);
    free(m->fstype);
    free(m->options);
    *m = (struct stm_mount){0};
}

int stm_mountinfo_read(char **ret_text)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *text = NULL;
    size_t cap = 0;
    ssize_t n;

    if (f == NULL)
        return -errno;
    n = getdelim(&text, &cap, '\0', f);
    fclose(f);
    if (n < 0) {
        free(text);
        return -EIO;
    }
    *ret_text = text;
    return 0;
}

static bool is_octal(const char *s)
{
    for (int i = 0; i < 3; i++) {
        if (s[i] < '0' || s[i] > '7')
            return false;
    }
    return true;
}

/* The next space-separated field with its \ooo escapes resolved, malloc'd; NULL at the end of the line or without memory. */
static char *next_field(const char **at)
{
    size_t len = strcspn(*at, " \n");
    char *out = len == 0 ? NULL : malloc(len + 1), *to = out;
    const char *s = *at, *end = s + len;

    if (out == NULL)
        return NULL;
    while (s < end) {
        if (*s == '\\' && end - s >= 4 && is_octal(s + 1)) {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
    *at = *end == ' ' ? end + 1 : end;
    return out;
}

/* Skips the optional fields up to and including " - ". */
static int skip_to_dash(const char **at)
{
    for (;;) {
        char *field = next_field(at);
        bool dash = field != NULL && strcmp(field, "-") == 0;
        bool end = field == NULL;

        free(field);
        if (end)
            return -EINVAL;
        if (dash)
            return 0;
    }
}

/* The number behind "user_id=" in the options of a FUSE filesystem. */
static uint32_t owner_of(const char *options)
{
    const char *at = options;
    unsigned long uid;

    while (at != NULL && strncmp(at, "user_id=", 8) != 0) {
        at = strchr(at, ',');
        at = at != NULL ? at + 1 : NULL;
    }
    if (at == NULL || at[8] < '0' || at[8] > '9')
        return UINT32_MAX;
    errno = 0;
    uid = strtoul(at + 8, NULL, 10);
    return errno != 0 || uid > UINT32_MAX ? UINT32_MAX : (uint32_t)uid;
}

/* id parent major:minor root dir options [optional...] - fstype source superoptions */
int stm_mount_parse(const char *line, struct stm_mount *ret)
{
    struct stm_mount m = {0};
    char *skipped[2] = {0}, *device;

    skipped[0] = next_field(&line);
    skipped[1] = next_field(&line);
    device = next_field(&line);
    if (device != NULL && strlen(device) < sizeof(m.device))
        strcpy(m.device, device);
    free(device);
    free(skipped[0]);
    free(skipped[1]);
    m.root = next_field(&line);
    m.dir = next_field(&line);
    m.options = next_field(&line);
    if (m.device[0] == '\0' || m.options == NULL || skip_to_dash(&line) < 0)
        goto bad;
    m.fstype = next_field(&line);
    m.source = next_field(&line);
    if (m.source == NULL)
        goto bad;
    m.stemma = strcmp(m.fstype, "fuse.stemma") == 0;
    skipped[0] = next_field(&line);
    m.owner = skipped[0] != NULL ? owner_of(skipped[0]) : UINT32_MAX;
    free(skipped[0]);
    *ret = m;
    return 0;
bad:
    stm_mount_release(&m);
    return -EINVAL;
}

/* Is path at or below dir? */
static bool covers(const char *dir, const char *path)
{
    size_t len = strlen(dir);

    if (strcmp(dir, "/") == 0)
        return path[0] == '/';
    return strncmp(dir, path, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

struct query {
    const char *path, *source, *device;
    bool exact;
};

static bool matches(const struct query *q, const struct stm_mount *m)
{
    if (q->source != NULL)
        return m->stemma && strcmp(m->source, q->source) == 0 && (q->device == NULL || strcmp(m->device, q->device) == 0);
    return q->exact ? strcmp(m->dir, q->path) == 0 : covers(m->dir, q->path);
}

/* Among the lines that match, the one with the longest directory; of equal ones the last, which is on top. */
static int find(const char *text, const struct query *q, struct stm_mount *ret)
{
    struct stm_mount best = {0};
    int found = 0;

    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        struct stm_mount m;

        if (stm_mount_parse(line, &m) < 0)
            continue;
        if (matches(q, &m) && (!found || strlen(m.dir) >= strlen(best.dir))) {
            stm_mount_release(&best);
            best = m;
            found = 1;
        } else {
            stm_mount_release(&m);
        }
    }
    if (found)
        *ret = best;
    return found;
}

int stm_mount_covering(const char *text, const char *path, struct stm_mount *ret)
{
    return find(text, &(struct query){.path = path}, ret);
}

int stm_mount_at(const char *text, const char *path, struct stm_mount *ret)
{
    return find(text, &(struct query){.path = path, .exact = true}, ret);
}

int stm_mount_of(const char *text, const char *source, const char *device, struct stm_mount *ret)
{
    return find(text, &(struct query){.source = source, .device = device}, ret);
}
