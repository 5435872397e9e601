#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/proxy.h"
#include "world.h"

#define PATTERN 65521

struct peer peers[MOST_WIRES];

static uint8_t pattern[2 * PATTERN];

void peers_begin(void)
{
    for (size_t i = 0; i < PATTERN; i++)
        pattern[i] = pattern[i + PATTERN] = (uint8_t)(i ^ i >> 8 ^ i * 7 >> 3);
    memset(peers, 0, sizeof peers);
    for (int i = 0; i < MOST_WIRES; i++)
        peers[i].other = -1;
}

void peers_end(void)
{
    for (int i = 0; i < MOST_WIRES; i++) {
        free(peers[i].sent.data);
        free(peers[i].to_do.data);
    }
}

/* Comparing */

static void compare_answer(struct peer *peer, const uint8_t *data, size_t len)
{
    static const char start[] = "HTTP/1.1 ";
    const size_t most = len < sizeof start - 1 ? len : sizeof start - 1;

    /* It may have begun like the response in whose place it is. */
    require(world.traffic == HTTP && !kernel.wires[peer - peers].is_up, "a byte that nobody sent");
    require(peer->answered || memcmp(data, start, most) == 0 || data[0] == '4' || data[0] == '5',
            "neither a response nor an answer of the relay");
    peer->answered = true;
}

static void compare(struct peer *peer, const uint8_t *data, size_t len)
{
    const struct bytes *const sent = &peers[peer->other].sent;
    size_t same = 0;

    if (!peer->answered) {
        const size_t most = sent->end - peer->got < len ? sent->end - peer->got : len;
        if (memcmp(bytes_first(sent) + peer->got, data, most) == 0)
            same = most;
        else
            while (sent->data[peer->got + same] == data[same])
                same++;
        peer->got += same;
    }
    if (same < len)
        compare_answer(peer, data + same, len - same);
}

static int hexadecimal(const char *text)
{
    char digits[3] = {text[0], text[1]};

    return (int)strtol(digits, NULL, 16);
}

/* Whose bytes these are: a number, -1 where it is not known yet, -2 where they are the relay's own. */
static int whose(bool is_up, const char *head, size_t len)
{
    if (world.traffic == PLAIN) {
        require(len < 1 || head[0] == (is_up ? 'C' : 'U'), "a byte that nobody sent");
        return len < 2 ? -1 : (uint8_t)head[1];
    }
    if (is_up) {
        const char *const path = memchr(head, '/', len);
        return path && path + 3 <= head + len ? hexadecimal(path + 1) : -1;
    }
    if (len < 16)
        return -1;
    if (head[13] == 'U')
        return hexadecimal(head + 14);
    require(head[9] == '4' || head[9] == '5', "an unknown response");
    return -2;
}

static bool skip_proxy(struct peer *peer)
{
    struct fn_proxy proxy;

    if (!world.send_proxy || peer->proxied)
        return true;
    const ssize_t size = fn_proxy_parse((uint8_t *)peer->head, peer->head_len, &proxy);
    require(size >= 0 && (size == 0 || proxy.version == world.send_proxy), "a PROXY header");
    if (size == 0)
        return false;
    peer->proxied = true;
    peer->head_len -= (size_t)size;
    memmove(peer->head, peer->head + size, peer->head_len);
    return true;
}

static void identify(struct wire *wire, struct peer *peer)
{
    if (wire->is_up && !skip_proxy(peer))
        return;
    const int other = whose(wire->is_up, peer->head, peer->head_len);
    if (other == -1)
        return;
    peer->identified = true;
    peer->answered = other == -2;
    if (peer->answered)
        return;
    require(other < kernel.wire_count && kernel.wires[other].is_up != wire->is_up, "bytes of nobody");
    require(peer->other < 0 || peer->other == other, "bytes of another connection");
    require(peers[other].other < 0 || peers[other].other == wire->id, "bytes of another connection");
    peer->other = other;
    peers[other].other = wire->id;
    compare(peer, (const uint8_t *)peer->head, peer->head_len);
}

static void got(struct wire *wire, const uint8_t *data, size_t len)
{
    struct peer *const peer = &peers[wire->id];

    if (peer->answered)
        return;
    if (peer->identified) {
        compare(peer, data, len);
        return;
    }
    require(peer->head_len + len <= PEER_HEAD, "bytes of nobody known");
    memcpy(peer->head + peer->head_len, data, len);
    peer->head_len += len;
    identify(wire, peer);
}

size_t peer_read(struct wire *wire, size_t most)
{
    static uint8_t data[65536];
    struct peer *const peer = &peers[wire->id];
    size_t n;

    /* Few at first: who the other one is must fit into the head. */
    if (!peer->identified && most > 512)
        most = 512 - (peer->head_len < 512 ? peer->head_len : 511);
    n = wire_read(wire, data, most < sizeof data ? most : sizeof data);
    if (n)
        got(wire, data, n);
    return n;
}

/* Writing */

static void put_text(struct peer *peer, const char *text, bool is_sent)
{
    bytes_add(&peer->to_do, text, strlen(text));
    if (is_sent)
        bytes_add(&peer->sent, text, strlen(text));
}

static void put_pattern(struct peer *peer, size_t len)
{
    for (size_t done = 0, n; done < len; done += n) {
        n = len - done < PATTERN ? len - done : PATTERN;
        bytes_add(&peer->to_do, pattern + (peer->pattern + done) % PATTERN, n);
        if (!peer->strange)
            bytes_add(&peer->sent, pattern + (peer->pattern + done) % PATTERN, n);
    }
    peer->pattern += len;
}

static size_t a_length(void)
{
    static const size_t lengths[] = {1, 7, 1460, 20000, 131072, 300000, 300000, 300000};

    return lengths[choose(8)];
}

static void put_request(struct peer *peer, int id)
{
    char text[200], sent[200];
    static const char *const methods[] = {"GET", "HEAD", "POST", "POST", "POST", "GET", "GET", "CONNECT"};
    static const char *const fields[] = {
        "", "", "Content-Length: 300\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 200000\r\n",
        "Upgrade: x\r\nConnection: upgrade\r\n", "Host: another\r\n", "",
    };
    static const size_t bodies[] = {0, 0, 300, 0, 200000, 0, 0, 0};
    const unsigned kind = choose(8);

    peer->strange |= kind >= 6;
    peer->upgraded = kind == 5;
    const char *const format = "%s /%02x HTTP/1.1\r\nHost: %s\r\n%s\r\n";
    snprintf(text, sizeof text, format, methods[kind], (unsigned)id, "localhost", fields[kind]);
    snprintf(sent, sizeof sent, format, methods[kind], (unsigned)id, "up.example", fields[kind]);
    put_text(peer, text, false);
    if (!peer->strange)
        bytes_add(&peer->sent, sent, strlen(sent));
    if (kind == 3)
        put_text(peer, choose(4) == 3 ? "zz\r\n" : "4\r\nabcd\r\n0\r\n\r\n", !peer->strange);
    put_pattern(peer, bodies[kind]);
}

static void put_response(struct peer *peer, int id)
{
    static const struct {
        const char *head, *fields;
        size_t body;
    } responses[] = {
        {"HTTP/1.1 200 U%02x\r\n%s\r\n", "Content-Length: 5\r\n", 5},
        {"HTTP/1.1 200 U%02x\r\n%s\r\n", "Content-Length: 300000\r\n", 300000},
        {"HTTP/1.1 200 U%02x\r\n%s\r\n4\r\nabcd\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n", 0},
        {"HTTP/1.1 200 U%02x\r\n%s\r\n", "", 1000},
        {"HTTP/1.1 204 U%02x\r\n%s\r\n", "", 0},
        {"HTTP/1.1 101 U%02x\r\n%s\r\n", "Upgrade: x\r\nConnection: upgrade\r\n", 0},
        {"HTTP/1.1 100 U%02x\r\n%s\r\n", "", 0},
        {"HTTP/1.1 200 U%02x\r\n%s\r\n", "Content-Length: x\r\n", 0},
        {"garbage %02x %s\r\n\r\n", "", 0},
    };
    const unsigned kind = choose(9);
    char text[200];

    peer->upgraded = kind == 5;
    snprintf(text, sizeof text, responses[kind].head, (unsigned)id, responses[kind].fields);
    put_text(peer, text, true);
    put_pattern(peer, responses[kind].body);
}

static void put_proxy(struct peer *peer, int id)
{
    static const char *const headers[] = {
        "PROXY TCP4 192.0.2.1 192.0.2.2 50000 80\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n",
        "PROXY TCP4 x\r\n", "PROX",
    };
    uint8_t binary[FN_PROXY_MAX];
    const unsigned kind = choose(7);

    peer->proxied = true;
    if (kind < 5) {
        put_text(peer, headers[kind], false);
    } else if (kind == 5) {
        const struct sockaddr_storage from = world_address(id, AF_INET), to = world_address(-1, AF_INET);
        const size_t len = fn_proxy_build(2, (const struct sockaddr *)&from, (const struct sockaddr *)&to, binary);
        bytes_add(&peer->to_do, binary, len);
    }
    /* Else none: it is denied. */
}

void peer_put(struct wire *wire, struct peer *peer)
{
    if (!wire->is_up && world.trusts_proxy && !peer->proxied) {
        put_proxy(peer, wire->id);
    } else if (world.traffic == HTTP && peer->upgraded) {
        put_pattern(peer, a_length());
    } else if (world.traffic == HTTP) {
        if (wire->is_up)
            put_response(peer, wire->id);
        else
            put_request(peer, wire->id);
    } else {
        const char tag[2] = {wire->is_up ? 'U' : 'C', (char)wire->id};
        if (!peer->began) {
            bytes_add(&peer->to_do, tag, 2);
            bytes_add(&peer->sent, tag, 2);
        }
        put_pattern(peer, a_length());
        peer->began = true;
    }
}

size_t peer_write(struct wire *wire, struct peer *peer, size_t most)
{
    const size_t len = bytes_len(&peer->to_do);
    const size_t n = wire_write(wire, bytes_first(&peer->to_do), len < most ? len : most);

    peer->to_do.start += n;
    return n;
}
