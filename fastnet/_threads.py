"""A blocking call in a thread of its own, waited for or awaited; and one that is repeated there.

What ``concurrent.futures`` would do, without the ten milliseconds that importing it takes.
"""

import errno
import os
import threading
from _collections_abc import Callable

from fastnet._steps import READABLE, Steps, Wait
from fastnet._typing import Generic, TypeVar

T = TypeVar("T")


def start_thread(call: Callable[[], None], name: str) -> threading.Thread:
    """``call()`` in a thread that does not keep the process alive. Raises OSError where there can be none."""
    thread = threading.Thread(target=call, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, f"{error} ({name})") from None
    return thread


class Work(Generic[T]):
    """``call()``, begun at once in a thread that does not keep the process alive.

    A child process that forks off does not have the thread. Raises OSError where no thread can be started.
    """

    _value: T

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._waiters: list[Callable[[], None]] = []
        self._process = os.getpid()
        self._ident = 0
        self._thread = start_thread(self._run, name)

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        with self._lock:
            self._ended.set()
        for wake in self._waiters:
            wake()

    @property
    def is_ours(self) -> bool:
        """Whether this process began it, and not one that it forked off from."""
        return self._process == os.getpid()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def check(self) -> None:
        """Raise RuntimeError where waiting for it would never end."""
        if not (self.is_ours or self._ended.is_set()):
            raise RuntimeError("its thread is the parent process's: this one can't wait for it")
        if not self._ended.is_set() and threading.get_ident() == self._ident:
            raise RuntimeError("this thread can't wait for its own end")

    def result(self) -> T:
        """Wait for the thread to end, and return or raise what the call did. Raises as ``check`` does."""
        self.check()
        # A join that Ctrl-C breaks off takes the thread for ended from then on.
        self._ended.wait()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value

    def ending(self, deadline: float | None) -> Steps[bool]:
        """Whether the call has ended by the deadline: ``result()`` does not wait then."""
        ours = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with self._lock:
                if self._ended.is_set():
                    return True
                theirs = os.dup(ours)  # The call may end after the waiter has gone.
                self._waiters.append(lambda: _write_and_close(theirs))
            return (yield Wait(ours, READABLE, deadline))
        finally:
            os.close(ours)

    async def result_async(self, cancel: Callable[[], None]) -> T:
        """The same as a coroutine; where it is cancelled, ``cancel()`` ends the call."""
        import asyncio

        self.check()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                return  # The event loop is closed: nobody waits any more.

        with self._lock:
            if self._ended.is_set():
                ended.set()
            else:
                self._waiters.append(wake)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            cancel()
            raise
        return self.result()


def _write_and_close(eventfd: int) -> None:
    os.eventfd_write(eventfd, 1)
    os.close(eventfd)


def reason_of(error: Exception) -> str:
    """The error in a line, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


class Repeated:
    """``step()`` in a thread of its own, again and again until ``end``.

    It is called ``interval`` seconds after it has returned (never, for None), and when ``wake`` is called,
    but not within ``pause`` seconds after it has returned.
    Whatever it raises is the end of that step only: ``warn`` is called with a line that begins with
    ``what``, once until a step succeeds. Raises OSError where no thread can be started.
    """

    def __init__(
        self,
        step: Callable[[], object],
        name: str,
        what: str,
        warn: Callable[[str], None],
        interval: float | None = None,
        pause: float = 0.0,
    ) -> None:
        self._step = step
        self._what = what
        self._warn = warn
        self._pause = pause if interval is None else min(pause, interval)
        self._interval = interval if interval is None else interval - self._pause
        self._failing = False
        self._finishing = False
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._thread = start_thread(self._run, name)

    def wake(self) -> None:
        """Do the step now, or once more after the one that is being done."""
        self._woken.set()

    def end(self) -> None:
        """Stop the steps; one in progress is not waited for."""
        self._ended.set()
        self._woken.set()

    def finish(self, timeout: float) -> bool:
        """Do the step once more, and none after it; whether that was done in so many seconds."""
        self._finishing = True
        self._woken.set()
        return self.join(timeout)

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._woken.wait(self._interval)
            self._woken.clear()
            if self._ended.is_set():
                return
            is_last = self._finishing
            try:
                self._step()
            except Exception as error:
                self._fail(error)
            else:
                self._failing = False
            if is_last:
                return
            if self._pause:
                self._ended.wait(self._pause)

    def _fail(self, error: Exception) -> None:
        if self._failing:
            return
        self._failing = True
        # The steps continue even if the warning fails.
        try:
            self._warn(f"{self._what}: {reason_of(error)}")
        except Exception:
            return
