/*
 * world.h: a store to play with: short words for tests of the layer of meaning. Names and contents are C strings; whatever must not
 * fail ends the test when it does.
 *
 *     struct world w;
 *     world_open_mem(&w);
 *     uint64_t f = world_create(&w, STM_ROOT_OBJECT, "word");
 *     world_save(&w, f, "text", 0);
 *     world_expect(&w, f, "text");
 *     world_close(&w);
 *
 * The clock stands still; every change moves it by a millisecond. Thread-safety: the reading words any thread, the others one.
 */
#ifndef STEMMA_TESTS_WORLD_H
#define STEMMA_TESTS_WORLD_H

#include "stemma/tree.h"
#include "stemma/version.h"

struct world {
    struct stm_store *store;
    struct stm_clock_manual clock;
    struct stm_clock injected;
    struct stm_view head;
    struct stm_change change;
};

enum { WORLD_AMEND = 1, WORLD_ALWAYS = 2, WORLD_MINOR = 4, WORLD_MAJOR = 8 };

void world_open_mem(struct world *w);
/* RocksDB in dir/store; made when create is set. Returns stm_store_open's result. */
int world_open_dir(struct world *w, const char *dir, bool create);
void world_close(struct world *w);

/* Each try_ word returns the error; the others insist on success. */
int world_try_create(struct world *w, uint64_t parent, const char *name, uint32_t mode, uint64_t *ret);
uint64_t world_create(struct world *w, uint64_t parent, const char *name);
uint64_t world_mkdir(struct world *w, uint64_t parent, const char *name);
int world_try_save(struct world *w, uint64_t object, struct stm_slice content, unsigned flags);
void world_save(struct world *w, uint64_t object, const char *content, unsigned flags);
int world_try_unlink(struct world *w, uint64_t parent, const char *name);
void world_unlink(struct world *w, uint64_t parent, const char *name);
int world_try_rename(struct world *w, struct stm_rename *r);
void world_rename(struct world *w, uint64_t parent, const char *from, const char *to, bool drop_line);
uint64_t world_link(struct world *w, uint64_t object, uint64_t parent, const char *name);

/* The object under the name in a view; 0 when there is none. */
uint64_t world_at(const struct stm_view *v, uint64_t parent, const char *name);
uint64_t world_find(struct world *w, uint64_t parent, const char *name);
struct stm_object world_object(struct world *w, uint64_t id);
/* The content of an object in a view, malloc'd with a zero after it; *ret_len may be NULL. NULL: no version. */
char *world_content(const struct stm_view *v, uint64_t object, size_t *ret_len);
void world_expect(struct world *w, uint64_t object, const char *content);
void world_expect_at(const struct stm_view *v, uint64_t object, const char *content);
/* "v1.0.0=text v1.0.1=more": the versions of the object's line. */
void world_expect_chain(struct world *w, uint64_t object, const char *chain);

/* Checks everything that must hold between the records of a store; fails the test with a sentence when something does not. */
void world_check(struct world *w);

#endif
