/*
 * Whether the interfaces of a thread's network namespace, or their addresses, have changed.
 *
 * A struct fn_monitor has a socket of rtnetlink(7) that receives the kernel's events on links, addresses and
 * namespace ids. As long as none is queued in it, what was read after fn_monitor_renew() is current. The kernel
 * sends an event after the change, so what is read after an event was received includes that change.
 * The content of an event does not matter here: the socket's buffer is small, and an overflow keeps the
 * earlier events in it. SO_MEMINFO (Linux 4.12) reports the number of queued bytes; without it,
 * fn_monitor_is_quiet() always returns 0.
 *
 * Like struct fn_netif, which it contains, it belongs to one thread, detects that the thread has moved to
 * another namespace, and must be closed in a forked child before its first use there. Start with
 * fn_monitor_init(); nothing is opened before fn_monitor_renew().
 */
#ifndef FN_MONITOR_H
#define FN_MONITOR_H

#include "netif.h"

struct fn_monitor {
    struct fn_netif netif;
    uint32_t buffer_size; /* a number that few sockets share, to detect another socket on the descriptor */
};

void fn_monitor_init(struct fn_monitor *monitor);

void fn_monitor_close(struct fn_monitor *monitor);

/* 1 if no event has been sent since fn_monitor_renew() and the thread has not moved; else 0, also without a socket. */
int fn_monitor_is_quiet(const struct fn_monitor *monitor);

/*
 * Discards the events so far, and opens another socket if necessary: what is read afterwards is current while
 * fn_monitor_is_quiet(). Returns 0, or -errno without a socket; then fn_monitor_is_quiet() returns 0.
 */
int fn_monitor_renew(struct fn_monitor *monitor);

#endif
