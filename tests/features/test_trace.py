"""Traces along a chain of routers, by every kind of socket and by none that needs privilege."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from children import Child
from namespaces import Namespace, over_hosts

import fastnet
from fastnet import aio
from fastnet._ping import PathMTU
from fastnet._trace import Hop, TraceResult, trace_async
from fastnet.errors import InvalidArgument, NameNotResolved

pytestmark = pytest.mark.xdist_group("icmp")
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
ROUTERS = 3
WAYS = {
    "4": ["10.60.0.2", "10.60.1.2", "10.60.2.2", "10.60.3.2"],
    "6": ["fd60::2", "fd60:1::2", "fd60:2::2", "fd60:3::2"],
}
"""Who answers along the chain, by version; the last is the host at its end."""
QUICK = ("-W", "700ms")
SILENT = "10.77.0.9"


def chain_route(hosts: list[Namespace], place: int) -> None:
    """What lies further on goes right, what lies behind goes left."""
    host = hosts[place]
    if place <= ROUTERS:
        host.ip("-4", "route", "add", "default", "via", f"10.60.{place}.2")
        host.ip("-6", "route", "add", "default", "via", f"fd60:{place}::2")
    for link in range(place - 1):
        host.ip("-4", "route", "add", f"10.60.{link}.0/24", "via", f"10.60.{place - 1}.1")
        host.ip("-6", "route", "add", f"fd60:{link}::/64", "via", f"fd60:{place - 1}::1")


@pytest.fixture
def chain(namespace: Callable[[], Namespace]) -> list[Namespace]:
    """A host, three routers and a host in a row; ``left`` and ``right`` are each one's links."""
    hosts = [namespace() for _ in range(ROUTERS + 2)]
    for link, (one, other) in enumerate(pairwise(hosts)):
        one.ip("link", "add", "right", "type", "veth", "peer", "name", "left", "netns", other.name)
        for host, device, number in ((one, "right", 1), (other, "left", 2)):
            host.ip("address", "add", f"10.60.{link}.{number}/24", "dev", device)
            host.ip("address", "add", f"fd60:{link}::{number}/64", "dev", device, "nodad")
            host.ip("link", "set", device, "up")
    for place, host in enumerate(hosts):
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        host.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
        chain_route(hosts, place)
    hosts[0].run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    # For fresh links the kernel takes a second or two until anything is heard.
    ends = [way[-1] for way in WAYS.values()]
    while not hosts[0].call(lambda: all(each.alive for each in fastnet.multiping(ends, 1, timeout=0.2))):
        pass
    return hosts


def records(output: str) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The hops, and the summary."""
    *hops, summary = map(json.loads, output.splitlines())
    return hops, summary


def responders(hops: list[dict[str, object]]) -> list[set[str | None]]:
    return [{each["responder"] for each in hop["responses"]} for hop in hops]  # type: ignore[attr-defined]


class TestChain:
    @pytest.mark.parametrize("version", ["4", "6"])
    @pytest.mark.parametrize("engine", ["udp", "raw", "datagram", "icmp"])
    def test_every_hop_as_traceroute_finds_it(self, chain, fastnet, peer, engine, version) -> None:
        way = WAYS[version]
        ran = fastnet("trace", "--engine", engine, "--json", way[-1], prefix=chain[0].prefix)
        assert (ran.returncode, ran.stderr) == (0, "")
        hops, summary = records(ran.stdout)
        assert responders(hops) == [{address} for address in way]
        assert all(len(hop["responses"]) == 3 for hop in hops)
        assert all(each["rtt_ms"] > 0 and each["error"] is None for hop in hops for each in hop["responses"])
        assert summary["engine"] == ("raw" if engine == "icmp" else engine)
        assert (summary["reached"], summary["hops"], summary["mtu"]) == (True, 4, None)
        shown = chain[0].run(peer("traceroute"), f"-{version}", "-n", "-q1", way[-1]).stdout
        assert re.findall(r"^ *\d+ +(\S+) ", shown, re.MULTILINE) == way

    @pytest.mark.parametrize("version", ["4", "6"])
    def test_without_any_privilege(self, chain, fastnet, version) -> None:
        chain[0].run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
        chain[2].ip("link", "set", "right", "mtu", "1400")
        chain[3].ip("link", "set", "left", "mtu", "1400")
        way = WAYS[version]
        words = ("trace", "-v", "--mtu", way[-1])
        ran = fastnet(*words, prefix=(*chain[0].prefix, *UNPRIVILEGED))
        assert ran.stderr == f"{way[-1]} is {way[-1]}, by a udp socket\n"
        *hops, mtu = ran.stdout.splitlines()
        times = r"(?:  \d+\.\d{3} ms){3}"
        assert [line for line in hops if not re.fullmatch(rf" +\d  \S+{times}", line)] == []
        assert [line.split()[1] for line in hops] == way
        assert mtu == f"path MTU 1400, 1400 behind {way[1]}"
        assert ran.returncode == 0
        ran = fastnet("trace", "--engine=icmp", way[-1], prefix=(*chain[0].prefix, *UNPRIVILEGED))
        assert (ran.returncode, ran.stdout) == (3, "")
        assert "net.ipv4.ping_group_range" in ran.stderr

    @pytest.mark.parametrize("engine", ["udp", "raw"])
    def test_a_reason_ends_it(self, chain, fastnet, engine) -> None:
        chain[3].ip("-4", "route", "add", "unreachable", "10.61.0.0/16")
        chain[3].ip("-6", "route", "add", "unreachable", "fd61::/16")
        for host, way, reason, mark in (
            ("10.61.0.1", WAYS["4"][:3], "host unreachable", " ms !H"),
            ("fd61::1", WAYS["6"][:3], "no route", " ms !N"),
        ):
            ran = fastnet("trace", "--engine", engine, host, prefix=chain[0].prefix)
            *hops, end = ran.stdout.splitlines()
            assert [line.split()[1] for line in hops] == way
            assert hops[-1].count(mark) == 3
            assert end == f"{host}: not reached in 3 hops: {reason} from {way[-1]}"
            assert (ran.returncode, ran.stderr) == (1, "")

    def test_a_router_that_says_nothing(self, chain, fastnet) -> None:
        rules = (
            "table inet silent { chain out { type filter hook output priority 0; meta l4proto icmp drop; }; }"
        )
        chain[2].run("nft", rules)
        ran = fastnet("trace", *QUICK, WAYS["4"][-1], prefix=chain[0].prefix)
        lines = ran.stdout.splitlines()
        assert lines[1] == "  2  *  *  *"
        assert [lines[n].split()[1] for n in (0, 2, 3)] == [WAYS["4"][n] for n in (0, 2, 3)]
        assert (len(lines), ran.returncode) == (4, 0)
        chain[2].ip("link", "set", "right", "mtu", "1400")
        chain[3].ip("link", "set", "left", "mtu", "1400")
        program = "import fastnet._ping as p; print(p.path_mtu('10.60.3.2', 0.3, retries=1)[3:5])"
        assert chain[0].run(sys.executable, "-c", program).stdout == "(1400, ())\n"

    def test_ping_finds_the_mtu_too(self, chain, fastnet) -> None:
        chain[1].ip("link", "set", "right", "mtu", "1300")
        chain[2].ip("link", "set", "left", "mtu", "1300")
        for engine in ("raw", "datagram"):
            words = ("ping", "--mtu", "--engine", engine, "10.60.3.2", "fd60:3::2", "10.60.0.2")
            ran = fastnet(*words, prefix=chain[0].prefix)
            assert ran.stdout.splitlines() == [
                "10.60.3.2: path MTU 1300, 1300 behind 10.60.0.2",
                "fd60:3::2: path MTU 1300, 1300 behind fd60::2",
                "10.60.0.2: path MTU 1500",
            ]
            assert (ran.returncode, ran.stderr) == (0, "")
        ran = fastnet("ping", "--mtu", "-W10ms", "--json", "10.60.0.9", prefix=chain[0].prefix)
        (told,) = map(json.loads, ran.stdout.splitlines())
        assert (told["kind"], told["mtu_bytes"], told["error"]) == ("mtu", None, "no answer")
        assert ran.returncode == 1


class TestAtWork:
    """Asked of a neighbour that is silent, so that there is time to look."""

    @pytest.fixture
    def silent(self, linked: tuple[Namespace, Namespace]) -> tuple[str, ...]:
        linked[0].ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        return linked[0].prefix

    def run(self, prefix: tuple[str, ...], *words: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        """The process's status once its sockets are open, and how it ends at Ctrl-C."""
        command = [*prefix, sys.executable, "-m", "fastnet", *words]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(f"{SILENT} is {SILENT}, by a ")
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        return status, subprocess.CompletedProcess(command, process.returncode, output, errors)

    @pytest.mark.parametrize(
        "words",
        [
            ("ping", "--mtu"),
            ("trace", "--mtu"),
            ("trace", "--mtu", "--mark=7"),
            ("trace", "--engine=icmp", "--mtu"),
        ],
    )
    def test_capabilities_are_given_up(self, silent, words: tuple[str, ...]) -> None:
        status, ended = self.run(silent, *words, "-v", "-W100s", SILENT)
        assert "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" in status
        remark = "interrupted: 0 of 1 path MTU known\n" if words[0] == "ping" else ""
        assert (ended.returncode, ended.stderr) == (130, remark)

    def test_ctrl_c_says_what_is_known(self, silent) -> None:
        _, ended = self.run(silent, "trace", "-v", "-W100s", SILENT)
        assert (ended.returncode, ended.stdout, ended.stderr) == (
            130,
            f"{SILENT}: interrupted after 0 hops\n",
            "",
        )
        _, ended = self.run(silent, "trace", "-v", "-W100s", "--json", SILENT)
        hops, summary = records(ended.stdout)
        assert (hops, summary["address"], summary["reached"], summary["hops"]) == ([], SILENT, False, 0)

    def test_hops_behind_a_silent_one_are_told(self, chain) -> None:
        rules = (
            "table inet quiet { chain o { type filter hook output priority 0; meta l4proto icmp drop; }; }"
        )
        chain[2].run("nft", rules)
        command = [*chain[0].prefix, sys.executable, "-m", "fastnet", "trace", "-W100s", "10.60.3.2"]
        with Child(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            # The others' answers have come when this has arrived: they were asked before.
            chain[0].run(sys.executable, "-m", "fastnet", "ping", "-c1", "10.60.3.2")
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=30)
        assert first.split()[1] == "10.60.0.2"
        silent, third, fourth, end = rest.splitlines()
        assert silent == "  2  *  *  *"
        assert (third.split()[1], fourth.split()[1]) == ("10.60.2.2", "10.60.3.2")
        assert (end, process.returncode) == ("10.60.3.2: interrupted after 4 hops", 130)


class TestAlone:
    def test_loopback(self, root: None) -> None:
        told: list[Hop] = []
        result = fastnet.trace("127.0.0.1", on_hop=told.append)
        assert isinstance(result, TraceResult)
        assert (result.reached, result.engine, result.hops) == (True, "udp", tuple(told))
        assert told[0].responders == ["127.0.0.1"]

    def test_as_a_coroutine(self) -> None:
        async def both() -> list[TraceResult]:
            return await asyncio.gather(trace_async("127.0.0.1", tries=1), trace_async("127.0.0.1", tries=1))

        assert [result.reached for result in asyncio.run(both())] == [True, True]

    def test_the_mtu_as_a_coroutine(self) -> None:
        async def find() -> PathMTU:
            return await aio.path_mtu("127.0.0.1", engine="udp")

        found = asyncio.run(find())
        assert (found.mtu, found.engine, found.error) == (65535, "udp", None)

    def test_a_name_that_is_no_text(self, fastnet, peer, tmp_path: Path) -> None:
        hosts = tmp_path / "hosts"
        hosts.write_bytes(b"127.0.0.9 caf\xe9\n")
        prefix = over_hosts(peer("unshare"), hosts)
        ran = fastnet("trace", "--names", "127.0.0.9", prefix=prefix)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith("  1  caf\\xe9 (127.0.0.9)  ")
        ran = fastnet("trace", "--names", "--json", "127.0.0.9", prefix=prefix)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert {each["name"] for each in records(ran.stdout)[0][0]["responses"]} == {"caf\\xe9"}

    def test_no_way_out(self, namespace, fastnet) -> None:
        ran = fastnet("trace", "192.0.2.1", prefix=namespace().prefix)
        assert ran.stdout.splitlines() == [
            "  1  *  *  *  (not sent: Network is unreachable)",
            "192.0.2.1: not reached in 1 hop",
        ]
        assert (ran.returncode, ran.stderr) == (1, "")

    @pytest.mark.parametrize(
        "bad", [{"max_hops": 0}, {"tries": 11}, {"timeout": float("nan")}, {"engine": "magic"}]
    )
    def test_what_is_out_of_range(self, bad: dict[str, object]) -> None:
        with pytest.raises(InvalidArgument, match=str(*bad)):
            fastnet.trace("127.0.0.1", **bad)

    def test_what_is_no_host(self) -> None:
        with pytest.raises(InvalidArgument, match="not the address of one host"):
            fastnet.trace("224.0.0.1")
        with pytest.raises(NameNotResolved):
            fastnet.trace("no..name")
