#include "../packet.h"
#include "headers.h"

/* What decides whether layer i has a checksum that can be verified, and over which bytes. */
struct span {
    const uint8_t *data;
    const struct fn_packet *packet;
    struct fn_part parts[FN_PACKET_LAYERS];
    const struct fn_part *stack[FN_PACKET_LAYERS];
    uint32_t end; /* where padding begins */
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
    return part->kind == FN_IPV4       ? is_ipv4_fragment(part->header)
           : part->kind == FN_FRAGMENT ? (get16(part->header + 2) & 0xfff9) != 0
                                       : false;
}

static bool quotes(const struct fn_part *part)
{
    return part->kind == FN_ICMP     ? is_icmp_error(part->header[0])
           : part->kind == FN_ICMPV6 ? is_icmpv6_error(part->header[0])
                                     : false;
}

/* The bytes that layer i's checksum covers, and the pseudo-header's sum; false where that can't be known. */
static bool covered(const struct span *s, int i, uint32_t *length, uint16_t *pseudo)
{
    const struct fn_part *part = s->stack[i];

    *length = part->kind == FN_IPV4 ? part->length : s->end - s->packet->offsets[i];
    *pseudo = 0;
    if (part->kind == FN_IPV4 || part->kind == FN_ICMP)
        return true;
    uint32_t sum = fn_part_pseudo(s->stack, (size_t)i, *length);
    sum = (sum & 0xffff) + (sum >> 16);
    *pseudo = (uint16_t)(sum + (sum >> 16));
    return sum != 0;
}

static bool unsummed(const struct span *s, int i)
{
    int network = i - 1;

    if (s->stack[i]->kind != FN_UDP || get16(s->stack[i]->header + 6))
        return false;
    while (network > 0 && is_extension(s->stack[network]->kind))
        network--;
    return network < 0 || s->stack[network]->kind == FN_IPV4;
}

int fn_packet_verify(const uint8_t *data, const struct fn_packet *packet, fn_sum_fn *sum, uint16_t *expected)
{
    struct span s;
    bool fragment = false;

    open_span(&s, data, packet);
    for (int i = 0; i < packet->count; i++) {
        const struct fn_part *part = s.stack[i];
        int field = fn_part_field(part->kind, FN_AUTO_CHECKSUM);
        bool has_checksum = field >= 0 && (part->kind == FN_IPV4 || (!fragment && !unsummed(&s, i)));
        uint32_t length;
        uint16_t pseudo;

        if (has_checksum && covered(&s, i, &length, &pseudo) && sum(part->header, length, pseudo) != 0xffff) {
            size_t rest = (size_t)field + 2;
            *expected = (uint16_t)~sum(part->header + rest, length - rest, sum(part->header, (size_t)field, pseudo));
            return i;
        }
        fragment = fragment || is_fragment(part);
        if (quotes(part))
            break;
    }
    return -1;
}
