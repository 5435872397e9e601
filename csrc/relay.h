/*
 * A relay accepts clients on listening sockets, connects each to an upstream and passes bytes both ways, in one thread.
 *
 * An upstream is one destination with one or several addresses. A rule holds the options for connections; it owns its
 * counters and may serve several relays at once. fn_relay_listen() and fn_relay_join() add sockets to a relay;
 * fn_relay_run() serves them until none is left.
 *
 * Upstreams and rules are reference-counted: _new returns a reference, _release drops it, and each user of one
 * (a rule of its upstreams, a relay of its rules) holds its own. Their functions may be called from any thread.
 *
 * Of a relay's functions, _run belongs to one thread at a time; _listen, _unlisten, _drain and
 * _connections may be called from any thread, also while it runs; _records from one thread at a time. Call _join only
 * before the run, and _close and _free only when no thread runs or calls the relay any more.
 *
 * The relay takes ownership of the sockets, even on failure. It makes them
 * non-blocking; all it opens itself is closed on exec.
 *
 * Results are 0 or more, or -errno. Times are nanoseconds. There is no global state.
 */
#ifndef FN_RELAY_H
#define FN_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "relay/prefixes.h"

struct fn_http_rewrite;
struct fn_relay;
struct fn_rule;
struct fn_upstream;

struct fn_address {
    socklen_t len;
    struct sockaddr_storage at;
};

/* Upstreams. Attempts alternate between the address families (RFC 8305). An unhealthy upstream is chosen only
 * if all are. NULL: no memory. */
struct fn_upstream *fn_upstream_new(const struct fn_address *addresses, unsigned count);
void fn_upstream_release(struct fn_upstream *upstream);
bool fn_upstream_healthy(const struct fn_upstream *upstream);
void fn_upstream_set_healthy(struct fn_upstream *upstream, bool healthy);
unsigned fn_upstream_active(const struct fn_upstream *upstream);
unsigned fn_upstream_failures(const struct fn_upstream *upstream);

enum fn_policy { FN_ROUND_ROBIN, FN_LEAST_CONNECTIONS };
enum fn_engine { FN_ENGINE_AUTO, FN_ENGINE_COPY, FN_ENGINE_SPLICE };

struct fn_prefixes {
    const struct fn_prefix *list;
    size_t count;
};

/* In every number for which that makes sense, 0 means "none" or "no limit". */
struct fn_rule_options {
    void *owner;                       /* returned by fn_rule_owner() */
    struct fn_http_rewrite *rewrite;   /* the rule takes ownership, even on failure */
    enum fn_policy policy;
    enum fn_engine engine;
    unsigned max_connections;
    unsigned max_per_source;
    unsigned source_prefix;            /* prefix length of an IPv6 source; 0: 64 */
    int64_t connect_timeout, head_timeout, keep_alive_timeout, idle_timeout, half_closed_timeout;
    int64_t keepalive;                 /* TCP: idle time before keepalive probes; the end is dropped after twice that */
    int64_t user_timeout;              /* TCP: limit for an acknowledgement (TCP_USER_TIMEOUT) */
    uint64_t rate, connection_rate;    /* bytes per second, both directions together */
    unsigned max_failures;
    int64_t failure_pause;
    struct fn_prefixes allow, deny, trust_proxy; /* copied */
    int send_proxy;                    /* version of the PROXY protocol */
    bool transparent;
    bool record;
    char congestion[16];
};

/* NULL: no memory. */
struct fn_rule *fn_rule_new(const struct fn_rule_options *options, struct fn_upstream *const *upstreams,
                            unsigned count);
void fn_rule_hold(struct fn_rule *rule);
void fn_rule_release(struct fn_rule *rule);
void *fn_rule_owner(const struct fn_rule *rule);
/* The present number of references. */
unsigned fn_rule_references(const struct fn_rule *rule);

/* New connections use these; 0 or -ENOMEM. */
int fn_rule_set_upstreams(struct fn_rule *rule, struct fn_upstream *const *upstreams, unsigned count);

/* Requests one report of the next failed connect to an address of an upstream: see FN_RUN_FAILED. */
void fn_rule_watch(struct fn_rule *rule);

struct fn_counters {
    uint64_t accepted, active, unreachable, refused, denied, resets, timed_out, sent_up, sent_down,
        connects_retried;
};

/* The sum over all relays. */
void fn_rule_counters(struct fn_rule *rule, struct fn_counters *out);

enum fn_ended {
    FN_OPEN,
    FN_CLOSED,
    FN_CLIENT_RESET,
    FN_UPSTREAM_RESET,
    FN_UNREACHABLE,
    FN_REFUSED,
    FN_DENIED,
    FN_IDLE,
    FN_HALF_CLOSED,
    FN_LATE_HEAD,
    FN_BAD_RESPONSE,
    FN_STOPPED,
};

/* A connection, ended or open. `rule` (NULL without an owner) and `upstream` (or NULL) are references held by the
 * record; fn_record_release() drops them. `client` is an IP socket address, or only the family of another
 * one. */
struct fn_record {
    struct fn_rule *rule;
    uint64_t number;
    union fn_client {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } client;
    struct fn_upstream *upstream;
    unsigned address; /* index among the upstream's addresses */
    enum fn_ended ended;
    int64_t opened;   /* CLOCK_REALTIME */
    int64_t duration;
    uint64_t sent_up, sent_down;
};

const struct fn_address *fn_record_upstream(const struct fn_record *record);
void fn_record_release(struct fn_record *record);

/* 0 or -errno; `spin` is the time to poll without sleeping after each event. */
int fn_relay_new(struct fn_relay **out, int64_t spin);

/* Resets the connections that are left. */
void fn_relay_close(struct fn_relay *relay);
void fn_relay_free(struct fn_relay *relay);

/* In a forked child, instead of fn_relay_close(): closes the copies of all descriptors. */
void fn_relay_abandon(struct fn_relay *relay);

/* Accepts from a stream socket; serves a datagram socket as UDP flows. -EBADF: the relay is closed. */
int fn_relay_listen(struct fn_relay *relay, struct fn_rule *rule, const int *sockets, size_t count);
void fn_relay_unlisten(struct fn_relay *relay, struct fn_rule *rule);

/* Relays between two connected sockets, the client's and the upstream's. */
int fn_relay_join(struct fn_relay *relay, struct fn_rule *rule, int first, int second);

/* Stops accepting and ends the run within `timeout`. */
void fn_relay_drain(struct fn_relay *relay, int64_t timeout);

enum { FN_RUN_CUT = 0, FN_RUN_WHOLE = 1, FN_RUN_WARNS = 2, FN_RUN_FAILED = 3 };

/* Descriptors, memory or ports ran out (`error`, an errno): accepting pauses for a while. */
struct fn_shortage {
    int error;
    unsigned connections; /* of the rule */
};

/* Runs until no listener and no connection is left (FN_RUN_WHOLE) or the drain timeout is over (FN_RUN_CUT
 * if that cut a connection). FN_RUN_WARNS: there is a shortage to report. FN_RUN_FAILED: fn_relay_take_failure() has
 * a rule. After either, call again to continue. */
int fn_relay_run(struct fn_relay *relay, struct fn_shortage *shortage);

/* After FN_RUN_FAILED, in the same thread: the watched rule (see fn_rule_watch()) whose connect failed, as a
 * reference that the caller owns. */
struct fn_rule *fn_relay_take_failure(struct fn_relay *relay);

/* Moves up to `count` records of ended connections to `out`, oldest first, and returns how many. */
size_t fn_relay_records(struct fn_relay *relay, struct fn_record *out, size_t count);

/* The number of records dropped so far because the ring was full. */
uint64_t fn_relay_lost_records(const struct fn_relay *relay);

/* Stores the open connections in an array that the caller frees with free(3). Waits for the thread that runs the relay.
 * Returns their number, or -ENOMEM. */
ssize_t fn_relay_connections(struct fn_relay *relay, struct fn_record **out);

#endif
