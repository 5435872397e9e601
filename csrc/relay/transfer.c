#define _GNU_SOURCE
#include "relay/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* A read that is shorter is no part of a large transfer. */
#define LARGE_PIECE 16384
/* Bytes in large pieces after which a stream is spliced. */
#define SPLICE_AFTER 524288
/* Bytes without an answer after which a stream is bulk. */
#define BULK_AFTER 2097152

static struct fn_relay *relay_of(struct fn_side *side)
{
    return fn_connection_of(side)->lane->relay;
}

void fn_discard(struct fn_side *side)
{
    free(side->tail);
    side->tail = NULL;
    if (side->pipe)
        fn_pipe_give(&relay_of(side)->pipes, side->pipe);
    side->pipe = NULL;
}

/* Sending */

static void count_sent(struct fn_side *side, size_t n)
{
    struct fn_connection *const connection = fn_connection_of(side);
    struct fn_counters *const counters = &connection->lane->counters;

    side->sent += n;
    if (!connection->is_resetting)
        connection->last = connection->lane->loop->now;
    fn_count(side->is_up ? &counters->sent_up : &counters->sent_down, n);
}

/* What came of a send or a splice to this side: the bytes that were taken, 0 where none can be now. */
static size_t took(struct fn_side *side, ssize_t n)
{
    if (n > 0) {
        count_sent(side, (size_t)n);
        return (size_t)n;
    }
    if (n < 0 && errno == EAGAIN)
        side->writable = false;
    else if (n < 0 && errno != EINTR)
        fn_side_break(side);
    return 0;
}

static void keep(struct fn_side *side, const char *data, size_t len)
{
    const size_t kept = side->tail ? side->tail->end - side->tail->start : 0;
    struct fn_tail *const tail = malloc(sizeof *tail + kept + len);

    if (!tail) {
        fn_side_break(side);
        return;
    }
    if (kept)
        memcpy(tail->bytes, side->tail->bytes + side->tail->start, kept);
    memcpy(tail->bytes + kept, data, len);
    tail->start = 0;
    tail->end = kept + len;
    free(side->tail);
    side->tail = tail;
}

void fn_send(struct fn_side *side, const char *data, size_t len)
{
    size_t sent = 0;

    if (side->broken)
        return;
    if (!side->tail && !side->pipe && side->writable) {
        sent = took(side, send(side->fd, data, len, MSG_NOSIGNAL));
        if (sent < len)
            side->writable = false;
    }
    if (sent < len && !side->broken)
        keep(side, data + sent, len - sent);
}

static void flush_tail(struct fn_side *side)
{
    while (side->writable && side->tail) {
        const struct fn_tail *const tail = side->tail;
        const size_t n = took(side, send(side->fd, tail->bytes + tail->start, tail->end - tail->start, MSG_NOSIGNAL));
        if (!side->tail)
            return;
        side->tail->start += n;
        if (tail->start == tail->end) {
            free(side->tail);
            side->tail = NULL;
        }
    }
}

static void flush_pipe(struct fn_side *side)
{
    while (side->writable && side->pipe) {
        const struct fn_pipe *const pipe = side->pipe;
        const size_t n = took(side, splice(pipe->out, NULL, side->fd, NULL, pipe->held, SPLICE_F_NONBLOCK));
        if (!side->pipe)
            return;
        side->pipe->held -= n;
        if (!pipe->held) {
            fn_pipe_give(&relay_of(side)->pipes, side->pipe);
            side->pipe = NULL;
        }
    }
}

void fn_flush(struct fn_side *side)
{
    flush_pipe(side);
    if (!side->pipe)
        flush_tail(side);
}

/* Receiving */

/* What came of a read of up to `asked` bytes: how many there are. At the end of the stream, or of the side,
 * it is not readable any more. */
static size_t got(struct fn_side *side, ssize_t n, size_t asked)
{
    if (n > 0) {
        /* A short read has emptied a TCP socket. */
        if ((size_t)n < asked && side->is_tcp && !side->final)
            side->readable = false;
        return (size_t)n;
    }
    if (n < 0 && errno == EINTR)
        return 0;
    side->readable = false;
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < 0)
        fn_side_break(side);
    side->reading = false;
    return 0;
}

static size_t copy(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    char *const buffer = connection->lane->relay->buffer;
    const size_t asked = most < FN_BUFFER ? most : FN_BUFFER;
    const size_t n = got(from, recv(from->fd, buffer, asked, 0), asked);

    if (n && connection->extra && connection->extra->http)
        fn_http_relay(connection, from, buffer, n);
    else if (n && connection->state == FN_RELAYING)
        fn_send(fn_peer(from), buffer, n);
    return n;
}

/* The pipe is empty, so that EAGAIN means that the socket is. */
static size_t splice_through(struct fn_side *from, struct fn_pipe *pipe, size_t most)
{
    struct fn_side *const to = fn_peer(from);
    const ssize_t n = splice(from->fd, NULL, pipe->in, NULL, most, SPLICE_F_NONBLOCK);

    if (n < 0 && errno == EINVAL) {
        from->no_splice = true;
        fn_pipe_give(&relay_of(from)->pipes, pipe);
        return 0;
    }
    /* A short one says nothing: the pipe may be full of small pieces. */
    pipe->held = got(from, n, 0);
    const size_t moved = pipe->held;
    to->pipe = pipe;
    if (moved)
        flush_pipe(to);
    else
        fn_discard(to);
    return moved;
}

static bool is_spliced(const struct fn_connection *connection, const struct fn_side *from)
{
    switch (connection->lane->rule->options.engine) {
    case FN_ENGINE_COPY:
        return false;
    case FN_ENGINE_SPLICE:
        return !from->no_splice;
    default:
        return from->large >= SPLICE_AFTER && !from->no_splice;
    }
}

/* Rates */

static size_t room(struct fn_connection *connection, size_t most)
{
    struct fn_rule *const rule = connection->lane->rule;
    const int64_t now = connection->lane->loop->now;
    size_t room;

    if (rule->options.rate && (room = fn_bucket_room(&rule->bucket, now)) < most)
        most = room;
    if (rule->options.connection_rate && (room = fn_bucket_room(&connection->extra->bucket, now)) < most)
        most = room;
    return most;
}

/* Takes so many bytes from the rates' buckets, and pauses where they are empty. */
static void charge(struct fn_connection *connection, size_t bytes)
{
    struct fn_rule *const rule = connection->lane->rule;
    const int64_t now = connection->lane->loop->now;
    int64_t wait = 0, other = 0;

    if (rule->options.rate)
        wait = fn_bucket_take(&rule->bucket, now, bytes);
    if (rule->options.connection_rate)
        other = fn_bucket_take(&connection->extra->bucket, now, bytes);
    if (other > wait)
        wait = other;
    connection->extra->resumes = wait ? now + wait : FN_NEVER;
    if (wait)
        fn_connection_schedule(connection);
}

static bool is_paused(const struct fn_connection *connection)
{
    const struct fn_extra *const extra = connection->extra;

    return extra && extra->resumes != FN_NEVER && extra->resumes > connection->lane->loop->now;
}

static bool is_limited(const struct fn_connection *connection)
{
    return connection->lane->rule->options.rate || connection->lane->rule->options.connection_rate;
}

/* Relaying */

static bool may_read(struct fn_connection *connection, struct fn_side *from)
{
    const struct fn_side *const to = fn_peer(from);

    if (connection->state == FN_REFUSING)
        return from->reading;
    if (connection->state != FN_RELAYING || !from->reading || to->tail || to->pipe || to->broken ||
        is_paused(connection))
        return false;
    /* The client must wait for a response, which may still come. */
    return from->is_up || !connection->extra || !connection->extra->http || !connection->up.reading ||
           !fn_http_held(connection->extra->http);
}

/*
 * How much was read in large pieces, less something for each small one (whatever a sender writes at once ends with
 * one: loopback's segments are of 65483 bytes), and how much since the other side had anything to say.
 */
static void measure(struct fn_connection *connection, struct fn_side *from, size_t n)
{
    struct fn_side *const to = fn_peer(from);

    if (n < LARGE_PIECE)
        from->large -= from->large < LARGE_PIECE ? from->large : LARGE_PIECE;
    else if (from->large < 2 * SPLICE_AFTER)
        from->large += (uint32_t)n;
    if (connection->is_bulk && to->streak >= BULK_AFTER)
        fn_bulk_leave(connection);
    to->streak = 0;
    if (from->streak < BULK_AFTER)
        from->streak += (uint32_t)n;
    else if (!connection->is_bulk && connection->state == FN_RELAYING)
        fn_bulk_enter(connection);
}

static size_t move(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    struct fn_http *const http = connection->extra ? connection->extra->http : NULL;
    const int64_t passes = http ? fn_http_passes(http, from) : FN_HTTP_ALL;
    struct fn_pipe *pipe = NULL;

    if (passes > 0 && (uint64_t)passes < most)
        most = (size_t)passes;
    if (passes > 0 && connection->state == FN_RELAYING && is_spliced(connection, from))
        pipe = fn_pipe_take(&relay_of(from)->pipes, connection->lane->loop->now);
    if (!pipe)
        return copy(connection, from, most);
    const size_t n = splice_through(from, pipe, most);
    if (http)
        fn_http_passed(connection, from, n);
    return n;
}

void fn_connection_again(struct fn_connection *connection)
{
    struct fn_relay *const relay = connection->lane->relay;

    if (connection->is_queued)
        return;
    connection->is_queued = true;
    connection->queued = NULL;
    *relay->again_end = connection;
    relay->again_end = &connection->queued;
}

void fn_transfer(struct fn_connection *connection, struct fn_side *from)
{
    size_t budget = FN_TURN;

    while (from->readable && may_read(connection, from)) {
        if (budget < LARGE_PIECE) {
            fn_connection_again(connection);
            return;
        }
        const bool limited = is_limited(connection);
        const size_t most = limited ? room(connection, budget) : budget;
        const size_t n = most ? move(connection, from, most) : 0;
        if (connection->state != FN_RELAYING && connection->state != FN_REFUSING)
            return;
        if (limited && (n || !most))
            charge(connection, n);
        if (n)
            measure(connection, from, n);
        budget -= n < budget ? n : budget;
    }
}
