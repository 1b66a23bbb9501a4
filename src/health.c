/* health.c: see health.h. What is wrong and since when is the store's to say (stm_store_health). */
#include "health.h"

#include "log.h"

#include <errno.h>

/* Between two tries. Room that has just been made is not always there yet: a filesystem may give it out after its next commit. */
enum { PAUSE_TICKS = 30, SHORT_TICKS = 2 };

static void log_change(const struct stm_health *h)
{
    enum stm_fs_level level = h->state == STM_HEALTH_DEGRADED ? STM_FS_ERROR : STM_FS_WARNING;

    if (h->state == STM_HEALTH_GOOD)
        stm_log(STM_FS_INFO, "store_good", "consequence=\"changes are accepted again\"");
    else
        stm_log(level, h->state == STM_HEALTH_FULL ? "store_full" : "store_degraded", "error=\"%s\" read_only=%s consequence=\"%s\"",
                stm_error_text(h->error), h->read_only ? "yes" : "no", stm_health_reason(h));
}

bool stm_health_tick(struct stm_health_watch *w, struct stm_store *store)
{
    struct stm_health h;

    stm_store_health(store, &h);
    if (h.state != w->last.state || h.read_only != w->last.read_only)
        log_change(&h);
    w->last = h;
    if (!h.reopen || w->wait-- > 0)
        return false;
    w->wait = h.read_only && h.error == -ENOSPC ? SHORT_TICKS : PAUSE_TICKS;
    if (!h.read_only)
        return true;
    int err = stm_store_reopen(store);
    if (err < 0)
        stm_log(STM_FS_WARNING, "store_reopen_failed", "error=\"%s\" consequence=\"it can only be read; tried again in %d s\"",
                stm_error_text(err), w->wait + 1);
    return false;
}
