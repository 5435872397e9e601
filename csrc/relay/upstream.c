#include "relay/upstream.h"

#include <stdlib.h>
#include <string.h>

#include "relay/check.h"
#include "relay/reference.h"

/* Alternates the families, beginning with that of the first address (RFC 8305, section 4): next is the first remaining
 * address of another family than the one before, if there is any. */
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
    fn_reference_hold(&upstream->references);
}

void fn_upstream_release(struct fn_upstream *upstream)
{
    if (!upstream || !fn_reference_release(&upstream->references))
        return;
    FN_CHECK(!upstream->active);
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

void fn_upstream_failed(struct fn_upstream *upstream, const struct fn_rule_options *options, int64_t now)
{
    const unsigned failures = __atomic_add_fetch(&upstream->failures, 1, __ATOMIC_RELAXED);

    if (options->max_failures && failures >= options->max_failures)
        __atomic_store_n(&upstream->rests_until, now + options->failure_pause, __ATOMIC_RELAXED);
}

void fn_upstream_succeeded(struct fn_upstream *upstream)
{
    if (fn_upstream_failures(upstream))
        __atomic_store_n(&upstream->failures, 0, __ATOMIC_RELAXED);
}

/* Tables */

struct fn_table *fn_table_new(struct fn_upstream *const *upstreams, unsigned count)
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
    fn_reference_hold(&table->references);
    return table;
}

void fn_table_release(struct fn_table *table)
{
    if (!table || !fn_reference_release(&table->references))
        return;
    for (unsigned i = 0; i < table->count; i++)
        fn_upstream_release(table->upstreams[i]);
    free(table);
}

/* Choosing */

/* 2: healthy and not resting; 1: healthy and resting; 0: unhealthy. */
static unsigned fitness(const struct fn_upstream *upstream, int64_t now)
{
    if (!fn_upstream_healthy(upstream))
        return 0;
    return __atomic_load_n(&upstream->rests_until, __ATOMIC_RELAXED) <= now ? 2 : 1;
}

void fn_choice_begin(struct fn_choice *choice, struct fn_table *table, enum fn_policy policy, unsigned turn,
                     int64_t now)
{
    *choice = (struct fn_choice){.table = fn_table_hold(table), .policy = policy};
    if (!table->count)
        return;
    choice->first = turn % table->count;
    for (unsigned i = 0; i < table->count && choice->fitness < 2; i++) {
        const unsigned one = fitness(table->upstreams[i], now);
        if (one > choice->fitness)
            choice->fitness = one;
    }
}

static struct fn_upstream *next_in_turn(struct fn_choice *choice, int64_t now)
{
    const struct fn_table *const table = choice->table;

    while (choice->tried < table->count) {
        struct fn_upstream *const upstream = table->upstreams[(choice->first + choice->tried++) % table->count];
        if (fitness(upstream, now) >= choice->fitness)
            return upstream;
    }
    return NULL;
}

/* The next one in the order of load, and of turn among equal loads. */
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

struct fn_upstream *fn_choice_next(struct fn_choice *choice, int64_t now)
{
    return choice->policy == FN_LEAST_CONNECTIONS ? next_by_load(choice, now) : next_in_turn(choice, now);
}

void fn_choice_end(struct fn_choice *choice)
{
    fn_table_release(choice->table);
    choice->table = NULL;
}
