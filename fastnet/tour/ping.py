"""Ping this machine over IPv4 and IPv6, one thread and many."""

import socket
from _collections_abc import Iterator

from fastnet._contract.values import counted
from fastnet._ping import PingResult, multiping, ping
from fastnet.errors import NotPermitted
from fastnet.tour import Sight

TOPIC = "probe"


def visit() -> Iterator[Sight]:
    try:
        yield from pings()
    except NotPermitted as error:
        yield Sight("ping 127.0.0.1", f"{error.args[-1]}")


def pings() -> Iterator[Sight]:
    for host in ("127.0.0.1", "::1") if has_ipv6_loopback() else ("127.0.0.1",):
        yield sight(f"ping {host} three times", ping(host, count=3, interval=0.01, timeout=1.0))

    results = multiping([f"127.0.0.{n}" for n in range(1, 51)], count=2, interval=0.05, timeout=1.0)
    alive = sum(result.alive for result in results)
    yield Sight(
        f"ping {counted(len(results), 'address')} of 127.0.0.0/8 at once, twice, over one socket",
        f"{alive} answered",
        ok=alive == len(results),
        privilege=f"{results[0].engine} socket",
    )


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def sight(did: str, result: PingResult) -> Sight:
    if result.rtt_avg_ms is None:
        return Sight(did, f"{result.error}", ok=False, privilege=f"{result.engine} socket")
    seen = f"{result.received} of {result.sent} answered, {result.rtt_avg_ms:.3f} ms on average"
    return Sight(did, seen, privilege=f"{result.engine} socket")
