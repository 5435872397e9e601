"""One thread's descriptors and timers: level-triggered epoll, and callbacks."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

READ, WRITE, HANGUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP
MOST_EVENTS = 256
LONGEST_SLEEP = 0.05


class Reactor:
    """Calls back for descriptors and at times; ``progress`` is when bytes, or an end, arrived last."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.now = self.progress = time.monotonic()

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        if self._callbacks.pop(fd, None):
            self._epoll.unregister(fd)

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now + delay, next(self._numbers), callback))

    def turn(self) -> None:
        """Wait for events for a short time, and call back."""
        wait = LONGEST_SLEEP
        if self._timers:
            wait = min(wait, max(0.0, self._timers[0][0] - time.monotonic()))
        events = self._epoll.poll(wait, MOST_EVENTS)
        self.now = time.monotonic()
        for fd, what in events:
            if callback := self._callbacks.get(fd):
                callback(what)
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()

    def run_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Turn until it is done (True), or for so many seconds at the most."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() >= end:
                return False
            self.turn()
        return True

    def moved(self) -> None:
        """Note that something arrived."""
        self.progress = self.now

    def close(self) -> None:
        self._epoll.close()
