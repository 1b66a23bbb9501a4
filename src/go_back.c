/* go_back.c: see go_back.h. */
#include "go_back.h"

#include "client.h"

#include <stdlib.h>
#include <unistd.h>

/* Is it refused for what it has lost? Another reason is told by whoever opens it next. */
static bool is_refused(const char *store)
{
    struct stm_store_options opt = {.path = store, .engine = STM_ENGINE_ROCKSDB};
    struct stm_store *s = NULL;
    int err = stm_store_open(&opt, &s, NULL);

    if (err == 0)
        (void)stm_store_close(s); /* a failure is told by the next to open it */
    return err == STM_E_CORRUPT;
}

int stm_go_back(const char *store, struct stm_out *out)
{
    struct stm_store_options opt = {.path = store, .engine = STM_ENGINE_ROCKSDB, .salvage = true};
    int fd = stm_client_connect(store), code, err;
    struct stm_store_stats stats;
    struct stm_store *s = NULL;

    if (fd >= 0)
        close(fd);
    if (fd >= 0 || !is_refused(store))
        return 0;
    code = stm_client_open_as(&opt, out, &s);
    if (code != 0)
        return code;
    err = stm_store_stats(s, &stats);
    if (err == 0)
        (void)stm_out_fail(
            out, 0,
            "%s: its log was damaged: it is back at commit %llu, the last that is whole; at least %llu later ones are lost; the "
            "logs are kept in %s/damaged",
            store, (unsigned long long)stats.seq, (unsigned long long)stats.lost_commits, store);
    int closed = stm_store_close(s);
    if (err == 0)
        err = closed;
    return err < 0 ? stm_out_error(out, err, "%s", store) : 0;
}
