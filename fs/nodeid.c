/*
 * nodeid.c: packing and unpacking of node numbers. Whether the thing exists is for others to find out.
 */
#include <errno.h>

#include "nodeid.h"

int stm_nodeid_make(struct stm_node node, uint64_t *ret)
{
    if (node.id == 0 || node.id > STM_ID_MAX || node.n > STM_ORDINAL_MAX)
        return -EOVERFLOW;
    *ret = ((uint64_t)node.kind << 60) | ((uint64_t)node.n << 40) | node.id;
    return 0;
}

int stm_nodeid_parse(uint64_t ino, struct stm_node *ret)
{
    struct stm_node node = {
        .kind = (enum stm_node_kind)(ino >> 60),
        .n = (uint32_t)(ino >> 40) & STM_ORDINAL_MAX,
        .id = ino & STM_ID_MAX,
    };

    if ((ino >> 60) > STM_NODE_VIRTUAL || node.id == 0)
        return -ESTALE;
    if ((node.kind == STM_NODE_HEAD || node.kind == STM_NODE_VIRTUAL) && node.n != 0)
        return -ESTALE;
    *ret = node;
    return 0;
}
