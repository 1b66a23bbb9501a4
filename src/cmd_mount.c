/* cmd_mount.c: `stemma mount`: the checks before a mount, so that each mistake gets its sentence before anything is started. */
#include "client.h"
#include "command.h"
#include "daemon.h"
#include "exit.h"
#include "mountinfo.h"
#include "mounting.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int names = 0;

    if (d == NULL)
        return true; /* the mount will say */
    while (names == 0 && (e = readdir(d)) != NULL)
        names = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return names == 0;
}

static int dead_mount(struct stm_out *out, const char *dir)
{
    return stm_out_fail(
        out, STM_EXIT_BUSY,
        "%s is a mount that has lost its daemon (Transport endpoint is not connected): clear it with 'stemma umount %s' (if "
        "it is busy: 'umount -l %s', without root 'fusermount3 -uz %s'), then try again",
        dir, dir, dir, dir);
}

/* Is the store, or the mount point, mounted already? */
static int check_mounts(const char *store, const char *dir, struct stm_out *out)
{
    struct stm_mount m = {0};
    char *text = NULL;
    int code = 0, err = stm_mountinfo_read(&text);

    if (err < 0)
        return stm_out_fail(out, STM_EXIT_FAILED, "/proc/self/mountinfo cannot be read (%s): is /proc mounted?", strerror(-err));
    if (stm_mount_at(text, dir, &m) == 1 && m.stemma && stm_client_daemon_gone(m.source))
        code = dead_mount(out, dir);
    else if (m.stemma)
        code =
            stm_out_fail(out, STM_EXIT_BUSY, "%s is busy: %s is mounted there already; 'stemma umount %s' ends that", dir, m.source, dir);
    stm_mount_release(&m);
    if (code == 0 && strcmp(store, "mem:") != 0 && stm_mount_of(text, store, NULL, &m) == 1)
        code = stm_out_fail(out, STM_EXIT_BUSY, "%s is mounted already, on %s by process %d: use it there, or 'stemma umount %s' first",
                            store, m.dir, stm_client_holder(store), m.dir);
    stm_mount_release(&m);
    free(text);
    return code;
}

/* A daemon that starts anew could not get at a store that its own mount hides. */
static bool hides(const char *dir, const char *store)
{
    size_t len = strlen(dir);

    return strncmp(store, dir, len) == 0 && (store[len] == '/' || store[len] == '\0' || strcmp(dir, "/") == 0);
}

static int check_dir(const char *given, const char *dir, const char *store, const struct stm_mount_options *o, struct stm_out *out)
{
    struct stat st;

    if (hides(dir, store))
        return stm_out_fail(out, STM_EXIT_FAILED, "%s lies in %s: mounted there it would hide itself; choose another directory", store,
                            given);

    if (stat(dir, &st) < 0)
        return stm_out_fail(out, STM_EXIT_FAILED, "%s: %s", given, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return stm_out_fail(out, STM_EXIT_FAILED, "%s is not a directory: a mount point must be one", given);
    if (!o->nonempty && !is_empty(dir))
        return stm_out_fail(out, STM_EXIT_FAILED,
                            "%s is not empty: what is in it would be hidden; choose an empty directory, or mount with '-o nonempty'",
                            given);
    return 0;
}

static int find_dir(const char *given, char **ret, struct stm_out *out)
{
    char *dir = realpath(given, NULL);

    if (dir != NULL) {
        *ret = dir;
        return 0;
    }
    if (errno == ENOTCONN)
        return dead_mount(out, given);
    if (errno == ENOENT)
        return stm_out_fail(out, STM_EXIT_FAILED, "the mount point %s does not exist: make it with 'mkdir -p %s'", given, given);
    return stm_out_fail(out, STM_EXIT_FAILED, "%s: %s", given, strerror(errno));
}

static int find_store(const char *spec, char **ret, struct stm_out *out)
{
    char *store = strcmp(spec, "mem:") == 0 ? strdup(spec) : realpath(spec, NULL);

    if (store != NULL) {
        *ret = store;
        return 0;
    }
    if (errno == ENOENT)
        return stm_out_fail(out, STM_EXIT_STORE, "there is no store at %s: make one with 'stemma init %s'", spec, spec);
    return stm_out_fail(out, STM_EXIT_STORE, "%s: %s", spec, strerror(errno));
}

int stm_mount_start(const char *spec, const char *dir, const struct stm_mount_options *o, bool foreground)
{
    struct stm_out out = stm_out_terminal();
    struct stm_daemon d = {.options = *o, .foreground = foreground, .connection = -1, .memory = -1, .prober = -1};
    char *store = NULL, *point = NULL;
    int code = find_store(spec, &store, &out);

    if (code == 0)
        code = find_dir(dir, &point, &out);
    if (code == 0)
        code = check_mounts(store, point, &out);
    if (code == 0)
        code = check_dir(dir, point, store, o, &out);
    (void)stm_out_release(&out);
    if (code == 0) {
        d.store = store;
        d.dir = point;
        code = stm_daemon_start(&d);
    }
    free(store);
    free(point);
    return code;
}

static int run(const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    struct stm_mount_options o;
    char *why = NULL;
    int code;

    stm_mount_options_default(&o);
    code = args->mount_options.len == 0 ? 0 : stm_mount_options_parse((const char *)args->mount_options.data, false, &o, &why);
    if (code == 0)
        return stm_mount_start(args->operand[0], args->operand[1], &o, args->foreground);
    code = stm_out_fail(&out, code, "%s", why != NULL ? why : "out of memory");
    free(why);
    return code;
}

static const struct stm_param options[] = {
    STM_OPTION_HELP,
    {"options", STM_PARAM_LIST, .letter = 'o', .unit = "LIST", .offset = offsetof(struct stm_args, mount_options),
     .text = "mount options, separated by commas (below)"},
    {"foreground", STM_PARAM_FLAG, .letter = 'f', .value = true, .offset = offsetof(struct stm_args, foreground),
     .text = "stay in the foreground, log to stderr; Ctrl-C unmounts"},
    STM_OPTION_END,
};

const struct stm_command stm_cmd_mount = {
    .name = "mount",
    .operands = "[-f] [-o OPTIONS] STORE DIR",
    .summary = "mount a store on a directory",
    .text = "Mounts STORE on the empty directory DIR and returns when DIR answers. A daemon serves it until 'stemma umount DIR', or until "
            "it gets "
            "SIGTERM, SIGINT or SIGHUP; it then saves everything and unmounts. A store is mounted once at a time. STORE 'mem:' is an empty "
            "store "
            "in memory, for tests: it is gone at the unmount.",
    .examples = "  stemma mount ./var/store ./mnt\n"
                "  stemma mount -o ro,versions=listed /srv/words /mnt/words\n"
                "  mount -t stemma /srv/words /mnt/words\n",
    .options = options,
    .more = stm_mount_params,
    .min = 2,
    .max = 2,
    .run = run,
};
