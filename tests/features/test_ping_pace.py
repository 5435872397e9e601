"""Requests that find the queue full, and the rate at which they leave after the process was away."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from children import Child
from environment import Run
from namespaces import Namespace
from records import parse

import fastnet
from fastnet._ping import Pinger, session, shortage
from fastnet._ping.lookup import Destination
from fastnet._ping.session import Plan, Session
from fastnet._sweep import Sweep
from fastnet.endpoints import Resolved

pytestmark = pytest.mark.xdist_group("icmp")
SILENT = "10.77.0.9"
"""A neighbour that has a hardware address, and nobody there."""
ALIVE = "10.77.0.2"
BARE = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")


@pytest.fixture
def slow(linked: tuple[Namespace, Namespace], peer: Callable[[str], str]) -> Callable[[str], Namespace]:
    """``slow("250")``: the left host, whose link takes 4 kbit/s and queues so many bytes."""

    def limit(bytes_: str) -> Namespace:
        left, _ = linked
        queue = ("tbf", "rate", "4kbit", "burst", bytes_, "limit", bytes_)
        left.run(peer("tc"), "qdisc", "add", "dev", "veth0", "root", *queue)
        left.ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        return left

    return limit


class TestFullQueue:
    def test_it_is_waited_for(self, slow, fastnet: Run) -> None:
        ran = fastnet("ping", "-c20", "-i0", "-q", "-W50ms", SILENT, prefix=slow("250").prefix)
        assert ran.stdout == f"{SILENT}: 20 sent, 0 received, 100% loss\n"
        assert (ran.returncode, ran.stderr) == (1, "")

    def test_retries_wait_for_it_too(self, slow, fastnet: Run) -> None:
        words = ("-c4", "-i0", "-W20ms", "-r2", "-B1", "--json", SILENT)
        ran = fastnet("ping", *words, prefix=slow("250").prefix)
        *replies, summary = map(json.loads, ran.stdout.splitlines())
        assert [(reply["error"], reply["tries"]) for reply in replies] == [("no answer", 3)] * 4
        assert (summary["sent"], summary["not_sent"]) == (4, 0)

    def test_but_not_for_ever(self, slow, monkeypatch: pytest.MonkeyPatch) -> None:
        """A packet that is larger than the queue never leaves."""
        monkeypatch.setattr(shortage, "_LONGEST_NS", 100_000_000)

        def ask() -> fastnet.PingResult:
            with Pinger(size=1000) as pinger:
                return pinger.ping(SILENT, 3, 0.01, 0.05)

        result = slow("250").call(ask)
        assert (result.sent, result.not_sent) == (0, 3)
        full = "not sent: No buffer space available (the send queue or the neighbour table is full)"
        assert [reply.error for reply in result.replies] == [full] * 3

    @pytest.mark.parametrize("rights", [(), BARE], ids=["root", "unprivileged"])
    def test_dead_neighbours_cost_the_living_nothing(self, linked, fastnet: Run, rights) -> None:
        """What waits for ARP takes room in the socket's send buffer for three seconds."""
        left, _ = linked
        left.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        dead = [f"10.77.0.{number}" for number in range(100, 200)]
        words = ("ping", "-q", "--json", "-c3", "-i200ms", "-s1472", *dead, ALIVE)
        told = [*map(json.loads, fastnet(*words, prefix=(*left.prefix, *rights)).stdout.splitlines())]
        assert [(each["sent"], each["not_sent"]) for each in told] == [(3, 0)] * 101
        assert (told[-1]["host"], told[-1]["received"]) == (ALIVE, 3)

    def test_every_sequence_number_waits(self, namespace) -> None:
        """As with more than 65,536 hosts that are silent: one is free again when its time is over."""
        silent = namespace()
        silent.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")

        def ask() -> fastnet.PingResult:
            with Pinger(size=0, transmit_timestamps=False) as pinger:
                prober = pinger.prober(socket.AF_INET)
                with contextlib.suppress(BlockingIOError):
                    for tag in itertools.count(1 << 40):
                        prober.send(("127.0.0.1", 0), tag, 10.0)
                return pinger.ping("127.0.0.1", 1, timeout=0.1)

        result = silent.call(ask)
        assert (result.sent, result.not_sent, result.error) == (1, 0, "no answer")

    def test_a_refusal_that_is_no_shortage_is_final(self, linked, fastnet: Run, peer) -> None:
        table = "table ip t { chain c { type filter hook output priority 0; ip daddr 10.77.0.3 drop; }; }"
        linked[0].run(peer("nft"), table)
        ran = fastnet("ping", "-c1", "10.77.0.3", prefix=linked[0].prefix)
        assert ran.stdout.splitlines() == [
            "10.77.0.3: seq=0 not sent: Operation not permitted",
            "10.77.0.3: 0 sent, 0 received, 1 not sent: Operation not permitted, 1 s outage",
        ]


class Silence:
    """A pinger whose hosts never answer, and the clock of its session, which only ``sent_by`` turns."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.tickets = itertools.count()
        self.sessions: dict[int, Session] = {}
        self.sent: list[int] = []
        """When each request left."""

    def monotonic_ns(self) -> int:
        return self.now_ns

    def prober(self, family: int) -> Silence:
        return self

    def has_unread(self) -> bool:
        return False

    def send(self, to: tuple[str, int], ticket: int, timeout: float) -> None:
        self.sent.append(self.now_ns)

    def sent_by(self, asking: Session, until_ns: int) -> list[int]:
        """When requests leave from now until then, where nobody is late."""
        del self.sent[:]
        while self.now_ns < until_ns:
            seconds = asking.step()
            self.now_ns = min(until_ns, self.now_ns + max(1000, round(seconds * 1e9)))
        return self.sent


class Refusal(Silence):
    """... whose requests the system refuses."""

    def send(self, to: tuple[str, int], ticket: int, timeout: float) -> None:
        super().send(to, ticket, timeout)
        raise OSError(errno.EHOSTUNREACH, "No route to host")


@pytest.mark.parametrize("kind", [Silence, Refusal])
def test_a_flood_without_replies_has_a_pace(monkeypatch: pytest.MonkeyPatch, kind: type[Silence]) -> None:
    pinger = kind()
    monkeypatch.setattr(session, "time", pinger)
    asked = Destination(SILENT, SILENT, "raw", Resolved(socket.AF_INET, (SILENT, 0)))
    asking = Session(pinger, [asked], Plan(None, 0.0, 10.0, retries=1))  # type: ignore[arg-type]
    sent = pinger.sent_by(asking, pinger.now_ns + 1_000_000_000)
    assert 64 + 99 <= len(sent) <= 64 + 101


class TestRetriesAfterAPause:
    """Retries keep the interval's pace as first requests do: all go on as if there had been no pause."""

    TENTH_NS = 100_000_000
    BEFORE_NS, PAUSE_NS, AFTER_NS = 1_350_000_000, 3_000_000_000, 6_000_000_000
    PLANS = ((40, Plan(None, 1.0, 1.5, retries=1)), (2, Plan(None, 0.1, 1.0, retries=2)))

    def asked(self, hosts: int, plan: Plan, pause_ns: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many requests leave in each 100 ms after a pause of that length."""
        pinger = Silence()
        monkeypatch.setattr(session, "time", pinger)
        names = [f"10.77.1.{number}" for number in range(1, hosts + 1)]
        found = [Resolved(socket.AF_INET, (name, 0)) for name in names]
        asked = [Destination(name, name, "raw", each) for name, each in zip(names, found, strict=True)]
        asking = Session(pinger, asked, plan)  # type: ignore[arg-type]
        pinger.sent_by(asking, pinger.now_ns + self.BEFORE_NS)
        pinger.now_ns += pause_ns
        begun = pinger.now_ns
        counts = [0] * (self.AFTER_NS // self.TENTH_NS)
        for when in pinger.sent_by(asking, begun + self.AFTER_NS):
            counts[(when - begun) // self.TENTH_NS] += 1
        return counts

    @pytest.mark.parametrize(("hosts", "plan"), PLANS)
    def test_no_more_leave_than_without_it(self, monkeypatch, hosts: int, plan: Plan) -> None:
        usual = self.asked(hosts, plan, 0, monkeypatch)
        after = self.asked(hosts, plan, self.PAUSE_NS, monkeypatch)
        assert max(after) <= max(usual)
        assert sum(after) == sum(usual)


class TestAfterAPause:
    """Rounds that were missed are not made up for: what is left takes as long as it would have taken."""

    INTERVAL, COUNT, PAUSE = 0.1, 20, 3.0

    def assert_paced(self, begun: float, left: int) -> None:
        assert time.monotonic() - begun >= (left - 2) * self.INTERVAL

    def test_a_consumer_that_was_away(self, root: None) -> None:
        with Pinger() as pinger:
            replies = pinger.replies(["127.0.0.1"], self.COUNT, self.INTERVAL)
            next(replies)
            time.sleep(self.PAUSE)
            begun = time.monotonic()
            assert all(reply.rtt_ms is not None and reply.rtt_ms < 1000 for reply in replies)
        self.assert_paced(begun, self.COUNT - 1)

    def test_many_hosts(self, root: None) -> None:
        hosts = [f"127.0.0.{number}" for number in range(1, 51)]
        with Pinger() as pinger:
            replies = pinger.replies(hosts, self.COUNT, self.INTERVAL)
            next(replies)
            time.sleep(self.PAUSE)
            begun = time.monotonic()
            assert sum(reply.rtt_ms is not None for reply in replies) == len(hosts) * self.COUNT - 1
        self.assert_paced(begun, self.COUNT - 1)

    def test_sigstop(self, root: None) -> None:
        words = ("ping", f"-c{self.COUNT}", f"-i{self.INTERVAL}", "--json", "127.0.0.1")
        with Child([sys.executable, "-m", "fastnet", *words], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGSTOP)
            time.sleep(self.PAUSE)
            begun = time.monotonic()
            process.send_signal(signal.SIGCONT)
            replies = [parse(line) for line in process.stdout]
        # Some may have come before it was stopped.
        self.assert_paced(begun, self.COUNT // 2)
        assert max(reply["rtt_ms"] for reply in replies[:-1]) < 1000

    @pytest.mark.parametrize("engine", ["raw", "datagram", "link", "tcp"])
    def test_a_sweep_keeps_its_limit(self, engines, engine: str) -> None:
        def sent() -> Iterator[tuple[int, float]]:
            with Sweep("10.77.0.0/25", engine=engine, rate=50, timeout=0.1, retries=0) as running:
                running.run(0.1)
                time.sleep(1.0)
                before, begun = running.sent, time.monotonic()
                running.run(0.1)
                yield running.sent - before, time.monotonic() - begun

        ((count, seconds),) = engines[0].call(lambda: [*sent()])
        assert 0 < count <= (seconds + 0.01) * 50 + 1

    @pytest.mark.parametrize("engine", ["raw", "datagram", "link", "tcp"])
    def test_a_sweep_s_times(self, engines, engine: str) -> None:
        """What came while nobody ran it is as old as it was, or of a time that is not known."""

        def verdict() -> Any:
            with Sweep(ALIVE, engine=engine, timeout=5.0) as running:
                time.sleep(1.0)  # The kernel stamps packets a little after it was asked to.
                while not running.sent:
                    running.run(0)
                time.sleep(2.0)
                running.run(1.0)
                return running.result()[0]

        found = engines[0].call(verdict)
        assert found.state == "alive"
        assert found.rtt_ms is None or found.rtt_ms < 1000
        assert found.rtt_ms is not None or engine == "tcp"
