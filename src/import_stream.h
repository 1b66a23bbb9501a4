/*
 * import_stream.h: the bytes of an import on their way to the daemon, as import_remote.c writes and import_serve.c reads them.
 *
 *     stream   magic record*
 *     record   length:4 kind:1 fields                        integers big-endian, length counts kind and fields
 *     'I'      item:1 valid:4 mode:4 uid:4 gid:4 type:4 rdev:8 atime:8 mtime:8 size:8 path target xattrs:4 (name value)*
 *              where path, target, name, value are length:4 bytes; an item that is a file is followed by its content:
 *     piece    length:4 bytes ... until size bytes are there; STM_PIECE_GONE instead of a length drops the file
 *     'B'      effective:8 id author message                 begin of a commit (author, message: empty is none)
 *     'C'      end of it
 *     'E'      skipped:8                                     end of the import
 *
 * Both ends are the same program; the magic tells when they are not.
 * Thread-safety: immutable.
 */
#ifndef STEMMA_IMPORT_STREAM_H
#define STEMMA_IMPORT_STREAM_H

#include <stdint.h>

#define STM_STREAM_MAGIC "stemma import 1\n"

enum { STM_STREAM_ITEM = 'I', STM_STREAM_BEGIN = 'B', STM_STREAM_COMMIT = 'C', STM_STREAM_END = 'E' };

enum {
    STM_RECORD_MAX = 4 << 20, /* longest record */
    STM_PIECE_MAX = 1 << 18   /* longest piece of a content */
};
#define STM_PIECE_GONE UINT32_MAX

#endif
