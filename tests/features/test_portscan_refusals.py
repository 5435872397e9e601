"""Ports that this machine can't send to: each is that port's state, and the others are scanned."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from environment import Run
from namespaces import Namespace

from fastnet._portscan import PortScan, PortState, portscan, portscan_async

CLOSED = "refused"


@pytest.fixture
def ruled(linked: tuple[Namespace, Namespace]) -> Callable[..., Namespace]:
    """``ruled(prohibit=24)``: the left host, where rules (ip-rule(8)) refuse these ports."""

    def make(**rules: int) -> Namespace:
        for action, port in rules.items():
            linked[0].ip("rule", "add", "ipproto", "tcp", "dport", str(port), action)
        return linked[0]

    return make


@pytest.fixture(params=["sync", "async"])
def scan(request: pytest.FixtureRequest) -> Callable[..., PortScan]:
    """``portscan``, or its coroutine run to its end."""
    if request.param == "sync":
        return portscan
    return lambda *words, **options: asyncio.run(portscan_async(*words, **options))


class TestStates:
    def test_one_of_many(self, ruled, scan) -> None:
        found = ruled(prohibit=24, unreachable=26).call(lambda: scan("10.77.0.2", "22-27", concurrency=2))
        assert found.ports == (
            PortState(22, "closed", CLOSED),
            PortState(23, "closed", CLOSED),
            PortState(24, "filtered", "prohibited by this machine"),
            PortState(25, "closed", CLOSED),
            PortState(26, "unknown", "not sent: network is unreachable"),
            PortState(27, "closed", CLOSED),
        )

    def test_the_first_and_the_last(self, ruled, scan) -> None:
        found = ruled(prohibit=22, unreachable=24).call(lambda: scan("10.77.0.2", "22-24"))
        assert [port.state for port in found.ports] == ["filtered", "closed", "unknown"]

    def test_a_rule_is_an_answer(self, ruled, scan) -> None:
        found = ruled(prohibit=24).call(lambda: scan("10.77.0.2", "24"))
        assert [port.state for port in found.ports] == ["filtered"]

    def test_nothing_learnt_at_all(self, ruled, scan) -> None:
        with pytest.raises(OSError, match="unreachable") as raised:
            ruled(unreachable=24).call(lambda: scan("10.77.0.2", "24"))
        assert raised.value.errno == errno.ENETUNREACH

    def test_nmap_calls_it_filtered_too(self, ruled, peer) -> None:
        host = ruled(prohibit=24)
        shown = host.run(peer("nmap"), "-sT", "-Pn", "-n", "-p23-25", "10.77.0.2").stdout
        ours = host.call(lambda: portscan("10.77.0.2", "23-25"))
        states = re.findall(r"^(\d+)/tcp +(\w+)", shown, re.MULTILINE)
        assert states == [(str(port.port), port.state) for port in ours.ports]


class TestCommand:
    def test_what_is_known_is_printed(self, ruled, fastnet: Run) -> None:
        prefix = ruled(prohibit=24, unreachable=26).prefix
        ran = fastnet("portscan", "10.77.0.2", "-p23-26", "--json", prefix=prefix)
        told = {each["port"]: each["state"] for each in map(json.loads, ran.stdout.splitlines())}
        assert told == {23: "closed", 24: "filtered", 25: "closed", 26: "unknown"}
        assert (ran.returncode, ran.stderr) == (3, "10.77.0.2: 2 closed, 1 filtered, 1 unknown\n")
        ran = fastnet("portscan", "10.77.0.2", "-p23-25", prefix=prefix)
        assert ran.returncode == 1

    def test_nothing_known_is_an_error(self, ruled, fastnet: Run) -> None:
        ran = fastnet("portscan", "10.77.0.2", "-p26", prefix=ruled(unreachable=26).prefix)
        assert (ran.returncode, ran.stdout) == (3, "")
        assert ran.stderr == "fastnet portscan: 10.77.0.2 port 26: Network is unreachable\n"

    def test_what_was_known_when_the_link_was_lost(self, linked) -> None:
        """It goes down while the scan waits for ports that are silent."""
        left, right = linked
        right.run("nft", "table ip t { chain c { type filter hook input priority 0; tcp dport 40 drop; }; }")
        code = (
            "import subprocess, fastnet._portscan as p\n"
            "scan = p.Scan('10.77.0.2', '30-50', timeout=0.5, concurrency=1)\n"
            "for state in scan:\n"
            "    if state.port == 40: subprocess.run(['ip', 'link', 'set', 'veth0', 'down'], check=True)\n"
            "states = {port.port: port.state for port in scan.result().ports}\n"
            "print(states[40], {states[port] for port in range(30, 51) if port != 40})"
        )
        ran = subprocess.run(
            [*left.prefix, sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        # They are scanned from the last one down.
        assert ran.stdout in ("filtered {'closed', 'unknown'}\n", "filtered {'unknown', 'closed'}\n")
