"""What each option of ping changes: in what is sent, in how long it is awaited, and in what is printed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from children import Child
from environment import Run
from hypothesis import given
from hypothesis import strategies as st
from namespaces import Namespace
from records import parse

import fastnet
from fastnet._contract.probe import ERROR, EXACT
from fastnet._ping import Pinger, Reply, Summary
from fastnet._ping.results import result_of
from fastnet._ping.session import Deadlines, Plan, Probe, RetransmitTimer, Session
from fastnet.errors import InvalidArgument

pytestmark = pytest.mark.xdist_group("icmp")
INTERRUPTIBLE = ("env", "--default-signal=INT")
SO_TIMESTAMPING = 37
SILENT = "10.77.0.9"
"""A neighbour that has a hardware address, and nobody there."""


def records(output: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in map(parse, output.splitlines()) if record["kind"] == kind]


class TestOnTheWire:
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
        timer = RetransmitTimer("auto")
        assert timer.seconds == 1
        timer.seen(0.4)
        assert timer.seconds == pytest.approx(0.4 + 4 * 0.2)
        for _ in range(100):
            timer.seen(0.001)
        assert timer.seconds == 0.1
        for _ in range(20):
            timer.missed()
        assert timer.seconds == 10
        fixed = RetransmitTimer(0.5)
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


class TestDeadline:
    """The requests that are lost at the end, and those that are still awaited."""

    def summaries(self, fastnet: Run, silent: Namespace, words: str) -> list[str]:
        ran = fastnet("ping", "-q", *words.split(), prefix=silent.prefix)
        assert (ran.returncode, ran.stderr) == (1, "")
        return ran.stdout.splitlines()

    def test_a_timeout_that_ends_with_it(self, fastnet: Run, silent: Namespace) -> None:
        hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        lost = [f"{host}: 1 sent, 0 received, 100% loss, 1 s outage" for host in hosts]
        assert self.summaries(fastnet, silent, f"-w1 {' '.join(hosts)}") == lost

    @pytest.mark.parametrize(
        ("words", "totals"),
        [
            ("-w2", "2 sent, 0 received, 100% loss, 2 s outage"),
            ("-w2 -W2", "2 sent, 0 received, 100% loss, 1 still awaited, 1 s outage"),
        ],
    )
    def test_only_those_due_a_timeout_before_are_lost(self, fastnet, silent, words, totals) -> None:
        assert self.summaries(fastnet, silent, f"{words} 127.0.0.1") == [f"127.0.0.1: {totals}"]

    def test_in_a_flood_the_first_round_is_due(self, fastnet: Run, silent: Namespace) -> None:
        (line,) = self.summaries(fastnet, silent, "-f -w1 127.0.0.1")
        assert re.fullmatch(r"127\.0\.0\.1: \d+ sent, 0 received, 100% loss, \d+ still awaited", line)

    def test_duplicates_are_no_replies(self, fastnet: Run, linked: Any, responder: Any) -> None:
        ran = fastnet("ping", "-q", "-w1h", "-c2", "-i200ms", responder("three"), prefix=linked[0].prefix)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert re.search(r": 2 sent, 2 received, 0% loss, [2-4] duplicates, rtt ", ran.stdout)

    def test_a_request_that_is_late_is_awaited_in_full(self, silent: Namespace) -> None:
        """As where the process was stopped, or waited for room, before it could send."""

        def ask() -> list[str | None]:
            with Pinger() as pinger:
                session = Session(pinger, pinger.look_up("127.0.0.1"), Plan(None, 3600.0, 0.2, deadline=0.2))
                time.sleep(0.3)
                return [reply.error for reply in pinger.follow(session)]

        assert silent.call(ask) == ["no answer"]


class TestStalled:
    """Whoever is stopped between sending and reading, as by a debugger or for want of a processor."""

    def stalled(self, host: str, timeout: float, seconds: float) -> list[str | None]:
        with Pinger() as pinger:
            session = pinger.begin([host], 1, timeout=timeout)
            session.step()
            time.sleep(seconds)
            return [reply.error for reply in pinger.follow(session)]

    def test_what_came_in_time_counts(self, root) -> None:
        assert self.stalled("127.0.0.1", 1.0, 1.5) == [None]

    def test_the_first_of_all_counts_too(self, root, monkeypatch) -> None:
        """The kernel begins to timestamp only once some socket asks for it, and stops when none does.

        On a busy machine it begins later than a ping waits for it.
        """
        monkeypatch.setattr("fastnet._system.icmp_sockets._STAMPS_SECONDS", 30.0)
        for _ in range(10):
            assert self.stalled("127.0.0.1", 1.0, 1.1) == [None]

    def test_what_came_late_does_not(self, linked, responder) -> None:
        late = responder("late")
        assert linked[0].call(lambda: self.stalled(late, 0.2, 1.0)) == ["no answer"]


class TestAllAddresses:
    def test_an_address_of_a_name_that_is_no_host_s(self, knowing, fastnet) -> None:
        prefix = knowing("127.0.0.1 some\n224.0.0.1 some\n")
        assert fastnet("ping", "-c1", "some", prefix=prefix).returncode == 0
        ran = fastnet("ping", "--all-addresses", "-c1", "some", prefix=prefix)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == "fastnet ping: some: not the address of one host\n"


class TestTelling:
    def test_a_loop_with_sums_gives_up_its_capabilities(self, root) -> None:
        words = ("ping", "-l", "-i10ms", "-Q50ms", "--json", "127.0.0.1")
        command = [*INTERRUPTIBLE, sys.executable, "-m", "fastnet", *words]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            sums = [parse(process.stdout.readline()) for _ in range(3)]
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        assert [each["kind"] for each in sums] == ["interval"] * 3
        assert "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" in status
        assert (process.returncode, errors) == (130, "")
        (summary,) = records(output, "summary")
        assert summary["received"] >= sum(each["received"] for each in sums) > 0

    def test_intervals_while_nothing_answers(self, linked) -> None:
        linked[0].ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        words = ("ping", "-l", "-i1h", "-W1h", "-Q100ms", "--json", SILENT, "10.77.0.2")
        command = [*linked[0].prefix, *INTERRUPTIBLE, sys.executable, "-m", "fastnet", *words]
        with Child(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = [parse(process.stdout.readline()) for _ in range(6)]
            process.send_signal(signal.SIGINT)
            rest = [*map(parse, process.communicate(timeout=30)[0].splitlines())]
        summaries = rest[-2:]
        intervals = [*first, *rest[:-2]]
        assert {each["kind"] for each in intervals} == {"interval"}
        assert {each["kind"] for each in summaries} == {"summary"}
        keys = ("sent", "received", "waiting", "loss_percent", "outage_s")
        silent = [[each[key] for key in keys] for each in intervals if each["host"] == SILENT]
        # Sent in the first, and awaited in all of them, the last one included, which Ctrl-C cuts short.
        assert silent == [[1, 0, 1, None, 0], *[[0, 0, 1, None, 0]] * (len(silent) - 1)]
        assert [[each[key] for key in keys] for each in summaries] == [[1, 0, 1, None, 0], [1, 1, 0, 0, 0]]

    @pytest.mark.parametrize("words", [("-Q30ms",), ("-Q1h",), ("-Q1ms",)])
    def test_intervals_amount_to_the_summary(self, root, fastnet, words) -> None:
        ran = fastnet("ping", "-c9", "-i20ms", "--json", *words, "127.0.0.1", "127.0.0.2")
        (first, second), intervals = records(ran.stdout, "summary"), records(ran.stdout, "interval")
        for summary in (first, second):
            of = [each for each in intervals if each["host"] == summary["host"]]
            for key in ("sent", "received"):
                assert sum(each[key] for each in of) == summary[key] == 9


class TestResult:
    def reply(self, seq: int, rtt_ms: float | None, tries: int = 1) -> Reply:
        return Reply("h", "192.0.2.1", seq, rtt_ms, None, None if rtt_ms else "no answer", tries=tries)

    def test_statistics(self) -> None:
        rtts = [3.0, 1.0, 2.0, None, 5.0, 4.0, 10.0, 6.0, 7.0, 8.0, 9.0]
        replies = [self.reply(seq, rtt) for seq, rtt in enumerate(rtts)]
        result = result_of("h", "192.0.2.1", "raw", [*replies, self.reply(11, None, tries=0)], 0.5)
        assert (result.sent, result.not_sent, result.received) == (11, 1, 10)
        assert (result.rtt_p50_ms, result.rtt_p90_ms, result.rtt_p99_ms) == (5, 9, 10)
        assert result.jitter_ms == pytest.approx((2 + 1 + 3 + 1 + 6 + 4 + 1 + 1 + 1) / 9)
        assert result.outage_s == 1.0
        assert "sent=11, received=10, rtt_avg_ms=5.5)" in repr(result)

    def test_one_reply_has_no_jitter(self) -> None:
        result = result_of("h", "192.0.2.1", "raw", [self.reply(0, 1.0)])
        assert (result.jitter_ms, result.rtt_p99_ms) == (None, 1.0)
        empty = result_of("h", "192.0.2.1", "raw", [])
        assert (empty.rtt_p50_ms, empty.outage_s, empty.error) == (None, 0, None)


class TestPercentiles:
    def reply(self, rtt_ms: float) -> Reply:
        return Reply("h", "192.0.2.1", 0, rtt_ms, None, None)

    @given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=EXACT))
    def test_few_are_exact(self, rtts) -> None:
        result = result_of("h", "192.0.2.1", "raw", map(self.reply, rtts))
        rtts.sort()
        for percent, found in ((50, result.rtt_p50_ms), (90, result.rtt_p90_ms), (99, result.rtt_p99_ms)):
            assert found == rtts[ceil(len(rtts) * percent / 100) - 1]

    @given(st.lists(st.floats(-3, 6), min_size=5, max_size=20), st.integers(100, 200))
    def test_many_are_near(self, exponents, times) -> None:
        rtts = [10**exponent for exponent in exponents] * times
        result = result_of("h", "192.0.2.1", "raw", map(self.reply, rtts))
        rtts.sort()
        for percent, found in ((50, result.rtt_p50_ms), (90, result.rtt_p90_ms), (99, result.rtt_p99_ms)):
            exact = rtts[ceil(len(rtts) * percent / 100) - 1]
            assert found == pytest.approx(exact, rel=ERROR * 1.0001)

    def test_memory_does_not_grow(self) -> None:
        """Of a loop that has no end, with the summary of an interval that has none either."""
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        summaries = [Summary("h", "192.0.2.1", "raw") for _ in range(2)]
        for number in range(20_000):
            for summary in summaries:
                summary.add(self.reply(1e-3 * 1.001**number))
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert summaries[0].result().received == 20_000
        assert taken <= 8192


def test_many_coroutines_with_one_pinger(root) -> None:
    async def hear(pinger: Pinger, group: int) -> set[tuple[str, int]]:
        hosts = [f"127.{group}.0.{n}" for n in range(1, 6)]
        return {(each.host, each.seq) async for each in pinger.replies_async(hosts, 3, 0.02) if each.rtt_ms}

    async def all_of_them() -> list[set[tuple[str, int]]]:
        with Pinger() as pinger:
            return await asyncio.gather(*(hear(pinger, group) for group in range(1, 21)))

    for group, heard in enumerate(asyncio.run(all_of_them()), 1):
        assert heard == {(f"127.{group}.0.{n}", seq) for n in range(1, 6) for seq in range(3)}
