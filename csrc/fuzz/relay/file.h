/* What the files of the kernel share: descriptors, and what watches them. */
#ifndef FN_FUZZ_FILE_H
#define FN_FUZZ_FILE_H

#include "kernel.h"

#include <sys/epoll.h>

#define FIRST_FD 2000
#define FILES 400
#define WATCHES 3

enum kind { CLOSED, LISTENER, STREAM, DATAGRAM_LISTENER, FLOW, EPOLL, EVENT, PIPE_OUT, PIPE_IN };

struct watch {
    int epoll; /* 0: none */
    uint32_t events;
    void *handler;
    bool pending;
};

struct pipe {
    struct bytes bytes;
    int ends;
};

struct file {
    enum kind kind;
    struct watch watches[WATCHES];
    struct wire *wire;
    struct pipe *pipe;
    uint64_t count; /* of an event */
    int domain, error;
    bool connected;
    int client; /* of a flow: -1 until something passed */
    int port;
    struct datagrams *replies; /* of a flow */
};

struct file *file_at(int fd); /* ends the program where it is none */
int file_new(enum kind kind); /* -1: EMFILE */
int file_number(const struct file *file);
uint32_t file_events(const struct file *file);
void file_wake(int fd);

/* Whether this call fails: then errno is set. */
bool fails(enum fault fault);

uint32_t stream_events(const struct wire *wire);
void stream_close(struct file *file);
size_t least(size_t a, size_t b);

#endif
