"""Runs shards on a Dask cluster until each has a result, across failures of workers and of the scheduler.

Dask assigns tasks and runs those of a lost worker again. This module limits the number of submitted tasks,
and submits again the tasks that the cluster has dropped (its scheduler was restarted, the only workers for
a task have disconnected, the workers of a task were killed one after the other).
"""

import queue
import time
from _collections_abc import Callable, Iterable
from collections import deque
from concurrent.futures import CancelledError
from contextlib import suppress
from uuid import uuid4

from fastnet._distributed.connection import Connection
from fastnet._distributed.shard import Refusal
from fastnet._distributed.vantages import Vantages
from fastnet._typing import Any, NamedTuple
from fastnet.errors import VantagesLost

REFRESH_SECONDS = 1.0
_FETCH_SECONDS = 30.0
_MOST_KILLS = 5
"""Number of workers killed while running a shard at which the sweep ends: the shard is the cause."""


class Lane:
    """Shards to run at one vantage, or at any."""

    def __init__(self, vantage: str | None, shards: Iterable[int]) -> None:
        self.vantage = vantage
        self.todo = deque(shards)
        self.under_way = 0
        self.is_given_up = False
        self.last_there = time.monotonic()
        """When a vantage for it was last connected."""

    @property
    def finished(self) -> bool:
        return not self.todo and not self.under_way

    def among(self, usable: dict[str, str]) -> dict[str, str]:
        """The vantages that may run its shards, with their addresses."""
        if self.vantage is None:
            return usable
        return {name: address for name, address in usable.items() if name == self.vantage}


class Work(NamedTuple):
    """The function that a dispatch runs, and the callbacks of its owner."""

    function: Callable[[Any], Any]
    """Runs on the worker."""
    job: Callable[[Lane, int, float | None], Any]
    """The job of a shard, at a rate."""
    take: Callable[[Lane, int, Any], bool]
    """Takes a result; False if another vantage is to run the shard again."""
    tried: Callable[[int], set[str]]
    """The vantages that have tried a shard."""
    rate: Callable[[int], float | None]
    """The limit of each of so many vantages."""


class _Task(NamedTuple):
    lane: Lane
    shard: int
    future: Any
    addresses: frozenset[str]
    rate: float


class Dispatch:
    """Runs the shards of some lanes, step by step; the total of all rates is never above ``total_rate``."""

    def __init__(
        self,
        connection: Connection,
        vantages: Vantages,
        lanes: list[Lane],
        work: Work,
        total_rate: float | None,
        absence: float,
    ) -> None:
        self._connection, self._vantages, self._lanes, self._work = connection, vantages, lanes, work
        self._total_rate, self._absence = total_rate, absence
        self._tasks: dict[str, _Task] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._kills: dict[tuple[int, int], int] = {}
        self._run = uuid4().hex
        self._submitted = 0
        self._refresh_at = 0.0

    def run(self, seconds: float) -> bool:
        """Run for about so many seconds. True once every lane is finished.

        Raises VantagesLost after too long without the scheduler, or without any vantage for a lane of all.
        """
        until = time.monotonic() + seconds
        while not all(lane.finished for lane in self._lanes):
            self._tend()
            left = max(0.0, until - time.monotonic())
            with suppress(queue.Empty):  # taken even if _tend took all the time
                self._end(self._ended.get(timeout=min(left, REFRESH_SECONDS)))
            if not left:
                return False
        return True

    def cancel(self) -> None:
        """Cancel the running shards: the workers stop within a tenth of a second."""
        for key in [*self._tasks]:
            self._drop(key)

    def _tend(self) -> None:
        """Read the state of the cluster, and submit as many tasks as permitted."""
        if time.monotonic() >= self._refresh_at:
            self._refresh()
            self._refresh_at = time.monotonic() + REFRESH_SECONDS
        if self._connection.client.status == "running":
            usable = self._vantages.usable()
            for lane in self._lanes:
                self._fill(lane, lane.among(usable), len(usable))

    def _refresh(self) -> None:
        there = self._is_there()
        now, usable = time.monotonic(), self._vantages.usable() if there else {}
        if there:
            self._give_back_stranded()
        for lane in self._lanes:
            if lane.among(usable) or lane.finished:
                lane.last_there = now
            elif now - lane.last_there > self._absence or (there and self._is_left_out(lane)):
                self._give_up(lane, there)

    def _is_there(self) -> bool:
        """Whether the scheduler is connected and answers with its workers."""
        try:
            if not self._connection.is_up():
                return False
            self._vantages.refresh(self._connection)
        except OSError:
            return False
        return True

    def _is_left_out(self, lane: Lane) -> bool:
        """Whether all known vantages for a lane are left out, so that waiting is useless."""
        known = self._vantages.known
        names = [lane.vantage] if lane.vantage is not None else [*known]
        return bool(names) and all(name in known and known[name].problem for name in names)

    def _give_up(self, lane: Lane, scheduler_is_there: bool) -> None:
        if lane.vantage is not None and scheduler_is_there:
            lane.todo.clear()
            for key in [key for key, task in self._tasks.items() if task.lane is lane]:
                self._drop(key)
            lane.is_given_up = True
            if not all(each.is_given_up for each in self._lanes):
                return
        if not scheduler_is_there:
            raise VantagesLost(f"the scheduler has been away for {self._absence:g} s")
        problems = {f"{name}: {each.problem}" for name, each in self._vantages.known.items() if each.problem}
        if problems:
            raise VantagesLost(f"no vantage can be used: {'; '.join(sorted(problems))}")
        raise VantagesLost(f"no vantage has been there for {self._absence:g} s")

    def _give_back_stranded(self) -> None:
        """Queue again the tasks whose permitted workers have all disconnected."""
        there = self._vantages.addresses()
        for key, task in [*self._tasks.items()]:
            if task.future.status == "pending" and not task.addresses & there:
                self._again(key)

    def _fill(self, lane: Lane, there: dict[str, str], vantages: int) -> None:
        rate = self._work.rate(vantages)
        depth = 1 if self._total_rate else 2
        while lane.todo and there and lane.under_way < depth * len(there) and self._has_room(rate):
            shard = lane.todo.popleft()
            tried = self._work.tried(shard)
            able = frozenset(address for name, address in there.items() if name not in tried)
            self._submit(lane, shard, able or frozenset(there.values()), rate)

    def _has_room(self, rate: float | None) -> bool:
        """Whether one more task at this rate stays within the total."""
        if not self._total_rate:
            return True
        used = sum(task.rate for task in self._tasks.values())
        return used + (rate or 0.0) <= self._total_rate * (1 + 1e-9)

    def _submit(self, lane: Lane, shard: int, addresses: frozenset[str], rate: float | None) -> None:
        self._submitted += 1
        key = f"fastnet-{self._run}-{self._submitted}"
        future = self._connection.client.submit(
            self._work.function,
            self._work.job(lane, shard, rate),
            key=key,
            workers=sorted(addresses),
            pure=False,
        )
        self._tasks[key] = _Task(lane, shard, future, addresses, rate or 0.0)
        lane.under_way += 1
        self._watch(key, future)

    def _watch(self, key: str, future: Any) -> None:
        future.add_done_callback(lambda _: self._ended.put(key))

    def _end(self, key: str) -> None:
        """Take the result of a task that has ended, or queue its shard again."""
        task = self._tasks.get(key)
        if task is None:
            return
        try:
            result = task.future.result(timeout=_FETCH_SECONDS)
        except self._connection.killed_worker as error:
            self._count_kill(task, error)
            self._again(key)
        except TimeoutError:
            if task.future.status == "pending":  # the worker with the result was lost: it runs again
                self._watch(key, task.future)
            else:
                self._again(key)
        except (CancelledError, OSError):
            self._again(key)
        except RuntimeError:  # the caller has closed the client, or it is the worker's error
            if task.future.client.status == "running":
                raise
            self._again(key)
        else:
            self._take(key, task, result)

    def _take(self, key: str, task: _Task, result: Any) -> None:
        self._drop(key)
        if isinstance(result, Refusal):
            self._vantages.leave_out(result.vantage, result.reason)
            self._refresh_at = 0.0
            task.lane.todo.appendleft(task.shard)
        elif not self._work.take(task.lane, task.shard, result):
            task.lane.todo.appendleft(task.shard)

    def _count_kill(self, task: _Task, error: Exception) -> None:
        which = (self._lanes.index(task.lane), task.shard)
        self._kills[which] = self._kills.get(which, 0) + 1
        if self._kills[which] >= _MOST_KILLS:
            what = f"shard {task.shard + 1}: its workers were killed {_MOST_KILLS} times"
            raise VantagesLost(f"{what}: {error}") from error

    def _again(self, key: str) -> None:
        task = self._drop(key)
        task.lane.todo.appendleft(task.shard)

    def _drop(self, key: str) -> _Task:
        task = self._tasks.pop(key)
        task.lane.under_way -= 1
        with suppress(Exception):  # the client has lost its scheduler: nothing to cancel
            task.future.cancel() if task.future.status == "pending" else task.future.release()
        return task
