/*
 * engine_mem_tree.h: a persistent treap: a search tree by key and a heap by random priority. Part of the reference engine only.
 *
 *     struct stm_treap *root = NULL;                  // an empty tree
 *     err = stm_treap_put(&root, pair, random);
 *     struct stm_treap *then = stm_treap_ref(root);   // the tree as it is now, whatever happens to root later
 *
 * Invariants: (1) a node that has more than one reference is never changed; who wants to change it copies it first, and so the path
 * down to it; (2) where put or remove fails with -ENOMEM, the tree in *root may miss keys: release it and go back to a reference
 * that was taken before; (3) depth is logarithmic as long as priorities are random.
 *
 * Thread-safety: a tree may be read, and its references given back, by any number of threads; *root is changed by one at a time.
 */
#ifndef STEMMA_ENGINE_MEM_TREE_H
#define STEMMA_ENGINE_MEM_TREE_H

#include "stemma/types.h"

#include <stdatomic.h>

/* A key and its value: immutable, shared by all copies of a node. */
struct stm_pair {
    atomic_size_t refs;
    size_t key_len, value_len;
    uint8_t bytes[]; /* key, value */
};

struct stm_treap {
    atomic_size_t refs;
    uint64_t priority; /* never less than a child's */
    struct stm_treap *left, *right;
    struct stm_pair *pair;
};

static inline struct stm_slice stm_pair_key(const struct stm_pair *p)
{
    return stm_slice(p->bytes, p->key_len);
}

static inline struct stm_slice stm_pair_value(const struct stm_pair *p)
{
    return stm_slice(p->bytes + p->key_len, p->value_len);
}

/* NULL: no memory. */
struct stm_pair *stm_pair_new(struct stm_slice key, struct stm_slice value);
struct stm_pair *stm_pair_ref(struct stm_pair *p);
void stm_pair_unref(struct stm_pair *p); /* NULL is fine */

/* The order of keys: bytewise, a prefix before what it begins. Less than, equal to or greater than 0. */
int stm_treap_compare(struct stm_slice a, struct stm_slice b);

struct stm_treap *stm_treap_ref(struct stm_treap *root); /* NULL, the empty tree, is fine here and in all that follow */
void stm_treap_unref(struct stm_treap *root);

/* Nodes are borrowed from the tree; NULL: no such key. */
const struct stm_treap *stm_treap_find(const struct stm_treap *root, struct stm_slice key);
/* The first node with a key >= key; > key when `after`. */
const struct stm_treap *stm_treap_first(const struct stm_treap *root, struct stm_slice key, bool after);
/* The last node with a key <= key; < key when `before`. */
const struct stm_treap *stm_treap_last(const struct stm_treap *root, struct stm_slice key, bool before);

/* Adds the pair, or replaces the one with its key. The tree takes a reference of its own. 0 or -ENOMEM (invariant 2). */
STM_MUST_CHECK int stm_treap_put(struct stm_treap **root, struct stm_pair *pair, uint64_t priority);
/* The key must be there. 0 or -ENOMEM (invariant 2). */
STM_MUST_CHECK int stm_treap_remove(struct stm_treap **root, struct stm_slice key);

#endif
