/* layout.c: see layout.h. */
#include "layout.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char marker_text[] = "stemma store, format ";

static int why(char **ret_why, int err, const char *fmt, const char *path)
{
    char *text = NULL;

    if (ret_why && asprintf(&text, fmt, path) >= 0)
        *ret_why = text;
    return err;
}

static int system_error(char **ret_why, const char *what, const char *path)
{
    int err = -errno;
    char *text = NULL;

    if (ret_why && asprintf(&text, "%s %s: %s", what, path, strerror(-err)) >= 0)
        *ret_why = text;
    return err;
}

static int join(const char *dir, const char *name, char **ret)
{
    return asprintf(ret, "%s/%s", dir, name) < 0 ? -ENOMEM : 0;
}

static bool has_marker(const char *path)
{
    char *marker = NULL;
    bool there = join(path, "stemma", &marker) == 0 && access(marker, F_OK) == 0;

    free(marker);
    return there;
}

/* 1 when the directory holds nothing, 0 when it does. */
static int is_empty(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    int n = 0;

    if (!d)
        return -errno;
    while ((e = readdir(d)) && n <= 2)
        n++;
    closedir(d);
    return n <= 2;
}

static int make_dir(const char *parent, const char *name, char **ret_why)
{
    char *path = NULL;
    int err = join(parent, name, &path);

    if (err == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
        err = system_error(ret_why, "cannot make", path);
    free(path);
    return err;
}

int stm_layout_create(const char *path, char **ret_why)
{
    int err = 0;

    if (mkdir(path, 0700) < 0) {
        if (errno != EEXIST)
            return system_error(ret_why, "cannot make the store", path);
        if (has_marker(path))
            return why(ret_why, -EEXIST, "%s is a Stemma store already: mount it, or choose another directory", path);
        err = is_empty(path);
        if (err == -ENOTDIR)
            return why(ret_why, err, "%s is not a directory: choose another name", path);
        if (err < 0) {
            errno = -err;
            return system_error(ret_why, "cannot read", path);
        }
        if (err == 0)
            return why(ret_why, -ENOTEMPTY, "%s is not empty: a store needs a directory of its own", path);
    }
    err = make_dir(path, "stage", ret_why);
    return err;
}

static void remove_files(int dir)
{
    DIR *d = dir < 0 ? NULL : fdopendir(dir);
    const struct dirent *e;

    while (d && (e = readdir(d)))
        (void)unlinkat(dirfd(d), e->d_name, 0); /* directories stay */
    if (d)
        closedir(d);
    else if (dir >= 0)
        close(dir);
}

void stm_layout_undo(const char *path)
{
    static const char *const parts[] = {"db", "stage", "."};
    int store = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (size_t i = 0; store >= 0 && i < sizeof parts / sizeof parts[0]; i++) {
        remove_files(openat(store, parts[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        (void)unlinkat(store, parts[i], AT_REMOVEDIR);
    }
    if (store >= 0)
        close(store);
}

int stm_layout_mark(const char *path, char **ret_why)
{
    char *marker = NULL;
    int err = join(path, "stemma", &marker), fd, dir;

    if (err < 0)
        return err;
    fd = open(marker, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || dprintf(fd, "%s%d\n", marker_text, STM_STORE_FORMAT) < 0 || fsync(fd) < 0)
        err = system_error(ret_why, "cannot write", marker);
    if (fd >= 0)
        close(fd);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        if (err == 0 && fsync(dir) < 0)
            err = system_error(ret_why, "cannot sync", path);
        close(dir);
    }
    free(marker);
    return err;
}

int stm_layout_check(const char *path, char **ret_why)
{
    char *marker = NULL;
    char line[64] = "";
    struct stat st;
    int err = 0;

    if (stat(path, &st) < 0)
        return errno == ENOENT ? why(ret_why, -ENOENT, "%s does not exist: make a store with 'stemma init'", path)
                               : system_error(ret_why, "cannot open the store", path);
    if (S_ISDIR(st.st_mode) && !has_marker(path) && errno == EACCES)
        return system_error(ret_why, "only its owner and root may use the store", path);
    if (!S_ISDIR(st.st_mode) || !has_marker(path))
        return why(ret_why, STM_E_NOT_A_STORE, "%s is not a Stemma store: make one with 'stemma init', or name another directory", path);
    if (join(path, "stemma", &marker) < 0)
        return -ENOMEM;
    FILE *f = fopen(marker, "re");
    if (!f)
        err = system_error(ret_why, "cannot read", marker);
    else if (!fgets(line, sizeof line, f) || strncmp(line, marker_text, sizeof marker_text - 1) != 0)
        err = why(ret_why, STM_E_CORRUPT, "%s is damaged: restore the store from a backup", marker);
    if (f)
        fclose(f);
    if (err == 0) {
        long format = strtol(line + sizeof marker_text - 1, NULL, 10);
        if (format > STM_STORE_FORMAT)
            err = why(ret_why, STM_E_NEWER_FORMAT, "%s was written by a newer Stemma than this one: upgrade the program", path);
        else if (format < 1)
            err = why(ret_why, STM_E_CORRUPT, "%s is damaged: restore the store from a backup", marker);
    }
    free(marker);
    return err;
}

static int locked_by(const char *path, int fd, char **ret_why)
{
    char pid[24] = "", *text = NULL;
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);

    pid[n > 0 ? n : 0] = 0;
    pid[strcspn(pid, "\n")] = 0;
    if (ret_why && asprintf(&text, "%s is in use by process %s: unmount it ('stemma umount'), or end that process", path,
                            pid[0] ? pid : "(unknown)") >= 0)
        *ret_why = text;
    return STM_E_LOCKED;
}

/* Over the old one, whose block a full disk has; a full disk without one is no reason to stop: the lock counts, not the number. */
static int write_pid(int fd)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    if (pwrite(fd, text, (size_t)len, 0) != len)
        return errno == ENOSPC || errno == EDQUOT ? 0 : -1;
    return ftruncate(fd, len);
}

int stm_layout_lock(const char *path, bool shared, int *ret_fd, char **ret_why)
{
    char *lock = NULL;
    int err = join(path, "lock", &lock);

    if (err < 0)
        return err;
    int fd = open(lock, (shared ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EROFS)
        err = why(ret_why, -EROFS, "cannot open %s: the filesystem below is read-only: mount the store with '-o ro'", lock);
    else if (fd < 0)
        err = system_error(ret_why, "cannot open", lock);
    else if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
        err = errno == EWOULDBLOCK ? locked_by(path, fd, ret_why) : system_error(ret_why, "cannot lock", lock);
    if (err == 0 && !shared)
        err = write_pid(fd) < 0 ? system_error(ret_why, "cannot write", lock) : 0;
    free(lock);
    if (err < 0 && fd >= 0)
        close(fd);
    if (err == 0)
        *ret_fd = fd;
    return err;
}

void stm_layout_tidy(const char *path)
{
    static const char left_over[] = ".dbtmp";
    const struct dirent *e;
    struct stat st;
    char *db = NULL;
    DIR *d = join(path, "db", &db) == 0 ? opendir(db) : NULL;

    free(db);
    if (!d)
        return;
    bool give = geteuid() == 0 && stat(path, &st) == 0 && st.st_uid != 0;
    while ((e = readdir(d))) {
        size_t len = strlen(e->d_name);
        if (len >= sizeof left_over && strcmp(e->d_name + len - (sizeof left_over - 1), left_over) == 0)
            (void)unlinkat(dirfd(d), e->d_name, 0);
        else if (give && strcmp(e->d_name, "..") != 0 && fchownat(dirfd(d), e->d_name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
            give = false;
    }
    closedir(d);
}

static bool is_draft(const char *name)
{
    return strncmp(name, STM_STAGE_DRAFT, sizeof STM_STAGE_DRAFT - 1) == 0;
}

int stm_layout_sweep_stage(const char *stage, bool keep_drafts)
{
    DIR *d = opendir(stage);
    const struct dirent *e;
    int err = 0;

    if (!d)
        return errno == ENOENT && mkdir(stage, 0700) == 0 ? 0 : -errno;
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !(keep_drafts && is_draft(e->d_name)) &&
            unlinkat(dirfd(d), e->d_name, 0) < 0)
            err = -errno;
    closedir(d);
    return err;
}
