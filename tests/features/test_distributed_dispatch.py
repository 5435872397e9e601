"""Shards on a cluster of the test's own, whose workers join, leave and hang at chosen moments."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastnet
from fastnet._distributed.dispatch import Dispatch, Lane, Work
from fastnet._distributed.sums import rate_of_each
from fastnet._distributed.vantages import Vantages
from fastnet.errors import VantagesLost

pytestmark = pytest.mark.once


class Cluster:
    """A cluster of the test's own: it lists its workers, and its tasks end when the test ends them."""

    def __init__(self, names: str) -> None:
        self.names = names
        self.hangs = ""
        self.client, self.status = self, "running"
        self.killed_worker: type[Exception] = KeyError
        self.submitted: list[Task] = []

    def is_up(self) -> bool:
        return True

    def workers(self) -> dict[str, str]:
        if self.hangs == "scheduler":
            raise TimeoutError
        return {f"tcp://{name}": name for name in self.names}

    def call(self, function: object, address: str) -> object:
        if address == f"tcp://{self.hangs}":
            raise TimeoutError
        return fastnet.__version__, ""

    def submit(self, function: object, job: float, key: str, workers: list[str], pure: bool) -> Task:
        self.submitted.append(Task(job, workers))
        return self.submitted[-1]


class Task:
    def __init__(self, job: float, workers: list[str]) -> None:
        self.job, self.workers, self.status = job, workers, "pending"
        self.client = SimpleNamespace(status="running")
        self.value: object = None

    def add_done_callback(self, function: Callable[[object], None]) -> None:
        self._done = function

    def end(self, value: object) -> None:
        self.value, self.status = value, "finished"
        self._done(self)

    def result(self, timeout: float) -> object:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def cancel(self) -> None:
        self.status = "cancelled"

    def release(self) -> None:
        self.status = "released"


def dispatch_of(cluster: Cluster, lanes: list[Lane], total: float | None, absence: float = 0.0) -> Dispatch:
    """Its jobs are the rates; a result of False is one that another vantage is to complete."""
    work = Work(
        function=lambda job: None,
        job=lambda lane, shard, rate: rate,
        take=lambda lane, shard, result: bool(result),
        tried=lambda shard: set(),
        rate=lambda vantages: rate_of_each(total, None, vantages),
    )
    return Dispatch(cluster, Vantages(), lanes, work, total, absence)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from("abcde").map(lambda last: "abcde"[: "abcde".index(last) + 1]), max_size=8))
def test_all_vantages_together_never_have_more_than_the_total_rate(crowds: list[str]) -> None:
    cluster = Cluster("ab")
    dispatch = dispatch_of(cluster, [Lane(None, range(30))], 900.0)
    for crowd in crowds:
        cluster.names = crowd
        dispatch._refresh_at = 0.0
        assert not dispatch.run(0.0)
        running = [each for each in cluster.submitted if each.status == "pending"]
        assert 0 < sum(each.job for each in running) <= 900.001
        running[0].end(True)
        dispatch.run(0.0)


def test_a_shard_without_its_workers_is_given_to_others() -> None:
    cluster = Cluster("a")
    dispatch = dispatch_of(cluster, [Lane(None, [0])], None, 60.0)
    dispatch.run(0.0)
    cluster.names = "b"
    dispatch._refresh_at = 0.0
    dispatch.run(0.0)
    assert [each.workers for each in cluster.submitted] == [["tcp://a"], ["tcp://b"]]
    cluster.submitted[1].end(True)
    assert dispatch.run(1.0)


def test_a_shard_that_kills_its_workers_is_given_up_in_the_end() -> None:
    cluster = Cluster("ab")
    dispatch = dispatch_of(cluster, [Lane(None, [0])], None, 60.0)
    for _ in range(4):
        dispatch.run(0.0)
        cluster.submitted[-1].end(KeyError("killed"))
        dispatch.run(0.0)
    dispatch.run(0.0)
    cluster.submitted[-1].end(KeyError("killed"))
    with pytest.raises(VantagesLost, match="shard 1: its workers were killed 5 times"):
        dispatch.run(1.0)


def test_a_task_that_the_scheduler_forgot_is_submitted_again() -> None:
    cluster = Cluster("a")
    dispatch = dispatch_of(cluster, [Lane("a", [0])], None, 60.0)
    dispatch.run(0.0)
    cluster.submitted[0].end(CancelledError())
    dispatch.run(0.0)
    dispatch.run(0.0)
    cluster.submitted[1].end(True)
    assert dispatch.run(1.0)


def test_a_task_of_a_client_that_its_owner_closed_is_submitted_again() -> None:
    cluster = Cluster("a")
    dispatch = dispatch_of(cluster, [Lane("a", [0])], None, 60.0)
    dispatch.run(0.0)
    cluster.submitted[0].client.status = "closed"
    cluster.submitted[0].end(RuntimeError("IOLoop is closed"))
    dispatch.run(0.0)
    dispatch.run(0.0)
    cluster.submitted[1].end(RuntimeError("of the worker"))
    with pytest.raises(RuntimeError, match="of the worker"):
        dispatch.run(1.0)


def test_a_vantage_that_stays_away_ends_its_own_lane_only() -> None:
    cluster = Cluster("a")
    away = Lane("b", [0, 1])
    dispatch = dispatch_of(cluster, [Lane("a", [0]), away], None)
    away.last_there -= 1.0
    dispatch.run(0.0)
    cluster.submitted[0].end(True)
    assert dispatch.run(1.0)
    assert len(cluster.submitted) == 1


def test_no_vantage_of_a_comparison_is_an_error() -> None:
    lanes = [Lane("a", [0]), Lane("b", [0])]
    dispatch = dispatch_of(Cluster("ab"), lanes, None)
    dispatch.run(0.0)
    for name in "ab":
        dispatch._vantages.leave_out(name, "no privilege")
    dispatch._refresh_at = 0.0
    with pytest.raises(VantagesLost, match="no vantage can be used: a: no privilege; b: no privilege"):
        dispatch.run(0.0)


def test_no_vantage_at_all_is_an_error() -> None:
    lane = Lane(None, [0])
    lane.last_there -= 1.0
    with pytest.raises(VantagesLost, match="no vantage has been there"):
        dispatch_of(Cluster(""), [lane], None).run(0.0)


def test_a_scheduler_that_hangs_is_away() -> None:
    cluster = Cluster("a")
    dispatch = dispatch_of(cluster, [Lane(None, [0])], None, 60.0)
    dispatch.run(0.0)
    cluster.hangs, dispatch._absence, dispatch._refresh_at = "scheduler", 0.0, 0.0
    with pytest.raises(VantagesLost, match="the scheduler has been away"):
        dispatch.run(0.0)


def test_a_worker_that_hangs_keeps_no_other_waiting() -> None:
    cluster = Cluster("abc")
    cluster.hangs = "a"
    vantages = Vantages()
    vantages.wait(cluster, 0.0)  # type: ignore[arg-type]
    assert [*vantages.usable()] == ["b", "c"]
    assert [*vantages.absent_notes()] == ["vantage a: it does not answer now"]
    cluster.hangs = ""
    vantages.refresh(cluster)  # type: ignore[arg-type]
    assert [*vantages.usable()] == ["b", "c"], "it is asked again, but not at once"
    vantages._ask_at.clear()
    vantages.refresh(cluster)  # type: ignore[arg-type]
    assert [*vantages.usable()] == ["a", "b", "c"]
