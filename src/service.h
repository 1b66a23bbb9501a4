/*
 * service.h: what a command does to a store, as functions that run alike in the command (on a store it opened) and in the daemon
 * (asked through the socket): one implementation each. A request is a JSON object: {"command": NAME, "path": ..., ...}.
 *
 *     json_t *q = stm_request_new("log", &resource);
 *     code = stm_client_call(resource.store, q, &out);      // client.h: finds out where to run it
 *
 * Bytes that need not be UTF-8 (paths) travel percent-encoded in JSON strings: stm_request_set and stm_request_get do that.
 * Thread-safety: immutable; services run in several threads of the daemon at a time.
 */
#ifndef STEMMA_SERVICE_H
#define STEMMA_SERVICE_H

#include "exit.h"
#include "out.h"
#include "resource.h"
#include "stemma/version.h"

#include <jansson.h>

struct stm_fs;
struct stm_scrubber;
struct stm_handover;

/* Who asks. */
struct stm_caller {
    uint32_t uid, gid, pid;
};

/* What a service works with. All borrowed. */
struct stm_env {
    struct stm_store *store;
    struct stm_fs *fs;             /* NULL: not mounted */
    const char *mount_dir;         /* of the mount, or NULL */
    int64_t since_ns;              /* when it was mounted */
    bool read_only;                /* nothing may be changed */
    struct stm_handover *handover; /* NULL: not supervised */
    struct stm_scrubber *scrubber; /* NULL: there is none */
    struct stm_caller caller;
    struct stm_out *out;
    /* An import's stream (daemon only): one piece. 1, 0 at its end, or an error. The bytes live until the next call. */
    int (*next_data)(void *arg, struct stm_slice *ret);
    /* Tells the client to start streaming; then next_data gives it. */
    int (*ready)(void *arg);
    void *arg;
};

struct stm_service {
    const char *name;
    bool writes;                                                  /* needs the store open for writing */
    int (*run)(const struct stm_env *env, const json_t *request); /* returns an exit code */
};
/* NULL when there is none of that name. */
const struct stm_service *stm_service_find(const char *name);

int stm_status_service(const struct stm_env *env, const json_t *request);
int stm_log_service(const struct stm_env *env, const json_t *request);
int stm_show_service(const struct stm_env *env, const json_t *request);
int stm_restore_service(const struct stm_env *env, const json_t *request);
int stm_import_service(const struct stm_env *env, const json_t *request);
int stm_upgrade_service(const struct stm_env *env, const json_t *request);
int stm_fsck_service(const struct stm_env *env, const json_t *request);

/* ---- requests ---- */

/* NULL: no memory. Owned by the caller (json_decref). */
json_t *stm_request_new(const char *command, const struct stm_resource *r);
STM_MUST_CHECK int stm_request_set(json_t *request, const char *key, struct stm_slice bytes);
/* malloc'd, zero-terminated. -ENOENT when it is not there, -EINVAL when it is no valid text or holds a zero byte. */
STM_MUST_CHECK int stm_request_get(const json_t *request, const char *key, char **ret);
bool stm_request_flag(const json_t *request, const char *key);

/* Text for JSON output: bytes that are no UTF-8 become U+FFFD. NULL: no memory. */
json_t *stm_json_text(struct stm_slice bytes);
/* Prints the object on one line, and drops the reference (NULL: prints an error). Returns an exit code. */
int stm_json_print(struct stm_out *out, json_t *object);

/* Appends bytes as text: what is not printable ASCII, and '%', as %XX; and back. -EINVAL for a bad escape. */
STM_MUST_CHECK int stm_percent_encode(struct stm_slice bytes, struct stm_buf *ret);
STM_MUST_CHECK int stm_percent_decode(const char *text, struct stm_buf *ret);

/* ---- finding what a path means ---- */

struct stm_located {
    struct stm_view view;
    uint64_t parent;             /* 0 for the root itself */
    char name[STM_NAME_MAX + 1]; /* without the selector */
    struct stm_object object;
    bool removed;  /* the name is gone; object is what had it */
    bool selected; /* a selector was given: */
    struct stm_selector sel;
};

/* Finds the request's "path" (at its "seq"). 0; or prints a sentence and returns an exit code. Seals what is pending there. */
STM_MUST_CHECK int stm_locate(const struct stm_env *env, const json_t *request, struct stm_located *ret);
/* The version that was located: the selected one, else the newest. Same results. Release it with stm_version_release. */
STM_MUST_CHECK int stm_locate_version(const struct stm_env *env, const struct stm_located *at, struct stm_version *ret);

#endif
