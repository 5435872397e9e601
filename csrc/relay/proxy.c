#include "relay/proxy.h"

#include "bytes.h"
#include "relay/prefixes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define TEXT_START "PROXY "
#define TEXT_START_SIZE (sizeof TEXT_START - 1)

#define BINARY_HEADER_SIZE 16
#define BINARY_LOCAL 0x20
#define BINARY_PROXY 0x21
#define IPV4_PAIR_SIZE 12
#define IPV6_PAIR_SIZE 36
#define UNIX_PAIR_SIZE 216

static const uint8_t binary_start[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* Packed: both are read from a header at any alignment. */
static void set_address(struct sockaddr_storage *out, int family, const uint8_t *address, uint16_t port)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (family == AF_INET) {
        memcpy(&ipv4.sin_addr, address, 4);
        memcpy(out, &ipv4, sizeof ipv4);
    } else {
        memcpy(&ipv6.sin6_addr, address, 16);
        memcpy(out, &ipv6, sizeof ipv6);
    }
}

/* Version 1 */

/* Cuts off the next word, up to a space or the end. NULL if there is none left. */
static char *next_word(char **rest)
{
    char *word = *rest, *space = word ? strchr(word, ' ') : NULL;

    if (space)
        *space++ = '\0';
    *rest = space;
    return word;
}

/* A decimal port without leading zeros, as the protocol requires; -1 if it is not one. */
static int parse_port(const char *word)
{
    const size_t digits = strspn(word, "0123456789");
    int port = 0;

    if (digits == 0 || digits > 5 || word[digits] || (word[0] == '0' && digits > 1))
        return -1;
    for (size_t i = 0; i < digits; i++)
        port = port * 10 + word[i] - '0';
    return port <= 65535 ? port : -1;
}

/* "TCP4 192.0.2.1 192.0.2.2 50000 80": the line without its start and its end. */
static int parse_line(char *line, struct fn_proxy *out)
{
    const char *protocol = next_word(&line), *source = next_word(&line), *destination = next_word(&line);
    const char *source_port = next_word(&line), *destination_port = next_word(&line);
    uint8_t from[16], to[16];

    if (strcmp(protocol, "UNKNOWN") == 0)
        return 0;
    if (!destination_port || line || (strcmp(protocol, "TCP4") != 0 && strcmp(protocol, "TCP6") != 0))
        return -EBADMSG;
    const int family = protocol[3] == '4' ? AF_INET : AF_INET6;
    const int from_port = parse_port(source_port), to_port = parse_port(destination_port);
    if (inet_pton(family, source, from) != 1 || inet_pton(family, destination, to) != 1 || from_port < 0 ||
        to_port < 0)
        return -EBADMSG;
    out->known = true;
    set_address(&out->source, family, from, (uint16_t)from_port);
    set_address(&out->destination, family, to, (uint16_t)to_port);
    return 0;
}

static ssize_t parse_text(const uint8_t *data, size_t len, struct fn_proxy *out)
{
    const uint8_t *newline = memchr(data, '\n', len < FN_PROXY_MAX ? len : FN_PROXY_MAX);
    char line[FN_PROXY_MAX];

    if (!newline)
        return len < FN_PROXY_MAX ? 0 : -EBADMSG;
    const size_t size = (size_t)(newline - data) + 1;
    if (size < TEXT_START_SIZE + 2 || newline[-1] != '\r')
        return -EBADMSG;
    const size_t line_size = size - TEXT_START_SIZE - 2;
    memcpy(line, data + TEXT_START_SIZE, line_size);
    line[line_size] = '\0';
    if (strlen(line) != line_size || parse_line(line, out) != 0)
        return -EBADMSG;
    return (ssize_t)size;
}

/* Version 2 */

/* Bytes of both addresses of this family and transport; -1 if there is no such family or transport. */
static int pair_size(uint8_t family)
{
    switch (family) {
    case 0x00:
        return 0;
    case 0x11:
    case 0x12:
        return IPV4_PAIR_SIZE;
    case 0x21:
    case 0x22:
        return IPV6_PAIR_SIZE;
    case 0x31:
    case 0x32:
        return UNIX_PAIR_SIZE;
    default:
        return -1;
    }
}

static ssize_t parse_binary(const uint8_t *data, size_t len, struct fn_proxy *out)
{
    if (len < BINARY_HEADER_SIZE)
        return 0;
    const uint8_t command = data[12];
    const size_t rest = get16(data + 14), size = BINARY_HEADER_SIZE + rest;
    const int pair = command == BINARY_LOCAL ? 0 : pair_size(data[13]);
    const uint8_t *addresses = data + BINARY_HEADER_SIZE;

    if ((command != BINARY_LOCAL && command != BINARY_PROXY) || pair < 0 || rest < (size_t)pair ||
        size > FN_PROXY_LONGEST)
        return -EBADMSG;
    if (len < size)
        return 0;
    if (pair == IPV4_PAIR_SIZE || pair == IPV6_PAIR_SIZE) {
        const int family = pair == IPV4_PAIR_SIZE ? AF_INET : AF_INET6;
        const size_t width = pair == IPV4_PAIR_SIZE ? 4 : 16;
        const uint8_t *ports = addresses + 2 * width;
        out->known = true;
        set_address(&out->source, family, addresses, get16(ports));
        set_address(&out->destination, family, addresses + width, get16(ports + 2));
    }
    return (ssize_t)size;
}

static bool begins(const uint8_t *data, size_t len, const void *start, size_t size)
{
    return memcmp(data, start, len < size ? len : size) == 0;
}

ssize_t fn_proxy_parse(const uint8_t *data, size_t len, struct fn_proxy *out)
{
    struct fn_proxy proxy = {0};
    ssize_t size;

    if (len == 0)
        return 0;
    if (begins(data, len, TEXT_START, TEXT_START_SIZE)) {
        proxy.version = 1;
        size = parse_text(data, len, &proxy);
    } else if (begins(data, len, binary_start, sizeof binary_start)) {
        proxy.version = 2;
        size = parse_binary(data, len, &proxy);
    } else {
        return -EBADMSG;
    }
    if (size > 0)
        *out = proxy;
    return size;
}

/* Building */

struct pair {
    int family;
    const uint8_t *source;
    const uint8_t *destination;
    uint16_t source_port;
    uint16_t destination_port;
};

/* Both families keep the port at the same place (RFC 3493, 3.3 and 3.5). */
static uint16_t port_of(const struct sockaddr *address)
{
    struct sockaddr_in ipv4;

    memcpy(&ipv4, address, sizeof ipv4);
    return ntohs(ipv4.sin_port);
}

static size_t build_text(const struct pair *pair, uint8_t *out)
{
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN], line[128];

    inet_ntop(pair->family, pair->source, source, sizeof source);
    inet_ntop(pair->family, pair->destination, destination, sizeof destination);
    const int size = snprintf(line, sizeof line, "PROXY TCP%c %s %s %u %u\r\n", pair->family == AF_INET ? '4' : '6',
                              source, destination, pair->source_port, pair->destination_port);
    memcpy(out, line, (size_t)size);
    return (size_t)size;
}

static size_t build_binary(const struct pair *pair, uint8_t *out)
{
    const size_t width = pair->family == AF_INET ? 4 : 16;
    uint8_t *ports = out + BINARY_HEADER_SIZE + 2 * width;

    memcpy(out, binary_start, sizeof binary_start);
    out[12] = BINARY_PROXY;
    out[13] = pair->family == AF_INET ? 0x11 : 0x21;
    put16(out + 14, (uint16_t)(2 * width + 4));
    memcpy(out + BINARY_HEADER_SIZE, pair->source, width);
    memcpy(out + BINARY_HEADER_SIZE + width, pair->destination, width);
    put16(ports, pair->source_port);
    put16(ports + 2, pair->destination_port);
    return BINARY_HEADER_SIZE + 2 * width + 4;
}

static size_t build_unknown(int version, uint8_t *out)
{
    static const char text[] = "PROXY UNKNOWN\r\n";
    /* Not PROXY with an unspecified family: HAProxy 2.6 refuses that. */
    static const uint8_t local[] = {BINARY_LOCAL, 0, 0, 0};

    if (version == 1) {
        memcpy(out, text, sizeof text - 1);
        return sizeof text - 1;
    }
    memcpy(out, binary_start, sizeof binary_start);
    memcpy(out + sizeof binary_start, local, sizeof local);
    return BINARY_HEADER_SIZE;
}

size_t fn_proxy_build(int version, const struct sockaddr *source, const struct sockaddr *destination,
                      uint8_t out[FN_PROXY_MAX])
{
    struct fn_ip from, to;

    if (!fn_ip_of(source, &from) || !fn_ip_of(destination, &to))
        return build_unknown(version, out);
    const bool ipv4 = fn_ip_is_ipv4(&from) && fn_ip_is_ipv4(&to);
    const size_t skip = ipv4 ? sizeof from.bytes - 4 : 0;
    const struct pair pair = {
        .family = ipv4 ? AF_INET : AF_INET6,
        .source = from.bytes + skip,
        .destination = to.bytes + skip,
        .source_port = port_of(source),
        .destination_port = port_of(destination),
    };
    return version == 1 ? build_text(&pair, out) : build_binary(&pair, out);
}
