"""Sweeps by the fast way, beside what it does not reach: the same verdicts, and who may."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from children import Child
from environment import COMMAND_TIMEOUT, Run, absent
from namespaces import Namespace

from fastnet import implementation
from fastnet._sweep import Sweep, SweepResult, sweep
from fastnet.errors import EngineMissing, InvalidArgument, NotPermitted

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
Hosts = tuple[Namespace, Namespace]


@pytest.fixture
def hosts(met: Hosts, peer: Callable[[str], str]) -> Hosts:
    """The right one is the left one's router to 10.99.0.0/23. Odd addresses are dead, one is prohibited."""
    left, right = met
    right.ip("route", "add", "local", "10.99.0.0/23", "dev", "lo")
    left.ip("route", "add", "10.99.0.0/23", "via", "10.77.0.2")
    left.ip("route", "add", "prohibit", "10.99.0.8")
    dead = "ip daddr 10.99.0.0/23 ip daddr & 0.0.0.1 == 0.0.0.1 drop"
    right.run(
        peer("nft"), f"table ip t {{ chain c {{ type filter hook prerouting priority raw; {dead}; }}; }}"
    )
    return met


@pytest.fixture
def fast(hosts: Hosts) -> Hosts:
    """``hosts``, where the kernel and the implementation have the fast way."""
    if implementation() == "pure":
        pytest.skip("the fast way is the native implementation's alone")
    try:
        hosts[0].call(lambda: sweep("10.99.0.2", engine="turbo"))
    except (EngineMissing, NotPermitted) as error:
        absent(str(error))
    return hosts


def addresses(result: SweepResult, state: str) -> set[str]:
    return {verdict.address for verdict in getattr(result, state)}


def test_exactly_those_are_alive(fast):
    targets = ["10.99.0.0/23", "10.77.0.2"]
    networks = {f"10.99.{high}.{low}": low % 2 for high in range(2) for low in range(256)}
    refused = "10.99.0.8"
    result = fast[0].call(lambda: sweep(targets, engine="turbo", timeout=0.5, seed=7))
    assert result.engine == "raw+turbo"
    assert addresses(result, "alive") == {"10.77.0.2"} | {
        address for address, dead in networks.items() if not dead and address != refused
    }
    assert addresses(result, "inactive") == {address for address, dead in networks.items() if dead}
    assert [(verdict.address, verdict.reason) for verdict in result.not_probed] == [
        (refused, "Permission denied (a broadcast address, or a prohibit route)")
    ]


def test_shards_are_the_whole(fast):
    def run() -> list[str]:
        shards = [sweep("10.99.0.0/26", engine="turbo", timeout=0.5, shard=(which, 3)) for which in (1, 2, 3)]
        return sorted(verdict.address for shard in shards for verdict in shard)

    assert fast[0].call(run) == sorted(f"10.99.0.{low}" for low in range(64))


def test_it_begins_again_without_privileges(fast):
    """The command gives them up, and sweeps once more."""
    words = [
        "sweep",
        "10.99.0.0/28",
        "--engine",
        "turbo",
        "--timeout",
        "0.2",
        "--every",
        "0.1s",
        "--count",
        "3",
    ]
    ran = fast[0].run(sys.executable, "-m", "fastnet", *words)
    summary = "16 targets: 7 alive, 8 inactive, 0 unreachable, 1 not probed (raw+turbo)\n"
    assert ran.stderr == summary * 3


def test_a_shared_rate(fast):
    def run() -> SweepResult:
        with Sweep(
            ["10.99.0.2", "10.99.0.4", "10.77.0.2"], engine="turbo", rate=50.0, timeout=0.5
        ) as running:
            while not running.run():
                pass
            return running.result()

    assert fast[0].call(run).counts.alive == 3


def test_an_interrupt_tells_what_is_known(fast):
    words = ["sweep", "10.99.0.0/23", "--engine", "turbo", "--max-rate", "50", "--json"]
    with Child(
        [*fast[0].prefix, sys.executable, "-m", "fastnet", *words, "--stream"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert '"alive"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=COMMAND_TIMEOUT)
    assert process.returncode == 130
    assert re.search(
        r"^512 targets: \d+ alive, 0 inactive, 0 unreachable, \d+ not probed \(raw\+turbo\)$", told, re.M
    )


class TestRefusals:
    def test_what_no_router_reaches(self, hosts):
        with pytest.raises(InvalidArgument) as raised:
            hosts[0].call(lambda: sweep("10.77.0.2", engine="turbo"))
        assert str(raised.value) == "engine turbo: no target is behind a router on an Ethernet link; take raw"

    def test_the_pure_implementation(self, hosts, fastnet: Run):
        ran = fastnet(
            "sweep", "10.99.0.2", "--engine", "turbo", prefix=hosts[0].prefix, env={"FASTNET_IMPL": "pure"}
        )
        assert (ran.returncode, ran.stdout) == (3, "")
        assert ran.stderr == (
            "fastnet sweep: engine turbo: only the native implementation has it; "
            "raw needs no more than Python\n"
        )

    def test_without_the_capabilities(self, fast, fastnet: Run):
        less = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_raw")
        ran = fastnet("sweep", "10.99.0.2", "--engine", "turbo", prefix=(*fast[0].prefix, *less))
        assert (ran.returncode, ran.stdout, ran.stderr) == (
            *(3, ""),
            "fastnet sweep: engine turbo: needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF; raw needs less\n",
        )

    def test_nothing_is_left_open(self, hosts):
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(InvalidArgument):
            hosts[0].call(lambda: sweep("10.77.0.2", engine="turbo"))
        assert len(os.listdir("/proc/self/fd")) == before
