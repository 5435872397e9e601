/*
 * Address prefixes, and whether an address is in one of them.
 *
 * fn_prefix_set() sets one from the network's bytes in network order, 4 of them for AF_INET and 16 for
 * AF_INET6, of which the first `length` bits count. -EINVAL: another family, or more bits than it has.
 *
 * An IPv4 address that is mapped into IPv6 (RFC 4291, 2.5.5.2) is an IPv4 address here, whether in a prefix
 * or in a socket address: 10.0.0.0/8 contains ::ffff:10.1.2.3, and ::/0 contains no IPv4 address. Other
 * addresses, such as a Unix socket's, are in no prefix.
 *
 * There is no other state, and no allocation: any thread may call these functions.
 */
#ifndef FN_RELAY_PREFIXES_H
#define FN_RELAY_PREFIXES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* 16 bytes for both families: an IPv4 address is mapped into IPv6. */
struct fn_ip {
    uint8_t bytes[16];
};

struct fn_prefix {
    struct fn_ip network;
    uint8_t length;
    bool ipv4;
};

int fn_prefix_set(struct fn_prefix *prefix, int family, const uint8_t *network, unsigned length);

/* Whether the address is in at least one of n prefixes. */
bool fn_prefixes_match(const struct fn_prefix *prefixes, size_t n, const struct sockaddr *address);

/* Writes the address of an IP socket address and returns true; false for another family, or NULL. */
bool fn_ip_of(const struct sockaddr *address, struct fn_ip *out);

/* The port of an IP socket address, in network order. */
static inline in_port_t fn_port_of(const struct sockaddr *address)
{
    return address->sa_family == AF_INET ? ((const struct sockaddr_in *)address)->sin_port
                                         : ((const struct sockaddr_in6 *)address)->sin6_port;
}

/* Whether it is an IPv4 address, in the last four bytes. */
bool fn_ip_is_ipv4(const struct fn_ip *ip);

#endif
