/* Whatever the bytes, what is read of a message lies inside them, and a text holds no NUL. */
#include "rtnetlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/rtnetlink.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *first, *end;

static void hold(int is_right)
{
    if (!is_right)
        abort();
}

static void check_slice(struct fn_rtnetlink_slice slice)
{
    if (slice.at)
        hold(slice.at >= first && slice.at <= end && slice.len <= (size_t)(end - slice.at));
}

static void check_text(struct fn_rtnetlink_slice text)
{
    check_slice(text);
    if (text.at)
        hold(!memchr(text.at, '\0', text.len));
}

static void check_address(const uint8_t *address, size_t size)
{
    check_slice((struct fn_rtnetlink_slice){address, size});
}

static void check_link(const struct fn_rtnetlink_message *message)
{
    struct fn_rtnetlink_link link;
    struct fn_rtnetlink_slice name;

    if (fn_rtnetlink_read_link(message, &link) <= 0)
        return;
    check_text(link.name);
    check_text(link.kind);
    check_slice(link.address);
    check_slice(link.permanent);
    check_slice(link.broadcast);
    check_slice(link.counters);
    while (fn_rtnetlink_next_altname(&link.altnames, &name))
        check_text(name);
}

static void check_ip_address(const struct fn_rtnetlink_message *message)
{
    struct fn_rtnetlink_address address;

    if (fn_rtnetlink_read_address(message, &address) <= 0)
        return;
    hold(address.prefix_length <= 8 * address.size && address.address && address.network);
    check_address(address.address, address.size);
    check_address(address.network, address.size);
    check_address(address.peer, address.size);
    check_address(address.broadcast, address.size);
    check_text(address.label);
}

static void check_route(const struct fn_rtnetlink_message *message)
{
    struct fn_rtnetlink_route route;
    struct fn_rtnetlink_leg leg;

    if (fn_rtnetlink_read_route(message, &route) <= 0)
        return;
    hold(route.prefix_length <= 8 * route.size && route.sources_length <= 8 * route.size);
    check_address(route.destination, route.size);
    check_address(route.sources, route.size);
    check_address(route.source, route.size);
    check_slice(route.gateway);
    hold(!route.gateway.at || route.gateway.len == 4 || route.gateway.len == 16);
    while (fn_rtnetlink_next_leg(&route.legs, route.size, &leg)) {
        check_slice(leg.gateway);
        hold(!leg.gateway.at || leg.gateway.len == 4 || leg.gateway.len == 16);
    }
    hold(route.legs.len == 0);
}

static void check_others(const struct fn_rtnetlink_message *message)
{
    struct fn_rtnetlink_neighbour neighbour;
    struct fn_rtnetlink_speed speed;
    uint16_t family;

    if (fn_rtnetlink_read_neighbour(message, &neighbour) > 0) {
        check_address(neighbour.address, neighbour.size);
        check_slice(neighbour.hardware);
    }
    fn_rtnetlink_read_speed(message, &speed);
    fn_rtnetlink_read_family(message, &family);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fn_rtnetlink_message message;

    first = data;
    end = data + size;
    while (size) {
        const ssize_t taken = fn_rtnetlink_next(data, size, &message);
        if (taken < 0)
            break;
        hold(taken > 0 && (size_t)taken <= size);
        check_slice(message.body);
        check_link(&message);
        check_ip_address(&message);
        check_route(&message);
        check_others(&message);
        data += taken;
        size -= (size_t)taken;
    }
    return 0;
}
