"""The ground under the relay: descriptors and times that are waited for, and a way to end the wait."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

IN, OUT, ERR, HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP


class Handler(Protocol):
    """Who is told what epoll says of a descriptor."""

    def on_event(self, events: int) -> None: ...


class Poller:
    """epoll, and who is called for each descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Report these events of a descriptor that is not watched yet."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Report these events of a watched descriptor from now on."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Report no more of a descriptor; before it is closed."""
        self._epoll.unregister(fd)
        del self._handlers[fd]

    def poll(self, timeout: float) -> list[tuple[Handler, int]]:
        """Wait so many seconds at most (-1: for ever); who is to be called, and with which events."""
        handlers = self._handlers
        # Looked up at once: what is handled first may close a descriptor whose number is then used anew.
        return [(handlers[fd], events) for fd, events in self._epoll.poll(timeout)]

    def close(self) -> None:
        self._epoll.close()


class Waker:
    """Lets another thread, or a signal handler, end the wait."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.RLock()

    def wake(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def on_event(self, _events: int) -> None:
        os.eventfd_read(self.fd)

    def close(self) -> None:
        with self._lock:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)

    def abandon(self) -> None:
        """Close in a forked child, where another thread's lock is held for ever."""
        self._lock = threading.RLock()
        self.close()


class Timer(OrderedDict["Hashable", float]):
    """Those for whom ``action`` is due so many seconds after they were armed, the earliest first."""

    def __init__(self, clock: Clock, action: Callable[..., object], seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self.action = action
        self.seconds = seconds

    def arm(self, item: Hashable) -> None:
        """From now on; also for one that is armed already."""
        due = self[item] = time.monotonic() + self.seconds
        self.move_to_end(item)
        if due < self._clock.due:
            self._clock.due = due

    def disarm(self, item: Hashable) -> None:
        self.pop(item, None)


class Clock:
    """All timers of a loop: one for each action and time."""

    def __init__(self) -> None:
        self._timers: dict[tuple[Callable[..., object], float], Timer] = {}
        self.due = float("inf")
        """The ``time.monotonic()`` before which nothing is due; nor then, if the earliest was disarmed."""

    def timer(self, action: Callable[..., object], seconds: float) -> Timer:
        """The timer that calls ``action(item)`` when the time of an item is up, which it forgets then."""
        key = action, seconds
        if key not in self._timers:
            self._timers[key] = Timer(self, action, seconds)
        return self._timers[key]

    def run(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now < self.due:
            return
        for timer in [timer for timer in self._timers.values() if timer]:
            late = []
            for item, due in timer.items():
                if due > now:
                    break
                late.append(item)
            for item in late:
                # One action may have disarmed, or armed anew, who was late with it.
                if timer.get(item, now + 1) <= now:
                    del timer[item]
                    timer.action(item)
        firsts = [next(iter(timer.values())) for timer in self._timers.values() if timer]
        self.due = min(firsts, default=float("inf"))
