"""Round-trip times beside the wire's, floods, and pings of many hosts: ping, fping, and Python's.

Round-trip times are compared with those between the nanosecond timestamps of a packet socket on the sender's
side of a veth pair (bench/_capture.py). Floods and pings of many hosts are of the whole command.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench._case import Answer, Goal, Quantity, Reading
from bench._harness import Result
from bench._hosts import ALIVE_4, DEVICE, two_hosts
from bench._pingers import INTERVAL
from bench._programs import Program, ProgramCase, fastnet, measure_programs
from bench._sweepers import addresses
from bench._sweeps import FEW, NATIVE, PURE_ONLY

PINGS = 100
FLOOD = 20_000
MANY = 10_000
HOST = str(ip_address(ALIVE_4 + 1))
MICROSECONDS = Quantity("us")
STAMPED, STAMPED_DATAGRAM, UNSTAMPED = "fastnet Pinger", "fastnet Pinger, datagram", "fastnet, no send stamps"

Told = list[tuple[str, float]]
"""Address and microseconds."""


def off_the_wire(told: Told, wire: Told) -> float:
    """The median error of the times in microseconds. Earlier packets on the wire are ignored."""
    passed: dict[str, list[float]] = {}
    for address, microseconds in wire:
        passed.setdefault(address, []).append(microseconds)
    return median(abs(microseconds - passed[address].pop()) for address, microseconds in reversed(told))


def pairs(output: str) -> Told:
    """Lines of an address and a time: in milliseconds within fping's parentheses, else in microseconds."""
    found = re.findall(r"^(\S+) (\()?([\d.]+)", output, re.MULTILINE)
    return [(address, float(number) * (1e3 if paren else 1)) for address, paren, number in found]


def iputils_times(output: str) -> Told:
    found = re.findall(r"bytes from (\S+):.* time=([\d.]+) ms", output)
    return [(address, float(number) * 1e3) for address, number in found]


def fping_times(output: str) -> Told:
    """Of ``-C``: all of a host in a line."""
    address, _, times = output.partition(" : ")
    return [(address, float(number) * 1e3) for number in times.split() if number != "-"]


def captured(
    name: str,
    words: Sequence[str],
    read: Callable[[str], Told] = pairs,
    environment: Mapping[str, str] = {},
    peer: str = "",
    needs: str = "",
) -> Program:
    def compare(output: str) -> Answer:
        answer = json.loads(output)
        told = read(answer["told"])
        return {"told": len(told), "off": off_the_wire(told, answer["wire"])}

    capture = [sys.executable, "-m", "bench._capture", DEVICE]
    return Program(name, [*capture, *words], compare, environment, peer, needs)


def accuracy(what: str, count: int, programs: Sequence[Program], goals: Sequence[Goal]) -> ProgramCase:
    def fault(answer: Answer) -> str:
        return "" if answer["told"] == count else f"printed {answer['told']} of {count}"

    reading = Reading(what, MICROSECONDS, lambda answer: answer["off"], goals)
    return ProgramCase(f"{count} requests", programs, fault, [reading])


def python(name: str, first: int, count: int) -> list[str]:
    return [sys.executable, "-m", "bench._pingers", name, str(first), str(count)]


def of_one_host(native: bool) -> ProgramCase:
    own = partial(python, first=ALIVE_4 + 1, count=PINGS)
    pure = captured("fastnet pure Pinger", own("pinger"), environment=PURE_ONLY)
    ours = [
        captured(STAMPED, own("pinger"), environment=NATIVE),
        captured(STAMPED_DATAGRAM, own("datagram pinger"), environment=NATIVE),
        captured(UNSTAMPED, own("unstamped"), environment=NATIVE),
        pure,
    ]
    peers = [
        captured("ping", ["ping", "-n", f"-c{PINGS}", f"-i{INTERVAL}", HOST], iputils_times, peer="ping"),
        captured(
            "fping",
            ["fping", "-q", f"-C{PINGS}", f"-p{INTERVAL * 1000:.0f}", HOST],
            fping_times,
            peer="fping",
        ),
        *(captured(name, own(name), needs=name) for name in ("icmplib", "pythonping", "ping3", "scapy")),
    ]
    goals = [Goal(3, by=STAMPED), Goal(3, by=STAMPED_DATAGRAM)]
    return accuracy("RTT off the wire's", PINGS, [*(ours if native else [pure]), *peers], goals)


def of_a_sweep(native: bool) -> ProgramCase:
    own = partial(python, first=ALIVE_4, count=FEW)
    pure = captured("fastnet pure", own("sweep"), environment=PURE_ONLY)
    ours = [
        captured("fastnet raw", own("sweep"), environment=NATIVE),
        captured("fastnet datagram", own("datagram sweep"), environment=NATIVE),
        pure,
    ]
    ends = [str(ip_address(ALIVE_4)), str(ip_address(ALIVE_4 + FEW - 1))]
    fping = ["fping", "-q", "-a", "-e", "-i0", "-r1", "-g", *ends]
    peers = [
        captured("fping", fping, peer="fping"),
        *(captured(name, own(f"{name} sweep"), needs=name) for name in ("icmplib", "scapy")),
    ]
    goals = [Goal(1.5, by="fastnet raw"), Goal(1.5, by="fastnet datagram")]
    what = f"RTT off the wire's, in a sweep of {FEW}"
    return accuracy(what, FEW, [*(ours if native else [pure]), *peers], goals)


def received(output: str) -> Answer:
    """Of a summary in the words of ping or of ours."""
    [(sent, back)] = re.findall(r"(\d+) (?:packets transmitted|sent), (\d+) received", output)
    return {"sent": int(sent), "received": int(back)}


def alive(output: str) -> Answer:
    return {"alive": output.count(": 1 sent, 1 received")}


def listed(output: str) -> Answer:
    return {"alive": len(pairs(output))}


def flood(native: bool) -> ProgramCase:
    words = ("-q", "-f", f"-c{FLOOD}", HOST)
    pure = Program("fastnet pure ping", fastnet("ping", *words), received, PURE_ONLY)
    ours = [Program("fastnet ping", fastnet("ping", *words), received, NATIVE), pure]
    ping = Program("ping", ["ping", *words], received, peer="ping")

    def fault(answer: Answer) -> str:
        return "" if answer["received"] == FLOOD else f"{answer['received']:,} of {FLOOD:,} came back"

    rate = Reading(
        "flood", Quantity("/s", more_is_better=True), lambda answer: answer["sent"] / answer["seconds"]
    )
    cpu = Reading(
        "flood: CPU a request",
        Quantity("CPU us"),
        lambda answer: answer["cpu_seconds"] / answer["sent"] * 1e6,
    )
    return ProgramCase(f"{FLOOD} requests", [*(ours if native else [pure]), ping], fault, [rate, cpu])


def many(pace: str, ours: Sequence[str], fping: str, native: bool, folder: Path) -> ProgramCase:
    """One request to each of many hosts. fping's exit status is whether all replied."""
    file = folder / "hosts"
    file.write_text("\n".join(addresses(ALIVE_4, MANY)) + "\n")
    words = fastnet("ping", "-q", "-c1", *ours, "--file", str(file))
    pure = Program("fastnet pure ping", words, alive, PURE_ONLY)
    library = python("flood" if ours else "multiping", ALIVE_4, MANY)
    mine = [
        Program("fastnet ping", words, alive, NATIVE),
        Program("multiping()", library, listed, NATIVE),
        pure,
    ]
    peer = Program("fping", ["fping", "-q", "-c1", fping, "-f", str(file)], peer="fping")

    def fault(answer: Answer) -> str:
        return "" if answer.get("alive", MANY) == MANY else f"{answer['alive']:,} of {MANY:,} replied"

    cpu = Reading(
        f"{MANY} hosts {pace}: CPU a host",
        Quantity("CPU us"),
        lambda answer: answer["cpu_seconds"] / MANY * 1e6,
        [Goal(2, ("fping",), by="fastnet ping"), Goal(2, ("fping",), by="multiping()")],
    )
    return ProgramCase(f"{MANY} hosts {pace}", [*(mine if native else [pure]), peer], fault, [cpu])


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    native = "native" in implementations
    with two_hosts() as place, TemporaryDirectory(prefix="fastnet-bench-") as folder:
        cases = [
            of_one_host(native),
            of_a_sweep(native),
            flood(native),
            many("in a second", [], f"-i{1000 / MANY}", native, Path(folder)),
            many("at once", ["-f"], "-i0", native, Path(folder)),
        ]
        yield from measure_programs("ping", place, cases, rounds)
