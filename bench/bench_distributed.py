"""A sweep by one Dask worker beside the same sweep without Dask, and what a shard costs.

Scheduler, worker and client are in one namespace, another one's kernel answers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench._case import NANOSECONDS, Answer, Goal, Place, Quantity, Reading
from bench._distributed import SCHEDULER
from bench._harness import Result
from bench._hosts import ALIVE_4, two_hosts
from bench._programs import Program, ProgramCase, measure_programs

ALL, FEW = 1 << 16, 1 << 12
SHARDS = 100
LOCAL, ONE, CUT = "fastnet sweep", "one Dask worker", f"one Dask worker, {SHARDS} shards"
RATE = Quantity("/s", more_is_better=True)


def cluster(place: Place, stack: ExitStack) -> None:
    """Start a scheduler and a worker, which the end of the stack kills."""
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", SCHEDULER.rpartition(":")[2], "--no-dashboard")
    for words in (scheduler, ("worker", SCHEDULER, "--nthreads", "1", "--no-nanny", "--no-dashboard")):
        process = subprocess.Popen(
            [*place, sys.executable, "-m", "dask", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)


def program(name: str, way: str, count: int, shards: int) -> Program:
    words = (sys.executable, "-m", "bench._distributed", way, str(ALIVE_4), str(count), str(shards))
    return Program(name, words, json.loads, needs="distributed")


def fault(answer: Answer) -> str:
    return "" if answer["found"] == answer["count"] else f"found {answer['found']:,} of {answer['count']:,}"


def program_cases() -> Iterator[ProgramCase]:
    rate = Reading(
        "IPv4 /16, all alive",
        RATE,
        lambda answer: answer["count"] / answer["seconds"],
        [Goal(0.9, (LOCAL,), ONE)],
    )
    yield ProgramCase(
        "a sweep", [program(ONE, "one", ALL, 1), program(LOCAL, "local", ALL, 1)], fault, [rate]
    )
    overhead = Reading(
        "what a shard costs beyond its sweep",
        NANOSECONDS,
        lambda answer: (answer["seconds"] - answer["inside"]) / answer["shards"] * 1e9,
        [Goal(50e6, by=CUT)],
    )
    yield ProgramCase("shards", [program(CUT, "one", FEW, SHARDS)], fault, [overhead])


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    with two_hosts() as place, ExitStack() as stack:
        cluster(place, stack)
        yield from measure_programs("distributed", place, [*program_cases()], rounds)
