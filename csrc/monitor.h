/*
 * Whether anything has changed about the interfaces of a thread's network namespace and their addresses.
 *
 * A struct fn_monitor has a socket of rtnetlink(7) that receives the kernel's events on links, addresses and
 * namespace ids. As long as none is waiting in it, what was read after fn_monitor_renew() is still true. The kernel
 * sends an event after the change, so what is read after an event was received includes that change.
 * The content of an event does not matter here: the socket's buffer is small, and an overflow leaves what
 * came before it in there. The kernel is asked how much waits by SO_MEMINFO (Linux 4.12; nothing is quiet without).
 *
 * Like struct fn_netif, which it has inside, it belongs to one thread, detects that this has moved to
 * another namespace, and must be closed in a forked child before its first use there. Start with
 * fn_monitor_init(); nothing is opened before fn_monitor_renew().
 */
#ifndef FN_MONITOR_H
#define FN_MONITOR_H

#include "netif.h"

struct fn_monitor {
    struct fn_netif netif;
    uint32_t buffer_size; /* a number that few sockets share: another one on its descriptor is detected */
};

void fn_monitor_init(struct fn_monitor *monitor);

void fn_monitor_close(struct fn_monitor *monitor);

/* 1 if no event has been sent since fn_monitor_renew() and the thread has not moved; else 0, also if nothing is open. */
int fn_monitor_is_quiet(const struct fn_monitor *monitor);

/*
 * Discards the events so far, with another socket if need be: what is read from now on is true while
 * fn_monitor_is_quiet(). Returns 0, or -errno if there is no such socket; then nothing is ever quiet.
 */
int fn_monitor_renew(struct fn_monitor *monitor);

#endif
