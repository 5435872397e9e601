"""Wait until a TCP or Unix-domain service is ready, or until it is gone.

A service is *up* when a fresh connection to one of its addresses passes the check. ``check="stable"``, the
default, requires the connection to stay open for a moment: a proxy that accepts for a service that is not
there yet, and then closes, does not count. Each attempt has its own time-out, so that dropped SYNs don't
hide a service that starts later; names are resolved again in each round, and their addresses raced.

A service is *gone* when it is known to fail its check at every address. What did not answer, or was cut off,
is neither.
"""

import _socket as socket
import os
import time
from _collections_abc import AsyncIterator, Callable, Iterable, Iterator
from _queue import Empty, SimpleQueue

from fastnet._connect import NoneReached, describe, race
from fastnet._coroutines import coroutine_of
from fastnet._limits import (
    check_callback,
    check_choice,
    check_family,
    check_flag,
    check_seconds,
    check_timeout,
    several,
)
from fastnet._results import as_dict, shown
from fastnet._steps import (
    LONGEST_POLL,
    READABLE,
    Steps,
    Together,
    Wait,
    deadline_in,
    earliest,
    run,
    run_async,
)
from fastnet._system.unix_address import unix_address
from fastnet._threads import Work
from fastnet._typing import Any, NamedTuple, TypedDict, TypeVar, Unpack
from fastnet._wait.checks import CHECKS, Check, Checker
from fastnet._wait.fault import Fault
from fastnet._wait.targets import Target, Waited, parse_target
from fastnet.endpoints import Endpoint, Resolved, addresses_of, is_numeric
from fastnet.errors import InvalidArgument, NameNotResolved, WaitTimeout

__all__ = [
    "CHECKS",
    "Check",
    "Options",
    "Outcome",
    "Ready",
    "check_target",
    "raise_if_late",
    "wait",
    "wait_all",
    "wait_all_async",
    "wait_async",
    "wait_stream",
    "wait_stream_async",
]

_BACK_OFF = 1.5
_LONGEST_PAUSE = 1.0
_NO_ANSWER_OF_THE_RESOLVER = frozenset(
    (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM)
)


class Ready(NamedTuple):
    """The target is ready, or gone."""

    target: str
    """The target as it was given."""
    address: str | None
    """The numeric address (or path) that is up; None after a wait for the service to be gone."""
    attempts: int
    """Rounds over the target's addresses."""
    waited_s: float
    """Seconds since the wait began."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Outcome(NamedTuple):
    """The state of one target: ``ready``, or the last ``reason`` why not."""

    target: str
    ready: bool
    address: str | None
    reason: str | None
    attempts: int
    waited_s: float

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Options(TypedDict, total=False):
    """The options of every wait besides its targets and its timeout; all times are in seconds."""

    gone: bool
    """Wait until every address of the target is known not to be up."""
    check: Check
    """One of ``CHECKS``; "stable" unless given."""
    interval: float
    """Time between rounds at first, 0.1; it grows by half each time, up to a second."""
    attempt_timeout: float
    """Time for each connect and each answer, 1; after it the target is neither up nor gone."""
    family: int
    """``socket.AF_INET`` or ``AF_INET6`` alone; both unless given."""


def wait(target: Waited, timeout: float | None = 30.0, **options: Unpack[Options]) -> Ready:
    """Wait until one target is up (or gone), for at most ``timeout`` seconds; None is no limit.

    Takes the same as ``wait_all``, and raises what ``wait_all`` does.
    """
    return wait_all([target], timeout, **options)[0]


def wait_all(
    targets: Iterable[Waited], timeout: float | None = 30.0, **options: Unpack[Options]
) -> list[Ready]:
    """Wait until every target is up, or with ``gone`` until none is; the results are in the same order.

    A target is ``"HOST:PORT"``, a host and a port, ``"unix:/path"`` (``unix:@name`` for an abstract one), or
    ``"http://HOST[:PORT]/path"``, which is up when it answers a GET with a status of 200 to 399. All
    addresses of a host are raced each round; a name that does not resolve yet is not up yet. ``timeout``
    is in seconds, for everything; None is no limit. ``Options`` has the others.

    Raises WaitTimeout with the last reason for each target that was not ready, InvalidArgument for a target
    or an invalid option.
    """
    return run(_Wait(targets, timeout, **options).ready())


@coroutine_of(wait)
async def wait_async(target: Waited, timeout: float | None = 30.0, **options: Unpack[Options]) -> Ready:
    """``fastnet.wait`` as a coroutine; cancelling it ends the wait."""
    return (await wait_all_async([target], timeout, **options))[0]


@coroutine_of(wait_all)
async def wait_all_async(
    targets: Iterable[Waited], timeout: float | None = 30.0, **options: Unpack[Options]
) -> list[Ready]:
    """``fastnet.wait_all`` as a coroutine; cancelling it ends the wait."""
    return await run_async(_Wait(targets, timeout, **options).ready())


def wait_stream(
    targets: Iterable[Waited],
    timeout: float | None = 30.0,
    progress: Callable[[Outcome], None] | None = None,
    **options: Unpack[Options],
) -> Iterator[Outcome]:
    """The outcome of each target when it is ready, and at the timeout of those that are not.

    Takes what ``wait_all`` does, times in seconds, and raises nothing for what is not ready. ``progress`` is
    called with the state of a target after each round without success. Raises InvalidArgument.
    """
    check_callback("progress", progress)
    return _Wait(targets, timeout, **options).outcomes(progress)


@coroutine_of(wait_stream)
def wait_stream_async(
    targets: Iterable[Waited],
    timeout: float | None = 30.0,
    progress: Callable[[Outcome], None] | None = None,
    **options: Unpack[Options],
) -> AsyncIterator[Outcome]:
    """``fastnet.wait_stream`` for ``async for``."""
    check_callback("progress", progress)
    return _Wait(targets, timeout, **options).outcomes_async(progress)


def raise_if_late(outcomes: Iterable[Outcome]) -> None:
    """Raise WaitTimeout if any of the outcomes is not ready, with the reason for each."""
    late = [outcome for outcome in outcomes if not outcome.ready]
    if late:
        reasons = "; ".join(f"{outcome.target}: {outcome.reason}" for outcome in late)
        raise WaitTimeout(f"time is up after {max(outcome.waited_s for outcome in late):.1f} s: {reasons}")


def check_target(text: str) -> str:
    """The text, if it is a target of ``wait``. Raises InvalidArgument."""
    parse_target(text)
    return text


class _State(NamedTuple):
    """A round's result: the address that is up, or the reason why none is, and whether that is certain."""

    address: str | None
    reason: str | None
    is_known: bool


T = TypeVar("T")
Report = Callable[[int, Outcome, bool], None]
"""Takes the index of a target, how things stand with it, and whether that is the end."""


class _Wait:
    """One wait: all targets at once, each round by round."""

    def __init__(
        self,
        targets: Iterable[Waited],
        timeout: float | None,
        *,
        gone: bool = False,
        check: Check = "stable",
        interval: float = 0.1,
        attempt_timeout: float = 1.0,
        family: int = socket.AF_UNSPEC,
    ) -> None:
        given = [*several("targets", targets, "a list of one or more")]
        if not given:
            raise InvalidArgument("no targets: expected a list of one or more")
        check_flag("gone", gone)
        check_choice("check", check, CHECKS)
        check_family(family)
        check_timeout("timeout", timeout, 0.001)
        check_seconds("interval", interval, 0.001)
        check_seconds("attempt_timeout", attempt_timeout, 0.001)
        self._targets = [parse_target(one) for one in given]
        self._gone = gone
        self._interval = interval
        self._family = family
        self._started = time.monotonic()
        self._deadline = deadline_in(timeout)
        self._checker = Checker(check, attempt_timeout, self._deadline)

    def ready(self) -> Steps[list[Ready]]:
        outcomes: dict[int, Outcome] = {}

        def note(index: int, outcome: Outcome, is_last: bool) -> None:
            outcomes[index] = outcome

        yield from self._all(note)
        ordered = [outcomes[index] for index in range(len(self._targets))]
        raise_if_late(ordered)
        return [Ready(one.target, one.address, one.attempts, one.waited_s) for one in ordered]

    def outcomes(self, progress: Callable[[Outcome], None] | None) -> Iterator[Outcome]:
        """In a thread of its own, so that no target waits for the caller's callback."""
        news: SimpleQueue[tuple[Outcome, bool] | None] = SimpleQueue()
        stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

        def call() -> None:
            try:
                run(self._all(lambda _, outcome, is_last: news.put((outcome, is_last)), stop))
            finally:
                news.put(None)

        try:
            work = Work(call, "fastnet-wait")
            try:
                while item := _next(news):
                    outcome, is_last = item
                    if is_last:
                        yield outcome
                    elif progress:
                        progress(outcome)
            finally:
                os.eventfd_write(stop, 1)
                work.result()
        finally:
            os.close(stop)

    async def outcomes_async(self, progress: Callable[[Outcome], None] | None) -> AsyncIterator[Outcome]:
        """In a task of its own, as ``outcomes`` in a thread."""
        import asyncio

        news: asyncio.Queue[tuple[Outcome, bool] | None] = asyncio.Queue()

        async def work() -> None:
            try:
                await run_async(self._all(lambda _, outcome, is_last: news.put_nowait((outcome, is_last))))
            finally:
                news.put_nowait(None)

        task = asyncio.create_task(work())
        try:
            while item := await news.get():
                outcome, is_last = item
                if is_last:
                    yield outcome
                elif progress:
                    progress(outcome)
            await task
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _all(self, report: Report, stop: int | None = None) -> Steps[None]:
        """Watch every target to its end, or until the descriptor ``stop`` is readable."""
        stopped = False

        def watch_stop(fd: int) -> Steps[None]:
            nonlocal stopped
            stopped = yield Wait(fd, READABLE)

        with Together[None]() as watchers:
            for index in range(len(self._targets)):
                watchers.start(self._watch(index, report))
            left = watchers.running
            if stop is not None:
                watchers.start(watch_stop(stop))
            while True:
                left -= sum(1 for _ in watchers.advance())
                if stopped or not left:
                    return
                yield watchers.wait()

    def _watch(self, index: int, report: Report) -> Steps[None]:
        """Try one target round by round until it is ready or gone, or the timeout passes."""
        target = self._targets[index]
        pause = self._interval
        attempts = 0
        reason = None
        while True:
            attempts += 1
            state = yield from self._round(target)
            waited = time.monotonic() - self._started
            is_late = self._deadline is not None and time.monotonic() >= self._deadline
            ready = state.is_known and (state.address is None) == self._gone
            if ready:
                report(index, Outcome(target.text, True, state.address, state.reason, attempts, waited), True)
                return
            # An interrupted round shows less than the one before.
            if state.is_known or not is_late or reason is None:
                reason = f"{state.address} is up" if state.address else state.reason
            late = Outcome(target.text, False, state.address, reason, attempts, waited)
            report(index, late, False)
            if not is_late:
                yield Wait(-1, 0, earliest(self._deadline, time.monotonic() + pause))
                pause = min(pause * _BACK_OFF, max(self._interval, _LONGEST_PAUSE))
            if self._deadline is not None and time.monotonic() >= self._deadline:
                report(index, late._replace(waited_s=time.monotonic() - self._started), True)
                return

    def _round(self, target: Target) -> Steps[_State]:
        """One try of all addresses of a target. Errors of the name or the server are returned as reasons."""
        try:
            addresses = yield from self._addresses(target)
            up = yield from race(addresses, lambda address: self._checker.check(target, address))
            return _State(_name(target, up), None, True)
        except NoneReached as error:
            faults = [failure.error for failure in error.failures]
            is_known = all(isinstance(fault, Fault) and fault.is_known for fault in faults)
            return _State(None, str(error), is_known)
        except NameNotResolved as error:
            # An address with a scope is no name: what is missing is the interface, here.
            is_known = error.errno not in _NO_ANSWER_OF_THE_RESOLVER and "%" not in str(target.endpoint)
            return _State(None, str(error), is_known)
        except OSError as error:
            return _State(None, describe(error), False)
        except Exception as error:
            return _State(None, f"{type(error).__name__}: {error}", False)

    def _addresses(self, target: Target) -> Steps[list[Resolved]]:
        if target.endpoint is None:
            return [Resolved(socket.AF_UNIX, unix_address(target.unix))]  # type: ignore[arg-type]
        host, port = target.endpoint
        if is_numeric(host):
            return addresses_of(host, port, family=self._family)
        # Resolving can't be interrupted: a look-up that hangs continues in its thread.
        work = Work(lambda: addresses_of(host, port, family=self._family), "fastnet-wait-resolve")
        if not (yield from work.ending(self._deadline)):
            raise Fault("its name is still being resolved", is_known=False)
        return work.result()


def _next(news: "SimpleQueue[T]") -> T:
    while True:
        # Not without a limit: a signal that comes right before the system waits is handled only after it.
        try:
            return news.get(timeout=LONGEST_POLL)
        except Empty:
            continue


def _name(target: Target, address: Resolved) -> str:
    return str(Endpoint(address.host, address.address[1])) if target.endpoint else target.unix
