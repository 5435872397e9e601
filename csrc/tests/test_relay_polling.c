/* When a relay polls before it sleeps. The waits and the clock are the test's, which plays the peers in them. */
#define _GNU_SOURCE
#include "relay.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "relay/loop.h"

#define MESSAGES 2000
#define MICROSECOND INT64_C(1000)

int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __real_ppoll(struct pollfd *list, nfds_t count, const struct timespec *timeout, const sigset_t *mask);

static struct {
    int64_t now, next; /* the next message comes then */
    int64_t pace;      /* time between two messages */
    int messages, polls, sleeps;
    int connections;   /* which exchange messages in turn */
    int clients[3], servers[3];
    bool streams;      /* the last connection's server sends a stream */
} world;

static void receive_all(int fd)
{
    static char bytes[65536];

    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

static void send_one(void)
{
    static const char bytes[64];
    const int turn = world.messages++, at = turn / 2 % world.connections;

    world.next += world.pace;
    assert(send(turn % 2 ? world.servers[at] : world.clients[at], bytes, sizeof bytes, 0) == sizeof bytes);
}

static void end_all(void)
{
    for (int i = 0; i < world.connections + world.streams; i++) {
        close(world.clients[i]);
        close(world.servers[i]);
    }
    world.next = FN_NEVER;
}

/* Nothing has come for the relay, which polls (0) or sleeps for up to so long. */
static void wait_for(int64_t span)
{
    static const char bytes[65536];
    const int64_t end = span == FN_NEVER ? FN_NEVER : world.now + (span ? span : MICROSECOND);

    *(span ? &world.sleeps : &world.polls) += 1;
    for (int i = 0; i < world.connections + world.streams; i++) {
        receive_all(world.clients[i]);
        receive_all(world.servers[i]);
    }
    while (world.streams && send(world.servers[world.connections], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    world.now = end < world.next ? end : world.next;
    if (world.now < world.next)
        return;
    if (world.messages < MESSAGES)
        send_one();
    else
        end_all();
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    const int found = __real_epoll_wait(epoll, events, most, 0);

    if (found)
        return found;
    wait_for(timeout < 0 ? FN_NEVER : timeout * FN_MILLISECOND);
    return __real_epoll_wait(epoll, events, most, 0);
}

int __wrap_ppoll(struct pollfd *list, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    static const struct timespec at_once = {0};

    if (!__real_ppoll(list, count, &at_once, mask))
        wait_for(timeout->tv_nsec);
    return __real_ppoll(list, count, &at_once, mask);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    (void)clock;
    *out = (struct timespec){.tv_sec = world.now / FN_SECOND, .tv_nsec = world.now % FN_SECOND};
    return 0;
}

static void join(struct fn_relay *relay, struct fn_rule *rule, int at)
{
    int client[2], server[2];

    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, client) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, server) == 0);
    assert(fn_relay_join(relay, rule, client[1], server[0]) == 0);
    world.clients[at] = client[0];
    world.servers[at] = server[1];
}

/* Messages of these connections, one each `pace`, until all are sent. */
static void run(int connections, int64_t pace, bool streams)
{
    const struct fn_rule_options options = {.max_connections = 10};
    struct fn_rule *const rule = fn_rule_new(&options, NULL, 0);
    struct fn_shortage shortage;
    struct fn_relay *relay;

    memset(&world, 0, sizeof world);
    world.now = FN_SECOND;
    world.next = world.now + pace;
    world.pace = pace;
    world.connections = connections;
    world.streams = streams;
    assert(rule && fn_relay_new(&relay, 0) == 0);
    for (int i = 0; i < connections + streams; i++)
        join(relay, rule, i);
    assert(fn_relay_run(relay, &shortage) == FN_RUN_WHOLE);
    assert(world.messages == MESSAGES);
    fn_relay_free(relay);
    fn_rule_release(rule);
}

static void test_it_polls_for_messages_that_come_at_once(void)
{
    run(1, 5 * MICROSECOND, false);
    assert(world.sleeps < 110 && world.polls > MESSAGES);
}

static void test_it_rarely_polls_for_later_ones(void)
{
    run(1, 500 * MICROSECOND, false);
    assert(world.sleeps >= MESSAGES && world.polls < MESSAGES / 4);
}

static void test_it_never_polls_for_those_of_several_connections(void)
{
    run(2, 5 * MICROSECOND, false);
    assert(world.sleeps >= MESSAGES && world.polls == 0);
}

static void test_it_polls_beside_a_stream(void)
{
    run(1, 100 * MICROSECOND, true);
    assert(world.sleeps < 50);
    run(1, 500 * MICROSECOND, true);
    assert(world.sleeps >= MESSAGES);
}

int main(void)
{
    test_it_polls_for_messages_that_come_at_once();
    test_it_rarely_polls_for_later_ones();
    test_it_never_polls_for_those_of_several_connections();
    test_it_polls_beside_a_stream();
    puts("relay polling: ok");
    return 0;
}
