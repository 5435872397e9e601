#define _GNU_SOURCE
#include "relay/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay/udp.h"

/* What is asked of the relay's thread */

struct ask {
    struct fn_request request;
    struct fn_relay *relay;
    struct fn_rule *rule;
    const int *sockets;
    size_t count;
    ssize_t result;
    struct fn_record *records;
};

static void ask(struct fn_relay *relay, struct ask *ask, void (*answer)(struct fn_request *request))
{
    ask->relay = relay;
    ask->request.answer = answer;
    fn_inbox_ask(relay->inbox, &ask->request);
}

static void answer_listen(struct fn_request *request)
{
    struct ask *const ask = fn_container(request, struct ask, request);
    struct fn_lane *const lane = ask->relay->closed ? NULL : fn_lane_of(ask->relay, ask->rule);

    ask->result = lane ? 0 : ask->relay->closed ? -EBADF : -ENOMEM;
    for (size_t i = 0; i < ask->count; i++) {
        if (ask->result < 0)
            close(ask->sockets[i]);
        else
            ask->result = fn_lane_listen(lane, ask->sockets[i]);
    }
}

int fn_relay_listen(struct fn_relay *relay, struct fn_rule *rule, const int *sockets, size_t count)
{
    struct ask question = {.rule = rule, .sockets = sockets, .count = count};

    ask(relay, &question, answer_listen);
    return (int)question.result;
}

static void answer_unlisten(struct fn_request *request)
{
    struct ask *const ask = fn_container(request, struct ask, request);

    for (struct fn_lane *lane = ask->relay->lanes; lane; lane = lane->next)
        if (lane->rule == ask->rule)
            fn_lane_unlisten(lane);
}

void fn_relay_unlisten(struct fn_relay *relay, struct fn_rule *rule)
{
    struct ask question = {.rule = rule};

    ask(relay, &question, answer_unlisten);
}

static size_t flows(const struct fn_listener *listener, struct fn_record *out, size_t count)
{
    size_t n = 0;

    for (; listener; listener = listener->next)
        if (listener->udp)
            n += fn_udp_records(listener->udp, out + n, count - n);
    return n;
}

static void answer_connections(struct fn_request *request)
{
    struct ask *const ask = fn_container(request, struct ask, request);
    struct fn_slab_cursor cursor = {0};
    size_t count = 0, n = 0;

    for (const struct fn_lane *lane = ask->relay->lanes; lane; lane = lane->next)
        count += lane->connections;
    ask->records = malloc((count + 1) * sizeof *ask->records);
    ask->result = -ENOMEM;
    if (!ask->records)
        return;
    for (const struct fn_connection *open; (open = fn_connection_next(ask->relay, &cursor));)
        fn_connection_record(open, &ask->records[n++]);
    for (const struct fn_lane *lane = ask->relay->lanes; lane; lane = lane->next) {
        n += flows(lane->listeners, ask->records + n, count - n);
        n += flows(lane->drained, ask->records + n, count - n);
    }
    ask->result = (ssize_t)n;
}

ssize_t fn_relay_connections(struct fn_relay *relay, struct fn_record **out)
{
    struct ask question = {0};

    ask(relay, &question, answer_connections);
    *out = question.records;
    return question.result;
}

size_t fn_relay_records(struct fn_relay *relay, struct fn_record *out, size_t count)
{
    return fn_records_take(&relay->records, out, count);
}

uint64_t fn_relay_lost_records(const struct fn_relay *relay)
{
    return __atomic_load_n(&relay->records.lost, __ATOMIC_RELAXED);
}

void fn_relay_drain(struct fn_relay *relay, int64_t timeout)
{
    __atomic_store_n(&relay->inbox->deadline, fn_time_now() + timeout, __ATOMIC_RELAXED);
    __atomic_store_n(&relay->inbox->draining, true, __ATOMIC_RELEASE);
    fn_inbox_wake(relay->inbox);
}

static void read_inbox(struct fn_relay *relay)
{
    for (struct fn_message *message = fn_inbox_read(relay->inbox), *next; message; message = next) {
        struct fn_lane *const lane = fn_lane_of(relay, message->rule);
        next = message->next;
        if (lane && message->fd >= 0) {
            fn_lane_adopt(lane, message->fd, &message->client);
            message->fd = -1;
        } else if (lane) {
            fn_lane_resume(lane);
        }
        fn_message_free(message);
    }
}

static void on_wake(struct fn_handler *handler, uint32_t events)
{
    struct fn_relay *const relay = fn_container(handler, struct fn_relay, wakes);
    eventfd_t count;

    (void)events;
    eventfd_read(relay->inbox->event, &count);
    read_inbox(relay);
}

/* Life and end */

int fn_relay_new(struct fn_relay **out, int64_t spin)
{
    struct fn_relay *const relay = calloc(1, sizeof *relay);
    int failure = -ENOMEM;

    if (!relay)
        return failure;
    relay->spin = spin;
    relay->again_end = &relay->again;
    relay->connections.size = sizeof(struct fn_connection);
    relay->connecting.size = fn_connecting_size;
    relay->wakes.on_event = on_wake;
    relay->quiet_until = INT64_MIN;
    failure = fn_loop_init(&relay->loop);
    relay->inbox = failure < 0 ? NULL : fn_inbox_new();
    if (!relay->inbox && failure == 0)
        failure = -errno;
    if (failure == 0)
        failure = fn_loop_watch(&relay->loop, relay->inbox->event, EPOLLIN, &relay->wakes);
    if (failure < 0) {
        fn_inbox_release(relay->inbox);
        fn_loop_close(&relay->loop);
        free(relay);
        return failure;
    }
    *out = relay;
    return 0;
}

static void bury(struct fn_relay *relay)
{
    while (relay->ended) {
        struct fn_connection *const connection = relay->ended;
        relay->ended = connection->next;
        fn_slab_give(&relay->connections, connection);
    }
}

static void close_all(struct fn_relay *relay)
{
    struct fn_slab_cursor cursor = {0};
    struct fn_connection *connection;

    if (relay->closed)
        return;
    relay->closed = true;
    fn_inbox_close(relay->inbox);
    for (struct fn_lane *lane = relay->lanes; lane; lane = lane->next)
        fn_lane_drain(lane);
    while ((connection = fn_connection_next(relay, &cursor)))
        fn_connection_abort(connection, FN_STOPPED);
    while (relay->lanes)
        fn_lane_free(relay->lanes);
    relay->again = NULL;
    bury(relay);
    fn_pipes_free(&relay->pipes);
    fn_loop_close(&relay->loop);
}

void fn_relay_close(struct fn_relay *relay)
{
    fn_inbox_run(relay->inbox);
    close_all(relay);
    fn_inbox_rest(relay->inbox);
}

void fn_relay_free(struct fn_relay *relay)
{
    if (!relay)
        return;
    fn_relay_close(relay);
    fn_inbox_release(relay->inbox);
    fn_records_free(&relay->records);
    fn_slab_free(&relay->connections);
    fn_slab_free(&relay->connecting);
    free(relay->out);
    free(relay);
}

/* Running */

/* Those that have more to do than one turn allows, and who else waits between each two of them. */
static void run_again(struct fn_relay *relay)
{
    struct fn_connection *connection = relay->again;

    relay->again = NULL;
    relay->again_end = &relay->again;
    while (connection) {
        struct fn_connection *const next = connection->queued;
        connection->is_queued = false;
        if (connection->state == FN_RELAYING || connection->state == FN_REFUSING)
            fn_connection_run(connection);
        if (next)
            fn_loop_poll(&relay->loop, relay->loop.epoll, 0);
        connection = next;
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How long to sleep at most. */
static int64_t pause_of(const struct fn_relay *relay)
{
    const int64_t now = fn_time_now();
    const int64_t deadline = __atomic_load_n(&relay->inbox->deadline, __ATOMIC_RELAXED);
    int64_t wait = fn_timers_wait(&relay->loop, now);

    if (relay->again || now < relay->spins_until)
        return 0;
    if (relay->bulk)
        wait = least(wait, relay->bulk_due > now ? relay->bulk_due - now : 0);
    if (deadline != FN_NEVER)
        wait = least(wait, deadline > now ? deadline - now : 0);
    return wait;
}

static void turn(struct fn_relay *relay)
{
    if (fn_loop_poll(&relay->loop, relay->loop.epoll, pause_of(relay)) && relay->spin)
        relay->spins_until = relay->loop.now + relay->spin;
    run_again(relay);
    fn_bulk_serve(relay);
    fn_timers_run(&relay->loop);
    bury(relay);
    if (relay->untidy)
        fn_lanes_tidy(relay);
}

static bool has_work(const struct fn_relay *relay)
{
    for (const struct fn_lane *lane = relay->lanes; lane; lane = lane->next)
        if (lane->listeners || lane->connections)
            return true;
    return false;
}

static int run(struct fn_relay *relay, struct fn_shortage *shortage)
{
    read_inbox(relay);
    for (;;) {
        if (__atomic_load_n(&relay->inbox->draining, __ATOMIC_ACQUIRE))
            for (struct fn_lane *lane = relay->lanes; lane; lane = lane->next)
                fn_lane_drain(lane);
        if (!has_work(relay))
            return FN_RUN_WHOLE;
        if (fn_time_now() >= __atomic_load_n(&relay->inbox->deadline, __ATOMIC_RELAXED))
            return FN_RUN_CUT;
        turn(relay);
        if (relay->shortage.error) {
            *shortage = relay->shortage;
            relay->shortage.error = 0;
            return FN_RUN_WARNS;
        }
    }
}

/* splice(2) has no MSG_NOSIGNAL. What it raised is taken back before the signal is let through again. */
int fn_relay_run(struct fn_relay *relay, struct fn_shortage *shortage)
{
    static const struct timespec at_once = {0};
    sigset_t broken_pipe, before, pending;

    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    fn_inbox_run(relay->inbox);
    const int result = relay->closed ? FN_RUN_WHOLE : run(relay, shortage);
    if (result != FN_RUN_WARNS)
        close_all(relay);
    fn_inbox_rest(relay->inbox);
    if (!sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&broken_pipe, NULL, &at_once) > 0)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

/* In a forked child */

static void abandon_listeners(struct fn_listener *listener)
{
    for (; listener; listener = listener->next) {
        if (listener->udp)
            fn_udp_abandon(listener->udp);
        else
            close(listener->fd);
    }
}

void fn_relay_abandon(struct fn_relay *relay)
{
    struct fn_slab_cursor cursor = {0};
    struct fn_connection *connection;

    if (relay->closed)
        return;
    relay->closed = true;
    for (struct fn_lane *lane = relay->lanes; lane; lane = lane->next)
        fn_rule_reset(lane->rule);
    fn_inbox_abandon(relay->inbox);
    /* First its own copies of the epolls, so that nothing is taken out of the parent's. */
    fn_loop_close(&relay->loop);
    while ((connection = fn_connection_next(relay, &cursor))) {
        if (connection->upstream)
            __atomic_fetch_sub(&connection->upstream->active, 1, __ATOMIC_RELAXED);
        fn_connect_stop(connection);
        fn_side_drop(connection, &connection->down, false);
        fn_side_drop(connection, &connection->up, false);
    }
    for (struct fn_lane *lane = relay->lanes; lane; lane = lane->next) {
        abandon_listeners(lane->listeners);
        abandon_listeners(lane->drained);
        if (lane->spare >= 0)
            close(lane->spare);
    }
    fn_pipes_free(&relay->pipes);
}
