/*
 * Totals of round-trip times in constant memory, in milliseconds.
 *
 * Percentiles are of the times themselves up to FN_EXACT of them, and from then on of a histogram whose buckets grow by
 * a constant factor (DDSketch: Masson, Rim and Lee, VLDB 2019): between a microsecond and 1000 seconds they are off by
 * two percent at most.
 *
 * Start with zeros, end with fn_round_trips_free(). One thread at a time uses one; there is no other state.
 */
#ifndef FN_PROBE_ROUND_TRIPS_H
#define FN_PROBE_ROUND_TRIPS_H

#include <stdint.h>

#define FN_EXACT 256

struct fn_round_trips {
    uint64_t count;
    double least, most, mean;
    double squares;     /* of the deviations from the mean, added up */
    double differences; /* between successive times, added up */
    double newest;
    double *exact;      /* NULL: none yet, or too many */
    uint32_t capacity;
    uint32_t *buckets;  /* NULL: there are no more than FN_EXACT */
};

/* Adds one. 0, or -ENOMEM: it is not added. */
int fn_round_trips_add(struct fn_round_trips *trips, double ms);

void fn_round_trips_free(struct fn_round_trips *trips);

/* The smallest time that so many percent (1 to 100) do not exceed; there is at least one. -ENOMEM: no memory. */
int fn_round_trips_percentile(const struct fn_round_trips *trips, unsigned percent, double *out);

#endif
