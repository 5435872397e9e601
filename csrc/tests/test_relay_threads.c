/* Several relays serve one listener, each in its thread, while others replace their rule, change upstreams, list what is
 * open, take records and count; clients reset meanwhile, and the relays stop one after the other. For TSan above all. */

#define _GNU_SOURCE
#include "relay.h"

#include "http_head.h"
#include "relay/loop.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define RELAYS 3
#define CLIENTS 6
#define DURATION (1200 * FN_MILLISECOND)

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";

struct scene {
    struct fn_relay *relays[RELAYS];
    struct fn_rule *rule; /* the present one; only the controller uses it */
    struct fn_upstream *alive, *dead;
    struct sockaddr_in address;
    int listener, service;
    bool stopping; /* atomic */
    uint64_t records, served;
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

/* A peer that has stopped holds nobody up for long. */
static void limit(int fd)
{
    const struct timeval time = {.tv_usec = 300000};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

static void reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

/* The upstream: one connection at a time, one response, an end or a reset. */
static void *serve(void *argument)
{
    struct scene *const scene = argument;
    static char body[100000];
    unsigned seed = 7;

    for (int fd; (fd = accept4(scene->service, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        char head[200];
        limit(fd);
        if (recv(fd, head, sizeof head, 0) > 0 && send(fd, response, sizeof response - 1, MSG_NOSIGNAL) > 0)
            send(fd, body, sizeof body, MSG_NOSIGNAL);
        if (rand_r(&seed) % 4)
            close(fd);
        else
            reset(fd);
    }
    return NULL;
}

static void one_life(struct scene *scene, unsigned *seed)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const unsigned kind = (unsigned)rand_r(seed) % 4;
    char data[65536];

    assert(fd >= 0);
    limit(fd);
    if (connect(fd, (const struct sockaddr *)&scene->address, sizeof scene->address) == 0 && kind != 3) {
        send(fd, request, kind == 2 ? 9 : sizeof request - 1, MSG_NOSIGNAL);
        if (kind == 0)
            while (recv(fd, data, sizeof data, 0) > 0)
                __atomic_fetch_add(&scene->served, 1, __ATOMIC_RELAXED);
        else if (kind == 1)
            recv(fd, data, 1000, 0);
    }
    if (kind == 0)
        close(fd);
    else
        reset(fd);
}

static void *be_clients(void *argument)
{
    struct scene *const scene = argument;
    unsigned seed = (unsigned)(uintptr_t)pthread_self() >> 8;

    while (!__atomic_load_n(&scene->stopping, __ATOMIC_RELAXED))
        one_life(scene, &seed);
    return NULL;
}

static void *run(void *argument)
{
    struct fn_relay *const relay = argument;
    struct fn_shortage shortage;
    int result;

    do {
        result = fn_relay_run(relay, &shortage);
        if (result == FN_RUN_FAILED)
            fn_rule_release(fn_relay_take_failure(relay));
    } while (result == FN_RUN_WARNS || result == FN_RUN_FAILED);
    return NULL;
}

static struct fn_rule *new_rule(struct scene *scene, unsigned *seed)
{
    static const struct fn_http_text name = {"localhost", 9}, port = {"80", 2}, authority = {"example.com", 11};
    static int owner;
    struct fn_upstream *const upstreams[] = {scene->alive, scene->dead};
    const uint64_t rate = rand_r(seed) % 2 ? 50000000 : 0;
    const struct fn_rule_options options = {
        .owner = &owner,
        .rewrite = rand_r(seed) % 2 ? fn_http_rewrite_new(&name, 1, port, authority, false, false) : NULL,
        .policy = rand_r(seed) % 2 ? FN_LEAST_CONNECTIONS : FN_ROUND_ROBIN,
        .engine = rand_r(seed) % 2 ? FN_ENGINE_SPLICE : FN_ENGINE_AUTO,
        .max_connections = rand_r(seed) % 2 ? 2 : 100,
        .max_per_source = rand_r(seed) % 2 ? 5 : 0,
        .connect_timeout = FN_SECOND,
        .head_timeout = 50 * FN_MILLISECOND,
        .idle_timeout = 200 * FN_MILLISECOND,
        .rate = rate,
        .connection_rate = rate / 2,
        .max_failures = 2,
        .failure_pause = FN_MILLISECOND,
        .record = true,
    };
    struct fn_rule *const rule = fn_rule_new(&options, upstreams, 1 + (unsigned)rand_r(seed) % 2);

    assert(rule);
    return rule;
}

static void retire(struct scene *scene, struct fn_rule *rule)
{
    for (int i = 0; i < RELAYS; i++)
        fn_relay_unlisten(scene->relays[i], rule);
    fn_rule_release(rule);
}

/* The new rule first, so that there is always one that listens. */
static void replace_rule(struct scene *scene, unsigned *seed)
{
    struct fn_rule *const before = scene->rule;

    scene->rule = new_rule(scene, seed);
    for (int i = 0; i < RELAYS; i++) {
        const int fd = fcntl(scene->listener, F_DUPFD_CLOEXEC, 0);
        const int result = fn_relay_listen(scene->relays[i], scene->rule, &fd, 1);
        assert(fd >= 0 && (result == 0 || result == -EBADF));
    }
    if (before)
        retire(scene, before);
}

static void list_connections(struct fn_relay *relay)
{
    struct fn_record *list;
    const ssize_t count = fn_relay_connections(relay, &list);

    assert(count >= 0);
    for (ssize_t i = 0; i < count; i++)
        fn_record_release(&list[i]);
    free(list);
}

static void take_records(struct scene *scene)
{
    struct fn_record list[64];

    for (int i = 0; i < RELAYS; i++)
        for (size_t n; (n = fn_relay_records(scene->relays[i], list, 64));)
            for (size_t j = 0; j < n; j++) {
                assert(list[j].ended != FN_OPEN && list[j].rule);
                fn_record_release(&list[j]);
                scene->records++;
            }
}

static void control(struct scene *scene, unsigned *seed)
{
    struct fn_upstream *const upstreams[] = {scene->alive, scene->dead};
    struct fn_counters counters;

    switch (rand_r(seed) % 6) {
    case 0:
        replace_rule(scene, seed);
        break;
    case 1:
        assert(fn_rule_set_upstreams(scene->rule, upstreams, 1 + (unsigned)rand_r(seed) % 2) == 0);
        break;
    case 2:
        list_connections(scene->relays[rand_r(seed) % RELAYS]);
        break;
    case 3:
        fn_rule_counters(scene->rule, &counters);
        assert(counters.active <= counters.accepted);
        break;
    case 4:
        fn_upstream_set_healthy(scene->alive, rand_r(seed) % 8);
        fn_rule_watch(scene->rule);
        break;
    default:
        take_records(scene);
    }
}

static struct fn_upstream *upstream_at(const struct sockaddr_in *at)
{
    struct fn_address address = {.len = sizeof *at};

    memcpy(&address.at, at, sizeof *at);
    struct fn_upstream *const upstream = fn_upstream_new(&address, 1);
    assert(upstream);
    return upstream;
}

static void begin(struct scene *scene)
{
    struct sockaddr_in service, nobody;

    scene->service = listening(&service);
    scene->listener = listening(&scene->address);
    close(listening(&nobody));
    scene->alive = upstream_at(&service);
    scene->dead = upstream_at(&nobody);
    for (int i = 0; i < RELAYS; i++)
        assert(fn_relay_new(&scene->relays[i], i ? 0 : 20000) == 0);
}

static void end(struct scene *scene)
{
    take_records(scene);
    for (int i = 0; i < RELAYS; i++)
        fn_relay_free(scene->relays[i]);
    assert(fn_rule_references(scene->rule) == 1);
    fn_rule_release(scene->rule);
    assert(!fn_upstream_active(scene->alive) && !fn_upstream_active(scene->dead));
    fn_upstream_release(scene->alive);
    fn_upstream_release(scene->dead);
    assert(scene->served && scene->records);
}

int main(void)
{
    static struct scene scene;
    pthread_t relays[RELAYS], clients[CLIENTS], server;
    unsigned seed = 1;

    begin(&scene);
    replace_rule(&scene, &seed);
    assert(pthread_create(&server, NULL, serve, &scene) == 0);
    for (int i = 0; i < RELAYS; i++)
        assert(pthread_create(&relays[i], NULL, run, scene.relays[i]) == 0);
    for (int i = 0; i < CLIENTS; i++)
        assert(pthread_create(&clients[i], NULL, be_clients, &scene) == 0);
    for (const int64_t until = fn_time_now() + DURATION; fn_time_now() < until; usleep(500))
        control(&scene, &seed);
    /* One after the other stops, the first ones at once, while what is asked of them goes on. */
    for (int i = 0; i < RELAYS; i++) {
        fn_relay_drain(scene.relays[i], i < 2 ? i * 10 * FN_MILLISECOND : FN_SECOND);
        for (int j = 0; j < 50; j++)
            control(&scene, &seed);
    }
    for (int i = 0; i < RELAYS; i++)
        pthread_join(relays[i], NULL);
    __atomic_store_n(&scene.stopping, true, __ATOMIC_RELAXED);
    shutdown(scene.listener, SHUT_RD);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    shutdown(scene.service, SHUT_RD);
    pthread_join(server, NULL);
    close(scene.listener);
    close(scene.service);
    end(&scene);
    return 0;
}
