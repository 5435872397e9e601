/*
 * Shared by the files of UDP: the flows of a listener, and the datagrams of one batch.
 *
 * Flows are in a hash table by their key, and in a list in the order of their last datagrams. The oldest
 * is the first to expire, so that one timer serves all of them, and a datagram only moves its flow to the end of
 * the list.
 */
#ifndef FN_RELAY_FLOWS_H
#define FN_RELAY_FLOWS_H

#include <netinet/in.h>

#include "relay/siphash.h"
#include "relay/slab.h"
#include "relay/udp.h"

/* Datagrams received by one call. */
#define FN_BATCH 32
/* No datagram is longer, except jumbograms (RFC 2675): the part received of one is still longer than any that can be
 * sent, so that the kernel drops it. */
#define FN_DATAGRAM 65536
/* One cache line more: otherwise the short datagrams of a batch all map to the same few cache sets. */
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

/* Identifies a flow of its listener: whole words without padding, compared and hashed. */
struct fn_flow_key {
    struct fn_ip client, local; /* local: zeros, unless the listener is bound to a wildcard address */
    uint32_t scope;
    uint32_t port;
};

struct fn_flow {
    struct fn_handler handler;
    struct fn_udp *udp;
    struct fn_flow *chained; /* in its bucket, or in the list of ended flows */
    struct fn_flow *older, *newer;
    struct fn_flow_key key;
    union fn_client client;
    struct fn_upstream *upstream;
    struct fn_bucket bucket;
    int64_t opened, last;
    uint64_t number, sent_up, sent_down;
    int fd;
    uint16_t address; /* index among the upstream's addresses */
    bool answered;    /* since the last ICMP error */
};

struct fn_udp {
    struct fn_handler handler;
    void (*on_reply)(struct fn_handler *handler, uint32_t events); /* datagrams from a flow's upstream to its client */
    struct fn_lane *lane;
    struct fn_timer timer;
    struct fn_slab slab;
    struct fn_flow **buckets;
    size_t bucket_count, flow_count;
    struct fn_flow *oldest, *newest; /* in the order of their last datagrams */
    struct fn_flow *ended; /* freed by the next handler or timer, when no function uses them any more */
    struct fn_batch *batch;
    size_t reserve; /* number of descriptors reserved for other uses than flows */
    int reserved;   /* the lowest of these */
    struct fn_siphash_key secret;
    int64_t idle;
    struct fn_ip address;
    in_port_t port;
    sa_family_t family;
    bool is_wildcard;
    bool draining;
    int fd;
};

/* 0, or -errno. Call fn_flows_free() even if fn_flows_init() failed. It ends no flow. */
int fn_flows_init(struct fn_udp *udp);
void fn_flows_free(struct fn_udp *udp);

/* NULL if there is none. */
struct fn_flow *fn_flow_find(const struct fn_udp *udp, const struct fn_flow_key *key);

/* Begins the flow of a client that has none; NULL if it may have none, or if no upstream is usable. */
struct fn_flow *fn_flow_begin(struct fn_udp *udp, const struct fn_flow_key *key, const union fn_client *client);

/* Records that a datagram passed: the flow becomes the newest. */
void fn_flow_touch(struct fn_flow *flow);

/* Records an answer of the upstream. */
void fn_flow_answered(struct fn_flow *flow);

/* Handles an ICMP error; false if that ended the flow. */
bool fn_flow_survives(struct fn_flow *flow);

/* Removes it from all lists and counters; the caller may still read it until it returns to the loop. */
void fn_flow_end(struct fn_flow *flow, enum fn_ended ended);
void fn_flows_free_ended(struct fn_udp *udp);
void fn_flow_record(const struct fn_flow *flow, struct fn_record *record);

/* Sets the timer to the expiry of the oldest flow, if there is one. */
void fn_flows_wait(struct fn_udp *udp);

/* The flow of a lane that has been idle longest, other than this one; or NULL. */
struct fn_flow *fn_flow_idlest(const struct fn_lane *lane, const struct fn_flow *but);

#endif
