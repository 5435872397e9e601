/* Sends requests as frames, and reads replies from a ring. */
#define _GNU_SOURCE
#include "probe/turbo.h"

#include "checksum.h"
#include "bytes.h"
#include "probe/ring.h"
#include "probe/sweep.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/if_packet.h>

#define IPV6_HEADER 40
#define HOP_LIMIT 64
#define DONT_FRAGMENT 0x4000
#define IPV4_ICMP 1
#define IPV6_ICMP 58
#define ECHO_REPLY_4 0
#define ECHO_REPLY_6 129

/* Of IP headers. */
enum { IPV4_LENGTH = 2, IPV4_FRAGMENT = 6, IPV4_TTL = 8, IPV4_PROTOCOL = 9, IPV4_CHECKSUM = 10 };
enum { IPV4_SOURCE = 12, IPV4_TO = 16 };
enum { IPV6_LENGTH = 4, IPV6_NEXT = 6, IPV6_HOP_LIMIT = 7, IPV6_SOURCE = 8, IPV6_TO = 24 };

struct fn_turbo {
    struct fn_turbo_path path;
    int packets;
    struct fn_ring ring;
    uint8_t headers[ETH_HLEN + IPV6_HEADER]; /* of a request, without its target and checksum */
    size_t headers_size;
    uint16_t headers_sum;                    /* of IPv4's header, or of IPv6's pseudo-header */
    const uint8_t *records[FN_BATCH];        /* the messages read, and whether they are from the ring */
    bool from_ring;
};

/* The parts that identify a frame as a reply to us. */
static const struct fn_match IPV4_MATCHES[] = {
    {12, 2, 0, {0xff, 0xff}},             /* EtherType */
    {14, 1, 0, {0xff}},                   /* version, header length */
    {16, 2, 0, {0xff, 0xff}},             /* length */
    {20, 2, 0, {0x3f, 0xff}},             /* no fragment: neither an offset nor that more follow */
    {23, 1, 0, {0xff}},                   /* protocol */
    {30, 4, 0, {0xff, 0xff, 0xff, 0xff}}, /* to us */
    {34, 2, 0, {0xff, 0xff}},             /* type, code */
    {38, 2, 0, {0xff, 0xff}},             /* ident */
    {40, 2, 48, {0xff, 0xff}},            /* sequence: the lower half of the request's number */
};
static const struct fn_match IPV6_MATCHES[] = {
    {12, 2, 0, {0xff, 0xff}},
    {14, 1, 0, {0xf0}}, /* version */
    {18, 2, 0, {0xff, 0xff}}, /* length */
    {20, 1, 0, {0xff}}, /* next header */
    {38, 4, 0, {0xff, 0xff, 0xff, 0xff}},
    {42, 4, 0, {0xff, 0xff, 0xff, 0xff}},
    {46, 4, 0, {0xff, 0xff, 0xff, 0xff}},
    {50, 4, 0, {0xff, 0xff, 0xff, 0xff}},
    {54, 2, 0, {0xff, 0xff}}, /* type, code */
    {58, 2, 0, {0xff, 0xff}}, /* ident */
    {60, 2, 68, {0xff, 0xff}}, /* sequence: the lower half of the request's number */
};

static size_t ip_header(int family)
{
    return family == AF_INET ? FN_IPV4_HEADER : IPV6_HEADER;
}

static void write_number(uint8_t *at, int family, struct fn_number address)
{
    if (family == AF_INET) {
        put32(at, (uint32_t)address.low);
    } else {
        put64(at, address.high);
        put64(at + 8, address.low);
    }
}

/* Writes the constant parts of the IP header for a message of so many bytes. */
static void write_ip(uint8_t *ip, int family, size_t size)
{
    if (family == AF_INET) {
        ip[0] = 0x45;
        put16(ip + IPV4_LENGTH, (uint16_t)(FN_IPV4_HEADER + size));
        ip[IPV4_PROTOCOL] = IPV4_ICMP;
    } else {
        ip[0] = 0x60;
        put16(ip + IPV6_LENGTH, (uint16_t)size);
        ip[IPV6_NEXT] = IPV6_ICMP;
    }
}

static void write_request_headers(struct fn_turbo *turbo, size_t size)
{
    const struct fn_turbo_path *const path = &turbo->path;
    const bool ipv4 = path->family == AF_INET;
    uint8_t *const ip = turbo->headers + ETH_HLEN;

    memcpy(turbo->headers, path->next_hop, ETH_ALEN);
    memcpy(turbo->headers + ETH_ALEN, path->hardware, ETH_ALEN);
    put16(turbo->headers + 2 * ETH_ALEN, ipv4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
    write_ip(ip, path->family, size);
    write_number(ip + (ipv4 ? IPV4_SOURCE : IPV6_SOURCE), path->family, path->source);
    if (ipv4) {
        put16(ip + IPV4_FRAGMENT, DONT_FRAGMENT);
        ip[IPV4_TTL] = HOP_LIMIT;
        turbo->headers_sum = fn_checksum_scalar(ip, FN_IPV4_HEADER, 0);
    } else {
        ip[IPV6_HOP_LIMIT] = HOP_LIMIT;
        turbo->headers_sum = fn_checksum_pseudo_ipv6(ip + IPV6_SOURCE, ip + IPV6_TO, IPV6_ICMP, (uint32_t)size);
    }
    turbo->headers_size = ETH_HLEN + ip_header(path->family);
}

static int open_packets(struct fn_turbo *turbo)
{
    const struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_ifindex = (int)turbo->path.interface};

    /* Protocol 0: the socket only sends. */
    turbo->packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (turbo->packets < 0 || bind(turbo->packets, (const struct sockaddr *)&where, sizeof where) < 0)
        return -errno;
    return 0;
}

static int open_ring(struct fn_turbo *turbo, size_t size)
{
    const struct fn_turbo_path *const path = &turbo->path;
    const bool ipv4 = path->family == AF_INET;
    uint8_t wanted[ETH_HLEN + IPV6_HEADER + FN_ICMP_HEADER] = {0};
    uint8_t *const ip = wanted + ETH_HLEN, *const icmp = ip + ip_header(path->family);

    put16(wanted + 2 * ETH_ALEN, ipv4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
    write_ip(ip, path->family, size);
    write_number(ip + (ipv4 ? IPV4_TO : IPV6_TO), path->family, path->source);
    icmp[0] = ipv4 ? ECHO_REPLY_4 : ECHO_REPLY_6;
    put16(icmp + 4, path->ident);
    return fn_ring_open(&turbo->ring, path->interface, wanted, turbo->headers_size + size,
                        ipv4 ? IPV4_MATCHES : IPV6_MATCHES,
                        ipv4 ? sizeof IPV4_MATCHES / sizeof *IPV4_MATCHES : sizeof IPV6_MATCHES / sizeof *IPV6_MATCHES);
}

int fn_turbo_open(struct fn_turbo **out, const struct fn_turbo_path *path)
{
    const size_t size = FN_ICMP_HEADER + path->payload;

    if (path->payload > FN_TURBO_PAYLOAD)
        return -EMSGSIZE;
    struct fn_turbo *const turbo = calloc(1, sizeof *turbo);
    if (!turbo)
        return -ENOMEM;
    turbo->path = *path;
    turbo->packets = turbo->ring.fd = turbo->ring.link = -1;
    write_request_headers(turbo, size);
    int code = open_packets(turbo);
    if (code == 0)
        code = open_ring(turbo, size);
    if (code < 0) {
        fn_turbo_free(turbo);
        return code;
    }
    *out = turbo;
    return 0;
}

void fn_turbo_close(struct fn_turbo *turbo)
{
    fn_ring_close(&turbo->ring);
    if (turbo->packets >= 0)
        close(turbo->packets);
    turbo->packets = -1;
}

void fn_turbo_free(struct fn_turbo *turbo)
{
    if (!turbo)
        return;
    fn_turbo_close(turbo);
    fn_ring_unmap(&turbo->ring);
    free(turbo);
}

static int wire_init(struct fn_sweep *sweep)
{
    const struct fn_turbo *const turbo = sweep->options.turbo;

    if (!turbo || turbo->path.family != sweep->options.family || turbo->path.ident != sweep->options.ident ||
        turbo->path.payload != sweep->options.payload)
        return -EINVAL;
    const int code = fn_icmp_init(sweep, turbo->headers_size);
    for (unsigned i = 0; code == 0 && i < FN_BATCH; i++)
        memcpy(sweep->out.packets + i * sweep->packet_size, turbo->headers, turbo->headers_size);
    if (sweep->options.family == AF_INET6)
        sweep->constant_sum = fn_sum_add(sweep->constant_sum, turbo->headers_sum);
    return code;
}

static void wire_request(struct fn_sweep *sweep, unsigned place, uint64_t target, uint32_t number, uint32_t ticks)
{
    const int family = sweep->options.family;
    const struct fn_number to = fn_icmp_write_request(sweep, place, target, number, ticks);
    uint8_t *const ip = sweep->out.packets + place * sweep->packet_size + ETH_HLEN;

    write_number(ip + (family == AF_INET ? IPV4_TO : IPV6_TO), family, to);
    if (family == AF_INET) {
        const uint16_t sum = fn_sum_add((uint16_t)(to.low >> 16), (uint16_t)to.low);
        put16(ip + IPV4_CHECKSUM, (uint16_t)~fn_sum_add(sweep->options.turbo->headers_sum, sum));
    }
    sweep->out.targets[place] = target;
}

static int wire_send(struct fn_sweep *sweep)
{
    const int sent = sendmmsg(sweep->options.turbo->packets, sweep->out.messages, sweep->out.count, MSG_DONTWAIT);

    return sent < 0 ? -errno : sent;
}

static int wire_read(struct fn_sweep *sweep)
{
    struct fn_turbo *const turbo = sweep->options.turbo;
    size_t size;
    int count = 0;

    fn_ring_release(&turbo->ring);
    while (count < FN_BATCH && (turbo->records[count] = fn_ring_next(&turbo->ring, &size)))
        count++;
    turbo->from_ring = count > 0;
    return count ? count : fn_batch_read(sweep);
}

bool fn_turbo_parse_reply(const struct fn_sweep *sweep, const uint8_t *packet, size_t len, struct fn_answer *out)
{
    if (sweep->options.family == AF_INET)
        return len >= FN_IPV4_HEADER && fn_checksum_scalar(packet, FN_IPV4_HEADER, 0) == 0xffff &&
               fn_icmp_parse_reply(sweep, packet, len, (struct fn_number){.low = get32(packet + IPV4_SOURCE)}, out);
    if (len < IPV6_HEADER)
        return false;
    len -= IPV6_HEADER;
    const uint16_t sum = fn_checksum_pseudo_ipv6(packet + IPV6_SOURCE, packet + IPV6_TO, IPV6_ICMP, (uint32_t)len);
    return fn_checksum_scalar(packet + IPV6_HEADER, len, sum) == 0xffff &&
           fn_icmp_parse_reply(sweep, packet + IPV6_HEADER, len,
                               (struct fn_number){get64(packet + IPV6_SOURCE), get64(packet + IPV6_SOURCE + 8)}, out);
}

static bool wire_reply(const struct fn_sweep *sweep, unsigned place, struct fn_answer *out)
{
    const struct fn_turbo *const turbo = sweep->options.turbo;
    int64_t when;

    if (!turbo->from_ring)
        return fn_icmp_wire.reply(sweep, place, out);
    const uint8_t *const record = turbo->records[place];
    if (!fn_turbo_parse_reply(sweep, record + FN_RING_STAMP, sweep->packet_size - ETH_HLEN, out))
        return false;
    memcpy(&when, record, sizeof when);
    out->stamp = when + sweep->clocks.lead;
    return true;
}

static int wire_error(struct fn_sweep *sweep, struct fn_answer *out)
{
    return fn_icmp_wire.error(sweep, out);
}

static bool wire_wait(struct fn_sweep *sweep, const struct timespec *longest)
{
    struct fn_ring *const ring = &sweep->options.turbo->ring;
    struct pollfd ready[] = {{.fd = sweep->options.fd, .events = POLLIN}, {.fd = ring->fd, .events = POLLIN}};

    fn_ring_arm(ring);
    return ppoll(ready, 2, longest, NULL) > 0 && ready[0].revents & POLLERR;
}

const struct fn_wire fn_turbo_wire = {wire_init, fn_batches_free, wire_request, wire_send,
                                      wire_read, wire_reply,      wire_error,   wire_wait};
