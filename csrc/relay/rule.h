/*
 * Rules. Data shared by several threads is atomic, or guarded by the rule's mutex. Guarded parts are read again only
 * when `generation`, which counts their changes, differs.
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
    unsigned active;       /* number of connections in all lanes, up to max_connections */
    unsigned waiting;      /* number of lanes that accept no more until a connection ends */
    unsigned generation;
    bool watched;          /* report the next failed connect */
    unsigned turn;         /* round-robin counter */
    uint64_t next_number;  /* number of the last connection */
    struct fn_bucket bucket;
    struct fn_sources sources;
    pthread_mutex_t mutex; /* guards what follows */
    struct fn_table *table;
    struct fn_lane *lanes;
    struct fn_counters retired; /* counters of lanes that have been freed */
};

/* _enter counts one more connection or flow; false if there are max_connections. _leave wakes the waiting lanes. */
bool fn_rule_enter(struct fn_rule *rule);
void fn_rule_leave(struct fn_rule *rule);

/* In a forked child, which has none of its connections, and where locks of other threads are never released. */
void fn_rule_reset(struct fn_rule *rule);

/* Whether the rule's address lists admit this client. */
bool fn_rule_admits(const struct fn_rule *rule, const struct sockaddr *client);

#endif
