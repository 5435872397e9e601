#include "relay/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http_head.h"
#include "relay/check.h"
#include "relay/internal.h"
#include "relay/reference.h"

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
    FN_CHECK(!rule->lanes);
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
    if (!options->source_prefix)
        rule->options.source_prefix = rule->sources.ipv6_prefix;
    rule->sources.ipv6_prefix = rule->options.source_prefix;
    rule->references = 1;
    rule->generation = 1;
    fn_bucket_init(&rule->bucket, options->rate);
    rule->table = fn_table_new(upstreams, count);
    /* Copies all three, even if one fails, so that the rule frees only its own lists. */
    if (copy_prefixes(&rule->options.allow) + copy_prefixes(&rule->options.deny) +
                copy_prefixes(&rule->options.trust_proxy) < 0 || !rule->table) {
        free_rule(rule);
        return NULL;
    }
    return rule;
}

void fn_rule_hold(struct fn_rule *rule)
{
    fn_reference_hold(&rule->references);
}

void fn_rule_release(struct fn_rule *rule)
{
    if (rule && fn_reference_release(&rule->references))
        free_rule(rule);
}

void *fn_rule_owner(const struct fn_rule *rule)
{
    return rule->options.owner;
}

unsigned fn_rule_references(const struct fn_rule *rule)
{
    return __atomic_load_n(&rule->references, __ATOMIC_ACQUIRE);
}

int fn_rule_set_upstreams(struct fn_rule *rule, struct fn_upstream *const *upstreams, unsigned count)
{
    struct fn_table *const table = fn_table_new(upstreams, count);

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

void fn_rule_watch(struct fn_rule *rule)
{
    __atomic_store_n(&rule->watched, true, __ATOMIC_RELAXED);
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

void fn_rule_leave(struct fn_rule *rule)
{
    __atomic_fetch_sub(&rule->active, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&rule->waiting, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&rule->mutex);
    for (struct fn_lane *lane = rule->lanes; lane; lane = lane->sibling)
        if (lane->full) {
            fn_inbox_resume(lane->relay->inbox);
            __atomic_fetch_sub(&rule->waiting, 1, __ATOMIC_SEQ_CST);
            lane->full = false;
        }
    pthread_mutex_unlock(&rule->mutex);
}

void fn_rule_reset(struct fn_rule *rule)
{
    pthread_mutex_init(&rule->mutex, NULL);
    /* At the fork, another thread may have been changing the table of sources: its memory is not freed. */
    fn_sources_init(&rule->sources);
    rule->sources.ipv6_prefix = rule->options.source_prefix;
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
