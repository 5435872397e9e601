#include "guard.h"

#include "checksum.h"
#include "probe/sweep.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define IDENT 0x1234
#define PAYLOAD 24

static const uint8_t KEY[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Of the reference implementation's 64 (vectors_sip64): the messages 00, 00 01, ... of these lengths, under KEY. */
static void test_siphash(void)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } published[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},  {2, UINT64_C(0x0d6c8009d9a94f5a)},
        {3, UINT64_C(0x85676696d7fb7e2d)},  {7, UINT64_C(0xab0200f58b01d137)},  {8, UINT64_C(0x93f5f5799a932462)},
        {15, UINT64_C(0xa129ca6149be45e5)},
    };
    uint8_t data[16];

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct guard message = guard_copy(data, published[i].len);
        assert(fn_siphash(KEY, message.data, message.size) == published[i].hash);
        guard_free(&message);
    }
}

static struct fn_sweep_options options_of(int family, bool raw)
{
    struct fn_sweep_options options = {.fd = -1, .family = family, .engine = raw ? FN_RAW : FN_DATAGRAM, .ident = IDENT,
                                       .payload = PAYLOAD, .window = 128, .shard_step = 1, .timeout = FN_SECOND};

    memcpy(options.key, KEY, sizeof options.key);
    return options;
}

static struct fn_sweep *sweep_of(const struct fn_sweep_options *options, const struct fn_span *spans, size_t count)
{
    struct fn_sweep *sweep;

    assert(fn_sweep_new(&sweep, options, spans, count, NULL) == 0);
    return sweep;
}

/* Targets */

static const struct fn_span IPV4_SPANS[] = {
    {.first.low = 0, .count = 3},
    {.first.low = 0x0a000000, .count = 1000},
    {.first.low = 0x0a0003e8, .count = 1}, /* touches the one before */
    {.first.low = 0xfffffffe, .count = 2},
};

static const struct fn_span IPV6_SPANS[] = {
    {.first = {0, 0}, .count = 1},
    {.first = {0xfd00, UINT64_MAX - 4}, .count = 10}, /* the low half overflows */
    {.first = {0xfd01, 100}, .count = 500},
    {.first = {UINT64_MAX, UINT64_MAX - 1}, .count = 2},
};

static struct fn_number after(struct fn_number number, uint64_t more)
{
    number.low += more;
    number.high += number.low < more;
    return number;
}

/* Each address is the target that it should be, of one shard alone, and back. */
static void test_targets(int family, const struct fn_span *spans, size_t count, uint64_t step)
{
    uint64_t total = 0, sizes = 0;
    struct fn_sweep *shards[7];

    assert(step <= 7);
    for (uint64_t first = 0; first < step; first++) {
        struct fn_sweep_options options = options_of(family, true);
        options.shard_first = first;
        options.shard_step = step;
        shards[first] = sweep_of(&options, spans, count);
        sizes += fn_sweep_size(shards[first]);
    }
    for (size_t span = 0; span < count; span++)
        for (uint64_t i = 0; i < spans[span].count; i++, total++)
            for (uint64_t first = 0; first < step; first++) {
                const struct fn_number address = after(spans[span].first, i);
                const uint64_t target = fn_sweep_target(shards[first], address);
                assert(target == (total % step == first ? total / step : FN_NO_TARGET));
                if (target != FN_NO_TARGET) {
                    const struct fn_number back = fn_sweep_address(shards[first], target);
                    assert(back.high == address.high && back.low == address.low);
                }
            }
    assert(sizes == total);
    for (uint64_t first = 0; first < step; first++) {
        assert(fn_sweep_target(shards[first], (struct fn_number){0xfd00, 0}) == FN_NO_TARGET);
        assert(fn_sweep_target(shards[first], (struct fn_number){0xfd01, 600}) == FN_NO_TARGET);
        assert(fn_sweep_target(shards[first], (struct fn_number){0, 0x09ffffff}) == FN_NO_TARGET);
        fn_sweep_free(shards[first]);
    }
}

static void test_options_refused(void)
{
    static const struct fn_span reversed[] = {{.first.low = 10, .count = 1}, {.first.low = 5, .count = 1}};
    static const struct fn_span overlapping[] = {{.first.low = 5, .count = 2}, {.first.low = 6, .count = 1}};
    static const struct fn_span empty[] = {{.first.low = 5, .count = 0}};
    static const struct fn_span too_far[] = {{.first = {UINT64_MAX, UINT64_MAX}, .count = 2}};
    static const struct fn_span behind_the_last[] = {{.first = {UINT64_MAX, UINT64_MAX}, .count = 1},
                                                     {.first.low = 1, .count = 1}};
    static const struct fn_span too_many[] = {{.first.low = 0, .count = UINT64_MAX}, {.first.high = 1, .count = 1}};
    const struct fn_sweep_options good = options_of(AF_INET6, true);
    struct fn_sweep_options bad = good;
    struct fn_sweep *sweep;

    assert(fn_sweep_new(&sweep, &good, reversed, 2, NULL) == -EINVAL);
    assert(fn_sweep_new(&sweep, &good, overlapping, 2, NULL) == -EINVAL);
    assert(fn_sweep_new(&sweep, &good, empty, 1, NULL) == -EINVAL);
    assert(fn_sweep_new(&sweep, &good, too_far, 1, NULL) == -EINVAL);
    assert(fn_sweep_new(&sweep, &good, behind_the_last, 2, NULL) == -EINVAL);
    assert(fn_sweep_new(&sweep, &good, too_many, 2, NULL) == -EINVAL);
    bad.payload = FN_SWEEP_PAYLOAD - 1;
    assert(fn_sweep_new(&sweep, &bad, NULL, 0, NULL) == -EINVAL);
    bad = good;
    bad.shard_first = bad.shard_step;
    assert(fn_sweep_new(&sweep, &bad, NULL, 0, NULL) == -EINVAL);
    bad = good;
    bad.window = 0;
    assert(fn_sweep_new(&sweep, &bad, NULL, 0, NULL) == -EINVAL);
    bad = good;
    bad.family = AF_UNIX;
    assert(fn_sweep_new(&sweep, &bad, NULL, 0, NULL) == -EINVAL);
}

static void test_no_targets(void)
{
    const struct fn_sweep_options options = options_of(AF_INET, true);
    struct fn_sweep *const sweep = sweep_of(&options, NULL, 0);

    assert(fn_sweep_size(sweep) == 0 && fn_sweep_sent(sweep) == 0);
    assert(fn_sweep_run(sweep, 0) == 1);
    assert(fn_sweep_target(sweep, (struct fn_number){0, 1}) == FN_NO_TARGET);
    fn_sweep_free(sweep);
}

static void test_decided(void)
{
    static const struct fn_span spans[] = {{.first.low = 0x7f000001, .count = 10}};
    static const uint8_t all[] = {0xff, 0x03}, some[] = {0x01, 0x02};
    const struct fn_sweep_options options = options_of(AF_INET, true);
    struct guard bits = guard_copy(some, sizeof some);
    struct fn_sweep *sweep;

    assert(fn_sweep_new(&sweep, &options, spans, 1, all) == 0);
    assert(fn_sweep_run(sweep, 0) == 1 && fn_sweep_sent(sweep) == 0);
    fn_sweep_free(sweep);
    assert(fn_sweep_new(&sweep, &options, spans, 1, bits.data) == 0);
    for (uint64_t target = 0; target < 10; target++)
        assert(fn_sweep_states(sweep)[target] == (target == 0 || target == 9 ? FN_DECIDED : FN_PENDING));
    /* There is no socket -1. */
    assert(fn_sweep_run(sweep, INT64_MAX) == -EBADF);
    fn_sweep_free(sweep);
    guard_free(&bits);
}

/* Reasons */

static void test_reasons(void)
{
    const struct fn_sweep_options options = options_of(AF_INET6, true);
    struct fn_sweep *const sweep = sweep_of(&options, NULL, 0);
    struct fn_reason reason = {.refused = EPERM};

    assert(fn_sweep_reason(sweep, 0) == NULL && fn_sweep_reason(sweep, 1) == NULL);
    assert(fn_reason_number(sweep, &reason) == 1 && fn_reason_number(sweep, &reason) == 1);
    assert(fn_sweep_reason(sweep, 1)->refused == EPERM);
    reason = (struct fn_reason){.type = 3, .code = 1};
    for (uint32_t i = 2; i < FN_REASONS; i++) {
        reason.reporter.low = i;
        assert(fn_reason_number(sweep, &reason) == i);
    }
    reason.reporter.low = 2;
    assert(fn_reason_number(sweep, &reason) == 2);
    reason.reporter.high = 1;
    assert(fn_reason_number(sweep, &reason) == FN_REASONS);
    assert(fn_sweep_reason(sweep, FN_REASONS) == NULL);
    assert(fn_sweep_reason(sweep, FN_REASONS - 1)->reporter.low == FN_REASONS - 1);
    fn_sweep_free(sweep);
}

/* What differs in any one thing is another reason. */
static void test_reasons_are_distinct(void)
{
    const struct fn_sweep_options options = options_of(AF_INET6, true);
    struct fn_sweep *const sweep = sweep_of(&options, NULL, 0);
    const struct fn_reason reasons[] = {
        {.refused = 1},    {.type = 1},           {.code = 1},         {.info = 1},
        {.itself = true},  {.reporter.high = 1},  {.reporter.low = 1}, {.refused = 0},
    };

    for (int again = 0; again < 2; again++)
        for (uint32_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
            assert(fn_reason_number(sweep, &reasons[i]) == i + 1);
    fn_sweep_free(sweep);
}

/* Round-trip times */

#define NOW (1000 * FN_SECOND)
#define WALL (1700000000 * FN_SECOND)

static void test_rtt(void)
{
    const int64_t tick = 1 << FN_TICK_BITS;
    struct fn_clocks clocks;
    uint32_t sent = fn_ticks(NOW);

    fn_clocks_start(&clocks, NOW, WALL);
    /* The timestamp counts: 3 ms, though it was read after 5; without one, 5. */
    int64_t rtt = fn_clocks_rtt(&clocks, sent, WALL + 3 * FN_MILLISECOND, NOW + 5 * FN_MILLISECOND);
    assert(rtt > 3 * FN_MILLISECOND - tick && rtt < 3 * FN_MILLISECOND + tick);
    rtt = fn_clocks_rtt(&clocks, sent, 0, NOW + 5 * FN_MILLISECOND);
    assert(rtt > 5 * FN_MILLISECOND - tick && rtt < 5 * FN_MILLISECOND + tick);
    /* No answer comes before its request, or after it was read. */
    assert(fn_clocks_rtt(&clocks, sent, WALL - FN_MILLISECOND, NOW + 5 * FN_MILLISECOND) == rtt);
    assert(fn_clocks_rtt(&clocks, sent, WALL + 6 * FN_MILLISECOND, NOW + 5 * FN_MILLISECOND) == rtt);
    /* A stamp is as good where it is read after the ticks have gone round. */
    assert(fn_clocks_rtt(&clocks, sent, WALL + 3 * FN_MILLISECOND, NOW + 1000 * FN_SECOND) == 3 * FN_MILLISECOND);
    /* Where the ticks are too coarse for it, one. */
    assert(fn_clocks_rtt(&clocks, fn_ticks(NOW), 0, NOW) == tick);
    assert(fn_clocks_rtt(&clocks, fn_ticks(NOW), WALL + 1, NOW + FN_MILLISECOND) == tick);
    /* Ticks go round. */
    sent = fn_ticks(0) - 1;
    assert(fn_clocks_rtt(&clocks, sent, 0, tick) == 2 * tick);
}

/* A clock that is stepped while a request is out spoils its stamp, however little; one that is slewed does not. */
static void test_a_stepped_clock(void)
{
    const uint32_t sent = fn_ticks(NOW);
    const int64_t read = NOW + 10 * FN_MILLISECOND, tick = 1 << FN_TICK_BITS;
    const int64_t steps[] = {-3600 * FN_SECOND, -FN_MILLISECOND, FN_MILLISECOND, 3600 * FN_SECOND};

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct fn_clocks clocks;
        fn_clocks_start(&clocks, NOW, WALL);
        fn_clocks_read(&clocks, read, WALL + (read - NOW) + steps[i]);
        const int64_t rtt = fn_clocks_rtt(&clocks, sent, WALL + 2 * FN_MILLISECOND + steps[i], read);
        assert(rtt > read - NOW - tick && rtt < read - NOW + tick);
        /* What was sent afterwards is reckoned with the new time. */
        const int64_t later = fn_clocks_rtt(&clocks, fn_ticks(read + FN_MILLISECOND),
                                            WALL + 13 * FN_MILLISECOND + steps[i], read + 9 * FN_MILLISECOND);
        assert(later > 2 * FN_MILLISECOND - tick && later < 2 * FN_MILLISECOND + tick);
    }
    struct fn_clocks slewed;
    fn_clocks_start(&slewed, NOW, WALL);
    fn_clocks_read(&slewed, read, WALL + (read - NOW) + 9 * FN_MICROSECOND);
    assert(slewed.steady_since == NOW);
}

static void test_patience(void)
{
    struct fn_expect expect = {0};

    assert(fn_expect_within(&expect, 100, 1000) == 1000);
    fn_expect_learn(&expect, 200);
    assert(expect.rtt == 200 && expect.deviation == 100);
    assert(fn_expect_within(&expect, 100, 1000) == 600);
    assert(fn_expect_within(&expect, 100, 500) == 500);
    assert(fn_expect_within(&expect, 700, 1000) == 700);
    assert(fn_expect_within(&expect, 2000, 1000) == 1000);
    for (int i = 0; i < 100; i++)
        fn_expect_learn(&expect, 200);
    assert(fn_expect_within(&expect, 0, 1000) < 220);
    /* One that is late makes it patient again. */
    fn_expect_learn(&expect, 900);
    assert(fn_expect_within(&expect, 0, 10000) > 900);
}

/* Answers */

struct exchange {
    struct fn_sweep *sweep;
    struct fn_number address;
    uint8_t message[FN_IPV4_HEADER_MAX + FN_ICMP_HEADER + PAYLOAD];
    size_t header, len;
};

static void seal(struct exchange *exchange)
{
    uint8_t *const icmp = exchange->message + exchange->header;

    icmp[2] = icmp[3] = 0;
    const uint16_t sum = (uint16_t)~fn_checksum_scalar(icmp, exchange->len - exchange->header, 0);
    icmp[2] = (uint8_t)(sum >> 8);
    icmp[3] = (uint8_t)sum;
}

/* The request to target 7, as it stands in a reply behind `header` bytes (raw IPv4). */
static struct exchange exchange_of(int family, bool raw, size_t header)
{
    const struct fn_sweep_options options = options_of(family, raw);
    const struct fn_span span = {.first = {family == AF_INET ? 0 : 0xfd00, 0x0a000001}, .count = 100};
    struct exchange exchange = {.sweep = sweep_of(&options, &span, 1), .address = after(span.first, 7)};

    exchange.sweep->sent = 5;
    exchange.sweep->wire->request(exchange.sweep, 3, 7, 5, 99);
    exchange.header = header;
    exchange.len = header + FN_ICMP_HEADER + PAYLOAD;
    if (header)
        exchange.message[0] = (uint8_t)(0x40 | header / 4);
    memcpy(exchange.message + header, exchange.sweep->out.packets + 3 * exchange.sweep->packet_size,
           FN_ICMP_HEADER + PAYLOAD);
    return exchange;
}

static void turn_into_reply(struct exchange *exchange)
{
    exchange->message[exchange->header] = exchange->sweep->options.family == AF_INET ? 0 : 129;
    seal(exchange);
}

static bool is_answer(const struct exchange *exchange, size_t len, struct fn_number from)
{
    struct guard message = guard_copy(exchange->message, len);
    struct fn_answer answer;
    const bool found = fn_icmp_parse_reply(exchange->sweep, message.data, len, from, &answer);

    if (found)
        assert(answer.target == 7 && answer.whole && answer.ticks == 99 && answer.number == 5 && answer.reason == 0);
    guard_free(&message);
    return found;
}

static void test_request_checksum(void)
{
    struct exchange exchange = exchange_of(AF_INET, true, 0);

    assert(fn_checksum_scalar(exchange.message, exchange.len, 0) == 0xffff);
    fn_sweep_free(exchange.sweep);
}

static void test_replies(int family, bool raw, size_t header)
{
    struct exchange exchange = exchange_of(family, raw, header);
    const struct fn_number elsewhere = after(exchange.address, 1), nowhere = after(exchange.address, 1000);

    assert(!is_answer(&exchange, exchange.len, exchange.address)); /* our own request */
    turn_into_reply(&exchange);
    assert(is_answer(&exchange, exchange.len, exchange.address));
    assert(!is_answer(&exchange, exchange.len, elsewhere) && !is_answer(&exchange, exchange.len, nowhere));
    for (size_t len = 0; len < exchange.len; len++) {
        const bool whole = len >= header + FN_ICMP_HEADER + FN_SWEEP_PAYLOAD;
        /* Only with raw IPv4 is the checksum left to us. */
        assert(is_answer(&exchange, len, exchange.address) == (whole && !header));
    }
    /* Any bit up to the cookie's last is ours to check (but the checksum's, where the kernel has). */
    for (size_t at = header; at < header + FN_ICMP_HEADER + FN_SWEEP_PAYLOAD; at++)
        for (int bit = 0; bit < 8; bit++) {
            struct exchange changed = exchange;
            changed.message[at] ^= (uint8_t)(1 << bit);
            const bool checksum = at - header == 2 || at - header == 3;
            assert(is_answer(&changed, changed.len, changed.address) == (checksum && !header));
            seal(&changed);
            assert(is_answer(&changed, changed.len, changed.address) == checksum);
        }
    fn_sweep_free(exchange.sweep);
}

static void test_an_ip_header_that_is_none(void)
{
    struct exchange exchange = exchange_of(AF_INET, true, FN_IPV4_HEADER);

    turn_into_reply(&exchange);
    for (uint8_t words = 0; words < 16; words++) {
        exchange.message[0] = 0x40 | words;
        assert(is_answer(&exchange, exchange.len, exchange.address) == (words == 5));
    }
    fn_sweep_free(exchange.sweep);
}

/* Who replies for all routers of a subnet does so from an address of its own, and must return the request's cookie. */
static void test_anycast(void)
{
    const struct fn_number routers = {0xfd00, 0}, own = {0xfd77, 2}, narrow = {0xfd00, 2};
    const struct fn_span span = {.first = routers, .count = 3};
    struct fn_sweep_options options = options_of(AF_INET6, true);
    struct fn_answer answer;

    for (int known = 0; known < 2; known++)
        for (uint64_t target = 0; target < 3; target++) {
            options.anycast = (struct fn_anycast){&narrow, (size_t)known};
            struct fn_sweep *const sweep = sweep_of(&options, &span, 1);
            uint8_t *const icmp = sweep->out.packets;
            sweep->wire->request(sweep, 0, target, 5, 99);
            icmp[0] = 129;
            const bool is_anycast = target == 0 || (known && target == 2);
            assert(fn_icmp_parse_reply(sweep, icmp, sweep->packet_size, own, &answer) == is_anycast);
            if (is_anycast)
                assert(answer.target == target && answer.whole && answer.ticks == 99 && answer.number == 5 &&
                       answer.anycast && answer.from.high == own.high && answer.from.low == own.low);
            for (size_t len = 0; len < sweep->packet_size; len++) {
                struct guard cut = guard_copy(icmp, len);
                assert(!fn_icmp_parse_reply(sweep, cut.data, len, own, &answer));
                guard_free(&cut);
            }
            for (size_t at = FN_ICMP_HEADER; at < sweep->packet_size; at++)
                for (int bit = 0; bit < 8; bit++) {
                    icmp[at] ^= (uint8_t)(1 << bit);
                    assert(!fn_icmp_parse_reply(sweep, icmp, sweep->packet_size, own, &answer));
                    icmp[at] ^= (uint8_t)(1 << bit);
                }
            assert(fn_icmp_parse_reply(sweep, icmp, sweep->packet_size, after(routers, target), &answer));
            assert(answer.target == target && !answer.anycast);
            fn_sweep_free(sweep);
        }
    assert(fn_may_be_anycast(AF_INET6, &(struct fn_anycast){0}, routers));
    assert(!fn_may_be_anycast(AF_INET, &(struct fn_anycast){&routers, 1}, routers));
}

/* Without room for its target a request's whole payload is filler, and nobody else answers it. */
static void test_no_room_for_anycast(void)
{
    const struct fn_span span = {.first = {0xfd00, 0}, .count = 1};
    struct fn_sweep_options options = options_of(AF_INET6, true);
    struct fn_answer answer;

    options.payload = FN_ANYCAST_PAYLOAD - 1;
    struct fn_sweep *const sweep = sweep_of(&options, &span, 1);
    sweep->wire->request(sweep, 0, 0, 5, 99);
    sweep->out.packets[0] = 129;
    assert(!fn_icmp_parse_reply(sweep, sweep->out.packets, sweep->packet_size, after(span.first, 1), &answer));
    assert(fn_icmp_parse_reply(sweep, sweep->out.packets, sweep->packet_size, span.first, &answer));
    fn_sweep_free(sweep);
}

/* A quoted request may end anywhere behind its ICMP header; what there is must be right. */
static void test_quoted(int family)
{
    struct exchange exchange = exchange_of(family, true, 0);
    struct fn_answer answer;

    for (size_t len = 0; len <= exchange.len; len++) {
        struct guard quoted = guard_copy(exchange.message, len);
        assert(fn_icmp_parse_quoted(exchange.sweep, quoted.data, len, exchange.address, &answer) ==
               (len >= FN_ICMP_HEADER));
        if (len >= FN_ICMP_HEADER)
            assert(answer.target == 7 && answer.whole == (len >= FN_ICMP_HEADER + FN_SWEEP_PAYLOAD));
        assert(!fn_icmp_parse_quoted(exchange.sweep, quoted.data, len, after(exchange.address, 1000), &answer));
        guard_free(&quoted);
    }
    exchange.message[FN_ICMP_HEADER + FN_SWEEP_PAYLOAD - 1] ^= 1;
    assert(!fn_icmp_parse_quoted(exchange.sweep, exchange.message, exchange.len, exchange.address, &answer));
    fn_sweep_free(exchange.sweep);
}

int main(void)
{
    test_siphash();
    for (uint64_t step = 1; step <= 7; step++) {
        test_targets(AF_INET, IPV4_SPANS, sizeof IPV4_SPANS / sizeof *IPV4_SPANS, step);
        test_targets(AF_INET6, IPV6_SPANS, sizeof IPV6_SPANS / sizeof *IPV6_SPANS, step);
    }
    test_options_refused();
    test_no_targets();
    test_decided();
    test_reasons();
    test_reasons_are_distinct();
    test_rtt();
    test_a_stepped_clock();
    test_patience();
    test_request_checksum();
    test_replies(AF_INET, true, FN_IPV4_HEADER);
    test_replies(AF_INET, true, FN_IPV4_HEADER_MAX);
    test_replies(AF_INET, false, 0);
    test_replies(AF_INET6, true, 0);
    test_replies(AF_INET6, false, 0);
    test_an_ip_header_that_is_none();
    test_quoted(AF_INET);
    test_quoted(AF_INET6);
    test_anycast();
    test_no_room_for_anycast();
    return 0;
}
