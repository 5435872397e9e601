#define _GNU_SOURCE
#include "relay/internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "relay/proxy.h"

/*
 * Connecting to an upstream, one address after the other, each begun when the one before has failed or has not
 * answered for a while, while that goes on (happy eyeballs, RFC 8305, section 5); the first to be connected
 * is taken, and tried first next time. The first attempt's socket is the connection's side itself; only further ones wait elsewhere.
 */
#define STAGGER (250 * FN_MILLISECOND)
#define RETRY_PAUSE (20 * FN_MILLISECOND)

enum { ATTEMPTS = 4 };

struct attempt {
    struct fn_handler handler;
    struct fn_connecting *of;
    int fd;
    unsigned number; /* how many began before it, of this upstream's */
    unsigned address;
};

struct fn_connecting {
    struct fn_connection *connection;
    int spare; /* a socket to begin with, or -1 */
    int spare_family;
    struct fn_choice choice;
    struct fn_timer timer;
    int64_t deadline;
    unsigned begun; /* of the upstream's addresses */
    unsigned first; /* which of them */
    bool failed; /* what was tried last */
    /* Why: */
    bool is_at_fault; /* this upstream itself */
    bool is_hopeless; /* at least one upstream */
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

/* Connects from the client's own address, and whichever port is free. */
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

/* Notes why connecting failed. Ports, descriptors or memory may be had again soon, and so may the place in a Unix
 * listener's backlog; that is not the upstream's fault. */
static void note_failure(struct fn_connecting *connecting, int failure)
{
    connecting->failed = true;
    switch (-failure) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC: /* of epoll */
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
        /* After EINTR it goes on as well. */
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

/* A free one; where none is, the one that began first. */
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

/* Out of attempts, so on to the next upstream, or the end. */

static void fail(struct fn_connection *connection)
{
    fn_count(&connection->lane->counters.unreachable, 1);
    if (connection->extra && connection->extra->http)
        fn_connection_refuse(connection, FN_UNREACHABLE, 502, "the upstream can't be connected to");
    else
        fn_connection_abort(connection, FN_UNREACHABLE);
}

/* Fails, or tries all once more where that was for reasons that pass and there is time. */
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

/* The address that is tried when so many have been. */
static unsigned address_of(const struct fn_connecting *connecting, unsigned number)
{
    if (number == 0)
        return connecting->first;
    return number <= connecting->first ? number - 1 : number;
}

/* Begins with the next address that can be begun with. */
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

/* A port of this machine without a listener can be connected to itself (RFC 9293, section 3.5). */
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
    /* It is none of the client's bytes, and a fresh socket takes so few of them whole. */
    if (fn_socket_send(connection->up.fd, header, len) != (ssize_t)len)
        fn_side_break(&connection->up);
}

/* The side takes over the socket of another attempt than the first. */
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
    /* What it sent before its reset can still be read. */
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
    /* Connected, and reset already. */
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
    else if (events & EPOLLERR) /* Only HUP: a Unix client has closed; what it sent is still to be read. */
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
