/* What the loads share. ground.c: connections, threads, and bytes of which each place has its own; many.c: requests of many
 * connections at once. relay.c, messages.c and http.c are the loads, load.c has the command line. */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    MESSAGE = 64,
    SEND = 128 * 1024,
    CHUNK = 256 * 1024,
    PERIOD = 262139, /* a prime: a page or a buffer that is lost or doubled shifts what follows */
    DUPLEX_MOST = 2 * 1024 * 1024,
    CLIENT_ADDRESSES = 8, /* 127.0.0.2 and on, or the rate of connections would be that of reusing ports */
    EVENTS = 256,
    HEAD = 2048,
    STREAMS = 256, /* descriptors */
    PINGS = 1 << 20,
    ARRIVAL = 1, /* seconds after the clients' end in which what they sent arrives, or is lost */
    GRACE = 10 /* seconds after which a run that has not ended is stalled */
};

struct load;

/* What many connections ask at once, and what is answered. */
struct messages {
    size_t (*write_request)(const struct load *load, char out[HEAD]);
    size_t (*answer)(char *request, size_t length, char out[HEAD]);
    /* NULL: more of it is to come; it ends with MESSAGE bytes. */
    const char *(*find_body)(const char *answer);
    void (*write_body)(const struct load *load, char out[MESSAGE + 1]);
};

struct load {
    int listener;
    uint16_t relay_port;
    double seconds;
    int connections;
    int beside;
    bool zerocopy;
    bool check;
    size_t bytes;
    const char *host; /* what a request must have when it arrives */
    const struct messages *messages;
    void (*serve)(struct load *load, int fd); /* a connection that has a thread of its own, for the server */
    const char *pattern; /* PERIOD + CHUNK bytes; the stream's byte at n is the pattern's at n % PERIOD */
    int pattern_file;
    atomic_size_t received;
    atomic_size_t planned;
    atomic_int arrived; /* duplex connections whose server side has ended */
};

/* ground.c */

_Noreturn void fail(const char *format, ...);
/* Fails with errno's words unless all is well. */
void must(bool is_well, const char *what);
double now(void);
size_t least(size_t one, size_t other);
void switch_on(int fd, int level, int option);
int listen_at(uint16_t port);
int connect_to(const struct load *load, unsigned number);
void watch(int epoll, int fd);
void start(pthread_t *thread, void *(*work)(void *), void *argument);
_Noreturn void *serve_by_threads(void *load);
char *new_buffer(void);
void make_pattern(struct load *load);
bool is_pattern(const struct load *load, size_t at, const char *data, size_t length);
ssize_t send_some(const struct load *load, int fd, size_t at, size_t length);
void print_bulk(struct load *load, double started);

/* many.c */

void run_requests(struct load *load);
void run_connects(struct load *load);
void run_idle(struct load *load);

/* relay.c */

extern const struct messages plain_messages;

void run_streams(struct load *load);
void run_pingpong(struct load *load);
void run_duplex(struct load *load);

/* messages.c */

void run_messages(struct load *load);

/* http.c */

extern const struct messages http_messages;

void run_fetches(struct load *load);

#endif
