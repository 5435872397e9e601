/*
 * What the files of the relay share: the relay itself, its connections and their two sides.
 *
 * A connection has two sides, `down` (the client's) and `up` (the upstream's). What is read from one is sent to
 * the other at once; only what the kernel would not take is kept, in a tail or in a pipe, and until that
 * is gone nothing more is read. Each direction ends by itself (half-close). A side that fails is
 * *broken*: what it sent before is still delivered, then the other side is reset.
 *
 * epoll reports a side once, when something changed (edge-triggered): `readable` and `writable` remember
 * it until the kernel returns EAGAIN. A phase's `run` does all that these flags allow.
 *
 * No function refuses, closes or frees a connection: fn_connection_refuse(), _close() and _abort() only mark it
 * (FN_TO_REFUSE, FN_ENDED) and put it into a queue of the relay. The `run` of these does the rest when the handler
 * or timer that was running has returned, so that a caller may use the connection after any call. Nothing is
 * read from or sent to a marked connection. A side that fails is only marked likewise (`broken`).
 *
 * What lists or counts each object, and the one function that removes it from there before its memory is used again:
 *
 *   connection      a queue                              queue.c: only what is taken out is run, and so freed
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

/* One read. */
#define FN_BUFFER 131072
/* Bytes in large pieces after which a stream is spliced. */
#define FN_SPLICE_AFTER 524288
/* What one direction may move before others have their turn. */
#define FN_TURN 262144
/* Time that what was sent before a reset may take to be acknowledged before the reset is passed on. */
#define FN_RESET_GRACE (2 * FN_SECOND)
#define FN_RESET_POLL (10 * FN_MILLISECOND)
/* Time that a client which was refused has to read why, once that is sent. */
#define FN_LINGER (2 * FN_SECOND)

/* What epoll reports of a side. */
#define FN_EDGES (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET)

/* What the kernel did not take of what was read. */
struct fn_tail {
    size_t start, end;
    char bytes[];
};

struct fn_side {
    struct fn_handler handler;
    int fd;
    bool is_up : 1;
    bool is_tcp : 1;
    bool reading : 1;  /* its stream has not ended */
    bool shut : 1;     /* ours to it has: FIN was sent */
    bool broken : 1;   /* it failed: nothing can be sent to it any more, and what is unsent is lost */
    bool readable : 1;
    bool writable : 1;
    bool failed : 1;   /* epoll has reported an error of it */
    bool final : 1;    /* its end has come: a short read does not mean that there is no more */
    bool no_splice : 1;
    uint32_t large;    /* bytes read from it in large pieces, less what small ones count against them */
    uint32_t streak;   /* bytes read from it since the other side sent anything */
    struct fn_pipe *pipe; /* what is in it waits to be sent to this side, */
    struct fn_tail *tail; /* and then this */
    uint64_t sent;        /* to it */
};

/* The phases of a connection's life, each with a table of its own. */
enum fn_phase_name {
    FN_UNUSED,
    FN_GREETING,
    FN_CONNECTING,
    FN_RELAYING,
    FN_TO_REFUSE, /* will be FN_REFUSING, */
    FN_REFUSING,
    FN_ENDED, /* and this one freed, by their `run` */
};

struct fn_connection;

/* What is done in a phase, or NULL. */
struct fn_phase {
    /* epoll reported these events of a side, whose flags are set. */
    void (*on_event)(struct fn_connection *connection, struct fn_side *side, uint32_t events);
    /* `due` has come. */
    void (*on_time)(struct fn_connection *connection, int64_t now);
    int64_t (*due)(const struct fn_connection *connection);
    /* Its turn in a queue has come. */
    void (*run)(struct fn_connection *connection);
    /* Gives back what only this phase needs. */
    void (*leave)(struct fn_connection *connection);
};

/* What only some connections have. */
struct fn_extra {
    struct fn_http *http;
    int64_t head_due; /* when the head that is awaited must have come, */
    int64_t next_due; /* or must have begun */
    bool heard;       /* the client has sent something */
    struct fn_bucket bucket;
    int64_t resumes; /* when the rates let more pass, */
    bool down_first; /* and whether what the client sends is next */
    union fn_client destination; /* by a PROXY header */
    int status; /* of the refusal, */
    const char *reason; /* and its text, which stays valid */
};

struct fn_connection {
    struct fn_side down, up;
    struct fn_lane *lane;
    struct fn_upstream *upstream;
    struct fn_connecting *connecting;
    struct fn_extra *extra;
    struct fn_connection *queued; /* the next in one of the relay's queues */
    struct fn_connection *next;   /* of the bulk ones */
    struct fn_timer timer;
    int64_t opened;
    int64_t last; /* when something came, or the present phase began */
    uint64_t number;
    union fn_client client;
    uint32_t mark;    /* what had been moved when that was looked at last */
    uint16_t address; /* which of the upstream's */
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
    const struct fn_phase *const *phases; /* by their names */
    int64_t spin;
    int64_t spins_until;
    struct fn_inbox *inbox;
    struct fn_handler wakes;
    struct fn_lane *lanes;
    struct fn_queue busy; /* have had their turn and have more to do; some are marked since */
    struct fn_queue marked;
    struct fn_connection *bulk;
    int64_t bulk_due;
    unsigned bulk_ticks;
    struct fn_slab connections, connecting;
    struct fn_pipes pipes;
    struct fn_records records;
    int64_t next_warning; /* without another warning */
    bool closed;
    bool draining;
    bool is_short; /* a lane has a new shortage */
    bool untidy; /* there may be lanes without work */
    struct fn_shortage shortage; /* to be reported, where there is an error */
    bool reports_failure;        /* and so is a connect that failed, in a lane */
    struct fn_rule *failed;      /* which is reported now: a reference */
    char *out; /* what http rewrote, to be sent in one piece */
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

static inline bool fn_side_has_unsent(const struct fn_side *side)
{
    return side->tail || side->pipe;
}

/* FN_NEVER where the span is none. */
static inline int64_t fn_time_after(int64_t since, int64_t span)
{
    return span ? since + span : FN_NEVER;
}

/* A connection that was accepted, and a socket to connect to the upstream with (or -1). */
struct fn_accepted {
    int fd;
    int spare;
    int spare_family;
    union fn_client client;
};

/* From here on in the order of a connection's life: each calls itself, those behind it, and the ground. */

/* listener.c. fn_listener_open() takes the socket, even on failure: -errno. */
int fn_listener_open(struct fn_lane *lane, int fd);
void fn_listener_adopt(struct fn_lane *lane, const struct fn_accepted *accepted);
void fn_listeners_pause(struct fn_lane *lane);
void fn_listeners_resume(struct fn_lane *lane);
/* Pauses the listeners of the lanes that have a new shortage. */
void fn_listeners_rest(struct fn_relay *relay);
/* Closes them; flows go on for a while. */
void fn_listeners_drain(struct fn_lane *lane);
/* The same, and ends all flows. */
void fn_listeners_close(struct fn_lane *lane, enum fn_ended ended);

/* greeting.c */
extern const struct fn_phase fn_greeting_phase;
void fn_greeting_begin(struct fn_connection *connection);
/* What rates and rewriting need; false: no memory. */
bool fn_greeting_attach_limits(struct fn_connection *connection);

/* connecting.c. The first is called when a connection is accepted, which may be long before it is known who the client
 * is: it takes the socket to connect with (or -1), even on failure (no memory). */
bool fn_connecting_prepare(struct fn_connection *connection, int spare, int family);
extern const struct fn_phase fn_connecting_phase;
void fn_connecting_begin(struct fn_connection *connection);
extern const size_t fn_connecting_size;

/* relaying.c */
extern const struct fn_phase fn_relaying_phase;
void fn_relaying_begin(struct fn_connection *connection);

/* rewriting.c, of a connection with HTTP. As fn_transfer_move(). */
size_t fn_rewriting_move(struct fn_connection *connection, struct fn_side *from, size_t most);
/* Sends what is kept for either side: the time between requests begins when there is nothing more. */
void fn_rewriting_flush(struct fn_connection *connection);
/* The relay drains: ends a connection that is between requests, and any other one once it is. */
void fn_rewriting_drain(struct fn_connection *connection);
/* The time for a head, or between requests, is up. */
void fn_rewriting_late(struct fn_connection *connection);
/* The upstream's stream has ended: the client is answered where no response began, or where one ends within its head (but
 * a reset within a later one is passed on).
 * One that was answered before knows that a connection may end between two requests, and asks again. */
void fn_rewriting_upstream_ended(struct fn_connection *connection);

/* refusing.c: of one that is marked, and of one that was answered. */
extern const struct fn_phase fn_refusing_marked, fn_refusing_phase;

/* The ground. */

/* transfer.c. Each moves bytes that this side sent, `most` at most, and returns how many there were. */
size_t fn_transfer_move(struct fn_connection *connection, struct fn_side *from, size_t most);
/* -1 where the stream is not to be spliced, or there is no pipe. */
ssize_t fn_transfer_splice(struct fn_connection *connection, struct fn_side *from, size_t most);
/* Only into the relay's buffer. */
size_t fn_transfer_read(struct fn_connection *connection, struct fn_side *from, size_t most);
/* Reads what has come and forgets it. */
void fn_transfer_skip(struct fn_connection *connection, struct fn_side *from);
/* How many of so many bytes the rates let pass. */
size_t fn_transfer_room(struct fn_connection *connection, size_t most);
/* Takes so many bytes from the rates' buckets, and pauses where they are empty. */
void fn_transfer_charge(struct fn_connection *connection, size_t bytes);

/* connection.c */
struct fn_connection *fn_connection_new(struct fn_lane *lane, int fd);
/* The next one of a relay that is not freed, or NULL. */
struct fn_connection *fn_connection_next(const struct fn_relay *relay, struct fn_slab_cursor *cursor);
/* The address that the client connected to. */
void fn_connection_destination(const struct fn_connection *connection, union fn_client *out);
void fn_connection_record(const struct fn_connection *connection, struct fn_record *record);
/* Only what has taken it out of a queue calls this: it may be freed. */
void fn_connection_run(struct fn_connection *connection);
/* Its phase's time may have changed. */
void fn_connection_schedule(struct fn_connection *connection);
/* These three only mark it. A refusal sends an HTTP response instead of the upstream's, so that there must be
 * connection->extra; it closes when the client has had time to read it. */
void fn_connection_refuse(struct fn_connection *connection, enum fn_ended ended, int status, const char *reason);
void fn_connection_abort(struct fn_connection *connection, enum fn_ended ended);
/* A client that did not get all of its bytes is reset anyhow. */
void fn_connection_close(struct fn_connection *connection, bool abort);
/* Gives back what it has for connecting and relaying. */
void fn_connection_stop(struct fn_connection *connection, bool abort);
extern const struct fn_phase fn_connection_ended;

/* bulk.c. A connection that can't leave for want of memory stays: its sides are served at intervals. */
void fn_bulk_enter(struct fn_connection *connection);
void fn_bulk_leave(struct fn_connection *connection);
/* Of one whose sides are to be closed. */
void fn_bulk_remove(struct fn_connection *connection);
void fn_bulk_serve(struct fn_relay *relay);

/* side.c */
int fn_side_open(struct fn_connection *connection, struct fn_side *side, int fd);
void fn_side_drop(struct fn_connection *connection, struct fn_side *side, bool abort);
void fn_side_break(struct fn_side *side);
/* Sends FIN. */
void fn_side_shut(struct fn_side *side);
/* What the kernel does not take is kept, and sent by fn_side_flush() later. */
void fn_side_send(struct fn_side *side, const char *data, size_t len);
void fn_side_flush(struct fn_side *side);
void fn_side_discard(struct fn_side *side);

/* queue.c. A connection that is in a queue already stays there. */
void fn_queue_init(struct fn_queue *queue);
void fn_queue_append(struct fn_queue *queue, struct fn_connection *connection);
struct fn_connection *fn_queue_take(struct fn_queue *queue);

/* sockets.c: a rule's options of TCP sockets. What is accepted inherits all of it but the congestion control. Where
 * the kernel refuses, as for a Unix socket, that is no failure. */
void fn_socket_set_congestion(int fd, const struct fn_rule *rule);
void fn_socket_set_timeouts(int fd, const struct fn_rule *rule);
void fn_socket_prepare_listener(int fd, const struct fn_rule *rule);
/* As recv(2) and send(2), but again where a signal came first: whoever sees nothing come or go waits for an event. */
ssize_t fn_socket_receive(int fd, void *data, size_t len, int flags);
ssize_t fn_socket_send(int fd, const void *data, size_t len);
/* Lets close(2) reset it, whatever it still holds. */
void fn_socket_abort(int fd);

#endif
