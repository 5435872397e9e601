/*
 * A byte rate shared by any number of threads, without a lock: the generic cell rate algorithm
 * (ITU-T I.371, annex A) with one atomic number: the time at which the rate will have allowed all bytes taken so far.
 *
 * Before a read, fn_bucket_room() returns how many bytes may pass now. After it, fn_bucket_take() counts the bytes
 * that passed and returns the time to wait before the next read: nanoseconds, 0 if there still is room.
 * If there was no room at all, take 0 bytes to get the wait. After it there is room for a good part of a burst,
 * so that a slow rate does not pass single bytes. Each waiter gets a different wait, so that none is always too late.
 * Several threads may see the same room and together take more than it; the next wait is then longer by as much, so
 * that the mean rate is exact.
 *
 * A burst is what the rate allows in FN_BUCKET_BURST_NS, at least one byte. `now_ns` is any clock that does
 * not go back and is the same in all threads; `bytes` is below 2^32. A bucket of rate 0 may be initialised, but not
 * passed to fn_bucket_room() or fn_bucket_take().
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
