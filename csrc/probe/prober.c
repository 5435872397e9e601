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

static int init_requests(struct fn_prober *prober)
{
    struct fn_departing *const out = &prober->requests;
    const unsigned size = prober->options.size, filler_size = size > FN_COOKIE ? size - FN_COOKIE : 0;

    out->packet_size = FN_ICMP_HEADER + FN_COOKIE + filler_size;
    out->packets = calloc(FN_BATCH, out->packet_size);
    if (!out->packets)
        return -ENOMEM;
    for (unsigned i = 0; i < FN_BATCH && filler_size; i++)
        memcpy(out->packets + (i + 1) * out->packet_size - filler_size, prober->options.filler, filler_size);
    return 0;
}

static int init(struct fn_prober *prober)
{
    const size_t longest = FN_ICMP_HEADER + prober->options.size + (is_ipv4(prober) ? FN_IPV4_HEADER_MAX : 0);
    const int64_t now = fn_clock_now(CLOCK_MONOTONIC);

    prober->slots = is_udp(prober) ? PORTS : SEQUENCES;
    prober->number = (uint64_t)prober->slots + prober->options.first - 1;
    prober->probes = calloc(prober->slots, sizeof *prober->probes);
    if (!prober->probes || init_requests(prober) < 0 || fn_incoming_init(&prober->replies, longest) < 0 ||
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
    free(prober->requests.packets);
    free(prober->probes);
    free(prober);
}

void fn_prober_detach(struct fn_prober *prober)
{
    prober->options.fd = -1;
}

static uint32_t scope_of(const struct sockaddr_in6 *address)
{
    return address->sin6_family == AF_INET6 ? address->sin6_scope_id : 0;
}

/* Sending */

static void write_cookie(const struct fn_prober *prober, struct fn_probe *probe)
{
    uint8_t hashed[25];

    put64(hashed, probe->host.high);
    put64(hashed + 8, probe->host.low);
    put64(hashed + 16, probe->number);
    for (uint8_t half = 0; half < 2; half++) {
        hashed[24] = half;
        put64(probe->cookie + 8 * half, fn_siphash(prober->options.key, hashed, sizeof hashed));
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

/* Writes the ICMP header of a message of so many bytes, whose payload is written. */
static void write_header(const struct fn_prober *prober, const struct fn_probe *probe, uint8_t *message, size_t len)
{
    message[0] = is_ipv4(prober) ? FN_ECHO_REQUEST_4 : FN_ECHO_REQUEST_6;
    message[1] = 0;
    put16(message + FN_AT_CHECKSUM, 0);
    put16(message + FN_AT_IDENT, prober->options.ident);
    put16(message + FN_AT_SEQUENCE, (uint16_t)probe->number);
    if (is_raw_ipv4(prober))
        put16(message + FN_AT_CHECKSUM, (uint16_t)~fn_checksum_scalar(message, len, 0));
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
 * The first messages have been sent by a system call that began then. Each is assumed to have taken as long as the
 * others, but not much longer than in the call before: where one of them was interrupted is not known, and an estimate
 * that is too late would make a round-trip time too short.
 */
static void note_times(struct fn_prober *prober, int64_t begun, int sent)
{
    if (sent > 1) {
        const int64_t each = (fn_clock_now(CLOCK_MONOTONIC) - begun) / sent;
        const int64_t longest = prober->each + prober->each / 16;
        prober->each = each < longest || !prober->each ? each : longest;
    }
    for (int i = 0; i < sent; i++) {
        prober->requests.probes[i]->begun = begun;
        prober->requests.probes[i]->sent = begun + i * prober->each;
    }
}

/*
 * Sends messages, from the first one on; returns how many, or -errno. The next call on the socket reports the error of
 * an earlier probe, which also stays in the error queue. An error that is reported again is the message's own.
 */
static int send_messages(struct fn_prober *prober, unsigned count)
{
    const int fd = prober->options.fd;

    for (int tries = 3;; tries--) {
        const int64_t begun = fn_clock_now(CLOCK_MONOTONIC);
        const int sent = sendmmsg(fd, prober->requests.messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            note_times(prober, begun, sent);
            return sent;
        }
        if (errno == EAGAIN)
            return -ENOBUFS;
        if (tries == 1 || errno == EBADF)
            return -errno;
        forget_error(prober);
    }
}

/* Writes the message number `place` to be sent, of a probe with so much payload. */
static void write_message(struct fn_prober *prober, unsigned place, const struct fn_probe *probe,
                          const struct sockaddr_in6 *to, unsigned size)
{
    struct fn_departing *const out = &prober->requests;
    uint8_t *const icmp = out->packets + place * out->packet_size;
    const size_t header_size = is_udp(prober) ? 0 : FN_ICMP_HEADER;

    out->to[place] = *to;
    memcpy(icmp + FN_ICMP_HEADER, probe->cookie, FN_COOKIE);
    if (is_udp(prober)) /* sin_port is there, too */
        out->to[place].sin6_port = htons((uint16_t)(FN_FIRST_PORT + probe->number % prober->slots));
    else
        write_header(prober, probe, icmp, FN_ICMP_HEADER + size);
    out->data[place] = (struct iovec){icmp + FN_ICMP_HEADER - header_size, header_size + size};
    out->messages[place].msg_hdr = (struct msghdr){
        .msg_name = &out->to[place], .msg_namelen = is_ipv4(prober) ? sizeof(struct sockaddr_in) : sizeof *to,
        .msg_iov = &out->data[place], .msg_iovlen = 1};
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

/* Takes a slot for a probe, and writes its message, number `place` of those to be sent. False: there is no free slot. */
static bool prepare(struct fn_prober *prober, unsigned place, const struct fn_request *request, int64_t now,
                    int64_t timeout, unsigned size)
{
    struct fn_probe *const probe = next_free(prober, now);

    if (!probe)
        return false;
    *probe = (struct fn_probe){
        .host = fn_number_of(request->to), .scope = scope_of(request->to), .tag = request->tag,
        .held_until = now + timeout, .number = prober->number, .known = true,
        .cookie_size = (uint8_t)(size < FN_COOKIE ? size : FN_COOKIE),
    };
    write_cookie(prober, probe);
    write_message(prober, place, probe, request->to, size);
    prober->requests.probes[place] = probe;
    return true;
}

/* Sends prepared messages, as fn_prober_send_some(): the others' slots and numbers are free again. */
static int send_prepared(struct fn_prober *prober, unsigned count)
{
    struct fn_probe *const *const probes = prober->requests.probes;
    const int code = send_messages(prober, count);
    const unsigned sent = code < 0 ? 0 : (unsigned)code;

    if (prober->options.departures)
        for (unsigned i = 0; i < sent; i++)
            prober->departing[prober->departed++ % FN_DEPARTING] = probes[i]->number;
    if (sent == count)
        return code;
    prober->number = probes[sent]->number;
    for (unsigned i = sent; i < count; i++)
        probes[i]->known = false;
    if (prober->options.departures)
        renumber_departures(prober);
    return code;
}

int fn_prober_send(struct fn_prober *prober, const struct sockaddr_in6 *to, int64_t tag, int64_t timeout, int ttl,
                   unsigned size)
{
    const struct fn_request request = {.to = to, .tag = tag};
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof ttl)] = {0};
    struct msghdr *const message = &prober->requests.messages[0].msg_hdr;

    if (size > prober->options.size)
        return -EINVAL;
    if (!prepare(prober, 0, &request, fn_clocks_look(&prober->clocks), timeout, size))
        return FN_NO_SLOT;
    if (ttl >= 0) {
        message->msg_control = control;
        message->msg_controllen = sizeof control;
        add_ttl(prober, message, ttl);
    }
    const int code = send_prepared(prober, 1);
    return code < 0 ? code : 0;
}

int fn_prober_send_some(struct fn_prober *prober, struct fn_request *requests, unsigned count, int64_t timeout)
{
    const int64_t now = fn_clocks_look(&prober->clocks);
    unsigned prepared = 0;

    while (prepared < count && prepare(prober, prepared, &requests[prepared], now, timeout, prober->options.size)) {
        requests[prepared].number = prober->number;
        prepared++;
    }
    return prepared ? send_prepared(prober, prepared) : FN_NO_SLOT;
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
static bool has_cookie(const struct fn_probe *probe, const uint8_t *payload, size_t len, bool whole)
{
    const size_t compared = len < probe->cookie_size ? len : probe->cookie_size;

    return (!whole || compared == probe->cookie_size) && memcmp(payload, probe->cookie, compared) == 0;
}

/* The probe of an echo message: of a reply, or of a request that an error quotes; NULL: none. */
static struct fn_probe *probe_of_echo(const struct fn_prober *prober, const uint8_t *icmp, size_t len, uint8_t type,
                                      const struct sockaddr_in6 *host, bool whole)
{
    if (!fn_is_echo(icmp, len, type, prober->options.ident))
        return NULL;
    struct fn_probe *const probe = &prober->probes[get16(icmp + FN_AT_SEQUENCE)];
    const bool is_its = (was_sent_to(probe, host) || (whole && may_be_one_of(prober, probe, host))) &&
                        has_cookie(probe, icmp + FN_ICMP_HEADER, len - FN_ICMP_HEADER, whole);
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
    return was_sent_to(probe, to) && has_cookie(probe, quoted, len, false) ? probe : NULL;
}

static int64_t rtt_of(const struct fn_prober *prober, const struct fn_probe *probe, int64_t stamp, int64_t now)
{
    const int64_t arrived = fn_clocks_when(&prober->clocks, stamp, probe->begun, now, now);
    const int64_t sent = probe->sent <= arrived ? probe->sent : probe->begun;

    /* A timestamp with a wrong number, because a packet was refused, is from another time. */
    return arrived - fn_clocks_when(&prober->clocks, probe->left, probe->begun, arrived, sent);
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
                             .ttl = ttl_of(prober, message), .from = fn_number_of(from)};
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
    *out = (struct fn_heard){.tag = probe->tag, .number = probe->number, .from = fn_number_of(&from),
                             .scope = scope_of(&from), .ttl = -1,
                             .rtt = rtt_of(prober, probe, fn_stamp_of(message), now), .is_error = true,
                             .type = report->ee_type, .code = report->ee_code, .info = report->ee_info};
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
