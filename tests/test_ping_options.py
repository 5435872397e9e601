"""What each option of ping changes: in what is sent, in how long it is awaited, and in what is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastnet
from fastnet.errors import InvalidArgument
from fastnet.ping import Pinger, PingResult, Reply
from fastnet.ping.session import Deadlines, Patience, Probe

pytestmark = pytest.mark.xdist_group("icmp")
INTERRUPTIBLE = ("env", "--default-signal=INT")
SO_TIMESTAMPING = 37
SILENT = "10.77.0.9"
"""A neighbour that has a hardware address, and nobody there."""


def records(output: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in map(json.loads, output.splitlines()) if record["kind"] == kind]


class TestOnTheWire:
    def test_what_the_system_refuses(self, linked, fastnet, peer) -> None:
        left, _ = linked
        table = "table ip t { chain c { type filter hook output priority 0; ip daddr 10.77.0.3 drop; }; }"
        left.run(peer("nft"), table)
        queue = ("tbf", "rate", "4kbit", "burst", "250", "limit", "250")
        left.run(peer("tc"), "qdisc", "add", "dev", "veth0", "root", *queue)
        left.ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        ran = fastnet("ping", "-c1", "10.77.0.3", prefix=left.prefix)
        assert ran.stdout.splitlines() == [
            "10.77.0.3: seq=0 not sent: Operation not permitted",
            "10.77.0.3: 0 sent, 0 received, 0% loss, 1 not sent, 1 s outage",
        ]
        ran = fastnet("ping", "-c20", "-i0", "-W50ms", SILENT, prefix=left.prefix)
        full = "not sent: No buffer space available (the send queue or the neighbour table is full)"
        assert full in ran.stdout
        assert (ran.returncode, ran.stderr) == (1, "")

    def test_a_mark_needs_a_capability(self, linked, fastnet) -> None:
        linked[0].run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        bare = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
        ran = fastnet("ping", "-m7", "10.77.0.2", prefix=(*linked[0].prefix, *bare))
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)
        assert "CAP_NET_ADMIN" in ran.stderr

    def test_an_interface_whose_name_is_no_text(self, root, fastnet) -> None:
        ran = fastnet("ping", b"--interface=\xff", "127.0.0.1")
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)


class TestTiming:
    def test_auto_learns(self) -> None:
        patience = Patience("auto")
        assert patience.seconds == 1
        patience.seen(0.4)
        assert patience.seconds == pytest.approx(0.4 + 4 * 0.2)
        for _ in range(100):
            patience.seen(0.001)
        assert patience.seconds == 0.1
        for _ in range(20):
            patience.missed()
        assert patience.seconds == 10
        fixed = Patience(0.5)
        fixed.seen(5)
        fixed.missed()
        assert fixed.seconds == 0.5

    @given(st.lists(st.integers(0, 20) | st.none()))
    def test_deadlines_come_in_order(self, steps) -> None:
        """Whatever is added when: None takes out the first, which is the least of those there are."""
        deadlines, left, probe = Deadlines(), set(), object.__new__(Probe)
        for ticket, at in enumerate([*steps, *[None] * len(steps)]):
            if at is not None:
                left.add((at, ticket))
                deadlines.add((at, ticket, probe))
            elif first := deadlines.first():
                assert first[:2] == min(left)
                left.remove(first[:2])
                deadlines.remove(first)
            else:
                assert not left

    @pytest.mark.parametrize("wanted", [True, False])
    def test_transmit_timestamps(self, root, wanted) -> None:
        with (
            Pinger(transmit_timestamps=wanted) as pinger,
            socket.socket(fileno=os.dup(pinger.prober(socket.AF_INET).fileno())) as sock,
        ):
            assert bool(sock.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING)) is wanted
            result = pinger.ping("127.0.0.1", 20, 0)
            assert (result.received, len(result.replies)) == (20, 20)
            assert 0 < result.rtt_min_ms < 1000

    @pytest.mark.parametrize(
        "bad",
        [
            {"timeout": "never"},
            {"retries": -1},
            {"backoff": 0.5},
            {"backoff": float("nan")},
            {"enough": 0},
            {"tos": 256},
            {"mark": -1},
        ],
    )
    def test_what_is_out_of_range(self, root, bad) -> None:
        with pytest.raises(InvalidArgument, match=str(*bad)):
            fastnet.multiping(["127.0.0.1"], **bad)


class TestStalled:
    """Whoever is stopped between sending and reading, as by a debugger or for want of a processor."""

    def stalled(self, host: str, timeout: float, seconds: float) -> list[str | None]:
        with Pinger() as pinger:
            session = pinger.begin([host], 1, timeout=timeout)
            session.step()
            time.sleep(seconds)
            return [reply.error for reply in pinger.follow(session)]

    def test_what_came_in_time_counts(self, root) -> None:
        assert self.stalled("127.0.0.1", 0.05, 0.2) == [None]

    def test_what_came_late_does_not(self, linked, responder) -> None:
        late = responder("late")
        assert linked[0].call(lambda: self.stalled(late, 0.2, 1.0)) == ["no answer"]


class TestAllAddresses:
    def test_an_address_of_a_name_that_is_no_host_s(self, knowing, fastnet) -> None:
        prefix = knowing("127.0.0.1 some\n224.0.0.1 some\n")
        assert fastnet("ping", "-c1", "some", prefix=prefix).returncode == 0
        ran = fastnet("ping", "-A", "-c1", "some", prefix=prefix)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == "fastnet ping: some: not the address of one host\n"


class TestTelling:
    def test_a_loop_with_sums_gives_up_its_capabilities(self, root) -> None:
        words = ("ping", "-l", "-i10ms", "-Q50ms", "--json", "127.0.0.1")
        command = [*INTERRUPTIBLE, sys.executable, "-m", "fastnet", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            sums = [json.loads(process.stdout.readline()) for _ in range(3)]
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        assert [each["kind"] for each in sums] == ["interval"] * 3
        assert "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" in status
        assert (process.returncode, errors) == (130, "")
        (summary,) = records(output, "summary")
        assert summary["received"] >= sum(each["received"] for each in sums) > 0


class TestResult:
    def reply(self, seq: int, rtt_ms: float | None, tries: int = 1) -> Reply:
        return Reply("h", "192.0.2.1", seq, rtt_ms, None, None if rtt_ms else "no answer", tries=tries)

    def test_statistics(self) -> None:
        rtts = [3.0, 1.0, 2.0, None, 5.0, 4.0, 10.0, 6.0, 7.0, 8.0, 9.0]
        replies = [self.reply(seq, rtt) for seq, rtt in enumerate(rtts)]
        result = PingResult("h", "192.0.2.1", "raw", [*replies, self.reply(11, None, tries=0)], 0.5)
        assert (result.sent, result.not_sent, result.received) == (11, 1, 10)
        assert (result.rtt_p50_ms, result.rtt_p90_ms, result.rtt_p99_ms) == (5, 9, 10)
        assert result.jitter_ms == pytest.approx((2 + 1 + 3 + 1 + 6 + 4 + 1 + 1 + 1) / 9)
        assert result.outage_s == 1.0
        assert "11 sent, 10 received" in repr(result)

    def test_one_reply_has_no_jitter(self) -> None:
        result = PingResult("h", "192.0.2.1", "raw", [self.reply(0, 1.0)])
        assert (result.jitter_ms, result.rtt_p99_ms) == (None, 1.0)
        empty = PingResult("h", "192.0.2.1", "raw", [])
        assert (empty.rtt_p50_ms, empty.outage_s, empty.error) == (None, 0, None)


def test_many_coroutines_with_one_pinger(root) -> None:
    async def hear(pinger: Pinger, group: int) -> set[tuple[str, int]]:
        hosts = [f"127.{group}.0.{n}" for n in range(1, 6)]
        return {(each.host, each.seq) async for each in pinger.replies_async(hosts, 3, 0.02) if each.rtt_ms}

    async def all_of_them() -> list[set[tuple[str, int]]]:
        with Pinger() as pinger:
            return await asyncio.gather(*(hear(pinger, group) for group in range(1, 21)))

    for group, heard in enumerate(asyncio.run(all_of_them()), 1):
        assert heard == {(f"127.{group}.0.{n}", seq) for n in range(1, 6) for seq in range(3)}
