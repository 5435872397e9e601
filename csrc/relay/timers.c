#include "relay/loop.h"

/* A tick is 2^20 ns, about a millisecond; level n has slots of 64^n ticks. */
enum { TICK_BITS = 20, SLOT_BITS = 6, TOP_BITS = SLOT_BITS * FN_WHEEL_LEVELS };

/* The first tick at or after the time. */
static uint64_t tick_of(int64_t when)
{
    return ((uint64_t)when + (UINT64_C(1) << TICK_BITS) - 1) >> TICK_BITS;
}

static void link_before(struct fn_timer *head, struct fn_timer *timer)
{
    timer->next = head;
    timer->prev = head->prev;
    head->prev->next = timer;
    head->prev = timer;
}

static void insert(struct fn_wheel *wheel, struct fn_timer *timer)
{
    uint64_t tick = tick_of(timer->when);
    unsigned level = 0;

    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    /* A timer beyond the wheel's range waits in its last slot and is placed again from there. */
    if ((tick - wheel->tick) >> TOP_BITS)
        tick = wheel->tick + (UINT64_C(1) << TOP_BITS) - 1;
    while ((tick - wheel->tick) >> (level + 1) * SLOT_BITS)
        level++;
    const unsigned slot = (tick >> level * SLOT_BITS) & (FN_WHEEL_SLOTS - 1);
    link_before(&wheel->slots[level][slot], timer);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

void fn_timer_init(struct fn_timer *timer, void (*on_time)(struct fn_timer *timer))
{
    *timer = (struct fn_timer){.on_time = on_time};
}

bool fn_timer_is_set(const struct fn_timer *timer)
{
    return timer->next;
}

void fn_timer_clear(struct fn_loop *loop, struct fn_timer *timer)
{
    struct fn_timer *const head = timer->next, *const first = loop->wheel.slots[0];

    if (!head)
        return;
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    if (head == timer->prev && head >= first && head < first + FN_WHEEL_LEVELS * FN_WHEEL_SLOTS) {
        const size_t number = (size_t)(head - first);
        loop->wheel.occupied[number / FN_WHEEL_SLOTS] &= ~(UINT64_C(1) << number % FN_WHEEL_SLOTS);
    }
    timer->next = timer->prev = NULL;
}

void fn_timer_set(struct fn_loop *loop, struct fn_timer *timer, int64_t when)
{
    fn_timer_clear(loop, timer);
    timer->when = when;
    insert(&loop->wheel, timer);
}

static uint64_t rotated_left(uint64_t bits, unsigned by)
{
    return by ? bits << by | bits >> (64 - by) : bits;
}

int64_t fn_timers_wait(const struct fn_loop *loop, int64_t now)
{
    const struct fn_wheel *const wheel = &loop->wheel;
    uint64_t due = UINT64_MAX;

    for (unsigned level = 0; level < FN_WHEEL_LEVELS; level++) {
        if (!wheel->occupied[level])
            continue;
        const uint64_t next = (wheel->tick >> level * SLOT_BITS) + 1;
        const unsigned first = next & (FN_WHEEL_SLOTS - 1);
        const uint64_t ahead = rotated_left(wheel->occupied[level], (64 - first) & 63);
        const uint64_t tick = (next + (uint64_t)__builtin_ctzll(ahead)) << level * SLOT_BITS;
        if (tick < due)
            due = tick;
    }
    if (due == UINT64_MAX)
        return FN_NEVER;
    const int64_t when = (int64_t)(due << TICK_BITS);
    return when > now ? when - now : 0;
}

/* Moves the timers of all slots whose time has passed to `late`. */
static void collect(struct fn_wheel *wheel, uint64_t now, struct fn_timer *late)
{
    for (unsigned level = 0; level < FN_WHEEL_LEVELS; level++) {
        const uint64_t before = wheel->tick >> level * SLOT_BITS, after = now >> level * SLOT_BITS;
        if (before == after)
            break;
        const uint64_t passed =
            after - before >= 64 ? UINT64_MAX
                                 : rotated_left((UINT64_C(1) << (after - before)) - 1, (before + 1) & 63);
        uint64_t pending = passed & wheel->occupied[level];
        wheel->occupied[level] &= ~pending;
        for (; pending; pending &= pending - 1) {
            struct fn_timer *const head = &wheel->slots[level][__builtin_ctzll(pending)];
            late->prev->next = head->next;
            head->next->prev = late->prev;
            head->prev->next = late;
            late->prev = head->prev;
            head->next = head->prev = head;
        }
    }
    wheel->tick = now;
}

void fn_timers_run(struct fn_loop *loop)
{
    const uint64_t now = (uint64_t)loop->now >> TICK_BITS;
    struct fn_timer late = {.next = &late, .prev = &late};

    if (now <= loop->wheel.tick)
        return;
    collect(&loop->wheel, now, &late);
    while (late.next != &late) {
        struct fn_timer *const timer = late.next;
        fn_timer_clear(loop, timer);
        if (timer->when <= loop->now)
            timer->on_time(timer);
        else
            insert(&loop->wheel, timer);
    }
}
