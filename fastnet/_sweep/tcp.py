"""TCP sweep, for networks without ICMP: a target that accepts or refuses a connection is alive."""

import errno
import select
import socket
import time
from _collections_abc import Iterator
from array import array
from math import nan

from fastnet._alive import EXHAUSTED, FROM_THE_HOST, MAX_CONNECTIONS, PORTS, answer_of
from fastnet._backend import probe as _core
from fastnet._connect import outcome
from fastnet._sweep.plan import Options, Segment
from fastnet._system.icmp_errors import request_errors
from fastnet._system.permission import check_stream
from fastnet._typing import Any, NamedTuple
from fastnet.targets import address_text

_LONGEST_AWAY = 0.1
"""Seconds between two polls, above which a round-trip time is too inexact."""


class _Attempt(NamedTuple):
    place: int
    sock: socket.socket
    begun: float


class TcpSweeper:
    """Sweeps a segment as the core's ``Sweeper`` does, in one pass per port and retry.

    An accepted connection is closed at once. At most ``MAX_CONNECTIONS`` are connecting, whatever the window.
    Raises NotPermitted where TCP sockets are refused.
    """

    def __init__(self, segment: Segment, options: Options, decided: bytes | None) -> None:
        check_stream(segment.family)
        self._segment, self._options, self._decided = segment, options, decided
        size = len(segment.indices)
        self.states = bytearray([_core.DECIDED]) * size
        for place in segment.order(None, decided):
            self.states[place] = _core.PENDING
        self.rtts_ms = array("f", bytes(4 * size))
        self._reasons: dict[int, int | _core.Answer] = {}
        self.sent = 0
        self.finished = False
        self._passes_left = options.retries
        self._probes = self._pass()
        self._put_back: tuple[int, int] | None = None
        self._under_way: dict[int, _Attempt] = {}
        self._poll = select.poll()
        self._not_before = 0.0
        self._looked = time.monotonic()

    def reason(self, index: int) -> Any:
        return self._reasons.get(index)

    def close(self) -> None:
        while self._under_way:
            self._end(next(iter(self._under_way))).sock.close()

    def run(self, seconds: float) -> bool:
        """Work for at most about so many seconds. True once every target has its verdict."""
        stop = time.monotonic() + seconds
        while not self.finished:
            self._take(min(self._connect_more(), self._oldest_ends(), stop))
            self._give_up_old()
            if time.monotonic() >= stop:
                break
        return self.finished

    def _pass(self) -> Iterator[tuple[int, int]]:
        """Each index and port to try, one port after the other."""
        for port in PORTS:
            for place in self._segment.order(self._options.seed, self._decided):
                if self.states[place] != _core.ALIVE:
                    yield place, port

    def _connect_more(self) -> float:
        """Begin as many connects as there is room for; returns the time of the next step."""
        for _ in range(MAX_CONNECTIONS):
            now = time.monotonic()
            if len(self._under_way) >= MAX_CONNECTIONS:
                return now + self._options.timeout
            probe = self._next_probe()
            if probe is None:
                return self._end_pass(now)
            if now < self._not_before:
                return self._not_before
            if not self._begin(*probe, now):
                return now + self._options.timeout
            self._put_back = None
        return now

    def _next_probe(self) -> tuple[int, int] | None:
        """The next connect to try, the same until it has begun, or its target is alive."""
        if self._put_back and self.states[self._put_back[0]] == _core.ALIVE:
            self._put_back = None
        self._put_back = self._put_back or next(self._probes, None)
        return self._put_back

    def _end_pass(self, now: float) -> float:
        """When no connect is left, begin another pass over the silent targets."""
        if self._under_way:
            return now + self._options.timeout
        self.finished = self._passes_left == 0
        self._passes_left -= 1
        self._probes = self._pass()
        return now

    def _begin(self, place: int, port: int, now: float) -> bool:
        """Connect to a target's port. False where there is no room for one more connection now."""
        family, number = self._segment.at(place)
        if not _core.is_host(family, number):
            self._reasons[place] = _core.NOT_A_HOST
            return True
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            request_errors(sock)
            code = sock.connect_ex((address_text(family, number), port))
        except OSError as error:
            code = error.errno or 0
        if code == errno.EINPROGRESS and sock:
            self._sent(place, now)
            self._under_way[sock.fileno()] = _Attempt(place, sock, now)
            self._poll.register(sock, select.POLLOUT)
            return True
        if sock and code in FROM_THE_HOST:
            self._sent(place, now)
            self._ended(place, sock, code, (time.monotonic() - now) * 1000)
            return True
        if sock:
            sock.close()
        if code in EXHAUSTED and self._under_way:
            return False
        self._keep_rate(now)
        if self.states[place] == _core.PENDING:
            self._reasons[place] = code
        return True

    def _sent(self, place: int, now: float) -> None:
        self.sent += 1
        self._keep_rate(now)
        if self.states[place] == _core.PENDING:
            self.states[place] = _core.SILENT
            self._reasons.pop(place, None)

    def _keep_rate(self, now: float) -> None:
        if self._options.rate:
            self._not_before = max(self._not_before, now) + 1 / self._options.rate

    def _take(self, until: float) -> None:
        """Wait for connects to succeed or fail."""
        asked = time.monotonic()
        ended = self._poll.poll(max(0.0, until - asked) * 1000)
        now = time.monotonic()
        looked, self._looked = self._looked, now
        for fd, _ in ended:
            place, sock, begun = self._end(fd)
            # The time is unknown if it ended in a long gap between polls, or while the process was stopped.
            away = max(asked - max(looked, begun), now - max(until, asked))
            self._ended(place, sock, outcome(sock), (now - begun) * 1000 if away < _LONGEST_AWAY else nan)

    def _ended(self, place: int, sock: socket.socket, code: int, rtt_ms: float) -> None:
        """Close an attempt, which ended with this errno or 0."""
        family, number = self._segment.at(place)
        with sock:
            answer = answer_of(sock, (address_text(family, number), 0), code, place, 0)
        if self.states[place] == _core.ALIVE:
            return
        if answer and answer.error is None:
            self.states[place] = _core.ALIVE
            self.rtts_ms[place] = rtt_ms
            self._reasons.pop(place, None)
        elif answer or code != errno.ETIMEDOUT:
            self.states[place] = _core.UNREACHABLE
            self._reasons[place] = answer or code

    def _oldest_ends(self) -> float:
        oldest = next(iter(self._under_way.values()), None)
        return oldest.begun + self._options.timeout if oldest else float("inf")

    def _give_up_old(self) -> None:
        now = time.monotonic()
        while self._oldest_ends() <= now:
            place, sock, _ = self._end(next(iter(self._under_way)))
            self._ended(place, sock, outcome(sock) or errno.ETIMEDOUT, nan)

    def _end(self, fd: int) -> _Attempt:
        self._poll.unregister(fd)
        return self._under_way.pop(fd)
