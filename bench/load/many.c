/* Requests of many connections at once that fit a segment: one thread asks, one serves. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void accept_all(const struct load *load, int epoll)
{
    int fd;

    while ((fd = accept4(load->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
        watch(epoll, fd);
    }
}

static void answer(const struct load *load, int fd)
{
    char request[HEAD], response[HEAD];
    const ssize_t length = recv(fd, request, sizeof request - 1, 0);
    ssize_t size;

    if (length <= 0) {
        close(fd);
        return;
    }
    size = (ssize_t)load->messages->answer(request, (size_t)length, response);
    must(send(fd, response, (size_t)size, MSG_NOSIGNAL) == size || errno == EPIPE || errno == ECONNRESET,
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
                answer(load, events[at].data.fd);
        }
    }
}

/* ---- Who asks ---- */

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
    const char *body;

    must(length > 0, "recv");
    answer->length += (size_t)length;
    answer->data[answer->length] = '\0';
    body = asker->load->messages->find_body(answer->data);
    if (!body || answer->length - (size_t)(body - answer->data) < MESSAGE)
        return false;
    if (memcmp(body, asker->expected, MESSAGE) != 0)
        fail("another answer than was expected: %.*s", MESSAGE, body);
    return true;
}

static struct asker new_asker(struct load *load)
{
    struct asker asker = {.load = load, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    asker.answers = calloc(limit.rlim_cur, sizeof *asker.answers);
    must(asker.epoll >= 0 && asker.answers, "epoll_create1 or calloc");
    asker.length = load->messages->write_request(load, asker.request);
    load->messages->write_body(load, asker.expected);
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
    /* On a slow machine the time may be up before there was an answer, which would mean nothing. */
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

void run_requests(struct load *load)
{
    run_many(load, false);
}

void run_connects(struct load *load)
{
    run_many(load, true);
}

void run_idle(struct load *load)
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
