/*
 * fuzz_name.c: names, selectors, numbers and times as text: whatever stands in a path. Selectors that parse are also looked up on a line of
 * versions and compared with a plain search. Not here: names in the kernel's requests, which integration/cases/bad-input sends.
 */
#include "fuzz.h"

#include "import.h"
#include "inner.h"
#include "service.h"
#include "stemma/name.h"

enum { VERSIONS = 6 };

static struct stm_version_row rows[VERSIONS];
static struct stm_store *store;
static uint64_t line;

static struct stm_slice slice_of(const char *text)
{
    return stm_slice(text, strlen(text));
}

/* ---- a line with a few versions ---- */

static int build_file(struct stm_txn *t, void *arg)
{
    struct stm_object o;
    struct stm_new n = {.mode = 0100644};
    int err = stm_tree_create(t, STM_ROOT_OBJECT, slice_of("word"), &n, &o);

    if (err == 0)
        *(uint64_t *)arg = o.id;
    return err;
}

struct saving {
    uint64_t object;
    struct stm_content content;
    unsigned number;
};

static int build_save(struct stm_txn *t, void *arg)
{
    struct saving *s = arg;
    struct stm_object o;
    struct stm_save save = {.content = &s->content, .bump = (enum stm_bump)(s->number % 3)};

    return stm_version_save(t, s->object, &save, &o);
}

static void open_store(void)
{
    static struct stm_clock_manual clock = {.ns = INT64_C(1700000000000000000)};
    static struct stm_clock injected;
    struct stm_change change = {0};
    uint64_t object = 0;

    injected = stm_clock_manual(&clock);
    struct stm_store_options opt = {.engine = STM_ENGINE_MEM, .clock = &injected};
    FUZZ_CHECK(stm_store_open(&opt, &store, NULL) == 0);
    FUZZ_CHECK(stm_update(store, &change, build_file, &object, NULL) == 0);
    struct stm_view v = stm_view_head(store);
    for (unsigned i = 0; i < VERSIONS; i++) {
        struct saving s = {.object = object, .number = i};
        struct stm_source source = {.size = i, .mem = "abcdef"};
        clock.ns += INT64_C(40000000000000);
        FUZZ_CHECK(stm_content_put(store, &source, &s.content) == 0);
        FUZZ_CHECK(stm_update(store, &change, build_save, &s, NULL) == 0);
        stm_content_release(&s.content);
    }
    struct stm_object o;
    FUZZ_CHECK(stm_object_get(&v, object, &o) == 0 && o.tip.ordinal == VERSIONS - 1);
    line = o.line;
    for (unsigned i = 0; i < VERSIONS; i++)
        FUZZ_CHECK(stm_version_row(&v, line, i, &rows[i]) == 0);
}

/* Is the row one that the selector means? LATEST and BACK go by place. */
static bool fits(const struct stm_version_row *r, const struct stm_selector *sel)
{
    char digits[33];

    switch (sel->kind) {
    case STM_SEL_EXACT:
        return stm_semver_cmp(r->semver, sel->semver) == 0;
    case STM_SEL_MAJOR:
        return r->semver.major == sel->semver.major;
    case STM_SEL_MINOR:
        return r->semver.major == sel->semver.major && r->semver.minor == sel->semver.minor;
    case STM_SEL_TIME:
        return r->recorded_ns <= sel->time_ns;
    case STM_SEL_HASH:
        stm_hash_format(&r->hash, digits);
        return strncmp(digits, sel->hash, strlen(sel->hash)) == 0;
    default:
        return true;
    }
}

static void look_up(const struct stm_selector *sel)
{
    struct stm_view v = stm_view_head(store);
    struct stm_version_row got;
    int want = -1, count = 0, err = stm_version_find(&v, line, VERSIONS - 1, sel, &got);

    if (sel->kind == STM_SEL_DIR || sel->kind >= STM_SEL_BUMP) {
        FUZZ_CHECK(err == -EINVAL);
        return;
    }
    for (int i = 0; i < VERSIONS; i++)
        if (fits(&rows[i], sel)) {
            want = i;
            count++;
        }
    if (sel->kind == STM_SEL_BACK)
        want = sel->back < VERSIONS ? (int)(VERSIONS - 1 - sel->back) : -1;
    if (sel->kind == STM_SEL_HASH && count > 1)
        FUZZ_CHECK(err == STM_E_AMBIGUOUS);
    else if (want < 0)
        FUZZ_CHECK(err == -ENOENT);
    else
        FUZZ_CHECK(err == 0 && got.ordinal == (uint32_t)want);
}

/* ---- text ---- */

static void check_time(struct stm_slice text)
{
    char formatted[32];
    int64_t ns, again;

    if (stm_time_parse(text, &ns) < 0)
        return;
    stm_time_format(ns, formatted);
    FUZZ_CHECK(stm_time_parse(slice_of(formatted), &again) == 0);
    if (ns > INT64_MIN + INT64_C(2000000000) && ns < INT64_MAX - INT64_C(2000000000))
        FUZZ_CHECK(again >= ns && again - ns < INT64_C(1000000000));
}

static void check_selector(struct stm_slice text)
{
    struct stm_selector sel;
    struct stm_semver v;
    char formatted[STM_SEMVER_TEXT];
    int err = stm_selector_parse(text, &sel);

    FUZZ_CHECK(err == 0 || err == STM_E_BAD_SELECTOR);
    if (stm_tag_valid(text))
        FUZZ_CHECK(err < 0 && text.len > 0 && text.len <= 100 && stm_name_check(text) == 0);
    if (stm_semver_parse(text, &v) == 0) {
        FUZZ_CHECK(err == 0 && sel.kind == STM_SEL_EXACT && stm_semver_cmp(v, sel.semver) == 0);
        int len = stm_semver_format(v, formatted);
        FUZZ_CHECK(stm_slice_eq(stm_slice(formatted, (size_t)len), text));
    }
    if (err == 0)
        look_up(&sel);
}

static void check_name(struct stm_slice name)
{
    struct stm_slice base, selector;
    int err = stm_name_check(name);

    FUZZ_CHECK(err == 0 || err == STM_E_BAD_NAME || err == -ENAMETOOLONG);
    if (stm_name_is_refused(name))
        FUZZ_CHECK(!stm_name_is_junk(name) && name.len >= 6);
    if (!stm_name_split(name, &base, &selector))
        return;
    FUZZ_CHECK(base.data == name.data && base.len > 0 && ((const char *)name.data)[base.len] == '@');
    FUZZ_CHECK(base.len + 1 + selector.len == name.len);
    check_selector(selector);
}

/* "%2F" is '/', "%25" is '%', "%2E" is '.': what a headword's name means. */
static void read_headword(struct stm_slice name, struct stm_buf *ret)
{
    const char *p = name.data;

    for (size_t i = 0; i < name.len; i++) {
        bool escape = p[i] == '%' && name.len - i > 2 && p[i + 1] == '2' && strchr("F5E", p[i + 2]) != NULL && p[i + 2] != 0;
        char c = escape ? (p[i + 2] == 'F' ? '/' : p[i + 2] == '5' ? '%' : '.') : p[i];
        FUZZ_CHECK(stm_buf_append(ret, &c, 1) == 0);
        i += escape ? 2 : 0;
    }
}

static void check_escapes(struct stm_slice text)
{
    struct stm_buf coded = STM_BUF_INIT, plain = STM_BUF_INIT;

    FUZZ_CHECK(stm_percent_encode(text, &coded) == 0 && stm_buf_append(&coded, "", 1) == 0);
    FUZZ_CHECK(stm_percent_decode((const char *)coded.data, &plain) == 0);
    FUZZ_CHECK(stm_slice_eq(stm_buf_slice(&plain), text));
    stm_buf_clear(&plain);
    if (text.len > 0 && memchr(text.data, 0, text.len) == NULL) {
        FUZZ_CHECK(stm_import_headword(text, &coded) == 0);
        int err = stm_name_check(stm_buf_slice(&coded));
        FUZZ_CHECK(err == 0 || (err == -ENAMETOOLONG && coded.len > STM_NAME_MAX));
        read_headword(stm_buf_slice(&coded), &plain);
        FUZZ_CHECK(stm_slice_eq(stm_buf_slice(&plain), text));
    }
    json_t *json = stm_json_text(text);
    FUZZ_CHECK(json != NULL);
    json_decref(json);
    stm_buf_release(&coded);
    stm_buf_release(&plain);
}

static void check_path(struct stm_slice text)
{
    char *path = fuzz_text(text), *clean = NULL, *again = NULL;
    struct stm_buf decoded = STM_BUF_INIT;
    uint64_t seq;

    if (stm_path_clean(path, &clean) == 0) {
        FUZZ_CHECK(stm_path_clean(clean, &again) == 0 && strcmp(clean, again) == 0);
        FUZZ_CHECK(*stm_path_view(clean, &seq) == '/');
    }
    int err = stm_percent_decode(path, &decoded);
    FUZZ_CHECK(err == 0 ? decoded.len <= text.len : err == -EINVAL);
    stm_buf_release(&decoded);
    free(path);
    free(clean);
    free(again);
}

#ifdef STEMMA_FUZZ_PLANT
/* A mistake for the control to find: the length of a hash selector is believed. */
static void planted(struct stm_slice text)
{
    const char *p = text.data;
    char digits[8] = "";

    if (text.len > 2 && p[0] == 'w' && p[1] == '@' && p[2] == '=')
        memcpy(digits, p + 3, text.len - 3);
    FUZZ_CHECK(digits[0] != 1);
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1); /* so that reading over the end is seen */
    struct stm_slice text = stm_slice(exact, size);

    FUZZ_CHECK(exact != NULL);
    memcpy(exact, data, size);
    if (store == NULL)
        open_store();
    check_name(text);
    check_selector(text);
    check_time(text);
    check_escapes(text);
    check_path(text);
#ifdef STEMMA_FUZZ_PLANT
    planted(text);
#endif
    free(exact);
    return 0;
}
