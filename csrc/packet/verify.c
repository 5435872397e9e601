#include "../packet.h"
#include "headers.h"

#include <string.h>

/* The kinds with a checksum, options or a quoted packet. */
#define SUMMED                                                                                                         \
    (KIND(FN_IPV4) | KIND(FN_MOBILITY) | KIND(FN_GRE) | KIND(FN_ICMP_EXTENSIONS) | KIND(FN_ICMP) | KIND(FN_ICMPV6) |   \
     KIND(FN_UDP) | KIND(FN_TCP) | KIND(FN_SCTP) | KIND(FN_DCCP))
#define OPTIONED                                                                                                       \
    (KIND(FN_IPV4) | KIND(FN_TCP) | KIND(FN_HOP_BY_HOP) | KIND(FN_DESTINATION) | KIND(FN_ICMP_EXTENSIONS))
#define QUOTING (KIND(FN_ICMP) | KIND(FN_ICMPV6))

/* The state that decides whether layer i's checksum can be verified, and over which bytes. */
struct span {
    const uint8_t *data;
    const struct fn_packet *packet;
    struct fn_part parts[FN_PACKET_LAYERS];
    const struct fn_part *stack[FN_PACKET_LAYERS];
    uint32_t end; /* offset of the padding */
};

static void open_span(struct span *s, const uint8_t *data, const struct fn_packet *packet)
{
    s->data = data;
    s->packet = packet;
    for (int i = 0; i < packet->count; i++) {
        uint32_t start = packet->offsets[i];
        s->parts[i] = (struct fn_part){
            .header = data + start, .length = packet->offsets[i + 1] - start, .kind = packet->kinds[i]};
        s->stack[i] = &s->parts[i];
    }
    int last = packet->count - 1;
    s->end = packet->offsets[last >= 0 && packet->kinds[last] == FN_PADDING ? last : packet->count];
}

static bool is_fragment(const struct fn_part *part)
{
    if (part->length < 8)
        return false;
    return part->kind == FN_IPV4       ? is_ipv4_fragment(part->header)
           : part->kind == FN_FRAGMENT ? (get16(part->header + 2) & 0xfff9) != 0
                                       : false;
}

static bool quotes(uint8_t kind, const uint8_t *header)
{
    return kind == FN_ICMP ? is_icmp_error(header[0]) : kind == FN_ICMPV6 ? is_icmpv6_error(header[0]) : false;
}

/* The end of the bytes that layer i's checksum covers: for UDP, without its surplus. */
static uint32_t end_of(const struct span *s, int i)
{
    if (s->stack[i]->kind == FN_UDP)
        for (int k = i + 1; k < s->packet->count; k++)
            if (s->stack[k]->kind == FN_SURPLUS)
                return s->packet->offsets[k];
    return s->end;
}

/* The bytes that layer i's checksum covers, and the pseudo-header's sum; false if they are unknown. */
static bool covered(const struct span *s, int i, uint32_t *length, uint16_t *pseudo)
{
    const struct fn_part *part = s->stack[i];

    *length = sums_itself(part->kind) ? part->length : end_of(s, i) - s->packet->offsets[i];
    *pseudo = 0;
    if (!needs_pseudo(part->kind))
        return true;
    uint32_t sum = fn_part_pseudo(s->stack, (size_t)i, *length);
    sum = (sum & 0xffff) + (sum >> 16);
    *pseudo = (uint16_t)(sum + (sum >> 16));
    if (part->kind == FN_DCCP)
        *length = dccp_coverage(part, *length);
    return sum != 0;
}

/* UDP over IPv4 may have no checksum (RFC 768), and so may ICMP extensions (RFC 4884, section 7). */
static bool unsummed(const struct span *s, int i)
{
    int network = i - 1;

    if (s->stack[i]->kind == FN_ICMP_EXTENSIONS)
        return !get16(s->stack[i]->header + 2);
    if (s->stack[i]->kind != FN_UDP || get16(s->stack[i]->header + 6))
        return false;
    while (network > 0 && is_extension(s->stack[network]->kind))
        network--;
    return network < 0 || s->stack[network]->kind == FN_IPV4;
}

/* Whether SCTP's checksum is right; otherwise *expected is the right value, in the header's byte order. */
static bool is_crc_right(const uint8_t *p, uint32_t length, uint32_t *expected)
{
    uint8_t header[12] = {0};

    memcpy(header, p, 8);
    uint32_t crc = fn_crc32c(fn_crc32c(0, header, sizeof header), p + sizeof header, length - sizeof header);
    *expected = (uint32_t)swap16((uint16_t)crc) << 16 | swap16((uint16_t)(crc >> 16));
    return get32(p + 8) == *expected;
}

static bool is_sum_right(const uint8_t *p, uint32_t field, uint32_t length, uint16_t pseudo, fn_sum_fn *sum,
                         uint32_t *expected)
{
    const uint32_t rest = field + 2;

    if (sum(p, length, pseudo) == 0xffff)
        return true;
    *expected = (uint16_t)~sum(p + rest, length - rest, sum(p, field, pseudo));
    return false;
}

int fn_packet_verify(const uint8_t *data, const struct fn_packet *packet, fn_sum_fn *sum, uint32_t *expected)
{
    struct span s;
    bool fragment = false, quoted = false;

    open_span(&s, data, packet);
    for (int i = 0; i < packet->count; i++) {
        const struct fn_part *part = s.stack[i];
        uint32_t length;
        uint16_t pseudo;

        if (!is_among(part->kind, SUMMED | KIND(FN_FRAGMENT)) || (quoted && part->kind != FN_ICMP_EXTENSIONS))
            continue;
        int field = fn_part_checksum(part);
        bool has_checksum = field >= 0 && (sums_itself(part->kind) || !fragment) && !unsummed(&s, i);
        if (has_checksum && covered(&s, i, &length, &pseudo)) {
            bool right = part->kind == FN_SCTP
                             ? is_crc_right(part->header, length, expected)
                             : is_sum_right(part->header, (uint32_t)field, length, pseudo, sum, expected);
            if (!right)
                return i;
        }
        fragment = fragment || is_fragment(part);
        quoted = quoted || quotes(part->kind, part->header);
    }
    return -1;
}

int fn_packet_checksum(const uint8_t *data, const struct fn_packet *packet, int layer)
{
    const uint32_t start = packet->offsets[layer];
    const struct fn_part part = {
        .header = data + start, .length = packet->offsets[layer + 1] - start, .kind = packet->kinds[layer]};

    return fn_part_checksum(&part);
}

/* The offset of a header's options; its length if it has none. */
static uint32_t options_at(uint8_t kind, const uint8_t *header, uint32_t length)
{
    switch (kind) {
    case FN_IPV4:
    case FN_TCP:
        return 20;
    case FN_HOP_BY_HOP:
    case FN_DESTINATION:
        return 2;
    case FN_ICMP_EXTENSIONS:
        return 4;
    case FN_ICMPV6:
        return discovery_size(header[0]) ? discovery_size(header[0]) : length;
    default:
        return length;
    }
}

/* The length of the option at p, with `left` > 0 bytes left; 0 if it can't be an option. */
static uint32_t option_size(uint8_t kind, const uint8_t *p, uint32_t left)
{
    const bool ends = kind == FN_IPV4 || kind == FN_TCP, discovery = kind == FN_ICMPV6;
    const bool extensions = kind == FN_ICMP_EXTENSIONS;

    if (ends && p[0] == 0)
        return left;
    if (!discovery && !extensions && p[0] == (ends ? 1 : 0))
        return 1;
    if (left < (extensions ? 4 : 2))
        return 0;
    uint32_t size = extensions ? get16(p) : discovery ? p[1] * 8U : ends ? p[1] : p[1] + 2U;
    return size >= (extensions ? 4 : 2) && size <= left ? size : 0;
}

/* A TCP option that requests a cookie if it has none (RFC 7413). */
#define FAST_OPEN 34

/*
 * The forms of the known options by their numbers. An option of any size, as link-layer addresses (RFC 4861), has
 * none here.
 */
static const struct fn_form tcp_forms[] = {
    [2] = {"MSS", 4, 0, 0},
    [3] = {"WindowScale", 3, 0, 0},
    [4] = {"SACKPermitted", 2, 0, 0},
    [5] = {"SACK", 10, 8, 0},
    [8] = {"Timestamps", 10, 0, 0},
    [19] = {"MD5Signature", 18, 0, 0},
    [28] = {"UserTimeout", 4, 0, 0},
    [29] = {"AuthenticationOption", 4, 1, 0},
    [FAST_OPEN] = {"FastOpen", 6, 2, 18},
};
static const struct fn_form ipv4_forms[] = {
    [7] = {"RecordRoute", 3, 4, 0},
    [68] = {"IPv4Timestamp", 4, 4, 0},
    [131] = {"LooseSourceRoute", 3, 4, 0},
    [137] = {"StrictSourceRoute", 3, 4, 0},
    [148] = {"RouterAlert", 4, 0, 0},
};
static const struct fn_form ipv6_forms[] = {
    [0x05] = {"IPv6RouterAlert", 4, 0, 0},
    [0xc2] = {"JumboPayload", 6, 0, 0},
    [0xc9] = {"HomeAddress", 18, 0, 0},
};
static const struct fn_form discovery_forms[] = {
    [3] = {"PrefixInformation", 32, 0, 0},
    [5] = {"MTU", 8, 0, 0},
    [25] = {"RecursiveDNSServers", 24, 16, 0},
};
static const struct fn_form labels_form = {"MPLSLabels", 4, 4, 0};

#define FORM_IN(forms, number) ((number) < sizeof(forms) / sizeof *(forms) ? &(forms)[number] : NULL)

/* The form of the option at p; NULL, or one without a name, means any size. */
static const struct fn_form *form_of(uint8_t kind, const uint8_t *p)
{
    switch (kind) {
    case FN_TCP:
        return FORM_IN(tcp_forms, p[0]);
    case FN_IPV4:
        return FORM_IN(ipv4_forms, p[0]);
    case FN_ICMPV6:
        return FORM_IN(discovery_forms, p[0]);
    case FN_ICMP_EXTENSIONS:
        return get16(p + 2) == 0x0101 ? &labels_form : NULL;
    default:
        return FORM_IN(ipv6_forms, p[0]);
    }
}

/* The form that the option at p should have but has not; NULL: it is right, or of an unknown kind. */
static const struct fn_form *missed_form(uint8_t kind, const uint8_t *p, uint32_t size)
{
    const struct fn_form *form = form_of(kind, p);

    if (!form || !form->name || size == form->least || (kind == FN_TCP && p[0] == FAST_OPEN && size == 2))
        return NULL;
    if (form->most && size > form->most)
        return form;
    return form->step && size > form->least && (size - form->least) % form->step == 0 ? NULL : form;
}

int fn_packet_malformed(const uint8_t *data, const struct fn_packet *packet, struct fn_wrong_option *wrong)
{
    bool quoted = false;

    for (int i = 0; i < packet->count; i++) {
        const uint8_t kind = packet->kinds[i], *header = data + packet->offsets[i];
        const uint32_t length = packet->offsets[i + 1] - packet->offsets[i];

        if (!is_among(kind, OPTIONED | QUOTING) || (quoted && kind != FN_ICMP_EXTENSIONS))
            continue;
        for (uint32_t at = options_at(kind, header, length), size; at < length; at += size) {
            size = option_size(kind, header + at, length - at);
            const struct fn_form *form = size ? missed_form(kind, header + at, size) : NULL;
            if (size == 0 || form) {
                *wrong = (struct fn_wrong_option){.form = form, .offset = packet->offsets[i] + at, .size = size};
                return i;
            }
        }
        quoted = quoted || quotes(kind, header);
    }
    return -1;
}
