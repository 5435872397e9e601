#include "relay/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The output for one read is collected here and sent by one call. */
#define OUT_SIZE (2 * FN_BUFFER)

static void flush_out(struct fn_relay *relay, struct fn_side *to)
{
    if (relay->out_len)
        fn_side_send(to, relay->out, relay->out_len);
    relay->out_len = 0;
}

static void put(struct fn_relay *relay, struct fn_side *to, const char *data, size_t len)
{
    if (!len)
        return;
    if (!relay->out)
        relay->out = malloc(OUT_SIZE);
    if (!relay->out || relay->out_len + len > OUT_SIZE)
        flush_out(relay, to);
    if (!relay->out || len > OUT_SIZE) {
        fn_side_send(to, data, len);
    } else {
        memcpy(relay->out + relay->out_len, data, len);
        relay->out_len += len;
    }
}

typedef int (*step_function)(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step);

/* 0 or -errno; *sent is set to the number of bytes passed on. */
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

static bool has_unsent(const struct fn_connection *connection)
{
    return fn_side_has_unsent(&connection->down) || fn_side_has_unsent(&connection->up);
}

/*
 * The time for a head runs from its first byte to its last (for the first head, from the accept), and begins again
 * while earlier responses are being sent. Between requests another limit applies: it begins when all of the last
 * response is sent, blank lines neither end nor prolong it, and while the relay drains it is 0.
 */
static void watch(struct fn_connection *connection)
{
    const struct fn_rule_options *const options = &connection->lane->rule->options;
    const int64_t now = connection->lane->loop->now;
    struct fn_extra *const extra = connection->extra;
    const bool draining = connection->lane->relay->draining;

    if (fn_http_refusal(extra->http) || fn_http_head_pending(extra->http)) {
        extra->next_due = FN_NEVER;
        if (extra->head_due == FN_NEVER)
            extra->head_due = now + options->head_timeout;
    } else if (!fn_http_awaits_request(extra->http)) {
        extra->head_due = extra->next_due = FN_NEVER;
    } else if (extra->head_due == FN_NEVER && extra->next_due == FN_NEVER && !has_unsent(connection)) {
        extra->next_due = draining ? now : fn_time_after(now, options->keep_alive_timeout);
    }
    fn_connection_schedule(connection);
}

void fn_rewriting_drain(struct fn_connection *connection)
{
    connection->extra->next_due = FN_NEVER;
    watch(connection);
}

void fn_rewriting_flush(struct fn_connection *connection)
{
    if (!has_unsent(connection))
        return;
    fn_side_flush(&connection->down);
    fn_side_flush(&connection->up);
    watch(connection);
}

static void request(struct fn_connection *connection, const char *data, size_t len)
{
    struct fn_extra *const extra = connection->extra;
    size_t sent = 0;

    /* No response can come any more, so that no request can be passed on either. */
    if (len && fn_http_held(extra->http))
        return;
    extra->heard |= len > 0;
    if (follow(connection, &connection->up, fn_http_request, data, len, &sent) < 0) {
        fn_connection_abort(connection, FN_STOPPED);
        return;
    }
    if (sent)
        extra->head_due = extra->next_due = FN_NEVER;
    watch(connection);
    if (fn_http_refusal(extra->http) && fn_http_idle(extra->http)) {
        fn_count(&connection->lane->counters.refused, 1);
        fn_connection_refuse(connection, FN_REFUSED, 400, fn_http_refusal(extra->http));
    }
}

static void answer_502(struct fn_connection *connection, const char *reason)
{
    fn_count(&connection->lane->counters.refused, 1);
    fn_connection_refuse(connection, FN_BAD_RESPONSE, 502, reason);
}

/* The upstream's bytes can't be parsed: the side is broken, unless the client can still be sent a refusal. */
static void give_up(struct fn_connection *connection)
{
    struct fn_http *const http = connection->extra->http;

    if (fn_http_unanswered(http)) {
        answer_502(connection, fn_http_unfollowed(http));
    } else {
        connection->ended = FN_BAD_RESPONSE;
        connection->up.reading = false;
        fn_side_break(&connection->up);
    }
}

static void response(struct fn_connection *connection, const char *data, size_t len)
{
    struct fn_http *const http = connection->extra->http;
    const bool held = fn_http_held(http);
    size_t sent = 0;

    const int code = follow(connection, &connection->down, fn_http_response, data, len, &sent);
    if (code == -EBADMSG)
        give_up(connection);
    else if (code < 0)
        fn_connection_abort(connection, FN_STOPPED);
    else if (held)
        request(connection, NULL, 0);
    else
        watch(connection);
}

void fn_rewriting_upstream_ended(struct fn_connection *connection)
{
    const struct fn_http *const http = connection->extra->http;

    if (fn_http_in_answer(http)) {
        if (!connection->up.broken || !fn_http_has_answered(http))
            answer_502(connection, "a response that ends within its head");
    } else if (fn_http_unanswered(http) && !fn_http_has_answered(http)) {
        answer_502(connection, "the upstream ended without a response");
    }
}

/* Bytes of this side that may pass without being parsed. */
static int64_t passes(const struct fn_http *http, const struct fn_side *from)
{
    return from->is_up ? fn_http_response_passes(http) : fn_http_request_passes(http);
}

static void passed(struct fn_connection *connection, struct fn_side *from, size_t n)
{
    struct fn_http *const http = connection->extra->http;

    if (from->is_up)
        fn_http_response_passed(http, (int64_t)n);
    else
        fn_http_request_passed(http, (int64_t)n);
    if (passes(http, from))
        return;
    /* A refusal may have waited for the end of the response. */
    if (from->is_up && fn_http_held(http))
        request(connection, NULL, 0);
    else
        watch(connection);
}

static void rewrite(struct fn_connection *connection, struct fn_side *from, const char *data, size_t len)
{
    if (passes(connection->extra->http, from) >= (int64_t)len) {
        fn_side_send(fn_peer(from), data, len);
        passed(connection, from, len);
    } else if (from->is_up) {
        response(connection, data, len);
    } else {
        request(connection, data, len);
    }
}

size_t fn_rewriting_move(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    const int64_t unread = passes(connection->extra->http, from);

    if (unread > 0 && (uint64_t)unread < most)
        most = (size_t)unread;
    const ssize_t spliced = unread > 0 ? fn_transfer_splice(connection, from, most) : -1;
    if (spliced >= 0) {
        passed(connection, from, (size_t)spliced);
        return (size_t)spliced;
    }
    const size_t n = fn_transfer_read(connection, from, most);
    if (n)
        rewrite(connection, from, connection->lane->relay->buffer, n);
    return n;
}

void fn_rewriting_late(struct fn_connection *connection)
{
    struct fn_counters *const counters = &connection->lane->counters;
    struct fn_extra *const extra = connection->extra;

    if (extra->next_due != FN_NEVER) {
        fn_connection_leave(connection);
    } else if (!extra->heard) {
        fn_count(&counters->timed_out, 1);
        connection->ended = FN_LATE_HEAD;
        fn_connection_close(connection, false);
    } else if (!fn_http_idle(extra->http) && connection->up.reading) {
        extra->head_due = connection->lane->loop->now + connection->lane->rule->options.head_timeout;
    } else {
        fn_count(&counters->refused, 1);
        if (fn_http_idle(extra->http))
            fn_connection_refuse(connection, FN_LATE_HEAD, 408, "the request's head took too long");
        else
            fn_connection_abort(connection, FN_LATE_HEAD);
    }
}
