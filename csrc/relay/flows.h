/*
 * What the files of UDP share: the flows of a listener, and the datagrams of one batch.
 *
 * Flows are found in a hash table by their key, and stand in a list by when a datagram passed last: the oldest
 * is the first to expire, so that one timer serves all of them, and nothing but its place in the list
 * changes with a datagram.
 */
#ifndef FN_RELAY_FLOWS_H
#define FN_RELAY_FLOWS_H

#include <netinet/in.h>

#include "relay/siphash.h"
#include "relay/slab.h"
#include "relay/udp.h"

/* Datagrams received at once. */
#define FN_BATCH 32
/* No datagram is longer, but for jumbograms (RFC 2675): what is received of one is still longer than any that can be
 * sent, so that the kernel drops it. */
#define FN_DATAGRAM 65536
/* One cache line more, or the short datagrams of a batch would all share a few lines of the cache. */
#define FN_BATCH_STRIDE (FN_DATAGRAM + 64)

union fn_control {
    struct cmsghdr first;
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct fn_batch {
    struct mmsghdr in[FN_BATCH], out[FN_BATCH];
    struct iovec iov[FN_BATCH];
    union fn_client from[FN_BATCH];
    union fn_control control[FN_BATCH];
    uint8_t data[FN_BATCH][FN_BATCH_STRIDE];
};

/* What distinguishes a flow from the others of its listener: whole words without padding, compared and hashed. */
struct fn_flow_key {
    struct fn_ip client, local; /* local: zeros, unless the listener is a wildcard's */
    uint32_t scope;
    uint32_t port;
};

struct fn_flow {
    struct fn_handler handler;
    struct fn_udp *udp;
    struct fn_flow *chained; /* in a bucket, or among those that have ended */
    struct fn_flow *older, *newer;
    struct fn_flow_key key;
    union fn_client client;
    struct fn_upstream *upstream;
    struct fn_bucket bucket;
    int64_t opened, last;
    uint64_t number, sent_up, sent_down;
    int fd;
    uint16_t address; /* which of the upstream's */
    bool answered;    /* since the last failure */
};

struct fn_udp {
    struct fn_handler handler;
    void (*on_reply)(struct fn_handler *handler, uint32_t events); /* what a flow's upstream has for its client */
    struct fn_lane *lane;
    struct fn_timer timer;
    struct fn_slab slab;
    struct fn_flow **buckets;
    size_t bucket_count, flow_count;
    struct fn_flow *oldest, *newest; /* by when a datagram passed last */
    struct fn_flow *ended; /* freed by the next handler or timer, when nobody has them at hand */
    struct fn_batch *batch;
    size_t reserve; /* descriptors of the process that are left to others */
    int reserved;   /* the first one of these */
    struct fn_siphash_key secret;
    int64_t idle;
    struct fn_ip address;
    in_port_t port;
    sa_family_t family;
    bool is_wildcard;
    bool draining;
    int fd;
};

/* 0, or -errno; fn_flows_free() also where that failed. It ends no flow. */
int fn_flows_init(struct fn_udp *udp);
void fn_flows_free(struct fn_udp *udp);

/* NULL where there is none. */
struct fn_flow *fn_flow_find(const struct fn_udp *udp, const struct fn_flow_key *key);

/* The flow of a client that has none yet; NULL where it may have none, or where there is no upstream for it. */
struct fn_flow *fn_flow_begin(struct fn_udp *udp, const struct fn_flow_key *key, const union fn_client *client);

/* A datagram passes. */
void fn_flow_touch(struct fn_flow *flow);

/* The upstream answered. */
void fn_flow_answered(struct fn_flow *flow);

/* An ICMP error came: false where that was the flow's end. */
bool fn_flow_survives(struct fn_flow *flow);

/* Takes it out of all that lists or counts it; a caller may still look at it. */
void fn_flow_end(struct fn_flow *flow, enum fn_ended ended);
void fn_flows_free_ended(struct fn_udp *udp);
void fn_flow_record(const struct fn_flow *flow, struct fn_record *record);

/* Sets the timer for the oldest flow, if there is one. */
void fn_flows_wait(struct fn_udp *udp);

/* The flow that was quiet for longest of a lane's, but for this one; or NULL. */
struct fn_flow *fn_flow_idlest(const struct fn_lane *lane, const struct fn_flow *but);

#endif
