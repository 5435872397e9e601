#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <sys/socket.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define GROUP(number) (1U << ((number) - 1))
#define GROUPS                                                                                                         \
    (GROUP(RTNLGRP_LINK) | GROUP(RTNLGRP_IPV4_IFADDR) | GROUP(RTNLGRP_IPV6_IFADDR) | GROUP(RTNLGRP_NSID))

void fn_monitor_init(struct fn_monitor *monitor)
{
    fn_netif_init(&monitor->netif);
}

void fn_monitor_close(struct fn_monitor *monitor)
{
    fn_netif_close(&monitor->netif);
}

int fn_monitor_is_quiet(const struct fn_monitor *monitor)
{
    char first;

    return fn_netif_is_current(&monitor->netif) &&
           recv(monitor->netif.socket, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static int subscribe(struct fn_monitor *monitor)
{
    static const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = GROUPS};
    const int smallest = 0;
    const int result = fn_netif_open(&monitor->netif, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

    if (result < 0)
        return result;
    if (setsockopt(monitor->netif.socket, SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest) != 0 ||
        bind(monitor->netif.socket, (const struct sockaddr *)&address, sizeof address) != 0) {
        const int failure = -errno;
        fn_monitor_close(monitor);
        return failure;
    }
    return 0;
}

int fn_monitor_renew(struct fn_monitor *monitor)
{
    char first;

    if (!fn_netif_is_current(&monitor->netif)) {
        fn_monitor_close(monitor);
        return subscribe(monitor);
    }
    /* Only an empty queue ends an overflow: until then the kernel drops every event. */
    while (recv(monitor->netif.socket, &first, sizeof first, MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
        ;
    return 0;
}
