/* UDP flows under the sanitizers: what tests/core/test_relay_udp.py does not reach is their memory. */
#define _GNU_SOURCE
#include "relay.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/loop.h"

#define CLIENTS 300
#define ROUNDS 5
#define LONGEST 65507

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int bound(void)
{
    const struct timeval patience = {.tv_sec = 20};
    const struct sockaddr_in address = local(0);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    assert(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    return fd;
}

static struct sockaddr_in name_of(int fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;

    assert(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    return address;
}

/* A rule to one upstream, and its relay in a thread. */
struct served {
    struct fn_upstream *upstream;
    struct fn_rule *rule;
    struct fn_relay *relay;
    struct sockaddr_in address;
    pthread_t thread;
    int result;
};

static void *run(void *argument)
{
    struct served *const served = argument;
    struct fn_shortage shortage;

    while ((served->result = fn_relay_run(served->relay, &shortage)) == FN_RUN_WARNS)
        ;
    return NULL;
}

static void serve(struct served *served, struct sockaddr_in to, const struct fn_rule_options *options)
{
    struct fn_address address = {.len = sizeof to};
    const int listener = bound();

    memcpy(&address.at, &to, sizeof to);
    served->address = name_of(listener);
    served->upstream = fn_upstream_new(&address, 1);
    served->rule = fn_rule_new(options, &served->upstream, 1);
    assert(served->upstream && served->rule && fn_relay_new(&served->relay, 0) == 0);
    assert(fn_relay_listen(served->relay, served->rule, &listener, 1) == 0);
    assert(pthread_create(&served->thread, NULL, run, served) == 0);
}

static struct fn_counters counters_of(struct served *served)
{
    struct fn_counters counters;

    fn_rule_counters(served->rule, &counters);
    return counters;
}

static int end(struct served *served, int64_t timeout)
{
    fn_relay_drain(served->relay, timeout);
    assert(pthread_join(served->thread, NULL) == 0);
    fn_relay_close(served->relay);
    fn_relay_free(served->relay);
    assert(counters_of(served).active == 0 && fn_upstream_active(served->upstream) == 0);
    fn_rule_release(served->rule);
    fn_upstream_release(served->upstream);
    return served->result;
}

static void *echo(void *argument)
{
    const int fd = *(int *)argument;
    char *const data = malloc(LONGEST);
    struct sockaddr_in from;

    for (;;) {
        socklen_t len = sizeof from;
        const ssize_t n = recvfrom(fd, data, LONGEST, 0, (struct sockaddr *)&from, &len);
        if (n == 4 && memcmp(data, "stop", 4) == 0)
            break;
        assert(n >= 0 && sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, len) == n);
    }
    free(data);
    return NULL;
}

static void ask(int client, const struct sockaddr_in *address, size_t size)
{
    char *const sent = malloc(size + 1), *const got = malloc(LONGEST);

    for (size_t i = 0; i < size; i++)
        sent[i] = (char)(i * 31 + size);
    assert(sendto(client, sent, size, 0, (const struct sockaddr *)address, sizeof *address) == (ssize_t)size);
    assert(recv(client, got, LONGEST, 0) == (ssize_t)size && memcmp(sent, got, size) == 0);
    free(sent);
    free(got);
}

static const struct fn_rule_options usual = {
    .max_connections = CLIENTS, .max_failures = 3, .connect_timeout = FN_SECOND, .head_timeout = FN_SECOND};

/* The table grows, and every flow is found again. */
static void test_many_flows(struct sockaddr_in to)
{
    struct served served;
    int clients[CLIENTS];

    serve(&served, to, &usual);
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i] = bound();
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < CLIENTS; i++)
            ask(clients[i], &served.address, i);
    struct fn_record *records;
    assert(fn_relay_connections(served.relay, &records) == CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        fn_record_release(&records[i]);
    free(records);
    assert(counters_of(&served).accepted == CLIENTS);
    assert(end(&served, 0) == FN_RUN_CUT);
    for (size_t i = 0; i < CLIENTS; i++)
        close(clients[i]);
}

static void test_sizes(struct sockaddr_in to)
{
    static const size_t sizes[] = {0, 1, 1472, 9000, LONGEST, 0};
    struct served served;
    const int client = bound();

    serve(&served, to, &usual);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        ask(client, &served.address, sizes[i]);
    assert(end(&served, 0) == FN_RUN_CUT);
    close(client);
}

/* Each client takes the place of another; records of those that ended are kept, and those nobody takes are freed. */
static void test_eviction(struct sockaddr_in to)
{
    struct fn_rule_options options = usual;
    struct served served;
    struct fn_record record;
    int clients[20];

    options.max_connections = 3;
    options.max_per_source = 4;
    options.record = true;
    serve(&served, to, &options);
    for (size_t i = 0; i < 20; i++) {
        clients[i] = bound(); /* all stay open: the port of a closed one may be the next one's */
        ask(clients[i], &served.address, i);
    }
    assert(counters_of(&served).timed_out == 17 && counters_of(&served).denied == 0);
    assert(fn_relay_records(served.relay, &record, 1) == 1 && record.number == 1 && record.ended == FN_IDLE);
    fn_record_release(&record);
    assert(end(&served, 0) == FN_RUN_CUT);
    for (size_t i = 0; i < 20; i++)
        close(clients[i]);
}

/* Nobody listens: each datagram is a flow that ends at once. */
static void test_refused(void)
{
    const int gone = bound(), client = bound();
    const struct sockaddr_in to = name_of(gone);
    struct served served;

    close(gone);
    serve(&served, to, &usual);
    for (unsigned i = 0; i < 10; i++) {
        const struct timespec pause = {.tv_nsec = 1000000};
        sendto(client, "hello", 5, 0, (const struct sockaddr *)&served.address, sizeof served.address);
        while (counters_of(&served).unreachable <= i)
            nanosleep(&pause, NULL);
    }
    assert(fn_upstream_failures(served.upstream) == 10);
    assert(end(&served, 20 * FN_SECOND) == FN_RUN_WHOLE);
    close(client);
}

int main(void)
{
    int server = bound();
    const struct sockaddr_in to = name_of(server);
    pthread_t thread;

    assert(pthread_create(&thread, NULL, echo, &server) == 0);
    test_many_flows(to);
    test_sizes(to);
    test_eviction(to);
    test_refused();
    assert(sendto(server, "stop", 4, 0, (const struct sockaddr *)&to, sizeof to) == 4);
    assert(pthread_join(thread, NULL) == 0);
    close(server);
    return 0;
}
