/* The load of the pages that measure relays: clients and the server behind the relay, in one process.
 *
 *     load KIND SERVER_PORT RELAY_PORT [NAME=VALUE...]
 *
 * listens on 127.0.0.1:SERVER_PORT, connects to 127.0.0.1:RELAY_PORT (the same one: no relay between), does its
 * work, prints one JSON object, and ends when its input does: until then all connections stay open, so that
 * whoever started it can see what they cost the relay. Exit code 1, with a line on stderr: an answer was wrong.
 *
 *     bulk      streams from the server for a time: bytes, seconds. zerocopy=1: sendfile, and MSG_TRUNC to receive;
 *               check=1: every byte is compared. bytes=N with http=1: responses of N bytes, one after the other
 *     pingpong  64 bytes there and back, one at a time: p50_ns, p99_ns, count. beside=N: N bulk streams meanwhile
 *     requests  the same from many connections at once: count, seconds. http=1: GET requests
 *     connects  connect, 64 bytes there and back, close: count, seconds
 *     duplex    both sides send up to 2 MiB at once, and end their direction when they have: planned, lost (bytes)
 *     idle      connections that have exchanged 64 bytes: count
 *
 * The first byte that comes tells the server what to do: E echo, B a bulk stream, D duplex, G an HTTP request.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MESSAGE = 64,
    SEND = 128 * 1024,
    CHUNK = 256 * 1024,
    PERIOD = 262139, /* a prime: a page or a buffer that is lost or doubled shifts what follows */
    DUPLEX_MOST = 2 * 1024 * 1024,
    CLIENT_ADDRESSES = 8, /* 127.0.0.2 and on, or the rate of connections would be that of reusing ports */
    EVENTS = 256,
    HEAD = 2048,
    STREAMS = 256, /* descriptors */
    PINGS = 1 << 20,
    ARRIVAL = 1, /* seconds after the clients' end in which what they sent arrives, or is lost */
    GRACE = 10 /* seconds after which a run that has not ended is stalled */
};

struct load {
    int listener;
    uint16_t relay_port;
    double seconds;
    int connections;
    int beside;
    bool zerocopy;
    bool check;
    bool http;
    size_t bytes;
    const char *host;     /* what a request must say when it arrives */
    const char *pattern;  /* PERIOD + CHUNK bytes; the stream's byte at n is the pattern's at n % PERIOD */
    int pattern_file;
    atomic_size_t received;
    atomic_size_t planned;
    atomic_int arrived; /* duplex connections whose server side has ended */
};

static _Noreturn void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void must(bool is_well, const char *what)
{
    if (!is_well)
        fail("%s: %s", what, strerror(errno));
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct sockaddr_in loopback(uint32_t host, uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host)};
}

static void switch_on(int fd, int level, int option)
{
    must(setsockopt(fd, level, option, &(int){1}, sizeof(int)) == 0, "setsockopt");
}

static int listen_at(uint16_t port)
{
    const struct sockaddr_in address = loopback(1, port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0, "socket");
    switch_on(fd, SOL_SOCKET, SO_REUSEADDR);
    must(bind(fd, (const struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(fd, SOMAXCONN) == 0, "listen");
    return fd;
}

static int connect_to(const struct load *load, unsigned number)
{
    const struct sockaddr_in from = loopback(2 + number % CLIENT_ADDRESSES, 0);
    const struct sockaddr_in to = loopback(1, load->relay_port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0, "socket");
    switch_on(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT);
    must(bind(fd, (const struct sockaddr *)&from, sizeof from) == 0, "bind");
    must(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0, "connect");
    switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
    return fd;
}

static void start(pthread_t *thread, void *(*work)(void *), void *argument)
{
    pthread_t unwanted;

    must(pthread_create(thread ? thread : &unwanted, NULL, work, argument) == 0, "pthread_create");
    if (!thread)
        pthread_detach(unwanted);
}

/* Before everything else that wants this core, so that a latency is the relay's; without privilege as it comes. */
static void come_first(void)
{
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &(struct sched_param){.sched_priority = 2});
}

static void make_pattern(struct load *load)
{
    const size_t size = PERIOD + CHUNK;
    const int file = memfd_create("pattern", MFD_CLOEXEC);
    char *bytes;
    uint32_t state = 1071;

    must(file >= 0 && ftruncate(file, (off_t)size) == 0, "memfd");
    bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    must(bytes != MAP_FAILED, "mmap");
    for (size_t at = 0; at < size; at++) {
        state = state * 1664525 + 1013904223;
        bytes[at] = at < PERIOD ? (char)(state >> 24) : bytes[at - PERIOD];
    }
    load->pattern = bytes;
    load->pattern_file = file;
}

static bool is_pattern(const struct load *load, size_t at, const char *data, size_t length)
{
    return memcmp(load->pattern + at % PERIOD, data, length) == 0;
}

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* ---- The server's side of a connection that has a thread of its own ---- */

static ssize_t send_some(const struct load *load, int fd, size_t at, size_t length)
{
    off_t offset = (off_t)(at % PERIOD);

    if (load->zerocopy)
        return sendfile(fd, load->pattern_file, &offset, length);
    return send(fd, load->pattern + offset, length, MSG_NOSIGNAL);
}

static void serve_responses(const struct load *load, int fd)
{
    char head[HEAD], request[HEAD];
    const int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", load->bytes);
    ssize_t sent;

    while (recv(fd, request, sizeof request, 0) > 0) {
        sent = send(fd, head, (size_t)length, MSG_NOSIGNAL | MSG_MORE);
        for (size_t at = 0; at < load->bytes && sent > 0; at += (size_t)sent)
            sent = send_some(load, fd, at, least(CHUNK, load->bytes - at));
    }
}

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

struct served {
    struct load *load;
    int fd;
};

static void *serve_one(void *argument)
{
    struct served served = *(struct served *)argument;
    char kind = 0;

    free(argument);
    recv(served.fd, &kind, 1, MSG_PEEK);
    if (kind == 'D')
        serve_duplex(served.load, served.fd);
    else
        serve_responses(served.load, served.fd);
    close(served.fd);
    return NULL;
}

static _Noreturn void *serve_by_threads(void *argument)
{
    struct load *load = argument;
    struct served *served;

    for (;;) {
        served = malloc(sizeof *served);
        must(served, "malloc");
        served->load = load;
        served->fd = accept4(load->listener, NULL, NULL, SOCK_CLOEXEC);
        must(served->fd >= 0, "accept");
        switch_on(served->fd, IPPROTO_TCP, TCP_NODELAY);
        start(NULL, serve_one, served);
    }
}

/* ---- The server for many connections: one thread, requests that fit a segment ---- */

static void watch(int epoll, int fd)
{
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd}) == 0,
         "epoll_ctl");
}

static void accept_one(const struct load *load, int epoll)
{
    const int fd = accept4(load->listener, NULL, NULL, SOCK_CLOEXEC);

    must(fd >= 0, "accept");
    switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
    watch(epoll, fd);
}

static void accept_all(const struct load *load, int epoll)
{
    int fd;

    while ((fd = accept4(load->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
        watch(epoll, fd);
    }
}

/* The response's body is the Host that came, MESSAGE bytes of it. */
static size_t answer_request(char *message, size_t length, char response[HEAD])
{
    char *host, *end;

    message[length] = '\0';
    host = strcasestr(message, "\r\nhost:");
    if (length < 4 || memcmp(message + length - 4, "\r\n\r\n", 4) != 0 || !host)
        fail("the server received no whole request: %s", message);
    host += strlen("\r\nhost:");
    host += strspn(host, " ");
    end = strchr(host, '\r');
    *end = '\0';
    return (size_t)snprintf(response, HEAD, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%-*.*s", MESSAGE, MESSAGE,
                            MESSAGE, host);
}

static void answer(int fd)
{
    char message[HEAD], response[HEAD];
    const ssize_t length = recv(fd, message, sizeof message - 1, 0);
    size_t size = (size_t)length;

    if (length <= 0) {
        close(fd);
        return;
    }
    if (message[0] == 'G')
        size = answer_request(message, (size_t)length, response);
    must(send(fd, message[0] == 'G' ? response : message, size, MSG_NOSIGNAL) == (ssize_t)size || errno == EPIPE ||
             errno == ECONNRESET,
         "the server's send");
}

static _Noreturn void *serve_by_epoll(void *argument)
{
    struct load *load = argument;
    struct epoll_event events[EVENTS];
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    int count;

    must(epoll >= 0, "epoll_create1");
    must(fcntl(load->listener, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    watch(epoll, load->listener);
    for (;;) {
        count = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0; at < count; at++) {
            if (events[at].data.fd == load->listener)
                accept_all(load, epoll);
            else
                answer(events[at].data.fd);
        }
    }
}

/* ---- The clients ---- */

static void ask(int fd, char kind, size_t plan)
{
    char message[MESSAGE] = {0};

    message[0] = kind;
    memcpy(message + 8, &plan, sizeof plan);
    must(send(fd, message, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
}

static size_t write_request(const struct load *load, char out[HEAD])
{
    return (size_t)snprintf(out, HEAD, "GET /index.html HTTP/1.1\r\nHost: localhost:%u\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n",
                            load->relay_port);
}

static char *new_buffer(void)
{
    char *buffer = malloc(CHUNK);

    must(buffer, "malloc");
    return buffer;
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

static void print_bulk(struct load *load, double started)
{
    if (load->received == 0)
        fail("nothing came");
    printf("{\"bytes\": %zu, \"seconds\": %.6f}\n", load->received, now() - started);
}

static void run_streams(struct load *load)
{
    const double started = now();

    stream_all(load, load->connections, false);
    print_bulk(load, started);
}

/* One response: the head to its end, then the body. */
static void receive_response(struct load *load, int fd, char *buffer)
{
    size_t length = 0, received;
    ssize_t more;
    char *body;

    do {
        more = recv(fd, buffer + length, HEAD - 1 - length, 0);
        must(more > 0, "recv of a head");
        length += (size_t)more;
        buffer[length] = '\0';
    } while (!(body = strstr(buffer, "\r\n\r\n")));
    body += 4;
    received = length - (size_t)(body - buffer);
    if (load->check && !is_pattern(load, 0, body, received))
        fail("wrong bytes at the start");
    while (received < load->bytes) {
        more = recv(fd, buffer, least(CHUNK, load->bytes - received), 0);
        must(more > 0, "recv of a body");
        if (load->check && !is_pattern(load, received, buffer, (size_t)more))
            fail("wrong bytes after %zu", received);
        received += (size_t)more;
    }
}

static void *fetch(void *argument)
{
    struct load *load = argument;
    const double end = now() + load->seconds;
    char *buffer = new_buffer();
    char request[HEAD];
    const size_t length = write_request(load, request);
    const int fd = connect_to(load, 0);

    do {
        must(send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length, "send");
        receive_response(load, fd, buffer);
        atomic_fetch_add(&load->received, load->bytes);
    } while (now() < end);
    free(buffer);
    return NULL;
}

static void run_fetches(struct load *load)
{
    pthread_t *threads = calloc((size_t)load->connections, sizeof *threads);
    const double started = now();

    must(threads, "calloc");
    start(NULL, serve_by_threads, load);
    for (int at = 0; at < load->connections; at++)
        start(&threads[at], fetch, load);
    for (int at = 0; at < load->connections; at++)
        pthread_join(threads[at], NULL);
    print_bulk(load, started);
    free(threads);
}

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

static void run_pingpong(struct load *load)
{
    uint32_t *took_ns = malloc(PINGS * sizeof *took_ns);
    char message[MESSAGE] = "E", answered[MESSAGE];
    size_t count = 0;
    double end, sent, received;
    int client, server = -1;

    must(took_ns, "malloc");
    if (load->beside)
        start(NULL, stream_beside, load);
    client = connect_to(load, 1);
    if (!load->beside)
        server = accept_ping(load);
    come_first();
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
    printf("{\"p50_ns\": %u, \"p99_ns\": %u, \"count\": %zu}\n", took_ns[count / 2], took_ns[count * 99 / 100], count);
    free(took_ns);
}

/* What one of the many connections has received of its answer. */
struct answer {
    size_t length;
    char data[HEAD];
};

struct asker {
    struct load *load;
    int epoll;
    size_t length;
    char request[HEAD];
    char expected[MESSAGE + 1];
    struct answer *answers; /* by descriptor */
};

static void send_request(const struct asker *asker, int fd)
{
    asker->answers[fd].length = 0;
    must(send(fd, asker->request, asker->length, MSG_NOSIGNAL) == (ssize_t)asker->length, "send");
}

/* Whether the answer is whole; it ends with the MESSAGE bytes that were expected. */
static bool is_answered(const struct asker *asker, int fd)
{
    struct answer *answer = &asker->answers[fd];
    const ssize_t length = recv(fd, answer->data + answer->length, HEAD - 1 - answer->length, 0);
    const char *body = answer->data;

    must(length > 0, "recv");
    answer->length += (size_t)length;
    answer->data[answer->length] = '\0';
    if (asker->load->http) {
        body = strstr(answer->data, "\r\n\r\n");
        if (!body)
            return false;
        body += 4;
    }
    if (answer->length - (size_t)(body - answer->data) < MESSAGE)
        return false;
    if (memcmp(body, asker->expected, MESSAGE) != 0)
        fail("another answer than was expected: %.*s", MESSAGE, body);
    return true;
}

static struct asker new_asker(struct load *load)
{
    struct asker asker = {.load = load, .epoll = epoll_create1(EPOLL_CLOEXEC), .length = MESSAGE};
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    asker.answers = calloc(limit.rlim_cur, sizeof *asker.answers);
    must(asker.epoll >= 0 && asker.answers, "epoll_create1 or calloc");
    memset(asker.request, 'E', MESSAGE);
    memset(asker.expected, 'E', MESSAGE);
    if (load->http) {
        asker.length = write_request(load, asker.request);
        snprintf(asker.expected, sizeof asker.expected, "%-*s", MESSAGE, load->host);
    }
    return asker;
}

static int open_one(const struct asker *asker, unsigned number)
{
    const int fd = connect_to(asker->load, number);

    watch(asker->epoll, fd);
    send_request(asker, fd);
    return fd;
}

static void run_many(struct load *load, bool reconnect)
{
    struct asker asker = new_asker(load);
    struct epoll_event events[EVENTS];
    const double started = now();
    const double end = started + load->seconds;
    unsigned count = 0;
    int ready;

    start(NULL, serve_by_epoll, load);
    for (int at = 0; at < load->connections; at++)
        open_one(&asker, (unsigned)at);
    /* On a slow machine the time may be up before there was an answer, which would say nothing. */
    while (count == 0 || now() < end) {
        ready = epoll_wait(asker.epoll, events, EVENTS, -1);
        for (int at = 0; at < ready; at++) {
            const int fd = events[at].data.fd;

            if (!is_answered(&asker, fd))
                continue;
            count++;
            if (reconnect) {
                close(fd);
                open_one(&asker, count);
            } else {
                send_request(&asker, fd);
            }
        }
    }
    printf("{\"count\": %u, \"seconds\": %.6f}\n", count, now() - started);
}

static void run_idle(struct load *load)
{
    struct asker asker = new_asker(load);

    start(NULL, serve_by_epoll, load);
    for (int at = 0; at < load->connections; at++) {
        const int fd = open_one(&asker, (unsigned)at);

        while (!is_answered(&asker, fd))
            ;
    }
    printf("{\"count\": %d}\n", load->connections);
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

static void run_duplex(struct load *load)
{
    pthread_t *threads = calloc((size_t)load->connections, sizeof *threads);
    double ended;

    must(threads, "calloc");
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

static void set_option(struct load *load, const char *text)
{
    const char *value = strchr(text, '=');
    const size_t length = value ? (size_t)(value - text) : 0;

#define IS(name) (length == strlen(name) && memcmp(text, name, length) == 0)
    if (IS("seconds"))
        load->seconds = atof(value + 1);
    else if (IS("connections"))
        load->connections = atoi(value + 1);
    else if (IS("beside"))
        load->beside = atoi(value + 1);
    else if (IS("bytes"))
        load->bytes = strtoul(value + 1, NULL, 10);
    else if (IS("zerocopy"))
        load->zerocopy = atoi(value + 1);
    else if (IS("check"))
        load->check = atoi(value + 1);
    else if (IS("http"))
        load->http = atoi(value + 1);
    else if (IS("host"))
        load->host = value + 1;
    else
        fail("load: no option %s", text);
#undef IS
}

static void run(struct load *load, const char *kind)
{
    if (strcmp(kind, "bulk") == 0)
        load->http ? run_fetches(load) : run_streams(load);
    else if (strcmp(kind, "pingpong") == 0)
        run_pingpong(load);
    else if (strcmp(kind, "requests") == 0 || strcmp(kind, "connects") == 0)
        run_many(load, kind[0] == 'c');
    else if (strcmp(kind, "duplex") == 0)
        run_duplex(load);
    else if (strcmp(kind, "idle") == 0)
        run_idle(load);
    else
        fail("load: no kind %s", kind);
}

static _Noreturn void *give_up(void *argument)
{
    const struct load *load = argument;

    usleep((useconds_t)((load->seconds + GRACE) * 1e6));
    fail("stalled");
}

int main(int count, char **arguments)
{
    struct load load = {.seconds = 0.25, .connections = 1, .host = ""};

    if (count < 4)
        fail("usage: load KIND SERVER_PORT RELAY_PORT [NAME=VALUE...]");
    for (int at = 4; at < count; at++)
        set_option(&load, arguments[at]);
    load.relay_port = (uint16_t)atoi(arguments[3]);
    load.listener = listen_at((uint16_t)atoi(arguments[2]));
    make_pattern(&load);
    start(NULL, give_up, &load);
    run(&load, arguments[1]);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    _exit(0); /* not exit: threads of the server still run */
}
