"""The timetable of a conversation, its totals and ends."""

from __future__ import annotations

import errno
import time
from collections import deque
from select import POLLIN, poll

from fastnet._contract.probe import AWAITED, Answer, End, Totals, check_engine, check_plan, check_time
from fastnet._pure.probe.prober import identity
from fastnet._pure.probe.round_trips import RoundTrips
from fastnet._pure.probe.timing import NANOSECOND
from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _collections_abc import Iterable

    from fastnet._pure.probe.prober import Prober

_BURST = 64
"""Maximum sent before arrived answers are read."""
_READS = 64
"""Maximum number of reads in a row: noise may arrive faster than it is read."""
_FLOOD_PAUSE_NS = 10_000_000
"""In a flood, between two requests without replies, as in ping(8)."""
_SPREAD_NS = 1_000_000
"""Between the requests of a round to many hosts, so that they do not leave in one burst."""
_TURN_NS = 1_000_000
"""Between two turns in which requests of a round are sent; at most a tenth of the interval."""
_CATCH_UP_NS = 10_000_000
"""Maximum lost time that is caught up at once."""
_HOLD_NS = 10_000_000
_LONGEST_HOLD_NS = 30 * NANOSECOND
"""How long to wait for room in a full queue before the next try, and at most."""


class _Host:
    """The totals of one host, and its ends."""

    __slots__ = (
        *("duplicates", "ends", "error", "lost", "newest", "not_sent", "received", "refused", "sent"),
        "to",
    )

    def __init__(self, to: tuple[Any, ...]) -> None:
        self.to = to
        self.sent = self.not_sent = self.lost = self.duplicates = self.refused = 0
        self.received = RoundTrips()
        self.newest = -1
        """The number of its newest request."""
        self.error: Answer | None = None
        self.ends: list[End] = []


class _Request:
    """A request that may still be answered."""

    __slots__ = ("answered", "ends_ns", "error", "host", "number", "seq")

    def __init__(self, number: int, host: _Host, seq: int, ends_ns: int) -> None:
        self.number, self.host, self.seq, self.ends_ns = number, host, seq, ends_ns
        self.answered = False
        self.error: Answer | None = None
        """The newest one."""


class Conversation:
    """Echo requests to some hosts over one prober, and the totals of each host.

    ``destinations`` are socket addresses, to each of which ``count`` requests are sent (None: without end),
    in rounds ``interval`` seconds apart. The requests of a round are spread, up to a millisecond apart. Lost
    time is not caught up. With an interval of 0, a flood, requests are sent as replies come back: 64 are
    awaited at most, or one for each host, and without replies a hundred a second are sent, or refused.

    A request is received if a reply to it came within ``timeout`` seconds, however late that is read; a
    further reply in that time is a duplicate. An ICMP error ends no wait. What the system refuses to send is
    not sent; a full send queue or neighbour table is waited for, 30 s at most, and without limit for a free
    sequence number. With ``keeps_ends``, it keeps the end of each request, for ``ends``. No other code uses
    the prober meanwhile, and one thread at a time the conversation. Raises InvalidArgument.
    """

    def __init__(
        self,
        prober: Prober,
        destinations: Iterable[tuple[Any, ...]],
        *,
        count: int | None = 4,
        interval: float = 1.0,
        timeout: float = 1.0,
        keeps_ends: bool = False,
    ) -> None:
        check_engine(prober.engine)
        check_plan(count, interval, timeout)
        self._prober = prober
        self._hosts = [_Host(each) for each in destinations]
        for each in self._hosts:
            identity(prober.family, each.to)
        self._ready = poll()
        self._ready.register(prober, POLLIN)
        self._count, self._timeout, self._keeps_ends = count, timeout, keeps_ends
        self._interval_ns, self._timeout_ns = int(interval * NANOSECOND), int(timeout * NANOSECOND)
        self._apart_ns = min(_SPREAD_NS, self._interval_ns // max(1, len(self._hosts)))
        self._turn_ns = min(_TURN_NS, self._interval_ns // 10)
        self._round = self._place = 0
        self._begin_ns = time.monotonic_ns()
        self._sent_ns = self._not_before_ns = self._short_since_ns = 0
        self._sent = 0
        """The number of requests, which numbers the next one."""
        self._requests: dict[int, _Request] = {}
        self._line: deque[_Request] = deque()
        """Requests in the order in which their timeouts end."""
        self._awaited = 0
        self._refused = 0
        """Requests in a row, up to the newest one."""
        self._shortage = 0

    @property
    def shortage(self) -> int:
        """The errno of the last shortage that requests waited for; 0 if there was none."""
        return self._shortage

    def run(self, seconds: float) -> bool:
        """Converse, at most so many seconds. True: all requests have ended."""
        check_time("seconds", seconds)
        until_ns = time.monotonic_ns() + int(seconds * NANOSECOND)
        while True:
            now_ns = time.monotonic_ns()
            self._take_answers()
            self._give_up(now_ns)
            self._send_due(now_ns)
            due_ns = self._due_ns()
            if due_ns is None and not self._awaited:
                return True
            if now_ns >= until_ns:
                self._take_answers()  # which came at once: nobody may run it again
                return False
            times = [until_ns]
            if due_ns is not None:
                times.append(due_ns if due_ns <= now_ns else max(due_ns, now_ns + self._turn_ns))
            if self._line:
                times.append(self._line[0].ends_ns)
            self._ready.poll(max(0, min(times) - time.monotonic_ns()) / 1e6)

    def totals(self, index: int) -> Totals:
        """The totals of a host. Raises IndexError."""
        host = self._host_at(index)
        return Totals(
            *(host.sent, host.not_sent, host.received.count, host.lost, host.duplicates),
            *(host.refused, host.error, host.received.times()),
        )

    def ends(self, index: int) -> list[End]:
        """The ends of the requests to a host, in their order, and its duplicates. Raises IndexError."""
        return [*self._host_at(index).ends]

    def _host_at(self, index: int) -> _Host:
        if not 0 <= index < len(self._hosts):
            raise IndexError(f"host {index}: there are {len(self._hosts)}")
        return self._hosts[index]

    def _take_answers(self) -> None:
        for _ in range(_READS):
            if not self._ready.poll(0):
                break
            for answer in self._prober.receive():
                self._take(answer)

    def _take(self, answer: Answer) -> None:
        request = self._requests.get(answer.tag)
        if request is None:
            return
        host = request.host
        if answer.error is not None:
            request.error = answer
            if request.number == host.newest:
                host.error = answer
            return
        if answer.rtt_ns > self._timeout_ns:
            return
        self._keep(host, End(request.seq, 0, answer, request.answered))
        if request.answered:
            host.duplicates += 1
        else:
            request.answered = True
            self._awaited -= 1
            host.received.add(answer.rtt_ns / 1e6)

    def _keep(self, host: _Host, end: End) -> None:
        if self._keeps_ends:
            host.ends.append(end)

    def _give_up(self, now_ns: int) -> None:
        """End the requests whose timeout ended before this time; what had arrived by then has been read."""
        while self._line and self._line[0].ends_ns <= now_ns:
            request = self._line.popleft()
            del self._requests[request.number]
            if not request.answered:
                self._awaited -= 1
                request.host.lost += 1
                self._keep(request.host, End(request.seq, 0, request.error, duplicate=False))

    def _scheduled_ns(self) -> int:
        """When the next request is scheduled: in a flood, only as replies come back.

        What is refused has none.
        """
        if self._interval_ns:
            return self._begin_ns + self._round * self._interval_ns + self._place * self._apart_ns
        most = max(AWAITED, len(self._hosts))
        return 0 if self._awaited + self._refused < most else self._sent_ns + _FLOOD_PAUSE_NS

    def _due_ns(self) -> int | None:
        """When the next request may be sent; None if there is none."""
        if not self._hosts or (self._count is not None and self._round >= self._count):
            return None
        return max(self._scheduled_ns(), self._not_before_ns)

    def _send_due(self, now_ns: int) -> None:
        for _ in range(_BURST):
            due_ns = self._due_ns()
            if due_ns is None or due_ns > now_ns:
                return
            late_ns = now_ns - self._scheduled_ns()
            if late_ns >= self._interval_ns > 0:
                self._begin_ns += late_ns  # Missed rounds are not sent later.
            if not self._send_next():
                return

    def _send_next(self) -> bool:
        """Send the next request, or fail it. False: there is no room for it yet."""
        host = self._hosts[self._place]
        now_ns = time.monotonic_ns()
        refused = 0
        try:
            self._prober.send(host.to, self._sent, self._timeout)
        except OSError as error:
            if self._waits_for_room(refused := error.errno or 0, now_ns):
                return False
        self._sent_ns = now_ns
        host.newest, host.refused, host.error = self._sent, refused, None
        if refused:
            self._refused += 1
            host.not_sent += 1
            self._keep(host, End(self._round, refused, None, duplicate=False))
        else:
            host.sent += 1
            self._short_since_ns = self._refused = 0
            self._awaited += 1
            request = _Request(self._sent, host, self._round, now_ns + self._timeout_ns)
            self._requests[self._sent] = request
            self._line.append(request)
        self._sent += 1
        self._advance()
        return True

    def _waits_for_room(self, code: int, now_ns: int) -> bool:
        if code in (errno.ENOBUFS, errno.ENOMEM):
            self._short_since_ns = self._short_since_ns or now_ns
            if now_ns - self._short_since_ns > _LONGEST_HOLD_NS:
                return False
        elif code != errno.EAGAIN:
            return False
        self._shortage = code
        self._not_before_ns = now_ns + _HOLD_NS
        return True

    def _advance(self) -> None:
        if self._apart_ns:
            self._not_before_ns = max(self._not_before_ns + self._apart_ns, self._sent_ns - _CATCH_UP_NS)
        self._place += 1
        if self._place == len(self._hosts):
            self._round, self._place = self._round + 1, 0
