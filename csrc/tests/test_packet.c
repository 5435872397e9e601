#include "guard.h"

#include "packet.h"

#include <assert.h>
#include <stdio.h>

#define RANDOM_PACKETS 20000
#define LONGEST 256

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static const uint8_t echo[] = {
    0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00,                             /* Ethernet */
    0x45, 0, 0, 0x21, 0, 0, 0, 0, 64, 1, 0x70, 0xdc, 0, 0, 0, 0, 10, 0, 0, 1,         /* IPv4 */
    8, 0, 0xb4, 0x25, 0, 7, 0, 1, 'h', 'e', 'l', 'l', 'o',                            /* ICMP */
};

static const uint8_t udp6[] = {
    0x60, 0, 0, 0, 0, 0x1a, 0, 64,                                                    /* IPv6 */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    60, 0, 5, 2, 0, 0, 1, 0,                                                          /* hop-by-hop */
    17, 0, 1, 4, 0, 0, 0, 0,                                                          /* destination */
    0, 53, 0, 53, 0, 10, 0xff, 0x6d, 'o', 'k',                                        /* UDP */
};

static const uint8_t quoting[] = {
    0x45, 0, 0, 0x38, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,              /* IPv4 */
    3, 3, 0, 0, 0, 0, 0, 0,                                                           /* ICMP unreachable */
    0x45, 0, 0, 0x54, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,             /* IPv4, cut short */
    0, 7, 0, 8, 0, 64, 0, 0,                                                          /* UDP */
};

static const uint8_t labelled[] = {
    0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0x47,                             /* Ethernet */
    0, 1, 0, 64, 0, 1, 0x11, 64,                                                      /* two MPLS labels */
    0x45, 0, 0, 0x34, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,             /* IPv4 */
    0x20, 0, 0x08, 0x00, 0, 0, 0, 7,                                                  /* GRE with a key */
    0x45, 0, 0, 0x18, 0, 0, 0, 0, 64, 132, 0, 0, 10, 0, 0, 3, 10, 0, 0, 4,            /* IPv4 */
    0, 7, 0, 8,                                                                       /* SCTP, cut short */
};

static const uint8_t extended[16 + 20 + 8 + 128 + 12] = {
    0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x08, 0x00,                             /* Linux cooked */
    0x45, 0, 0, 0xa8, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,              /* IPv4 */
    11, 0, 0, 0, 0, 32, 0, 0,                                                         /* ICMP time exceeded */
    0x45, 0, 0, 0x54, 0, 0, 0, 0, 1, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,              /* IPv4 */
    0, 7, 0, 8, 0, 64, 0, 0,                                                          /* UDP */
    [16 + 20 + 8 + 128] = 0x20, 0, 0x78, 0x56, 0, 8, 1, 1, 0x65, 0x9f, 1, 1,          /* extensions */
};

/* What scan promises of any data, whatever it holds. */
static void check_tiling(const struct fn_packet *packet, uint32_t len)
{
    assert(packet->count <= FN_PACKET_LAYERS);
    assert(packet->offsets[packet->count] == len);
    assert(packet->count > 0 || len == 0);
    for (int i = 0; i < packet->count; i++) {
        assert(packet->offsets[i] < packet->offsets[i + 1]);
        assert(packet->kinds[i] < FN_KINDS);
    }
    assert(packet->count == 0 || packet->offsets[0] == 0);
}

static void check_parts(const uint8_t *data, const struct fn_packet *packet, struct fn_part parts[],
                        const struct fn_part *stack[], uint8_t automatic)
{
    for (int i = 0; i < packet->count; i++) {
        uint32_t start = packet->offsets[i];
        parts[i] = (struct fn_part){
            .header = data + start, .length = packet->offsets[i + 1] - start, .kind = packet->kinds[i]};
        parts[i].automatic = fn_part_automatic(&parts[i], automatic);
        fn_part_sum(&parts[i], fn_checksum_scalar);
        stack[i] = &parts[i];
    }
}

/* Scan, ask, verify and build again what lies at the edge of what may be read. */
static void check_data(const uint8_t *bytes, uint32_t len, enum fn_link link)
{
    struct guard guard = guard_copy(bytes, len), out = guard_after(len);
    struct fn_packet packet;
    struct fn_part parts[FN_PACKET_LAYERS];
    const struct fn_part *stack[FN_PACKET_LAYERS];
    uint32_t expected;
    size_t bad;

    assert(fn_packet_scan(guard.data, len, link, &packet) == packet.error);
    check_tiling(&packet, len);
    assert(fn_packet_network(&packet) < packet.count);
    assert(fn_packet_transport(&packet) < packet.count);
    assert(fn_packet_protocol(guard.data, &packet) < 256);
    assert(fn_packet_verify(guard.data, &packet, fn_checksum_scalar, &expected) < packet.count);
    struct fn_wrong_option option = {.offset = len};
    int malformed = fn_packet_malformed(guard.data, &packet, &option);
    assert(malformed < packet.count && (malformed < 0 || option.offset < packet.offsets[malformed + 1]));
    check_parts(guard.data, &packet, parts, stack, 0);
    assert(fn_packet_size(stack, packet.count) == len);
    assert(fn_packet_build(stack, packet.count, out.data, &bad) == 0);
    assert(len == 0 || memcmp(out.data, bytes, len) == 0);
    check_parts(guard.data, &packet, parts, stack, 7);
    (void)fn_packet_build(stack, packet.count, out.data, &bad);
    guard_free(&out);
    guard_free(&guard);
}

static void test_kinds(void)
{
    static const uint8_t expected[] = {FN_ETHERNET, FN_IPV4, FN_ICMP, FN_PAYLOAD};
    struct fn_packet packet;
    uint32_t right;

    assert(fn_packet_scan(echo, sizeof echo, FN_LINK_ETHERNET, &packet) == FN_PACKET_OK);
    assert(packet.count == 4 && memcmp(packet.kinds, expected, sizeof expected) == 0);
    assert(packet.offsets[1] == 14 && packet.offsets[2] == 34 && packet.offsets[3] == 42);
    assert(fn_packet_network(&packet) == 1 && fn_packet_transport(&packet) == 2);
    assert(fn_packet_protocol(echo, &packet) == 1);
    assert(fn_packet_verify(echo, &packet, fn_checksum_scalar, &right) == -1);
}

static void test_extension_headers(void)
{
    static const uint8_t expected[] = {FN_IPV6, FN_HOP_BY_HOP, FN_DESTINATION, FN_UDP, FN_PAYLOAD};
    struct fn_packet packet;
    uint32_t right = 0;

    assert(fn_packet_scan(udp6, sizeof udp6, FN_LINK_IP, &packet) == FN_PACKET_OK);
    assert(packet.count == 5 && memcmp(packet.kinds, expected, sizeof expected) == 0);
    assert(fn_packet_transport(&packet) == 3 && fn_packet_protocol(udp6, &packet) == 17);
    /* 1 + 2 (addresses) + 17 + 10 + 53 + 53 + 10 + "ok" */
    uint16_t by_hand = (uint16_t) ~(1 + 2 + 17 + 10 + 53 + 53 + 10 + ('o' << 8 | 'k'));
    int wrong = fn_packet_verify(udp6, &packet, fn_checksum_scalar, &right);
    assert(wrong == (by_hand == 0xff6d ? -1 : 3));
    assert(wrong < 0 || right == by_hand);
}

static void test_quoted_packets(void)
{
    static const uint8_t expected[] = {FN_IPV4, FN_ICMP, FN_IPV4, FN_UDP};
    struct fn_packet packet;

    assert(fn_packet_scan(quoting, sizeof quoting, FN_LINK_IPV4, &packet) == FN_PACKET_OK);
    assert(packet.count == 4 && memcmp(packet.kinds, expected, sizeof expected) == 0);
    assert(fn_packet_transport(&packet) == 1);
}

static void test_tunnels(void)
{
    static const uint8_t expected[] = {FN_ETHERNET, FN_MPLS, FN_MPLS, FN_IPV4, FN_GRE, FN_IPV4, FN_SCTP};
    struct fn_packet packet;

    assert(fn_packet_scan(labelled, sizeof labelled, FN_LINK_ETHERNET, &packet) == FN_PACKET_TRUNCATED);
    assert(packet.count == 7 && memcmp(packet.kinds, expected, sizeof expected) == 0);
    assert(packet.error_kind == FN_SCTP && packet.error_offset == 70 && packet.error_limit == 6);
    assert(fn_packet_network(&packet) == 3 && fn_packet_transport(&packet) == -1);
}

static void test_extensions(void)
{
    static const uint8_t expected[] = {FN_SLL,     FN_IPV4,    FN_ICMP,           FN_IPV4, FN_UDP,
                                       FN_PAYLOAD, FN_PAYLOAD, FN_ICMP_EXTENSIONS};
    struct fn_packet packet;
    uint8_t wrong[sizeof extended];
    struct fn_wrong_option option;
    uint32_t right;

    assert(fn_packet_scan(extended, sizeof extended, FN_LINK_SLL, &packet) == FN_PACKET_OK);
    assert(packet.count == 8 && memcmp(packet.kinds, expected, sizeof expected) == 0);
    assert(packet.offsets[7] == sizeof extended - 12);
    assert(fn_packet_malformed(extended, &packet, &option) == -1);
    memcpy(wrong, extended, sizeof extended);
    wrong[packet.offsets[7] + 5] = 3;
    assert(fn_packet_malformed(wrong, &packet, &option) == 7 && option.offset == sizeof extended - 8);
    assert(option.form == NULL && option.size == 0);
    assert(fn_packet_verify(wrong, &packet, fn_checksum_scalar, &right) == 1); /* IPv4's is 0 */
}

static void test_crc(void)
{
    static const uint8_t sctp[] = {0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0, 0, 'c', 'h', 'u', 'n', 'k'};
    struct fn_part parts[] = {{.header = sctp, .length = 12, .kind = FN_SCTP, .automatic = FN_AUTO_CHECKSUM},
                              {.header = sctp + 12, .length = 5, .kind = FN_PAYLOAD}};
    const struct fn_part *stack[] = {&parts[0], &parts[1]};
    struct fn_packet packet = {.offsets = {0, 12, 17}, .kinds = {FN_SCTP, FN_PAYLOAD}, .count = 2};
    uint8_t out[sizeof sctp];
    uint32_t right = 0;
    size_t bad;

    for (int i = 0; i < 2; i++)
        fn_part_sum(&parts[i], fn_checksum_scalar);
    assert(fn_packet_build(stack, 2, out, &bad) == 0);
    assert(fn_packet_verify(out, &packet, fn_checksum_scalar, &right) == -1);
    assert(fn_packet_verify(sctp, &packet, fn_checksum_scalar, &right) == 0);
    assert(right == ((uint32_t)out[8] << 24 | (uint32_t)out[9] << 16 | (uint32_t)out[10] << 8 | out[11]) && right);
    assert(fn_template_refuses(stack, 0, 1, 0) && !fn_template_refuses(stack, 1, 1, 0));
}

static void test_build(void)
{
    struct fn_packet packet;
    struct fn_part parts[FN_PACKET_LAYERS];
    const struct fn_part *stack[FN_PACKET_LAYERS];
    uint8_t blank[sizeof echo], out[sizeof echo];
    size_t bad;

    memcpy(blank, echo, sizeof echo);
    assert(fn_packet_scan(echo, sizeof echo, FN_LINK_ETHERNET, &packet) == FN_PACKET_OK);
    blank[12] = blank[16] = blank[17] = blank[23] = blank[24] = blank[36] = 0xa5; /* must not matter */
    check_parts(blank, &packet, parts, stack, 7);
    assert(fn_packet_build(stack, packet.count, out, &bad) == 0);
    assert(memcmp(out, echo, sizeof echo) == 0);
}

static void test_too_long(void)
{
    static uint8_t payload[65536];
    struct fn_part parts[] = {
        {.header = udp6 + 56, .length = 8, .kind = FN_UDP, .automatic = FN_AUTO_LENGTH},
        {.header = payload, .length = sizeof payload, .kind = FN_PAYLOAD},
    };
    const struct fn_part *stack[] = {&parts[0], &parts[1]};
    static uint8_t out[sizeof payload + 8];
    size_t bad = 9;

    assert(fn_packet_build(stack, 2, out, &bad) == FN_PACKET_TOO_LONG && bad == 0);
}

static void test_every_truncation(void)
{
    static const struct {
        const uint8_t *data;
        uint32_t len;
        enum fn_link link;
    } packets[] = {
        {labelled, sizeof labelled, FN_LINK_ETHERNET}, {extended, sizeof extended, FN_LINK_SLL},
        {echo, sizeof echo, FN_LINK_ETHERNET}, {udp6, sizeof udp6, FN_LINK_IPV6}, {quoting, sizeof quoting, FN_LINK_IP}};

    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++)
        for (uint32_t len = 0; len <= packets[i].len; len++)
            check_data(packets[i].data, len, packets[i].link);
}

/* Random bytes rarely get past the first header, so a header that leads on goes before them. */
static void test_random_data(void)
{
    static const uint8_t protocols[] = {0, 1, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135, 137};

    for (int round = 0; round < RANDOM_PACKETS; round++) {
        uint8_t data[LONGEST];
        uint32_t len = (uint32_t)(random64() % LONGEST);

        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)(random64() % 4 ? random64() % 8 : random64());
        memcpy(data, round % 2 ? echo : udp6, round % 2 ? 34 : 40);
        if (round % 2) {
            data[14] = (uint8_t)(0x40 | random64() % 16);
            data[23] = protocols[random64() % sizeof protocols];
            if (round % 8 == 7)
                memcpy(data + 12, random64() % 2 ? "\x88\x47" : "\x88\x64", 2);
            data[17] = (uint8_t)(random64() % 4 ? len > 14 ? len - 14 : 0 : random64());
        } else {
            data[6] = protocols[random64() % sizeof protocols];
            data[5] = (uint8_t)(random64() % 4 ? len > 40 ? len - 40 : 0 : random64());
        }
        check_data(data, len, round % 2 ? FN_LINK_ETHERNET : FN_LINK_IP);
        check_data(data, len, (enum fn_link)(random64() % FN_LINKS));
    }
}

static void test_text(void)
{
    static const struct {
        uint8_t address[16];
        const char *text;
    } cases[] = {
        {{0}, "::"},
        {{[15] = 1}, "::1"},
        {{0x20, 0x01, 0x0d, 0xb8, [15] = 5}, "2001:db8::5"},
        {{0, 1, [2] = 0, [4] = 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, "1:0:1::1:0"},
        {{[10] = 0xff, 0xff, 10, 0, 0, 1}, "::ffff:10.0.0.1"},
        {{[12] = 10, 0, 0, 1}, "::10.0.0.1"},
        {{0xff, 2, [15] = 0xfb}, "ff02::fb"},
    };
    char text[45];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length = fn_text_ipv6(cases[i].address, text);
        if (length != strlen(cases[i].text) || memcmp(text, cases[i].text, length)) {
            fprintf(stderr, "%.*s is not %s\n", (int)length, text, cases[i].text);
            abort();
        }
    }
    assert(fn_text_ipv4((const uint8_t[]){255, 10, 0, 99}, text) == 11 && !memcmp(text, "255.10.0.99", 11));
    assert(fn_text_mac((const uint8_t[]){0, 0x1b, 2, 3, 4, 0xff}, text) == 17 && !memcmp(text, "00:1b:02:03:04:ff", 17));
}

static void test_template(void)
{
    struct fn_packet packet;
    struct fn_part parts[FN_PACKET_LAYERS];
    const struct fn_part *stack[FN_PACKET_LAYERS];
    uint8_t base[sizeof echo];
    struct fn_template template = {
        .field_count = 2,
        .fields = {{.part = 2, .first = 6, .size = 2, .limit = 0xffff}, /* seq */
                   {.part = 1, .first = 16, .size = 4, .limit = 0xffffffff}}, /* dst */
    };
    uint64_t seqs[64], addresses[64];
    const uint64_t *columns[] = {seqs, addresses};
    struct guard out = guard_after(sizeof echo * 64);

    fn_packet_scan(echo, sizeof echo, FN_LINK_ETHERNET, &packet);
    check_parts(echo, &packet, parts, stack, 7);
    /* A template may be prepared again. */
    for (int i = 0; i < 2; i++) {
        memcpy(base, echo, sizeof echo);
        fn_template_prepare(&template, stack, packet.count, 0xff, base, sizeof base);
        assert(template.checksum_count == 2);
    }
    for (int i = 0; i < 64; i++) {
        seqs[i] = random64() & 0xffff;
        addresses[i] = random64() & 0xffffffff;
    }
    fn_template_build_many(&template, columns, 64, out.data);
    for (int i = 0; i < 64; i++) {
        const uint8_t *made = out.data + (size_t)i * sizeof echo;
        uint32_t expected;
        assert(fn_packet_scan(made, sizeof echo, FN_LINK_ETHERNET, &packet) == FN_PACKET_OK);
        assert(fn_packet_verify(made, &packet, fn_checksum_scalar, &expected) == -1);
        assert((made[40] << 8 | made[41]) == (int)seqs[i]);
        assert(made[33] == (addresses[i] & 0xff) && made[30] == addresses[i] >> 24);
        assert(memcmp(made + 42, "hello", 5) == 0);
    }
    guard_free(&out);
}

int main(void)
{
    test_kinds();
    test_extension_headers();
    test_quoted_packets();
    test_tunnels();
    test_extensions();
    test_crc();
    test_build();
    test_too_long();
    test_every_truncation();
    test_random_data();
    test_text();
    test_template();
    return 0;
}
