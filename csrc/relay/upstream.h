/*
 * Upstreams, tables of them, and the choice of one for a connection or flow. All relays share them: changing members
 * are atomic.
 */
#ifndef FN_RELAY_UPSTREAM_H
#define FN_RELAY_UPSTREAM_H

#include "relay.h"

struct fn_upstream {
    unsigned references;
    unsigned active;
    unsigned failures;
    unsigned healthy;
    int64_t rests_until;
    unsigned preferred; /* the address that is tried first */
    unsigned count;
    struct fn_address addresses[];
};

void fn_upstream_hold(struct fn_upstream *upstream);

/* Counts a connection to it and takes a reference; _give, at the end of the connection, undoes both. */
void fn_upstream_take(struct fn_upstream *upstream);
void fn_upstream_give(struct fn_upstream *upstream);

/* Counts the result of a connect to it (passive health). */
void fn_upstream_failed(struct fn_upstream *upstream, const struct fn_rule_options *options, int64_t now);
void fn_upstream_succeeded(struct fn_upstream *upstream);

/* The upstreams to choose from. A table never changes; it is replaced as a whole. */
struct fn_table {
    unsigned references;
    unsigned count;
    struct fn_upstream *upstreams[];
};

/* NULL: no memory. */
struct fn_table *fn_table_new(struct fn_upstream *const *upstreams, unsigned count);
struct fn_table *fn_table_hold(struct fn_table *table);
void fn_table_release(struct fn_table *table);

/*
 * The upstreams for one connection, in the order of the policy. Resting and unhealthy ones are left out, unless all
 * are. Begin, take the next until NULL, end. fn_lane_choose() begins.
 */
struct fn_choice {
    struct fn_table *table;
    enum fn_policy policy;
    unsigned fitness; /* the best health there is: only upstreams that have it */
    unsigned first;   /* whose turn it is */
    unsigned tried;
    uint64_t place; /* load of the last one returned */
};

/* `turn` is the number of choices that began before. */
void fn_choice_begin(struct fn_choice *choice, struct fn_table *table, enum fn_policy policy, unsigned turn,
                     int64_t now);
struct fn_upstream *fn_choice_next(struct fn_choice *choice, int64_t now);
void fn_choice_end(struct fn_choice *choice);

#endif
