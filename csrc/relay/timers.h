/*
 * Timers of a relay's loop. Setting, moving and clearing one are O(1) (a hierarchical timer wheel of four levels). A
 * timer expires in the first turn after its time, up to 2 ms late, never early. It is cleared then: its function may
 * set it again or free it. An object that waits for a time embeds one.
 */
#ifndef FN_RELAY_TIMERS_H
#define FN_RELAY_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

struct fn_loop;

struct fn_timer {
    struct fn_timer *next, *prev;
    int64_t when;
    void (*on_time)(struct fn_timer *timer);
};

#define FN_WHEEL_LEVELS 4
#define FN_WHEEL_SLOTS 64

/* A slot is a circular list of timers; of its head only the links are used. */
struct fn_wheel {
    uint64_t tick;
    uint64_t occupied[FN_WHEEL_LEVELS];
    struct fn_timer slots[FN_WHEEL_LEVELS][FN_WHEEL_SLOTS];
};

/* A timer starts out cleared; clearing it twice is no error. */
void fn_timer_init(struct fn_timer *timer, void (*on_time)(struct fn_timer *timer));
void fn_timer_set(struct fn_loop *loop, struct fn_timer *timer, int64_t when);
void fn_timer_clear(struct fn_loop *loop, struct fn_timer *timer);
bool fn_timer_is_set(const struct fn_timer *timer);

/* Nanoseconds from now until a timer may be due; FN_NEVER if none is set. */
int64_t fn_timers_wait(const struct fn_loop *loop, int64_t now);

/* Calls the functions of all timers that are due. */
void fn_timers_run(struct fn_loop *loop);

#endif
