/*
 * The ground under the relay: one epoll loop, its time and its timers. One thread runs a loop, and all here
 * is called in that thread only.
 *
 * Whoever waits for a descriptor embeds a struct fn_handler and is called with what epoll says of it
 * (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP ...). Once fn_loop_unwatch() has returned, the handler is
 * not called again, not even for an event that was fetched already: it may be freed at once.
 *
 * A timer is embedded likewise. Setting, moving and clearing one are O(1) (a hashed wheel of four levels); it
 * goes off in the first turn after its time, up to 2 ms late, never early, and is cleared then: its
 * function may set it again or free it.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC. No locks here, and no allocation.
 */
#ifndef FN_RELAY_LOOP_H
#define FN_RELAY_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define FN_SECOND INT64_C(1000000000)
#define FN_MILLISECOND INT64_C(1000000)
#define FN_NEVER INT64_MAX

/* The struct that holds this member. */
#define fn_container(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

struct fn_handler {
    void (*on_event)(struct fn_handler *handler, uint32_t events);
};

struct fn_timer {
    struct fn_timer *next, *prev;
    int64_t when;
    void (*on_time)(struct fn_timer *timer);
};

#define FN_WHEEL_LEVELS 4
#define FN_WHEEL_SLOTS 64

/* A slot is a ring of timers through its head; of a head only the links are used. */
struct fn_wheel {
    uint64_t tick;
    uint64_t occupied[FN_WHEEL_LEVELS];
    struct fn_timer slots[FN_WHEEL_LEVELS][FN_WHEEL_SLOTS];
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

/* 0 or -errno. A loop that was initialised, also in vain, is closed by fn_loop_close(). */
int fn_loop_init(struct fn_loop *loop);
void fn_loop_close(struct fn_loop *loop);

int64_t fn_time_now(void);

/* Reports these events of a descriptor, which it does not watch yet; 0 or -errno. */
int fn_loop_watch(struct fn_loop *loop, int fd, uint32_t events, struct fn_handler *handler);

/* Reports no more of it: before it is closed, since a forked child may keep it open. */
void fn_loop_unwatch(struct fn_loop *loop, int fd, struct fn_handler *handler);

/* Calls the handlers of what this epoll (one of the loop's two) reports within so many nanoseconds (FN_NEVER:
 * at any time), and returns how many there were. */
int fn_loop_poll(struct fn_loop *loop, int epoll, int64_t wait);

/* A timer starts out cleared; clearing it twice is no error. */
void fn_timer_init(struct fn_timer *timer, void (*on_time)(struct fn_timer *timer));
void fn_timer_set(struct fn_loop *loop, struct fn_timer *timer, int64_t when);
void fn_timer_clear(struct fn_loop *loop, struct fn_timer *timer);
bool fn_timer_is_set(const struct fn_timer *timer);

/* Nanoseconds from now until something may be due; FN_NEVER where no timer is set. */
int64_t fn_timers_wait(const struct fn_loop *loop, int64_t now);

/* Calls the functions of all timers that are due. */
void fn_timers_run(struct fn_loop *loop);

#endif
