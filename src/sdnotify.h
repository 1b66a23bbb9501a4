/*
 * sdnotify.h: telling the service manager how it goes (sd_notify(3)'s protocol: a datagram to $NOTIFY_SOCKET), without its library.
 * Thread-safety: any thread.
 */
#ifndef STEMMA_SDNOTIFY_H
#define STEMMA_SDNOTIFY_H

/* "READY=1", "STOPPING=1", "STATUS=..." (several separated by newlines). Does nothing when nobody asked; failures do not matter. */
void stm_sd_notify(const char *state);
/* How often it wants to hear WATCHDOG=1 at least, in milliseconds; 0: it does not. */
int stm_sd_watchdog_ms(void);

#endif
