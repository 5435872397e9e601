#define _GNU_SOURCE
#include "relay/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/sockios.h>

int fn_side_open(struct fn_connection *connection, struct fn_side *side, int fd)
{
    const int failure = fn_loop_watch(connection->lane->loop, fd, FN_EDGES, &side->handler);

    if (failure < 0)
        return failure;
    const bool is_up = side == &connection->up;
    *side = (struct fn_side){.handler = side->handler, .fd = fd, .is_up = is_up, .reading = true};
    return 0;
}

void fn_side_discard(struct fn_side *side)
{
    free(side->tail);
    side->tail = NULL;
    if (side->pipe)
        fn_pipe_give(&fn_connection_of(side)->lane->relay->pipes, side->pipe);
    side->pipe = NULL;
}

void fn_side_drop(struct fn_connection *connection, struct fn_side *side, bool abort)
{
    fn_side_discard(side);
    if (side->fd < 0)
        return;
    if (abort)
        fn_socket_abort(side->fd);
    fn_loop_unwatch(connection->lane->loop, side->fd, &side->handler);
    close(side->fd);
    side->fd = -1;
}

void fn_side_break(struct fn_side *side)
{
    struct fn_connection *const connection = fn_connection_of(side);

    side->broken = true;
    if (connection->ended == FN_OPEN)
        connection->ended = side->is_up ? FN_UPSTREAM_RESET : FN_CLIENT_RESET;
}

void fn_side_shut(struct fn_side *side)
{
    side->shut = true;
    /* If this fails, the other end has already closed. */
    if (shutdown(side->fd, SHUT_WR) < 0)
        fn_side_break(side);
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

/* Handles the result of a send or splice to this side: returns the bytes taken, 0 if none can be sent now. */
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

static bool can_send(const struct fn_side *side)
{
    return side->writable && !side->broken;
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

bool fn_side_has_unacknowledged(const struct fn_side *side)
{
    int bytes = 0;

    return ioctl(side->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

void fn_side_send(struct fn_side *side, const char *data, size_t len)
{
    size_t sent = 0;

    if (side->broken)
        return;
    if (!side->tail && !side->pipe && side->writable) {
        sent = took(side, fn_socket_send(side->fd, data, len));
        if (sent < len)
            side->writable = false;
    }
    if (sent < len && !side->broken)
        keep(side, data + sent, len - sent);
}

static void flush_tail(struct fn_side *side)
{
    while (can_send(side) && side->tail) {
        struct fn_tail *const tail = side->tail;
        tail->start += took(side, fn_socket_send(side->fd, tail->bytes + tail->start, tail->end - tail->start));
        if (tail->start == tail->end) {
            free(tail);
            side->tail = NULL;
        }
    }
}

static void flush_pipe(struct fn_side *side)
{
    while (can_send(side) && side->pipe) {
        struct fn_pipe *const pipe = side->pipe;
        pipe->held -= took(side, splice(pipe->out, NULL, side->fd, NULL, pipe->held, SPLICE_F_NONBLOCK));
        if (!pipe->held) {
            fn_pipe_give(&fn_connection_of(side)->lane->relay->pipes, pipe);
            side->pipe = NULL;
        }
    }
}

void fn_side_flush(struct fn_side *side)
{
    flush_pipe(side);
    if (!side->pipe)
        flush_tail(side);
}
