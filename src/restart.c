/*
 * restart.c: when to start the next daemon (supervisor.h).
 *
 *     it served, and was killed from outside or handed over after a while      at once
 *     the first that ends by itself soon after its start                       at once
 *     the next ones                                                            100 ms, 200 ms, ... 5 s
 *     nobody came to serve in ten tries and a minute                           never: who waits shall hear of it
 */
#include "supervisor.h"

enum { QUICK_MS = 10000, HANDOVER_MS = 2000, FIRST_PAUSE_MS = 100, LONGEST_PAUSE_MS = 5000, IDLE_TRIES = 10, IDLE_MS = 60000 };

static bool is_quick(const struct stm_end *e)
{
    if (!e->served)
        return true;
    if (e->spoke)
        return e->life_ms < HANDOVER_MS;
    return e->own_fault && e->life_ms < QUICK_MS;
}

int stm_restart_pause(struct stm_restarts *r, const struct stm_end *e, int64_t now_ms)
{
    int pause = FIRST_PAUSE_MS;

    if (e->served)
        r->idle = 0;
    else if (r->idle++ == 0)
        r->idle_since = now_ms;
    if (r->idle >= IDLE_TRIES && now_ms - r->idle_since >= IDLE_MS)
        return -1;
    r->quick = is_quick(e) ? r->quick + 1 : 0;
    if (r->quick <= 1)
        return 0;
    for (unsigned i = 2; i < r->quick && pause < LONGEST_PAUSE_MS; i++)
        pause *= 2;
    return pause < LONGEST_PAUSE_MS ? pause : LONGEST_PAUSE_MS;
}
