#define _GNU_SOURCE
#include "relay/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/check.h"
#include "relay/flows.h"

#define DRAINING_IDLE (2 * FN_SECOND)
/* Bytes of a listener's receive buffer: new flows take longer to set up than their datagrams to arrive. */
#define RECEIVE_BUFFER (4 << 20)

/* Receiving and sending */

/* Receives at most FN_BATCH datagrams; 0 if there is none, -errno if the socket has an error. */
static int receive(struct fn_batch *batch, int fd, bool from_clients)
{
    for (size_t i = 0; i < FN_BATCH; i++) {
        batch->iov[i] = (struct iovec){.iov_base = batch->data[i], .iov_len = FN_DATAGRAM};
        batch->in[i].msg_hdr = (struct msghdr){.msg_iov = &batch->iov[i], .msg_iovlen = 1};
        if (from_clients) {
            batch->in[i].msg_hdr.msg_name = &batch->from[i];
            batch->in[i].msg_hdr.msg_namelen = sizeof batch->from[i];
            batch->in[i].msg_hdr.msg_control = &batch->control[i];
            batch->in[i].msg_hdr.msg_controllen = sizeof batch->control[i];
        }
    }
    const int received = recvmmsg(fd, batch->in, FN_BATCH, MSG_DONTWAIT, NULL);
    if (received < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return received;
}

/* Whether the rates allow so many bytes. */
static bool may_pass(struct fn_flow *flow, size_t bytes)
{
    const struct fn_lane *const lane = flow->udp->lane;
    const struct fn_rule_options *const options = &lane->rule->options;
    const int64_t now = lane->loop->now;

    if ((options->rate && !fn_bucket_room(&lane->rule->bucket, now)) ||
        (options->connection_rate && !fn_bucket_room(&flow->bucket, now)))
        return false;
    if (options->rate)
        fn_bucket_take(&lane->rule->bucket, now, bytes);
    if (options->connection_rate)
        fn_bucket_take(&flow->bucket, now, bytes);
    return true;
}

/* Copies the batch's datagrams from `first` to before `end` that may pass to `out`; returns their number. */
static unsigned collect(struct fn_flow *flow, unsigned first, unsigned end, const struct msghdr *header)
{
    struct fn_batch *const batch = flow->udp->batch;
    unsigned count = 0;

    for (unsigned i = first; i < end; i++) {
        if (!may_pass(flow, batch->in[i].msg_len))
            continue;
        batch->iov[i].iov_len = batch->in[i].msg_len;
        batch->out[count].msg_hdr = *header;
        batch->out[count].msg_hdr.msg_iov = &batch->iov[i];
        batch->out[count].msg_hdr.msg_iovlen = 1;
        count++;
    }
    return count;
}

/* Sends the datagrams from `out` on; returns the number sent, or -errno of the first. */
static int send_out(int fd, struct mmsghdr *out, unsigned count)
{
    int sent;

    do
        sent = sendmmsg(fd, out, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static uint64_t bytes_of(const struct mmsghdr *out, unsigned count)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < count; i++)
        bytes += out[i].msg_len;
    return bytes;
}

/* Towards the upstream */

/* Errors of this datagram only; any other is an error of the upstream. */
static bool is_loss(int error)
{
    switch (error) {
    case EAGAIN:
    case EMSGSIZE:
    case ENOBUFS:
    case ENOMEM:
    case EPERM:
        return true;
    default:
        return false;
    }
}

static void pass_up(struct fn_flow *flow, unsigned first, unsigned end)
{
    struct mmsghdr *const out = flow->udp->batch->out;
    const unsigned count = collect(flow, first, end, &(struct msghdr){0});

    fn_flow_touch(flow);
    for (unsigned done = 0; done < count;) {
        const int sent = send_out(flow->fd, out + done, count - done);
        if (sent < 0) {
            if (is_loss(-sent))
                done++;
            else if (!fn_flow_survives(flow))
                return;
            continue;
        }
        const uint64_t bytes = bytes_of(out + done, (unsigned)sent);
        flow->sent_up += bytes;
        fn_count(&flow->udp->lane->counters.sent_up, bytes);
        done += (unsigned)sent;
    }
}

/* Towards the client */

/* Sets the source address of replies to the one that the client sent to; returns the bytes of `control` used. */
static size_t reply_from(const struct fn_flow *flow, union fn_control *control)
{
    const uint8_t *const local = flow->key.local.bytes;

    if (!flow->udp->is_wildcard)
        return 0;
    memset(control, 0, sizeof *control);
    if (flow->udp->family == AF_INET) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local + 12, sizeof info.ipi_spec_dst);
        control->first.cmsg_level = IPPROTO_IP;
        control->first.cmsg_type = IP_PKTINFO;
        control->first.cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(&control->first), &info, sizeof info);
        return CMSG_SPACE(sizeof info);
    }
    struct in6_pktinfo info = {0};
    memcpy(&info.ipi6_addr, local, sizeof info.ipi6_addr);
    control->first.cmsg_level = IPPROTO_IPV6;
    control->first.cmsg_type = IPV6_PKTINFO;
    control->first.cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(&control->first), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
}

static void pass_down(struct fn_flow *flow, unsigned received)
{
    struct fn_udp *const udp = flow->udp;
    struct mmsghdr *const out = udp->batch->out;
    union fn_control control;
    const struct msghdr header = {
        .msg_name = &flow->client,
        .msg_namelen = udp->family == AF_INET ? sizeof flow->client.in : sizeof flow->client.in6,
        .msg_control = udp->is_wildcard ? &control : NULL,
        .msg_controllen = reply_from(flow, &control),
    };
    const unsigned count = collect(flow, 0, received, &header);

    fn_flow_touch(flow);
    for (unsigned done = 0; done < count;) {
        const int sent = send_out(udp->fd, out + done, count - done);
        if (sent < 0) {
            done++;
            continue;
        }
        const uint64_t bytes = bytes_of(out + done, (unsigned)sent);
        flow->sent_down += bytes;
        fn_count(&udp->lane->counters.sent_down, bytes);
        done += (unsigned)sent;
    }
}

static void on_reply(struct fn_handler *handler, uint32_t events)
{
    struct fn_flow *const flow = fn_container(handler, struct fn_flow, handler);
    const int received = receive(flow->udp->batch, flow->fd, false);

    (void)events;
    fn_flows_free_ended(flow->udp);
    if (received < 0) {
        fn_flow_survives(flow);
    } else if (received > 0) {
        fn_flow_answered(flow);
        pass_down(flow, (unsigned)received);
    }
}

/* The listener */

static void read_local(struct fn_udp *udp, struct msghdr *header, struct fn_ip *local)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        if (udp->family == AF_INET && part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
            struct sockaddr_in address = {.sin_family = AF_INET};
            memcpy(&address.sin_addr, CMSG_DATA(part) + offsetof(struct in_pktinfo, ipi_spec_dst),
                   sizeof address.sin_addr);
            fn_ip_of((const struct sockaddr *)&address, local);
        } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
            memcpy(local->bytes, CMSG_DATA(part) + offsetof(struct in6_pktinfo, ipi6_addr), sizeof local->bytes);
            /* A multicast group can't be a source address. */
            if (local->bytes[0] == 0xff)
                memset(local, 0, sizeof *local);
        }
    }
}

static struct fn_flow_key key_of(struct fn_udp *udp, unsigned i)
{
    const union fn_client *const client = &udp->batch->from[i];
    struct fn_flow_key key = {.port = fn_port_of(&client->any)};

    fn_ip_of(&client->any, &key.client);
    if (udp->family == AF_INET6)
        key.scope = client->in6.sin6_scope_id;
    if (udp->is_wildcard)
        read_local(udp, &udp->batch->in[i].msg_hdr, &key.local);
    return key;
}

static void on_request(struct fn_handler *handler, uint32_t events)
{
    struct fn_udp *const udp = fn_container(handler, struct fn_udp, handler);
    const int received = receive(udp->batch, udp->fd, true);
    struct fn_flow_key keys[FN_BATCH];

    (void)events;
    fn_flows_free_ended(udp);
    for (int i = 0; i < received; i++)
        keys[i] = key_of(udp, (unsigned)i);
    for (int first = 0, end; first < received; first = end) {
        end = first + 1;
        while (end < received && memcmp(&keys[end], &keys[first], sizeof *keys) == 0)
            end++;
        struct fn_flow *flow = fn_flow_find(udp, &keys[first]);
        if (!flow)
            flow = fn_flow_begin(udp, &keys[first], &udp->batch->from[first]);
        if (flow)
            pass_up(flow, (unsigned)first, (unsigned)end);
    }
}

/* Grows the buffer as far as permitted; a larger one stays. */
static void enlarge_buffer(int fd)
{
    const int wanted = RECEIVE_BUFFER;
    int size = 0;
    socklen_t len = sizeof size;

    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &len);
    if (size < wanted && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof wanted);
}

/* 0, or -errno. */
static int look_at(struct fn_udp *udp)
{
    static const int yes = 1;
    static const struct fn_ip any, any_ipv4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}};
    union fn_client address;
    socklen_t size = sizeof address;

    enlarge_buffer(udp->fd);
    if (getsockname(udp->fd, &address.any, &size) < 0)
        return -errno;
    if (!fn_ip_of(&address.any, &udp->address))
        return -EAFNOSUPPORT;
    udp->family = address.any.sa_family;
    udp->port = fn_port_of(&address.any);
    udp->is_wildcard = memcmp(&udp->address, udp->family == AF_INET ? &any_ipv4 : &any, sizeof any) == 0;
    if (!udp->is_wildcard)
        return 0;
    const int failed = udp->family == AF_INET
                           ? setsockopt(udp->fd, IPPROTO_IP, IP_PKTINFO, &yes, sizeof yes)
                           : setsockopt(udp->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &yes, sizeof yes);
    return failed ? -errno : 0;
}

static void free_memory(struct fn_udp *udp)
{
    fn_flows_free(udp);
    free(udp->batch);
    free(udp);
}

int fn_udp_new(struct fn_udp **out, struct fn_lane *lane, int fd)
{
    struct fn_udp *const udp = calloc(1, sizeof *udp);
    int result;

    if (!udp) {
        close(fd);
        return -ENOMEM;
    }
    udp->handler.on_event = on_request;
    udp->on_reply = on_reply;
    udp->lane = lane;
    udp->fd = fd;
    udp->batch = malloc(sizeof *udp->batch);
    result = fn_flows_init(udp);
    if (!udp->batch)
        result = -ENOMEM;
    if (result == 0)
        result = look_at(udp);
    if (result == 0)
        result = fn_loop_watch(lane->loop, fd, EPOLLIN, &udp->handler);
    if (result < 0) {
        close(fd);
        free_memory(udp);
        return result;
    }
    *out = udp;
    return 0;
}

void fn_udp_drain(struct fn_udp *udp)
{
    udp->draining = true;
    if (udp->idle > DRAINING_IDLE)
        udp->idle = DRAINING_IDLE;
    fn_flows_wait(udp);
}

void fn_udp_free(struct fn_udp *udp, enum fn_ended ended)
{
    while (udp->oldest)
        fn_flow_end(udp->oldest, ended);
    fn_timer_clear(udp->lane->loop, &udp->timer);
    fn_loop_unwatch(udp->lane->loop, udp->fd, &udp->handler);
    close(udp->fd);
    FN_CHECK(!udp->flow_count && !udp->newest && !fn_timer_is_set(&udp->timer));
    free_memory(udp);
}

void fn_udp_abandon(struct fn_udp *udp)
{
    for (struct fn_flow *flow = udp->oldest; flow; flow = flow->newer)
        close(flow->fd);
    close(udp->fd);
    free_memory(udp);
}

size_t fn_udp_records(const struct fn_udp *udp, struct fn_record *out, size_t count)
{
    size_t listed = 0;

    for (const struct fn_flow *flow = udp->oldest; flow && listed < count; flow = flow->newer)
        fn_flow_record(flow, &out[listed++]);
    return listed;
}
