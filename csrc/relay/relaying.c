#define _GNU_SOURCE
#include "relay/internal.h"

/* A shorter read doesn't count as a part of a large transfer. */
#define LARGE_PIECE 16384
/* Messages below this size are copied: splicing them takes more CPU time, of the relay and of its peers. */
#define SHORT_MESSAGE 65536
/* Bytes without an answer after which a stream is bulk. Lower in checked builds: a fuzzer's streams are short. */
#ifndef FN_BULK_AFTER
#define FN_BULK_AFTER 2097152
#endif
/*
 * The turn of a bulk stream when for a while only bulk streams have moved: seven of loopback's segments, which a pipe of
 * 512 KiB takes at once. Larger pieces take less CPU time; but a message beside such streams waits for one turn.
 */
#define BULK_TURN 458752
#define BULK_TURN_AFTER (20 * FN_MILLISECOND)

/* Moving */

static bool is_paused(const struct fn_connection *connection)
{
    const struct fn_extra *const extra = connection->extra;

    return extra && extra->resumes != FN_NEVER && extra->resumes > connection->lane->loop->now;
}

static bool is_limited(const struct fn_connection *connection)
{
    return connection->lane->rule->options.rate || connection->lane->rule->options.connection_rate;
}

static bool may_read(struct fn_connection *connection, struct fn_side *from)
{
    const struct fn_side *const to = fn_peer(from);

    if (connection->phase != FN_RELAYING || !from->reading || to->tail || to->pipe || to->broken ||
        is_paused(connection))
        return false;
    /* The client awaits a response, which may still come. */
    return from->is_up || !connection->extra || !connection->extra->http || !connection->up.reading ||
           !fn_http_held(connection->extra->http);
}

/* Whether a side that sends only small pieces has sent one while the other side is silent, after a short message. */
static bool follows_short_message(struct fn_side *from, size_t n)
{
    const struct fn_side *const to = fn_peer(from);

    return n < LARGE_PIECE && from->large < LARGE_PIECE && !to->readable && to->streak > 0 &&
           to->streak < SHORT_MESSAGE;
}

/*
 * Counts the bytes read in large pieces, less a deduction for each small one (the last piece of each write is small:
 * loopback's segments have 65483 bytes), and the bytes read since the other side sent anything.
 */
static void measure(struct fn_connection *connection, struct fn_side *from, size_t n)
{
    struct fn_side *const to = fn_peer(from);

    if (follows_short_message(from, n))
        to->large = 0;
    if (n < LARGE_PIECE)
        from->large -= from->large < LARGE_PIECE ? from->large : LARGE_PIECE;
    else if (from->large < 2 * FN_SPLICE_AFTER)
        from->large += (uint32_t)n;
    if (connection->is_bulk && to->streak >= FN_BULK_AFTER)
        fn_bulk_leave(connection);
    to->streak = 0;
    if (from->streak < FN_BULK_AFTER)
        from->streak += (uint32_t)n;
    else if (!connection->is_bulk && connection->phase == FN_RELAYING)
        fn_bulk_enter(connection);
}

/* Whether neither side sends large pieces. */
static bool is_short(struct fn_side *from, size_t n)
{
    return n < LARGE_PIECE && from->large < LARGE_PIECE && fn_peer(from)->large < LARGE_PIECE;
}

/* The messages of several connections gather while the relay sleeps, and take less CPU time together: it does not poll
 * for them. */
static void note_short(const struct fn_connection *connection)
{
    struct fn_relay *const relay = connection->lane->relay;

    if (relay->short_number != connection->number)
        relay->score = 0;
    relay->short_number = connection->number;
    relay->last_short = relay->loop.now;
}

static size_t move(struct fn_connection *connection, struct fn_side *from, size_t most)
{
    return connection->extra && connection->extra->http ? fn_rewriting_move(connection, from, most)
                                                        : fn_transfer_move(connection, from, most);
}

static size_t turn_of(const struct fn_connection *connection)
{
    const struct fn_relay *const relay = connection->lane->relay;

    return connection->is_bulk && relay->loop.now >= relay->beside + BULK_TURN_AFTER ? BULK_TURN : FN_TURN;
}

static void pass(struct fn_connection *connection, struct fn_side *from)
{
    size_t budget = turn_of(connection);

    while (from->readable && may_read(connection, from)) {
        if (budget < LARGE_PIECE) {
            fn_queue_append(&connection->lane->relay->busy, connection);
            return;
        }
        const bool limited = is_limited(connection);
        const size_t most = limited ? fn_transfer_room(connection, budget) : budget;
        const size_t n = most ? move(connection, from, most) : 0;
        if (limited && (n || !most))
            fn_transfer_charge(connection, n);
        if (limited && n)
            connection->extra->down_first = from->is_up;
        if (n)
            measure(connection, from, n);
        if (n && is_short(from, n))
            note_short(connection);
        budget -= n < budget ? n : budget;
    }
}

/* Ends */

/* Resets the other side of a broken one as soon as no bytes are lost by it. */
static void pass_reset(struct fn_connection *connection)
{
    struct fn_side *const broken = connection->down.broken ? &connection->down : &connection->up;
    struct fn_side *const other = fn_peer(broken);
    const int64_t now = connection->lane->loop->now;

    if (!connection->is_resetting) {
        connection->is_resetting = true;
        connection->last = now;
    }
    fn_side_discard(broken);
    if (other->broken || now >= connection->last + FN_RESET_GRACE ||
        !(broken->reading || fn_side_has_unsent(other) || fn_side_has_unacknowledged(other)))
        fn_connection_abort(connection, FN_CLOSED);
    else
        fn_connection_schedule(connection);
}

/* Whether the stream to this side has ended and all of it is sent. */
static bool is_over(struct fn_side *side)
{
    const struct fn_side *const from = fn_peer(side);

    return !from->reading && !from->broken && !fn_side_has_unsent(side);
}

/* Passes on ends and resets, or closes. */
static void settle(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down, *const up = &connection->up;

    if (!up->reading && !down->broken && connection->extra && connection->extra->http)
        fn_rewriting_upstream_ended(connection);
    if (connection->phase != FN_RELAYING)
        return;
    const bool down_over = is_over(down), up_over = is_over(up);

    if (down_over && up_over && !down->broken && !up->broken) {
        fn_connection_close(connection, false);
        return;
    }
    if (down_over && !down->shut && !down->broken)
        fn_side_shut(down);
    if (up_over && !up->shut && !up->broken)
        fn_side_shut(up);
    if (down->broken || up->broken)
        pass_reset(connection);
    else
        fn_connection_schedule(connection);
}

static void flush(struct fn_connection *connection)
{
    if (connection->extra && connection->extra->http) {
        fn_rewriting_flush(connection);
    } else {
        fn_side_flush(&connection->down);
        fn_side_flush(&connection->up);
    }
}

static void run(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down, *const up = &connection->up;

    flush(connection);
    /* While the rates allow few bytes, the directions take turns. */
    if (connection->extra && connection->extra->down_first)
        pass(connection, down);
    /* Responses first: after one, the next request may pass. */
    pass(connection, up);
    pass(connection, down);
    if (connection->phase == FN_RELAYING && (!down->reading || !up->reading || down->broken || up->broken))
        settle(connection);
}

/* Times */

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

/* The time limit for a request. None while the rates keep it from being read. */
static int64_t request_due(const struct fn_extra *extra)
{
    const int64_t due = extra->head_due < extra->next_due ? extra->head_due : extra->next_due;

    return extra->resumes != FN_NEVER && extra->resumes > due ? extra->resumes : due;
}

/* The end of the idle time. None while the rates allow nothing to pass. */
static int64_t quiet_due(const struct fn_connection *connection)
{
    const struct fn_extra *const extra = connection->extra;
    const int64_t due = fn_time_after(connection->last, quiet_limit(connection));

    return extra && extra->resumes != FN_NEVER && extra->resumes > due ? extra->resumes : due;
}

/* The time when something may be due; possibly too early, as connection->last changes without setting the timer. */
static int64_t due(const struct fn_connection *connection)
{
    const struct fn_extra *const extra = connection->extra;

    if (connection->is_resetting)
        return connection->lane->loop->now + FN_RESET_POLL;
    int64_t due = quiet_due(connection);
    if (extra && request_due(extra) < due)
        due = request_due(extra);
    if (extra && extra->resumes < due)
        due = extra->resumes;
    return due;
}

static void quiet_for_too_long(struct fn_connection *connection)
{
    fn_count(&connection->lane->counters.timed_out, 1);
    if (connection->ended == FN_OPEN)
        connection->ended = is_half_closed(connection) && connection->lane->rule->options.half_closed_timeout
                                ? FN_HALF_CLOSED
                                : FN_IDLE;
    fn_connection_close(connection, true);
}

static void resume(struct fn_connection *connection)
{
    connection->extra->resumes = FN_NEVER;
    run(connection);
}

static void on_time(struct fn_connection *connection, int64_t now)
{
    struct fn_extra *const extra = connection->extra;

    if (connection->is_resetting)
        pass_reset(connection);
    else if (extra && now >= extra->resumes)
        resume(connection);
    else if (now >= quiet_due(connection))
        quiet_for_too_long(connection);
    else if (extra && now >= request_due(extra))
        fn_rewriting_late(connection);
}

/* The phase */

/* Whether this side may be read now; the read then also returns its errors. */
static bool is_read(struct fn_side *side)
{
    const struct fn_side *const peer = fn_peer(side);

    return side->reading && !fn_side_has_unsent(peer) && !peer->broken;
}

static void on_event(struct fn_connection *connection, struct fn_side *side, uint32_t events)
{
    if (events & EPOLLERR && !is_read(side))
        fn_side_break(side);
    if (connection->is_bulk) {
        fn_queue_append(&connection->lane->relay->busy, connection);
    } else {
        connection->lane->relay->beside = connection->lane->loop->now;
        run(connection);
    }
}

const struct fn_phase fn_relaying_phase = {.on_event = on_event, .on_time = on_time, .due = due, .run = run};

void fn_relaying_begin(struct fn_connection *connection)
{
    connection->phase = FN_RELAYING;
    connection->is_connected = true;
    connection->last = connection->lane->loop->now;
    run(connection);
    fn_connection_schedule(connection);
}
