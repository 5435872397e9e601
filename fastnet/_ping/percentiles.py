"""Percentiles of round-trip times in constant memory.

The first ``EXACT`` are kept as they are. From then on they are counted in a histogram whose buckets grow by
a constant factor (DDSketch: Masson, Rim and Lee, VLDB 2019): a percentile is off by ``ERROR`` at most.
"""

from array import array
from bisect import bisect_left
from itertools import accumulate
from math import ceil, log

EXACT = 256
"""Number of round-trip times with exact percentiles."""
ERROR = 0.02
"""Relative error of the percentiles beyond that, between a microsecond and 1000 seconds."""

_LOWEST_MS, _HIGHEST_MS = 1e-3, 1e6
_GROWTH = (1 + ERROR) / (1 - ERROR)
_BUCKETS_PER_E = 1 / log(_GROWTH)
_BELOW = log(_LOWEST_MS) * _BUCKETS_PER_E
_LAST = ceil(log(_HIGHEST_MS) * _BUCKETS_PER_E - _BELOW)


class Percentiles:
    """What percentiles are taken of."""

    __slots__ = ("_buckets", "_exact")

    def __init__(self) -> None:
        self._exact: array[float] | None = array("d")
        self._buckets: array[int] | None = None

    def add(self, rtt_ms: float) -> None:
        if self._exact is not None:
            self._exact.append(rtt_ms)
            if len(self._exact) > EXACT:
                self._count_exact(self._exact)
        else:
            self._count(rtt_ms)

    def percentile(self, percent: int) -> float | None:
        """The smallest round-trip time that so many are not above; None if there are none."""
        if self._buckets is None:
            kept = sorted(self._exact or ())
            return kept[ceil(len(kept) * percent / 100) - 1] if kept else None
        up_to = list(accumulate(self._buckets))
        bucket = bisect_left(up_to, ceil(up_to[-1] * percent / 100))
        return _LOWEST_MS * _GROWTH**bucket * 2 / (1 + _GROWTH)

    def _count_exact(self, exact: "array[float]") -> None:
        self._buckets = array("I", bytes(array("I").itemsize * (_LAST + 1)))
        self._exact = None
        for rtt_ms in exact:
            self._count(rtt_ms)

    def _count(self, rtt_ms: float) -> None:
        """Bucket k ends at the lowest times the growth to the power of k."""
        assert self._buckets is not None
        bucket = ceil(log(rtt_ms) * _BUCKETS_PER_E - _BELOW) if rtt_ms > _LOWEST_MS else 0
        try:
            self._buckets[min(bucket, _LAST)] += 1
        except OverflowError:  # half of each has the same distribution
            self._buckets = array("I", (count >> 1 for count in self._buckets))
