/*
 * tmpdir.c: directories for tests that clean up after themselves. It is not for integration tests, which have their own.
 */
#include "support/tmpdir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Everything that was handed out, newest first. */
struct owned {
    struct owned *next;
    pid_t pid; /* who made it */
    int is_dir;
    char path[];
};

static struct owned *all;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void stm_tmpdir_remove(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_all(void)
{
    while (all) {
        struct owned *o = all;
        all = o->next;
        if (o->is_dir && o->pid == getpid())
            stm_tmpdir_remove(o->path);
        free(o);
    }
}

static struct owned *own(const char *dir, const char *name, int is_dir)
{
    size_t size = strlen(dir) + strlen(name) + 2;
    struct owned *o = malloc(sizeof *o + size);

    if (!o)
        abort();
    (void)snprintf(o->path, size, "%s/%s", dir, name);
    o->is_dir = is_dir;
    o->pid = getpid();
    return o;
}

static char *keep(struct owned *o)
{
    if (!all && atexit(remove_all) != 0)
        abort();
    o->next = all;
    all = o;
    return o->path;
}

const char *stm_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    struct owned *o = own(base && *base ? base : "/tmp", "stemma-test-XXXXXX", 1);

    if (!mkdtemp(o->path)) {
        perror(o->path);
        exit(1);
    }
    return keep(o);
}

char *stm_tmpdir_path(const char *dir, const char *name)
{
    return keep(own(dir, name, 0));
}
