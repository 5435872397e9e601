#include "../packet.h"
#include "headers.h"

#include <stdbool.h>

/* After more headers than this no layers are left for UDP's surplus and ICMP's extensions. */
#define EXTENDED_HEADERS (FN_PACKET_LAYERS - 5)

struct cursor {
    const uint8_t *data;
    uint32_t offset;    /* of the next header */
    uint32_t end;       /* end by the innermost length field */
    uint32_t surplus_end; /* end by IP's length, if UDP ends before it */
    uint32_t outer_end; /* end of the packet that quotes another */
    uint32_t extensions; /* offset of its extensions, 0 without any */
    bool ipv6;          /* the current network header: IPv4 and IPv6 have different protocol numbers */
    bool fragment;      /* upper lengths announce more than this fragment holds */
    bool quoted;
    uint8_t limit; /* 1 + the layer whose length field gave the end, 0 for the data's */
    struct fn_packet *packet;
};

static enum fn_kind fail(struct cursor *c, enum fn_packet_error error, enum fn_kind kind)
{
    if (!c->quoted && !c->packet->error) {
        c->packet->error = (int8_t)error;
        c->packet->error_kind = (uint8_t)kind;
        c->packet->error_offset = c->offset;
        c->packet->error_limit = c->limit;
    }
    return FN_PAYLOAD;
}

static void push(struct cursor *c, enum fn_kind kind, uint32_t length)
{
    struct fn_packet *packet = c->packet;

    packet->kinds[packet->count] = (uint8_t)kind;
    packet->offsets[packet->count++] = c->offset;
    c->offset += length;
}

static inline uint32_t left(const struct cursor *c)
{
    return c->end - c->offset;
}

/* A truncated header is a layer of the bytes that are there. */
static enum fn_kind cut(struct cursor *c, enum fn_kind kind)
{
    fail(c, FN_PACKET_TRUNCATED, kind);
    if (left(c))
        push(c, kind, left(c));
    return FN_PAYLOAD;
}

/* The next header's bytes if at least `need` of them are there; otherwise pushes it as truncated. */
static inline const uint8_t *whole(struct cursor *c, enum fn_kind kind, uint32_t need)
{
    if (left(c) >= need)
        return c->data + c->offset;
    cut(c, kind);
    return NULL;
}

/* Move the end to `length` bytes after `start`, by layer `by`; it is an error if the data ends before. */
static inline void narrow_by(struct cursor *c, uint8_t by, enum fn_kind kind, uint32_t start, uint32_t length)
{
    if (length <= c->end - start) {
        c->end = start + length;
        c->limit = by + 1;
    } else if (!c->fragment) {
        fail(c, FN_PACKET_TRUNCATED, kind);
    }
}

/* The same, by the header that is pushed next. */
static inline void narrow(struct cursor *c, enum fn_kind kind, uint32_t start, uint32_t length)
{
    narrow_by(c, c->packet->count, kind, start, length);
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
    const uint8_t *p = whole(c, FN_ETHERNET, 14);

    if (!p)
        return FN_PAYLOAD;
    uint16_t type = get16(p + 12);
    return push_typed(c, type > MAX_8023_LENGTH ? FN_ETHERNET : FN_DOT3, 14, type);
}

static enum fn_kind vlan(struct cursor *c, enum fn_kind kind)
{
    const uint8_t *p = whole(c, kind, 4);

    if (!p)
        return FN_PAYLOAD;
    return push_typed(c, kind, 4, get16(p + 2));
}

static enum fn_kind llc(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_LLC, 3);

    if (!p)
        return FN_PAYLOAD;
    push(c, FN_LLC, 3);
    return p[0] == 0xaa && p[1] == 0xaa && p[2] == 3 ? FN_SNAP : FN_PAYLOAD;
}

static enum fn_kind snap(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_SNAP, 5);

    if (!p)
        return FN_PAYLOAD;
    push(c, FN_SNAP, 5);
    uint16_t type = get16(p + 3);
    return !p[0] && !p[1] && !p[2] && type > MAX_8023_LENGTH ? fn_kind_of_ethertype(type) : FN_PAYLOAD;
}

static enum fn_kind cooked(struct cursor *c, enum fn_kind kind)
{
    const uint32_t length = kind == FN_SLL ? 16 : 20;
    const uint8_t *p = whole(c, kind, length);

    if (!p)
        return FN_PAYLOAD;
    push(c, kind, length);
    uint16_t hardware = get16(p + (kind == FN_SLL ? 2 : 8)), type = get16(p + (kind == FN_SLL ? 14 : 0));
    /* For Frame Relay, 802.11 with radiotap and netlink the type is no Ethernet type. */
    if (hardware == 770 || hardware == 803 || hardware == 824)
        return FN_PAYLOAD;
    return type == COOKED_LLC ? FN_LLC : type > MAX_8023_LENGTH ? fn_kind_of_ethertype(type) : FN_PAYLOAD;
}

static enum fn_kind loopback(struct cursor *c, enum fn_kind kind)
{
    const uint8_t *p = whole(c, kind, 4);

    if (!p)
        return FN_PAYLOAD;
    push(c, kind, 4);
    uint32_t family = get32(p);
    if (kind == FN_NULL && family > 0xffff)
        family = (uint32_t)swap16((uint16_t)family) << 16 | swap16((uint16_t)(family >> 16));
    switch (family) {
    case 2:
        return FN_IPV4;
    case 10: /* AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS */
    case 23:
    case 24:
    case 28:
    case 30:
        return FN_IPV6;
    default:
        return FN_PAYLOAD;
    }
}

/* No field has the protocol after the last label: bytes that look like IP are scanned as IP. */
static enum fn_kind mpls(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_MPLS, 4);

    if (!p)
        return FN_PAYLOAD;
    push(c, FN_MPLS, 4);
    if (!(p[2] & 1))
        return FN_MPLS;
    return !left(c) ? FN_PAYLOAD : p[4] >> 4 == 4 ? FN_IPV4 : p[4] >> 4 == 6 ? FN_IPV6 : FN_PAYLOAD;
}

static enum fn_kind pppoe(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_PPPOE, 6);

    if (!p)
        return FN_PAYLOAD;
    narrow(c, FN_PPPOE, c->offset + 6, get16(p + 4));
    push(c, FN_PPPOE, 6);
    return p[1] == 0 && left(c) ? FN_PPP : FN_PAYLOAD;
}

static enum fn_kind ppp(struct cursor *c)
{
    const uint8_t *p = c->data + c->offset;

    if (left(c) && p[0] & 1) /* a compressed protocol field, of one byte */
        return FN_PAYLOAD;
    if (!whole(c, FN_PPP, 2))
        return FN_PAYLOAD;
    push(c, FN_PPP, 2);
    switch (get16(p)) {
    case 0x0021:
        return FN_IPV4;
    case 0x0057:
        return FN_IPV6;
    case 0x0281:
    case 0x0283:
        return FN_MPLS;
    default:
        return FN_PAYLOAD;
    }
}

/* The bytes of a GRE header (RFC 2784, 2890, 2637); 0 if its routing entries (RFC 1701) do not end in the data. */
static uint32_t gre_length(const uint8_t *p, uint32_t available)
{
    const uint16_t flags = get16(p);
    uint32_t length = 4;

    if ((flags & 7) > 1)
        return length;
    length += flags & 0xc000 ? 4 : 0;
    length += flags & 0x2000 ? 4 : 0;
    length += flags & 0x1000 ? 4 : 0;
    length += (flags & 7) == 1 && flags & 0x80 ? 4 : 0;
    if (!(flags & 0x4000))
        return length;
    while (length + 4 <= available) {
        const uint8_t *entry = p + length;
        length += 4U + entry[3];
        if (!get16(entry) && !entry[3])
            return length;
    }
    return 0;
}

static enum fn_kind gre(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_GRE, 4);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = gre_length(p, left(c));
    if (!length || length > left(c))
        return cut(c, FN_GRE);
    push(c, FN_GRE, length);
    if (p[1] & 7)
        return FN_PAYLOAD;
    uint16_t type = get16(p + 2);
    return type == GRE_ETHERNET ? FN_ETHERNET : type > MAX_8023_LENGTH ? fn_kind_of_ethertype(type) : FN_PAYLOAD;
}

static enum fn_kind arp(struct cursor *c)
{
    const uint8_t *p = c->data + c->offset;

    if (left(c) < 8) /* addresses of an unknown family */
        return fail(c, FN_PACKET_TRUNCATED, FN_ARP);
    if (fn_kind_of_ethertype(get16(p + 2)) != FN_IPV4 || p[4] != 6 || p[5] != 4)
        return FN_PAYLOAD;
    if (whole(c, FN_ARP, 28)) {
        push(c, FN_ARP, 28);
        c->end = c->offset; /* it has no payload: the rest of the frame is padding */
    }
    return FN_PAYLOAD;
}

static enum fn_kind ipv4(struct cursor *c)
{
    const uint8_t *p = c->data + c->offset;

    if (!left(c))
        return cut(c, FN_IPV4);
    if (p[0] >> 4 != 4)
        return fail(c, FN_PACKET_VERSION, FN_IPV4);
    uint32_t header = (p[0] & 15) * 4U;
    if (header < 20)
        return fail(c, FN_PACKET_LENGTH, FN_IPV4);
    if (left(c) < header)
        return cut(c, FN_IPV4);
    uint32_t length = get16(p + 2);
    if (length && length < header) {
        fail(c, FN_PACKET_LENGTH, FN_IPV4);
        push(c, FN_IPV4, header);
        return FN_PAYLOAD;
    }
    if (length) /* 0: captured before the card segmented it (TSO) */
        narrow(c, FN_IPV4, c->offset, length);
    push(c, FN_IPV4, header);
    c->ipv6 = false;
    if (is_ipv4_fragment(p))
        c->fragment = true;
    return get16(p + 6) & 0x1fff ? FN_PAYLOAD : fn_kind_of_protocol(p[9], false);
}

static enum fn_kind ipv6(struct cursor *c)
{
    const uint8_t *p = c->data + c->offset;

    if (left(c) && p[0] >> 4 != 6)
        return fail(c, FN_PACKET_VERSION, FN_IPV6);
    if (left(c) < 40)
        return cut(c, FN_IPV6);
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
    const uint8_t *p = whole(c, kind, 8);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = kind == FN_AH ? (p[1] + 2U) * 4 : (p[1] + 1U) * 8;
    if (kind == FN_AH && length < 12)
        return fail(c, FN_PACKET_LENGTH, kind);
    if (!whole(c, kind, length))
        return FN_PAYLOAD;
    if (kind == FN_HOP_BY_HOP && c->packet->kinds[c->packet->count - 1] == FN_IPV6 && !get16(p - 36)) {
        uint32_t jumbo = jumbo_length(p, length);
        if (jumbo)
            narrow_by(c, c->packet->count - 1, FN_IPV6, c->offset, jumbo < length ? length : jumbo);
    }
    push(c, kind, length);
    return fn_kind_of_protocol(p[0], c->ipv6);
}

static enum fn_kind fragment(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_FRAGMENT, 8);

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
    if (whole(c, FN_ESP, 8))
        push(c, FN_ESP, 8);
    return FN_PAYLOAD;
}

/*
 * The offset of the extensions of an ICMP error (RFC 4884), or 0. Its quoted packet has `size` bytes. A router that
 * does not set the size (section 5.5) quotes 128; then there are extensions only if their checksum is right.
 */
static uint32_t find_extensions(const struct cursor *c, uint32_t size)
{
    const uint32_t at = size ? size : 128;
    const uint8_t *p = c->data + c->offset + at;

    if (left(c) < at + 4 || p[0] >> 4 != 2)
        return 0;
    bool summed = get16(p + 2) && fn_checksum_scalar(p, left(c) - at, 0) == 0xffff;
    return size || summed ? c->offset + at : 0;
}

/* The packet that an ICMP error quotes, of `size` bytes if not 0; `extended` messages may have extensions after it. */
static enum fn_kind quote(struct cursor *c, enum fn_kind kind, bool extended, uint32_t size)
{
    if (!c->quoted) {
        c->outer_end = c->end;
        c->extensions = extended ? find_extensions(c, size) : 0;
        c->end = c->extensions ? c->extensions : c->end;
    }
    c->quoted = true;
    return c->offset < c->end ? kind : FN_PAYLOAD;
}

static enum fn_kind icmp(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_ICMP, 8);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = p[0] == 13 || p[0] == 14 ? 20 : 8;
    if (!whole(c, FN_ICMP, length))
        return FN_PAYLOAD;
    push(c, FN_ICMP, length);
    bool extended = p[0] == 3 || p[0] == 11 || p[0] == 12;
    return is_icmp_error(p[0]) ? quote(c, FN_IPV4, extended, p[5] * 4U) : FN_PAYLOAD;
}

static enum fn_kind icmpv6(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_ICMPV6, 8);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = 8;
    if (discovery_size(p[0])) {
        if (!whole(c, FN_ICMPV6, discovery_size(p[0])))
            return FN_PAYLOAD;
        length = left(c);
    }
    push(c, FN_ICMPV6, length);
    bool extended = p[0] == 1 || p[0] == 3;
    return is_icmpv6_error(p[0]) ? quote(c, FN_IPV6, extended, p[4] * 8U) : FN_PAYLOAD;
}

static enum fn_kind udp(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_UDP, 8);

    if (!p)
        return FN_PAYLOAD;
    uint16_t length = get16(p + 4);
    uint32_t end = c->end;
    if (length && length < 8)
        fail(c, FN_PACKET_LENGTH, FN_UDP);
    else if (length) /* 0: a jumbogram's (RFC 2675, section 4) */
        narrow(c, FN_UDP, c->offset, length);
    if (c->end < end)
        c->surplus_end = end;
    push(c, FN_UDP, 8);
    return FN_PAYLOAD;
}

static enum fn_kind tcp(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_TCP, 20);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = (p[12] >> 4) * 4U;
    if (length < 20) {
        fail(c, FN_PACKET_LENGTH, FN_TCP);
        length = 20; /* its fixed part has the rest */
    }
    if (whole(c, FN_TCP, length))
        push(c, FN_TCP, length);
    return FN_PAYLOAD;
}

static enum fn_kind sctp(struct cursor *c)
{
    if (whole(c, FN_SCTP, 12))
        push(c, FN_SCTP, 12);
    return FN_PAYLOAD;
}

static enum fn_kind dccp(struct cursor *c)
{
    const uint8_t *p = whole(c, FN_DCCP, 12);

    if (!p)
        return FN_PAYLOAD;
    uint32_t length = p[4] * 4U, least = p[8] & 1 ? 16 : 12;
    if (length < least) {
        fail(c, FN_PACKET_LENGTH, FN_DCCP);
        length = least;
    }
    if (whole(c, FN_DCCP, length))
        push(c, FN_DCCP, length);
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
    case FN_SLL:
    case FN_SLL2:
        return cooked(c, kind);
    case FN_NULL:
    case FN_LOOP:
        return loopback(c, kind);
    case FN_MPLS:
        return mpls(c);
    case FN_PPPOE:
        return pppoe(c);
    case FN_PPP:
        return ppp(c);
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
    case FN_GRE:
        return gre(c);
    case FN_SCTP:
        return sctp(c);
    case FN_DCCP:
        return dccp(c);
    default:
        return FN_PAYLOAD;
    }
}

static enum fn_kind first_kind(const uint8_t *data, uint32_t len, enum fn_link link)
{
    switch (link) {
    case FN_LINK_ETHERNET:
        return FN_ETHERNET;
    case FN_LINK_IPV6:
        return FN_IPV6;
    case FN_LINK_IP:
        return len && data[0] >> 4 == 6 ? FN_IPV6 : FN_IPV4;
    case FN_LINK_NULL:
        return FN_NULL;
    case FN_LINK_LOOP:
        return FN_LOOP;
    case FN_LINK_SLL:
        return FN_SLL;
    case FN_LINK_SLL2:
        return FN_SLL2;
    default:
        return FN_IPV4;
    }
}

/* The layers after the payload: UDP's surplus, the rest of a quote and ICMP's extensions. */
static void push_behind(struct cursor *c, bool roomy)
{
    const bool extended = roomy && c->extensions;
    const uint32_t quote_end = extended ? c->extensions : c->outer_end;

    if (c->offset < c->surplus_end && roomy)
        push(c, FN_SURPLUS, c->surplus_end - c->offset);
    if (c->offset < quote_end)
        push(c, FN_PAYLOAD, quote_end - c->offset);
    if (extended)
        push(c, FN_ICMP_EXTENSIONS, c->outer_end - c->offset);
}

/* The layers after the headers, each up to its own end. */
static inline void push_rest(struct cursor *c, uint32_t len)
{
    const bool roomy = c->packet->count <= EXTENDED_HEADERS;

    if (c->offset < c->end)
        push(c, FN_PAYLOAD, c->end - c->offset);
    if (c->offset == len)
        return;
    push_behind(c, roomy);
    if (c->offset < len)
        push(c, FN_PADDING, len - c->offset);
}

int fn_packet_scan(const uint8_t *data, uint32_t len, enum fn_link link, struct fn_packet *packet)
{
    struct cursor c = {.data = data, .end = len, .packet = packet};
    enum fn_kind kind = first_kind(data, len, link);

    packet->count = 0;
    packet->error = FN_PACKET_OK;
    packet->error_kind = FN_PAYLOAD;
    packet->error_offset = 0;
    packet->error_limit = 0;
    while (kind != FN_PAYLOAD) {
        if (packet->count == FN_PACKET_HEADERS) {
            fail(&c, FN_PACKET_TOO_DEEP, kind);
            break;
        }
        kind = header(&c, kind);
    }
    push_rest(&c, len);
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
    uint32_t at = packet->offsets[i] + (uint32_t)fn_part_field(packet->kinds[i], FN_AUTO_PROTOCOL);
    return at < packet->offsets[i + 1] ? data[at] : -1;
}
