/* Sends and reads a sweep's messages over one socket, FN_BATCH at a time. */
#define _GNU_SOURCE
#include "probe/sweep.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

int fn_batches_init(struct fn_sweep *sweep)
{
    struct fn_outgoing *const out = &sweep->out;

    out->packets = calloc(FN_BATCH, sweep->packet_size);
    if (!out->packets)
        return -ENOMEM;
    for (unsigned i = 0; i < FN_BATCH; i++) {
        out->data[i] = (struct iovec){out->packets + i * sweep->packet_size, sweep->packet_size};
        out->messages[i].msg_hdr = (struct msghdr){.msg_iov = &out->data[i], .msg_iovlen = 1};
    }
    return fn_incoming_init(&sweep->in, sweep->read_size);
}

void fn_batches_free(struct fn_sweep *sweep)
{
    free(sweep->out.packets);
    fn_incoming_free(&sweep->in);
}

int fn_batch_send(struct fn_sweep *sweep)
{
    const int sent = sendmmsg(sweep->options.fd, sweep->out.messages, sweep->out.count, MSG_DONTWAIT);

    return sent < 0 ? -errno : sent;
}

int fn_batch_read(struct fn_sweep *sweep)
{
    return fn_incoming_read(&sweep->in, sweep->options.fd, FN_BATCH, 0);
}

bool fn_batch_wait(struct fn_sweep *sweep, const struct timespec *longest)
{
    struct pollfd ready = {.fd = sweep->options.fd, .events = POLLIN};

    return ppoll(&ready, 1, longest, NULL) > 0 && ready.revents & POLLERR;
}
