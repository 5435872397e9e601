#include "relay/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http_head.h"
#include "relay/engine.h"

/* Counted references: the last one to go frees. */
static void hold(unsigned *references)
{
    __atomic_fetch_add(references, 1, __ATOMIC_RELAXED);
}

static bool let_go(unsigned *references)
{
    return __atomic_sub_fetch(references, 1, __ATOMIC_ACQ_REL) == 0;
}

/* Upstreams */

/* The families in turn, the first one's first (RFC 8305, section 4): of those left, the first address of
 * another family than the one before, if there is any. */
static void interleave(struct fn_address *addresses, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        unsigned next = i;
        while (next < count && addresses[next].at.ss_family == addresses[i - 1].at.ss_family)
            next++;
        if (next == count)
            return;
        const struct fn_address one = addresses[next];
        memmove(&addresses[i + 1], &addresses[i], (next - i) * sizeof one);
        addresses[i] = one;
    }
}

struct fn_upstream *fn_upstream_new(const struct fn_address *addresses, unsigned count)
{
    struct fn_upstream *const upstream = calloc(1, sizeof *upstream + count * sizeof *addresses);

    if (upstream) {
        upstream->references = 1;
        upstream->healthy = true;
        upstream->count = count;
        memcpy(upstream->addresses, addresses, count * sizeof *addresses);
        interleave(upstream->addresses, count);
    }
    return upstream;
}

void fn_upstream_hold(struct fn_upstream *upstream)
{
    hold(&upstream->references);
}

void fn_upstream_release(struct fn_upstream *upstream)
{
    if (upstream && let_go(&upstream->references))
        free(upstream);
}

bool fn_upstream_healthy(const struct fn_upstream *upstream)
{
    return __atomic_load_n(&upstream->healthy, __ATOMIC_RELAXED);
}

void fn_upstream_set_healthy(struct fn_upstream *upstream, bool healthy)
{
    __atomic_store_n(&upstream->healthy, healthy, __ATOMIC_RELAXED);
}

unsigned fn_upstream_active(const struct fn_upstream *upstream)
{
    return __atomic_load_n(&upstream->active, __ATOMIC_RELAXED);
}

unsigned fn_upstream_failures(const struct fn_upstream *upstream)
{
    return __atomic_load_n(&upstream->failures, __ATOMIC_RELAXED);
}

void fn_upstream_take(struct fn_upstream *upstream)
{
    fn_upstream_hold(upstream);
    __atomic_fetch_add(&upstream->active, 1, __ATOMIC_RELAXED);
}

void fn_upstream_give(struct fn_upstream *upstream)
{
    __atomic_fetch_sub(&upstream->active, 1, __ATOMIC_RELAXED);
    fn_upstream_release(upstream);
}

void fn_upstream_failed(struct fn_upstream *upstream, const struct fn_rule *rule, int64_t now)
{
    const unsigned failures = __atomic_add_fetch(&upstream->failures, 1, __ATOMIC_RELAXED);

    if (rule->options.max_failures && failures >= rule->options.max_failures)
        __atomic_store_n(&upstream->rests_until, now + rule->options.failure_pause, __ATOMIC_RELAXED);
}

void fn_upstream_succeeded(struct fn_upstream *upstream)
{
    if (fn_upstream_failures(upstream))
        __atomic_store_n(&upstream->failures, 0, __ATOMIC_RELAXED);
}

const struct fn_address *fn_record_upstream(const struct fn_record *record)
{
    return &record->upstream->addresses[record->address];
}

/* Tables */

static struct fn_table *new_table(struct fn_upstream *const *upstreams, unsigned count)
{
    struct fn_table *const table = malloc(sizeof *table + count * sizeof *upstreams);

    if (table) {
        table->references = 1;
        table->count = count;
        for (unsigned i = 0; i < count; i++) {
            table->upstreams[i] = upstreams[i];
            fn_upstream_hold(upstreams[i]);
        }
    }
    return table;
}

struct fn_table *fn_table_hold(struct fn_table *table)
{
    hold(&table->references);
    return table;
}

void fn_table_release(struct fn_table *table)
{
    if (!table || !let_go(&table->references))
        return;
    for (unsigned i = 0; i < table->count; i++)
        fn_upstream_release(table->upstreams[i]);
    free(table);
}

/* Rules */

static int copy_prefixes(struct fn_prefixes *prefixes)
{
    struct fn_prefix *const copy = malloc((prefixes->count + 1) * sizeof *copy);

    if (copy && prefixes->count)
        memcpy(copy, prefixes->list, prefixes->count * sizeof *copy);
    prefixes->list = copy;
    return copy ? 0 : -ENOMEM;
}

static void free_rule(struct fn_rule *rule)
{
    fn_table_release(rule->table);
    fn_http_rewrite_free(rule->options.rewrite);
    fn_sources_free(&rule->sources);
    pthread_mutex_destroy(&rule->mutex);
    free((void *)rule->options.allow.list);
    free((void *)rule->options.deny.list);
    free((void *)rule->options.trust_proxy.list);
    free(rule);
}

struct fn_rule *fn_rule_new(const struct fn_rule_options *options, struct fn_upstream *const *upstreams,
                            unsigned count)
{
    struct fn_rule *const rule = calloc(1, sizeof *rule);

    if (!rule || fn_sources_init(&rule->sources) < 0) {
        free(rule);
        fn_http_rewrite_free(options->rewrite);
        return NULL;
    }
    pthread_mutex_init(&rule->mutex, NULL);
    rule->options = *options;
    rule->references = 1;
    rule->generation = 1;
    fn_bucket_init(&rule->bucket, options->rate);
    rule->table = new_table(upstreams, count);
    /* All three, so that each list is the rule's own to be freed. */
    if (copy_prefixes(&rule->options.allow) + copy_prefixes(&rule->options.deny) +
                copy_prefixes(&rule->options.trust_proxy) < 0 || !rule->table) {
        free_rule(rule);
        return NULL;
    }
    return rule;
}

void fn_rule_hold(struct fn_rule *rule)
{
    hold(&rule->references);
}

void fn_rule_release(struct fn_rule *rule)
{
    if (rule && let_go(&rule->references))
        free_rule(rule);
}

int fn_rule_set_upstreams(struct fn_rule *rule, struct fn_upstream *const *upstreams, unsigned count)
{
    struct fn_table *const table = new_table(upstreams, count);

    if (!table)
        return -ENOMEM;
    pthread_mutex_lock(&rule->mutex);
    struct fn_table *const old = rule->table;
    rule->table = table;
    __atomic_fetch_add(&rule->generation, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&rule->mutex);
    fn_table_release(old);
    return 0;
}

void fn_counters_add(struct fn_counters *sum, const struct fn_counters *counters)
{
    uint64_t *const to = (uint64_t *)sum;
    const uint64_t *const from = (const uint64_t *)counters;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void fn_rule_counters(struct fn_rule *rule, struct fn_counters *out)
{
    pthread_mutex_lock(&rule->mutex);
    *out = rule->retired;
    for (const struct fn_lane *lane = rule->lanes; lane; lane = lane->sibling)
        fn_counters_add(out, &lane->counters);
    pthread_mutex_unlock(&rule->mutex);
}

bool fn_rule_enter(struct fn_rule *rule)
{
    if (__atomic_add_fetch(&rule->active, 1, __ATOMIC_RELAXED) <= rule->options.max_connections)
        return true;
    __atomic_fetch_sub(&rule->active, 1, __ATOMIC_RELAXED);
    return false;
}

void fn_rule_reset(struct fn_rule *rule)
{
    pthread_mutex_init(&rule->mutex, NULL);
    /* Its table may be in the middle of a change, and is left alone. */
    fn_sources_init(&rule->sources);
    rule->active = rule->waiting = 0;
    for (struct fn_lane *lane = rule->lanes; lane; lane = lane->sibling) {
        lane->counters.active = 0;
        lane->full = false;
    }
}

bool fn_rule_admits(const struct fn_rule *rule, const struct sockaddr *client)
{
    const struct fn_prefixes *const allow = &rule->options.allow, *const deny = &rule->options.deny;

    return !fn_prefixes_match(deny->list, deny->count, client) &&
           (!allow->count || fn_prefixes_match(allow->list, allow->count, client));
}

/* Choosing */

/* 2 where it is healthy and does not rest, 1 where it does rest, 0 where it is not healthy. */
static unsigned fitness(const struct fn_upstream *upstream, int64_t now)
{
    if (!fn_upstream_healthy(upstream))
        return 0;
    return __atomic_load_n(&upstream->rests_until, __ATOMIC_RELAXED) <= now ? 2 : 1;
}

void fn_choice_begin(struct fn_choice *choice, struct fn_lane *lane)
{
    fn_lane_refresh(lane);
    *choice = (struct fn_choice){.table = fn_table_hold(lane->table)};
    if (!choice->table->count)
        return;
    choice->first = __atomic_fetch_add(&lane->rule->turn, 1, __ATOMIC_RELAXED) % choice->table->count;
    for (unsigned i = 0; i < choice->table->count && choice->fitness < 2; i++) {
        const unsigned one = fitness(choice->table->upstreams[i], lane->loop->now);
        if (one > choice->fitness)
            choice->fitness = one;
    }
}

static struct fn_upstream *next_in_turn(struct fn_choice *choice, int64_t now)
{
    const struct fn_table *const table = choice->table;

    while (choice->asked < table->count) {
        struct fn_upstream *const upstream = table->upstreams[(choice->first + choice->asked++) % table->count];
        if (fitness(upstream, now) >= choice->fitness)
            return upstream;
    }
    return NULL;
}

/* Of those that come after the last one by their load, and by their turn among equals, the first. */
static struct fn_upstream *next_by_load(struct fn_choice *choice, int64_t now)
{
    const struct fn_table *const table = choice->table;
    uint64_t least = UINT64_MAX;
    struct fn_upstream *best = NULL;

    for (unsigned i = 0; i < table->count; i++) {
        struct fn_upstream *const upstream = table->upstreams[(choice->first + i) % table->count];
        const uint64_t place = ((uint64_t)fn_upstream_active(upstream) << 32 | i) + 1;
        if (place > choice->place && place < least && fitness(upstream, now) >= choice->fitness) {
            least = place;
            best = upstream;
        }
    }
    choice->place = least;
    return best;
}

struct fn_upstream *fn_choice_next(struct fn_choice *choice, const struct fn_lane *lane)
{
    return lane->rule->options.policy == FN_LEAST_CONNECTIONS ? next_by_load(choice, lane->loop->now)
                                                              : next_in_turn(choice, lane->loop->now);
}

void fn_choice_end(struct fn_choice *choice)
{
    fn_table_release(choice->table);
    choice->table = NULL;
}
