/* loader.c: see loader.h. */
#include "loader.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmocka.h"

static int hear(void *arg, enum stm_channel channel, const void *data, size_t len)
{
    struct loader *l = arg;

    (void)channel;
    assert_int_equal(stm_buf_append(&l->said, data, len), 0);
    assert_int_equal(stm_buf_append(&l->said, "", 1), 0);
    l->said.len--;
    return 0;
}

static void begin(struct loader *l)
{
    struct stm_bulk_options opt = {.target = l->target, .uid = 7, .gid = 8, .pid = 9, .batch_items = 3};

    assert_int_equal(stm_bulk_new(l->w.store, &opt, &l->bulk), 0);
    l->im = (struct stm_import){.sink = stm_bulk_sink(l->bulk), .out = &l->out};
}

void loader_open(struct loader *l, const char *target)
{
    memset(l, 0, sizeof *l);
    world_open_mem(&l->w);
    l->out = (struct stm_out){.write = hear, .arg = l};
    snprintf(l->target, sizeof l->target, "%s", target);
    begin(l);
}

void loader_again(struct loader *l)
{
    stm_bulk_free(l->bulk);
    stm_buf_clear(&l->said);
    begin(l);
}

void loader_close(struct loader *l)
{
    stm_bulk_free(l->bulk);
    assert_int_equal(stm_out_release(&l->out), 0);
    stm_buf_release(&l->said);
    world_check(&l->w);
    world_close(&l->w);
}

uint64_t loader_find(struct loader *l, const char *path)
{
    uint64_t id;
    int err = stm_tree_resolve(&l->w.head, stm_slice_str(path), &id);

    if (err == -ENOENT)
        return 0;
    assert_int_equal(err, 0);
    return id;
}

void loader_expect(struct loader *l, const char *path, const char *content)
{
    uint64_t id = loader_find(l, path);

    if (!content) {
        assert_int_equal(id, 0);
        return;
    }
    if (id == 0)
        fail_msg("'%s' is not there", path);
    world_expect(&l->w, id, content);
}

void loader_expect_said(struct loader *l, const char *part)
{
    const char *said = l->said.len ? (const char *)l->said.data : "";

    if (!strstr(said, part))
        fail_msg("'%s' was not said, but: %s", part, said);
    stm_buf_clear(&l->said);
}

void loader_write(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}
