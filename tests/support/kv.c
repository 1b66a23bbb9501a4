/*
 * kv.c: short words for tests that talk to an engine directly.
 */
#include "support/kv.h"

#include "support/cmocka.h"
#include "support/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct stm_op kv_op_put(enum stm_space space, const char *key, const char *value)
{
    return (struct stm_op){STM_OP_PUT, space, stm_slice_str(key), stm_slice_str(value)};
}

struct stm_op kv_op_delete(enum stm_space space, const char *key)
{
    return (struct stm_op){STM_OP_DELETE, space, stm_slice_str(key), stm_slice(NULL, 0)};
}

void kv_put(struct stm_engine *e, enum stm_space space, const char *key, const char *value)
{
    struct stm_op op = kv_op_put(space, key, value);

    assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
}

void kv_delete(struct stm_engine *e, enum stm_space space, const char *key)
{
    struct stm_op op = kv_op_delete(space, key);

    assert_int_equal(e->ops->commit(e, &op, 1, false), 0);
}

void kv_expect(struct stm_engine *e, enum stm_space space, const char *key, const char *value)
{
    struct stm_buf got = STM_BUF_INIT;
    int err = e->ops->get(e, space, stm_slice_str(key), &got);

    assert_int_equal(err, value ? 0 : -ENOENT);
    if (value)
        assert_true(stm_slice_eq(stm_buf_slice(&got), stm_slice_str(value)));
    stm_buf_release(&got);
}

void kv_expect_keys(struct stm_engine *e, enum stm_space space, const char *lower, const char *upper, const char *keys)
{
    struct stm_buf got = STM_BUF_INIT;
    struct stm_iter *it;

    assert_int_equal(e->ops->iter_new(e, space, stm_slice_str(lower), stm_slice_str(upper), 0, &it), 0);
    int at = it->ops->iter_seek(it, stm_slice_str(lower));
    for (; at > 0; at = it->ops->iter_next(it)) {
        struct stm_slice key, value;
        it->ops->iter_get(it, &key, &value);
        assert_int_equal(stm_buf_printf(&got, "%s%.*s", got.len ? " " : "", (int)key.len, (const char *)key.data), 0);
    }
    assert_int_equal(at, 0);
    it->ops->iter_free(it);
    assert_string_equal(got.len ? (const char *)got.data : "", keys);
    stm_buf_release(&got);
}

int kv_ingest(struct stm_engine *e, enum stm_space space, const char *prefix, int n)
{
    struct stm_ingest *in;

    assert_int_equal(e->ops->ingest_new(e, space, &in), 0);
    for (int i = 0; i < n; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "%s%06d", prefix, i);
        assert_int_equal(in->ops->ingest_put(in, stm_slice_str(key), stm_slice_str(key)), 0);
    }
    return in->ops->ingest_finish(in, false);
}

static struct stm_iter *from_start(struct stm_engine *e, enum stm_space space, int *ret_at)
{
    struct stm_iter *it;

    assert_int_equal(e->ops->iter_new(e, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it), 0);
    *ret_at = it->ops->iter_seek(it, stm_slice("", 0));
    return it;
}

static void expect_space_equal(struct stm_engine *a, struct stm_engine *b, enum stm_space space)
{
    int at_a, at_b;
    struct stm_iter *it_a = from_start(a, space, &at_a), *it_b = from_start(b, space, &at_b);

    while (at_a > 0 && at_b > 0) {
        struct stm_slice key_a, value_a, key_b, value_b;
        it_a->ops->iter_get(it_a, &key_a, &value_a);
        it_b->ops->iter_get(it_b, &key_b, &value_b);
        assert_true(stm_slice_eq(key_a, key_b));
        assert_true(stm_slice_eq(value_a, value_b));
        at_a = it_a->ops->iter_next(it_a);
        at_b = it_b->ops->iter_next(it_b);
    }
    assert_int_equal(at_a, 0);
    assert_int_equal(at_b, 0);
    it_a->ops->iter_free(it_a);
    it_b->ops->iter_free(it_b);
}

void kv_expect_equal(struct stm_engine *a, struct stm_engine *b)
{
    for (int i = 0; i < STM_SPACES; i++)
        expect_space_equal(a, b, (enum stm_space)i);
}

int kv_try_rocksdb(const char *dir, bool create, bool read_only, struct stm_engine **ret)
{
    struct stm_engine_rocksdb_options opt = {
        .dir = stm_tmpdir_path(dir, "db"), .stage = stm_tmpdir_path(dir, "stage"), .create = create, .read_only = read_only};
    char *why = NULL;

    (void)mkdir(opt.stage, 0700);
    int err = stm_engine_rocksdb_new(&opt, ret, &why);
    free(why);
    return err;
}

struct stm_engine *kv_open_rocksdb(const char *dir)
{
    struct stm_engine *e = NULL;

    assert_int_equal(kv_try_rocksdb(dir, true, false, &e), 0);
    return e;
}
