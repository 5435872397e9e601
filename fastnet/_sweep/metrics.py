"""Sweeps as Prometheus metrics: each name begins with ``fastnet_sweep_``.

The label ``sweep`` distinguishes the sweeps of one machine, whose files the collector joins.
"""

import time
from _collections_abc import Iterator
from math import isnan

from fastnet._escape import escaped
from fastnet._sweep.result import (
    ALIVE,
    DECIDED,
    INACTIVE,
    NOT_PROBED,
    STATES,
    UNREACHABLE,
    SweepResult,
    places,
)
from fastnet._textfile import Histogram, Textfile
from fastnet._typing import Any

__all__ = ["SweepMetrics"]

_ALIVE = STATES.index(ALIVE)
_PREFIX = "fastnet_sweep_"


class SweepMetrics:
    """The latest of the sweeps of one command, and the round-trip times of all."""

    def __init__(self, textfile: Textfile) -> None:
        self.textfile: Textfile = textfile
        self._name = escaped(textfile.name)
        self._rounds = 0
        self._rtts = Histogram()

    def begin(self) -> None:
        """Raises OSError where the file can't be written."""
        self.textfile.check()

    def write(self, result: SweepResult, seconds: float) -> None:
        """Count a sweep that has just ended, after so many seconds, and replace the file."""
        self._complete = result.complete
        self._counts = {
            **dict(zip((ALIVE, INACTIVE, UNREACHABLE, NOT_PROBED), result.counts, strict=True)),
            DECIDED: len(result.decided_before),
        }
        self._seconds, self._end = seconds, time.time()
        self._rounds += result.complete
        rtts_ms = result.rtts_ms
        for index in places(result.states, _ALIVE):
            if not isnan(rtts_ms[index]):
                self._rtts.add(rtts_ms[index] / 1000)
        self.textfile.write(self._families(self.textfile.core))

    def _families(self, core: Any) -> Iterator[Any]:
        targets = core.GaugeMetricFamily(
            f"{_PREFIX}targets", "Targets in each state after the last sweep", labels=("sweep", "state")
        )
        for state, count in self._counts.items():
            targets.add_metric((self._name, state), count)
        yield targets
        for name, text, value in (
            ("complete", "1, or 0 where the last sweep was interrupted", self._complete),
            ("duration_seconds", "Duration of the last sweep", self._seconds),
            ("end_timestamp_seconds", "When the last sweep ended", self._end),
        ):
            gauge = core.GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=("sweep",))
            gauge.add_metric((self._name,), value)
            yield gauge
        rounds = core.CounterMetricFamily(f"{_PREFIX}rounds", "Complete sweeps", labels=("sweep",))
        rounds.add_metric((self._name,), self._rounds)
        yield rounds
        rtt = core.HistogramMetricFamily(
            f"{_PREFIX}rtt_seconds", "Round-trip time of alive targets, of all sweeps", labels=("sweep",)
        )
        rtt.add_metric((self._name,), self._rtts.buckets(), self._rtts.sum)
        yield rtt
