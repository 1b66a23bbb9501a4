/* test_server.c: the daemon's socket: good requests, garbage, half requests, strangers, too many at a time, and its end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/tmpdir.h"
#include "support/world.h"

#include "client.h"
#include "server.h"
#include "wire.h"

static struct world w;
static struct stm_server *server;
static const char *dir;

static int setup(void **state)
{
    struct stm_env env = {0};

    (void)state;
    world_open_mem(&w);
    world_save(&w, world_create(&w, STM_ROOT_OBJECT, "word"), "text", 0);
    dir = stm_tmpdir();
    env.store = w.store;
    assert_int_equal(stm_server_new(dir, &env, &server), 0);
    return 0;
}

static void end_server(int code)
{
    stm_server_stop(server);
    stm_server_free(server, code);
    server = NULL;
}

static int teardown(void **state)
{
    (void)state;
    end_server(0);
    world_close(&w);
    return 0;
}

struct page {
    struct stm_buf text[2];
};

static int keep(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    struct page *p = arg;

    return stm_buf_append(&p->text[channel], data, len);
}

/* Hears a connection out; returns its code. *ret_text (may be NULL): what came for the output, malloc'd. */
static int hear(int fd, char **ret_text)
{
    struct page page = {{{0}, {0}}};
    struct stm_out out = {.write = keep, .arg = &page};
    int code = stm_client_receive(fd, false, &out);

    (void)stm_out_release(&out);
    if (ret_text != NULL) {
        assert_int_equal(stm_buf_append(&page.text[STM_CHANNEL_OUT], "", 1), 0);
        *ret_text = (char *)page.text[STM_CHANNEL_OUT].data;
        page.text[STM_CHANNEL_OUT] = (struct stm_buf)STM_BUF_INIT;
    }
    stm_buf_release(&page.text[0]);
    stm_buf_release(&page.text[1]);
    return code;
}

static int connected(void)
{
    int fd = stm_client_connect(dir);

    assert_true(fd >= 0);
    return fd;
}

static void send_text(int fd, const char *json)
{
    assert_int_equal(stm_wire_send(fd, STM_WIRE_REQUEST, json, strlen(json)), 0);
}

static void serves(void)
{
    char *text;
    int fd = connected();

    send_text(fd, "{\"command\":\"show\",\"path\":\"/word\"}");
    assert_int_equal(hear(fd, &text), 0);
    assert_string_equal(text, "text");
    free(text);
    close(fd);
}

static void a_request_is_answered_with_output_and_exit_code(void **state)
{
    int fd = connected();

    (void)state;
    serves();
    send_text(fd, "{\"command\":\"show\",\"path\":\"/none\"}");
    assert_int_equal(hear(fd, NULL), STM_EXIT_NOT_FOUND);
    close(fd);
}

static void garbage_gets_an_error_and_the_next_request_is_served(void **state)
{
    static const char *const wrong[] = {"", "[]", "7", "{", "{}", "{\"command\":1}", "{\"command\":\"format\"}", "\xff\xfe"};
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        fd = connected();
        send_text(fd, wrong[i]);
        assert_int_equal(hear(fd, NULL), STM_EXIT_USAGE);
        close(fd);
    }
    fd = connected();
    assert_int_equal(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    assert_int_equal(hear(fd, NULL), STM_EXIT_USAGE);
    close(fd);
    fd = connected();
    assert_int_equal(stm_wire_send(fd, STM_WIRE_DATA, "x", 1), 0);
    assert_int_equal(hear(fd, NULL), STM_EXIT_USAGE);
    close(fd);
    serves();
}

static void a_request_cut_at_any_byte_harms_nobody(void **state)
{
    static const char json[] = "{\"command\":\"show\",\"path\":\"/word\"}";
    uint8_t frame[STM_WIRE_HEAD + sizeof(json) - 1];

    (void)state;
    stm_wire_head(frame, STM_WIRE_REQUEST, sizeof(json) - 1);
    memcpy(frame + STM_WIRE_HEAD, json, sizeof(json) - 1);
    for (size_t len = 0; len < sizeof(frame); len++) {
        int fd = connected();

        if (len > 0)
            assert_int_equal(write(fd, frame, len), (ssize_t)len);
        close(fd);
        if (len % 8 == 0)
            usleep(2000); /* so that not all of them queue up at a time */
    }
    usleep(20000);
    serves();
}

static void a_client_that_leaves_while_it_is_answered_harms_nobody(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        int fd = connected();

        send_text(fd, "{\"command\":\"log\",\"path\":\"/word\"}");
        close(fd);
        usleep(1000);
    }
    usleep(20000);
    serves();
}

static void one_too_many_waits_its_turn(void **state)
{
    struct pollfd last;
    int fds[STM_SERVER_MAX];

    (void)state;
    for (int i = 0; i < STM_SERVER_MAX; i++)
        fds[i] = connected(); /* and says nothing */
    last = (struct pollfd){.fd = connected(), .events = POLLIN};
    send_text(last.fd, "{\"command\":\"show\",\"path\":\"/word\"}");
    assert_int_equal(poll(&last, 1, 50), 0);
    close(fds[3]);
    assert_int_equal(hear(last.fd, NULL), 0);
    close(last.fd);
    for (int i = 0; i < STM_SERVER_MAX; i++) {
        if (i != 3)
            close(fds[i]);
    }
    serves();
}

static void stopping_does_not_wait_for_those_whose_turn_has_not_come(void **state)
{
    int fds[STM_SERVER_MAX + 3];

    (void)state;
    for (int i = 0; i < STM_SERVER_MAX + 3; i++)
        fds[i] = connected();
    usleep(20000);
    end_server(0);
    for (int i = 0; i < STM_SERVER_MAX + 3; i++)
        close(fds[i]);
}

/* A child that is somebody else connects; returns what it heard. The socket's mode is opened for it first. */
static int stranger_hears(void)
{
    char *socket_path = stm_tmpdir_path(dir, "socket");
    int status;
    pid_t pid;

    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chmod(socket_path, 0666), 0);
    pid = fork();
    if (pid == 0) {
        struct stm_out nothing = {.write = keep, .arg = &(struct page){{{0}, {0}}}};
        int fd = setgid(65534) == 0 && setuid(65534) == 0 ? stm_client_connect(dir) : -1;

        _exit(fd < 0 ? 99 : stm_client_receive(fd, false, &nothing));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(stranger_hears(), STM_EXIT_FAILED);
    serves();
}

static void the_socket_is_for_its_owner_and_goes_with_the_server(void **state)
{
    struct stat st;
    char *path = stm_tmpdir_path(dir, "socket");

    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    end_server(0);
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(stm_client_connect(dir), -ENOENT);
}

static void a_dead_daemons_socket_is_replaced(void **state)
{
    struct stm_env env = {.store = w.store};
    struct sockaddr_un address;
    int where, fd;

    (void)state;
    end_server(0);
    assert_int_equal(stm_socket_address(dir, &address, &where), 0);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    close(where);
    assert_int_equal(stm_client_connect(dir), -ENOENT); /* there, but nobody listens */
    assert_int_equal(stm_server_new(dir, &env, &server), 0);
    serves();
}

static void a_store_in_a_deep_directory_has_a_socket_too(void **state)
{
    struct stm_env env = {.store = w.store};
    char deep[1024];

    (void)state;
    end_server(0);
    strcpy(deep, dir);
    for (int i = 0; i < 3; i++) {
        strcat(deep, "/a-directory-with-a-name-that-is-longer-than-a-socket-address-can-hold");
        assert_int_equal(mkdir(deep, 0700), 0);
    }
    dir = deep;
    assert_int_equal(stm_server_new(dir, &env, &server), 0);
    serves();
    end_server(0);
}

static void who_waits_hears_the_code_when_all_is_over(void **state)
{
    struct stm_out nothing = {.write = keep, .arg = &(struct page){{{0}, {0}}}};
    struct pollfd silent;
    int fd = connected();

    (void)state;
    send_text(fd, "{\"command\":\"wait\"}");
    assert_int_equal(stm_client_receive(fd, true, &nothing), -EAGAIN);
    stm_server_stop(server);
    silent = (struct pollfd){.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&silent, 1, 20), 0);
    stm_server_free(server, 5);
    server = NULL;
    assert_int_equal(hear(fd, NULL), 5);
    close(fd);
}

static void who_waited_and_hung_up_takes_no_place(void **state)
{
    struct stm_out nothing = {.write = keep, .arg = &(struct page){{{0}, {0}}}};

    (void)state;
    for (int i = 0; i < 200; i++) {
        int fd = connected();

        send_text(fd, "{\"command\":\"wait\"}");
        assert_int_equal(stm_client_receive(fd, true, &nothing), -EAGAIN);
        close(fd);
    }
    serves();
}

static void stopping_does_not_wait_for_a_silent_client(void **state)
{
    int fd = connected();

    (void)state;
    usleep(10000);
    end_server(0);
    assert_int_equal(hear(fd, NULL), -ECONNRESET); /* not a word */
    close(fd);
}

static void *ask_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        char *text = NULL;
        int fd = connected(), code;

        send_text(fd, "{\"command\":\"show\",\"path\":\"/word\"}");
        code = hear(fd, &text);
        assert_true(code == 0 && strcmp(text, "text") == 0);
        free(text);
        close(fd);
    }
    return NULL;
}

static void many_clients_are_served_at_a_time(void **state)
{
    pthread_t threads[8];

    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(a_request_is_answered_with_output_and_exit_code),
        SERVER_TEST(garbage_gets_an_error_and_the_next_request_is_served),
        SERVER_TEST(a_request_cut_at_any_byte_harms_nobody),
        SERVER_TEST(a_client_that_leaves_while_it_is_answered_harms_nobody),
        SERVER_TEST(one_too_many_waits_its_turn),
        SERVER_TEST(stopping_does_not_wait_for_those_whose_turn_has_not_come),
        SERVER_TEST(strangers_are_refused),
        SERVER_TEST(the_socket_is_for_its_owner_and_goes_with_the_server),
        SERVER_TEST(a_dead_daemons_socket_is_replaced),
        SERVER_TEST(a_store_in_a_deep_directory_has_a_socket_too),
        SERVER_TEST(who_waits_hears_the_code_when_all_is_over),
        SERVER_TEST(who_waited_and_hung_up_takes_no_place),
        SERVER_TEST(stopping_does_not_wait_for_a_silent_client),
        SERVER_TEST(many_clients_are_served_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
