#define _GNU_SOURCE
#include "relay/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "relay/flows.h"
#include "relay/udp.h"

/* Time that accepting pauses after descriptors or ports ran out. */
#define SHORTAGE_PAUSE (100 * FN_MILLISECOND)

enum { ACCEPTS_A_TURN = 16 };

/* Pausing */

static void drop_spare(struct fn_lane *lane)
{
    if (lane->spare >= 0)
        close(lane->spare);
    lane->spare = -1;
}

void fn_listeners_pause(struct fn_lane *lane)
{
    if (!lane->accepting)
        return;
    lane->accepting = false;
    for (struct fn_listener *listener = lane->listeners; listener; listener = listener->next)
        if (!listener->udp)
            fn_loop_unwatch(lane->loop, listener->fd, &listener->handler);
    drop_spare(lane);
}

static void yield(struct fn_lane *lane)
{
    struct fn_flow *const flow = fn_flow_idlest(lane, NULL);

    if (flow)
        fn_flow_end(flow, FN_IDLE);
}

void fn_listeners_resume(struct fn_lane *lane)
{
    if (__atomic_exchange_n(&lane->yields, false, __ATOMIC_RELAXED))
        yield(lane);
    if (lane->accepting || lane->short_of || !lane->listeners || fn_lane_waits(lane))
        return;
    lane->accepting = true;
    for (struct fn_listener *listener = lane->listeners; listener; listener = listener->next)
        if (!listener->udp && fn_loop_watch(lane->loop, listener->fd, EPOLLIN, &listener->handler) < 0) {
            fn_lane_short(lane, ENOMEM);
            return;
        }
}

static void on_time(struct fn_timer *timer)
{
    struct fn_lane *const lane = fn_container(timer, struct fn_lane, pause);

    lane->short_of = false;
    fn_listeners_resume(lane);
}

void fn_listeners_rest(struct fn_relay *relay)
{
    relay->is_short = false;
    for (struct fn_lane *lane = relay->lanes; lane; lane = lane->next) {
        if (!lane->is_new_shortage)
            continue;
        lane->is_new_shortage = false;
        fn_listeners_pause(lane);
        lane->pause.on_time = on_time;
        fn_timer_set(lane->loop, &lane->pause, lane->loop->now + SHORTAGE_PAUSE);
    }
}

/* An accepted socket becomes a connection, here or in a sibling relay */

static void close_spare(int spare)
{
    if (spare >= 0)
        close(spare);
}

/* There is no memory for a connection, or epoll accepts no more: the client is reset and a record kept. */
static void reject(struct fn_lane *lane, const struct fn_accepted *accepted)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    struct fn_record record = {
        .number = __atomic_add_fetch(&lane->rule->next_number, 1, __ATOMIC_RELAXED),
        .client = accepted->client,
        .ended = FN_UNREACHABLE,
        .opened = now.tv_sec * FN_SECOND + now.tv_nsec,
    };
    fn_socket_abort(accepted->fd);
    close(accepted->fd);
    close_spare(accepted->spare);
    fn_rule_leave(lane->rule);
    if (lane->rule->options.record) {
        fn_record_refer(&record, lane->rule, NULL);
        fn_lane_record(lane, &record);
    }
    fn_lane_short(lane, ENOMEM);
}

void fn_listener_adopt(struct fn_lane *lane, const struct fn_accepted *accepted)
{
    struct fn_connection *const connection = fn_connection_new(lane, accepted->fd);

    fn_count(&lane->counters.accepted, 1);
    if (!connection) {
        reject(lane, accepted);
        return;
    }
    connection->client = accepted->client;
    connection->down.is_tcp = connection->client.any.sa_family != AF_UNIX;
    if (connection->down.is_tcp)
        fn_socket_set_congestion(accepted->fd, lane->rule);
    if (fn_connecting_prepare(connection, accepted->spare, accepted->spare_family))
        fn_greeting_begin(connection);
    else
        fn_connection_abort(connection, FN_UNREACHABLE);
}

/* A sibling relay with clearly fewer connections, or NULL. An even share matters most when there are few. */
static struct fn_inbox *least_loaded(struct fn_lane *lane)
{
    const unsigned load = __atomic_load_n(&lane->relay->inbox->load, __ATOMIC_RELAXED);
    struct fn_inbox *best = NULL;
    unsigned least = load - load / 8;

    for (unsigned i = 0; i < lane->sibling_count; i++) {
        const unsigned other = __atomic_load_n(&lane->siblings[i]->load, __ATOMIC_RELAXED);
        if (other < least) {
            least = other;
            best = lane->siblings[i];
        }
    }
    return best;
}

struct handover {
    struct fn_message message;
    struct fn_rule *rule; /* a reference of its own */
    struct fn_accepted accepted; /* its `fd` is -1 once the other relay owns it */
};

static void deliver(struct fn_message *message, struct fn_relay *relay)
{
    struct handover *const handover = fn_container(message, struct handover, message);
    struct fn_lane *const lane = fn_lane_of(relay, handover->rule);

    if (lane) {
        fn_listener_adopt(lane, &handover->accepted);
        handover->accepted.fd = -1;
    }
}

static void free_handover(struct fn_message *message)
{
    struct handover *const handover = fn_container(message, struct handover, message);

    if (handover->accepted.fd >= 0) {
        fn_socket_abort(handover->accepted.fd);
        close(handover->accepted.fd);
        close_spare(handover->accepted.spare);
        fn_rule_leave(handover->rule);
    }
    fn_rule_release(handover->rule);
    free(handover);
}

/* Whether a sibling relay takes ownership of it. */
static bool hand_over(struct fn_lane *lane, const struct fn_accepted *accepted)
{
    struct fn_inbox *const sibling = least_loaded(lane);
    struct handover *const handover = sibling ? malloc(sizeof *handover) : NULL;

    if (!handover)
        return false;
    fn_rule_hold(lane->rule);
    *handover = (struct handover){
        .message = {.deliver = deliver, .free = free_handover}, .rule = lane->rule, .accepted = *accepted};
    if (fn_inbox_post(sibling, &handover->message) == 0)
        return true;
    handover->accepted.fd = -1;
    free_handover(&handover->message);
    return false;
}

/* Accepting */

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* No client is accepted without a free descriptor for its upstream. */
static bool has_spare(struct fn_lane *lane)
{
    const struct fn_table *const table = lane->table;

    if (lane->spare >= 0 || !table->count)
        return true;
    lane->spare_family = table->upstreams[0]->addresses[0].at.ss_family;
    lane->spare = socket(lane->spare_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return lane->spare >= 0 || !is_shortage(errno);
}

/* Accepts one connection; false if there is none, or no more can be accepted now. */
static bool accept_one(struct fn_listener *listener)
{
    struct fn_lane *const lane = listener->lane;
    struct fn_accepted accepted = {.client.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof accepted.client;

    fn_lane_refresh(lane);
    if (!fn_rule_enter(lane->rule)) {
        fn_listeners_pause(lane);
        fn_listeners_resume(lane);
        return false;
    }
    accepted.fd = -1;
    if (has_spare(lane))
        accepted.fd = accept4(listener->fd, &accepted.client.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted.fd < 0) {
        const int error = errno;
        fn_rule_leave(lane->rule);
        if (is_shortage(error))
            fn_lane_short(lane, error);
        /* This client has closed meanwhile; others may wait. */
        return error == ECONNABORTED;
    }
    accepted.spare = lane->spare;
    accepted.spare_family = lane->spare_family;
    lane->spare = -1;
    if (!hand_over(lane, &accepted))
        fn_listener_adopt(lane, &accepted);
    return true;
}

static void on_event(struct fn_handler *handler, uint32_t events)
{
    struct fn_listener *const listener = fn_container(handler, struct fn_listener, handler);

    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && listener->lane->accepting && !listener->lane->short_of; i++)
        if (!accept_one(listener))
            return;
}

/* Listeners */

static int prepare(struct fn_listener *listener)
{
    const int flags = fcntl(listener->fd, F_GETFL);
    int type = 0;
    socklen_t len = sizeof type;

    if (flags < 0 || fcntl(listener->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        getsockopt(listener->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return -errno;
    if (type == SOCK_DGRAM) {
        const int fd = listener->fd;
        listener->fd = -1;
        return fn_udp_new(&listener->udp, listener->lane, fd);
    }
    fn_socket_prepare_listener(listener->fd, listener->lane->rule);
    return 0;
}

int fn_listener_open(struct fn_lane *lane, int fd)
{
    struct fn_listener *const listener = calloc(1, sizeof *listener);

    if (!listener) {
        close(fd);
        return -ENOMEM;
    }
    *listener = (struct fn_listener){.handler.on_event = on_event, .lane = lane, .fd = fd};
    const int failure = prepare(listener);
    if (failure < 0) {
        if (listener->fd >= 0)
            close(listener->fd);
        free(listener);
        return failure;
    }
    fn_listeners_pause(lane);
    listener->next = lane->listeners;
    lane->listeners = listener;
    __atomic_store_n(&lane->listens, true, __ATOMIC_RELAXED);
    __atomic_fetch_add(&lane->rule->generation, 1, __ATOMIC_RELEASE);
    fn_listeners_resume(lane);
    return 0;
}

void fn_listeners_drain(struct fn_lane *lane)
{
    fn_listeners_pause(lane);
    fn_timer_clear(lane->loop, &lane->pause);
    lane->short_of = lane->is_new_shortage = false;
    if (!lane->listeners)
        return;
    while (lane->listeners) {
        struct fn_listener *const listener = lane->listeners;
        lane->listeners = listener->next;
        if (listener->udp) { /* Its flows continue for a while. */
            fn_udp_drain(listener->udp);
            listener->next = lane->drained;
            lane->drained = listener;
        } else {
            close(listener->fd);
            free(listener);
        }
    }
    __atomic_store_n(&lane->listens, false, __ATOMIC_RELAXED);
    __atomic_fetch_add(&lane->rule->generation, 1, __ATOMIC_RELEASE);
    lane->relay->untidy = true;
}

/* The flows end at once: another rule may serve the same datagrams by a duplicate of the listener. */
void fn_listeners_close(struct fn_lane *lane, enum fn_ended ended)
{
    fn_listeners_drain(lane);
    while (lane->drained) {
        struct fn_listener *const listener = lane->drained;
        lane->drained = listener->next;
        fn_udp_free(listener->udp, ended);
        free(listener);
    }
}
