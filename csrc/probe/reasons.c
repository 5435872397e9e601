/* Distinct reasons, numbered from 1. */
#define _GNU_SOURCE
#include "probe/sweep.h"

#include <stdlib.h>
#include <string.h>

/* Keyed, since the senders of errors choose their content. */
static uint64_t hash_of(const uint8_t key[16], const struct fn_reason *reason)
{
    const uint64_t words[] = {
        (uint64_t)(uint32_t)reason->refused << 32 | reason->info,
        (uint64_t)reason->type << 16 | (uint64_t)reason->code << 8 | reason->itself,
        reason->reporter.high,
        reason->reporter.low,
    };

    return fn_siphash(key, (const uint8_t *)words, sizeof words);
}

static bool same(const struct fn_reason *a, const struct fn_reason *b)
{
    return a->refused == b->refused && a->type == b->type && a->code == b->code && a->info == b->info &&
           a->itself == b->itself && a->reporter.high == b->reporter.high && a->reporter.low == b->reporter.low;
}

/* The bucket of a reason, or the empty one for it. */
static uint32_t *bucket_of(const struct fn_sweep *sweep, const struct fn_reason *reason)
{
    const struct fn_reasons *const reasons = &sweep->reasons;
    const uint32_t mask = reasons->bucket_count - 1;
    uint32_t at = (uint32_t)hash_of(sweep->options.key, reason) & mask;

    while (reasons->buckets[at] && !same(&reasons->list[reasons->buckets[at] - 1], reason))
        at = (at + 1) & mask;
    return &reasons->buckets[at];
}

static bool grow(struct fn_sweep *sweep)
{
    struct fn_reasons *const reasons = &sweep->reasons;
    const uint32_t capacity = reasons->capacity ? 2 * reasons->capacity : 16;
    struct fn_reason *const list = realloc(reasons->list, capacity * sizeof *list);
    uint32_t *const buckets = calloc(2 * (size_t)capacity, sizeof *buckets);

    if (list)
        reasons->list = list;
    if (!list || !buckets) {
        free(buckets);
        return false;
    }
    free(reasons->buckets);
    reasons->buckets = buckets;
    reasons->bucket_count = 2 * capacity;
    reasons->capacity = capacity;
    for (uint32_t i = 0; i < reasons->count; i++)
        *bucket_of(sweep, &reasons->list[i]) = i + 1;
    return true;
}

uint32_t fn_reason_number(struct fn_sweep *sweep, const struct fn_reason *reason)
{
    struct fn_reasons *const reasons = &sweep->reasons;

    if (reasons->count) {
        const uint32_t known = *bucket_of(sweep, reason);
        if (known)
            return known;
    }
    if (reasons->count == FN_REASONS - 1 || (reasons->count == reasons->capacity && !grow(sweep)))
        return FN_REASONS;
    reasons->list[reasons->count++] = *reason;
    return *bucket_of(sweep, reason) = reasons->count;
}

const struct fn_reason *fn_sweep_reason(const struct fn_sweep *sweep, uint32_t number)
{
    return number && number <= sweep->reasons.count ? &sweep->reasons.list[number - 1] : NULL;
}

uint64_t fn_sweep_refused(const struct fn_sweep *sweep, uint64_t target)
{
    const uint64_t size = sweep->size;

    while (target < size && !(sweep->states[target] == FN_PENDING && sweep->slots[target].reason))
        target++;
    return target;
}

void fn_reasons_free(struct fn_reasons *reasons)
{
    free(reasons->list);
    free(reasons->buckets);
}
