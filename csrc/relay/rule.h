/*
 * Rules. What several threads share is atomic, or guarded by the rule's mutex and then only touched when something
 * changes: `generation` counts that, so that lanes see it.
 */
#ifndef FN_RELAY_RULE_H
#define FN_RELAY_RULE_H

#include <pthread.h>

#include "relay.h"
#include "relay/bucket.h"
#include "relay/loop.h"
#include "relay/sources.h"
#include "relay/upstream.h"

struct fn_rule {
    struct fn_rule_options options;
    unsigned references;
    unsigned active;       /* connections of all lanes, up to max_connections */
    unsigned waiting;      /* lanes that accept no more until one ends */
    unsigned generation;
    bool watched;          /* the next failed connect is to be reported */
    unsigned turn;         /* of the round robin */
    uint64_t next_number;  /* of a connection */
    struct fn_bucket bucket;
    struct fn_sources sources;
    pthread_mutex_t mutex; /* guards what follows */
    struct fn_table *table;
    struct fn_lane *lanes;
    struct fn_counters retired; /* those of lanes that are gone */
};

/* One more connection or flow; false where there are max_connections. Leaving lets lanes go on that wait. */
bool fn_rule_enter(struct fn_rule *rule);
void fn_rule_leave(struct fn_rule *rule);

/* In a forked child, which has none of its connections, and in which other threads' locks are held for ever. */
void fn_rule_reset(struct fn_rule *rule);

/* May this client connect at all? */
bool fn_rule_admits(const struct fn_rule *rule, const struct sockaddr *client);

#endif
