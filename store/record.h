/*
 * record.h: bytes of records: writing and reading fields, and the checksummed frame around every value (docs/FORMAT.md).
 * Pure; knows no engine. What each record holds is in the file of its meaning (object.c, version.c, ...), key layouts in key.h.
 *
 *     struct stm_rec r = STM_REC_INIT;
 *     stm_rec_u64(&r, id);
 *     stm_rec_seq(&r, STM_SEQ_THIS);       // patched when the commit gets its number
 *     stm_txn_put(txn, STM_OBJECT, &key, &r);
 *
 *     struct stm_dec d = stm_dec(value);
 *     id = stm_dec_u64(&d);
 *     if (stm_dec_end(&d) < 0) return STM_E_CORRUPT;
 *
 * Invariants: (1) integers are big-endian and of fixed width; (2) a record knows where it holds the seq and time of its own commit, by
 * the sentinels below; (3) an encoder that ran out of memory, or a decoder that ran out of bytes, stays failed and yields zeros:
 * one check at the end suffices.
 * Thread-safety: one thread at a time.
 */
#ifndef STEMMA_RECORD_H
#define STEMMA_RECORD_H

#include "engine.h"
#include "stemma/buf.h"

/* In a field: the seq, or the recorded time, of the commit that this record is written by. Never stored. */
#define STM_SEQ_THIS (UINT64_MAX - 1)
#define STM_TIME_THIS (INT64_MIN + 1)

enum stm_fix_kind { STM_FIX_SEQ, STM_FIX_NOT_SEQ, STM_FIX_TIME };

struct stm_fix {
    uint32_t offset;
    enum stm_fix_kind kind;
};

/* STM_REC_FIXES: no record has more seqs and times; damaged ones that hold the sentinels everywhere are written again like others. */
enum { STM_REC_FIXES = 9, STM_FRAME_HEAD = 1, STM_FRAME_TAIL = 4, STM_RECORD_FORMAT = 1, STM_RECORD_FORMAT_HOLES = 2 };

/* A record being written. The frame's head (format byte) is put there by the first field. */
struct stm_rec {
    struct stm_buf buf;
    struct stm_fix fix[STM_REC_FIXES];
    uint8_t fixes;
    bool failed;
};

#define STM_REC_INIT                                                                                                                       \
    {                                                                                                                                      \
        STM_BUF_INIT, {{0, STM_FIX_SEQ}}, 0, false                                                                                         \
    }

void stm_rec_release(struct stm_rec *r);
void stm_rec_u8(struct stm_rec *r, uint8_t v);
void stm_rec_u32(struct stm_rec *r, uint32_t v);
void stm_rec_u64(struct stm_rec *r, uint64_t v);
void stm_rec_seq(struct stm_rec *r, uint64_t seq);
void stm_rec_time(struct stm_rec *r, int64_t ns);
/* Bytes without their length; the reader must know it. */
void stm_rec_raw(struct stm_rec *r, const void *data, size_t len);
/* Another format than STM_RECORD_FORMAT; after the first field. */
void stm_rec_format(struct stm_rec *r, uint8_t format);
/* Length (u32) and bytes. */
void stm_rec_blob(struct stm_rec *r, struct stm_slice s);

/* In a log record the length of the tag stands above the number of items. */
enum { STM_LOG_TAG_SHIFT = 56 };

struct stm_dec {
    const uint8_t *at, *end;
    bool failed;
};

/* Reads the fields of an unframed value: stm_frame_open gives one. */
static inline struct stm_dec stm_dec(struct stm_slice payload)
{
    return (struct stm_dec){payload.data, payload.len ? (const uint8_t *)payload.data + payload.len : payload.data, false};
}
uint8_t stm_dec_u8(struct stm_dec *d);
uint32_t stm_dec_u32(struct stm_dec *d);
uint64_t stm_dec_u64(struct stm_dec *d);
static inline int64_t stm_dec_i64(struct stm_dec *d)
{
    return (int64_t)stm_dec_u64(d);
}
/* len bytes, borrowed; NULL when there are not so many. */
const void *stm_dec_raw(struct stm_dec *d, size_t len);
struct stm_slice stm_dec_blob(struct stm_dec *d);
/* 0 when everything was there and nothing is left over, else STM_E_CORRUPT. */
STM_MUST_CHECK int stm_dec_end(const struct stm_dec *d);

void stm_put_u32(uint8_t *p, uint32_t v);
void stm_put_u64(uint8_t *p, uint64_t v);
uint32_t stm_get_u32(const uint8_t *p);
uint64_t stm_get_u64(const uint8_t *p);

/*
 * The frame: format byte, payload, 32-bit checksum of both that also covers space and key, so that a value found under another key
 * is damage. close writes the checksum into the last 4 bytes of frame; open checks it and gives the payload (borrowed from frame).
 * The format is STM_RECORD_FORMAT, for versions also STM_RECORD_FORMAT_HOLES. open: STM_E_CORRUPT, or STM_E_NEWER_FORMAT when the checksum is right and the format byte is newer.
 */
void stm_frame_close(enum stm_space space, struct stm_slice key, uint8_t *frame, size_t len);
STM_MUST_CHECK int stm_frame_open(enum stm_space space, struct stm_slice key, struct stm_slice frame, struct stm_slice *ret_payload);

#endif
