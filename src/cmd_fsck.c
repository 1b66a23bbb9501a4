/*
 * cmd_fsck.c: `stemma fsck`: checks a store and repairs it, mounted or not. What is checked, and how it is mended, is the store's
 * (stemma/fsck.h); here it is asked for, told, and the kernel hears of what changes under it.
 */
#include "client.h"
#include "command.h"
#include "go_back.h"

#include "stemma/clock.h"
#include "stemma/fsck.h"
#include "stemma_fs/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { HEARTBEAT_MS = 200 };

/* A check that runs. */
struct checking {
    const struct stm_env *env;
    bool json, show;  /* show: progress, for a terminal */
    bool shown, gone; /* a line of progress stands there; nobody listens any more */
    int64_t beat_ms;
    uint64_t findings;
};

/* ---- telling ---- */

static const char *state_word(enum stm_finding_state state)
{
    switch (state) {
    case STM_FINDING_REPAIRED:
        return "repaired";
    case STM_FINDING_PLANNED:
        return "would be repaired";
    case STM_FINDING_QUARANTINED:
        return "put into quarantine";
    case STM_FINDING_KNOWN:
        return "in quarantine";
    default:
        return "left";
    }
}

static void erase_progress(struct checking *c)
{
    static const char erase[] = "\r\033[K";

    if (c->shown)
        (void)c->env->out->write(c->env->out->arg, STM_CHANNEL_ERR, erase, sizeof(erase) - 1);
    c->shown = false;
}

static json_t *finding_json(const struct stm_finding *f)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "code", f->code, "state", state_word(f->state),
                     "where", stm_json_text(stm_slice_str(f->where)), "record", f->record, "what", stm_json_text(stm_slice_str(f->what)),
                     "consequence", f->consequence, "remedy", f->remedy, "object", (json_int_t)f->object, "line", (json_int_t)f->line,
                     "seq", (json_int_t)f->seq, "segment", (json_int_t)f->segment, "index", (json_int_t)f->index);
}

static void tell_finding(void *arg, const struct stm_finding *f)
{
    struct checking *c = arg;
    struct stm_out *out = c->env->out;

    c->findings++;
    erase_progress(c);
    if (c->json) {
        (void)stm_json_print(out, finding_json(f));
        return;
    }
    stm_out_print(out, "%s: %s%s%s [%s]\n", f->code, f->where, *f->where != '\0' ? ": " : "", f->what, state_word(f->state));
    stm_out_print(out, "    record       %s\n    consequence  %s\n", f->record, f->consequence);
    if (f->state != STM_FINDING_REPAIRED)
        stm_out_print(out, "    remedy       %s\n", f->remedy);
    (void)stm_out_flush(out);
}

/* Also how it is noticed that nobody waits for the answer any more, or that the daemon ends: an empty piece cannot be sent then. */
static bool tell_progress(void *arg, const char *phase, uint64_t done, uint64_t total, uint64_t bytes)
{
    struct checking *c = arg;
    int64_t now = stm_monotonic_ms();
    char text[128] = "";

    if (c->gone || now - c->beat_ms < HEARTBEAT_MS)
        return !c->gone;
    c->beat_ms = now;
    if (c->show && total >= done)
        snprintf(text, sizeof(text), "\r\033[K%s: %llu records of about %llu, %llu MiB", phase, (unsigned long long)done,
                 (unsigned long long)total, (unsigned long long)(bytes >> 20));
    else if (c->show)
        snprintf(text, sizeof(text), "\r\033[K%s: %llu records, %llu MiB", phase, (unsigned long long)done,
                 (unsigned long long)(bytes >> 20));
    c->shown = c->show;
    c->gone = c->env->out->err != 0 || c->env->out->write(c->env->out->arg, STM_CHANNEL_ERR, text, strlen(text)) < 0;
    return !c->gone;
}

static int run_where_mounted(void *arg, const struct stm_fsck_touch *touch, int (*commit)(void *commit_arg), void *commit_arg)
{
    const struct checking *c = arg;
    struct stm_fs_affected affected[2] = {{.parent = touch->parent, .name = touch->name, .object = touch->object},
                                          {.object = touch->parent}};

    return stm_fs_apply(c->env->fs, affected, touch->parent != 0 ? 2 : 1, commit, commit_arg);
}

static json_t *result_json(const struct stm_fsck_result *r)
{
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "clean", r->left + r->planned == 0, "seq",
                     (json_int_t)r->seq, "records", (json_int_t)r->records, "contents", (json_int_t)r->contents, "bytes",
                     (json_int_t)r->bytes, "left", (json_int_t)r->left, "repaired", (json_int_t)r->repaired, "would_repair",
                     (json_int_t)r->planned, "quarantined", (json_int_t)r->quarantined, "known", (json_int_t)r->known, "passes",
                     (json_int_t)r->passes);
}

static void print_result(const struct checking *c, const struct stm_fsck_result *r)
{
    stm_out_print(c->env->out, "%s: %llu records and %llu contents checked, as of commit %llu: ", stm_store_path(c->env->store),
                  (unsigned long long)r->records, (unsigned long long)r->contents, (unsigned long long)r->seq);
    if (r->left + r->planned + r->repaired + r->quarantined + r->known == 0) {
        stm_out_print(c->env->out, "clean\n");
        return;
    }
    stm_out_print(c->env->out, "%llu repaired, %llu left", (unsigned long long)r->repaired, (unsigned long long)r->left);
    if (r->planned > 0)
        stm_out_print(c->env->out, ", %llu would be repaired", (unsigned long long)r->planned);
    if (r->known > 0)
        stm_out_print(c->env->out, ", %llu lost and in quarantine", (unsigned long long)r->known);
    stm_out_print(c->env->out, "\n");
}

/* ---- the service ---- */

int stm_fsck_service(const struct stm_env *env, const json_t *request)
{
    struct checking c = {.env = env, .json = stm_request_flag(request, "json"), .show = stm_request_flag(request, "progress")};
    struct stm_fsck_options opt = {.repair = stm_request_flag(request, "repair"),
                                   .dry_run = stm_request_flag(request, "dry_run"),
                                   .quick = stm_request_flag(request, "quick"),
                                   .finding = tell_finding,
                                   .progress = tell_progress,
                                   .apply = env->fs != NULL ? run_where_mounted : NULL,
                                   .arg = &c};
    struct stm_fsck_result r;
    int err;

    if (opt.repair && !opt.dry_run && env->read_only)
        return stm_out_fail(env->out, STM_EXIT_FAILED, "the store is mounted read-only: mount it with -o rw to repair");
    err = stm_fsck(env->store, &opt, &r);
    erase_progress(&c);
    if (err == -ECANCELED)
        return stm_out_fail(env->out, STM_EXIT_FAILED, "the check was stopped before its end");
    if (err < 0)
        return stm_out_error(env->out, err, "%s could not be checked to the end", stm_store_path(env->store));
    if (c.json)
        (void)stm_json_print(env->out, result_json(&r));
    else
        print_result(&c, &r);
    return r.left + r.planned > 0 ? STM_EXIT_FAILED : STM_EXIT_OK;
}

/* ---- the command ---- */

static int ask(const struct stm_args *args, const struct stm_resource *r, struct stm_out *out)
{
    bool writes = args->repair && !args->dry_run;
    json_t *request = stm_request_new(writes ? "fsck-repair" : "fsck", r);
    const struct {
        const char *name;
        bool set;
    } flags[] = {{"repair", args->repair || args->dry_run},
                 {"dry_run", args->dry_run},
                 {"quick", args->quick},
                 {"json", args->json},
                 {"progress", isatty(STDERR_FILENO) == 1}};

    for (size_t i = 0; request != NULL && i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (flags[i].set && json_object_set_new(request, flags[i].name, json_true()) < 0) {
            json_decref(request);
            request = NULL;
        }
    }
    return stm_client_call(r->store, request, out);
}

static int run(const struct stm_args *args)
{
    struct stm_out out = stm_out_terminal();
    struct stm_resource r = {0};
    char *why = NULL;
    int code = stm_resource_parse_store(args->operand[0], &r, &why);

    if (code != 0)
        code = stm_out_fail(&out, code, "%s", why != NULL ? why : "out of memory");
    if (code == 0 && args->repair && !args->dry_run)
        code = stm_go_back(r.store, &out);
    if (code == 0)
        code = ask(args, &r, &out);
    free(why);
    stm_resource_release(&r);
    return stm_out_end(&out, code);
}

#define FLAG(option, field, what)                                                                                                          \
    {                                                                                                                                      \
        option, STM_PARAM_FLAG, .value = true, .offset = offsetof(struct stm_args, field), .text = what                                    \
    }

static const struct stm_param options[] = {
    STM_OPTION_HELP,
    FLAG("repair", repair, "repair what can be repaired without inventing data"),
    FLAG("dry-run", dry_run, "say what --repair would do, and do nothing"),
    FLAG("quick", quick, "check the records only, not the bytes of large contents"),
    STM_OPTION_JSON("one JSON object a line: each finding, and the result last"),
    STM_OPTION_END,
};

const struct stm_command stm_cmd_fsck = {
    .name = "fsck",
    .operands = "[--repair | --dry-run] [--quick] [--json] (DIR | STORE)",
    .summary = "check a store, and repair it",
    .text =
        "Checks everything: that no commit is missing; names, objects, versions, contents and chunks against each other, both ways; every "
        "count; every checksum. It can be done while the store is mounted and written to: it looks at one moment. For each finding it says "
        "what it means and what can be done.\n"
        "--repair mends counts and indexes, gives what nothing names a name in /lost+found, and puts what is lost into quarantine: reads "
        "of it "
        "fail, and once the same bytes are saved again it is healed. A store that is refused because its log is damaged goes back to the "
        "last commit "
        "that is whole; the logs are kept in STORE/damaged.\n"
        "Exit codes: 0 nothing is wrong, or all was repaired (what is lost for good and in quarantine is listed); 1 something is left; "
        "4 the store cannot be opened.",
    .examples = "  stemma fsck ./mnt\n"
                "  stemma fsck --repair ./var/store\n"
                "  stemma fsck --json ./var/store | jq -r .code\n",
    .options = options,
    .min = 1,
    .max = 1,
    .run = run,
};
