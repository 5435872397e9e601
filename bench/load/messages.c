/* Messages of one size, or of many: the client asks for one, the server sends it, the client asks for the next.
 *
 * Both ends of all connections are in one thread, like streams. The last question is for nothing: it ends a connection. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SMALLEST = 1024, SIZES = 7 /* 1 KiB to 4 MiB, by fours */ };

struct end {
    bool is_client;
    size_t size, at;  /* of the message */
    unsigned number;  /* of messages that the client has asked for */
};

struct ends {
    struct load *load;
    int epoll;
    double end;
    int open;
    size_t count;
    char *buffer;
    struct end by_fd[STREAMS];
};

/* Of a mix: each size half as often as the next smaller one, so that it has twice its bytes. */
static size_t size_of(const struct load *load, unsigned number)
{
    const unsigned zeros = (unsigned)__builtin_ctz(number);

    return load->bytes ? load->bytes : (size_t)SMALLEST << 2 * (zeros < SIZES ? zeros : SIZES - 1);
}

static void ask(struct ends *ends, int fd)
{
    struct end *client = &ends->by_fd[fd];
    char question[MESSAGE] = {0};

    client->size = client->number && now() >= ends->end ? 0 : size_of(ends->load, ++client->number);
    client->at = 0;
    memcpy(question, &client->size, sizeof client->size);
    must(send(fd, question, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
    if (!client->size) {
        epoll_ctl(ends->epoll, EPOLL_CTL_DEL, fd, NULL);
        ends->open--;
    }
}

static void set_events(const struct ends *ends, int fd, uint32_t events)
{
    must(epoll_ctl(ends->epoll, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = events, .data.fd = fd}) == 0,
         "epoll_ctl");
}

static void answer(struct ends *ends, int fd)
{
    struct end *server = &ends->by_fd[fd];
    const ssize_t sent = send_some(ends->load, fd, server->at, least(SEND, server->size - server->at));

    must(sent > 0 || errno == EAGAIN, "the server's send");
    server->at += sent > 0 ? (size_t)sent : 0;
    if (server->at == server->size)
        set_events(ends, fd, EPOLLIN);
}

static void read_question(struct ends *ends, int fd)
{
    struct end *server = &ends->by_fd[fd];
    char question[MESSAGE];
    const ssize_t length = recv(fd, question, MESSAGE, 0);

    if (length < 0 && errno == EAGAIN)
        return;
    must(length == MESSAGE, "the server's recv");
    memcpy(&server->size, question, sizeof server->size);
    server->at = 0;
    if (server->size) {
        set_events(ends, fd, EPOLLOUT);
        answer(ends, fd);
    } else {
        epoll_ctl(ends->epoll, EPOLL_CTL_DEL, fd, NULL);
    }
}

static void read_answer(struct ends *ends, int fd)
{
    struct load *load = ends->load;
    struct end *client = &ends->by_fd[fd];
    const ssize_t length = recv(fd, load->zerocopy ? NULL : ends->buffer, least(CHUNK, client->size - client->at),
                                MSG_DONTWAIT | (load->zerocopy ? MSG_TRUNC : 0));

    if (length < 0 && errno == EAGAIN)
        return;
    must(length > 0, "recv");
    if (load->check && !is_pattern(load, client->at, ends->buffer, (size_t)length))
        fail("wrong bytes after %zu", client->at);
    client->at += (size_t)length;
    atomic_fetch_add(&load->received, (size_t)length);
    if (client->at == client->size) {
        ends->count++;
        ask(ends, fd);
    }
}

static void accept_server(const struct ends *ends)
{
    const int fd = accept4(ends->load->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    must(fd >= 0, "accept");
    switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
    watch(ends->epoll, fd);
}

static void open_clients(struct ends *ends)
{
    for (ends->open = 0; ends->open < ends->load->connections; ends->open++) {
        const int fd = connect_to(ends->load, 0);

        ends->by_fd[fd].is_client = true;
        watch(ends->epoll, fd);
        ask(ends, fd);
    }
}

void run_messages(struct load *load)
{
    const double started = now();
    struct ends ends = {.load = load, .epoll = epoll_create1(EPOLL_CLOEXEC), .end = started + load->seconds};
    struct epoll_event events[EVENTS];

    must(ends.epoll >= 0, "epoll_create1");
    ends.buffer = new_buffer();
    watch(ends.epoll, load->listener);
    open_clients(&ends);
    while (ends.open > 0) {
        const int ready = epoll_wait(ends.epoll, events, EVENTS, -1);

        for (int at = 0; at < ready; at++) {
            const int fd = events[at].data.fd;

            if (fd == load->listener)
                accept_server(&ends);
            else if (ends.by_fd[fd].is_client)
                read_answer(&ends, fd);
            else if (events[at].events & EPOLLOUT)
                answer(&ends, fd);
            else
                read_question(&ends, fd);
        }
    }
    printf("{\"bytes\": %zu, \"count\": %zu, \"seconds\": %.6f}\n", load->received, ends.count, now() - started);
    free(ends.buffer);
}
