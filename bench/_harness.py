"""Measures a page: every contender in turn, round after round, and evaluates the samples.

A round takes one sample of each contender, so that a disturbance of the machine affects all of them;
a contender's time is the median of its samples.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from importlib import import_module
from statistics import median
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

from bench._case import NANOSECONDS, Goal, Place, Quantity

SLOW_SECONDS = 2.0
"""A contender whose sample lasts longer than this gets only one."""


class Measurement(NamedTuple):
    """The samples of one contender; empty if it could not run."""

    name: str
    code: str
    verdict: str
    samples: Sequence[float]

    @property
    def median(self) -> float | None:
        return median(self.samples) if self.samples else None


class Result(NamedTuple):
    """A case and its measurements, ours first."""

    page: str
    what: str
    quantity: Quantity
    goals: Sequence[Goal]
    measurements: Sequence[Measurement]

    @property
    def ours(self) -> Measurement:
        return self.measurements[0]

    def best(self, measurement: Measurement) -> float | None:
        """Its best sample."""
        choose = max if self.quantity.more_is_better else min
        return choose(measurement.samples, default=None)

    def ratio(self, other: Measurement) -> float | None:
        """The ratio of ours to the other one; None if either could not run."""
        ours, theirs = self.ours.median, other.median
        if ours is None or theirs is None:
            return None
        better, worse = (theirs, ours) if self.quantity.more_is_better else (ours, theirs)
        return worse / better if better else None

    def goals_of(self, measurement: Measurement) -> list[Goal]:
        return [goal for goal in self.goals if measurement.name == (goal.by or self.ours.name)]

    def bound(self, goal: Goal) -> float | None:
        """The goal in the quantity's unit; None if none of the peers that it names could run."""
        if not goal.of:
            return goal.bound
        medians = [
            item.median for item in self.measurements if item.name in goal.of and item.median is not None
        ]
        choose = max if self.quantity.more_is_better else min
        return goal.bound * choose(medians) if medians else None

    def is_met(self, goal: Goal) -> bool | None:
        """None without a peer to compare with; a contender that could not run or was wrong has not met it."""
        bound = self.bound(goal)
        if bound is None:
            return None
        return any(
            item.verdict == "right"
            and item.median is not None
            and (item.median >= bound if self.quantity.more_is_better else item.median <= bound)
            for item in self.measurements
            if goal in self.goals_of(item)
        )


class Child(AbstractContextManager["Child"]):
    """A worker process, and its methods (see bench._worker)."""

    def __init__(self, module: str, implementation: str, role: str, place: Place) -> None:
        self._process = subprocess.Popen(
            [*place, sys.executable, "-m", "bench._worker", module, role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "FASTNET_IMPL": implementation},
            text=True,
        )

    def ask(self, verb: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([verb, *arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"bench: the worker process ended with exit code {self._process.wait()}")
        return json.loads(answer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)


def take_samples(runners: dict[str, Child], rounds: int) -> dict[str, list[float]]:
    """Seconds per loop, for each contender that runs: A B C A B C."""
    loops = {name: child.ask("calibrate", name) for name, child in runners.items()}
    samples: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, child in runners.items():
            if not samples[name] or samples[name][0] * loops[name] <= SLOW_SECONDS:
                samples[name].append(child.ask("sample", name, loops[name]) / loops[name])
    return samples


def measure_case(children: Sequence[Child], page: str, rounds: int) -> Result | None:
    """The children's next case; None after the last one."""
    cases = [child.ask("next") for child in children]
    if cases[0] is None:
        return None
    entries = [
        (child, entry) for child, case in zip(children, cases, strict=True) for entry in case["contenders"]
    ]
    runners = {entry["name"]: child for child, entry in entries if entry["verdict"] in ("right", "wrong")}
    samples = take_samples(runners, rounds)
    units = cases[0]["units"]
    measurements = [
        Measurement(**entry, samples=[s * 1e9 / units for s in samples.get(entry["name"], ())])
        for _, entry in entries
    ]
    goal_ns = cases[0]["goal_ns"]
    goals = [] if goal_ns is None else [Goal(goal_ns)]
    return Result(page, cases[0]["what"], NANOSECONDS, goals, measurements)


def measure_page(module: str, implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    """Everything of a page; the first implementation is ours, beside the peers."""
    page = import_module(module)
    if hasattr(page, "cases"):
        yield from measure_timings(page, implementations, rounds)
    if hasattr(page, "measure"):
        yield from page.measure(implementations, rounds)


def measure_timings(page: ModuleType, implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    """Each of the page's ``cases()`` at each of its places."""
    places: Callable[[], AbstractContextManager[Sequence[Place]]] = getattr(
        page, "places", lambda: nullcontext([()])
    )
    name = page.__name__.rpartition("bench_")[2]
    with places() as found:
        for place in found:
            with ExitStack() as stack:
                children = [
                    stack.enter_context(
                        Child(page.__name__, implementation, "guest" if number else "host", place)
                    )
                    for number, implementation in enumerate(implementations)
                ]
                while result := measure_case(children, name, rounds):
                    yield result
