"""Sweeps whose exact sets are known: who is alive, who is not, why, and who was never asked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from ipaddress import IPv6Address
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from children import Child

import fastnet
from fastnet._sweep import MAX_TARGETS, Sweep, SweepResult, rounds, sweep_async, sweep_every
from fastnet.errors import EngineMissing, InvalidArgument, NameNotResolved
from fastnet.targets import Targets

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
"""No capability at all; still root's files, since the interpreter may lie in root's home."""
INTERRUPTIBLE = ("env", "--default-signal=INT")
"""A shell's background job ignores SIGINT, and so would what the test starts."""
PING_GROUPS = ("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
BROADCAST = "Permission denied (a broadcast address, or a prohibit route)"
QUICK: dict[str, Any] = {"timeout": 0.3, "retries": 1}


def addresses(verdicts: list[Any]) -> list[str]:
    return [verdict.address for verdict in verdicts]


class TestOnLoopback:
    def test_every_target_has_one_verdict(self, root):
        result = fastnet.sweep(["127.0.0.1-9", "::1"], exclude=["127.0.0.5"], **QUICK)
        assert addresses(result.alive) == [*(f"127.0.0.{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9)), "::1"]
        assert result.counts == (9, 0, 0, 0)
        assert (result.inactive, result.unreachable, result.not_probed) == ([], [], [])
        assert result.complete
        assert result.engine == "raw"
        assert repr(result) == "<SweepResult alive=9, inactive=0, unreachable=0, not_probed=0, engine='raw'>"

    def test_a_result_is_a_sequence(self, root):
        result = fastnet.sweep("127.0.0.1-5", **QUICK)
        assert len(result) == 5
        assert result[-1] == result[4] == list(result)[4]
        assert result[-1].address == "127.0.0.5"
        assert result[1:3] == list(result)[1:3]
        assert all(verdict.state == "alive" and 0 < verdict.rtt_ms < 1000 for verdict in result)
        assert all(verdict.reason is None for verdict in result)
        with pytest.raises(IndexError):
            result[5]

    def test_a_slash_18(self, root):
        result = fastnet.sweep("127.64.0.0/18", **QUICK)
        assert result.counts == (1 << 14, 0, 0, 0)

    def test_what_can_not_be_probed_is_never_inactive(self, namespace, fastnet):
        alone = namespace()
        ran = fastnet(
            *("sweep", "--json", "--timeout=100ms"),
            *("0.0.0.0", "127.0.0.1", "127.255.255.255", "192.0.2.1", "224.0.0.1", "255.255.255.255"),
            *("::", "::1", "2001:db8::1", "ff02::1"),
            prefix=alone.prefix,
        )
        verdicts = [json.loads(line) for line in ran.stdout.splitlines()]
        not_a_host = ("not probed", "not the address of one host")
        broadcast = ("not probed", BROADCAST)
        no_route = ("not probed", "Network is unreachable")
        assert {each["address"]: (each["state"], each["reason"]) for each in verdicts} == {
            "0.0.0.0": not_a_host,
            "127.0.0.1": ("alive", None),
            "127.255.255.255": broadcast,
            "192.0.2.1": no_route,
            "224.0.0.1": not_a_host,
            "255.255.255.255": no_route,
            "::": not_a_host,
            "::1": ("alive", None),
            "2001:db8::1": no_route,
            "ff02::1": not_a_host,
        }

    def test_no_targets(self, root):
        assert fastnet.sweep([]).counts == (0, 0, 0, 0)
        assert list(fastnet.sweep(Targets("127.0.0.1", exclude=["127.0.0.1"]))) == []

    def test_too_many_targets(self, root):
        with pytest.raises(
            InvalidArgument, match=r"16777217 targets: a sweep takes at most 16777216 \(2\^24\); take shards"
        ):
            fastnet.sweep(["10.0.0.0/8", "11.0.0.0"])
        with pytest.raises(InvalidArgument, match="18446744073709551616 targets"):
            fastnet.sweep("fd00::/64")
        assert Targets("10.0.0.0/8").size == MAX_TARGETS

    @pytest.mark.parametrize(
        "bad",
        [
            {"timeout": 0},
            {"timeout": float("nan")},
            {"retries": -1},
            {"window": 0},
            {"rate": 0},
            {"rate": float("inf")},
            {"engine": "magic"},
        ],
    )
    def test_a_value_that_is_out_of_range_is_refused(self, root, bad):
        with pytest.raises(InvalidArgument, match=str(*bad)):
            fastnet.sweep("127.0.0.1", **bad)

    def test_a_rate_is_kept(self, root):
        started = time.monotonic()
        assert fastnet.sweep("127.0.0.1-41", rate=200, **QUICK).counts.alive == 41
        assert time.monotonic() - started >= 0.18  # the first ones may leave at once

    @pytest.mark.parametrize("window", [1, 7, 4096])
    def test_any_window_finds_all(self, root, window):
        assert fastnet.sweep("127.0.0.0/23", window=window, **QUICK).counts.alive == 512

    def test_no_descriptor_is_left(self, root):
        fastnet.sweep(["127.0.0.1", "::1"])
        before = os.listdir("/proc/self/fd")
        for _ in range(200):
            fastnet.sweep(["127.0.0.1", "::1"])
        with pytest.raises(InvalidArgument):
            fastnet.sweep(["127.0.0.1", "::1"], engine="magic")
        assert os.listdir("/proc/self/fd") == before


class TestReferences:
    """Other tools give the same verdicts for the same space."""

    def test_fping_and_nmap_on_loopback(self, root, peer):
        ours = addresses(fastnet.sweep("127.0.0.32/27", **QUICK).alive)
        assert ours == fping(peer("fping"), Targets("127.0.0.32/27"))
        assert ours == nmap(peer("nmap"), "127.0.0.32/27")

    def test_fping_and_nmap_on_a_slash_24(self, linked, peer, fastnet):
        left, right = linked
        for number in (7, 8, 9, 77, 200, 254):
            right.ip("address", "add", f"10.77.0.{number}/24", "dev", "veth0")
        ran = fastnet("sweep", "--alive", "10.77.0.1-254", prefix=left.prefix)
        ours = ran.stdout.split()
        assert ours == [f"10.77.0.{number}" for number in (1, 2, 7, 8, 9, 77, 200, 254)]
        assert ours == fping(peer("fping"), Targets("10.77.0.1-254"), left.prefix)
        assert ours == nmap(peer("nmap"), "10.77.0.1-254", left.prefix)

    def test_fping_on_ipv6(self, engines, peer, fastnet):
        left, right = engines
        for number in ("7", "8", "1f", "7f"):
            right.ip("address", "add", f"fd77::{number}/64", "dev", "veth0", "nodad")
        ran = fastnet("sweep", "--alive", "fd77::1-fd77::7f", prefix=left.prefix)
        ours = ran.stdout.split()
        assert ours == [f"fd77::{number}" for number in ("1", "2", "7", "8", "1f", "7f")]
        assert ours == fping(peer("fping"), Targets("fd77::1-fd77::7f"), left.prefix)

    @pytest.mark.parametrize("engine", ["datagram", "scapy"])
    def test_the_other_engines(self, engines, fastnet, engine):
        left, right = engines
        right.ip("address", "add", "10.77.0.9/24", "dev", "veth0")
        right.ip("address", "add", "fd77::9/64", "dev", "veth0", "nodad")
        words = (
            "sweep",
            "--alive",
            "--timeout=1s",
            "--engine",
            engine,
            "10.77.0.1-20",
            "fd77::1-fd77::12",
        )
        ran = fastnet(*words, prefix=left.prefix)
        assert ran.stdout.split() == ["10.77.0.1", "10.77.0.2", "10.77.0.9", "fd77::1", "fd77::2", "fd77::9"]


def fping(path: str, targets: Targets, prefix: tuple[str, ...] = ()) -> list[str]:
    words = [*prefix, path, "-a", "-i1", "-r1"]
    ran = subprocess.run(words, input="\n".join(targets), capture_output=True, text=True, check=False)
    found = set(ran.stdout.split())
    return [address for address in targets if address in found]


def nmap(path: str, targets: str, prefix: tuple[str, ...] = ()) -> list[str]:
    words = [*prefix, path, "-sn", "-n", "-T5", "-oG", "-", targets]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    found = set(re.findall(r"Host: (\S+) \(\)\tStatus: Up", ran.stdout))
    return [address for address in Targets(targets) if address in found]


class TestNamespaces:
    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_alive_silent_unreachable_and_not_probed(self, engines, fastnet, engine):
        left, right = engines
        right.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        right.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        right.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0")
        left.ip("route", "add", "default", "via", "10.77.0.2")
        left.ip("-6", "route", "add", "default", "via", "fd77::2")
        # Every second 64 of 10.88.0.0/22 is there; the rest is a black hole.
        right.ip("route", "add", "blackhole", "10.88.0.0/16")
        for block in range(0, 16, 2):
            right.ip("route", "add", "local", f"10.88.{block // 4}.{block % 4 * 64}/26", "dev", "lo")
        right.ip("route", "add", "unreachable", "10.89.0.0/30")  # a kernel reports five, then one a second
        left.ip("route", "add", "unreachable", "10.90.0.0/26")
        right.ip("-6", "route", "add", "local", "fd88::/121", "dev", "lo")
        right.ip("-6", "route", "add", "blackhole", "fd88::80/121")
        words = ("10.88.0.0/22", "10.89.0.0/30", "10.90.0.0/26", "fd88::/120")
        ran = fastnet("sweep", "--json", "--timeout=400ms", "--engine", engine, *words, prefix=left.prefix)
        assert ran.returncode == 0
        found: dict[tuple[str, str | None], set[str]] = {}
        for each in map(json.loads, ran.stdout.splitlines()):
            assert (each["rtt_ms"] is not None) == (each["state"] == "alive")
            found.setdefault((each["state"], each["reason"]), set()).add(each["address"])
        blocks = [Targets(f"10.88.{block // 4}.{block % 4 * 64}/26") for block in range(16)]
        present, absent = blocks[::2], blocks[1::2]
        assert found == {
            ("alive", None): {
                *(address for block in present for address in block),
                *Targets("fd88::/121"),
            },
            ("inactive", None): {
                *(address for block in absent for address in block),
                *Targets("fd88::80/121"),
            },
            ("unreachable", "host unreachable from 10.77.0.2"): set(Targets("10.89.0.0/30")),
            ("not probed", "No route to host"): set(Targets("10.90.0.0/26")),
        }
        assert (
            ran.stderr == f"1348 targets: 640 alive, 640 inactive, 4 unreachable, 64 not probed ({engine})\n"
        )

    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_a_full_send_queue_is_waited_for(self, linked, peer, fastnet, engine):
        left, right = linked
        left.run(*PING_GROUPS)
        right.ip("route", "add", "local", "10.88.0.0/16", "dev", "lo")
        left.ip("route", "add", "10.88.0.0/16", "via", "10.77.0.2")
        queue = ("root", "tbf", "rate", "512kbit", "burst", "2k", "limit", "3k")
        left.run(peer("tc"), "qdisc", "add", "dev", "veth0", *queue)
        ran = fastnet("sweep", "--alive", "--engine", engine, "10.88.0.0/24", prefix=left.prefix)
        assert ran.stdout.split() == list(Targets("10.88.0.0/24"))

    def test_a_queue_that_stays_full_is_not_inactivity(self, linked, peer, fastnet):
        left, _ = linked
        left.ip("neighbour", "replace", "10.77.0.2", "lladdr", "02:00:00:00:00:02", "dev", "veth0")
        left.ip("route", "add", "10.88.0.0/16", "via", "10.77.0.2")
        queue = ("root", "tbf", "rate", "8bit", "burst", "90", "limit", "100")
        left.run(peer("tc"), "qdisc", "add", "dev", "veth0", *queue)
        words = ("--json", "--retries=0", "--timeout=200ms")
        ran = fastnet("sweep", *words, "10.88.0.0/24", prefix=left.prefix)
        verdicts = [json.loads(line) for line in ran.stdout.splitlines()]
        not_probed = [each for each in verdicts if each["state"] == "not probed"]
        assert len(verdicts) == 256
        assert len(not_probed) > 250
        assert {each["reason"][:25] for each in not_probed} == {"No buffer space available"}
        assert ran.returncode == 1

    def test_an_interface_that_goes_down(self, linked):
        left, right = linked
        right.ip("route", "add", "local", "10.88.0.0/16", "dev", "lo")
        left.ip("route", "add", "10.88.0.0/16", "via", "10.77.0.2")
        program = """if True:
            import os, subprocess
            from fastnet._sweep import Sweep
            with Sweep("10.88.0.0/24", rate=500, timeout=0.2) as running:
                running.run(0.2)
                subprocess.run(["ip", "link", "set", "veth0", "down"], check=True)
                while not running.run():
                    pass
                print(*running.result().counts, {each.reason for each in running.result().not_probed})
        """
        counts = left.run(sys.executable, "-c", program).stdout.split(maxsplit=4)
        alive, inactive, _unreachable, not_probed = map(int, counts[:4])
        assert alive > 20
        assert not_probed > 20
        assert inactive <= 16  # those that were on their way
        assert counts[4] == "{'Network is unreachable'}\n"

    def test_without_any_privilege(self, engines, fastnet):
        left, _ = engines
        prefix = (*left.prefix, *UNPRIVILEGED)
        ran = fastnet("sweep", "--timeout=300ms", "10.77.0.1-3", "fd77::1-fd77::3", prefix=prefix)
        assert ran.returncode == 0
        assert ran.stderr == "6 targets: 4 alive, 2 inactive, 0 unreachable, 0 not probed (datagram)\n"
        for engine in ("raw", "scapy"):
            ran = fastnet("sweep", "--engine", engine, "10.77.0.1", prefix=prefix)
            assert ran.returncode == 3
            assert ran.stdout == ""
            assert "CAP_NET_RAW" in ran.stderr
        left.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
        ran = fastnet("sweep", "10.77.0.1", prefix=prefix)
        assert ran.returncode == 3
        assert "net.ipv4.ping_group_range" in ran.stderr


class TestScapy:
    # Each in a namespace of its own: scapy hears what else goes over a loopback, and loses count of it.

    def test_the_book_s_way_gives_the_same_result(self, namespace, reference, fastnet):
        reference("scapy")
        prefix = namespace().prefix
        words = ("--json", "127.0.0.1-9", "127.255.255.255", "224.0.0.1", "::1")
        ours, theirs = (
            [
                *map(
                    json.loads,
                    fastnet("sweep", f"--engine={engine}", *words, prefix=prefix).stdout.splitlines(),
                )
            ]
            for engine in ("raw", "scapy")
        )
        assert len(ours) == 12
        measured = {"rtt_ms": None, "time": None}
        assert [{**each, **measured} for each in theirs] == [{**each, **measured} for each in ours]
        assert all((each["rtt_ms"] is not None) == (each["state"] == "alive") for each in theirs)

    def test_again_and_again(self, namespace, reference, fastnet):
        reference("scapy")
        words = ("--engine=scapy", "--timeout=5s", "--every=10ms", "--count=3", "127.0.0.1-70", "::1")
        ran = fastnet("sweep", "--alive", *words, prefix=namespace().prefix)
        assert ran.returncode == 0
        assert ran.stdout.split() == [*Targets("127.0.0.1-70", "::1")]
        assert ran.stderr.count("71 targets: 71 alive, 0 inactive, 0 unreachable, 0 not probed (scapy)") == 3

    def test_it_is_said_that_it_is_missing(self, root, monkeypatch):
        def missing(name: str) -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name="scapy")

        monkeypatch.setattr("importlib.import_module", missing)
        with pytest.raises(EngineMissing, match="scapy is missing: pip install scapy"):
            fastnet.sweep("127.0.0.1", engine="scapy")


class TestAgainAndAgain:
    def test_every(self, root):
        results = list(sweep_every("127.0.0.1-2", 0.05, 3, **QUICK))
        assert [result.counts.alive for result in results] == [2, 2, 2]
        endless = sweep_every("127.0.0.1", 0, **QUICK)
        assert len(list(islice(endless, 5))) == 5

    def test_bad_values_are_told_at_once(self):
        with pytest.raises(InvalidArgument, match="every"):
            sweep_every("127.0.0.1", -1)
        with pytest.raises(InvalidArgument, match="every"):
            sweep_every("127.0.0.1", float("nan"))
        with pytest.raises(NameNotResolved):
            sweep_every("no..name")

    def test_rounds_do_not_pile_up(self):
        began = []
        for number in rounds(0.05, 3):
            began.append(time.monotonic())
            if number == 0:
                time.sleep(0.2)
        assert began[1] - began[0] >= 0.2
        assert began[2] - began[0] >= 0.25  # as long after the one before as ever

    def test_async(self, root):
        async def both() -> list[SweepResult]:
            return await asyncio.gather(
                sweep_async("127.0.0.0/24", **QUICK), sweep_async(["127.1.0.0/24", "::1"], **QUICK)
            )

        first, second = asyncio.run(both())
        assert (first.counts.alive, second.counts.alive) == (256, 257)
        with pytest.raises(InvalidArgument):
            asyncio.run(sweep_async("10.0.0.0/33"))


class TestInterrupted:
    def test_a_cancelled_sweep_leaves_nothing_open(self, root):
        async def give_up() -> None:
            await asyncio.to_thread(int)
            before = os.listdir("/proc/self/fd")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sweep_async("127.0.0.0/24", rate=10), 0.2)
            assert os.listdir("/proc/self/fd") == before

        asyncio.run(give_up())

    def test_silence_says_nothing_before_the_end(self, met):
        left, _ = met
        left.ip("neighbour", "add", "10.77.0.9", "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        program = """if True:
            from fastnet._sweep import Sweep
            with Sweep(["10.77.0.2", "10.77.0.9"], timeout=5) as running:
                assert not running.run(0.3)
                print(*running.result())
                print(running.result().complete)
        """
        lines = left.run(sys.executable, "-c", program).stdout.splitlines()
        assert "address='10.77.0.2', state='alive'" in lines[0]
        assert "address='10.77.0.9', state='not probed', reason='interrupted'" in lines[0]
        assert lines[1] == "False"

    def test_ctrl_c_says_what_is_known(self, met):
        left, _ = met
        command = (*left.prefix, *INTERRUPTIBLE, sys.executable, "-m", "fastnet")
        words = [*command, "sweep", "--engine=raw", "--timeout=60s", "10.77.0.1-3"]
        with Child(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while "10.77.0.3" not in left.ip("neighbour", "show"):  # the last one to be sent to
                time.sleep(0.05)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=10)
        assert process.returncode == 130
        assert re.sub(r"\d+\.\d+ ms", "RTT", output) == (
            "10.77.0.1       alive        RTT\n10.77.0.2       alive        RTT\n"
        )
        assert errors == "interrupted\n3 targets: 2 alive, 0 inactive, 0 unreachable, 1 not probed (raw)\n"


class TestCommand:
    def test_a_list_that_no_editor_meant(self, root, fastnet, tmp_path):
        listed = tmp_path / "targets"
        listed.write_bytes(b"\xef\xbb\xbf127.0.0.1\r\n127.0.0.2\r\n")
        assert fastnet("sweep", "--alive", "-f", str(listed)).stdout.split() == ["127.0.0.1", "127.0.0.2"]
        listed.write_bytes(b"127.0.0.1\n\xff\xfe\n")
        for where in (["-f", str(listed)], ["-f", "-"]):
            with listed.open() as stdin:
                ran = fastnet("sweep", *where, stdin=stdin, env={"PYTHONIOENCODING": "utf-8:strict"})
            file = "stdin" if where[-1] == "-" else listed
            name, why = "\\xff\\xfe", "not a host name or an address"
            assert [line.split()[0] for line in ran.stdout.splitlines()] == ["127.0.0.1", name]
            assert ran.stderr.splitlines()[0] == f"fastnet sweep: {file}:2: {name}: {why}"
            assert ran.returncode == 2


class TestSource:
    """Many IPv6 targets are sent to from the one address that the kernel would choose each time."""

    MANY = "fd80::/116"

    @pytest.fixture
    def behind(self, engines):
        left, right = engines
        left.ip("-6", "route", "add", "fd80::/64", "via", "fd77::2")
        right.ip("-6", "route", "add", "local", "fd80::/64", "dev", "lo")
        return left

    def bound(self, of: str | int = "thread-self") -> set[str]:
        """The addresses of the ICMPv6 sockets in a process's namespace, or this thread's."""
        lines = [
            line
            for name in ("raw6", "icmp6")
            for line in Path(f"/proc/{of}/net/{name}").read_text().splitlines()[1:]
        ]
        words = [bytes.fromhex(line.split()[1][:32]) for line in lines]
        return {str(IPv6Address(b"".join(word[k : k + 4][::-1] for k in (0, 4, 8, 12)))) for word in words}

    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_sockets_are_bound_to_it_and_every_reply_comes(self, behind, engine):
        def work() -> tuple[set[str], int]:
            with Sweep(self.MANY, engine=engine) as running:
                bound = self.bound()
                while not running.run():
                    pass
                return bound, running.result().counts.alive

        assert behind.call(work) == ({"fd77::1"}, 4096)

    @pytest.mark.parametrize(
        ("targets", "options"),
        [
            ("fd80::/117", {}),
            (MANY, {"rate": 1_000_000.0}),
            (MANY, {"repeated": True}),
            (MANY, {"interface": "veth0"}),
            (["fd80::/117", "fd81::/117"], {}),
        ],
        ids=str,
    )
    def test_not_where_there_are_few_or_it_may_change_or_is_not_all_s(self, behind, targets, options):
        def work() -> set[str]:
            with Sweep(targets, engine="raw", **options):
                return self.bound()

        assert behind.call(work) == {"::"}

    def test_not_where_there_is_another(self, behind):
        behind.ip("address", "add", "fd80:1::1/64", "dev", "veth0", "nodad")

        def work() -> set[str]:
            with Sweep(self.MANY, engine="raw"):
                return self.bound()

        assert behind.call(work) == {"::"}

    def test_what_begins_again_heeds_changes(self, behind):
        def work() -> tuple[int, int]:
            with Sweep(self.MANY, engine="raw", retries=3, repeated=True) as running:
                while not running.run():
                    pass
                before = running.result().counts.alive
                behind.ip("address", "add", "fd77::3/64", "dev", "veth0", "nodad")
                behind.ip("address", "delete", "fd77::1/64", "dev", "veth0")
                running.restart()
                while not running.run():
                    pass
                return before, running.result().counts.alive

        assert behind.call(work) == (4096, 4096)

    @pytest.mark.parametrize(("every", "bound"), [([], {"fd77::1"}), (["--every=1h"], {"::"})], ids=str)
    def test_the_command_says_whether_it_begins_again(self, behind, every, bound):
        # Behind the many is somebody who never answers: it goes on while it is looked at.
        words = ("-m", "fastnet", "sweep", "--engine=raw", "--timeout=60s", "--stream", *every)
        targets = (self.MANY, "fd77::9-fd77::a")
        command = [*behind.prefix, sys.executable, *words, *targets]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline()
                assert self.bound(process.pid) == bound
            finally:
                process.kill()
