/* The load of the pages that measure relays: clients and the server behind the relay, in one process.
 *
 *     load KIND SERVER_PORT RELAY_PORT [NAME=VALUE...]
 *
 * listens on 127.0.0.1:SERVER_PORT, connects to 127.0.0.1:RELAY_PORT (the same one: no relay between), does its
 * work, prints one JSON object, and ends when its input does: until then all connections stay open, so that
 * whoever started it can see what they cost the relay. Exit code 1, with a line on stderr: an answer was wrong.
 *
 *     bulk      streams from the server for a time: bytes, seconds. zerocopy=1: sendfile, and MSG_TRUNC to receive;
 *               check=1: every byte is compared. bytes=N with http=1: responses of N bytes, one after the other
 *     messages  the client asks for messages of `bytes`, one after the other, on each connection; bytes=0: a mix of
 *               1 KiB to 4 MiB: bytes, count, seconds. zerocopy and check as above
 *     pingpong  64 bytes there and back, one at a time: p50_ns, p99_ns, count. beside=N: N bulk streams meanwhile,
 *               with their bytes, seconds
 *     requests  the same from many connections at once: count, seconds. http=1: GET requests
 *     connects  connect, 64 bytes there and back, close: count, seconds
 *     duplex    both sides send up to 2 MiB at once, and end their direction when they have: planned, lost (bytes)
 *     idle      connections that have exchanged 64 bytes: count
 */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void set_option(struct load *load, const char *text)
{
    const char *value = strchr(text, '=');
    const size_t length = value ? (size_t)(value - text) : 0;

#define IS(name) (length == strlen(name) && memcmp(text, name, length) == 0)
    if (IS("seconds"))
        load->seconds = atof(value + 1);
    else if (IS("connections"))
        load->connections = atoi(value + 1);
    else if (IS("beside"))
        load->beside = atoi(value + 1);
    else if (IS("bytes"))
        load->bytes = strtoul(value + 1, NULL, 10);
    else if (IS("zerocopy"))
        load->zerocopy = atoi(value + 1);
    else if (IS("check"))
        load->check = atoi(value + 1);
    else if (IS("http"))
        load->messages = atoi(value + 1) ? &http_messages : &plain_messages;
    else if (IS("host"))
        load->host = value + 1;
    else
        fail("load: no option %s", text);
#undef IS
}

static void run(struct load *load, const char *kind)
{
    if (strcmp(kind, "bulk") == 0)
        load->messages == &http_messages ? run_fetches(load) : run_streams(load);
    else if (strcmp(kind, "messages") == 0)
        run_messages(load);
    else if (strcmp(kind, "pingpong") == 0)
        run_pingpong(load);
    else if (strcmp(kind, "requests") == 0)
        run_requests(load);
    else if (strcmp(kind, "connects") == 0)
        run_connects(load);
    else if (strcmp(kind, "duplex") == 0)
        run_duplex(load);
    else if (strcmp(kind, "idle") == 0)
        run_idle(load);
    else
        fail("load: no kind %s", kind);
}

static _Noreturn void *give_up(void *argument)
{
    const struct load *load = argument;

    usleep((useconds_t)((load->seconds + GRACE) * 1e6));
    fail("stalled");
}

int main(int count, char **arguments)
{
    struct load load = {.seconds = 0.25, .connections = 1, .host = "", .messages = &plain_messages};

    if (count < 4)
        fail("usage: load KIND SERVER_PORT RELAY_PORT [NAME=VALUE...]");
    for (int at = 4; at < count; at++)
        set_option(&load, arguments[at]);
    load.relay_port = (uint16_t)atoi(arguments[3]);
    load.listener = listen_at((uint16_t)atoi(arguments[2]));
    make_pattern(&load);
    start(NULL, give_up, &load);
    run(&load, arguments[1]);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    _exit(0); /* not exit: threads of the server still run */
}
