/*
 * The relay as a whole, on a kernel of the fuzzer's (relay/kernel.h), between clients and upstreams of the fuzzer's
 * (relay/world.h). The bytes are a schedule: the rule's options first, then who does what, how much, what fails, how
 * time passes. It must be true that what arrives was sent, whole where its end arrives; that all ends once nobody holds
 * it up, without a busy loop; that every descriptor and all memory is given back, and nothing freed is linked
 * (FN_CHECKED); and that counters and records add up.
 */
#define _GNU_SOURCE
#include "relay/world.h"

#include <stdio.h>
#include <string.h>

#include "http_head.h"
#include "relay/bucket.h"
#include "relay/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT(literal) (struct fn_http_text){literal, sizeof(literal) - 1}

static struct fn_http_rewrite *new_rewrite(void)
{
    static const struct fn_http_text name = {"localhost", 9};
    struct fn_http_rewrite *const rewrite =
        fn_http_rewrite_new(&name, 1, TEXT("80"), TEXT("up.example"), choose(2), choose(2));

    require(rewrite != NULL, "no memory");
    if (choose(2))
        fn_http_rewrite_add_origin(rewrite);
    return rewrite;
}

static int64_t a_time(int64_t usual)
{
    const unsigned kind = choose(8);

    return kind < 6 ? usual : kind == 6 ? 50 * FN_MILLISECOND : 0;
}

static uint64_t a_rate(void)
{
    static const uint64_t rates[] = {0, 0, 0, 0, 0, 10000000, 300000, 100000000};

    return rates[choose(8)];
}

static struct fn_rule *new_rule(void)
{
    static struct fn_prefix any, some;
    static int owner;
    struct fn_rule_options options = {
        .owner = &owner,
        .rewrite = world.traffic == HTTP ? new_rewrite() : NULL,
        .policy = (enum fn_policy)choose(2),
        .engine = (enum fn_engine)choose(3),
        .max_connections = choose(4) == 3 ? 2 : 1000,
        .max_per_source = choose(4) == 3 ? 2 : 0,
        .source_prefix = choose(2) * 48,
        .connect_timeout = choose(4) == 3 ? FN_SECOND : 2 * FN_SECOND,
        .head_timeout = choose(4) == 3 ? 100 * FN_MILLISECOND : 3 * FN_SECOND,
        .keep_alive_timeout = a_time(60 * FN_SECOND),
        .idle_timeout = a_time(600 * FN_SECOND),
        .half_closed_timeout = a_time(600 * FN_SECOND),
        .keepalive = choose(2) * FN_SECOND,
        .user_timeout = choose(2) * FN_SECOND,
        .rate = a_rate(),
        .connection_rate = a_rate(),
        .max_failures = choose(2),
        .failure_pause = FN_SECOND,
        .send_proxy = world.send_proxy,
        .transparent = choose(8) == 7,
        .record = true,
    };

    fn_prefix_set(&any, AF_INET6, (const uint8_t[16]){0}, 0);
    fn_prefix_set(&some, AF_INET, (const uint8_t[4]){127, 0, 0, 11}, 32);
    if (choose(8) == 7)
        options.deny = (struct fn_prefixes){&some, 1};
    if (choose(16) == 15)
        options.allow = (struct fn_prefixes){&some, 1};
    if (world.trusts_proxy) {
        static struct fn_prefix trusted[2];
        fn_prefix_set(&trusted[0], AF_INET, (const uint8_t[4]){0}, 0);
        trusted[1] = any;
        options.trust_proxy = (struct fn_prefixes){trusted, 2};
    }
    if (choose(4) == 3)
        memcpy(options.congestion, "reno", 5);
    struct fn_rule *const rule = fn_rule_new(&options, world.upstreams, choose(8) ? 1 + choose(3) : 0);
    require(rule != NULL, "no memory");
    return rule;
}

static struct fn_upstream *new_upstream(unsigned number)
{
    struct fn_address addresses[6];
    const unsigned count = 1 + choose(6);

    memset(addresses, 0, sizeof addresses);
    for (unsigned i = 0; i < count; i++) {
        const unsigned kind = choose(4);
        struct fn_address *const address = &addresses[i];
        if (kind == 3 && world.traffic != PACKETS) {
            address->at.ss_family = AF_UNIX;
            address->len = sizeof(sa_family_t) + 8;
        } else {
            address->at = world_address(-1, kind == 2 ? AF_INET6 : AF_INET);
            address->len = kind == 2 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
            /* One of them may be the listener itself. */
            ((struct sockaddr_in *)&address->at)->sin_port = htons((uint16_t)(choose(8) ? 9000 + number : 80));
        }
    }
    struct fn_upstream *const upstream = fn_upstream_new(addresses, count);
    require(upstream != NULL, "no memory");
    return upstream;
}

static void run(int number)
{
    struct fn_relay *const relay = world.relays[number];
    struct fn_shortage shortage;
    int result;

    do {
        result = fn_relay_run(relay, &shortage);
        if (result == FN_RUN_FAILED)
            fn_rule_release(fn_relay_take_failure(relay));
        require(result != FN_RUN_WARNS || shortage.error, "a shortage of nothing");
    } while (result == FN_RUN_WARNS || result == FN_RUN_FAILED);
}

static void set_up(void)
{
    static const int domains[] = {AF_INET, AF_INET, AF_INET6, AF_UNIX};

    memset(&world, 0, sizeof world);
    world.traffic = (enum traffic)choose(3);
    kernel.domain = domains[choose(world.traffic == PACKETS ? 3 : 4)];
    kernel.wildcard = world.traffic == PACKETS && choose(2);
    world.send_proxy = world.traffic == PACKETS ? 0 : (int)(choose(6) / 2);
    world.trusts_proxy = world.traffic != PACKETS && kernel.domain != AF_UNIX && choose(4) == 3;
    for (unsigned i = 0; i < 3; i++)
        world.upstreams[i] = new_upstream(i);
    for (int i = 0; i < 2; i++)
        world.rules[i] = new_rule();
    world_begin();
}

static void start(void)
{
    const int count = world.traffic != PACKETS && choose(3) == 2 ? 2 : 1;
    const int64_t spin = choose(8) == 7 ? 50000 : 0;

    for (int i = 0; i < count; i++) {
        const int fd = kernel_listener(world.traffic == PACKETS ? SOCK_DGRAM : SOCK_STREAM);
        require(fn_relay_new(&world.relays[i], spin) == 0, "no relay");
        world.relay_count++;
        fn_relay_listen(world.relays[i], world.rules[0], &fd, 1);
    }
    if (world.traffic == PLAIN && !world.send_proxy && choose(4) == 3)
        world_join();
    kernel_run(run, count);
}

static void check_counters(void)
{
    struct fn_counters sum = {0}, one;

    for (int i = 0; i < 2; i++) {
        fn_rule_counters(world.rules[i], &one);
        require(one.active == 0, "connections that are counted and gone");
        sum.accepted += one.accepted;
        sum.sent_up += one.sent_up;
        sum.sent_down += one.sent_down;
    }
    if (world.traffic == PACKETS)
        return;
    require(sum.accepted <= kernel.accepted, "more accepted than there were");
    require(world.send_proxy || sum.sent_up == kernel.sent_up, "bytes to upstreams that are counted wrongly");
    require(sum.sent_down == kernel.sent_down, "bytes to clients that are counted wrongly");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    schedule_begin(data, size);
    kernel_begin();
    kernel_enter();
    set_up();
    start();
    check_counters();
    world_take_records();
    for (int i = 0; i < world.relay_count; i++)
        fn_relay_free(world.relays[i]);
    for (int i = 0; i < 2; i++)
        fn_rule_release(world.rules[i]);
    for (int i = 0; i < 3; i++) {
        require(fn_upstream_active(world.upstreams[i]) == 0, "an upstream that is still used");
        fn_upstream_release(world.upstreams[i]);
    }
    world_end();
    kernel_end();
    kernel_leave();
    return 0;
}
