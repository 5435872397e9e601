"""A byte rate limit by the generic cell rate algorithm (ITU-T I.371, annex A)."""

from __future__ import annotations

import time

BURST = 0.05
"""Length of a burst in seconds of the rate; a burst has at least one byte."""


class Bucket:
    """The state is one number: the time at which the rate will have allowed all bytes taken so far.

    Threads that share one may see the same room; if they take too much, the next wait is longer by as much.
    """

    __slots__ = ("_burst", "_earned_at", "_rate")

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._burst = max(BURST, 1 / bytes_per_second)
        self._earned_at = 0.0

    def room(self, now: float) -> int:
        """Bytes that may pass at this ``time.monotonic()``."""
        ahead = max(self._earned_at - now, 0.0)
        # Rounds up by less than a byte, so that a rounding error does not make a burst of one byte 0.
        return max(0, int((self._burst - ahead) * self._rate + 0.001))

    def take(self, now: float, size: int) -> None:
        """Count so many bytes that have passed."""
        self._earned_at = max(self._earned_at, now) + size / self._rate


class Rates(list[Bucket]):
    """All byte rates that limit a connection."""

    def room(self) -> int:
        """Bytes that may pass now."""
        now = time.monotonic()
        return min([bucket.room(now) for bucket in self])

    def take(self, size: int) -> None:
        """Count so many bytes that have passed now."""
        now = time.monotonic()
        for bucket in self:
            bucket.take(now, size)
