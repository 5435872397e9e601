"""Commands in a table: what each prints on stdout and stderr, how it ends, and what it sends.

They run as processes against real hosts: an asker, a router, and two hosts behind it.

    10.77.0.1, .3  fd77::1   10.77.0.2  fd77::2 | 10.78.0.1  fd78::1   10.78.0.2  fd78::2
        asker  veth0 ----------- veth0  router  veth1 ----- MTU 1400 ----- veth0  far
                                                veth2 ------------------- veth0  odd

The asker knows them by name, and has a second interface ``dead0`` that leads nowhere, but by its routes to
10.88.0.0/24, which the router has.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from children import Child
from environment import ADVERSARY, HAS_SOURCES, ROOT, Run
from namespaces import MakeNamespace, Namespace, link_two, with_hosts

import fastnet as package

SILENT = "10.77.0.9"
"""A neighbour that has a hardware address, and nobody there."""
LATE, THREE, THIRD = "10.79.0.2", "10.79.0.3", "10.79.0.4"
"""Answers after 600 ms, three times, each third request: see adversary.py."""
KNOWN = """\
127.0.0.1 localhost
10.77.0.2 router both many
10.78.0.2 far many
fd77::2 both
fd78::2 many
"""
A_TIME = "expected a time, as 1.5, 250ms, 10s or 2m, up to 1000000 seconds SEE"
PLACEHOLDERS = {
    "RTT": r"\d+\.\d{3}",
    "NUMBER": r"\d+(?:\.\d+)?(?:e-\d+)?",
    "CHOICES": r"\(choose from [^)]*\)",
    "SEE": r"\(see fastnet \w+ --help\)",
    "CLOCK": r"\d\d:\d\d:\d\d",
    "STAMP": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "TIMES": r"rtt min/avg/max/stddev/p50/p90/p99 = (?:\d+\.\d{3}/){6}\d+\.\d{3} ms",
}
"""What differs from run to run, by how it is written in a table."""


class Row(NamedTuple):
    """A command and all that can be seen of it."""

    words: str
    stdout: str = ""
    stderr: str = ""
    code: int = 0
    packets: tuple[str, int] | None = None
    """How many packets that match, in the words of nft(8), the asker sends."""
    stdin: str = ""


def refused(command: str, words: str, line: str, code: int = 2) -> Row:
    """One that does nothing but raise the error."""
    return Row(words, stderr=f"fastnet {command}: {line}\n", code=code)


class Hosts(NamedTuple):
    """The hosts of the tables."""

    asker: Namespace
    router: Namespace
    prefix: tuple[str, ...]
    """The words that run a command at the asker."""
    nft: str
    files: Path
    """A folder for what rows read and write."""

    def check(self, fastnet: Run, command: str, row: Row) -> None:
        """Run a row, and compare. ``{files}``, and ``{mac}`` or ``{MAC}``, the router's, are filled in."""
        with self._counted(row.packets):
            ran = fastnet(command, *self._filled(row.words).split(), prefix=self.prefix, input=row.stdin)
        assert re.fullmatch(pattern(self._filled(row.stderr)), ran.stderr), ran.stderr
        assert re.fullmatch(pattern(self._filled(row.stdout)), ran.stdout), ran.stdout
        assert ran.returncode == row.code

    def _filled(self, text: str) -> str:
        mac = self.router.mac()
        return text.replace("{files}", str(self.files)).replace("{mac}", mac).replace("{MAC}", mac.upper())

    @contextlib.contextmanager
    def _counted(self, packets: tuple[str, int] | None) -> Iterator[None]:
        if packets is None:
            yield
            return
        match, number = packets
        chain = f"chain sent {{ type filter hook output priority 0; {match} counter; }}"
        self.asker.run(self.nft, f"table inet seen {{ {chain}; }}")
        yield
        listed = self.asker.run(self.nft, "list", "table", "inet", "seen").stdout
        self.asker.run(self.nft, "delete", "table", "inet", "seen")
        assert re.findall(r"counter packets (\d+)", listed) == [str(number)]


def pattern(text: str) -> str:
    """The regular expression of a text with placeholders."""
    escaped = re.escape(text)
    for name, expression in PLACEHOLDERS.items():
        escaped = escaped.replace(name, expression)
    return escaped


@contextlib.contextmanager
def some_hosts(namespace: MakeNamespace, nft: str, files: Path) -> Iterator[Hosts]:
    """Make the hosts, and wait until they hear each other."""
    asker, router = link_two(namespace)
    far, odd = namespace(), namespace()
    join(router, "veth1", far, 78, "1400")
    join(router, "veth2", odd, 79, "1500")
    for address in (THREE, THIRD):
        odd.ip("address", "add", f"{address}/24", "dev", "veth0")
    odd.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    for host in (router, far):
        host.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
    router.ip("route", "add", "local", "10.88.0.0/24", "dev", "lo")
    asker.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    asker.ip("address", "add", "10.77.0.3/24", "dev", "veth0")
    asker.ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
    asker.ip("-4", "route", "add", "default", "via", "10.77.0.2")
    asker.ip("-6", "route", "add", "default", "via", "fd77::2")
    asker.ip("link", "add", "dead0", "up", "type", "veth", "peer", "name", "dead1")
    asker.ip("link", "set", "dead1", "up")
    asker.ip("route", "add", "10.88.0.0/24", "dev", "dead0")
    answering = [*re.findall(r"^\S+[.:]\S+(?= \w)", KNOWN, re.MULTILINE)[1:], LATE]
    with odd_one(odd):
        while not asker.call(
            lambda: all(each.alive for each in package.multiping(answering, 1, timeout=0.9))
        ):
            pass
        yield Hosts(asker, router, with_hosts(asker, files / "hosts", KNOWN), nft, files)


def join(router: Namespace, device: str, host: Namespace, network: int, mtu: str) -> None:
    """Link a host to the router, which is its way to all others."""
    link = ("link", "add", device, "mtu", mtu, "type", "veth", "peer", "name", "veth0", "mtu", mtu)
    router.ip(*link, "netns", host.name)
    for end, name, number in ((router, device, 1), (host, "veth0", 2)):
        end.ip("address", "add", f"10.{network}.0.{number}/24", "dev", name)
        end.ip("address", "add", f"fd{network}::{number}/64", "dev", name, "nodad")
        end.ip("link", "set", name, "up")
    host.ip("-4", "route", "add", "default", "via", f"10.{network}.0.1")
    host.ip("-6", "route", "add", "default", "via", f"fd{network}::1")


@contextlib.contextmanager
def odd_one(host: Namespace) -> Iterator[None]:
    words = [*host.prefix, sys.executable, str(ADVERSARY), f"{LATE}=late", f"{THREE}=three", f"{THIRD}=third"]
    with Child(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.kill()


def options_of(command: str) -> set[str]:
    """Every form of every option that a command knows, but ``--help``, which all of them have."""
    parser = argparse.ArgumentParser()
    import_module(f"fastnet.cli.{command}").configure(parser)
    return {form for action in parser._actions for form in action.option_strings} - {"-h", "--help"}


def undocumented(feature: str, records: str) -> set[str]:
    """The keys of these JSON records that the feature's page does not name, where that page is at hand."""
    if not HAS_SOURCES:
        return set()
    page = ROOT.joinpath("docs", f"{feature}.md").read_text()
    return {key for key in re.findall(r'"(\w+)": ', records) if f"`{key}`" not in page} - {"kind", "time"}


def options_in(rows: list[Row]) -> set[str]:
    """Every form of an option that rows use which are not refused."""
    words = [word for row in rows if row.code < 2 for word in row.words.split() if word.startswith("-")]
    return {word.partition("=")[0] if word.startswith("--") else word[:2] for word in words} - {"-"}
