"""One sweep in this process: ``python -m bench._sweepers NAME FIRST COUNT`` prints what it took as JSON."""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench._hosts import DEVICE, LINK_SOURCE_4
from bench._programs import peak_memory

RETRIES = 1
TIMEOUT = 1.0

Sweep = Callable[[int, int], int]
"""Sweeps ``count`` addresses from ``first`` on and returns how many were found."""


def family_of(first: int) -> socket.AddressFamily:
    return socket.AF_INET if first < 1 << 32 else socket.AF_INET6


def addresses(first: int, count: int) -> list[str]:
    family = family_of(first)
    size = 4 if family == socket.AF_INET else 16
    return [socket.inet_ntop(family, number.to_bytes(size, "big")) for number in range(first, first + count)]


def fastnet(engine: str) -> Sweep:
    from fastnet._backend import probe
    from fastnet._system.routes import only_ipv6_source

    def sweep(first: int, count: int) -> int:
        family, spans = family_of(first), [(first, first + count - 1)]
        # As ``fastnet.sweep`` opens it.
        source = only_ipv6_source(spans) if family == socket.AF_INET6 else ""
        prober = probe.Prober(family, engine, source=source)
        return finish(probe.Sweeper(prober, spans, timeout=TIMEOUT, retries=RETRIES, seed=1), prober)

    return sweep


def link() -> Sweep:
    from fastnet._backend import probe
    from fastnet._system.link_socket import Link

    def sweep(first: int, count: int) -> int:
        opened = Link(DEVICE, family_of(first), LINK_SOURCE_4)
        spans = [(first, first + count - 1)]
        return finish(probe.LinkSweeper(opened, spans, timeout=TIMEOUT, retries=RETRIES, seed=1), opened)

    return sweep


def turbo() -> Sweep:
    from fastnet._backend import probe
    from fastnet._system.routes import gatewayed

    def sweep(first: int, count: int) -> int:
        family = family_of(first)
        prober = probe.Prober(family, "raw")
        route = next(route for route in gatewayed(family) if route.first <= first <= route.last)
        opened = probe.open_turbo(prober, route)
        spans = [(first, first + count - 1)]
        sweeper = probe.Sweeper(opened, spans, timeout=TIMEOUT, retries=RETRIES, seed=1)
        return finish(sweeper, opened, prober)

    return sweep


def finish(sweeper: Any, *channels: Any) -> int:
    from fastnet._backend import probe

    while not sweeper.run(1):
        pass
    for channel in channels:
        channel.close()
    return bytes(sweeper.states).count(probe.ALIVE)


def icmplib() -> Sweep:
    from icmplib import multiping

    def sweep(first: int, count: int) -> int:
        hosts = multiping(
            addresses(first, count), count=1, timeout=TIMEOUT, concurrent_tasks=1000, privileged=True
        )
        return sum(host.is_alive for host in hosts)

    return sweep


def scapy() -> Sweep:
    from scapy.layers.inet import ICMP, IP
    from scapy.sendrecv import sr

    def sweep(first: int, count: int) -> int:
        targets = addresses(first, count)
        answered, _ = sr(IP(dst=targets) / ICMP(), timeout=TIMEOUT, retry=RETRIES, verbose=False)
        return len(answered)

    return sweep


def pythonping() -> Sweep:
    from pythonping import ping

    def sweep(first: int, count: int) -> int:
        return sum(ping(host, count=1, timeout=TIMEOUT).success() for host in addresses(first, count))

    return sweep


def ping3() -> Sweep:
    from ping3 import ping

    def sweep(first: int, count: int) -> int:
        return sum(isinstance(ping(host, timeout=TIMEOUT), float) for host in addresses(first, count))

    return sweep


SWEEPS: dict[str, Callable[[], Sweep]] = {
    "raw": lambda: fastnet("raw"),
    "datagram": lambda: fastnet("datagram"),
    "link": link,
    "turbo": turbo,
    "icmplib": icmplib,
    "scapy": scapy,
    "pythonping": pythonping,
    "ping3": ping3,
}


def kernel_time() -> float:
    """The CPU seconds of this process within the kernel, and of the packets that arrived meanwhile."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


def main(name: str, first: int, count: int) -> None:
    sweep = SWEEPS[name]()
    sweep(first, 1)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak: see proc(5)
    memory = peak_memory()
    kernel, cpu, wall = kernel_time(), time.process_time(), time.perf_counter()
    found = sweep(first, count)
    told = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "kernel_seconds": kernel_time() - kernel,
        "found": found,
        "memory": peak_memory() - memory,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
