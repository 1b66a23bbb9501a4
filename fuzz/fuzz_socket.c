/*
 * fuzz_socket.c: any bytes to the daemon's socket: the real server with a small store in memory takes them through a real connection.
 * Whatever came, the answer is a row of whole frames that ends with one EXIT (a client that asked to wait is only told READY), and a proper
 * request is served afterwards.
 *
 * Input: (type u8, length u16, payload)*, sent as frames; a type of 0 sends the payload as it is.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "server.h"
#include "stemma/tree.h"
#include "wire.h"

static struct stm_store *store;
static struct stm_server *server;
static char dir[64];

static void clean(void)
{
    stm_server_stop(server);
    stm_server_free(server, 0);
    (void)stm_store_close(store);
    rmdir(dir);
}

static int build(struct stm_txn *t, void *arg)
{
    struct stm_new file = {.mode = 0100644}, folder = {.mode = 040755};
    struct stm_object o;
    (void)arg;
    int err = stm_tree_create(t, STM_ROOT_OBJECT, stm_slice_str("word"), &file, &o);

    return err < 0 ? err : stm_tree_create(t, STM_ROOT_OBJECT, stm_slice_str("dir"), &folder, &o);
}

static void fill(struct stm_store *s)
{
    struct stm_change change = {0};
    FUZZ_CHECK(stm_update(s, &change, build, NULL, NULL) == 0);
}

static void begin(void)
{
    struct stm_store_options opt = {.engine = STM_ENGINE_MEM};
    struct stm_env env = {0};

    snprintf(dir, sizeof dir, "%s/stemma-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_CHECK(mkdtemp(dir) != NULL);
    FUZZ_CHECK(stm_store_open(&opt, &store, NULL) == 0);
    fill(store);
    env.store = store;
    FUZZ_CHECK(stm_server_new(dir, &env, &server) == 0);
    atexit(clean);
}

/* Sends it all; a server that has hung up meanwhile is right to. */
static void send_bytes(int fd, const void *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0)
            return;
        data = (const char *)data + n;
        len -= (size_t)n;
    }
}

/* Returns how many bytes the input asked to be sent. */
static size_t send_input(int fd, struct fuzz_input *in)
{
    size_t sent = 0;

    while (in->left > 0) {
        uint8_t head[STM_WIRE_HEAD], type = fuzz_u8(in);
        struct stm_slice payload = fuzz_bytes(in, fuzz_u16(in));

        stm_wire_head(head, (enum stm_wire_type)type, (uint32_t)payload.len);
        if (type != 0)
            send_bytes(fd, head, sizeof head);
        send_bytes(fd, payload.data, payload.len);
        sent += payload.len + (type != 0);
    }
    shutdown(fd, SHUT_WR);
    return sent;
}

/* Hears the connection out. */
static void hear(int fd, bool sent)
{
    struct stm_wire_frame f = {0};
    bool ready = false, ended = false;
    int got;

    while ((got = stm_wire_recv(fd, STM_WIRE_MAX, &f)) == 1) {
        FUZZ_CHECK(!ended);
        FUZZ_CHECK(f.type == STM_WIRE_OUT || f.type == STM_WIRE_ERR || f.type == STM_WIRE_EXIT || f.type == STM_WIRE_READY);
        ready |= f.type == STM_WIRE_READY;
        ended = f.type == STM_WIRE_EXIT;
        FUZZ_CHECK(!ended || (f.payload.len >= 10 && memcmp(f.payload.data, "{\"code\":", 8) == 0));
    }
    FUZZ_CHECK(ended || ready || !sent || got == -ECONNRESET);
    stm_wire_frame_release(&f);
}

/* Is it a request to wait for the daemon's end? Nothing more is to be heard then. */
static bool waits(struct stm_slice input)
{
    return memmem(input.data, input.len, "wait", 4) != NULL;
}

static void still_serves(void)
{
    static const char request[] = "{\"command\":\"log\",\"path\":\"/dir\"}";
    int fd = stm_client_connect(dir);

    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(stm_wire_send(fd, STM_WIRE_REQUEST, request, sizeof request - 1) == 0);
    shutdown(fd, SHUT_WR);
    hear(fd, true);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    static unsigned runs;

    if (server == NULL)
        begin();
    int fd = stm_client_connect(dir);
    FUZZ_CHECK(fd >= 0);
    size_t sent = send_input(fd, &in);
    if (!waits(stm_slice(data, size)))
        hear(fd, sent > 0);
    close(fd);
    if (++runs % 64 == 0)
        still_serves();
    return 0;
}
