#define _GNU_SOURCE
#include "relay/internal.h"

#include <errno.h>
#include <fcntl.h>

/* Copying */

/* Handles the result of a read of up to `asked` bytes: returns the number of bytes read. At the end of the stream, or
 * on an error, clears `readable`. */
static inline size_t got(struct fn_side *side, ssize_t n, size_t asked)
{
    if (n > 0) {
        /* A short read has emptied a TCP socket. */
        if ((size_t)n < asked && side->is_tcp && !side->final)
            side->readable = false;
        return (size_t)n;
    }
    side->readable = false;
    if (n < 0 && errno == EAGAIN)
        return 0;
    /* If a reset follows the FIN, the read returns only the end. */
    if (n < 0 || side->failed)
        fn_side_break(side);
    side->reading = false;
    return 0;
}

/* Inline, here and below: the hot fn_transfer_move() calls it. */
static inline size_t receive(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    const size_t asked = most < FN_BUFFER ? most : FN_BUFFER;

    return got(from, fn_socket_receive(from->fd, connection->lane->relay->buffer, asked, 0), asked);
}

size_t fn_transfer_read(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    return receive(connection, from, most);
}

void fn_transfer_skip(struct fn_connection *connection, struct fn_side *from)
{
    size_t skipped = 0;

    while (from->readable && from->reading) {
        if (skipped >= FN_TURN) {
            fn_queue_append(&connection->lane->relay->busy, connection);
            return;
        }
        skipped += receive(connection, from, FN_BUFFER);
    }
}

/* Splicing */

/*
 * Handles the result of a splice into an empty pipe (so that EAGAIN means an empty socket): returns the bytes spliced.
 * Only read(2) passes an urgent mark; splice(2) stops there permanently, with EAGAIN, 0 or an error. So after 0 or an
 * error the socket is read. EAGAIN is final: EPOLLPRI reports a mark (see on_event()).
 */
static size_t spliced(struct fn_side *side, ssize_t n)
{
    /* A short splice doesn't mean an empty socket: the pipe may be full of small pieces. */
    if (n > 0)
        return (size_t)n;
    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0 && errno == EAGAIN) {
        side->readable = false;
        return 0;
    }
    side->no_splice = true;
    /* The kernel reports the socket's error only once. */
    if (n < 0 && errno != EINVAL && errno != ENOMEM)
        fn_side_break(side);
    return 0;
}

static size_t splice_through(struct fn_side *from, struct fn_pipe *pipe, size_t most)
{
    struct fn_side *const to = fn_peer(from);

    pipe->held = spliced(from, splice(from->fd, NULL, pipe->in, NULL, most, SPLICE_F_NONBLOCK));
    if (!pipe->held) {
        fn_pipe_give(&fn_connection_of(from)->lane->relay->pipes, pipe);
        return 0;
    }
    const size_t moved = pipe->held;
    to->pipe = pipe;
    fn_side_flush(to);
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
        return from->large >= FN_SPLICE_AFTER && !from->no_splice;
    }
}

/* -1: there is no pipe. */
static ssize_t splice_some(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    struct fn_pipe *const pipe = fn_pipe_take(&connection->lane->relay->pipes, connection->lane->loop->now);

    return pipe ? (ssize_t)splice_through(from, pipe, most) : -1;
}

ssize_t fn_transfer_splice(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    return is_spliced(connection, from) ? splice_some(connection, from, most) : -1;
}

size_t fn_transfer_move(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    const ssize_t moved = is_spliced(connection, from) ? splice_some(connection, from, most) : -1;

    if (moved >= 0)
        return (size_t)moved;
    const size_t n = receive(connection, from, most);
    if (n)
        fn_side_send(fn_peer(from), connection->lane->relay->buffer, n);
    return n;
}

/* Rates */

size_t fn_transfer_room(struct fn_connection *connection, size_t most)
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

void fn_transfer_charge(struct fn_connection *connection, size_t bytes)
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
