/*
 * What the files of the relay share: the relay itself, its connections and their two sides.
 *
 * A connection has two sides, `down` (the client's) and `up` (the upstream's). What is read from one is sent to
 * the other at once; only what the kernel would not take is kept, in a tail or in a pipe, and until that
 * is gone nothing more is read. Each direction ends by itself (half-close). A side that fails is
 * *broken*: what it sent before is still delivered, then the other side is reset.
 *
 * epoll tells of a side once, when something changed (edge-triggered): `readable` and `writable` remember
 * it until the kernel says EAGAIN. fn_connection_run() does all that these flags allow.
 *
 * A connection that has ended is freed at the end of the turn only, so that whoever still has it at hand
 * can look at its state.
 */
#ifndef FN_RELAY_ENGINE_H
#define FN_RELAY_ENGINE_H

#include "http_head.h"
#include "relay/inbox.h"
#include "relay/pipes.h"
#include "relay/records.h"
#include "relay/rule.h"
#include "relay/slab.h"

/* One read. */
#define FN_BUFFER 131072
/* What one direction may move before others have their turn. */
#define FN_TURN 262144
/* Time that what was sent before a reset may take to be acknowledged before the reset is passed on. */
#define FN_RESET_GRACE (2 * FN_SECOND)
#define FN_RESET_POLL (10 * FN_MILLISECOND)
/* Time that a client which was refused has to read why. */
#define FN_LINGER (2 * FN_SECOND)

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
    bool watched : 1;
    bool reading : 1;  /* its stream has not ended */
    bool shut : 1;     /* ours to it has: FIN was sent */
    bool broken : 1;   /* it failed: nothing can be sent to it any more */
    bool readable : 1;
    bool writable : 1;
    bool final : 1;    /* its end has come: a short read does not mean that there is no more */
    bool no_splice : 1;
    uint32_t large;    /* bytes read from it in large pieces, less what small ones count against them */
    uint32_t streak;   /* bytes read from it since the other side sent anything */
    struct fn_pipe *pipe; /* what is in it waits to be sent to this side, */
    struct fn_tail *tail; /* and then this */
    uint64_t sent;        /* to it */
};

enum fn_state { FN_UNUSED, FN_GREETING, FN_CONNECTING, FN_RELAYING, FN_REFUSING, FN_ENDED };

/* What only some connections have. */
struct fn_extra {
    struct fn_http *http;
    int64_t head_due;
    struct fn_bucket bucket;
    int64_t resumes; /* when the rates let more pass */
    union fn_client reached; /* as a PROXY header said */
};

struct fn_connection {
    struct fn_side down, up;
    struct fn_lane *lane;
    struct fn_upstream *upstream;
    struct fn_connecting *connecting;
    struct fn_extra *extra;
    struct fn_connection *queued; /* the next of those that have more to do */
    struct fn_connection *next;   /* of the bulk ones, or of those that have ended */
    struct fn_timer timer;
    int64_t opened;
    int64_t last; /* when something came, or the present state began */
    uint64_t number;
    union fn_client client;
    uint32_t mark;    /* what had been moved when that was looked at last */
    uint16_t address; /* which of the upstream's */
    uint8_t state, ended;
    bool is_queued : 1;
    bool is_bulk : 1;
    bool is_resetting : 1;
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

struct fn_relay {
    struct fn_loop loop;
    int64_t spin;
    int64_t spins_until;
    struct fn_inbox *inbox;
    struct fn_handler wakes;
    struct fn_lane *lanes;
    struct fn_connection *ended;       /* to be freed when the turn ends */
    struct fn_connection *again, **again_end; /* had their turn and have more to do */
    struct fn_connection *bulk;
    int64_t bulk_due;
    unsigned bulk_ticks;
    struct fn_slab connections, connecting;
    struct fn_pipes pipes;
    struct fn_records records;
    int64_t quiet_until; /* without another warning */
    bool closed;
    bool untidy; /* there may be lanes without work */
    struct fn_shortage shortage; /* to be told, where there is an error */
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

/* lane.c: rules in a relay. One that is asked for is made where there is none (NULL: no memory), and gone
 * again by fn_lanes_tidy() where it has no listener and no connection. */
struct fn_lane *fn_lane_of(struct fn_relay *relay, struct fn_rule *rule);
void fn_lane_refresh(struct fn_lane *lane);
void fn_lane_pause(struct fn_lane *lane);
void fn_lane_resume(struct fn_lane *lane);
void fn_lane_drain(struct fn_lane *lane);
void fn_lane_unlisten(struct fn_lane *lane);
void fn_lanes_tidy(struct fn_relay *relay);
void fn_lane_free(struct fn_lane *lane);

/* accept.c */
int fn_lane_listen(struct fn_lane *lane, int fd);
void fn_lane_adopt(struct fn_lane *lane, int fd, const union fn_client *client);
void fn_lane_greet(struct fn_connection *connection);
/* The address that the client connected to. */
void fn_reached(const struct fn_connection *connection, union fn_client *out);

/* connect.c */
void fn_connect(struct fn_connection *connection);
void fn_connect_event(struct fn_connection *connection, struct fn_side *side, uint32_t events);
void fn_connect_stop(struct fn_connection *connection);
void fn_set_congestion(int fd, const struct fn_rule *rule);
extern const size_t fn_connecting_size;

/* connection.c */
struct fn_connection *fn_connection_new(struct fn_lane *lane, int fd);
int fn_side_open(struct fn_connection *connection, struct fn_side *side, int fd);
void fn_side_drop(struct fn_connection *connection, struct fn_side *side, bool abort);
void fn_connection_relay(struct fn_connection *connection);
void fn_connection_run(struct fn_connection *connection);
void fn_connection_schedule(struct fn_connection *connection);
void fn_connection_refuse(struct fn_connection *connection, enum fn_ended ended, int status, const char *reason);
void fn_connection_abort(struct fn_connection *connection, enum fn_ended ended);
void fn_connection_close(struct fn_connection *connection, bool abort);
/* The next one of a relay that is open, or NULL. */
struct fn_connection *fn_connection_next(const struct fn_relay *relay, struct fn_slab_cursor *cursor);
void fn_connection_record(const struct fn_connection *connection, struct fn_record *record);
void fn_side_break(struct fn_side *side);

/* transfer.c */
void fn_transfer(struct fn_connection *connection, struct fn_side *from);
/* It has more to do, but others first. */
void fn_connection_again(struct fn_connection *connection);
void fn_flush(struct fn_side *side);
void fn_send(struct fn_side *side, const char *data, size_t len);
void fn_discard(struct fn_side *side);

/* bulk.c */
void fn_bulk_enter(struct fn_connection *connection);
void fn_bulk_leave(struct fn_connection *connection);
void fn_bulk_serve(struct fn_relay *relay);

/* http.c */
void fn_http_relay(struct fn_connection *connection, struct fn_side *from, const char *data, size_t len);
int64_t fn_http_passes(const struct fn_http *http, const struct fn_side *from);
void fn_http_passed(struct fn_connection *connection, struct fn_side *from, size_t n);
void fn_http_late(struct fn_connection *connection);

#endif
