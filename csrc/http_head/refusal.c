/* The response that refuses a request. */
#include "http_head/internal.h"

#include <stdio.h>

static const char *phrase(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 408:
        return "Request Timeout";
    case 502:
        return "Bad Gateway";
    }
    return NULL;
}

size_t fn_http_refuse(int status, const char *reason, char *out, size_t room)
{
    if (!phrase(status))
        return 0;
    const int len = snprintf(out, room,
                             "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                             status, phrase(status), strlen(reason) + 1, reason);
    return len < 0 || (size_t)len >= room ? 0 : (size_t)len;
}
