#define _GNU_SOURCE
#include "relay/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

int64_t fn_time_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * FN_SECOND + now.tv_nsec;
}

static void init_wheel(struct fn_wheel *wheel, int64_t now)
{
    *wheel = (struct fn_wheel){.tick = (uint64_t)now >> 20};
    for (int level = 0; level < FN_WHEEL_LEVELS; level++)
        for (int slot = 0; slot < FN_WHEEL_SLOTS; slot++) {
            struct fn_timer *const head = &wheel->slots[level][slot];
            head->next = head->prev = head;
        }
}

int fn_loop_init(struct fn_loop *loop)
{
    loop->now = fn_time_now();
    loop->handled = loop->fetched = 0;
    init_wheel(&loop->wheel, loop->now);
    loop->bulk = -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return -errno;
    loop->bulk = epoll_create1(EPOLL_CLOEXEC);
    return loop->bulk < 0 ? -errno : 0;
}

void fn_loop_close(struct fn_loop *loop)
{
    if (loop->epoll >= 0)
        close(loop->epoll);
    if (loop->bulk >= 0)
        close(loop->bulk);
    loop->epoll = loop->bulk = -1;
}

static int add(int epoll, int fd, uint32_t events, struct fn_handler *handler)
{
    struct epoll_event event = {.events = events, .data.ptr = handler};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int fn_loop_watch(struct fn_loop *loop, int fd, uint32_t events, struct fn_handler *handler)
{
    const int failure = add(loop->epoll, fd, events, handler);

#ifdef FN_CHECKED
    handler->watched = failure == 0;
#endif
    return failure;
}

int fn_loop_move(struct fn_loop *loop, int to, int fd, uint32_t events, struct fn_handler *handler)
{
    const int failure = add(to, fd, events, handler);

    if (failure == 0)
        epoll_ctl(to == loop->bulk ? loop->epoll : loop->bulk, EPOLL_CTL_DEL, fd, NULL);
    return failure == -EEXIST ? 0 : failure;
}

void fn_loop_unwatch(struct fn_loop *loop, int fd, struct fn_handler *handler)
{
    if (epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL) < 0)
        epoll_ctl(loop->bulk, EPOLL_CTL_DEL, fd, NULL);
    for (int i = loop->handled; i < loop->fetched; i++)
        if (loop->events[i].data.ptr == handler)
            loop->events[i].data.ptr = NULL;
#ifdef FN_CHECKED
    handler->watched = false;
#endif
}

/* epoll_wait(2) takes milliseconds; ppoll(2) on the epoll takes nanoseconds, on every kernel. */
static int fetch(struct fn_loop *loop, int epoll, int64_t wait)
{
    int milliseconds = 0;

    if (wait == FN_NEVER)
        milliseconds = -1;
    else if (wait >= 2 * FN_MILLISECOND)
        milliseconds = wait / FN_MILLISECOND < INT_MAX ? (int)(wait / FN_MILLISECOND) : INT_MAX;
    else if (wait > 0) {
        struct pollfd ready = {.fd = epoll, .events = POLLIN};
        const struct timespec left = {.tv_nsec = (long)wait};
        if (ppoll(&ready, 1, &left, NULL) <= 0)
            return 0;
    }
    const int fetched = epoll_wait(epoll, loop->events, FN_LOOP_EVENTS, milliseconds);
    return fetched < 0 ? 0 : fetched;
}

int fn_loop_poll(struct fn_loop *loop, int epoll, int64_t wait)
{
    loop->fetched = fetch(loop, epoll, wait);
    loop->now = fn_time_now();
    for (loop->handled = 0; loop->handled < loop->fetched;) {
        const struct epoll_event event = loop->events[loop->handled++];
        struct fn_handler *const handler = event.data.ptr;
        if (handler)
            handler->on_event(handler, event.events);
    }
    const int handled = loop->fetched;
    loop->handled = loop->fetched = 0;
    return handled;
}
