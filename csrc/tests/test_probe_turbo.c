#include "guard.h"

#include "checksum.h"
#include "bytes.h"
#include "probe/ring.h"
#include "probe/sweep.h"

#include <assert.h>

#define PAYLOAD 24
#define IPV6_HEADER 40
#define MESSAGE (FN_ICMP_HEADER + PAYLOAD)

struct packet {
    struct fn_sweep *sweep;
    struct fn_number from;
    uint8_t data[IPV6_HEADER + MESSAGE];
    size_t header, len;
};

static void seal(struct packet *packet)
{
    uint8_t *const ip = packet->data, *const icmp = ip + packet->header;
    const bool ipv4 = packet->header == FN_IPV4_HEADER;
    const uint16_t pseudo = ipv4 ? 0 : fn_checksum_pseudo_ipv6(ip + 8, ip + 24, 58, MESSAGE);

    put16(icmp + 2, 0);
    put16(icmp + 2, (uint16_t)~fn_checksum_scalar(icmp, MESSAGE, pseudo));
    if (ipv4) {
        put16(ip + 10, 0);
        put16(ip + 10, (uint16_t)~fn_checksum_scalar(ip, FN_IPV4_HEADER, 0));
    }
}

/* The reply to the request to target 7, as it is found in the ring. */
static struct packet reply_of(int family)
{
    const bool ipv4 = family == AF_INET;
    const struct fn_span span = {.first = {ipv4 ? 0 : 0xfd00, 0x0a000001}, .count = 100};
    const struct fn_sweep_options options = {.fd = -1, .engine = FN_RAW, .family = family, .ident = 0x1234,
                                             .payload = PAYLOAD, .window = 1, .shard_step = 1};
    struct packet packet = {.from = {span.first.high, span.first.low + 7}};

    assert(fn_sweep_new(&packet.sweep, &options, &span, 1, NULL) == 0);
    packet.sweep->wire->request(packet.sweep, 0, 7, 5, 99);
    packet.header = ipv4 ? FN_IPV4_HEADER : IPV6_HEADER;
    packet.len = packet.header + MESSAGE;
    packet.data[0] = ipv4 ? 0x45 : 0x60;
    if (ipv4) {
        put32(packet.data + 12, (uint32_t)packet.from.low);
    } else {
        put64(packet.data + 8, packet.from.high);
        put64(packet.data + 16, packet.from.low);
    }
    memcpy(packet.data + packet.header, packet.sweep->out.packets, MESSAGE);
    packet.data[packet.header] = ipv4 ? 0 : 129;
    seal(&packet);
    return packet;
}

static bool is_answer(const struct packet *packet, size_t len)
{
    struct guard data = guard_copy(packet->data, len);
    struct fn_answer answer;
    const bool found = fn_turbo_parse_reply(packet->sweep, data.data, len, &answer);

    if (found)
        assert(answer.target == 7 && answer.whole && answer.ticks == 99 && answer.number == 5 && answer.reason == 0);
    guard_free(&data);
    return found;
}

/* Whether a byte of the IP header is none that a checksum covers: of IPv6 all but the addresses. */
static bool is_free(const struct packet *packet, size_t at)
{
    return packet->header == IPV6_HEADER && at < 8;
}

static void test_replies(int family)
{
    struct packet packet = reply_of(family);

    assert(is_answer(&packet, packet.len));
    for (size_t len = 0; len < packet.len; len++)
        assert(!is_answer(&packet, len));
    for (size_t at = 0; at < packet.len; at++)
        for (int bit = 0; bit < 8; bit++) {
            struct packet changed = packet;
            changed.data[at] ^= (uint8_t)(1 << bit);
            assert(is_answer(&changed, changed.len) == is_free(&packet, at));
        }
    /* Another source whose checksums are right has not our cookie. */
    packet.data[packet.header == FN_IPV4_HEADER ? 15 : 23] ^= 1;
    seal(&packet);
    assert(!is_answer(&packet, packet.len));
    fn_sweep_free(packet.sweep);
}

/* A ring as the kernel maps it: a page of the consumer's, one of the producer's, and the data twice. */
struct fake {
    struct fn_ring ring;
    int file;
    unsigned long produced;
};

static struct fake fake_ring(void)
{
    struct fake fake = {.file = memfd_create("ring", 0)};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *at;

    assert(fake.file >= 0 && ftruncate(fake.file, (off_t)(page + FN_RING_SIZE)) == 0);
    at = mmap(NULL, page + 2 * FN_RING_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(at != MAP_FAILED);
    assert(mmap(at, page + FN_RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fake.file, 0) == at);
    assert(mmap(at + page + FN_RING_SIZE, FN_RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fake.file,
                (off_t)page) == at + page + FN_RING_SIZE);
    fake.ring = (struct fn_ring){.fd = -1, .link = -1, .page = page, .producer = at};
    fake.ring.consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(fake.ring.consumer != MAP_FAILED);
    return fake;
}

static void free_fake(struct fake *fake)
{
    fn_ring_unmap(&fake->ring);
    close(fake->file);
}

#define BUSY (UINT32_C(1) << 31)
#define DISCARDED (UINT32_C(1) << 30)

/* A record of so many bytes, each `byte`; where its header is. */
static uint32_t *produce(struct fake *fake, uint32_t size, uint32_t flags, uint8_t byte)
{
    uint8_t *const at = fake->ring.producer + fake->ring.page + fake->produced % FN_RING_SIZE;

    memset(at + 8, byte, size);
    *(uint32_t *)at = size | flags;
    fake->produced += (8 + size + 7) & ~7UL;
    *(unsigned long *)fake->ring.producer = fake->produced;
    return (uint32_t *)at;
}

static unsigned long consumed(const struct fake *fake)
{
    return *(const unsigned long *)fake->ring.consumer;
}

static void expect(struct fake *fake, uint32_t size, uint8_t byte)
{
    size_t found = 0;
    const uint8_t *const record = fn_ring_next(&fake->ring, &found);

    assert(record && found == size);
    for (size_t i = 0; i < found; i++)
        assert(record[i] == byte);
}

static void expect_none(struct fake *fake)
{
    size_t size;

    assert(!fn_ring_next(&fake->ring, &size));
}

static void test_ring(void)
{
    struct fake fake = fake_ring();

    expect_none(&fake);
    produce(&fake, 20, 0, 1);
    produce(&fake, 9, DISCARDED, 2);
    produce(&fake, 8, 0, 3);
    uint32_t *const busy = produce(&fake, 100, BUSY, 4);
    produce(&fake, 1, 0, 5);
    expect(&fake, 20, 1);
    expect(&fake, 8, 3);
    expect_none(&fake); /* not those behind one that is being written either */
    expect_none(&fake);
    *busy = 100;
    expect(&fake, 100, 4);
    expect(&fake, 1, 5);
    expect_none(&fake);
    free_fake(&fake);
}

/* All but the last record are given back, until there is a wish to be woken. */
static void test_what_is_given_back(void)
{
    struct fake fake = fake_ring();

    produce(&fake, 8, 0, 1);
    produce(&fake, 8, 0, 2);
    expect(&fake, 8, 1);
    fn_ring_release(&fake.ring);
    assert(consumed(&fake) == 0);
    expect(&fake, 8, 2);
    assert(consumed(&fake) == 0);
    fn_ring_release(&fake.ring);
    assert(consumed(&fake) == 16);
    fn_ring_arm(&fake.ring);
    assert(consumed(&fake) == 32);
    fn_ring_release(&fake.ring);
    assert(consumed(&fake) == 32);
    free_fake(&fake);
}

static void test_the_ring_goes_round(void)
{
    struct fake fake = fake_ring();

    for (unsigned i = 0; i < 3 * FN_RING_SIZE / 100; i++) {
        produce(&fake, 93, 0, (uint8_t)i);
        expect(&fake, 93, (uint8_t)i);
    }
    fn_ring_arm(&fake.ring);
    assert(consumed(&fake) == fake.produced && fake.produced > 2 * FN_RING_SIZE);
    free_fake(&fake);
}

int main(void)
{
    test_replies(AF_INET);
    test_replies(AF_INET6);
    test_ring();
    test_what_is_given_back();
    test_the_ring_goes_round();
    return 0;
}
