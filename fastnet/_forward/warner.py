"""Calls of the warning function, in a thread of their own."""

import threading
from _collections_abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from fastnet._log import ERROR, WARNING, log
from fastnet._threads import Work

_MOST = 1000
"""Warnings that may wait; further ones are lost."""


def log_warning(text: str) -> None:
    """What ``warn`` is where nobody gives another."""
    log("forward", WARNING, text)


class Warner:
    """Called with a text in any thread, it calls ``warn(text)`` in its own: nothing waits for that.

    What ``warn`` raises is logged with the text.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._ended = threading.Event()

    def __call__(self, text: str) -> None:
        if self._texts.qsize() < _MOST:
            self._texts.put(text)

    def start(self) -> None:
        """Raises OSError where no thread can be started."""
        self._ended = threading.Event()
        self._work = Work(self._run, "fastnet-forward-warnings")

    def end(self) -> None:
        """The thread ends after the warnings that are queued."""
        self._texts.put(None)

    def wait(self, timeout: float) -> None:
        """For the end, unless ``warn`` takes longer."""
        self._ended.wait(timeout)

    async def wait_async(self, timeout: float) -> None:
        """``wait`` as a coroutine."""
        import asyncio

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._work.result_async(cancel=lambda: None), timeout)

    def _run(self) -> None:
        try:
            while (text := self._texts.get()) is not None:
                try:
                    self._warn(text)
                except Exception:
                    log("forward", ERROR, f"warn failed: {text}", exc_info=True)
        finally:
            self._ended.set()
