#include "relay/bucket.h"

#define SECOND_NS INT64_C(1000000000)
/* Faster than any link, and small enough that the products below don't overflow. */
#define FASTEST UINT64_C(100000000000)

static int64_t cost_ns(const struct fn_bucket *bucket, uint64_t bytes)
{
    return (int64_t)(bytes / bucket->rate * SECOND_NS + bytes % bucket->rate * SECOND_NS / bucket->rate);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void fn_bucket_init(struct fn_bucket *bucket, uint64_t bytes_per_second)
{
    bucket->rate = bytes_per_second < FASTEST ? bytes_per_second : FASTEST;
    bucket->burst_ns = bucket->rate ? later(FN_BUCKET_BURST_NS, cost_ns(bucket, 1) + 1) : 0;
    atomic_init(&bucket->earned_at, 0);
    atomic_init(&bucket->turns, 0);
}

size_t fn_bucket_room(const struct fn_bucket *bucket, int64_t now_ns)
{
    const int64_t earned_at = atomic_load_explicit(&bucket->earned_at, memory_order_relaxed);
    const int64_t left = bucket->burst_ns - later(earned_at - now_ns, 0);

    return left > 0 ? (size_t)((uint64_t)left / SECOND_NS * bucket->rate +
                               (uint64_t)left % SECOND_NS * bucket->rate / SECOND_NS)
                    : 0;
}

/*
 * A fraction of this time, different at each call. The first to wake up takes all the room; with equal waits it would
 * always be the same one. Multiples of the golden ratio are evenly spread and don't repeat.
 */
static int64_t spread_ns(struct fn_bucket *bucket, int64_t most)
{
    const uint32_t turn = atomic_fetch_add_explicit(&bucket->turns, 1, memory_order_relaxed);

    return (int64_t)(turn * UINT32_C(2654435769) >> 16) * (most >> 16);
}

/* Time until an empty bucket has room for at least half a burst, and for at least one byte. */
static int64_t wait_ns(struct fn_bucket *bucket, int64_t ahead)
{
    const int64_t byte = cost_ns(bucket, 1) + 1;
    const int64_t least = later(bucket->burst_ns / 2, byte);

    if (bucket->burst_ns - ahead >= byte)
        return 0;
    return ahead - bucket->burst_ns + least + spread_ns(bucket, (bucket->burst_ns - least) / 2);
}

int64_t fn_bucket_take(struct fn_bucket *bucket, int64_t now_ns, size_t bytes)
{
    const int64_t cost = cost_ns(bucket, bytes);
    int64_t earned_at = atomic_load_explicit(&bucket->earned_at, memory_order_relaxed);
    int64_t next;

    do {
        next = later(earned_at, now_ns) + cost;
    } while (cost && !atomic_compare_exchange_weak_explicit(&bucket->earned_at, &earned_at, next,
                                                            memory_order_relaxed, memory_order_relaxed));
    return wait_ns(bucket, next - now_ns);
}
