/*
 * Single probes over one open socket, and the matching of answers to them.
 *
 * A probe is an ICMP echo request or, over a UDP socket, a datagram to a port from FN_FIRST_PORT on, which only errors
 * answer. It takes a slot, which is its sequence number or its port. Slots are used in turn, except
 * those whose probe is neither answered nor timed out. Until a slot is reused its last probe is kept,
 * answered or not, to recognise late answers and duplicates. The memory is that of all slots, at most 6 MB, of
 * which only used pages are allocated, and of FN_BATCH requests and answers.
 *
 * A reply is accepted only if its type, ident, checksum and source are right, and it returns as much of the keyed
 * cookie (SipHash-2-4 of the host and the probe's number, twice) as was sent. The routers of a subnet
 * (fn_may_be_anycast()) reply from another address (RFC 4443, 4.2); such a reply is accepted if the whole cookie was
 * sent. Errors are read from the socket's error queue (IP_RECVERR, ip(7)). A router need not quote the cookie
 * (RFC 792); the quoted part must be right.
 *
 * A round-trip time begins directly before the probe is sent or, with `departures`, when the kernel passes it to the
 * driver; it ends when the kernel receives the answer. The send times of probes that are sent in one system call are
 * estimated; one that turns out to be after the answer is replaced by the call's beginning. The kernel's timestamps are
 * of the wall clock: if that was stepped meanwhile, the time ends when the answer is read.
 *
 * The socket is the caller's: non-blocking, with SO_TIMESTAMPNS, the option that adds an answer's TTL or hop limit,
 * and IP_RECVERR or IPV6_RECVERR; for `departures` also with SO_TIMESTAMPING (TX_SOFTWARE, SOFTWARE, OPT_ID and
 * OPT_TSONLY), and nothing sent since. One thread at a time uses a prober; nothing is shared between two of them.
 * Nothing waits. Times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef FN_PROBE_PROBER_H
#define FN_PROBE_PROBER_H

#include "probe.h"
#include "probe/message.h"
#include "probe/timing.h"

/* Bytes of the cookie at the beginning of a payload; a smaller payload has a part of it. */
#define FN_COOKIE 16

/* traceroute's first port, which is usually closed. */
#define FN_FIRST_PORT 33434

/* Maximum probes that await a transmit timestamp: the kernel reports none for a packet that never leaves. */
#define FN_DEPARTING 4096

/* Returned by fn_prober_send() if every slot is in use. */
#define FN_NO_SLOT (-10000)

enum fn_prober_engine { FN_PROBER_DATAGRAM, FN_PROBER_RAW, FN_PROBER_UDP };

struct fn_prober_options {
    enum fn_prober_engine engine;
    int fd;
    int family;
    uint16_t ident;
    uint8_t key[16];
    uint16_t first;        /* the first slot to use */
    unsigned size;         /* of the largest payload */
    const uint8_t *filler; /* payload after the cookie, size - FN_COOKIE bytes, which are copied */
    struct fn_anycast anycast; /* valid until fn_prober_free() */
    bool departures;
};

struct fn_probe {
    struct fn_number host;
    int64_t tag;
    int64_t begun, sent; /* when the system call began, and when it was sent */
    int64_t held_until;
    int64_t left;     /* the kernel's transmit timestamp, by the wall clock; 0: not known yet */
    uint64_t number;
    uint32_t scope;
    uint8_t cookie[FN_COOKIE], cookie_size; /* the cookie, and how much of it was sent */
    bool known, answered;
};

/* The answer to a probe. */
struct fn_heard {
    int64_t tag;
    uint64_t number;       /* of the probe */
    int64_t rtt;
    struct fn_number from; /* the sender, also of an error */
    uint32_t scope;
    int ttl;               /* -1: unknown */
    bool repeated;         /* another reply came before */
    bool is_error;
    uint8_t type, code;    /* of an error */
    uint32_t info;         /* of an error: the next hop's MTU if a packet was too big */
};

/* A probe that is sent together with others. */
struct fn_request {
    const struct sockaddr_in6 *to; /* an IPv4 or IPv6 socket address */
    int64_t tag;
    uint64_t number; /* of the probe, once it is sent */
};

/* Messages that are sent together. */
struct fn_departing {
    struct mmsghdr messages[FN_BATCH];
    struct iovec data[FN_BATCH];
    struct sockaddr_in6 to[FN_BATCH];
    struct fn_probe *probes[FN_BATCH];
    uint8_t *packets; /* FN_BATCH of them, the filler filled in */
    size_t packet_size;
};

struct fn_prober {
    struct fn_prober_options options;
    struct fn_probe *probes; /* by slot */
    uint32_t slots;
    uint64_t number; /* of the newest probe; modulo `slots` it is its slot */
    uint64_t departing[FN_DEPARTING]; /* the probes' numbers, by the number of their transmit timestamp */
    uint32_t departed;
    struct fn_clocks clocks;
    struct fn_departing requests;
    int64_t each; /* how long one of several messages takes to be sent; 0: not known yet */
    struct fn_incoming replies, reports;
};

/* 0, -ENOMEM, or -EINVAL for another family. */
int fn_prober_new(struct fn_prober **out, const struct fn_prober_options *options);
void fn_prober_free(struct fn_prober *prober);

/* Drops the descriptor, which the caller closes: later calls return -EBADF. */
void fn_prober_detach(struct fn_prober *prober);

/*
 * Sends one probe with so much payload to an IPv4 or IPv6 socket address; `ttl` -1 is the socket's. No other probe uses
 * its slot for `timeout`, or until it is answered. 0, FN_NO_SLOT, -EINVAL for a size above the options', or
 * -errno; -ENOBUFS for a full queue.
 */
int fn_prober_send(struct fn_prober *prober, const struct sockaddr_in6 *to, int64_t tag, int64_t timeout, int ttl,
                   unsigned size);

/*
 * Sends up to FN_BATCH probes in one system call, as fn_prober_send() does with the options' size and the socket's TTL.
 * Returns how many were sent, from the first one on; or, if not even the first was, what fn_prober_send() returns.
 */
int fn_prober_send_some(struct fn_prober *prober, struct fn_request *requests, unsigned count, int64_t timeout);

/* Maximum number of answers of fn_prober_receive(). */
#define FN_HEARD (4 * FN_BATCH)

/*
 * Reads at most `limit` replies (up to FN_BATCH), and about twice `limit` messages of the error queue. Returns the
 * number of answers in `out`, or -errno if the system refuses to receive; `*more` is whether more may be waiting.
 */
int fn_prober_receive(struct fn_prober *prober, unsigned limit, struct fn_heard *out, bool *more);

/* The answer in one message of so many bytes, read at this time: of the socket or its error queue. False: none. */
bool fn_prober_take_reply(struct fn_prober *prober, const struct msghdr *message, size_t len, int64_t now,
                          struct fn_heard *out);
bool fn_prober_take_report(struct fn_prober *prober, const struct msghdr *message, size_t len, int64_t now,
                           struct fn_heard *out);

#endif
