/*
 * codec.h: compression of one run of bytes, and the checks that belong to it.
 * Thread-safety: stm_codec_* are internally safe (contexts per call or per thread).
 */
#ifndef STEMMA_CODEC_H
#define STEMMA_CODEC_H

#include "stemma/buf.h"

/* Stored in records: never renumber. */
enum stm_codec { STM_CODEC_NONE = 0, STM_CODEC_LZ4 = 1, STM_CODEC_ZSTD = 2, STM_CODEC_GZIP = 3 };

const char *stm_codec_name(enum stm_codec codec); /* "none", "lz4", "zstd", "gzip"; "unknown" otherwise */

/*
 * Compresses raw with the codec (level: zstd's; others ignore it) and appends the result to out. When less than 1/16 would be gained,
 * or a probe of two 4 KiB samples (raw over 16 KiB) says that it will not, appends raw itself. Returns the codec really used, or
 * -ENOMEM, -EINVAL for an unknown codec.
 */
STM_MUST_CHECK int stm_codec_pack(enum stm_codec codec, int level, struct stm_slice raw, struct stm_buf *out);

/* Decompresses into raw, whose size must be known exactly. 0, STM_E_CORRUPT when the bytes do not give raw_len bytes, -EINVAL, -ENOMEM. */
STM_MUST_CHECK int stm_codec_unpack(enum stm_codec codec, struct stm_slice packed, void *raw, size_t raw_len);

#endif
