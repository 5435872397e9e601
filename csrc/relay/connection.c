#define _GNU_SOURCE
#include "relay/internal.h"

#include <stdlib.h>
#include <time.h>

#define ENDS (EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP)

#ifndef FN_CHECKED
_Static_assert(sizeof(struct fn_connection) <= 256, "what an idle connection may take");
#endif

/* Events and times, passed to the phase */

static const struct fn_phase *phase_of(const struct fn_connection *connection, enum fn_phase_name name)
{
    return connection->lane->relay->phases[name];
}

static void on_event(struct fn_handler *handler, uint32_t events)
{
    struct fn_side *const side = fn_container(handler, struct fn_side, handler);
    struct fn_connection *const connection = fn_connection_of(side);
    const struct fn_phase *const phase = phase_of(connection, connection->phase);

    if (events & (EPOLLIN | ENDS))
        side->readable = true;
    if (events & ENDS)
        side->final = true;
    if (events & EPOLLERR)
        side->failed = true;
    /* Urgent data, which splice(2) can't pass. */
    if (events & EPOLLPRI)
        side->no_splice = true;
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        side->writable = true;
    if (phase->on_event)
        phase->on_event(connection, side, events);
}

void fn_connection_schedule(struct fn_connection *connection)
{
    const struct fn_phase *const phase = phase_of(connection, connection->phase);
    const int64_t when = phase->due ? phase->due(connection) : FN_NEVER;

    if (when != FN_NEVER && (!fn_timer_is_set(&connection->timer) || connection->timer.when > when))
        fn_timer_set(connection->lane->loop, &connection->timer, when);
}

static void on_time(struct fn_timer *timer)
{
    struct fn_connection *const connection = fn_container(timer, struct fn_connection, timer);
    const struct fn_phase *const phase = phase_of(connection, connection->phase);
    const int64_t now = connection->lane->loop->now;

    if (phase->on_time && (now >= phase->due(connection) || connection->is_resetting))
        phase->on_time(connection, now);
    fn_connection_schedule(connection);
}

void fn_connection_run(struct fn_connection *connection)
{
    phase_of(connection, connection->phase)->run(connection);
}

/* Creation */

struct fn_connection *fn_connection_new(struct fn_lane *lane, int fd)
{
    struct fn_relay *const relay = lane->relay;
    struct fn_connection *const connection = fn_slab_take(&relay->connections);

    if (!connection)
        return NULL;
    connection->lane = lane;
    connection->phase = FN_GREETING;
    connection->down.handler.on_event = connection->up.handler.on_event = on_event;
    connection->down.fd = connection->up.fd = -1;
    connection->up.is_up = true;
    fn_timer_init(&connection->timer, on_time);
    if (fn_side_open(connection, &connection->down, fd) < 0) {
        connection->phase = FN_UNUSED;
        fn_slab_give(&relay->connections, connection);
        return NULL;
    }
    connection->down.writable = true;
    connection->number = __atomic_add_fetch(&lane->rule->next_number, 1, __ATOMIC_RELAXED);
    connection->opened = connection->last = relay->loop.now;
    lane->connections++;
    fn_count(&lane->counters.active, 1);
    __atomic_fetch_add(&relay->inbox->load, 1, __ATOMIC_RELAXED);
    return connection;
}

struct fn_connection *fn_connection_next(const struct fn_relay *relay, struct fn_slab_cursor *cursor)
{
    struct fn_connection *connection;

    do
        connection = fn_slab_next(&relay->connections, cursor);
    while (connection && connection->phase == FN_UNUSED);
    return connection;
}

void fn_connection_destination(const struct fn_connection *connection, union fn_client *out)
{
    socklen_t len = sizeof *out;

    out->any.sa_family = AF_UNSPEC;
    if (connection->extra && connection->extra->destination.any.sa_family)
        *out = connection->extra->destination;
    else
        getsockname(connection->down.fd, &out->any, &len);
}

void fn_connection_record(const struct fn_connection *connection, struct fn_record *record)
{
    const struct fn_lane *const lane = connection->lane;
    const int64_t duration = fn_time_now() - connection->opened;
    struct timespec wall;

    clock_gettime(CLOCK_REALTIME, &wall);
    *record = (struct fn_record){
        .number = connection->number,
        .client = connection->client,
        .address = connection->address,
        .ended = connection->ended,
        .opened = wall.tv_sec * FN_SECOND + wall.tv_nsec - duration,
        .duration = duration,
        .sent_up = connection->up.sent,
        .sent_down = connection->down.sent,
    };
    fn_record_refer(record, lane->rule, connection->is_connected ? connection->upstream : NULL);
}

/* Marking */

/* Its end has already been decided. */
static void mark(struct fn_connection *connection, enum fn_phase_name phase, enum fn_ended ended)
{
    connection->phase = phase;
    connection->ended = ended;
    fn_queue_append(&connection->lane->relay->marked, connection);
}

void fn_connection_close(struct fn_connection *connection, bool abort)
{
    if (connection->phase == FN_ENDED)
        return;
    connection->is_aborted = abort || fn_side_has_unsent(&connection->down);
    mark(connection, FN_ENDED, connection->ended == FN_OPEN ? FN_CLOSED : connection->ended);
}

void fn_connection_abort(struct fn_connection *connection, enum fn_ended ended)
{
    if (connection->phase == FN_ENDED)
        return;
    if (connection->phase == FN_RELAYING)
        fn_count(&connection->lane->counters.resets, 1);
    if (connection->ended == FN_OPEN)
        connection->ended = ended;
    fn_connection_close(connection, true);
}

void fn_connection_refuse(struct fn_connection *connection, enum fn_ended ended, int status, const char *reason)
{
    if (connection->phase == FN_ENDED)
        return;
    connection->extra->status = status;
    connection->extra->reason = reason;
    mark(connection, FN_TO_REFUSE, ended);
}

void fn_connection_leave(struct fn_connection *connection)
{
    const struct fn_side *const down = &connection->down;

    if (down->readable || fn_side_has_unacknowledged(down))
        fn_connection_refuse(connection, FN_CLOSED, 0, NULL);
    else
        fn_connection_close(connection, false);
}

/* Freeing */

static void free_extra(struct fn_connection *connection)
{
    if (connection->extra) {
        fn_http_free(connection->extra->http);
        free(connection->extra);
        connection->extra = NULL;
    }
}

void fn_connection_stop(struct fn_connection *connection, bool abort)
{
    if (connection->connecting)
        phase_of(connection, FN_CONNECTING)->leave(connection);
    fn_side_drop(connection, &connection->up, abort);
    free_extra(connection);
}

/* No list or counter may refer to it any more. */
static void check_unlinked(const struct fn_connection *connection)
{
    FN_CHECK(!connection->is_queued && !connection->is_bulk && !connection->connecting && !connection->extra);
    FN_CHECK(!fn_timer_is_set(&connection->timer));
    for (const struct fn_side *side = &connection->down; side; side = side == &connection->down ? &connection->up : NULL) {
        FN_CHECK(side->fd < 0 && !side->pipe && !side->tail && !fn_handler_is_watched(&side->handler));
    }
}

static void free_connection(struct fn_connection *connection)
{
    struct fn_lane *const lane = connection->lane;
    struct fn_relay *const relay = lane->relay;
    struct fn_record record;

    if (lane->rule->options.record)
        fn_connection_record(connection, &record);
    fn_bulk_remove(connection);
    fn_connection_stop(connection, connection->is_aborted);
    fn_side_drop(connection, &connection->down, connection->is_aborted);
    fn_timer_clear(lane->loop, &connection->timer);
    if (connection->upstream)
        fn_upstream_give(connection->upstream);
    if (connection->has_source)
        fn_sources_give(&lane->rule->sources, &connection->client.any);
    check_unlinked(connection);
    connection->phase = FN_UNUSED;
    fn_slab_give(&relay->connections, connection);
    lane->connections--;
    relay->untidy |= !lane->listeners;
    fn_count(&lane->counters.active, -UINT64_C(1));
    __atomic_fetch_sub(&relay->inbox->load, 1, __ATOMIC_RELAXED);
    fn_rule_leave(lane->rule);
    if (lane->rule->options.record)
        fn_lane_record(lane, &record);
}

const struct fn_phase fn_connection_ended = {.run = free_connection};
