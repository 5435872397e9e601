"""Is a host there, and how far away: ICMP echo to one host or many, with root or without.

A reply is believed only where everything about it is right, its keyed cookie included; round-trip times
are from the kernel's receive timestamps on the monotonic clock. An ICMP error is a reason, and final
only at the timeout: a reply that comes after it wins.
"""

import errno
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count as numbers
from itertools import islice
from math import sqrt
from select import EPOLLIN, epoll
from typing import Any, NamedTuple

from fastnet._backend import probe as _core
from fastnet._callable import make_callable
from fastnet._limits import bounded, check_seconds
from fastnet.endpoints import Resolved, resolve
from fastnet.errors import InvalidArgument

ENGINES = ("auto", *_core.ENGINES)
MAX_COUNT = 65535
MAX_SIZE = 65507
"""The payload that fills the largest IPv4 packet."""

_NANOSECOND = 1_000_000_000
_BURST = 64
"""Sent at most before what has arrived is read."""
_SPREAD_NS = 1_000_000
"""Between the probes of one round to many hosts, so that they do not all leave in one burst."""


class Reply(NamedTuple):
    """What became of one echo request."""

    host: str
    """The host as it was asked for."""
    address: str
    seq: int
    """0 for the first request to this host."""
    rtt_ms: float | None
    """None where there was no reply."""
    ttl: int | None
    """The TTL or hop limit that the reply arrived with."""
    error: str | None
    """Why there was no reply: ``no answer``, ``host unreachable from 10.0.0.1``, ``not sent: ...``."""
    duplicate: bool = False
    """One more reply to a request that was answered before."""


class PingResult(NamedTuple):
    """All that came back from one host."""

    host: str
    address: str
    engine: str
    """``raw`` or ``datagram``: the socket that was permitted."""
    replies: tuple[Reply, ...]
    """One for each request, in the order in which they became known, and the duplicates."""

    @property
    def sent(self) -> int:
        """How many requests there were, those that the system refused to send included."""
        return sum(not reply.duplicate for reply in self.replies)

    @property
    def received(self) -> int:
        return len(self._rtts)

    @property
    def alive(self) -> bool:
        """Whether any request was answered."""
        return self.received > 0

    @property
    def duplicates(self) -> int:
        return sum(reply.duplicate for reply in self.replies)

    @property
    def loss_percent(self) -> float:
        return 100.0 * (self.sent - self.received) / self.sent if self.sent else 0.0

    @property
    def rtt_min_ms(self) -> float | None:
        return min(self._rtts, default=None)

    @property
    def rtt_avg_ms(self) -> float | None:
        return sum(self._rtts) / self.received if self.alive else None

    @property
    def rtt_max_ms(self) -> float | None:
        return max(self._rtts, default=None)

    @property
    def rtt_stddev_ms(self) -> float | None:
        """The population's standard deviation."""
        average = self.rtt_avg_ms
        if average is None:
            return None
        return sqrt(sum((rtt - average) ** 2 for rtt in self._rtts) / self.received)

    @property
    def error(self) -> str | None:
        """Why nothing was received: the last request's reason."""
        return None if self.alive or not self.replies else self.replies[-1].error

    @property
    def _rtts(self) -> list[float]:
        return [reply.rtt_ms for reply in self.replies if reply.rtt_ms is not None and not reply.duplicate]


class Destination(NamedTuple):
    """A host that was looked up, and the kind of socket that there is for it."""

    host: str
    address: str
    engine: str
    resolved: Resolved


class Pinger:
    """A conversation with any number of hosts over one socket a family, from any number of threads.

    ``engine`` is ``raw``, ``datagram`` or ``auto``: a raw socket, else an ICMP datagram socket
    (``net.ipv4.ping_group_range``). ``source`` is the address to send from, ``size`` the payload in
    bytes, ``ttl`` the TTL or hop limit, ``family`` what names resolve to. Sockets open when they are
    first needed, and anew in a child after ``fork``. A context manager; close it when no thread uses it.
    """

    def __init__(
        self,
        *,
        size: int = 56,
        ttl: int | None = None,
        source: str | None = None,
        family: int = socket.AF_UNSPEC,
        engine: str = "auto",
    ) -> None:
        bounded("size", size, 0, MAX_SIZE)
        if ttl is not None:
            bounded("ttl", ttl, 1, 255)
        if engine not in ENGINES:
            raise InvalidArgument(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
        self._size, self._ttl, self._engine = size, ttl, engine
        self._family, self._source = family, ""
        if source is not None:
            found = resolve(source, family=family)[0]
            self._family, self._source = found.family, found.host
        self._reset()

    def _reset(self) -> None:
        self.lock = threading.Condition()
        self.sessions: dict[int, _Session] = {}
        self.tickets = numbers()
        self._probers: dict[int, _core.Prober] = {}
        self._poller = epoll()
        self._reading = False
        _open_pingers.add(self)

    def after_fork(self) -> None:
        """The child must not take its parent's replies: it starts with sockets of its own."""
        self.close()
        self._reset()

    def close(self) -> None:
        self._poller.close()
        for prober in self._probers.values():
            prober.close()
        self._probers.clear()
        _open_pingers.discard(self)

    def __enter__(self) -> "Pinger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self, host: str, count: int = 4, interval: float = 1.0, timeout: float = 1.0) -> PingResult:
        """Ping one host. See the function ``ping``."""
        return self.multiping([host], count, interval, timeout)[0]

    def multiping(
        self,
        hosts: Iterable[str | Destination],
        count: int = 4,
        interval: float = 1.0,
        timeout: float = 1.0,
    ) -> list[PingResult]:
        """Ping many hosts at once; one result each, in the order given. See the function ``ping``."""
        destinations = self.resolve(hosts)
        return summarize(destinations, self.replies(destinations, count, interval, timeout))

    def replies(
        self,
        hosts: Iterable[str | Destination],
        count: int = 4,
        interval: float = 1.0,
        timeout: float = 1.0,
    ) -> Iterator[Reply]:
        """What becomes of each request to each host, as soon as it is known."""
        session = _Session(self, self.resolve(hosts), count, interval, timeout)
        try:
            while session.unfinished:
                self._advance(session)
                yield from session.told()
        finally:
            session.close()

    def resolve(self, hosts: Iterable[str | Destination]) -> list[Destination]:
        """Each host's first address, and the socket for it; a host that is named twice counts once.

        Raises NameNotResolved, InvalidArgument for what is not the address of one host, NotPermitted.
        """
        if isinstance(hosts, str):
            raise InvalidArgument(f"{hosts!r}: expected several hosts, as [{hosts!r}]")
        return [self._destination(host) if isinstance(host, str) else host for host in dict.fromkeys(hosts)]

    def _destination(self, host: str) -> Destination:
        found = resolve(host, family=self._family)[0]
        address = socket.inet_pton(found.family, found.address[0])
        if not _core.is_host(found.family, int.from_bytes(address, "big")):
            raise InvalidArgument(f"{host}: not the address of one host")
        if found.host.startswith("fe80:") and "%" not in found.host:
            raise InvalidArgument(f"{host}: a link-local address needs its interface, as {found.host}%eth0")
        return Destination(host, found.host, self.prober(found.family).engine, found)

    def prober(self, family: int) -> "_core.Prober":
        """The socket of a family, opened when it is first needed."""
        with self.lock:
            if family not in self._probers:
                prober = _core.Prober(
                    family, self._engine, source=self._source, ttl=self._ttl, size=self._size
                )
                self._probers[family] = prober
                self._poller.register(prober, EPOLLIN)
            return self._probers[family]

    def fileno(self) -> int:
        """Readable when there is something for one of the conversations."""
        return self._poller.fileno()

    def _advance(self, session: "_Session") -> None:
        """Send what is due, and wait for news: one thread reads for all, the others are told."""
        with self.lock:
            seconds = session.step()
            if session.news:
                return
            if self._reading:
                self.lock.wait(seconds)
                return
            self._reading = True
        try:
            self._poller.poll(seconds)
        finally:
            with self.lock:
                self._reading = False
                self.receive()
                self.lock.notify_all()

    def receive(self) -> None:
        """Hand what has arrived to the conversations that it is for."""
        for prober in self._probers.values():
            for answer in prober.receive():
                if session := self.sessions.get(answer.tag):
                    session.take(answer)


class _Probe:
    """One request, and what is known of it."""

    __slots__ = ("answered", "deadline_ns", "destination", "error", "seq")

    def __init__(self, destination: Destination, seq: int, deadline_ns: int) -> None:
        self.destination = destination
        self.seq = seq
        self.deadline_ns = deadline_ns
        self.error = "no answer"
        self.answered = False

    def replied(self, answer: "_core.Answer") -> Reply:
        host, address = self.destination[:2]
        reply = Reply(host, address, self.seq, answer.rtt_ns / 1e6, answer.ttl, None, self.answered)
        self.answered = True
        return reply

    def failed(self, error: str) -> Reply:
        return Reply(self.destination.host, self.destination.address, self.seq, None, None, error)


class _Session:
    """One conversation: when each request is due, which are awaited, and what became of them.

    It never waits, so that threads and asyncio both can drive it. ``step`` and ``take`` are called
    under the pinger's lock.
    """

    def __init__(
        self, pinger: Pinger, destinations: list[Destination], count: int, interval: float, timeout: float
    ) -> None:
        bounded("count", count, 1, MAX_COUNT)
        check_seconds("interval", interval)
        check_seconds("timeout", timeout, 0.001)
        self._pinger = pinger
        self._timeout = timeout
        self._schedule = _schedule(destinations, count, int(interval * _NANOSECOND))
        self._next = next(self._schedule, None)
        self._probes: dict[int, _Probe] = {}
        self._awaited: dict[int, _Probe] = {}
        """Those that may still be answered, by ticket, in the order of their deadlines."""
        self.news: deque[Reply] = deque()

    @property
    def unfinished(self) -> bool:
        return bool(self._next or self._awaited or self.news)

    def told(self) -> Iterator[Reply]:
        """Each piece of news, once."""
        while self.news:
            yield self.news.popleft()

    def close(self) -> None:
        """Answers to these requests concern nobody any more."""
        with self._pinger.lock:
            for ticket in self._probes:
                self._pinger.sessions.pop(ticket, None)

    def step(self) -> float:
        """Give up what is over its time and send what is due. The seconds until there is more to do."""
        now_ns = time.monotonic_ns()
        while (ticket := next(iter(self._awaited), None)) is not None:
            probe = self._awaited[ticket]
            if probe.deadline_ns > now_ns:
                break
            del self._awaited[ticket]
            self.news.append(probe.failed(probe.error))
        for _ in range(_BURST):
            if not self._next or self._next[0] > now_ns:
                break
            self._send(*self._next[1:])
            self._next = next(self._schedule, None)
        due_ns = [probe.deadline_ns for probe in islice(self._awaited.values(), 1)]
        if self._next:
            due_ns.append(self._next[0])
        return max(0, min(due_ns, default=0) - now_ns) / _NANOSECOND

    def _send(self, destination: Destination, seq: int) -> None:
        ticket = next(self._pinger.tickets)
        probe = _Probe(destination, seq, time.monotonic_ns() + int(self._timeout * _NANOSECOND))
        try:
            prober = self._pinger.prober(destination.resolved.family)
            prober.send(destination.resolved.address, ticket, self._timeout)
        except OSError as error:
            self.news.append(probe.failed(f"not sent: {explain_refusal(error.errno or 0)}"))
            return
        self._probes[ticket] = self._awaited[ticket] = probe
        self._pinger.sessions[ticket] = self

    def take(self, answer: "_core.Answer") -> None:
        """An answer to one of these requests. What comes after the timeout is no answer any more."""
        probe = self._probes[answer.tag]
        if answer.error is not None:
            probe.error = explain(probe.destination.resolved.family, answer)
        elif probe.answered or answer.tag in self._awaited:
            self._awaited.pop(answer.tag, None)
            self.news.append(probe.replied(answer))


def _schedule(
    destinations: list[Destination], count: int, interval_ns: int
) -> Iterator[tuple[int, Destination, int]]:
    """When each request is due, in order: a round to every host each interval, a little apart."""
    start_ns = time.monotonic_ns()
    apart_ns = min(_SPREAD_NS, interval_ns // max(1, len(destinations)))
    for seq in range(count):
        for place, destination in enumerate(destinations):
            yield start_ns + seq * interval_ns + place * apart_ns, destination, seq


_open_pingers: "weakref.WeakSet[Pinger]" = weakref.WeakSet()


def _after_fork() -> None:
    for pinger in list(_open_pingers):
        pinger.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def summarize(destinations: Iterable[Destination], replies: Iterable[Reply]) -> list[PingResult]:
    """What ``Pinger.replies`` told, put together to one result for each destination."""
    of: dict[str, list[Reply]] = {}
    for reply in replies:
        of.setdefault(reply.host, []).append(reply)
    return [
        PingResult(each.host, each.address, each.engine, tuple(of.get(each.host, ())))
        for each in destinations
    ]


_ERRORS = {
    socket.AF_INET: {
        (3, 0): "network unreachable",
        (3, 1): "host unreachable",
        (3, 2): "protocol unreachable",
        (3, 3): "port unreachable",
        (3, 4): "fragmentation needed",
        (3, 5): "source route failed",
        (3, 6): "network unknown",
        (3, 7): "host unknown",
        (3, 9): "network prohibited",
        (3, 10): "host prohibited",
        (3, 13): "administratively prohibited",
        (11, 0): "time to live exceeded",
        (11, 1): "reassembly time exceeded",
    },
    socket.AF_INET6: {
        (1, 0): "no route",
        (1, 1): "administratively prohibited",
        (1, 2): "beyond the scope of the source address",
        (1, 3): "host unreachable",
        (1, 4): "port unreachable",
        (1, 5): "source address failed policy",
        (1, 6): "route rejected",
        (2, 0): "packet too big",
        (3, 0): "hop limit exceeded",
        (3, 1): "reassembly time exceeded",
    },
}
"""ICMP types and codes of errors (RFC 792, RFC 1122, RFC 1812; RFC 4443)."""


def explain(family: int, answer: "_core.Answer") -> str:
    """An ICMP error in words: ``host unreachable from 10.0.0.1``."""
    kind, code = answer.error or (0, 0)
    words = _ERRORS[socket.AddressFamily(family)].get((kind, code), f"ICMP error type {kind} code {code}")
    if answer.info and (kind, code) in ((3, 4), (2, 0)):
        words += f" (MTU {answer.info})"
    return f"{words} from {answer.responder}"


def explain_refusal(code: int) -> str:
    """Why the system did not send, from its errno."""
    if code == _core.NOT_A_HOST:
        return "not the address of one host"
    words = os.strerror(code)
    if code == errno.EACCES:
        words += " (a broadcast address, or a local route prohibits it)"
    if code == errno.ENOBUFS:
        words += " (the send queue or the neighbour table is full)"
    return words


def ping(
    host: str,
    count: int = 4,
    interval: float = 1.0,
    timeout: float = 1.0,
    *,
    size: int = 56,
    ttl: int | None = None,
    source: str | None = None,
    family: int = socket.AF_UNSPEC,
    engine: str = "auto",
) -> PingResult:
    """Send ``count`` echo requests to a host, ``interval`` seconds apart; wait ``timeout`` for each reply.

    The other arguments are the Pinger's. A host that does not answer is a result, not an error. Raises
    NameNotResolved, NotPermitted (its message names the cures), InvalidArgument, NoAddress where
    ``source`` is not this machine's.
    """
    with Pinger(size=size, ttl=ttl, source=source, family=family, engine=engine) as pinger:
        return pinger.ping(host, count, interval, timeout)


def multiping(
    hosts: Iterable[str], count: int = 4, interval: float = 1.0, timeout: float = 1.0, **options: Any
) -> list[PingResult]:
    """Ping many hosts at once, over one socket a family: one result each, in the order given.

    A host that is named twice is pinged once. ``options`` are the Pinger's; raises what ``ping`` does,
    before anything is sent.
    """
    with Pinger(**options) as pinger:
        return pinger.multiping(hosts, count, interval, timeout)


async def ping_async(
    host: str, count: int = 4, interval: float = 1.0, timeout: float = 1.0, **options: Any
) -> PingResult:
    """``ping`` as a coroutine."""
    return (await multiping_async([host], count, interval, timeout, **options))[0]


async def multiping_async(
    hosts: Iterable[str], count: int = 4, interval: float = 1.0, timeout: float = 1.0, **options: Any
) -> list[PingResult]:
    """``multiping`` as a coroutine. Names are looked up in a thread; all else is the event loop's."""
    import asyncio

    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    replies: list[Reply] = []
    with Pinger(**options) as pinger:
        destinations = await asyncio.to_thread(pinger.resolve, hosts)
        session = _Session(pinger, destinations, count, interval, timeout)
        loop.add_reader(pinger, arrived.set)
        try:
            while session.unfinished:
                arrived.clear()
                seconds = session.step()
                if not session.news:
                    timer = loop.call_later(seconds, arrived.set)
                    await arrived.wait()
                    timer.cancel()
                pinger.receive()
                replies += session.told()
        finally:
            loop.remove_reader(pinger)
    return summarize(destinations, replies)


make_callable(__name__)
