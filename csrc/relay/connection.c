#define _GNU_SOURCE
#include "relay/engine.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

#define EDGES (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET)
#define ENDS (EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP)

/* Sides */

static void on_event(struct fn_handler *handler, uint32_t events);

int fn_side_open(struct fn_connection *connection, struct fn_side *side, int fd)
{
    const int failure = fn_loop_watch(connection->lane->loop, fd, EDGES, &side->handler);

    if (failure < 0)
        return failure;
    const bool is_up = side == &connection->up;
    *side = (struct fn_side){.handler = side->handler, .fd = fd, .is_up = is_up, .watched = true, .reading = true};
    return 0;
}

void fn_side_drop(struct fn_connection *connection, struct fn_side *side, bool abort)
{
    static const struct linger at_once = {.l_onoff = 1};

    fn_discard(side);
    if (side->fd < 0)
        return;
    if (abort)
        setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (side->watched)
        fn_loop_unwatch(connection->lane->loop, side->fd, &side->handler);
    close(side->fd);
    side->fd = -1;
    side->watched = false;
}

void fn_side_break(struct fn_side *side)
{
    struct fn_connection *const connection = fn_connection_of(side);

    side->broken = true;
    fn_discard(side);
    if (connection->ended == FN_OPEN)
        connection->ended = side->is_up ? FN_UPSTREAM_RESET : FN_CLIENT_RESET;
}

static void shut_down(struct fn_side *side)
{
    side->shut = true;
    /* Where that fails, the other end is gone already. */
    if (shutdown(side->fd, SHUT_WR) < 0)
        fn_side_break(side);
}

/* Bytes that the kernel still holds for the other end. */
static bool has_unacknowledged(const struct fn_side *side)
{
    int bytes = 0;

    return ioctl(side->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

static bool has_unsent(const struct fn_side *side)
{
    return side->tail || side->pipe;
}

/* Life and end */

static void on_time(struct fn_timer *timer);

struct fn_connection *fn_connection_new(struct fn_lane *lane, int fd)
{
    struct fn_relay *const relay = lane->relay;
    struct fn_connection *const connection = fn_slab_take(&relay->connections);

    if (!connection)
        return NULL;
    connection->lane = lane;
    connection->state = FN_GREETING;
    connection->down.handler.on_event = connection->up.handler.on_event = on_event;
    connection->down.fd = connection->up.fd = -1;
    connection->up.is_up = true;
    fn_timer_init(&connection->timer, on_time);
    if (fn_side_open(connection, &connection->down, fd) < 0) {
        connection->state = FN_UNUSED;
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
    while (connection && (connection->state == FN_UNUSED || connection->state == FN_ENDED));
    return connection;
}

static void free_extra(struct fn_connection *connection)
{
    if (connection->extra) {
        fn_http_free(connection->extra->http);
        free(connection->extra);
        connection->extra = NULL;
    }
}

void fn_connection_close(struct fn_connection *connection, bool abort)
{
    struct fn_lane *const lane = connection->lane;
    struct fn_relay *const relay = lane->relay;
    struct fn_record record;

    if (connection->state == FN_ENDED)
        return;
    if (connection->ended == FN_OPEN)
        connection->ended = FN_CLOSED;
    if (lane->rule->options.record)
        fn_connection_record(connection, &record);
    connection->state = FN_ENDED;
    fn_bulk_leave(connection);
    fn_connect_stop(connection);
    fn_side_drop(connection, &connection->down, abort);
    fn_side_drop(connection, &connection->up, abort);
    fn_timer_clear(lane->loop, &connection->timer);
    free_extra(connection);
    if (connection->upstream)
        fn_upstream_give(connection->upstream);
    if (connection->has_source)
        fn_sources_give(&lane->rule->sources, &connection->client.any);
    connection->next = relay->ended;
    relay->ended = connection;
    lane->connections--;
    relay->untidy |= !lane->listeners;
    fn_count(&lane->counters.active, -UINT64_C(1));
    __atomic_fetch_sub(&relay->inbox->load, 1, __ATOMIC_RELAXED);
    fn_rule_leave(lane->rule);
    if (lane->rule->options.record)
        fn_lane_record(lane, &record);
}

void fn_connection_abort(struct fn_connection *connection, enum fn_ended ended)
{
    if (connection->state == FN_ENDED)
        return;
    if (connection->state == FN_RELAYING)
        fn_count(&connection->lane->counters.resets, 1);
    if (connection->ended == FN_OPEN)
        connection->ended = ended;
    fn_connection_close(connection, true);
}

void fn_connection_record(const struct fn_connection *connection, struct fn_record *record)
{
    const struct fn_lane *const lane = connection->lane;
    const int64_t duration = fn_time_now() - connection->opened;
    struct timespec wall;

    clock_gettime(CLOCK_REALTIME, &wall);
    *record = (struct fn_record){
        .owner = lane->rule->options.owner,
        .number = connection->number,
        .client = connection->client,
        .address = connection->address,
        .ended = connection->ended,
        .opened = wall.tv_sec * FN_SECOND + wall.tv_nsec - duration,
        .duration = duration,
        .sent_up = connection->up.sent,
        .sent_down = connection->down.sent,
    };
    if (connection->upstream && connection->is_connected) {
        record->upstream = connection->upstream;
        fn_upstream_hold(record->upstream);
    }
}

/* Refuses: answers instead of the upstream, and closes once the client has had time to read it. */

static void settle_refused(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down;

    if (!has_unsent(down) && !down->shut && !down->broken)
        shut_down(down);
    if (down->broken || !down->reading)
        fn_connection_close(connection, false);
}

void fn_connection_refuse(struct fn_connection *connection, enum fn_ended ended, int status, const char *reason)
{
    char text[FN_HTTP_REFUSAL_MAX];
    const size_t len = fn_http_refuse(status, reason, text, sizeof text);

    connection->ended = ended;
    connection->state = FN_REFUSING;
    connection->last = connection->lane->loop->now;
    fn_bulk_leave(connection);
    fn_connect_stop(connection);
    fn_side_drop(connection, &connection->up, true);
    free_extra(connection);
    fn_send(&connection->down, text, len);
    fn_connection_schedule(connection);
    fn_connection_run(connection);
}

/* Times */

static int64_t reached(int64_t since, int64_t seconds)
{
    return seconds ? since + seconds : FN_NEVER;
}

static bool is_half_closed(const struct fn_connection *connection)
{
    return !connection->down.reading || !connection->up.reading;
}

static int64_t quiet_limit(const struct fn_connection *connection)
{
    const struct fn_rule_options *const options = &connection->lane->rule->options;

    return is_half_closed(connection) && options->half_closed_timeout ? options->half_closed_timeout
                                                                      : options->idle_timeout;
}

/* When something is due, or may be: connection->last moves on without a word to the timer. */
static int64_t due(const struct fn_connection *connection)
{
    const struct fn_extra *const extra = connection->extra;

    switch (connection->state) {
    case FN_GREETING:
        return reached(connection->last, connection->lane->rule->options.head_timeout);
    case FN_REFUSING:
        return connection->last + FN_LINGER;
    case FN_RELAYING:
        break;
    default:
        return FN_NEVER;
    }
    if (connection->is_resetting)
        return connection->lane->loop->now + FN_RESET_POLL;
    int64_t due = reached(connection->last, quiet_limit(connection));
    if (extra && extra->head_due < due)
        due = extra->head_due;
    if (extra && extra->resumes < due)
        due = extra->resumes;
    return due;
}

void fn_connection_schedule(struct fn_connection *connection)
{
    const int64_t when = due(connection);

    if (when != FN_NEVER && (!fn_timer_is_set(&connection->timer) || connection->timer.when > when))
        fn_timer_set(connection->lane->loop, &connection->timer, when);
}

static void pass_reset(struct fn_connection *connection);

static void quiet_for_too_long(struct fn_connection *connection)
{
    fn_count(&connection->lane->counters.timed_out, 1);
    if (connection->ended == FN_OPEN)
        connection->ended = is_half_closed(connection) && connection->lane->rule->options.half_closed_timeout
                                ? FN_HALF_CLOSED
                                : FN_IDLE;
    fn_connection_close(connection, true);
}

static void relaying_on_time(struct fn_connection *connection, int64_t now)
{
    struct fn_extra *const extra = connection->extra;

    if (connection->is_resetting)
        pass_reset(connection);
    else if (now >= reached(connection->last, quiet_limit(connection)))
        quiet_for_too_long(connection);
    else if (extra && now >= extra->head_due)
        fn_http_late(connection);
    else if (extra && now >= extra->resumes)
        fn_connection_run(connection);
}

static void on_time(struct fn_timer *timer)
{
    struct fn_connection *const connection = fn_container(timer, struct fn_connection, timer);
    struct fn_lane *const lane = connection->lane;

    if (lane->loop->now >= due(connection) || connection->is_resetting) {
        if (connection->state == FN_GREETING) {
            fn_count(&lane->counters.denied, 1);
            fn_connection_abort(connection, FN_LATE_HEAD);
        } else if (connection->state == FN_REFUSING) {
            fn_connection_close(connection, false);
        } else {
            relaying_on_time(connection, lane->loop->now);
        }
    }
    fn_connection_schedule(connection);
}

/* Ends */

/* Resets the other side of a broken one as soon as that loses nothing. */
static void pass_reset(struct fn_connection *connection)
{
    struct fn_side *const broken = connection->down.broken ? &connection->down : &connection->up;
    struct fn_side *const other = fn_peer(broken);
    const int64_t now = connection->lane->loop->now;

    if (!connection->is_resetting) {
        connection->is_resetting = true;
        connection->last = now;
    }
    if (other->broken || now >= connection->last + FN_RESET_GRACE ||
        !(broken->reading || has_unsent(other) || has_unacknowledged(other)))
        fn_connection_abort(connection, FN_CLOSED);
    else
        fn_connection_schedule(connection);
}

/* The stream to this side has ended, and all of it is sent. */
static bool is_over(struct fn_side *side)
{
    const struct fn_side *const from = fn_peer(side);

    return !from->reading && !from->broken && !has_unsent(side);
}

/* Passes on ends and resets, or closes. */
static void settle(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down, *const up = &connection->up;

    const bool down_over = is_over(down), up_over = is_over(up);

    if (down_over && up_over && !down->broken && !up->broken) {
        fn_connection_close(connection, false);
        return;
    }
    if (down_over && !down->shut && !down->broken)
        shut_down(down);
    if (up_over && !up->shut && !up->broken)
        shut_down(up);
    if (down->broken || up->broken)
        pass_reset(connection);
    else
        fn_connection_schedule(connection);
}

void fn_connection_run(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down, *const up = &connection->up;

    fn_flush(down);
    if (connection->state == FN_REFUSING) {
        fn_transfer(connection, down);
        settle_refused(connection);
        return;
    }
    fn_flush(up);
    /* First the responses: one may let the next request pass. */
    fn_transfer(connection, up);
    if (connection->state == FN_RELAYING)
        fn_transfer(connection, down);
    if (connection->state == FN_RELAYING && (!down->reading || !up->reading || down->broken || up->broken))
        settle(connection);
}

void fn_connection_relay(struct fn_connection *connection)
{
    const struct fn_rule_options *const options = &connection->lane->rule->options;

    connection->state = FN_RELAYING;
    connection->is_connected = true;
    connection->last = connection->lane->loop->now;
    if (options->idle_timeout)
        fn_connection_schedule(connection);
    fn_connection_run(connection);
}

/* Whether what this side sent may be read now; its errors come with it then. */
static bool is_read(struct fn_side *side)
{
    const struct fn_side *const peer = fn_peer(side);

    return side->reading && !has_unsent(peer) && !peer->broken;
}

static void on_event(struct fn_handler *handler, uint32_t events)
{
    struct fn_side *const side = fn_container(handler, struct fn_side, handler);
    struct fn_connection *const connection = fn_connection_of(side);

    if (events & (EPOLLIN | ENDS))
        side->readable = true;
    if (events & ENDS)
        side->final = true;
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        side->writable = true;
    switch (connection->state) {
    case FN_GREETING:
        fn_lane_greet(connection);
        break;
    case FN_CONNECTING:
        fn_connect_event(connection, side, events);
        break;
    case FN_RELAYING:
        if (events & EPOLLERR && !is_read(side))
            fn_side_break(side);
        if (connection->is_bulk)
            fn_connection_again(connection);
        else
            fn_connection_run(connection);
        break;
    case FN_REFUSING:
        fn_connection_run(connection);
        break;
    default:
        break;
    }
}
