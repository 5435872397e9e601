"""Random histories of a cluster of real processes: what is killed, cut off and restarted loses no verdict.

``make distributed-histories`` runs 20 of them; HISTORIES=N and HISTORY_SEED=N select others.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from children import Child
from cluster import SCHEDULER, SETTINGS, Cluster, cluster
from namespaces import namespaces

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("dask"), pytest.mark.timeout(240)]

HISTORIES = int(os.environ.get("HISTORIES", "2"))
FIRST_SEED = int(os.environ.get("HISTORY_SEED", "5"))
WORKERS = ("a", "b", "c")
STEPS = ("executing", "running", "memory", "sent")
LONGEST = 180.0
"""Seconds of a history, of which each event takes some ten at most."""

DRIVER = """
import json, sys
from fastnet._distributed import DistributedSweep, sums

options = json.loads(sys.argv[1])
sums.SHARD_SECONDS = options.pop("shard_seconds")
with DistributedSweep(options.pop("targets"), absence=90.0, **options) as running:
    print("begun", flush=True)
    while not running.run():
        pass
    result = running.result()
results = {"": result} if running.mode == "share" else result.by_vantage
states = {name: {each.address: each.state for each in result} for name, result in results.items()}
with open(sys.argv[2], "w") as file:
    json.dump(states, file)
"""

TARGETS = ["10.200.0.0/22", "10.200.255.0/26"]
ALIVE = {f"10.200.{third}.{last}" for third in range(4) for last in range(256)}
SILENT = {f"10.200.255.{last}" for last in range(64)}
HIDDEN_FROM_A = {f"10.200.0.{last}" for last in range(16)}


class History:
    """What happens to the cluster while a sweep runs, by a seed."""

    def __init__(self, lab: Cluster, seed: int) -> None:
        self._lab, self._random = lab, random.Random(seed)
        self.mode = self._random.choice(("share", "compare"))
        kinds = ["kill", "stop", "step", "step", "cut", "scheduler"]
        self.events = sorted(
            (self._random.uniform(0.3, 6.0), kind, self._random.choice(WORKERS), self._random.choice(STEPS))
            for kind in self._random.sample(kinds, self._random.randint(2, 4))
        )
        self._dead: dict[str, float] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []

    def happen(self, process: subprocess.Popen[str]) -> None:
        """Have each event happen while the sweep runs; what dies is started again a little later."""
        begun = time.monotonic()
        events = [*self.events]
        while process.poll() is None:
            now = time.monotonic() - begun
            assert now < LONGEST, "the sweep does not end"
            while events and events[0][0] <= now:
                _, kind, worker, step = events.pop(0)
                getattr(self, f"_{kind}")(worker, step)
            for each in [each for each in self._later if each[0] <= time.monotonic()]:
                self._later.remove(each)
                each[1]()
            self._revive()
            time.sleep(0.05)

    def _revive(self) -> None:
        for name, host in self._lab.workers.items():
            if host.process.poll() is not None and name not in self._dead:
                self._dead[name] = time.monotonic() + self._random.uniform(0.0, 2.0)
            if name in self._dead and time.monotonic() >= self._dead[name]:
                del self._dead[name]
                if host.process.poll() is not None:
                    host.environment.pop("FASTNET_TEST_DIE", None)
                    host.start()

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, what))

    def _kill(self, worker: str, step: str) -> None:
        self._lab.workers[worker].kill()

    def _step(self, worker: str, step: str) -> None:
        """Replace the worker by one that dies at a step of one of its next shards."""
        host = self._lab.workers[worker]
        host.kill()
        host.environment["FASTNET_TEST_DIE"] = f"{step}:{self._random.randint(1, 3)}"
        host.start()

    def _stop(self, worker: str, step: str) -> None:
        host = self._lab.workers[worker]
        host.stop()
        self._in(self._random.uniform(1.0, 4.0), host.go_on)

    def _cut(self, worker: str, step: str) -> None:
        self._lab.cut(worker)
        self._in(self._random.uniform(1.0, 20.0), lambda: self._lab.cut(worker, is_up=True))

    def _scheduler(self, worker: str, step: str) -> None:
        self._lab.scheduler.kill()
        self._in(self._random.uniform(0.0, 4.0), self._lab.scheduler.start)


@pytest.fixture
def lab(
    root: None, peer: Callable[[str], str], reference: Callable[[str], ModuleType], tmp_path: Path
) -> Iterator[Cluster]:
    reference("distributed")
    with namespaces(peer("ip")) as make, cluster(make, tmp_path, peer("nft")) as made:
        for name in WORKERS:
            made.worker(name, "--preload", str(Path(__file__).parents[1] / "support/dying.py"))
        made.drop("iifname a ip daddr 10.200.0.0/28")
        made.lose("b", 10)
        made.wait_for(len(WORKERS))
        yield made


def swept(lab: Cluster, history: History, found: Path, **options: Any) -> dict[str, dict[str, str]]:
    """The states by vantage, after a sweep during which the history happened."""
    given = {
        "client": SCHEDULER,
        "mode": history.mode,
        "targets": TARGETS,
        "retries": 9,
        "vantages": WORKERS,
        **options,
    }
    with Child(
        [*lab.centre.prefix, sys.executable, "-c", DRIVER, json.dumps(given), str(found)],
        env={**os.environ, **SETTINGS},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            history.happen(process)
        finally:
            process.kill()
    assert process.returncode == 0
    results: dict[str, dict[str, str]] = json.loads(found.read_text())
    return results


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + HISTORIES))
def test_no_verdict_is_lost(lab: Cluster, tmp_path: Path, seed: int) -> None:
    history = History(lab, seed)
    print(f"seed {seed}: {history.mode}, {history.events}")
    results = swept(lab, history, tmp_path / "found", timeout=0.1, vantage_rate=400.0, shard_seconds=2.0)
    for name, states in results.items():
        hidden = HIDDEN_FROM_A if name == "a" else set()
        alive = {address for address, state in states.items() if state == "alive"}
        if history.mode == "share":
            # A shard is probed by any vantage, and one does not see all.
            assert alive | HIDDEN_FROM_A == ALIVE
        else:
            assert alive == ALIVE - hidden, name
        silent = {address for address, state in states.items() if state == "inactive"}
        assert alive | silent == ALIVE | SILENT, name
        assert not alive & silent
    assert [*results] == ([""] if history.mode == "share" else [*WORKERS])
