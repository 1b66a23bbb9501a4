/*
 * name.h: the grammar of names: what a directory entry may be called, and what `base@SELECTOR` means (DESIGN §2).
 * Pure text: whether the base exists, or a literal entry of that name wins, is for the caller to find out.
 *
 *     struct stm_selector sel;
 *     if (stm_name_split(name, &base, &text) && stm_selector_parse(text, &sel) == 0) ...
 *
 * Thread-safety: immutable.
 */
#ifndef STEMMA_NAME_H
#define STEMMA_NAME_H

#include "stemma/semver.h"

enum stm_selector_kind {
    STM_SEL_DIR,     /* "" (nothing after the @): the directory of versions */
    STM_SEL_EXACT,   /* v1.2.3 */
    STM_SEL_LATEST,  /* latest */
    STM_SEL_MAJOR,   /* v1      newest of 1.x.y (semver.major) */
    STM_SEL_MINOR,   /* v1.2    newest of 1.2.x */
    STM_SEL_BACK,    /* ~N      N before the newest; ~0 is the newest */
    STM_SEL_TIME,    /* newest at that moment: time_ns */
    STM_SEL_HASH,    /* =hex    1..32 hex digits of the content hash, lower or upper case */
    STM_SEL_BUMP,    /* major, minor, patch: for creating only */
    STM_SEL_DIFF,    /* v1.2.0..v1.3.0 (from semver to semver2); parsed, answered by a later issue */
    STM_SEL_RESERVED /* a word that no tag may have; means nothing yet */
};

struct stm_selector {
    enum stm_selector_kind kind;
    struct stm_semver semver, semver2;
    enum stm_bump bump;
    uint32_t back;
    int64_t time_ns; /* the last nanosecond that the text covers: a bare date is the end of that day */
    char hash[33];   /* lower-case hex digits, zero-terminated */
};

/*
 * Times (UTC, all forms without colons): 2026-11-20, 2026-11-20T10, 2026-11-20T10.15, 2026-11-20T10.15.00 each with optional Z,
 * optional fraction .123456789 after seconds, and Samba's GMT-2026.11.20-10.15.00 (with or without a leading @). Impossible dates
 * (month 13, February 30) are -EINVAL.
 */
STM_MUST_CHECK int stm_time_parse(struct stm_slice text, int64_t *ret_ns);
/* Writes "2026-11-20T10.15.00Z" (nanoseconds dropped) and a zero; out has at least 32 bytes. */
void stm_time_format(int64_t ns, char *out);

/* Splits at the last '@'. False when there is none or nothing stands before it. The Samba form "x@@GMT-..." splits before both. */
bool stm_name_split(struct stm_slice name, struct stm_slice *ret_base, struct stm_slice *ret_selector);
/* The text after the @. 0, or STM_E_BAD_SELECTOR: then it may still be a tag if stm_tag_valid says so. */
STM_MUST_CHECK int stm_selector_parse(struct stm_slice text, struct stm_selector *ret);
/* May a tag be called so? Letters, digits, '.', '_', '-', and UTF-8 beyond ASCII; 1..100 bytes; no selector and no reserved word. */
bool stm_tag_valid(struct stm_slice text);
/* 0; STM_E_BAD_NAME for "", ".", "..", '/' or a zero byte inside; -ENAMETOOLONG over STM_NAME_MAX. */
STM_MUST_CHECK int stm_name_check(struct stm_slice name);
/*
 * Editor and system junk that is stored but keeps no history (FIELD-NOTES §2): *.swp *.swo *.swx *.swpx *~ 4913 .DS_Store ._* .fuse_hidden*
 * .nfs* and rsync's .NAME.XXXXXX, .#* and #*#, sedXXXXXX, *.tmp~, .goutputstream-XXXXXX; the X are letters and digits, of which one at
 * least is a digit or a capital, so that the words "sedentary" and "seduction" and the file ".bashrc.backup" keep their histories.
 */
bool stm_name_is_junk(struct stm_slice name);
/* ".Trash" and ".Trash-<digits>": refused with EPERM by the filesystem. */
bool stm_name_is_refused(struct stm_slice name);

#endif
