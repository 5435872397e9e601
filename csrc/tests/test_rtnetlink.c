#include "guard.h"

#include "rtnetlink.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

enum { ROOM = 512 };

/* A message that is being written. */
struct writer {
    uint8_t data[ROOM];
    size_t len;
};

static void put(struct writer *writer, const void *data, size_t len)
{
    assert(writer->len + len + 3 < ROOM);
    memcpy(writer->data + writer->len, data, len);
    writer->len = (writer->len + len + 3) & ~(size_t)3;
    const uint32_t size = (uint32_t)writer->len;
    memcpy(writer->data, &size, sizeof size);
}

static struct writer begin(uint16_t type, const void *fixed, size_t len)
{
    struct writer writer = {.len = 0};
    const struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_seq = 7};

    put(&writer, &header, sizeof header);
    put(&writer, fixed, len);
    return writer;
}

static void add(struct writer *writer, uint16_t type, const void *value, size_t len)
{
    uint8_t data[ROOM] = {0};
    const struct nlattr header = {.nla_len = (uint16_t)(sizeof header + len), .nla_type = type};

    memcpy(data, &header, sizeof header);
    memcpy(data + sizeof header, value, len);
    put(writer, data, sizeof header + len);
}

typedef int reader(const struct fn_rtnetlink_message *message, void *out);

static int read_link(const struct fn_rtnetlink_message *message, void *out)
{
    return fn_rtnetlink_read_link(message, out);
}

static int read_address(const struct fn_rtnetlink_message *message, void *out)
{
    return fn_rtnetlink_read_address(message, out);
}

static int read_route(const struct fn_rtnetlink_message *message, void *out)
{
    return fn_rtnetlink_read_route(message, out);
}

static int read_neighbour(const struct fn_rtnetlink_message *message, void *out)
{
    return fn_rtnetlink_read_neighbour(message, out);
}

/* Reads a message that ends where memory may be touched, then each beginning of it, which nothing may be read behind. */
static int read_whole(const struct writer *writer, reader *read, void *out)
{
    struct fn_rtnetlink_message message;

    for (size_t len = sizeof(struct nlmsghdr); len < writer->len; len++) {
        struct guard part = guard_copy(writer->data, len);
        const uint32_t size = (uint32_t)len;

        assert(fn_rtnetlink_next(part.data, len, &message) == -EBADMSG);
        memcpy(part.data, &size, sizeof size);
        assert(fn_rtnetlink_next(part.data, len, &message) == (ssize_t)len);
        (void)read(&message, out);
        guard_free(&part);
    }
    assert(fn_rtnetlink_next(writer->data, writer->len, &message) == (ssize_t)writer->len);
    assert(message.sequence == 7);
    return read(&message, out);
}

static int is_text(struct fn_rtnetlink_slice slice, const char *text)
{
    return slice.at && slice.len == strlen(text) && memcmp(slice.at, text, slice.len) == 0;
}

static void test_link(void)
{
    const struct ifinfomsg fixed = {.ifi_type = 32, .ifi_index = 5, .ifi_flags = 0x11043};
    static const uint8_t names[] = {8, 0, 53, 0, 'a', 'b', 'c', 0, 6, 0, 53, 0, 'd', 0, 0, 0};
    static const uint8_t kind[] = {9, 0, 1, 0, 'i', 'p', 'o', 'i', 'b', 0, 0, 0};
    const uint8_t infiniband[20] = {0x80, 0, 0, 0x48};
    const uint32_t mtu = 2044;
    const int32_t namespace = -1;
    struct writer writer = begin(RTM_NEWLINK, &fixed, sizeof fixed);
    struct fn_rtnetlink_link link;
    struct fn_rtnetlink_slice name;

    add(&writer, 3, "ib0", 4);
    add(&writer, 1, infiniband, sizeof infiniband);
    add(&writer, 4, &mtu, sizeof mtu);
    add(&writer, 37, &namespace, sizeof namespace);
    add(&writer, 33, "\1", 1);
    add(&writer, 0x8000 | 52, names, sizeof names);
    add(&writer, 18, kind, sizeof kind);
    add(&writer, 999, "unknown", 8);
    assert(read_whole(&writer, read_link, &link) == 1);
    assert(link.index == 5 && link.type == 32 && link.mtu == 2044 && is_text(link.name, "ib0"));
    assert(link.address.len == 20 && memcmp(link.address.at, infiniband, 20) == 0 && is_text(link.kind, "ipoib"));
    assert(link.has_carrier && link.carrier == 1 && link.has_link_namespace && link.link_namespace == -1);
    assert(fn_rtnetlink_next_altname(&link.altnames, &name) == 1 && is_text(name, "abc"));
    assert(fn_rtnetlink_next_altname(&link.altnames, &name) == 1 && is_text(name, "d"));
    assert(fn_rtnetlink_next_altname(&link.altnames, &name) == 0);

    add(&writer, 4, &mtu, 3);
    assert(read_whole(&writer, read_link, &link) == -EBADMSG);

    const struct ifinfomsg port = {.ifi_family = AF_BRIDGE};
    writer = begin(RTM_DELLINK, &port, sizeof port);
    assert(read_whole(&writer, read_link, &link) == 0);
}

static void test_address(void)
{
    struct ifaddrmsg fixed = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_flags = 0x80, .ifa_index = 3};
    static const uint8_t own[4] = {10, 5, 0, 1}, peer[4] = {10, 6, 0, 0};
    struct writer writer = begin(RTM_NEWADDR, &fixed, sizeof fixed);
    struct fn_rtnetlink_address address;

    add(&writer, 1, peer, sizeof peer);
    add(&writer, 2, own, sizeof own);
    assert(read_whole(&writer, read_address, &address) == 1);
    assert(address.size == 4 && memcmp(address.address, own, 4) == 0 && memcmp(address.peer, peer, 4) == 0);
    assert(address.network == address.peer && address.flags == 0x80 && !address.label.at && !address.broadcast);
    assert(address.valid == UINT32_MAX && !address.has_protocol);

    add(&writer, 1, own, 3);
    assert(read_whole(&writer, read_address, &address) == -EBADMSG);
    fixed.ifa_prefixlen = 33;
    writer = begin(RTM_NEWADDR, &fixed, sizeof fixed);
    add(&writer, 1, own, sizeof own);
    assert(read_whole(&writer, read_address, &address) == -EBADMSG);
    fixed.ifa_family = AF_PHONET;
    writer = begin(RTM_NEWADDR, &fixed, sizeof fixed);
    assert(read_whole(&writer, read_address, &address) == 0);
}

static void test_route(void)
{
    const struct rtmsg fixed = {.rtm_family = AF_INET, .rtm_table = 252, .rtm_type = RTN_UNICAST};
    static const uint8_t via[18] = {AF_INET6, 0, 0xfe, 0x80, [17] = 1};
    static const uint8_t legs[] = {16, 0, 4, 9, 3, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, 1, 8, 0, 0, 0, 4, 0, 0, 0};
    const uint32_t table = 1000;
    struct writer writer = begin(RTM_NEWROUTE, &fixed, sizeof fixed);
    struct fn_rtnetlink_route route;
    struct fn_rtnetlink_leg leg;

    add(&writer, 15, &table, sizeof table);
    add(&writer, 18, via, sizeof via);
    add(&writer, 9, legs, sizeof legs);
    assert(read_whole(&writer, read_route, &route) == 1);
    assert(route.table == 1000 && route.gateway.len == 16 && memcmp(route.gateway.at, via + 2, 16) == 0);
    assert(!route.destination && route.index == 0);
    assert(fn_rtnetlink_next_leg(&route.legs, 4, &leg) == 1 && leg.index == 3 && leg.weight == 10 && leg.flags == 4);
    assert(leg.gateway.len == 4 && memcmp(leg.gateway.at, legs + 12, 4) == 0);
    assert(fn_rtnetlink_next_leg(&route.legs, 4, &leg) == 1 && leg.index == 4 && !leg.gateway.at);
    assert(fn_rtnetlink_next_leg(&route.legs, 4, &leg) == 0);

    add(&writer, 9, legs, sizeof legs - 1);
    assert(read_whole(&writer, read_route, &route) == -EBADMSG);
}

static void test_neighbour(void)
{
    const struct ndmsg fixed = {.ndm_family = AF_INET6, .ndm_ifindex = 2, .ndm_state = NUD_REACHABLE};
    const uint8_t address[16] = {0xfe, 0x80}, hardware[6] = {2};
    struct writer writer = begin(RTM_NEWNEIGH, &fixed, sizeof fixed);
    struct fn_rtnetlink_neighbour neighbour;

    assert(read_whole(&writer, read_neighbour, &neighbour) == -EBADMSG);
    add(&writer, 1, address, sizeof address);
    add(&writer, 2, hardware, sizeof hardware);
    assert(read_whole(&writer, read_neighbour, &neighbour) == 1);
    assert(neighbour.index == 2 && neighbour.state == NUD_REACHABLE && neighbour.hardware.len == 6);
}

/* The answer to another's question, and one that somebody else than the kernel has sent, are dropped. */
static void test_ask(void)
{
    struct fn_rtnetlink netlink;
    struct fn_rtnetlink_answer answer = {0};
    struct fn_rtnetlink_message message;
    struct fn_rtnetlink_link link;
    struct sockaddr_nl own = {.nl_family = AF_NETLINK};
    socklen_t size = sizeof own;
    static const struct nlmsghdr forged = {.nlmsg_len = sizeof forged, .nlmsg_type = NLMSG_DONE, .nlmsg_seq = 1};
    static const struct {
        struct nlmsghdr header;
        struct ifinfomsg body;
    } other = {{sizeof other, RTM_GETLINK, NLM_F_REQUEST, 99, 0}, {.ifi_index = 1}};
    const struct ifinfomsg loopback = {.ifi_index = 1}, none = {.ifi_index = 0x7fffffff};
    char name[IFNAMSIZ];

    assert(fn_rtnetlink_open(&netlink, NETLINK_ROUTE) == 0);
    assert(bind(netlink.socket, (struct sockaddr *)&own, sizeof own) == 0);
    assert(getsockname(netlink.socket, (struct sockaddr *)&own, &size) == 0);
    const int stranger = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    /* Only root may send to another process's socket. */
    if (sendto(stranger, &forged, sizeof forged, 0, (struct sockaddr *)&own, sizeof own) < 0)
        assert(errno == EPERM);
    assert(send(netlink.socket, &other, sizeof other, 0) == sizeof other);

    assert(fn_rtnetlink_ask(&netlink, RTM_GETLINK, 0, &loopback, sizeof loopback, &answer) == 0);
    assert(fn_rtnetlink_next(answer.data, answer.len, &message) == (ssize_t)answer.len && message.sequence == 1);
    assert(fn_rtnetlink_read_link(&message, &link) == 1 && is_text(link.name, "lo"));
    assert(fn_rtnetlink_ask(&netlink, RTM_GETLINK, 0, &none, sizeof none, &answer) == -ENODEV);
    assert(fn_rtnetlink_ask(&netlink, RTM_GETLINK, NLM_F_DUMP, &none, sizeof none, &answer) == -EINVAL);

    const struct ifinfomsg all = {0};
    assert(fn_rtnetlink_ask(&netlink, RTM_GETLINK, NLM_F_DUMP, &all, sizeof all, &answer) == 0);
    assert(fn_rtnetlink_next(answer.data, answer.len, &message) > 0 && message.type == RTM_NEWLINK);
    assert(fn_rtnetlink_name(&netlink, 1, name) == 0 && strcmp(name, "lo") == 0);
    assert(fn_rtnetlink_name(&netlink, 0x7fffffff, name) == -ENODEV);
    fn_rtnetlink_free(&answer);
    fn_rtnetlink_close(&netlink);
    fn_rtnetlink_close(&netlink);
    close(stranger);
}

int main(void)
{
    test_link();
    test_address();
    test_route();
    test_neighbour();
    test_ask();
    return 0;
}
