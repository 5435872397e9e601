#define _GNU_SOURCE
#include "relay/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/udp.h"

/* Time without accepting after descriptors or ports ran out. */
#define SHORTAGE_PAUSE (100 * FN_MILLISECOND)
/* Time without a shortage after which the next one is worth a warning again. */
#define WARNING_PAUSE (60 * FN_SECOND)

static void on_time(struct fn_timer *timer);

/* In the rule's list of lanes */

static void attach(struct fn_lane *lane)
{
    struct fn_rule *const rule = lane->rule;

    pthread_mutex_lock(&rule->mutex);
    lane->sibling = rule->lanes;
    rule->lanes = lane;
    __atomic_fetch_add(&rule->generation, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&rule->mutex);
}

static void detach(struct fn_lane *lane)
{
    struct fn_rule *const rule = lane->rule;
    struct fn_lane **at = &rule->lanes;

    pthread_mutex_lock(&rule->mutex);
    while (*at != lane)
        at = &(*at)->sibling;
    *at = lane->sibling;
    if (lane->full)
        __atomic_fetch_sub(&rule->waiting, 1, __ATOMIC_SEQ_CST);
    fn_counters_add(&rule->retired, &lane->counters);
    __atomic_fetch_add(&rule->generation, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&rule->mutex);
}

static void free_fellows(struct fn_lane *lane)
{
    for (unsigned i = 0; i < lane->fellow_count; i++)
        fn_inbox_release(lane->fellows[i]);
    free(lane->fellows);
    lane->fellows = NULL;
    lane->fellow_count = 0;
}

/* With the rule's mutex held. Without memory it has no fellows. */
static void find_fellows(struct fn_lane *lane)
{
    unsigned count = 0;

    free_fellows(lane);
    for (const struct fn_lane *other = lane->rule->lanes; other; other = other->sibling)
        count++;
    lane->fellows = malloc(count * sizeof *lane->fellows);
    if (!lane->fellows)
        return;
    for (const struct fn_lane *other = lane->rule->lanes; other; other = other->sibling)
        if (other != lane && other->listeners) {
            fn_inbox_hold(other->relay->inbox);
            lane->fellows[lane->fellow_count++] = other->relay->inbox;
        }
}

void fn_lane_refresh(struct fn_lane *lane)
{
    struct fn_rule *const rule = lane->rule;

    if (lane->generation == __atomic_load_n(&rule->generation, __ATOMIC_ACQUIRE))
        return;
    pthread_mutex_lock(&rule->mutex);
    struct fn_table *const old = lane->table;
    lane->generation = rule->generation;
    lane->table = fn_table_hold(rule->table);
    find_fellows(lane);
    pthread_mutex_unlock(&rule->mutex);
    fn_table_release(old);
}

/* In the relay's list */

struct fn_lane *fn_lane_of(struct fn_relay *relay, struct fn_rule *rule)
{
    struct fn_lane *lane = relay->lanes;

    while (lane && lane->rule != rule)
        lane = lane->next;
    if (lane)
        return lane;
    lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    fn_rule_hold(rule);
    lane->rule = rule;
    lane->relay = relay;
    lane->loop = &relay->loop;
    lane->spare = -1;
    fn_timer_init(&lane->pause, on_time);
    attach(lane);
    fn_lane_refresh(lane);
    lane->next = relay->lanes;
    relay->lanes = lane;
    return lane;
}

static void free_drained(struct fn_lane *lane, enum fn_ended ended)
{
    while (lane->drained) {
        struct fn_listener *const listener = lane->drained;
        lane->drained = listener->next;
        fn_udp_free(listener->udp, ended);
        free(listener);
    }
}

void fn_lane_free(struct fn_lane *lane)
{
    struct fn_lane **at = &lane->relay->lanes;

    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    fn_lane_drain(lane);
    free_drained(lane, FN_STOPPED);
    detach(lane);
    free_fellows(lane);
    fn_table_release(lane->table);
    fn_rule_release(lane->rule);
    free(lane);
}

void fn_lanes_tidy(struct fn_relay *relay)
{
    relay->untidy = false;
    for (struct fn_lane *lane = relay->lanes, *next; lane; lane = next) {
        next = lane->next;
        if (!lane->listeners && !lane->connections)
            fn_lane_free(lane);
    }
}

/* Pausing */

static void drop_spare(struct fn_lane *lane)
{
    if (lane->spare >= 0)
        close(lane->spare);
    lane->spare = -1;
}

void fn_lane_pause(struct fn_lane *lane)
{
    if (!lane->accepting)
        return;
    lane->accepting = false;
    for (struct fn_listener *listener = lane->listeners; listener; listener = listener->next)
        if (!listener->udp)
            fn_loop_unwatch(lane->loop, listener->fd, &listener->handler);
    drop_spare(lane);
}

/* The rule is full: until a connection has ended in any of its relays. */
static bool waits(struct fn_lane *lane)
{
    struct fn_rule *const rule = lane->rule;

    if (__atomic_load_n(&rule->active, __ATOMIC_SEQ_CST) < rule->options.max_connections)
        return false;
    pthread_mutex_lock(&rule->mutex);
    if (!lane->full)
        __atomic_fetch_add(&rule->waiting, 1, __ATOMIC_SEQ_CST);
    lane->full = true;
    /* One may have ended before that was to be seen. */
    const bool full = __atomic_load_n(&rule->active, __ATOMIC_SEQ_CST) >= rule->options.max_connections;
    if (!full) {
        __atomic_fetch_sub(&rule->waiting, 1, __ATOMIC_SEQ_CST);
        lane->full = false;
    }
    pthread_mutex_unlock(&rule->mutex);
    return full;
}

void fn_rule_leave(struct fn_rule *rule)
{
    __atomic_fetch_sub(&rule->active, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&rule->waiting, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&rule->mutex);
    for (struct fn_lane *lane = rule->lanes; lane; lane = lane->sibling)
        if (lane->full && fn_inbox_post(lane->relay->inbox, rule, -1, NULL) == 0) {
            __atomic_fetch_sub(&rule->waiting, 1, __ATOMIC_SEQ_CST);
            lane->full = false;
        }
    pthread_mutex_unlock(&rule->mutex);
}

void fn_lane_resume(struct fn_lane *lane)
{
    if (lane->accepting || lane->short_of || !lane->listeners || waits(lane))
        return;
    lane->accepting = true;
    for (struct fn_listener *listener = lane->listeners; listener; listener = listener->next)
        if (!listener->udp && fn_loop_watch(lane->loop, listener->fd, EPOLLIN, &listener->handler) < 0) {
            fn_lane_short(lane, ENOMEM);
            return;
        }
}

void fn_lane_short(struct fn_lane *lane, int error)
{
    struct fn_relay *const relay = lane->relay;
    const int64_t now = relay->loop.now;

    fn_lane_pause(lane);
    lane->short_of = true;
    fn_timer_set(lane->loop, &lane->pause, now + SHORTAGE_PAUSE);
    if (now >= relay->quiet_until)
        relay->shortage =
            (struct fn_shortage){.error = error, .connections = __atomic_load_n(&lane->rule->active, __ATOMIC_RELAXED)};
    relay->quiet_until = now + WARNING_PAUSE;
}

static void on_time(struct fn_timer *timer)
{
    struct fn_lane *const lane = fn_container(timer, struct fn_lane, pause);

    lane->short_of = false;
    fn_lane_resume(lane);
}

void fn_lane_drain(struct fn_lane *lane)
{
    fn_lane_pause(lane);
    fn_timer_clear(lane->loop, &lane->pause);
    lane->short_of = false;
    if (!lane->listeners)
        return;
    while (lane->listeners) {
        struct fn_listener *const listener = lane->listeners;
        lane->listeners = listener->next;
        if (listener->udp) { /* Its flows go on for a while. */
            fn_udp_drain(listener->udp);
            listener->next = lane->drained;
            lane->drained = listener;
        } else {
            close(listener->fd);
            free(listener);
        }
    }
    __atomic_fetch_add(&lane->rule->generation, 1, __ATOMIC_RELEASE);
    lane->relay->untidy = true;
}

/* Another rule may go on with the same datagrams, by a duplicate of the listener: the flows end at once. */
void fn_lane_unlisten(struct fn_lane *lane)
{
    fn_lane_drain(lane);
    free_drained(lane, FN_CLOSED);
}

void fn_lane_record(struct fn_lane *lane, const struct fn_record *record)
{
    fn_records_put(&lane->relay->records, record);
}
