/*
 * What the kernel knows of interfaces, addresses, routes and neighbours, by rtnetlink(7), and of the speed of a link,
 * by ethtool over generic netlink.
 *
 * Asking: fn_rtnetlink_ask() sends one question over a socket that fn_rtnetlink_open() has opened, and gathers the
 * whole answer. The socket answers for the network namespace that it was opened in. Reading: fn_rtnetlink_next()
 * goes from message to message of an answer, or of what a socket that is subscribed to events has received;
 * fn_rtnetlink_read_...() check one message and read it.
 *
 * Results are 0 or more, or -errno. -EBADMSG is a message that is not formed as linux/rtnetlink.h has it: an attribute
 * that ends behind its message or is too short for its type, an address of another length than its family's.
 * Attributes of an unknown type are skipped; of one that comes twice the last counts. What is read points into the
 * message's memory. A number that is not there is 0, a slice that is not there has `at` NULL.
 *
 * There is no state beside the caller's structures, and no lock: different threads may each use their own at once.
 */
#ifndef FN_RTNETLINK_H
#define FN_RTNETLINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/if.h>

struct fn_rtnetlink_slice {
    const uint8_t *at;
    size_t len;
};

/* A message behind its header (struct nlmsghdr). */
struct fn_rtnetlink_message {
    uint16_t type;
    uint16_t flags;
    uint32_t sequence;
    struct fn_rtnetlink_slice body;
};

/*
 * Reads the first message of `data`, and returns how many bytes it takes with its padding; 0 if data is empty,
 * -EBADMSG if it does not begin with a whole message.
 */
ssize_t fn_rtnetlink_next(const uint8_t *data, size_t len, struct fn_rtnetlink_message *out);

/* An interface (RTM_NEWLINK, RTM_DELLINK). Texts are without their NUL. */
struct fn_rtnetlink_link {
    int32_t index;
    uint16_t type;
    uint32_t flags;
    uint32_t mtu;
    uint32_t master;
    uint32_t link;
    int32_t link_namespace;
    uint8_t has_link_namespace;
    uint8_t operational_state;
    uint8_t has_carrier;
    uint8_t carrier;
    uint32_t carrier_changes;
    struct fn_rtnetlink_slice name, kind, address, permanent, broadcast;
    struct fn_rtnetlink_slice altnames; /* for fn_rtnetlink_next_altname() */
    struct fn_rtnetlink_slice counters; /* struct rtnl_link_stats64, as much of it as this kernel has */
};

/*
 * Returns 1, or 0 for a message of another family: a bridge reports its ports by the same types, which is no change
 * of the interface.
 */
int fn_rtnetlink_read_link(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_link *out);

/* Takes the first name off `altnames` and returns 1, 0 if none is left. */
int fn_rtnetlink_next_altname(struct fn_rtnetlink_slice *altnames, struct fn_rtnetlink_slice *name);

/*
 * An address (RTM_NEWADDR, RTM_DELADDR). `size` is 4 or 16. `network` has the address whose prefix is on the link:
 * of an IPv4 address with a peer this is the peer.
 */
struct fn_rtnetlink_address {
    uint8_t size;
    uint8_t prefix_length;
    uint8_t scope;
    uint8_t has_protocol;
    uint8_t protocol;
    int32_t index;
    uint32_t flags;
    uint32_t preferred, valid; /* seconds; UINT32_MAX is forever */
    const uint8_t *address, *peer, *broadcast; /* the last two may be NULL */
    const uint8_t *network;
    struct fn_rtnetlink_slice label;
};

/* Returns 1, or 0 for a family that is neither IPv4 nor IPv6. */
int fn_rtnetlink_read_address(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_address *out);

/* One leg of a multipath route, or the only one of another. Gateways have 4 or 16 bytes. */
struct fn_rtnetlink_leg {
    int32_t index;
    uint8_t flags;
    uint16_t weight;
    struct fn_rtnetlink_slice gateway;
};

/* A route (RTM_NEWROUTE, RTM_DELROUTE). */
struct fn_rtnetlink_route {
    uint8_t size; /* of the family's addresses: 4 or 16 */
    uint8_t prefix_length, sources_length;
    uint8_t tos, protocol, scope, type;
    uint32_t flags;
    uint32_t table, metric, mtu, next_hop_id;
    uint16_t encapsulation;
    uint8_t has_preference, preference;
    int32_t index;
    const uint8_t *destination, *sources, *source; /* NULL: all zeros; all zeros; none */
    struct fn_rtnetlink_slice gateway;
    struct fn_rtnetlink_slice legs; /* for fn_rtnetlink_next_leg() */
};

/* Returns 1, or 0 for a family that is neither IPv4 nor IPv6. */
int fn_rtnetlink_read_route(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_route *out);

/* Takes the first leg off `legs` and returns 1, 0 if none is left. Does not fail for the legs of a route that was read. */
int fn_rtnetlink_next_leg(struct fn_rtnetlink_slice *legs, uint8_t size, struct fn_rtnetlink_leg *leg);

/* A neighbour (RTM_NEWNEIGH, RTM_DELNEIGH). */
struct fn_rtnetlink_neighbour {
    uint8_t size;
    uint8_t has_protocol, protocol;
    uint16_t state;
    uint32_t flags; /* NTF_..., and NTF_EXT_... from bit 8 on */
    int32_t index;
    const uint8_t *address;
    struct fn_rtnetlink_slice hardware;
};

/* Returns 1, or 0 for a family that is neither IPv4 nor IPv6, as of a bridge's table. */
int fn_rtnetlink_read_neighbour(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_neighbour *out);

/* What ethtool has of a link (ETHTOOL_MSG_LINKMODES_GET_REPLY). Unknown values are UINT32_MAX and UINT8_MAX. */
struct fn_rtnetlink_speed {
    int32_t index;
    uint32_t megabits;
    uint8_t duplex;
};

int fn_rtnetlink_read_speed(const struct fn_rtnetlink_message *message, struct fn_rtnetlink_speed *out);

/* Reads the number of a generic family from the answer to its name. */
int fn_rtnetlink_read_family(const struct fn_rtnetlink_message *message, uint16_t *family);

/* A socket, and the number of the last question asked over it. */
struct fn_rtnetlink {
    int socket;
    uint32_t sequence;
};

/* Opens a socket of the calling thread's network namespace; `protocol` is NETLINK_ROUTE or NETLINK_GENERIC. */
int fn_rtnetlink_open(struct fn_rtnetlink *netlink, int protocol);

/* Takes ownership of a socket that was opened elsewhere, for one of these protocols, and never used. */
void fn_rtnetlink_adopt(struct fn_rtnetlink *netlink, int socket);

/* Does nothing if the socket is -1, which it is afterwards. */
void fn_rtnetlink_close(struct fn_rtnetlink *netlink);

/* An answer: whole messages, without those that end a dump. Begin with zeros; fn_rtnetlink_free() it at last. */
struct fn_rtnetlink_answer {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

void fn_rtnetlink_free(struct fn_rtnetlink_answer *answer);

/*
 * Sends a question of this type and NLM_F_... flags, and gathers the answer, in place of what was in it. `body` is
 * what follows the header. Messages of other senders than the kernel, and those that answer another question, are
 * dropped. A dump that changed while it was read is repeated; -EAGAIN if it changed each time. -errno is also what the
 * kernel answered. After a failure the socket can be asked again.
 */
int fn_rtnetlink_ask(struct fn_rtnetlink *netlink, uint16_t type, uint16_t flags, const void *body, size_t len,
                     struct fn_rtnetlink_answer *answer);

/* The present name of an interface in the socket's namespace; -ENODEV if there is none of this index. */
int fn_rtnetlink_name(const struct fn_rtnetlink *netlink, int32_t index, char out[IFNAMSIZ]);

#endif
