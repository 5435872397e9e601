#include "../packet.h"
#include "headers.h"

#include <stdbool.h>

struct cursor {
    const uint8_t *data;
    uint32_t offset;    /* of the next header */
    uint32_t end;       /* where the innermost length field says that it ends */
    uint32_t outer_end; /* the same for the packet that quotes another */
    bool ipv6;          /* the network header at work: the two have different protocol numbers */
    bool fragment;      /* upper lengths announce more than this fragment holds */
    bool quoted;
    struct fn_packet *packet;
};

static enum fn_kind fail(struct cursor *c, enum fn_packet_error error, enum fn_kind kind)
{
    if (!c->quoted && !c->packet->error) {
        c->packet->error = (int8_t)error;
        c->packet->error_kind = (uint8_t)kind;
        c->packet->error_offset = c->offset;
    }
    return FN_PAYLOAD;
}

/* The next header's bytes if at least `need` of them are there. */
static const uint8_t *peek(struct cursor *c, enum fn_kind kind, uint32_t need)
{
    if (c->end - c->offset >= need)
        return c->data + c->offset;
    fail(c, FN_PACKET_TRUNCATED, kind);
    return NULL;
}

static void push(struct cursor *c, enum fn_kind kind, uint32_t length)
{
    struct fn_packet *packet = c->packet;

    packet->kinds[packet->count] = (uint8_t)kind;
    packet->offsets[packet->count++] = c->offset;
    c->offset += length;
}

/* Narrow the end to `length` bytes from `start` on; data that ends before that is an error. */
static void narrow(struct cursor *c, enum fn_kind kind, uint32_t start, uint32_t length)
{
    if (length <= c->end - start)
        c->end = start + length;
    else if (!c->fragment)
        fail(c, FN_PACKET_TRUNCATED, kind);
}

/* Push a header that ends with an Ethernet type, or with the length of an LLC frame. */
static enum fn_kind push_typed(struct cursor *c, enum fn_kind kind, uint32_t length, uint16_t type)
{
    if (type <= MAX_8023_LENGTH)
        narrow(c, kind, c->offset + length, type);
    push(c, kind, length);
    return type <= MAX_8023_LENGTH ? FN_LLC : fn_kind_of_ethertype(type);
}

static enum fn_kind ethernet(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_ETHERNET, 14);

    if (!p)
        return FN_PAYLOAD;
    uint16_t type = get16(p + 12);
    return push_typed(c, type > MAX_8023_LENGTH ? FN_ETHERNET : FN_DOT3, 14, type);
}

static enum fn_kind vlan(struct cursor *c, enum fn_kind kind)
{
    const uint8_t *p = peek(c, kind, 4);

    if (!p)
        return FN_PAYLOAD;
    return push_typed(c, kind, 4, get16(p + 2));
}

static enum fn_kind llc(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_LLC, 3);

    if (!p)
        return FN_PAYLOAD;
    push(c, FN_LLC, 3);
    return p[0] == 0xaa && p[1] == 0xaa && p[2] == 3 ? FN_SNAP : FN_PAYLOAD;
}

static enum fn_kind snap(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_SNAP, 5);

    if (!p)
        return FN_PAYLOAD;
    push(c, FN_SNAP, 5);
    uint16_t type = get16(p + 3);
    return !p[0] && !p[1] && !p[2] && type > MAX_8023_LENGTH ? fn_kind_of_ethertype(type) : FN_PAYLOAD;
}

static enum fn_kind arp(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_ARP, 8);

    if (!p || p[4] != 6 || p[5] != 4)
        return FN_PAYLOAD;
    if (peek(c, FN_ARP, 28))
        push(c, FN_ARP, 28);
    return FN_PAYLOAD;
}

static enum fn_kind ipv4(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_IPV4, 20);

    if (!p)
        return FN_PAYLOAD;
    if (p[0] >> 4 != 4)
        return fail(c, FN_PACKET_VERSION, FN_IPV4);
    uint32_t header = (p[0] & 15) * 4U;
    if (header < 20)
        return fail(c, FN_PACKET_LENGTH, FN_IPV4);
    if (!peek(c, FN_IPV4, header))
        return FN_PAYLOAD;
    uint32_t length = get16(p + 2);
    if (length && length < header) {
        fail(c, FN_PACKET_LENGTH, FN_IPV4);
        push(c, FN_IPV4, header);
        return FN_PAYLOAD;
    }
    if (length) /* 0: a capture of what the card was to segment (TSO) */
        narrow(c, FN_IPV4, c->offset, length);
    push(c, FN_IPV4, header);
    c->ipv6 = false;
    if (is_ipv4_fragment(p))
        c->fragment = true;
    return get16(p + 6) & 0x1fff ? FN_PAYLOAD : fn_kind_of_protocol(p[9], false);
}

static enum fn_kind ipv6(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_IPV6, 40);

    if (!p)
        return FN_PAYLOAD;
    if (p[0] >> 4 != 6)
        return fail(c, FN_PACKET_VERSION, FN_IPV6);
    uint32_t length = get16(p + 4);
    if (length || p[6] == PROTOCOL_NONE) /* 0 otherwise: jumbo, or to be segmented by the card */
        narrow(c, FN_IPV6, c->offset, 40 + length);
    push(c, FN_IPV6, 40);
    c->ipv6 = true;
    return fn_kind_of_protocol(p[6], true);
}

/* The jumbo payload's length (RFC 2675) among the options of a hop-by-hop header, or 0. */
static uint32_t jumbo_length(const uint8_t *p, uint32_t length)
{
    const uint8_t *jumbo = find_ipv6_option(p, length, 0xc2, 4);

    return jumbo ? get32(jumbo) : 0;
}

static enum fn_kind extension(struct cursor *c, enum fn_kind kind)
{
    const uint8_t *p = peek(c, kind, 8);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = kind == FN_AH ? (p[1] + 2U) * 4 : (p[1] + 1U) * 8;
    if (kind == FN_AH && length < 12)
        return fail(c, FN_PACKET_LENGTH, kind);
    if (!peek(c, kind, length))
        return FN_PAYLOAD;
    if (kind == FN_HOP_BY_HOP && c->packet->kinds[c->packet->count - 1] == FN_IPV6 && !get16(p - 36)) {
        uint32_t jumbo = jumbo_length(p, length);
        if (jumbo)
            narrow(c, FN_IPV6, c->offset, jumbo < length ? length : jumbo);
    }
    push(c, kind, length);
    return fn_kind_of_protocol(p[0], c->ipv6);
}

static enum fn_kind fragment(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_FRAGMENT, 8);

    if (!p)
        return FN_PAYLOAD;
    push(c, FN_FRAGMENT, 8);
    uint16_t place = get16(p + 2);
    if (place & 0xfff9)
        c->fragment = true;
    return place & 0xfff8 ? FN_PAYLOAD : fn_kind_of_protocol(p[0], true);
}

static enum fn_kind esp(struct cursor *c)
{
    if (peek(c, FN_ESP, 8))
        push(c, FN_ESP, 8);
    return FN_PAYLOAD;
}

static enum fn_kind quote(struct cursor *c, enum fn_kind kind)
{
    if (!c->quoted)
        c->outer_end = c->end;
    c->quoted = true;
    return c->offset < c->end ? kind : FN_PAYLOAD;
}

static enum fn_kind icmp(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_ICMP, 8);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = p[0] == 13 || p[0] == 14 ? 20 : 8;
    if (!peek(c, FN_ICMP, length))
        return FN_PAYLOAD;
    push(c, FN_ICMP, length);
    return is_icmp_error(p[0]) ? quote(c, FN_IPV4) : FN_PAYLOAD;
}

static enum fn_kind icmpv6(struct cursor *c)
{
    /* Router and neighbour discovery (RFC 4861): the fixed part, behind which all the rest are options. */
    static const uint8_t discovery[] = {8, 16, 24, 24, 40};
    const uint8_t *p = peek(c, FN_ICMPV6, 8);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = 8;
    if (p[0] >= 133 && p[0] <= 137) {
        if (!peek(c, FN_ICMPV6, discovery[p[0] - 133]))
            return FN_PAYLOAD;
        length = c->end - c->offset;
    }
    push(c, FN_ICMPV6, length);
    return is_icmpv6_error(p[0]) ? quote(c, FN_IPV6) : FN_PAYLOAD;
}

static enum fn_kind udp(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_UDP, 8);

    if (!p)
        return FN_PAYLOAD;
    uint16_t length = get16(p + 4);
    if (length && length < 8)
        fail(c, FN_PACKET_LENGTH, FN_UDP);
    else if (length) /* 0: a jumbogram's (RFC 2675, section 4) */
        narrow(c, FN_UDP, c->offset, length);
    push(c, FN_UDP, 8);
    return FN_PAYLOAD;
}

static enum fn_kind tcp(struct cursor *c)
{
    const uint8_t *p = peek(c, FN_TCP, 20);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = (p[12] >> 4) * 4U;
    if (length < 20)
        return fail(c, FN_PACKET_LENGTH, FN_TCP);
    if (peek(c, FN_TCP, length))
        push(c, FN_TCP, length);
    return FN_PAYLOAD;
}

static enum fn_kind header(struct cursor *c, enum fn_kind kind)
{
    switch (kind) {
    case FN_ETHERNET:
        return ethernet(c);
    case FN_LLC:
        return llc(c);
    case FN_SNAP:
        return snap(c);
    case FN_DOT1Q:
    case FN_DOT1AD:
        return vlan(c, kind);
    case FN_ARP:
        return arp(c);
    case FN_IPV4:
        return ipv4(c);
    case FN_IPV6:
        return ipv6(c);
    case FN_HOP_BY_HOP:
    case FN_DESTINATION:
    case FN_ROUTING:
    case FN_AH:
    case FN_MOBILITY:
        return extension(c, kind);
    case FN_FRAGMENT:
        return fragment(c);
    case FN_ESP:
        return esp(c);
    case FN_ICMP:
        return icmp(c);
    case FN_ICMPV6:
        return icmpv6(c);
    case FN_UDP:
        return udp(c);
    case FN_TCP:
        return tcp(c);
    default:
        return FN_PAYLOAD;
    }
}

static enum fn_kind first_kind(const uint8_t *data, uint32_t len, enum fn_link link)
{
    if (link == FN_LINK_ETHERNET)
        return FN_ETHERNET;
    if (link == FN_LINK_IPV6 || (link == FN_LINK_IP && len && data[0] >> 4 == 6))
        return FN_IPV6;
    return FN_IPV4;
}

int fn_packet_scan(const uint8_t *data, uint32_t len, enum fn_link link, struct fn_packet *packet)
{
    struct cursor c = {.data = data, .end = len, .packet = packet};
    enum fn_kind kind = first_kind(data, len, link);

    packet->count = 0;
    packet->error = FN_PACKET_OK;
    packet->error_kind = FN_PAYLOAD;
    packet->error_offset = 0;
    while (kind != FN_PAYLOAD) {
        if (packet->count == FN_PACKET_HEADERS) {
            fail(&c, FN_PACKET_TOO_DEEP, kind);
            break;
        }
        kind = header(&c, kind);
    }
    if (c.offset < c.end)
        push(&c, FN_PAYLOAD, c.end - c.offset);
    if (c.quoted && c.offset < c.outer_end)
        push(&c, FN_PAYLOAD, c.outer_end - c.offset);
    if (c.offset < len)
        push(&c, FN_PADDING, len - c.offset);
    packet->offsets[packet->count] = len;
    return packet->error;
}

int fn_packet_network(const struct fn_packet *packet)
{
    for (int i = 0; i < packet->count; i++)
        if (packet->kinds[i] == FN_IPV4 || packet->kinds[i] == FN_IPV6)
            return i;
    return -1;
}

/* The last layer of the chain that starts with the network header: itself, or its last extension header. */
static int chain_end(const struct fn_packet *packet)
{
    int i = fn_packet_network(packet);

    while (i >= 0 && i + 1 < packet->count && is_extension(packet->kinds[i + 1]))
        i++;
    return i;
}

int fn_packet_transport(const struct fn_packet *packet)
{
    int i = chain_end(packet);

    return i >= 0 && i + 1 < packet->count && packet->kinds[i + 1] >= FN_ICMP ? i + 1 : -1;
}

int fn_packet_protocol(const uint8_t *data, const struct fn_packet *packet)
{
    int i = chain_end(packet);

    if (i < 0)
        return -1;
    if (packet->kinds[i] == FN_ESP)
        return PROTOCOL_ESP;
    return data[packet->offsets[i] + (uint32_t)fn_part_field(packet->kinds[i], FN_AUTO_PROTOCOL)];
}
