/* Round-trip times: their computation, and the timeout from earlier ones (RFC 6298). */
#define _GNU_SOURCE
#include "probe/timing.h"

#include <stdlib.h>

/* Clock adjustment slews by at most one in a thousand; a larger difference is a step. */
#define TOLERANCE (50 * FN_MICROSECOND)
/* Maximum number of reads of both clocks. */
#define LOOKS 8
/* Ticks wrap: a difference above this is negative. */
#define MOST_TICKS (UINT32_MAX / 2)

int64_t fn_clock_now(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * FN_SECOND + now.tv_nsec;
}

uint32_t fn_ticks(int64_t time)
{
    return (uint32_t)((uint64_t)time >> FN_TICK_BITS);
}

void fn_clocks_start(struct fn_clocks *clocks, int64_t now, int64_t wall)
{
    *clocks = (struct fn_clocks){.lead = wall - now, .read = now, .steady_since = now};
}

void fn_clocks_read(struct fn_clocks *clocks, int64_t now, int64_t wall)
{
    const int64_t lead = wall - now;

    if (llabs(lead - clocks->lead) > TOLERANCE + (now - clocks->read) / 1000)
        clocks->steady_since = now;
    clocks->lead = lead;
    clocks->read = now;
}

int64_t fn_clocks_look(struct fn_clocks *clocks)
{
    int64_t now, wall;
    unsigned tries = LOOKS;

    do {
        now = fn_clock_now(CLOCK_MONOTONIC);
        wall = fn_clock_now(CLOCK_REALTIME);
    } while (fn_clock_now(CLOCK_MONOTONIC) - now > TOLERANCE && --tries);
    fn_clocks_read(clocks, now, wall);
    return now;
}

int64_t fn_clocks_when(const struct fn_clocks *clocks, int64_t stamp, int64_t from, int64_t until, int64_t otherwise)
{
    const int64_t when = stamp - clocks->lead;

    return stamp && from >= clocks->steady_since && from <= when && when <= until ? when : otherwise;
}

int64_t fn_clocks_rtt(const struct fn_clocks *clocks, uint32_t sent, int64_t stamp, int64_t now)
{
    const int64_t arrived = stamp - clocks->lead;
    const uint32_t ticks = fn_ticks(arrived) - sent;
    const int64_t rtt = (int64_t)ticks << FN_TICK_BITS;
    const bool known = stamp && arrived <= now && ticks <= MOST_TICKS && arrived - rtt >= clocks->steady_since;
    const int64_t elapsed = (int64_t)(uint32_t)(fn_ticks(now) - sent) << FN_TICK_BITS;
    const int64_t found = known ? rtt + arrived % (1 << FN_TICK_BITS) : elapsed;

    return found > 1 << FN_TICK_BITS ? found : 1 << FN_TICK_BITS;
}

void fn_expect_learn(struct fn_expect *expect, int64_t rtt)
{
    if (!expect->known) {
        *expect = (struct fn_expect){.known = true, .rtt = rtt, .deviation = rtt / 2};
        return;
    }
    expect->deviation += (llabs(expect->rtt - rtt) - expect->deviation) / 4;
    expect->rtt += (rtt - expect->rtt) / 8;
}

int64_t fn_expect_within(const struct fn_expect *expect, int64_t shortest, int64_t longest)
{
    const int64_t expected = expect->rtt + 4 * expect->deviation;

    if (!expect->known || expected > longest || shortest > longest)
        return longest;
    return expected > shortest ? expected : shortest;
}
