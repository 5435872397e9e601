"""What each command takes beyond a Python that does nothing, and a sweep of 2**24 targets to end at Ctrl-C.

A sweep is interrupted in its midst; it has to print its summary and to end with exit status 130.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from itertools import product
from json import loads

from bench._case import NANOSECONDS, Answer, Goal, Reading
from bench._harness import Result
from bench._hosts import ALIVE_4, ALIVE_6, HALF_6, two_hosts
from bench._programs import Program, ProgramCase, fastnet, measure_programs
from bench._sweeps import NATIVE, PURE_ONLY

TIMES = 5
BEYOND_NOTHING_NS = 15e6
TO_END_NS = 0.3e9
INTERRUPTED = 130
SWEPT_SECONDS = 1.0
"""The time before Ctrl-C."""
LOOPBACK = "127.0.0.1"
COMMANDS = (
    ("address", "lo"),
    ("echo", "client", f"{LOOPBACK}:1", "-c1"),  # it is refused
    ("forward", "--dry-run", "0", f"{LOOPBACK}:9"),
    ("interfaces",),
    ("ipc", "pair"),
    ("ipv6",),
    ("packet", "parse", "--raw", "/proc/version"),
    ("ping", "-c1", LOOPBACK),
    ("portscan", "-p1", LOOPBACK),
    ("routes",),
    ("schema", "reply"),
    ("status", "lo"),
    ("sweep", "--alive", LOOPBACK),
    ("trace", LOOPBACK),
    ("wait", "--gone", f"{LOOPBACK}:1"),
)
"""One of each, but ``tour``."""


def seconds(what: str, goals: Sequence[Goal]) -> Reading:
    return Reading(what, NANOSECONDS, lambda answer: answer["seconds"] * 1e9, goals)


def start(native: bool, cold: bool) -> ProgramCase:
    options = ["--cold"] if cold else []

    def program(words: tuple[str, ...]) -> Program:
        counted = [sys.executable, "-m", "bench._starts", str(TIMES), *options, *fastnet(*words)]
        return Program(f"fastnet {words[0]}", counted, loads, NATIVE if native else PURE_ONLY)

    programs = [program(words) for words in COMMANDS]
    what = f"start beyond bare Python's, {'nothing compiled' if cold else 'modules compiled'}"
    return ProgramCase(
        what,
        programs,
        lambda answer: "",
        [seconds(what, [Goal(BEYOND_NOTHING_NS, by=each.name) for each in programs])],
    )


def end(native: bool) -> ProgramCase:
    interrupted = [sys.executable, "-m", "bench._interrupted"]
    many, half_dead = (f"{ip_address(first)}/104" for first in (ALIVE_6, HALF_6))
    forms = {"alive": ["--alive"], "a line each": [], "JSON": ["--json"]}
    ours = [
        Program(
            f"fastnet sweep, {form}{kind}",
            [*interrupted, str(SWEPT_SECONDS), *fastnet("sweep", *options, targets)],
            loads,
            NATIVE if native else PURE_ONLY,
        )
        for (form, options), (kind, targets) in product(
            forms.items(), {"": many, ", half dead": half_dead}.items()
        )
    ]
    # fping takes no more than a /16, which it sweeps so slowly for the occasion.
    words = ["fping", "-q", "-s", "-i1", "-g", f"{ip_address(ALIVE_4)}/16"]
    peer = Program("fping", [*interrupted, str(SWEPT_SECONDS), *words], loads, peer="fping")

    def fault(answer: Answer) -> str:
        if not answer["summary"]:
            return "no summary"
        return "" if answer["status"] in (1, INTERRUPTED) else f"exit status {answer['status']}"

    what = "Ctrl-C in a sweep: time to its end"
    return ProgramCase(
        what, [*ours, peer], fault, [seconds(what, [Goal(TO_END_NS, by=each.name) for each in ours])]
    )


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    native = "native" in implementations
    yield from measure_programs("start", (), [start(native, cold=False), start(native, cold=True)], rounds)
    with two_hosts() as place:
        yield from measure_programs("start", place, [end(native)], rounds)
