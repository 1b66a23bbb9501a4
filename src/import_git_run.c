/*
 * import_git_run.c: runs the git program with pipes (import_git.h). What its output means is import_git.c's business.
 */
#include "import_git.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 16, ANSWER_MAX = 4096 };

extern char **environ;

/* Ends of pipes: ours and the child's. */
struct ends {
    int in[2], out[2]; /* 0: reading end */
};

/* Our environment without what would point git at another repository, as in a hook. NULL: no memory. */
static char **clean_environment(void)
{
    static const char *const drop[] = {
        "GIT_DIR=",        "GIT_WORK_TREE=", "GIT_INDEX_FILE=", "GIT_OBJECT_DIRECTORY=", "GIT_ALTERNATE_OBJECT_DIRECTORIES=",
        "GIT_COMMON_DIR=", "GIT_NAMESPACE=", "GIT_PREFIX="};
    size_t count = 0, n = 0;

    while (environ[count])
        count++;
    char **env = calloc(count + 1, sizeof *env);
    for (size_t i = 0; env && i < count; i++) {
        bool dropped = false;
        for (size_t k = 0; k < sizeof drop / sizeof *drop; k++)
            dropped |= strncmp(environ[i], drop[k], strlen(drop[k])) == 0;
        if (!dropped)
            env[n++] = environ[i];
    }
    return env;
}

static void close_all(struct ends *e)
{
    int *all[] = {&e->in[0], &e->in[1], &e->out[0], &e->out[1]};

    for (size_t i = 0; i < 4; i++) {
        if (*all[i] >= 0)
            close(*all[i]);
        *all[i] = -1;
    }
}

static int spawn(const char *repo, const char *const *args, const struct ends *e, bool errors, pid_t *ret)
{
    const char *argv[ARGS_MAX + 4] = {"git", "-C", repo};
    posix_spawn_file_actions_t act;
    posix_spawnattr_t attr;
    sigset_t defaults;
    char **env = clean_environment();
    size_t n = 3;

    if (!env)
        return -ENOMEM;
    while (*args && n < ARGS_MAX + 3)
        argv[n++] = *args++;
    if (posix_spawn_file_actions_init(&act) != 0 || posix_spawnattr_init(&attr) != 0) { /* never fail with glibc */
        free(env);
        return -ENOMEM;
    }
    int err;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE); /* so that it dies when nobody reads */
    if (!(err = posix_spawnattr_setsigdefault(&attr, &defaults)) && !(err = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF)) &&
        !(err = posix_spawn_file_actions_adddup2(&act, e->in[0], 0)) && !(err = posix_spawn_file_actions_adddup2(&act, e->out[1], 1)) &&
        !(err = errors ? posix_spawn_file_actions_adddup2(&act, e->out[1], 2)
                       : posix_spawn_file_actions_addopen(&act, 2, "/dev/null", O_WRONLY, 0)))
        err = posix_spawnp(ret, "git", &act, &attr, (char *const *)argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&act);
    free(env);
    return -err;
}

static int start(const char *repo, const char *const *args, bool errors, struct stm_git_process *ret)
{
    struct ends e = {{-1, -1}, {-1, -1}};
    struct stm_git_process p = {0};
    int err = pipe2(e.in, O_CLOEXEC) < 0 || pipe2(e.out, O_CLOEXEC) < 0 ? -errno : 0;

    if (err == 0)
        err = spawn(repo, args, &e, errors, &p.pid);
    if (err == 0) {
        p.in = fdopen(e.in[1], "w");
        p.out = fdopen(e.out[0], "r");
        e.in[1] = p.in ? -1 : e.in[1];
        e.out[0] = p.out ? -1 : e.out[0];
        if (!p.in || !p.out)
            err = -ENOMEM;
    }
    close_all(&e);
    if (err == 0)
        *ret = p;
    else
        (void)stm_git_end(&p);
    return err;
}

int stm_git_start(const char *repo, const char *const *args, struct stm_git_process *ret)
{
    return start(repo, args, false, ret);
}

int stm_git_end(struct stm_git_process *p)
{
    int status = 0;

    if (p->in)
        fclose(p->in);
    if (p->out)
        fclose(p->out);
    while (p->pid > 0 && waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    *p = (struct stm_git_process){0};
    return status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE) ? 0 : -EIO;
}

int stm_git_ask(const char *repo, const char *const *args, char **ret, char **ret_why)
{
    struct stm_git_process p;
    char answer[ANSWER_MAX];
    int err = start(repo, args, true, &p);
    size_t n = 0;

    if (err == 0) {
        n = fread(answer, 1, sizeof answer - 1, p.out);
        err = stm_git_end(&p);
    } else {
        n = (size_t)snprintf(answer, sizeof answer, "the program git cannot be run: %s", stm_error_text(err));
    }
    while (n && answer[n - 1] == '\n')
        n--;
    answer[n] = 0;
    if (err != 0)
        answer[strcspn(answer, "\n")] = 0; /* its first sentence is enough */
    char **to = err == 0 ? ret : ret_why;
    free(*to);
    *to = strdup(answer);
    return *to ? err : -ENOMEM;
}
