/*
 * PROXY protocol headers, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt). A proxy sends one at the start
 * of a connection; it contains the addresses of the proxy's client.
 *
 * fn_proxy_parse() reads the header at the start of `data` and returns its length; the bytes after it are the
 * client's. 0: valid so far, and more bytes are needed; call again with the same bytes and more.
 * -EBADMSG: no header, an invalid one, or one longer than FN_PROXY_LONGEST; bytes after the header are not
 * read. So a caller needs at most FN_PROXY_LONGEST bytes of `data`. Extensions (TLVs) are skipped.
 *
 * `out` is written if the result is positive. `known` is false if the header has no IP addresses
 * (version 1 UNKNOWN, version 2 LOCAL or an address family other than IPv4 and IPv6): then use the connection's own
 * ones. Else `source` and `destination` are both AF_INET or both AF_INET6.
 *
 * fn_proxy_build() writes the header of this version (1 or 2) to `out` and returns its length. An IPv4
 * address mapped into IPv6 is written as IPv4; two addresses that are not both IP (as a Unix socket's; NULL
 * too) as UNKNOWN or LOCAL.
 *
 * There is no state, and no allocation: any thread may call these functions.
 */
#ifndef FN_RELAY_PROXY_H
#define FN_RELAY_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Bytes of the longest header that is built, and of the longest that is accepted. */
#define FN_PROXY_MAX 107
#define FN_PROXY_LONGEST 4096

struct fn_proxy {
    int version;
    bool known;
    struct sockaddr_storage source;
    struct sockaddr_storage destination;
};

ssize_t fn_proxy_parse(const uint8_t *data, size_t len, struct fn_proxy *out);

size_t fn_proxy_build(int version, const struct sockaddr *source, const struct sockaddr *destination,
                      uint8_t out[FN_PROXY_MAX]);

#endif
