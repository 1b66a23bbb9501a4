/* describe.c: what a store looks like, as text (story.h). */
#include <stdlib.h>
#include <sys/stat.h>

#include "cmocka.h"
#include "story.h"

static void describe_object(struct world *w, uint64_t id, struct stm_buf *out)
{
    struct stm_buf value = STM_BUF_INIT;
    struct stm_object o = world_object(w, id);
    char hash[33];

    assert_int_equal(stm_buf_printf(out, "mode=%o links=%u size=%llu data=%llu", o.mode, o.nlink, (unsigned long long)o.size,
                                    (unsigned long long)o.data),
                     0);
    assert_int_equal(stm_xattr_list(&w->head, id, &value), 0);
    for (size_t i = 0; i < value.len; i++)
        value.data[i] = value.data[i] ? value.data[i] : ',';
    assert_int_equal(stm_buf_printf(out, " xattrs=%.*s", (int)value.len, value.data ? (char *)value.data : ""), 0);
    for (uint32_t i = 0; S_ISREG(o.mode) && o.tip.seq && i <= o.tip.ordinal; i++) {
        struct stm_version_row row;
        assert_int_equal(stm_version_row(&w->head, o.line, i, &row), 0);
        stm_hash_format(&row.hash, hash);
        assert_int_equal(stm_buf_printf(out, " v%u.%u.%u=%s", row.semver.major, row.semver.minor, row.semver.patch, hash), 0);
    }
    stm_buf_release(&value);
}

static void describe_directory(struct world *w, uint64_t dir, int depth, struct stm_buf *out)
{
    struct stm_dir *d;
    struct stm_entry e;

    assert_int_equal(stm_dir_open(&w->head, dir, 0, &d), 0);
    while (stm_dir_next(d, &e, NULL) > 0) {
        assert_int_equal(stm_buf_printf(out, "\n%*s%s ", depth, "", e.name), 0);
        describe_object(w, e.object, out);
        if (e.type == S_IFDIR)
            describe_directory(w, e.object, depth + 2, out);
    }
    stm_dir_free(d);
}

char *story_describe(struct world *w)
{
    struct stm_buf out = STM_BUF_INIT;

    describe_directory(w, STM_ROOT_OBJECT, 0, &out);
    assert_int_equal(stm_buf_append(&out, "", 1), 0);
    return (char *)out.data;
}
