"""Network namespaces with real links, which go when their test ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TypeVar

from environment import COMMAND_TIMEOUT, absent

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


class Namespace:
    """A network namespace of the test's own, with loopback up."""

    def __init__(self, name: str, ip: str) -> None:
        self.name = name
        self._ip = ip
        # To ask whether another has a link-local address takes a second or two.
        self.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        self.ip("link", "set", "lo", "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words that run a command inside: ``fastnet("ping", ..., prefix=namespace.prefix)``."""
        return (self._ip, "netns", "exec", self.name)

    def ip(self, *words: str) -> str:
        """Run ``ip`` inside and return what it prints."""
        return self.run(self._ip, *words).stdout

    def run(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program inside; it must succeed."""
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [*self.prefix, *words],
            check=True,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=COMMAND_TIMEOUT,
            **options,
        )

    def settle(self) -> None:
        """Wait until IPv6 is heard on ``veth0``."""
        while (
            "fe80:" not in (shown := self.ip("-6", "address", "show", "dev", "veth0")) or "tentative" in shown
        ):
            time.sleep(0.02)

    def carry(self, device: str = "veth0") -> None:
        """Wait until the device sends: of fresh links the kernel takes notice once a second only."""
        while "state UP" not in self.ip("link", "show", "dev", device):
            time.sleep(0.02)

    def mac(self) -> str:
        """The hardware address of ``veth0``."""
        return re.findall("link/ether (\\S+)", self.ip("link", "show", "dev", "veth0"))[0]

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that has moved inside."""

        def work() -> T:
            self.enter()
            return function()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    def enter(self) -> None:
        """Move the calling thread inside, for the rest of its life."""
        with open(f"/run/netns/{self.name}") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


MakeNamespace = Callable[[], Namespace]
_numbers = count()


@contextlib.contextmanager
def namespaces(ip: str) -> Iterator[MakeNamespace]:
    """What makes network namespaces, all of which go in the end."""
    names: list[str] = []

    def make() -> Namespace:
        name = f"fastnet-{os.getpid()}-{next(_numbers)}"
        if subprocess.run([ip, "netns", "add", name], check=False).returncode != 0:
            absent("the privilege to make a network namespace")
        names.append(name)
        return Namespace(name, ip)

    try:
        yield make
    finally:
        for name in names:
            subprocess.run([ip, "netns", "delete", name], check=True)


def with_hosts(namespace: Namespace, hosts: Path, lines: str) -> tuple[str, ...]:
    """The words that run a command inside, where hosts(5) is this file and holds these lines."""
    hosts.write_text(lines)
    # `ip netns exec` has unshared the mounts.
    return (*namespace.prefix, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))


def over_hosts(unshare: str, hosts: Path) -> tuple[str, ...]:
    """The words that run a command where hosts(5) is this file, which the test may write to meanwhile."""
    if not Path("/etc/hosts").exists():
        absent("/etc/hosts, which the test mounts its own over")
    return (unshare, "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))


def link_two(namespace: MakeNamespace) -> tuple[Namespace, Namespace]:
    left, right = namespace(), namespace()
    left.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", right.name)
    for number, host in enumerate((left, right), 1):
        host.ip("address", "add", f"10.77.0.{number}/24", "dev", "veth0")
        host.ip("address", "add", f"fd77::{number}/64", "dev", "veth0", "nodad")
        host.ip("link", "set", "veth0", "up")
    for host in (left, right):
        host.carry()
    # All namespaces share the kernel's neighbour table, which a test beside these may have filled.
    for host, number, other in ((left, 2, right), (right, 1, left)):
        for address in (f"10.77.0.{number}", f"fd77::{number}"):
            neighbour = (address, "lladdr", other.mac(), "dev", "veth0", "nud", "permanent")
            host.ip("neighbour", "replace", *neighbour)
    return left, right
