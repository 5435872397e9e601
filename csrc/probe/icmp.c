/* A sweep's requests, and the matching of answers to them. */
#define _GNU_SOURCE
#include "bytes.h"
#include "probe/sweep.h"

#include "checksum.h"

#include <errno.h>
#include <string.h>

#include <linux/errqueue.h>

/* A request after its ICMP header: time, number, cookie, for IPv6 the target if there is room, filler. */
enum { AT_TICKS = 8, AT_NUMBER = 12, AT_COOKIE = 16, AT_TARGET = 24 };

static bool is_ipv4(const struct fn_sweep *sweep)
{
    return sweep->options.family == AF_INET;
}

/* Whether requests contain their target. */
static bool has_target(const struct fn_sweep *sweep)
{
    return !is_ipv4(sweep) && sweep->options.payload >= FN_ANYCAST_PAYLOAD;
}

static uint64_t cookie_of(const struct fn_sweep *sweep, struct fn_number address, uint32_t number, uint32_t ticks)
{
    uint8_t data[24];

    put64(data, address.high);
    put64(data + 8, address.low);
    put32(data + 16, number);
    put32(data + 20, ticks);
    return fn_siphash(sweep->options.key, data, sizeof data);
}

/* The sum of a number's 16-bit words: those of a request are added without reading back what was just stored. */
static uint32_t words(uint64_t value)
{
    return (uint32_t)(value >> 48) + (value >> 32 & 0xffff) + (value >> 16 & 0xffff) + (value & 0xffff);
}

int fn_icmp_init(struct fn_sweep *sweep, size_t headroom)
{
    const size_t size = FN_ICMP_HEADER + sweep->options.payload;

    if (sweep->options.payload < FN_SWEEP_PAYLOAD || sweep->options.payload > 65507)
        return -EINVAL;
    sweep->headroom = headroom;
    sweep->packet_size = headroom + size;
    sweep->read_size = size + FN_IPV4_HEADER_MAX;
    const int code = fn_batches_init(sweep);
    if (code < 0)
        return code;
    for (unsigned i = 0; i < FN_BATCH; i++) {
        uint8_t *const icmp = sweep->out.packets + i * sweep->packet_size + headroom;
        icmp[0] = is_ipv4(sweep) ? FN_ECHO_REQUEST_4 : FN_ECHO_REQUEST_6;
        put16(icmp + FN_AT_IDENT, sweep->options.ident);
        for (size_t at = has_target(sweep) ? AT_TARGET + 8 : AT_COOKIE + 8; at < size; at++)
            icmp[at] = (uint8_t)at;
    }
    sweep->constant_sum = fn_checksum_scalar(sweep->out.packets + headroom, size, 0);
    return 0;
}

static int wire_init(struct fn_sweep *sweep)
{
    struct fn_outgoing *const out = &sweep->out;
    const int code = fn_icmp_init(sweep, 0);

    for (unsigned i = 0; i < FN_BATCH; i++) {
        out->messages[i].msg_hdr.msg_name = &out->to[i];
        out->messages[i].msg_hdr.msg_namelen = is_ipv4(sweep) ? sizeof out->to[i].in : sizeof out->to[i].in6;
    }
    return code;
}

struct fn_number fn_icmp_write_request(struct fn_sweep *sweep, unsigned place, uint64_t target, uint32_t number,
                                       uint32_t ticks)
{
    const struct fn_number to = fn_sweep_address(sweep, target);
    uint8_t *const icmp = sweep->out.packets + place * sweep->packet_size + sweep->headroom;
    const uint64_t cookie = cookie_of(sweep, to, number, ticks);

    put16(icmp + FN_AT_SEQUENCE, (uint16_t)number);
    put32(icmp + AT_TICKS, ticks);
    put32(icmp + AT_NUMBER, number);
    put64(icmp + AT_COOKIE, cookie);
    /* For a datagram socket, and for IPv6, whose addresses it covers, the kernel computes it. */
    uint32_t sum = sweep->constant_sum + (number & 0xffff) + words(ticks) + words(number) + words(cookie);
    if (!is_ipv4(sweep))
        sum += words(to.high) + words(to.low);
    if (has_target(sweep)) {
        put64(icmp + AT_TARGET, target);
        sum += words(target);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(icmp + FN_AT_CHECKSUM, (uint16_t)~sum);
    return to;
}

static void wire_request(struct fn_sweep *sweep, unsigned place, uint64_t target, uint32_t number, uint32_t ticks)
{
    struct fn_outgoing *const out = &sweep->out;
    const struct fn_number address = fn_icmp_write_request(sweep, place, target, number, ticks);

    if (is_ipv4(sweep)) {
        out->to[place].in = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_addr.s_addr = htonl((uint32_t)address.low)};
    } else {
        out->to[place].in6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
        put64(out->to[place].in6.sin6_addr.s6_addr, address.high);
        put64(out->to[place].in6.sin6_addr.s6_addr + 8, address.low);
    }
    out->targets[place] = target;
}

/* The time and number in a payload, if its cookie is the one that was sent to this address. */
static bool read_cookie(const struct fn_sweep *sweep, const uint8_t *icmp, size_t len, struct fn_number address,
                        struct fn_answer *out)
{
    if (len < FN_ICMP_HEADER + FN_SWEEP_PAYLOAD)
        return false;
    out->ticks = get32(icmp + AT_TICKS);
    out->number = get32(icmp + AT_NUMBER);
    out->whole = get64(icmp + AT_COOKIE) == cookie_of(sweep, address, out->number, out->ticks) &&
                 (uint16_t)out->number == get16(icmp + FN_AT_SEQUENCE);
    return out->whole;
}

/* Whether it answers a request to a subnet's routers, one of which replies from its own address. */
static bool read_anycast(const struct fn_sweep *sweep, const uint8_t *icmp, size_t len, struct fn_answer *out)
{
    if (!has_target(sweep) || len < FN_ICMP_HEADER + FN_ANYCAST_PAYLOAD)
        return false;
    out->anycast = true;
    out->target = get64(icmp + AT_TARGET);
    if (out->target >= sweep->size)
        return false;
    const struct fn_number address = fn_sweep_address(sweep, out->target);
    return fn_may_be_anycast(sweep->options.family, &sweep->options.anycast, address) &&
           read_cookie(sweep, icmp, len, address, out);
}

bool fn_icmp_parse_reply(const struct fn_sweep *sweep, const uint8_t *message, size_t len, struct fn_number from,
                         struct fn_answer *out)
{
    /* For the other sockets the kernel removes the IP header and checks the checksum. */
    const bool bare = sweep->options.engine == FN_DATAGRAM || !is_ipv4(sweep);
    const uint8_t *const icmp = bare ? message : fn_icmp_within(message, &len);

    if (!icmp || !fn_is_echo(icmp, len, is_ipv4(sweep) ? FN_ECHO_REPLY_4 : FN_ECHO_REPLY_6, sweep->options.ident))
        return false;
    *out = (struct fn_answer){.target = fn_sweep_target(sweep, from), .from = from};
    return (out->target != FN_NO_TARGET && read_cookie(sweep, icmp, len, from, out)) ||
           read_anycast(sweep, icmp, len, out);
}

bool fn_icmp_parse_quoted(const struct fn_sweep *sweep, const uint8_t *icmp, size_t len, struct fn_number to,
                          struct fn_answer *out)
{
    if (!fn_is_echo(icmp, len, is_ipv4(sweep) ? FN_ECHO_REQUEST_4 : FN_ECHO_REQUEST_6, sweep->options.ident))
        return false;
    *out = (struct fn_answer){.target = fn_sweep_target(sweep, to)};
    /* A router need not quote the bytes after the ICMP header (RFC 792); quoted ones must be right. */
    return out->target != FN_NO_TARGET &&
           (len < FN_ICMP_HEADER + FN_SWEEP_PAYLOAD || read_cookie(sweep, icmp, len, to, out));
}

static bool wire_reply(const struct fn_sweep *sweep, unsigned place, struct fn_answer *out)
{
    const struct msghdr *const message = &sweep->in.messages[place].msg_hdr;

    if (message->msg_flags & MSG_TRUNC ||
        !fn_icmp_parse_reply(sweep, sweep->in.packets + place * sweep->read_size, sweep->in.messages[place].msg_len,
                             fn_number_of(&sweep->in.from[place]), out))
        return false;
    out->stamp = fn_stamp_of(message);
    return true;
}

/* The reason in an ICMP error for a request to this address. */
static struct fn_reason reason_of(const struct fn_sweep *sweep, const struct sock_extended_err *error,
                                  struct fn_number to)
{
    struct fn_reason reason = {.type = error->ee_type, .code = error->ee_code, .info = error->ee_info};
    const struct sockaddr_in6 from = fn_reporter_of(error, sweep->options.family);
    const struct fn_number reporter = fn_number_of(&from);

    reason.itself = reporter.high == to.high && reporter.low == to.low;
    if (!reason.itself)
        reason.reporter = reporter;
    return reason;
}

static int wire_error(struct fn_sweep *sweep, struct fn_answer *out)
{
    struct sockaddr_in6 to = {0};
    uint8_t *const icmp = sweep->in.packets;
    struct iovec data = {icmp, sweep->read_size};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &data, .msg_iovlen = 1,
                             .msg_control = sweep->in.control[0], .msg_controllen = FN_CONTROL};
    const ssize_t len = recvmsg(sweep->options.fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);

    if (len < 0)
        return -errno;
    const struct sock_extended_err *const error = fn_report_of(&message, sweep->options.family);
    if (!error || !fn_is_error(error, sweep->options.family) ||
        !fn_icmp_parse_quoted(sweep, icmp, (size_t)len, fn_number_of(&to), out))
        return 0;
    const struct fn_reason reason = reason_of(sweep, error, fn_number_of(&to));
    out->reason = fn_reason_number(sweep, &reason);
    return 1;
}

const struct fn_wire fn_icmp_wire = {wire_init,     fn_batches_free, wire_request, fn_batch_send,
                                     fn_batch_read, wire_reply,      wire_error,   fn_batch_wait};
