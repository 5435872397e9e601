"""Names and addresses, and everything, of 5 and 501 interfaces: beside psutil, pyroute2 and netifaces."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bench._case import Case, Contender, Place
from bench._namespace import namespace
from bench.bench_netif import links
from fastnet import interfaces
from fastnet._backend import rtnetlink

ADDRESSES_GOALS_NS = {5: 25_000, 501: 1_500_000}
AGAIN_GOAL_NS = 2_000
EVERYTHING_GOALS_NS = {5: 75_000, 501: 4_500_000}


@contextmanager
def places() -> Iterator[Sequence[Place]]:
    """Temporary namespaces with so many interfaces, loopback among them; without root, the present one."""
    if not shutil.which("ip"):
        sys.exit("bench: the rtnetlink page needs the ip command (apt-get install iproute2)")
    if os.geteuid() != 0:
        print("rtnetlink: without root no namespaces: only this machine's own interfaces", file=sys.stderr)
        yield [()]
        return
    with ExitStack() as stack:
        yield [stack.enter_context(namespace(str(count), list(links(count)))) for count in ADDRESSES_GOALS_NS]


def psutil_addresses() -> Contender:
    import psutil

    return Contender("psutil.net_if_addrs()", {"psutil": psutil})


def netifaces_addresses() -> Contender:
    import netifaces

    return Contender("[netifaces.ifaddresses(n) for n in netifaces.interfaces()]", {"netifaces": netifaces})


def pyroute2_addresses() -> Contender:
    from pyroute2 import IPRoute

    return Contender("list(asked.get_addr())", {"asked": IPRoute()})


def pyroute2_everything() -> Contender:
    from pyroute2 import IPRoute

    return Contender("list(asked.get_links()), list(asked.get_addr())", {"asked": IPRoute()})


def psutil_everything() -> Contender:
    import psutil

    return Contender("psutil.net_if_stats(), psutil.net_if_addrs()", {"psutil": psutil})


def addresses() -> Any:
    with rtnetlink.Kernel() as kernel:
        return kernel.addresses()


def everything() -> Any:
    with rtnetlink.Kernel() as kernel:
        return kernel.interfaces()


def addresses_case(count: int) -> Case:
    expected = interfaces.list_addresses()

    def ours() -> Contender:
        return Contender("addresses()", {"addresses": addresses})

    def is_right(found: Any) -> bool:
        return len(found) in (count, len(expected))

    peers = {"psutil": psutil_addresses, "pyroute2": pyroute2_addresses}
    if count < 100:  # with 501 it takes seconds each time
        peers["netifaces"] = netifaces_addresses
    return Case(
        f"names and addresses, {count} interfaces", ours, peers, is_right, ADDRESSES_GOALS_NS.get(count)
    )


def everything_case(count: int) -> Case:
    def ours() -> Contender:
        return Contender("everything()", {"everything": everything})

    def is_right(found: Any) -> bool:
        return len(found) in (2, count)

    peers = {"psutil, without what it lacks": psutil_everything, "pyroute2": pyroute2_everything}
    return Case(f"everything of {count} interfaces", ours, peers, is_right, EVERYTHING_GOALS_NS.get(count))


def again_case(count: int) -> Case:
    def ours() -> Contender:
        read = None
        while read is not interfaces.all():  # the kernel still sends events of the new interfaces' addresses
            read = interfaces.all()
            time.sleep(1)
        return Contender("ask()", {"ask": interfaces.all})

    peers = {"psutil": psutil_everything, "pyroute2": pyroute2_everything}
    name = f"everything of {count} interfaces again, nothing has changed"
    return Case(name, ours, peers, bool, AGAIN_GOAL_NS)


def cases() -> Iterator[Case]:
    count = len(socket.if_nameindex())
    yield addresses_case(count)
    yield everything_case(count)
    yield again_case(count)
