#include "relay/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What the steps of one read say is sent in one piece, from here. */
#define OUT_SIZE (2 * FN_BUFFER)

static void flush_out(struct fn_relay *relay, struct fn_side *to)
{
    if (relay->out_len)
        fn_send(to, relay->out, relay->out_len);
    relay->out_len = 0;
}

static void put(struct fn_relay *relay, struct fn_side *to, const char *data, size_t len)
{
    if (!relay->out)
        relay->out = malloc(OUT_SIZE);
    if (!relay->out || relay->out_len + len > OUT_SIZE)
        flush_out(relay, to);
    if (!relay->out || len > OUT_SIZE) {
        fn_send(to, data, len);
    } else if (len) {
        memcpy(relay->out + relay->out_len, data, len);
        relay->out_len += len;
    }
}

typedef int (*step_function)(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step);

/* 0 or -errno; the bytes that were sent on go to *sent. */
static int follow(struct fn_connection *connection, struct fn_side *to, step_function function, const char *data,
                  size_t len, size_t *sent)
{
    struct fn_relay *const relay = connection->lane->relay;
    struct fn_http_step step;
    int code;

    do {
        code = function(connection->extra->http, data, len, &step);
        if (code < 0)
            break;
        put(relay, to, step.send, step.send_len);
        *sent += step.send_len;
        data = data ? data + step.used : NULL;
        len -= step.used;
    } while (code > 0);
    flush_out(relay, to);
    return code;
}

/* The time for a head runs while one is under way, or while its refusal waits for earlier responses. */
static void watch_head(struct fn_connection *connection, bool progress)
{
    struct fn_extra *const extra = connection->extra;

    if (!fn_http_refusal(extra->http) && !fn_http_head_pending(extra->http)) {
        extra->head_due = FN_NEVER;
    } else if (progress || extra->head_due == FN_NEVER) {
        extra->head_due = connection->lane->loop->now + connection->lane->rule->options.head_timeout;
        fn_connection_schedule(connection);
    }
}

static void request(struct fn_connection *connection, const char *data, size_t len)
{
    struct fn_http *const http = connection->extra->http;
    size_t sent = 0;

    /* No response can come any more: nothing can be passed on, either. */
    if (len && fn_http_held(http))
        return;
    if (follow(connection, &connection->up, fn_http_request, data, len, &sent) < 0) {
        fn_connection_abort(connection, FN_STOPPED);
        return;
    }
    watch_head(connection, sent > 0);
    if (fn_http_refusal(http) && fn_http_idle(http)) {
        fn_count(&connection->lane->counters.refused, 1);
        fn_connection_refuse(connection, FN_REFUSED, 400, fn_http_refusal(http));
    }
}

static void response(struct fn_connection *connection, const char *data, size_t len)
{
    struct fn_http *const http = connection->extra->http;
    const bool held = fn_http_held(http);
    size_t sent = 0;

    if (follow(connection, &connection->down, fn_http_response, data, len, &sent) < 0)
        fn_connection_abort(connection, FN_UPSTREAM_RESET);
    else if (held)
        request(connection, NULL, 0);
}

/* Bytes of this side that passed unread. */
void fn_http_passed(struct fn_connection *connection, struct fn_side *from, size_t n)
{
    struct fn_http *const http = connection->extra->http;

    if (!from->is_up) {
        fn_http_request_passed(http, (int64_t)n);
        return;
    }
    fn_http_response_passed(http, (int64_t)n);
    /* A refusal may have waited for the response to end. */
    if (fn_http_held(http) && !fn_http_response_passes(http))
        request(connection, NULL, 0);
}

int64_t fn_http_passes(const struct fn_http *http, const struct fn_side *from)
{
    return from->is_up ? fn_http_response_passes(http) : fn_http_request_passes(http);
}

void fn_http_relay(struct fn_connection *connection, struct fn_side *from, const char *data, size_t len)
{
    if (fn_http_passes(connection->extra->http, from) >= (int64_t)len) {
        fn_send(fn_peer(from), data, len);
        fn_http_passed(connection, from, len);
    } else if (from->is_up) {
        response(connection, data, len);
    } else {
        request(connection, data, len);
    }
}

void fn_http_late(struct fn_connection *connection)
{
    fn_count(&connection->lane->counters.refused, 1);
    if (fn_http_idle(connection->extra->http))
        fn_connection_refuse(connection, FN_LATE_HEAD, 408, "the request's head took too long");
    else
        fn_connection_abort(connection, FN_LATE_HEAD);
}
