#include "guard.h"

#include "checksum.h"
#include "bytes.h"
#include "probe/prober.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>

#define IDENT 0x1234
#define TAG 42
#define SIZE 24
#define SLOT 7

static const uint8_t FILLER[SIZE - FN_COOKIE] = "fillings";

/* A probe that was sent, and a message that may be its answer. */
struct exchange {
    struct fn_prober *prober;
    struct fn_probe *probe;
    struct sockaddr_in6 host;
    uint8_t message[FN_IPV4_HEADER_MAX + FN_ICMP_HEADER + SIZE];
    size_t header, len;
    _Alignas(struct cmsghdr) uint8_t control[FN_CONTROL];
    size_t control_len;
    int64_t read; /* when */
};

static struct sockaddr_in6 address_of(const char *host, unsigned port)
{
    struct sockaddr_in6 address = {0};
    struct sockaddr_in *const ipv4 = (struct sockaddr_in *)&address;

    if (strchr(host, ':')) {
        address.sin6_family = AF_INET6;
        assert(inet_pton(AF_INET6, host, &address.sin6_addr) == 1);
    } else {
        ipv4->sin_family = AF_INET;
        assert(inet_pton(AF_INET, host, &ipv4->sin_addr) == 1);
    }
    address.sin6_port = htons((uint16_t)port);
    return address;
}

static struct fn_prober *prober_of(enum fn_prober_engine engine, int family, int fd, bool departures)
{
    const struct fn_prober_options options = {
        .engine = engine, .fd = fd, .family = family, .ident = IDENT, .first = engine == FN_PROBER_UDP ? 0 : SLOT,
        .size = SIZE, .filler = FILLER, .departures = departures, .key = "sixteen bytes...",
    };
    struct fn_prober *prober;

    assert(fn_prober_new(&prober, &options) == 0);
    return prober;
}

/* Sends one to a socket of our own, and reads it there. */
static size_t sent_payload(struct fn_prober *prober, const struct sockaddr_in6 *to, unsigned size, uint8_t *out,
                           size_t room)
{
    const int receiving = socket(to->sin6_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(struct sockaddr_in6);
    struct sockaddr_in6 own = *to;

    assert(receiving >= 0 && bind(receiving, (const struct sockaddr *)to, sizeof *to) == 0);
    assert(getsockname(receiving, (struct sockaddr *)&own, &len) == 0);
    assert(fn_prober_send(prober, &own, TAG, FN_SECOND, -1, size) == 0);
    const ssize_t got = recv(receiving, out, room, 0);
    assert(got >= 0 && close(receiving) == 0);
    return (size_t)got;
}

/* The request of a raw or datagram prober as a UDP socket takes it, header and all: the kernel is not in its way. */
static struct exchange exchange_of(enum fn_prober_engine engine, int family, size_t header, unsigned size)
{
    const struct sockaddr_in6 host = address_of(family == AF_INET ? "127.0.0.1" : "::1", 0);
    const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct exchange exchange = {.prober = prober_of(engine, family, fd, false), .host = host, .header = header};

    exchange.probe = &exchange.prober->probes[SLOT];
    exchange.len = header + sent_payload(exchange.prober, &host, size, exchange.message + header,
                                         sizeof exchange.message - header);
    assert(exchange.len == header + FN_ICMP_HEADER + size);
    assert(exchange.probe->known && exchange.probe->tag == TAG);
    if (header)
        exchange.message[0] = (uint8_t)(0x40 | header / 4);
    exchange.read = exchange.probe->sent + 10 * FN_MILLISECOND;
    assert(close(fd) == 0);
    return exchange;
}

static void seal(struct exchange *exchange)
{
    uint8_t *const icmp = exchange->message + exchange->header;

    put16(icmp + FN_AT_CHECKSUM, 0);
    put16(icmp + FN_AT_CHECKSUM, (uint16_t)~fn_checksum_scalar(icmp, exchange->len - exchange->header, 0));
}

static void turn_into_reply(struct exchange *exchange)
{
    exchange->message[exchange->header] =
        exchange->prober->options.family == AF_INET ? FN_ECHO_REPLY_4 : FN_ECHO_REPLY_6;
    seal(exchange);
}

static void add_control(struct exchange *exchange, int level, int type, const void *data, size_t size)
{
    struct cmsghdr *const part = (struct cmsghdr *)(exchange->control + exchange->control_len);

    part->cmsg_level = level;
    part->cmsg_type = type;
    part->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(part), data, size);
    exchange->control_len += CMSG_SPACE(size);
}

static void add_stamp(struct exchange *exchange, int type, int64_t wall)
{
    const struct timespec stamps[3] = {{.tv_sec = wall / FN_SECOND, .tv_nsec = wall % FN_SECOND}};

    add_control(exchange, SOL_SOCKET, type, stamps, type == SCM_TIMESTAMPING ? sizeof stamps : sizeof *stamps);
}

/* What the kernel adds to an error, or to the notice that a probe left. */
static void add_report(struct exchange *exchange, uint8_t origin, uint8_t type, uint8_t code, uint32_t data,
                       const char *reporter)
{
    const bool ipv4 = exchange->prober->options.family == AF_INET;
    struct {
        struct sock_extended_err error;
        struct sockaddr_in6 offender;
    } report = {
        .error = {.ee_origin = origin, .ee_type = type, .ee_code = code, .ee_info = 1400, .ee_data = data},
        .offender = address_of(reporter, 0),
    };

    add_control(exchange, ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_RECVERR : IPV6_RECVERR, &report,
                sizeof report.error + (ipv4 ? sizeof(struct sockaddr_in) : sizeof report.offender));
}

/* Whether so much of the message, from this host, is an answer: of the error queue, or not. */
static bool is_answer(struct exchange *exchange, size_t len, const char *host, unsigned port, bool reported,
                      struct fn_heard *out)
{
    struct guard data = guard_copy(exchange->message, len);
    struct guard control = guard_copy(exchange->control, exchange->control_len);
    struct sockaddr_in6 from = address_of(host, port);
    struct iovec parts = {data.data, len};
    const struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &parts, .msg_iovlen = 1,
                                   .msg_control = control.data, .msg_controllen = control.size};
    const bool found = (reported ? fn_prober_take_report : fn_prober_take_reply)(exchange->prober, &message, len,
                                                                               exchange->read, out);

    assert(!found || (out->tag == TAG && out->is_error == reported));
    guard_free(&control);
    guard_free(&data);
    return found;
}

static bool is_from(const struct fn_heard *heard, const char *host)
{
    const struct sockaddr_in6 address = address_of(host, 0);
    const struct fn_number number = fn_number_of(&address);

    return heard->from.high == number.high && heard->from.low == number.low;
}

static const char *own_host(const struct exchange *exchange)
{
    return exchange->prober->options.family == AF_INET ? "127.0.0.1" : "::1";
}

static bool is_reply(struct exchange *exchange, size_t len)
{
    struct fn_heard heard;

    return is_answer(exchange, len, own_host(exchange), 0, false, &heard);
}

static void test_requests(void)
{
    struct exchange exchange = exchange_of(FN_PROBER_RAW, AF_INET, 0, SIZE);

    assert(fn_checksum_scalar(exchange.message, exchange.len, 0) == 0xffff);
    assert(get16(exchange.message + FN_AT_IDENT) == IDENT && get16(exchange.message + FN_AT_SEQUENCE) == SLOT);
    assert(memcmp(exchange.message + FN_ICMP_HEADER + FN_COOKIE, FILLER, SIZE - FN_COOKIE) == 0);
    fn_prober_free(exchange.prober);
}

static void test_replies(enum fn_prober_engine engine, int family, size_t header, unsigned size)
{
    struct exchange exchange = exchange_of(engine, family, header, size);
    const size_t cookie = size < FN_COOKIE ? size : FN_COOKIE, end = header + FN_ICMP_HEADER + cookie;
    struct fn_heard heard;

    assert(!is_reply(&exchange, exchange.len)); /* our own request */
    turn_into_reply(&exchange);
    assert(!is_answer(&exchange, exchange.len, family == AF_INET ? "127.0.0.2" : "::2", 0, false, &heard));
    assert(!exchange.probe->answered);
    for (size_t len = 0; len <= exchange.len; len++)
        /* Only with raw IPv4 is the checksum left to us. */
        assert(is_reply(&exchange, len) == (len >= end && (len == exchange.len || !header)));
    assert(exchange.probe->answered);
    /* Any bit up to the cookie's last is ours to check (but the checksum's, where the kernel has). */
    for (size_t at = header; at < end; at++)
        for (int bit = 0; bit < 8; bit++) {
            struct exchange changed = exchange;
            changed.message[at] ^= (uint8_t)(1 << bit);
            const bool checksum = at - header == 2 || at - header == 3;
            assert(is_reply(&changed, changed.len) == (checksum && !header));
            seal(&changed);
            assert(is_reply(&changed, changed.len) == checksum);
        }
    fn_prober_free(exchange.prober);
}

/* What may be a subnet's routers is answered from another address, if all of the cookie comes back; within its scope. */
static void test_anycast(unsigned size, bool known)
{
    struct exchange exchange = exchange_of(FN_PROBER_RAW, AF_INET6, 0, size);
    const struct fn_number itself = exchange.probe->host;
    struct fn_heard heard;

    turn_into_reply(&exchange);
    assert(!is_answer(&exchange, exchange.len, "fd77::2", 0, false, &heard));
    if (known)
        exchange.prober->options.anycast = (struct fn_anycast){&itself, 1};
    else
        exchange.probe->host = (struct fn_number){UINT64_C(0xfd77) << 48, 0};
    for (size_t len = 0; len <= exchange.len; len++)
        assert(is_answer(&exchange, len, "fd77::2", 0, false, &heard) ==
               (size >= FN_COOKIE && len >= FN_ICMP_HEADER + FN_COOKIE));
    if (size >= FN_COOKIE)
        assert(is_from(&heard, "fd77::2"));
    add_report(&exchange, SO_EE_ORIGIN_ICMP6, 1, 4, 0, "fd77::2");
    exchange.message[0] = FN_ECHO_REQUEST_6;
    assert(!is_answer(&exchange, exchange.len, "fd77::2", 0, true, &heard)); /* an error is of what was sent there */
    fn_prober_free(exchange.prober);
}

static void test_what_a_reply_says(int family)
{
    struct exchange exchange = exchange_of(FN_PROBER_DATAGRAM, family, 0, SIZE);
    const int ttl = 61;
    struct fn_heard heard;

    turn_into_reply(&exchange);
    assert(is_answer(&exchange, exchange.len, own_host(&exchange), 0, false, &heard));
    assert(heard.ttl == -1 && heard.rtt == 10 * FN_MILLISECOND && is_from(&heard, own_host(&exchange)));
    add_control(&exchange, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, family == AF_INET ? IP_TTL : IPV6_HOPLIMIT,
                &ttl, sizeof ttl);
    assert(is_answer(&exchange, exchange.len, own_host(&exchange), 0, false, &heard));
    assert(heard.ttl == 61);
    fn_prober_free(exchange.prober);
}

/* The kernel's stamps count while the wall clock is not stepped: after that, when it was read does. */
static void test_clocks(void)
{
    struct exchange exchange = exchange_of(FN_PROBER_DATAGRAM, AF_INET, 0, SIZE);
    struct fn_clocks *const clocks = &exchange.prober->clocks;
    const int64_t wall = exchange.probe->sent + clocks->lead;
    const int64_t steps[] = {-3600 * FN_SECOND, -FN_MILLISECOND, FN_MILLISECOND, 3600 * FN_SECOND};
    const struct fn_clocks steady = *clocks;
    struct fn_heard heard;

    turn_into_reply(&exchange);
    add_stamp(&exchange, SCM_TIMESTAMPNS, wall + 3 * FN_MILLISECOND);
    assert(is_answer(&exchange, exchange.len, "127.0.0.1", 0, false, &heard) && heard.rtt == 3 * FN_MILLISECOND);
    exchange.probe->left = wall + FN_MILLISECOND;
    assert(is_answer(&exchange, exchange.len, "127.0.0.1", 0, false, &heard) && heard.rtt == 2 * FN_MILLISECOND);
    for (size_t i = 0; i < 2; i++) { /* another's departure: before it was sent, after it was answered */
        exchange.probe->left = wall + (i ? 4 : -1) * FN_MILLISECOND;
        assert(is_answer(&exchange, exchange.len, "127.0.0.1", 0, false, &heard) && heard.rtt == 3 * FN_MILLISECOND);
    }
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        exchange.probe->left = wall + FN_MILLISECOND;
        *clocks = steady;
        fn_clocks_read(clocks, exchange.read, exchange.read + steady.lead + steps[i]);
        assert(is_answer(&exchange, exchange.len, "127.0.0.1", 0, false, &heard) && heard.rtt == 10 * FN_MILLISECOND);
    }
    fn_prober_free(exchange.prober);
}

static void test_errors(int family)
{
    struct exchange exchange = exchange_of(FN_PROBER_RAW, family, 0, SIZE);
    const uint8_t origin = family == AF_INET ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6;
    const char *const reporter = family == AF_INET ? "10.0.0.9" : "fd00::9";
    struct exchange redirected = exchange, local = exchange;
    struct fn_heard heard;

    assert(!is_answer(&exchange, exchange.len, own_host(&exchange), 0, true, &heard)); /* nothing reported */
    add_report(&redirected, origin, family == AF_INET ? FN_REDIRECT_4 : FN_REDIRECT_6, 1, 0, reporter);
    assert(!is_answer(&redirected, exchange.len, own_host(&exchange), 0, true, &heard));
    add_report(&local, SO_EE_ORIGIN_LOCAL, 3, 1, 0, reporter);
    assert(!is_answer(&local, exchange.len, own_host(&exchange), 0, true, &heard));
    add_report(&exchange, origin, 3, 4, 0, reporter);
    for (size_t len = 0; len <= exchange.len; len++)
        assert(is_answer(&exchange, len, own_host(&exchange), 0, true, &heard) == (len >= FN_ICMP_HEADER));
    assert(heard.type == 3 && heard.code == 4 && heard.info == 1400 && is_from(&heard, reporter));
    assert(!exchange.probe->answered);
    assert(!is_answer(&exchange, exchange.len, family == AF_INET ? "127.0.0.2" : "::2", 0, true, &heard));
    for (size_t at = FN_ICMP_HEADER; at < FN_ICMP_HEADER + FN_COOKIE; at++) {
        struct exchange changed = exchange;
        changed.message[at] ^= 1;
        assert(!is_answer(&changed, at + 1, own_host(&exchange), 0, true, &heard));
        assert(is_answer(&changed, at, own_host(&exchange), 0, true, &heard));
    }
    /* Where the kernel's word is cut short there is none. */
    while (exchange.control_len) {
        exchange.control_len -= CMSG_ALIGN(1);
        assert(!is_answer(&exchange, exchange.len, own_host(&exchange), 0, true, &heard));
    }
    fn_prober_free(exchange.prober);
}

static void test_udp(void)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct sockaddr_in6 host = address_of("127.0.0.1", 9);
    struct exchange exchange = {.prober = prober_of(FN_PROBER_UDP, AF_INET, fd, false)};
    struct fn_heard heard;

    exchange.probe = &exchange.prober->probes[0];
    exchange.len = FN_COOKIE;
    assert(fn_prober_send(exchange.prober, &host, TAG, FN_SECOND, 64, SIZE) == 0);
    assert(!is_answer(&exchange, exchange.len, "127.0.0.1", FN_FIRST_PORT, false, &heard)); /* errors only */
    add_report(&exchange, SO_EE_ORIGIN_ICMP, 3, 3, 0, "127.0.0.1");
    assert(is_answer(&exchange, 0, "127.0.0.1", FN_FIRST_PORT, true, &heard)); /* nothing quoted */
    assert(!is_answer(&exchange, exchange.len, "127.0.0.1", FN_FIRST_PORT, true, &heard));
    for (unsigned port = 0; port <= UINT16_MAX; port += port == FN_FIRST_PORT - 1 ? 2 : 1)
        assert(!is_answer(&exchange, 0, "127.0.0.1", port, true, &heard));
    fn_prober_free(exchange.prober);
    assert(close(fd) == 0);
}

/* A datagram without a byte was sent, though sendmsg() returns 0, and is sent once. */
static void test_an_empty_payload(void)
{
    const struct sockaddr_in6 host = address_of("127.77.0.9", FN_FIRST_PORT);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int receiving = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct fn_prober *const prober = prober_of(FN_PROBER_UDP, AF_INET, fd, false);
    struct pollfd arrived = {.fd = receiving, .events = POLLIN};
    uint8_t byte;

    assert(bind(receiving, (const struct sockaddr *)&host, sizeof(struct sockaddr_in)) == 0);
    prober->number = prober->slots - 1; /* the next one is slot 0, and its port the first */
    assert(fn_prober_send(prober, &host, TAG, FN_SECOND, -1, 0) == 0);
    assert(poll(&arrived, 1, 60000) == 1 && recv(receiving, &byte, 1, 0) == 0);
    assert(recv(receiving, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    fn_prober_free(prober);
    assert(close(receiving) == 0 && close(fd) == 0);
}

static void test_departures(void)
{
    struct exchange exchange = exchange_of(FN_PROBER_RAW, AF_INET, 0, SIZE);
    struct fn_prober *const prober = exchange.prober;
    struct exchange other = exchange, unstamped = exchange;
    struct fn_heard heard;

    prober->departing[3] = exchange.probe->number;
    add_report(&other, SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 4, "0.0.0.0");
    add_stamp(&other, SCM_TIMESTAMPING, 77);
    add_report(&unstamped, SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 3, "0.0.0.0");
    assert(!is_answer(&other, 0, "0.0.0.0", 0, true, &heard) && exchange.probe->left == 0);
    assert(!is_answer(&unstamped, 0, "0.0.0.0", 0, true, &heard) && exchange.probe->left == 0);
    add_report(&exchange, SO_EE_ORIGIN_TIMESTAMPING, 0, 0, FN_DEPARTING + 3, "0.0.0.0");
    add_stamp(&exchange, SCM_TIMESTAMPING, 5 * FN_SECOND + 77);
    assert(!is_answer(&exchange, 0, "0.0.0.0", 0, true, &heard) && exchange.probe->left == 5 * FN_SECOND + 77);
    fn_prober_free(prober);
}

/* Slots take turns; none that waits is given away, and what is refused leaves none behind. */
static void test_slots(void)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct fn_prober *const prober = prober_of(FN_PROBER_RAW, AF_INET, fd, false);
    const struct sockaddr_in6 sink = address_of("127.0.0.1", 9), refused = address_of("127.255.255.255", 9);

    assert(fn_prober_send(prober, &sink, 0, 0, -1, SIZE + 1) == -EINVAL && !prober->probes[SLOT].known);
    assert(fn_prober_send(prober, &refused, 0, FN_SECOND, -1, 0) == -EACCES && !prober->probes[SLOT].known);
    for (uint32_t i = 0; i < prober->slots; i++)
        assert(fn_prober_send(prober, &sink, i, 3600 * FN_SECOND, -1, 0) == 0);
    assert(prober->probes[SLOT].tag == prober->slots - 1 && prober->probes[SLOT + 1].tag == 0);
    assert(fn_prober_send(prober, &sink, 0, 0, -1, 0) == FN_NO_SLOT);
    prober->probes[5].answered = true;
    prober->probes[3].held_until = 0;
    for (int64_t tag = -1; tag >= -2; tag--)
        assert(fn_prober_send(prober, &sink, tag, 3600 * FN_SECOND, -1, 0) == 0);
    assert(prober->probes[5].tag + prober->probes[3].tag == -3);
    assert(fn_prober_send(prober, &sink, 0, 0, -1, 0) == FN_NO_SLOT);
    fn_prober_free(prober);
    assert(close(fd) == 0);
}

/* Several at once, up to the first that is refused; what was not tried leaves slot and number free. */
static void test_sending_some(void)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct fn_prober *const prober = prober_of(FN_PROBER_RAW, AF_INET, fd, false);
    const struct sockaddr_in6 sink = address_of("127.0.0.1", 9), refused = address_of("127.255.255.255", 9);
    struct fn_request requests[] = {{&sink, 0, 0}, {&sink, 1, 0}, {&refused, 2, 0}, {&sink, 3, 0}};
    const int64_t before = fn_clock_now(CLOCK_MONOTONIC);

    assert(fn_prober_send_some(prober, requests, 4, FN_SECOND) == 2);
    const struct fn_probe *const first = &prober->probes[requests[0].number % prober->slots];
    const struct fn_probe *const second = &prober->probes[requests[1].number % prober->slots];
    assert(first->known && first->tag == 0 && second->known && second->tag == 1);
    assert(before <= first->begun && first->sent == first->begun && second->begun == first->begun);
    assert(first->sent < second->sent && second->sent <= fn_clock_now(CLOCK_MONOTONIC));
    assert(requests[1].number == requests[0].number + 1 && prober->number == requests[1].number + 1);
    assert(fn_prober_send_some(prober, requests + 2, 2, FN_SECOND) == -EACCES);
    assert(prober->number == requests[1].number + 2);
    assert(fn_prober_send_some(prober, requests + 3, 1, FN_SECOND) == 1);
    assert(requests[3].number == requests[1].number + 3 && prober->probes[requests[3].number % prober->slots].tag == 3);
    for (uint32_t slot = 0; slot < prober->slots; slot++)
        prober->probes[slot] = (struct fn_probe){.known = true, .held_until = FN_NEVER};
    prober->probes[7].answered = true;
    assert(fn_prober_send_some(prober, requests, 2, FN_SECOND) == 1 && requests[0].number % prober->slots == 7);
    assert(fn_prober_send_some(prober, requests, 2, FN_SECOND) == FN_NO_SLOT);
    fn_prober_free(prober);
    assert(close(fd) == 0);
}

/* An answer from before the estimated send time was sent at the beginning of the call. */
static void test_estimated_times(void)
{
    struct exchange exchange = exchange_of(FN_PROBER_DATAGRAM, AF_INET, 0, SIZE);
    const int64_t wall = exchange.probe->begun + exchange.prober->clocks.lead;
    struct fn_heard heard;

    turn_into_reply(&exchange);
    exchange.probe->sent = exchange.probe->begun + 2 * FN_MILLISECOND;
    for (int64_t ms = 1; ms <= 3; ms += 2) {
        struct exchange stamped = exchange;
        add_stamp(&stamped, SCM_TIMESTAMPNS, wall + ms * FN_MILLISECOND);
        assert(is_answer(&stamped, stamped.len, "127.0.0.1", 0, false, &heard) && heard.rtt == FN_MILLISECOND);
    }
    fn_prober_free(exchange.prober);
}

/* Over a socket: errors and departures that the kernel reports, more than are read together. */
static void test_a_conversation(int family)
{
    const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    const int stamps = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID |
                       SOF_TIMESTAMPING_OPT_TSONLY;
    const struct sockaddr_in6 host = address_of(family == AF_INET ? "127.0.0.1" : "::1", 0);
    const int64_t count = 5 * FN_BATCH;
    int64_t answered = 0;

    /* An emulator's socket does not know these. */
    const bool stamped = setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0 &&
                         setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps) == 0;
    assert((family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on)
                              : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on)) == 0);
    struct fn_prober *const prober = prober_of(FN_PROBER_UDP, family, fd, stamped);
    for (int64_t tag = 0; tag < count; tag++)
        assert(fn_prober_send(prober, &host, tag, FN_SECOND, 9, SIZE) == 0);
    const struct fn_probe *const last = &prober->probes[count - 1];
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    /* The kernel sends no more than some errors a second, and reports every departure. */
    while ((answered == 0 || (stamped && !last->left)) && poll(&ready, 1, 5000) > 0) {
        struct fn_heard heard[FN_HEARD];
        bool more = true;
        while (more) {
            const int heard_now = fn_prober_receive(prober, 256, heard, &more);
            assert(heard_now >= 0 && heard_now <= FN_HEARD);
            for (int i = 0; i < heard_now; i++)
                assert(heard[i].is_error && heard[i].tag < count && heard[i].rtt >= 0);
            answered += heard_now;
        }
    }
    assert(answered > 0);
    for (int64_t slot = 0; slot < count; slot++)
        assert((prober->probes[slot].left > 0) == stamped);
    fn_prober_detach(prober);
    struct fn_heard heard[FN_HEARD];
    bool more;
    assert(fn_prober_receive(prober, 256, heard, &more) == -EBADF);
    assert(fn_prober_send(prober, &host, 0, 0, -1, 0) == -EBADF);
    fn_prober_free(prober);
    assert(close(fd) == 0);
}

static void test_refused(void)
{
    const struct fn_prober_options options = {.family = AF_UNIX};
    struct fn_prober *prober;

    assert(fn_prober_new(&prober, &options) == -EINVAL);
    fn_prober_free(NULL);
}

int main(void)
{
    test_refused();
    test_requests();
    for (unsigned size = 0; size <= SIZE; size += SIZE / 3) {
        test_replies(FN_PROBER_RAW, AF_INET, FN_IPV4_HEADER, size);
        test_replies(FN_PROBER_RAW, AF_INET, FN_IPV4_HEADER_MAX, size);
        test_replies(FN_PROBER_DATAGRAM, AF_INET, 0, size);
        test_replies(FN_PROBER_RAW, AF_INET6, 0, size);
    }
    test_anycast(SIZE, true);
    test_anycast(SIZE, false);
    test_anycast(FN_COOKIE - 1, true);
    test_what_a_reply_says(AF_INET);
    test_what_a_reply_says(AF_INET6);
    test_clocks();
    test_errors(AF_INET);
    test_errors(AF_INET6);
    test_udp();
    test_an_empty_payload();
    test_departures();
    test_slots();
    test_sending_some();
    test_estimated_times();
    test_a_conversation(AF_INET);
    test_a_conversation(AF_INET6);
    return 0;
}
