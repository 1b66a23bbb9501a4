/*
 * connection.c: the connection to the kernel: mounted here, or taken over from an earlier daemon (handover.h). Requests are read and answered by
 * functions of our own, so that each worker knows the id of the request it works on, and INIT can be recorded and played again: libfuse must
 * have seen it, and the kernel says it once. Not here: who reads, and when it ends (fs.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inner.h"
#include "stemma_fs/handover.h"

struct stm_current *stm_current(void)
{
    static _Thread_local struct stm_current c;

    return &c;
}

/* ---- reading and answering ---- */

static void record_init(struct stm_handover *h, const void *request, size_t len)
{
    if (h == NULL || len > sizeof h->init || stm_handover_begun(h))
        return;
    memcpy(h->init, request, len);
    atomic_store(&h->init_len, (uint32_t)len);
}

static void see_init(struct stm_fs *fs, const struct fuse_in_header *in)
{
    const struct fuse_init_in *init = (const void *)(in + 1);

    fs->killpriv = init->flags & FUSE_HANDLE_KILLPRIV_V2;
    atomic_store(&fs->init_unique, in->unique);
}

static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
    struct stm_fs *fs = userdata;
    ssize_t n = read(fd, buf, len);

    if (n < (ssize_t)sizeof(struct fuse_in_header))
        return n;
    struct fuse_in_header *in = buf;
    if (in->opcode == FUSE_TMPFILE)
        in->opcode = FUSE_CREATE; /* which this libfuse knows: same layout, and the name "/", which no file can have (open.c) */
    *stm_current() = (struct stm_current){.unique = in->unique, .opcode = in->opcode, .node = in->nodeid};
    atomic_fetch_add_explicit(&fs->requests, 1, memory_order_relaxed);
    if (in->opcode == FUSE_INIT && n >= (ssize_t)(sizeof *in + sizeof(struct fuse_init_in))) {
        record_init(fs->opt.handover, buf, (size_t)n);
        see_init(fs, in);
    }
    return n;
}

/* The reply of an earlier daemon is what the kernel goes by. It is recorded before it is sent: a daemon that dies between has not mounted. */
static int settle_init(struct stm_fs *fs, const struct fuse_out_header *head, const struct fuse_init_out *out)
{
    struct stm_handover *h = fs->opt.handover;
    unsigned char reply[sizeof *head + sizeof *out];

    if (h == NULL)
        return 0;
    memcpy(reply, head, sizeof *head);
    memcpy(reply + sizeof *head, out, sizeof *out);
    if (fs->replaying)
        return atomic_load(&h->reply_len) == sizeof reply && memcmp(h->reply, reply, sizeof reply) == 0 ? 1 : -EPROTO;
    memcpy(h->reply, reply, sizeof reply);
    atomic_store(&h->reply_len, sizeof reply);
    return 0;
}

/*
 * The set-id bits and security.capability of a written file are taken off here (stm_draft_unprivilege). Told so, the kernel does not ask for
 * security.capability before each write, which would halve the speed of small writes. This libfuse has no name for the flag.
 */
static ssize_t write_init(struct stm_fs *fs, int fd, struct iovec *iov, int count)
{
    const struct fuse_out_header *head = iov[0].iov_base;
    struct fuse_init_out out;

    if (head->error != 0 || count != 2 || iov[1].iov_len != sizeof out) {
        fs->replayed = -EPROTO;
        return fs->replaying ? (ssize_t)head->len : writev(fd, iov, count);
    }
    memcpy(&out, iov[1].iov_base, sizeof out);
    if (fs->killpriv)
        out.flags |= FUSE_HANDLE_KILLPRIV_V2;
    fs->replayed = settle_init(fs, head, &out);
    if (fs->replaying)
        return (ssize_t)head->len;
    struct iovec both[2] = {iov[0], {&out, sizeof out}};
    return writev(fd, both, 2);
}

static ssize_t write_answer(int fd, struct iovec *iov, int count, void *userdata)
{
    struct stm_fs *fs = userdata;
    const struct fuse_out_header *head = iov[0].iov_base;
    uint64_t unique = atomic_load_explicit(&fs->init_unique, memory_order_relaxed);

    if (unique == 0 || head->unique != unique)
        return writev(fd, iov, count);
    atomic_store(&fs->init_unique, 0);
    return write_init(fs, fd, iov, count);
}

void stm_connection_refuse(struct stm_fs *fs, uint64_t unique, uint32_t opcode)
{
    struct fuse_out_header out = {.len = sizeof out, .error = -EIO, .unique = unique};

    if (opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT)
        (void)!write(fuse_session_fd(fs->session), &out, sizeof out);
}

/* ---- sessions ---- */

/* A comma or backslash in the name must not end the option. */
static char *escape(const char *name)
{
    char *text = calloc(2, strlen(name) + 1), *to = text;

    for (; text && *name; name++) {
        if (*name == ',' || *name == '\\')
            *to++ = '\\';
        *to++ = *name;
    }
    return text;
}

int stm_session_new(const struct stm_session_setup *s, struct fuse_session **ret)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    char *options = NULL, *name = escape(s->fsname ? s->fsname : "stemma");
    const struct stm_fs_options *o = s->opt;
    int err = -ENOMEM;

    if (name && asprintf(&options, "default_permissions,subtype=stemma,fsname=%s%s%s%s", name, o->allow_other ? ",allow_other" : "",
                         o->read_only ? ",ro" : "", o->noexec ? ",noexec" : "") < 0)
        options = NULL;
    if (options && fuse_opt_add_arg(&args, "stemma") == 0 && fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, options) == 0 &&
        (!o->debug || fuse_opt_add_arg(&args, "-d") == 0)) {
        *ret = fuse_session_new(&args, s->ops, s->size, s->userdata);
        err = *ret ? 0 : -EIO;
    }
    fuse_opt_free_args(&args);
    free(options);
    free(name);
    return err;
}

static const struct fuse_custom_io io = {.writev = write_answer, .read = read_request};

int stm_fs_mount(struct stm_fs *fs, const char *dir)
{
    fs->mountpoint = realpath(dir, NULL);
    if (!fs->mountpoint)
        return -errno;
    errno = 0;
    if (fuse_session_mount(fs->session, dir) < 0)
        return errno > 0 ? -errno : -EIO;
    int err = fuse_session_custom_io(fs->session, &io, fuse_session_fd(fs->session));
    if (err < 0) {
        fuse_session_unmount(fs->session);
        return err;
    }
    atomic_store(&fs->mounted, true);
    return 0;
}

/* libfuse sees the INIT that the kernel sent to the first daemon; what it answers must be what the kernel was told then. */
static int replay(struct stm_fs *fs)
{
    struct stm_handover *h = fs->opt.handover;
    uint32_t len = atomic_load(&h->init_len);
    _Alignas(8) unsigned char request[STM_HANDOVER_INIT];
    struct fuse_buf buf = {.mem = request, .size = len};
    const struct fuse_in_header *in = (const void *)request;

    if (len > sizeof request || len < sizeof *in + sizeof(struct fuse_init_in))
        return -EPROTO;
    memcpy(request, h->init, len);
    fs->replaying = true;
    fs->replayed = 0;
    *stm_current() = (struct stm_current){.unique = in->unique, .opcode = in->opcode};
    see_init(fs, in);
    fuse_session_process_buf(fs->session, &buf);
    fs->replaying = false;
    return fs->replayed == 1 ? 0 : -EPROTO;
}

int stm_fs_adopt(struct stm_fs *fs, int fd, const char *dir)
{
    /* The mount point is not looked at: nobody answers there yet. */
    fs->mountpoint = strdup(dir);
    if (!fs->mountpoint)
        return -ENOMEM;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -errno;
    int err = fuse_session_custom_io(fs->session, &io, own);
    if (err < 0) {
        close(own);
        return err;
    }
    fs->adopted = true;
    if (stm_handover_begun(fs->opt.handover))
        err = replay(fs);
    if (err == 0)
        atomic_store(&fs->mounted, true);
    return err;
}

/* libfuse would complain on stderr that there is no such mount any more. */
static void say_nothing(enum fuse_log_level level, const char *fmt, va_list ap)
{
    (void)level;
    (void)fmt;
    (void)ap;
}

void stm_connection_end(struct stm_fs *fs)
{
    if (!fs->session)
        return;
    if (fs->detached)
        fuse_set_log_func(say_nothing);
    if (!fs->adopted)
        fuse_session_unmount(fs->session);
    if (fs->detached)
        fuse_set_log_func(NULL);
    fuse_session_destroy(fs->session);
}

/* ---- for who holds the connection (handover.h) ---- */

int stm_connection_mount(const struct stm_fs_options *opt, const char *dir, int *ret_fd)
{
    static const struct fuse_lowlevel_ops none;
    struct fuse_session *session;
    int err = stm_session_new(&(struct stm_session_setup){.opt = opt, .fsname = opt->fsname, .ops = &none, .size = sizeof none}, &session);

    if (err < 0)
        return err;
    errno = 0;
    if (fuse_session_mount(session, dir) < 0) {
        err = errno > 0 ? -errno : -EIO;
    } else {
        *ret_fd = fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 0);
        err = *ret_fd < 0 ? -errno : 0;
        if (err < 0)
            fuse_session_unmount(session);
    }
    fuse_session_destroy(session);
    return err;
}

int stm_connection_resend(int fd)
{
    enum { NOTIFY_RESEND = 7 }; /* the system's header may be older than the kernel */
    struct fuse_out_header out = {.len = sizeof out, .error = NOTIFY_RESEND};

    return write(fd, &out, sizeof out) < 0 ? -errno : 0;
}

bool stm_connection_gone(int fd)
{
    struct pollfd p = {.fd = fd};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLNVAL)) != 0;
}

void stm_connection_detach(const char *dir)
{
    char *argv[] = {(char[]){"fusermount3"}, (char[]){"-uqz"}, (char[]){"--"}, (char *)dir, NULL};
    char *envp[] = {NULL};
    pid_t pid;
    int status;

    if (umount2(dir, MNT_DETACH) == 0 || errno != EPERM)
        return;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, envp) == 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
}
