/* ARP and NDP requests as Ethernet frames, and the matching of frames that answer them. */
#define _GNU_SOURCE
#include "bytes.h"
#include "probe/sweep.h"

#include "checksum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAC 6
/* Maximum size of a frame to read: signed advertisements (RFC 3971) are long. */
#define LONGEST 2048
/* Maximum number of frames left from before the sweep. */
#define STALE_MOST 65536

/* Ethernet. */
enum { AT_TO = 0, AT_FROM = 6, AT_TYPE = 12, ETHERNET = 14, TYPE_ARP = 0x0806, TYPE_IPV6 = 0x86dd };

/* ARP over Ethernet for IPv4 (RFC 826), behind the Ethernet header. */
enum { AT_SENDER_MAC = 8, AT_SENDER = 14, AT_TARGET_MAC = 18, AT_TARGET = 24, ARP = 28 };
static const uint8_t ARP_REQUEST[AT_SENDER_MAC] = {0, 1, 0x08, 0x00, MAC, 4, 0, 1};
static const uint8_t ARP_REPLY[AT_SENDER_MAC] = {0, 1, 0x08, 0x00, MAC, 4, 0, 2};

/* IPv6 (RFC 8200), and behind its header a message of Neighbor Discovery (RFC 4861). */
enum { AT_LENGTH = 4, AT_NEXT = 6, AT_HOPS = 7, AT_SOURCE = 8, AT_DESTINATION = 24, IPV6 = 40 };
enum { AT_CHECKSUM = 2, AT_FLAGS = 4, AT_ASKED = 8, AT_OPTIONS = 24, SOLICITATION = 135, ADVERTISEMENT = 136 };
enum { OPTION = 8, SOURCE_MAC = 1, TARGET_MAC = 2, SOLICITED = 0x40, MULTICAST = 0xff, HOPS = 255 };

/* ff02::1:ff00:0, with the last three bytes of the target's address, and the Ethernet address for it. */
static const uint8_t ASKED_NODES[16] = {0xff, 0x02, [11] = 0x01, [12] = 0xff};
static const uint8_t ASKED_NODES_MAC[MAC] = {0x33, 0x33, 0xff};

static void put_address(uint8_t *at, struct fn_number address)
{
    put64(at, address.high);
    put64(at + 8, address.low);
}

static struct fn_number address_at(const uint8_t *at)
{
    return (struct fn_number){get64(at), get64(at + 8)};
}

static bool same(struct fn_number a, struct fn_number b)
{
    return a.high == b.high && a.low == b.low;
}

/* A target's hardware address; until it is known, the number of the request. */
static uint8_t *mac_of(const struct fn_sweep *sweep, uint64_t target)
{
    return (uint8_t *)sweep->own + target * MAC;
}

/* Requests */

static void init_arp(const struct fn_sweep *sweep, uint8_t *frame)
{
    const struct fn_link *const link = &sweep->options.link;
    uint8_t *const arp = frame + ETHERNET;

    memset(frame + AT_TO, 0xff, MAC);
    put16(frame + AT_TYPE, TYPE_ARP);
    memcpy(arp, ARP_REQUEST, sizeof ARP_REQUEST);
    memcpy(arp + AT_SENDER_MAC, link->mac, MAC);
    put32(arp + AT_SENDER, (uint32_t)link->source.low);
}

static void init_ndp(const struct fn_sweep *sweep, uint8_t *frame)
{
    const struct fn_link *const link = &sweep->options.link;
    uint8_t *const ip = frame + ETHERNET, *const icmp = ip + IPV6;

    memcpy(frame + AT_TO, ASKED_NODES_MAC, MAC);
    put16(frame + AT_TYPE, TYPE_IPV6);
    ip[0] = 6 << 4;
    put16(ip + AT_LENGTH, AT_OPTIONS + OPTION);
    ip[AT_NEXT] = IPPROTO_ICMPV6;
    ip[AT_HOPS] = HOPS;
    put_address(ip + AT_SOURCE, link->source);
    memcpy(ip + AT_DESTINATION, ASKED_NODES, sizeof ASKED_NODES);
    icmp[0] = SOLICITATION;
    icmp[AT_OPTIONS] = SOURCE_MAC;
    icmp[AT_OPTIONS + 1] = 1;
    memcpy(icmp + AT_OPTIONS + 2, link->mac, MAC);
}

/* Answers to an earlier sweep's requests do not count. */
static void forget_stale(int fd)
{
    for (unsigned i = 0; i < STALE_MOST && recv(fd, NULL, 0, MSG_DONTWAIT | MSG_TRUNC) >= 0; i++)
        ;
}

static int wire_init(struct fn_sweep *sweep)
{
    const bool ipv4 = sweep->options.family == AF_INET;

    sweep->packet_size = ETHERNET + (ipv4 ? ARP : IPV6 + AT_OPTIONS + OPTION);
    sweep->read_size = LONGEST;
    sweep->own = calloc(sweep->size ? sweep->size : 1, MAC);
    const int code = fn_batches_init(sweep);
    if (code < 0 || !sweep->own)
        return -ENOMEM;
    for (unsigned i = 0; i < FN_BATCH; i++) {
        uint8_t *const frame = sweep->out.packets + i * sweep->packet_size;
        memcpy(frame + AT_FROM, sweep->options.link.mac, MAC);
        (ipv4 ? init_arp : init_ndp)(sweep, frame);
    }
    forget_stale(sweep->options.fd);
    return 0;
}

static void wire_free(struct fn_sweep *sweep)
{
    fn_batches_free(sweep);
    free(sweep->own);
}

static void ask_by_ndp(uint8_t *frame, struct fn_number address)
{
    uint8_t *const ip = frame + ETHERNET, *const icmp = ip + IPV6;
    const uint8_t *const last = icmp + AT_ASKED + 13;

    put_address(icmp + AT_ASKED, address);
    memcpy(frame + AT_TO + 3, last, 3);
    memcpy(ip + AT_DESTINATION + 13, last, 3);
    put16(icmp + AT_CHECKSUM, 0);
    const uint16_t pseudo = fn_checksum_pseudo_ipv6(ip + AT_SOURCE, ip + AT_DESTINATION, IPPROTO_ICMPV6,
                                                    AT_OPTIONS + OPTION);
    put16(icmp + AT_CHECKSUM, (uint16_t)~fn_checksum_scalar(icmp, AT_OPTIONS + OPTION, pseudo));
}

static void wire_request(struct fn_sweep *sweep, unsigned place, uint64_t target, uint32_t number, uint32_t ticks)
{
    uint8_t *const frame = sweep->out.packets + place * sweep->packet_size;
    const struct fn_number address = fn_sweep_address(sweep, target);

    (void)ticks; /* they are only in the target's slot */
    put32(mac_of(sweep, target), number);
    if (sweep->options.family == AF_INET)
        put32(frame + ETHERNET + AT_TARGET, (uint32_t)address.low);
    else
        ask_by_ndp(frame, address);
    sweep->out.targets[place] = target;
}

/* Answers */

static bool is_one_hosts(const uint8_t mac[MAC])
{
    static const uint8_t none[MAC];

    return !(mac[0] & 1) && memcmp(mac, none, MAC) != 0;
}

static bool is_to_us(const struct fn_sweep *sweep, const uint8_t *frame, uint16_t type)
{
    return memcmp(frame + AT_TO, sweep->options.link.mac, MAC) == 0 && !(frame[AT_FROM] & 1) &&
           get16(frame + AT_TYPE) == type;
}

/* The address that a reply is about, and its hardware address; NULL if it is no reply to us. */
static const uint8_t *parse_arp(const struct fn_sweep *sweep, const uint8_t *frame, size_t len,
                                struct fn_number *whose)
{
    const struct fn_link *const link = &sweep->options.link;
    const uint8_t *const arp = frame + ETHERNET;

    if (len < ETHERNET + ARP || !is_to_us(sweep, frame, TYPE_ARP) || memcmp(arp, ARP_REPLY, sizeof ARP_REPLY) != 0 ||
        memcmp(arp + AT_TARGET_MAC, link->mac, MAC) != 0 || get32(arp + AT_TARGET) != link->source.low)
        return NULL;
    *whose = (struct fn_number){.low = get32(arp + AT_SENDER)};
    return arp + AT_SENDER_MAC;
}

/* The first target link-layer address among these options; NULL if there is none, or an option is cut short. */
static const uint8_t *target_mac(const uint8_t *options, size_t len)
{
    const uint8_t *mac = NULL;

    while (len) {
        const size_t size = len < OPTION ? 0 : (size_t)options[1] * OPTION;
        if (size == 0 || size > len)
            return NULL;
        if (!mac && options[0] == TARGET_MAC && size == OPTION)
            mac = options + 2;
        options += size;
        len -= size;
    }
    return mac;
}

/* The same of a neighbour advertisement (RFC 4861, 7.1.2). */
static const uint8_t *parse_ndp(const struct fn_sweep *sweep, const uint8_t *frame, size_t len,
                                struct fn_number *whose)
{
    const uint8_t *const ip = frame + ETHERNET, *const icmp = ip + IPV6;

    if (len < ETHERNET + IPV6 + AT_OPTIONS || !is_to_us(sweep, frame, TYPE_IPV6))
        return NULL;
    const uint16_t size = get16(ip + AT_LENGTH);
    if (ip[0] >> 4 != 6 || size < AT_OPTIONS || size > len - ETHERNET - IPV6 || ip[AT_NEXT] != IPPROTO_ICMPV6 ||
        ip[AT_HOPS] != HOPS || ip[AT_SOURCE] == MULTICAST ||
        !same(address_at(ip + AT_DESTINATION), sweep->options.link.source) || icmp[0] != ADVERTISEMENT ||
        icmp[1] != 0 || !(icmp[AT_FLAGS] & SOLICITED))
        return NULL;
    const uint16_t pseudo = fn_checksum_pseudo_ipv6(ip + AT_SOURCE, ip + AT_DESTINATION, IPPROTO_ICMPV6, size);
    if (fn_checksum_scalar(icmp, size, pseudo) != 0xffff)
        return NULL;
    *whose = address_at(icmp + AT_ASKED);
    return target_mac(icmp + AT_OPTIONS, size - AT_OPTIONS);
}

const uint8_t *fn_link_parse_reply(const struct fn_sweep *sweep, const uint8_t *frame, size_t len, uint64_t *target)
{
    struct fn_number whose;
    const uint8_t *const mac = (sweep->options.family == AF_INET ? parse_arp : parse_ndp)(sweep, frame, len, &whose);

    if (!mac || !is_one_hosts(mac))
        return NULL;
    *target = fn_sweep_target(sweep, whose);
    return *target == FN_NO_TARGET ? NULL : mac;
}

/* Only a target's first answer counts: a later one may be from any host. */
static bool wire_reply(const struct fn_sweep *sweep, unsigned place, struct fn_answer *out)
{
    const struct msghdr *const message = &sweep->in.messages[place].msg_hdr;
    const uint8_t *const frame = sweep->in.packets + place * sweep->read_size;
    uint64_t target;
    const uint8_t *mac;

    if (message->msg_flags & MSG_TRUNC ||
        !(mac = fn_link_parse_reply(sweep, frame, sweep->in.messages[place].msg_len, &target)) ||
        sweep->states[target] != FN_SILENT)
        return false;
    *out = (struct fn_answer){
        .target = target,
        .whole = true,
        .ticks = sweep->slots[target].ticks,
        .number = get32(mac_of(sweep, target)),
        .stamp = fn_stamp_of(message),
    };
    memcpy(mac_of(sweep, target), mac, MAC);
    return true;
}

/* A failed send is reported at once; only answers are received. */
static int wire_error(struct fn_sweep *sweep, struct fn_answer *out)
{
    (void)sweep;
    (void)out;
    return -EAGAIN;
}

const struct fn_wire fn_link_wire = {wire_init, wire_free, wire_request, fn_batch_send,
                                     fn_batch_read, wire_reply, wire_error, fn_batch_wait};

const uint8_t *fn_sweep_mac(const struct fn_sweep *sweep, uint64_t target)
{
    return sweep->wire == &fn_link_wire && sweep->states[target] == FN_ALIVE ? mac_of(sweep, target) : NULL;
}
