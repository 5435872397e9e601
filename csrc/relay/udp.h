/*
 * UDP: the flows of one datagram listener, on a relay's loop.
 *
 * A flow is what one client address exchanges with one of the listener's local addresses. It has a connected
 * socket to an upstream of its own, which receives nobody else's datagrams, and replies leave from the
 * address that the client sent to (IP_PKTINFO, IPV6_PKTINFO on a wildcard listener). Datagrams pass whole or
 * not at all, empty ones too; what the kernel has no room for, or a rate does not allow, is dropped.
 *
 * A flow ends when nothing has passed for the rule's idle_timeout (60 s where it has none). Of max_connections
 * flows the one that has been quiet for longest makes room for a new one, and so it does where descriptors or
 * ports run out: a client's every query may be a new flow, so that refusing would lock out all until some
 * expire, and whoever is busy is never the oldest. Where there are many flows, they leave the last sixteenth of the
 * process's descriptors to others.
 *
 * An ICMP error on the upstream's socket counts as a failure of the upstream. It ends a flow that has had no
 * answer since the last one ("unreachable"): the client's next datagram begins another, at the next of the
 * upstream's addresses, or at the next upstream where this one rests now. A flow does not go to where
 * its own datagrams would come back to, the listener.
 *
 * A client that the rule does not admit, or that has max_per_source flows, is counted as denied at each of its
 * datagrams, and so is one for whom there is no room at all; there are no records of those.
 *
 * All is called in the thread of the lane's relay. One allocation holds the buffers (2 MiB of address space,
 * touched as far as datagrams are long); a flow is allocated when it begins.
 */
#ifndef FN_RELAY_UDP_H
#define FN_RELAY_UDP_H

#include "relay/lane.h"

struct fn_udp;

/* Serves this bound IPv4 or IPv6 datagram socket, which is its own from now on, also where that fails: -errno. */
int fn_udp_new(struct fn_udp **out, struct fn_lane *lane, int fd);

/* No more new flows, and no more patience with quiet ones: they end after two seconds. */
void fn_udp_drain(struct fn_udp *udp);

/* Ends all flows, as their records will show, and closes the socket. */
void fn_udp_free(struct fn_udp *udp, enum fn_ended ended);

/* The same in a forked child: closes the copies of all descriptors, and notifies nobody. */
void fn_udp_abandon(struct fn_udp *udp);

/* The open flows, at most `count` of them; returns how many. Each record has its own reference to its upstream. */
size_t fn_udp_records(const struct fn_udp *udp, struct fn_record *out, size_t count);

#endif
