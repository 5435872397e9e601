#define _GNU_SOURCE
#include "relay/lane.h"

#include <stdlib.h>

#include "relay/internal.h"

/* Minimum time between two shortage warnings. */
#define WARNING_PAUSE (60 * FN_SECOND)

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

static void free_siblings(struct fn_lane *lane)
{
    for (unsigned i = 0; i < lane->sibling_count; i++)
        fn_inbox_release(lane->siblings[i]);
    free(lane->siblings);
    lane->siblings = NULL;
    lane->sibling_count = 0;
}

/* Call with the rule's mutex held. Without memory the lane has no siblings. */
static void find_siblings(struct fn_lane *lane)
{
    unsigned count = 0;

    free_siblings(lane);
    for (const struct fn_lane *other = lane->rule->lanes; other; other = other->sibling)
        count++;
    lane->siblings = malloc(count * sizeof *lane->siblings);
    if (!lane->siblings)
        return;
    for (const struct fn_lane *other = lane->rule->lanes; other; other = other->sibling)
        if (other != lane && __atomic_load_n(&other->listens, __ATOMIC_RELAXED)) {
            fn_inbox_hold(other->relay->inbox);
            lane->siblings[lane->sibling_count++] = other->relay->inbox;
        }
}

void fn_lane_refresh(struct fn_lane *lane)
{
    struct fn_rule *const rule = lane->rule;

    if (lane->generation == __atomic_load_n(&rule->generation, __ATOMIC_ACQUIRE))
        return;
    pthread_mutex_lock(&rule->mutex);
    struct fn_table *const old = lane->table;
    lane->generation = __atomic_load_n(&rule->generation, __ATOMIC_ACQUIRE);
    lane->table = fn_table_hold(rule->table);
    find_siblings(lane);
    pthread_mutex_unlock(&rule->mutex);
    fn_table_release(old);
}

void fn_lane_choose(struct fn_lane *lane, struct fn_choice *choice)
{
    struct fn_rule *const rule = lane->rule;

    fn_lane_refresh(lane);
    const unsigned turn = lane->table->count ? __atomic_fetch_add(&rule->turn, 1, __ATOMIC_RELAXED) : 0;
    fn_choice_begin(choice, lane->table, rule->options.policy, turn, lane->loop->now);
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
    attach(lane);
    fn_lane_refresh(lane);
    lane->next = relay->lanes;
    relay->lanes = lane;
    return lane;
}

void fn_lane_free(struct fn_lane *lane)
{
    struct fn_lane **at = &lane->relay->lanes;

    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    if (lane->reports_failure)
        fn_rule_watch(lane->rule); /* left for another lane to report */
    detach(lane);
    FN_CHECK(!lane->connections && !lane->listeners && !lane->drained && lane->spare < 0);
    FN_CHECK(!fn_timer_is_set(&lane->pause));
    free_siblings(lane);
    fn_table_release(lane->table);
    fn_rule_release(lane->rule);
    free(lane);
}

/* Limits, shortages and records */

bool fn_lane_waits(struct fn_lane *lane)
{
    struct fn_rule *const rule = lane->rule;

    if (__atomic_load_n(&rule->active, __ATOMIC_SEQ_CST) < rule->options.max_connections)
        return false;
    pthread_mutex_lock(&rule->mutex);
    if (!lane->full)
        __atomic_fetch_add(&rule->waiting, 1, __ATOMIC_SEQ_CST);
    lane->full = true;
    /* A connection may have ended before `full` was set. */
    const bool full = __atomic_load_n(&rule->active, __ATOMIC_SEQ_CST) >= rule->options.max_connections;
    if (!full) {
        __atomic_fetch_sub(&rule->waiting, 1, __ATOMIC_SEQ_CST);
        lane->full = false;
    }
    pthread_mutex_unlock(&rule->mutex);
    return full;
}

void fn_lane_ask_for_room(const struct fn_lane *lane)
{
    struct fn_rule *const rule = lane->rule;

    pthread_mutex_lock(&rule->mutex);
    for (struct fn_lane *sibling = rule->lanes; sibling; sibling = sibling->sibling)
        if (sibling != lane) {
            __atomic_store_n(&sibling->yields, true, __ATOMIC_RELAXED);
            fn_inbox_resume(sibling->relay->inbox);
        }
    pthread_mutex_unlock(&rule->mutex);
}

void fn_lane_short(struct fn_lane *lane, int error)
{
    struct fn_relay *const relay = lane->relay;
    const int64_t now = relay->loop.now;

    lane->short_of = lane->is_new_shortage = relay->is_short = true;
    if (now >= relay->next_warning)
        relay->shortage =
            (struct fn_shortage){.error = error, .connections = __atomic_load_n(&lane->rule->active, __ATOMIC_RELAXED)};
    relay->next_warning = now + WARNING_PAUSE;
}

void fn_lane_note_failure(struct fn_lane *lane)
{
    if (!__atomic_exchange_n(&lane->rule->watched, false, __ATOMIC_RELAXED))
        return;
    lane->reports_failure = true;
    lane->relay->reports_failure = true;
}

void fn_lane_record(struct fn_lane *lane, struct fn_record *record)
{
    fn_records_put(&lane->relay->records, record);
}
