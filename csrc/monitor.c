#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <sys/socket.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>

#define GROUP(number) (1U << ((number) - 1))
#define GROUPS                                                                                                         \
    (GROUP(RTNLGRP_LINK) | GROUP(RTNLGRP_IPV4_IFADDR) | GROUP(RTNLGRP_IPV6_IFADDR) | GROUP(RTNLGRP_NSID))

/* Receive buffer in bytes: room for a few events, since the first one is enough. */
#define SMALL_BUFFER 4096
#define BUFFER_SIZES 8192

void fn_monitor_init(struct fn_monitor *monitor)
{
    fn_netif_init(&monitor->netif);
    monitor->buffer_size = 0;
}

void fn_monitor_close(struct fn_monitor *monitor)
{
    fn_netif_close(&monitor->netif);
}

/* The unread bytes of a socket and the size of its buffer, by one system call. */
static int measure(int socket, uint32_t *waiting, uint32_t *buffer_size)
{
    uint32_t figures[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof figures;

    if (getsockopt(socket, SOL_SOCKET, SO_MEMINFO, figures, &size) != 0)
        return -errno;
    if (size <= SK_MEMINFO_RCVBUF * sizeof *figures)
        return -ENOPROTOOPT;
    *waiting = figures[SK_MEMINFO_RMEM_ALLOC];
    *buffer_size = figures[SK_MEMINFO_RCVBUF];
    return 0;
}

/* Whether the socket is open and belongs to the thread's namespace. */
static int is_current(const struct fn_monitor *monitor, uint32_t *waiting)
{
    uint32_t buffer_size = 0;

    return fn_netif_is_here(&monitor->netif) && measure(monitor->netif.socket, waiting, &buffer_size) == 0 &&
           buffer_size == monitor->buffer_size;
}

int fn_monitor_is_quiet(const struct fn_monitor *monitor)
{
    uint32_t waiting = 0;

    return is_current(monitor, &waiting) && waiting == 0;
}

static int subscribe(struct fn_monitor *monitor)
{
    static const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = GROUPS};
    uint32_t waiting = 0;
    int result = fn_netif_open(&monitor->netif, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

    if (result < 0)
        return result;
    const int small = SMALL_BUFFER + (int)(monitor->netif.inode % BUFFER_SIZES);
    if (setsockopt(monitor->netif.socket, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) != 0 ||
        bind(monitor->netif.socket, (const struct sockaddr *)&address, sizeof address) != 0)
        result = -errno;
    else
        result = measure(monitor->netif.socket, &waiting, &monitor->buffer_size);
    if (result < 0)
        fn_monitor_close(monitor);
    return result;
}

int fn_monitor_renew(struct fn_monitor *monitor)
{
    uint32_t waiting = 0;
    char first;

    if (!is_current(monitor, &waiting)) {
        fn_monitor_close(monitor);
        return subscribe(monitor);
    }
    /* Only an empty queue ends an overflow: until then the kernel drops every event. */
    while (recv(monitor->netif.socket, &first, sizeof first, MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
        ;
    return 0;
}
