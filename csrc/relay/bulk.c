#define _GNU_SOURCE
#include "relay/engine.h"

/*
 * Streams that only flow one way, and fast, wait in an epoll of their own that is looked into at intervals:
 * what came meanwhile moves at once, with a fraction of the wake-ups. One that brings less than that is worth,
 * or that is answered, goes back, so that nothing is polled for in vain.
 */
#define INTERVAL (150 * INT64_C(1000))
#define REVIEW_TICKS 16
/* Bytes a tick, of one stream and of all, below which it is not worth it. */
#define LEAST_BYTES 4096
#define LEAST_BYTES_OF_ALL 65536

static bool move_side(struct fn_side *side, int from, int to)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
        .data.ptr = &side->handler,
    };

    epoll_ctl(from, EPOLL_CTL_DEL, side->fd, NULL);
    return epoll_ctl(to, EPOLL_CTL_ADD, side->fd, &event) == 0;
}

static void move(struct fn_connection *connection, int from, int to)
{
    connection->is_bulk = !connection->is_bulk;
    if (!move_side(&connection->down, from, to) || !move_side(&connection->up, from, to))
        fn_connection_abort(connection, FN_STOPPED);
}

static uint32_t moved(const struct fn_connection *connection)
{
    return (uint32_t)(connection->down.sent + connection->up.sent);
}

void fn_bulk_enter(struct fn_connection *connection)
{
    struct fn_relay *const relay = connection->lane->relay;

    if (!relay->bulk) {
        relay->bulk_due = relay->loop.now + INTERVAL;
        relay->bulk_ticks = 0;
    }
    connection->next = relay->bulk;
    relay->bulk = connection;
    connection->mark = moved(connection);
    move(connection, relay->loop.epoll, relay->loop.bulk);
}

void fn_bulk_leave(struct fn_connection *connection)
{
    struct fn_relay *const relay = connection->lane->relay;

    if (!connection->is_bulk)
        return;
    struct fn_connection **at = &relay->bulk;
    while (*at != connection)
        at = &(*at)->next;
    *at = connection->next;
    connection->down.streak = connection->up.streak = 0;
    move(connection, relay->loop.bulk, relay->loop.epoll);
}

static void review(struct fn_relay *relay)
{
    uint64_t all = 0;

    for (const struct fn_connection *connection = relay->bulk; connection; connection = connection->next)
        all += moved(connection) - connection->mark;
    const uint32_t least = all < REVIEW_TICKS * LEAST_BYTES_OF_ALL ? UINT32_MAX : REVIEW_TICKS * LEAST_BYTES;
    for (struct fn_connection *connection = relay->bulk, *next; connection; connection = next) {
        const uint32_t now = moved(connection);
        next = connection->next;
        if (now - connection->mark < least)
            fn_bulk_leave(connection);
        connection->mark = now;
    }
}

void fn_bulk_serve(struct fn_relay *relay)
{
    if (!relay->bulk || relay->loop.now < relay->bulk_due)
        return;
    fn_loop_poll(&relay->loop, relay->loop.bulk, 0);
    relay->bulk_due = relay->loop.now + INTERVAL;
    if (++relay->bulk_ticks % REVIEW_TICKS == 0)
        review(relay);
}
