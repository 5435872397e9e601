/* Connections, threads, and the stream of bytes by which a wrong one is found. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Noreturn void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

void must(bool is_well, const char *what)
{
    if (!is_well)
        fail("%s: %s", what, strerror(errno));
}

double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* ---- Connections ---- */

static struct sockaddr_in loopback(uint32_t host, uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host)};
}

void switch_on(int fd, int level, int option)
{
    must(setsockopt(fd, level, option, &(int){1}, sizeof(int)) == 0, "setsockopt");
}

int listen_at(uint16_t port)
{
    const struct sockaddr_in address = loopback(1, port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0, "socket");
    switch_on(fd, SOL_SOCKET, SO_REUSEADDR);
    must(bind(fd, (const struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(fd, SOMAXCONN) == 0, "listen");
    return fd;
}

int connect_to(const struct load *load, unsigned number)
{
    const struct sockaddr_in from = loopback(2 + number % CLIENT_ADDRESSES, 0);
    const struct sockaddr_in to = loopback(1, load->relay_port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0, "socket");
    switch_on(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT);
    must(bind(fd, (const struct sockaddr *)&from, sizeof from) == 0, "bind");
    must(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0, "connect");
    switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
    return fd;
}

void watch(int epoll, int fd)
{
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd}) == 0,
         "epoll_ctl");
}

/* ---- Threads ---- */

void start(pthread_t *thread, void *(*work)(void *), void *argument)
{
    pthread_t unwanted;

    must(pthread_create(thread ? thread : &unwanted, NULL, work, argument) == 0, "pthread_create");
    if (!thread)
        pthread_detach(unwanted);
}

struct served {
    struct load *load;
    int fd;
};

static void *serve_one(void *argument)
{
    const struct served served = *(struct served *)argument;

    free(argument);
    served.load->serve(served.load, served.fd);
    close(served.fd);
    return NULL;
}

_Noreturn void *serve_by_threads(void *argument)
{
    struct load *load = argument;
    struct served *served;

    for (;;) {
        served = malloc(sizeof *served);
        must(served, "malloc");
        served->load = load;
        served->fd = accept4(load->listener, NULL, NULL, SOCK_CLOEXEC);
        must(served->fd >= 0, "accept");
        switch_on(served->fd, IPPROTO_TCP, TCP_NODELAY);
        start(NULL, serve_one, served);
    }
}

/* ---- Bytes ---- */

char *new_buffer(void)
{
    char *buffer = malloc(CHUNK);

    must(buffer, "malloc");
    return buffer;
}

void make_pattern(struct load *load)
{
    const size_t size = PERIOD + CHUNK;
    const int file = memfd_create("pattern", MFD_CLOEXEC);
    char *bytes;
    uint32_t state = 1071;

    must(file >= 0 && ftruncate(file, (off_t)size) == 0, "memfd");
    bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    must(bytes != MAP_FAILED, "mmap");
    for (size_t at = 0; at < size; at++) {
        state = state * 1664525 + 1013904223;
        bytes[at] = at < PERIOD ? (char)(state >> 24) : bytes[at - PERIOD];
    }
    load->pattern = bytes;
    load->pattern_file = file;
}

bool is_pattern(const struct load *load, size_t at, const char *data, size_t length)
{
    return memcmp(load->pattern + at % PERIOD, data, length) == 0;
}

ssize_t send_some(const struct load *load, int fd, size_t at, size_t length)
{
    off_t offset = (off_t)(at % PERIOD);

    if (load->zerocopy)
        return sendfile(fd, load->pattern_file, &offset, length);
    return send(fd, load->pattern + offset, length, MSG_NOSIGNAL);
}

void print_bulk(struct load *load, double started)
{
    if (load->received == 0)
        fail("nothing came");
    printf("{\"bytes\": %zu, \"seconds\": %.6f}\n", load->received, now() - started);
}
