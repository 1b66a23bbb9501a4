/*
 * kv.h: short words for tests that talk to an engine directly. Keys and values are C strings; a failed expectation ends the test.
 * Thread-safety: none of its own, as the engine's.
 */
#ifndef STEMMA_TESTS_KV_H
#define STEMMA_TESTS_KV_H

#include "engine.h"

struct stm_op kv_op_put(enum stm_space space, const char *key, const char *value);
struct stm_op kv_op_delete(enum stm_space space, const char *key);

void kv_put(struct stm_engine *e, enum stm_space space, const char *key, const char *value);
void kv_delete(struct stm_engine *e, enum stm_space space, const char *key);
void kv_expect(struct stm_engine *e, enum stm_space space, const char *key, const char *value); /* value NULL: not there */

/* The keys in [lower, upper) in order, joined by blanks, are exactly those; "" is unbounded. */
void kv_expect_keys(struct stm_engine *e, enum stm_space space, const char *lower, const char *upper, const char *keys);

/* Ingests n keys "PREFIX000000", "PREFIX000001", ... Returns what finish returned. */
int kv_ingest(struct stm_engine *e, enum stm_space space, const char *prefix, int n);

/* Every space of both holds the same pairs. */
void kv_expect_equal(struct stm_engine *a, struct stm_engine *b);

/* RocksDB in DIR/db with DIR/stage, made when missing. */
struct stm_engine *kv_open_rocksdb(const char *dir);
int kv_try_rocksdb(const char *dir, bool create, bool read_only, struct stm_engine **ret);

#endif
