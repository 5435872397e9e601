"""A byte rate, kept to by the generic cell rate algorithm (ITU-T I.371, annex A)."""

from __future__ import annotations

import time

BURST = 0.05
"""What the rate gives in so many seconds may pass at once, and one byte at least."""


class Bucket:
    """One number is the whole state: when what was taken so far will have been earned.

    Threads that share one may see the same room; what they take too much is paid by a longer wait.
    """

    __slots__ = ("_burst", "_earned_at", "_rate")

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._burst = max(BURST, 1 / bytes_per_second)
        self._earned_at = 0.0

    def room(self, now: float) -> int:
        """Bytes that may pass at this ``time.monotonic()``."""
        ahead = max(self._earned_at - now, 0.0)
        # Rounded up by less than a byte: a burst of one byte must not be lost to a rounding error.
        return max(0, int((self._burst - ahead) * self._rate + 0.001))

    def take(self, now: float, size: int) -> None:
        """So many bytes have passed."""
        self._earned_at = max(self._earned_at, now) + size / self._rate


class Rates(list[Bucket]):
    """The byte rates that a connection keeps to, all at once."""

    def room(self) -> int:
        """Bytes that may pass now."""
        now = time.monotonic()
        return min([bucket.room(now) for bucket in self])

    def take(self, size: int) -> None:
        """So many bytes have passed now."""
        now = time.monotonic()
        for bucket in self:
            bucket.take(now, size)
