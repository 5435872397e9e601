/*
 * UDP: the flows of one datagram listener, on a relay's loop.
 *
 * A flow is the datagrams between one client address and one of the listener's local addresses. It has its own
 * connected socket to an upstream, which receives no other flow's datagrams. The source of replies is the address that
 * the client sent to (IP_PKTINFO, IPV6_PKTINFO on a wildcard listener). Datagrams pass whole or
 * not at all, empty ones too. One for which the kernel has no room, or which a rate does not allow, is dropped.
 *
 * A flow ends when nothing has passed for the rule's idle_timeout (60 s if it has none). With max_connections
 * flows, or when descriptors or ports run out, a new flow ends the one that has been idle longest. Each query of a
 * client may be a new flow, so that refusing would lock out all clients until some flows expire, and a busy flow is
 * never the oldest. Many flows leave the last sixteenth of the process's descriptors free for other uses.
 *
 * An ICMP error on the upstream's socket counts as a failure of the upstream. It ends a flow that has had no
 * answer since the last error ("unreachable"): the client's next datagram begins another, to the next address of the
 * upstream, or to the next upstream if this one is resting. A flow is never connected to its own
 * listener.
 *
 * A client that the rule does not admit, that has max_per_source flows, or for which there is no room at all is counted
 * as denied at each of its datagrams, without a record.
 *
 * Call all functions in the thread of the lane's relay. One allocation has the buffers (2 MiB of address space, of
 * which long datagrams use more pages); a flow is allocated when it begins.
 */
#ifndef FN_RELAY_UDP_H
#define FN_RELAY_UDP_H

#include "relay/lane.h"

struct fn_udp;

/* Serves this bound IPv4 or IPv6 datagram socket. Takes ownership of it, even on failure (-errno). */
int fn_udp_new(struct fn_udp **out, struct fn_lane *lane, int fd);

/* Begins no more flows; the open ones end after two idle seconds. */
void fn_udp_drain(struct fn_udp *udp);

/* Ends all flows, with `ended` in their records, and closes the socket. */
void fn_udp_free(struct fn_udp *udp, enum fn_ended ended);

/* In a forked child: closes the copies of all descriptors, without records and wake-ups. */
void fn_udp_abandon(struct fn_udp *udp);

/* Stores at most `count` open flows and returns their number. Each record has its own reference to its upstream. */
size_t fn_udp_records(const struct fn_udp *udp, struct fn_record *out, size_t count);

#endif
