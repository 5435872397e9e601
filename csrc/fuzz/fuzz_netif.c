/* What is read as a line of /proc/net/if_inet6 ends with its newline and gives a name and a prefix that can be. */
#include "netif.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct fn_netif_ipv6 entry;

    while (size) {
        const ssize_t line = fn_netif_parse_ipv6(text, size, &entry);
        if (line < 0)
            break;
        if (line == 0 || (size_t)line > size || text[line - 1] != '\n' || entry.prefix_length > 128 ||
            entry.name[0] == '\0' || entry.name[sizeof entry.name - 1] != '\0')
            abort();
        text += line;
        size -= (size_t)line;
    }
    return 0;
}
