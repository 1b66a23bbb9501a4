/* fsck_seen.c: what a round remembers: tables of a fixed size in which a newcomer takes the place of what was there. */
#include <stdlib.h>

#include "fsck.h"

enum { DAMAGES = 1 << 14, PAGES = 1 << 16, OWNERS = 64, OWNER_AT = 12, REF_BYTES = 25 };

struct chunk {
    uint64_t segment; /* 0: none */
    uint32_t index;
};

struct stm_fsck_seen {
    struct chunk damages[DAMAGES], pages[PAGES];
    struct stm_owner owners[OWNERS];
};

int stm_fsck_seen_new(struct stm_fsck_seen **ret)
{
    struct stm_fsck_seen *s = calloc(1, sizeof *s);

    *ret = s;
    return s ? 0 : -ENOMEM;
}

void stm_fsck_seen_free(struct stm_fsck_seen *s)
{
    if (!s)
        return;
    for (int i = 0; i < OWNERS; i++)
        stm_buf_release(&s->owners[i].list);
    free(s);
}

static bool seen(struct chunk *table, size_t size, uint64_t segment, uint32_t index)
{
    struct chunk *c = &table[(segment * 31 + index) * UINT64_C(0x9e3779b97f4a7c15) >> 40 & (size - 1)];
    bool same = c->segment == segment && c->index == index;

    *c = (struct chunk){segment, index};
    return same;
}

bool stm_seen_damage(struct stm_fsck_seen *s, uint64_t segment, uint32_t index)
{
    return seen(s->damages, DAMAGES, segment, index);
}

bool stm_seen_page(struct stm_fsck_seen *s, uint64_t segment, uint32_t index)
{
    return seen(s->pages, PAGES, segment, index);
}

struct stm_owner *stm_seen_owner(struct stm_fsck_seen *s, struct stm_slice ref_key, bool *ret_new)
{
    const uint8_t *k = ref_key.data;
    uint64_t owner = stm_get_u64(k + OWNER_AT + 1);
    uint32_t part = stm_get_u32(k + OWNER_AT + 9);
    struct stm_owner *o = &s->owners[(owner * 7 + part) % OWNERS];

    *ret_new = o->tag != k[OWNER_AT] || o->owner != owner || o->part != part;
    if (*ret_new) {
        o->tag = k[OWNER_AT];
        o->owner = owner;
        o->part = part;
        o->gone = o->unreadable = false;
        stm_buf_clear(&o->list);
    }
    return o;
}
