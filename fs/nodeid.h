/*
 * nodeid.h: what the kernel calls a node, and what we mean by it: kind:4 | n:20 | id:40. Since everything is in the number, no table of
 * stored objects is needed, a forget costs nothing, and a number means the same after a restart.
 *
 * Invariant: the root, object 1 at the head, is number 1, as the kernel wants it; no valid number is 0.
 * Thread-safety: immutable.
 */
#ifndef STEMMA_NODEID_H
#define STEMMA_NODEID_H

#include "stemma/types.h"

enum stm_node_kind {
    STM_NODE_HEAD = 0,    /* id: object; n is 0 */
    STM_NODE_VERSION = 1, /* id: line, n: ordinal of the version */
    STM_NODE_VIEW = 2,    /* id: object, n: id of the view (stm_view_id) */
    STM_NODE_VIRTUAL = 3  /* id: number of an interned node (virtual.h); n is 0 */
};

struct stm_node {
    enum stm_node_kind kind;
    uint32_t n;
    uint64_t id;
};

/* 0, or -EOVERFLOW when a part does not fit: never wraps. */
STM_MUST_CHECK int stm_nodeid_make(struct stm_node node, uint64_t *ret);
/* 0, or -ESTALE for a number that we never give. */
STM_MUST_CHECK int stm_nodeid_parse(uint64_t ino, struct stm_node *ret);

/* Parts that come from the store are in range. */
static inline uint64_t stm_nodeid_head(uint64_t object)
{
    return object & STM_ID_MAX;
}
static inline uint64_t stm_nodeid_version(uint64_t line, uint32_t ordinal)
{
    return (UINT64_C(1) << 60) | ((uint64_t)(ordinal & STM_ORDINAL_MAX) << 40) | (line & STM_ID_MAX);
}
static inline uint64_t stm_nodeid_view(uint32_t view, uint64_t object)
{
    return (UINT64_C(2) << 60) | ((uint64_t)(view & STM_ORDINAL_MAX) << 40) | (object & STM_ID_MAX);
}
static inline uint64_t stm_nodeid_virtual(uint64_t number)
{
    return (UINT64_C(3) << 60) | (number & STM_ID_MAX);
}

#endif
