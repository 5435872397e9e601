/* Loads of HTTP: requests that fit a segment, and long responses. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t write_request(const struct load *load, char out[HEAD])
{
    return (size_t)snprintf(out, HEAD,
                            "GET /index.html HTTP/1.1\r\nHost: localhost:%u\r\nUser-Agent: load/1\r\n"
                            "Accept: */*\r\n\r\n",
                            load->relay_port);
}

/* The response's body is the Host that came, MESSAGE bytes of it. */
static size_t answer_request(char *message, size_t length, char response[HEAD])
{
    char *host, *end;

    message[length] = '\0';
    host = strcasestr(message, "\r\nhost:");
    if (length < 4 || memcmp(message + length - 4, "\r\n\r\n", 4) != 0 || !host)
        fail("the server received no whole request: %s", message);
    host += strlen("\r\nhost:");
    host += strspn(host, " ");
    end = strchr(host, '\r');
    *end = '\0';
    return (size_t)snprintf(response, HEAD, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%-*.*s", MESSAGE, MESSAGE,
                            MESSAGE, host);
}

static const char *find_body(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    return end ? end + strlen("\r\n\r\n") : NULL;
}

/* The Host that is to arrive. */
static void write_body(const struct load *load, char out[MESSAGE + 1])
{
    snprintf(out, MESSAGE + 1, "%-*s", MESSAGE, load->host);
}

const struct messages http_messages = {write_request, answer_request, find_body, write_body};

/* ---- Long responses ---- */

static void serve_responses(struct load *load, int fd)
{
    char head[HEAD], request[HEAD];
    const int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", load->bytes);
    ssize_t sent;

    while (recv(fd, request, sizeof request, 0) > 0) {
        sent = send(fd, head, (size_t)length, MSG_NOSIGNAL | MSG_MORE);
        for (size_t at = 0; at < load->bytes && sent > 0; at += (size_t)sent)
            sent = send_some(load, fd, at, least(CHUNK, load->bytes - at));
    }
}

/* One response: the head to its end, then the body. */
static void receive_response(struct load *load, int fd, char *buffer)
{
    size_t length = 0, received;
    ssize_t more;
    char *body;

    do {
        more = recv(fd, buffer + length, HEAD - 1 - length, 0);
        must(more > 0, "recv of a head");
        length += (size_t)more;
        buffer[length] = '\0';
    } while (!(body = strstr(buffer, "\r\n\r\n")));
    body += 4;
    received = length - (size_t)(body - buffer);
    if (load->check && !is_pattern(load, 0, body, received))
        fail("wrong bytes at the start");
    while (received < load->bytes) {
        more = recv(fd, buffer, least(CHUNK, load->bytes - received), 0);
        must(more > 0, "recv of a body");
        if (load->check && !is_pattern(load, received, buffer, (size_t)more))
            fail("wrong bytes after %zu", received);
        received += (size_t)more;
    }
}

static void *fetch(void *argument)
{
    struct load *load = argument;
    const double end = now() + load->seconds;
    char *buffer = new_buffer();
    char request[HEAD];
    const size_t length = write_request(load, request);
    const int fd = connect_to(load, 0);

    do {
        must(send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length, "send");
        receive_response(load, fd, buffer);
        atomic_fetch_add(&load->received, load->bytes);
    } while (now() < end);
    free(buffer);
    return NULL;
}

void run_fetches(struct load *load)
{
    pthread_t *threads = calloc((size_t)load->connections, sizeof *threads);
    const double started = now();

    must(threads, "calloc");
    load->serve = serve_responses;
    start(NULL, serve_by_threads, load);
    for (int at = 0; at < load->connections; at++)
        start(&threads[at], fetch, load);
    for (int at = 0; at < load->connections; at++)
        pthread_join(threads[at], NULL);
    print_bulk(load, started);
    free(threads);
}
