"""The schedule of one session: when requests are sent, how long they are awaited, and their results.

Nothing here waits, so both threads and asyncio can drive it.
"""

import time
from _collections_abc import Iterable, Iterator, Sequence
from _heapq import heappop, heappush
from itertools import count as numbers

from fastnet._contract.values import inf
from fastnet._limits import MAX_SECONDS, Timeout, bounded, check_seconds, quoted
from fastnet._ping.lookup import Destination
from fastnet._ping.results import Reply
from fastnet._ping.shortage import Shortage
from fastnet._reasons import explain, explain_refusal, is_closed_port
from fastnet._typing import TYPE_CHECKING, TypedDict, deque
from fastnet.endpoints import Resolved
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from fastnet._backend import probe as _core
    from fastnet._ping.pinger import Pinger

MAX_COUNT = (1 << 63) - 1
"""As in ping(8)."""
MAX_RETRIES = 100
MAX_BACKOFF = 10.0
MAX_ENOUGH = 1 << 24

_NANOSECOND = 1_000_000_000
_BURST = 64
"""Maximum sent before arrived answers are read; in a flood, maximum awaited, or one per host."""
_FLOOD_PAUSE_NS = 10_000_000
"""In a flood, requests per second without replies, as in ping(8)."""
_READS = 64
"""Maximum tries to send a request: noise may arrive faster than it is read."""
_SPREAD_NS = 1_000_000
"""Time between the probes of one round to many hosts, so that they do not leave in one burst."""
_CATCH_UP_NS = 10_000_000
"""Maximum lost time that is caught up at once."""
_FIRST, _SHORTEST, _LONGEST = 1.0, 0.1, 10.0
"""Seconds of the first timeout of ``auto`` (RFC 6298, 2.1), of the shortest and the longest (nmap's)."""


class Persistence(TypedDict, total=False):
    """Retries of a request, and the end of sending."""

    retries: int
    """Number of retries of a request without a reply, 0 by default."""
    backoff: float
    """Factor of each timeout over the one before it, 1.5 by default."""
    enough: int | None
    """Number of answering hosts after which nothing more is sent."""


class Plan:
    """Numbers and times of requests; see ``multiping``. Raises InvalidArgument for a value out of range.

    Requests are sent until the ``deadline``, in seconds from the start. Those due a timeout before it are
    awaited to the end of their timeout, even if they were sent late; the others only until the deadline.
    With ``replies``, a host has answered, as ``enough`` means it, only with so many, and a flood awaits no
    more requests than replies are missing.
    """

    def __init__(
        self,
        count: int | None,
        interval: float,
        timeout: Timeout,
        retries: int = 0,
        backoff: float = 1.5,
        enough: int | None = None,
        deadline: float | None = None,
        replies: int | None = None,
    ) -> None:
        if count is not None:
            bounded("count", count, 1, MAX_COUNT)
        check_seconds("interval", interval)
        if not isinstance(timeout, str):
            check_seconds("timeout", timeout, 0.001)
        elif timeout != "auto":
            raise InvalidArgument(f"timeout {quoted(timeout)}: expected seconds, or 'auto'")
        bounded("retries", retries, 0, MAX_RETRIES)
        bounded("backoff", backoff, 1, MAX_BACKOFF)
        if enough is not None:
            bounded("enough", enough, 1, MAX_ENOUGH)
        self.count: int | None = count
        self.interval: float = interval
        self.timeout: Timeout = timeout
        self.retries: int = retries
        self.backoff: float = backoff
        self.enough: int | None = enough
        self.deadline: float | None = deadline
        self.replies: int | None = replies


class RetransmitTimer:
    """The timeout of a host: fixed, or adapted to its round-trip times (RFC 6298)."""

    def __init__(self, timeout: Timeout) -> None:
        self._auto = timeout == "auto"
        self._smoothed = self._varied = 0.0
        self.seconds: float = _FIRST if timeout == "auto" else timeout

    def seen(self, rtt: float) -> None:
        """Adapt to a reply that took so many seconds."""
        if not self._auto:
            return
        if not self._smoothed:
            self._smoothed, self._varied = rtt, rtt / 2
        else:
            self._varied += (abs(self._smoothed - rtt) - self._varied) / 4
            self._smoothed += (rtt - self._smoothed) / 8
        self.seconds = min(_LONGEST, max(_SHORTEST, self._smoothed + 4 * self._varied))

    def missed(self) -> None:
        """Adapt to a timeout, which may have been too short."""
        if self._auto:
            self.seconds = min(_LONGEST, 2 * self.seconds)


class Target:
    """A destination in one session."""

    __slots__ = ("address", "by_udp", "host", "missing", "timer", "to")

    def __init__(self, destination: Destination, resolved: Resolved, plan: Plan) -> None:
        self.host, self.address = destination.host, destination.address
        self.to = resolved
        self.by_udp = destination.engine == "udp"
        self.timer = RetransmitTimer(plan.timeout)
        self.missing = plan.replies or 1
        """The number of replies until it has answered."""


class Probe:
    """One request and its state."""

    __slots__ = ("again_ns", "answered", "deadline_ns", "error", "seq", "target", "tickets", "tries")

    def __init__(self, target: Target, seq: int) -> None:
        self.target = target
        self.seq = seq
        self.tries = 0
        self.tickets: dict[int, int] = {}
        """When each try was sent, by its ticket."""
        self.deadline_ns = 0
        self.again_ns = 0
        """The schedule's time at which it is due again without an answer."""
        self.error = "no answer"
        self.answered = False

    def replied(self, answer: "_core.Answer") -> Reply:
        target = self.target
        duplicate, self.answered = self.answered, True
        rtt_ms = answer.rtt_ns / 1e6
        other = None if answer.responder == target.address else answer.responder
        about = (target.host, target.address, self.seq, rtt_ms, answer.ttl)
        return Reply(*about, None, duplicate, self.tries, other)

    def failed(self) -> Reply:
        target = self.target
        return Reply(target.host, target.address, self.seq, None, None, self.error, tries=self.tries)


def unresolved(destination: Destination) -> Reply:
    """The result of the only request to a host without an address."""
    return Reply(destination.host, destination.address, 0, None, None, destination.error, tries=0)


class Deadlines:
    """Probes by time, as until when each or its duplicates are awaited: a ticket decides between equals.

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
        targets = [Target(each, each.resolved, plan) for each in destinations if each.resolved]
        self._window = max(_BURST, len(targets))
        self._interval_ns = int(plan.interval * _NANOSECOND)
        self._apart_ns = min(_SPREAD_NS, self._interval_ns // max(1, len(targets)))
        self._schedule = _schedule(targets, plan.count, self._interval_ns, self._apart_ns)
        self._next = next(self._schedule, None)
        self._again = Deadlines()
        """Probes to retry, by the schedule's time at which they are due."""
        self._probes: dict[int, Probe] = {}
        """By ticket: a request has one for each time that it was sent."""
        self._deadlines = Deadlines()
        self._waiting = 0
        self._refused = 0
        """Requests in a row, up to the newest one."""
        self._missing: float = inf if plan.replies is None else plan.replies * len(targets)
        """The number of missing replies of all hosts."""
        self._answering = 0
        """The number of hosts that have answered."""
        self._sent_ns = 0
        self._begin_ns = time.monotonic_ns()
        """The start of the schedule, moved by the time lost since."""
        self._stop_ns: float = inf
        if plan.deadline is not None:
            self._stop_ns = self._begin_ns + int(plan.deadline * _NANOSECOND)
        self._until_ns = self._stop_ns
        """When nothing more is awaited."""
        self._not_before_ns = 0
        self._shortage = Shortage()
        self._put_off = 0
        self.news: deque[Reply] = deque(unresolved(each) for each in destinations if not each.resolved)

    @property
    def unfinished(self) -> bool:
        return bool(self._next or self._waiting or self._again.first() or self.news)

    def take_news(self) -> Iterator[Reply]:
        """Each new result, once."""
        while self.news:
            yield self.news.popleft()

    def close(self) -> None:
        """Ignore answers to these requests from now on."""
        for ticket in self._probes:
            self._pinger.sessions.pop(ticket, None)

    def waiting(self) -> Iterator[Reply]:
        """A result for each request that is still awaited."""
        return (probe.failed() for probe in dict.fromkeys(self._probes.values()) if not probe.answered)

    def _forget(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            self._pinger.sessions.pop(ticket, None)
            self._probes.pop(ticket, None)

    def step(self) -> float:
        """Give up requests after their timeouts and send due ones; return the seconds to the next step."""
        now_ns = time.monotonic_ns()
        while (first := self._deadlines.first()) and first[0] <= now_ns:
            if not first[2].answered and self._must_read():
                return 0.0
            self._deadlines.remove(first)
            self._expire(first[2], first[1])
        if now_ns >= self._stop_ns and self._sent_ns:
            self._next = None
            self._again.clear()
            if now_ns >= self._until_ns and not self._must_read():
                self._end()
        for _ in range(_BURST):
            retry = self._retry()
            due_ns = self._due_ns(retry)
            if due_ns is None or due_ns > now_ns or not self._send_next(retry):
                break
        times: list[float] = [due_ns for due_ns in (self._due_ns(self._retry()),) if due_ns is not None]
        if first := self._deadlines.first():
            times.append(first[0])
        if self._until_ns != inf:
            times.append(self._until_ns)
        return max(0, min(times, default=0) - now_ns) / _NANOSECOND

    def _due_ns(self, retry: tuple[int, int, Probe] | None) -> int | None:
        """When the next request may be sent: in a flood, only as replies come back."""
        if retry:
            return max(self._begin_ns + retry[0], self._not_before_ns)
        if self._next is None:
            return None
        if self._interval_ns:
            return max(self._begin_ns + self._next[0], self._not_before_ns)
        if self._waiting + self._refused >= min(self._window, self._missing):
            return max(self._sent_ns + _FLOOD_PAUSE_NS, self._not_before_ns)
        return self._not_before_ns

    def _retry(self) -> tuple[int, int, Probe] | None:
        """A probe to retry before a new one is sent: the one that was due first; in a flood, any."""
        retry = self._again.first() if self._plan.retries else None
        if retry and self._next and retry[0] > self._next[0] and self._interval_ns:
            return None
        return retry

    def _must_read(self) -> bool:
        """Whether there are messages to read first: answers that came in time count even if read late."""
        self._put_off = self._put_off + 1 if self._pinger.has_unread() else 0
        return 0 < self._put_off <= _READS

    def _expire(self, probe: Probe, ticket: int) -> None:
        if probe.answered:
            self._forget(probe.tickets)
            return
        self._waiting -= 1
        if probe.tries <= self._plan.retries:
            probe.deadline_ns = 0  # No answer before the retry comes in time.
            self._again.add((probe.again_ns, ticket, probe))
            return
        probe.target.timer.missed()
        self._fail(probe)

    def _fail(self, probe: Probe) -> None:
        self._forget(probe.tickets)  # first, so that an interruption between the two does not yield it twice
        self.news.append(probe.failed())

    def _send_next(self, retry: tuple[int, int, Probe] | None) -> bool:
        """Send the probe that is due first. False if there is no room for it yet."""
        if retry:
            due_ns, _, probe = retry
        elif self._next:
            due_ns, probe = self._next
        else:
            return False
        self._sent_ns = time.monotonic_ns()
        late_ns = self._sent_ns - self._begin_ns - due_ns
        if late_ns >= self._interval_ns > 0:
            self._begin_ns += late_ns  # Missed rounds and retries are not caught up.
        if not self._send(probe):
            return False
        if retry:
            self._again.remove(retry)
        else:
            self._next = next(self._schedule, None)
        if self._apart_ns:
            caught_up_ns = self._sent_ns - _CATCH_UP_NS
            self._not_before_ns = max(self._not_before_ns + self._apart_ns, caught_up_ns)
        return True

    def _send(self, probe: Probe) -> bool:
        """Send a request, or fail it. False if it is to be retried."""
        ticket = next(self._pinger.tickets)
        target = probe.target
        timeout = target.timer.seconds
        if probe.tries:
            timeout = min(MAX_SECONDS, timeout * self._plan.backoff**probe.tries)
        try:
            self._pinger.prober(target.to.family).send(target.to.address, ticket, timeout)
        except OSError as error:
            if self._shortage.waits(error):
                self._not_before_ns = self._shortage.until_ns
                return False
            self._refused += 1
            probe.error = f"not sent: {explain_refusal(error.errno or 0)}"
            self._fail(probe)
            return True
        self._shortage.since_ns = self._refused = 0
        timeout_ns = int(timeout * _NANOSECOND)
        probe.deadline_ns = self._sent_ns + timeout_ns
        if not probe.tries and self._round_ns(probe) + timeout_ns <= self._stop_ns:
            self._until_ns = max(self._until_ns, probe.deadline_ns)
        probe.tries += 1
        probe.tickets[ticket] = self._sent_ns
        probe.again_ns = probe.deadline_ns - self._begin_ns
        self._waiting += 1
        self._probes[ticket] = probe
        self._pinger.sessions[ticket] = self
        self._deadlines.add((probe.deadline_ns, ticket, probe))
        return True

    def _round_ns(self, probe: Probe) -> int:
        """When the round of a request was due: in a flood only the first is, from the start."""
        if probe.seq and not self._interval_ns:
            return self._sent_ns
        return self._begin_ns + probe.seq * self._interval_ns

    def take(self, answer: "_core.Answer") -> None:
        """An answer to one of these requests. After the timeout it does not count."""
        probe = self._probes[answer.tag]
        target = probe.target
        if answer.error is not None and not (target.by_udp and is_closed_port(target.to, answer)):
            probe.error = explain(target.to.family, answer)
            return
        if probe.tickets[answer.tag] + answer.rtt_ns > probe.deadline_ns:
            return
        if not probe.answered:
            self._waiting -= 1
            target.timer.seen(answer.rtt_ns / _NANOSECOND)
            self._count(target)
        self.news.append(probe.replied(answer))
        if self._answering == self._plan.enough:
            self._end()

    def _count(self, target: Target) -> None:
        """Count the reply to a request."""
        if target.missing:
            target.missing -= 1
            self._missing -= 1
            self._answering += not target.missing

    def _end(self) -> None:
        """Send and await nothing more."""
        self._next, self._waiting = None, 0
        self._again.clear()
        self._deadlines.clear()
        self.close()


def _schedule(
    targets: list[Target], count: int | None, interval_ns: int, apart_ns: int
) -> Iterator[tuple[int, Probe]]:
    """Each request, in order, and when it is due: a round to every host each interval, a little apart."""
    rounds = numbers() if count is None else range(count)
    for seq in rounds if targets else ():
        for place, target in enumerate(targets):
            yield seq * interval_ns + place * apart_ns, Probe(target, seq)
