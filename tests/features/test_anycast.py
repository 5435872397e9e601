"""The address of all routers of an IPv6 subnet, which one of them answers from an address of its own."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re

import pytest
from environment import Run
from namespaces import Namespace

import fastnet

pytestmark = pytest.mark.xdist_group("icmp")
ROUTERS, ROUTER = "fd77::", "fd77::2"
FAR, NARROW = "fd79::", "fd78::f0"
"""The routers of a subnet behind the router, and those of a prefix longer than a /64 on our own link."""


@pytest.fixture
def asker(engines: tuple[Namespace, Namespace]) -> Namespace:
    """The left host; the right one is a router, and has further addresses of its own."""
    left, right = engines
    right.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    # A router delays its advertisement of such an address by up to so long (RFC 4861, 7.2.7).
    right.run("sysctl", "-qw", "net.ipv6.neigh.veth0.proxy_delay=0")
    right.ip("address", "add", "fd79::1/64", "dev", "lo", "nodad")
    right.ip("address", "add", "fd78::f2/124", "dev", "veth0", "nodad")
    left.ip("address", "add", "fd78::f1/124", "dev", "veth0", "nodad")
    left.ip("-6", "route", "add", "default", "via", ROUTER, "src", "fd77::1")
    return left


@pytest.mark.parametrize("engine", ["raw", "datagram"])
class TestICMP:
    @pytest.mark.parametrize(("host", "router"), [(ROUTERS, ROUTER), (FAR, ROUTER), (NARROW, "fd78::f2")])
    def test_a_ping_says_who_replied(self, asker, engine: str, host: str, router: str) -> None:
        result = asker.call(lambda: fastnet.ping(host, 2, 0.01, engine=engine))
        assert [(each.address, each.responder) for each in result.replies] == [(host, router)] * 2
        assert (result.received, result.duplicates, result.error) == (2, 0, None)

    def test_nobody_else_has_a_responder(self, asker, engine: str) -> None:
        results = asker.call(
            lambda: fastnet.multiping([ROUTERS, ROUTER, "fd77::7"], 1, timeout=1, engine=engine)
        )
        told = [(each.address, reply.responder) for each in results for reply in each.replies]
        assert told == [(ROUTERS, ROUTER), (ROUTER, None), ("fd77::7", None)]

    def test_a_coroutine(self, asker, engine: str) -> None:
        ping = fastnet.aio.ping
        result = asker.call(lambda: asyncio.run(ping(ROUTERS, 1, engine=engine)))
        assert [each.responder for each in result.replies] == [ROUTER]

    def test_a_part_of_the_cookie_proves_nothing(self, asker, engine: str) -> None:
        result = asker.call(lambda: fastnet.ping(ROUTERS, 1, timeout=0.3, size=15, engine=engine))
        assert (result.received, result.error) == (0, "no answer")
        assert asker.call(lambda: fastnet.ping(ROUTERS, 1, size=16, engine=engine)).received == 1

    @pytest.mark.parametrize("seed", [None, 7])
    def test_a_sweep(self, asker, engine: str, seed: int | None) -> None:
        targets = ["fd77::-fd77::3", "fd78::f0-fd78::f3", FAR, "fd79::1"]
        result = asker.call(lambda: fastnet.sweep(targets, timeout=0.3, engine=engine, seed=seed))
        told = {each.address: (each.state, each.responder) for each in result}
        assert told == {
            **dict.fromkeys(("fd77::1", ROUTER, "fd78::f1", "fd78::f2", "fd79::1"), ("alive", None)),
            **dict.fromkeys((ROUTERS, FAR), ("alive", ROUTER)),
            NARROW: ("alive", "fd78::f2"),
            "fd77::3": told["fd77::3"],
            "fd78::f3": told["fd78::f3"],
        }
        absent = {("unreachable", None), ("inactive", None)}
        assert {told["fd77::3"], told["fd78::f3"]} <= absent
        assert all(each.rtt_ms and each.reason is None for each in result.alive)

    def test_a_trace(self, asker, engine: str) -> None:
        result = asker.call(lambda: fastnet.trace(ROUTERS, tries=1, engine=engine))
        assert [hop.responders for hop in result.hops] == [[ROUTER]]
        assert (result.reached, result.error) == (True, None)

    def test_the_mtu(self, asker, engine: str) -> None:
        found = asker.call(lambda: fastnet.path_mtu(ROUTERS, engine=engine))
        assert (found.mtu, found.error) == (1500, None)


def test_a_sweep_of_the_link(asker) -> None:
    """What advertises it is a router's own MAC; the advertisement does not name the router."""
    result = asker.call(lambda: fastnet.sweep(["fd77::", "fd77::2"], timeout=0.3, engine="link"))
    assert [(each.state, each.mac is not None, each.responder) for each in result] == [
        ("alive", True, None)
    ] * 2


class TestCommands:
    def test_ping(self, asker, fastnet: Run) -> None:
        ran = fastnet("ping", "-c1", ROUTERS, prefix=asker.prefix)
        assert re.match(rf"{ROUTERS}: seq=0 rtt=\S+ ms ttl=64 from {ROUTER}\n", ran.stdout)
        ran = fastnet("ping", "-c1", "--json", ROUTERS, prefix=asker.prefix)
        assert json.loads(ran.stdout.splitlines()[0])["responder"] == ROUTER
        assert (ran.returncode, ran.stderr) == (0, "")

    def test_sweep(self, asker, fastnet: Run) -> None:
        arguments = ("sweep", "--engine", "raw", FAR)
        ran = fastnet(*arguments, prefix=asker.prefix)
        assert re.match(rf"{FAR} +alive +\S+ ms +from {ROUTER}\n", ran.stdout)
        ran = fastnet(*arguments, "--json", prefix=asker.prefix)
        assert json.loads(ran.stdout.splitlines()[0])["responder"] == ROUTER
        ran = fastnet(*arguments, "--csv", prefix=asker.prefix)
        assert next(csv.DictReader(io.StringIO(ran.stdout)))["responder"] == ROUTER
        ran = fastnet(*arguments, "--xml", prefix=asker.prefix)
        assert f'<host comment="replied from {ROUTER}">' in ran.stdout
