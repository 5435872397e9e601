#define _GNU_SOURCE
#include "relay/internal.h"

/*
 * Fast one-way streams wait in a second epoll that is polled at intervals. All bytes of an interval then move
 * at once, with fewer wake-ups. A stream with too few bytes, or whose other side sends, returns to the first epoll,
 * so that no idle stream is polled.
 */
#define INTERVAL (150 * INT64_C(1000))
#define REVIEW_TICKS 16
/* Minimum bytes per tick, of one stream and of all, for which polling at intervals is faster. */
#define LEAST_BYTES 4096
#define LEAST_BYTES_OF_ALL 65536

/* A closed side, as a refused connection's upstream, is in neither epoll. */
static bool move_side(struct fn_loop *loop, struct fn_side *side, int to)
{
    return side->fd < 0 || fn_loop_move(loop, to, side->fd, FN_EDGES, &side->handler) == 0;
}

static bool move(struct fn_connection *connection, int to)
{
    struct fn_loop *const loop = connection->lane->loop;

    return move_side(loop, &connection->down, to) && move_side(loop, &connection->up, to);
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
    connection->is_bulk = true;
    connection->next = relay->bulk;
    relay->bulk = connection;
    connection->mark = moved(connection);
    /* A side that can't be moved, for lack of memory, only causes more wake-ups. */
    move(connection, relay->loop.bulk);
}

void fn_bulk_remove(struct fn_connection *connection)
{
    struct fn_connection **at = &connection->lane->relay->bulk;

    if (!connection->is_bulk)
        return;
    while (*at != connection)
        at = &(*at)->next;
    *at = connection->next;
    connection->is_bulk = false;
}

void fn_bulk_leave(struct fn_connection *connection)
{
    if (!connection->is_bulk)
        return;
    connection->down.streak = connection->up.streak = 0;
    if (move(connection, connection->lane->loop->epoll))
        fn_bulk_remove(connection);
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
