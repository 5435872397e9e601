"""The sweeping programs and their command lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from json import loads
from pathlib import Path
from typing import NamedTuple

from bench._case import Answer
from bench._hosts import ANSWERER_MAC, ASKER_MAC, DEVICE, SOURCE_4
from bench._programs import Program, fastnet
from bench._sweepers import RETRIES, TIMEOUT, addresses

ALL = 1 << 16
FEW = 1 << 10
"""The number of targets for slow contenders."""
RAW, DATAGRAM, TURBO, PURE, COMMAND, COMMAND_TURBO, LINK = (
    "fastnet raw",
    "fastnet datagram",
    "fastnet turbo",
    "fastnet pure",
    "fastnet sweep",
    "fastnet sweep, turbo",
    "fastnet link",
)
FPING = ("fping",)
NATIVE, PURE_ONLY = {"FASTNET_IMPL": "native"}, {"FASTNET_IMPL": "pure"}
ONE_BY_ONE = ("pythonping", "ping3")
"""These wait the whole timeout for each dead host."""
OWN_TIMEOUTS = ("nmap -sn", "icmplib", "scapy")
"""These do not ask twice, each time for the timeout that is given."""


class Contender(NamedTuple):
    """``command(first, count, file)``: the file lists the targets; ``found`` reads what it prints."""

    name: str
    command: Callable[[int, int, Path], Sequence[str]]
    found: Callable[[str], int] | None = None
    """None for one that measures itself (bench._sweepers)."""
    environment: Mapping[str, str] = {}
    most: int = ALL
    peer: str = ""
    needs: str = ""
    answers: Sequence[int] = (0,)
    may_miss: bool = False
    """It sends everything, then waits for a fixed time."""

    def program(self, first: int, count: int, folder: Path) -> Program:
        """It sweeping so many from there on; its output has ``count`` and ``found``."""
        count = min(count, self.most)

        def read(told: str) -> Answer:
            return {"count": count, **({"found": self.found(told)} if self.found else loads(told))}

        def command(of: int) -> Sequence[str]:
            file = folder / f"{first}-{of}"
            file.write_text("\n".join(addresses(first, of)) + "\n")
            return self.command(first, of, file)

        idle = command(1) if self.found else ()
        words = (self.environment, self.peer, self.needs, self.answers, idle, self.may_miss)
        return Program(self.name, command(count), read, *words)


def lines(told: str) -> int:
    """The number of different ones."""
    return len(set(told.splitlines()))


def ups(told: str) -> int:
    return told.count("Status: Up")


def python(name: str, first: int, count: int, file: Path) -> list[str]:
    return [sys.executable, "-m", "bench._sweepers", name, str(first), str(count)]


def command(first: int, count: int, file: Path) -> list[str]:
    ends = f"{ip_address(first)}-{ip_address(first + count - 1)}"
    return fastnet("sweep", "--alive", ends)


def command_turbo(first: int, count: int, file: Path) -> list[str]:
    return [*command(first, count, file), "--engine", "turbo"]


def fping(first: int, count: int, file: Path) -> list[str]:
    return ["fping", "-q", "-a", "-i0", f"-r{RETRIES}", "-B1", f"-t{TIMEOUT * 1000:.0f}", "-f", str(file)]


def zmap(rate: int, probes: int, first: int, count: int, file: Path) -> list[str]:
    options = ["-M", "icmp_echoscan", "-i", DEVICE, "-G", ANSWERER_MAC, "-r", str(rate), "-q", "-o", "-"]
    waiting = ["-P", str(probes), "-c", f"{TIMEOUT:.0f}"]
    return ["zmap", *options, *waiting, "-b", "/dev/null", "-w", str(file)]


def masscan(rate: int, probes: int, first: int, count: int, file: Path) -> list[str]:
    # It can't determine these itself in a namespace without a default route.
    link = ["-e", DEVICE, "--adapter-ip", SOURCE_4, "--adapter-mac", ASKER_MAC, "--router-mac", ANSWERER_MAC]
    sending = ["--rate", str(rate), "--retries", str(probes - 1), "--wait", f"{TIMEOUT:.0f}"]
    return ["masscan", "--ping", *link, *sending, "-iL", str(file)]


def nmap(first: int, count: int, file: Path) -> list[str]:
    return ["nmap", "-sn", "-n", "-PE", "-T5", "--max-retries", str(RETRIES), "-oG", "-", "-iL", str(file)]


def arp_scan(first: int, count: int, file: Path) -> list[str]:
    options = ["--plain", "--quiet", f"--interface={DEVICE}", f"--retry={1 + RETRIES}", "--bandwidth=1000M"]
    return ["arp-scan", *options, f"--timeout={TIMEOUT * 1000:.0f}", f"--file={file}"]


WHOLE = Contender(COMMAND, command, lines, environment=NATIVE)
WHOLE_TURBO = Contender(COMMAND_TURBO, command_turbo, lines, environment=NATIVE)


def on_link(implementations: Sequence[str]) -> list[Contender]:
    """The programs for a prefix on the link, where each host's MAC must be resolved first."""
    names = ("fping", "nmap -sn")
    pure = Contender("fastnet pure link", partial(python, "link"), environment=PURE_ONLY)
    mine = [Contender(LINK, partial(python, "link"), environment=NATIVE), pure, WHOLE]
    if "native" not in implementations:
        mine = [pure]
    arp = Contender("arp-scan", arp_scan, lines, peer="arp-scan")
    return [*mine, arp, *(peer for peer in PEERS if peer.name in names)]


def ours(implementations: Sequence[str]) -> list[Contender]:
    pure = Contender(PURE, partial(python, "raw"), environment=PURE_ONLY)
    if "native" not in implementations:
        return [pure]
    return [
        Contender(RAW, partial(python, "raw"), environment=NATIVE),
        Contender(DATAGRAM, partial(python, "datagram"), environment=NATIVE),
        Contender(TURBO, partial(python, "turbo"), environment=NATIVE),
        pure,
        WHOLE,
        WHOLE_TURBO,
    ]


WITHOUT_FEEDBACK = (
    Contender("zmap, no limit", partial(zmap, 0, 1), lines, peer="zmap", may_miss=True),
    Contender("zmap, twice, 50k/s", partial(zmap, 50_000, 2), lines, peer="zmap", may_miss=True),
    Contender("masscan, 1M/s", partial(masscan, 1_000_000, 1), lines, peer="masscan", may_miss=True),
    # Its threads end seconds after the time to wait: a few targets show what it finds, not its pace.
    Contender(
        "masscan, thrice, 10k/s", partial(masscan, 10_000, 3), lines, most=FEW, peer="masscan", may_miss=True
    ),
)
PEERS = (
    # It gives up where 65,536 sequence numbers do not last for ten seconds; 1 means that somebody is dead.
    Contender("fping", fping, lines, most=ALL // 2, peer="fping", answers=(0, 1)),
    *WITHOUT_FEEDBACK,
    Contender("nmap -sn", nmap, ups, most=FEW, peer="nmap"),
    Contender("icmplib", partial(python, "icmplib"), most=FEW, needs="icmplib"),
    Contender("scapy", partial(python, "scapy"), most=FEW, needs="scapy"),
    Contender("pythonping", partial(python, "pythonping"), most=FEW, needs="pythonping"),
    Contender("ping3", partial(python, "ping3"), most=FEW, needs="ping3"),
)
IPV6_PEERS = tuple(peer for peer in PEERS if peer.name in ("fping", "icmplib"))
