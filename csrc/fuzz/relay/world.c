#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"
#include "relay/loop.h"

#define CLIENTS 80

struct world world;

/* When the schedule is over: first all is written and read, then all end, then the relays stop. */
static enum phase { ACTING, DELIVERING, ENDING, STOPPING } phase;
static int64_t phase_began, most_time;
static bool asks[RELAYS];

/* Acting */

static bool is_usable(const struct wire *wire)
{
    return wire->stage == WIRE_OPEN && !peers[wire->id].reset;
}

static struct wire *some_wire(void)
{
    return kernel.wire_count ? &kernel.wires[choose((unsigned)kernel.wire_count)] : NULL;
}

static void end(struct wire *wire)
{
    struct peer *const peer = &peers[wire->id];

    if (peer->ended)
        return;
    peer->ended = true;
    /* What was not written is not to be got. */
    if (bytes_len(&peer->to_do))
        peer->strange = true;
    peer->to_do.start = peer->to_do.end;
    wire_end(wire);
}

static void act_on(struct wire *wire)
{
    struct peer *const peer = &peers[wire->id];

    switch (choose(12)) {
    case 0:
    case 1:
        if (!bytes_len(&peer->to_do) && !peer->ended && peer->sent.end < 6000000)
            peer_put(wire, peer);
        peer_write(wire, peer, SIZE_MAX);
        break;
    case 2:
        if (!bytes_len(&peer->to_do) && !peer->ended)
            peer_put(wire, peer);
        peer_write(wire, peer, 1 + choose(64));
        break;
    case 3:
    case 4:
    case 5:
        peer_read(wire, 65536);
        break;
    case 6:
        peer_read(wire, 1 + choose(200));
        break;
    case 7:
        end(wire);
        break;
    case 8:
        if (choose(3) == 0) {
            peer->reset = true;
            wire_reset(wire);
        }
        break;
    case 9:
        wire_write_urgent(wire);
        break;
    case 10:
        end(wire);
        peer->reset = true;
        wire_close(wire);
        break;
    default: /* a long one */
        for (unsigned n = 1 + choose(12); n && !peer->ended && peer->sent.end < 6000000; n--)
            peer_put(wire, peer);
        peer->eager = true;
        if (peer->other >= 0)
            peers[peer->other].eager = choose(4);
    }
}

static void new_client(void)
{
    struct wire *const wire = kernel.wire_count < MOST_WIRES / 2 ? wire_new(kernel.domain) : NULL;

    if (!wire)
        return;
    wire_arrives(wire);
    peer_put(wire, &peers[wire->id]);
    if (choose(2))
        peer_write(wire, &peers[wire->id], SIZE_MAX);
}

static void answer_connect(struct wire *wire)
{
    static const int errors[] = {0, 0, 0, 0, ECONNREFUSED, ETIMEDOUT, ENETUNREACH, ECONNRESET};

    wire_answer(wire, errors[choose(8)]);
    peers[wire->id].reset |= wire->is_dead;
}

static void inject(void)
{
    static const int errors[FAULTS][3] = {
        {ENOMEM, ENOMEM, ENOMEM}, {EMFILE, ENFILE, ENOBUFS}, {ENOMEM, ENOSPC, ENOMEM},  {EINTR, EINTR, ENOBUFS},
        {EINTR, EINTR, ENOMEM},   {EADDRNOTAVAIL, EINTR, ENOBUFS}, {EPERM, EINVAL, ENOBUFS},
    };
    const unsigned fault = choose(FAULTS);
    const int error = errors[fault][choose(3)];
    const unsigned after = choose(16), times = choose(4) == 3 ? 40 : 1 + choose(3);

    fault_arm((enum fault)fault, after, times, error);
}

/* Datagrams */

static struct datagram datagram_of(int client, uint8_t mark)
{
    struct datagram datagram = {.client = client, .len = choose(8) == 7 ? 0 : 3 + choose(DATAGRAM_SIZE - 3)};

    memset(datagram.bytes, mark ^ client, sizeof datagram.bytes);
    datagram.bytes[0] = (uint8_t)client;
    datagram.bytes[1] = mark;
    datagram.bytes[2] = (uint8_t)datagram.len;
    return datagram;
}

static int checked(const uint8_t *data, size_t len, uint8_t mark)
{
    if (len == 0)
        return -1;
    require(len >= 3 && data[2] == len && data[1] == mark, "a datagram that nobody sent");
    for (size_t i = 3; i < len; i++)
        require(data[i] == (mark ^ data[0]), "a datagram that nobody sent");
    return data[0];
}

int world_read_datagram(int fd, const uint8_t *data, size_t len)
{
    (void)fd;
    return checked(data, len, 0x11);
}

void world_got_datagram(int client, const uint8_t *data, size_t len)
{
    const int whose = checked(data, len, 0x22);

    require(whose < 0 || whose == client, "another client's datagram");
}

static void act_on_flows(void)
{
    const unsigned kind = choose(4);
    int fd = -1;

    for (unsigned n = choose(64); n; n--)
        fd = flow_next(fd);
    if (fd < 0)
        fd = flow_next(fd);
    if (kind < 2 || fd < 0) {
        for (unsigned n = 1 + choose(12), client = choose(CLIENTS); n; n--) {
            const struct datagram one = datagram_of((int)client, 0x11);
            datagram_send(&one);
            client = choose(3) == 2 ? (client + 1) % CLIENTS : client;
        }
    } else if (kind == 2 && flow_client(fd) >= 0) {
        const struct datagram one = datagram_of(flow_client(fd), 0x22);
        for (unsigned n = 1 + choose(4); n; n--)
            flow_reply(fd, &one);
    } else {
        flow_fail(fd, ECONNREFUSED);
    }
}

/* What other threads ask of a relay */

static struct fn_relay *some_relay(void)
{
    return world.relays[choose((unsigned)world.relay_count)];
}

void world_take_records(void)
{
    struct fn_record list[16];

    for (int i = 0; i < world.relay_count; i++)
        for (size_t n; (n = fn_relay_records(world.relays[i], list, 16));)
            for (size_t j = 0; j < n; j++) {
                require(list[j].ended != FN_OPEN, "a record of one that is open");
                fn_record_release(&list[j]);
                world.records++;
            }
}

static void list_connections(struct fn_relay *relay)
{
    struct fn_record *list = NULL;
    const ssize_t count = fn_relay_connections(relay, &list);

    for (ssize_t i = 0; i < count; i++)
        fn_record_release(&list[i]);
    free(list);
}

static void replace_rule(struct fn_relay *relay)
{
    const int fd = kernel_listener(world.traffic == PACKETS ? SOCK_DGRAM : SOCK_STREAM);

    if (fd < 0)
        return;
    world.closes = true;
    for (int i = 0; i < 2; i++)
        fn_relay_unlisten(relay, world.rules[i]);
    world.rule = !world.rule;
    fn_relay_listen(relay, world.rules[world.rule], &fd, 1);
}

static void ask(struct fn_relay *relay)
{
    static const int64_t times[] = {0, FN_SECOND, 1000 * FN_SECOND, 1000 * FN_SECOND};

    switch (choose(8)) {
    case 0:
        list_connections(relay);
        break;
    case 1:
        world_take_records();
        break;
    case 2:
        replace_rule(relay);
        break;
    case 3:
        fn_rule_set_upstreams(world.rules[choose(2)], world.upstreams, choose(4));
        break;
    case 4:
        fn_upstream_set_healthy(world.upstreams[choose(3)], choose(2));
        break;
    case 5:
        fn_rule_watch(world.rules[choose(2)]);
        break;
    case 6:
        world.closes = true;
        fn_relay_drain(relay, times[choose(4)]);
        break;
    default: {
        struct fn_counters counters;
        fn_rule_counters(world.rules[0], &counters);
    }
    }
}

/* By another thread: the relay answers when it is woken up. */
void world_woken(int relay)
{
    if (!asks[relay])
        return;
    asks[relay] = false;
    ask(world.relays[relay]);
}

static void ask_later(void)
{
    const int relay = (int)choose((unsigned)world.relay_count);

    asks[relay] = world.closes = true;
    fn_rule_watch(world.rules[0]);
    fn_relay_drain(world.relays[relay], choose(8) ? 100000 * FN_SECOND : FN_SECOND);
}

static void act(int64_t *left)
{
    static const int64_t times[] = {1, 10, 300, 1100, 3000, 70000};
    struct wire *const wire = some_wire();
    int64_t time;

    switch (choose(16)) {
    case 0:
    case 1:
        if (world.traffic != PACKETS)
            new_client();
        else
            act_on_flows();
        break;
    case 2:
        time = times[choose(6)] * FN_MILLISECOND;
        if (left && time > *left)
            time = *left;
        kernel.now += time;
        if (left && *left != FN_NEVER)
            *left -= time;
        break;
    case 3:
        inject();
        break;
    case 4:
        if (choose(4) == 3)
            ask_later();
        else
            ask(some_relay());
        break;
    default:
        if (world.traffic == PACKETS)
            act_on_flows();
        else if (wire && wire->stage == WIRE_CONNECTING)
            answer_connect(wire);
        else if (wire && is_usable(wire))
            act_on(wire);
    }
}

void world_turn(void)
{
    for (int i = 0; i < kernel.wire_count; i++) {
        struct wire *const wire = &kernel.wires[i];
        if (peers[i].eager && is_usable(wire)) {
            peer_read(wire, 65536);
            peer_write(wire, &peers[i], 65536);
        }
    }
    for (unsigned n = choose(4); n; n--)
        act(NULL);
}

/* As the slowest rate allows. */
static int64_t time_for_all(void)
{
    size_t bytes = 0;

    for (int i = 0; i < kernel.wire_count; i++)
        bytes += bytes_len(&kernel.wires[i].in) + bytes_len(&peers[i].to_do);
    return 30 * FN_SECOND + (int64_t)(bytes / 100) * FN_MILLISECOND;
}

static void begin_phase(enum phase next)
{
    phase = next;
    phase_began = kernel.now;
    most_time = time_for_all();
    for (int i = 0; i < world.relay_count && phase == STOPPING; i++)
        fn_relay_drain(world.relays[i], 1000000 * FN_SECOND);
}

/* What came is read, where nobody must wait for somebody else. */
static void check_delivered(void)
{
    for (int i = 0; i < kernel.wire_count && world.traffic == PLAIN; i++)
        require(kernel.wires[i].fd < 0 || !bytes_len(&kernel.wires[i].in), "a stream that stands still");
}

/* Nothing moves and nothing will for a while. */
static void check_phase(void)
{
    if (phase == DELIVERING)
        check_delivered();
    else
        require(world.closes || !kernel.waiting || kernel.wire_count == MOST_WIRES, "clients that nobody accepts");
    begin_phase(phase + 1);
}

static bool settle_wire(struct wire *wire)
{
    struct peer *const peer = &peers[wire->id];
    bool moved = false;

    if (wire->stage == WIRE_CONNECTING) {
        wire_answer(wire, 0);
        return true;
    }
    if (!is_usable(wire))
        return false;
    while (peer_read(wire, 65536))
        moved = true;
    if (bytes_len(&peer->to_do) && peer_write(wire, peer, SIZE_MAX))
        return true;
    if (phase != DELIVERING && !peer->ended && (!bytes_len(&peer->to_do) || wire->is_dead || wire->out_reset)) {
        end(wire);
        return true;
    }
    return moved;
}

bool world_step(int64_t *left)
{
    bool moved = false;

    if (!schedule_is_over()) {
        act(left);
        return true;
    }
    if (phase == ACTING) {
        begin_phase(DELIVERING);
        faults_clear();
        return true;
    }
    for (int i = 0; i < kernel.wire_count; i++)
        moved |= settle_wire(&kernel.wires[i]);
    if (moved)
        return true;
    if (phase != STOPPING && (*left == FN_NEVER || kernel.now + *left - phase_began > most_time)) {
        check_phase();
        return true;
    }
    require(phase != STOPPING || kernel.now - phase_began < most_time, "connections that do not end");
    return false;
}

/* Addresses: one of a few hosts, and a port that is the client's number. */
struct sockaddr_storage world_address(int id, int domain)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)domain};
    struct sockaddr_in *const ipv4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *const ipv6 = (struct sockaddr_in6 *)&address;
    const uint16_t port = htons((uint16_t)(id < 0 ? 80 : 10000 + id));
    const uint8_t host = (uint8_t)(id < 0 ? 1 : 10 + id % 4);

    if (domain == AF_INET) {
        ipv4->sin_port = port;
        ipv4->sin_addr.s_addr = htonl(0x7f000000u + host);
    } else if (domain == AF_INET6) {
        ipv6->sin6_port = port;
        if (id % 3 == 2) /* mapped */
            memcpy(ipv6->sin6_addr.s6_addr + 10, "\xff\xff\x7f\0\0", 5);
        else
            ipv6->sin6_addr.s6_addr[0] = 0x20;
        ipv6->sin6_addr.s6_addr[15] = host;
    }
    return address;
}

void world_join(void)
{
    struct wire *const client = wire_new(AF_INET), *const upstream = wire_new(AF_INET);

    upstream->is_up = true;
    peers[client->id].proxied = peers[upstream->id].proxied = true;
    const int first = wire_open(client), second = wire_open(upstream);
    fn_relay_join(world.relays[0], world.rules[0], first, second);
}

void world_begin(void)
{
    peers_begin();
    memset(asks, 0, sizeof asks);
    phase = ACTING;
}

/* What ended without a reset has passed whole. */
static void check_whole(const struct wire *wire)
{
    const struct peer *const peer = &peers[wire->id];
    const struct peer *const other = peer->other >= 0 ? &peers[peer->other] : NULL;

    if (world.traffic != PLAIN || !wire->out_ended || wire->out_reset || peer->reset || wire->is_dead || !other)
        return;
    require(other->ended, "an end that nobody sent");
    require(other->strange || peer->got == other->sent.end, "a stream that ends too early");
}

void world_end(void)
{
    for (int i = 0; i < kernel.wire_count; i++) {
        struct wire *const wire = &kernel.wires[i];
        if (is_usable(wire) && !wire->out_reset)
            while (peer_read(wire, 65536))
                ;
        check_whole(wire);
    }
    peers_end();
}
