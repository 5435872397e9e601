/* Reads messages of a socket, FN_BATCH at a time, and parses them. */
#define _GNU_SOURCE
#include "probe/message.h"

#include "checksum.h"
#include "bytes.h"
#include "probe/timing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h>

int fn_incoming_init(struct fn_incoming *in, size_t size)
{
    in->packets = malloc(FN_BATCH * size);
    if (!in->packets)
        return -ENOMEM;
    for (unsigned i = 0; i < FN_BATCH; i++)
        in->data[i] = (struct iovec){in->packets + i * size, size};
    return 0;
}

void fn_incoming_free(struct fn_incoming *in)
{
    free(in->packets);
}

int fn_incoming_read(struct fn_incoming *in, int fd, unsigned limit, int flags)
{
    for (unsigned i = 0; i < limit; i++)
        in->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &in->from[i], .msg_namelen = sizeof in->from[i], .msg_iov = &in->data[i], .msg_iovlen = 1,
            .msg_control = in->control[i], .msg_controllen = FN_CONTROL};
    const int count = recvmmsg(fd, in->messages, limit, MSG_DONTWAIT | flags, NULL);
    return count < 0 ? -errno : count;
}

bool fn_is_notice(int error)
{
    switch (error) {
    case EINTR:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENONET:
    case ENOPROTOOPT:
    case ECONNREFUSED:
    case EMSGSIZE:
    case EOPNOTSUPP:
    case EACCES:
    case EPROTO:
    case EREMOTEIO:
        return true;
    default:
        return false;
    }
}

const void *fn_control_of(const struct msghdr *message, int level, int type, size_t size)
{
    const uint8_t *const end = (const uint8_t *)message->msg_control + message->msg_controllen;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR((struct msghdr *)message, part))
        if (part->cmsg_level == level && part->cmsg_type == type && part->cmsg_len >= CMSG_LEN(size) &&
            (size_t)(end - CMSG_DATA(part)) >= size)
            return CMSG_DATA(part);
    return NULL;
}

/* A timestamp, the first if there are several; 0: none, or an invalid time. */
static int64_t timestamp(const struct msghdr *message, int type)
{
    struct timespec stamp;
    const void *const found = fn_control_of(message, SOL_SOCKET, type, sizeof stamp);

    if (!found)
        return 0;
    memcpy(&stamp, found, sizeof stamp);
    if (stamp.tv_sec < 0 || stamp.tv_sec > FN_NEVER / FN_SECOND / 2 || stamp.tv_nsec < 0 || stamp.tv_nsec >= FN_SECOND)
        return 0;
    return stamp.tv_sec * FN_SECOND + stamp.tv_nsec;
}

int64_t fn_stamp_of(const struct msghdr *message)
{
    return timestamp(message, SCM_TIMESTAMPNS);
}

int64_t fn_departure_of(const struct msghdr *message)
{
    return timestamp(message, SCM_TIMESTAMPING);
}

struct fn_number fn_number_of(const struct sockaddr_in6 *address)
{
    if (address->sin6_family == AF_INET) {
        const struct sockaddr_in *const ipv4 = (const struct sockaddr_in *)address;
        return (struct fn_number){.low = ntohl(ipv4->sin_addr.s_addr)};
    }
    return (struct fn_number){get64(address->sin6_addr.s6_addr), get64(address->sin6_addr.s6_addr + 8)};
}

const uint8_t *fn_icmp_within(const uint8_t *message, size_t *len)
{
    const size_t header = *len ? (size_t)(message[0] & 0xf) * 4 : 0;

    if (header < FN_IPV4_HEADER || *len < header)
        return NULL;
    *len -= header;
    return fn_checksum_scalar(message + header, *len, 0) == 0xffff ? message + header : NULL;
}

bool fn_is_echo(const uint8_t *icmp, size_t len, uint8_t type, uint16_t ident)
{
    return len >= FN_ICMP_HEADER && icmp[0] == type && icmp[1] == 0 && get16(icmp + FN_AT_IDENT) == ident;
}

static size_t address_size(int family)
{
    return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

const struct sock_extended_err *fn_report_of(const struct msghdr *message, int family)
{
    const int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    const int type = family == AF_INET ? IP_RECVERR : IPV6_RECVERR;

    return fn_control_of(message, level, type, sizeof(struct sock_extended_err) + address_size(family));
}

bool fn_is_error(const struct sock_extended_err *report, int family)
{
    if (report->ee_origin != SO_EE_ORIGIN_ICMP && report->ee_origin != SO_EE_ORIGIN_ICMP6)
        return false;
    if (family == AF_INET)
        return report->ee_type != FN_REDIRECT_4 && report->ee_type != FN_QUENCH_4;
    return report->ee_type != FN_REDIRECT_6;
}

struct sockaddr_in6 fn_reporter_of(const struct sock_extended_err *error, int family)
{
    struct sockaddr_in6 offender = {0};

    memcpy(&offender, SO_EE_OFFENDER(error), address_size(family));
    offender.sin6_family = (sa_family_t)family;
    return offender;
}
