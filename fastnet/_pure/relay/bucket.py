"""A byte rate limit by the generic cell rate algorithm (ITU-T I.371, annex A)."""

from __future__ import annotations

from itertools import count

BURST = 0.05
"""Length of a burst in seconds of the rate; a burst has at least one byte."""

_GOLDEN_RATIO = 0.618034
_turns = count()


def pause() -> float:
    """Seconds to wait for room, between half a burst and a whole one, different at each call.

    Who wakes first takes all the room; with equal waits it would always be the same connection. Multiples of
    the golden ratio are evenly spread and do not repeat.
    """
    return BURST / 2 * (1 + next(_turns) * _GOLDEN_RATIO % 1)


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

    def room(self, now: float) -> int:
        """Bytes that may pass at this ``time.monotonic()``."""
        return min([bucket.room(now) for bucket in self])

    def take(self, now: float, size: int) -> None:
        """Count so many bytes that have passed."""
        for bucket in self:
            bucket.take(now, size)
