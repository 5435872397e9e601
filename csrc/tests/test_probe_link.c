#include "guard.h"

#include "checksum.h"
#include "probe/sweep.h"

#include <assert.h>
#include <unistd.h>

/* Ethernet 14, IPv6 40, of the message 24 and its option 8. */
enum { ETHERNET = 14, ARP_FRAME = 42, NDP_FRAME = 86, AT_ICMP = 54, AT_OPTION = 78 };

static const uint8_t US[6] = {2, 0, 0, 0, 0, 1}, THEM[6] = {2, 0, 0, 0, 0, 2};

static struct fn_sweep *sweep_of(int family, int fd)
{
    const struct fn_span span = {.first = {family == AF_INET ? 0 : 0xfd00000000000000, 0x0a000001}, .count = 100};
    struct fn_sweep_options options = {.engine = FN_LINK, .fd = fd, .family = family, .window = 128, .shard_step = 1,
                                       .timeout = 1000 * FN_SECOND};
    struct fn_sweep *sweep;

    memcpy(options.link.mac, US, sizeof US);
    options.link.source = span.first;
    assert(fn_sweep_new(&sweep, &options, &span, 1, NULL) == 0);
    return sweep;
}

/* The request to target 7 and, made of it, the reply. */
struct exchange {
    struct fn_sweep *sweep;
    uint8_t request[NDP_FRAME], reply[NDP_FRAME];
    size_t len;
};

static void seal(uint8_t *frame, size_t size)
{
    uint8_t *const icmp = frame + AT_ICMP;

    icmp[2] = icmp[3] = 0;
    const uint16_t pseudo = fn_checksum_pseudo_ipv6(frame + 22, frame + 38, IPPROTO_ICMPV6, (uint32_t)size);
    const uint16_t sum = (uint16_t)~fn_checksum_scalar(icmp, size, pseudo);
    icmp[2] = (uint8_t)(sum >> 8);
    icmp[3] = (uint8_t)sum;
}

static void make_arp_reply(const uint8_t *request, uint8_t *reply)
{
    reply[21] = 2;
    memcpy(reply + 22, THEM, 6);
    memcpy(reply + 28, request + 38, 4);
    memcpy(reply + 32, US, 6);
    memcpy(reply + 38, request + 28, 4);
}

static void make_advertisement(const uint8_t *request, uint8_t *reply)
{
    memcpy(reply + 22, request + 62, 16);
    memcpy(reply + 38, request + 22, 16);
    reply[54] = 136;
    reply[58] = 0x60;
    reply[AT_OPTION] = 2;
    memcpy(reply + AT_OPTION + 2, THEM, 6);
    seal(reply, 32);
}

static struct exchange exchange_of(int family)
{
    struct exchange exchange = {.sweep = sweep_of(family, -1), .len = family == AF_INET ? ARP_FRAME : NDP_FRAME};

    exchange.sweep->wire->request(exchange.sweep, 3, 7, 5, 99);
    assert(exchange.sweep->packet_size == exchange.len);
    memcpy(exchange.request, exchange.sweep->out.packets + 3 * exchange.len, exchange.len);
    memcpy(exchange.reply, exchange.request, exchange.len);
    memcpy(exchange.reply, US, 6);
    memcpy(exchange.reply + 6, THEM, 6);
    (family == AF_INET ? make_arp_reply : make_advertisement)(exchange.request, exchange.reply);
    return exchange;
}

/* Whether the first bytes of this frame are target 7's answer; a read behind them would fault. */
static bool is_answer(const struct fn_sweep *sweep, const uint8_t *bytes, size_t len)
{
    struct guard frame = guard_copy(bytes, len);
    uint64_t target = 0;
    const uint8_t *const mac = fn_link_parse_reply(sweep, frame.data, len, &target);

    if (mac)
        assert(target == 7 && !(mac[0] & 1) && mac >= frame.data + ETHERNET && mac + 6 <= frame.data + len);
    guard_free(&frame);
    return mac != NULL;
}

static void test_the_arp_request(void)
{
    static const uint8_t expected[ARP_FRAME] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,    0, 0, 0, 0, 1,  0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0,
        1,    2,    0,    0,    0,    0,    1,    10, 0, 0, 1, 0, 0,    0,    0, 0, 0,    10, 0, 0, 8,
    };
    struct exchange exchange = exchange_of(AF_INET);

    assert(memcmp(exchange.request, expected, sizeof expected) == 0);
    fn_sweep_free(exchange.sweep);
}

static void test_the_neighbour_solicitation(void)
{
    static const uint8_t expected[] = {
        0x33, 0x33, 0xff, 0,    0, 8,    2, 0, 0, 0, 0, 1,    0x86, 0xdd,       /* to the asked address's group */
        0x60, 0,    0,    0,    0, 32, 58, 255,
        0xfd, 0,    0,    0,    0, 0,    0, 0, 0, 0, 0, 0,    0x0a, 0, 0, 1,
        0xff, 2,    0,    0,    0, 0,    0, 0, 0, 0, 0, 1,    0xff, 0, 0, 8,
        135,  0,
    };
    static const uint8_t asked[] = {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 8, 1, 1, 2, 0, 0, 0, 0, 1};
    struct exchange exchange = exchange_of(AF_INET6);

    assert(memcmp(exchange.request, expected, sizeof expected) == 0);
    assert(memcmp(exchange.request + 62, asked, sizeof asked) == 0);
    const uint16_t pseudo = fn_checksum_pseudo_ipv6(exchange.request + 22, exchange.request + 38, IPPROTO_ICMPV6, 32);
    assert(fn_checksum_scalar(exchange.request + AT_ICMP, 32, pseudo) == 0xffff);
    /* A request's checksum is made anew where the last one's stood. */
    exchange.sweep->wire->request(exchange.sweep, 3, 8, 6, 100);
    exchange.sweep->wire->request(exchange.sweep, 3, 7, 7, 101);
    assert(memcmp(exchange.sweep->out.packets + 3 * NDP_FRAME, exchange.request, NDP_FRAME) == 0);
    fn_sweep_free(exchange.sweep);
}

/* Every bit of a reply is known beforehand but for those of hardware addresses, which NDP's checksum covers. */
static bool is_free(int family, size_t at)
{
    return (at >= 6 && at < 12) || (family == AF_INET && at >= 22 && at < 28);
}

static void test_replies(int family)
{
    struct exchange exchange = exchange_of(family);

    assert(!is_answer(exchange.sweep, exchange.request, exchange.len)); /* our own request */
    assert(is_answer(exchange.sweep, exchange.reply, exchange.len));
    for (size_t len = 0; len < exchange.len; len++)
        assert(!is_answer(exchange.sweep, exchange.reply, len));
    for (size_t at = 0; at < exchange.len; at++)
        for (int bit = 0; bit < 8; bit++) {
            uint8_t changed[NDP_FRAME];
            memcpy(changed, exchange.reply, exchange.len);
            changed[at] ^= (uint8_t)(1 << bit);
            const bool group = bit == 0 && (at == 6 || at == 22);
            /* Another sender would be another target's answer. */
            if (family == AF_INET && at >= 28 && at < 32)
                continue;
            /* The traffic class and the flow label are anything (RFC 8200), and no part of the checksum. */
            const bool label = family == AF_INET6 && at >= 14 && at < 18 && !(at == 14 && bit >= 4);
            assert(is_answer(exchange.sweep, changed, exchange.len) == (label || (is_free(family, at) && !group)));
        }
    fn_sweep_free(exchange.sweep);
}

static void test_padding(int family)
{
    struct exchange exchange = exchange_of(family);
    uint8_t padded[NDP_FRAME + 18] = {0};

    memcpy(padded, exchange.reply, exchange.len);
    memset(padded + exchange.len, 0xaa, 18);
    assert(is_answer(exchange.sweep, padded, exchange.len + 18));
    fn_sweep_free(exchange.sweep);
}

/* A change at this place of an advertisement whose checksum is right again. */
static bool survives(const struct exchange *exchange, size_t at, uint8_t value)
{
    uint8_t changed[NDP_FRAME];

    memcpy(changed, exchange->reply, sizeof changed);
    changed[at] = value;
    seal(changed, 32);
    return is_answer(exchange->sweep, changed, sizeof changed);
}

static void test_advertisements_that_are_none(void)
{
    struct exchange exchange = exchange_of(AF_INET6);
    static const struct {
        size_t at;
        uint8_t value;
        bool answer;
    } cases[] = {
        {21, 255, true},  {21, 254, false},                  /* hop limit */
        {22, 0xff, false}, {22, 0xfe, true},                 /* from a group; from another address: a proxy's */
        {38, 0xff, false}, {53, 9, false},                   /* to a group, or to another */
        {54, 135, false}, {54, 137, false}, {55, 1, false},  /* type and code */
        {58, 0x40, true}, {58, 0xe0, true},  {58, 0xa0, false}, {58, 0, false}, /* not solicited */
        {62, 0, false},   {77, 200, false},                  /* nobody we asked */
        {78, 1, false},   {79, 0, false},    {79, 2, false}, /* the option */
        {80, 3, false},   {80, 4, true},                     /* a group's hardware address */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert(survives(&exchange, cases[i].at, cases[i].value) == cases[i].answer);
    memset(exchange.reply + 80, 0, 6);
    assert(!survives(&exchange, 58, 0x60));
    fn_sweep_free(exchange.sweep);
}

/* Options before and after the relevant one; its first instance counts; one that is cut off spoils all. */
static void test_options(void)
{
    struct exchange exchange = exchange_of(AF_INET6);
    uint8_t longer[NDP_FRAME + 24] = {0};
    const uint8_t nonce[8] = {14, 1, 1, 2, 3, 4, 5, 6}, second[8] = {2, 1, 2, 9, 9, 9, 9, 9};

    memcpy(longer, exchange.reply, NDP_FRAME);
    memcpy(longer + AT_OPTION, nonce, 8);
    memcpy(longer + AT_OPTION + 8, exchange.reply + AT_OPTION, 8);
    memcpy(longer + AT_OPTION + 16, second, 8);
    longer[19] = 48;
    seal(longer, 48);
    uint64_t target;
    const uint8_t *const mac = fn_link_parse_reply(exchange.sweep, longer, sizeof longer, &target);
    assert(mac == longer + AT_OPTION + 10 && target == 7);
    longer[19] = 47;
    seal(longer, 47);
    assert(!is_answer(exchange.sweep, longer, sizeof longer));
    longer[19] = 24; /* none at all */
    seal(longer, 24);
    assert(!is_answer(exchange.sweep, longer, sizeof longer));
    longer[19] = 8; /* less than a message */
    assert(!is_answer(exchange.sweep, longer, sizeof longer));
    fn_sweep_free(exchange.sweep);
}

static void test_no_hosts_hardware_address(void)
{
    struct exchange exchange = exchange_of(AF_INET);

    memset(exchange.reply + 22, 0, 6);
    assert(!is_answer(exchange.sweep, exchange.reply, ARP_FRAME));
    memset(exchange.reply + 22, 0xff, 6);
    assert(!is_answer(exchange.sweep, exchange.reply, ARP_FRAME));
    fn_sweep_free(exchange.sweep);
}

/* A sweep over a pair of sockets, which carry frames as well: all are asked, target 7 answers twice. */
static void test_a_sweep(int family)
{
    int ends[2];

    assert(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    struct exchange exchange = exchange_of(family);
    struct fn_sweep *const sweep = sweep_of(family, ends[0]);
    uint8_t frame[NDP_FRAME];
    unsigned asked = 0;

    while (asked < 100) {
        assert(fn_sweep_run(sweep, 0) == 0);
        while (recv(ends[1], frame, sizeof frame, 0) == (ssize_t)exchange.len)
            asked++;
    }
    assert(fn_sweep_mac(sweep, 7) == NULL);
    uint8_t second[NDP_FRAME];
    memcpy(second, exchange.reply, sizeof second);
    second[family == AF_INET ? 27 : 85] = 3;
    if (family == AF_INET6)
        seal(second, 32);
    assert(send(ends[1], exchange.reply, exchange.len, 0) == (ssize_t)exchange.len);
    assert(send(ends[1], second, exchange.len, 0) == (ssize_t)exchange.len);
    assert(fn_sweep_run(sweep, 0) == 0);
    assert(fn_sweep_states(sweep)[7] == FN_ALIVE && memcmp(fn_sweep_mac(sweep, 7), THEM, 6) == 0);
    assert(fn_sweep_slots(sweep)[7].rtt_ms >= 0 && fn_sweep_slots(sweep)[7].rtt_ms < 1e6);
    assert(fn_sweep_states(sweep)[8] == FN_SILENT && fn_sweep_mac(sweep, 8) == NULL);
    assert(sweep->newest == 8);
    fn_sweep_free(sweep);
    fn_sweep_free(exchange.sweep);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    static const int families[] = {AF_INET, AF_INET6};

    test_the_arp_request();
    test_the_neighbour_solicitation();
    for (size_t i = 0; i < 2; i++) {
        test_replies(families[i]);
        test_padding(families[i]);
        test_a_sweep(families[i]);
    }
    test_advertisements_that_are_none();
    test_options();
    test_no_hosts_hardware_address();
    return 0;
}
