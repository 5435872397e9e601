/*
 * A byte rate that any number of threads keep to together, without a lock: the generic cell rate algorithm
 * (ITU-T I.371, annex A) with one atomic number, the time at which all that was taken will have been earned.
 *
 * Before reading, fn_bucket_room() returns how many bytes may pass now; after it, fn_bucket_take() counts those
 * that really passed and returns how long to wait before the next: nanoseconds, 0 where there is room still.
 * Where there was no room at all, take 0 bytes to learn how long to wait; by then there is room for a
 * good part of a burst, so that a slow rate does not pass single bytes. Those who wait for one bucket get different
 * waits, so that none of them is always too late. Taking more than there was room for
 * (several threads may see the same room) is a debt, paid by a longer wait: the mean is exact.
 *
 * A burst is what the rate gives in FN_BUCKET_BURST_NS, one byte at least. `now_ns` is any clock that does
 * not go back and is the same in all threads; `bytes` is below 2^32. A bucket without a rate (0) may be
 * initialised, but not asked.
 */
#ifndef FN_RELAY_BUCKET_H
#define FN_RELAY_BUCKET_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FN_BUCKET_BURST_NS 50000000

struct fn_bucket {
    uint64_t rate;
    int64_t burst_ns;
    _Atomic int64_t earned_at;
    _Atomic uint32_t turns;
};

void fn_bucket_init(struct fn_bucket *bucket, uint64_t bytes_per_second);

size_t fn_bucket_room(const struct fn_bucket *bucket, int64_t now_ns);

int64_t fn_bucket_take(struct fn_bucket *bucket, int64_t now_ns, size_t bytes);

#endif
