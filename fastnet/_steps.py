"""One body for a function and its coroutine twin.

The body is a generator that yields a ``Wait`` wherever it can't go on, and receives whether the descriptor
became ready (True) or the deadline passed (False). ``run`` waits by ``poll``, ``run_async`` in the event
loop. Either closes the generator when the waiting is broken off, so its ``finally`` clauses run.
"""

import select
import time
from _collections_abc import Generator, Iterator

from fastnet._limits import check_timeout
from fastnet._typing import Generic, NamedTuple, Self, TypeVar

T = TypeVar("T")

READABLE = select.POLLIN
WRITABLE = select.POLLOUT


class Wait(NamedTuple):
    """Until ``fd`` is ready for any of ``events``, or ``time.monotonic()`` reaches ``deadline``.

    Without events it is a pause until the deadline.
    """

    fd: int
    events: int
    deadline: float | None = None


Steps = Generator[Wait, bool, T]


def deadline_in(timeout: float | None) -> float | None:
    """The ``time.monotonic()`` at which a timeout that starts now is up."""
    check_timeout("timeout", timeout)
    return None if timeout is None else time.monotonic() + timeout


def earliest(*deadlines: float | None) -> float | None:
    """The first of several deadlines; None, which is never, if there is none among them."""
    return min((deadline for deadline in deadlines if deadline is not None), default=None)


class Together(Generic[T]):
    """Several steps at once, themselves a part of other steps: a context manager that closes those that run.

    Start some, then call ``advance()`` and yield ``wait()``, in turn, for as long as any ``running`` are
    wanted. An exception that leaves one of them leaves ``advance()``.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waits: dict[Steps[T], Wait | None] = {}

    @property
    def running(self) -> int:
        """How many have not ended."""
        return len(self._waits)

    def start(self, steps: Steps[T]) -> None:
        """Begin these steps with the next ``advance()``."""
        self._waits[steps] = None

    def advance(self) -> Iterator[T]:
        """Go on with all that can, without waiting: what each returns that ends, before the next goes on."""
        now = time.monotonic()  # first: a deadline has only passed where nothing was ready at that time
        ready = {fd for fd, _ in self._epoll.poll(0)}
        for steps, wait in list(self._waits.items()):
            is_ready = wait is not None and wait.events != 0 and wait.fd in ready
            if wait is None or is_ready or (wait.deadline is not None and wait.deadline <= now):
                try:
                    self._resume(steps, is_ready)
                except StopIteration as stop:
                    yield stop.value

    def wait(self, deadline: float | None = None) -> Wait:
        """Until ``advance()`` has something to do, or the deadline."""
        started = any(wait is None for wait in self._waits.values())
        until = earliest(deadline, *(wait.deadline for wait in self._waits.values() if wait))
        return Wait(self._epoll.fileno(), READABLE, 0.0 if started else until)

    def _resume(self, steps: Steps[T], ready: bool) -> None:
        before = self._waits.pop(steps)
        if before and before.events:
            self._epoll.unregister(before.fd)
        wait = steps.send(ready) if before else next(steps)
        self._waits[steps] = wait
        if wait.events:
            self._epoll.register(wait.fd, wait.events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for steps in self._waits:
            steps.close()
        self._epoll.close()


LONGEST_POLL = 1.0
"""Seconds."""


def run(steps: Steps[T]) -> T:
    """What the steps return, waiting in this thread."""
    try:
        wait = next(steps)
        while True:
            wait = steps.send(_ready(wait))
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        steps.close()


async def run_async(steps: Steps[T]) -> T:
    """What the steps return, waiting in the running event loop."""
    try:
        wait = next(steps)
        while True:
            wait = steps.send(await _ready_async(wait))
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        steps.close()


def _ready(wait: Wait) -> bool:
    poll = select.poll()
    if wait.events:
        poll.register(wait.fd, wait.events)
    deadline = float("inf") if wait.deadline is None else wait.deadline
    while True:
        left = max(0.0, deadline - time.monotonic())
        # Not all of it at once: a signal that comes right before the system waits is handled only after it.
        if poll.poll(min(left, LONGEST_POLL) * 1000):
            return True
        if left <= LONGEST_POLL:
            return False


async def _ready_async(wait: Wait) -> bool:
    import asyncio

    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def finish(answer: bool) -> None:
        if not ready.done():
            ready.set_result(answer)

    timer = None
    try:
        if wait.events & READABLE:
            loop.add_reader(wait.fd, finish, True)
        if wait.events & WRITABLE:
            loop.add_writer(wait.fd, finish, True)
        if wait.deadline is not None:
            timer = loop.call_later(max(0.0, wait.deadline - time.monotonic()), finish, False)
        return await ready
    finally:
        if wait.events & READABLE:
            loop.remove_reader(wait.fd)
        if wait.events & WRITABLE:
            loop.remove_writer(wait.fd)
        if timer is not None:
            timer.cancel()
