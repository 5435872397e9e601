#define _GNU_SOURCE
#include "relay/flows.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "relay/internal.h"

#define IDLE (60 * FN_SECOND)
#define FEWEST_BUCKETS 64

/* The table of flows */

static struct fn_flow **bucket_of(const struct fn_udp *udp, const struct fn_flow_key *key)
{
    return &udp->buckets[fn_siphash(&udp->secret, key, sizeof *key / sizeof(uint64_t)) & (udp->bucket_count - 1)];
}

struct fn_flow *fn_flow_find(const struct fn_udp *udp, const struct fn_flow_key *key)
{
    struct fn_flow *flow = *bucket_of(udp, key);

    while (flow && memcmp(&flow->key, key, sizeof *key) != 0)
        flow = flow->chained;
    return flow;
}

static void insert(struct fn_udp *udp, struct fn_flow *flow)
{
    struct fn_flow **const bucket = bucket_of(udp, &flow->key);

    flow->chained = *bucket;
    *bucket = flow;
}

/* Doubles the buckets. Without memory for that, the chains become longer. */
static void grow(struct fn_udp *udp)
{
    struct fn_flow **const buckets = calloc(udp->bucket_count * 2, sizeof(struct fn_flow *));

    if (!buckets)
        return;
    free(udp->buckets);
    udp->buckets = buckets;
    udp->bucket_count *= 2;
    for (struct fn_flow *flow = udp->oldest; flow; flow = flow->newer)
        insert(udp, flow);
}

static void append(struct fn_udp *udp, struct fn_flow *flow)
{
    flow->older = udp->newest;
    flow->newer = NULL;
    if (udp->newest)
        udp->newest->newer = flow;
    else
        udp->oldest = flow;
    udp->newest = flow;
}

static void detach(struct fn_udp *udp, struct fn_flow *flow)
{
    if (flow->older)
        flow->older->newer = flow->newer;
    else
        udp->oldest = flow->newer;
    if (flow->newer)
        flow->newer->older = flow->older;
    else
        udp->newest = flow->older;
}

void fn_flow_touch(struct fn_flow *flow)
{
    flow->last = flow->udp->lane->loop->now;
    if (flow->newer) {
        detach(flow->udp, flow);
        append(flow->udp, flow);
    }
}

/* Ends */

void fn_flow_record(const struct fn_flow *flow, struct fn_record *record)
{
    const int64_t duration = fn_time_now() - flow->opened;
    struct timespec wall;

    clock_gettime(CLOCK_REALTIME, &wall);
    *record = (struct fn_record){
        .number = flow->number,
        .client = flow->client,
        .address = flow->address,
        .opened = wall.tv_sec * FN_SECOND + wall.tv_nsec - duration,
        .duration = duration,
        .sent_up = flow->sent_up,
        .sent_down = flow->sent_down,
    };
    fn_record_refer(record, flow->udp->lane->rule, flow->upstream);
}

static void disconnect(struct fn_flow *flow)
{
    if (flow->fd < 0)
        return;
    fn_loop_unwatch(flow->udp->lane->loop, flow->fd, &flow->handler);
    close(flow->fd);
    flow->fd = -1;
}

void fn_flow_end(struct fn_flow *flow, enum fn_ended ended)
{
    struct fn_udp *const udp = flow->udp;
    struct fn_lane *const lane = udp->lane;
    struct fn_flow **link = bucket_of(udp, &flow->key);

    if (lane->rule->options.record) {
        struct fn_record record;
        fn_flow_record(flow, &record);
        record.ended = ended;
        fn_lane_record(lane, &record);
    }
    fn_count(&lane->counters.timed_out, ended == FN_IDLE);
    fn_count(&lane->counters.unreachable, ended == FN_UNREACHABLE);
    fn_count(&lane->counters.resets, ended == FN_STOPPED);
    disconnect(flow);
    if (flow->upstream)
        fn_upstream_give(flow->upstream);
    if (lane->rule->options.max_per_source)
        fn_sources_give(&lane->rule->sources, &flow->client.any);
    while (*link != flow)
        link = &(*link)->chained;
    *link = flow->chained;
    detach(udp, flow);
    udp->flow_count--;
    lane->connections--;
    fn_count(&lane->counters.active, -UINT64_C(1));
    flow->chained = udp->ended;
    udp->ended = flow;
    fn_rule_leave(lane->rule);
}

void fn_flows_free_ended(struct fn_udp *udp)
{
    while (udp->ended) {
        struct fn_flow *const flow = udp->ended;
        udp->ended = flow->chained;
        FN_CHECK(flow->fd < 0 && !fn_handler_is_watched(&flow->handler));
        fn_slab_give(&udp->slab, flow);
    }
}

void fn_flows_wait(struct fn_udp *udp)
{
    if (udp->oldest)
        fn_timer_set(udp->lane->loop, &udp->timer, udp->oldest->last + udp->idle);
}

static void on_time(struct fn_timer *timer)
{
    struct fn_udp *const udp = fn_container(timer, struct fn_udp, timer);

    fn_flows_free_ended(udp);
    while (udp->oldest && udp->oldest->last + udp->idle <= udp->lane->loop->now)
        fn_flow_end(udp->oldest, FN_IDLE);
    fn_flows_wait(udp);
}

/* Data of the upstream */

void fn_flow_answered(struct fn_flow *flow)
{
    flow->answered = true;
    fn_upstream_succeeded(flow->upstream);
}

bool fn_flow_survives(struct fn_flow *flow)
{
    struct fn_upstream *const upstream = flow->upstream;

    fn_upstream_failed(upstream, &flow->udp->lane->rule->options, flow->udp->lane->loop->now);
    fn_lane_note_failure(flow->udp->lane);
    if (flow->answered) {
        flow->answered = false;
        return true;
    }
    if (__atomic_load_n(&upstream->preferred, __ATOMIC_RELAXED) == flow->address)
        __atomic_store_n(&upstream->preferred, (flow->address + 1) % upstream->count, __ATOMIC_RELAXED);
    fn_flow_end(flow, FN_UNREACHABLE);
    return false;
}

/* New flows */

static bool is_ip(const struct sockaddr *address)
{
    return address->sa_family == AF_INET || address->sa_family == AF_INET6;
}

/* Whether datagrams to this address come back to the flow's own listener. */
static bool is_listener(const struct fn_flow *flow, const struct sockaddr *address)
{
    const struct fn_ip *const local = flow->udp->is_wildcard ? &flow->key.local : &flow->udp->address;
    struct fn_ip ip;

    return fn_ip_of(address, &ip) && memcmp(&ip, local, sizeof ip) == 0 && fn_port_of(address) == flow->udp->port;
}

static bool is_shortage(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC: /* of epoll */
    case EAGAIN: /* no local port is free */
        return true;
    default:
        return false;
    }
}

static const struct fn_flow *idlest(const struct fn_listener *listener, const struct fn_flow *best,
                                    const struct fn_flow *but)
{
    for (; listener; listener = listener->next) {
        const struct fn_flow *const flow = listener->udp ? listener->udp->oldest : NULL;
        if (flow && flow != but && (!best || flow->last < best->last))
            best = flow;
    }
    return best;
}

struct fn_flow *fn_flow_idlest(const struct fn_lane *lane, const struct fn_flow *but)
{
    return (struct fn_flow *)idlest(lane->drained, idlest(lane->listeners, NULL, but), but);
}

/* The oldest flow of all other rules in the lane's relay, or NULL. */
static struct fn_flow *idlest_of_others(const struct fn_lane *but)
{
    const struct fn_flow *best = NULL;

    for (const struct fn_lane *lane = but->relay->lanes; lane; lane = lane->next)
        if (lane != but)
            best = idlest(lane->drained, idlest(lane->listeners, best, NULL), NULL);
    return (struct fn_flow *)best;
}

static struct fn_flow *idlest_of_rule(const struct fn_udp *udp, const struct fn_flow *but)
{
    struct fn_flow *const own = udp->oldest;

    return own && own != but ? own : fn_flow_idlest(udp->lane, but);
}

/* False if there is none; then the rule's other lanes are asked to end one. */
static bool end_or_ask(const struct fn_udp *udp, struct fn_flow *flow)
{
    if (flow)
        fn_flow_end(flow, FN_IDLE);
    else
        fn_lane_ask_for_room(udp->lane);
    return flow;
}

/* All rules share the descriptors and ports. A rule that has flows itself ends none of another rule. */
static bool end_for_shortage(const struct fn_udp *udp, const struct fn_flow *but)
{
    struct fn_flow *const own = idlest_of_rule(udp, but);

    return end_or_ask(udp, own ? own : idlest_of_others(udp->lane));
}

/* Whether this descriptor is one of those reserved for other uses than flows. The kernel returns the lowest free
 * number, so that a high one means that few are left. With few flows, something else uses the descriptors. */
static bool is_reserved(const struct fn_udp *udp, int fd)
{
    return fd >= udp->reserved && udp->flow_count > udp->reserve;
}

/*
 * A descriptor, or -errno. When they run out, the flow that has been idle longest is ended.
 *
 * A late answer to a flow that has ended reaches a newer flow if that has the same local port and the same upstream.
 * The kernel chooses ports at random: for each flow that begins meanwhile the chance is one in 28,000
 * (ip_local_port_range, ip(7)). Keeping the ports of ended flows would take descriptors, which are scarce.
 */
static int open_socket(const struct fn_flow *flow, int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if ((fd < 0 ? is_shortage(errno) : is_reserved(flow->udp, fd)) && end_for_shortage(flow->udp, flow)) {
        if (fd >= 0)
            close(fd);
        fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    return fd < 0 ? -errno : fd;
}

/* 0, or -errno. */
static int connect_to(struct fn_flow *flow, const struct fn_address *address)
{
    const struct sockaddr *const at = (const struct sockaddr *)&address->at;

    if (!is_ip(at) || is_listener(flow, at))
        return -ELOOP;
    const int fd = open_socket(flow, at->sa_family);
    if (fd < 0)
        return fd;
    int result = connect(fd, at, address->len) < 0 ? -errno : 0;
    if (result == 0)
        result = fn_loop_watch(flow->udp->lane->loop, fd, EPOLLIN, &flow->handler);
    if (result < 0)
        close(fd);
    else
        flow->fd = fd;
    return result;
}

static int connect_to_upstream(struct fn_flow *flow, struct fn_upstream *upstream)
{
    const unsigned preferred = __atomic_load_n(&upstream->preferred, __ATOMIC_RELAXED);
    int result = -EADDRNOTAVAIL;

    for (unsigned i = 0; i < upstream->count && result < 0 && !is_shortage(-result); i++) {
        const unsigned at = (preferred + i) % upstream->count;
        flow->address = (uint16_t)at;
        result = connect_to(flow, &upstream->addresses[at]);
    }
    if (result == 0) {
        fn_upstream_take(upstream);
        flow->upstream = upstream;
    } else if (!is_shortage(-result)) {
        fn_upstream_failed(upstream, &flow->udp->lane->rule->options, flow->udp->lane->loop->now);
        fn_lane_note_failure(flow->udp->lane);
    }
    return result;
}

/* 0, or -errno of the last upstream tried. */
static int try_upstreams(struct fn_flow *flow)
{
    struct fn_lane *const lane = flow->udp->lane;
    struct fn_choice choice;
    struct fn_upstream *upstream;
    int result = -EADDRNOTAVAIL;

    fn_lane_choose(lane, &choice);
    while (result < 0 && !is_shortage(-result) && (upstream = fn_choice_next(&choice, lane->loop->now)))
        result = connect_to_upstream(flow, upstream);
    fn_choice_end(&choice);
    return result;
}

/* 0, or -errno. When ports or memory run out, the flow that has been idle longest is ended. */
static int connect_flow(struct fn_flow *flow)
{
    const int result = try_upstreams(flow);

    if (result == 0 || !is_shortage(-result) || !end_for_shortage(flow->udp, flow))
        return result;
    return try_upstreams(flow);
}

static struct fn_flow *new_flow(struct fn_udp *udp, const struct fn_flow_key *key, const union fn_client *client)
{
    struct fn_lane *const lane = udp->lane;
    struct fn_flow *const flow = fn_slab_take(&udp->slab);

    if (!flow)
        return NULL;
    flow->handler.on_event = udp->on_reply;
    flow->udp = udp;
    flow->key = *key;
    flow->client = *client;
    flow->fd = -1;
    flow->opened = flow->last = lane->loop->now;
    flow->number = __atomic_add_fetch(&lane->rule->next_number, 1, __ATOMIC_RELAXED);
    fn_bucket_init(&flow->bucket, lane->rule->options.connection_rate);
    if (udp->flow_count >= udp->bucket_count)
        grow(udp);
    insert(udp, flow);
    append(udp, flow);
    if (!fn_timer_is_set(&udp->timer))
        fn_flows_wait(udp);
    udp->flow_count++;
    lane->connections++;
    fn_count(&lane->counters.accepted, 1);
    fn_count(&lane->counters.active, 1);
    return flow;
}

/* Makes room for one more flow of the rule, if necessary by ending the one that has been idle longest. */
static bool enter(struct fn_udp *udp)
{
    if (fn_rule_enter(udp->lane->rule))
        return true;
    return end_or_ask(udp, idlest_of_rule(udp, NULL)) && fn_rule_enter(udp->lane->rule);
}

static bool admit(struct fn_udp *udp, const union fn_client *client)
{
    struct fn_rule *const rule = udp->lane->rule;
    const unsigned limit = rule->options.max_per_source;

    if (!fn_rule_admits(rule, &client->any) || (limit && fn_sources_take(&rule->sources, &client->any, limit) < 0))
        return false;
    if (enter(udp))
        return true;
    if (limit)
        fn_sources_give(&rule->sources, &client->any);
    return false;
}

struct fn_flow *fn_flow_begin(struct fn_udp *udp, const struct fn_flow_key *key, const union fn_client *client)
{
    struct fn_lane *const lane = udp->lane;

    if (udp->draining || lane->short_of)
        return NULL;
    if (!admit(udp, client)) {
        fn_count(&lane->counters.denied, 1);
        return NULL;
    }
    struct fn_flow *const flow = new_flow(udp, key, client);
    if (!flow) {
        if (lane->rule->options.max_per_source)
            fn_sources_give(&lane->rule->sources, &client->any);
        fn_rule_leave(lane->rule);
        fn_lane_short(lane, ENOMEM);
        return NULL;
    }
    const int result = connect_flow(flow);
    if (result < 0) {
        /* Other lanes were asked to end a flow: there may be room at the next datagram. */
        if (is_shortage(-result) && __atomic_load_n(&lane->rule->active, __ATOMIC_RELAXED) <= lane->connections)
            fn_lane_short(lane, -result);
        fn_flow_end(flow, FN_UNREACHABLE);
        return NULL;
    }
    return flow;
}

/* A sixteenth of the descriptors is reserved for connections, checks and other files of the process. */
static void keep_reserve(struct fn_udp *udp)
{
    struct rlimit files = {.rlim_cur = RLIM_INFINITY};

    getrlimit(RLIMIT_NOFILE, &files);
    const int most = files.rlim_cur < INT_MAX ? (int)files.rlim_cur : INT_MAX;
    udp->reserve = (size_t)most / 16;
    udp->reserved = most - most / 16;
}

int fn_flows_init(struct fn_udp *udp)
{
    const int64_t idle = udp->lane->rule->options.idle_timeout;

    keep_reserve(udp);

    udp->idle = idle ? idle : IDLE;
    udp->slab.size = sizeof(struct fn_flow);
    udp->bucket_count = FEWEST_BUCKETS;
    udp->buckets = calloc(udp->bucket_count, sizeof(struct fn_flow *));
    fn_timer_init(&udp->timer, on_time);
    if (!udp->buckets)
        return -ENOMEM;
    return getrandom(&udp->secret, sizeof udp->secret, 0) < 0 ? -errno : 0;
}

void fn_flows_free(struct fn_udp *udp)
{
    free(udp->buckets);
    fn_slab_free(&udp->slab);
}
