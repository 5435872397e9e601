/*
 * Rules, their upstreams, and lanes: a lane is one rule in one relay. What several threads share is atomic,
 * or guarded by the rule's mutex and then only touched when something changes: a lane keeps the table of
 * upstreams and the list of its fellow relays that it saw last, and looks again when `generation` differs.
 */
#ifndef FN_RELAY_RULE_H
#define FN_RELAY_RULE_H

#include <pthread.h>

#include "relay.h"
#include "relay/bucket.h"
#include "relay/loop.h"
#include "relay/sources.h"

struct fn_upstream {
    unsigned references;
    unsigned active;
    unsigned failures;
    unsigned healthy;
    int64_t rests_until;
    unsigned preferred; /* the address that new flows of datagrams begin with */
    unsigned count;
    struct fn_address addresses[];
};

void fn_upstream_hold(struct fn_upstream *upstream);

/* Upstreams that are chosen from; it never changes, and is replaced as a whole. */
struct fn_table {
    unsigned references;
    unsigned count;
    struct fn_upstream *upstreams[];
};

struct fn_rule {
    struct fn_rule_options options;
    unsigned references;
    unsigned active;       /* connections of all lanes, up to max_connections */
    unsigned waiting;      /* lanes that accept no more until one ends */
    unsigned generation;
    unsigned turn;         /* of the round robin */
    uint64_t next_number;  /* of a connection */
    struct fn_bucket bucket;
    struct fn_sources sources;
    pthread_mutex_t mutex; /* guards what follows */
    struct fn_table *table;
    struct fn_lane *lanes;
    struct fn_counters retired; /* those of lanes that are gone */
};

struct fn_table *fn_table_hold(struct fn_table *table);
void fn_table_release(struct fn_table *table);
void fn_counters_add(struct fn_counters *sum, const struct fn_counters *counters);

/* One more connection or flow; false where there are max_connections. Leaving lets lanes go on that wait. */
bool fn_rule_enter(struct fn_rule *rule);
void fn_rule_leave(struct fn_rule *rule);

/* In a forked child, which has none of its connections, and in which other threads' locks are held for ever. */
void fn_rule_reset(struct fn_rule *rule);

/* May this client connect at all? */
bool fn_rule_admits(const struct fn_rule *rule, const struct sockaddr *client);

struct fn_inbox;
struct fn_listener;

struct fn_lane {
    struct fn_counters counters; /* written by the relay's thread only */
    struct fn_relay *relay;
    struct fn_loop *loop; /* the relay's */
    struct fn_rule *rule;
    struct fn_lane *next;    /* of the relay */
    struct fn_lane *sibling; /* of the rule */
    struct fn_listener *listeners;
    struct fn_listener *drained; /* of datagrams */
    struct fn_table *table;
    struct fn_inbox **fellows;
    unsigned fellow_count;
    unsigned generation;
    unsigned connections; /* and flows */
    bool accepting;
    bool full;
    bool short_of;        /* descriptors or ports ran out */
    int spare;            /* a socket for the next upstream, or -1 */
    int spare_family;
    struct fn_timer pause;
};

/* Counts without a lock: other threads only read. */
static inline void fn_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/*
 * The upstreams for one connection, in the order of the policy: those that rest or are unhealthy are left
 * out, unless all do. Begin, ask for the next until NULL, end.
 */
struct fn_choice {
    struct fn_table *table;
    unsigned fitness; /* of the best there are: only these */
    unsigned first;   /* whose turn it is */
    unsigned asked;
    uint64_t place; /* of the last one, by load */
};

void fn_choice_begin(struct fn_choice *choice, struct fn_lane *lane);
struct fn_upstream *fn_choice_next(struct fn_choice *choice, const struct fn_lane *lane);
void fn_choice_end(struct fn_choice *choice);

/* One more connection to it, and a reference; given back when the connection ends. */
void fn_upstream_take(struct fn_upstream *upstream);
void fn_upstream_give(struct fn_upstream *upstream);

/* Descriptors, memory or ports ran out: accepting pauses for a while, and the first time it is told. */
void fn_lane_short(struct fn_lane *lane, int error);

/* A connection or flow has ended: kept for records() where the rule wants that. Takes the reference to the
 * record's upstream. */
void fn_lane_record(struct fn_lane *lane, const struct fn_record *record);

/* What a connect to it came to (passive health). */
void fn_upstream_failed(struct fn_upstream *upstream, const struct fn_rule *rule, int64_t now);
void fn_upstream_succeeded(struct fn_upstream *upstream);

#endif
