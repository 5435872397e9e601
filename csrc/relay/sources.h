/*
 * The number of open connections of each source: an IPv4 address, or an IPv6 prefix, since a host with one IPv6
 * address usually has 2^64 of them.
 *
 * fn_sources_take() counts one more connection from this address: 0, or -EUSERS if it already has `limit` of them,
 * or -ENOMEM. After 0, and only then, call fn_sources_give() once with the same address. An IPv4 address mapped into
 * IPv6 is the IPv4 address. A client without an IP address, as of a Unix socket, is not limited: take returns 0 and
 * give does nothing.
 *
 * Start with fn_sources_init(), end with fn_sources_free(); in between, `ipv6_prefix` may be set before the first take.
 * Memory grows with the number of sources that have a connection open. Any thread may take and give at any time: a
 * mutex guards the table.
 */
#ifndef FN_RELAY_SOURCES_H
#define FN_RELAY_SOURCES_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "relay/siphash.h"

struct fn_source;

struct fn_sources {
    pthread_mutex_t mutex;
    struct fn_source *table;
    size_t size;
    size_t used;
    struct fn_siphash_key key;
    unsigned ipv6_prefix; /* prefix length of an IPv6 source; initially 64 */
};

int fn_sources_init(struct fn_sources *sources);
void fn_sources_free(struct fn_sources *sources);

int fn_sources_take(struct fn_sources *sources, const struct sockaddr *address, unsigned limit);
void fn_sources_give(struct fn_sources *sources, const struct sockaddr *address);

#endif
