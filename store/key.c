/* key.c: see key.h. */
#include "key.h"

#include <assert.h>

#include "stemma/hash.h"

enum { TAG_PAGE = 1, TAG_VERSION = 2 };

static struct stm_key key_new(void)
{
    struct stm_key k;
    k.len = 0;
    k.fix = -1;
    k.fix_not = false;
    return k;
}

static void add_raw(struct stm_key *k, const void *data, size_t len)
{
    assert(k->len + len <= sizeof k->bytes);
    if (len > 0)
        memcpy(k->bytes + k->len, data, len);
    k->len = (uint16_t)(k->len + len);
}

static void add_u8(struct stm_key *k, uint8_t v)
{
    add_raw(k, &v, 1);
}

static void add_u32(struct stm_key *k, uint32_t v)
{
    uint8_t b[4];
    stm_put_u32(b, v);
    add_raw(k, b, sizeof b);
}

static void add_u64(struct stm_key *k, uint64_t v)
{
    uint8_t b[8];
    stm_put_u64(b, v);
    add_raw(k, b, sizeof b);
}

static void add_seq(struct stm_key *k, uint64_t seq, bool complement)
{
    if (seq == STM_SEQ_THIS) {
        k->fix = (int16_t)k->len;
        k->fix_not = complement;
    }
    add_u64(k, complement ? ~seq : seq);
}

uint64_t stm_name_cookie(struct stm_slice name)
{
    uint64_t h = stm_hash64(name, 0) >> 8;
    return (h ? h : 1) << 7;
}

struct stm_key stm_key_sys(const char *name)
{
    struct stm_key k = key_new();
    add_raw(&k, name, strlen(name));
    return k;
}

struct stm_key stm_key_mark(struct stm_slice mark)
{
    struct stm_key k = stm_key_sys("mark.");
    add_raw(&k, mark.data, mark.len);
    return k;
}

struct stm_key stm_key_dentry_from(uint64_t parent, uint64_t cookie)
{
    struct stm_key k = key_new();
    add_u64(&k, parent);
    add_u64(&k, cookie);
    return k;
}

struct stm_key stm_key_dentry(uint64_t parent, struct stm_slice name)
{
    struct stm_key k = stm_key_dentry_from(parent, stm_name_cookie(name));
    add_raw(&k, name.data, name.len);
    return k;
}

struct stm_key stm_key_hist(uint64_t parent, struct stm_slice name, uint64_t from)
{
    struct stm_key k = stm_key_dentry(parent, name);
    add_u8(&k, 0);
    add_seq(&k, from, true);
    return k;
}

struct stm_key stm_key_tombstone(uint64_t parent, struct stm_slice name)
{
    return stm_key_hist(parent, name, UINT64_MAX);
}

struct stm_key stm_key_object(uint64_t object)
{
    struct stm_key k = key_new();
    add_u64(&k, object);
    return k;
}

struct stm_key stm_key_version(uint64_t line, uint64_t seq)
{
    struct stm_key k = key_new();
    add_u64(&k, line);
    add_seq(&k, seq, true);
    return k;
}

struct stm_key stm_key_chunk(uint64_t segment, uint32_t index)
{
    struct stm_key k = key_new();
    add_u64(&k, segment);
    add_u32(&k, index);
    return k;
}

struct stm_key stm_key_chunkhash(const uint8_t *hash)
{
    struct stm_key k = key_new();
    add_raw(&k, hash, STM_HASH_LEN);
    return k;
}

static struct stm_key key_ref(uint64_t segment, uint32_t index, uint8_t tag, uint64_t owner, uint32_t part)
{
    struct stm_key k = stm_key_chunk(segment, index);
    add_u8(&k, tag);
    add_u64(&k, owner);
    add_u32(&k, part);
    return k;
}

struct stm_key stm_key_ref_page(uint64_t segment, uint32_t index, uint64_t page_segment, uint32_t page_index)
{
    return key_ref(segment, index, TAG_PAGE, page_segment, page_index);
}

struct stm_key stm_key_ref_version(uint64_t segment, uint32_t index, uint64_t line, uint32_t ordinal)
{
    return key_ref(segment, index, TAG_VERSION, line, ordinal);
}

struct stm_key stm_key_log(uint64_t seq)
{
    struct stm_key k = key_new();
    add_seq(&k, seq, false);
    return k;
}

struct stm_key stm_key_index(enum stm_index_tag tag, uint64_t id)
{
    struct stm_key k = key_new();
    add_u8(&k, (uint8_t)tag);
    add_u64(&k, id);
    return k;
}

struct stm_key stm_key_row(uint64_t line, uint32_t ordinal)
{
    struct stm_key k = stm_key_index(STM_IX_ROW, line);
    add_u32(&k, ordinal);
    return k;
}

struct stm_key stm_key_past_line(uint64_t object, uint64_t since)
{
    struct stm_key k = stm_key_index(STM_IX_PAST_LINE, object);
    add_seq(&k, since, true);
    return k;
}

struct stm_key stm_key_effective(uint64_t dir, int64_t effective_ns, uint64_t seq)
{
    struct stm_key k = stm_key_index(STM_IX_EFFECTIVE, dir);
    add_u64(&k, (uint64_t)effective_ns ^ (UINT64_C(1) << 63)); /* so that times before 1970 sort before later ones */
    add_seq(&k, seq, false);
    return k;
}
