#define _GNU_SOURCE
#include "relay/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/proxy.h"
#include "relay/udp.h"

enum { ACCEPTS_A_TURN = 16 };

/* Whether this connection may be relayed */

static void deny(struct fn_connection *connection)
{
    fn_count(&connection->lane->counters.denied, 1);
    fn_connection_abort(connection, FN_DENIED);
}

static bool is_admitted(struct fn_connection *connection)
{
    struct fn_rule *const rule = connection->lane->rule;
    const struct sockaddr *const client = &connection->client.any;

    /* A Unix socket's mode says who may connect to it. */
    if (client->sa_family != AF_INET && client->sa_family != AF_INET6)
        return true;
    if (!fn_rule_admits(rule, client))
        return false;
    if (rule->options.max_per_source) {
        if (fn_sources_take(&rule->sources, client, rule->options.max_per_source) < 0)
            return false;
        connection->has_source = true;
    }
    return true;
}

static bool make_extra(struct fn_connection *connection)
{
    if (!connection->extra) {
        connection->extra = calloc(1, sizeof *connection->extra);
        if (connection->extra)
            connection->extra->head_due = connection->extra->resumes = FN_NEVER;
    }
    return connection->extra;
}

void fn_reached(const struct fn_connection *connection, union fn_client *out)
{
    socklen_t len = sizeof *out;

    out->any.sa_family = AF_UNSPEC;
    if (connection->extra && connection->extra->reached.any.sa_family)
        *out = connection->extra->reached;
    else
        getsockname(connection->down.fd, &out->any, &len);
}

static struct fn_http *new_http(const struct fn_connection *connection)
{
    char text[INET6_ADDRSTRLEN] = "";
    union fn_client reached;

    fn_reached(connection, &reached);
    if (reached.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &reached.in.sin_addr, text, sizeof text);
    else if (reached.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &reached.in6.sin6_addr, text, sizeof text);
    return fn_http_new(connection->lane->rule->options.rewrite, text);
}

/* What rates and rewriting need; false: no memory. */
static bool equip(struct fn_connection *connection)
{
    const struct fn_rule_options *const options = &connection->lane->rule->options;

    if (!options->rewrite && !options->rate && !options->connection_rate)
        return true;
    if (!make_extra(connection))
        return false;
    fn_bucket_init(&connection->extra->bucket, options->connection_rate);
    if (options->rewrite)
        connection->extra->http = new_http(connection);
    return !options->rewrite || connection->extra->http;
}

static void serve(struct fn_connection *connection)
{
    if (!is_admitted(connection))
        deny(connection);
    else if (!equip(connection))
        fn_connection_abort(connection, FN_DENIED);
    else
        fn_connect(connection);
}

/* A PROXY header comes first from those who are trusted to speak for others. It is looked at where it is until
 * it is whole. */

static union fn_client client_of(const struct sockaddr_storage *address)
{
    union fn_client client;

    memcpy(&client, address, sizeof client);
    return client;
}

void fn_lane_greet(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down;
    uint8_t *const data = (uint8_t *)connection->lane->relay->buffer;
    struct fn_proxy proxy;
    const ssize_t n = recv(down->fd, data, FN_PROXY_LONGEST, MSG_PEEK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    const ssize_t header = n > 0 ? fn_proxy_parse(data, (size_t)n, &proxy) : -EBADMSG;
    /* A client that has ended will not send the rest. */
    if (header < 0 || (header == 0 && down->final)) {
        deny(connection);
        return;
    }
    if (header == 0)
        return;
    recv(down->fd, data, (size_t)header, 0);
    if (proxy.known) {
        /* Without the memory for it the proxy would be judged in its client's place. */
        if (!make_extra(connection)) {
            deny(connection);
            return;
        }
        connection->client = client_of(&proxy.source);
        connection->extra->reached = client_of(&proxy.destination);
    }
    serve(connection);
}

static void welcome(struct fn_connection *connection)
{
    const struct fn_prefixes *const trusted = &connection->lane->rule->options.trust_proxy;

    if (!fn_prefixes_match(trusted->list, trusted->count, &connection->client.any)) {
        serve(connection);
        return;
    }
    connection->state = FN_GREETING;
    fn_connection_schedule(connection);
}

void fn_lane_adopt(struct fn_lane *lane, int fd, const union fn_client *client)
{
    struct fn_connection *const connection = fn_connection_new(lane, fd);

    fn_count(&lane->counters.accepted, 1);
    if (!connection) {
        close(fd);
        fn_rule_leave(lane->rule);
        fn_lane_short(lane, ENOMEM);
        return;
    }
    connection->client = *client;
    connection->down.is_tcp = connection->client.any.sa_family != AF_UNIX;
    if (connection->down.is_tcp)
        fn_set_congestion(fd, lane->rule);
    welcome(connection);
}

/* Accepting */

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* A client is not accepted without a descriptor to serve it with. */
static bool has_spare(struct fn_lane *lane)
{
    const struct fn_table *const table = lane->table;

    if (lane->spare >= 0 || !table->count)
        return true;
    lane->spare_family = table->upstreams[0]->addresses[0].at.ss_family;
    lane->spare = socket(lane->spare_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return lane->spare >= 0 || !is_shortage(errno);
}

/* A fellow relay that has clearly less to do; each to have its share matters most where there are few. */
static struct fn_inbox *idler(struct fn_lane *lane)
{
    const unsigned load = __atomic_load_n(&lane->relay->inbox->load, __ATOMIC_RELAXED);
    struct fn_inbox *best = NULL;
    unsigned least = load - load / 8;

    for (unsigned i = 0; i < lane->fellow_count; i++) {
        const unsigned other = __atomic_load_n(&lane->fellows[i]->load, __ATOMIC_RELAXED);
        if (other < least) {
            least = other;
            best = lane->fellows[i];
        }
    }
    return best;
}

/* Takes one connection; false where there is none, or where no more can be had now. */
static bool accept_one(struct fn_listener *listener)
{
    struct fn_lane *const lane = listener->lane;
    union fn_client client = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof client;

    fn_lane_refresh(lane);
    if (!fn_rule_enter(lane->rule)) {
        fn_lane_pause(lane);
        fn_lane_resume(lane);
        return false;
    }
    const int fd = has_spare(lane) ? accept4(listener->fd, &client.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    if (fd < 0) {
        const int error = errno;
        fn_rule_leave(lane->rule);
        if (is_shortage(error))
            fn_lane_short(lane, error);
        /* The client has gone meanwhile; others may wait. */
        return error == ECONNABORTED;
    }
    struct fn_inbox *const fellow = idler(lane);
    if (!fellow || fn_inbox_post(fellow, lane->rule, fd, &client) < 0)
        fn_lane_adopt(lane, fd, &client);
    return true;
}

static void on_event(struct fn_handler *handler, uint32_t events)
{
    struct fn_listener *const listener = fn_container(handler, struct fn_listener, handler);

    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && listener->lane->accepting; i++)
        if (!accept_one(listener))
            return;
}

static int prepare(struct fn_listener *listener)
{
    const int on = 1, flags = fcntl(listener->fd, F_GETFL);
    int type = 0;
    socklen_t len = sizeof type;

    if (flags < 0 || fcntl(listener->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        getsockopt(listener->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return -errno;
    if (type == SOCK_DGRAM) {
        const int fd = listener->fd;
        listener->fd = -1;
        return fn_udp_new(&listener->udp, listener->lane, fd);
    }
    /* What is accepted inherits it; a Unix socket has none. */
    setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return 0;
}

int fn_lane_listen(struct fn_lane *lane, int fd)
{
    struct fn_listener *const listener = calloc(1, sizeof *listener);

    if (!listener) {
        close(fd);
        return -ENOMEM;
    }
    *listener = (struct fn_listener){.handler.on_event = on_event, .lane = lane, .fd = fd};
    const int failure = prepare(listener);
    if (failure < 0) {
        if (listener->fd >= 0)
            close(listener->fd);
        free(listener);
        return failure;
    }
    fn_lane_pause(lane);
    listener->next = lane->listeners;
    lane->listeners = listener;
    __atomic_fetch_add(&lane->rule->generation, 1, __ATOMIC_RELEASE);
    fn_lane_resume(lane);
    return 0;
}

static bool is_tcp(int fd)
{
    int domain = AF_UNIX;
    socklen_t len = sizeof domain;

    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    return domain == AF_INET || domain == AF_INET6;
}

static void set_up(int fd)
{
    const int on = 1, flags = fcntl(fd, F_GETFL);

    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int fn_relay_join(struct fn_relay *relay, struct fn_rule *rule, int first, int second)
{
    struct fn_lane *const lane = relay->closed ? NULL : fn_lane_of(relay, rule);
    struct fn_connection *const connection = lane ? fn_connection_new(lane, first) : NULL;
    socklen_t len = sizeof connection->client;

    if (!connection) {
        close(first);
        close(second);
        return relay->closed ? -EBADF : -ENOMEM;
    }
    __atomic_fetch_add(&rule->active, 1, __ATOMIC_RELAXED);
    set_up(first);
    set_up(second);
    getpeername(first, &connection->client.any, &len);
    connection->down.is_tcp = is_tcp(first);
    if (!equip(connection) || fn_side_open(connection, &connection->up, second) < 0) {
        close(second);
        fn_connection_abort(connection, FN_STOPPED);
        return -ENOMEM;
    }
    connection->up.is_tcp = is_tcp(second);
    connection->up.writable = true;
    fn_connection_relay(connection);
    return 0;
}
