#define _GNU_SOURCE
#include "rtnetlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/sockios.h>

enum {
    ROOM = 1 << 16, /* for one datagram; the kernel fills up to 32 KiB, and more for a message that has more */
    TRIES = 64,
    BODY = 256,
};

/* A request whose answer is being read. */
struct asking {
    int socket;
    uint32_t sequence;
    int is_dump;
    int has_changed;
    size_t room;
    size_t needed; /* more than room if a datagram was truncated */
};

int fn_rtnetlink_open(struct fn_rtnetlink *netlink, int protocol)
{
    const int opened = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

    if (opened < 0)
        return -errno;
    fn_rtnetlink_adopt(netlink, opened);
    return 0;
}

void fn_rtnetlink_adopt(struct fn_rtnetlink *netlink, int socket)
{
    const int on = 1;

    netlink->socket = socket;
    netlink->sequence = 0;
    /* Without it (before Linux 4.20) the kernel ignores a request's selectors other than its type. */
    setsockopt(socket, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
}

void fn_rtnetlink_close(struct fn_rtnetlink *netlink)
{
    if (netlink->socket >= 0)
        close(netlink->socket);
    netlink->socket = -1;
}

void fn_rtnetlink_free(struct fn_rtnetlink_answer *answer)
{
    free(answer->data);
    memset(answer, 0, sizeof *answer);
}

static int reserve(struct fn_rtnetlink_answer *answer, size_t room)
{
    if (answer->capacity - answer->len >= room)
        return 0;
    const size_t capacity = 2 * answer->capacity > answer->len + room ? 2 * answer->capacity : answer->len + room;
    uint8_t *data = realloc(answer->data, capacity);

    if (!data)
        return -ENOMEM;
    answer->data = data;
    answer->capacity = capacity;
    return 0;
}

static int send_question(const struct asking *asking, uint16_t type, uint16_t flags, const void *body, size_t len)
{
    struct {
        struct nlmsghdr header;
        uint8_t body[BODY];
    } question = {.header = {.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + len),
                             .nlmsg_type = type,
                             .nlmsg_flags = NLM_F_REQUEST | flags,
                             .nlmsg_seq = asking->sequence}};
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

    if (len > sizeof question.body)
        return -EMSGSIZE;
    memcpy(question.body, body, len);
    const ssize_t sent = sendto(asking->socket, &question, question.header.nlmsg_len, 0,
                                (const struct sockaddr *)&kernel, sizeof kernel);
    return sent < 0 ? -errno : 0;
}

/*
 * Appends one datagram of the kernel to the answer. Returns its length, which exceeds the room if it was truncated.
 * The end of the dump may be in the truncated part: then nothing is left to receive, which is -EAGAIN.
 */
static ssize_t receive(const struct asking *asking, struct fn_rtnetlink_answer *answer)
{
    const int flags = MSG_TRUNC | (asking->needed ? MSG_DONTWAIT : 0);

    for (;;) {
        struct sockaddr_nl sender = {0};
        socklen_t size = sizeof sender;

        if (reserve(answer, asking->room) < 0)
            return -ENOMEM;
        const ssize_t got = recvfrom(asking->socket, answer->data + answer->len, asking->room, flags,
                                     (struct sockaddr *)&sender, &size);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0 && size == sizeof sender && sender.nl_pid == 0)
            return got;
    }
}

/* The errno of a message that ends an answer, 0 for success. */
static int ending(const struct fn_rtnetlink_message *message)
{
    int32_t code = 0;

    if (message->body.len >= sizeof code)
        memcpy(&code, message->body.at, sizeof code);
    else if (message->type == NLMSG_ERROR)
        return -EBADMSG;
    return code < 0 ? code : 0;
}

/* Keeps the messages of a datagram that belong to the answer. Returns 1 if more follow, 0 at its end, or -errno. */
static int sift(struct asking *asking, struct fn_rtnetlink_answer *answer, size_t got)
{
    const uint8_t *at = answer->data + answer->len;
    struct fn_rtnetlink_message message;
    ssize_t size;

    for (; (size = fn_rtnetlink_next(at, got, &message)) > 0; at += size, got -= (size_t)size) {
        if (message.sequence != asking->sequence)
            continue;
        asking->has_changed |= message.flags & NLM_F_DUMP_INTR;
        if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR)
            return ending(&message);
        memmove(answer->data + answer->len, at, (size_t)size);
        answer->len += (size_t)size;
        if (!asking->is_dump)
            return 0;
    }
    return size < 0 ? (int)size : 1;
}

/* Reads one answer to its end, so that the next request receives none of it. */
static int gather(struct asking *asking, struct fn_rtnetlink_answer *answer)
{
    ssize_t more = 1;

    answer->len = 0;
    asking->has_changed = 0;
    asking->needed = 0;
    while (more > 0) {
        more = receive(asking, answer);
        if (more > 0 && (size_t)more > asking->room)
            asking->needed = (size_t)more > asking->needed ? (size_t)more : asking->needed;
        else if (more > 0)
            more = sift(asking, answer, (size_t)more);
        if (asking->needed && !asking->is_dump)
            break;
    }
    if (asking->needed && (more >= 0 || more == -EAGAIN)) {
        asking->room = asking->needed;
        return -EMSGSIZE;
    }
    return !more && asking->has_changed ? -EAGAIN : (int)more;
}

int fn_rtnetlink_ask(struct fn_rtnetlink *netlink, uint16_t type, uint16_t flags, const void *body, size_t len,
                     struct fn_rtnetlink_answer *answer)
{
    struct asking asking = {.socket = netlink->socket, .is_dump = (flags & NLM_F_DUMP) == NLM_F_DUMP, .room = ROOM};
    int result = -EAGAIN;

    for (int i = 0; i < TRIES && (result == -EAGAIN || result == -EMSGSIZE || result == -ENOBUFS); i++) {
        asking.sequence = ++netlink->sequence;
        result = send_question(&asking, type, flags, body, len);
        if (!result)
            result = gather(&asking, answer);
    }
    return result;
}

int fn_rtnetlink_name(const struct fn_rtnetlink *netlink, int32_t index, char out[IFNAMSIZ])
{
    struct ifreq question = {.ifr_ifindex = index};

    if (ioctl(netlink->socket, SIOCGIFNAME, &question) < 0)
        return -errno;
    memcpy(out, question.ifr_name, IFNAMSIZ);
    out[IFNAMSIZ - 1] = '\0';
    return 0;
}
