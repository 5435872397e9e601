/* Internal to scan, build and verify: protocol numbers and header fields. */
#ifndef FN_PACKET_HEADERS_H
#define FN_PACKET_HEADERS_H

#include "../bytes.h"
#include "../packet.h"

#include <stdbool.h>

/* An Ethernet type up to this is the length of an IEEE 802.3 frame. */
#define MAX_8023_LENGTH 1500
#define COOKED_LLC 4 /* instead of an Ethernet type, in a Linux cooked capture */
#define GRE_ETHERNET 0x6558
#define PROTOCOL_ESP 50
#define PROTOCOL_NONE 59

static inline uint16_t swap16(uint16_t value)
{
    return (uint16_t)(value << 8 | value >> 8);
}

static inline enum fn_kind fn_kind_of_ethertype(uint16_t type)
{
    switch (type) {
    case 0x0800:
        return FN_IPV4;
    case 0x86dd:
        return FN_IPV6;
    case 0x0806:
        return FN_ARP;
    case 0x8100:
    case 0x9100: /* QinQ before IEEE 802.1ad had a number for it */
    case 0x9200:
    case 0x9300:
        return FN_DOT1Q;
    case 0x88a8:
        return FN_DOT1AD;
    case 0x8847:
    case 0x8848: /* multicast, before RFC 5332 */
        return FN_MPLS;
    case 0x8864:
        return FN_PPPOE;
    default:
        return FN_PAYLOAD;
    }
}

static inline enum fn_kind fn_kind_of_protocol(uint8_t protocol, bool over_ipv6)
{
    switch (protocol) {
    case 4:
        return FN_IPV4;
    case 6:
        return FN_TCP;
    case 17:
        return FN_UDP;
    case 41:
        return FN_IPV6;
    case PROTOCOL_ESP:
        return FN_ESP;
    case 51:
        return FN_AH;
    case 33:
        return FN_DCCP;
    case 47:
        return FN_GRE;
    case 132:
        return FN_SCTP;
    case 137:
        return FN_MPLS;
    case 1:
        return over_ipv6 ? FN_PAYLOAD : FN_ICMP;
    case 0:
        return over_ipv6 ? FN_HOP_BY_HOP : FN_PAYLOAD;
    case 43:
        return over_ipv6 ? FN_ROUTING : FN_PAYLOAD;
    case 44:
        return over_ipv6 ? FN_FRAGMENT : FN_PAYLOAD;
    case 58:
        return over_ipv6 ? FN_ICMPV6 : FN_PAYLOAD;
    case 60:
        return over_ipv6 ? FN_DESTINATION : FN_PAYLOAD;
    case 135:
        return over_ipv6 ? FN_MOBILITY : FN_PAYLOAD;
    default:
        return FN_PAYLOAD;
    }
}

static inline bool is_extension(uint8_t kind)
{
    return kind >= FN_HOP_BY_HOP && kind <= FN_MOBILITY;
}

static inline bool is_icmp_error(uint8_t type)
{
    return (type >= 3 && type <= 5) || type == 11 || type == 12;
}

static inline bool is_icmpv6_error(uint8_t type)
{
    return type >= 1 && type <= 4;
}

/* Router and neighbour discovery (RFC 4861): the bytes of the fixed part, before the options; else 0. */
static inline uint32_t discovery_size(uint8_t type)
{
    static const uint8_t sizes[] = {8, 16, 24, 24, 40};

    return type >= 133 && type <= 137 ? sizes[type - 133] : 0;
}

/* Whether an IPv4 header is that of a fragment: others follow or precede it. */
static inline bool is_ipv4_fragment(const uint8_t *p)
{
    return get16(p + 6) & 0x3fff;
}

#define KIND(kind) (UINT64_C(1) << (kind))

static inline bool is_among(uint8_t kind, uint64_t kinds)
{
    return kinds >> kind & 1;
}

/* Whether a checksum covers only its own header. */
static inline bool sums_itself(uint8_t kind)
{
    return is_among(kind, KIND(FN_IPV4) | KIND(FN_ICMP_EXTENSIONS));
}

/* Whether a checksum covers a pseudo-header. */
static inline bool needs_pseudo(uint8_t kind)
{
    return is_among(kind, KIND(FN_UDP) | KIND(FN_TCP) | KIND(FN_ICMPV6) | KIND(FN_MOBILITY) | KIND(FN_DCCP));
}

/* The number of bytes that a DCCP checksum covers in a packet of `length` bytes (RFC 4340, section 9.2). */
static inline uint32_t dccp_coverage(const struct fn_part *part, uint32_t length)
{
    uint32_t covered = part->length + ((part->header[5] & 15U) - 1) * 4;

    return part->header[5] & 15 && covered < length ? covered : length;
}

/* The offset of a part's checksum, or -1 if it has none or ends before it. */
int fn_part_checksum(const struct fn_part *part);

/* SCTP's cyclic redundancy check (RFC 9260, appendix A), least significant byte first; of data behind that of `crc`. */
uint32_t fn_crc32c(uint32_t crc, const uint8_t *data, size_t len);

/* The value of the first such option, of `size` bytes, in a hop-by-hop or destination header; or NULL. */
static inline const uint8_t *find_ipv6_option(const uint8_t *p, uint32_t length, uint8_t type, uint8_t size)
{
    for (uint32_t at = 2; at + 2 <= length; at += p[at] ? p[at + 1] + 2U : 1)
        if (p[at] == type && p[at + 1] == size && at + 2 + size <= length)
            return p + at + 2;
    return NULL;
}

/*
 * The sum of the pseudo-header that covers part i of a packet, for an upper layer of `length` bytes: 0 is
 * no sum at all and means that no network header encloses the part.
 */
uint32_t fn_part_pseudo(const struct fn_part *const parts[], size_t i, uint32_t length);

/* Whether part `owner`'s checksum covers the byte `at` of part i, by itself or by its pseudo-header. */
bool fn_part_covers(const struct fn_part *const parts[], size_t owner, size_t i, uint32_t at);

#endif
