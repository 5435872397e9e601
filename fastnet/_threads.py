"""A blocking call in a thread of its own, waited for or awaited.

What ``concurrent.futures`` would do, without the ten milliseconds that importing it takes.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Work(Generic[T]):
    """``call()``, begun at once in a thread that does not keep the process alive."""

    _value: T

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._waiters: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        with self._lock:
            self._ended.set()
        for tell in self._waiters:
            tell()

    def result(self) -> T:
        """Wait for the thread to end, and return or raise what the call did."""
        # A join that Ctrl-C breaks off takes the thread for ended from then on.
        self._ended.wait()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value

    async def result_async(self, cancel: Callable[[], None]) -> T:
        """The same as a coroutine; where it is cancelled, ``cancel()`` tells the call to end."""
        import asyncio

        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # The event loop is closed: nobody waits any more.
                loop.call_soon_threadsafe(ended.set)

        with self._lock:
            if self._ended.is_set():
                ended.set()
            else:
                self._waiters.append(tell)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            cancel()
            raise
        return self.result()
