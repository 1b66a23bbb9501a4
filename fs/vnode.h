/*
 * vnode.h: nodes that are stored nowhere: symlinks of moving selectors, `word@` directories, texts, and what lies under /.stemma. Interned by
 * (parent, name, target), so that each target of a moving name is a node of its own which may be cached for ever; counted as the
 * kernel counts, freed when it forgets. After a restart an old number is ESTALE and the kernel walks again.
 * Thread-safety: internally locked; a snapshot (stm_vnode_get) is the caller's.
 */
#ifndef STEMMA_VNODE_H
#define STEMMA_VNODE_H

#include "inner.h"

enum { STM_VNODE_STEMMA = 1, STM_VNODE_AT = 2, STM_VNODE_FIRST = 16 }; /* numbers of /.stemma and /.stemma/at, which are always there */

enum stm_vnode_kind {
    STM_V_STEMMA,   /* /.stemma */
    STM_V_AT,       /* /.stemma/at */
    STM_V_LINK,     /* a symlink to target */
    STM_V_VERSIONS, /* word@/ */
    STM_V_LOG,      /* word@/log */
    STM_V_JSONL     /* word@/log.jsonl */
};

struct stm_vnode {
    uint64_t number;
    enum stm_vnode_kind kind;
    uint64_t parent; /* node number of the directory */
    uint64_t line;   /* VERSIONS, LOG, JSONL: whose versions */
    int64_t born_ns;
    char name[STM_NAME_MAX + 1];
    char *target; /* LINK */
};

STM_MUST_CHECK int stm_vnodes_new(struct stm_fs *fs);
void stm_vnodes_free(struct stm_fs *fs);
/* What is wanted: kind, parent, line, name, target (borrowed). The node gets one more count, which stm_vnode_forget takes back. */
STM_MUST_CHECK int stm_vnode_intern(struct stm_fs *fs, const struct stm_vnode *want, uint64_t *ret_number);
void stm_vnode_forget(struct stm_fs *fs, uint64_t number, uint64_t n);
/* A copy (stm_vnode_release). -ESTALE. */
STM_MUST_CHECK int stm_vnode_get(struct stm_fs *fs, uint64_t number, struct stm_vnode *ret);
void stm_vnode_release(struct stm_vnode *v);
uint64_t stm_vnodes_count(struct stm_fs *fs);

/* Texts that stay as they were when opened: kept by the handle's number. */
STM_MUST_CHECK int stm_text_keep(struct stm_fs *fs, struct stm_buf *text, uint64_t *ret_handle); /* takes the bytes */
STM_MUST_CHECK int64_t stm_text_read(struct stm_fs *fs, uint64_t handle, uint64_t off, void *buf, size_t len);
void stm_text_drop(struct stm_fs *fs, uint64_t handle);

/* virtual.c */
/* Interns and answers a look-up with it; ret->vnode is the count to take back if the kernel does not get the answer. */
STM_MUST_CHECK int stm_found_vnode(struct stm_fs *fs, const struct stm_caller *who, const struct stm_vnode *want, struct stm_found *ret);
STM_MUST_CHECK int stm_virtual_attr(struct stm_fs *fs, uint64_t number, struct stm_attr *ret);
/* 1: posted itself to be asked again. */
struct stm_again;
STM_MUST_CHECK int stm_virtual_lookup(struct stm_fs *fs, struct stm_again *a, struct stm_found *ret);
/* The object that carries the line, and how many of its versions may be shown; what is pending is sealed. 1: wait for ret->object. */
struct stm_chain {
    struct stm_object object;
    uint32_t n;
};
STM_MUST_CHECK int stm_chain_of(struct stm_fs *fs, uint64_t line, bool waited, struct stm_chain *ret);
/* The bytes of a LOG or JSONL. 1: wait; *ret_object then says for whom. */
STM_MUST_CHECK int stm_virtual_text(struct stm_fs *fs, const struct stm_vnode *v, bool waited, struct stm_buf *ret, uint64_t *ret_object);

#endif
