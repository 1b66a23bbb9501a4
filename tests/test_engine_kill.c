/*
 * test_engine_kill.c: a process that writes to RocksDB is killed at any moment; what its commits had returned for is there, whole, and
 * nothing after a gap. Power loss is another matter, which no test in a process can show.
 *
 * RocksDB's threads do not survive a fork, so this process never opens a database: children write, other children look.
 */
#include "support/cmocka.h"
#include "support/kv.h"
#include "support/tmpdir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 6, INGEST_EVERY = 400 };

/* Commit i puts one key into each of two spaces; now and then an ingestion goes before it. Every number goes down the pipe when done. */
static void write_until_killed(const char *dir, unsigned from, int pipe_fd)
{
    struct stm_engine *e = NULL;

    if (kv_try_rocksdb(dir, true, false, &e) < 0)
        _exit(1);
    for (unsigned i = from;; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%07u", i);
        struct stm_op ops[] = {kv_op_put(STM_OBJECT, key, key), kv_op_put(STM_VERSION, key, key)};
        if (i % INGEST_EVERY == 0 && kv_ingest(e, STM_CHUNK, key, 10) < 0)
            _exit(1);
        if (e->ops->commit(e, ops, 2, i % 64 == 0) < 0 || write(pipe_fd, &i, sizeof i) != sizeof i)
            _exit(1);
    }
}

/* The number of keys, which must be 1, 2, 3, ... */
static unsigned count(struct stm_engine *e, enum stm_space space)
{
    struct stm_iter *it;
    unsigned n = 0;

    if (e->ops->iter_new(e, space, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it) < 0)
        _exit(2);
    for (int at = it->ops->iter_seek(it, stm_slice("", 0)); at != 0; at = it->ops->iter_next(it)) {
        struct stm_slice key, value;
        char expected[16];
        if (at < 0)
            _exit(3);
        it->ops->iter_get(it, &key, &value);
        (void)snprintf(expected, sizeof expected, "%07u", ++n);
        if (!stm_slice_eq(key, stm_slice_str(expected)) || !stm_slice_eq(value, key))
            _exit(4);
    }
    it->ops->iter_free(it);
    return n;
}

static void look(const char *dir, unsigned acknowledged, int pipe_fd)
{
    struct stm_engine *e = NULL;

    if (kv_try_rocksdb(dir, false, false, &e) < 0)
        _exit(5);
    unsigned objects = count(e, STM_OBJECT), versions = count(e, STM_VERSION);
    if (objects != versions || objects < acknowledged)
        _exit(6);
    for (unsigned i = INGEST_EVERY; i <= objects; i += INGEST_EVERY) {
        char key[32];
        struct stm_buf buf = STM_BUF_INIT;
        (void)snprintf(key, sizeof key, "%07u%06d", i, 9);
        if (e->ops->get(e, STM_CHUNK, stm_slice_str(key), &buf) < 0)
            _exit(7);
        stm_buf_release(&buf);
    }
    e->ops->free(e);
    _exit(write(pipe_fd, &objects, sizeof objects) == sizeof objects ? 0 : 8);
}

/* Runs the writer until it has acknowledged `enough` more commits, kills it, and returns the last acknowledged one. */
static unsigned kill_writer(const char *dir, unsigned last, unsigned enough)
{
    int fds[2];
    unsigned i, acknowledged = last;

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        write_until_killed(dir, last + 1, fds[1]);
    }
    close(fds[1]);
    while (acknowledged < last + enough && read(fds[0], &i, sizeof i) == sizeof i)
        acknowledged = i;
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (read(fds[0], &i, sizeof i) == sizeof i)
        acknowledged = i;
    close(fds[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return acknowledged;
}

static unsigned inspect(const char *dir, unsigned acknowledged)
{
    int fds[2], status;
    unsigned there = 0;

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        look(dir, acknowledged, fds[1]);
    close(fds[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(fds[0], &there, sizeof there), sizeof there);
    close(fds[0]);
    return there;
}

static void a_killed_writer_leaves_every_acknowledged_commit(void **state)
{
    const char *dir = stm_tmpdir();
    unsigned last = 0;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned acknowledged = kill_writer(dir, last, 100 + 379 * round);
        assert_true(acknowledged > last);
        last = inspect(dir, acknowledged);
        if (last / INGEST_EVERY != (last + 1) / INGEST_EVERY)
            break; /* killed between an ingestion and its commit, perhaps: those keys are not fresh any more */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_killed_writer_leaves_every_acknowledged_commit)};

    if (STM_TSAN)
        return 77; /* RocksDB is not instrumented */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
