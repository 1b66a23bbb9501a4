/* Tests of import_remote.c and import_serve.c: an import that travels as a stream of bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support/cmocka.h"
#include "support/loader.h"

static struct loader l;
static struct stm_buf stream;
static struct stm_remote *remote;
static struct stm_sink sink;
static struct stm_bulk_counts counts;

static int keep(void *arg, const void *data, size_t len)
{
    (void)arg;
    return stm_buf_append(&stream, data, len);
}

/* The stream comes back in pieces of `step` bytes and ends after `end`. */
struct feed {
    size_t at, end, step;
};

static int next(void *arg, struct stm_slice *ret)
{
    struct feed *f = arg;
    size_t n = f->end - f->at < f->step ? f->end - f->at : f->step;

    *ret = stm_slice(stream.data + f->at, n);
    f->at += n;
    return n > 0;
}

static int serve(size_t end, size_t step)
{
    return stm_import_serve(next, &(struct feed){.end = end, .step = step}, &l.im.sink, &counts);
}

static int setup(void **state)
{
    (void)state;
    loader_open(&l, "/t");
    assert_int_equal(stm_remote_new(keep, NULL, &remote), 0);
    sink = stm_remote_sink(remote);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stm_remote_free(remote);
    stm_buf_release(&stream);
    loader_close(&l);
    return 0;
}

static void put(const char *path, const char *content)
{
    struct stm_source src = {.size = strlen(content), .mem = content};

    assert_int_equal(sink.put(sink.arg, &(struct stm_bulk_item){.kind = STM_BULK_FILE, .path = stm_slice_str(path), .source = &src}), 0);
}

static void put_some(void)
{
    struct stm_bulk_xattr x[] = {{stm_slice_str("user.k"), stm_slice_str("v")}, {stm_slice_str("user.e"), stm_slice_str("")}};
    struct stm_bulk_item d = {
        .kind = STM_BULK_DIR,
        .path = stm_slice_str("d"),
        .attr = {.valid = STM_SET_MODE | STM_SET_MTIME, .mode = 0700, .mtime_ns = -12345, .xattrs = x, .xattr_count = 2}};

    put("a", "content");
    put("d/empty", "");
    assert_int_equal(sink.put(sink.arg, &d), 0);
    assert_int_equal(
        sink.put(sink.arg, &(struct stm_bulk_item){.kind = STM_BULK_SYMLINK, .path = stm_slice_str("s"), .target = stm_slice_str("a")}), 0);
    assert_int_equal(
        sink.put(sink.arg, &(struct stm_bulk_item){.kind = STM_BULK_LINK, .path = stm_slice_str("h"), .target = stm_slice_str("a")}), 0);
    assert_int_equal(sink.begin(sink.arg, &(struct stm_bulk_commit){.id = stm_slice_str("1"), .author = "A <a@b>", .effective_ns = 77}), 0);
    put("c", "committed");
    assert_int_equal(sink.put(sink.arg, &(struct stm_bulk_item){.kind = STM_BULK_REMOVE, .path = stm_slice_str("s")}), 0);
    assert_int_equal(sink.commit(sink.arg), 0);
}

static void finish(void)
{
    assert_int_equal(sink.finish(sink.arg, 5, &counts), 0);
    assert_int_equal(counts.files, 0);
}

static void everything_arrives_whatever_the_pieces(void **state)
{
    struct stm_object o;
    struct stm_buf value = STM_BUF_INIT;

    (void)state;
    put_some();
    finish();
    assert_int_equal(serve(stream.len, 1), 0);
    assert_int_equal(counts.files, 3);
    assert_int_equal(counts.skipped, 5);
    loader_expect(&l, "/t/a", "content");
    loader_expect(&l, "/t/d/empty", "");
    loader_expect(&l, "/t/c", "committed");
    loader_expect(&l, "/t/s", NULL);
    assert_int_equal(loader_find(&l, "/t/h"), loader_find(&l, "/t/a"));
    o = world_object(&l.w, loader_find(&l, "/t/d"));
    assert_int_equal(o.mode, S_IFDIR | 0700);
    assert_int_equal(o.mtime_ns, -12345);
    assert_int_equal(stm_xattr_get(&l.w.head, o.id, stm_slice_str("user.k"), &value), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&value), stm_slice_str("v")));
    stm_buf_release(&value);
    loader_again(&l);
    assert_int_equal(serve(stream.len, 1000), 0);
    assert_int_equal(counts.versions, 0);
}

static void a_stream_that_ends_early_is_an_error(void **state)
{
    (void)state;
    put_some();
    finish();
    for (size_t end = 0; end < stream.len; end++) {
        loader_again(&l);
        assert_int_equal(serve(end, 7), -EPROTO);
    }
}

/* Damage may go unnoticed (it is the same program at both ends), but must do no harm. */
static void a_damaged_stream_is_read_without_harm(void **state)
{
    (void)state;
    put_some();
    finish();
    for (size_t i = 0; i < stream.len; i++) {
        loader_again(&l);
        stream.data[i] ^= 0x81;
        (void)!serve(stream.len, 1000);
        stream.data[i] ^= 0x81;
    }
}

/* A content of 3 MiB and a bit, which reading fails in when armed. */
struct big {
    uint64_t fail_at;
};
enum { BIG = 3 * 1024 * 1024 + 5 };

static int read_big(void *arg, uint64_t off, void *buf, size_t len)
{
    struct big *b = arg;

    for (size_t i = 0; i < len; i++)
        ((char *)buf)[i] = (char)('a' + (off + i) * 7919 / 1000 % 26);
    return b->fail_at < off + len ? -EIO : 0;
}

static void large_files_are_streamed_and_files_that_fail_are_left_out(void **state)
{
    struct big b = {.fail_at = UINT64_MAX};
    struct stm_source src = {.size = BIG, .read = read_big, .arg = &b};
    struct stm_bulk_item item = {.kind = STM_BULK_FILE, .path = stm_slice_str("big"), .source = &src};
    char *all = malloc(BIG + 1);

    (void)state;
    assert_int_equal(sink.put(sink.arg, &item), 0);
    item.path = stm_slice_str("broken");
    b.fail_at = 2000000;
    assert_int_equal(sink.put(sink.arg, &item), -EIO);
    src.size = 5;
    b.fail_at = 0;
    assert_int_equal(sink.put(sink.arg, &item), -EIO);
    put("after", "wards");
    finish();
    assert_int_equal(serve(stream.len, 60000), 0);
    assert_int_equal(counts.files, 2);
    (void)!read_big(&b, 0, all, BIG);
    all[BIG] = 0;
    loader_expect(&l, "/t/big", all);
    loader_expect(&l, "/t/broken", NULL);
    loader_expect(&l, "/t/after", "wards");
    free(all);
}

static void large_files_of_commits_that_are_there_are_skipped(void **state)
{
    struct big b = {.fail_at = UINT64_MAX};
    struct stm_source src = {.size = BIG, .read = read_big, .arg = &b};
    struct stm_bulk_item item = {.kind = STM_BULK_FILE, .path = stm_slice_str("big"), .source = &src};

    (void)state;
    assert_int_equal(sink.begin(sink.arg, &(struct stm_bulk_commit){.id = stm_slice_str("1")}), 0);
    assert_int_equal(sink.put(sink.arg, &item), 0);
    assert_int_equal(sink.commit(sink.arg), 0);
    finish();
    assert_int_equal(serve(stream.len, 60000), 0);
    assert_int_equal(counts.files, 1);
    loader_again(&l);
    assert_int_equal(serve(stream.len, 60000), 0);
    assert_int_equal(counts.files, 0);
}

static int refuse(void *arg, const void *data, size_t len)
{
    (void)arg, (void)data, (void)len;
    return -ECANCELED;
}

static void what_send_says_is_passed_on(void **state)
{
    struct stm_remote *r;

    (void)state;
    assert_int_equal(stm_remote_new(refuse, NULL, &r), 0);
    sink = stm_remote_sink(r);
    put("small", "stays in the buffer");
    assert_int_equal(sink.finish(sink.arg, 0, &counts), -ECANCELED);
    stm_remote_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_arrives_whatever_the_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_that_ends_early_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_stream_is_read_without_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(large_files_are_streamed_and_files_that_fail_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(large_files_of_commits_that_are_there_are_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(what_send_says_is_passed_on, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
