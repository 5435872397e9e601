"""One conversation's timetable: what is to be sent when, how long it is awaited, what became of it.

Nothing here waits, so that threads and asyncio both can drive it.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count as numbers
from typing import TYPE_CHECKING, Literal, NamedTuple

from fastnet._limits import MAX_SECONDS, bounded, check_seconds
from fastnet.endpoints import Resolved
from fastnet.errors import InvalidArgument
from fastnet.ping.reasons import explain, explain_refusal
from fastnet.ping.results import Reply

if TYPE_CHECKING:
    from fastnet._backend import probe as _core
    from fastnet.ping.pinger import Pinger

MAX_COUNT = 65535
MAX_RETRIES = 100
MAX_BACKOFF = 10.0
MAX_ENOUGH = 1 << 24

_NANOSECOND = 1_000_000_000
_BURST = 64
"""Sent at most before what has arrived is read; in a flood, awaited at most, or one a host."""
_FLOOD_PAUSE_NS = 10_000_000
"""In a flood, sent even though nothing comes back: a hundred a second, as ping(8) does."""
_READS = 64
"""Tried at most before a request is given up: noise may come faster than it is read."""
_SPREAD_NS = 1_000_000
"""Between the probes of one round to many hosts, so that they do not all leave in one burst."""
_FIRST, _SHORTEST, _LONGEST = 1.0, 0.1, 10.0
"""Seconds that ``auto`` waits at first (RFC 6298, 2.1), at least and at most (nmap's)."""

Timeout = float | Literal["auto"]


class Destination(NamedTuple):
    """A host that was looked up, and the kind of socket that there is for it."""

    host: str
    address: str
    engine: str
    resolved: Resolved


class Plan:
    """How hosts are asked; see ``multiping``. Raises InvalidArgument for what is out of range."""

    def __init__(
        self,
        count: int | None,
        interval: float,
        timeout: Timeout,
        retries: int = 0,
        backoff: float = 1.5,
        enough: int | None = None,
    ) -> None:
        if count is not None:
            bounded("count", count, 1, MAX_COUNT)
        check_seconds("interval", interval)
        if not isinstance(timeout, str):
            check_seconds("timeout", timeout, 0.001)
        elif timeout != "auto":
            raise InvalidArgument(f"timeout {timeout!r}: expected seconds, or 'auto'")
        bounded("retries", retries, 0, MAX_RETRIES)
        bounded("backoff", backoff, 1, MAX_BACKOFF)
        if enough is not None:
            bounded("enough", enough, 1, MAX_ENOUGH)
        self.count, self.interval, self.timeout = count, interval, timeout
        self.retries, self.backoff, self.enough = retries, backoff, enough


class Patience:
    """How long a host's replies are awaited: a fixed time, or by its round-trip times (RFC 6298)."""

    def __init__(self, timeout: Timeout) -> None:
        self._auto = timeout == "auto"
        self._smoothed = self._varied = 0.0
        self.seconds: float = _FIRST if timeout == "auto" else timeout

    def seen(self, rtt: float) -> None:
        """A reply took that many seconds."""
        if not self._auto:
            return
        if not self._smoothed:
            self._smoothed, self._varied = rtt, rtt / 2
        else:
            self._varied += (abs(self._smoothed - rtt) - self._varied) / 4
            self._smoothed += (rtt - self._smoothed) / 8
        self.seconds = min(_LONGEST, max(_SHORTEST, self._smoothed + 4 * self._varied))

    def missed(self) -> None:
        """The time was up: perhaps it was too short."""
        if self._auto:
            self.seconds = min(_LONGEST, 2 * self.seconds)


class Target:
    """A destination in one conversation."""

    __slots__ = ("address", "alive", "family", "host", "patience", "to")

    def __init__(self, destination: Destination, timeout: Timeout) -> None:
        self.host, self.address = destination.host, destination.address
        self.family, self.to = destination.resolved.family, destination.resolved.address
        self.patience = Patience(timeout)
        self.alive = False


class Probe:
    """One request, and what is known of it."""

    __slots__ = ("answered", "deadline_ns", "error", "seq", "target", "tickets", "tries")

    def __init__(self, target: Target, seq: int) -> None:
        self.target = target
        self.seq = seq
        self.tries = 0
        self.tickets: dict[int, int] = {}
        """When each try was sent, by its ticket."""
        self.deadline_ns = 0
        self.error = "no answer"
        self.answered = False

    def replied(self, answer: "_core.Answer") -> Reply:
        target = self.target
        duplicate, self.answered = self.answered, True
        rtt_ms = answer.rtt_ns / 1e6
        return Reply(target.host, target.address, self.seq, rtt_ms, answer.ttl, None, duplicate, self.tries)

    def failed(self) -> Reply:
        target = self.target
        return Reply(target.host, target.address, self.seq, None, None, self.error, tries=self.tries)


class Deadlines:
    """Until when each probe is awaited, or its duplicates are: with a ticket, which decides between equals.

    Nearly all come in order, and wait in line; the others are a heap.
    """

    def __init__(self) -> None:
        self._line: deque[tuple[int, int, Probe]] = deque()
        self._heap: list[tuple[int, int, Probe]] = []

    def add(self, deadline: tuple[int, int, Probe]) -> None:
        if not self._line or deadline > self._line[-1]:
            self._line.append(deadline)
        else:
            heappush(self._heap, deadline)

    def first(self) -> tuple[int, int, Probe] | None:
        """The next one, where there is any."""
        if self._heap and (not self._line or self._heap[0] < self._line[0]):
            return self._heap[0]
        return self._line[0] if self._line else None

    def remove(self, first: tuple[int, int, Probe]) -> None:
        if self._line and first is self._line[0]:
            self._line.popleft()
        else:
            heappop(self._heap)

    def clear(self) -> None:
        self._line.clear()
        self._heap.clear()


class Session:
    """One conversation. ``step`` and ``take`` are called under the pinger's lock."""

    def __init__(self, pinger: "Pinger", destinations: Sequence[Destination], plan: Plan) -> None:
        self._pinger = pinger
        self._plan = plan
        self._window = max(_BURST, len(destinations))
        self._schedule = _schedule([Target(each, plan.timeout) for each in destinations], plan)
        self._next = next(self._schedule, None)
        self._probes: dict[int, Probe] = {}
        """By ticket: a request has one for each time that it was sent."""
        self._deadlines = Deadlines()
        self._waiting = 0
        self._alive = 0
        self._sent_ns = 0
        self._put_off = 0
        self.news: deque[Reply] = deque()

    @property
    def unfinished(self) -> bool:
        return bool(self._next or self._waiting or self.news)

    def told(self) -> Iterator[Reply]:
        """Each piece of news, once."""
        while self.news:
            yield self.news.popleft()

    def close(self) -> None:
        """Answers to these requests concern nobody any more."""
        for ticket in self._probes:
            self._pinger.sessions.pop(ticket, None)

    def waiting(self) -> Iterator[Reply]:
        """Of one that was broken off, what is known so far of each request that was still awaited."""
        return (probe.failed() for probe in dict.fromkeys(self._probes.values()) if not probe.answered)

    def _forget(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            self._pinger.sessions.pop(ticket, None)
            self._probes.pop(ticket, None)

    def step(self) -> float:
        """Give up what is over its time and send what is due. The seconds until there is more to do."""
        now_ns = time.monotonic_ns()
        while (first := self._deadlines.first()) and first[0] <= now_ns:
            if not first[2].answered and self._must_read():
                return 0.0
            self._deadlines.remove(first)
            self._expire(first[2])
        for _ in range(_BURST):
            due_ns = self._due_ns()
            if self._next is None or due_ns is None or due_ns > now_ns:
                break
            self._send(self._next[1])
            self._next = next(self._schedule, None)
        times = [due_ns for due_ns in (self._due_ns(),) if due_ns is not None]
        if first := self._deadlines.first():
            times.append(first[0])
        return max(0, min(times, default=0) - now_ns) / _NANOSECOND

    def _due_ns(self) -> int | None:
        """When the next request may be sent: in a flood, only as replies come back."""
        if self._next is None:
            return None
        if self._plan.interval == 0 and self._waiting >= self._window:
            return self._sent_ns + _FLOOD_PAUSE_NS
        return self._next[0]

    def _must_read(self) -> bool:
        """Whether there is something to read first: what came in time counts, however late it is read."""
        self._put_off = self._put_off + 1 if self._pinger.has_unread() else 0
        return 0 < self._put_off <= _READS

    def _expire(self, probe: Probe) -> None:
        if probe.answered:
            self._forget(probe.tickets)
            return
        self._waiting -= 1
        if probe.tries <= self._plan.retries:
            self._send(probe)
            return
        self._forget(probe.tickets)  # before it is told: broken off between the two, it is not told twice
        probe.target.patience.missed()
        self.news.append(probe.failed())

    def _send(self, probe: Probe) -> None:
        ticket = next(self._pinger.tickets)
        target = probe.target
        timeout = target.patience.seconds
        if probe.tries:
            timeout = min(MAX_SECONDS, timeout * self._plan.backoff**probe.tries)
        self._sent_ns = time.monotonic_ns()
        try:
            self._pinger.prober(target.family).send(target.to, ticket, timeout)
        except OSError as error:
            probe.error = f"not sent: {explain_refusal(error.errno or 0)}"
            self._forget(probe.tickets)
            self.news.append(probe.failed())
            return
        probe.tries += 1
        probe.tickets[ticket] = self._sent_ns
        probe.deadline_ns = self._sent_ns + int(timeout * _NANOSECOND)
        self._waiting += 1
        self._probes[ticket] = probe
        self._pinger.sessions[ticket] = self
        self._deadlines.add((probe.deadline_ns, ticket, probe))

    def take(self, answer: "_core.Answer") -> None:
        """An answer to one of these requests. What comes after the timeout is no answer any more."""
        probe = self._probes[answer.tag]
        target = probe.target
        if answer.error is not None:
            probe.error = explain(target.family, answer)
            return
        if probe.tickets[answer.tag] + answer.rtt_ns > probe.deadline_ns:
            return
        if not probe.answered:
            self._waiting -= 1
            target.patience.seen(answer.rtt_ns / _NANOSECOND)
        self.news.append(probe.replied(answer))
        self._alive += not target.alive
        target.alive = True
        if self._alive == self._plan.enough:
            self._end()

    def _end(self) -> None:
        """As many hosts as wanted are known to be alive: nothing more is sent or awaited."""
        self._next, self._waiting = None, 0
        self._deadlines.clear()
        self.close()


def _schedule(targets: list[Target], plan: Plan) -> Iterator[tuple[int, Probe]]:
    """When each request is due, and it, in order: a round to every host each interval, a little apart."""
    start_ns = time.monotonic_ns()
    interval_ns = int(plan.interval * _NANOSECOND)
    apart_ns = min(_SPREAD_NS, interval_ns // max(1, len(targets)))
    for seq in numbers() if plan.count is None else range(plan.count):
        for place, target in enumerate(targets):
            yield start_ns + seq * interval_ns + place * apart_ns, Probe(target, seq)
