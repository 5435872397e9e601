/* Hosts and authorities: names of the listener and of the upstream. */
#include "http_head/internal.h"

#include <stdlib.h>

enum { HTTP_PORT = 80, HTTPS_PORT = 443 };
static const char HTTP_PORT_TEXT[] = ":80";

struct fn_http_rewrite {
    bool always, responses, origin;
    int64_t port_number;
    struct fn_http_text port, upstream, upstream_and_port;
    struct fn_http_host upstream_host;
    int64_t upstream_port;
    size_t count;
    struct fn_http_host names[];
};

/* The canonical text of an address (inet_ntop), with a final NUL; false if it is not an address. */
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

/* Authorities. A byte that some readers take for a part of the host and others for its end is refused. */

static const char *const NO_HOST = "an invalid host";

/* Labels separated by single dots, optionally with a final dot. */
static bool is_registered_name(struct fn_http_text name)
{
    if (name.len > FN_HTTP_HOST_MAX || !fn_http_is_name(name) || name.data[0] == '.')
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (name.data[i] == '.' && name.data[i - 1] == '.')
            return false;
    return true;
}

/* The text in brackets: an address, optionally with a zone ("%eth0", or encoded "%25eth0"). */
static bool is_literal(struct fn_http_text host)
{
    char address[INET6_ADDRSTRLEN];
    struct fn_http_text zone;

    fn_http_until(host, '%', &zone);
    return shortest(host, address) && (!zone.data || (zone.len && is_registered_name(zone)));
}

static bool is_port(struct fn_http_text port)
{
    return port.len <= 5 && port.data[0] != '0' && (uint64_t)fn_http_number(port) <= UINT16_MAX;
}

static const char *read_authority(struct fn_http_authority *out, struct fn_http_text text)
{
    struct fn_http_text host, rest;

    if (text.len && text.data[0] == '[') {
        host = fn_http_until(fn_http_skip(text, 1), ']', &rest);
        if (!rest.data || (rest.len && rest.data[0] != ':') || !is_literal(host))
            return NO_HOST;
        out->port = rest.len ? fn_http_skip(rest, 1) : rest;
    } else {
        host = fn_http_until(text, ':', &out->port);
        if (host.len == 0)
            return "an empty host";
        if (!is_registered_name(host))
            return NO_HOST;
    }
    if (out->port.len && !is_port(out->port))
        return "an invalid port";
    fn_http_host(&out->host, host);
    return NULL;
}

const char *fn_http_read_authority(struct fn_http_authority *out, struct fn_http_text text)
{
    const char *reason = read_authority(out, text);

    return reason && fn_http_contains(text, '@') ? "user information in a host" : reason;
}

static bool same_host(const struct fn_http_host *a, const struct fn_http_host *b)
{
    return fn_http_same(fn_http_text(a->text, a->len), fn_http_text(b->text, b->len));
}

struct fn_http_text fn_http_authority_text(struct fn_http_text rest)
{
    size_t end = 0;

    while (end < rest.len && rest.data[end] != '/' && rest.data[end] != '?' && rest.data[end] != '#')
        end++;
    return fn_http_text(rest.data, end);
}

static bool is_default_port(struct fn_http_text port)
{
    return fn_http_same(port, fn_http_text("80", 2)) || fn_http_same(port, fn_http_text("443", 3));
}

bool fn_http_same_place(const struct fn_http_authority *target, const struct fn_http_authority *host)
{
    return same_host(&target->host, &host->host) &&
           (host->port.len ? fn_http_same(target->port, host->port) : is_default_port(target->port));
}

static int64_t port_number(struct fn_http_text port, bool https)
{
    return port.len ? fn_http_number(port) : https ? HTTPS_PORT : HTTP_PORT;
}

/* Whether it is one of the listener's hosts. */
static bool is_listener(const struct fn_http_rewrite *rewrite, const struct fn_http_host *host,
                        struct fn_http_text destination)
{
    for (size_t i = 0; i < rewrite->count; i++)
        if (same_host(host, &rewrite->names[i]))
            return true;
    return fn_http_same(fn_http_text(host->text, host->len), destination);
}

bool fn_http_replaces(const struct fn_http_rewrite *rewrite, const struct fn_http_authority *authority,
                      struct fn_http_text destination)
{
    if (rewrite->always)
        return true;
    if (authority->port.len && !fn_http_same(authority->port, rewrite->port))
        return false;
    return is_listener(rewrite, &authority->host, destination);
}

bool fn_http_is_client_side(const struct fn_http_rewrite *rewrite, const struct fn_http_authority *authority,
                            bool https, const struct fn_http_authority *original_host, struct fn_http_text destination)
{
    const int64_t port = port_number(authority->port, https);

    return (port == port_number(original_host->port, https) && same_host(&authority->host, &original_host->host)) ||
           (port == rewrite->port_number && is_listener(rewrite, &authority->host, destination));
}

bool fn_http_is_upstream(const struct fn_http_rewrite *rewrite, struct fn_http_text authority)
{
    struct fn_http_authority named;

    return !fn_http_read_authority(&named, authority) && same_host(&named.host, &rewrite->upstream_host) &&
           port_number(named.port, false) == rewrite->upstream_port;
}

/* Whether a host is a name, which can have subdomains, and not an address. */
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
        domain = fn_http_skip(domain, 1);
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
    /* A name without a dot, such as localhost, can't be a cookie's domain (RFC 6265, section 5.3, step 5). */
    return is_name(&host) && memchr(host.text, '.', host.len) ? name : fn_http_text("", 0);
}

bool fn_http_rewrites_responses(const struct fn_http_rewrite *rewrite)
{
    return rewrite->responses;
}

bool fn_http_rewrites_origin(const struct fn_http_rewrite *rewrite)
{
    return rewrite->origin;
}

struct fn_http_text fn_http_upstream(const struct fn_http_rewrite *rewrite)
{
    return rewrite->upstream;
}

struct fn_http_text fn_http_upstream_and_port(const struct fn_http_rewrite *rewrite)
{
    return rewrite->upstream_and_port;
}

/* Copies a text into the rewrite's memory at *to, and advances *to. */
static struct fn_http_text copy(char **to, struct fn_http_text text)
{
    const struct fn_http_text copied = fn_http_text(*to, text.len);

    if (text.len)
        memcpy(*to, text.data, text.len);
    *to += text.len;
    return copied;
}

struct fn_http_rewrite *fn_http_rewrite_new(const struct fn_http_text *names, size_t count, struct fn_http_text port,
                                            struct fn_http_text upstream, bool always, bool responses)
{
    const size_t size = sizeof(struct fn_http_rewrite) + count * sizeof(struct fn_http_host);
    struct fn_http_rewrite *rewrite = calloc(1, size + port.len + upstream.len + sizeof HTTP_PORT_TEXT);
    struct fn_http_authority authority;

    if (!rewrite)
        return NULL;
    char *text = (char *)rewrite + size;
    rewrite->always = always;
    rewrite->responses = responses;
    rewrite->port = copy(&text, port);
    rewrite->port_number = fn_http_number(port);
    rewrite->upstream = rewrite->upstream_and_port = copy(&text, upstream);
    if (!fn_http_read_authority(&authority, upstream)) {
        rewrite->upstream_host = authority.host;
        rewrite->upstream_port = port_number(authority.port, false);
        if (authority.port.len == 0)
            rewrite->upstream_and_port.len += copy(&text, fn_http_text(HTTP_PORT_TEXT, sizeof HTTP_PORT_TEXT - 1)).len;
    }
    rewrite->count = count;
    for (size_t i = 0; i < count; i++)
        fn_http_host(&rewrite->names[i], names[i]);
    return rewrite;
}

void fn_http_rewrite_add_origin(struct fn_http_rewrite *rewrite)
{
    rewrite->origin = true;
}

void fn_http_rewrite_free(struct fn_http_rewrite *rewrite)
{
    free(rewrite);
}
