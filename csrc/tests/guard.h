/*
 * Buffers at the edge of what may be touched: one byte too far is a fault, not luck.
 *
 * guard_after(size) gives `size` bytes (0 too) whose last is followed by an untouchable page;
 * guard_before(size) gives bytes whose first is preceded by one. guard_copy(data, size) is
 * guard_after with data in it. Each ends the program where memory lacks; guard_free() gives it back.
 *
 * Include it first: it asks the system's headers for mmap.
 */
#ifndef FN_TESTS_GUARD_H
#define FN_TESTS_GUARD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
    uint8_t *data;
    size_t size;
    uint8_t *map;
    size_t map_size;
};

/* Whole pages for `size` bytes between two untouchable ones; data is the first of them. */
static inline struct guard guard_before(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = (size + page - 1) / page * page;
    struct guard guard = {.size = size, .map_size = body + 2 * page};
    void *map = mmap(NULL, guard.map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED)
        abort();
    guard.map = map;
    guard.data = guard.map + page;
    if (body && mprotect(guard.data, body, PROT_READ | PROT_WRITE) != 0)
        abort();
    return guard;
}

static inline struct guard guard_after(size_t size)
{
    struct guard guard = guard_before(size);

    guard.data = guard.map + guard.map_size - (size_t)sysconf(_SC_PAGESIZE) - size;
    return guard;
}

static inline struct guard guard_copy(const void *data, size_t size)
{
    struct guard guard = guard_after(size);

    if (size)
        memcpy(guard.data, data, size);
    return guard;
}

static inline void guard_free(struct guard *guard)
{
    if (munmap(guard->map, guard->map_size) != 0)
        abort();
    guard->data = NULL;
}

#endif
