/* The addresses of targets. */
#define _GNU_SOURCE
#include "probe/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool below(struct fn_number a, struct fn_number b)
{
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

bool fn_may_be_anycast(int family, const struct fn_anycast *known, struct fn_number address)
{
    if (family != AF_INET6)
        return false;
    for (size_t i = 0; i < known->count; i++)
        if (known->list[i].high == address.high && known->list[i].low == address.low)
            return true;
    return address.low == 0;
}

static struct fn_number plus(struct fn_number number, uint64_t more)
{
    const uint64_t low = number.low + more;

    return (struct fn_number){.high = number.high + (low < more), .low = low};
}

/* `number` minus `base`, which is not above it; UINT64_MAX if the difference is larger. */
static uint64_t distance(struct fn_number base, struct fn_number number)
{
    const uint64_t high = number.high - base.high - (number.low < base.low);

    return high ? UINT64_MAX : number.low - base.low;
}

int fn_targets_init(struct fn_sweep *sweep, const struct fn_span *spans, size_t count)
{
    const uint64_t first = sweep->options.shard_first, step = sweep->options.shard_step;
    uint64_t total = 0;

    if (step == 0 || first >= step)
        return -EINVAL;
    sweep->spans = malloc((count + 1) * sizeof *sweep->spans);
    sweep->starts = malloc((count + 1) * sizeof *sweep->starts);
    if (!sweep->spans || !sweep->starts)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (spans[i].count == 0 || total + spans[i].count < total ||
            below(plus(spans[i].first, spans[i].count - 1), spans[i].first))
            return -EINVAL;
        if (i && (!below(spans[i - 1].first, spans[i].first) ||
                  distance(spans[i - 1].first, spans[i].first) < spans[i - 1].count))
            return -EINVAL;
        sweep->spans[i] = spans[i];
        sweep->starts[i] = total;
        total += spans[i].count;
    }
    sweep->starts[count] = total;
    sweep->span_count = count;
    sweep->size = first < total ? (total - first - 1) / step + 1 : 0;
    return 0;
}

/* The last span that begins at or before this index. */
static size_t span_at(const struct fn_sweep *sweep, uint64_t index)
{
    size_t low = 0, high = sweep->span_count;

    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (sweep->starts[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct fn_number fn_sweep_address(const struct fn_sweep *sweep, uint64_t target)
{
    const uint64_t index = sweep->options.shard_first + target * sweep->options.shard_step;
    const size_t span = span_at(sweep, index);

    return plus(sweep->spans[span].first, index - sweep->starts[span]);
}

uint64_t fn_sweep_target(const struct fn_sweep *sweep, struct fn_number address)
{
    size_t low = 0, high = sweep->span_count;

    if (high == 0 || below(address, sweep->spans[0].first))
        return FN_NO_TARGET;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (below(address, sweep->spans[middle].first))
            high = middle;
        else
            low = middle;
    }
    const uint64_t within = distance(sweep->spans[low].first, address);
    if (within >= sweep->spans[low].count)
        return FN_NO_TARGET;
    const uint64_t index = sweep->starts[low] + within, first = sweep->options.shard_first;
    if (index < first || (index - first) % sweep->options.shard_step)
        return FN_NO_TARGET;
    return (index - first) / sweep->options.shard_step;
}

bool fn_is_host(int family, struct fn_number address)
{
    if (family == AF_INET)
        return address.low != 0 && address.low >> 28 != 0xe;
    return (address.high || address.low) && address.high >> 56 != 0xff;
}
