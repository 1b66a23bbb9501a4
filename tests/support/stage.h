/*
 * stage.h: a store in memory with some of everything, for tests of checking and repairing; and short words for damaging it by hand, below
 * everything that would refuse to.
 *
 *     stage_new(&state);
 *     stage_raw_change(s, STM_OBJECT, stm_key_object(s->file), 5, false);     // a byte is wrong, and the checksum says so
 *     r = stage_check(s, true);
 *
 * Thread-safety: one thread.
 */
#ifndef STEMMA_TESTS_STAGE_H
#define STEMMA_TESTS_STAGE_H

#include "inner.h"
#include "stemma/fsck.h"
#include "support/world.h"

enum { STAGE_BIG = 300000, STAGE_CODES = 64 };

/* A store with some of everything. */
struct stage {
    struct world w;
    uint64_t dir, sub, file, big, gone, linked, sparse;
    uint32_t view;
    uint8_t *bytes; /* STAGE_BIG of them, that do not repeat */
    /* what a check has found */
    char codes[STAGE_CODES][32];
    enum stm_finding_state states[STAGE_CODES];
    char where[STAGE_CODES][128];
    int n;
};

int stage_new(void **state);
int stage_free(void **state);

/* A check, or a repair; what it finds is noted. A stm_fsck_options.finding with the stage as arg notes too. */
struct stm_fsck_result stage_check(struct stage *s, bool repair);
void stage_note(void *arg, const struct stm_finding *f);
bool stage_found(const struct stage *s, const char *code, enum stm_finding_state state);
void stage_expect_clean(struct stage *s);

/* Writes a sound record; removes one; changes one byte of a payload, with close so that the checksum fits again. */
void stage_raw_put(struct stage *s, enum stm_space space, struct stm_key key, struct stm_slice payload);
void stage_raw_delete(struct stage *s, enum stm_space space, struct stm_key key);
void stage_raw_change(struct stage *s, enum stm_space space, struct stm_key key, size_t at, bool close);
/* The n-th key of a space that begins with the prefix; the first row of the index with the tag; the object's newest version. */
struct stm_key stage_key(struct stage *s, enum stm_space space, struct stm_slice prefix, int n);
struct stm_key stage_tagged(struct stage *s, char tag);
struct stm_key stage_version(struct stage *s, uint64_t object);

#endif
