#define _GNU_SOURCE
#include "netif.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The name of the namespace that the thread is in now. */
static int read_namespace(int thread_namespace, char out[FN_NETIF_NAMESPACE])
{
    const ssize_t length = readlinkat(thread_namespace, "", out, FN_NETIF_NAMESPACE - 1);

    if (length < 0)
        return -errno;
    out[length] = '\0';
    return 0;
}

int fn_netif_is_here(const struct fn_netif *netif)
{
    char now[FN_NETIF_NAMESPACE];

    return netif->thread_namespace >= 0 && read_namespace(netif->thread_namespace, now) == 0 &&
           strcmp(now, netif->socket_namespace) == 0;
}

/* Opened one right after the other, the two are also closed by others together: the socket speaks for both. */
static int is_ours(const struct fn_netif *netif)
{
    struct stat now;

    return netif->socket >= 0 && fstat(netif->socket, &now) == 0 && now.st_dev == netif->device &&
           now.st_ino == netif->inode;
}

void fn_netif_init(struct fn_netif *netif)
{
    memset(netif, 0, sizeof *netif);
    netif->socket = netif->thread_namespace = -1;
}

void fn_netif_close(struct fn_netif *netif)
{
    if (is_ours(netif)) {
        close(netif->socket);
        if (netif->thread_namespace >= 0)
            close(netif->thread_namespace);
    }
    netif->socket = netif->thread_namespace = -1;
}

int fn_netif_open(struct fn_netif *netif, int family, int type, int protocol)
{
    struct stat identity;

    netif->socket = socket(family, type | SOCK_CLOEXEC, protocol);
    if (netif->socket < 0)
        return -errno;
    if (fstat(netif->socket, &identity) != 0) {
        const int failure = -errno;
        close(netif->socket);
        netif->socket = -1;
        return failure;
    }
    netif->device = identity.st_dev;
    netif->inode = identity.st_ino;

    netif->thread_namespace = open("/proc/thread-self/ns/net", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (netif->thread_namespace >= 0 && read_namespace(netif->thread_namespace, netif->socket_namespace) < 0) {
        close(netif->thread_namespace);
        netif->thread_namespace = -1;
    }
    return 0;
}

/* A socket of the thread's namespace, or -errno. */
static int current_socket(struct fn_netif *netif)
{
    if (!fn_netif_is_here(netif)) {
        fn_netif_close(netif);
        const int failure = fn_netif_open(netif, AF_INET, SOCK_DGRAM, 0);
        if (failure < 0)
            return failure;
    }
    return netif->socket;
}

int fn_netif_ask(struct fn_netif *netif, unsigned long question, const char *name, size_t len, struct ifreq *answer)
{
    if (len == 0 || len >= sizeof answer->ifr_name || memchr(name, '\0', len))
        return -ENODEV;
    memset(answer->ifr_name, 0, sizeof answer->ifr_name);
    memcpy(answer->ifr_name, name, len);

    const int socket = current_socket(netif);
    if (socket < 0)
        return socket;
    return ioctl(socket, question, answer) < 0 ? -errno : 0;
}

ssize_t fn_netif_list(struct fn_netif *netif, struct ifreq *out, size_t capacity)
{
    const size_t most = INT_MAX / sizeof *out;
    struct ifconf conf = {.ifc_len = (int)((capacity < most ? capacity : most) * sizeof *out), .ifc_req = out};
    const int room = conf.ifc_len;
    const int socket = current_socket(netif);

    if (socket < 0)
        return socket;
    if (ioctl(socket, SIOCGIFCONF, &conf) < 0)
        return -errno;
    /* The kernel stops in silence when the next one does not fit. */
    if (out && room - conf.ifc_len < (int)sizeof *out)
        return -ENOBUFS;
    return (ssize_t)(conf.ifc_len / sizeof *out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads 1 to `digits` hexadecimal digits at *at, leaves *at behind them, and returns how many there were. */
static int read_hex(const char **at, const char *end, int digits, uint32_t *value)
{
    int count = 0;

    *value = 0;
    while (count < digits && *at < end && hex_digit(**at) >= 0) {
        *value = *value << 4 | (uint32_t)hex_digit(*(*at)++);
        count++;
    }
    return count;
}

static int skip_spaces(const char **at, const char *end)
{
    const char *start = *at;

    while (*at < end && **at == ' ')
        (*at)++;
    return *at > start;
}

ssize_t fn_netif_parse_ipv6(const char *text, size_t len, struct fn_netif_ipv6 *out)
{
    uint32_t fields[4];
    const char *at = text;

    if (len == 0)
        return 0;
    const char *end = memchr(text, '\n', len);
    if (!end)
        return -EBADMSG;

    for (size_t i = 0; i < sizeof out->address; i++) {
        uint32_t octet;
        if (read_hex(&at, end, 2, &octet) != 2)
            return -EBADMSG;
        out->address[i] = (uint8_t)octet;
    }
    for (size_t i = 0; i < 4; i++)
        if (!skip_spaces(&at, end) || !read_hex(&at, end, 8, &fields[i]) || (i > 0 && fields[i] > 0xff))
            return -EBADMSG;
    if (fields[1] > 128 || !skip_spaces(&at, end))
        return -EBADMSG;
    const size_t name_length = (size_t)(end - at);
    if (name_length == 0 || name_length >= sizeof out->name || memchr(at, '\0', name_length))
        return -EBADMSG;

    out->index = fields[0];
    out->prefix_length = (uint8_t)fields[1];
    out->scope = (uint8_t)fields[2];
    out->flags = (uint8_t)fields[3];
    memset(out->name, 0, sizeof out->name);
    memcpy(out->name, at, name_length);
    return end + 1 - text;
}
