"""Pages whose contenders are programs that do their work and end: watched, bounded in time, and judged.

Each run's exit status, output and time are checked. A program that fails or prints a wrong result is not run
again in that case; it is not compared, and its verdict has the reason. One that may miss answers is compared,
and its verdict has how many it found.
"""

from __future__ import annotations

import os
import re
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import NamedTuple

from bench import _peers
from bench._case import RIGHT, Answer, Place, Reading, Rounds
from bench._harness import Measurement, Result

CORES = sorted(os.sched_getaffinity(0))
LIMIT = 15.0
"""Seconds after which a program is killed."""
SLOWER = 3.0
"""A program whose runs in a case have taken more than so many times those of the first one has to wait."""
WATCH_MS = 10


class Wrong(Exception):
    """Why a program's run can't be compared with another's."""


class Program(NamedTuple):
    """``command`` does the work; ``read`` takes the numbers from what it prints, or raises ValueError.

    ``seconds``, ``cpu_seconds`` and ``memory``, its most in bytes, are measured of the whole program, unless
    it prints its own. Its memory is counted beyond that of the command ``idle``.
    """

    name: str
    command: Sequence[str]
    read: Callable[[str], Answer] = lambda told: {}
    environment: Mapping[str, str] = {}
    peer: str = ""
    """The peer's name among the words of ``command``."""
    needs: str = ""
    """The module that it requires."""
    answers: Sequence[int] = (0,)
    """The exit statuses that count as success."""
    idle: Sequence[str] = ()
    may_miss: bool = False
    """It has no feedback: a fault of its answers is printed beside its figures, not in their place."""


class ProgramCase(NamedTuple):
    """The same work for everyone; ``fault`` is what is wrong with an answer, nothing where it is right."""

    what: str
    programs: Sequence[Program]
    fault: Callable[[Answer], str]
    readings: Sequence[Reading]
    least: int = 2
    """The fewest rounds, however slow they are."""


def fastnet(*words: str) -> list[str]:
    """Our whole command, as pip installs it."""
    return [str(Path(sys.executable).with_name("fastnet")), *words]


def trouble(program: Program) -> str:
    """Why it can't run."""
    if program.needs and not find_spec(program.needs):
        return f"not installed: {program.needs}"
    try:
        words_of(program, program.command)
    except _peers.Missing as error:
        return f"not installed: {error}"
    return ""


def words_of(program: Program, command: Sequence[str]) -> list[str]:
    """Its command, or ``idle``, with the words that run the peer in the place of its name. Raises Missing."""
    if not program.peer:
        return [*command]
    at = command.index(program.peer)
    return [*command[:at], *_peers.command(program.peer), *command[at + 1 :]]


def peak_memory(pid: int | str = "self") -> int:
    """The peak resident memory of a process, in bytes; 0 if it has ended."""
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def children_cpu() -> float:
    """The CPU seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def on_first_core() -> Iterator[None]:
    """Restrict new processes to one core and this one to the others: see cpuset(7)."""
    os.sched_setaffinity(0, CORES[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES[1:] or CORES)


def watch(process: subprocess.Popen[bytes]) -> int:
    """Wait until it has ended; its peak memory. Raises Wrong where that takes too long."""
    deadline, memory = time.monotonic() + LIMIT, 0
    ended = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        while not poller.poll(WATCH_MS):
            memory = max(memory, peak_memory(process.pid))
            if time.monotonic() > deadline:
                raise Wrong(f"failed: not done in {LIMIT:.0f} s")
    except BaseException:
        process.kill()
        raise
    finally:
        os.close(ended)
    return memory


def run(program: Program, command: Sequence[str], place: Place, folder: Path) -> Answer:
    """Run it with a command. Raises Wrong."""
    told, complaints = folder / "told", folder / "complaints"
    environment = {**os.environ, **program.environment}
    words = [*place, *words_of(program, command)]
    cpu, began = children_cpu(), time.perf_counter()
    with told.open("wb") as output, complaints.open("wb") as errors:
        with on_first_core():
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment
            )
        with process:
            memory = watch(process)
    measured = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": children_cpu() - cpu,
        "memory": memory,
    }
    if process.returncode not in program.answers:
        last_line = complaints.read_text(errors="replace").strip().rpartition("\n")[2]
        raise Wrong(f"failed: exit status {process.returncode}: {shorten(last_line, 70)}")
    try:
        return {**measured, **program.read(told.read_text(errors="replace"))}
    except (ValueError, LookupError) as error:
        raise Wrong(f"failed: its output can't be read: {error}") from None


class Samples:
    """The measurements of a program in a case."""

    def __init__(self, program: Program, case: ProgramCase) -> None:
        self.name = program.name
        self.answers: list[Answer] = []
        self._trouble = trouble(program)
        """Why it is not run, or not again."""
        self._missed = ""
        self._program = program
        self._case = case
        self._idle_memory = 0.0
        self.taken = 0.0
        """Seconds of this session that it has used."""

    def take(self, place: Place, folder: Path) -> None:
        """Run it once more, unless it was wrong."""
        if self._trouble:
            return
        began = time.monotonic()
        try:
            if self._program.idle and not self.answers:
                self._idle_memory = run(self._program, self._program.idle, place, folder)["memory"]
            answer = run(self._program, self._program.command, place, folder)
            self._judge(self._case.fault(answer))
        except Wrong as error:
            self._trouble = str(error)
            self.answers.clear()
        else:
            self.answers.append({**answer, "memory": max(0.0, answer["memory"] - self._idle_memory)})
        self.taken += time.monotonic() - began

    def _judge(self, fault: str) -> None:
        if fault and not self._program.may_miss:
            raise Wrong(f"wrong: {fault}")
        self._missed = fault or self._missed

    def measurement(self, value: Callable[[Answer], float]) -> Measurement:
        verdict = self._trouble or self._missed or RIGHT
        return Measurement(self.name, self._case.what, verdict, [value(each) for each in self.answers])


def measure_programs(page: str, place: Place, cases: Sequence[ProgramCase], rounds: int) -> Iterator[Result]:
    """Each reading of each case; the first program is ours."""
    turns = Rounds(len(cases), rounds)
    with TemporaryDirectory(prefix="fastnet-bench-") as folder:
        for case in cases:
            found = [Samples(program, case) for program in case.programs]
            for _ in turns.of_next_case(case.least):
                for samples in found:
                    if samples.taken <= SLOWER * found[0].taken:
                        samples.take(place, Path(folder))
            for reading in case.readings:
                yield result(page, reading, found)


def result(page: str, reading: Reading, found: Sequence[Samples]) -> Result:
    measurements = [each.measurement(reading.value) for each in found if each.name not in reading.without]
    names = [measurement.name for measurement in measurements]
    goals = [goal for goal in reading.goals if goal.by in names]
    return Result(page, reading.what, reading.quantity, goals, measurements)
