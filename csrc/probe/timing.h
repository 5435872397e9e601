/* Round-trip times: how one is reckoned, and what is to be expected after some. Times are CLOCK_MONOTONIC's. */
#ifndef FN_PROBE_TIMING_H
#define FN_PROBE_TIMING_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define FN_MICROSECOND INT64_C(1000)
#define FN_MILLISECOND INT64_C(1000000)
#define FN_SECOND INT64_C(1000000000)
#define FN_NEVER INT64_MAX

/* A sweep keeps send times in ticks of 64 ns, which go round in 274 s. */
#define FN_TICK_BITS 6

/* The wall clock's lead over CLOCK_MONOTONIC, when that was looked at, and since when it was not stepped. */
struct fn_clocks {
    int64_t lead, read, steady_since;
};

/* The smoothed round-trip time and its deviation (RFC 6298), once one was learnt. */
struct fn_expect {
    bool known;
    int64_t rtt, deviation;
};

int64_t fn_clock_now(clockid_t clock);

/* A time in ticks. */
uint32_t fn_ticks(int64_t time);

void fn_clocks_start(struct fn_clocks *clocks, int64_t now, int64_t wall);
void fn_clocks_read(struct fn_clocks *clocks, int64_t now, int64_t wall);
/* Reads both clocks, at one moment even if the process is stopped meanwhile: the time of CLOCK_MONOTONIC. */
int64_t fn_clocks_look(struct fn_clocks *clocks);
/*
 * When it was by the kernel's timestamp, which is of the wall clock; `otherwise` where that is unknown: there is
 * none (0), it is not of the time between `from` and `until`, or the clock was stepped since `from`.
 */
int64_t fn_clocks_when(const struct fn_clocks *clocks, int64_t stamp, int64_t from, int64_t until, int64_t otherwise);
/*
 * The time from `sent`, in ticks, to the kernel's receive timestamp, however late that is read; to `now`, when it was
 * read, where that is none. A tick at least: of requests that leave together, when each left is known by interpolation.
 */
int64_t fn_clocks_rtt(const struct fn_clocks *clocks, uint32_t sent, int64_t stamp, int64_t now);

void fn_expect_learn(struct fn_expect *expect, int64_t rtt);
/* Within which time an answer is to be expected: the longest, while nothing is known. */
int64_t fn_expect_within(const struct fn_expect *expect, int64_t shortest, int64_t longest);

#endif
