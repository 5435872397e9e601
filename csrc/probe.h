/*
 * A sweep: one request to each of many targets, retries to those that did not answer, over one open socket; and
 * the result of each target in five bytes. A request is an ICMP echo request or, over the packet socket of an
 * interface, an ARP request or a neighbour solicitation: these find the hardware addresses too, in six bytes more.
 *
 * The targets are intervals of addresses, ascending and apart. Of all their addresses in ascending order a
 * shard (first, step) has those at first, first + step, ...; target k of a sweep is the k-th of these. They are
 * probed in the order of a permutation (permute.h) or ascending.
 *
 * Only the send time of a request is kept. A reply is accepted only if its type, ident,
 * checksum and source are right and it returns the keyed cookie (SipHash-2-4 of the address, the time and the
 * number of the request) that was sent; its source address is the target. If the target may be the routers of a
 * subnet (fn_may_be_anycast()), the reply comes from another address (RFC 4443, 4.2): then the target is the index
 * in the payload, which is there if there is room for it, and the sender is kept. Errors are read from the
 * socket's error queue (IP_RECVERR, ip(7)) and count only without a reply.
 *
 * An ARP reply (RFC 826) or a neighbour advertisement (RFC 4861) returns no cookie. It is accepted if
 * it is addressed to us alone, has one host's hardware address, and is right in every field that is known
 * beforehand; an advertisement must be from this link (hop limit 255). Any host on the link can
 * answer for another one, as a proxy does.
 *
 * Answers drive the sending: at most `window` requests are unanswered after the newest one that was
 * answered (a forward acknowledgment). Without answers, requests leave the window, but not the
 * sweep; the window narrows if answers stop, and widens with each answer. Once all were sent to,
 * targets without an answer within `timeout` are retried, each in its turn. A full queue or neighbour
 * table (ENOBUFS, EAGAIN, ENOMEM) is waited for, 30 s at most.
 *
 * The socket is the caller's: non-blocking, with SO_TIMESTAMPNS set, an ICMP socket with IP_RECVERR or IPV6_RECVERR
 * too; a packet socket is bound to its interface and to ARP or IPv6, and drops frames with a VLAN tag, which
 * is not seen here. No other code reads it while a sweep runs. One thread at a time uses a sweep; nothing is shared
 * between two of them. Times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef FN_PROBE_H
#define FN_PROBE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An address as a number; IPv4 uses only `low`. */
struct fn_number {
    uint64_t high, low;
};

/* Known addresses of a subnet's routers, except those that are recognised by their form. */
struct fn_anycast {
    const struct fn_number *list;
    size_t count;
};

/*
 * Whether it may be the address of all routers of an IPv6 subnet (RFC 4291, 2.6.1): its interface identifier of 64 bits
 * (2.5.1) is 0, or it is a known one.
 */
bool fn_may_be_anycast(int family, const struct fn_anycast *known, struct fn_number address);

/* `count` addresses from `first` on. */
struct fn_span {
    struct fn_number first;
    uint64_t count;
};

/* A target's state: not probed (yet), probed, an error received, a reply received, decided by an earlier sweep. */
enum fn_state { FN_PENDING, FN_SILENT, FN_UNREACHABLE, FN_ALIVE, FN_DECIDED };

/*
 * The content of a target's slot depends on its state: the round-trip time (FN_ALIVE), the number of a reason or 0
 * (FN_UNREACHABLE, FN_PENDING), or the send time (FN_SILENT).
 */
union fn_slot {
    uint32_t ticks;
    float rtt_ms;
    uint32_t reason;
};

/* The reason why a target could not be sent to (an errno), or the error received for it. */
struct fn_reason {
    int refused;               /* 0: an ICMP error */
    uint8_t type, code;
    uint32_t info;             /* the next hop's MTU if a packet was too big */
    bool itself;               /* the target reported it; else `reporter` did */
    struct fn_number reporter;
};

/* Maximum number of distinct reasons; any further one is FN_REASONS. */
#define FN_REASONS 65535

/* The errno of a target that is never sent to: unspecified or multicast. */
#define FN_NOT_A_HOST 89

/*
 * The wire of a sweep: an ICMP datagram socket, a raw socket, an interface's packet socket (ARP or NDP), or a raw
 * socket with turbo (probe/turbo.h).
 */
enum fn_engine { FN_DATAGRAM, FN_RAW, FN_LINK, FN_TURBO };

/* This machine's addresses on the link of a packet socket. */
struct fn_link {
    uint8_t mac[6];
    struct fn_number source;
};

struct fn_turbo;

struct fn_sweep_options {
    enum fn_engine engine;
    int fd;
    int family;
    uint16_t ident;
    uint8_t key[16];
    struct fn_turbo *turbo;    /* of FN_TURBO: an open one, of the same family, ident and payload */
    struct fn_anycast anycast; /* as long as the sweep lives */
    unsigned payload;          /* bytes after the ICMP header: FN_SWEEP_PAYLOAD to 65507 */
    int64_t timeout;
    bool adaptive;             /* shorter than `timeout` if the round-trip times permit (RFC 6298) */
    unsigned retries;
    unsigned window;
    int64_t gap;               /* between two requests, for a rate; 0: none */
    uint64_t shard_first, shard_step;
    bool permuted;
    uint64_t seed;
    struct fn_link link;       /* only for FN_LINK, which needs no ident and no payload */
};

/* Bytes of payload that identify the request: its time, its number and its cookie. */
#define FN_SWEEP_PAYLOAD 16
/* With so many bytes an IPv6 request also contains its target. */
#define FN_ANYCAST_PAYLOAD 24

struct fn_sweep;

/*
 * A sweep of these spans, which are copied; `decided` has a bit for each target (bit k % 8 of byte k / 8), or is
 * NULL. 0, -ENOMEM, or -EINVAL if the spans are not ascending and apart or an option is out of range.
 */
int fn_sweep_new(struct fn_sweep **out, const struct fn_sweep_options *options, const struct fn_span *spans,
                 size_t count, const uint8_t *decided);
void fn_sweep_free(struct fn_sweep *sweep);

/*
 * Runs the sweep until it is finished (1), until the time `until` (0), or until the socket fails (-errno). Does nothing
 * after the end.
 */
int fn_sweep_run(struct fn_sweep *sweep, int64_t until);

/* Sets the time between two requests from now on; 0: none. */
void fn_sweep_pace(struct fn_sweep *sweep, int64_t gap);

/*
 * As long as the sweep lives. fn_sweep_size(), fn_sweep_sent() and fn_sweep_finished() may be called in any thread, and
 * once it is finished the others too; else these are read between two calls of fn_sweep_run().
 */
uint64_t fn_sweep_size(const struct fn_sweep *sweep);
const uint8_t *fn_sweep_states(const struct fn_sweep *sweep);
const union fn_slot *fn_sweep_slots(const struct fn_sweep *sweep);
uint64_t fn_sweep_sent(const struct fn_sweep *sweep);
bool fn_sweep_finished(const struct fn_sweep *sweep);

/* The reason of this number; NULL if there is none. */
const struct fn_reason *fn_sweep_reason(const struct fn_sweep *sweep, uint32_t number);

/* The first target from `target` on that was not sent to for a known reason; fn_sweep_size() if there is none. */
uint64_t fn_sweep_refused(const struct fn_sweep *sweep, uint64_t target);

/* The source address of a target's answer, if it differs from the target; false: it does not. */
bool fn_sweep_responder(const struct fn_sweep *sweep, uint64_t target, struct fn_number *out);

/* The six bytes of an alive target's hardware address; NULL: not known (only FN_LINK has it), or not alive. */
const uint8_t *fn_sweep_mac(const struct fn_sweep *sweep, uint64_t target);

/* The number of target k's address, and the target that an address is; UINT64_MAX: none. */
struct fn_number fn_sweep_address(const struct fn_sweep *sweep, uint64_t target);
uint64_t fn_sweep_target(const struct fn_sweep *sweep, struct fn_number address);

/* SipHash-2-4 (Aumasson and Bernstein, INDOCRYPT 2012). */
uint64_t fn_siphash(const uint8_t key[16], const uint8_t *data, size_t len);

#endif
