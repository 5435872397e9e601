"""A blocking call in a thread of its own, waited for or awaited."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Work(Generic[T]):
    """``call()``, begun at once in a thread that does not keep the process alive."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call = call
        self._future: Future[T] = Future()
        # A future that runs can't be cancelled: whoever awaits it may be, and the thread goes on to its end.
        self._future.set_running_or_notify_cancel()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._future.set_result(self._call())
        except BaseException as error:
            self._future.set_exception(error)

    def result(self) -> T:
        """Wait for the thread to end, and return or raise what the call did."""
        self._thread.join()
        return self._future.result()

    async def result_async(self, cancel: Callable[[], None]) -> T:
        """The same as a coroutine; where it is cancelled, ``cancel()`` tells the call to end."""
        import asyncio

        try:
            return await asyncio.wrap_future(self._future)
        except asyncio.CancelledError:
            cancel()
            raise
