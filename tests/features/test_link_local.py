"""Link-local addresses, which need their interface: sources and destinations of probes."""

from __future__ import annotations

import os

import pytest
from environment import Run
from namespaces import Namespace

import fastnet
from fastnet._system.interfaces import own_name
from fastnet.errors import InvalidArgument

pytestmark = pytest.mark.xdist_group("icmp")
HERE, THERE = "febf::1", "febf::2"
"""At the other end of fe80::/10 from what interfaces give themselves."""
PINGS = [("ping", "-c1", "--engine", engine) for engine in ("raw", "datagram")]
TRACES = [("trace", "--engine", engine) for engine in ("udp", "raw", "datagram")]
MTUS = [("ping", "--mtu", "--engine", engine) for engine in ("raw", "datagram")]
EACH = [*PINGS, *TRACES, *MTUS]
ALTERNATIVE = "the-first-ethernet-of-this-machine"
"""Longer than a name."""
NEEDS = "a link-local address needs its interface, as"


@pytest.fixture
def near(engines: tuple[Namespace, Namespace]) -> Namespace:
    """The left host; either has such an address too."""
    for host, address in zip(engines, (HERE, THERE), strict=True):
        host.ip("address", "add", f"{address}/64", "dev", "veth0", "nodad")
    engines[0].ip("link", "property", "add", "dev", "veth0", "altname", ALTERNATIVE, "altname", "short")
    return engines[0]


@pytest.fixture
def apart(near: Namespace) -> Namespace:
    """With another link, on which nobody is."""
    near.ip("link", "add", "dead0", "up", "type", "veth", "peer", "name", "dead1")
    return near


@pytest.mark.parametrize("command", EACH, ids=" ".join)
class TestScopes:
    @pytest.mark.parametrize(
        "words",
        [
            (f"{THERE}%veth0",),
            *((f"{THERE}%{name}",) for name in (ALTERNATIVE, "short")),
            ("-I", f"{HERE}%{ALTERNATIVE}", THERE),
            ("--interface", "veth0", THERE),
            *(("--interface", name, THERE) for name in (ALTERNATIVE, "short")),
            ("-I", ALTERNATIVE, "fd77::2"),
            ("--interface", "veth0", f"{THERE}%veth0"),
            ("-I", f"{HERE}%veth0", f"{THERE}%veth0"),
            ("-I", f"{HERE}%veth0", THERE),
            ("-I", HERE, "--interface", "veth0", THERE),
            ("-I", HERE, "--interface", "veth0", f"{THERE}%veth0"),
            ("-I", f"{HERE}%veth0", "--interface", "veth0", THERE),
            ("-I", f"{HERE}%veth0", "fd77::2"),
        ],
        ids=" ".join,
    )
    def test_each_way_to_name_the_interface(self, near, fastnet: Run, command, words) -> None:
        ran = fastnet(*command, *words, prefix=near.prefix)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.count(THERE) + ran.stdout.count("fd77::2") > 0

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ((THERE,), f"{THERE}: {NEEDS} {THERE}%eth0"),
            (
                ("--interface", "dead0", f"{THERE}%veth0"),
                f"{THERE}%veth0: its interface contradicts the one to use, dead0",
            ),
            (
                ("-I", f"{HERE}%veth0", f"{THERE}%dead0"),
                f"{THERE}%dead0: its interface contradicts that of the source, {HERE}%veth0",
            ),
            (
                ("-I", f"{HERE}%veth0", "--interface", "dead0", THERE),
                f"{THERE}: its interface contradicts the one to use, dead0",
            ),
            (("-I", HERE, "fd77::2"), f"source {HERE}: {NEEDS} {HERE}%eth0"),
            (("-I", f"{THERE}%veth0", THERE), f"source {THERE}%veth0: not an address of this machine"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_what_is_wrong(self, apart, fastnet: Run, command, words, line: str) -> None:
        ran = fastnet(*command, *words, prefix=apart.prefix)
        assert (ran.returncode, ran.stdout) == (3 if "not an address" in line else 2, "")
        assert ran.stderr == f"fastnet {command[0]}: {line}\n"


@pytest.mark.parametrize("command", EACH, ids=" ".join)
def test_an_interface_whose_name_is_no_text(near: Namespace, fastnet: Run, command: tuple[str, ...]) -> None:
    name = os.fsdecode(b"v\xe9")
    for words in (("down",), ("name", name)):
        near.ip("link", "set", "veth0", *words)
    near.ip("link", "set", name, "up")
    near.ip("address", "replace", f"{HERE}/64", "dev", name, "nodad")
    near.carry(name)
    ran = fastnet(*command, f"{THERE}%{name}", prefix=near.prefix)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert THERE in ran.stdout


@pytest.mark.parametrize("command", TRACES, ids=" ".join)
def test_who_answers_has_its_scope(near: Namespace, engines, fastnet: Run, command) -> None:
    """The destination, and a router that has no other address."""
    ran = fastnet(*command, "-c1", f"{THERE}%veth0", prefix=near.prefix)
    assert ran.stdout.split()[:2] == ["1", f"{THERE}%veth0"]
    right = engines[1]
    right.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    right.ip("address", "del", "fd77::2/64", "dev", "veth0")
    right.ip("route", "add", "fd77::/64", "dev", "veth0")
    near.ip("route", "add", "2001:db8::/32", "via", THERE, "dev", "veth0")
    ran = fastnet(*command, "-c1", "--max-hops", "2", "2001:db8::1", prefix=near.prefix)
    assert ran.stdout.splitlines()[-1].endswith("%veth0")
    assert "no route from fe" in ran.stdout


def test_several_hosts_and_the_mtu(apart: Namespace) -> None:
    def refused() -> list[str]:
        result = fastnet.multiping([f"{THERE}%veth0"], 1, interface="dead0")[0]
        with pytest.raises(InvalidArgument) as error:
            fastnet.path_mtu(f"{THERE}%veth0", interface="dead0")
        return [str(result.error), str(error.value).partition(": ")[2]]

    assert apart.call(refused) == ["its interface contradicts the one to use, dead0"] * 2


@pytest.mark.parametrize("engine", ["auto", "raw", "datagram"])
def test_a_sweep(near: Namespace, fastnet: Run, engine: str) -> None:
    words = ("sweep", "--engine", engine, "--interface", "veth0", "--alive", f"{THERE}-febf::3")
    ran = fastnet(*words, prefix=near.prefix)
    assert (ran.returncode, ran.stdout) == (0, f"{THERE}\n")


@pytest.mark.parametrize("name", [ALTERNATIVE, "short"])
def test_a_sweep_by_an_alternative_name(near: Namespace, fastnet: Run, name: str) -> None:
    ran = fastnet("sweep", "--interface", name, "10.77.0.2", "--alive", prefix=near.prefix)
    assert (ran.stdout, ran.returncode) == ("10.77.0.2\n", 0), ran.stderr


@pytest.mark.parametrize("name", ["", "no-such-name", f"{ALTERNATIVE}2", "x" * 128, "a\0b", "\udcff", "lo"])
def test_what_is_no_alternative_name(name: str) -> None:
    assert own_name(name) == name
