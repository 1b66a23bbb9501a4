/*
 * fuzz_dictd.c: any bytes as a dictd database: index and text, plain or in gzip's format. What the import puts must have valid names and
 * exactly the bytes that it announced, wherever they are read. The sink stores nothing.
 *
 * Input: how u8 (bit 0: the text is packed, bit 1: here), index length u16, index, text.
 */
#include "fuzz.h"

#include <unistd.h>
#include <zlib.h>

#include "import.h"
#include "stemma/name.h"

enum { SIZE_MAX_READ = 1 << 16 };

static char base[64]; /* of the files' paths */

static int quiet(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    (void)arg, (void)channel, (void)data, (void)len;
    return 0;
}

static int put(void *arg, const struct stm_bulk_item *item)
{
    const struct stm_source *s = item->source;
    char *all, tail[7];
    (void)arg;

    FUZZ_CHECK(item->kind == STM_BULK_FILE && stm_name_check(item->path) == 0);
    if (s->size > SIZE_MAX_READ)
        return 0;
    size_t len = (size_t)s->size, end = len < sizeof tail ? len : sizeof tail;
    FUZZ_CHECK((all = malloc(len + 1)) != NULL);
    FUZZ_CHECK(s->read == NULL || s->read(s->arg, 0, all, len) == 0);
    FUZZ_CHECK(s->read == NULL || s->read(s->arg, len - end, tail, end) == 0);
    FUZZ_CHECK(s->read == NULL || memcmp(tail, all + len - end, end) == 0);
    FUZZ_CHECK(s->read == NULL || s->mem == NULL || memcmp(s->mem, all, len) == 0);
    free(all);
    return 0;
}

static int finish(void *arg, uint64_t skipped, struct stm_bulk_counts *ret)
{
    (void)arg;
    *ret = (struct stm_bulk_counts){.skipped = skipped};
    return 0;
}

static const char *where(void *arg)
{
    (void)arg;
    return "";
}

static char *path_of(const char *suffix, char *out)
{
    snprintf(out, 80, "%s%s", base, suffix);
    return out;
}

static void clean(void)
{
    char path[80];

    unlink(path_of(".index", path));
    unlink(path_of(".dict", path));
    unlink(path_of(".dict.dz", path));
    *strrchr(base, '/') = 0;
    rmdir(base);
}

static void begin(void)
{
    snprintf(base, sizeof base, "%s/stemma-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_CHECK(mkdtemp(base) != NULL);
    strcat(base, "/d");
    atexit(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct stm_out out = {.write = quiet};
    struct stm_import im = {.sink = {.put = put, .finish = finish, .where = where}, .out = &out};
    uint8_t how = fuzz_u8(&in);
    char path[80];

    if (base[0] == 0)
        begin();
    fuzz_write(path_of(".index", path), fuzz_bytes(&in, fuzz_u16(&in)));
    unlink(path_of(".dict.dz", path));
    path_of((how & 1) ? ".dict.dz" : ".dict", path);
    struct stm_slice text = fuzz_rest(&in);
    if ((how & 3) == 3) {
        gzFile z = gzopen(path, "wb1");
        FUZZ_CHECK(z != NULL && (text.len == 0 || gzwrite(z, text.data, (unsigned)text.len) == (int)text.len));
        gzclose(z);
    } else {
        fuzz_write(path, text);
    }
    int code = stm_import_dictd(&im, base);
    FUZZ_CHECK(code == STM_EXIT_OK || code == STM_EXIT_INPUT || code == STM_EXIT_FAILED);
    FUZZ_CHECK(code != STM_EXIT_OK || im.finished);
    (void)stm_out_release(&out);
    return 0;
}
