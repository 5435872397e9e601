/* A conversation with UDP sockets of our own, which see the requests and turn them into replies. */
#define _GNU_SOURCE
#include "probe/conversation.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SIZE 24
#define HOSTS 3
#define LONG (60 * FN_SECOND)

static const uint8_t FILLER[SIZE - FN_COOKIE] = "fillings";

struct request {
    uint8_t data[FN_ICMP_HEADER + SIZE];
    struct sockaddr_in from;
};

struct place {
    struct fn_prober *prober;
    struct fn_conversation *conversation;
    struct sockaddr_in6 hosts[HOSTS]; /* one address, and a port for each */
    int own, peers[HOSTS];
};

static int udp_socket(struct sockaddr_in *bound)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof *bound;

    *bound = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert(fd >= 0 && bind(fd, (struct sockaddr *)bound, sizeof *bound) == 0);
    assert(getsockname(fd, (struct sockaddr *)bound, &len) == 0);
    return fd;
}

static struct place begin_at(uint16_t first, uint64_t count, int64_t interval, int64_t timeout)
{
    struct sockaddr_in own;
    struct place place = {.own = udp_socket(&own)};
    const struct fn_prober_options options = {
        .engine = FN_PROBER_DATAGRAM, .fd = place.own, .family = AF_INET, .ident = 0x1234, .first = first,
        .size = SIZE, .filler = FILLER, .key = "sixteen bytes...",
    };
    const struct fn_plan plan = {.count = count, .interval = interval, .timeout = timeout, .keeps_ends = true};

    for (int i = 0; i < HOSTS; i++)
        place.peers[i] = udp_socket((struct sockaddr_in *)&place.hosts[i]);
    assert(fn_prober_new(&place.prober, &options) == 0);
    assert(fn_conversation_new(&place.conversation, place.prober, &plan, place.hosts, HOSTS) == 0);
    return place;
}

/* Whose sequence numbers soon begin again. */
static struct place begin(uint64_t count, int64_t interval, int64_t timeout)
{
    return begin_at(65530, count, interval, timeout);
}

static void end(struct place *place)
{
    fn_conversation_free(place->conversation);
    fn_prober_free(place->prober);
    assert(close(place->own) == 0);
    for (int i = 0; i < HOSTS; i++)
        assert(close(place->peers[i]) == 0);
}

static struct request read_request(const struct place *place, int host)
{
    struct request request;
    socklen_t len = sizeof request.from;

    assert(recvfrom(place->peers[host], request.data, sizeof request.data, 0, (struct sockaddr *)&request.from,
                    &len) == sizeof request.data);
    return request;
}

static void reply(const struct place *place, int host, struct request request)
{
    request.data[0] = FN_ECHO_REPLY_4;
    assert(sendto(place->peers[host], request.data, sizeof request.data, 0, (const struct sockaddr *)&request.from,
                  sizeof request.from) == sizeof request.data);
}

static void expect(const struct place *place, int host, uint64_t sent, uint64_t received, uint64_t lost,
                   uint64_t duplicates)
{
    const struct fn_host *const totals = fn_conversation_host(place->conversation, (size_t)host);

    assert(totals->sent == sent && totals->received.count == received && totals->lost == lost);
    assert(totals->duplicates == duplicates && totals->not_sent == 0 && totals->refused == 0);
}

/* The rounds of the ends, with those that are answered in parentheses, and of duplicates in braces. */
static void expect_ends(const struct place *place, int host, const char *expected)
{
    const struct fn_host *const totals = fn_conversation_host(place->conversation, (size_t)host);
    char shown[64] = "", *at = shown;

    for (size_t i = 0; i < totals->ended; i++) {
        const struct fn_end *const end = &totals->ends[i];
        assert(!end->refused && (end->is_answered || !end->answer.repeated));
        at += sprintf(at, !end->is_answered ? "%d " : end->answer.repeated ? "{%d} " : "(%d) ", (int)end->round);
    }
    assert(strcmp(shown, expected) == 0);
}

static void test_replies_and_duplicates(void)
{
    struct place place = begin(2, 0, LONG);

    assert(fn_conversation_run(place.conversation, 0) == 0);
    for (int round = 0; round < 2; round++)
        for (int host = 0; host < HOSTS; host++) {
            const struct request request = read_request(&place, host);
            for (int times = 0; times <= host; times++)
                if (round == 0 || host == 0)
                    reply(&place, host, request);
        }
    assert(fn_conversation_run(place.conversation, 0) == 0);
    for (int host = 0; host < HOSTS; host++)
        expect(&place, host, 2, host == 0 ? 2 : 1, 0, (uint64_t)host);
    expect_ends(&place, 0, "(0) (1) ");
    expect_ends(&place, 2, "(0) {0} {0} ");
    assert(fn_conversation_shortage(place.conversation) == 0);
    end(&place);
}

static void test_ends_in_their_order(void)
{
    struct place place = begin(2, 0, FN_SECOND);

    assert(fn_conversation_run(place.conversation, 0) == 0);
    const struct request first = read_request(&place, 0), second = read_request(&place, 0);
    reply(&place, 0, second);
    reply(&place, 0, first);
    reply(&place, 0, second);
    reply(&place, 1, read_request(&place, 1));
    while (fn_conversation_run(place.conversation, fn_clock_now(CLOCK_MONOTONIC) + FN_SECOND) == 0)
        continue;
    expect_ends(&place, 0, "(1) (0) {1} ");
    expect_ends(&place, 1, "(0) 1 ");
    expect_ends(&place, 2, "0 1 ");
    end(&place);
}

static void test_late_before_it_is_given_up(void)
{
    struct place place = begin(2, 0, 0);

    assert(fn_conversation_run(place.conversation, 0) == 0);
    for (int host = 0; host < HOSTS; host++) {
        const struct request request = read_request(&place, host);
        reply(&place, host, read_request(&place, host));
        reply(&place, host, request);
        reply(&place, host, request);
    }
    while (fn_conversation_run(place.conversation, fn_clock_now(CLOCK_MONOTONIC) + FN_SECOND) == 0)
        continue;
    for (int host = 0; host < HOSTS; host++) {
        expect(&place, host, 2, 0, 2, 0);
        expect_ends(&place, host, "0 1 ");
    }
    end(&place);
}

static void test_what_is_not_sent(void)
{
    struct place place = begin(0, 0, LONG);
    const struct fn_plan plan = {.count = 2, .timeout = LONG, .keeps_ends = true};

    fn_conversation_free(place.conversation);
    place.hosts[0].sin6_port = 0; /* no datagram is sent to it */
    assert(fn_conversation_new(&place.conversation, place.prober, &plan, place.hosts, 1) == 0);
    assert(fn_conversation_run(place.conversation, 0) == 1);
    const struct fn_host *const totals = fn_conversation_host(place.conversation, 0);
    assert(totals->not_sent == 2 && totals->refused == EINVAL && totals->ended == 2);
    for (uint64_t i = 0; i < totals->ended; i++)
        assert(totals->ends[i].round == i && totals->ends[i].refused == EINVAL && !totals->ends[i].is_answered);
    end(&place);
}

/* Many, then one each 10 ms: be the host silent, or its requests refused. */
static void test_a_flood_without_replies_has_a_pace(uint16_t port)
{
    struct place place = begin(0, 0, LONG);
    const struct fn_plan plan = {.timeout = LONG};
    const int64_t begun = fn_clock_now(CLOCK_MONOTONIC);
    uint64_t asked = 0;

    fn_conversation_free(place.conversation);
    place.hosts[0].sin6_port &= port;
    assert(fn_conversation_new(&place.conversation, place.prober, &plan, place.hosts, 1) == 0);
    const struct fn_host *const totals = fn_conversation_host(place.conversation, 0);
    for (; asked < FN_AWAITED + 6; asked = totals->sent + totals->not_sent)
        assert(fn_conversation_run(place.conversation, fn_clock_now(CLOCK_MONOTONIC) + 10 * FN_MILLISECOND) == 0);
    const int64_t elapsed = fn_clock_now(CLOCK_MONOTONIC) - begun;
    assert(asked <= FN_AWAITED + (uint64_t)(elapsed / (10 * FN_MILLISECOND)) + 1);
    end(&place);
}

static void test_what_comes_late_is_lost(void)
{
    struct place place = begin(1, FN_SECOND, 0);

    while (fn_conversation_run(place.conversation, fn_clock_now(CLOCK_MONOTONIC) + FN_SECOND) == 0)
        continue;
    for (int host = 0; host < HOSTS; host++) {
        expect(&place, host, 1, 0, 1, 0);
        const struct request request = read_request(&place, host);
        for (int times = 0; times < 3; times++)
            reply(&place, host, request);
    }
    assert(fn_conversation_run(place.conversation, 0) == 1);
    for (int host = 0; host < HOSTS; host++)
        expect(&place, host, 1, 0, 1, 0);
    end(&place);
}

/* Another's probes have tags of their own, even such that there is no host of. */
static void test_probes_of_others(void)
{
    struct place place = begin(1, 0, LONG);

    assert(fn_conversation_run(place.conversation, 0) == 0);
    assert(fn_prober_send(place.prober, &place.hosts[0], INT64_MAX, 0, -1, SIZE) == 0);
    assert(fn_prober_send(place.prober, &place.hosts[0], -1, 0, -1, SIZE) == 0);
    for (int host = 0; host < HOSTS; host++)
        reply(&place, host, read_request(&place, host));
    for (int i = 0; i < 2; i++)
        reply(&place, 0, read_request(&place, 0));
    while (fn_conversation_run(place.conversation, fn_clock_now(CLOCK_MONOTONIC) + FN_SECOND) == 0)
        continue;
    for (int host = 0; host < HOSTS; host++)
        expect(&place, host, 1, 1, 0, 0);
    end(&place);
}

static void test_the_lowest_sequence_number(void)
{
    struct place place = begin_at(0, 1, 0, LONG);

    assert(fn_conversation_run(place.conversation, 0) == 0);
    for (int host = 0; host < HOSTS; host++)
        reply(&place, host, read_request(&place, host));
    while (fn_conversation_run(place.conversation, fn_clock_now(CLOCK_MONOTONIC) + FN_SECOND) == 0)
        continue;
    for (int host = 0; host < HOSTS; host++)
        expect(&place, host, 1, 1, 0, 0);
    end(&place);
}

static void test_closed(void)
{
    struct place place = begin(1, 0, LONG);

    fn_prober_detach(place.prober);
    assert(fn_conversation_run(place.conversation, 0) == -EBADF);
    end(&place);
}

static void test_percentiles(void)
{
    struct fn_round_trips trips = {0};
    double found;

    for (int i = 1; i <= FN_EXACT; i++)
        assert(fn_round_trips_add(&trips, FN_EXACT - i + 1) == 0);
    assert(fn_round_trips_percentile(&trips, 50, &found) == 0 && found == FN_EXACT / 2);
    assert(fn_round_trips_percentile(&trips, 100, &found) == 0 && found == FN_EXACT);
    assert(trips.least == 1 && trips.most == FN_EXACT && trips.differences == FN_EXACT - 1);
    assert(fn_round_trips_add(&trips, 0) == 0 && fn_round_trips_add(&trips, 1e9) == 0);
    assert(fn_round_trips_percentile(&trips, 1, &found) == 0 && fabs(found / 2 - 1) <= 0.02);
    assert(fn_round_trips_percentile(&trips, 50, &found) == 0 && fabs(found / FN_EXACT * 2 - 1) <= 0.02);
    trips.buckets[100] = UINT32_MAX;
    const double full = 1e-3 * pow(1.02 / 0.98, 99.5);
    assert(fn_round_trips_add(&trips, full) == 0);
    assert(trips.buckets[100] == (UINT32_MAX >> 1) + 1u);
    fn_round_trips_free(&trips);
}

int main(void)
{
    test_replies_and_duplicates();
    test_ends_in_their_order();
    test_late_before_it_is_given_up();
    test_what_is_not_sent();
    test_a_flood_without_replies_has_a_pace(UINT16_MAX);
    test_a_flood_without_replies_has_a_pace(0);
    test_what_comes_late_is_lost();
    test_probes_of_others();
    test_the_lowest_sequence_number();
    test_closed();
    test_percentiles();
    return 0;
}
