#define _GNU_SOURCE
#include "relay/internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

/* Keepalive probes before an idle end is dropped, all within another idle time. */
#define PROBES 4

static void set(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

static int whole_seconds(int64_t time)
{
    return (int)((time + FN_SECOND - 1) / FN_SECOND);
}

void fn_socket_set_congestion(int fd, const struct fn_rule *rule)
{
    const char *const name = rule->options.congestion;

    if (name[0])
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strnlen(name, sizeof rule->options.congestion));
}

void fn_socket_set_timeouts(int fd, const struct fn_rule *rule)
{
    const int64_t keepalive = rule->options.keepalive, user_timeout = rule->options.user_timeout;

    if (keepalive) {
        set(fd, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(keepalive));
        set(fd, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(keepalive / PROBES));
        set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
        set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
    if (user_timeout)
        set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)((user_timeout + FN_MILLISECOND - 1) / FN_MILLISECOND));
}

void fn_socket_prepare_listener(int fd, const struct fn_rule *rule)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    /* The socket may have the options of another rule. */
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
    fn_socket_set_timeouts(fd, rule);
}

ssize_t fn_socket_receive(int fd, void *data, size_t len, int flags)
{
    ssize_t n;

    do
        n = recv(fd, data, len, flags);
    while (n < 0 && errno == EINTR);
    return n;
}

ssize_t fn_socket_send(int fd, const void *data, size_t len)
{
    ssize_t n;

    do
        n = send(fd, data, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

void fn_socket_abort(int fd)
{
    static const struct linger at_once = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}
