/* Round-trip times: their computation, and the timeout from earlier ones. Times are of CLOCK_MONOTONIC. */
#ifndef FN_PROBE_TIMING_H
#define FN_PROBE_TIMING_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define FN_MICROSECOND INT64_C(1000)
#define FN_MILLISECOND INT64_C(1000000)
#define FN_SECOND INT64_C(1000000000)
#define FN_NEVER INT64_MAX

/* A sweep keeps send times in ticks of 64 ns, which wrap after 274 s. */
#define FN_TICK_BITS 6

/* The wall clock minus CLOCK_MONOTONIC, the time of that reading, and the time of the last step. */
struct fn_clocks {
    int64_t lead, read, steady_since;
};

/* The smoothed round-trip time and its deviation (RFC 6298), after the first answer. */
struct fn_expect {
    bool known;
    int64_t rtt, deviation;
};

int64_t fn_clock_now(clockid_t clock);

/* A time in ticks. */
uint32_t fn_ticks(int64_t time);

void fn_clocks_start(struct fn_clocks *clocks, int64_t now, int64_t wall);
void fn_clocks_read(struct fn_clocks *clocks, int64_t now, int64_t wall);
/* Reads both clocks at one moment, even if the process is stopped meanwhile; returns CLOCK_MONOTONIC. */
int64_t fn_clocks_look(struct fn_clocks *clocks);
/*
 * The time of the kernel's timestamp, which is of the wall clock. `otherwise` if it is unknown: there is no stamp (0),
 * it is not between `from` and `until`, or the clock was stepped since `from`.
 */
int64_t fn_clocks_when(const struct fn_clocks *clocks, int64_t stamp, int64_t from, int64_t until, int64_t otherwise);
/*
 * The time from `sent`, in ticks, to the kernel's receive timestamp, however late that is read; without one to `now`,
 * when the message was read. At least a tick: the send times of a batch are interpolated.
 */
int64_t fn_clocks_rtt(const struct fn_clocks *clocks, uint32_t sent, int64_t stamp, int64_t now);

void fn_expect_learn(struct fn_expect *expect, int64_t rtt);
/* The time within which to expect an answer: the longest until a round-trip time is known. */
int64_t fn_expect_within(const struct fn_expect *expect, int64_t shortest, int64_t longest);

#endif
