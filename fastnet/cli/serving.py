"""Common parts of the servers: the limit of descriptors, and signals."""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
import os
import resource
import select
import threading
from _collections_abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from fastnet._system import unix as _unix
from fastnet._threads import Work, start_thread
from fastnet._typing import deque
from fastnet.cli import exits

_CODES: dict[int, int] = {signal.SIGTERM: exits.YES, signal.SIGINT: exits.INTERRUPTED}
"""The signals that end a server, and its exit codes."""
_OPENING_SECONDS = 2.0
"""Seconds that a stopped server waits for its start to finish; after that only the resolver is still busy."""


def use_all_descriptors() -> None:
    """Raise this process's soft limit of open descriptors to the hard one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # The system's own maximum may be lower by now.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Signals:
    """Queues these signals, and what is ``sent``, as events."""

    def __init__(self, numbers: Iterable[int]) -> None:
        # Each signal writes its number to a pipe: one just before the wait begins is not missed.
        self._events, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def send(self, number: int) -> None:
        """Add an event. No signal has the number 0."""
        os.write(self._writer, bytes([number]))

    def poll(self, seconds: float) -> bool:
        """Whether there is an event within this time."""
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def take(self) -> int:
        """Wait for the next event."""
        return os.read(self._events, 1)[0]

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Context for the start of the server. Raises OSError if no thread can be started.

        Opening is not interrupted. A stopped server that waits for the resolver exits at once,
        and its Unix paths are removed; other events stay in the queue.
        """
        opened = threading.Event()
        early: list[int] = []

        def watch() -> None:
            while number := self.take():
                early.append(number)
                if number in _CODES and not opened.wait(_OPENING_SECONDS):
                    _unix.release_all()
                    os._exit(_CODES[number])

        watching = start_thread(watch, "fastnet-opening")
        try:
            yield
        finally:
            opened.set()
            self.send(0)
            watching.join()
            for number in early:
                self.send(number)


class Ending:
    """Created before the server starts; ``wait`` returns the exit code, and the caller stops cleanly.

    The exit code is 0 for SIGTERM, the normal stop of a server, and 130 for Ctrl-C.
    """

    def __init__(self) -> None:
        self._signals = Signals(_CODES)
        self.opening = self._signals.opening
        self._own: deque[int] = deque()

    def end(self, code: int) -> None:
        """Make ``wait`` return this, for a server that has its own reason to stop."""
        self._own.append(code)
        self._signals.send(0)

    def follow(self, wait_for_server: Callable[[], None]) -> None:
        """Make ``wait`` return also if the server ends by itself: stopping it raises the reason."""

        def call() -> None:
            try:
                wait_for_server()
            finally:
                self.end(exits.YES)

        Work(call, "fastnet-end")

    def wait(self) -> int:
        """Wait for a reason to stop. Returns the exit code."""
        number = self._signals.take()
        return _CODES[number] if number else self._own.popleft()
