"""Measuring a page: every contender in turn, round after round, and what the samples say.

A round takes one sample of each contender, so that whatever disturbs the machine disturbs all of them;
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
from types import TracebackType
from typing import Any, NamedTuple

from bench._case import Place

SLOW_SECONDS = 2.0
"""A contender whose sample lasts longer than this gets only one."""


class Measurement(NamedTuple):
    """What one contender needed: nanoseconds a unit, one number a sample; none where it could not run."""

    name: str
    code: str
    verdict: str
    samples_ns: Sequence[float]

    @property
    def median_ns(self) -> float | None:
        return median(self.samples_ns) if self.samples_ns else None

    @property
    def min_ns(self) -> float | None:
        return min(self.samples_ns, default=None)


class Result(NamedTuple):
    """A case and its measurements, ours first."""

    page: str
    what: str
    goal_ns: float | None
    measurements: Sequence[Measurement]

    @property
    def ours(self) -> Measurement:
        return self.measurements[0]

    def ratio(self, other: Measurement) -> float | None:
        """How many times longer the other one needed than ours; None where either could not run."""
        if self.ours.median_ns is None or other.median_ns is None:
            return None
        return other.median_ns / self.ours.median_ns

    @property
    def goal_met(self) -> bool | None:
        """None where there is no goal; what could not run or was wrong has not met it."""
        if self.goal_ns is None:
            return None
        return (
            self.ours.verdict == "right"
            and self.ours.median_ns is not None
            and self.ours.median_ns <= self.goal_ns
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
    """Seconds a loop, for each contender that runs: A B C A B C."""
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
        Measurement(**entry, samples_ns=[s * 1e9 / units for s in samples.get(entry["name"], ())])
        for _, entry in entries
    ]
    return Result(page, cases[0]["what"], cases[0]["goal_ns"], measurements)


def measure_page(module: str, implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    """Each case of a page at each of its places; the first implementation is ours, beside the peers."""
    page = module.rpartition("bench_")[2]
    places: Callable[[], AbstractContextManager[Sequence[Place]]] = getattr(
        import_module(module), "places", lambda: nullcontext([()])
    )
    with places() as found:
        for place in found:
            with ExitStack() as stack:
                children = [
                    stack.enter_context(Child(module, name, "guest" if number else "host", place))
                    for number, name in enumerate(implementations)
                ]
                while result := measure_case(children, page, rounds):
                    yield result
