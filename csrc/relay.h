/*
 * Connections relayed by one thread: what clients send to listening sockets goes to upstreams and back.
 *
 * An upstream is one place to connect to, by one or several addresses. A rule is what to do with
 * connections; it owns its counters and may serve several relays at once. A relay is what one thread runs:
 * fn_relay_listen() and fn_relay_join() give it work, fn_relay_run() does it until nothing is left.
 *
 * Upstreams and rules are counted references: _new gives one, _release takes it back, and whoever uses one
 * (a rule its upstreams, a relay its rules) has its own. Their functions may be called from any thread.
 *
 * Of a relay's functions, _run belongs to one thread at a time; _listen, _unlisten, _drain and
 * _connections may be called from any thread, also while it runs, and _records from any one thread. _join is for
 * before the run. _close and _free are for a relay that nobody runs or calls any more.
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

/* Upstreams. Their addresses are tried with the families in turn (RFC 8305). An unhealthy one is chosen only
 * where all are. NULL: no memory. */
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

/* Zero is "none" or "no limit" wherever a number could mean that. */
struct fn_rule_options {
    void *owner;                       /* of fn_rule_owner() */
    struct fn_http_rewrite *rewrite;   /* the rule's from now on, also where it can't be made */
    enum fn_policy policy;
    enum fn_engine engine;
    unsigned max_connections;
    unsigned max_per_source;
    unsigned source_prefix;            /* bits of an IPv6 address that are one source; 0: 64 */
    int64_t connect_timeout, head_timeout, keep_alive_timeout, idle_timeout, half_closed_timeout;
    int64_t keepalive;                 /* TCP: silence after which an end is probed; it is given up after twice that */
    int64_t user_timeout;              /* TCP: for what is sent to be acknowledged (TCP_USER_TIMEOUT) */
    uint64_t rate, connection_rate;    /* bytes a second, both directions together */
    unsigned max_failures;
    int64_t failure_pause;
    struct fn_prefixes allow, deny, trust_proxy; /* copied */
    int send_proxy;                    /* a version of the PROXY protocol */
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
/* How many references there are now. */
unsigned fn_rule_references(const struct fn_rule *rule);

/* New connections use these; 0 or -ENOMEM. */
int fn_rule_set_upstreams(struct fn_rule *rule, struct fn_upstream *const *upstreams, unsigned count);

/* The next failure to connect to one of an upstream's addresses is reported once: see FN_RUN_FAILED. */
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

/* A connection, ended or open. `rule`, NULL where it has no owner, and `upstream`, or NULL, are references of the
 * record's own, which fn_record_release() gives back; `client` is an IP socket address, or only the family of another
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
    unsigned address; /* which of the upstream's */
    enum fn_ended ended;
    int64_t opened;   /* of CLOCK_REALTIME */
    int64_t duration;
    uint64_t sent_up, sent_down;
};

const struct fn_address *fn_record_upstream(const struct fn_record *record);
void fn_record_release(struct fn_record *record);

/* 0 or -errno; `spin` is how long to poll without sleeping after each event. */
int fn_relay_new(struct fn_relay **out, int64_t spin);

/* Ends what is left by resets. */
void fn_relay_close(struct fn_relay *relay);
void fn_relay_free(struct fn_relay *relay);

/* In a forked child, instead of fn_relay_close(): closes the copies of all descriptors. */
void fn_relay_abandon(struct fn_relay *relay);

/* Stream sockets are accepted from; datagram sockets are flows of UDP. -EBADF where the relay is closed. */
int fn_relay_listen(struct fn_relay *relay, struct fn_rule *rule, const int *sockets, size_t count);
void fn_relay_unlisten(struct fn_relay *relay, struct fn_rule *rule);

/* Relays between two connected sockets; the second one is the upstream's. */
int fn_relay_join(struct fn_relay *relay, struct fn_rule *rule, int first, int second);

/* Accept no more, and end the run `timeout` from now at the latest. */
void fn_relay_drain(struct fn_relay *relay, int64_t timeout);

enum { FN_RUN_CUT = 0, FN_RUN_WHOLE = 1, FN_RUN_WARNS = 2, FN_RUN_FAILED = 3 };

/* Descriptors, memory or ports ran out, by `error` (an errno): accepting pauses for a while. */
struct fn_shortage {
    int error;
    unsigned connections; /* of the rule */
};

/* Runs until no listener and no connection is left (FN_RUN_WHOLE), or the time to drain is up (FN_RUN_CUT
 * where that cut a connection). FN_RUN_WARNS: there is a shortage to report, FN_RUN_FAILED: fn_relay_take_failure() has
 * a rule; call again to go on. */
int fn_relay_run(struct fn_relay *relay, struct fn_shortage *shortage);

/* After FN_RUN_FAILED, in the same thread: the watched rule (see fn_rule_watch()) of which a connect failed, as a
 * reference of the caller's own. */
struct fn_rule *fn_relay_take_failure(struct fn_relay *relay);

/* Moves up to `count` records of ended connections to `out`, oldest first, and returns how many. */
size_t fn_relay_records(struct fn_relay *relay, struct fn_record *out, size_t count);

/* How many were dropped so far since nobody took them. */
uint64_t fn_relay_lost_records(const struct fn_relay *relay);

/* The open connections in an array for free(3); waits for the thread that runs. Returns how many, or -ENOMEM. */
ssize_t fn_relay_connections(struct fn_relay *relay, struct fn_record **out);

#endif
