"""Conversations of which only totals are wanted, and totals of round-trip times."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from math import ceil, sqrt
from types import ModuleType
from typing import Any

import pytest
from adversary import Request, error, reply
from hypothesis import given
from hypothesis import strategies as st
from icmp_peer import Peer

from fastnet._contract.probe import ERROR, EXACT
from fastnet.errors import InvalidArgument

pytestmark = pytest.mark.xdist_group("icmp")
TOPIC = "probe"
SOON = 60.0
"""Seconds until a condition must be true."""
UNREACHABLE = (3, 1)
TIMES = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=2 * EXACT)


def destinations(count: int) -> list[tuple[str, int]]:
    return [(f"127.0.1.{number}", 0) for number in range(1, count + 1)]


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not is_true():
        assert time.monotonic() < deadline


class History:
    """A conversation in which it is chosen at random how often and when each request is answered."""

    def __init__(self, core: ModuleType, seed: int) -> None:
        self.choose = random.Random(seed)
        self.hosts = destinations(self.choose.randrange(1, 90))
        self.rounds = self.choose.randrange(1, 6)
        self.prober = core.Prober(socket.AF_INET, "raw", size=self.choose.choice([16, 56]))
        self.talk = core.Conversation(
            self.prober, self.hosts, count=self.rounds, interval=0.0, timeout=2 * SOON
        )
        self.peer = Peer()
        self.pending: list[Request] = []
        self.requests: Counter[str] = Counter()
        self.duplicates: Counter[str] = Counter()

    def close(self) -> None:
        self.prober.close()
        self.peer.close()

    def answer(self, request: Request) -> None:
        """Answer once or more, with what is no reply among it."""
        times = self.choose.choice([1, 1, 1, 2, 3])
        self.duplicates[request.destination] += times - 1
        for _ in range(times):
            if self.choose.random() < 0.2:
                self.peer.send(reply(request, request.icmp[4:8] + bytes(len(request.icmp) - 8)))
            if self.choose.random() < 0.1:
                self.peer.send(error(request, *UNREACHABLE, request.packet))
            self.peer.send(reply(request, request.icmp[4:]))

    def totals(self) -> list[Any]:
        return [self.talk.totals(index) for index in range(len(self.hosts))]

    def is_read(self) -> bool:
        """Whether all requests but one have ended, and all duplicates have been read."""
        if self.talk.run(0):
            return True
        missing = self.requests.total() - sum(each.received for each in self.totals())
        return missing == 1 and self.duplicates.total() == sum(each.duplicates for each in self.totals())

    def proceed(self) -> bool:
        """Go on. True: the last request is the only one without an answer."""
        assert not self.talk.run(0)
        arrived = list(self.peer.requests())
        self.requests.update(request.destination for request in arrived)
        self.pending += arrived
        self.choose.shuffle(self.pending)
        for _ in range(self.choose.randrange(max(1, len(self.pending)))):
            self.answer(self.pending.pop())
        return self.requests.total() == self.rounds * len(self.hosts) and len(self.pending) == 1

    def run(self) -> None:
        wait_until(self.proceed)
        wait_until(self.is_read)
        request = self.pending.pop()
        self.peer.send(reply(request, request.icmp[4:]))
        wait_until(lambda: bool(self.talk.run(0)))


@pytest.mark.parametrize("seed", range(10))
def test_a_random_history(core: ModuleType, silent: Any, seed: int) -> None:
    def run() -> History:
        with closing(History(core, seed)) as history:
            history.run()
            return history

    history = silent.call(run)
    for (host, _), each in zip(history.hosts, history.totals(), strict=True):
        assert history.requests[host] == history.rounds
        assert each[:5] == (history.rounds, 0, history.rounds, 0, history.duplicates[host])
        assert 0 < each.times.least <= each.times.p50 <= each.times.p99 <= each.times.most


def test_what_has_arrived_is_read_before_a_cut(root: None, core: ModuleType) -> None:
    """Loopback replies before send() returns."""
    with closing(core.Prober(socket.AF_INET, "raw")) as prober:
        talk = core.Conversation(prober, [("127.0.0.1", 0)], count=None, interval=0.0, timeout=1.0)
        for seconds in (0.0, 0.01, 0.0):
            assert not talk.run(seconds)
            totals = talk.totals(0)
            assert totals.sent == totals.received > 0


def test_late_replies_are_lost(core: ModuleType, silent: Any) -> None:
    """Whether they are read before or after the wait has ended, and however often they come."""

    def run() -> list[Any]:
        hosts = destinations(8)
        with closing(core.Prober(socket.AF_INET, "raw")) as prober, closing(Peer()) as peer:
            talk = core.Conversation(prober, hosts, count=2, interval=0.0, timeout=0.05)
            assert not talk.run(0)
            requests: list[Request] = []
            wait_until(lambda: len(requests) == 16 or bool(requests.extend(peer.requests())))
            time.sleep(0.06)
            for request in requests[:12]:
                for _ in range(2):
                    peer.send(reply(request, request.icmp[4:]))
            wait_until(lambda: bool(talk.run(0)))
            for request in requests:
                peer.send(reply(request, request.icmp[4:]))
            assert talk.run(0.01)
            return [talk.totals(index) for index in range(8)]

    for each in silent.call(run):
        assert each == (2, 0, 0, 2, 0, 0, None, None)


def test_an_error_is_the_reason_of_the_newest_request_only(core: ModuleType, silent: Any) -> None:
    def run() -> list[Any]:
        hosts = destinations(3)
        with closing(core.Prober(socket.AF_INET, "raw")) as prober, closing(Peer()) as peer:
            talk = core.Conversation(prober, hosts, count=2, interval=0.0, timeout=0.5)
            assert not talk.run(0)
            requests: list[Request] = []
            wait_until(lambda: len(requests) == 6 or bool(requests.extend(peer.requests())))
            for request in (
                requests[0],
                requests[4],
            ):  # of the first host the first, of the second the second
                peer.send(error(request, *UNREACHABLE, request.packet))
            wait_until(lambda: bool(talk.run(0.1)))
            return [talk.totals(index) for index in range(3)]

    first, second, third = silent.call(run)
    assert [each[:6] for each in (first, second, third)] == [(2, 0, 0, 2, 0, 0)] * 3
    assert (first.error, third.error) == (None, None)
    assert (second.error.error, second.error.responder) == (UNREACHABLE, "10.77.0.2")


def test_what_the_system_refuses_is_not_sent(root: None, core: ModuleType) -> None:
    with closing(core.Prober(socket.AF_INET, "raw")) as prober:
        talk = core.Conversation(prober, [("127.255.255.255", 0), ("127.0.0.1", 0)], count=3, interval=0.01)
        while not talk.run(SOON):
            pass
        refused, received = talk.totals(0), talk.totals(1)
    assert refused == (0, 3, 0, 0, 0, errno.EACCES, None, None)
    assert received[:6] == (3, 0, 3, 0, 0, 0)
    assert talk.shortage == 0


@pytest.mark.parametrize("refused", [False, True], ids=["silent", "refused"])
def test_a_flood_without_replies_has_a_pace(core: ModuleType, silent: Any, refused: bool) -> None:
    """64 requests, then one each 10 ms."""

    def run() -> tuple[int, float]:
        hosts = [("127.255.255.255", 0)] if refused else destinations(1)
        with closing(core.Prober(socket.AF_INET, "raw")) as prober:
            begun = time.monotonic()
            talk = core.Conversation(prober, hosts, count=None, interval=0.0, timeout=SOON)
            while (asked := sum(talk.totals(0)[:2])) < 70:
                assert not talk.run(0.01)
            return asked, time.monotonic() - begun

    asked, seconds = silent.call(run)
    assert asked <= 64 + seconds / 0.01 + 1


def test_without_end(root: None, core: ModuleType) -> None:
    with closing(core.Prober(socket.AF_INET6, "raw")) as prober:
        talk = core.Conversation(prober, [("::1", 0, 0, 0)], count=None, interval=0.0)
        wait_until(lambda: not talk.run(0.01) and talk.totals(0).received > 2 * EXACT)
        totals = talk.totals(0)
    assert totals.sent - totals.received - totals.lost <= 64
    assert talk.totals(0) == totals


def test_nobody(root: None, core: ModuleType) -> None:
    with closing(core.Prober(socket.AF_INET, "raw")) as prober:
        talk = core.Conversation(prober, [])
        assert talk.run(0)
        with pytest.raises(IndexError, match="host 0: there are 0"):
            talk.totals(0)


def test_probes_of_before_are_not_its_own(root: None, core: ModuleType) -> None:
    with closing(core.Prober(socket.AF_INET, "raw")) as prober:
        for tag in (0, 7):
            prober.send(("127.0.0.1", 0), tag, 10.0)
        talk = core.Conversation(prober, [("127.0.0.1", 0)], count=1)
        wait_until(lambda: bool(talk.run(0.1)))
        assert talk.totals(0)[:5] == (1, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count 0: expected 1 to 9223372036854775807"),
        ({"interval": -1.0}, "interval -1.0: expected 0 to 1000000"),
        ({"timeout": -1.0}, "timeout -1.0: expected 0 to 1000000"),
    ],
    ids=["count", "interval", "timeout"],
)
def test_refused_plans(root: None, core: ModuleType, options: dict[str, Any], message: str) -> None:
    with (
        closing(core.Prober(socket.AF_INET, "raw")) as prober,
        pytest.raises(InvalidArgument, match=message),
    ):
        core.Conversation(prober, [("127.0.0.1", 0)], **options)


def test_refused_hosts_and_probers(root: None, core: ModuleType) -> None:
    with closing(core.Prober(socket.AF_INET, "raw")) as prober:
        for host in (("::1", 0, 0, 0), ("localhost", 0), "127.0.0.1"):
            with pytest.raises(InvalidArgument, match="expected a numeric address"):
                core.Conversation(prober, [host])
    with (
        closing(core.Prober(socket.AF_INET, "udp")) as prober,
        pytest.raises(InvalidArgument, match="engine udp"),
    ):
        core.Conversation(prober, [("127.0.0.1", 0)])


@given(rtts=TIMES)
def test_totals_of_times(core: ModuleType, rtts: list[float]) -> None:
    trips = core.RoundTrips()
    assert (trips.count, trips.times()) == (0, None)
    for rtt in rtts:
        trips.add(rtt)
    times, count = trips.times(), len(rtts)
    mean = sum(rtts) / count
    assert (trips.count, times.least, times.most) == (count, min(rtts), max(rtts))
    assert times.mean == pytest.approx(mean)
    assert times.deviation == pytest.approx(sqrt(sum((each - mean) ** 2 for each in rtts) / count), abs=1e-6)
    steps = [abs(b - a) for a, b in pairwise(rtts)]
    assert times.jitter == (pytest.approx(sum(steps) / len(steps)) if steps else None)
    for percent, found in ((50, times.p50), (90, times.p90), (99, times.p99)):
        exact = sorted(rtts)[ceil(count * percent / 100) - 1]
        assert found == (exact if count <= EXACT else pytest.approx(exact, rel=1.0001 * ERROR))


@given(rtts=TIMES)
def test_the_twins_have_the_same_totals(twins: tuple[ModuleType, ModuleType], rtts: list[float]) -> None:
    native, pure = (core.RoundTrips() for core in twins)
    for rtt in rtts:
        native.add(rtt)
        pure.add(rtt)
    assert native.times() == pure.times()
