"""Results of the core's conversation, which ``ping`` and ``multiping`` use, beside those of the session."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import pytest
from adversary import Request, error, reply
from icmp_peer import Peer
from namespaces import Namespace

import fastnet
from fastnet._ping import Pinger, PingResult, summarize
from fastnet._ping.counting import Count
from fastnet._ping.results import Reply, result_of
from fastnet._ping.session import Plan, Session

pytestmark = pytest.mark.xdist_group("icmp")
HOSTS = [f"127.0.1.{number}" for number in range(1, 13)]
ROUNDS = 5
"""So many rounds are fewer requests than a flood awaits at most."""
TIMEOUT = 3.0
SOON = 60.0
"""Seconds until a condition must be true."""
FATES = (
    *("", "reply", "reply reply", "reply reply reply", "forgery", "forgery reply", "unreachable"),
    *(
        "unreachable prohibited",
        "unreachable reply",
        "reply unreachable reply",
        "late",
        "prohibited late late",
    ),
)
"""What comes back for a request, in this order. What is late is sent after the timeout."""
Key = tuple[str, int]
"""A host, and which request to it."""


def answer(kind: str, request: Request) -> bytes:
    if kind == "forgery":
        return reply(request, request.icmp[4:8] + bytes(len(request.icmp) - 8))
    if kind == "unreachable":
        return error(request, 3, 1, request.packet)
    if kind == "prohibited":
        return error(request, 3, 13, request.packet)
    return reply(request, request.icmp[4:])


def timeless(result: PingResult) -> PingResult:
    """The result, in which each time is whether there is one."""
    replies = tuple(each._replace(rtt_ms=each.rtt_ms and each.rtt_ms > 0) for each in result.replies)
    times = {name: getattr(result, name) is not None for name in result._fields if name.endswith("_ms")}
    return result._replace(**times, replies=replies)


class Twice:
    """One history of a session and of a conversation, chosen at random."""

    def __init__(self, engine: fastnet.PingEngine, interval: float, seed: int) -> None:
        self.choose = random.Random(seed)
        self.peer = Peer()
        self.pingers = [Pinger(engine=engine), Pinger(engine=engine)]
        self.idents = [pinger.prober(socket.AF_INET).ident for pinger in self.pingers]
        self.destinations = self.pingers[0].resolve(["no..name", *HOSTS, "127.255.255.255"])
        self.interval = interval
        plan = Plan(ROUNDS, interval, TIMEOUT)
        self.session = Session(self.pingers[0], self.destinations, plan)
        self.counting = Count(self.pingers[1], self.destinations, plan, keeps_replies=True)
        self.replies: list[Reply] = []
        self.requests: list[dict[Key, Request]] = [{}, {}]

    def close(self) -> None:
        self.peer.close()
        for pinger in self.pingers:
            pinger.close()

    def go_on(self) -> bool:
        """Let both go on without waiting. True: both have ended."""
        if self.session.unfinished:
            self.pingers[0].advance(self.session, 0)
            self.replies += self.session.take_news()
        return self.counting.run(0) and not self.session.unfinished

    def are_sent(self) -> bool:
        self.go_on()
        for request in self.peer.requests():
            ident = int.from_bytes(request.icmp[4:6], "big")
            requests = self.requests[self.idents.index(ident)]
            order = sum(host == request.destination for host, _ in requests)
            requests[request.destination, order] = request
        return all(len(each) == ROUNDS * len(HOSTS) for each in self.requests)

    def send(self, kind: str, key: Key) -> None:
        """Have the same come back to both."""
        for requests in self.requests:
            self.peer.send(answer(kind, requests[key]))

    def run(self) -> None:
        wait_until(self.are_sent)
        fates = {key: self.choose.choice(FATES).split() for key in self.requests[0]}
        fates[HOSTS[0], 0] = []  # Neither ends before the other has read everything.
        order = [key for key, kinds in fates.items() for _ in kinds]
        self.choose.shuffle(order)
        late = []
        for key in order:
            kind = fates[key].pop(0)
            if kind == "late":
                late.append(key)
            else:
                self.send(kind, key)
            if self.choose.random() < 0.3:
                self.go_on()
        for _ in range(20):  # To the session a duplicate counts only if it is read in time.
            self.go_on()
        time.sleep(TIMEOUT)
        for key in late:
            self.send("late", key)
        wait_until(self.go_on)

    def results(self) -> tuple[list[PingResult], list[PingResult]]:
        summarized = summarize(self.destinations, self.replies, self.interval)
        return summarized, list(self.counting.results())


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not is_true():
        assert time.monotonic() < deadline


@pytest.mark.parametrize(("interval", "seed"), [(0.0, 1), (0.0, 2), (0.001, 3)])
@pytest.mark.parametrize("engine", ["raw", "datagram"])
def test_a_random_history(silent: Namespace, engine: str, interval: float, seed: int) -> None:
    silent.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")

    def run() -> tuple[list[PingResult], list[PingResult]]:
        with closing(Twice(engine, interval, seed)) as twice:
            twice.run()
            return twice.results()

    by_session, by_core = silent.call(run)
    assert list(map(timeless, by_core)) == list(map(timeless, by_session))
    for each in by_core:
        assert result_of(each.host, each.address, each.engine, each.replies, interval) == each
    errors = Counter(reply.error for each in by_core for reply in each.replies)
    assert {"no answer", "host unreachable from 10.77.0.2"} <= set(errors)
    assert sum(each.duplicates for each in by_core) > 0
    assert (by_core[0].not_sent, by_core[-1].not_sent) == (1, ROUNDS)


def test_ctrl_c(root: None) -> None:
    """However long it would take."""
    program = "import fastnet; print(flush=True); fastnet.ping('127.0.0.1', 1000)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=SOON)
    assert process.returncode == -signal.SIGINT
    assert told.endswith(b"KeyboardInterrupt\n")
