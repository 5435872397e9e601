"""Round-trip times: their computation, and the timeout from earlier ones (RFC 6298)."""

from __future__ import annotations

import time

NANOSECOND = 1_000_000_000
TICK_BITS = 6
"""Send times are in ticks of 64 ns, which wrap after 274 s."""
TICKS = 0xFFFFFFFF
_TICK_NS = 1 << TICK_BITS
_LONGEST_NS = TICKS // 2 << TICK_BITS

# Clock adjustment slews by at most one in a thousand; a larger difference is a step.
_TOLERANCE_NS = 50_000
_LOOKS = 8
"""Maximum number of reads of both clocks."""


class Clocks:
    """The wall clock, which the kernel's timestamps use, and the monotonic clock, which times use."""

    def __init__(self) -> None:
        self._read_ns = self._steady_since_ns = time.monotonic_ns()
        self._lead_ns = time.time_ns() - self._read_ns

    def read(self) -> None:
        """Read both: a changed difference means that the wall clock was stepped."""
        for _ in range(_LOOKS):
            now_ns = time.monotonic_ns()
            lead_ns = time.time_ns() - now_ns
            if time.monotonic_ns() - now_ns <= _TOLERANCE_NS:
                break  # else the process was stopped between the two reads
        if abs(lead_ns - self._lead_ns) > _TOLERANCE_NS + (now_ns - self._read_ns) // 1000:
            self._steady_since_ns = now_ns
        self._lead_ns = lead_ns
        self._read_ns = now_ns

    def rtt_ns(self, sent: int, stamp_ns: int, now_ns: int) -> int:
        """The time from ``sent``, in ticks, to the kernel's timestamp, however late that is read.

        Without a timestamp (0), or if the wall clock was stepped, it is the time to ``now_ns``, when the
        message was read. At least a tick, the precision of the send time.
        """
        arrived_ns = stamp_ns - self._lead_ns
        rtt_ns = ((arrived_ns >> TICK_BITS) - sent & TICKS) << TICK_BITS
        # A missing timestamp is of 1970; a difference of more than half of all ticks is negative.
        if rtt_ns <= _LONGEST_NS and self._steady_since_ns <= arrived_ns - rtt_ns and arrived_ns <= now_ns:
            return rtt_ns + arrived_ns % _TICK_NS if rtt_ns else _TICK_NS
        return max(_TICK_NS, ((now_ns >> TICK_BITS) - sent & TICKS) << TICK_BITS)


class Expectation:
    """The smoothed round-trip time and its deviation (RFC 6298), after the first answer."""

    def __init__(self) -> None:
        self._rtt_ns = self._deviation_ns = 0

    def learn(self, rtt_ns: int) -> None:
        if not self._rtt_ns:
            self._rtt_ns, self._deviation_ns = rtt_ns, rtt_ns // 2
            return
        self._deviation_ns += (abs(self._rtt_ns - rtt_ns) - self._deviation_ns) // 4
        self._rtt_ns += (rtt_ns - self._rtt_ns) // 8

    def within_ns(self, shortest_ns: int, longest_ns: int) -> int:
        """The time within which to expect an answer: the maximum until a round-trip time is known."""
        if not self._rtt_ns:
            return longest_ns
        return min(longest_ns, max(shortest_ns, self._rtt_ns + 4 * self._deviation_ns))
