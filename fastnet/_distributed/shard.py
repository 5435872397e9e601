"""The jobs of a worker: one shard of a sweep, or one vantage's pings; nothing else is sent to it.

A shard is a pure function of its job: any worker may run it, also more than once.
"""

import os
import threading
import time
from _collections_abc import Callable

from fastnet._distributed.columns import Columns, columns_of
from fastnet._limits import Host
from fastnet._ping import PingResult, multiping
from fastnet._reference import reference
from fastnet._sweep import Sweep
from fastnet._sweep.running import SweepOptions
from fastnet._typing import Any, NamedTuple, TypeVar
from fastnet.errors import FastnetError
from fastnet.targets import Targets

T = TypeVar("T")

_ONE_AT_A_TIME = threading.Lock()
"""A vantage's rate is that of one shard, however many threads its worker has."""

_last = {"ends": 0.0}
"""When the requests of the last limited shard have had their time."""
_NOTICED_SECONDS = 0.1


class Job(NamedTuple):
    """One shard of a sweep."""

    targets: Targets
    shard: tuple[int, int]
    options: SweepOptions
    decided: bytes | None = None
    """The targets that another vantage has probed, as ``Sweep`` takes it."""


class PingJob(NamedTuple):
    """The pings of one vantage."""

    hosts: tuple[Host, ...]
    options: dict[str, Any]


class Refusal(NamedTuple):
    """A vantage could not run its job: it lacks a privilege, an interface or a package."""

    vantage: str
    reason: str


class Unwanted(Exception):
    """The client has cancelled the shard, or has disconnected."""


def sweep_shard(job: Job) -> Columns | Refusal:
    """Sweep one shard, on the worker that calls it."""
    return _answered(lambda: _swept(job))


def ping_hosts(job: PingJob) -> list[PingResult] | Refusal:
    """Ping all hosts, on the worker that calls it."""
    return _answered(lambda: multiping(job.hosts, **job.options))


def _answered(work: Callable[[], T]) -> T | Refusal:
    with _ONE_AT_A_TIME:
        try:
            return work()
        except (FastnetError, OSError) as error:
            reason = error.args[-1] if isinstance(error, FastnetError) and error.args else error
            return Refusal(vantage_name(), str(reason))


def _swept(job: Job) -> Columns:
    is_wanted = _wanted()
    options: SweepOptions = {**job.options, "shard": job.shard}
    rate = job.options.get("rate")
    _wait_for_turn(rate, is_wanted)
    begun = time.monotonic()
    with Sweep(job.targets, decided=job.decided, **options) as sweep:
        try:
            while not sweep.run():
                if not is_wanted():
                    raise Unwanted
        finally:
            if rate:
                _last["ends"] = begun + sweep.sent / rate
        return columns_of(sweep.result(), vantage_name(), sweep.sent, time.monotonic() - begun)


def _wait_for_turn(rate: float | None, is_wanted: Callable[[], bool]) -> None:
    """Keep the distance of two requests from the shard before: shards of one target would have no limit."""
    if not rate:
        return
    until = min(_last["ends"], time.monotonic() + 1 / rate)
    while (left := until - time.monotonic()) > 0:
        if not is_wanted():
            raise Unwanted
        time.sleep(min(left, _NOTICED_SECONDS))


def _wanted() -> Callable[[], bool]:
    """Whether the scheduler still wants the task that this thread runs; always outside of a worker."""
    module = reference("distributed.worker")
    try:
        worker, key = module.get_worker(), module.thread_state.key
    except (AttributeError, ValueError):
        return lambda: True

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state == "executing" and str(worker.status) == "Status.running"

    return is_wanted


def vantage_name() -> str:
    """The name of the worker that calls this; outside of one, the host's."""
    try:
        return str(reference("distributed").get_worker().name)
    except ValueError:
        return os.uname().nodename
