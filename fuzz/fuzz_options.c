/*
 * fuzz_options.c: strings that come from the system or a command line: mount options, and lines of the table of mounts.
 */
#include "fuzz.h"

#include <errno.h>

#include "mountinfo.h"
#include "params.h"

/* Writes the options as text that gives them again. */
static int render(const struct stm_mount_options *o, char *out, size_t size)
{
    char threads[32] = "";

    if (o->max_threads != 0)
        snprintf(threads, sizeof threads, ",max_threads=%u", o->max_threads);
    return snprintf(out, size, "%s,%s,%s,versions=%s%s%s%s", o->read_only ? "ro" : "rw", o->noexec ? "noexec" : "exec",
                    o->allow_other ? "allow_other" : "noallow_other", o->versions == STM_VERSIONS_LISTED ? "listed" : "hidden",
                    o->nonempty ? ",nonempty" : "", o->debug ? ",debug" : "", threads);
}

static bool same(const struct stm_mount_options *a, const struct stm_mount_options *b)
{
    return a->read_only == b->read_only && a->nonempty == b->nonempty && a->debug == b->debug && a->noexec == b->noexec &&
           a->allow_other == b->allow_other && a->versions == b->versions && a->max_threads == b->max_threads;
}

static void check_options(const char *text)
{
    struct stm_mount_options strict, sloppy, again, before;
    char *why = NULL, rendered[256];

    stm_mount_options_default(&before);
    strict = sloppy = again = before;
    int code = stm_mount_options_parse(text, false, &strict, &why);
    FUZZ_CHECK((code == 0) == (why == NULL));
    free(why);
    why = NULL;
    int sloppy_code = stm_mount_options_parse(text, true, &sloppy, &why);
    free(why);
    why = NULL;
    if (code != 0) {
        FUZZ_CHECK(same(&strict, &before));
        return;
    }
    FUZZ_CHECK(sloppy_code == 0 && same(&strict, &sloppy));
    FUZZ_CHECK(strict.max_threads <= 64 && strict.versions <= STM_VERSIONS_LISTED);
    FUZZ_CHECK(render(&strict, rendered, sizeof rendered) < (int)sizeof rendered);
    FUZZ_CHECK(stm_mount_options_parse(rendered, false, &again, &why) == 0 && same(&strict, &again));
}

static void check_mounts(const char *text)
{
    struct stm_mount m = {0};
    int err = stm_mount_parse(text, &m);

    FUZZ_CHECK(err == 0 || err == -EINVAL);
    if (err == 0)
        FUZZ_CHECK(m.dir != NULL && m.root != NULL && m.source != NULL && m.fstype != NULL && m.options != NULL);
    stm_mount_release(&m);
    if (stm_mount_covering(text, "/mnt/words/a", &m) == 1) {
        size_t len = strlen(m.dir);
        FUZZ_CHECK(len <= 12 && strncmp("/mnt/words/a", m.dir, len) == 0);
    }
    stm_mount_release(&m);
    if (stm_mount_at(text, "/mnt/words", &m) == 1)
        FUZZ_CHECK(strcmp(m.dir, "/mnt/words") == 0);
    stm_mount_release(&m);
    if (stm_mount_of(text, "/data/words", NULL, &m) == 1)
        FUZZ_CHECK(m.stemma && strcmp(m.source, "/data/words") == 0);
    stm_mount_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(stm_slice(data, size));
    struct stm_buf wrapped = STM_BUF_INIT;

    check_options(text);
    check_mounts(text);
    FUZZ_CHECK(stm_wrap(text, 0, 0, &wrapped) == 0);
    stm_buf_release(&wrapped);
    free(text);
    return 0;
}
