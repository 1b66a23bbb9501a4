/* mount_users.c: who keeps a mount busy, from the links in /proc (mounting.h). It never touches the mount. */
#include "mounting.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { USERS_MAX = 5 };

/* Does the link /proc/... point at or below dir? */
static bool points_into(int at, const char *link, const char *dir)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(at, link, target, sizeof(target) - 1);
    size_t len = strlen(dir);

    if (n < (ssize_t)len)
        return false;
    target[n] = '\0';
    return strncmp(target, dir, len) == 0 && (target[len] == '\0' || target[len] == '/');
}

static bool has_open(int process, const char *dir)
{
    int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *links = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    bool found = false;

    if (links == NULL) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    while (!found && (e = readdir(links)) != NULL)
        found = points_into(dirfd(links), e->d_name, dir);
    closedir(links);
    return found;
}

static void read_name(int process, char *out, size_t size)
{
    int fd = openat(process, "comm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

/* Appends the process if it uses dir: 1, 0, or an error. */
static int add_user(int proc, const char *pid, const char *dir, struct stm_buf *ret)
{
    int err = 0, process = openat(proc, pid, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char name[32];
    bool uses;

    if (process < 0)
        return 0;
    uses =
        points_into(process, "cwd", dir) || points_into(process, "root", dir) || points_into(process, "exe", dir) || has_open(process, dir);
    if (uses) {
        read_name(process, name, sizeof(name));
        err = stm_buf_printf(ret, "%s%s (%s)", ret->len > 0 ? ", " : "", name, pid);
    }
    close(process);
    return err < 0 ? err : uses;
}

int stm_mount_users(const char *dir, struct stm_buf *ret)
{
    DIR *proc = opendir("/proc");
    const struct dirent *e;
    int users = 0, got = 0;

    if (proc == NULL)
        return 0;
    while (got >= 0 && users < USERS_MAX && (e = readdir(proc)) != NULL) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        got = add_user(dirfd(proc), e->d_name, dir, ret);
        users += got == 1;
    }
    closedir(proc);
    return got < 0 ? got : 0;
}
