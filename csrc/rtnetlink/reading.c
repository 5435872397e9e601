#include "attributes.h"

#include <errno.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

/* Newer than some headers that this is built with: linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h. */
enum { ALTNAMES = 52, ALTNAME = 53, PERMANENT = 54, ADDRESS_PROTOCOL = 11, NEXT_HOP_ID = 30, MORE_FLAGS = 15 };

int fn_rtnetlink_read_link(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_link *out)
{
    struct fn_rtnetlink_slice of[PERMANENT + 1], info[IFLA_INFO_KIND + 1];
    struct ifinfomsg fixed;
    int wrong = fn_rtnetlink_split(message, &fixed, sizeof fixed, of, PERMANENT + 1);

    memset(out, 0, sizeof *out);
    if (wrong || fixed.ifi_family != AF_UNSPEC)
        return wrong;
    wrong = fn_rtnetlink_attributes(of[IFLA_LINKINFO], info, IFLA_INFO_KIND + 1);
    const int namespace = fn_rtnetlink_number(of[IFLA_LINK_NETNSID], &out->link_namespace, sizeof out->link_namespace);
    const int carrier = fn_rtnetlink_number(of[IFLA_CARRIER], &out->carrier, sizeof out->carrier);
    if (wrong < 0 || namespace < 0 || carrier < 0 || fn_rtnetlink_number(of[IFLA_MTU], &out->mtu, sizeof out->mtu) < 0 ||
        fn_rtnetlink_number(of[IFLA_MASTER], &out->master, sizeof out->master) < 0 ||
        fn_rtnetlink_number(of[IFLA_LINK], &out->link, sizeof out->link) < 0 ||
        fn_rtnetlink_number(of[IFLA_OPERSTATE], &out->operational_state, sizeof out->operational_state) < 0 ||
        fn_rtnetlink_number(of[IFLA_CARRIER_CHANGES], &out->carrier_changes, sizeof out->carrier_changes) < 0)
        return -EBADMSG;
    out->index = fixed.ifi_index;
    out->type = fixed.ifi_type;
    out->flags = fixed.ifi_flags;
    out->has_link_namespace = (uint8_t)namespace;
    out->has_carrier = (uint8_t)carrier;
    out->name = fn_rtnetlink_text(of[IFLA_IFNAME]);
    out->kind = fn_rtnetlink_text(info[IFLA_INFO_KIND]);
    out->address = of[IFLA_ADDRESS];
    out->permanent = of[PERMANENT];
    out->broadcast = of[IFLA_BROADCAST];
    out->counters = of[IFLA_STATS64];
    out->altnames = of[ALTNAMES];

    struct fn_rtnetlink_slice left = out->altnames, value;
    uint16_t type;
    do
        wrong = fn_rtnetlink_next_attribute(&left, &type, &value);
    while (wrong > 0);
    return wrong < 0 ? wrong : 1;
}

int fn_rtnetlink_next_altname(struct fn_rtnetlink_slice *altnames, struct fn_rtnetlink_slice *name)
{
    struct fn_rtnetlink_slice value;
    uint16_t type;

    while (fn_rtnetlink_next_attribute(altnames, &type, &value) > 0)
        if (type == ALTNAME) {
            *name = fn_rtnetlink_text(value);
            return 1;
        }
    return 0;
}

int fn_rtnetlink_read_address(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_address *out)
{
    struct fn_rtnetlink_slice of[ADDRESS_PROTOCOL + 1];
    struct ifaddrmsg fixed;
    struct ifa_cacheinfo times = {.ifa_prefered = UINT32_MAX, .ifa_valid = UINT32_MAX};
    const uint8_t *there, *local;
    const int wrong = fn_rtnetlink_split(message, &fixed, sizeof fixed, of, ADDRESS_PROTOCOL + 1);

    memset(out, 0, sizeof *out);
    out->size = wrong ? 0 : fn_rtnetlink_size(fixed.ifa_family);
    if (!out->size)
        return wrong;
    out->flags = fixed.ifa_flags; /* the low eight bits; the attribute has all */
    const int protocol = fn_rtnetlink_number(of[ADDRESS_PROTOCOL], &out->protocol, sizeof out->protocol);
    if (protocol < 0 || fixed.ifa_prefixlen > 8 * out->size || fn_rtnetlink_pick(of[IFA_ADDRESS], out->size, &there) ||
        fn_rtnetlink_pick(of[IFA_LOCAL], out->size, &local) ||
        fn_rtnetlink_pick(of[IFA_BROADCAST], out->size, &out->broadcast) || (!there && !local) ||
        fn_rtnetlink_number(of[IFA_FLAGS], &out->flags, sizeof out->flags) < 0 ||
        fn_rtnetlink_number(of[IFA_CACHEINFO], &times, sizeof times) < 0)
        return -EBADMSG;
    out->address = local ? local : there;
    if (local && there && memcmp(local, there, out->size) != 0)
        out->peer = there;
    /* The kernel adds a route to the peer's prefix (IPv4), or to the own address's prefix and to the peer (IPv6). */
    out->network = out->peer && out->size == 4 ? out->peer : out->address;
    out->prefix_length = fixed.ifa_prefixlen;
    out->scope = fixed.ifa_scope;
    out->index = (int32_t)fixed.ifa_index;
    out->has_protocol = (uint8_t)protocol;
    out->preferred = times.ifa_prefered;
    out->valid = times.ifa_valid;
    out->label = fn_rtnetlink_text(of[IFA_LABEL]);
    return 1;
}

/* The router in RTA_GATEWAY, of the route's family, or in RTA_VIA, which has a family of its own. */
static int read_gateway(struct fn_rtnetlink_slice gateway, struct fn_rtnetlink_slice via, uint8_t size,
                        struct fn_rtnetlink_slice *out)
{
    uint16_t family;

    *out = gateway;
    if (gateway.at)
        return gateway.len == size ? 0 : -EBADMSG;
    if (fn_rtnetlink_number(via, &family, sizeof family) <= 0)
        return via.at ? -EBADMSG : 0;
    out->at = via.at + sizeof family;
    out->len = via.len - sizeof family;
    /* Other families than these two have no route to an IP address. */
    return family <= UINT8_MAX && fn_rtnetlink_size((uint8_t)family) && out->len == fn_rtnetlink_size((uint8_t)family)
               ? 0
               : -EBADMSG;
}

static int read_leg(struct fn_rtnetlink_slice *legs, uint8_t size, struct fn_rtnetlink_leg *leg)
{
    struct fn_rtnetlink_slice of[RTA_VIA + 1];
    struct rtnexthop fixed;

    if (legs->len == 0)
        return 0;
    if (legs->len < sizeof fixed)
        return -EBADMSG;
    memcpy(&fixed, legs->at, sizeof fixed);
    if (fixed.rtnh_len < sizeof fixed || fixed.rtnh_len > legs->len)
        return -EBADMSG;
    const struct fn_rtnetlink_slice own = {legs->at + sizeof fixed, fixed.rtnh_len - sizeof fixed};
    if (fn_rtnetlink_attributes(own, of, RTA_VIA + 1) ||
        read_gateway(of[RTA_GATEWAY], of[RTA_VIA], size, &leg->gateway))
        return -EBADMSG;
    leg->index = fixed.rtnh_ifindex;
    leg->flags = fixed.rtnh_flags;
    leg->weight = (uint16_t)(fixed.rtnh_hops + 1);
    const size_t step = RTNH_ALIGN((size_t)fixed.rtnh_len) < legs->len ? RTNH_ALIGN((size_t)fixed.rtnh_len) : legs->len;
    legs->at += step;
    legs->len -= step;
    return 1;
}

int fn_rtnetlink_next_leg(struct fn_rtnetlink_slice *legs, uint8_t size, struct fn_rtnetlink_leg *leg)
{
    return read_leg(legs, size, leg) > 0;
}

static int check_legs(struct fn_rtnetlink_slice legs, uint8_t size)
{
    struct fn_rtnetlink_leg leg;
    int more;

    do
        more = read_leg(&legs, size, &leg);
    while (more > 0);
    return more;
}

static int read_route_numbers(const struct fn_rtnetlink_slice *of, struct fn_rtnetlink_route *out)
{
    struct fn_rtnetlink_slice metrics[RTAX_MTU + 1];
    const int preference = fn_rtnetlink_number(of[RTA_PREF], &out->preference, sizeof out->preference);

    out->has_preference = preference > 0;
    if (preference < 0 || fn_rtnetlink_attributes(of[RTA_METRICS], metrics, RTAX_MTU + 1) ||
        fn_rtnetlink_number(metrics[RTAX_MTU], &out->mtu, sizeof out->mtu) < 0 ||
        fn_rtnetlink_number(of[RTA_OIF], &out->index, sizeof out->index) < 0 ||
        fn_rtnetlink_number(of[RTA_PRIORITY], &out->metric, sizeof out->metric) < 0 ||
        fn_rtnetlink_number(of[RTA_TABLE], &out->table, sizeof out->table) < 0 ||
        fn_rtnetlink_number(of[RTA_ENCAP_TYPE], &out->encapsulation, sizeof out->encapsulation) < 0 ||
        fn_rtnetlink_number(of[NEXT_HOP_ID], &out->next_hop_id, sizeof out->next_hop_id) < 0)
        return -EBADMSG;
    return 0;
}

int fn_rtnetlink_read_route(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_route *out)
{
    struct fn_rtnetlink_slice of[NEXT_HOP_ID + 1];
    struct rtmsg fixed;
    const int wrong = fn_rtnetlink_split(message, &fixed, sizeof fixed, of, NEXT_HOP_ID + 1);

    memset(out, 0, sizeof *out);
    out->size = wrong ? 0 : fn_rtnetlink_size(fixed.rtm_family);
    if (!out->size)
        return wrong;
    out->table = fixed.rtm_table; /* the low eight bits; the attribute has all */
    out->legs = of[RTA_MULTIPATH];
    if (fixed.rtm_dst_len > 8 * out->size || fixed.rtm_src_len > 8 * out->size ||
        fn_rtnetlink_pick(of[RTA_DST], out->size, &out->destination) ||
        fn_rtnetlink_pick(of[RTA_SRC], out->size, &out->sources) ||
        fn_rtnetlink_pick(of[RTA_PREFSRC], out->size, &out->source) || read_route_numbers(of, out) ||
        read_gateway(of[RTA_GATEWAY], of[RTA_VIA], out->size, &out->gateway) || check_legs(out->legs, out->size))
        return -EBADMSG;
    out->prefix_length = fixed.rtm_dst_len;
    out->sources_length = fixed.rtm_src_len;
    out->tos = fixed.rtm_tos;
    out->protocol = fixed.rtm_protocol;
    out->scope = fixed.rtm_scope;
    out->type = fixed.rtm_type;
    out->flags = fixed.rtm_flags;
    return 1;
}

int fn_rtnetlink_read_neighbour(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_neighbour *out)
{
    struct fn_rtnetlink_slice of[MORE_FLAGS + 1];
    struct ndmsg fixed;
    uint32_t more_flags = 0;
    const int wrong = fn_rtnetlink_split(message, &fixed, sizeof fixed, of, MORE_FLAGS + 1);

    memset(out, 0, sizeof *out);
    out->size = wrong ? 0 : fn_rtnetlink_size(fixed.ndm_family);
    if (!out->size)
        return wrong;
    const int protocol = fn_rtnetlink_number(of[NDA_PROTOCOL], &out->protocol, sizeof out->protocol);
    if (protocol < 0 || !of[NDA_DST].at || fn_rtnetlink_pick(of[NDA_DST], out->size, &out->address) ||
        fn_rtnetlink_number(of[MORE_FLAGS], &more_flags, sizeof more_flags) < 0)
        return -EBADMSG;
    out->has_protocol = (uint8_t)protocol;
    out->state = fixed.ndm_state;
    out->flags = fixed.ndm_flags | more_flags << 8;
    out->index = fixed.ndm_ifindex;
    out->hardware = of[NDA_LLADDR];
    return 1;
}

int fn_rtnetlink_read_speed(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_speed *out)
{
    struct fn_rtnetlink_slice of[ETHTOOL_A_LINKMODES_DUPLEX + 1], header[ETHTOOL_A_HEADER_DEV_INDEX + 1];
    struct genlmsghdr fixed;

    out->index = 0;
    out->megabits = UINT32_MAX;
    out->duplex = UINT8_MAX;
    if (fn_rtnetlink_split(message, &fixed, sizeof fixed, of, ETHTOOL_A_LINKMODES_DUPLEX + 1) ||
        fn_rtnetlink_attributes(of[ETHTOOL_A_LINKMODES_HEADER], header, ETHTOOL_A_HEADER_DEV_INDEX + 1) ||
        fn_rtnetlink_number(header[ETHTOOL_A_HEADER_DEV_INDEX], &out->index, sizeof out->index) < 0 ||
        fn_rtnetlink_number(of[ETHTOOL_A_LINKMODES_SPEED], &out->megabits, sizeof out->megabits) < 0 ||
        fn_rtnetlink_number(of[ETHTOOL_A_LINKMODES_DUPLEX], &out->duplex, sizeof out->duplex) < 0)
        return -EBADMSG;
    return 0;
}

int fn_rtnetlink_read_family(const struct fn_rtnetlink_message *message, uint16_t *family)
{
    struct fn_rtnetlink_slice of[CTRL_ATTR_FAMILY_ID + 1];
    struct genlmsghdr fixed;

    if (fn_rtnetlink_split(message, &fixed, sizeof fixed, of, CTRL_ATTR_FAMILY_ID + 1))
        return -EBADMSG;
    return fn_rtnetlink_number(of[CTRL_ATTR_FAMILY_ID], family, sizeof *family) > 0 ? 0 : -EBADMSG;
}
