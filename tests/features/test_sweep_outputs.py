"""What the command prints: lists, JSON, CSV, XML that ndiff reads, changes, and a bar on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from children import Child
from records import parse

import fastnet as package
from fastnet._sweep import Sweep, sweep_stream
from fastnet.cli.sweep.progress import progress_line
from fastnet.targets import Targets

pytestmark = pytest.mark.xdist_group("icmp")
NO_PRIVILEGE = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
QUICK = ("sweep", "--timeout=200ms", "--retries=0")


def test_xml_that_ndiff_reads(met, fastnet, peer: Callable[[str], str], tmp_path: Path) -> None:
    left, right = met
    files = [tmp_path / "before.xml", tmp_path / "after.xml"]
    for file, more in zip(files, ((), ("fd77::1", "--timeout=3s")), strict=True):
        ran = fastnet(*QUICK, "--xml", "10.77.0.2-4", *more, prefix=left.prefix)
        assert ran.returncode == 0
        file.write_text(ran.stdout)
        if not more:  # the neighbour table may take a second or two to ask again
            right.ip("address", "add", "10.77.0.3/24", "dev", "veth0")
    document = ElementTree.fromstring(files[0].read_text())
    states = [host.find("status").attrib["state"] for host in document.iter("host")]  # type: ignore[union-attr]
    assert states == ["up", "down", "down"]
    assert document.find("runstats/hosts").attrib == {"up": "1", "down": "2", "total": "3"}  # type: ignore[union-attr]
    assert document.find("runstats/finished").attrib["exit"] == "success"  # type: ignore[union-attr]
    same = subprocess.run([peer("ndiff"), files[0], files[0]], capture_output=True, text=True, check=False)
    assert (same.returncode, same.stderr) == (0, "")
    other = subprocess.run([peer("ndiff"), *files], capture_output=True, text=True, check=False)
    assert (other.returncode, other.stderr) == (1, "")
    assert "fd77::1" in other.stdout
    mac = right.mac().upper()
    assert f"-10.77.0.3:\n+10.77.0.3, {mac}:\n-Host is down.\n+Host is up.\n" in other.stdout
    up = next(document.iter("host"))
    assert [each.attrib["addr"] for each in up.iter("address")] == ["10.77.0.2", mac]
    assert up.find("status").attrib["reason"] == "arp-response"  # type: ignore[union-attr]


def test_streamed_verdicts_are_all_of_them_once(met) -> None:
    left, _ = met
    options = {"timeout": 0.2, "retries": 0, "seed": 5}
    verdicts = left.call(lambda: [*sweep_stream("10.77.0.1-9", **options)])
    assert sorted(verdict.address for verdict in verdicts) == sorted(Targets("10.77.0.1-9"))
    assert {verdict.address for verdict in verdicts[:2]} == {"10.77.0.1", "10.77.0.2"}
    assert {verdict.state for verdict in verdicts[2:]} == {"inactive"}


def test_stream_tells_who_is_alive_before_the_end(met, fastnet) -> None:
    left, _ = met
    words = [*left.prefix, sys.executable, "-m", "fastnet", "sweep", "--stream", "--json", "--timeout=20s"]
    words = [*words, "10.77.0.2-3"]
    with Child(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert parse(process.stdout.readline())["address"] == "10.77.0.2"
        assert process.poll() is None
        process.kill()


def test_every_prints_what_changed(met, fastnet) -> None:
    left, right = met
    words = ["sweep", "--timeout=150ms", "--retries=0", "--every=200ms", "--json", "10.77.0.2-3"]
    command = [*left.prefix, sys.executable, "-m", "fastnet", *words]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        first = [parse(process.stdout.readline()) for _ in range(2)]
        right.ip("address", "add", "10.77.0.3/24", "dev", "veth0")
        changed = parse(process.stdout.readline())
        process.kill()
    assert [each["state"] for each in first] == ["alive", "inactive"]
    assert (changed["address"], changed["state"]) == ("10.77.0.3", "alive")
    assert changed["round"] > 0


def test_changes_between_two_results(root) -> None:
    with Sweep("127.0.0.1-3", rate=100) as running:
        early = running.result()
        while not running.run():
            pass
        late = running.result()
        assert [*late.changes(early)] == [*late]
        assert [*late.changes(late)] == []
        running.restart()
        again = running.result()
        assert [each.reason for each in again] == ["interrupted"] * 3
        assert [*again.known] == [*again.changes(late)] == []


def test_a_result_is_a_view_over_buffers(root) -> None:
    result = package.sweep(["127.0.0.0/22", "::1"], timeout=0.3)
    states, rtts_ms = memoryview(result.states), memoryview(result.rtts_ms)
    assert (states.nbytes, rtts_ms.nbytes, rtts_ms.format) == (1025, 4 * 1025, "f")
    assert min(rtts_ms) > 0
    assert len(result.alive) == 1025
    assert result.alive[-1].address == "::1"
    assert [each.address for each in result.alive[:2]] == ["127.0.0.0", "127.0.0.1"]
    assert result.down == result.inactive == []
    assert result.down != result.alive
    assert repr(result.down) == "<0 inactive>"


@pytest.mark.parametrize("engine", ["auto", "raw", "scapy"])
def test_capabilities_are_given_up_once_it_runs(met, engine: str) -> None:
    left, _ = met
    words = [*left.prefix, sys.executable, "-m", "fastnet", "sweep", "--stream", "--every=1ms", "--json"]
    # Scapy reports none before its chunk of 64 is done, and has more to do then.
    options = ("--engine", engine, "--timeout=2s", "--retries=0", "127.0.0.1-64", "10.77.0.2-3", "fd77::3")
    with Child([*words, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
    assert re.findall(r"Cap(?:Inh|Prm|Eff|Amb):\s0+\n", status) == re.findall(r"Cap(?!Bnd).*\n", status)


def test_nothing_is_permitted_but_tcp(met, fastnet) -> None:
    left, _ = met
    left.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
    prefix = (*left.prefix, *NO_PRIVILEGE)
    ran = fastnet(*QUICK, "--resume=/nonexistent/state", "10.77.0.2", prefix=prefix)
    assert (ran.returncode, ran.stdout) == (3, "")
    ran = fastnet(*QUICK, "10.77.0.2", prefix=prefix)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "net.ipv4.ping_group_range" in ran.stderr
    ran = fastnet(*QUICK, "--engine=tcp", "--alive", "10.77.0.2", prefix=prefix)
    assert (ran.returncode, ran.stdout) == (0, "10.77.0.2\n")


class TestTcp:
    def test_alive_inactive_unreachable_and_not_probed(self, met, fastnet) -> None:
        left, right = met
        left.ip("neighbour", "add", "10.77.0.9", "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        left.ip("route", "add", "10.88.0.0/24", "via", "10.77.0.2")
        right.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        right.ip("route", "add", "unreachable", "10.88.0.0/24")
        words = ("--json", "--engine=tcp", "10.77.0.2", "10.77.0.9", "10.88.0.1", "192.0.2.1", "224.0.0.1")
        ran = fastnet(*QUICK, *words, prefix=(*left.prefix, *NO_PRIVILEGE))
        assert ran.returncode == 0
        verdicts = [json.loads(line) for line in ran.stdout.splitlines()]
        assert {each["address"]: (each["state"], each["reason"]) for each in verdicts} == {
            "10.77.0.2": ("alive", None),
            "10.77.0.9": ("inactive", None),
            "10.88.0.1": ("unreachable", "host unreachable from 10.77.0.2"),
            "192.0.2.1": ("not probed", "Network is unreachable"),
            "224.0.0.1": ("not probed", "not the address of one host"),
        }
        assert ran.stderr == "5 targets: 1 alive, 1 inactive, 1 unreachable, 2 not probed (tcp)\n"

    def test_a_port_that_is_open(self, met, fastnet, peer) -> None:
        left, right = met
        right.run(peer("nft"), "add table ip t; add chain ip t in { type filter hook input priority 0; }")
        right.run(peer("nft"), "add rule ip t in tcp dport != 443 drop")
        listener = right.call(lambda: socket.create_server(("10.77.0.2", 443)))
        with listener:
            ran = fastnet(
                "sweep", "--engine=tcp", "--timeout=300ms", "--alive", "10.77.0.2", prefix=left.prefix
            )
        assert (ran.returncode, ran.stdout) == (0, "10.77.0.2\n")

    def test_few_descriptors_are_enough(self, met, fastnet) -> None:
        left, _ = met
        prefix = (*left.prefix, "prlimit", "--nofile=24")
        ran = fastnet(*QUICK, "--engine=tcp", "127.0.0.0/24", "10.77.0.100-120", prefix=prefix)
        assert ran.stderr == "277 targets: 256 alive, 21 inactive, 0 unreachable, 0 not probed (tcp)\n"

    def test_a_rate_is_kept_and_nothing_is_left_open(self, root) -> None:
        before = os.listdir("/proc/self/fd")
        started = time.monotonic()
        assert package.sweep("127.0.0.1-21", engine="tcp", rate=200).counts.alive == 21
        assert time.monotonic() - started >= 0.1
        with Sweep("127.0.0.1-200", engine="tcp", rate=100) as running:
            running.run(0.05)
        assert os.listdir("/proc/self/fd") == before

    def test_what_the_system_refuses_counts_for_the_rate(self, namespace) -> None:
        def refused() -> int:
            with Sweep("10.81.0.1-50", engine="tcp", rate=0.01) as running:
                for _ in range(100):
                    running.run(0)
                return sum(each.reason == "Network is unreachable" for each in running.result())

        assert namespace().call(refused) == 1


class TestTerminal:
    @pytest.mark.parametrize("no_color", ["", "1"])
    def test_a_bar_after_a_second(self, root, no_color: str) -> None:
        primary, terminal = pty.openpty()
        words = [sys.executable, "-m", "fastnet", "sweep", "--alive", "--rate=50", "127.0.0.1-90"]
        environment = {**os.environ, "NO_COLOR": no_color}
        with Child(words, stdout=subprocess.PIPE, stderr=terminal, env=environment) as process:
            os.close(terminal)
            shown = b""
            while True:
                try:
                    shown += os.read(primary, 4096)
                except OSError:  # the other end is closed
                    break
            assert process.stdout is not None
            assert len(process.stdout.read().split()) == 90
        os.close(primary)
        text = shown.decode()
        assert re.search(r"\[#+\.*\].* +\d+% \d+/s, \d+ alive, 0:0\d left", text)
        assert ("\x1b[32m" in text) == (not no_color)
        assert text.endswith(
            "\r\x1b[K90 targets: 90 alive, 0 inactive, 0 unreachable, 0 not probed (raw)\r\n"
        )

    def test_what_the_bar_says(self) -> None:
        assert (
            progress_line(100, 50, 50, 1, 2.0) == "[############............]  50% 25/s, 50 alive, 0:02 left"
        )
        assert (
            progress_line(100, 100, 0, 1, 1.0) == "[############............]  50% 100/s, 0 alive, 0:01 left"
        )
        assert (
            progress_line(100, 200, 0, 1, 2.0) == "[########################] 100% 100/s, 0 alive, 0:00 left"
        )
        assert progress_line(100, 0, 0, 1, 2.0) == "[........................]   0% 0/s, 0 alive, 0:00 left"
        assert progress_line(100, 50, 50, 1, 2.0, 45) == "[######......]  50% 25/s, 50 alive, 0:02 left"
        assert progress_line(100, 50, 50, 1, 2.0, 30) == "50% 25/s, 50 alive, 0:02 left"
