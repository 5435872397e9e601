"""When calls failed in a round, and which lives that can have touched."""

from __future__ import annotations

from collections import deque

from faults import Fault, Faults

from .reactor import Reactor

PAUSE = 0.06
"""Seconds between two windows, in which some lives are led that none of them touches."""
TICK = 0.01


class Windows:
    """Injects one fault after the other, each until it has happened, or for a while."""

    def __init__(self, reactor: Reactor, faults: Faults | None, queue: tuple[Fault, ...]) -> None:
        self._reactor = reactor
        self._faults = faults
        self._queue = deque(queue if faults else ())
        self._since = self._until = 0.0
        self._open = False
        self._past: list[tuple[float, float]] = []

    def begin(self) -> None:
        """Open the first window soon."""
        self._reactor.later(PAUSE, self._next)

    def _next(self) -> None:
        if not self._queue or not self._faults:
            return
        fault = self._queue.popleft()
        self._since = self._reactor.now
        self._until = self._since + fault.milliseconds / 1000
        self._open = True
        self._faults.arm(fault)
        self._reactor.later(TICK, self._look)

    def _look(self) -> None:
        if not self._open or not self._faults:
            return
        if self._reactor.now < self._until and not self._faults.is_spent:
            self._reactor.later(TICK, self._look)
            return
        self._reactor.later(PAUSE if self._shut() else 0, self._next)

    def _shut(self) -> int:
        """How many calls failed."""
        failed = self._faults.calm() if self._open and self._faults else 0
        self._open = False
        if failed:
            self._past.append((self._since, self._reactor.now))
        return failed

    def close(self) -> None:
        """There are no more from now on."""
        self._queue.clear()
        self._shut()

    @property
    def any_lately(self) -> bool:
        """Whether a call has failed in the last second."""
        if self._open and self._faults and self._faults.failing:
            return True
        return bool(self._past) and self._past[-1][1] > self._reactor.now - 1

    def touch(self, begin: float, end: float) -> bool:
        """Whether any call failed between these times."""
        return any(begin <= last and first <= end for first, last in self._past)
