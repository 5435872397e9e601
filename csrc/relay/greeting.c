#define _GNU_SOURCE
#include "relay/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/proxy.h"

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

    /* The mode of a Unix socket controls who may connect to it. */
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
            connection->extra->head_due = connection->extra->next_due = connection->extra->resumes = FN_NEVER;
    }
    return connection->extra;
}

static struct fn_http *new_http(const struct fn_connection *connection)
{
    char text[INET6_ADDRSTRLEN] = "";
    union fn_client destination;

    fn_connection_destination(connection, &destination);
    if (destination.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &destination.in.sin_addr, text, sizeof text);
    else if (destination.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &destination.in6.sin6_addr, text, sizeof text);
    return fn_http_new(connection->lane->rule->options.rewrite, text);
}

bool fn_greeting_attach_limits(struct fn_connection *connection)
{
    const struct fn_rule_options *const options = &connection->lane->rule->options;

    if (!options->rewrite && !options->rate && !options->connection_rate)
        return true;
    if (!make_extra(connection))
        return false;
    fn_bucket_init(&connection->extra->bucket, options->connection_rate);
    if (!options->rewrite)
        return true;
    connection->extra->http = new_http(connection);
    connection->extra->head_due = connection->lane->loop->now + options->head_timeout;
    return connection->extra->http;
}

static void serve(struct fn_connection *connection)
{
    if (!is_admitted(connection))
        deny(connection);
    else if (!fn_greeting_attach_limits(connection))
        fn_connection_abort(connection, FN_DENIED);
    else
        fn_connecting_begin(connection);
}

/* A trusted proxy sends a PROXY header first. It is read with MSG_PEEK until it is complete. */

static union fn_client client_of(const struct sockaddr_storage *address)
{
    union fn_client client;

    memcpy(&client, address, sizeof client);
    return client;
}

static void read_header(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down;
    uint8_t *const data = (uint8_t *)connection->lane->relay->buffer;
    struct fn_proxy proxy;
    const ssize_t n = fn_socket_receive(down->fd, data, FN_PROXY_LONGEST, MSG_PEEK);

    if (n < 0 && errno == EAGAIN && !down->final)
        return;
    const ssize_t header = n > 0 ? fn_proxy_parse(data, (size_t)n, &proxy) : -EBADMSG;
    if (header == 0 && !down->final)
        return;
    /* After the client's FIN no more of it follows, and urgent data is not part of it. Bytes that are not read here
     * would be sent to the upstream. */
    if (header <= 0 || fn_socket_receive(down->fd, data, (size_t)header, 0) != header) {
        deny(connection);
        return;
    }
    if (proxy.known) {
        /* Without memory for the client's address, the rule would be applied to the proxy's. */
        if (!make_extra(connection)) {
            deny(connection);
            return;
        }
        connection->client = client_of(&proxy.source);
        connection->extra->destination = client_of(&proxy.destination);
    }
    serve(connection);
}

static void on_event(struct fn_connection *connection, struct fn_side *side, uint32_t events)
{
    (void)side;
    (void)events;
    read_header(connection);
}

static void on_time(struct fn_connection *connection, int64_t now)
{
    (void)now;
    fn_count(&connection->lane->counters.denied, 1);
    fn_connection_abort(connection, FN_LATE_HEAD);
}

static int64_t due(const struct fn_connection *connection)
{
    return fn_time_after(connection->last, connection->lane->rule->options.head_timeout);
}

const struct fn_phase fn_greeting_phase = {.on_event = on_event, .on_time = on_time, .due = due};

void fn_greeting_begin(struct fn_connection *connection)
{
    const struct fn_prefixes *const trusted = &connection->lane->rule->options.trust_proxy;

    if (!fn_prefixes_match(trusted->list, trusted->count, &connection->client.any)) {
        serve(connection);
        return;
    }
    connection->phase = FN_GREETING;
    fn_connection_schedule(connection);
}
