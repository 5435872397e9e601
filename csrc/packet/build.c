#include "../packet.h"
#include "headers.h"

#include <string.h>

/* What a stack's last header says of its next protocol: nobody's, and that there is none. */
#define ETHERTYPE_UNKNOWN 0x9000
#define PROTOCOL_UNKNOWN 0

/* Where each kind has its automatic fields, -1 for none; its own protocol number or type in the header before. */
static const struct {
    int8_t length, protocol, checksum;
    uint8_t protocol_size;
    uint16_t number;
} layouts[FN_KINDS] = {
    [FN_PAYLOAD] = {-1, -1, -1, 0, 0},
    [FN_PADDING] = {-1, -1, -1, 0, 0},
    [FN_ETHERNET] = {-1, 12, -1, 2, 0},
    [FN_DOT3] = {12, -1, -1, 0, 0},
    [FN_LLC] = {-1, -1, -1, 0, 0},
    [FN_SNAP] = {-1, 3, -1, 2, 0},
    [FN_DOT1Q] = {-1, 2, -1, 2, 0},
    [FN_DOT1AD] = {-1, 2, -1, 2, 0},
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
    [FN_ICMP] = {-1, -1, 2, 0, 1},
    [FN_ICMPV6] = {-1, -1, 2, 0, 58},
    [FN_UDP] = {4, -1, 6, 0, 17},
    [FN_TCP] = {-1, -1, 16, 0, 6},
};

/* Headers are short: the widest that has automatic fields among its first bytes. */
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
        memset(fixed + layouts[part->kind].checksum, 0, 2);
    part->sum = sum(part->header + head, part->length - head, sum(fixed, head, 0));
}

uint64_t fn_packet_size(const struct fn_part *const parts[], size_t count)
{
    uint64_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += parts[i]->length;
    return size;
}

/* The address that a packet with a source route is on its way to at last (RFC 791, 3.1; RFC 8200, 8.1). */
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

static const uint8_t *ipv6_destination(const struct fn_part *ip, const struct fn_part *routing)
{
    if (routing && routing->length >= 24 && routing->header[3]) {
        if (routing->header[2] == 4) /* segment routing lists the last one first (RFC 8754) */
            return routing->header + 8;
        if (routing->header[2] == 0 || routing->header[2] == 2)
            return routing->header + 8 + (routing->length - 24) / 16 * 16;
    }
    return ip->header + 24;
}

static uint32_t sum_words(const uint8_t *p, size_t words)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < words; i++)
        sum += get16(p + 2 * i);
    return sum;
}

/* What a pseudo-header is made of: the network header that encloses part i, and the addresses in use. */
struct pseudo {
    const struct fn_part *network;
    const uint8_t *src, *dst;
    uint32_t size;
};

static struct pseudo pseudo_of(const struct fn_part *const parts[], size_t i)
{
    const struct fn_part *routing = NULL;
    const uint8_t *home = NULL; /* what a mobile node's packet counts as sent from (RFC 6275, section 11.3.1) */

    while (i-- > 0) {
        const struct fn_part *part = parts[i];
        if (part->kind == FN_IPV4)
            return (struct pseudo){part, part->header + 12, ipv4_destination(part), 4};
        if (part->kind == FN_IPV6)
            return (struct pseudo){part, home ? home : part->header + 8, ipv6_destination(part, routing), 16};
        if (part->kind == FN_ROUTING)
            routing = part;
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
    if (parts[owner]->kind == FN_IPV4)
        return i == owner;
    if (i >= owner)
        return parts[i]->kind != FN_PADDING;
    if (parts[owner]->kind == FN_ICMP)
        return false;
    struct pseudo p = pseudo_of(parts, owner);
    const uint8_t *byte = parts[i]->header + at;
    return p.network && (within(byte, p.src, p.size) || within(byte, p.dst, p.size));
}

/* The stack below part i, all written already: what part i's automatic fields are computed from. */
struct below {
    uint32_t length;
    uint16_t sum;
    uint8_t kind;
};

static uint16_t next_number(uint8_t kind, const struct below *below)
{
    if (layouts[kind].protocol_size == 1) {
        bool known = layouts[below->kind].number || below->kind == FN_HOP_BY_HOP;
        return known ? layouts[below->kind].number : kind == FN_IPV4 ? PROTOCOL_UNKNOWN : PROTOCOL_NONE;
    }
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
    case FN_LLC:
        return (uint16_t)below->length;
    default:
        return ETHERTYPE_UNKNOWN;
    }
}

/* The value of a length field; above 65535 only a jumbogram has one, and it is 0 (RFC 2675). */
static int64_t length_value(const struct fn_part *part, const struct below *below, bool jumbo)
{
    bool own = part->kind == FN_IPV4 || part->kind == FN_UDP;
    uint64_t length = (uint64_t)below->length + (own ? part->length : 0);
    bool may_be_jumbo = part->kind == FN_UDP ? jumbo : part->kind == FN_IPV6 && below->kind == FN_HOP_BY_HOP;

    if (length <= (part->kind == FN_DOT3 ? MAX_8023_LENGTH : 0xffff))
        return (int64_t)length;
    return may_be_jumbo ? 0 : -1;
}

static uint16_t checksum_value(const struct fn_part *const parts[], size_t i, const struct below *below, uint32_t sum)
{
    uint8_t kind = parts[i]->kind;

    if (kind == FN_IPV4)
        return (uint16_t)~fold(sum);
    sum += parts[i]->length & 1 ? swap16(below->sum) : below->sum;
    if (kind != FN_ICMP) {
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

/* Write a field of one or two bytes, and give what it adds to its header's sum. */
static uint32_t put_field(uint8_t *header, int at, uint8_t size, uint16_t value)
{
    if (size == 1) {
        header[at] = (uint8_t)value;
        return at & 1 ? value : (uint32_t)value << 8;
    }
    put16(header + at, value);
    return at & 1 ? swap16(value) : value;
}

/* Write part i's automatic fields to its header at `header`; adds to *sum, or tells that it is too long. */
static int fill(const struct fn_part *const parts[], size_t i, const struct below *below, uint8_t *header,
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
        if (size == 2 && below->kind == FN_LLC && below->length > MAX_8023_LENGTH)
            return FN_PACKET_TOO_LONG;
        *sum += put_field(header, layouts[part->kind].protocol, size, next_number(part->kind, below));
    }
    if (part->automatic & FN_AUTO_CHECKSUM)
        *sum += put_field(header, layouts[part->kind].checksum, 2, checksum_value(parts, i, below, *sum));
    return 0;
}

int fn_packet_build(const struct fn_part *const parts[], size_t count, uint8_t *out, size_t *bad)
{
    struct below below = {.kind = FN_PAYLOAD};
    uint8_t *header = out + fn_packet_size(parts, count);

    for (size_t i = count; i-- > 0;) {
        const struct fn_part *part = parts[i];
        uint32_t sum = part->sum;

        header -= part->length;
        memcpy(header, part->header, part->length);
        if (part->kind == FN_PADDING)
            continue;
        if (fill(parts, i, &below, header, &sum) != 0) {
            *bad = i;
            return FN_PACKET_TOO_LONG;
        }
        sum += part->length & 1 ? swap16(below.sum) : below.sum;
        below = (struct below){.length = below.length + part->length, .sum = fold(sum), .kind = part->kind};
    }
    return 0;
}
