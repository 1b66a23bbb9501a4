/*
 * client.h: running a request where the store is: in its daemon when it is mounted, else here, on the store opened for it.
 *
 *     json_t *q = stm_request_new("log", &r);
 *     code = stm_client_call(r.store, q, &out);
 *
 * The daemon's last frame is {"code": N}, N an exit code; sentences came before it.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_CLIENT_H
#define STEMMA_CLIENT_H

#include "service.h"

/* Runs the request (and drops the reference; NULL is reported as lack of memory). Prints through out; returns an exit code. */
int stm_client_call(const char *store, json_t *request, struct stm_out *out);

/* The whole of a command about one path: parses it, makes the request (with "json" if asked), runs it. Returns an exit code. */
struct stm_args;
int stm_run_on_path(const char *command, const char *path, const struct stm_args *args);
/* The same from a parsed path on. */
int stm_client_run(const char *command, const struct stm_resource *r, const struct stm_args *args, struct stm_out *out);

/* Opens the store here, for writing or not; waits a little for a lock that is just being given up. 0, or a sentence and an exit code. */
int stm_client_open(const char *store, bool writes, struct stm_out *out, struct stm_store **ret);
/* The same as one likes it; opt->path must be given. */
STM_MUST_CHECK int stm_client_open_as(const struct stm_store_options *opt, struct stm_out *out, struct stm_store **ret);

/*
 * Connects to the daemon of a store. The descriptor; -ENOENT when there is none (not mounted); -EACCES when it is somebody else's; -EINVAL
 * for a store in memory; others: I/O. The socket's path may be longer than its address can hold.
 */
STM_MUST_CHECK int stm_client_connect(const char *store);
/*
 * The same, but waits while a supervisor is about to start a daemon: then the store must not be opened here, since the kernel knows things of
 * it. -ETIMEDOUT: none came to serve.
 */
STM_MUST_CHECK int stm_client_reach(const char *store);
/* The process that has the store open; 0 when there is none, or the lock may not be read. */
int stm_client_holder(const char *store);
/* Does nobody serve the store, nor will? (A mount stays when its last process was killed.) False when that cannot be told. */
bool stm_client_daemon_gone(const char *store);
/* Says what such an error of stm_client_connect means; returns the exit code. */
int stm_client_no_daemon(const char *store, int err, struct stm_out *out);
/* Sends a request (the reference stays the caller's). */
STM_MUST_CHECK int stm_client_send(int fd, const json_t *request);
/*
 * Passes OUT and ERR frames on until the EXIT frame, and returns its code; with until_ready it also ends at a READY frame, with -EAGAIN.
 * -EPIPE when the daemon went away before; -ECONNRESET when it had not said anything at all.
 */
STM_MUST_CHECK int stm_client_receive(int fd, bool until_ready, struct stm_out *out);

/* An address for STORE/socket through an open descriptor of the directory, which *ret_dir is and the caller closes. 0 or -errno. */
struct sockaddr_un;
STM_MUST_CHECK int stm_socket_address(const char *store, struct sockaddr_un *ret, int *ret_dir);

#endif
