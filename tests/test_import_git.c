/* Tests of import_git.c, on small repositories made by the git program; skipped where there is none. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support/cmocka.h"
#include "support/loader.h"
#include "support/tmpdir.h"

static struct loader l;
static const char *repo;
static int day;

/* Runs a line of shell in the repository. */
static void sh(const char *line)
{
    char *command = NULL;

    assert_true(
        asprintf(&command,
                 "cd %s && export HOME=%s GIT_CONFIG_NOSYSTEM=1 && unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE && { %s; } >/dev/null 2>&1",
                 repo, repo, line) > 0);
    if (system(command) != 0)
        fail_msg("failed: %s", line);
    free(command);
}

/* Commits everything, one day after the commit before. */
static void commit(const char *message)
{
    char line[512];

    snprintf(line, sizeof line,
             "git add -A && GIT_AUTHOR_DATE='2020-01-%02dT00:00:00Z' git -c user.name='Ada Name' -c user.email=ada@example.org commit -q "
             "--allow-empty "
             "--allow-empty-message -m '%s'",
             ++day, message);
    sh(line);
}

static int setup(void **state)
{
    (void)state;
    repo = stm_tmpdir();
    day = 0;
    sh("git init -q -b main .");
    loader_open(&l, "/g");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loader_close(&l);
    return 0;
}

static void import(void)
{
    loader_again(&l);
    assert_int_equal(stm_import_git(&l.im, repo), STM_EXIT_OK);
}

static void each_commit_becomes_a_commit_with_author_date_and_message(void **state)
{
    struct stm_version v;
    struct stm_object o;
    uint64_t seq;

    (void)state;
    sh("echo one >a");
    commit("first");
    sh("echo two >a; mkdir d; echo x >d/f");
    commit("second\n\nwith a body");
    uint64_t before = stm_store_seq(l.w.store);
    import();
    assert_int_equal(stm_store_seq(l.w.store), before + 2);
    uint64_t a = loader_find(&l, "/g/a");
    world_expect_chain(&l.w, a, "v1.0.0=one\n v1.0.1=two\n");
    loader_expect(&l, "/g/d/f", "x\n");
    o = world_object(&l.w, a);
    assert_int_equal(stm_version_at(&l.w.head, &o, &v), 0);
    assert_true(stm_slice_eq(stm_version_author(&v), stm_slice_str("Ada Name <ada@example.org>")));
    assert_true(stm_slice_eq(stm_version_message(&v), stm_slice_str("second\n\nwith a body")));
    assert_int_equal(v.effective_ns, INT64_C(1577923200) * 1000000000);
    assert_int_equal(o.mtime_ns, v.effective_ns);
    assert_int_equal(stm_seq_at_effective(l.w.store, loader_find(&l, "/g"), v.effective_ns - 1, &seq), 0);
    assert_int_equal(seq, v.row.seq - 1);
    stm_version_release(&v);
}

static void modes_symlinks_removals_and_strange_names_are_kept(void **state)
{
    struct stm_buf target = STM_BUF_INIT;

    (void)state;
    sh("echo 1 >run; chmod +x run; ln -s run link; mkdir -p deep/er; echo 2 >deep/er/f; printf 3 >'tab\tand \"quote\\'; printf 4 "
       ">'line\nfeed'; printf 5 >'\303\274'");
    commit("one");
    sh("git rm -q deep/er/f");
    commit("two");
    import();
    assert_int_equal(world_object(&l.w, loader_find(&l, "/g/run")).mode, S_IFREG | 0755);
    assert_int_equal(stm_object_target(&l.w.head, loader_find(&l, "/g/link"), &target), 0);
    assert_true(stm_slice_eq(stm_buf_slice(&target), stm_slice_str("run")));
    stm_buf_release(&target);
    loader_expect(&l, "/g/deep", NULL);
    loader_expect(&l, "/g/tab\tand \"quote\\", "3");
    loader_expect(&l, "/g/line\nfeed", "4");
    loader_expect(&l, "/g/\303\274", "5");
}

static void files_and_directories_change_places(void **state)
{
    (void)state;
    sh("echo 1 >x; mkdir -p d/e; echo 2 >d/e/f");
    commit("one");
    sh("rm -r x d; mkdir x; echo 3 >x/y; echo 4 >d");
    commit("two");
    import();
    loader_expect(&l, "/g/x/y", "3\n");
    loader_expect(&l, "/g/d", "4\n");
}

static void a_merge_brings_what_it_changes_for_its_first_parent(void **state)
{
    (void)state;
    sh("echo 1 >a");
    commit("base");
    sh("git checkout -q -b side; echo 2 >b");
    commit("on the side 1");
    sh("echo 3 >b");
    commit("on the side 2");
    sh("git checkout -q main; echo 4 >c");
    commit("on main");
    sh("git -c user.name=M -c user.email=m@example.org merge -q -m merged side");
    uint64_t before = stm_store_seq(l.w.store);
    import();
    assert_int_equal(stm_store_seq(l.w.store), before + 3);
    world_expect_chain(&l.w, loader_find(&l, "/g/b"), "v1.0.0=3\n");
}

static void only_new_commits_are_imported_the_next_time(void **state)
{
    (void)state;
    sh("echo 1 >a");
    commit("one");
    sh("echo 2 >a");
    commit("two");
    import();
    uint64_t seq = stm_store_seq(l.w.store);
    import();
    assert_int_equal(stm_store_seq(l.w.store), seq);
    sh("echo 3 >a");
    commit("three");
    import();
    world_expect_chain(&l.w, loader_find(&l, "/g/a"), "v1.0.0=1\n v1.0.1=2\n v1.0.2=3\n");
    sh("git reset -q --hard HEAD~1; echo other >a");
    commit("another three");
    loader_again(&l);
    assert_int_equal(stm_import_git(&l.im, repo), STM_EXIT_INPUT);
    loader_expect_said(&l, "not in this history");
    loader_expect(&l, "/g/a", "3\n");
}

static void submodules_are_left_out_and_counted(void **state)
{
    (void)state;
    sh("echo 1 >a");
    commit("one");
    sh("git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),sub");
    sh("git -c user.name=M -c user.email=m@example.org commit -q -m two");
    import();
    loader_expect(&l, "/g/sub", NULL);
    loader_expect_said(&l, "1 changes of submodules were left out");
}

static void a_large_file_arrives_whole(void **state)
{
    enum { SIZE = 2500000 };
    char *data = malloc(SIZE + 1);

    (void)state;
    memset(data, 'q', SIZE);
    for (int i = 0; i < SIZE; i += 3001)
        data[i] = '\n';
    data[SIZE] = 0;
    loader_write(stm_tmpdir_path(repo, "big"), data, SIZE);
    sh("echo after >zz");
    commit("one");
    import();
    loader_expect(&l, "/g/big", data);
    loader_expect(&l, "/g/zz", "after\n");
    free(data);
}

static void what_is_no_repository_or_has_no_commits_is_said(void **state)
{
    (void)state;
    assert_int_equal(stm_import_git(&l.im, repo), STM_EXIT_INPUT);
    loader_expect_said(&l, "has no commits yet");
    assert_int_equal(stm_import_git(&l.im, stm_tmpdir_path(repo, "missing")), STM_EXIT_INPUT);
    loader_expect_said(&l, "not a git repository");
    sh("mkdir sub; echo 1 >sub/a");
    commit("one");
    assert_int_equal(stm_import_git(&l.im, stm_tmpdir_path(repo, "sub")), STM_EXIT_INPUT);
    loader_expect_said(&l, "inside a git repository");
    loader_expect(&l, "/g", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_commit_becomes_a_commit_with_author_date_and_message, setup, teardown),
        cmocka_unit_test_setup_teardown(modes_symlinks_removals_and_strange_names_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(files_and_directories_change_places, setup, teardown),
        cmocka_unit_test_setup_teardown(a_merge_brings_what_it_changes_for_its_first_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(only_new_commits_are_imported_the_next_time, setup, teardown),
        cmocka_unit_test_setup_teardown(submodules_are_left_out_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_file_arrives_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_repository_or_has_no_commits_is_said, setup, teardown),
    };

    if (system("git --version >/dev/null 2>&1") != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
