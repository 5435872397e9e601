/*
 * A conversation: echo requests to some hosts over one prober, their timetable, the totals of each host and, with
 * `keeps_ends`, the end of each request. csrc/probe/prober.h sends and matches; no other code uses the prober
 * meanwhile.
 *
 * Requests are sent in rounds, one to each host, `interval` apart; the requests of a round are spread, up to a
 * millisecond apart, or several each millisecond. Lost time is not caught up. With an interval of 0, a flood, requests
 * are sent as replies come back: FN_AWAITED are awaited at most, or one for each host, and without replies a hundred a
 * second are sent.
 *
 * A request is received if a reply to it came within `timeout`, however late that is read; a further reply in that time
 * is a duplicate. An ICMP error ends no wait. What the system refuses to send is not sent, with its errno; a full send
 * queue or neighbour table is waited for, 30 s at most, and without limit for a free sequence number.
 *
 * One thread at a time uses a conversation. Times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef FN_PROBE_CONVERSATION_H
#define FN_PROBE_CONVERSATION_H

#include "probe/prober.h"
#include "probe/round_trips.h"

#define FN_AWAITED 64

struct fn_plan {
    uint64_t count; /* requests to each host; 0: no end */
    int64_t interval, timeout;
    bool keeps_ends;
};

/* The end of a request, or a duplicate. */
struct fn_end {
    uint64_t round;         /* of the request, from 0 */
    int refused;            /* the errno with which it was not sent; 0: it was sent */
    bool is_answered;
    struct fn_heard answer; /* if `is_answered`: the reply or, where none came in time, the newest ICMP error */
};

struct fn_host {
    struct sockaddr_in6 to; /* an IPv4 or IPv6 socket address */
    uint64_t sent, not_sent, lost, duplicates;
    struct fn_round_trips received;
    uint64_t newest;        /* number of its newest probe */
    int refused;            /* the errno with which its newest request was not sent; 0: it was sent */
    struct fn_heard error;  /* that came for its newest request, if `error.is_error` */
    struct fn_end *ends;    /* in their order; NULL: none, or they are not kept */
    size_t ended, capacity; /* how many there are, and how many there is room for */
};

struct fn_conversation;

/* 0 or -ENOMEM. The hosts' addresses are copied; the prober must outlive the conversation. */
int fn_conversation_new(struct fn_conversation **out, struct fn_prober *prober, const struct fn_plan *plan,
                        const struct sockaddr_in6 *hosts, size_t count);
void fn_conversation_free(struct fn_conversation *conversation);

/*
 * Converses until all requests have ended (1), until the time `until` or a signal (0), or until the system refuses to
 * receive (-errno) or memory is out (-ENOMEM, also from then on).
 */
int fn_conversation_run(struct fn_conversation *conversation, int64_t until);

/* The totals and ends of host i, and the errno of the last shortage that requests waited for (0: there was none). */
const struct fn_host *fn_conversation_host(const struct fn_conversation *conversation, size_t i);
int fn_conversation_shortage(const struct fn_conversation *conversation);

#endif
