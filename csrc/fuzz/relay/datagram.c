#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <string.h>

static bool add(struct datagrams *queue, const struct datagram *datagram)
{
    if (queue->count == DATAGRAMS)
        return false;
    queue->list[queue->count++] = *datagram;
    return true;
}

static void take(struct datagrams *queue, struct datagram *datagram)
{
    *datagram = queue->list[0];
    queue->count--;
    memmove(queue->list, queue->list + 1, queue->count * sizeof *queue->list);
}

bool datagram_send(const struct datagram *datagram)
{
    return add(&kernel.requests, datagram);
}

int flow_client(int fd)
{
    return file_at(fd)->client;
}

bool flow_reply(int fd, const struct datagram *datagram)
{
    return add(file_at(fd)->replies, datagram);
}

void flow_fail(int fd, int error)
{
    file_at(fd)->error = error;
}

/* The relay's calls */

static void fill_control(struct msghdr *header, int domain)
{
    struct cmsghdr *const part = CMSG_FIRSTHDR(header);
    const struct in6_addr local6 = {{{0x20, 1, [15] = 7}}};

    if (domain == AF_INET) {
        const struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(0x7f000007)};
        *part = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof info)};
        memcpy(CMSG_DATA(part), &info, sizeof info);
        header->msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        const struct in6_pktinfo info = {.ipi6_addr = local6};
        *part = (struct cmsghdr){
            .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO, .cmsg_len = CMSG_LEN(sizeof info)};
        memcpy(CMSG_DATA(part), &info, sizeof info);
        header->msg_controllen = CMSG_SPACE(sizeof info);
    }
}

static int port_of(const struct sockaddr_storage *address)
{
    return ntohs(((const struct sockaddr_in *)address)->sin_port);
}

int __wrap_recvmmsg(int fd, struct mmsghdr *list, unsigned most, int flags, struct timespec *timeout)
{
    struct file *const file = file_at(fd);
    struct datagrams *const queue = file->kind == FLOW ? file->replies : &kernel.requests;
    unsigned count = 0;

    (void)timeout;
    require(flags & MSG_DONTWAIT, "a recvmmsg(2) that may wait");
    if (fails(FAULT_RECEIVE))
        return -1;
    if (file->error) {
        errno = file->error;
        file->error = 0;
        return -1;
    }
    for (; count < most && queue->count; count++) {
        struct msghdr *const header = &list[count].msg_hdr;
        struct datagram datagram;
        take(queue, &datagram);
        require(header->msg_iov->iov_len >= datagram.len, "a datagram is cut");
        memcpy(header->msg_iov->iov_base, datagram.bytes, datagram.len);
        list[count].msg_len = (unsigned)datagram.len;
        if (header->msg_name) {
            const struct sockaddr_storage from = world_address(datagram.client, file->domain);
            memcpy(header->msg_name, &from, sizeof(struct sockaddr_in6));
        }
        if (header->msg_control && kernel.wildcard)
            fill_control(header, file->domain);
        else
            header->msg_controllen = 0;
        kernel.idle_calls = 0;
    }
    errno = EAGAIN;
    return count ? (int)count : -1;
}

static void send_one(struct file *file, const struct msghdr *header)
{
    const uint8_t *const data = header->msg_iov->iov_base;
    const size_t len = header->msg_iov->iov_len;

    if (file->kind == FLOW) {
        const int client = world_read_datagram(file_number(file), data, len);
        require(client < 0 || file->client < 0 || file->client == client, "two clients in one flow");
        if (client >= 0)
            file->client = client;
        return;
    }
    require(!kernel.wildcard == !header->msg_controllen, "a reply from another address");
    world_got_datagram(port_of(header->msg_name) - 10000, data, len);
}

int __wrap_sendmmsg(int fd, struct mmsghdr *list, unsigned count, int flags)
{
    struct file *const file = file_at(fd);

    require(flags & MSG_DONTWAIT && count, "a sendmmsg(2) that may wait");
    if (fails(FAULT_SEND))
        return -1;
    if (file->error) {
        errno = file->error;
        file->error = 0;
        return -1;
    }
    count = choose(4) == 3 ? (count + 1) / 2 : count;
    for (unsigned i = 0; i < count; i++) {
        send_one(file, &list[i].msg_hdr);
        list[i].msg_len = (unsigned)list[i].msg_hdr.msg_iov->iov_len;
    }
    kernel.idle_calls = 0;
    return (int)count;
}
