#include "relay/prefixes.h"

#include <errno.h>
#include <string.h>

#define MAPPED_BITS 96

static const uint8_t mapped[MAPPED_BITS / 8] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void map_ipv4(struct fn_ip *ip, const void *ipv4)
{
    memcpy(ip->bytes, mapped, sizeof mapped);
    memcpy(ip->bytes + sizeof mapped, ipv4, 4);
}

bool fn_ip_is_ipv4(const struct fn_ip *ip)
{
    return memcmp(ip->bytes, mapped, sizeof mapped) == 0;
}

bool fn_ip_of(const struct sockaddr *address, struct fn_ip *out)
{
    if (!address)
        return false;
    if (address->sa_family == AF_INET) {
        map_ipv4(out, &((const struct sockaddr_in *)address)->sin_addr);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        memcpy(out->bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof out->bytes);
        return true;
    }
    return false;
}

int fn_prefix_set(struct fn_prefix *prefix, int family, const uint8_t *network, unsigned length)
{
    if (family == AF_INET && length <= 32) {
        map_ipv4(&prefix->network, network);
        length += MAPPED_BITS;
    } else if (family == AF_INET6 && length <= 128) {
        memcpy(prefix->network.bytes, network, sizeof prefix->network.bytes);
    } else {
        return -EINVAL;
    }
    prefix->length = (uint8_t)length;
    prefix->ipv4 = length >= MAPPED_BITS && fn_ip_is_ipv4(&prefix->network);
    return 0;
}

static bool holds(const struct fn_prefix *prefix, const struct fn_ip *ip)
{
    const size_t whole = prefix->length / 8, bits = prefix->length % 8;

    if (memcmp(prefix->network.bytes, ip->bytes, whole) != 0)
        return false;
    return bits == 0 || ((prefix->network.bytes[whole] ^ ip->bytes[whole]) >> (8 - bits)) == 0;
}

bool fn_prefixes_match(const struct fn_prefix *prefixes, size_t n, const struct sockaddr *address)
{
    struct fn_ip ip;

    if (!fn_ip_of(address, &ip))
        return false;
    const bool ipv4 = fn_ip_is_ipv4(&ip);
    for (size_t i = 0; i < n; i++)
        if (prefixes[i].ipv4 == ipv4 && holds(&prefixes[i], &ip))
            return true;
    return false;
}
