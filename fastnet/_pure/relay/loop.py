"""The base of a loop: waiting for descriptors and times, and waking from another thread."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress

from fastnet._typing import Protocol

NEVER = float("inf")
"""A time that never comes."""
RETRY_PAUSE = 0.05
"""Seconds until a descriptor for which epoll had no room or memory is tried again."""
IN, PRI, OUT, ERR, HUP = select.EPOLLIN, select.EPOLLPRI, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP


class Handler(Protocol):
    """An object that handles epoll's events of a descriptor."""

    def on_event(self, events: int) -> None: ...


class Poller:
    """epoll, and the handler of each descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._unwatched: dict[int, int] = {}  # Events of descriptors for which epoll had no room.

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Watch these events of a descriptor that is not watched yet."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def watch_soon(self, fd: int, events: int, handler: Handler) -> None:
        """``watch``; without room or memory for it, retried until there is."""
        self._handlers[fd] = handler
        self._unwatched[fd] = events
        self._watch_all()

    def _watch_all(self) -> None:
        with suppress(OSError):
            for fd, events in [*self._unwatched.items()]:
                self._epoll.register(fd, events)
                del self._unwatched[fd]

    def change(self, fd: int, events: int) -> None:
        """Change the events of a watched descriptor."""
        if fd in self._unwatched:
            self._unwatched[fd] = events
        else:
            self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Unwatch a descriptor, if it is watched. Call this before it is closed."""
        if self._handlers.pop(fd, None) and self._unwatched.pop(fd, None) is None:
            self._epoll.unregister(fd)

    def poll(self, timeout: float) -> list[tuple[Handler, int]]:
        """Wait at most so many seconds (-1: no limit); returns the handlers to call, with their events."""
        if self._unwatched:
            self._watch_all()
        if self._unwatched:
            timeout = RETRY_PAUSE if timeout < 0 else min(timeout, RETRY_PAUSE)
        handlers = self._handlers
        # Looked up one by one: a handler may close a descriptor whose number is then reused.
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
        """Close in a forked child, where locks of other threads are never released."""
        self._lock = threading.RLock()
        self.close()


class Timed(Protocol):
    """An object that is called at a time."""

    def on_time(self) -> None: ...


class Clock:
    """Objects to call, with one time for each."""

    def __init__(self) -> None:
        self._times: dict[Timed, float] = {}
        self.due = NEVER
        """The ``time.monotonic()`` before which nothing is due; too early if the first was postponed."""

    def set(self, timed: Timed, due: float) -> None:
        """Call ``on_time`` at this ``time.monotonic()``; replaces the time set before."""
        if due == NEVER:
            self._times.pop(timed, None)
        else:
            self._times[timed] = due
            self.due = min(self.due, due)

    def run(self) -> None:
        """Call all objects that are due."""
        now = time.monotonic()
        if now < self.due:
            return
        for timed in [timed for timed, due in self._times.items() if due <= now]:
            # An earlier call may have postponed this one.
            if self._times.get(timed, NEVER) <= now:
                del self._times[timed]
                timed.on_time()
        self.due = min(self._times.values(), default=NEVER)
