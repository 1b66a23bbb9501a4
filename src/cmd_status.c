/* cmd_status.c: `stemma status`: is the store mounted, how much is in it, how does its daemon feel. */
#include "client.h"
#include "command.h"
#include "scrubber.h"

#include "stemma/health.h"
#include "stemma_fs/fs.h"
#include "stemma_fs/handover.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct status {
    struct stm_store_stats store;
    struct stm_health health;
    struct stm_fs_stats fs;
    struct stm_scrubber_status scrub;
};

/* 12345678 -> "11.8 MiB" */
static void size_text(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    snprintf(out, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static json_t *fs_json(const struct stm_fs_stats *f)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "requests", (json_int_t)f->requests, "errors", (json_int_t)f->errors,
                     "drafts", (json_int_t)f->drafts, "draft_bytes", (json_int_t)f->draft_bytes, "pending", (json_int_t)f->pending,
                     "virtual_nodes", (json_int_t)f->virtual_nodes, "invalidations", (json_int_t)f->invalidations, "open_handles",
                     (json_int_t)f->open_handles);
}

/* "health" is one word; why, and since when, are beside it unless it is good. */
static int add_health(json_t *object, const struct stm_health *h)
{
    char since[32];

    stm_time_format(h->since_ns, since);
    if (json_object_set_new(object, "health", json_string(stm_health_word(h->state))) < 0)
        return -1;
    if (h->state == STM_HEALTH_GOOD)
        return 0;
    return json_object_set_new(object, "health_error", json_string(stm_error_text(h->error))) < 0 ||
                   json_object_set_new(object, "health_missing_bytes", json_integer((json_int_t)h->missing)) < 0 ||
                   json_object_set_new(object, "health_reason", json_string(stm_health_reason(h))) < 0 ||
                   json_object_set_new(object, "health_since", json_string(since)) < 0
               ? -1
               : 0;
}

static json_t *scrub_json(const struct stm_scrubber_status *s)
{
    char completed[32];

    stm_time_format(s->completed_ns, completed);
    return json_pack("{s:i, s:b, s:I, s:I, s:I, s:I, s:o}", "mib_s", (int)s->mib_s, "running", s->running, "bytes", (json_int_t)s->bytes,
                     "findings", (json_int_t)s->findings, "healed", (json_int_t)s->healed, "passes", (json_int_t)s->passes, "completed",
                     s->completed_ns == 0 ? json_null() : json_string(completed));
}

/* Who serves the mount, and what became of those before. */
static int add_processes(json_t *object, const struct stm_handover *h)
{
    int64_t died_ns = h == NULL ? 0 : atomic_load(&h->died_ns);
    json_t *death = json_null();
    char when[32];
    int err;

    if (died_ns != 0) {
        stm_time_format(died_ns, when);
        death = json_pack("{s:s, s:o}", "time", when, "cause", stm_json_text(stm_slice_str(h->cause)));
    }
    err = json_object_set_new(object, "daemon_pid", json_integer(getpid()));
    err |= json_object_set_new(object, "supervisor_pid", h == NULL ? json_null() : json_integer(atomic_load(&h->supervisor)));
    err |= json_object_set_new(object, "handover", json_boolean(h != NULL && stm_handover_possible(h)));
    err |= json_object_set_new(object, "daemons", json_integer(h == NULL ? 1 : atomic_load(&h->daemons)));
    err |= json_object_set_new(object, "restarts", json_integer(h == NULL ? 0 : atomic_load(&h->deaths)));
    err |= json_object_set_new(object, "failed_upgrades", json_integer(h == NULL ? 0 : atomic_load(&h->failed_upgrades)));
    err |= json_object_set_new(object, "last_death", death);
    return err;
}

static json_t *store_json(const struct stm_env *env, const struct stm_store_stats *s)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "store",
                     stm_json_text(stm_slice_str(stm_store_path(env->store))), "uuid", stm_store_uuid(env->store), "engine", s->engine,
                     "version", STEMMA_VERSION, "seq", (json_int_t)s->seq, "ids_used", (json_int_t)s->objects_allocated, "bytes_on_disk",
                     (json_int_t)s->bytes_on_disk, "keys", (json_int_t)s->keys_estimate, "engine_memory_bytes",
                     (json_int_t)s->engine_memory_bytes, "cache_hits", (json_int_t)s->cache_hits, "cache_misses",
                     (json_int_t)s->cache_misses, "cache_bytes", (json_int_t)s->cache_bytes, "commits", (json_int_t)s->commits, "groups",
                     (json_int_t)s->groups, "conflicts", (json_int_t)s->conflicts, "degraded", s->degraded, "read_only",
                     env->read_only || s->read_only);
}

static int print_json(const struct stm_env *env, const struct status *s)
{
    char since[32];
    json_t *object = store_json(env, &s->store);

    stm_time_format(env->since_ns, since);
    if (object != NULL && add_health(object, &s->health) < 0)
        goto fail;
    if (object != NULL && json_object_set_new(object, "mounted", json_boolean(env->fs != NULL)) < 0)
        goto fail;
    if (object != NULL && env->fs != NULL &&
        (json_object_set_new(object, "dir", stm_json_text(stm_slice_str(env->mount_dir))) < 0 ||
         json_object_set_new(object, "pid", json_integer(getpid())) < 0 || json_object_set_new(object, "since", json_string(since)) < 0 ||
         json_object_set_new(object, "fs", fs_json(&s->fs)) < 0 || json_object_set_new(object, "scrub", scrub_json(&s->scrub)) < 0 ||
         add_processes(object, env->handover) < 0))
        goto fail;
    return stm_json_print(env->out, object);
fail:
    json_decref(object);
    return stm_out_fail(env->out, STM_EXIT_FAILED, "out of memory");
}

static void print_processes(const struct stm_env *env)
{
    const struct stm_handover *h = env->handover;
    char when[32];

    if (h == NULL) {
        stm_out_print(env->out, "daemon      process %d, without a supervisor: the mount ends with it\n", (int)getpid());
        return;
    }
    stm_out_print(env->out, "daemon      process %d, supervised by process %d%s\n", (int)getpid(), (int)atomic_load(&h->supervisor),
                  stm_handover_possible(h) ? "" : "; this kernel cannot hand a mount over, so it ends with its daemon");
    if (atomic_load(&h->deaths) == 0)
        return;
    stm_time_format(atomic_load(&h->died_ns), when);
    stm_out_print(env->out, "restarts    %u, the last at %s: %s\n", atomic_load(&h->deaths), when, h->cause);
}

static void print_mount(const struct stm_env *env, const struct stm_fs_stats *f)
{
    char since[32], drafts[32];

    stm_time_format(env->since_ns, since);
    size_text(f->draft_bytes, drafts, sizeof(drafts));
    stm_out_print(env->out, "mounted     on %s since %s%s\n", env->mount_dir, since, env->read_only ? ", read-only" : "");
    print_processes(env);
    stm_out_print(env->out, "requests    %llu, of which %llu failed\n", (unsigned long long)f->requests, (unsigned long long)f->errors);
    stm_out_print(env->out, "writing     %llu files open for it, %llu being written (%s in memory), %llu saved and not yet seen\n",
                  (unsigned long long)f->open_handles, (unsigned long long)f->drafts, drafts, (unsigned long long)f->pending);
}

static void print_scrub(const struct stm_env *env, const struct stm_scrubber_status *s)
{
    char read[32], completed[32];

    size_text(s->bytes, read, sizeof(read));
    stm_time_format(s->completed_ns, completed);
    stm_out_print(env->out, "scrub       %s%s%s%s%s, %llu damaged\n", s->running ? "reading, " : "", s->running ? read : "",
                  s->running ? " so far; " : "", s->completed_ns == 0 ? "not complete yet" : "last complete ",
                  s->completed_ns == 0 ? "" : completed, (unsigned long long)s->findings);
}

static int print_text(const struct stm_env *env, const struct status *s)
{
    char disk[32], memory[32], since[32];

    size_text(s->store.bytes_on_disk, disk, sizeof(disk));
    size_text(s->store.engine_memory_bytes + s->store.cache_bytes, memory, sizeof(memory));
    stm_out_print(env->out, "store       %s\n", stm_store_path(env->store));
    if (env->fs != NULL)
        print_mount(env, &s->fs);
    else
        stm_out_print(env->out, "mounted     no\n");
    stm_out_print(env->out, "commits     %llu\n", (unsigned long long)s->store.seq);
    stm_out_print(env->out, "ids used    %llu\n", (unsigned long long)s->store.objects_allocated);
    stm_out_print(env->out, "on disk     %s (%s)\n", disk, s->store.engine);
    stm_out_print(env->out, "in memory   %s\n", memory);
    if (s->scrub.mib_s > 0)
        print_scrub(env, &s->scrub);
    stm_out_print(env->out, "health      %s", stm_health_word(s->health.state));
    if (s->health.state != STM_HEALTH_GOOD) {
        stm_time_format(s->health.since_ns, since);
        stm_out_print(env->out, " since %s: %s (%s)", since, stm_health_reason(&s->health), stm_error_text(s->health.error));
        size_text(s->health.missing, disk, sizeof(disk));
        if (s->health.missing > 0)
            stm_out_print(env->out, "; %s more must be free", disk);
    }
    stm_out_print(env->out, "\n");
    return STM_EXIT_OK;
}

int stm_status_service(const struct stm_env *env, const json_t *request)
{
    struct status s = {0};
    int err = stm_store_stats(env->store, &s.store);

    if (err < 0)
        return stm_out_error(env->out, err, "%s", stm_store_path(env->store));
    stm_store_health(env->store, &s.health);
    if (env->fs != NULL)
        stm_fs_stats(env->fs, &s.fs);
    stm_scrubber_status(env->scrubber, &s.scrub);
    return stm_request_flag(request, "json") ? print_json(env, &s) : print_text(env, &s);
}

static int run(const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    struct stm_resource r = {0};
    char *why = NULL;
    int code = stm_resource_parse_store(args->operand[0], &r, &why);

    if (code != 0)
        code = stm_out_fail(&out, code, "%s", why != NULL ? why : "out of memory");
    else if (r.mount != NULL && stm_client_daemon_gone(r.store))
        code = stm_out_fail(&out, STM_EXIT_FAILED,
                            "%s has lost its daemon; what was closed is safe. Clear the mount with 'stemma umount %s'", r.mount, r.mount);
    else
        code = stm_client_run("status", &r, args, &out);
    free(why);
    stm_resource_release(&r);
    return stm_out_end(&out, code);
}

static const struct stm_param options[] = {STM_OPTION_HELP, STM_OPTION_JSON("one JSON object"), STM_OPTION_END};

const struct stm_command stm_cmd_status = {
    .name = "status",
    .operands = "[--json] (DIR | STORE)",
    .summary = "tell whether and where a store is mounted, and how it is",
    .text = "DIR is a mount point or anything in it, STORE a store's directory.",
    .examples = "  stemma status ./mnt\n"
                "  stemma status --json ./var/store | jq .bytes_on_disk\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
