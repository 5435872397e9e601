/* Hosts and authorities: which name the listener, which the upstream. */
#include "http_head/parts.h"

#include <stdlib.h>

enum { HTTP_PORT = 80 };

struct fn_http_rewrite {
    bool always, responses;
    struct fn_http_text port, upstream;
    struct fn_http_host upstream_host;
    int64_t upstream_port;
    size_t count;
    struct fn_http_host names[];
};

/* inet_ntop's text of an address in another spelling, ended by a NUL; false where it is no address. */
static bool shortest(struct fn_http_text host, char out[INET6_ADDRSTRLEN])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char text[INET6_ADDRSTRLEN];
    uint8_t address[16];
    struct fn_http_text zone;

    host = fn_http_until(host, '%', &zone);
    if (host.len >= sizeof text || memchr(host.data, 0, host.len))
        return false;
    memcpy(text, host.data, host.len);
    text[host.len] = 0;
    if (inet_pton(AF_INET6, text, address) != 1)
        return false;
    if (memcmp(address, mapped, sizeof mapped) == 0)
        return inet_ntop(AF_INET, address + sizeof mapped, out, INET6_ADDRSTRLEN);
    return inet_ntop(AF_INET6, address, out, INET6_ADDRSTRLEN);
}

void fn_http_host(struct fn_http_host *out, struct fn_http_text host)
{
    char address[INET6_ADDRSTRLEN];

    out->len = 0;
    if (host.len == 0 || host.len > FN_HTTP_HOST_MAX)
        return;
    if (memchr(host.data, ':', host.len)) {
        if (shortest(host, address))
            host = fn_http_text(address, strlen(address));
    } else if (host.data[host.len - 1] == '.') {
        host.len--;
    }
    for (size_t i = 0; i < host.len; i++)
        out->text[i] = fn_http_lower(host.data[i]);
    out->len = (uint8_t)host.len;
}

/* The host and the port's text of "host[:port]"; false where brackets hold no IPv6 address. */
static bool split(struct fn_http_text authority, struct fn_http_host *host, struct fn_http_text *port)
{
    struct fn_http_text rest;

    if (authority.len == 0 || authority.data[0] != '[') {
        fn_http_host(host, fn_http_until(authority, ':', port));
        return host->len > 0;
    }
    const struct fn_http_text inside = fn_http_until(fn_http_behind(authority, 1), ']', &rest);
    if (!rest.data || (rest.len && rest.data[0] != ':') || inside.len == 0 || !memchr(inside.data, ':', inside.len))
        return false;
    *port = rest.len ? fn_http_behind(rest, 1) : rest;
    fn_http_host(host, inside);
    return host->len > 0;
}

static bool same_host(const struct fn_http_host *a, const struct fn_http_host *b)
{
    return fn_http_same(fn_http_text(a->text, a->len), fn_http_text(b->text, b->len));
}

struct fn_http_text fn_http_authority(struct fn_http_text rest)
{
    size_t end = 0, begin = 0;

    for (; end < rest.len && rest.data[end] != '/' && rest.data[end] != '?' && rest.data[end] != '#'; end++)
        if (rest.data[end] == '@')
            begin = end + 1;
    return fn_http_text(rest.data + begin, end - begin);
}

bool fn_http_replaces(const struct fn_http_rewrite *rewrite, struct fn_http_text authority,
                      struct fn_http_text reached_at)
{
    struct fn_http_host host;
    struct fn_http_text port;

    if (rewrite->always)
        return true;
    if (!split(authority, &host, &port) || (port.len && !fn_http_same(port, rewrite->port)))
        return false;
    for (size_t i = 0; i < rewrite->count; i++)
        if (same_host(&host, &rewrite->names[i]))
            return true;
    return fn_http_same(fn_http_text(host.text, host.len), reached_at);
}

static int64_t port_number(struct fn_http_text port)
{
    return port.len ? fn_http_number(port) : HTTP_PORT;
}

bool fn_http_is_upstream(const struct fn_http_rewrite *rewrite, struct fn_http_text authority)
{
    struct fn_http_host host;
    struct fn_http_text port;

    return split(authority, &host, &port) && same_host(&host, &rewrite->upstream_host) &&
           port_number(port) == rewrite->upstream_port;
}

/* Whether a host is a name, which may have names below it, and no address. */
static bool is_name(const struct fn_http_host *host)
{
    char text[FN_HTTP_HOST_MAX + 1];
    uint8_t address[4];

    memcpy(text, host->text, host->len);
    text[host->len] = 0;
    return host->len && !memchr(text, ':', host->len) && inet_pton(AF_INET, text, address) != 1;
}

bool fn_http_is_upstream_domain(const struct fn_http_rewrite *rewrite, struct fn_http_text domain)
{
    const struct fn_http_host *own = &rewrite->upstream_host;
    struct fn_http_host host;

    if (domain.len && domain.data[0] == '.')
        domain = fn_http_behind(domain, 1);
    fn_http_host(&host, domain);
    if (host.len == 0 || same_host(&host, own))
        return host.len > 0;
    return own->len > host.len && own->text[own->len - host.len - 1] == '.' && is_name(own) &&
           memcmp(own->text + own->len - host.len, host.text, host.len) == 0;
}

struct fn_http_text fn_http_cookie_domain(struct fn_http_text authority)
{
    struct fn_http_host host;
    struct fn_http_text rest;

    const struct fn_http_text name = fn_http_until(authority, ':', &rest);
    fn_http_host(&host, name);
    /* A name without a dot is nobody's domain (RFC 6265, section 5.3, step 5): localhost is one of them. */
    return is_name(&host) && memchr(host.text, '.', host.len) ? name : fn_http_text("", 0);
}

bool fn_http_rewrites_responses(const struct fn_http_rewrite *rewrite)
{
    return rewrite->responses;
}

struct fn_http_text fn_http_upstream(const struct fn_http_rewrite *rewrite)
{
    return rewrite->upstream;
}

struct fn_http_rewrite *fn_http_rewrite_new(const struct fn_http_text *names, size_t count, struct fn_http_text port,
                                            struct fn_http_text upstream, bool always, bool responses)
{
    const size_t size = sizeof(struct fn_http_rewrite) + count * sizeof(struct fn_http_host);
    struct fn_http_rewrite *rewrite = calloc(1, size + port.len + upstream.len);
    struct fn_http_text upstream_port;

    if (!rewrite)
        return NULL;
    char *text = (char *)rewrite + size;
    rewrite->always = always;
    rewrite->responses = responses;
    rewrite->port = fn_http_text(text, port.len);
    rewrite->upstream = fn_http_text(text + port.len, upstream.len);
    if (port.len)
        memcpy(text, port.data, port.len);
    if (upstream.len)
        memcpy(text + port.len, upstream.data, upstream.len);
    if (split(upstream, &rewrite->upstream_host, &upstream_port))
        rewrite->upstream_port = port_number(upstream_port);
    rewrite->count = count;
    for (size_t i = 0; i < count; i++)
        fn_http_host(&rewrite->names[i], names[i]);
    return rewrite;
}

void fn_http_rewrite_free(struct fn_http_rewrite *rewrite)
{
    free(rewrite);
}
