/*
 * What is believed to be a reply is one to a target: of echo requests by a cookie that is right, of a link by a
 * hardware address in the frame. What is believed in a conversation is for its probe. The first byte chooses
 * what is parsed, family and socket, and whether the rest is given the cookie and the checksum that it lacks; of a
 * conversation the second is how many bytes of what follows are the kernel's own, beside the message.
 */
#define _GNU_SOURCE
#include "checksum.h"
#include "probe/prober.h"
#include "probe/sweep.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

/* Bits of the first byte. */
enum { IPV4 = 1, RAW = 2, LENT = 4, LINK = 8, PROBER = 16, UDP = 32, REPORT = 64 };

static struct fn_sweep *sweep_of(uint8_t choice)
{
    const struct fn_span span = {.first.low = 0x0a000000, .count = 256};
    const struct fn_sweep_options options = {
        .engine = choice & LINK ? FN_LINK : choice & RAW ? FN_RAW : FN_DATAGRAM,
        .fd = -1,
        .family = choice & IPV4 ? AF_INET : AF_INET6,
        .ident = 0x1234,
        .payload = FN_SWEEP_PAYLOAD,
        .window = 1,
        .shard_step = 1,
        .link = {.mac = {2, 0, 0, 0, 0, 1}, .source.low = 0x0a000001},
    };
    struct fn_sweep *sweep;

    require(fn_sweep_new(&sweep, &options, &span, 1, NULL) == 0);
    return sweep;
}

static uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void seal(uint8_t *icmp, size_t size, uint16_t initial)
{
    icmp[2] = icmp[3] = 0;
    const uint16_t sum = (uint16_t)~fn_checksum_scalar(icmp, size, initial);
    icmp[2] = (uint8_t)(sum >> 8);
    icmp[3] = (uint8_t)sum;
}

/* The cookie and the checksum: where the fuzzer would have to guess. */
static void lend_cookie(struct fn_sweep *sweep, uint8_t *message, size_t size)
{
    const size_t header = sweep->options.engine == FN_RAW && sweep->options.family == AF_INET ? FN_IPV4_HEADER : 0;
    const size_t at = header + FN_ICMP_HEADER;

    if (size < at + FN_SWEEP_PAYLOAD)
        return;
    const uint32_t ticks = word_at(message + at), number = word_at(message + at + 4);
    sweep->wire->request(sweep, 0, 9, number, ticks);
    memcpy(message + at, sweep->out.packets + FN_ICMP_HEADER, FN_SWEEP_PAYLOAD);
    seal(message + header, size - header, 0);
}

/* An advertisement's checksum, of as many bytes as it claims to have. */
static void lend_checksum(uint8_t *frame, size_t size)
{
    uint8_t *const ip = frame + 14;
    const size_t headers = 14 + 40;

    if (size < headers + 4)
        return;
    const size_t claimed = (size_t)ip[4] << 8 | ip[5];
    if (claimed >= 4 && claimed <= size - headers)
        seal(frame + headers, claimed,
             fn_checksum_pseudo_ipv6(ip + 8, ip + 24, IPPROTO_ICMPV6, (uint32_t)claimed));
}

static void try_icmp(struct fn_sweep *sweep, uint8_t *message, size_t size, bool lent)
{
    const struct fn_number from = fn_sweep_address(sweep, 9);
    struct fn_answer answer;

    if (lent)
        lend_cookie(sweep, message, size);
    if (fn_icmp_parse_reply(sweep, message, size, from, &answer))
        require(answer.target == 9 && answer.whole && lent);
    if (fn_turbo_parse_reply(sweep, message, size, &answer))
        require(answer.target == 9 && answer.whole && lent);
    if (fn_icmp_parse_quoted(sweep, message, size, from, &answer))
        require(answer.target == 9 && (!answer.whole || lent));
}

static void try_link(struct fn_sweep *sweep, uint8_t *frame, size_t size, bool lent)
{
    uint64_t target;

    if (lent)
        lend_checksum(frame, size);
    const uint8_t *const mac = fn_link_parse_reply(sweep, frame, size, &target);
    if (mac)
        require(target < fn_sweep_size(sweep) && mac >= frame + 14 && mac + 6 <= frame + size && !(mac[0] & 1));
}

/* A conversation whose only probe has sequence number 7. They are big, and kept. */
static struct fn_prober *prober_of(uint8_t choice)
{
    static struct fn_prober *kept[UDP * 2];
    struct fn_prober **const place = &kept[choice & (IPV4 | RAW | UDP)];
    const struct fn_prober_options options = {
        .engine = choice & UDP ? FN_PROBER_UDP : choice & RAW ? FN_PROBER_RAW : FN_PROBER_DATAGRAM,
        .fd = -1,
        .family = choice & IPV4 ? AF_INET : AF_INET6,
        .ident = 0x1234,
        .size = FN_COOKIE,
        .departures = true,
    };

    if (!*place)
        require(fn_prober_new(place, &options) == 0);
    (*place)->probes[7] = (struct fn_probe){.host.low = 0x0a000009, .tag = 42, .number = 7, .known = true,
                                            .cookie_size = FN_COOKIE};
    (*place)->departing[0] = 7;
    return *place;
}

/* A cookie of the input's own (FNV-1a): the fuzzer, which sees what is compared, would learn one that is kept. */
static void set_cookie(uint8_t cookie[FN_COOKIE], const uint8_t *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 0x100000001b3;
    for (size_t i = 0; i < FN_COOKIE; i++) {
        cookie[i] = (uint8_t)(hash >> 56);
        hash = (hash ^ i) * 0x100000001b3;
    }
}

static void lend_probe(const struct fn_prober *prober, bool reported, uint8_t *message, size_t size)
{
    const bool bare = reported || prober->options.engine != FN_PROBER_RAW || prober->options.family != AF_INET;
    const size_t header = bare ? 0 : FN_IPV4_HEADER;
    const size_t before = prober->options.engine == FN_PROBER_UDP ? 0 : FN_ICMP_HEADER;

    if (size < header + before + FN_COOKIE)
        return;
    memcpy(message + header + before, prober->probes[7].cookie, FN_COOKIE);
    if (before)
        seal(message + header, size - header, 0);
}

static void *copied(const uint8_t *data, size_t size)
{
    void *const copy = malloc(size);

    require(copy || size == 0);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

static void try_prober(uint8_t choice, const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    struct fn_prober *const prober = prober_of(choice);
    const size_t added = data[0] < size - 1 ? data[0] : size - 1, len = size - 1 - added;
    struct iovec part = {copied(data + 1 + added, len), len};
    struct sockaddr_in6 from = {.sin6_family = AF_INET6, .sin6_port = htons(FN_FIRST_PORT + 7)};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = copied(data + 1, added), .msg_controllen = added};
    struct fn_heard heard;

    set_cookie(prober->probes[7].cookie, data, size);
    if (choice & IPV4)
        *(struct sockaddr_in *)&from = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons(FN_FIRST_PORT + 7), .sin_addr.s_addr = htonl(0x0a000009)};
    else
        memcpy(from.sin6_addr.s6_addr + 12, "\x0a\0\0\x09", 4);
    if (choice & LENT)
        lend_probe(prober, choice & REPORT, part.iov_base, len);
    if (choice & REPORT && fn_prober_take_report(prober, &message, len, FN_SECOND, &heard))
        require(heard.tag == 42 && heard.is_error);
    if (!(choice & REPORT) && fn_prober_take_reply(prober, &message, len, FN_SECOND, &heard))
        require(heard.tag == 42 && !heard.is_error && choice & LENT && !(choice & UDP));
    free(message.msg_control);
    free(part.iov_base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & PROBER) {
        try_prober(data[0], data + 1, size - 1);
        return 0;
    }
    struct fn_sweep *const sweep = sweep_of(data[0]);
    uint8_t *const message = malloc(size - 1);
    require(message || size == 1);
    if (size > 1)
        memcpy(message, data + 1, size - 1);
    (data[0] & LINK ? try_link : try_icmp)(sweep, message, size - 1, data[0] & LENT);
    free(message);
    fn_sweep_free(sweep);
    return 0;
}
