/* Connections that end in every way while others go on: by refusals, resets and time-outs, amid transfers and rates.
 * What nothing may be left of is asserted by the relay itself (FN_CHECKED), and by the sanitizers. */

#define _GNU_SOURCE
#include "relay.h"

#include "http_head.h"
#include "relay/loop.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS 8
#define ROUNDS 60
#define BODY 1000000

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char nonsense[] = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";

struct scene {
    struct fn_relay *relay;
    struct fn_rule *rule;
    struct sockaddr_in address;
    int service;
    int result;
    unsigned refused; /* atomic */
};

static int listening(struct sockaddr_in *address)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof *address;

    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert(fd >= 0 && bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 && listen(fd, 512) == 0);
    assert(getsockname(fd, (struct sockaddr *)address, &len) == 0);
    return fd;
}

static void reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

/* Answers each request that has come whole with a body of BODY bytes. */
static void *answer(void *argument)
{
    static char body[BODY];
    const int fd = (int)(intptr_t)argument;
    const char *const end = "\r\n\r\n";
    char head[100], byte;
    size_t seen = 0;

    while (recv(fd, &byte, 1, 0) == 1) {
        seen = byte == end[seen] ? seen + 1 : byte == end[0];
        if (seen < 4)
            continue;
        seen = 0;
        const int len = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BODY);
        if (send(fd, head, (size_t)len, MSG_NOSIGNAL) < 0 || send(fd, body, sizeof body, MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
    return NULL;
}

static void *serve(void *argument)
{
    const struct scene *const scene = argument;
    pthread_attr_t detached;
    pthread_t thread;

    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (int fd; (fd = accept4(scene->service, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        assert(pthread_create(&thread, &detached, answer, (void *)(intptr_t)fd) == 0);
    pthread_attr_destroy(&detached);
    return NULL;
}

/* How many bytes come, up to `most`; the last of them go to `tail`. */
static size_t receive(int fd, size_t most, char tail[64])
{
    char data[65536];
    size_t received = 0;

    for (ssize_t n; received < most && (n = recv(fd, data, sizeof data, 0)) > 0; received += (size_t)n)
        memcpy(tail, data, (size_t)n < 63 ? (size_t)n : 63);
    return received;
}

static void one_life(struct scene *scene, unsigned *seed)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const unsigned kind = (unsigned)rand_r(seed) % 5;
    char tail[64] = "";

    assert(fd >= 0 && connect(fd, (const struct sockaddr *)&scene->address, sizeof scene->address) == 0);
    switch (kind) {
    case 0: /* refused at once */
        send(fd, nonsense, sizeof nonsense - 1, MSG_NOSIGNAL);
        receive(fd, SIZE_MAX, tail);
        assert(memcmp(tail, "HTTP/1.1 400", 12) == 0);
        __atomic_fetch_add(&scene->refused, 1, __ATOMIC_RELAXED);
        break;
    case 1: /* refused behind a response */
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
        send(fd, nonsense, sizeof nonsense - 1, MSG_NOSIGNAL);
        assert(receive(fd, SIZE_MAX, tail) > BODY);
        __atomic_fetch_add(&scene->refused, 1, __ATOMIC_RELAXED);
        break;
    case 2: /* whole */
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        assert(receive(fd, SIZE_MAX, tail) > BODY);
        break;
    case 3: /* reset in mid-download */
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
        receive(fd, (size_t)rand_r(seed) % BODY, tail);
        reset(fd);
        return;
    default: /* gone before its head is whole */
        send(fd, request, (size_t)rand_r(seed) % sizeof request, MSG_NOSIGNAL);
        reset(fd);
        return;
    }
    close(fd);
}

static void *be_clients(void *argument)
{
    struct scene *const scene = argument;
    unsigned seed = (unsigned)(uintptr_t)pthread_self();

    for (int i = 0; i < ROUNDS; i++)
        one_life(scene, &seed);
    return NULL;
}

static void *run(void *argument)
{
    struct scene *const scene = argument;
    struct fn_shortage shortage;

    do
        scene->result = fn_relay_run(scene->relay, &shortage);
    while (scene->result == FN_RUN_WARNS);
    return NULL;
}

static struct fn_rule *new_rule(const struct sockaddr_in *service, uint64_t rate, enum fn_engine engine)
{
    static const struct fn_http_text name = {"localhost", 9}, port = {"80", 2}, authority = {"example.com", 11};
    struct fn_rule_options options = {
        .rewrite = fn_http_rewrite_new(&name, 1, port, authority, false, false),
        .engine = engine,
        .max_connections = 6, /* so that some wait */
        .max_per_source = 1000,
        .connect_timeout = 20 * FN_SECOND,
        .head_timeout = 20 * FN_SECOND,
        .idle_timeout = 600 * FN_SECOND,
        .max_failures = 1000,
        .rate = rate,
        .connection_rate = rate,
        .record = true,
    };
    struct fn_address address = {.len = sizeof *service};

    memcpy(&address.at, service, sizeof *service);
    struct fn_upstream *const upstream = fn_upstream_new(&address, 1);
    assert(options.rewrite && upstream);
    struct fn_rule *const rule = fn_rule_new(&options, &upstream, 1);
    assert(rule);
    fn_upstream_release(upstream);
    return rule;
}

static void test_lives(uint64_t rate, enum fn_engine engine)
{
    struct sockaddr_in service;
    struct scene scene = {.service = listening(&service)};
    const int listener = listening(&scene.address);
    pthread_t clients[CLIENTS], server, thread;
    struct fn_counters counters;

    scene.rule = new_rule(&service, rate, engine);
    assert(fn_relay_new(&scene.relay, 0) == 0);
    assert(fn_relay_listen(scene.relay, scene.rule, &listener, 1) == 0);
    assert(pthread_create(&server, NULL, serve, &scene) == 0);
    assert(pthread_create(&thread, NULL, run, &scene) == 0);
    for (int i = 0; i < CLIENTS; i++)
        assert(pthread_create(&clients[i], NULL, be_clients, &scene) == 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    fn_relay_drain(scene.relay, 20 * FN_SECOND);
    pthread_join(thread, NULL);
    assert(scene.result == FN_RUN_WHOLE);
    shutdown(scene.service, SHUT_RD);
    pthread_join(server, NULL);
    close(scene.service);

    fn_rule_counters(scene.rule, &counters);
    assert(counters.active == 0 && counters.refused == scene.refused);
    fn_relay_free(scene.relay);
    fn_rule_release(scene.rule);
}

int main(void)
{
    test_lives(0, FN_ENGINE_AUTO);
    test_lives(0, FN_ENGINE_SPLICE);
    test_lives(100000000, FN_ENGINE_AUTO);
    test_lives(100000000, FN_ENGINE_COPY);
    return 0;
}
