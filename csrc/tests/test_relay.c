/*
 * The relay under the sanitizers: its memory, and what its threads share. What it does for its users is tested by
 * tests/core/test_relay*.py.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/loop.h"
#include "relay/records.h"

/* Timers */

#define TIMERS 3000

struct alarm {
    struct fn_timer timer;
    int64_t due;
    unsigned rung;
};

static struct fn_loop loop;

static void ring(struct fn_timer *timer)
{
    struct alarm *const alarm = fn_container(timer, struct alarm, timer);

    assert(loop.now >= alarm->due && !fn_timer_is_set(timer));
    alarm->rung++;
}

/* Up to five days from `start`, most of them near. */
static int64_t some_time(int64_t start)
{
    return start + (int64_t)(random() & 0xffffff) * (INT64_C(1) << random() % 24) / 64;
}

static void test_timers_go_off_in_time_and_never_early(void)
{
    static struct alarm alarms[TIMERS];

    assert(fn_loop_init(&loop) == 0);
    const int64_t start = loop.now;
    for (int i = 0; i < TIMERS; i++) {
        fn_timer_init(&alarms[i].timer, ring);
        alarms[i].due = some_time(start);
        fn_timer_set(&loop, &alarms[i].timer, alarms[i].due);
    }
    for (int i = 0; i < TIMERS; i += 3) {
        alarms[i].due = some_time(start);
        fn_timer_set(&loop, &alarms[i].timer, alarms[i].due);
    }
    for (int i = 1; i < TIMERS; i += 3)
        fn_timer_clear(&loop, &alarms[i].timer);

    for (int64_t wait; (wait = fn_timers_wait(&loop, loop.now)) != FN_NEVER;) {
        /* Where nothing is due for so long, nothing may be missed by sleeping for it. */
        loop.now += wait;
        fn_timers_run(&loop);
        for (int i = 0; i < TIMERS; i += 150)
            assert(i % 3 == 1 || alarms[i].rung || alarms[i].due > loop.now - 2 * FN_MILLISECOND);
    }
    for (int i = 0; i < TIMERS; i++)
        assert(alarms[i].rung == (i % 3 != 1));
    fn_loop_close(&loop);
}

/* Records */

static void test_a_full_ring_loses_the_newest(void)
{
    struct fn_records records = {0};
    struct fn_record record = {0}, out[64];
    uint64_t expected = 1;

    for (record.number = 1; record.number <= FN_RECORDS + 1000; record.number++)
        fn_records_put(&records, &record);
    assert(records.lost == 1000);
    for (size_t n; (n = fn_records_take(&records, out, 64));)
        for (size_t i = 0; i < n; i++)
            assert(out[i].number == expected++);
    assert(expected == FN_RECORDS + 1);
    fn_records_free(&records);
}

/* Relays in threads */

struct running {
    struct fn_relay *relay;
    pthread_t thread;
    int result;
};

static void *run(void *argument)
{
    struct running *const running = argument;
    struct fn_shortage shortage;

    do
        running->result = fn_relay_run(running->relay, &shortage);
    while (running->result == FN_RUN_WARNS);
    return NULL;
}

static void start(struct running *running)
{
    assert(pthread_create(&running->thread, NULL, run, running) == 0);
}

static int finish(struct running *running)
{
    pthread_join(running->thread, NULL);
    fn_relay_free(running->relay);
    return running->result;
}

static struct fn_rule *new_rule(struct fn_upstream *upstream, enum fn_engine engine)
{
    const struct fn_rule_options options = {
        .engine = engine,
        .max_connections = 1000,
        .max_per_source = 1000,
        .connect_timeout = 20 * FN_SECOND,
        .idle_timeout = 600 * FN_SECOND,
        .max_failures = 3,
        .failure_pause = FN_SECOND,
        .record = true,
    };
    struct fn_rule *const rule = fn_rule_new(&options, &upstream, upstream != NULL);

    assert(rule);
    return rule;
}

static void make_pair(int ends[2])
{
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
}

static void send_all(int fd, const char *data, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        const ssize_t n = send(fd, data + sent, len - sent, MSG_NOSIGNAL);
        assert(n > 0);
        sent += (size_t)n;
    }
}

static size_t receive_all(int fd, char *data, size_t room)
{
    size_t received = 0;

    for (ssize_t n; (n = recv(fd, data + received, room - received, 0)) > 0; received += (size_t)n)
        ;
    return received;
}

#define LARGE 12000000

struct half {
    int fd;
    const char *data;
};

static void *send_half(void *argument)
{
    struct half *const half = argument;

    send_all(half->fd, half->data, LARGE);
    shutdown(half->fd, SHUT_WR);
    return NULL;
}

static struct sockaddr_in name_of(int fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;

    assert(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    return address;
}

static int listening(struct sockaddr_in *address)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    assert(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
    assert(bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 && listen(fd, 512) == 0);
    *address = name_of(fd);
    return fd;
}

static struct sockaddr_in any_port(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int connected(const struct sockaddr_in *address)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    return fd;
}

static void make_tcp_pair(int ends[2])
{
    struct sockaddr_in address = any_port();
    const int listener = listening(&address);

    ends[0] = connected(&address);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert(ends[1] >= 0);
    close(listener);
}

/* Both ways at once, and each end is passed on by itself. */
static void test_joined(enum fn_engine engine, void (*make)(int ends[2]))
{
    static char data[LARGE], received[LARGE + 1];
    struct fn_rule *const rule = new_rule(NULL, engine);
    struct running running = {0};
    struct fn_counters counters;
    pthread_t thread;
    int client[2], server[2];

    for (size_t i = 0; i < LARGE; i++)
        data[i] = (char)random();
    make(client);
    make(server);
    assert(fn_relay_new(&running.relay, 0) == 0);
    assert(fn_relay_join(running.relay, rule, client[1], server[0]) == 0);
    start(&running);
    struct half up = {client[0], data};
    assert(pthread_create(&thread, NULL, send_half, &up) == 0);
    assert(receive_all(server[1], received, sizeof received) == LARGE && memcmp(data, received, LARGE) == 0);
    pthread_join(thread, NULL);
    struct half down = {server[1], data};
    assert(pthread_create(&thread, NULL, send_half, &down) == 0);
    assert(receive_all(client[0], received, sizeof received) == LARGE && memcmp(data, received, LARGE) == 0);
    pthread_join(thread, NULL);
    assert(finish(&running) == FN_RUN_WHOLE);
    fn_rule_counters(rule, &counters);
    assert(counters.sent_up == LARGE && counters.sent_down == LARGE && counters.active == 0);
    fn_rule_release(rule);
    close(client[0]);
    close(server[1]);
}

/* One rule in two relays, clients of many threads, and others that look on and change it meanwhile. */

#define CLIENTS 6
#define CONNECTIONS 60

struct scene {
    struct fn_rule *rule;
    struct fn_upstream *upstreams[2];
    struct running running[2];
    struct sockaddr_in address;
    int service;
    bool over;
    uint64_t recorded;
};

/* splice(2) to where nobody reads raises SIGPIPE, which ends no program. */
static void test_nobody_reads(void (*make)(int ends[2]))
{
    struct fn_rule *const rule = new_rule(NULL, FN_ENGINE_SPLICE);
    struct running running = {0};
    int client[2], server[2];

    make(client);
    make(server);
    assert(fn_relay_new(&running.relay, 0) == 0);
    assert(fn_relay_join(running.relay, rule, client[1], server[0]) == 0);
    send_all(client[0], "for nobody", 10);
    close(server[1]);
    start(&running);
    close(client[0]);
    finish(&running);
    fn_rule_release(rule);
}

/* One that was pending before is the program's own, and stays. */
static void test_a_signal_of_the_program(void)
{
    static const struct timespec at_once = {0};
    struct fn_shortage shortage;
    struct fn_relay *relay;
    sigset_t broken_pipe, before;

    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    assert(pthread_sigmask(SIG_BLOCK, &broken_pipe, &before) == 0 && raise(SIGPIPE) == 0);
    assert(fn_relay_new(&relay, 0) == 0 && fn_relay_run(relay, &shortage) == FN_RUN_WHOLE);
    fn_relay_free(relay);
    assert(sigtimedwait(&broken_pipe, NULL, &at_once) == SIGPIPE);
    assert(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

static void *echo(void *argument)
{
    struct scene *const scene = argument;
    char data[4096];

    for (int fd; (fd = accept4(scene->service, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd))
        for (ssize_t n; (n = recv(fd, data, sizeof data, 0)) > 0;)
            send_all(fd, data, (size_t)n);
    return NULL;
}

static void *be_client(void *argument)
{
    struct scene *const scene = argument;
    char question[] = "is anybody there?", answer[sizeof question + 1];

    for (int i = 0; i < CONNECTIONS; i++) {
        const int fd = connected(&scene->address);
        send_all(fd, question, sizeof question);
        shutdown(fd, SHUT_WR);
        assert(receive_all(fd, answer, sizeof answer) == sizeof question);
        close(fd);
    }
    return NULL;
}

static void *look_on(void *argument)
{
    struct scene *const scene = argument;
    struct fn_record some[16], *open;
    struct fn_counters counters;

    for (bool over = false; !over;) {
        over = __atomic_load_n(&scene->over, __ATOMIC_ACQUIRE);
        for (int i = 0; i < 2; i++) {
            for (size_t n; (n = fn_relay_records(scene->running[i].relay, some, 16)); scene->recorded += n)
                for (size_t j = 0; j < n; j++)
                    fn_record_release(&some[j]);
            const ssize_t count = fn_relay_connections(scene->running[i].relay, &open);
            assert(count >= 0);
            for (ssize_t j = 0; j < count; j++)
                fn_record_release(&open[j]);
            free(open);
        }
        fn_rule_counters(scene->rule, &counters);
        assert(fn_rule_set_upstreams(scene->rule, &scene->upstreams[counters.accepted % 2], 1) == 0);
        poll(NULL, 0, 1);
    }
    return NULL;
}

static struct fn_upstream *new_upstream(const struct sockaddr_in *at)
{
    struct fn_address address = {.len = sizeof *at};

    memcpy(&address.at, at, sizeof *at);
    struct fn_upstream *const upstream = fn_upstream_new(&address, 1);
    assert(upstream);
    return upstream;
}

static void *listen_elsewhere(void *argument)
{
    struct scene *const scene = argument;
    struct fn_rule *const rule = new_rule(scene->upstreams[0], FN_ENGINE_AUTO);

    for (int i = 0; i < 50; i++) {
        struct sockaddr_in address = any_port();
        const int listener = listening(&address);
        assert(fn_relay_listen(scene->running[i % 2].relay, rule, &listener, 1) == 0);
        const int fd = connected(&address);
        fn_relay_unlisten(scene->running[i % 2].relay, rule);
        close(fd);
    }
    fn_rule_release(rule);
    return NULL;
}

static void test_threads(void)
{
    struct sockaddr_in service = any_port();
    struct scene scene = {.address = any_port(), .service = listening(&service)};
    pthread_t clients[CLIENTS], servers[CLIENTS + 2], watcher, changer;
    struct fn_counters counters;

    for (int i = 0; i < 2; i++)
        scene.upstreams[i] = new_upstream(&service);
    scene.rule = new_rule(scene.upstreams[0], FN_ENGINE_AUTO);
    for (int i = 0; i < 2; i++) {
        const int listener = listening(&scene.address);
        assert(fn_relay_new(&scene.running[i].relay, i ? 50000 : 0) == 0);
        assert(fn_relay_listen(scene.running[i].relay, scene.rule, &listener, 1) == 0);
        start(&scene.running[i]);
    }
    for (int i = 0; i < CLIENTS + 2; i++)
        assert(pthread_create(&servers[i], NULL, echo, &scene) == 0);
    assert(pthread_create(&watcher, NULL, look_on, &scene) == 0);
    assert(pthread_create(&changer, NULL, listen_elsewhere, &scene) == 0);
    for (int i = 0; i < CLIENTS; i++)
        assert(pthread_create(&clients[i], NULL, be_client, &scene) == 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    pthread_join(changer, NULL);
    for (int i = 0; i < 2; i++) {
        fn_relay_drain(scene.running[i].relay, 20 * FN_SECOND);
        pthread_join(scene.running[i].thread, NULL);
        assert(scene.running[i].result == FN_RUN_WHOLE);
    }
    __atomic_store_n(&scene.over, true, __ATOMIC_RELEASE);
    pthread_join(watcher, NULL);
    shutdown(scene.service, SHUT_RD);
    for (int i = 0; i < CLIENTS + 2; i++)
        pthread_join(servers[i], NULL);
    close(scene.service);

    fn_rule_counters(scene.rule, &counters);
    assert(counters.accepted == CLIENTS * CONNECTIONS && counters.active == 0 && counters.resets == 0);
    assert(counters.sent_down == CLIENTS * CONNECTIONS * sizeof "is anybody there?");
    assert(scene.recorded >= CLIENTS * CONNECTIONS);
    for (int i = 0; i < 2; i++) {
        fn_relay_free(scene.running[i].relay);
        fn_upstream_release(scene.upstreams[i]);
    }
    fn_rule_release(scene.rule);
}

int main(void)
{
    test_timers_go_off_in_time_and_never_early();
    test_a_full_ring_loses_the_newest();
    test_joined(FN_ENGINE_AUTO, make_tcp_pair);
    test_joined(FN_ENGINE_COPY, make_pair);
    test_joined(FN_ENGINE_SPLICE, make_tcp_pair);
    test_joined(FN_ENGINE_SPLICE, make_pair);
    test_nobody_reads(make_pair);
    test_nobody_reads(make_tcp_pair);
    test_a_signal_of_the_program();
    test_threads();
    return 0;
}
