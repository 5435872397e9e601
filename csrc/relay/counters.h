/* Counters without a lock: one thread writes, any thread reads. */
#ifndef FN_RELAY_COUNTERS_H
#define FN_RELAY_COUNTERS_H

#include <stddef.h>

#include "relay.h"

static inline void fn_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void fn_counters_add(struct fn_counters *sum, const struct fn_counters *counters)
{
    uint64_t *const to = (uint64_t *)sum;
    const uint64_t *const from = (const uint64_t *)counters;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

#endif
