/*
 * The base of the relay: one epoll loop, its clock and its timers (timers.h). One thread runs a loop; call these
 * functions in that thread only.
 *
 * An object that waits for a descriptor embeds a struct fn_handler, which is called with epoll's events of it
 * (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP ...). Once fn_loop_unwatch() has returned, the handler is
 * not called again, not even for an event that was fetched already: it may be freed at once.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC. No locks here, and no allocation.
 */
#ifndef FN_RELAY_LOOP_H
#define FN_RELAY_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "relay/timers.h"

#define FN_SECOND INT64_C(1000000000)
#define FN_MILLISECOND INT64_C(1000000)
#define FN_NEVER INT64_MAX

/* The struct that holds this member. */
#define fn_container(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

struct fn_handler {
    void (*on_event)(struct fn_handler *handler, uint32_t events);
#ifdef FN_CHECKED
    bool watched;
#endif
};

#define FN_LOOP_EVENTS 128

struct fn_loop {
    int epoll;
    int bulk;    /* the epoll of busy streams, served at intervals; see bulk.c */
    int64_t now; /* when this turn began */
    int handled, fetched;
    struct epoll_event events[FN_LOOP_EVENTS];
    struct fn_wheel wheel;
};

/* 0 or -errno. Call fn_loop_close() even if fn_loop_init() failed. */
int fn_loop_init(struct fn_loop *loop);
void fn_loop_close(struct fn_loop *loop);

int64_t fn_time_now(void);

/* Watches these events of a descriptor that is not watched yet; 0 or -errno. */
int fn_loop_watch(struct fn_loop *loop, int fd, uint32_t events, struct fn_handler *handler);

/* Unwatches it in either epoll. Call this before close(2): a forked child may keep the file open. */
void fn_loop_unwatch(struct fn_loop *loop, int fd, struct fn_handler *handler);

/* Moves a watched descriptor to the other of the loop's two epolls, `to`. On failure, -errno, it stays in its epoll.
 * It is in one of them at any time, and pending events are reported again. */
int fn_loop_move(struct fn_loop *loop, int to, int fd, uint32_t events, struct fn_handler *handler);

/* Waits up to so many nanoseconds (FN_NEVER: without limit) for events of this epoll, one of the loop's two, calls
 * their handlers, and returns their number. */
int fn_loop_poll(struct fn_loop *loop, int epoll, int64_t wait);

#ifdef FN_CHECKED
static inline bool fn_handler_is_watched(const struct fn_handler *handler)
{
    return handler->watched;
}
#endif

#endif
