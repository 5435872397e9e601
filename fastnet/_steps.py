"""One body for a function and its coroutine twin.

The body is a generator that yields a ``Wait`` wherever it can't go on, and is told whether the descriptor
became ready (True) or the deadline passed (False). ``run`` waits by ``poll``, ``run_async`` in the event
loop. Either closes the generator when the waiting is broken off, so its ``finally`` clauses run.
"""

import select
import time
from collections.abc import Generator
from typing import NamedTuple, TypeVar

from fastnet._limits import check_seconds

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
    check_seconds("timeout", timeout)
    return None if timeout is None else time.monotonic() + timeout


_LONGEST_POLL = 1.0
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
        # Not all of it at once: a signal that comes right before the system waits is heeded only after it.
        if poll.poll(min(left, _LONGEST_POLL) * 1000):
            return True
        if left <= _LONGEST_POLL:
            return False


async def _ready_async(wait: Wait) -> bool:
    import asyncio

    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def tell(answer: bool) -> None:
        if not ready.done():
            ready.set_result(answer)

    timer = None
    try:
        if wait.events & READABLE:
            loop.add_reader(wait.fd, tell, True)
        if wait.events & WRITABLE:
            loop.add_writer(wait.fd, tell, True)
        if wait.deadline is not None:
            timer = loop.call_later(max(0.0, wait.deadline - time.monotonic()), tell, False)
        return await ready
    finally:
        if wait.events & READABLE:
            loop.remove_reader(wait.fd)
        if wait.events & WRITABLE:
            loop.remove_writer(wait.fd)
        if timer is not None:
            timer.cancel()
