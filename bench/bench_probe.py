"""Sweeps over a veth pair, all alive and half dead: fping, zmap, masscan, nmap -sn, and Python's.

One namespace sweeps, another one's kernel answers. Of a program the whole run is measured, of what runs in
Python the sweep alone; memory is what it takes beyond a sweep of one target. Slow contenders sweep fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench._case import NANOSECONDS, Answer, Goal, Quantity, Reading
from bench._harness import Result
from bench._hosts import ALIVE_4, ALIVE_6, HALF_4, HALF_6, LINK_4, heartbeat, pair
from bench._programs import ProgramCase, measure_programs
from bench._sweepers import RETRIES, TIMEOUT
from bench._sweeps import (
    ALL,
    COMMAND,
    COMMAND_TURBO,
    DATAGRAM,
    FEW,
    FPING,
    IPV6_PEERS,
    ONE_BY_ONE,
    OWN_TIMEOUTS,
    PEERS,
    PURE,
    RAW,
    TURBO,
    WITHOUT_FEEDBACK,
    Contender,
    on_link,
    ours,
)

TIMEOUTS = TIMEOUT * (1 + RETRIES)
RATE = Quantity("/s", more_is_better=True)
SHARE = Quantity("%", more_is_better=True)
WHOLE = (Goal(1.5, FPING, COMMAND), Goal(2.1, FPING, COMMAND_TURBO))
"""The pace of the whole command."""


class Sweep(NamedTuple):
    what: str
    first: int
    size: int
    contenders: Sequence[Contender]
    readings: Sequence[Reading]
    alive: float = 1
    """The share of the targets that is."""
    least: int = 2
    """The fewest rounds."""

    def found(self) -> Reading:
        """A contender that finds any other number is wrong."""
        return Reading(
            f"{self.what}: found",
            SHARE,
            lambda answer: answer["found"] / answer["count"] / self.alive * 100,
            [Goal(100, by=each.name) for each in self.contenders if each.name.startswith("fastnet")],
        )

    def fault(self, answer: Answer) -> str:
        there = round(self.alive * answer["count"])
        return "" if answer["found"] == there else f"found {answer['found']:,} of {there:,}"

    def case(self, folder: Path) -> ProgramCase:
        programs = [contender.program(self.first, self.size, folder) for contender in self.contenders]
        return ProgramCase(
            f"a sweep of {self.size}", programs, self.fault, [*self.readings, self.found()], self.least
        )


def rate(what: str, goals: Sequence[Goal] = ()) -> Reading:
    return Reading(what, RATE, lambda answer: answer["count"] / answer["seconds"], goals)


def cpu_time(what: str, goals: Sequence[Goal]) -> Reading:
    return Reading(
        f"{what}: CPU a target",
        Quantity("CPU us"),
        lambda answer: answer["cpu_seconds"] / answer["count"] * 1e6,
        goals,
    )


def usage(what: str) -> Iterator[Reading]:
    """The CPU time and memory of a sweep."""
    engines = [Goal(0.55, FPING, RAW), Goal(0.55, FPING, DATAGRAM), Goal(0.35, FPING, TURBO)]
    yield cpu_time(what, [*engines, Goal(0.6, FPING, COMMAND)])
    yield Reading(
        f"{what}: added memory",
        Quantity("MB"),
        lambda answer: answer["memory"] / 1e6,
        [Goal(3, by=RAW), Goal(3, by=DATAGRAM)],
    )


def beyond_timeouts(what: str, goals: Sequence[Goal] = ()) -> Reading:
    return Reading(
        f"{what}: time beyond the timeouts",
        NANOSECONDS,
        lambda answer: (answer["seconds"] - TIMEOUTS) * 1e9,
        goals,
        without=OWN_TIMEOUTS,
    )


def sweeps(implementations: Sequence[str]) -> Iterator[Sweep]:
    mine = ours(implementations)
    small = but([each.name for each in WITHOUT_FEEDBACK], [*mine, *PEERS])
    what = "IPv4 /24, all alive"
    yield Sweep(what, ALIVE_4, 1 << 8, small, [rate(what)])
    what = "IPv4 /20, all alive"
    quick = [contender for contender in small if contender.most > FEW]
    yield Sweep(what, ALIVE_4, 1 << 12, quick, [rate(what)])
    what = "IPv4 /16, all alive"
    goals = [
        Goal(1.8, FPING, RAW),
        Goal(1.8, FPING, DATAGRAM),
        Goal(3, FPING, TURBO),
        Goal(0.95, FPING, PURE),
        *WHOLE,
    ]
    yield Sweep(what, ALIVE_4, ALL, [*mine, *PEERS], [rate(what, goals), *usage(what)], least=4)
    what = "IPv4 /17, half dead"
    extra = beyond_timeouts(what, [Goal(0.5, FPING, by) for by in (RAW, DATAGRAM, COMMAND)])
    yield Sweep(what, HALF_4, ALL // 2, but([*ONE_BY_ONE, "scapy"], small), [rate(what), extra], alive=0.5)
    what = "IPv4 on-link /16, all alive"
    yield Sweep(what, LINK_4, ALL, on_link(implementations), [rate(what), *usage(what)])
    what = "IPv6 /112, all alive"
    goals = [Goal(1.7, FPING, RAW), Goal(2.5, FPING, DATAGRAM), *WHOLE]
    yield Sweep(what, ALIVE_6, ALL, [*mine, *IPV6_PEERS], [rate(what, goals), *usage(what)])
    what = "IPv6 /113, half dead"
    yield Sweep(what, HALF_6, ALL // 2, [*mine, *IPV6_PEERS], [rate(what), beyond_timeouts(what)], alive=0.5)


def but(names: Sequence[str], contenders: Sequence[Contender]) -> list[Contender]:
    return [contender for contender in contenders if contender.name not in names]


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    with (
        pair() as (place, answering),
        heartbeat(answering),
        TemporaryDirectory(prefix="fastnet-bench-") as folder,
    ):
        cases = [sweep.case(Path(folder)) for sweep in sweeps(implementations)]
        yield from measure_programs("probe", place, cases, rounds)
