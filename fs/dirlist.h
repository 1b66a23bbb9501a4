/*
 * dirlist.h: listings that are made once when a directory is opened, for `-o versions=listed`: cookies of the store leave no room for versions
 * between two names, so there the place in the list is the cookie.
 * Thread-safety: internally locked.
 */
#ifndef STEMMA_DIRLIST_H
#define STEMMA_DIRLIST_H

#include "inner.h"

struct stm_listed {
    uint64_t ino;
    uint32_t type;
    char *name;
};

STM_MUST_CHECK int stm_listings_new(struct stm_fs *fs);
void stm_listings_free(struct stm_fs *fs);
/* Starts an empty list and gives its handle. */
STM_MUST_CHECK int stm_listing_open(struct stm_fs *fs, uint64_t *ret_handle);
void stm_listing_close(struct stm_fs *fs, uint64_t handle);
/* Fills the list anew with what the directory holds. An unknown handle is one of an earlier daemon: it gets a list. */
STM_MUST_CHECK int stm_listing_fill(struct stm_fs *fs, uint64_t handle, uint64_t dir);
/* 1 and the entry at index (name is a copy in the caller's buffer of STM_NAME_MAX + 1 bytes), 0 at the end. */
STM_MUST_CHECK int stm_listing_get(struct stm_fs *fs, uint64_t handle, uint64_t index, struct stm_listed *ret, char *name);

#endif
