"""Sweeps whose requests an eBPF program turns round, so that a sweep's own limit shows: zmap, masscan, fping.

The program is on the answering end of the veth pair, as generic XDP and then at tc's hook; the kernel answers
nothing. Every target of a /16 is alive. Skipped, with the reason, where the system does not permit it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench._case import Goal, Quantity, Reading
from bench._harness import Result
from bench._hosts import ALIVE_4, DEVICE, heartbeat, pair
from bench._programs import measure_programs
from bench._reflector import HOOKS, reflecting
from bench._sweeps import ALL, PEERS, TURBO, WITHOUT_FEEDBACK, Contender, ours
from bench.bench_probe import Sweep, cpu_time, rate
from fastnet.cli.output import remark


def contenders(implementations: Sequence[str]) -> list[Contender]:
    fping = [each for each in PEERS if each.name == "fping"]
    return [*ours(implementations), *fping, *WITHOUT_FEEDBACK]


def kernel_share(what: str, own: Sequence[Contender]) -> Reading:
    """Of the CPU time; only those that measure themselves print it."""
    others = [each.name for each in own if each.found]
    return Reading(
        f"{what}: the kernel's share of the CPU time",
        Quantity("%"),
        lambda answer: answer["kernel_seconds"] / answer["cpu_seconds"] * 100,
        without=others,
    )


def sweep(hook: str, implementations: Sequence[str]) -> Sweep:
    what = f"IPv4 /16, reflected by {hook}"
    found = contenders(implementations)
    pace, cpu = rate(what, [Goal(1_000_000, by=TURBO)]), cpu_time(what, [Goal(1, by=TURBO)])
    return Sweep(what, ALIVE_4, ALL, found, [pace, cpu, kernel_share(what, found)])


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    with (
        pair() as (asking, answering),
        heartbeat(answering),
        TemporaryDirectory(prefix="fastnet-bench-") as folder,
    ):
        for hook in HOOKS:
            with reflecting(hook, answering, DEVICE) as refusal:
                if refusal:
                    remark(f"  skipped: {refusal}")
                    continue
                case = sweep(hook, implementations).case(Path(folder))
                yield from measure_programs("reflected", asking, [case], rounds)
