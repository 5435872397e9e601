/*
 * Shared by the files of the relay: the relay itself, its connections and their two sides.
 *
 * A connection has two sides, `down` (the client's) and `up` (the upstream's). Bytes read from one are sent to the
 * other at once. Bytes that the kernel does not accept are kept in a tail or in a pipe, and nothing more is read
 * until they are sent. Each direction ends by itself (half-close). A side that fails is *broken*: the bytes that it
 * sent before are still delivered, then the other side is reset.
 *
 * epoll reports each change of a side once (edge-triggered). `readable` and `writable` are set then, and cleared
 * when the kernel returns EAGAIN. A phase's `run` does all that these flags allow.
 *
 * No function refuses, closes or frees a connection: fn_connection_refuse(), _close() and _abort() only mark it
 * (FN_TO_REFUSE, FN_ENDED) and put it into a queue of the relay. The `run` of these phases does the rest after the
 * current handler or timer has returned, so that a caller may use the connection after any call. Nothing is
 * read from or sent to a marked connection. A side that fails is likewise only marked (`broken`).
 *
 * The lists and counters that contain each object, and the one function that removes it from them before its memory is
 * reused:
 *
 *   connection      a queue                              queue.c: a connection is taken out before it is run and freed
 *                   bulk list, timer, slab, lane, rule,  free_connection(), connection.c
 *                   upstream, source
 *   side            epoll, pipe, tail                    fn_side_drop()
 *   fn_connecting   slab, timer, table, attempts' epoll  its `leave`, connecting.c
 *   flow            hash table, list by age, epoll,      fn_flow_end(); fn_flows_free_ended() gives it to the slab
 *                   slab, rule, upstream, source
 *   fn_udp          listener, timer, epoll               fn_udp_free()
 *   listener        lane, epoll                          fn_listeners_drain(); of datagrams, fn_listeners_close()
 *   lane            relay, rule, timer                   fn_lane_free()
 *   message         inbox                                fn_inbox_read(), fn_inbox_close()
 *   rule, upstream, table, inbox, http rewrite           counted references: the last release
 *
 * FN_CHECK()s assert all this in a debug build (-DFN_CHECKED), in which slabs are malloc(3) and free(3), too.
 */
#ifndef FN_RELAY_INTERNAL_H
#define FN_RELAY_INTERNAL_H

#include "http_head.h"
#include "relay/check.h"
#include "relay/inbox.h"
#include "relay/lane.h"
#include "relay/pipes.h"
#include "relay/records.h"
#include "relay/slab.h"

/* Bytes of one read. */
#define FN_BUFFER 262144
/* Bytes read in large pieces after which a stream is spliced. */
#define FN_SPLICE_AFTER 524288
/* Bytes that one direction may move before others have their turn. */
#define FN_TURN 262144
/* Time that a reset is delayed until the bytes sent before it are acknowledged. */
#define FN_RESET_GRACE (2 * FN_SECOND)
#define FN_RESET_POLL (10 * FN_MILLISECOND)
/* Time that a refused client has to read the response after it was sent. */
#define FN_LINGER (2 * FN_SECOND)

/* The epoll events of a side. */
#define FN_EDGES (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET)

/* Bytes that were read and that the kernel has not accepted yet. */
struct fn_tail {
    size_t start, end;
    char bytes[];
};

struct fn_side {
    struct fn_handler handler;
    int fd;
    bool is_up : 1;
    bool is_tcp : 1;
    bool reading : 1;  /* the stream from it has not ended */
    bool shut : 1;     /* the stream to it has ended: FIN was sent */
    bool broken : 1;   /* it failed: nothing can be sent to it any more, and unsent bytes are lost */
    bool readable : 1;
    bool writable : 1;
    bool failed : 1;   /* epoll has reported its error */
    bool final : 1;    /* its FIN has come: a short read does not mean that nothing is left to read */
    bool no_splice : 1;
    uint32_t large;    /* bytes read from it in large pieces, less a deduction for small ones */
    uint32_t streak;   /* bytes read from it since the other side sent anything */
    struct fn_pipe *pipe; /* its bytes are sent to this side first, */
    struct fn_tail *tail; /* and then these */
    uint64_t sent;        /* bytes sent to it */
};

/* The phases of a connection, each with its own table of functions. */
enum fn_phase_name {
    FN_UNUSED,
    FN_GREETING,
    FN_CONNECTING,
    FN_RELAYING,
    FN_TO_REFUSE, /* its `run` continues with FN_REFUSING */
    FN_REFUSING,
    FN_ENDED, /* its `run` frees the connection */
};

struct fn_connection;

/* The functions of a phase, or NULL. */
struct fn_phase {
    /* epoll reported these events of a side; its flags are already set. */
    void (*on_event)(struct fn_connection *connection, struct fn_side *side, uint32_t events);
    /* The time that `due` returned has come. */
    void (*on_time)(struct fn_connection *connection, int64_t now);
    int64_t (*due)(const struct fn_connection *connection);
    /* Its turn in a queue has come. */
    void (*run)(struct fn_connection *connection);
    /* Frees what only this phase needs. */
    void (*leave)(struct fn_connection *connection);
};

/* State that only some connections have. */
struct fn_extra {
    struct fn_http *http;
    int64_t head_due; /* latest end of the next head */
    int64_t next_due; /* latest start of the next head */
    bool heard;       /* the client has sent something */
    struct fn_bucket bucket;
    int64_t resumes; /* when the rates allow more bytes */
    bool down_first; /* the direction from the client is next */
    union fn_client destination; /* of a PROXY header */
    int status; /* HTTP status of the refusal */
    const char *reason; /* its text: a string constant */
};

struct fn_connection {
    struct fn_side down, up;
    struct fn_lane *lane;
    struct fn_upstream *upstream;
    struct fn_connecting *connecting;
    struct fn_extra *extra;
    struct fn_connection *queued; /* next in one of the relay's queues */
    struct fn_connection *next;   /* next in the bulk list */
    struct fn_timer timer;
    int64_t opened;
    int64_t last; /* when bytes last came, or the present phase began */
    uint64_t number;
    union fn_client client;
    uint32_t mark;    /* bytes moved at the last bulk tick */
    uint16_t address; /* index among the upstream's addresses */
    uint8_t phase, ended;
    bool is_queued : 1;
    bool is_bulk : 1;
    bool is_resetting : 1;
    bool is_aborted : 1; /* to be closed by a reset */
    bool is_connected : 1;
    bool has_source : 1;
};

struct fn_listener {
    struct fn_handler handler;
    struct fn_lane *lane;
    struct fn_listener *next;
    struct fn_udp *udp; /* of a datagram socket */
    int fd;
};

/* Connections, first in, first out. */
struct fn_queue {
    struct fn_connection *first, **end;
};

struct fn_relay {
    struct fn_loop loop;
    const struct fn_phase *const *phases; /* indexed by enum fn_phase_name */
    int64_t spin;
    int64_t spins_until;
    int64_t last_short;    /* when a short message passed, */
    uint64_t short_number; /* and of which connection */
    int score;             /* if positive, the relay polls briefly before it sleeps */
    struct fn_inbox *inbox;
    struct fn_handler wakes;
    struct fn_lane *lanes;
    struct fn_queue busy; /* have more to do after their turn; some may be marked since */
    struct fn_queue marked;
    struct fn_connection *bulk;
    int64_t bulk_due;
    int64_t beside; /* when a connection that is not bulk last had an event */
    unsigned bulk_ticks;
    struct fn_slab connections, connecting;
    struct fn_pipes pipes;
    struct fn_records records;
    int64_t next_warning; /* earliest time of the next shortage warning */
    bool closed;
    bool draining;
    bool is_short; /* a lane has a new shortage */
    bool untidy; /* there may be lanes without work */
    struct fn_shortage shortage; /* to be reported, if it has an error */
    bool reports_failure;        /* a lane has a failed connect to report */
    struct fn_rule *failed;      /* the rule whose failed connect is reported now: a reference */
    char *out; /* rewritten HTTP, to be sent by one call */
    size_t out_len;
    char buffer[FN_BUFFER];
};

static inline struct fn_connection *fn_connection_of(struct fn_side *side)
{
    return side->is_up ? fn_container(side, struct fn_connection, up)
                       : fn_container(side, struct fn_connection, down);
}

static inline struct fn_side *fn_peer(struct fn_side *side)
{
    struct fn_connection *const connection = fn_connection_of(side);

    return side->is_up ? &connection->down : &connection->up;
}

/* Bytes in the kernel's send queue. */
bool fn_side_has_unacknowledged(const struct fn_side *side);

static inline bool fn_side_has_unsent(const struct fn_side *side)
{
    return side->tail || side->pipe;
}

/* FN_NEVER if `span` is 0. */
static inline int64_t fn_time_after(int64_t since, int64_t span)
{
    return span ? since + span : FN_NEVER;
}

/* An accepted connection, and a socket for the connect to its upstream (or -1). */
struct fn_accepted {
    int fd;
    int spare;
    int spare_family;
    union fn_client client;
};

/* In the order of a connection's life: each file calls only later ones and those under "Base". */

/* listener.c. fn_listener_open() takes ownership of the socket, even on failure (-errno). */
int fn_listener_open(struct fn_lane *lane, int fd);
void fn_listener_adopt(struct fn_lane *lane, const struct fn_accepted *accepted);
void fn_listeners_pause(struct fn_lane *lane);
void fn_listeners_resume(struct fn_lane *lane);
/* Pauses the listeners of the lanes that have a new shortage. */
void fn_listeners_rest(struct fn_relay *relay);
/* Closes the listeners; flows continue for a while. */
void fn_listeners_drain(struct fn_lane *lane);
/* The same, and ends all flows. */
void fn_listeners_close(struct fn_lane *lane, enum fn_ended ended);

/* greeting.c */
extern const struct fn_phase fn_greeting_phase;
void fn_greeting_begin(struct fn_connection *connection);
/* Allocates the state for rates and rewriting; false: no memory. */
bool fn_greeting_attach_limits(struct fn_connection *connection);

/* connecting.c. fn_connecting_prepare() is called on accept, maybe long before a PROXY header names the client. It
 * takes ownership of the socket for the connect (or -1), even on failure (no memory). */
bool fn_connecting_prepare(struct fn_connection *connection, int spare, int family);
extern const struct fn_phase fn_connecting_phase;
void fn_connecting_begin(struct fn_connection *connection);
extern const size_t fn_connecting_size;

/* relaying.c */
extern const struct fn_phase fn_relaying_phase;
void fn_relaying_begin(struct fn_connection *connection);

/* rewriting.c, for connections with HTTP. Like fn_transfer_move(). */
size_t fn_rewriting_move(struct fn_connection *connection, struct fn_side *from, size_t most);
/* Sends the bytes kept for either side. When none are left, the time between requests begins. */
void fn_rewriting_flush(struct fn_connection *connection);
/* The relay drains: ends the connection between two requests, now or later. */
void fn_rewriting_drain(struct fn_connection *connection);
/* The time for a head, or between requests, is over. */
void fn_rewriting_late(struct fn_connection *connection);
/* The upstream's stream has ended. If no response began, or one ends within its head, the client is sent a refusal; but
 * a reset within a later response's head is passed on. A client that has had a response expects that a connection may
 * end between two requests, and repeats its request. */
void fn_rewriting_upstream_ended(struct fn_connection *connection);

/* refusing.c: the phases FN_TO_REFUSE and FN_REFUSING. */
extern const struct fn_phase fn_refusing_marked, fn_refusing_phase;

/* Base. */

/* transfer.c. Each moves at most `most` bytes that this side sent, and returns their number. */
size_t fn_transfer_move(struct fn_connection *connection, struct fn_side *from, size_t most);
/* -1 if the stream is not to be spliced, or there is no pipe. */
ssize_t fn_transfer_splice(struct fn_connection *connection, struct fn_side *from, size_t most);
/* Only into the relay's buffer. */
size_t fn_transfer_read(struct fn_connection *connection, struct fn_side *from, size_t most);
/* Reads and discards the bytes that have come. */
void fn_transfer_skip(struct fn_connection *connection, struct fn_side *from);
/* The number of bytes, at most `most`, that the rates allow. */
size_t fn_transfer_room(struct fn_connection *connection, size_t most);
/* Takes these bytes from the rates' buckets, and pauses the connection if one is empty. */
void fn_transfer_charge(struct fn_connection *connection, size_t bytes);

/* connection.c */
struct fn_connection *fn_connection_new(struct fn_lane *lane, int fd);
/* The next connection of a relay that is not freed, or NULL. */
struct fn_connection *fn_connection_next(const struct fn_relay *relay, struct fn_slab_cursor *cursor);
/* The address that the client connected to. */
void fn_connection_destination(const struct fn_connection *connection, union fn_client *out);
void fn_connection_record(const struct fn_connection *connection, struct fn_record *record);
/* Call only after taking the connection out of a queue: it may be freed. */
void fn_connection_run(struct fn_connection *connection);
/* Call when the time that the phase's `due` returns may have changed. */
void fn_connection_schedule(struct fn_connection *connection);
/* These four only mark it. A refusal sends an HTTP response in place of the upstream's (nothing for status 0); it needs
 * connection->extra, and closes when the client has had time to read the response. */
void fn_connection_refuse(struct fn_connection *connection, enum fn_ended ended, int status, const char *reason);
void fn_connection_abort(struct fn_connection *connection, enum fn_ended ended);
/* Closes it between two requests. A client that may be sending the next one gets time to read the last response: a
 * reset for unread data would destroy that (RFC 9112 9.6). */
void fn_connection_leave(struct fn_connection *connection);
/* Even without `abort`, a client that did not get all of its bytes is reset. */
void fn_connection_close(struct fn_connection *connection, bool abort);
/* Frees what it has for connecting and relaying. */
void fn_connection_stop(struct fn_connection *connection, bool abort);
extern const struct fn_phase fn_connection_ended;

/* bulk.c. A connection that can't leave, for lack of memory, stays: its sides are served at intervals. */
void fn_bulk_enter(struct fn_connection *connection);
void fn_bulk_leave(struct fn_connection *connection);
/* For a connection whose sides are to be closed. */
void fn_bulk_remove(struct fn_connection *connection);
void fn_bulk_serve(struct fn_relay *relay);

/* side.c */
int fn_side_open(struct fn_connection *connection, struct fn_side *side, int fd);
void fn_side_drop(struct fn_connection *connection, struct fn_side *side, bool abort);
void fn_side_break(struct fn_side *side);
/* Sends FIN. */
void fn_side_shut(struct fn_side *side);
/* Bytes that the kernel does not accept are kept, and sent by fn_side_flush() later. */
void fn_side_send(struct fn_side *side, const char *data, size_t len);
void fn_side_flush(struct fn_side *side);
void fn_side_discard(struct fn_side *side);

/* queue.c. A connection that is already in a queue stays in that one. */
void fn_queue_init(struct fn_queue *queue);
void fn_queue_append(struct fn_queue *queue, struct fn_connection *connection);
struct fn_connection *fn_queue_take(struct fn_queue *queue);

/* sockets.c: a rule's options for TCP sockets. Accepted sockets inherit all of them except the congestion control. An
 * error of the kernel, as for a Unix socket, is ignored. */
void fn_socket_set_congestion(int fd, const struct fn_rule *rule);
void fn_socket_set_timeouts(int fd, const struct fn_rule *rule);
void fn_socket_prepare_listener(int fd, const struct fn_rule *rule);
/* recv(2) and send(2), repeated on EINTR: a caller that moved no bytes would wait for an event that may not come. */
ssize_t fn_socket_receive(int fd, void *data, size_t len, int flags);
ssize_t fn_socket_send(int fd, const void *data, size_t len);
/* Makes close(2) reset the connection and discard unsent bytes. */
void fn_socket_abort(int fd);

#endif
