/* A header that is taken is refused when cut short, is the same whatever follows, and comes back from what it builds. */
#include "relay/proxy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_round_trip(const struct fn_proxy *proxy)
{
    uint8_t header[FN_PROXY_MAX], again[FN_PROXY_MAX];
    struct fn_proxy built, rebuilt;

    const size_t size = fn_proxy_build(proxy->version, (const struct sockaddr *)&proxy->source,
                                       (const struct sockaddr *)&proxy->destination, header);
    require(fn_proxy_parse(header, size, &built) == (ssize_t)size && built.known == proxy->known);
    require(fn_proxy_build(built.version, (const struct sockaddr *)&built.source,
                           (const struct sockaddr *)&built.destination, again) == size);
    require(memcmp(header, again, size) == 0);
    require(fn_proxy_parse(again, size, &rebuilt) == (ssize_t)size && memcmp(&built, &rebuilt, sizeof built) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fn_proxy whole, exact;
    const ssize_t header = fn_proxy_parse(data, size, &whole);

    require(header <= FN_PROXY_LONGEST && header <= (ssize_t)size && (header != 0 || size < FN_PROXY_LONGEST));
    if (header <= 0)
        return 0;
    require(fn_proxy_parse(data, (size_t)header, &exact) == header && memcmp(&whole, &exact, sizeof whole) == 0);
    require(fn_proxy_parse(data, (size_t)header - 1, &exact) == 0);
    check_round_trip(&whole);
    return 0;
}
