/* Loads of a relay that need not know what it passes on: streams, 64 bytes there and back, both directions at once.
 *
 * The first byte that comes is what the server is to do: E echo, B a bulk stream. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t write_echo(const struct load *load, char out[HEAD])
{
    (void)load;
    memset(out, 'E', MESSAGE);
    return MESSAGE;
}

static size_t answer_echo(char *request, size_t length, char out[HEAD])
{
    memcpy(out, request, length);
    return length;
}

static const char *find_echo(const char *answer)
{
    return answer;
}

static void write_echoed(const struct load *load, char out[MESSAGE + 1])
{
    (void)load;
    memset(out, 'E', MESSAGE);
    out[MESSAGE] = '\0';
}

const struct messages plain_messages = {write_echo, answer_echo, find_echo, write_echoed};

static void ask(int fd, char kind, size_t plan)
{
    char message[MESSAGE] = {0};

    message[0] = kind;
    memcpy(message + 8, &plan, sizeof plan);
    must(send(fd, message, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
}

/* ---- Bulk streams: both ends of all of them in one thread, so that little is under way and the cache holds it ---- */

struct stream {
    bool is_sink;
    size_t at;
};

struct streams {
    struct load *load;
    int epoll;
    double end;
    int open;
    char *buffer;
    struct stream by_fd[STREAMS];
};

/* Before everything else that wants this core, so that a latency is the relay's; without privilege at the default. */
static void come_first(void)
{
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &(struct sched_param){.sched_priority = 2});
}

static void accept_one(const struct load *load, int epoll)
{
    const int fd = accept4(load->listener, NULL, NULL, SOCK_CLOEXEC);

    must(fd >= 0, "accept");
    switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
    watch(epoll, fd);
}

static void *echo(void *argument)
{
    const int fd = (int)(intptr_t)argument;
    char message[MESSAGE];

    come_first();
    while (recv(fd, message, MESSAGE, MSG_WAITALL) == MESSAGE)
        must(send(fd, message, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "the server's send");
    return NULL;
}

/* The first byte has come: a ping gets a thread of its own, a stream begins. */
static void serve_stream(struct streams *streams, int fd)
{
    char message[MESSAGE] = {0};

    recv(fd, message, 1, MSG_PEEK);
    if (message[0] == 'E') {
        epoll_ctl(streams->epoll, EPOLL_CTL_DEL, fd, NULL);
        start(NULL, echo, (void *)(intptr_t)fd);
        sched_yield(); /* which goes first once it runs */
    } else {
        must(recv(fd, message, MESSAGE, MSG_WAITALL) == MESSAGE, "the server's recv");
        must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl");
        epoll_ctl(streams->epoll, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = EPOLLOUT, .data.fd = fd});
    }
}

/* What ends stays open in the other direction, and with it the process that serves this connection. */
static void feed(struct streams *streams, int fd)
{
    struct stream *stream = &streams->by_fd[fd];
    const ssize_t sent = !stream->at || now() < streams->end ? send_some(streams->load, fd, stream->at, SEND) : 0;

    if (sent > 0) {
        stream->at += (size_t)sent;
    } else if (sent == 0 || errno != EAGAIN) {
        epoll_ctl(streams->epoll, EPOLL_CTL_DEL, fd, NULL);
        shutdown(fd, SHUT_WR);
    }
}

static void drain(struct streams *streams, int fd)
{
    struct load *load = streams->load;
    struct stream *stream = &streams->by_fd[fd];
    /* MSG_TRUNC: TCP drops what it would have copied, tcp(7). */
    const ssize_t length = recv(fd, load->zerocopy ? NULL : streams->buffer, CHUNK,
                                MSG_DONTWAIT | (load->zerocopy ? MSG_TRUNC : 0));

    if (length > 0) {
        if (load->check && !is_pattern(load, stream->at, streams->buffer, (size_t)length))
            fail("wrong bytes after %zu", stream->at);
        stream->at += (size_t)length;
        atomic_fetch_add(&load->received, (size_t)length);
    } else if (length == 0) {
        epoll_ctl(streams->epoll, EPOLL_CTL_DEL, fd, NULL);
        streams->open--;
    } else {
        must(errno == EAGAIN, "recv");
    }
}

static void open_streams(struct streams *streams, int count)
{
    for (streams->open = 0; streams->open < count; streams->open++) {
        const int fd = connect_to(streams->load, 0);

        ask(fd, 'B', 0);
        streams->by_fd[fd].is_sink = true;
        watch(streams->epoll, fd);
    }
}

static void stream_all(struct load *load, int count, bool for_ever)
{
    struct streams streams = {.load = load, .epoll = epoll_create1(EPOLL_CLOEXEC), .end = now() + load->seconds};
    struct epoll_event events[EVENTS];

    must(streams.epoll >= 0, "epoll_create1");
    streams.buffer = new_buffer();
    watch(streams.epoll, load->listener);
    open_streams(&streams, count);
    while (streams.open > 0 || for_ever) {
        const int ready = epoll_wait(streams.epoll, events, EVENTS, -1);

        for (int at = 0; at < ready; at++) {
            const int fd = events[at].data.fd;

            if (fd == load->listener)
                accept_one(load, streams.epoll);
            else if (streams.by_fd[fd].is_sink)
                drain(&streams, fd);
            else if (events[at].events & EPOLLOUT)
                feed(&streams, fd);
            else
                serve_stream(&streams, fd);
        }
    }
    free(streams.buffer);
}

static void *stream_beside(void *argument)
{
    struct load *load = argument;

    stream_all(load, load->beside, true);
    return NULL;
}

void run_streams(struct load *load)
{
    const double started = now();

    stream_all(load, load->connections, false);
    print_bulk(load, started);
}

/* ---- There and back ---- */

static int compare_numbers(const void *one, const void *other)
{
    const uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

    return (a > b) - (a < b);
}

/* Receives a message without sleeping, so that no time to wake up is measured but the relay's. */
static void poll_for(int fd, char message[MESSAGE])
{
    size_t length = 0;

    while (length < MESSAGE) {
        const ssize_t more = recv(fd, message + length, MESSAGE - length, MSG_DONTWAIT);

        must(more > 0 || (more < 0 && errno == EAGAIN), "recv");
        length += more > 0 ? (size_t)more : 0;
    }
}

static void send_message(int fd, const char message[MESSAGE])
{
    must(send(fd, message, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
}

/* `server` is the other end, or -1 where a thread of its own answers there, as beside others it must. */
static void there_and_back(int client, int server, const char message[MESSAGE], char answered[MESSAGE])
{
    send_message(client, message);
    if (server < 0) {
        must(recv(client, answered, MESSAGE, MSG_WAITALL) == MESSAGE, "recv");
        return;
    }
    poll_for(server, answered);
    send_message(server, answered);
    poll_for(client, answered);
}

static int accept_ping(const struct load *load)
{
    const int fd = accept4(load->listener, NULL, NULL, SOCK_CLOEXEC);

    must(fd >= 0, "accept");
    switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
    return fd;
}

void run_pingpong(struct load *load)
{
    uint32_t *took_ns = malloc(PINGS * sizeof *took_ns);
    char message[MESSAGE] = "E", answered[MESSAGE];
    const double started = now();
    size_t count = 0;
    double end, sent, received;
    int client, server = -1;

    must(took_ns, "malloc");
    if (load->beside) {
        start(NULL, stream_beside, load);
        come_first();
    }
    client = connect_to(load, 1);
    if (!load->beside) /* and not first: what polls would keep the kernel's own thread from passing packets on */
        server = accept_ping(load);
    end = now() + load->seconds;
    do {
        memcpy(message + 8, &count, sizeof count);
        sent = now();
        there_and_back(client, server, message, answered);
        received = now();
        if (memcmp(message, answered, MESSAGE) != 0)
            fail("another answer than was sent");
        took_ns[count++] = (uint32_t)((received - sent) * 1e9);
    } while (received < end && count < PINGS);
    qsort(took_ns, count, sizeof *took_ns, compare_numbers);
    printf("{\"p50_ns\": %u, \"p99_ns\": %u, \"count\": %zu, \"bytes\": %zu, \"seconds\": %.6f}\n", took_ns[count / 2],
           took_ns[count * 99 / 100], count, load->received, now() - started);
    free(took_ns);
}

/* ---- Both directions at once ---- */

/* Sends and receives at once, and ends the direction that is sent; how many right bytes came. */
static size_t exchange(const struct load *load, int fd, size_t to_send)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN | POLLOUT};
    char buffer[65536];
    size_t sent = 0, received = 0;
    ssize_t moved;

    while (polled.events && poll(&polled, 1, -1) > 0) {
        const short ready = polled.revents & (POLLERR | POLLHUP) ? polled.events : polled.revents;

        if (ready & POLLOUT) {
            moved = send(fd, load->pattern + sent % PERIOD, least(sizeof buffer, to_send - sent),
                         MSG_DONTWAIT | MSG_NOSIGNAL);
            sent += moved > 0 ? (size_t)moved : 0;
            if (sent == to_send || (moved < 0 && errno != EAGAIN)) {
                shutdown(fd, SHUT_WR);
                polled.events &= ~POLLOUT;
            }
        }
        if (ready & POLLIN) {
            moved = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (moved > 0 && is_pattern(load, received, buffer, (size_t)moved))
                received += (size_t)moved;
            else if (moved >= 0 || errno != EAGAIN)
                polled.events &= ~POLLIN;
        }
    }
    return received;
}

static void serve_duplex(struct load *load, int fd)
{
    char message[MESSAGE];
    size_t plan;

    if (recv(fd, message, MESSAGE, MSG_WAITALL) == MESSAGE) {
        memcpy(&plan, message + 8, sizeof plan);
        atomic_fetch_add(&load->received, exchange(load, fd, plan));
    }
    atomic_fetch_add(&load->arrived, 1);
}

static void *converse(void *argument)
{
    struct load *load = argument;
    const int fd = connect_to(load, 0);
    const size_t down = (size_t)rand() % DUPLEX_MOST, up = (size_t)rand() % DUPLEX_MOST;

    atomic_fetch_add(&load->planned, down + up);
    ask(fd, 'D', down);
    atomic_fetch_add(&load->received, exchange(load, fd, up));
    close(fd);
    return NULL;
}

void run_duplex(struct load *load)
{
    pthread_t *threads = calloc((size_t)load->connections, sizeof *threads);
    double ended;

    must(threads, "calloc");
    load->serve = serve_duplex;
    start(NULL, serve_by_threads, load);
    for (int at = 0; at < load->connections; at++)
        start(&threads[at], converse, load);
    for (int at = 0; at < load->connections; at++)
        pthread_join(threads[at], NULL);
    ended = now();
    while (atomic_load(&load->arrived) < load->connections && now() < ended + ARRIVAL)
        usleep(1000);
    printf("{\"planned\": %zu, \"lost\": %zu}\n", load->planned, load->planned - load->received);
    free(threads);
}
