/*
 * Receiving from an ICMP socket, for sweeps and probers: messages in batches, their control messages, and
 * the ICMP message in each. Nothing is read beyond a message's length.
 */
#ifndef FN_PROBE_MESSAGE_H
#define FN_PROBE_MESSAGE_H

#include "probe.h"

#include <sys/socket.h>

#define FN_BATCH 16
#define FN_ICMP_HEADER 8
#define FN_IPV4_HEADER 20
#define FN_IPV4_HEADER_MAX 60
#define FN_CONTROL 256

enum { FN_ECHO_REPLY_4 = 0, FN_QUENCH_4 = 4, FN_REDIRECT_4 = 5, FN_ECHO_REQUEST_4 = 8 };
enum { FN_ECHO_REQUEST_6 = 128, FN_ECHO_REPLY_6 = 129, FN_REDIRECT_6 = 137 };

/* Of an echo message: type, code, checksum, ident, sequence. */
enum { FN_AT_CHECKSUM = 2, FN_AT_IDENT = 4, FN_AT_SEQUENCE = 6 };

/* Messages of one batch. */
struct fn_incoming {
    struct mmsghdr messages[FN_BATCH];
    struct iovec data[FN_BATCH];
    struct sockaddr_in6 from[FN_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[FN_BATCH][FN_CONTROL];
    uint8_t *packets;
};

/* Allocates room for messages of so many bytes. 0, or -ENOMEM; call fn_incoming_free() after either. */
int fn_incoming_init(struct fn_incoming *in, size_t size);
void fn_incoming_free(struct fn_incoming *in);
/* Reads at most `limit` (up to FN_BATCH) messages, without waiting. Returns their number, or -errno. */
int fn_incoming_read(struct fn_incoming *in, int fd, unsigned limit, int flags);

/*
 * Whether a failure to read (not of the error queue) may report an ICMP error. The socket reports such an error once;
 * one that it reports FN_NOTICES times without a new ICMP error is a refusal.
 */
bool fn_is_notice(int error);
#define FN_NOTICES 16

/* The data of a control message of at least this size; NULL without one. */
const void *fn_control_of(const struct msghdr *message, int level, int type, size_t size);
/* The kernel's receive timestamp of a message, by the wall clock; 0: unknown. */
int64_t fn_stamp_of(const struct msghdr *message);
/* The transmit time of the packet that a message of the error queue reports; 0: unknown. */
int64_t fn_departure_of(const struct msghdr *message);

/* An IPv4 or IPv6 socket address as a number. */
struct fn_number fn_number_of(const struct sockaddr_in6 *address);

/* The ICMP message in a raw IPv4 socket's message, and its length; NULL: none, or a wrong checksum. */
const uint8_t *fn_icmp_within(const uint8_t *message, size_t *len);
/* Whether it is an echo message of this type and ident. */
bool fn_is_echo(const uint8_t *icmp, size_t len, uint8_t type, uint16_t ident);

struct sock_extended_err;

/* The error or the transmit timestamp in a message of the error queue; NULL: none. */
const struct sock_extended_err *fn_report_of(const struct msghdr *message, int family);
/*
 * Whether it is an ICMP error, not a local one. Redirects do not count, since the router forwarded the probe, nor does
 * source quench, which is obsolete (RFC 6633).
 */
bool fn_is_error(const struct sock_extended_err *report, int family);
/* The sender of the error, with the scope of a link-local one. */
struct sockaddr_in6 fn_reporter_of(const struct sock_extended_err *error, int family);

#endif
