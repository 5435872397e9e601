#include "../packet.h"
#include "headers.h"

#include <string.h>

/* The next protocol in a stack's last header: unassigned, and none. */
#define ETHERTYPE_UNKNOWN 0x9000
#define PROTOCOL_UNKNOWN 0

/* The offsets of each kind's automatic fields, -1 for none, and its protocol number or type in the header before. */
static const struct {
    int8_t length, protocol, checksum;
    uint8_t protocol_size;
    uint16_t number;
} layouts[FN_KINDS] = {
    [FN_PAYLOAD] = {-1, -1, -1, 0, 0},
    [FN_PADDING] = {-1, -1, -1, 0, 0},
    [FN_SURPLUS] = {-1, -1, -1, 0, 0},
    [FN_ETHERNET] = {-1, 12, -1, 2, 0},
    [FN_DOT3] = {12, -1, -1, 0, 0},
    [FN_LLC] = {-1, -1, -1, 0, 0},
    [FN_SNAP] = {-1, 3, -1, 2, 0},
    [FN_DOT1Q] = {-1, 2, -1, 2, 0},
    [FN_DOT1AD] = {-1, 2, -1, 2, 0},
    [FN_SLL] = {-1, 14, -1, 2, 0},
    [FN_SLL2] = {-1, 0, -1, 2, 0},
    [FN_NULL] = {-1, -1, -1, 0, 0},
    [FN_LOOP] = {-1, -1, -1, 0, 0},
    [FN_MPLS] = {-1, 2, -1, 1, 137}, /* one bit: whether this label is the last */
    [FN_PPPOE] = {4, -1, -1, 0, 0},
    [FN_PPP] = {-1, 0, -1, 2, 0},
    [FN_ARP] = {-1, -1, -1, 0, 0},
    [FN_IPV4] = {2, 9, 10, 1, 4},
    [FN_IPV6] = {4, 6, -1, 1, 41},
    [FN_HOP_BY_HOP] = {-1, 0, -1, 1, 0},
    [FN_DESTINATION] = {-1, 0, -1, 1, 60},
    [FN_ROUTING] = {-1, 0, -1, 1, 43},
    [FN_FRAGMENT] = {-1, 0, -1, 1, 44},
    [FN_AH] = {-1, 0, -1, 1, 51},
    [FN_ESP] = {-1, -1, -1, 0, PROTOCOL_ESP},
    [FN_MOBILITY] = {-1, 0, 4, 1, 135},
    [FN_GRE] = {-1, 2, 4, 2, 47}, /* its checksum is optional */
    [FN_ICMP_EXTENSIONS] = {-1, -1, 2, 0, 0},
    [FN_ICMP] = {-1, -1, 2, 0, 1},
    [FN_ICMPV6] = {-1, -1, 2, 0, 58},
    [FN_UDP] = {4, -1, 6, 0, 17},
    [FN_TCP] = {-1, -1, 16, 0, 6},
    [FN_SCTP] = {-1, -1, 8, 0, 132},
    [FN_DCCP] = {-1, -1, 6, 0, 33},
};

/* Building a packet is one loop. Functions that a rare case uses too are inlined into both. */
#define INLINED static inline __attribute__((always_inline))

/* Bytes within which every header has its automatic fields. */
#define FIXED_PART 20

int fn_part_field(enum fn_kind kind, int automatic)
{
    switch (automatic) {
    case FN_AUTO_LENGTH:
        return layouts[kind].length;
    case FN_AUTO_PROTOCOL:
        return layouts[kind].protocol;
    case FN_AUTO_CHECKSUM:
        return layouts[kind].checksum;
    default:
        return -1;
    }
}

static uint32_t checksum_size(uint8_t kind)
{
    return kind == FN_SCTP ? 4 : 2;
}

int fn_part_checksum(const struct fn_part *part)
{
    int at = layouts[part->kind].checksum;

    if (part->kind == FN_GRE && (part->length < 8 || !(part->header[0] & 0x80)))
        return -1;
    return at >= 0 && (uint32_t)at + checksum_size(part->kind) <= part->length ? at : -1;
}

static bool has_field(const struct fn_part *part, int at, uint32_t size)
{
    return at >= 0 && (uint32_t)at + size <= part->length;
}

uint8_t fn_part_automatic(const struct fn_part *part, uint8_t automatic)
{
    const uint8_t kind = part->kind;
    uint8_t within = 0;

    if (has_field(part, layouts[kind].length, 2))
        within |= FN_AUTO_LENGTH;
    if (has_field(part, layouts[kind].protocol, layouts[kind].protocol_size))
        within |= FN_AUTO_PROTOCOL;
    if (fn_part_checksum(part) >= 0)
        within |= FN_AUTO_CHECKSUM;
    return automatic & within;
}

static inline uint16_t fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)(sum + (sum >> 16));
}

void fn_part_sum(struct fn_part *part, fn_sum_fn *sum)
{
    uint8_t fixed[FIXED_PART];
    size_t head = part->length < FIXED_PART ? part->length : FIXED_PART;

    if (!part->automatic) {
        part->sum = sum(part->header, part->length, 0);
        return;
    }
    memcpy(fixed, part->header, head);
    if (part->automatic & FN_AUTO_LENGTH)
        memset(fixed + layouts[part->kind].length, 0, 2);
    if (part->automatic & FN_AUTO_PROTOCOL)
        memset(fixed + layouts[part->kind].protocol, 0, layouts[part->kind].protocol_size);
    if (part->automatic & FN_AUTO_CHECKSUM)
        memset(fixed + layouts[part->kind].checksum, 0, checksum_size(part->kind));
    part->sum = sum(part->header + head, part->length - head, sum(fixed, head, 0));
}

uint64_t fn_packet_size(const struct fn_part *const parts[], size_t count)
{
    uint64_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += parts[i]->length;
    return size;
}

/* The final destination of a packet with a source route (RFC 791, 3.1; RFC 8200, 8.1). */
static const uint8_t *ipv4_destination(const struct fn_part *ip)
{
    const uint8_t *p = ip->header;

    for (uint32_t at = 20; at + 3 <= ip->length && p[at]; at += p[at] == 1 ? 1 : p[at + 1]) {
        if (p[at] == 1)
            continue;
        uint8_t length = p[at + 1];
        if (length < 3 || at + length > ip->length)
            break;
        bool source_route = (p[at] == 131 || p[at] == 137) && length >= 7;
        if (source_route && p[at + 2] < length)
            return p + at + 3 + (length - 7) / 4 * 4;
    }
    return p + 16;
}

/* The same for a routing header, or NULL if it has no segments left. */
static const uint8_t *last_segment(const struct fn_part *routing)
{
    if (routing->length >= 24 && routing->header[3]) {
        if (routing->header[2] == 4) /* segment routing lists the last one first (RFC 8754) */
            return routing->header + 8;
        if (routing->header[2] == 0 || routing->header[2] == 2)
            return routing->header + 8 + (routing->length - 24) / 16 * 16;
    }
    return NULL;
}

static uint32_t sum_words(const uint8_t *p, size_t words)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < words; i++)
        sum += get16(p + 2 * i);
    return sum;
}

/* The parts of a pseudo-header: the network header that encloses part i, and the addresses in use. */
struct pseudo {
    const struct fn_part *network;
    const uint8_t *src, *dst;
    uint32_t size;
};

static struct pseudo pseudo_of(const struct fn_part *const parts[], size_t i)
{
    const uint8_t *last = NULL; /* of the innermost routing header that has segments left */
    const uint8_t *home = NULL; /* the home address of a mobile node, used as the source (RFC 6275, section 11.3.1) */

    while (i-- > 0) {
        const struct fn_part *part = parts[i];
        if ((part->kind == FN_IPV4 && part->length < 20) || (part->kind == FN_IPV6 && part->length < 40))
            break;
        if (part->kind == FN_IPV4)
            return (struct pseudo){part, part->header + 12, ipv4_destination(part), 4};
        if (part->kind == FN_IPV6)
            return (struct pseudo){part, home ? home : part->header + 8, last ? last : part->header + 24,
                                   16};
        if (part->kind == FN_ROUTING)
            last = last ? last : last_segment(part);
        else if (part->kind == FN_DESTINATION && find_ipv6_option(part->header, part->length, 0xc9, 16))
            home = find_ipv6_option(part->header, part->length, 0xc9, 16);
        else if (!is_extension(part->kind))
            break;
    }
    return (struct pseudo){0};
}

uint32_t fn_part_pseudo(const struct fn_part *const parts[], size_t i, uint32_t length)
{
    struct pseudo p = pseudo_of(parts, i);

    if (!p.network)
        return 0;
    return layouts[parts[i]->kind].number + (length >> 16) + (length & 0xffff) + sum_words(p.src, p.size / 2) +
           sum_words(p.dst, p.size / 2);
}

static inline bool within(const uint8_t *byte, const uint8_t *start, uint32_t size)
{
    return (uintptr_t)byte - (uintptr_t)start < size;
}

bool fn_part_covers(const struct fn_part *const parts[], size_t owner, size_t i, uint32_t at)
{
    if (sums_itself(parts[owner]->kind))
        return i == owner;
    if (i >= owner)
        return parts[i]->kind != FN_PADDING && (parts[owner]->kind != FN_UDP || parts[i]->kind != FN_SURPLUS);
    if (!needs_pseudo(parts[owner]->kind))
        return false;
    struct pseudo p = pseudo_of(parts, owner);
    const uint8_t *byte = parts[i]->header + at;
    return p.network && (within(byte, p.src, p.size) || within(byte, p.dst, p.size));
}

/* The parts below part i, already written: part i's automatic fields are computed from them. */
struct below {
    uint32_t length;
    uint16_t sum;
    uint8_t kind;
};

/* Whether a header's Ethernet type may be a length instead. */
static bool has_frame_length(uint8_t kind)
{
    return kind == FN_ETHERNET || kind == FN_DOT1Q || kind == FN_DOT1AD || kind == FN_SNAP;
}

static uint16_t ppp_number(uint8_t below)
{
    return below == FN_IPV4 ? 0x0021 : below == FN_IPV6 ? 0x0057 : below == FN_MPLS ? 0x0281 : PROTOCOL_UNKNOWN;
}

INLINED uint16_t next_number(const struct fn_part *part, const struct below *below)
{
    const uint8_t kind = part->kind;

    if (layouts[kind].protocol_size == 1) {
        if (kind == FN_MPLS)
            return (part->header[2] & 0xfe) | (below->kind != FN_MPLS);
        bool known = layouts[below->kind].number || below->kind == FN_HOP_BY_HOP;
        return known ? layouts[below->kind].number : kind == FN_IPV4 ? PROTOCOL_UNKNOWN : PROTOCOL_NONE;
    }
    if (kind == FN_PPP)
        return ppp_number(below->kind);
    switch (below->kind) {
    case FN_IPV4:
        return 0x0800;
    case FN_IPV6:
        return 0x86dd;
    case FN_ARP:
        return 0x0806;
    case FN_DOT1Q:
        return 0x8100;
    case FN_DOT1AD:
        return 0x88a8;
    case FN_MPLS:
        return 0x8847;
    case FN_PPPOE:
        return 0x8864;
    case FN_ETHERNET:
    case FN_DOT3:
        return kind == FN_GRE ? GRE_ETHERNET : ETHERTYPE_UNKNOWN;
    case FN_LLC:
        return has_frame_length(kind)                ? (uint16_t)below->length
               : kind == FN_SLL || kind == FN_SLL2 ? COOKED_LLC
                                                     : ETHERTYPE_UNKNOWN;
    default:
        return ETHERTYPE_UNKNOWN;
    }
}

/* The value of a length field; above 65535 it is 0, and only a jumbogram may have it (RFC 2675). */
INLINED int64_t length_value(const struct fn_part *part, const struct below *below, bool jumbo)
{
    bool own = part->kind == FN_IPV4 || part->kind == FN_UDP;
    uint64_t length = (uint64_t)below->length + (own ? part->length : 0);
    bool may_be_jumbo = part->kind == FN_UDP ? jumbo : part->kind == FN_IPV6 && below->kind == FN_HOP_BY_HOP;

    if (length <= (part->kind == FN_DOT3 ? MAX_8023_LENGTH : 0xffff))
        return (int64_t)length;
    return may_be_jumbo ? 0 : -1;
}

/* `header` is part i as written, with the parts below after it; `sum` is that of the header. */
INLINED uint16_t checksum_value(const struct fn_part *const parts[], size_t i, const struct below *below,
                               const uint8_t *header, uint32_t sum)
{
    uint8_t kind = parts[i]->kind;
    uint16_t rest = below->sum;

    if (sums_itself(kind)) {
        uint16_t own = (uint16_t)~fold(sum);
        return own || kind == FN_IPV4 ? own : 0xffff;
    }
    if (kind == FN_DCCP && header[5] & 15) {
        uint32_t length = parts[i]->length;
        rest = fn_checksum_scalar(header + length, dccp_coverage(parts[i], length + below->length) - length, 0);
    }
    sum += parts[i]->length & 1 ? swap16(rest) : rest;
    if (needs_pseudo(kind)) {
        uint32_t pseudo = fn_part_pseudo(parts, i, parts[i]->length + below->length);
        if (!pseudo)
            return 0;
        sum += pseudo;
    }
    uint16_t checksum = (uint16_t)~fold(sum);
    return checksum || kind != FN_UDP ? checksum : 0xffff;
}

static bool in_jumbogram(const struct fn_part *const parts[], size_t i)
{
    while (i-- > 0 && is_extension(parts[i]->kind))
        if (parts[i]->kind == FN_HOP_BY_HOP)
            return true;
    return false;
}

/* Write a field of one or two bytes, and return its part of the header's sum. */
static uint32_t put_field(uint8_t *header, int at, uint8_t size, uint16_t value)
{
    if (size == 1) {
        header[at] = (uint8_t)value;
        return at & 1 ? value : (uint32_t)value << 8;
    }
    put16(header + at, value);
    return at & 1 ? swap16(value) : value;
}

/* Write SCTP's checksum, and return its part of the header's sum. */
static uint32_t put_crc(uint8_t *header, uint32_t length)
{
    uint8_t *p = header + layouts[FN_SCTP].checksum;

    memset(p, 0, 4);
    uint32_t crc = fn_crc32c(0, header, length);
    for (int i = 0; i < 4; i++, crc >>= 8)
        p[i] = (uint8_t)crc;
    return (uint32_t)get16(p) + get16(p + 2);
}

/* Write part i's automatic fields to its header at `header`; adds to *sum, or reports that it is too long. */
INLINED int fill(const struct fn_part *const parts[], size_t i, const struct below *below, uint8_t *header,
                uint32_t *sum)
{
    const struct fn_part *part = parts[i];

    if (part->automatic & FN_AUTO_LENGTH) {
        int64_t length = length_value(part, below, part->kind == FN_UDP && in_jumbogram(parts, i));
        if (length < 0)
            return FN_PACKET_TOO_LONG;
        *sum += put_field(header, layouts[part->kind].length, 2, (uint16_t)length);
    }
    if (part->automatic & FN_AUTO_PROTOCOL) {
        uint8_t size = layouts[part->kind].protocol_size;
        if (below->kind == FN_LLC && below->length > MAX_8023_LENGTH && has_frame_length(part->kind))
            return FN_PACKET_TOO_LONG;
        *sum += put_field(header, layouts[part->kind].protocol, size, next_number(part, below));
    }
    if (part->automatic & FN_AUTO_CHECKSUM) {
        if (part->kind == FN_SCTP)
            *sum += put_crc(header, part->length + below->length);
        else
            *sum += put_field(header, layouts[part->kind].checksum, 2, checksum_value(parts, i, below, header, *sum));
    }
    return 0;
}

/* Add a part, which has this sum, to the parts below. */
INLINED struct below on_top(const struct fn_part *part, uint32_t sum, const struct below *below)
{
    sum += part->length & 1 ? swap16(below->sum) : below->sum;
    return (struct below){.length = below->length + part->length, .sum = fold(sum), .kind = part->kind};
}

/* Write part i and its automatic fields so that it ends there, and add it to the parts below. */
INLINED int write_part(const struct fn_part *const parts[], size_t i, struct below *below, uint8_t **header)
{
    const struct fn_part *part = parts[i];
    uint32_t sum = part->sum;

    *header -= part->length;
    memcpy(*header, part->header, part->length);
    if (fill(parts, i, below, *header, &sum) != 0)
        return FN_PACKET_TOO_LONG;
    *below = on_top(part, sum, below);
    return 0;
}

/* Add the bytes after UDP's length, for the headers that count them. */
static void append(struct below *below, struct below *beyond)
{
    uint32_t sum = below->length & 1 ? swap16(beyond->sum) : beyond->sum;

    below->sum = fold(sum + below->sum);
    below->length += beyond->length;
    *beyond = (struct below){0};
}

/* Write part i, a surplus, and all before it: UDP counts no bytes from there on, other headers do. */
static int build_with_surplus(const struct fn_part *const parts[], size_t i, struct below below, uint8_t *header,
                              size_t *bad)
{
    struct below beyond = {0};

    for (i++; i-- > 0;) {
        const uint8_t kind = parts[i]->kind;

        if (beyond.length && kind != FN_UDP && kind != FN_PAYLOAD && kind != FN_SURPLUS)
            append(&below, &beyond);
        if (write_part(parts, i, &below, &header) != 0) {
            *bad = i;
            return FN_PACKET_TOO_LONG;
        }
        if (kind == FN_SURPLUS) {
            append(&below, &beyond);
            beyond = below;
            below = (struct below){.kind = FN_PAYLOAD};
        } else if (beyond.length && kind == FN_UDP) {
            append(&below, &beyond);
        }
    }
    return 0;
}

int fn_packet_build(const struct fn_part *const parts[], size_t count, uint8_t *out, size_t *bad)
{
    struct below below = {.kind = FN_PAYLOAD};
    uint8_t *header = out + fn_packet_size(parts, count);

    for (size_t i = count; i-- > 0;) {
        const struct fn_part *part = parts[i];

        if (part->kind == FN_PADDING) {
            header -= part->length;
            memcpy(header, part->header, part->length);
            continue;
        }
        if (part->kind == FN_SURPLUS)
            return build_with_surplus(parts, i, below, header, bad);
        if (write_part(parts, i, &below, &header) != 0) {
            *bad = i;
            return FN_PACKET_TOO_LONG;
        }
    }
    return 0;
}
