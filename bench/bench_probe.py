"""Sweeps of a /16 over a veth pair, all alive and half dead: fping, zmap, masscan, nmap, icmplib, scapy.

One namespace sweeps, another one's kernel answers. Of a program the whole run is measured, of what runs in
Python the sweep alone; memory is what it takes beyond a sweep of one target. Slow contenders sweep fewer.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench._case import Goal, Place, Quantity
from bench._harness import Measurement, Result
from bench._namespace import namespace
from bench._sweepers import RETRIES, TIMEOUT, addresses, peak_memory

ALL = 1 << 16
FEW = 1 << 10
"""What slow contenders sweep."""
CORES = sorted(os.sched_getaffinity(0))
RIGHT = "right"
RAW, DATAGRAM, PURE = "fastnet raw", "fastnet datagram", "fastnet pure"
FPING = ("fping",)

ALIVE_4, HALF_4 = int(ip_address("10.80.0.0")), int(ip_address("10.81.0.0"))
ALIVE_6 = int(ip_address("fd80::"))

LEFT = (
    "address add 10.79.0.1/30 dev veth0",
    "address add fd79::1/64 dev veth0 nodad",
    "link set veth0 up",
    "route add 10.80.0.0/15 via 10.79.0.2",
    "route add fd80::/16 via fd79::2",
)
RIGHT_SIDE = (
    "address add 10.79.0.2/30 dev veth0",
    "address add fd79::2/64 dev veth0 nodad",
    "link set veth0 up",
    "route add local 10.80.0.0/15 dev lo",
    "route add local fd80::/16 dev lo",
)
# Of the second /16 each odd address is dead.
DEAD = """\
table ip bench {
    chain dead {
        type filter hook prerouting priority raw
        ip daddr 10.81.0.0/16 ip daddr & 0.0.0.1 == 0.0.0.1 drop
    }
}
"""

Answer = Mapping[str, float]


class Contender(NamedTuple):
    """``command(first, count, file)``: the file lists the targets; ``found`` reads what it prints."""

    name: str
    command: Callable[[int, int, Path], Sequence[str]]
    found: Callable[[str], int] | None = None
    """None for one that measures itself (bench._sweepers)."""
    environment: Mapping[str, str] = {}
    most: int = ALL
    needs: str = ""
    """The program or the module without which it can't run."""

    def trouble(self) -> str:
        """Why it can't run."""
        there = not self.needs or shutil.which(self.needs) or (not self.found and find_spec(self.needs))
        return "" if there else f"not installed: {self.needs}"


class SweepCase(NamedTuple):
    what: str
    first: int
    alive: float
    """The share of the targets that is."""
    goals: bool = True


def lines(output: str) -> int:
    return len(output.splitlines())


def python(name: str, first: int, count: int, file: Path) -> list[str]:
    return [sys.executable, "-m", "bench._sweepers", name, str(first), str(count)]


def fping(first: int, count: int, file: Path) -> list[str]:
    return ["fping", "-q", "-a", "-i0", f"-r{RETRIES}", "-B1", f"-t{TIMEOUT * 1000:.0f}", "-f", str(file)]


def zmap(first: int, count: int, file: Path) -> list[str]:
    options = ["-M", "icmp_echoscan", "-i", "veth0", "-B", "1G", "-q", "-o", "-", "-c", f"{TIMEOUT:.0f}"]
    return ["zmap", *options, "-b", "/dev/null", "-w", str(file)]


def masscan(first: int, count: int, file: Path) -> list[str]:
    return ["masscan", "--ping", "--rate", "1000000", "--wait", f"{TIMEOUT:.0f}", "-iL", str(file)]


def nmap(first: int, count: int, file: Path) -> list[str]:
    return ["nmap", "-sn", "-n", "-PE", "-T5", "--max-retries", str(RETRIES), "-oG", "-", "-iL", str(file)]


def ours(implementations: Sequence[str]) -> list[Contender]:
    pure = Contender(PURE, partial(python, "raw"), environment={"FASTNET_IMPL": "pure"})
    if "native" not in implementations:
        return [pure]
    native = {"FASTNET_IMPL": "native"}
    return [
        Contender(RAW, partial(python, "raw"), environment=native),
        Contender(DATAGRAM, partial(python, "datagram"), environment=native),
        pure,
    ]


PEERS = (
    Contender("fping", fping, lines, needs="fping"),
    Contender("zmap", zmap, lines, needs="zmap"),
    Contender("masscan", masscan, lines, needs="masscan"),
    Contender("nmap -sn", nmap, lambda output: output.count("Status: Up"), most=FEW, needs="nmap"),
    Contender("icmplib", partial(python, "icmplib"), most=FEW, needs="icmplib"),
    Contender("scapy", partial(python, "scapy"), most=FEW, needs="scapy"),
)
IPV6_PEERS = ("fping", "icmplib")

CASES = (
    SweepCase("IPv4 /16, all alive", ALIVE_4, 1),
    SweepCase("IPv4 /16, half dead", HALF_4, 0.5, goals=False),
    SweepCase("IPv6 /112, all alive", ALIVE_6, 1),
)


@contextmanager
def two_hosts() -> Iterator[Place]:
    with namespace("sweeps") as left, namespace("answers") as right:
        pair = f"link add veth0 type veth peer name veth0 netns {right[-1]}"
        for place, batch in ((left, (pair,)), (left, LEFT), (right, RIGHT_SIDE)):
            subprocess.run([*place, "ip", "-batch", "-"], input="\n".join(batch), text=True, check=True)
        groups = "net.ipv4.ping_group_range=0 2147483647"
        subprocess.run([*left, "sysctl", "-qw", groups], check=True)
        subprocess.run([*right, "nft", "-f", "-"], input=DEAD, text=True, check=True)
        yield left


def children_cpu() -> float:
    """What the processes that ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(contender: Contender, place: Place, first: int, count: int, folder: Path) -> Answer:
    """Let it sweep. Raises ValueError where it told nothing."""
    targets, told = folder / "targets", folder / "told"
    targets.write_text("\n".join(addresses(first, count)) + "\n")
    began, cpu, memory = time.perf_counter(), children_cpu(), 0
    with (
        told.open("w") as output,
        subprocess.Popen(
            [*place, "taskset", "-c", str(CORES[0]), *contender.command(first, count, targets)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **contender.environment},
        ) as process,
    ):
        while process.poll() is None:
            memory = max(memory, peak_memory(process.pid))
            time.sleep(0.01)
    if contender.found is None:
        answer: Answer = json.loads(told.read_text())
        return answer
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": children_cpu() - cpu,
        "found": contender.found(told.read_text()),
        "memory": memory,
    }


class Samples:
    """What was measured of a contender in a case."""

    def __init__(self, contender: Contender, case: SweepCase) -> None:
        self.contender = contender
        self.count = contender.most
        self.alive = case.alive * self.count
        self.verdict = contender.trouble() or RIGHT
        self.answers: list[Answer] = []
        self._first = case.first

    def take(self, place: Place, folder: Path) -> None:
        if self.verdict != RIGHT:
            return
        try:
            one = run(self.contender, place, self._first, 1, folder)
            answer = run(self.contender, place, self._first, self.count, folder)
        except ValueError:
            self.verdict = "failed: it told nothing"
            return
        added = answer["memory"] - (one["memory"] if self.contender.found else 0)
        self.answers.append({**answer, "memory": added})

    def measurement(self, value: Callable[[Answer], float]) -> Measurement:
        code = f"a sweep of {self.count}"
        return Measurement(self.contender.name, code, self.verdict, [value(each) for each in self.answers])


def results(case: SweepCase, found: Sequence[Samples]) -> Iterator[Result]:
    def result(
        what: str, quantity: Quantity, value: Callable[[Answer, Samples], float], goals: Sequence[Goal]
    ) -> Result:
        measurements = [
            samples.measurement(lambda answer, samples=samples: value(answer, samples)) for samples in found
        ]
        names = [measurement.name for measurement in measurements]
        kept = [goal for goal in goals if case.goals and goal.by in names]
        return Result("probe", f"{case.what}{what}", quantity, kept, measurements)

    yield result(
        "",
        Quantity("/s", more_is_better=True),
        lambda answer, samples: samples.count / answer["seconds"],
        [Goal(1.8, FPING, RAW), Goal(1.8, FPING, DATAGRAM), Goal(0.95, FPING, PURE)],
    )
    yield result(
        ": CPU a target",
        Quantity("CPU us"),
        lambda answer, samples: answer["cpu_seconds"] / samples.count * 1e6,
        [Goal(0.55, FPING, RAW), Goal(0.55, FPING, DATAGRAM)],
    )
    yield result(
        ": found",
        Quantity("%", more_is_better=True),
        lambda answer, samples: answer["found"] / samples.alive * 100,
        [Goal(100, by=name) for name in (RAW, DATAGRAM, PURE)],
    )
    yield result(
        ": added memory",
        Quantity("MB"),
        lambda answer, samples: answer["memory"] / 1e6,
        [Goal(3, by=RAW), Goal(3, by=DATAGRAM)],
    )


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    if os.geteuid() != 0:
        sys.exit("bench: this page makes network namespaces and needs root")
    with two_hosts() as place, TemporaryDirectory(prefix="fastnet-bench-") as folder:
        for case in CASES:
            contenders = [
                contender
                for contender in [*ours(implementations), *PEERS]
                if case.first < 1 << 32 or contender not in PEERS or contender.name in IPV6_PEERS
            ]
            found = [Samples(contender, case) for contender in contenders]
            for _ in range(rounds):
                for samples in found:
                    samples.take(place, Path(folder))
            yield from results(case, found)
