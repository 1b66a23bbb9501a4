/*
 * server.h: the daemon's socket, STORE/socket: takes requests (service.h) and runs each on a thread of its own. Only the daemon's user and
 * root are served; everybody else gets a sentence. Whatever a client sends or stops sending, the daemon goes on.
 *
 *     err = stm_server_new(path, &env, &server);
 *     ...
 *     stm_server_stop(server);                  // no requests run after this
 *     ... the filesystem and the store are closed ...
 *     stm_server_free(server, code);            // those who wait for the end hear of it
 *
 * Besides services there is the request "wait": it is answered READY at once and EXIT by stm_server_free; so `stemma umount` learns that
 * everything is safe.
 *
 * Invariants: (1) at most STM_SERVER_MAX requests run at a time; others wait their turn, and are told to come back after 10 s;
 * (2) a request's frame must arrive whole within 30 s, however it drips in, and have at most
 * STM_WIRE_REQUEST_MAX bytes; (3) at most 64 clients wait for the end, not counting those who have hung up.
 * Thread-safety: new, stop and free by one thread.
 */
#ifndef STEMMA_SERVER_H
#define STEMMA_SERVER_H

#include "service.h"

enum { STM_SERVER_MAX = 16 };

struct stm_server;

/* env: what services work with; caller and out are filled in for each. Copied; what it points to is borrowed until stop. */
STM_MUST_CHECK int stm_server_new(const char *store, const struct stm_env *env, struct stm_server **ret);
/* Closes the socket and the connections of running requests, and waits for them. NULL is fine. */
void stm_server_stop(struct stm_server *s);
/* After stop: answers those who wait with the code, frees. NULL is fine. */
void stm_server_free(struct stm_server *s, int code);

#endif
