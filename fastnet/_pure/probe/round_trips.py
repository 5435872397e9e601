"""Totals of round-trip times in constant memory.

Percentiles are of the first ``EXACT`` times themselves. From then on they are of a histogram whose buckets
grow by a constant factor (DDSketch: Masson, Rim and Lee, VLDB 2019): one is off by ``ERROR`` at most.
"""

from array import array
from bisect import bisect_left
from itertools import accumulate
from math import ceil, log, sqrt

from fastnet._contract.probe import ERROR, EXACT, Times

_LOWEST_MS, _HIGHEST_MS = 1e-3, 1e6
_GROWTH = (1 + ERROR) / (1 - ERROR)
_BUCKETS_PER_E = 1 / log(_GROWTH)
_BELOW = log(_LOWEST_MS) * _BUCKETS_PER_E
_LAST = ceil(log(_HIGHEST_MS) * _BUCKETS_PER_E - _BELOW)


class RoundTrips:
    """Round-trip times, added one by one."""

    __slots__ = (
        *("_buckets", "_differences", "_exact", "_least", "_mean", "_most", "_newest", "_squares"),
        "count",
    )

    def __init__(self) -> None:
        self.count = 0
        self._least = self._most = self._mean = self._squares = self._differences = self._newest = 0.0
        self._exact: array[float] = array("d")
        self._buckets: array[int] | None = None

    def add(self, ms: float) -> None:
        """One more, in milliseconds."""
        self._keep(ms)
        if self.count:
            self._differences += abs(ms - self._newest)
        if not self.count or ms < self._least:
            self._least = ms
        if ms > self._most:
            self._most = ms
        self._newest = ms
        self.count += 1
        # Welford's algorithm, which keeps the variance exact for times far from zero.
        above = ms - self._mean
        self._mean += above / self.count
        self._squares += above * (ms - self._mean)

    def times(self) -> Times | None:
        """The totals so far; None before the first."""
        if not self.count:
            return None
        return Times(
            self._least,
            self._mean,
            self._most,
            sqrt(self._squares / self.count),
            self._percentile(50),
            self._percentile(90),
            self._percentile(99),
            self._differences / (self.count - 1) if self.count > 1 else None,
        )

    def _percentile(self, percent: int) -> float:
        """The smallest time that so many are not above."""
        if self._buckets is None:
            return sorted(self._exact)[-(-len(self._exact) * percent // 100) - 1]
        up_to = list(accumulate(self._buckets))
        bucket = bisect_left(up_to, -(-up_to[-1] * percent // 100))
        return min(self._most, max(self._least, _LOWEST_MS * _GROWTH**bucket * 2 / (1 + _GROWTH)))

    def _keep(self, ms: float) -> None:
        """Keep one more, exactly or in a bucket."""
        if self.count < EXACT:
            self._exact.append(ms)
            return
        if self._buckets is None:
            self._buckets = array("I", bytes(array("I").itemsize * (_LAST + 1)))
            for each in self._exact:
                self._count(self._buckets, each)
            self._exact = array("d")
        self._count(self._buckets, ms)

    @staticmethod
    def _count(buckets: "array[int]", ms: float) -> None:
        """Bucket k ends at the lowest times the growth to the power of k."""
        bucket = min(ceil(log(ms) * _BUCKETS_PER_E - _BELOW) if ms > _LOWEST_MS else 0, _LAST)
        if buckets[bucket] == 0xFFFFFFFF:  # half of each has the same distribution
            for i, count in enumerate(buckets):
                buckets[i] = count >> 1
        buckets[bucket] += 1
