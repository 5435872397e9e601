/*
 * Shared declarations of a sweep: targets.c (the addresses of targets), icmp.c (requests, and their answers), link.c
 * (the same over a link), turbo.c (as frames, and replies from a ring: ring.c), batch.c (messages in batches),
 * reasons.c, and sweep.c (schedule and verdicts, over any wire). message.c and timing.c are also used by the prober
 * (prober.h).
 */
#ifndef FN_PROBE_SWEEP_H
#define FN_PROBE_SWEEP_H

#include "permute.h"
#include "probe.h"
#include "probe/message.h"
#include "probe/timing.h"

#define FN_NO_TARGET UINT64_MAX

struct fn_reasons {
    struct fn_reason *list; /* number n is list[n - 1] */
    uint32_t count, capacity;
    uint32_t *buckets;      /* open addressing over the numbers; 0 is empty */
    uint32_t bucket_count;
};

/* A batch of requests. */
struct fn_outgoing {
    struct mmsghdr messages[FN_BATCH];
    struct iovec data[FN_BATCH];
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } to[FN_BATCH];
    uint64_t targets[FN_BATCH], places[FN_BATCH];
    uint8_t *packets; /* FN_BATCH of them, the constant part filled in */
    unsigned count;
};

/* The answer to a request. */
struct fn_answer {
    uint64_t target;
    bool whole;        /* its time and number are known and verified by a cookie */
    uint32_t ticks;
    uint32_t number;
    int64_t stamp;     /* the kernel's, by the wall clock; 0: none */
    uint32_t reason;   /* 0: a reply */
    bool anycast;      /* the reply is from another address than the target's, `from` */
    struct fn_number from;
};

/* The wire of a sweep. Batches have at most FN_BATCH messages. */
struct fn_wire {
    int (*init)(struct fn_sweep *sweep); /* 0 or -errno; free() follows either */
    void (*free)(struct fn_sweep *sweep);
    /* Writes request number `place` of the batch, to a target. */
    void (*request)(struct fn_sweep *sweep, unsigned place, uint64_t target, uint32_t number, uint32_t ticks);
    int (*send)(struct fn_sweep *sweep); /* sends the batch: number of sent requests, or -errno */
    int (*read)(struct fn_sweep *sweep); /* number of messages read, or -errno */
    /* The request that message `place` of those read answers; false: none. */
    bool (*reply)(const struct fn_sweep *sweep, unsigned place, struct fn_answer *out);
    /* Reads one ICMP error: 1, its answer in `out`; 0: not ours; -EAGAIN: no more; -errno. */
    int (*error)(struct fn_sweep *sweep, struct fn_answer *out);
    /* Waits for a message, at most so long; true: there are errors. */
    bool (*wait)(struct fn_sweep *sweep, const struct timespec *longest);
};

struct fn_sweep {
    struct fn_sweep_options options;
    const struct fn_wire *wire;
    void *own; /* the wire's data */
    size_t headroom; /* bytes before the ICMP message of a request that is a frame */
    size_t packet_size, read_size; /* of a request, and of the longest message that is read */
    uint16_t constant_sum; /* of a request without the parts that the wire sets */

    struct fn_span *spans;
    uint64_t *starts; /* number of addresses before each span, and of all */
    size_t span_count;
    uint64_t size;
    struct fn_permute order;

    uint8_t *states;
    union fn_slot *slots;
    struct fn_reasons reasons;
    struct fn_number *responders; /* of each target, 0: itself; NULL if all are */
    uint64_t alive, unanswered, decided;

    int failure; /* -errno: the error queue can't be read */
    uint64_t place; /* in this pass */
    unsigned passes_left;
    int64_t pass_begin, last_pass_end;
    bool finished; /* atomic: setting it publishes every verdict */
    bool remade;

    uint64_t sent;   /* atomic: number of requests */
    uint64_t newest; /* number of the newest answered one */
    unsigned window;
    bool answered_since_stall;
    unsigned silent_stalls; /* in a row */
    int64_t progress, last_sent, not_before, refused_since;
    struct fn_expect expect;
    struct fn_clocks clocks;

    struct fn_outgoing out;
    struct fn_incoming in;
};

/* targets.c */
int fn_targets_init(struct fn_sweep *sweep, const struct fn_span *spans, size_t count);
bool fn_is_host(int family, struct fn_number address);

/* reasons.c: the number of a reason, which may be new; FN_REASONS if there is no room for one more. */
uint32_t fn_reason_number(struct fn_sweep *sweep, const struct fn_reason *reason);
void fn_reasons_free(struct fn_reasons *reasons);

/* batch.c, for wires with one socket for requests and replies: buffers of packet_size and read_size. */
int fn_batches_init(struct fn_sweep *sweep);
void fn_batches_free(struct fn_sweep *sweep);
int fn_batch_send(struct fn_sweep *sweep);
int fn_batch_read(struct fn_sweep *sweep);
bool fn_batch_wait(struct fn_sweep *sweep, const struct timespec *longest);

/* icmp.c: over an ICMP socket. */
extern const struct fn_wire fn_icmp_wire;
/* For requests with so much headroom: batches, and the constant part of their ICMP messages. */
int fn_icmp_init(struct fn_sweep *sweep, size_t headroom);
/* Writes message `place` of the batch, to a target; returns the target's address. */
struct fn_number fn_icmp_write_request(struct fn_sweep *sweep, unsigned place, uint64_t target, uint32_t number,
                                       uint32_t ticks);
/* The request that a message from this address answers (raw IPv4 ones begin with an IP header); false: none. */
bool fn_icmp_parse_reply(const struct fn_sweep *sweep, const uint8_t *message, size_t len, struct fn_number from,
                         struct fn_answer *out);
/* The request to this address that an error quotes, from its ICMP header on; false: none. */
bool fn_icmp_parse_quoted(const struct fn_sweep *sweep, const uint8_t *icmp, size_t len, struct fn_number to,
                          struct fn_answer *out);

/* link.c: ARP or NDP over an interface's packet socket. */
extern const struct fn_wire fn_link_wire;
/* The hardware address in a frame that answers us, and its target; NULL: no answer to us. */
const uint8_t *fn_link_parse_reply(const struct fn_sweep *sweep, const uint8_t *frame, size_t len, uint64_t *target);

/* turbo.c: frames, and replies from a ring. The request that a packet answers; false: none. */
extern const struct fn_wire fn_turbo_wire;
bool fn_turbo_parse_reply(const struct fn_sweep *sweep, const uint8_t *packet, size_t len, struct fn_answer *out);

#endif
