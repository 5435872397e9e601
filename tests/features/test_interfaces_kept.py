"""Interfaces that are kept until something changes: never other than what a fresh dump has."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnet import interfaces
from fastnet._backend import rtnetlink

NAMES = ("va", "vb", "vc")
"""Of more than a letter, which would be short for a word of ip."""
VERBS = ("add", "del")
COMMANDS = st.sampled_from(
    [
        "link add va type veth peer name vb",
        "link add vc type bridge",
        *(f"link del {name}" for name in NAMES),
        *(f"link set {name} {state}" for name in NAMES for state in ("up", "down")),
        *(f"link set {name} name {other}" for name in NAMES for other in NAMES if name != other),
        *(f"link set {name} {master}" for name in ("va", "vb") for master in ("master vc", "nomaster")),
        *(f"link set {name} mtu {mtu}" for name in NAMES for mtu in (1400, 1500)),
        *(f"link set {name} address 02:00:00:00:00:0{n}" for name in NAMES for n in (1, 2)),
        *(f"address {verb} 10.{n}.0.1/24 dev {name}" for verb in VERBS for n in "12" for name in NAMES),
        *(f"address {verb} fd7{n}::1/64 dev {name}" for verb in VERBS for n in "12" for name in NAMES),
    ]
)


def fresh() -> tuple[Any, ...]:
    with rtnetlink.Kernel() as kernel:
        return tuple(kernel.interfaces()), kernel.addresses()


def kept() -> tuple[Any, ...]:
    return interfaces.all(), interfaces.list_addresses()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=st.lists(COMMANDS, max_size=25))
def test_any_history(namespace: Callable[[], Any], history: list[str]) -> None:
    host = namespace()
    words = [*host.prefix, "ip"]

    def live() -> None:
        for command in ("link add va type veth peer name vb", *history):
            subprocess.run([*words, *command.split()], capture_output=True, check=False)
            # What the kernel does a little later, such as a carrier, has its event too.
            while (before := fresh()) != (found := kept()):
                assert fresh() != before, found

    host.call(live)


def test_the_same_object_while_nothing_changes(namespace: Callable[[], Any]) -> None:
    def ask() -> None:
        first = interfaces.all()
        assert interfaces.all() is first
        addresses = interfaces.list_addresses()
        addresses.clear()
        assert interfaces.list_addresses() != []

    namespace().call(ask)


def test_a_change_seen_by_one_thread_is_seen_by_the_next(namespace: Callable[[], Any]) -> None:
    """Two threads take turns: each finds what the other has changed."""
    host = namespace()
    ready = [threading.Semaphore(0), threading.Semaphore(0)]
    stale: list[int] = []

    def take_turns(own: int) -> None:
        host.enter()
        for mtu in range(2000 + own, 2040, 2):
            ready[own].acquire()
            if interfaces.all()[0].mtu not in (mtu - 1, 65536):
                stale.append(mtu)
            host.ip("link", "set", "lo", "mtu", str(mtu))
            ready[1 - own].release()

    with ExitStack() as stack:
        for own in (0, 1):
            thread = threading.Thread(target=take_turns, args=(own,))
            thread.start()
            stack.callback(thread.join)
        ready[0].release()
    assert stale == []


def test_each_namespace_of_a_thread_has_its_own(namespace: Callable[[], Any]) -> None:
    hosts = [namespace(), namespace()]
    hosts[1].ip("link", "add", "left", "type", "veth", "peer", "name", "right")

    def wander() -> list[int]:
        seen = []
        for host in hosts * 2:
            host.enter()
            seen += [len(interfaces.all()), len(interfaces.all())]
        return seen

    assert hosts[0].call(wander) == [1, 1, 3, 3] * 2
