/*
 * A kernel for the relay alone, in the memory of a fuzzer: what csrc/relay calls of the system is linked to kernel.c
 * (ld --wrap) and answered from here. Descriptors have numbers of their own, time advances only when the fuzzer advances it, and
 * calls fail where it chooses. What csrc/relay does wrong with a descriptor ends the program: closing one twice, leaving
 * one open, or closing one that an epoll still watches.
 *
 * The other ends, clients and upstreams, are the fuzzer's: world.c moves them while the relay waits for events. One
 * thread runs it all; two relays are coroutines that change places when they wait.
 */
#ifndef FN_FUZZ_KERNEL_H
#define FN_FUZZ_KERNEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "relay.h"

#define MOST_WIRES 200
#define RELAYS 2
#define BACKLOG 64
#define DATAGRAMS 64
#define DATAGRAM_SIZE 48

_Noreturn void wrong(const char *what);
static inline void require(bool condition, const char *what)
{
    if (!condition)
        wrong(what);
}

/* The schedule: a number below n, 0 where the bytes are at their end. */
void schedule_begin(const uint8_t *data, size_t size);
unsigned choose(unsigned n);
bool schedule_is_over(void);

struct bytes {
    uint8_t *data;
    size_t start, end, room;
};

void bytes_add(struct bytes *bytes, const void *data, size_t len);
size_t bytes_len(const struct bytes *bytes);
/* Never NULL. */
const uint8_t *bytes_first(const struct bytes *bytes);

/* One stream between the relay and another end. */
enum stage { WIRE_NEW, WIRE_CONNECTING, WIRE_OPEN, WIRE_FAILED };

struct wire {
    enum stage stage;
    int domain;
    bool is_up;  /* the relay connected it */
    int fd;      /* the relay's end; -1: closed */
    /* To the relay */
    struct bytes in;
    bool in_ended, is_dead, far_closed;
    int error; /* the socket's, reported once */
    bool has_mark;
    size_t mark; /* bytes of `in` that come before the urgent one */
    /* From the relay */
    struct bytes out;
    size_t out_room;
    bool out_full, out_ended, out_reset, lingers;
    struct sockaddr_storage local, remote;
    /* The world's */
    int id;
};

struct datagram {
    size_t len;
    int client; /* its number */
    uint8_t bytes[DATAGRAM_SIZE];
};

struct datagrams {
    struct datagram list[DATAGRAMS];
    unsigned count;
};

struct kernel {
    int64_t now;
    int domain;    /* of the listeners */
    bool wildcard; /* so is the address of a datagram listener */
    int backlog[BACKLOG]; /* numbers of wires */
    unsigned waiting;
    struct datagrams requests; /* at the datagram listener */
    struct wire wires[MOST_WIRES];
    int wire_count;
    unsigned accepted;
    uint64_t moved; /* bytes, in any direction */
    uint64_t sent_up, sent_down;
    unsigned idle_calls; /* waits since something happened last */
    unsigned files; /* the most descriptors that may be open */
};

extern struct kernel kernel;

/* What fails: the next calls of a kind. */
enum fault { FAULT_MEMORY, FAULT_FILE, FAULT_WATCH, FAULT_SEND, FAULT_RECEIVE, FAULT_CONNECT, FAULT_OPTION, FAULTS };

void fault_arm(enum fault fault, unsigned after, unsigned times, int error);
void faults_clear(void);

void kernel_begin(void);
void kernel_end(void); /* every descriptor must be closed */

/* While it is on, the calls of this thread come here. */
void kernel_enter(void);
void kernel_leave(void);

int kernel_listener(int type);
struct wire *wire_new(int domain);
int wire_open(struct wire *wire); /* a connected descriptor for fn_relay_join() */

/* The far end acts. */
bool wire_arrives(struct wire *wire); /* at the listener */
size_t wire_write(struct wire *wire, const void *data, size_t len);
void wire_write_urgent(struct wire *wire);
size_t wire_read(struct wire *wire, void *data, size_t len);
void wire_end(struct wire *wire);
void wire_close(struct wire *wire);
void wire_reset(struct wire *wire);
void wire_answer(struct wire *wire, int error); /* to its connect */

/* Datagrams: flows are descriptors of the relay. */
bool datagram_send(const struct datagram *datagram);
int flow_next(int after); /* the next descriptor of a flow, or -1 */
int flow_client(int fd);  /* whose datagrams it has passed, or -1 */
bool flow_reply(int fd, const struct datagram *datagram);
void flow_fail(int fd, int error);

/* Runs this function for each relay, by turns. */
void kernel_run(void (*run)(int number), int count);

/* Implemented in world.c: called at each wait. True where something was done, *left may shrink as time passes. */
void world_turn(void);
bool world_step(int64_t *left);
struct sockaddr_storage world_address(int id, int domain);
void world_got_datagram(int client, const uint8_t *data, size_t len); /* at the client */
int world_read_datagram(int fd, const uint8_t *data, size_t len);     /* at the upstream: whose it is, or -1 */
void world_woken(int relay);

#endif
