/*
 * engine_mem_tree.c: the persistent treap of engine_mem_tree.h. It knows no spaces and takes no locks.
 */
#include "engine_mem_tree.h"

#include <errno.h>
#include <stdlib.h>

static void copy(uint8_t *to, struct stm_slice from)
{
    if (from.len > 0)
        memcpy(to, from.data, from.len);
}

int stm_treap_compare(struct stm_slice a, struct stm_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

struct stm_pair *stm_pair_new(struct stm_slice key, struct stm_slice value)
{
    struct stm_pair *p = malloc(sizeof *p + key.len + value.len);

    if (!p)
        return NULL;
    atomic_init(&p->refs, 1);
    p->key_len = key.len;
    p->value_len = value.len;
    copy(p->bytes, key);
    copy(p->bytes + key.len, value);
    return p;
}

struct stm_pair *stm_pair_ref(struct stm_pair *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void stm_pair_unref(struct stm_pair *p)
{
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

struct stm_treap *stm_treap_ref(struct stm_treap *n)
{
    if (n)
        atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
    return n;
}

/* Recursion is as deep as the tree, which is logarithmic whatever the keys are. */
void stm_treap_unref(struct stm_treap *n)
{
    if (!n || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) > 1)
        return;
    stm_treap_unref(n->left);
    stm_treap_unref(n->right);
    stm_pair_unref(n->pair);
    free(n);
}

/* Takes the pair. */
static struct stm_treap *node_new(uint64_t priority, struct stm_pair *pair)
{
    struct stm_treap *n = malloc(sizeof *n);

    if (!n)
        return NULL;
    atomic_init(&n->refs, 1);
    n->priority = priority;
    n->left = n->right = NULL;
    n->pair = pair;
    return n;
}

/* Makes the node in the slot one that nobody else sees. NULL: no memory, nothing changed. The slot itself must be owned. */
static struct stm_treap *own(struct stm_treap **slot)
{
    struct stm_treap *old = *slot;

    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1)
        return old;
    struct stm_treap *n = node_new(old->priority, stm_pair_ref(old->pair));
    if (!n) {
        stm_pair_unref(old->pair);
        return NULL;
    }
    n->left = stm_treap_ref(old->left);
    n->right = stm_treap_ref(old->right);
    *slot = n;
    stm_treap_unref(old);
    return n;
}

/* Looking for keys */

const struct stm_treap *stm_treap_find(const struct stm_treap *n, struct stm_slice key)
{
    while (n) {
        int order = stm_treap_compare(key, stm_pair_key(n->pair));
        if (order == 0)
            return n;
        n = order < 0 ? n->left : n->right;
    }
    return NULL;
}

/* The first node whose key is >= key; > key when `after`. */
const struct stm_treap *stm_treap_first(const struct stm_treap *n, struct stm_slice key, bool after)
{
    const struct stm_treap *best = NULL;

    while (n) {
        int order = stm_treap_compare(key, stm_pair_key(n->pair));
        if (order < 0 || (order == 0 && !after)) {
            best = n;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return best;
}

/* The last node whose key is <= key; < key when `before`. */
const struct stm_treap *stm_treap_last(const struct stm_treap *n, struct stm_slice key, bool before)
{
    const struct stm_treap *best = NULL;

    while (n) {
        int order = stm_treap_compare(key, stm_pair_key(n->pair));
        if (order > 0 || (order == 0 && !before)) {
            best = n;
            n = n->right;
        } else {
            n = n->left;
        }
    }
    return best;
}

/* Changing a tree: all of these may fail with -ENOMEM in the middle, leaving a tree that can only be thrown away. */

static int replace(struct stm_treap **slot, struct stm_pair *pair)
{
    for (;;) {
        struct stm_treap *n = own(slot);
        if (!n)
            return -ENOMEM;
        int order = stm_treap_compare(stm_pair_key(pair), stm_pair_key(n->pair));
        if (order == 0) {
            stm_pair_unref(n->pair);
            n->pair = stm_pair_ref(pair);
            return 0;
        }
        slot = order < 0 ? &n->left : &n->right;
    }
}

/* Cuts tree (taken) into the keys below and above key, which it does not hold. */
static int split(struct stm_treap *tree, struct stm_slice key, struct stm_treap **ret_below, struct stm_treap **ret_above)
{
    struct stm_treap **below = ret_below, **above = ret_above;

    while (tree) {
        struct stm_treap *n = own(&tree);
        if (!n) {
            *below = tree; /* in the wrong place, but it will be freed */
            return -ENOMEM;
        }
        if (stm_treap_compare(key, stm_pair_key(n->pair)) > 0) {
            *below = n;
            below = &n->right;
            tree = n->right;
            n->right = NULL;
        } else {
            *above = n;
            above = &n->left;
            tree = n->left;
            n->left = NULL;
        }
    }
    return 0;
}

static int insert(struct stm_treap **slot, struct stm_pair *pair, uint64_t priority)
{
    while (*slot && (*slot)->priority >= priority) {
        struct stm_treap *n = own(slot);
        if (!n)
            return -ENOMEM;
        slot = stm_treap_compare(stm_pair_key(pair), stm_pair_key(n->pair)) < 0 ? &n->left : &n->right;
    }

    struct stm_treap *added = node_new(priority, stm_pair_ref(pair));
    if (!added) {
        stm_pair_unref(pair);
        return -ENOMEM;
    }
    struct stm_treap *rest = *slot;
    *slot = added;
    return split(rest, stm_pair_key(pair), &added->left, &added->right);
}

/* Joins two trees (taken), every key of one below every key of the other, into the empty slot. */
static int join(struct stm_treap **slot, struct stm_treap *below, struct stm_treap *above)
{
    while (below && above) {
        bool low = below->priority >= above->priority;
        struct stm_treap *n = own(low ? &below : &above);
        if (!n) {
            *slot = below;
            stm_treap_unref(above);
            return -ENOMEM;
        }
        *slot = n;
        slot = low ? &n->right : &n->left;
        *(low ? &below : &above) = *slot;
        *slot = NULL;
    }
    *slot = below ? below : above;
    return 0;
}

int stm_treap_remove(struct stm_treap **slot, struct stm_slice key)
{
    for (;;) {
        struct stm_treap *n = own(slot);
        if (!n)
            return -ENOMEM;
        int order = stm_treap_compare(key, stm_pair_key(n->pair));
        if (order != 0) {
            slot = order < 0 ? &n->left : &n->right;
            continue;
        }
        struct stm_treap *left = n->left, *right = n->right;
        n->left = n->right = *slot = NULL;
        stm_treap_unref(n);
        return join(slot, left, right);
    }
}

int stm_treap_put(struct stm_treap **root, struct stm_pair *pair, uint64_t priority)
{
    return stm_treap_find(*root, stm_pair_key(pair)) ? replace(root, pair) : insert(root, pair, priority);
}
