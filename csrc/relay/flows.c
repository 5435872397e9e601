#define _GNU_SOURCE
#include "relay/flows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define IDLE (60 * FN_SECOND)
#define FEWEST_BUCKETS 64

/* The table of flows */

/* Keyed, so that nobody can choose addresses that all fall into one bucket. */
static struct fn_flow **bucket_of(const struct fn_udp *udp, const struct fn_flow_key *key)
{
    uint64_t words[sizeof *key / sizeof(uint64_t)], hash = udp->secret;

    memcpy(words, key, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        hash = (hash ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return &udp->buckets[hash & (udp->bucket_count - 1)];
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

/* Twice the buckets; without memory for them the chains become longer. */
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
        .owner = flow->udp->lane->rule->options.owner,
        .number = flow->number,
        .client = flow->client,
        .upstream = flow->upstream,
        .address = flow->address,
        .opened = wall.tv_sec * FN_SECOND + wall.tv_nsec - duration,
        .duration = duration,
        .sent_up = flow->sent_up,
        .sent_down = flow->sent_down,
    };
    if (record->upstream)
        fn_upstream_hold(record->upstream);
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
    fn_slab_give(&udp->slab, flow);
    fn_rule_leave(lane->rule);
}

void fn_flows_wait(struct fn_udp *udp)
{
    if (udp->oldest)
        fn_timer_set(udp->lane->loop, &udp->timer, udp->oldest->last + udp->idle);
}

static void on_time(struct fn_timer *timer)
{
    struct fn_udp *const udp = fn_container(timer, struct fn_udp, timer);

    while (udp->oldest && udp->oldest->last + udp->idle <= udp->lane->loop->now)
        fn_flow_end(udp->oldest, FN_IDLE);
    fn_flows_wait(udp);
}

/* What the upstream says */

void fn_flow_answered(struct fn_flow *flow)
{
    flow->answered = true;
    fn_upstream_succeeded(flow->upstream);
}

bool fn_flow_survives(struct fn_flow *flow)
{
    struct fn_upstream *const upstream = flow->upstream;

    fn_upstream_failed(upstream, flow->udp->lane->rule, flow->udp->lane->loop->now);
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

/* Would datagrams to this address be the flow's own client's again? */
static bool is_listener(const struct fn_flow *flow, const struct sockaddr *address)
{
    const struct fn_ip *const local = flow->udp->is_wildcard ? &flow->key.local : &flow->udp->address;
    struct fn_ip ip;

    return fn_ip_of(address, &ip) && memcmp(&ip, local, sizeof ip) == 0 && fn_port_of(address) == flow->udp->port;
}

/* 0, or -errno. */
static int connect_to(struct fn_flow *flow, const struct fn_address *address)
{
    const struct sockaddr *const at = (const struct sockaddr *)&address->at;

    if (!is_ip(at) || is_listener(flow, at))
        return -ELOOP;
    const int fd = socket(at->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int result = connect(fd, at, address->len) < 0 ? -errno : 0;
    if (result == 0)
        result = fn_loop_watch(flow->udp->lane->loop, fd, EPOLLIN, &flow->handler);
    if (result < 0)
        close(fd);
    else
        flow->fd = fd;
    return result;
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EAGAIN;
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
        fn_upstream_failed(upstream, flow->udp->lane->rule, flow->udp->lane->loop->now);
    }
    return result;
}

/* 0, or -errno of the last upstream that was tried. */
static int connect_flow(struct fn_flow *flow)
{
    struct fn_lane *const lane = flow->udp->lane;
    struct fn_choice choice;
    struct fn_upstream *upstream;
    int result = -EADDRNOTAVAIL;

    fn_choice_begin(&choice, lane);
    while (result < 0 && !is_shortage(-result) && (upstream = fn_choice_next(&choice, lane)))
        result = connect_to_upstream(flow, upstream);
    fn_choice_end(&choice);
    return result;
}

static struct fn_flow *new_flow(struct fn_udp *udp, const struct fn_flow_key *key, const union fn_client *client)
{
    struct fn_lane *const lane = udp->lane;
    struct fn_flow *const flow = fn_slab_take(&udp->slab);

    if (!flow)
        return NULL;
    flow->handler.on_event = fn_flow_on_reply;
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

/* Room for one more of the rule's flows, if need be that of the one which was quiet for longest. */
static bool enter(struct fn_udp *udp)
{
    if (fn_rule_enter(udp->lane->rule))
        return true;
    if (!udp->oldest)
        return false;
    fn_flow_end(udp->oldest, FN_IDLE);
    return fn_rule_enter(udp->lane->rule);
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
        if (is_shortage(-result))
            fn_lane_short(lane, -result);
        fn_flow_end(flow, FN_UNREACHABLE);
        return NULL;
    }
    return flow;
}

int fn_flows_init(struct fn_udp *udp)
{
    const int64_t idle = udp->lane->rule->options.idle_timeout;

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
