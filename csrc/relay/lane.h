/*
 * Lanes: a lane is one rule in one relay. It caches the rule's table of upstreams and the list of its sibling relays,
 * and updates both when the rule's `generation` has changed.
 */
#ifndef FN_RELAY_LANE_H
#define FN_RELAY_LANE_H

#include "relay/counters.h"
#include "relay/rule.h"

struct fn_inbox;
struct fn_listener;
struct fn_flow;

struct fn_lane {
    struct fn_counters counters; /* written by the relay's thread only */
    struct fn_relay *relay;
    struct fn_loop *loop; /* the relay's */
    struct fn_rule *rule;
    struct fn_lane *next;    /* next lane of the relay */
    struct fn_lane *sibling; /* next lane of the rule */
    struct fn_listener *listeners;
    struct fn_listener *drained; /* datagram listeners whose flows continue for a while */
    struct fn_table *table;
    struct fn_inbox **siblings; /* inboxes of relays whose lanes listen */
    unsigned sibling_count;
    unsigned generation;
    unsigned connections; /* number of connections and flows */
    unsigned full; /* guarded by the rule's mutex */
    bool listens; /* atomic: whether there are listeners */
    bool yields;  /* atomic: a sibling needs room: end the flow that has been idle longest */
    bool accepting;
    bool short_of;        /* descriptors, memory or ports ran out: accepting pauses */
    bool is_new_shortage; /* the pause begins at the end of the turn */
    bool reports_failure; /* a connect of a watched rule has failed */
    int spare;            /* a socket for the next upstream, or -1 */
    int spare_family;
    struct fn_timer pause;
};

/* Returns the lane of a rule, and makes it if there is none; NULL: no memory. */
struct fn_lane *fn_lane_of(struct fn_relay *relay, struct fn_rule *rule);
/* Call only for a lane without listeners and connections. */
void fn_lane_free(struct fn_lane *lane);

void fn_lane_refresh(struct fn_lane *lane);

/* Begins the choice of an upstream; see fn_choice in upstream.h. */
void fn_lane_choose(struct fn_lane *lane, struct fn_choice *choice);

/* Whether the rule is full: then the lane accepts nothing until a connection of the rule ends in any relay. */
bool fn_lane_waits(struct fn_lane *lane);

/* Asks each other lane of the rule to end the flow that has been idle longest. Allocates no memory. */
void fn_lane_ask_for_room(const struct fn_lane *lane);

/* Descriptors, memory or ports ran out: listeners pause at the end of the turn, and a warning is due. */
void fn_lane_short(struct fn_lane *lane, int error);

/* A connect to an upstream's address failed on the upstream's side: reported if the rule is watched. */
void fn_lane_note_failure(struct fn_lane *lane);

/* A connection or flow has ended: its record is kept for fn_relay_records() if the rule records. Takes ownership of the
 * record's references. */
void fn_lane_record(struct fn_lane *lane, struct fn_record *record);

#endif
