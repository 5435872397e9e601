/* Messages of a socket, FN_BATCH at a time. */
#define _GNU_SOURCE
#include "probe/sweep.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int fn_batches_init(struct fn_sweep *sweep)
{
    struct fn_outgoing *const out = &sweep->out;
    struct fn_incoming *const in = &sweep->in;

    out->packets = calloc(FN_BATCH, sweep->packet_size);
    in->packets = malloc(FN_BATCH * sweep->read_size);
    if (!out->packets || !in->packets)
        return -ENOMEM;
    for (unsigned i = 0; i < FN_BATCH; i++) {
        out->data[i] = (struct iovec){out->packets + i * sweep->packet_size, sweep->packet_size};
        out->messages[i].msg_hdr = (struct msghdr){.msg_iov = &out->data[i], .msg_iovlen = 1};
        in->data[i] = (struct iovec){in->packets + i * sweep->read_size, sweep->read_size};
    }
    return 0;
}

void fn_batches_free(struct fn_sweep *sweep)
{
    free(sweep->out.packets);
    free(sweep->in.packets);
}

int fn_batch_send(struct fn_sweep *sweep)
{
    const int sent = sendmmsg(sweep->options.fd, sweep->out.messages, sweep->out.count, MSG_DONTWAIT);

    return sent < 0 ? -errno : sent;
}

int fn_batch_read(struct fn_sweep *sweep)
{
    struct fn_incoming *const in = &sweep->in;

    for (unsigned i = 0; i < FN_BATCH; i++)
        in->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &in->from[i], .msg_namelen = sizeof in->from[i], .msg_iov = &in->data[i], .msg_iovlen = 1,
            .msg_control = in->control[i], .msg_controllen = FN_CONTROL};
    const int count = recvmmsg(sweep->options.fd, in->messages, FN_BATCH, MSG_DONTWAIT, NULL);
    return count < 0 ? -errno : count;
}

int64_t fn_stamp_of(const struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
         part = CMSG_NXTHDR((struct msghdr *)message, part)) {
        struct timespec stamp;
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS &&
            part->cmsg_len >= CMSG_LEN(sizeof stamp)) {
            memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
            return stamp.tv_sec * FN_SECOND + stamp.tv_nsec;
        }
    }
    return 0;
}

bool fn_batch_wait(struct fn_sweep *sweep, const struct timespec *longest)
{
    struct pollfd ready = {.fd = sweep->options.fd, .events = POLLIN};

    return ppoll(&ready, 1, longest, NULL) > 0 && ready.revents & POLLERR;
}
