#define _GNU_SOURCE
#include "relay/internal.h"

/*
 * Sends a response in place of the upstream's, and closes when the client has had time to read it. Bytes kept of an
 * earlier response are sent first; until then the limit is that of a connection in which one direction has ended.
 */

static void run(struct fn_connection *connection)
{
    struct fn_side *const down = &connection->down;

    fn_side_flush(down);
    fn_transfer_skip(connection, down);
    if (!fn_side_has_unsent(down) && !down->shut && !down->broken)
        fn_side_shut(down);
    /* A client that has ended may still read. */
    if (down->broken || !(down->reading || fn_side_has_unsent(down)))
        fn_connection_close(connection, false);
    else
        fn_connection_schedule(connection);
}

static void begin(struct fn_connection *connection)
{
    char text[FN_HTTP_REFUSAL_MAX];
    const int status = connection->extra->status;
    const size_t len = status ? fn_http_refuse(status, connection->extra->reason, text, sizeof text) : 0;

    fn_connection_stop(connection, status != 0);
    connection->phase = FN_REFUSING;
    connection->last = connection->lane->loop->now;
    /* After the end of the stream to the client no response can be sent. */
    if (len && !connection->down.shut)
        fn_side_send(&connection->down, text, len);
    run(connection);
}

static void on_event(struct fn_connection *connection, struct fn_side *side, uint32_t events)
{
    (void)side;
    (void)events;
    run(connection);
}

static void on_time(struct fn_connection *connection, int64_t now)
{
    (void)now;
    fn_connection_close(connection, false);
}

static int64_t due(const struct fn_connection *connection)
{
    const struct fn_rule_options *const options = &connection->lane->rule->options;

    if (!fn_side_has_unsent(&connection->down))
        return connection->last + FN_LINGER;
    return fn_time_after(connection->last,
                         options->half_closed_timeout ? options->half_closed_timeout : options->idle_timeout);
}

const struct fn_phase fn_refusing_marked = {.run = begin};
const struct fn_phase fn_refusing_phase = {.on_event = on_event, .on_time = on_time, .due = due, .run = run};
