#define _GNU_SOURCE
#include "relay/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay/udp.h"

/* The time to poll after a short message, whose answer may come sooner than a sleeping relay wakes up. While bulk streams
 * are served at intervals the relay hardly sleeps, and its sleeps delay most messages. */
#define BRIEFLY (20 * INT64_C(1000))
#define BRIEFLY_BESIDE_BULK (150 * INT64_C(1000))
/* The relay's score gains 1 when polling has met an event, and loses FAILED by a sleep. So polling stops unless about
 * four of five times are successful; it is tried again after a hundred sleeps. */
#define FAILED 4
#define MOST_SCORE 16
#define LEAST_SCORE (-100 * FAILED)

/* Requests to the relay's thread */

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
            ask->result = fn_listener_open(lane, ask->sockets[i]);
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
            fn_listeners_close(lane, FN_CLOSED);
}

void fn_relay_unlisten(struct fn_relay *relay, struct fn_rule *rule)
{
    struct ask question = {.rule = rule};

    ask(relay, &question, answer_unlisten);
}

static bool is_tcp(int fd)
{
    int domain = AF_UNIX;
    socklen_t len = sizeof domain;

    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    return domain == AF_INET || domain == AF_INET6;
}

/* A program that set SO_KEEPALIVE keeps its own times. */
static void set_up(int fd, const struct fn_rule *rule)
{
    const int on = 1, flags = fcntl(fd, F_GETFL);
    int keepalive = 0;
    socklen_t len = sizeof keepalive;

    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &len) == 0 && !keepalive)
        fn_socket_set_timeouts(fd, rule);
}

int fn_relay_join(struct fn_relay *relay, struct fn_rule *rule, int first, int second)
{
    struct fn_lane *const lane = relay->closed ? NULL : fn_lane_of(relay, rule);
    struct fn_connection *const connection = lane ? fn_connection_new(lane, first) : NULL;
    socklen_t len = sizeof connection->client;

    if (!connection) {
        close(first);
        close(second);
        return relay->closed ? -EBADF : -ENOMEM;
    }
    __atomic_fetch_add(&rule->active, 1, __ATOMIC_RELAXED);
    set_up(first, rule);
    set_up(second, rule);
    getpeername(first, &connection->client.any, &len);
    connection->down.is_tcp = is_tcp(first);
    if (!fn_greeting_attach_limits(connection) || fn_side_open(connection, &connection->up, second) < 0) {
        close(second);
        fn_connection_abort(connection, FN_STOPPED);
        return -ENOMEM;
    }
    connection->up.is_tcp = is_tcp(second);
    connection->up.writable = true;
    fn_relaying_begin(connection);
    return 0;
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
        if (open->phase != FN_ENDED)
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
    if (__atomic_exchange_n(&relay->inbox->resumes, false, __ATOMIC_ACQ_REL))
        for (struct fn_lane *lane = relay->lanes; lane; lane = lane->next)
            fn_listeners_resume(lane);
    for (struct fn_message *message = fn_inbox_read(relay->inbox), *next; message; message = next) {
        next = message->next;
        message->deliver(message, relay);
        message->free(message);
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

/* Creation and closing */

static const struct fn_phase unused;
static const struct fn_phase *const phases[] = {
    [FN_UNUSED] = &unused,
    [FN_GREETING] = &fn_greeting_phase,
    [FN_CONNECTING] = &fn_connecting_phase,
    [FN_RELAYING] = &fn_relaying_phase,
    [FN_TO_REFUSE] = &fn_refusing_marked,
    [FN_REFUSING] = &fn_refusing_phase,
    [FN_ENDED] = &fn_connection_ended,
};


int fn_relay_new(struct fn_relay **out, int64_t spin)
{
    struct fn_relay *const relay = calloc(1, sizeof *relay);
    int failure = -ENOMEM;

    if (!relay)
        return failure;
    relay->spin = spin;
    relay->phases = phases;
    fn_queue_init(&relay->busy);
    fn_queue_init(&relay->marked);
    relay->connections.size = sizeof(struct fn_connection);
    relay->connecting.size = fn_connecting_size;
    relay->wakes.on_event = on_wake;
    relay->next_warning = INT64_MIN;
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

static void free_lane(struct fn_lane *lane)
{
    fn_listeners_close(lane, FN_STOPPED);
    fn_lane_free(lane);
}

/* Runs a whole queue. Call while no handler or timer is running: marked connections may be freed. */
static void run_all(struct fn_queue *queue)
{
    struct fn_connection *connection;

    while ((connection = fn_queue_take(queue)))
        fn_connection_run(connection);
}

/* Runs each busy connection once, and those that are marked meanwhile. */
static void run_busy(struct fn_relay *relay)
{
    struct fn_queue batch = relay->busy;
    struct fn_connection *connection;

    fn_queue_init(&relay->busy);
    while ((connection = fn_queue_take(&batch))) {
        fn_connection_run(connection);
        /* New events are handled between two busy connections. */
        if (batch.first)
            fn_loop_poll(&relay->loop, relay->loop.epoll, 0);
        run_all(&relay->marked);
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
        fn_listeners_drain(lane);
    while ((connection = fn_connection_next(relay, &cursor)))
        fn_connection_abort(connection, FN_STOPPED);
    /* All are marked now. */
    run_all(&relay->busy);
    run_all(&relay->marked);
    FN_CHECK(!relay->busy.first && !relay->marked.first && !relay->bulk);
    while (relay->lanes)
        free_lane(relay->lanes);
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
    fn_rule_release(relay->failed);
    fn_records_free(&relay->records);
    fn_slab_free(&relay->connections);
    fn_slab_free(&relay->connecting);
    free(relay->out);
    free(relay);
}

/* Running */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool has_more(const struct fn_relay *relay)
{
    return relay->busy.first || relay->marked.first;
}

static bool polls(const struct fn_relay *relay, int64_t now)
{
    if (now < relay->spins_until)
        return true;
    return relay->bulk ? now < relay->last_short + BRIEFLY_BESIDE_BULK
                       : now < relay->last_short + BRIEFLY && relay->score > 0;
}

/* The longest time to sleep. */
static int64_t pause_of(const struct fn_relay *relay)
{
    const int64_t now = fn_time_now();
    const int64_t deadline = __atomic_load_n(&relay->inbox->deadline, __ATOMIC_RELAXED);

    if (has_more(relay) || polls(relay, now))
        return 0;
    int64_t wait = fn_timers_wait(&relay->loop, now);
    if (relay->bulk)
        wait = least(wait, relay->bulk_due > now ? relay->bulk_due - now : 0);
    if (deadline != FN_NEVER)
        wait = least(wait, deadline > now ? deadline - now : 0);
    return wait;
}

static void await_events(struct fn_relay *relay)
{
    const int64_t pause = pause_of(relay);
    const bool had_more = has_more(relay);

    if (!fn_loop_poll(&relay->loop, relay->loop.epoll, pause))
        return;
    if (pause)
        relay->score = relay->score > LEAST_SCORE ? relay->score - FAILED : 1;
    else if (!had_more && relay->score < MOST_SCORE)
        relay->score++;
    if (relay->spin)
        relay->spins_until = relay->loop.now + relay->spin;
}

/* Frees lanes that have no work any more. */
static void tidy(struct fn_relay *relay)
{
    relay->untidy = false;
    for (struct fn_lane *lane = relay->lanes, *next; lane; lane = next) {
        next = lane->next;
        if (!lane->listeners && !lane->connections)
            free_lane(lane);
    }
}

static void turn(struct fn_relay *relay)
{
    if (relay->is_short)
        fn_listeners_rest(relay);
    await_events(relay);
    run_all(&relay->marked);
    run_busy(relay);
    fn_bulk_serve(relay);
    fn_timers_run(&relay->loop);
    run_all(&relay->marked);
    if (relay->untidy)
        tidy(relay);
}

static bool has_work(const struct fn_relay *relay)
{
    for (const struct fn_lane *lane = relay->lanes; lane; lane = lane->next)
        if (lane->listeners || lane->connections)
            return true;
    return false;
}

static bool find_failure(struct fn_relay *relay)
{
    struct fn_lane *lane = relay->lanes;

    while (lane && !lane->reports_failure)
        lane = lane->next;
    relay->reports_failure = lane;
    if (!lane)
        return false;
    lane->reports_failure = false;
    fn_rule_release(relay->failed);
    fn_rule_hold(lane->rule);
    relay->failed = lane->rule;
    return true;
}

/* In each turn: a lane may be added while the relay drains. */
static void drain(struct fn_relay *relay)
{
    struct fn_slab_cursor cursor = {0};
    struct fn_connection *connection;

    for (struct fn_lane *lane = relay->lanes; lane; lane = lane->next)
        fn_listeners_drain(lane);
    if (relay->draining)
        return;
    relay->draining = true;
    while ((connection = fn_connection_next(relay, &cursor)))
        if (connection->phase == FN_RELAYING && connection->extra && connection->extra->http)
            fn_rewriting_drain(connection);
}

static int run(struct fn_relay *relay, struct fn_shortage *shortage)
{
    read_inbox(relay);
    for (;;) {
        if (__atomic_load_n(&relay->inbox->draining, __ATOMIC_ACQUIRE))
            drain(relay);
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
        if (relay->reports_failure && find_failure(relay))
            return FN_RUN_FAILED;
    }
}

/* splice(2) has no MSG_NOSIGNAL. A SIGPIPE that it raised is consumed before the signal is unblocked. */
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
    if (result == FN_RUN_WHOLE || result == FN_RUN_CUT)
        close_all(relay);
    fn_inbox_rest(relay->inbox);
    if (!sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&broken_pipe, NULL, &at_once) > 0)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

struct fn_rule *fn_relay_take_failure(struct fn_relay *relay)
{
    struct fn_rule *const rule = relay->failed;

    relay->failed = NULL;
    return rule;
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
    /* Closes its copies of the epolls first, so that nothing is removed from the parent's. */
    fn_loop_close(&relay->loop);
    while ((connection = fn_connection_next(relay, &cursor))) {
        if (connection->upstream)
            __atomic_fetch_sub(&connection->upstream->active, 1, __ATOMIC_RELAXED);
        if (connection->connecting)
            fn_connecting_phase.leave(connection);
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
