"""Sweeps that go over links, beside those that do not: the exact sets, MACs, who may, and who goes on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from children import Child
from namespaces import Namespace

from fastnet._sweep import Sweep, SweepResult, Verdict, sweep, sweep_stream
from fastnet.targets import Targets

# One at a time where tests run in several workers: they share the kernel's neighbour table.
pytestmark = pytest.mark.xdist_group("icmp")
RUNS = 5
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
PING_GROUPS = ("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
MAC = "02:00:00:00:00:02"
QUICK: dict[str, Any] = {"timeout": 0.2, "retries": 2}

Hosts = tuple[Namespace, Namespace]


@pytest.fixture
def hosts(linked: Hosts) -> Hosts:
    """The left one has 10.9.0.0/16 and fd99::/64 on its link; the right one has what it is given of it."""
    left, right = linked
    right.ip("link", "set", "veth0", "address", MAC)
    for address in ("10.77.0.2", "fd77::2"):
        left.ip("neighbour", "replace", address, "lladdr", MAC, "dev", "veth0", "nud", "permanent")
    left.ip("address", "add", "10.9.0.1/16", "dev", "veth0")
    left.ip("address", "add", "fd99::1/64", "dev", "veth0", "nodad")
    right.ip("route", "add", "10.9.0.0/16", "dev", "veth0")
    right.ip("route", "add", "fd99::/64", "dev", "veth0")
    # Even where the right host is all of the prefix, the asker is not it; and the table may be full.
    right.ip("route", "add", "unicast", "10.9.0.1", "dev", "veth0", "table", "local")
    for source in ("10.9.0.1", "10.77.0.1", "fd99::1", "fd77::1"):
        right.ip("neighbour", "replace", source, "lladdr", left.mac(), "dev", "veth0", "nud", "permanent")
    return left, right


@pytest.fixture
def both_families(hosts: Hosts) -> Hosts:
    """``hosts``, where IPv6 is heard."""
    for host in hosts:
        host.settle()
    return hosts


def give(host: Namespace, *prefixes: str) -> None:
    for prefix in prefixes:
        host.ip("route", "add", "local", prefix, "dev", "lo")


def verdicts(ran: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {each["address"]: each for each in map(json.loads, ran.stdout.splitlines())}


def states(result: SweepResult) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for verdict in result:
        assert (verdict.rtt_ms is not None) == (verdict.state == "alive")
        found.setdefault(verdict.state, set()).add(verdict.address)
    return found


class TestExactSets:
    def test_a_whole_16(self, hosts: Hosts, fastnet) -> None:
        left, right = hosts
        give(right, "10.9.0.0/16")
        # Of the network's own address kernels have different opinions.
        words = ("sweep", "--alive", "--retries=5", "10.9.0.0/16", "--exclude=10.9.0.0")
        ran = fastnet(*words, prefix=left.prefix)
        assert ran.stdout.split() == [*Targets("10.9.0.0/16", exclude=["10.9.0.0", "10.9.255.255"])]
        counts = "65534 alive, 0 inactive, 0 unreachable, 1 not probed"
        assert ran.stderr == f"65535 targets: {counts} (link+raw)\n"
        assert "10.9." not in left.ip("neighbour")

    @pytest.mark.parametrize("present", ["all", "half", "none"])
    def test_five_runs(self, hosts: Hosts, present: str) -> None:
        left, right = hosts
        blocks = [f"10.9.{third}.{fourth}/26" for third in (4, 5) for fourth in (0, 64, 128, 192)]
        there = {"all": blocks, "half": blocks[::2], "none": []}[present]
        give(right, *there)
        alive = {*Targets(*there)}
        for seed in (None, *range(RUNS - 1)):
            result = left.call(lambda seed=seed: sweep("10.9.4.0/23", seed=seed, **QUICK))  # type: ignore[misc]
            expected = {"alive": alive, "inactive": {*Targets("10.9.4.0/23")} - alive}
            assert states(result) == {state: those for state, those in expected.items() if those}
            assert {verdict.mac for verdict in result.alive} == {MAC} & {MAC for _ in alive}
            assert {verdict.mac for verdict in result.inactive} <= {None}
            assert result.engine == "link"

    def test_ipv6(self, both_families: Hosts, fastnet) -> None:
        left, right = both_families
        for number in ("2", "7", "a0", "ff"):
            right.ip("address", "add", f"fd99::{number}/128", "dev", "veth0", "nodad")
        for _ in range(RUNS):
            ran = fastnet(
                "sweep", "--json", "--retries=2", "--timeout=200ms", "fd99::/120", prefix=left.prefix
            )
            found = verdicts(ran)
            alive = {address: each["mac"] for address, each in found.items() if each["state"] == "alive"}
            assert alive == {"fd99::1": None, **{f"fd99::{n}": MAC for n in ("2", "7", "a0", "ff")}}
            # The prefix's own address is every router's (RFC 4291, section 2.6.1).
            assert {each["state"] for each in found.values() if each["address"] not in alive} <= {
                "inactive",
                "not probed",
            }
            assert [each["address"] for each in found.values() if each["state"] == "not probed"] in (
                [],
                ["fd99::"],
            )

    def test_among_others(self, hosts: Hosts) -> None:
        left, right = hosts
        give(right, "10.9.7.0/25", "10.88.0.0/25")
        right.ip("route", "add", "blackhole", "10.88.0.128/25")
        left.ip("route", "add", "10.88.0.0/24", "via", "10.77.0.2")
        left.ip("route", "add", "10.9.7.200/29", "via", "10.77.0.2")
        left.ip("route", "add", "10.99.0.0/24", "via", "10.77.0.99")
        on_link = ("10.77.0.1-3", "10.9.7.0/24", "10.9.0.1")
        others = ("10.88.0.0/24", "10.99.0.0/30", "127.0.0.1-9", "192.0.2.1", "224.0.0.1")
        inactive = {
            *Targets("10.77.0.3", "10.9.7.128/25", "10.88.0.128/25", exclude=["10.9.7.200/29"]),
        }
        for seed in (None, *range(RUNS - 1)):
            result = left.call(lambda seed=seed: sweep([*on_link, *others], seed=seed, **QUICK))  # type: ignore[misc]
            found = states(result)
            # Who is behind a router that is not there: it depends on how long the kernel looks for that.
            lost = {*Targets("10.99.0.0/30", "10.9.7.200/29")}
            assert found["alive"] == {
                *Targets("10.77.0.1-2", "10.9.7.0/25", "10.9.0.1", "10.88.0.0/25", "127.0.0.1-9")
            }
            assert found["inactive"] - lost == inactive
            assert found.get("unreachable", set()) <= lost
            assert found["not probed"] == {"192.0.2.1", "224.0.0.1"}
            told = {verdict.address: verdict.mac for verdict in result if verdict.mac}
            assert told == dict.fromkeys(Targets("10.77.0.2", "10.9.7.0/25"), MAC)
            assert result.engine == "link+raw"
            assert len(result.rtts_ms) == len(result) == len(Targets(*on_link, *others))


class TestOneSweepOfSeveral:
    TARGETS = ("10.9.0.0-10.9.0.40", "10.77.0.0-9", "127.0.0.1-20", "fd77::1-fd77::9")

    def test_shards(self, both_families: Hosts) -> None:
        left, right = both_families
        give(right, "10.9.0.16/28")
        whole = left.call(lambda: sweep(self.TARGETS, **QUICK))
        shards = [
            left.call(lambda which=which: sweep(self.TARGETS, shard=(which, 3), seed=which, **QUICK))  # type: ignore[misc]
            for which in (1, 2, 3)
        ]
        for which, shard in enumerate(shards):
            assert [plain(verdict) for verdict in shard] == [plain(verdict) for verdict in whole[which::3]]

    def test_each_is_told_once(self, both_families: Hosts) -> None:
        left, right = both_families
        give(right, "10.9.0.16/28")
        told = left.call(lambda: [*sweep_stream(self.TARGETS, **QUICK)])
        whole = left.call(lambda: sweep(self.TARGETS, **QUICK))
        assert sorted(map(plain, told)) == sorted(map(plain, whole))

    def test_what_is_decided_is_not_asked_again(self, both_families: Hosts) -> None:
        left, right = both_families
        give(right, "10.9.0.16/28")

        def twice() -> tuple[SweepResult, SweepResult]:
            with Sweep(self.TARGETS, rate=100, **QUICK) as running:
                while running.sent < 30:
                    running.run(0.01)
                early, bits = running.result(), running.decided()
            with Sweep(self.TARGETS, decided=bits, **QUICK) as running:
                while not running.run():
                    pass
                return early, running.result()

        early, late = left.call(twice)
        assert 0 < len(early.alive) < len(early)
        assert [each.address for each in late.decided_before] == [each.address for each in early.alive]
        whole = left.call(lambda: sweep(self.TARGETS, **QUICK))
        assert {*states(late)["alive"]} | {each.address for each in early.alive} == states(whole)["alive"]

    def test_nobody_waits_for_another_s_timeout(self, both_families: Hosts) -> None:
        left, _ = both_families
        left.ip("route", "add", "10.88.0.0/24", "via", "10.77.0.2")

        def asked() -> int:
            with Sweep(["10.9.0.2-4", "10.77.0.3-5", "10.88.0.1-3", "fd99::3"], timeout=60) as running:
                while running.sent < 10:
                    assert not running.run(0.01)
                return running.sent

        assert left.call(asked) == 10

    def test_a_rate_is_for_all_of_them(self, both_families: Hosts) -> None:
        left, right = both_families
        give(right, "10.9.0.16/28")

        def sent_in_a_second() -> int:
            with Sweep(["10.9.0.16/28", "127.0.0.0/24", "fd77::/120"], rate=40) as running:
                running.run(1.0)
                return running.sent

        # Each of them may send one at once.
        assert left.call(sent_in_a_second) <= 44


def plain(verdict: Verdict) -> tuple[str, str, str]:
    """What is the same each time."""
    return verdict.address, verdict.state, verdict.mac or ""


class TestEngines:
    def test_link_insists(self, both_families: Hosts, fastnet) -> None:
        left, _ = both_families
        words = ("sweep", "--engine=link", "--json", "--timeout=300ms", "10.77.0.1-3", "127.0.0.1", "fd77::2")
        ran = fastnet(*words, prefix=left.prefix)
        off_link = ("not probed", "not on a link of this machine", None)
        assert {
            address: (each["state"], each["reason"], each["mac"]) for address, each in verdicts(ran).items()
        } == {
            "10.77.0.1": off_link,
            "10.77.0.2": ("alive", None, MAC),
            "10.77.0.3": ("inactive", None, None),
            "127.0.0.1": off_link,
            "fd77::2": ("alive", None, MAC),
        }
        assert ran.stderr == "5 targets: 2 alive, 1 inactive, 0 unreachable, 2 not probed (link)\n"
        ran = fastnet("sweep", "--engine=link", "127.0.0.1", prefix=left.prefix)
        assert (ran.returncode, ran.stdout) == (
            1,
            "127.0.0.1       not probed   not on a link of this machine\n",
        )

    def test_raw_insists(self, hosts: Hosts, fastnet) -> None:
        ran = fastnet("sweep", "--engine=raw", "10.77.0.2", prefix=hosts[0].prefix)
        assert re.fullmatch(r"10\.77\.0\.2 {7}alive {8}\d+\.\d+ ms\n", ran.stdout)
        assert ran.stderr == "1 target: 1 alive, 0 inactive, 0 unreachable, 0 not probed (raw)\n"

    def test_without_privilege(self, both_families: Hosts, fastnet) -> None:
        left, _ = both_families
        left.run(*PING_GROUPS)
        prefix = (*left.prefix, *UNPRIVILEGED)
        ran = fastnet("sweep", "--json", "--timeout=300ms", "10.77.0.1-3", "fd77::2", prefix=prefix)
        assert ran.returncode == 0
        assert {address: each["mac"] for address, each in verdicts(ran).items()} == dict.fromkeys(
            ("10.77.0.1", "10.77.0.2", "10.77.0.3", "fd77::2")
        )
        assert ran.stderr.startswith("4 targets: 3 alive, ")
        assert ran.stderr.endswith(" (datagram)\n")
        ran = fastnet("sweep", "--engine=link", "10.77.0.2", prefix=prefix)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)
        assert "CAP_NET_RAW" in ran.stderr

    @pytest.mark.parametrize("engine", ["auto", "datagram"])
    def test_link_local_ones_on_the_interface_that_is_named(
        self, both_families: Hosts, fastnet, engine: str
    ) -> None:
        left, right = both_families
        left.run(*PING_GROUPS)
        right.ip("address", "add", "fe80::7/64", "dev", "veth0", "nodad")
        words = ("sweep", "--alive", "--timeout=300ms", "--engine", engine, "--interface=veth0")
        ran = fastnet(*words, "fe80::6-fe80::8", "10.77.0.2-3", prefix=left.prefix)
        assert ran.stdout.split() == ["10.77.0.2", "fe80::7"]
        assert ran.stderr.endswith(f" ({'link+raw' if engine == 'auto' else engine})\n")

    def test_only_the_interface_that_is_named(self, hosts: Hosts, fastnet) -> None:
        left, _ = hosts
        ran = fastnet("sweep", "--interface=lo", "--engine=link", "10.77.0.2", prefix=left.prefix)
        assert ran.stdout == "10.77.0.2       not probed   not on a link of this machine\n"
        ran = fastnet("sweep", "--interface=lo", "127.0.0.1", prefix=left.prefix)
        assert ran.returncode == 0
        for words, complaint, code in (
            (("--interface=veth9", "10.77.0.2"), "veth9", 3),
            (("--interface=veth9", "--engine=link", "10.77.0.2"), "veth9", 3),
            (("--interface=", "10.77.0.2"), "expected the name of an interface", 2),
            (("--interface=lo", "--engine=tcp", "127.0.0.1"), "engine tcp leaves that to the routes", 2),
            (("fe80::7%veth0",), "--interface", 2),
        ):
            ran = fastnet("sweep", *words, prefix=left.prefix)
            assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (code, "", 1)
            assert complaint in ran.stderr

    def test_again_and_again_without_capabilities(self, both_families: Hosts, fastnet) -> None:
        words = ("sweep", "--every=10ms", "--count=3", "--alive", "10.77.0.2", "127.0.0.1", "fd77::2")
        ran = fastnet(*words, prefix=both_families[0].prefix)
        assert (ran.returncode, ran.stdout) == (0, "10.77.0.2\n127.0.0.1\nfd77::2\n")
        each = "3 targets: 3 alive, 0 inactive, 0 unreachable, 0 not probed (link+raw)\n"
        assert ran.stderr == each * 3


class TestBrokenOff:
    def test_ctrl_c_and_on_from_there(self, hosts: Hosts, fastnet, tmp_path: Path) -> None:
        left, right = hosts
        give(right, "10.9.3.0/25")
        file = tmp_path / "state"
        words = [
            "sweep",
            "--alive",
            "--stream",
            "--max-rate=100",
            f"--resume={file}",
            "10.9.3.0/25",
            "127.0.0.1-9",
        ]
        command = [*left.prefix, "env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            before = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            before += process.stdout.read()
            errors = process.stderr.read()
        assert process.returncode == 130
        assert errors.startswith(f"interrupted\n{file} has what is left")
        assert errors.endswith(" (link+raw)\n")
        assert 0 < len(before.split()) < 137
        ran = fastnet(*words, prefix=left.prefix)
        assert ran.returncode == 0
        assert ran.stderr.endswith(f", {len(before.split())} decided before (link+raw)\n")
        both = [*before.split(), *ran.stdout.split()]
        assert sorted(both) == sorted(Targets("10.9.3.0/25", "127.0.0.1-9"))
        assert not file.exists()

    def test_an_interface_that_goes_down(self, hosts: Hosts) -> None:
        left, right = hosts
        give(right, "10.9.3.0/24")

        def work() -> SweepResult:
            with Sweep("10.9.3.0/24", rate=500, timeout=0.2) as running:
                while running.sent < 60:
                    running.run(0.01)
                subprocess.run(["ip", "link", "set", "veth0", "down"], check=True)
                while not running.run():
                    pass
                return running.result()

        result = left.call(work)
        assert result.counts.alive >= 40
        assert result.counts.not_probed >= 100
        assert len(result.inactive) <= 32  # those that were on their way
        assert {verdict.reason for verdict in result.not_probed} == {"Network is down"}


def test_a_full_neighbour_table(hosts: Hosts, peer: Callable[[str], str], fastnet) -> None:
    """The kernel's holds 1,024 for all namespaces together: what finds no place waits, and is never down."""
    left, right = hosts
    give(right, "10.9.4.0/24")
    left.run(*PING_GROUPS)
    # Who is not there is soon given up, so that other tests do not find the table full for long.
    left.ip("ntable", "change", "name", "arp_cache", "dev", "veth0", "retrans", "300", "mcast_probes", "1")
    words = ("sweep", "--json", "--retries=0", "--timeout=3s", "10.9.1.0-10.9.5.127")
    ran = fastnet(*words, prefix=(*left.prefix, *UNPRIVILEGED))
    assert ran.returncode == 0
    found = verdicts(ran)
    assert len(found) == 5 * 256 - 128
    there, full = {*Targets("10.9.4.0/24")}, "No buffer space available"
    for address, each in found.items():
        if each["state"] == "not probed":
            assert each["reason"].startswith(full)
        else:
            assert (each["state"] == "alive") == (address in there)
    assert ran.stderr.endswith(" (datagram)\n")
