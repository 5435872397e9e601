/* Single probes, and the matching of answers to them. */
#define _GNU_SOURCE
#include "probe/prober.h"

#include "checksum.h"
#include "bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/errqueue.h>

#define SEQUENCES (1 << 16)
#define PORTS ((1 << 16) - FN_FIRST_PORT)

static bool is_ipv4(const struct fn_prober *prober)
{
    return prober->options.family == AF_INET;
}

static bool is_udp(const struct fn_prober *prober)
{
    return prober->options.engine == FN_PROBER_UDP;
}

/* For the other sockets the kernel removes the IP header, and handles the checksum. */
static bool is_raw_ipv4(const struct fn_prober *prober)
{
    return prober->options.engine == FN_PROBER_RAW && is_ipv4(prober);
}

static int init(struct fn_prober *prober)
{
    const size_t longest = FN_ICMP_HEADER + prober->options.size + (is_ipv4(prober) ? FN_IPV4_HEADER_MAX : 0);
    const int64_t now = fn_clock_now(CLOCK_MONOTONIC);

    prober->slots = is_udp(prober) ? PORTS : SEQUENCES;
    prober->number = (uint64_t)prober->slots + prober->options.first - 1;
    prober->probes = calloc(prober->slots, sizeof *prober->probes);
    if (!prober->probes || fn_incoming_init(&prober->replies, longest) < 0 ||
        fn_incoming_init(&prober->reports, FN_ICMP_HEADER + FN_COOKIE) < 0)
        return -ENOMEM;
    fn_clocks_start(&prober->clocks, now, fn_clock_now(CLOCK_REALTIME));
    return 0;
}

int fn_prober_new(struct fn_prober **out, const struct fn_prober_options *options)
{
    if (options->family != AF_INET && options->family != AF_INET6)
        return -EINVAL;
    struct fn_prober *const prober = calloc(1, sizeof *prober);
    if (!prober)
        return -ENOMEM;
    prober->options = *options;
    const int code = init(prober);
    if (code < 0)
        fn_prober_free(prober);
    else
        *out = prober;
    return code;
}

void fn_prober_free(struct fn_prober *prober)
{
    if (!prober)
        return;
    fn_incoming_free(&prober->replies);
    fn_incoming_free(&prober->reports);
    free(prober->probes);
    free(prober);
}

void fn_prober_detach(struct fn_prober *prober)
{
    prober->options.fd = -1;
}

/* Sending */

void fn_prober_cookie(const struct fn_prober *prober, const struct fn_probe *probe, uint8_t cookie[FN_COOKIE])
{
    uint8_t hashed[25];

    put64(hashed, probe->host.high);
    put64(hashed + 8, probe->host.low);
    put64(hashed + 16, probe->number);
    for (uint8_t half = 0; half < 2; half++) {
        hashed[24] = half;
        put64(cookie + 8 * half, fn_siphash(prober->options.key, hashed, sizeof hashed));
    }
}

/* Advances to the next free slot; NULL: there is none. */
static struct fn_probe *next_free(struct fn_prober *prober, int64_t now)
{
    for (uint32_t i = 0; i < prober->slots; i++) {
        struct fn_probe *const probe = &prober->probes[++prober->number % prober->slots];
        if (!probe->known || probe->answered || probe->held_until <= now)
            return probe;
    }
    return NULL;
}

/* The ICMP header for a payload of this cookie and the filler after it. */
static void write_header(const struct fn_prober *prober, const struct fn_probe *probe, uint8_t *header,
                         unsigned filler_size)
{
    header[0] = is_ipv4(prober) ? FN_ECHO_REQUEST_4 : FN_ECHO_REQUEST_6;
    header[1] = 0;
    put16(header + FN_AT_CHECKSUM, 0);
    put16(header + FN_AT_IDENT, prober->options.ident);
    put16(header + FN_AT_SEQUENCE, (uint16_t)probe->number);
    if (is_raw_ipv4(prober)) {
        const uint16_t sum = fn_checksum_scalar(header, FN_ICMP_HEADER + probe->cookie_size, 0);
        put16(header + FN_AT_CHECKSUM, (uint16_t)~fn_checksum_scalar(prober->options.filler, filler_size, sum));
    }
}

/* Sets the TTL or hop limit of one message. */
static void add_ttl(const struct fn_prober *prober, struct msghdr *message, int ttl)
{
    struct cmsghdr *const part = CMSG_FIRSTHDR(message);

    part->cmsg_level = is_ipv4(prober) ? IPPROTO_IP : IPPROTO_IPV6;
    part->cmsg_type = is_ipv4(prober) ? IP_TTL : IPV6_HOPLIMIT;
    part->cmsg_len = CMSG_LEN(sizeof ttl);
    memcpy(CMSG_DATA(part), &ttl, sizeof ttl);
}

/* Clears the error that the next call on the socket would report; it stays in the error queue. */
static void forget_error(const struct fn_prober *prober)
{
    int forgotten;
    socklen_t size = sizeof forgotten;

    getsockopt(prober->options.fd, SOL_SOCKET, SO_ERROR, &forgotten, &size);
}

/*
 * The next call on the socket reports the error of an earlier probe, which also stays in the error queue. An error that
 * is reported again is this message's own.
 */
static int send_message(const struct fn_prober *prober, const struct msghdr *message)
{
    const int fd = prober->options.fd;

    for (int tries = 3;; tries--) {
        if (sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EAGAIN)
            return -ENOBUFS;
        if (tries == 1 || errno == EBADF)
            return -errno;
        forget_error(prober);
    }
}

static int send_probe(const struct fn_prober *prober, struct fn_probe *probe, struct sockaddr_in6 to, int ttl,
                      unsigned size)
{
    const unsigned filler_size = size - probe->cookie_size, header_size = is_udp(prober) ? 0 : FN_ICMP_HEADER;
    uint8_t head[FN_ICMP_HEADER + FN_COOKIE];
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof ttl)] = {0};
    struct iovec data[] = {{head + FN_ICMP_HEADER - header_size, header_size + probe->cookie_size},
                           {(uint8_t *)prober->options.filler, filler_size}};
    struct msghdr message = {.msg_name = &to, .msg_iov = data, .msg_iovlen = 2,
                             .msg_namelen = is_ipv4(prober) ? sizeof(struct sockaddr_in) : sizeof to};

    fn_prober_cookie(prober, probe, head + FN_ICMP_HEADER);
    if (is_udp(prober))
        to.sin6_port = htons((uint16_t)(FN_FIRST_PORT + probe->number % prober->slots)); /* sin_port is there, too */
    else
        write_header(prober, probe, head, filler_size);
    if (ttl >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        add_ttl(prober, &message, ttl);
    }
    probe->sent = fn_clock_now(CLOCK_MONOTONIC); /* again: the process may have been stopped */
    return send_message(prober, &message);
}

/* Makes the kernel count packets from 0 again: it may have counted a refused one or not. */
static void renumber_departures(struct fn_prober *prober)
{
    const int fd = prober->options.fd, off = 0;
    int stamps;
    socklen_t size = sizeof stamps;

    prober->departed = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, &size) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &off, sizeof off) == 0)
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps);
}

static uint32_t scope_of(const struct sockaddr_in6 *address)
{
    return address->sin6_family == AF_INET6 ? address->sin6_scope_id : 0;
}

int fn_prober_send(struct fn_prober *prober, const struct sockaddr_in6 *to, int64_t tag, int64_t timeout, int ttl,
                   unsigned size)
{
    if (size > prober->options.size)
        return -EINVAL;
    const int64_t now = fn_clocks_look(&prober->clocks);
    struct fn_probe *const probe = next_free(prober, now);
    if (!probe)
        return FN_NO_SLOT;
    *probe = (struct fn_probe){
        .host = fn_number_of(to), .scope = scope_of(to), .tag = tag, .held_until = now + timeout,
        .number = prober->number, .cookie_size = (uint8_t)(size < FN_COOKIE ? size : FN_COOKIE), .known = true,
    };
    const int code = send_probe(prober, probe, *to, ttl, size);
    if (code < 0) {
        probe->known = false;
        if (prober->options.departures)
            renumber_departures(prober);
    } else if (prober->options.departures) {
        prober->departing[prober->departed++ % FN_DEPARTING] = probe->number;
    }
    return code;
}

/* Receiving */

static bool in_its_scope(const struct fn_probe *probe, const struct sockaddr_in6 *address)
{
    const uint32_t scope = scope_of(address);

    return scope == 0 || scope == probe->scope;
}

static bool was_sent_to(const struct fn_probe *probe, const struct sockaddr_in6 *address)
{
    const struct fn_number host = fn_number_of(address);

    return probe->known && host.high == probe->host.high && host.low == probe->host.low &&
           in_its_scope(probe, address);
}

/* Whether a reply from this address may be to a probe to another one: that of a subnet's routers. */
static bool may_be_one_of(const struct fn_prober *prober, const struct fn_probe *probe,
                          const struct sockaddr_in6 *address)
{
    return probe->known && probe->cookie_size == FN_COOKIE && (probe->scope == 0 || in_its_scope(probe, address)) &&
           fn_may_be_anycast(prober->options.family, &prober->options.anycast, probe->host);
}

/* Whether a payload begins with the probe's cookie, or unless `whole` is a part of it from its beginning. */
static bool has_cookie(const struct fn_prober *prober, const struct fn_probe *probe, const uint8_t *payload, size_t len,
                       bool whole)
{
    const size_t compared = len < probe->cookie_size ? len : probe->cookie_size;
    uint8_t cookie[FN_COOKIE];

    if (whole && compared < probe->cookie_size)
        return false;
    fn_prober_cookie(prober, probe, cookie);
    return memcmp(payload, cookie, compared) == 0;
}

/* The probe of an echo message: of a reply, or of a request that an error quotes; NULL: none. */
static struct fn_probe *probe_of_echo(const struct fn_prober *prober, const uint8_t *icmp, size_t len, uint8_t type,
                                      const struct sockaddr_in6 *host, bool whole)
{
    if (!fn_is_echo(icmp, len, type, prober->options.ident))
        return NULL;
    struct fn_probe *const probe = &prober->probes[get16(icmp + FN_AT_SEQUENCE)];
    const bool is_its = (was_sent_to(probe, host) || (whole && may_be_one_of(prober, probe, host))) &&
                        has_cookie(prober, probe, icmp + FN_ICMP_HEADER, len - FN_ICMP_HEADER, whole);
    return is_its ? probe : NULL;
}

/* The probe to which this is a reply; NULL: none. */
static struct fn_probe *replied(const struct fn_prober *prober, const uint8_t *message, size_t len,
                                const struct sockaddr_in6 *from)
{
    if (is_udp(prober))
        return NULL;
    const uint8_t *const icmp = is_raw_ipv4(prober) ? fn_icmp_within(message, &len) : message;
    return icmp ? probe_of_echo(prober, icmp, len, is_ipv4(prober) ? FN_ECHO_REPLY_4 : FN_ECHO_REPLY_6, from, true)
                : NULL;
}

/* The probe that an error quotes, from its ICMP header or its UDP payload on; NULL: none. */
static struct fn_probe *failed(const struct fn_prober *prober, const uint8_t *quoted, size_t len,
                               const struct sockaddr_in6 *to)
{
    if (!is_udp(prober))
        return probe_of_echo(prober, quoted, len, is_ipv4(prober) ? FN_ECHO_REQUEST_4 : FN_ECHO_REQUEST_6, to, false);
    const uint16_t port = ntohs(to->sin6_port);
    if (port < FN_FIRST_PORT)
        return NULL;
    struct fn_probe *const probe = &prober->probes[port - FN_FIRST_PORT];
    return was_sent_to(probe, to) && has_cookie(prober, probe, quoted, len, false) ? probe : NULL;
}

static int64_t rtt_of(const struct fn_prober *prober, const struct fn_probe *probe, int64_t stamp, int64_t now)
{
    const int64_t arrived = fn_clocks_when(&prober->clocks, stamp, probe->sent, now, now);

    /* A timestamp with a wrong number, because a packet was refused, is from another time. */
    return arrived - fn_clocks_when(&prober->clocks, probe->left, probe->sent, arrived, probe->sent);
}

static int ttl_of(const struct fn_prober *prober, const struct msghdr *message)
{
    int ttl = -1;
    const void *const found = fn_control_of(message, is_ipv4(prober) ? IPPROTO_IP : IPPROTO_IPV6,
                                            is_ipv4(prober) ? IP_TTL : IPV6_HOPLIMIT, sizeof ttl);
    if (found)
        memcpy(&ttl, found, sizeof ttl);
    return ttl;
}

static void write_host(const struct fn_prober *prober, struct fn_number host, char text[INET6_ADDRSTRLEN])
{
    uint8_t bytes[16];

    if (is_ipv4(prober)) {
        put32(bytes, (uint32_t)host.low);
    } else {
        put64(bytes, host.high);
        put64(bytes + 8, host.low);
    }
    inet_ntop(prober->options.family, bytes, text, INET6_ADDRSTRLEN);
}

bool fn_prober_take_reply(struct fn_prober *prober, const struct msghdr *message, size_t len, int64_t now,
                          struct fn_heard *out)
{
    const struct sockaddr_in6 *const from = message->msg_name;
    /* A reply that is longer than the request is not to it. */
    struct fn_probe *const probe =
        message->msg_flags & MSG_TRUNC ? NULL : replied(prober, message->msg_iov->iov_base, len, from);

    if (!probe)
        return false;
    *out = (struct fn_heard){.tag = probe->tag, .number = probe->number, .repeated = probe->answered,
                             .rtt = rtt_of(prober, probe, fn_stamp_of(message), now), .scope = scope_of(from),
                             .ttl = ttl_of(prober, message)};
    write_host(prober, fn_number_of(from), out->from);
    probe->answered = true;
    return true;
}

/* Records the transmit timestamp of its probe. */
static void note_departure(struct fn_prober *prober, uint32_t departure, const struct msghdr *message)
{
    const uint64_t number = prober->departing[departure % FN_DEPARTING];
    struct fn_probe *const probe = &prober->probes[number % prober->slots];

    if (probe->number == number)
        probe->left = fn_departure_of(message);
}

bool fn_prober_take_report(struct fn_prober *prober, const struct msghdr *message, size_t len, int64_t now,
                           struct fn_heard *out)
{
    const int family = prober->options.family;
    const struct sock_extended_err *const report = fn_report_of(message, family);

    if (report && report->ee_origin == SO_EE_ORIGIN_TIMESTAMPING)
        note_departure(prober, report->ee_data, message);
    if (!report || !fn_is_error(report, family))
        return false;
    const struct fn_probe *const probe = failed(prober, message->msg_iov->iov_base, len, message->msg_name);
    if (!probe)
        return false;
    const struct sockaddr_in6 from = fn_reporter_of(report, family);
    *out = (struct fn_heard){.tag = probe->tag, .number = probe->number, .scope = scope_of(&from), .ttl = -1,
                             .rtt = rtt_of(prober, probe, fn_stamp_of(message), now), .is_error = true,
                             .type = report->ee_type, .code = report->ee_code, .info = report->ee_info};
    write_host(prober, fn_number_of(&from), out->from);
    return true;
}

/* The number of messages read, or -errno if the system refuses. */
static int read_some(const struct fn_prober *prober, struct fn_incoming *in, unsigned limit, int flags)
{
    for (unsigned notices = 1;; notices++) {
        const int count = fn_incoming_read(in, prober->options.fd, limit, flags);
        if (count >= 0)
            return count;
        if (count == -EAGAIN)
            return 0;
        if (flags || !fn_is_notice(-count) || notices == FN_NOTICES)
            return count;
        forget_error(prober); /* the error queue has all of it */
    }
}

/* Reads up to `limit` messages of the error queue while there is room: the number of answers, or -errno. */
static int take_reports(struct fn_prober *prober, unsigned limit, struct fn_heard *out, unsigned room, bool *more)
{
    int answers = 0;

    for (unsigned taken = 0; taken < limit; taken += FN_BATCH) {
        *more = (unsigned)answers + FN_BATCH > room;
        if (*more)
            break;
        const int count = read_some(prober, &prober->reports, FN_BATCH, MSG_ERRQUEUE);
        if (count < 0)
            return count;
        const int64_t now = fn_clocks_look(&prober->clocks);
        for (int i = 0; i < count; i++) {
            const struct mmsghdr *const message = &prober->reports.messages[i];
            answers += fn_prober_take_report(prober, &message->msg_hdr, message->msg_len, now, out + answers);
        }
        if (count < FN_BATCH)
            break;
    }
    return answers;
}

int fn_prober_receive(struct fn_prober *prober, unsigned limit, struct fn_heard *out, bool *more)
{
    const unsigned wanted = limit < FN_BATCH ? limit : FN_BATCH;
    const int replies = read_some(prober, &prober->replies, wanted, 0);
    if (replies < 0)
        return replies;
    /* Transmit timestamps come before replies: after reading them, none of these probes' is still to come. */
    bool more_reports = false;
    int answers = take_reports(prober, 2 * limit, out, FN_HEARD - FN_BATCH, &more_reports);
    if (answers < 0)
        return answers;
    const int64_t now = fn_clocks_look(&prober->clocks);
    for (int i = 0; i < replies; i++) {
        const struct mmsghdr *const message = &prober->replies.messages[i];
        answers += fn_prober_take_reply(prober, &message->msg_hdr, message->msg_len, now, out + answers);
    }
    *more = more_reports || (unsigned)replies == wanted;
    return answers;
}
