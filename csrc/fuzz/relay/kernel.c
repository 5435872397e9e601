#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <ucontext.h>

#include "relay/loop.h"

#define STACK (512 << 10)
/* Waits without sleep in which nothing happens: more are a busy loop. */
#define MOST_IDLE_CALLS 5000

struct kernel kernel;

static struct file files[FILES];
static int file_count; /* behind the last one that was used */
static struct datagrams replies[FILES];
static bool entered;

static void print_wire(const struct wire *wire)
{
    const struct file *const file = &files[wire->fd - FIRST_FD];

    fprintf(stderr, "%s %d, descriptor %d, stage %d: in %zu%s%s, out %zu of %zu%s%s, error %d%s\n",
            wire->is_up ? "upstream" : "client", wire->id, wire->fd, wire->stage, bytes_len(&wire->in),
            wire->in_ended ? " and end" : "", wire->has_mark ? " and mark" : "", bytes_len(&wire->out), wire->out_room,
            wire->out_full ? ", awaited" : "", wire->out_ended ? " and end" : "", wire->error,
            wire->is_dead ? ", reset" : "");
    for (int i = 0; i < WATCHES; i++)
        if (file->watches[i].epoll)
            fprintf(stderr, "  in epoll %d%s\n", file->watches[i].epoll, file->watches[i].pending ? ", pending" : "");
}

void wrong(const char *what)
{
    entered = false;
    for (int i = 0; i < kernel.wire_count; i++)
        if (kernel.wires[i].fd >= 0)
            print_wire(&kernel.wires[i]);
    fprintf(stderr, "wrong: %s\n", what);
    abort();
}

size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Memory; the kernel's own comes from the C library. */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
    return entered && fails(FAULT_MEMORY) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return entered && fails(FAULT_MEMORY) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return entered && fails(FAULT_MEMORY) ? NULL : __real_realloc(old, size);
}

size_t bytes_len(const struct bytes *bytes)
{
    return bytes->end - bytes->start;
}

const uint8_t *bytes_first(const struct bytes *bytes)
{
    static const uint8_t none;

    return bytes->data ? bytes->data + bytes->start : &none;
}

void bytes_add(struct bytes *bytes, const void *data, size_t len)
{
    if (bytes->start == bytes->end)
        bytes->start = bytes->end = 0;
    if (bytes->room - bytes->end < len) {
        bytes->room = 2 * (bytes->end + len);
        bytes->data = __real_realloc(bytes->data, bytes->room);
        require(bytes->data, "the fuzzer has no memory");
    }
    if (len)
        memcpy(bytes->data + bytes->end, data, len);
    bytes->end += len;
}

/* Descriptors */

struct file *file_at(int fd)
{
    require(fd >= FIRST_FD && fd < FIRST_FD + FILES && files[fd - FIRST_FD].kind != CLOSED, "a bad descriptor");
    return &files[fd - FIRST_FD];
}

int file_number(const struct file *file)
{
    return FIRST_FD + (int)(file - files);
}

int file_new(enum kind kind)
{
    for (unsigned i = 0; i < kernel.files; i++)
        if (files[i].kind == CLOSED) {
            files[i] = (struct file){.kind = kind, .client = -1, .replies = &replies[i]};
            replies[i].count = 0;
            file_count = (int)i >= file_count ? (int)i + 1 : file_count;
            return FIRST_FD + (int)i;
        }
    errno = EMFILE;
    return -1;
}

uint32_t file_events(const struct file *file)
{
    switch (file->kind) {
    case LISTENER:
        return kernel.waiting ? EPOLLIN : 0;
    case STREAM:
        return stream_events(file->wire);
    case DATAGRAM_LISTENER:
        return (kernel.requests.count ? EPOLLIN : 0) | EPOLLOUT;
    case FLOW:
        return (file->replies->count ? EPOLLIN : 0) | EPOLLOUT | (file->error ? EPOLLERR : 0);
    case EVENT:
        return file->count ? EPOLLIN : 0;
    default:
        return 0;
    }
}

void file_wake(int fd)
{
    struct file *const file = file_at(fd);

    for (int i = 0; i < WATCHES; i++)
        file->watches[i].pending = true;
}

static void release_pipe(struct pipe *pipe)
{
    if (--pipe->ends)
        return;
    free(pipe->bytes.data);
    free(pipe);
}

int __real_close(int fd);

int __wrap_close(int fd)
{
    if (!entered)
        return __real_close(fd);
    struct file *const file = file_at(fd);

    /* But for the relay's own event, which nobody else has. */
    for (int i = 0; i < WATCHES && file->kind != EVENT; i++)
        require(!file->watches[i].epoll, "a descriptor that is watched is closed");
    if (file->kind == STREAM)
        stream_close(file);
    else if (file->kind == PIPE_IN || file->kind == PIPE_OUT)
        release_pipe(file->pipe);
    else if (file->kind == EPOLL)
        for (int i = 0; i < FILES; i++)
            for (int j = 0; j < WATCHES; j++)
                if (files[i].watches[j].epoll == fd)
                    files[i].watches[j].epoll = 0;
    file->kind = CLOSED;
    return 0;
}

int kernel_listener(int type)
{
    const int fd = file_new(type == SOCK_DGRAM ? DATAGRAM_LISTENER : LISTENER);

    if (fd >= 0)
        file_at(fd)->domain = kernel.domain;
    return fd;
}

int flow_next(int after)
{
    for (int i = after < 0 ? 0 : after - FIRST_FD + 1; i < file_count; i++)
        if (files[i].kind == FLOW && files[i].connected)
            return FIRST_FD + i;
    return -1;
}

int __wrap_epoll_create1(int flags)
{
    (void)flags;
    return fails(FAULT_FILE) ? -1 : file_new(EPOLL);
}

int __wrap_eventfd(unsigned count, int flags)
{
    const int fd = fails(FAULT_FILE) ? -1 : file_new(EVENT);

    (void)flags;
    if (fd >= 0)
        file_at(fd)->count = count;
    return fd;
}

int __wrap_eventfd_write(int fd, eventfd_t value)
{
    file_at(fd)->count += value;
    file_wake(fd);
    return 0;
}

static int running;

int __wrap_eventfd_read(int fd, eventfd_t *value)
{
    struct file *const file = file_at(fd);

    *value = file->count;
    file->count = 0;
    world_woken(running);
    return 0;
}

int __wrap_pipe2(int ends[2], int flags)
{
    struct pipe *pipe;

    (void)flags;
    if (fails(FAULT_FILE) || (ends[0] = file_new(PIPE_OUT)) < 0)
        return -1;
    ends[1] = file_new(PIPE_IN);
    if (ends[1] < 0) {
        file_at(ends[0])->kind = CLOSED;
        return -1;
    }
    pipe = __real_calloc(1, sizeof *pipe);
    pipe->ends = 2;
    file_at(ends[0])->pipe = file_at(ends[1])->pipe = pipe;
    return 0;
}

int __wrap_fcntl(int fd, int command, ...)
{
    file_at(fd);
    if (command == F_GETPIPE_SZ)
        return fails(FAULT_OPTION) ? 4096 : 262144;
    return command == F_GETFL && fails(FAULT_OPTION) ? -1 : 0;
}

/* Epoll */

static struct watch *find_watch(struct file *file, int epoll)
{
    for (int i = 0; i < WATCHES; i++)
        if (file->watches[i].epoll == epoll)
            return &file->watches[i];
    return NULL;
}

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    struct file *const file = file_at(fd);
    struct watch *watch = find_watch(file, epoll);

    require(file_at(epoll)->kind == EPOLL, "no epoll");
    if (operation == EPOLL_CTL_DEL) {
        errno = ENOENT;
        if (!watch)
            return -1;
        *watch = (struct watch){0};
        return 0;
    }
    require(operation == EPOLL_CTL_ADD, "an operation of epoll_ctl(2)");
    errno = EEXIST;
    if (watch || fails(FAULT_WATCH))
        return -1;
    watch = find_watch(file, 0);
    require(watch, "a descriptor that is watched too often");
    *watch = (struct watch){epoll, event->events, event->data.ptr, true};
    return 0;
}

static int fetch(int epoll, struct epoll_event *events, int most)
{
    const int first = file_count ? (int)choose(8) * file_count / 8 : 0;
    int count = 0;

    for (int i = 0; i < file_count && count < most; i++) {
        struct file *const file = &files[(first + i) % file_count];
        struct watch *const watch = file->kind == CLOSED ? NULL : find_watch(file, epoll);
        if (!watch || (watch->events & EPOLLET && !watch->pending))
            continue;
        const uint32_t ready = file_events(file) & (watch->events | EPOLLERR | EPOLLHUP);
        watch->pending = false;
        if (!ready)
            continue;
        if (events)
            events[count] = (struct epoll_event){.events = ready, .data.ptr = watch->handler};
        else
            watch->pending = true;
        count++;
    }
    return count;
}

/* Time, and whose turn it is */

static struct {
    ucontext_t context;
    void *stack;
    void (*run)(int number);
    bool alive, sleeps;
    int epoll;
    int64_t until;
} coroutines[RELAYS];

static ucontext_t outside;
static const void *outside_stack;
static size_t outside_size;
static int coroutine_count;

/* With sanitizers, each change of stacks is announced to them. */
void __sanitizer_start_switch_fiber(void **fake, const void *stack, size_t size) __attribute__((weak));
void __sanitizer_finish_switch_fiber(void *fake, const void **stack, size_t *size) __attribute__((weak));

static void leave_stack(void **fake, const void *stack, size_t size)
{
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(fake, stack, size);
}

static void enter_stack(void *fake, const void **stack, size_t *size)
{
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(fake, stack, size);
}

static void switch_to(int next)
{
    const int before = running;
    void *fake = NULL;

    running = next;
    leave_stack(&fake, coroutines[next].stack, STACK);
    swapcontext(&coroutines[before].context, &coroutines[next].context);
    enter_stack(fake, NULL, NULL);
}

static bool could_run(int number)
{
    if (!coroutines[number].alive)
        return false;
    return !coroutines[number].sleeps || kernel.now >= coroutines[number].until ||
           fetch(coroutines[number].epoll, NULL, 1);
}

static void begin_coroutine(int number)
{
    const void *stack = NULL;
    size_t size = 0;

    enter_stack(NULL, &stack, &size);
    if (!outside_stack) {
        outside_stack = stack;
        outside_size = size;
    }
    coroutines[number].run(number);
    coroutines[number].alive = false;
    const int other = (number + 1) % RELAYS;
    if (coroutines[other].alive) {
        running = other;
        leave_stack(NULL, coroutines[other].stack, STACK);
        setcontext(&coroutines[other].context);
    }
    leave_stack(NULL, outside_stack, outside_size);
    setcontext(&outside);
}

static void make_coroutine(int number, void (*run)(int number))
{
    ucontext_t *const context = &coroutines[number].context;

    coroutines[number].run = run;
    coroutines[number].alive = true;
    coroutines[number].sleeps = false;
    if (!coroutines[number].stack)
        coroutines[number].stack = __real_malloc(STACK);
    getcontext(context);
    context->uc_stack.ss_sp = coroutines[number].stack;
    context->uc_stack.ss_size = STACK;
    context->uc_link = NULL;
    makecontext(context, (void (*)(void))begin_coroutine, 1, number);
}

void kernel_run(void (*run)(int number), int count)
{
    void *fake = NULL;

    coroutine_count = count;
    for (int i = 0; i < count; i++)
        make_coroutine(i, run);
    running = 0;
    leave_stack(&fake, coroutines[0].stack, STACK);
    swapcontext(&outside, &coroutines[0].context);
    enter_stack(fake, NULL, NULL);
}

/* The other one, where it could run; with an awake one of two, time stands still. */
static bool let_other_run(void)
{
    const int other = (running + 1) % RELAYS;

    if (coroutine_count < RELAYS || !could_run(other))
        return false;
    switch_to(other);
    return true;
}

static int64_t next_deadline(void)
{
    int64_t next = FN_NEVER;

    for (int i = 0; i < coroutine_count; i++)
        if (coroutines[i].alive && coroutines[i].until < next)
            next = coroutines[i].until;
    return next;
}

static int wait_for(int epoll, struct epoll_event *events, int most, int64_t timeout)
{
    int count = 0;

    world_turn();
    coroutines[running].epoll = epoll;
    coroutines[running].until = timeout == FN_NEVER ? FN_NEVER : kernel.now + timeout;
    if (choose(4) == 3)
        let_other_run();
    while (!(count = fetch(epoll, events, most)) && kernel.now < coroutines[running].until) {
        int64_t left;
        coroutines[running].sleeps = true;
        if (let_other_run())
            continue;
        kernel.idle_calls = 0;
        left = next_deadline();
        left = left == FN_NEVER ? FN_NEVER : left - kernel.now;
        if (!world_step(&left)) {
            require(left != FN_NEVER, "a sleep without end");
            kernel.now += left;
        }
    }
    coroutines[running].sleeps = false;
    require(++kernel.idle_calls < MOST_IDLE_CALLS, "a busy loop");
    return count;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    return wait_for(epoll, events, most, timeout < 0 ? FN_NEVER : timeout * FN_MILLISECOND);
}

/* The relay waits for one of its epolls by this, and fetches its events then. */
int __wrap_ppoll(struct pollfd *list, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    (void)mask;
    require(count == 1 && timeout->tv_sec == 0, "a ppoll(2)");
    const int64_t until = kernel.now + timeout->tv_nsec;
    coroutines[running].epoll = list->fd;
    coroutines[running].until = until;
    while (!fetch(list->fd, NULL, 1)) {
        int64_t left = until - kernel.now;
        if (left <= 0)
            return 0;
        coroutines[running].sleeps = true;
        if (let_other_run())
            continue;
        const int64_t next = next_deadline() - kernel.now;
        left = next < left ? next : left;
        kernel.idle_calls = 0;
        if (!world_step(&left))
            kernel.now += left;
    }
    coroutines[running].sleeps = false;
    return 1;
}

int __real_clock_gettime(clockid_t clock, struct timespec *out);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    if (!entered)
        return __real_clock_gettime(clock, out);
    kernel.now += 500;
    *out = (struct timespec){.tv_sec = kernel.now / FN_SECOND, .tv_nsec = kernel.now % FN_SECOND};
    return 0;
}

int __real_getrlimit(int resource, struct rlimit *out);

int __wrap_getrlimit(int resource, struct rlimit *out)
{
    if (!entered)
        return __real_getrlimit(resource, out);
    out->rlim_cur = out->rlim_max = choose(2) ? 64 : FIRST_FD + FILES;
    return 0;
}

ssize_t __real_getrandom(void *out, size_t len, unsigned flags);

ssize_t __wrap_getrandom(void *out, size_t len, unsigned flags)
{
    if (!entered)
        return __real_getrandom(out, len, flags);
    memset(out, 0x5a, len);
    return (ssize_t)len;
}

/* Begin and end */

void kernel_begin(void)
{
    memset(files, 0, sizeof files);
    file_count = 0;
    memset(&kernel, 0, sizeof kernel);
    kernel.now = 1000 * FN_SECOND;
    kernel.files = FILES;
    faults_clear();
}

void kernel_end(void)
{
    for (int i = 0; i < FILES; i++)
        require(files[i].kind == CLOSED, "a descriptor is left open");
    for (int i = 0; i < kernel.wire_count; i++) {
        free(kernel.wires[i].in.data);
        free(kernel.wires[i].out.data);
    }
}

void kernel_enter(void)
{
    entered = true;
}

void kernel_leave(void)
{
    entered = false;
}
