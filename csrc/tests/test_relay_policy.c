#include "guard.h"

#include "relay/bucket.h"
#include "relay/prefixes.h"
#include "relay/proxy.h"
#include "relay/siphash.h"
#include "relay/sources.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/un.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define SECOND INT64_C(1000000000)

union address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    struct sockaddr_un path;
    struct sockaddr_storage storage;
};

static union address address_of(const char *text, uint16_t port)
{
    union address address = {.storage = {0}};
    struct in_addr ipv4; /* musl writes what it parsed, also on failure */

    if (inet_pton(AF_INET, text, &ipv4) == 1) {
        address.ipv4.sin_family = AF_INET;
        address.ipv4.sin_port = htons(port);
        address.ipv4.sin_addr = ipv4;
    } else if (inet_pton(AF_INET6, text, &address.ipv6.sin6_addr) == 1) {
        address.ipv6.sin6_family = AF_INET6;
        address.ipv6.sin6_port = htons(port);
    } else {
        address.path.sun_family = AF_UNIX;
    }
    return address;
}

/* PROXY headers */

static ssize_t parse(const void *data, size_t len, struct fn_proxy *out)
{
    struct guard input = guard_copy(data, len), output = guard_after(sizeof *out);
    const ssize_t size = fn_proxy_parse(input.data, len, (struct fn_proxy *)output.data);

    memcpy(out, output.data, sizeof *out);
    guard_free(&input);
    guard_free(&output);
    return size;
}

/* Every truncation asks for more, and what follows changes nothing. */
static void check_header(const void *header, size_t size, int version, const char *source, uint16_t source_port,
                         const char *destination, uint16_t destination_port)
{
    const union address from = address_of(source, source_port), to = address_of(destination, destination_port);
    struct fn_proxy proxy;
    uint8_t longer[FN_PROXY_LONGEST + 3];

    for (size_t len = 0; len < size; len++)
        assert(parse(header, len, &proxy) == 0);
    memcpy(longer, header, size);
    memcpy(longer + size, "\r\nx", 3);
    for (size_t extra = 0; extra <= 3; extra++) {
        assert(parse(longer, size + extra, &proxy) == (ssize_t)size);
        assert(proxy.version == version && proxy.known == (from.any.sa_family != AF_UNIX));
        assert(!proxy.known || memcmp(&proxy.source, &from.storage, sizeof proxy.source) == 0);
        assert(!proxy.known || memcmp(&proxy.destination, &to.storage, sizeof proxy.destination) == 0);
    }
}

static void check_wrong(const void *data, size_t size)
{
    struct fn_proxy proxy;

    assert(parse(data, size, &proxy) == -EBADMSG);
}

static void test_parse_version_1(void)
{
    static const char *const unknown[] = {
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff::1 anything \r goes\r\n",
    };
    static const char ipv4[] = "PROXY TCP4 192.0.2.1 198.51.100.255 50000 80\r\n";
    static const char ipv6[] = "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 0 65535\r\n";

    check_header(ipv4, sizeof ipv4 - 1, 1, "192.0.2.1", 50000, "198.51.100.255", 80);
    check_header(ipv6, sizeof ipv6 - 1, 1, "2001:db8::1", 0, "::ffff:10.0.0.1", 65535);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        check_header(unknown[i], strlen(unknown[i]), 1, "", 0, "", 0);
}

static void test_parse_refuses_version_1(void)
{
    static const char *const wrong[] = {
        "GET / HTTP/1.1\r\n",
        "PROXX",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY \r\n",
        "PROXY \n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP44 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 100000\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
    };
    static const char nul[] = "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n", late_nul[] = "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\0\r\n";
    char longest[FN_PROXY_MAX + 1];

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_wrong(wrong[i], strlen(wrong[i]));
    check_wrong(nul, sizeof nul - 1);
    check_wrong(late_nul, sizeof late_nul - 1);

    memset(longest, ' ', sizeof longest);
    memcpy(longest, "PROXY UNKNOWN", 13);
    check_wrong(longest, FN_PROXY_MAX);
    memcpy(longest + FN_PROXY_MAX - 1, "\r\n", 2);
    check_wrong(longest, FN_PROXY_MAX + 1);
    memcpy(longest + FN_PROXY_MAX - 2, "\r\n", 2);
    check_header(longest, FN_PROXY_MAX, 1, "", 0, "", 0);
}

static size_t binary(uint8_t *out, uint8_t command, uint8_t family, const void *rest, size_t rest_size)
{
    memcpy(out, SIGNATURE, 12);
    out[12] = command;
    out[13] = family;
    out[14] = (uint8_t)(rest_size >> 8);
    out[15] = (uint8_t)rest_size;
    memcpy(out + 16, rest, rest_size);
    return 16 + rest_size;
}

static void test_parse_version_2(void)
{
    uint8_t header[FN_PROXY_LONGEST], rest[FN_PROXY_LONGEST] = {0};

    memcpy(rest, "\xc0\0\2\1\xc6\x33\x64\xff\xc3\x50\0\x50\3\0\4crc!", 19);
    for (uint8_t family = 0x11; family <= 0x12; family++) {
        check_header(header, binary(header, 0x21, family, rest, 12), 2, "192.0.2.1", 50000, "198.51.100.255", 80);
        check_header(header, binary(header, 0x21, family, rest, 19), 2, "192.0.2.1", 50000, "198.51.100.255", 80);
    }
    check_header(header, binary(header, 0x21, 0x11, rest, sizeof rest - 16), 2, "192.0.2.1", 50000, "198.51.100.255",
                 80);
    /* Extensions of any content are skipped, and so is a whole LOCAL header, and what we have no use for. */
    check_header(header, binary(header, 0x20, 0x11, rest, 12), 2, "", 0, "", 0);
    check_header(header, binary(header, 0x20, 0xff, rest, 3), 2, "", 0, "", 0);
    check_header(header, binary(header, 0x20, 0x00, rest, 0), 2, "", 0, "", 0);
    check_header(header, binary(header, 0x21, 0x00, rest, 7), 2, "", 0, "", 0);
    check_header(header, binary(header, 0x21, 0x31, rest, 216), 2, "", 0, "", 0);
    check_header(header, binary(header, 0x21, 0x32, rest, 220), 2, "", 0, "", 0);

    memcpy(rest, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    memcpy(rest + 16, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xa\0\0\1\0\0\xff\xff", 20);
    for (uint8_t family = 0x21; family <= 0x22; family++)
        check_header(header, binary(header, 0x21, family, rest, 36), 2, "2001:db8::1", 0, "::ffff:10.0.0.1", 65535);
}

static void test_parse_refuses_version_2(void)
{
    static const struct {
        uint8_t command, family;
        size_t size;
    } wrong[] = {
        {0x11, 0x11, 12}, {0x22, 0x11, 12}, {0x2f, 0x11, 12}, {0x31, 0x11, 12}, {0x01, 0x11, 12}, {0x21, 0x10, 12},
        {0x21, 0x13, 12}, {0x21, 0x01, 12}, {0x21, 0x41, 99}, {0x21, 0x11, 11}, {0x21, 0x11, 0},  {0x21, 0x21, 35},
        {0x21, 0x12, 11}, {0x21, 0x22, 12}, {0x21, 0x31, 215}, {0x21, 0x11, FN_PROXY_LONGEST - 15},
        {0x20, 0x00, FN_PROXY_LONGEST - 15}, {0x21, 0x11, 0xffff},
    };
    static uint8_t header[16 + 0xffff], rest[0xffff];

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const size_t size = binary(header, wrong[i].command, wrong[i].family, rest, wrong[i].size);
        check_wrong(header, size);
        check_wrong(header, 16);
    }
    for (size_t i = 0; i < 12; i++) {
        binary(header, 0x21, 0x11, rest, 12);
        header[i] ^= 0x20;
        check_wrong(header, 28);
        check_wrong(header, i + 1);
    }
}

static size_t build(int version, const char *source, uint16_t source_port, const char *destination,
                    uint16_t destination_port, uint8_t *out)
{
    const union address from = address_of(source, source_port), to = address_of(destination, destination_port);
    struct guard output = guard_after(FN_PROXY_MAX);
    const size_t size = fn_proxy_build(version, &from.any, &to.any, output.data);

    assert(size <= FN_PROXY_MAX);
    memcpy(out, output.data, size);
    guard_free(&output);
    return size;
}

static void check_round_trip(const char *source, const char *destination)
{
    uint8_t header[FN_PROXY_MAX];

    for (int version = 1; version <= 2; version++) {
        const size_t size = build(version, source, 1, destination, 65535, header);
        check_header(header, size, version, source, 1, destination, 65535);
    }
}

static void check_line(const char *source, const char *destination, const char *expected)
{
    uint8_t header[FN_PROXY_MAX];

    assert(build(1, source, 50000, destination, 80, header) == strlen(expected));
    assert(memcmp(header, expected, strlen(expected)) == 0);
}

static void test_build(void)
{
    uint8_t header[FN_PROXY_MAX];

    check_line("192.0.2.1", "255.255.255.255", "PROXY TCP4 192.0.2.1 255.255.255.255 50000 80\r\n");
    check_line("2001:db8::1", "::1", "PROXY TCP6 2001:db8::1 ::1 50000 80\r\n");
    check_line("::ffff:10.0.0.1", "::ffff:10.0.0.2", "PROXY TCP4 10.0.0.1 10.0.0.2 50000 80\r\n");
    check_line("10.0.0.1", "2001:db8::1", "PROXY TCP6 ::ffff:10.0.0.1 2001:db8::1 50000 80\r\n");
    check_line("unix", "10.0.0.1", "PROXY UNKNOWN\r\n");
    check_line("10.0.0.1", "unix", "PROXY UNKNOWN\r\n");
    check_round_trip("192.0.2.1", "0.0.0.0");
    check_round_trip("1111:2222:3333:4444:5555:6666:7777:8888", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");

    assert(build(2, "10.0.0.1", 50000, "::ffff:10.0.0.2", 80, header) == 28);
    assert(memcmp(header, SIGNATURE "\x21\x11\0\x0c\x0a\0\0\1\x0a\0\0\2\xc3\x50\0\x50", 28) == 0);
    assert(build(2, "unix", 0, "unix", 0, header) == 16);
    assert(memcmp(header, SIGNATURE "\x20\0\0\0", 16) == 0);
    assert(fn_proxy_build(2, NULL, NULL, header) == 16);
}

/* Prefixes */

static struct fn_prefix prefix_of(const char *network, unsigned length)
{
    struct fn_prefix prefix;
    uint8_t bytes[16];
    const int family = strchr(network, ':') ? AF_INET6 : AF_INET;

    assert(inet_pton(family, network, bytes) == 1);
    struct guard input = guard_copy(bytes, family == AF_INET ? 4 : 16);
    assert(fn_prefix_set(&prefix, family, input.data, length) == 0);
    guard_free(&input);
    return prefix;
}

static bool in(const char *address, const char *network, unsigned length)
{
    const struct fn_prefix prefix = prefix_of(network, length);
    const union address socket_address = address_of(address, 1);
    const size_t size = strchr(address, ':') ? sizeof socket_address.ipv6 : sizeof socket_address.ipv4;
    struct guard input = guard_copy(&socket_address, size);
    const bool result = fn_prefixes_match(&prefix, 1, (const struct sockaddr *)input.data);

    guard_free(&input);
    return result;
}

static void test_prefixes(void)
{
    assert(in("10.1.2.3", "10.0.0.0", 8) && !in("11.1.2.3", "10.0.0.0", 8));
    assert(in("10.1.2.3", "10.1.2.2", 31) && !in("10.1.2.4", "10.1.2.2", 31));
    assert(in("10.1.2.3", "10.1.2.3", 32) && !in("10.1.2.2", "10.1.2.3", 32));
    assert(in("255.0.0.1", "0.0.0.0", 0) && in("192.168.1.7", "192.168.1.200", 24));
    assert(in("2001:db8::1", "2001:db8::", 32) && !in("2001:db9::1", "2001:db8::", 32));
    assert(in("2001:db8::7fff", "2001:db8::", 113) && !in("2001:db8::8000", "2001:db8::", 113));
    assert(in("::1", "::1", 128) && !in("::2", "::1", 128) && in("ff02::1", "::", 0));
    assert(in("::ffff:10.1.2.3", "10.0.0.0", 8) && !in("::ffff:11.1.2.3", "10.0.0.0", 8));
    assert(in("10.1.2.3", "::ffff:10.0.0.0", 104) && in("10.1.2.3", "::ffff:0:0", 96));
    assert(!in("10.1.2.3", "::", 0) && !in("::ffff:10.1.2.3", "::", 0) && !in("::a01:203", "10.1.2.3", 32));
    assert(!in("::1", "0.0.0.0", 0) && !in("unix", "0.0.0.0", 0) && !in("unix", "::", 0));
}

static void test_many_prefixes(void)
{
    const struct fn_prefix prefixes[] = {prefix_of("10.0.0.0", 8), prefix_of("::1", 128), prefix_of("192.0.2.0", 24)};
    const union address last = address_of("192.0.2.9", 0), none = address_of("192.0.3.9", 0);

    assert(fn_prefixes_match(prefixes, 3, &last.any) && !fn_prefixes_match(prefixes, 2, &last.any));
    assert(!fn_prefixes_match(prefixes, 3, &none.any) && !fn_prefixes_match(NULL, 0, &last.any));
    assert(!fn_prefixes_match(prefixes, 3, NULL));
}

static void test_prefix_refuses(void)
{
    static const uint8_t network[16] = {0};
    struct fn_prefix prefix;

    assert(fn_prefix_set(&prefix, AF_INET, network, 33) == -EINVAL);
    assert(fn_prefix_set(&prefix, AF_INET6, network, 129) == -EINVAL);
    assert(fn_prefix_set(&prefix, AF_UNIX, network, 0) == -EINVAL);
}

/* Sources */

#define THREADS 4
#define ROUNDS 20000
#define MANY 5000

static union address numbered(unsigned number)
{
    union address address = address_of("10.0.0.0", 0);

    address.ipv4.sin_addr.s_addr = htonl(ntohl(address.ipv4.sin_addr.s_addr) + number);
    return address;
}

/* As CPython 3.11 hashes bytes, with the key that is that of PYTHONHASHSEED=7. */
static void test_siphash(void)
{
    static const uint8_t key_bytes[] = {0x3d, 0x0e, 0x6f, 0x80, 0xa1, 0x74, 0xc8, 0x12,
                                        0x4f, 0x78, 0xd2, 0xf9, 0xd2, 0x89, 0x0a, 0x47};
    struct fn_siphash_key key = {{0, 0}};
    uint8_t data[40];

    for (uint8_t i = 0; i < sizeof data; i++)
        data[i] = i;
    assert(fn_siphash(&key, data, 2) == UINT64_C(0x8972188433a5c5b7));
    assert(fn_siphash(&key, data, 5) == UINT64_C(0x95bc321ab41d8206));
    memcpy(&key, key_bytes, sizeof key);
    assert(fn_siphash(&key, data, 2) == UINT64_C(0x642bba6a6c24ebf5));
    assert(fn_siphash(&key, data, 5) == UINT64_C(0x4b1c7f0d8fc0bca9));
}

static void take_all(struct fn_sources *sources, unsigned prefix, const char *const addresses[], size_t count, int last)
{
    assert(fn_sources_init(sources) == 0);
    if (prefix)
        sources->ipv6_prefix = prefix;
    for (size_t i = 0; i < count; i++) {
        const union address address = address_of(addresses[i], 1);
        assert(fn_sources_take(sources, &address.any, 1) == (i + 1 < count ? 0 : last));
    }
    for (size_t i = 0; i + 1 < count || (i < count && last == 0); i++) {
        const union address address = address_of(addresses[i], 1);
        fn_sources_give(sources, &address.any);
    }
    assert(sources->used == 0);
    fn_sources_free(sources);
}

/* The last address of each list is one source with another of it, or not. */
static void test_sources_of_a_prefix(void)
{
    static const char *const one[] = {"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"};
    static const char *const two[] = {"2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::"};
    static const char *const ipv4[] = {"10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3"};
    static const char *const same[] = {"10.0.0.1", "::ffff:10.0.0.1"};
    static const char *const odd[] = {"2001:db8:0:2::1", "2001:db8:0:3::1"};
    struct fn_sources sources;

    take_all(&sources, 0, one, 2, -EUSERS);
    take_all(&sources, 0, two, 2, 0);
    take_all(&sources, 0, ipv4, 3, 0);
    take_all(&sources, 1, ipv4, 3, 0);
    take_all(&sources, 0, same, 2, -EUSERS);
    take_all(&sources, 128, one, 2, 0);
    take_all(&sources, 63, odd, 2, -EUSERS);
    take_all(&sources, 64, odd, 2, 0);
    take_all(&sources, 48, two, 2, -EUSERS);
}

static void test_sources(void)
{
    const union address one = address_of("10.0.0.1", 1), same = address_of("::ffff:10.0.0.1", 2),
                        other = address_of("::1", 1), path = address_of("unix", 0);
    struct fn_sources sources;

    assert(fn_sources_init(&sources) == 0);
    assert(fn_sources_take(&sources, &one.any, 2) == 0 && fn_sources_take(&sources, &same.any, 2) == 0);
    assert(fn_sources_take(&sources, &one.any, 2) == -EUSERS && fn_sources_take(&sources, &other.any, 2) == 0);
    fn_sources_give(&sources, &one.any);
    assert(fn_sources_take(&sources, &same.any, 2) == 0 && fn_sources_take(&sources, &one.any, 2) == -EUSERS);
    for (int i = 0; i < 9; i++)
        assert(fn_sources_take(&sources, &path.any, 1) == 0);
    fn_sources_give(&sources, &path.any);
    fn_sources_free(&sources);
}

/* Whatever order addresses come and go in, each is found again, and nothing is left in the end. */
static void test_many_sources(void)
{
    struct fn_sources sources;

    assert(fn_sources_init(&sources) == 0);
    for (unsigned i = 0; i < MANY; i++) {
        const union address address = numbered(i);
        assert(fn_sources_take(&sources, &address.any, 1) == 0);
    }
    assert(sources.used == MANY);
    for (unsigned i = 0; i < MANY; i++) {
        const union address address = numbered(i * 7 % MANY), next = numbered((i + 1) * 7 % MANY);
        fn_sources_give(&sources, &address.any);
        assert(i + 1 == MANY || fn_sources_take(&sources, &next.any, 1) == -EUSERS);
    }
    assert(sources.used == 0);
    fn_sources_free(&sources);
}

static void *take_and_give(void *shared)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        const union address address = numbered(i % 100);
        assert(fn_sources_take(shared, &address.any, THREADS) == 0);
        fn_sources_give(shared, &address.any);
    }
    return NULL;
}

static void in_threads(void *(*work)(void *), void *shared)
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        assert(pthread_create(&threads[i], NULL, work, shared) == 0);
    for (size_t i = 0; i < THREADS; i++)
        assert(pthread_join(threads[i], NULL) == 0);
}

static void test_sources_shared(void)
{
    struct fn_sources sources;

    assert(fn_sources_init(&sources) == 0);
    in_threads(take_and_give, &sources);
    assert(sources.used == 0);
    fn_sources_free(&sources);
}

/* Buckets */

/* As a relay does: as much as there is room for, then the wait that is returned. Returns the bytes a second. */
static double pace(uint64_t rate, size_t chunk, int64_t start)
{
    struct fn_bucket bucket;
    int64_t now = start;
    uint64_t passed = 0;

    fn_bucket_init(&bucket, rate);
    while (now < start + 100 * SECOND && passed < 100 * rate) {
        const size_t room = fn_bucket_room(&bucket, now), bytes = room < chunk ? room : chunk;
        const int64_t wait = fn_bucket_take(&bucket, now, bytes);

        assert(wait >= 0 && (bytes > 0 || wait > 0));
        if (wait)
            assert(fn_bucket_room(&bucket, now + wait) >= 1);
        passed += bytes;
        now += wait;
    }
    return (double)passed / ((double)(now - start) / 1e9);
}

static void test_bucket_keeps_the_rate(void)
{
    static const uint64_t rates[] = {1, 7, 1000, 123457, 10000000};
    static const size_t chunks[] = {1, 100, 262144};

    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        for (size_t j = 0; j < sizeof chunks / sizeof *chunks; j++) {
            if (rates[i] / chunks[j] > 200000)
                continue;
            const double rate = pace(rates[i], chunks[j], INT64_C(5000000) * SECOND);
            assert(rate > 0.97 * (double)rates[i] && rate < 1.03 * (double)rates[i] + 0.05);
        }
}

static void test_bucket_edges(void)
{
    struct fn_bucket bucket;

    fn_bucket_init(&bucket, 1000);
    assert(fn_bucket_room(&bucket, SECOND) == 50);
    /* More than there was room for is a debt. */
    const int64_t wait = fn_bucket_take(&bucket, SECOND, 1050);
    assert(wait >= SECOND && wait <= SECOND + FN_BUCKET_BURST_NS);
    assert(fn_bucket_room(&bucket, SECOND) == 0);
    /* Who has to wait again waits for another time. */
    const int64_t again = fn_bucket_take(&bucket, SECOND, 0);
    assert(again != wait && again >= SECOND && again <= SECOND + FN_BUCKET_BURST_NS);
    /* What was not used for a long time is not saved up. */
    assert(fn_bucket_room(&bucket, 1000000 * SECOND) == 50);

    fn_bucket_init(&bucket, 0);
    fn_bucket_init(&bucket, UINT64_MAX);
    assert(fn_bucket_room(&bucket, 0) > 1 << 30);
    assert(fn_bucket_take(&bucket, 0, UINT32_MAX) == 0);
    fn_bucket_init(&bucket, 1);
    assert(fn_bucket_room(&bucket, 0) == 1);
    assert(fn_bucket_take(&bucket, 0, UINT32_MAX) > INT64_C(4000000000) * SECOND);
}

static void *spend(void *shared)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        fn_bucket_take(shared, 0, 1000);
    return NULL;
}

static void test_bucket_shared(void)
{
    struct fn_bucket bucket;

    fn_bucket_init(&bucket, 1000000);
    in_threads(spend, &bucket);
    assert(atomic_load(&bucket.earned_at) == (int64_t)THREADS * ROUNDS * 1000000);
}

int main(void)
{
    test_parse_version_1();
    test_parse_refuses_version_1();
    test_parse_version_2();
    test_parse_refuses_version_2();
    test_build();
    test_prefixes();
    test_many_prefixes();
    test_prefix_refuses();
    test_siphash();
    test_sources_of_a_prefix();
    test_sources();
    test_many_sources();
    test_sources_shared();
    test_bucket_keeps_the_rate();
    test_bucket_edges();
    test_bucket_shared();
    return 0;
}
