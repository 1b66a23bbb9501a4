/*
 * test_recover.c: a store whose log was hurt is refused, or whole; it is never silently shorter than what was acknowledged, or, after a power cut,
 * than what was flushed. What a copy of a store has lost is the power cut here: the watermark's other bound counts for the same file alone.
 *
 * RocksDB's threads do not survive a fork, so this process never opens a store: children do, and tell by their exit code.
 */
#include "support/cmocka.h"
#include "support/tmpdir.h"
#include "support/world.h"

#include "stemma/health.h"
#include "stemma/view.h"

#include "key.h"
#include "state.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILES = 60, SYNCED = 20, FLIPS = 12, LENGTHS = 4, WATERMARK = 80, CONTENT = 2000, LOG_BLOCK = 32768, LOG_HEAD = 7 };

/* How opening ended. */
enum outcome { WHOLE = 10, REFUSED, SHORTER, WRONG };

static const uint64_t root = STM_ROOT_OBJECT;

static void text_of(unsigned i, char *text)
{
    memset(text, 'a' + (int)(i % 26), CONTENT);
    (void)snprintf(text, 16, "%u", i);
    text[CONTENT] = 0;
}

static int in_child(int (*run)(const char *dir), const char *dir)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run(dir));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- children ---- */

static int write_store(const char *dir)
{
    struct world w;

    if (world_open_dir(&w, dir, true) < 0)
        return 1;
    for (unsigned i = 0; i < FILES; i++) {
        char name[16], text[CONTENT + 1];
        (void)snprintf(name, sizeof name, "f%u", i);
        text_of(i, text);
        uint64_t f = world_create(&w, root, name);
        world_save(&w, f, text, 0);
        if (i + 1 == SYNCED && stm_store_sync(w.store) < 0)
            return 2;
    }
    return 0; /* as a killed process would end: nothing is closed */
}

/* Files 0 … n-1 are there with their content, and no others. */
static bool is_prefix(struct world *w, unsigned *ret_n)
{
    unsigned n = 0, there = 0;

    for (unsigned i = 0; i < FILES; i++) {
        char name[16], text[CONTENT + 1];
        (void)snprintf(name, sizeof name, "f%u", i);
        uint64_t f = world_find(w, root, name);
        char *content = f ? world_content(&w->head, f, NULL) : NULL;
        text_of(i, text);
        if (content && strcmp(content, text) != 0)
            return false;
        there += f != 0;
        if (content && n == i)
            n++;
        free(content);
    }
    *ret_n = n;
    return there == n || there == n + 1; /* the last one made, and not yet saved */
}

static int look_as(const char *dir, bool salvage)
{
    struct stm_store_options opt = {.engine = STM_ENGINE_ROCKSDB, .salvage = salvage};
    struct world w = {.store = NULL};
    char path[512], *why = NULL;
    unsigned n = 0;

    (void)snprintf(path, sizeof path, "%s/store", dir);
    opt.path = path;
    int err = stm_store_open(&opt, &w.store, &why);
    if (err < 0)
        return err == STM_E_CORRUPT && why && strstr(why, path) && (strstr(why, "backup") || strstr(why, "fsck")) ? REFUSED : 1;
    w.head = stm_view_head(w.store);
    bool right = is_prefix(&w, &n);
    struct stm_store_stats stats;
    if (stm_store_stats(w.store, &stats) < 0 || (salvage && n < FILES && stats.lost_commits == 0))
        return 2;
    if (stm_store_close(w.store) < 0)
        return 3;
    if (n < SYNCED && !salvage)
        return WRONG;
    return !right ? WRONG : n == FILES ? WHOLE : SHORTER;
}

static int look(const char *dir)
{
    return look_as(dir, false);
}

static int salvage(const char *dir)
{
    return look_as(dir, true);
}

static int lose_a_commit(const char *dir)
{
    struct stm_key key = stm_key_log(SYNCED);
    struct stm_op op = {STM_OP_DELETE, STM_LOG, stm_key_slice(&key), {NULL, 0}};
    struct world w;

    if (world_open_dir(&w, dir, false) < 0)
        return 1;
    struct stm_engine *e = w.store->engine;
    return e->ops->commit(e, &op, 1, true) < 0 ? 2 : 0;
}

/* Files may not grow beyond so much: every write of the engine fails. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    (void)signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0) {
        limit.rlim_cur = bytes;
        (void)setrlimit(RLIMIT_FSIZE, &limit);
    }
}

static int read_what_cannot_be_written(const char *dir)
{
    char *path = stm_tmpdir_path(dir, "store");
    struct stm_store_options opt = {.path = path, .engine = STM_ENGINE_ROCKSDB};
    struct world w = {.store = NULL};
    struct stm_health h;
    struct stm_iter *it;
    unsigned n = 0;

    limit_files(WATERMARK);
    if (stm_store_open(&opt, &w.store, NULL) != -EIO)
        return 1;
    opt.or_read_only = true;
    if (stm_store_open(&opt, &w.store, NULL) < 0)
        return 2;
    w.head = stm_view_head(w.store);
    stm_store_health(w.store, &h);
    if (!is_prefix(&w, &n) || n != FILES || h.state != STM_HEALTH_DEGRADED || h.error != -EIO || !h.read_only)
        return 3;
    if (world_try_unlink(&w, root, "f0") != -EIO || stm_store_room(w.store, 1, 0) != -EIO || stm_store_reopen(w.store) != -EIO)
        return 4;
    /* It works again. A reader that was there before goes on in what it had opened. */
    limit_files(RLIM_INFINITY);
    struct stm_engine *e = w.store->engine;
    if (e->ops->iter_new(e, STM_LOG, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it) < 0 || it->ops->iter_seek(it, stm_slice("", 0)) != 1)
        return 5;
    if (stm_store_reopen(w.store) < 0 || w.store->engine == e)
        return 6;
    stm_store_health(w.store, &h);
    if (h.state != STM_HEALTH_GOOD || h.read_only || world_try_unlink(&w, root, "f0") < 0)
        return 7;
    for (n = 1; it->ops->iter_next(it) == 1; n++)
        ;
    it->ops->iter_free(it);
    if (n != 1 + 2 * FILES)
        return 8;
    return stm_store_close(w.store) < 0 ? 9 : 0;
}

static int one_is_gone(const char *dir)
{
    struct world w;

    if (world_open_dir(&w, dir, false) < 0)
        return 1;
    bool gone = world_find(&w, root, "f0") == 0 && world_find(&w, root, "f1") != 0;
    return stm_store_close(w.store) < 0 ? 2 : gone ? 0 : 3;
}

/* ---- files ---- */

static void shell(const char *fmt, const char *a, const char *b)
{
    char command[1100];

    (void)snprintf(command, sizeof command, fmt, a, b);
    assert_int_equal(system(command), 0);
}

/* A directory with a store that was written and not closed, and a path for copies of it. */
static const char *made(void)
{
    const char *dir = stm_tmpdir();

    assert_int_equal(in_child(write_store, dir), 0);
    return dir;
}

/* A copy. same: with the very file of the watermark, as if nothing but the process had ended. */
static const char *copy_of(const char *dir, bool same)
{
    const char *copy = stm_tmpdir();

    shell("mkdir %s%s", copy, "/store");
    shell("cd %s/store && cp -a db stage lock stemma watermark %s/store/", dir, copy);
    if (same)
        shell("ln -f %s/store/watermark %s/store/watermark", dir, copy);
    return copy;
}

static void watermark(const char *dir, bool put, uint8_t bytes[WATERMARK])
{
    char *path = stm_tmpdir_path(dir, "store/watermark");
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(put ? pwrite(fd, bytes, WATERMARK, 0) : pread(fd, bytes, WATERMARK, 0), WATERMARK);
    close(fd);
}

/* The largest log: opened, with its length. */
static int open_log(const char *dir, off_t *ret_len)
{
    const char *db = stm_tmpdir_path(dir, "store/db");
    char best[300] = "";
    struct dirent *e;
    struct stat st;
    DIR *d = opendir(db);

    assert_non_null(d);
    *ret_len = 0;
    while ((e = readdir(d)))
        if (strstr(e->d_name, ".log") && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_size > *ret_len) {
            *ret_len = st.st_size;
            (void)snprintf(best, sizeof best, "%s", e->d_name);
        }
    int fd = openat(dirfd(d), best, O_RDWR | O_CLOEXEC);
    closedir(d);
    assert_true(fd >= 0);
    return fd;
}

static void flip_at(int fd, off_t at, unsigned bit)
{
    uint8_t byte;

    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= (uint8_t)(1 << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* Somewhere in the log: part of FLIPS. */
static void flip(const char *dir, unsigned part)
{
    off_t len;
    int fd = open_log(dir, &len);

    flip_at(fd, len * part / FLIPS + 5, part % 8);
    close(fd);
}

/* The length of one of the last records in the log (RocksDB's: checksum, length u16 little-endian, type): what follows looks torn. */
static void flip_length(const char *dir, unsigned which)
{
    off_t len, at, starts[LOG_BLOCK / LOG_HEAD];
    uint8_t head[LOG_HEAD];
    int fd = open_log(dir, &len), n = 0;

    for (at = len - len % LOG_BLOCK; at + LOG_HEAD < len && pread(fd, head, LOG_HEAD, at) == LOG_HEAD;
         at += LOG_HEAD + head[4] + head[5] * 256)
        starts[n++] = at;
    assert_true(n > (int)which);
    flip_at(fd, starts[n - 1 - (int)which] + 5, 6);
    close(fd);
}

static void cut(const char *dir, unsigned percent)
{
    off_t len;
    int fd = open_log(dir, &len);

    assert_int_equal(ftruncate(fd, len * percent / 100), 0);
    close(fd);
}

/* Zeros where bytes were, from that part on: some, or all that follow. The length stays. */
static void blank(const char *dir, unsigned percent, off_t bytes)
{
    off_t len, from;
    int fd = open_log(dir, &len);

    from = len * percent / 100;
    if (bytes > len - from)
        bytes = len - from;
    assert_int_equal(ftruncate(fd, bytes < len - from ? len : from), 0);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, bytes), 0);
    assert_int_equal(ftruncate(fd, len), 0);
    close(fd);
}

/* ---- tests ---- */

static void a_killed_process_loses_nothing(void **state)
{
    const char *dir = made();

    (void)state;
    assert_int_equal(in_child(look, dir), WHOLE);
    assert_int_equal(in_child(look, dir), WHOLE);
}

static void a_flipped_bit_in_the_log_is_refused(void **state)
{
    const char *dir = made();
    uint8_t bytes[WATERMARK];
    unsigned refused = 0, shorter = 0;

    (void)state;
    watermark(dir, false, bytes);
    for (unsigned i = 0; i < FLIPS + LENGTHS; i++) {
        const char *copy = copy_of(dir, true);
        if (i < FLIPS)
            flip(copy, i);
        else
            flip_length(copy, i - FLIPS);
        int how = in_child(look, copy);
        assert_true(how == REFUSED || how == WHOLE); /* whole: a byte that nobody reads */
        refused += how == REFUSED;
        watermark(dir, true, bytes);
        stm_tmpdir_remove(copy);
    }
    /* Control: without the watermark some of them cost commits, and nobody is told. */
    for (unsigned i = 0; i < LENGTHS; i++) {
        const char *copy = copy_of(dir, false);
        assert_int_equal(unlink(stm_tmpdir_path(copy, "store/watermark")), 0);
        flip_length(copy, i);
        shorter += in_child(look, copy) == SHORTER;
        stm_tmpdir_remove(copy);
    }
    print_message("%u of %u flips refused; without the watermark %u of the last %u would have cost commits\n", refused, FLIPS + LENGTHS,
                  shorter, LENGTHS);
    assert_true(refused >= FLIPS + LENGTHS - 2);
    assert_true(shorter > 0);
}

static void a_torn_tail_is_accepted_as_far_as_nothing_was_flushed(void **state)
{
    const char *dir = made(), *copy = copy_of(dir, false);

    (void)state;
    cut(copy, 80);
    assert_int_equal(in_child(look, copy), SHORTER);
    /* but not below what was flushed, */
    copy = copy_of(dir, false);
    cut(copy, 10);
    assert_int_equal(in_child(look, copy), REFUSED);
    /* nor where the machine has never stopped */
    copy = copy_of(dir, true);
    cut(copy, 80);
    assert_int_equal(in_child(look, copy), REFUSED);
}

static void holes_are_accepted_where_nothing_was_flushed(void **state)
{
    const char *dir = made(), *copy;
    static const off_t lengths[] = {3000, 1 << 30};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        copy = copy_of(dir, false);
        blank(copy, 80, lengths[i]);
        assert_int_equal(in_child(look, copy), SHORTER);
        assert_int_equal(in_child(look, copy), SHORTER); /* and it stays so */
        copy = copy_of(dir, false);
        blank(copy, 10, lengths[i]);
        assert_int_equal(in_child(look, copy), REFUSED);
        copy = copy_of(dir, true);
        blank(copy, 80, lengths[i]);
        assert_int_equal(in_child(look, copy), REFUSED);
    }
    /* Control: without a watermark nothing is proved, and a hole is damage. */
    copy = copy_of(dir, false);
    assert_int_equal(unlink(stm_tmpdir_path(copy, "store/watermark")), 0);
    blank(copy, 80, lengths[0]);
    assert_int_equal(in_child(look, copy), REFUSED);
}

static void a_salvage_goes_back_to_the_last_whole_commit(void **state)
{
    const char *dir = made();
    struct stat st;

    (void)state;
    flip(dir, FLIPS / 2);
    assert_int_equal(in_child(look, dir), REFUSED);
    assert_int_equal(in_child(salvage, dir), SHORTER);
    assert_int_equal(stat(stm_tmpdir_path(dir, "store/damaged"), &st), 0);
    assert_true(st.st_nlink >= 2);
    assert_true(in_child(look, dir) != REFUSED);
}

static void a_missing_commit_is_noticed(void **state)
{
    const char *dir = made();

    (void)state;
    assert_int_equal(in_child(lose_a_commit, dir), 0);
    assert_int_equal(in_child(look, dir), REFUSED);
}

static void what_cannot_be_written_is_read_and_written_later(void **state)
{
    const char *dir = made();

    (void)state;
    assert_int_equal(in_child(read_what_cannot_be_written, dir), 0);
    assert_int_equal(in_child(one_is_gone, dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_written_is_read_and_written_later),
        cmocka_unit_test(a_killed_process_loses_nothing),
        cmocka_unit_test(a_flipped_bit_in_the_log_is_refused),
        cmocka_unit_test(a_torn_tail_is_accepted_as_far_as_nothing_was_flushed),
        cmocka_unit_test(holes_are_accepted_where_nothing_was_flushed),
        cmocka_unit_test(a_salvage_goes_back_to_the_last_whole_commit),
        cmocka_unit_test(a_missing_commit_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
