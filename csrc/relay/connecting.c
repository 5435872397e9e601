#define _GNU_SOURCE
#include "relay/internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "relay/proxy.h"

/*
 * Connects to an upstream by its addresses in turn. Each attempt begins when the one before has failed or has not
 * succeeded for a while; that one continues (happy eyeballs, RFC 8305, section 5). The first to succeed is used, and
 * its address is tried first next time. The first attempt's socket is the connection's side itself; only further attempts
 * have sockets in an epoll of their own.
 */
#define STAGGER (250 * FN_MILLISECOND)
#define RETRY_PAUSE (20 * FN_MILLISECOND)

enum { ATTEMPTS = 4 };

struct attempt {
    struct fn_handler handler;
    struct fn_connecting *of;
    int fd;
    unsigned number; /* number of attempts at this upstream that began before it */
    unsigned address;
};

struct fn_connecting {
    struct fn_connection *connection;
    int spare; /* socket for the first attempt, or -1 */
    int spare_family;
    struct fn_choice choice;
    struct fn_timer timer;
    int64_t deadline;
    unsigned begun; /* number of the upstream's addresses tried */
    unsigned first; /* index of the first one tried */
    bool failed; /* the last attempt failed */
    /* Reasons of the failures: */
    bool is_at_fault; /* this upstream failed, not this machine */
    bool is_hopeless; /* at least one upstream did: no retry */
    bool is_full;
    int shortage;
    bool retries;
    int64_t give_up;
    struct attempt attempts[ATTEMPTS];
};

const size_t fn_connecting_size = sizeof(struct fn_connecting);

static void next_address(struct fn_connecting *connecting);

/* Sockets */

static void drop_spare(struct fn_connecting *connecting)
{
    if (connecting->spare >= 0)
        close(connecting->spare);
    connecting->spare = -1;
}

static int open_socket(struct fn_connecting *connecting, int family)
{
    int fd = connecting->spare;

    if (fd >= 0 && connecting->spare_family == family) {
        connecting->spare = -1;
        return fd;
    }
    drop_spare(connecting);
    fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

/* Connects from the client's own address and any free port. */
static int bind_transparently(int fd, int family, const union fn_client *client)
{
    const int on = 1;
    const bool ipv6 = family == AF_INET6;
    union fn_client from = {.any.sa_family = (sa_family_t)family};
    struct fn_ip ip;

    if (!fn_ip_of(&client->any, &ip) || (family != AF_INET && !ipv6) || fn_ip_is_ipv4(&ip) == ipv6)
        return -EAFNOSUPPORT;
    if (ipv6) {
        memcpy(&from.in6.sin6_addr, ip.bytes, sizeof ip.bytes);
        from.in6.sin6_scope_id = client->in6.sin6_scope_id;
    } else {
        memcpy(&from.in.sin_addr, ip.bytes + 12, sizeof from.in.sin_addr);
    }
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (setsockopt(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, sizeof on) < 0 ||
        bind(fd, &from.any, ipv6 ? sizeof from.in6 : sizeof from.in) < 0)
        return -errno;
    return 0;
}

static int prepare(struct fn_connection *connection, int fd, int family)
{
    const struct fn_rule *const rule = connection->lane->rule;
    const int on = 1;

    if (family == AF_INET || family == AF_INET6) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fn_socket_set_congestion(fd, rule);
        fn_socket_set_timeouts(fd, rule);
    }
    return rule->options.transparent ? bind_transparently(fd, family, &connection->client) : 0;
}

/* Records why connecting failed. A lack of ports, descriptors or memory may pass soon, and so may a full Unix
 * listener's backlog: such an error is not counted against the upstream. */
static void note_failure(struct fn_connecting *connecting, int failure)
{
    connecting->failed = true;
    switch (-failure) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC: /* epoll events */
    case EADDRNOTAVAIL:
        connecting->shortage = -failure;
        break;
    case EAGAIN:
        connecting->is_full = true;
        break;
    default:
        connecting->is_hopeless = connecting->is_at_fault = true;
        fn_lane_note_failure(connecting->connection->lane);
    }
}

/* A socket that is connecting, or -errno. */
static int begin(struct fn_connection *connection, const struct fn_address *address)
{
    const int fd = open_socket(connection->connecting, address->at.ss_family);
    int failure = fd;

    if (fd >= 0) {
        failure = prepare(connection, fd, address->at.ss_family);
        /* After EINTR the connect continues too. */
        if (failure == 0 && connect(fd, (const struct sockaddr *)&address->at, address->len) < 0 &&
            errno != EINPROGRESS && errno != EINTR)
            failure = -errno;
    }
    if (failure >= 0)
        return fd;
    if (fd >= 0)
        close(fd);
    note_failure(connection->connecting, failure);
    return failure;
}

/* Attempts */

static void on_attempt(struct fn_handler *handler, uint32_t events);

static void drop_attempt(struct attempt *attempt)
{
    struct fn_connection *const connection = attempt->of->connection;

    if (attempt->fd < 0)
        return;
    if (attempt == attempt->of->attempts) {
        fn_side_drop(connection, &connection->up, false);
    } else {
        fn_loop_unwatch(connection->lane->loop, attempt->fd, &attempt->handler);
        close(attempt->fd);
    }
    attempt->fd = -1;
}

static void drop_attempts(struct fn_connecting *connecting)
{
    for (int i = 0; i < ATTEMPTS; i++)
        drop_attempt(&connecting->attempts[i]);
}

static bool is_waiting(const struct fn_connecting *connecting)
{
    for (int i = 0; i < ATTEMPTS; i++)
        if (connecting->attempts[i].fd >= 0)
            return true;
    return false;
}

/* A free attempt; if there is none, the oldest. */
static struct attempt *free_attempt(struct fn_connecting *connecting)
{
    struct attempt *oldest = connecting->attempts;

    for (int i = 0; i < ATTEMPTS; i++) {
        struct attempt *const attempt = &connecting->attempts[i];
        if (attempt->fd < 0)
            return attempt;
        if (attempt->number < oldest->number)
            oldest = attempt;
    }
    drop_attempt(oldest);
    return oldest;
}

static bool watch_attempt(struct attempt *attempt, int fd)
{
    struct fn_connection *const connection = attempt->of->connection;
    const int failure = attempt == attempt->of->attempts
                            ? fn_side_open(connection, &connection->up, fd)
                            : fn_loop_watch(connection->lane->loop, fd, EPOLLOUT, &attempt->handler);

    if (failure < 0) {
        close(fd);
        note_failure(attempt->of, failure);
        return false;
    }
    attempt->fd = fd;
    return true;
}

/* No address is left: tries the next upstream, or fails. */

static void fail(struct fn_connection *connection)
{
    fn_count(&connection->lane->counters.unreachable, 1);
    if (connection->extra && connection->extra->http)
        fn_connection_refuse(connection, FN_UNREACHABLE, 502, "the upstream can't be connected to");
    else
        fn_connection_abort(connection, FN_UNREACHABLE);
}

/* Fails, or tries all upstreams again if the errors may pass and there is time. */
static void exhausted(struct fn_connecting *connecting)
{
    struct fn_connection *const connection = connecting->connection;
    struct fn_lane *const lane = connection->lane;

    if (connecting->is_hopeless || !(connecting->shortage || connecting->is_full) ||
        lane->loop->now >= connecting->give_up) {
        fail(connection);
        return;
    }
    if (connecting->shortage)
        fn_lane_short(lane, connecting->shortage);
    connecting->shortage = 0;
    connecting->is_full = false;
    connecting->retries = true;
    fn_timer_set(lane->loop, &connecting->timer, lane->loop->now + RETRY_PAUSE);
}

static void next_upstream(struct fn_connecting *connecting)
{
    struct fn_connection *const connection = connecting->connection;
    struct fn_upstream *const upstream = fn_choice_next(&connecting->choice, connection->lane->loop->now);

    if (connection->upstream)
        fn_upstream_give(connection->upstream);
    connection->upstream = upstream;
    if (!upstream) {
        exhausted(connecting);
        return;
    }
    fn_upstream_take(upstream);
    connecting->begun = 0;
    connecting->first = __atomic_load_n(&upstream->preferred, __ATOMIC_RELAXED);
    connecting->is_at_fault = false;
    connecting->deadline = connection->lane->loop->now + connection->lane->rule->options.connect_timeout;
    next_address(connecting);
}

static void upstream_failed(struct fn_connecting *connecting)
{
    struct fn_lane *const lane = connecting->connection->lane;

    drop_attempts(connecting);
    if (connecting->is_at_fault)
        fn_upstream_failed(connecting->connection->upstream, &lane->rule->options, lane->loop->now);
    next_upstream(connecting);
}

static void set_timer(struct fn_connecting *connecting)
{
    struct fn_loop *const loop = connecting->connection->lane->loop;
    const bool more = connecting->begun < connecting->connection->upstream->count;
    const int64_t stagger = loop->now + STAGGER;

    fn_timer_set(loop, &connecting->timer, more && stagger < connecting->deadline ? stagger : connecting->deadline);
}

/* The address to try after so many others. */
static unsigned address_of(const struct fn_connecting *connecting, unsigned number)
{
    if (number == 0)
        return connecting->first;
    return number <= connecting->first ? number - 1 : number;
}

/* Begins an attempt at the next address for which that succeeds. */
static void next_address(struct fn_connecting *connecting)
{
    struct fn_connection *const connection = connecting->connection;
    const struct fn_upstream *const upstream = connection->upstream;

    while (connecting->begun < upstream->count) {
        const unsigned number = connecting->begun++, address = address_of(connecting, number);
        if (connecting->failed)
            fn_count(&connection->lane->counters.connects_retried, 1);
        connecting->failed = false;
        const int fd = begin(connection, &upstream->addresses[address]);
        struct attempt *const attempt = fd >= 0 ? free_attempt(connecting) : NULL;
        if (attempt && watch_attempt(attempt, fd)) {
            attempt->number = number;
            attempt->address = address;
            break;
        }
    }
    if (is_waiting(connecting))
        set_timer(connecting);
    else
        upstream_failed(connecting);
}

static void attempt_failed(struct attempt *attempt, int error)
{
    struct fn_connecting *const connecting = attempt->of;

    drop_attempt(attempt);
    note_failure(connecting, -error);
    if (connecting->begun < connecting->connection->upstream->count)
        next_address(connecting);
    else if (!is_waiting(connecting))
        upstream_failed(connecting);
}

static void start(struct fn_connecting *connecting)
{
    connecting->retries = false;
    fn_lane_choose(connecting->connection->lane, &connecting->choice);
    next_upstream(connecting);
}

static void on_time(struct fn_timer *timer)
{
    struct fn_connecting *const connecting = fn_container(timer, struct fn_connecting, timer);

    if (connecting->connection->phase != FN_CONNECTING)
        return;
    if (connecting->retries) {
        fn_choice_end(&connecting->choice);
        start(connecting);
    } else if (connecting->connection->lane->loop->now >= connecting->deadline) {
        note_failure(connecting, -ETIMEDOUT);
        upstream_failed(connecting);
    } else {
        next_address(connecting);
    }
}

/* Success */

/* A connect to a local port without a listener may succeed with its own socket (simultaneous open, RFC 9293, 3.5). */
static bool is_self(int fd, const struct fn_address *upstream)
{
    union fn_client local = {0}, remote = {0};
    socklen_t local_len = sizeof local, remote_len = sizeof remote;
    struct fn_ip a, b;

    if (upstream->at.ss_family == AF_UNIX || getsockname(fd, &local.any, &local_len) < 0 ||
        fn_port_of(&local.any) != fn_port_of((const struct sockaddr *)&upstream->at))
        return false;
    /* The upstream's address may be the unspecified one. */
    return getpeername(fd, &remote.any, &remote_len) == 0 && fn_ip_of(&local.any, &a) && fn_ip_of(&remote.any, &b) &&
           memcmp(&a, &b, sizeof a) == 0;
}

static void send_proxy(struct fn_connection *connection)
{
    uint8_t header[FN_PROXY_MAX];
    union fn_client destination;

    fn_connection_destination(connection, &destination);
    const size_t len =
        fn_proxy_build(connection->lane->rule->options.send_proxy, &connection->client.any, &destination.any, header);
    /* The header doesn't count as bytes of the client. A new socket takes so few bytes at once. */
    if (fn_socket_send(connection->up.fd, header, len) != (ssize_t)len)
        fn_side_break(&connection->up);
}

/* The side takes ownership of the socket of a later attempt. */
static bool take_over(struct fn_connection *connection, struct attempt *attempt)
{
    const int fd = attempt->fd;

    fn_loop_unwatch(connection->lane->loop, fd, &attempt->handler);
    attempt->fd = -1;
    drop_attempt(attempt->of->attempts);
    if (fn_side_open(connection, &connection->up, fd) == 0)
        return true;
    close(fd);
    return false;
}

static void leave(struct fn_connection *connection)
{
    struct fn_connecting *const connecting = connection->connecting;

    if (!connecting)
        return;
    drop_attempts(connecting);
    drop_spare(connecting);
    fn_choice_end(&connecting->choice);
    fn_timer_clear(connection->lane->loop, &connecting->timer);
    connection->connecting = NULL;
    FN_CHECK(!fn_timer_is_set(&connecting->timer) && !connecting->choice.table);
    for (int i = 0; i < ATTEMPTS; i++)
        FN_CHECK(connecting->attempts[i].fd < 0 && !fn_handler_is_watched(&connecting->attempts[i].handler));
    fn_slab_give(&connection->lane->relay->connecting, connecting);
}

static void succeed(struct attempt *attempt, bool was_reset)
{
    struct fn_connecting *const connecting = attempt->of;
    struct fn_connection *const connection = connecting->connection;

    connection->address = (uint16_t)attempt->address;
    __atomic_store_n(&connection->upstream->preferred, attempt->address, __ATOMIC_RELAXED);
    if (attempt == connecting->attempts) {
        attempt->fd = -1;
    } else if (!take_over(connection, attempt)) {
        fn_connection_abort(connection, FN_UNREACHABLE);
        return;
    }
    leave(connection);
    fn_upstream_succeeded(connection->upstream);
    const int family = connection->upstream->addresses[connection->address].at.ss_family;
    connection->up.is_tcp = family == AF_INET || family == AF_INET6;
    connection->up.writable = true;
    /* Data that it sent before its reset can still be read. */
    if (was_reset)
        fn_side_break(&connection->up);
    else if (connection->lane->rule->options.send_proxy)
        send_proxy(connection);
    fn_relaying_begin(connection);
}

static void on_answer(struct attempt *attempt, uint32_t events)
{
    struct fn_connection *const connection = attempt->of->connection;
    int error = 0;
    socklen_t len = sizeof error;

    if (events & (EPOLLERR | EPOLLHUP))
        getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    /* Connected, and already reset. */
    const bool was_reset = error == ECONNRESET || error == EPIPE;
    if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
        return;
    if ((error && !was_reset) || is_self(attempt->fd, &connection->upstream->addresses[attempt->address]))
        attempt_failed(attempt, error);
    else
        succeed(attempt, was_reset);
}

static void on_attempt(struct fn_handler *handler, uint32_t events)
{
    struct attempt *const attempt = fn_container(handler, struct attempt, handler);

    if (attempt->of->connection->phase == FN_CONNECTING)
        on_answer(attempt, events);
}

static void on_event(struct fn_connection *connection, struct fn_side *side, uint32_t events)
{
    if (side->is_up)
        on_answer(connection->connecting->attempts, events);
    else if (events & EPOLLERR) /* Only HUP: a Unix client has closed; its data is still to be read. */
        fn_connection_abort(connection, FN_CLIENT_RESET);
}

bool fn_connecting_prepare(struct fn_connection *connection, int spare, int family)
{
    struct fn_connecting *const connecting = fn_slab_take(&connection->lane->relay->connecting);

    if (!connecting) {
        if (spare >= 0)
            close(spare);
        return false;
    }
    connection->connecting = connecting;
    connecting->connection = connection;
    connecting->spare = spare;
    connecting->spare_family = family;
    fn_timer_init(&connecting->timer, on_time);
    for (int i = 0; i < ATTEMPTS; i++)
        connecting->attempts[i] = (struct attempt){.handler.on_event = on_attempt, .of = connecting, .fd = -1};
    return true;
}

void fn_connecting_begin(struct fn_connection *connection)
{
    const struct fn_lane *const lane = connection->lane;

    connection->phase = FN_CONNECTING;
    connection->connecting->give_up = lane->loop->now + lane->rule->options.connect_timeout;
    start(connection->connecting);
}

const struct fn_phase fn_connecting_phase = {.on_event = on_event, .leave = leave};
