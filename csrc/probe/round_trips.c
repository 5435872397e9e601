/* Totals of round-trip times. */
#include "probe/round_trips.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LOWEST 1e-3
#define HIGHEST 1e6
#define ERROR 0.02
#define GROWTH ((1 + ERROR) / (1 - ERROR))

/* A bucket's number for a logarithm; bucket k ends at LOWEST x GROWTH^k. */
static double bucket_of(double logarithm)
{
    return ceil(logarithm * (1 / log(GROWTH)) - log(LOWEST) * (1 / log(GROWTH)));
}

static uint32_t last_bucket(void)
{
    return (uint32_t)bucket_of(log(HIGHEST));
}

static void count_in_bucket(struct fn_round_trips *trips, double ms)
{
    const uint32_t last = last_bucket();
    const double found = ms > LOWEST ? bucket_of(log(ms)) : 0;
    uint32_t *const bucket = &trips->buckets[found < last ? (uint32_t)found : last];

    if (*bucket == UINT32_MAX) /* half of each has the same distribution */
        for (uint32_t i = 0; i <= last; i++)
            trips->buckets[i] >>= 1;
    ++*bucket;
}

/* Makes room for one more time. */
static bool grow(struct fn_round_trips *trips)
{
    const uint32_t capacity = trips->capacity ? 2 * trips->capacity : 4;
    double *const larger = realloc(trips->exact, capacity * sizeof *larger);

    if (!larger)
        return false;
    trips->exact = larger;
    trips->capacity = capacity;
    return true;
}

/* Keeps one more time, exactly or in a bucket. */
static bool keep(struct fn_round_trips *trips, double ms)
{
    if (trips->count < FN_EXACT) {
        if (trips->count == trips->capacity && !grow(trips))
            return false;
        trips->exact[trips->count] = ms;
        return true;
    }
    if (!trips->buckets) {
        trips->buckets = calloc(last_bucket() + 1, sizeof *trips->buckets);
        if (!trips->buckets)
            return false;
        for (uint32_t i = 0; i < FN_EXACT; i++)
            count_in_bucket(trips, trips->exact[i]);
        free(trips->exact);
        trips->exact = NULL;
    }
    count_in_bucket(trips, ms);
    return true;
}

int fn_round_trips_add(struct fn_round_trips *trips, double ms)
{
    if (!keep(trips, ms))
        return -ENOMEM;
    if (trips->count)
        trips->differences += fabs(ms - trips->newest);
    if (!trips->count || ms < trips->least)
        trips->least = ms;
    if (ms > trips->most)
        trips->most = ms;
    trips->newest = ms;
    trips->count++;
    /* Welford's algorithm, which keeps the variance exact for times far from zero. */
    const double above = ms - trips->mean;
    trips->mean += above / (double)trips->count;
    trips->squares += above * (ms - trips->mean);
    return 0;
}

void fn_round_trips_free(struct fn_round_trips *trips)
{
    free(trips->exact);
    free(trips->buckets);
}

static int compare(const void *a, const void *b)
{
    const double first = *(const double *)a, second = *(const double *)b;

    return (first > second) - (first < second);
}

static int exact_percentile(const struct fn_round_trips *trips, unsigned percent, double *out)
{
    const size_t count = (size_t)trips->count;
    double *const sorted = malloc(count * sizeof *sorted);

    if (!sorted)
        return -ENOMEM;
    memcpy(sorted, trips->exact, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    *out = sorted[(count * percent + 99) / 100 - 1];
    free(sorted);
    return 0;
}

int fn_round_trips_percentile(const struct fn_round_trips *trips, unsigned percent, double *out)
{
    if (!trips->buckets)
        return exact_percentile(trips, percent, out);
    const uint32_t last = last_bucket();
    uint64_t total = 0, up_to = 0;
    for (uint32_t i = 0; i <= last; i++)
        total += trips->buckets[i];
    uint32_t bucket = 0;
    while ((up_to += trips->buckets[bucket]) * 100 < total * percent)
        bucket++;
    const double found = LOWEST * pow(GROWTH, bucket) * 2 / (1 + GROWTH);
    *out = found < trips->least ? trips->least : found > trips->most ? trips->most : found;
    return 0;
}
