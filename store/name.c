/*
 * name.c: what a directory entry may be called, and what `base@SELECTOR` means. Pure text: it does not know what exists.
 * Names are bytes; only tags must be valid UTF-8, because they are made by us and shown by us.
 */
#include "stemma/name.h"

#include <errno.h>

#include "stemma/error.h"
#include "text.h"

enum { TAG_MAX = 100, HASH_DIGITS = 2 * STM_HASH_LEN };

static char byte_at(struct stm_slice s, size_t i)
{
    return ((const char *)s.data)[i];
}

static bool starts(struct stm_slice s, const char *prefix)
{
    return stm_text_word(&s, prefix);
}

static bool ends(struct stm_slice s, const char *suffix)
{
    size_t len = strlen(suffix);

    return s.len >= len && memcmp((const char *)s.data + s.len - len, suffix, len) == 0;
}

static bool is_one_of(struct stm_slice s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (stm_slice_eq(s, stm_slice_str(words[i])))
            return true;
    return false;
}

/* --- splitting --- */

/* "@GMT-2026.11.20-10.15.00", as Samba's clients write it. */
static bool is_samba_time(struct stm_slice text)
{
    int64_t ns;

    return starts(text, "@GMT-") && stm_time_parse(text, &ns) == 0;
}

bool stm_name_split(struct stm_slice name, struct stm_slice *ret_base, struct stm_slice *ret_selector)
{
    size_t at = name.len;

    while (at > 0 && byte_at(name, at - 1) != '@')
        at--;
    if (at < 2) /* no '@' at all, or only at the start */
        return false;
    at--;
    if (at > 1 && byte_at(name, at - 1) == '@' && is_samba_time(stm_text_from(name, at)))
        at--;
    *ret_base = stm_slice(name.data, at);
    *ret_selector = stm_text_from(name, at + 1);
    return true;
}

/* --- selectors: each parser takes the whole text and fills in what its kind needs --- */

/* v1, v1.2, v1.2.3. */
static bool parse_semver(struct stm_slice text, struct stm_selector *sel)
{
    struct stm_semver *v = &sel->semver;

    if (!stm_text_char(&text, 'v') || !stm_text_u32(&text, &v->major))
        return false;
    sel->kind = STM_SEL_MAJOR;
    if (stm_text_char(&text, '.')) {
        if (!stm_text_u32(&text, &v->minor))
            return false;
        sel->kind = STM_SEL_MINOR;
        if (stm_text_char(&text, '.')) {
            if (!stm_text_u32(&text, &v->patch))
                return false;
            sel->kind = STM_SEL_EXACT;
        }
    }
    return text.len == 0;
}

/* v1.2.0..v1.3.0. */
static bool parse_diff(struct stm_slice text, struct stm_selector *sel)
{
    for (size_t i = 0; i + 1 < text.len; i++)
        if (byte_at(text, i) == '.' && byte_at(text, i + 1) == '.') {
            sel->kind = STM_SEL_DIFF;
            return stm_semver_parse(stm_slice(text.data, i), &sel->semver) == 0 &&
                   stm_semver_parse(stm_text_from(text, i + 2), &sel->semver2) == 0;
        }
    return false;
}

/* ~2. */
static bool parse_back(struct stm_slice text, struct stm_selector *sel)
{
    sel->kind = STM_SEL_BACK;
    return stm_text_char(&text, '~') && stm_text_u32(&text, &sel->back) && text.len == 0;
}

/* =3fa9c2. */
static bool parse_hash(struct stm_slice text, struct stm_selector *sel)
{
    sel->kind = STM_SEL_HASH;
    if (!stm_text_char(&text, '=') || text.len == 0 || text.len > HASH_DIGITS)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = byte_at(text, i);
        if (c >= 'A' && c <= 'F')
            c = (char)(c - 'A' + 'a');
        if (!stm_is_digit(c) && !(c >= 'a' && c <= 'f'))
            return false;
        sel->hash[i] = c;
    }
    return true; /* the zero at the end is there already */
}

static bool parse_time(struct stm_slice text, struct stm_selector *sel)
{
    sel->kind = STM_SEL_TIME;
    return stm_time_parse(text, &sel->time_ns) == 0;
}

/*
 * latest, the bumps, and words kept free: log and log.jsonl are files of `word@/`, the others are what people would expect to be
 * built in. Every further word would forbid somebody's file name, so the list stays short.
 */
static bool parse_word(struct stm_slice text, struct stm_selector *sel)
{
    static const char *const reserved[] = {"log", "log.jsonl", "head", "first", "draft", "pending"};

    if (text.len == 0)
        sel->kind = STM_SEL_DIR;
    else if (stm_slice_eq(text, stm_slice_str("latest")))
        sel->kind = STM_SEL_LATEST;
    else if (stm_bump_parse(text, &sel->bump) == 0)
        sel->kind = STM_SEL_BUMP;
    else if (is_one_of(text, reserved, sizeof reserved / sizeof reserved[0]))
        sel->kind = STM_SEL_RESERVED;
    else
        return false;
    return true;
}

int stm_selector_parse(struct stm_slice text, struct stm_selector *ret)
{
    static bool (*const parsers[])(struct stm_slice, struct stm_selector *) = {
        parse_word, parse_semver, parse_diff, parse_back, parse_time, parse_hash,
    };

    for (size_t i = 0; i < sizeof parsers / sizeof parsers[0]; i++) {
        struct stm_selector sel = {.kind = STM_SEL_DIR}; /* afresh: a parser that failed may have left something */
        if (parsers[i](text, &sel)) {
            *ret = sel;
            return 0;
        }
    }
    return STM_E_BAD_SELECTOR;
}

/* --- tags --- */

/* The length of the well-formed UTF-8 sequence beyond ASCII at the start of s; 0 when there is none (Unicode, table 3-7). */
static size_t utf8_length(struct stm_slice s)
{
    const uint8_t *b = s.data;
    uint8_t low = 0x80, high = 0xbf; /* what the second byte may be */
    size_t len;

    if (b[0] >= 0xc2 && b[0] <= 0xdf)
        len = 2;
    else if (b[0] >= 0xe0 && b[0] <= 0xef)
        len = 3;
    else if (b[0] >= 0xf0 && b[0] <= 0xf4)
        len = 4;
    else
        return 0;
    if (b[0] == 0xe0)
        low = 0xa0; /* shorter forms exist */
    else if (b[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (b[0] == 0xf0)
        low = 0x90; /* shorter forms exist */
    else if (b[0] == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */

    if (s.len < len || b[1] < low || b[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if (b[i] < 0x80 || b[i] > 0xbf)
            return 0;
    return len;
}

static bool is_tag_text(struct stm_slice text)
{
    while (text.len > 0) {
        char c = byte_at(text, 0);
        size_t len = stm_is_alnum(c) || c == '.' || c == '_' || c == '-' ? 1 : utf8_length(text);
        if (len == 0)
            return false;
        text = stm_text_from(text, len);
    }
    return true;
}

bool stm_tag_valid(struct stm_slice text)
{
    static const char *const dots[] = {".", ".."}; /* tags are names inside `word@/` */
    struct stm_selector sel;

    return text.len >= 1 && text.len <= TAG_MAX && is_tag_text(text) && !is_one_of(text, dots, 2) &&
           stm_selector_parse(text, &sel) == STM_E_BAD_SELECTOR;
}

/* --- names --- */

int stm_name_check(struct stm_slice name)
{
    static const char *const dots[] = {".", ".."};

    if (name.len > STM_NAME_MAX)
        return -ENAMETOOLONG;
    if (name.len == 0 || is_one_of(name, dots, 2) || memchr(name.data, '/', name.len) || memchr(name.data, '\0', name.len))
        return STM_E_BAD_NAME;
    return 0;
}

/*
 * Does the name end in six characters as mkstemp makes them? One of them must be a digit or a capital: without that rule the
 * dictionary words "sedentary" and "seductive" would be sed's temporary files and lose their history, and so would
 * ".bashrc.backup" as one of rsync's. Of the random names one in two hundred has neither; it merely keeps a history.
 */
static bool ends_random(struct stm_slice s, size_t before)
{
    bool telling = false;

    if (s.len != before + 6)
        return false;
    for (size_t i = before; i < s.len; i++) {
        char c = byte_at(s, i);
        if (!stm_is_alnum(c))
            return false;
        telling = telling || stm_is_digit(c) || stm_is_upper(c);
    }
    return telling;
}

/* rsync's ".NAME.XXXXXX". */
static bool is_rsync_temporary(struct stm_slice name)
{
    return name.len >= 9 && byte_at(name, 0) == '.' && byte_at(name, name.len - 7) == '.' && ends_random(name, name.len - 6);
}

bool stm_name_is_junk(struct stm_slice name)
{
    static const char *const whole[] = {"4913", ".DS_Store"};
    static const char *const prefixes[] = {"._", ".fuse_hidden", ".nfs", ".#"};
    static const char *const suffixes[] = {".swp", ".swo", ".swx", ".swpx", "~"}; /* "~" stands for "*.tmp~" as well */

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (starts(name, prefixes[i]))
            return true;
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
        if (ends(name, suffixes[i]))
            return true;
    if (is_one_of(name, whole, sizeof whole / sizeof whole[0]))
        return true;
    if (name.len >= 2 && byte_at(name, 0) == '#' && byte_at(name, name.len - 1) == '#')
        return true;
    if (starts(name, "sed") && ends_random(name, strlen("sed")))
        return true;
    if (starts(name, ".goutputstream-") && ends_random(name, strlen(".goutputstream-")))
        return true;
    return is_rsync_temporary(name);
}

bool stm_name_is_refused(struct stm_slice name)
{
    if (!stm_text_word(&name, ".Trash"))
        return false;
    if (name.len == 0)
        return true;
    if (!stm_text_char(&name, '-') || name.len == 0)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!stm_is_digit(byte_at(name, i)))
            return false;
    return true;
}
