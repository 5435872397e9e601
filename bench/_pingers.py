"""Echo requests of one process: ``python -m bench._pingers NAME FIRST COUNT``.

It pings one host COUNT times, or sweeps COUNT hosts, and prints for each reply, in the order of the requests,
the address and its round-trip time in microseconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from select import POLLIN, poll

from bench._sweepers import TIMEOUT, addresses, family_of

INTERVAL = 0.005
"""Seconds from one request to the next to the same host."""

Told = Iterator[tuple[str, float]]
Pings = Callable[[int, int], Told]
"""A function of an address as an integer, and a count."""


def pinger(engine: str, first: int, count: int) -> Told:
    from fastnet._ping import Pinger

    with Pinger(engine=engine) as pinger:
        for reply in pinger.replies(addresses(first, 1), count, INTERVAL, TIMEOUT):
            if reply.rtt_ms is not None:
                yield reply.address, reply.rtt_ms * 1e3


def unstamped(first: int, count: int) -> Told:
    """The Pinger's socket, without kernel timestamps of outgoing packets."""
    from fastnet._backend import probe

    prober = probe.Prober(family_of(first), "raw")
    poller = poll()
    poller.register(prober, POLLIN)
    for number in range(count):
        prober.send((str(ip_address(first)), 0), number, TIMEOUT)
        poller.poll(TIMEOUT * 1000)
        for answer in prober.receive():
            yield answer.responder, answer.rtt_ns / 1e3
        time.sleep(INTERVAL)
    prober.close()


def sweeper(engine: str, first: int, count: int) -> Told:
    from fastnet._backend import probe

    prober = probe.Prober(family_of(first), engine)
    sweeper = probe.Sweeper(prober, [(first, first + count - 1)], timeout=TIMEOUT, seed=1)
    while not sweeper.run(1):
        pass
    prober.close()
    for host, state, rtt in zip(addresses(first, count), sweeper.states, sweeper.rtts_ms, strict=True):
        if state == probe.ALIVE:
            yield host, rtt * 1e3


def multiping(interval: float, first: int, count: int) -> Told:
    """One request to each of so many hosts within the interval."""
    from fastnet import multiping

    for each in multiping(addresses(first, count), 1, interval):
        if each.rtt_avg_ms is not None:
            yield each.address, each.rtt_avg_ms * 1e3


def icmplib(first: int, count: int) -> Told:
    from icmplib import ping

    host = ping(str(ip_address(first)), count, INTERVAL, TIMEOUT, privileged=True)
    return ((host.address, rtt * 1e3) for rtt in host.rtts)


def icmplib_sweep(first: int, count: int) -> Told:
    from icmplib import multiping

    hosts = multiping(addresses(first, count), 1, timeout=TIMEOUT, privileged=True)
    return ((host.address, host.avg_rtt * 1e3) for host in hosts if host.is_alive)


def pythonping(first: int, count: int) -> Told:
    from pythonping import ping

    host = str(ip_address(first))
    replies = ping(host, count=count, interval=INTERVAL, timeout=TIMEOUT)
    return ((host, reply.time_elapsed_ms * 1e3) for reply in replies if reply.success)


def ping3(first: int, count: int) -> Told:
    from ping3 import ping

    host = str(ip_address(first))
    for number in range(count):
        if rtt := ping(host, timeout=TIMEOUT, unit="ms", seq=number):
            yield host, rtt * 1e3
        time.sleep(INTERVAL)


def scapy(hosts: Callable[[int, int], list[str]], interval: float, first: int, count: int) -> Told:
    from scapy.layers.inet import ICMP, IP
    from scapy.sendrecv import sr

    requests = [IP(dst=host) / ICMP(seq=number) for number, host in enumerate(hosts(first, count))]
    answered, _ = sr(requests, timeout=TIMEOUT, inter=interval, verbose=False)
    return (
        (request.dst, (float(reply.time) - float(request.sent_time)) * 1e6) for request, reply in answered
    )


def one_host(first: int, count: int) -> list[str]:
    return addresses(first, 1) * count


PINGS: dict[str, Pings] = {
    "pinger": partial(pinger, "raw"),
    "datagram pinger": partial(pinger, "datagram"),
    "unstamped": unstamped,
    "icmplib": icmplib,
    "pythonping": pythonping,
    "ping3": ping3,
    "scapy": partial(scapy, one_host, INTERVAL),
    "multiping": partial(multiping, 1.0),
    "flood": partial(multiping, 0.0),
    "sweep": partial(sweeper, "raw"),
    "datagram sweep": partial(sweeper, "datagram"),
    "icmplib sweep": icmplib_sweep,
    "scapy sweep": partial(scapy, addresses, 0),
}


def main(name: str, first: int, count: int) -> None:
    for address, microseconds in PINGS[name](first, count):
        print(address, f"{microseconds:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
