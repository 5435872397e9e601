/*
 * Lanes: a lane is one rule in one relay. It keeps the table of upstreams and the list of its sibling relays that it
 * saw last, and looks again when the rule's `generation` differs.
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
    struct fn_lane *next;    /* of the relay */
    struct fn_lane *sibling; /* of the rule */
    struct fn_listener *listeners;
    struct fn_listener *drained; /* of datagrams */
    struct fn_table *table;
    struct fn_inbox **siblings; /* of relays whose lanes listen */
    unsigned sibling_count;
    unsigned generation;
    unsigned connections; /* and flows */
    unsigned full; /* the rule's mutex guards it */
    bool listens; /* atomic: whether there are listeners */
    bool yields;  /* atomic: the flow that was quiet for longest is to make room for a sibling's */
    bool accepting;
    bool short_of;        /* descriptors, memory or ports ran out: nothing is accepted, */
    bool is_new_shortage; /* and the time for that begins at the turn's end */
    bool reports_failure; /* a connect has failed, which was to be reported */
    int spare;            /* a socket for the next upstream, or -1 */
    int spare_family;
    struct fn_timer pause;
};

/* The lane of a rule, which is made where there is none; NULL: no memory. */
struct fn_lane *fn_lane_of(struct fn_relay *relay, struct fn_rule *rule);
/* Of one without listeners and connections. */
void fn_lane_free(struct fn_lane *lane);

void fn_lane_refresh(struct fn_lane *lane);

/* Begins the choice of an upstream. */
void fn_lane_choose(struct fn_lane *lane, struct fn_choice *choice);

/* Whether the rule is full, so that nothing is accepted until a connection has ended in any of its relays. */
bool fn_lane_waits(struct fn_lane *lane);

/* Has each of the rule's other lanes end the flow that was quiet for longest, soon. It needs no memory. */
void fn_lane_ask_for_room(const struct fn_lane *lane);

/* Descriptors, memory or ports ran out: listeners pause at the turn's end, and the first time a warning is due. */
void fn_lane_short(struct fn_lane *lane, int error);

/* A connect to an upstream's address failed, by its fault: reported where the rule is watched. */
void fn_lane_note_failure(struct fn_lane *lane);

/* A connection or flow has ended: kept for fn_relay_records() where the rule wants that. Takes the
 * record's references. */
void fn_lane_record(struct fn_lane *lane, struct fn_record *record);

#endif
