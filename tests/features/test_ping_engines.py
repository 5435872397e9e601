"""Ping by ICMP, UDP and TCP: what is used without any privilege, and what counts as an answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from children import Child
from environment import NOBODY
from namespaces import Namespace, namespaces
from sandbox import refusing

import fastnet
from fastnet import aio
from fastnet._ping import Pinger
from fastnet.errors import InvalidArgument, NoAddress, NoSuchInterface

pytestmark = pytest.mark.xdist_group("icmp")
NO_UDP = "socket:524290:0=EPERM"
"""SOCK_DGRAM | SOCK_CLOEXEC, and no protocol."""
HOSTS = ("10.62.1.2", "fd62:1::2")
GONE = ("10.62.1.9", "fd62:1::9")
BEHIND_NOTHING = {"10.63.0.1": "network unreachable from 10.62.0.2", "fd63::1": "no route from fd62::2"}
REFUSALS = (
    "meta nfproto ipv4 meta l4proto {tcp, udp} reject with icmp port-unreachable",
    "meta nfproto ipv6 meta l4proto {tcp, udp} reject with icmpv6 port-unreachable",
)
WITHOUT = {
    "udp": "no ICMP socket is permitted here: UDP is used",
    "tcp": "neither ICMP nor UDP sockets are permitted here: TCP is used",
}
ABOUT = {
    "udp": "a host answers about one a second, and a firewall may drop it: silence is no proof; "
    "--engine tcp is another way, --engine icmp names cures",
    "tcp": "a firewall may drop it: silence is no proof; --engine icmp names cures",
}
QUICK: dict[str, Any] = {"count": 1, "timeout": 0.3}


@pytest.fixture(scope="module")
def row(root: None, peer: Callable[[str], str]) -> Iterator[list[Namespace]]:
    """A host that permits no ICMP socket, a router, and a host behind it."""
    with namespaces(peer("ip")) as make:
        hosts = [make() for _ in range(3)]
        for link, (one, other) in enumerate(pairwise(hosts)):
            one.ip("link", "add", "right", "type", "veth", "peer", "name", "left", "netns", other.name)
            for host, device, number in ((one, "right", 1), (other, "left", 2)):
                host.ip("address", "add", f"10.62.{link}.{number}/24", "dev", device)
                host.ip("address", "add", f"fd62:{link}::{number}/64", "dev", device, "nodad")
                host.ip("link", "set", device, "up")
        for host in hosts:
            host.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
            host.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
        hosts[1].run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for host, gateway in ((hosts[0], "10.62.0.2"), (hosts[2], "10.62.1.1")):
            host.ip("route", "add", "default", "via", gateway)
        for host, gateway in ((hosts[0], "fd62::2"), (hosts[2], "fd62:1::1")):
            host.ip("-6", "route", "add", "default", "via", gateway)
        # For fresh links the kernel takes a second or two until anything is heard.
        while not hosts[0].call(lambda: all(each.alive for each in fastnet.multiping(HOSTS, **QUICK))):
            pass
        yield hosts


@pytest.fixture
def rules(row: list[Namespace], peer: Callable[[str], str]) -> Iterator[Callable[..., None]]:
    """``rules(host, hook, rule, ...)``: rules of nftables at one host, until the test ends."""

    def add(host: Namespace, hook: str, *added: str) -> None:
        chain = "\n".join((f"type filter hook {hook} priority 0", *added))
        host.run(peer("nft"), "-f", "-", input=f"table inet t {{\nchain c {{\n{chain}\n}}\n}}\n")

    yield add
    for host in row:
        host.run(peer("nft"), "flush", "ruleset")


def by_host(output: str, kind: str) -> dict[str, dict[str, Any]]:
    return {each["host"]: each for each in map(json.loads, output.splitlines()) if each["kind"] == kind}


class TestWithoutPrivilege:
    @pytest.mark.parametrize("engine", ["udp", "tcp"])
    def test_what_is_permitted_is_used_and_named(self, row, fastnet, engine) -> None:
        """TCP where a sandbox forbids UDP sockets too."""
        prefix = (*row[0].prefix, *NOBODY, *(refusing(NO_UDP) if engine == "tcp" else ()))
        words = ("--json", "-c2", "-i0.01", "-W3", *HOSTS, *BEHIND_NOTHING)
        ran = fastnet("ping", *words, prefix=prefix)
        assert ran.stderr == f"fastnet ping: {WITHOUT[engine]} ({ABOUT[engine]})\n"
        assert ran.returncode == 1
        found = by_host(ran.stdout, "summary")
        assert {each["engine"] for each in found.values()} == {engine}
        assert {host: each["received"] for host, each in found.items()} == dict.fromkeys(
            HOSTS, 2
        ) | dict.fromkeys(BEHIND_NOTHING, 0)
        assert {host: found[host]["error"] for host in BEHIND_NOTHING} == BEHIND_NOTHING
        assert all(found[host]["rtt_min_ms"] > 0 for host in HOSTS)

    @pytest.mark.parametrize("engine", ["udp", "tcp"])
    def test_a_reply_is_printed_without_a_ttl(self, row, fastnet, engine) -> None:
        ran = fastnet("ping", "-c1", "--engine", engine, *HOSTS, prefix=(*row[0].prefix, *NOBODY))
        assert (ran.returncode, ran.stderr) == (0, "")
        assert [line.split()[:2] for line in ran.stdout.splitlines()[:2]] == [
            [f"{host}:", "seq=0"] for host in HOSTS
        ]
        assert "ttl" not in ran.stdout

    def test_icmp_is_refused_with_what_works_and_cures(self, row, fastnet) -> None:
        ran = fastnet("ping", "--engine=icmp", *HOSTS, prefix=(*row[0].prefix, *NOBODY))
        assert (ran.returncode, ran.stdout) == (3, "")
        for named in ("ping --engine udp", "`trace`", "sweep --engine tcp", "ping_group_range"):
            assert named in ran.stderr
        for named in ("AmbientCapabilities=", "CapabilityBoundingSet=", "cap_add"):
            assert named in ran.stderr
        assert "setcap" not in ran.stderr

    @pytest.mark.parametrize("more", [(), ("--mtu",)])
    def test_a_mark_that_is_refused_is_what_is_named(self, row, fastnet, more) -> None:
        ran = fastnet("ping", "-m5", *more, HOSTS[0], prefix=(*row[0].prefix, *NOBODY))
        assert (ran.returncode, ran.stdout) == (3, "")
        assert ran.stderr.startswith("fastnet ping: mark 5: needs the capability CAP_NET_ADMIN")

    def test_the_path_mtu_is_found_by_udp(self, row, fastnet) -> None:
        ran = fastnet("ping", "--mtu", "--json", HOSTS[0], prefix=(*row[0].prefix, *NOBODY))
        assert ran.stderr.startswith(f"fastnet ping: {WITHOUT['udp']} (")
        found = by_host(ran.stdout, "mtu")[HOSTS[0]]
        assert (found["engine"], found["mtu_bytes"]) == ("udp", 1500)

    def test_python(self, row, python) -> None:
        program = """if True:
            import asyncio, fastnet, logging, sys
            from fastnet import aio
            logging.basicConfig(stream=sys.stdout)
            with fastnet.Pinger() as pinger:
                results = pinger.multiping(sys.argv[1:], 1, timeout=3.0)
                print(pinger.fallback)
            results += asyncio.run(aio.multiping(sys.argv[1:], 1, timeout=3.0))
            print(*((each.alive, each.engine) for each in results))
        """
        ran = python("-c", program, *HOSTS, prefix=(*row[0].prefix, *NOBODY))
        logged = f"WARNING:fastnet.ping:{WITHOUT['udp']}"
        assert ran.stdout.splitlines() == [logged, WITHOUT["udp"], logged, " ".join(["(True, 'udp')"] * 4)]


class TestAnswers:
    @pytest.mark.parametrize("engine", ["udp", "tcp"])
    def test_a_port_that_a_router_refuses_is_no_answer(self, row, rules, engine) -> None:
        rules(row[1], "forward", *REFUSALS)
        results = row[0].call(lambda: fastnet.multiping(HOSTS, 1, timeout=2.0, engine=engine))
        assert [(each.alive, each.error) for each in results] == [
            (False, f"port unreachable from {router}") for router in ("10.62.0.2", "fd62::2")
        ]

    def test_nor_is_it_one_to_a_sweep(self, row, rules) -> None:
        rules(row[1], "forward", *REFUSALS)
        result = row[0].call(
            lambda: fastnet.sweep([*HOSTS, "10.62.0.2"], engine="tcp", timeout=2.0, retries=0)
        )
        assert {each.address: (each.state, each.reason) for each in result} == {
            HOSTS[0]: ("unreachable", "port unreachable from 10.62.0.2"),
            "10.62.0.2": ("alive", None),
            HOSTS[1]: ("unreachable", "port unreachable from fd62::2"),
        }

    @pytest.mark.parametrize("engine", ["udp", "tcp"])
    def test_a_port_that_the_host_refuses_is_one(self, row, rules, engine) -> None:
        rules(row[2], "input", *REFUSALS)
        results = row[0].call(lambda: fastnet.multiping(HOSTS, 2, 0.01, 3.0, engine=engine))
        assert [(each.received, each.duplicates) for each in results] == [(2, 0)] * 2

    @pytest.mark.parametrize("engine", ["udp", "tcp"])
    def test_silence_is_no_answer(self, row, rules, engine) -> None:
        rules(row[2], "input", "meta l4proto {tcp, udp} drop")
        results = row[0].call(lambda: fastnet.multiping(HOSTS, engine=engine, **QUICK))
        assert [(each.alive, each.error) for each in results] == [(False, "no answer")] * 2

    def test_any_one_of_the_ports_is_enough(self, row, rules) -> None:
        """Of those that are dropped nothing is heard, until the port that answered is one of them."""
        rules(row[2], "input", "tcp dport {80, 443} drop")

        def ping() -> list[list[bool]]:
            with Pinger(engine="tcp") as pinger:
                first = pinger.multiping(HOSTS, 2, 0.01, 3.0)
                rules(row[2], "input", "tcp dport 22 drop")
                dropped = pinger.multiping(HOSTS, 1, timeout=0.1)
                row[2].run("nft", "flush", "ruleset")
                return [[each.alive for each in results] for results in (first, dropped)] + [
                    [each.alive for each in pinger.multiping(HOSTS, 2, 0.2, 3.0)]
                ]

        assert row[0].call(ping) == [[True] * 2, [False] * 2, [True] * 2]

    def test_a_listening_port_accepts(self, row) -> None:
        program = "import socket; s = socket.create_server(('', 443)); print(flush=True); s.accept(); input()"
        words = [*row[2].prefix, sys.executable, "-c", program]
        with Child(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listener:
            try:
                assert listener.stdout is not None
                assert listener.stdout.readline() == "\n"
                result = row[0].call(lambda: fastnet.ping(HOSTS[0], 2, 0.01, 3.0, engine="tcp"))
            finally:
                listener.kill()
        assert (result.engine, result.received, result.duplicates) == ("tcp", 2, 0)

    def test_a_ttl_that_ends_on_the_way(self, row) -> None:
        for engine in ("udp", "tcp"):
            results = row[0].call(
                lambda engine=engine: fastnet.multiping(HOSTS, 1, timeout=2.0, ttl=1, engine=engine)
            )
            assert [each.error for each in results] == [
                "time to live exceeded from 10.62.0.2",
                "hop limit exceeded from fd62::2",
            ]


class TestTcp:
    def test_many_hosts_that_do_not_answer(self, row, rules) -> None:
        """More than may be connecting at once: they wait for their turn."""
        rules(row[2], "input", "meta l4proto tcp drop")
        hosts = [f"10.62.1.{number}" for number in range(100, 200)] + [HOSTS[0]]
        results = row[0].call(lambda: fastnet.multiping(hosts, 1, timeout=0.1, engine="tcp"))
        assert [each.sent for each in results] == [1] * len(hosts)
        assert not any(each.alive for each in results)

    def test_options_of_a_packet(self, row) -> None:
        def ping(**options: Any) -> bool:
            return fastnet.ping(HOSTS[0], 1, timeout=3.0, engine="tcp", **options).alive

        assert row[0].call(lambda: ping(source="10.62.0.1", interface="right", tos=16, ttl=9))
        with pytest.raises(NoAddress, match="not an address of this machine"):
            row[0].call(lambda: ping(source="10.62.0.9"))
        with pytest.raises(NoSuchInterface):
            row[0].call(lambda: ping(interface="missing"))

    @pytest.mark.parametrize(
        "options", [{"size": 8}, {"pattern": b"x"}, {"dont_fragment": True}, {"mark": 1}], ids=str
    )
    def test_what_a_connection_can_not_have_is_refused(self, options) -> None:
        with pytest.raises(InvalidArgument, match=f"{next(iter(options))}: not with engine tcp"):
            Pinger(engine="tcp", **options)

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("-s", "8"), "a connection request has no payload"),
            (("--pattern=ff",), "a connection request has no payload"),
            (("-M", "do"), "a connection request is too small to be fragmented"),
            (("--mark=1",), "it sets no firewall mark"),
        ],
        ids=str,
    )
    def test_it_is_named_as_it_is_typed(self, fastnet, words, why) -> None:
        ran = fastnet("ping", "--engine=tcp", *words, "127.0.0.1")
        typed = {"--pattern=ff": "-p", "--mark=1": "-m"}.get(words[0], words[0])
        assert ran.stderr == f"fastnet ping: {typed}: not with engine tcp: {why}\n"
        assert (ran.returncode, ran.stdout) == (2, "")

    def test_coroutines(self, row) -> None:
        results = row[0].call(lambda: asyncio.run(aio.multiping(HOSTS, 2, 0.01, 3.0, engine="tcp")))
        assert [each.received for each in results] == [2, 2]

    def test_a_refused_route(self, row) -> None:
        row[0].ip("route", "add", "unreachable", "10.64.0.0/16")
        result = row[0].call(lambda: fastnet.ping("10.64.0.1", engine="tcp", **QUICK))
        assert (result.not_sent, result.error) == (1, "not sent: No route to host")

    def test_no_descriptor_is_left(self, row, nothing_left) -> None:
        row[0].call(lambda: fastnet.multiping([*HOSTS, *GONE], engine="tcp", **QUICK))
