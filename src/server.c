/* server.c: the daemon's socket (server.h). Not here: what a request does (service.h), and how frames look (wire.h). */
#include "server.h"

#include "client.h"
#include "log.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_TIMEOUT_S = 30, TURN_TIMEOUT_S = 10, BACKLOG = 128, WAITERS_MAX = 64 };

struct connection {
    struct stm_server *server;
    struct connection *next;
    int fd; /* changed under the server's lock only; -1: not the connection's any more */
    struct ucred peer;
    struct stm_wire_frame frame; /* the thread's own */
};

struct stm_server {
    /* immutable after new */
    struct stm_env env;
    char *path;
    int listener, wake;
    pthread_t thread;
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct connection *connections;
    int count; /* of threads */
    bool stopping;
    int waiters[WAITERS_MAX];
    int waiting;
};

/* ---- answering ---- */

static bool has_hung_up(int fd, short how)
{
    struct pollfd p = {.fd = fd, .events = how};

    return poll(&p, 1, 0) == 1 && (p.revents & (how | POLLHUP | POLLERR)) != 0;
}

/* Nothing to send is how a request that takes long asks whether it should go on: not when the client has gone, or the daemon ends. */
static int send_channel(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    const struct connection *c = arg;

    if (len == 0)
        return has_hung_up(c->fd, 0) ? -EPIPE : 0;
    return stm_wire_send_all(c->fd, channel == STM_CHANNEL_OUT ? STM_WIRE_OUT : STM_WIRE_ERR, data, len);
}

static void send_exit(int fd, int code)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "{\"code\":%d}", code);

    (void)!stm_wire_send(fd, STM_WIRE_EXIT, text, (size_t)len);
}

/* ---- an import's stream ---- */

static int send_ready(void *arg)
{
    struct connection *c = arg;

    return stm_wire_send(c->fd, STM_WIRE_READY, NULL, 0);
}

static int next_data(void *arg, struct stm_slice *ret)
{
    struct connection *c = arg;
    int got = stm_wire_recv(c->fd, STM_WIRE_MAX, &c->frame);

    if (got < 0)
        return got;
    if (got == 1 && c->frame.type == STM_WIRE_END)
        return 0;
    if (got == 0 || c->frame.type != STM_WIRE_DATA)
        return -EPROTO;
    *ret = stm_buf_slice(&c->frame.payload);
    return 1;
}

/* ---- one connection ---- */

/* Those who wait and have hung up need no place any more. */
static void drop_gone_locked(struct stm_server *s)
{
    for (int i = 0; i < s->waiting;) {
        if (has_hung_up(s->waiters[i], POLLRDHUP)) {
            close(s->waiters[i]);
            s->waiters[i] = s->waiters[--s->waiting];
        } else {
            i++;
        }
    }
}

/* Keeps the connection until the daemon's end: c->fd is no longer the thread's then. */
static int start_waiting(struct connection *c, struct stm_out *out)
{
    struct stm_server *s = c->server;
    int fd = c->fd;
    bool kept;

    pthread_mutex_lock(&s->lock);
    drop_gone_locked(s);
    kept = s->waiting < WAITERS_MAX;
    if (kept) {
        s->waiters[s->waiting++] = fd;
        c->fd = -1;
        (void)!stm_wire_send(fd, STM_WIRE_READY, NULL, 0); /* never blocks: it is the first that is sent */
    }
    pthread_mutex_unlock(&s->lock);
    return kept ? 0 : stm_out_fail(out, STM_EXIT_BUSY, "too many are waiting for the daemon's end already");
}

static int run_request(struct connection *c, struct stm_out *out)
{
    struct stm_env env = c->server->env;
    json_t *request = json_loadb((const char *)c->frame.payload.data, c->frame.payload.len, JSON_REJECT_DUPLICATES, NULL);
    const char *name = json_string_value(json_object_get(request, "command"));
    const struct stm_service *service = stm_service_find(name);
    int code;

    env.caller = (struct stm_caller){c->peer.uid, c->peer.gid, (uint32_t)c->peer.pid};
    env.out = out;
    env.next_data = next_data;
    env.ready = send_ready;
    env.arg = c;
    if (name != NULL && strcmp(name, "wait") == 0)
        code = start_waiting(c, out);
    else if (service != NULL)
        code = service->run(&env, request);
    else
        code = stm_out_fail(out, STM_EXIT_USAGE, "the daemon (version %s) does not know that request: are both of the same version?",
                            STEMMA_VERSION);
    json_decref(request);
    return code;
}

static void converse(struct connection *c)
{
    struct stm_out out = {.write = send_channel, .arg = c};
    int got, code;

    got = stm_wire_recv_within(c->fd, STM_WIRE_REQUEST_MAX, REQUEST_TIMEOUT_S * 1000, &c->frame);
    if (got == 0)
        return;
    if (got == 1 && c->frame.type == STM_WIRE_REQUEST)
        code = run_request(c, &out);
    else
        code = stm_out_fail(&out, STM_EXIT_USAGE, "that is no request");
    (void)stm_out_release(&out);
    if (c->fd >= 0)
        send_exit(c->fd, code);
}

static bool may_ask(const struct ucred *peer)
{
    return peer->uid == 0 || peer->uid == geteuid();
}

/* Refuses with a sentence. Never blocks: a fresh socket has room for it. */
static void refuse(int fd, int code, const char *sentence)
{
    (void)!stm_wire_send(fd, STM_WIRE_ERR, sentence, strlen(sentence));
    send_exit(fd, code);
}

static void *connection_thread(void *arg)
{
    struct connection *c = arg, **at;
    struct stm_server *s = c->server;
    int fd = c->fd;

    converse(c);
    stm_wire_frame_release(&c->frame);
    pthread_mutex_lock(&s->lock);
    for (at = &s->connections; *at != c; at = &(*at)->next)
        ;
    *at = c->next;
    if (c->fd >= 0)
        close(fd);
    s->count--;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    free(c);
    return NULL;
}

/* Waits until a request may start, with the lock held; false when none may. Those who come later wait in the socket's queue. */
static bool wait_for_turn(struct stm_server *s)
{
    struct timespec until;
    int err = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TURN_TIMEOUT_S;
    while (s->count >= STM_SERVER_MAX && !s->stopping && err == 0)
        err = pthread_cond_clockwait(&s->idle, &s->lock, CLOCK_MONOTONIC, &until);
    return s->count < STM_SERVER_MAX && !s->stopping;
}

/* Gives the descriptor a thread; false when it cannot have one (the caller closes it). */
static bool start_connection(struct stm_server *s, int fd, const struct ucred *peer)
{
    struct connection *c = calloc(1, sizeof(*c));
    pthread_attr_t detached;
    pthread_t thread;
    bool started = false;

    if (c == NULL)
        return false;
    *c = (struct connection){.server = s, .fd = fd, .peer = *peer};
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&s->lock);
    if (wait_for_turn(s) && pthread_create(&thread, &detached, connection_thread, c) == 0) {
        c->next = s->connections;
        s->connections = c;
        s->count++;
        started = true;
    }
    pthread_mutex_unlock(&s->lock);
    pthread_attr_destroy(&detached);
    if (!started)
        free(c);
    return started;
}

static void take_connection(struct stm_server *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (fd < 0)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        close(fd);
        return;
    }
    if (!may_ask(&peer)) {
        stm_log(STM_FS_WARNING, "request_refused", "uid=%u pid=%d reason=\"only the daemon's user and root may ask\"", peer.uid,
                (int)peer.pid);
        refuse(fd, STM_EXIT_FAILED, "stemma: only root and the user who mounted the store may ask its daemon\n");
        close(fd);
        return;
    }
    if (!start_connection(s, fd, &peer)) {
        refuse(fd, STM_EXIT_BUSY, "stemma: the daemon is busy with other requests: try again in a moment\n");
        close(fd);
    }
}

static void *listen_thread(void *arg)
{
    struct stm_server *s = arg;
    struct pollfd fds[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->wake, .events = POLLIN}};

    for (;;) {
        int n = poll(fds, 2, -1);

        if (n < 0 && errno != EINTR)
            break;
        if (n > 0 && fds[1].revents != 0)
            break;
        if (n > 0 && fds[0].revents != 0)
            take_connection(s);
    }
    return NULL;
}

/* ---- life ---- */

/* The store's lock is ours, so a socket that is there is a dead daemon's. */
static int listen_at(const char *store)
{
    struct sockaddr_un address;
    int dir, fd, err = stm_socket_address(store, &address, &dir);

    if (err < 0)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        (void)unlinkat(dir, "socket", 0);
    if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
        err = -errno;
    close(dir);
    if (err < 0 && fd >= 0)
        close(fd);
    return err < 0 ? err : fd;
}

int stm_server_new(const char *store, const struct stm_env *env, struct stm_server **ret)
{
    struct stm_server *s = calloc(1, sizeof(*s));
    int err;

    if (s == NULL)
        return -ENOMEM;
    s->env = *env;
    s->path = strdup(store);
    s->wake = eventfd(0, EFD_CLOEXEC);
    s->listener = s->path == NULL ? -ENOMEM : listen_at(store);
    err = s->listener < 0 ? s->listener : s->wake < 0 ? -EMFILE : 0;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    if (err == 0)
        err = -pthread_create(&s->thread, NULL, listen_thread, s);
    if (err < 0) {
        if (s->listener >= 0)
            close(s->listener);
        s->listener = -1;
        stm_server_free(s, 0);
        return err;
    }
    *ret = s;
    return 0;
}

void stm_server_stop(struct stm_server *s)
{
    uint64_t one = 1;
    int dir;

    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    (void)!write(s->wake, &one, sizeof(one));
    pthread_join(s->thread, NULL);
    close(s->listener);
    s->listener = -1;
    dir = open(s->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        (void)unlinkat(dir, "socket", 0);
        close(dir);
    }
    pthread_mutex_lock(&s->lock);
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->fd >= 0)
            (void)shutdown(c->fd, SHUT_RDWR);
    }
    while (s->count > 0)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void stm_server_free(struct stm_server *s, int code)
{
    if (s == NULL)
        return;
    for (int i = 0; i < s->waiting; i++) {
        send_exit(s->waiters[i], code);
        close(s->waiters[i]);
    }
    if (s->wake >= 0)
        close(s->wake);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}
