/* health.c: see health.h. What is wrong and since when is the store's to say (stm_store_health). */
#include "health.h"

#include "log.h"

enum { PAUSE_TICKS = 30 }; /* between two tries */

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
    w->wait = PAUSE_TICKS;
    return !h.read_only || stm_store_reopen(store) < 0;
}
