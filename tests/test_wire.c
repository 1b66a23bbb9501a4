/* test_wire.c: frames: whole ones, cut ones, garbage, and both ends of a socket. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/cmocka.h"

#include "wire.h"

struct pair {
    int a, b;
};

static struct pair connect_pair(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){fds[0], fds[1]};
}

static void make_frame(struct stm_buf *b, enum stm_wire_type type, const char *payload)
{
    uint8_t head[STM_WIRE_HEAD];

    stm_wire_head(head, type, (uint32_t)strlen(payload));
    assert_int_equal(stm_buf_append(b, head, sizeof(head)), 0);
    assert_int_equal(stm_buf_append(b, payload, strlen(payload)), 0);
}

static void the_head_is_length_in_big_endian_and_type(void **state)
{
    uint8_t head[STM_WIRE_HEAD];

    (void)state;
    stm_wire_head(head, STM_WIRE_OUT, 0x00010203);
    assert_memory_equal(head, "\x00\x01\x02\x03O", 5);
}

static void a_frame_cut_at_any_byte_needs_more(void **state)
{
    struct stm_buf b = STM_BUF_INIT;
    enum stm_wire_type type;
    struct stm_slice payload;

    (void)state;
    make_frame(&b, STM_WIRE_REQUEST, "{\"command\":\"log\"}");
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(stm_wire_parse(stm_slice(b.data, len), &type, &payload), 0);
    assert_int_equal(stm_wire_parse(stm_buf_slice(&b), &type, &payload), (int64_t)b.len);
    assert_int_equal(type, STM_WIRE_REQUEST);
    assert_true(stm_slice_eq(payload, stm_slice_str("{\"command\":\"log\"}")));
    stm_buf_release(&b);
}

static void a_second_frame_behind_the_first_is_left_alone(void **state)
{
    struct stm_buf b = STM_BUF_INIT;
    enum stm_wire_type type;
    struct stm_slice payload;

    (void)state;
    make_frame(&b, STM_WIRE_OUT, "one");
    make_frame(&b, STM_WIRE_EXIT, "");
    assert_int_equal(stm_wire_parse(stm_buf_slice(&b), &type, &payload), STM_WIRE_HEAD + 3);
    assert_int_equal(stm_wire_parse(stm_slice(b.data + 8, b.len - 8), &type, &payload), STM_WIRE_HEAD);
    assert_int_equal(type, STM_WIRE_EXIT);
    stm_buf_release(&b);
}

static void garbage_and_excessive_lengths_are_protocol_errors(void **state)
{
    enum stm_wire_type type;
    struct stm_slice payload;

    (void)state;
    assert_int_equal(stm_wire_parse(stm_slice("GET / HTTP/1.1", 14), &type, &payload), -EPROTO);
    assert_int_equal(stm_wire_parse(stm_slice("\0\0\0\0\0", 5), &type, &payload), -EPROTO);
    assert_int_equal(stm_wire_parse(stm_slice("\0\0\0\0z", 5), &type, &payload), -EPROTO);
    assert_int_equal(stm_wire_parse(stm_slice("\xff\xff\xff\xffQ", 5), &type, &payload), -EPROTO);
    assert_int_equal(stm_wire_parse(stm_slice("\x00\x10\x00\x01Q", 5), &type, &payload), -EPROTO);
    assert_int_equal(stm_wire_parse(stm_slice("\x00\x10\x00\x00Q", 5), &type, &payload), 0);
}

static void any_bytes_parse_without_reading_outside_them(void **state)
{
    enum stm_wire_type type;
    struct stm_slice payload;
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)rand_r(&seed) % 40;
        uint8_t *bytes = malloc(len + 1); /* exactly sized, so that the address sanitizer sees an overrun */

        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)(rand_r(&seed) % (i < 3 ? 2 : 256));
        int64_t n = stm_wire_parse(stm_slice(bytes, len), &type, &payload);
        assert_true(n == -EPROTO || (n >= 0 && n <= (int64_t)len));
        free(bytes);
    }
}

static void what_is_sent_is_received(void **state)
{
    struct pair p = connect_pair();
    struct stm_wire_frame f = {0};

    (void)state;
    assert_int_equal(stm_wire_send(p.a, STM_WIRE_OUT, "hello", 5), 0);
    assert_int_equal(stm_wire_send(p.a, STM_WIRE_END, NULL, 0), 0);
    assert_int_equal(stm_wire_recv(p.b, STM_WIRE_MAX, &f), 1);
    assert_int_equal(f.type, STM_WIRE_OUT);
    assert_int_equal(f.payload.len, 5);
    assert_string_equal((const char *)f.payload.data, "hello");
    assert_int_equal(stm_wire_recv(p.b, STM_WIRE_MAX, &f), 1);
    assert_int_equal(f.type, STM_WIRE_END);
    assert_int_equal(f.payload.len, 0);
    close(p.a);
    assert_int_equal(stm_wire_recv(p.b, STM_WIRE_MAX, &f), 0);
    close(p.b);
    stm_wire_frame_release(&f);
}

static void a_stream_that_ends_inside_a_frame_is_a_protocol_error(void **state)
{
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    make_frame(&b, STM_WIRE_REQUEST, "{}");
    for (size_t len = 1; len < b.len; len++) {
        struct pair p = connect_pair();
        struct stm_wire_frame f = {0};

        assert_int_equal(write(p.a, b.data, len), (ssize_t)len);
        close(p.a);
        assert_int_equal(stm_wire_recv(p.b, STM_WIRE_MAX, &f), -EPROTO);
        close(p.b);
        stm_wire_frame_release(&f);
    }
    stm_buf_release(&b);
}

static void a_frame_over_the_receivers_limit_is_refused_by_its_head(void **state)
{
    struct pair p = connect_pair();
    struct stm_wire_frame f = {0};
    uint8_t head[STM_WIRE_HEAD];

    (void)state;
    stm_wire_head(head, STM_WIRE_REQUEST, STM_WIRE_REQUEST_MAX + 1);
    assert_int_equal(write(p.a, head, sizeof(head)), (ssize_t)sizeof(head));
    assert_int_equal(stm_wire_recv(p.b, STM_WIRE_REQUEST_MAX, &f), -EMSGSIZE);
    close(p.a);
    close(p.b);
    stm_wire_frame_release(&f);
}

static void too_long_a_payload_is_not_sent_and_a_closed_end_is_an_error(void **state)
{
    struct pair p = connect_pair();

    (void)state;
    assert_int_equal(stm_wire_send(p.a, STM_WIRE_OUT, "x", (size_t)STM_WIRE_MAX + 1), -EMSGSIZE);
    close(p.b);
    assert_int_equal(stm_wire_send(p.a, STM_WIRE_OUT, "x", 1), -EPIPE);
    close(p.a);
}

static void a_frame_that_drips_in_must_be_whole_in_time(void **state)
{
    struct pair p = connect_pair();
    struct stm_wire_frame f = {0};
    struct stm_buf b = STM_BUF_INIT;

    (void)state;
    make_frame(&b, STM_WIRE_REQUEST, "{}");
    for (size_t part = 1; part < b.len; part += 5) {
        assert_int_equal(write(p.a, b.data, part), (ssize_t)part);
        assert_int_equal(stm_wire_recv_within(p.b, STM_WIRE_MAX, 20, &f), -EAGAIN);
        close(p.a);
        close(p.b);
        p = connect_pair();
    }
    assert_int_equal(write(p.a, b.data, b.len), (ssize_t)b.len);
    assert_int_equal(stm_wire_recv_within(p.b, STM_WIRE_MAX, 60000, &f), 1);
    assert_int_equal(f.payload.len, 2);
    close(p.a);
    close(p.b);
    stm_buf_release(&b);
    stm_wire_frame_release(&f);
}

enum { LONG = 3 * STM_WIRE_MAX + 17 };

static void *send_long(void *arg)
{
    const int *fd = arg;
    uint8_t *bytes = malloc(LONG);

    for (size_t i = 0; i < LONG; i++)
        bytes[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(stm_wire_send_all(*fd, STM_WIRE_DATA, bytes, LONG), 0);
    free(bytes);
    close(*fd);
    return NULL;
}

static void long_data_arrives_whole_in_several_frames(void **state)
{
    struct pair p = connect_pair();
    struct stm_wire_frame f = {0};
    pthread_t sender;
    size_t total = 0;
    int frames = 0, got;

    (void)state;
    assert_int_equal(pthread_create(&sender, NULL, send_long, &p.a), 0);
    while ((got = stm_wire_recv(p.b, STM_WIRE_MAX, &f)) == 1) {
        frames++;
        for (size_t i = 0; i < f.payload.len; i++, total++)
            assert_int_equal(f.payload.data[i], (uint8_t)(total * 31 >> 3));
    }
    pthread_join(sender, NULL);
    assert_int_equal(got, 0);
    assert_int_equal(total, LONG);
    assert_int_equal(frames, 4);
    close(p.b);
    stm_wire_frame_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_head_is_length_in_big_endian_and_type),
        cmocka_unit_test(a_frame_cut_at_any_byte_needs_more),
        cmocka_unit_test(a_second_frame_behind_the_first_is_left_alone),
        cmocka_unit_test(garbage_and_excessive_lengths_are_protocol_errors),
        cmocka_unit_test(any_bytes_parse_without_reading_outside_them),
        cmocka_unit_test(what_is_sent_is_received),
        cmocka_unit_test(a_stream_that_ends_inside_a_frame_is_a_protocol_error),
        cmocka_unit_test(a_frame_over_the_receivers_limit_is_refused_by_its_head),
        cmocka_unit_test(too_long_a_payload_is_not_sent_and_a_closed_end_is_an_error),
        cmocka_unit_test(a_frame_that_drips_in_must_be_whole_in_time),
        cmocka_unit_test(long_data_arrives_whole_in_several_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
