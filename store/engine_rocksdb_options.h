/*
 * engine_rocksdb_options.h: how RocksDB is set up, and what its errors mean. Only for the files engine_rocksdb*.c.
 *
 * Thread-safety: one thread at a time while setting up; immutable afterwards, except for the caches, which RocksDB locks.
 */
#ifndef STEMMA_ENGINE_ROCKSDB_OPTIONS_H
#define STEMMA_ENGINE_ROCKSDB_OPTIONS_H

#include "engine.h"

#include <rocksdb/c.h>

enum { STM_FAMILIES = STM_SPACES + 1 }; /* RocksDB's family "default", always there and always empty, comes last */

struct stm_rocks_options {
    rocksdb_options_t *families[STM_FAMILIES]; /* the first also says what the database as a whole does */
    rocksdb_cache_t *cache, *chunk_cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write, *write_sync;
    rocksdb_ingestexternalfileoptions_t *ingest;
    rocksdb_envoptions_t *env;
};

/* All members are made; RocksDB keeps what it needs of them for itself, but the caches count as used until release. */
void stm_rocks_options_init(struct stm_rocks_options *o, const struct stm_engine_rocksdb_options *opt);
void stm_rocks_options_release(struct stm_rocks_options *o);

/* Takes the sentence that RocksDB left in its errptr: 0 for NULL, else the error. -ENOENT only for a database that is not there. */
int stm_rocks_error(char *sentence);
/*
 * The same for reading. Who looks at a frozen engine looks for damage, and goes on behind it: there a block that the disk does not give back
 * (-EIO) is damage, too (STM_E_CORRUPT).
 */
int stm_rocks_read_error(char *sentence, bool frozen);

/* ---- engine_rocksdb_manifest.c: the directory of a database as accidents leave it ---- */

/* 1: there is a database, 0: none and no trace of one, STM_E_CORRUPT: tables or logs without CURRENT. */
STM_MUST_CHECK int stm_rocks_look(const char *dir);
/* Opening failed and said this (may be NULL). True: something was mended, open again. */
bool stm_rocks_mend(const char *dir, const char *sentence);
/* A file that could not be taken in, perhaps too late; and when a database has been opened, such files are of no use any more. */
void stm_rocks_keep_unsure(const char *dir, const char *path);
void stm_rocks_drop_unsure(const char *dir);

/* engine_rocksdb_files.c: as the operations of the engine (engine.h) that are called like them. */
STM_MUST_CHECK int stm_rocks_find_file(rocksdb_t *db, const char *family, const struct stm_damage *d, struct stm_file_found *ret);
STM_MUST_CHECK int stm_rocks_drop_file(rocksdb_t *db, const struct stm_file_found *file);

#endif
