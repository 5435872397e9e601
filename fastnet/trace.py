"""Which routers lie on the way to a host: probes that live for one hop more each, all at once.

Without any privilege by UDP: the errors that come back are read from the socket's own error queue
(IP_RECVERR, ip(7)). Or by ICMP echo, where that is permitted.
"""

import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

from fastnet._backend import probe as _core
from fastnet._callable import make_callable
from fastnet._limits import bounded, check_seconds
from fastnet._steps import READABLE, Steps, Wait, run, run_async
from fastnet.endpoints import Resolved
from fastnet.errors import InvalidArgument
from fastnet.ping.mtu import MTUSearch, PathMTU
from fastnet.ping.pinger import one_host, source_of
from fastnet.ping.reasons import PASSED, describe, explain_refusal, has_arrived

ENGINES = ("udp", "icmp", "raw", "datagram")
"""``icmp`` is the first of ``raw`` and ``datagram`` that is permitted."""
MAX_HOPS = 255
MAX_TRIES = 10

_NANOSECOND = 1_000_000_000
_WINDOW = 16
"""Probes awaited at most: routers answer few at a time."""


class Response(NamedTuple):
    """What became of one probe."""

    responder: str | None
    """The address that answered."""
    rtt_ms: float | None
    error: str | None
    """Why it went no further, other than that it had lived long enough or arrived: ``no answer``,
    ``host unreachable``, ``not sent: ...``, ``interrupted``."""


class Hop(NamedTuple):
    """All that came back from one distance."""

    ttl: int
    responses: tuple[Response, ...]

    @property
    def responders(self) -> list[str]:
        """Who answered, each once: more than one where the way branches."""
        return list(dict.fromkeys(each.responder for each in self.responses if each.responder))


class TraceResult(NamedTuple):
    """The way to a host, as far as it goes."""

    host: str
    address: str
    engine: str
    """``udp``, ``raw`` or ``datagram``: the kind of socket that was used."""
    hops: tuple[Hop, ...]
    reached: bool
    mtu: PathMTU | None
    """Where it was asked for."""


Tell = Callable[[Hop], object]


class Tracer:
    """A trace of the way to one host: made, its host is looked up and its sockets are open; see ``trace``.

    A context manager.
    """

    def __init__(
        self,
        host: str,
        max_hops: int = 30,
        tries: int = 3,
        timeout: float = 1.0,
        *,
        source: str | None = None,
        family: int = socket.AF_UNSPEC,
        engine: str = "udp",
        mtu: bool = False,
        to: Resolved | None = None,
        **options: Any,
    ) -> None:
        bounded("max_hops", max_hops, 1, MAX_HOPS)
        bounded("tries", tries, 1, MAX_TRIES)
        check_seconds("timeout", timeout, 0.001)
        if engine not in ENGINES:
            raise InvalidArgument(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
        family, source = source_of(source, family)
        self._to = to or one_host(host, family)
        self._tries, self._timeout = tries, timeout
        self._last = max_hops
        self._next = 0
        self._any_sent = False
        self._responses: dict[int, Response] = {}
        self._deadlines: deque[tuple[int, int]] = deque()
        """When each probe is given up, and its ticket, which is its place among all probes."""
        self._hops: list[Hop] = []
        self._reached = False
        self._mtu: PathMTU | None = None
        with ExitStack() as opened:
            kind = "auto" if engine == "icmp" else engine
            prober = _core.Prober(self._to.family, kind, source=source, **options)
            self._prober = opened.enter_context(closing(prober))
            self.host, self.address, self.engine = host, self._to.host, prober.engine
            self._search = None
            if mtu:
                options.pop("size", None)
                search = MTUSearch(host, source=source or None, engine=prober.engine, to=self._to, **options)
                self._search = opened.enter_context(search)
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> "Tracer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def result(self) -> TraceResult:
        """What is known so far."""
        return TraceResult(self.host, self.address, self.engine, tuple(self._hops), self._reached, self._mtu)

    def run(self, on_hop: Tell | None = None) -> TraceResult:
        """Trace, waiting in this thread."""
        return run(self.steps(on_hop))

    async def run_async(self, on_hop: Tell | None = None) -> TraceResult:
        """``run`` as a coroutine."""
        return await run_async(self.steps(on_hop))

    def steps(self, on_hop: Tell | None) -> Steps[TraceResult]:
        """The steps of ``run``."""
        while len(self._hops) < self._last:
            self._read()
            self._give_up()
            self._send_more()
            self._tell_known(on_hop)
            if len(self._hops) < self._last:
                yield Wait(self._prober.fileno(), READABLE, self._until())
        if self._search:
            self._mtu = yield from self._search.steps(self._timeout, 2)
        return self.result

    def break_off(self, on_hop: Tell | None = None) -> TraceResult:
        """Wait for no more: what is known of hops behind one that has not answered is told too."""
        self._read()
        answered = (ticket for ticket, each in self._responses.items() if each.responder)
        self._last = min(self._last, max(answered, default=-1) // self._tries + 1)
        for ticket in range(self._last * self._tries):
            self._responses.setdefault(ticket, Response(None, None, "interrupted"))
        self._tell_known(on_hop)
        return self.result

    def _read(self) -> None:
        for answer in self._prober.receive():
            self._take(answer)

    def _until(self) -> float:
        self._drop_answered()
        return self._deadlines[0][0] / _NANOSECOND if self._deadlines else time.monotonic()

    def _drop_answered(self) -> None:
        while self._deadlines and self._deadlines[0][1] in self._responses:
            self._deadlines.popleft()

    def _give_up(self) -> None:
        now_ns = time.monotonic_ns()
        self._drop_answered()
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            self._responses[self._deadlines.popleft()[1]] = Response(None, None, "no answer")
            self._drop_answered()

    def _send_more(self) -> None:
        waiting = sum(ticket not in self._responses for _, ticket in self._deadlines)
        while waiting < _WINDOW and self._next < self._last * self._tries:
            waiting += self._send(self._next)
            self._next += 1

    def _send(self, ticket: int) -> bool:
        deadline_ns = time.monotonic_ns() + int(self._timeout * _NANOSECOND)
        ttl = ticket // self._tries + 1
        try:
            self._prober.send(self._to.address, ticket, self._timeout, ttl=ttl)
        except OSError as error:
            reason = f"not sent: {explain_refusal(error.errno or 0)}"
            self._responses[ticket] = Response(None, None, reason)
            if not self._any_sent:
                self._last = 1
            return False
        self._any_sent = True
        self._deadlines.append((deadline_ns, ticket))
        return True

    def _take(self, answer: "_core.Answer") -> None:
        ticket = answer.tag
        if ticket in self._responses:
            return
        arrived = has_arrived(self._to, answer)
        passed = answer.error == PASSED[self._to.family]
        reason = None if arrived or passed else describe(self._to.family, answer)
        self._responses[ticket] = Response(answer.responder, answer.rtt_ns / 1e6, reason)
        if not passed:
            self._last = min(self._last, ticket // self._tries + 1)
            self._reached = self._reached or arrived

    def _tell_known(self, on_hop: Tell | None) -> None:
        """Tell of the hops that are complete, as those before them are, each once."""
        while len(self._hops) < self._last:
            first = len(self._hops) * self._tries
            found = [self._responses.get(ticket) for ticket in range(first, first + self._tries)]
            responses = tuple(each for each in found if each)
            if len(responses) < self._tries:
                return
            self._hops.append(Hop(len(self._hops) + 1, responses))
            if on_hop:
                on_hop(self._hops[-1])


def trace(
    host: str,
    max_hops: int = 30,
    tries: int = 3,
    timeout: float = 1.0,
    *,
    on_hop: Tell | None = None,
    **options: Any,
) -> TraceResult:
    """Find each hop up to ``max_hops`` on the way to a host, by ``tries`` probes, each awaited ``timeout``.

    ``on_hop`` is told each hop as soon as it and those before it are known. ``options`` are ``engine``, one
    of ``ENGINES`` (``udp``); ``mtu``, to look for the MTU of the path too; ``source`` and ``family``, and
    ``size``, ``interface``, ``mark`` and ``tos``, as of ``Pinger``. A host that is not reached is a result.
    Raises NameNotResolved, NotPermitted, InvalidArgument, NoAddress.
    """
    with Tracer(host, max_hops, tries, timeout, **options) as tracer:
        return tracer.run(on_hop)


async def trace_async(
    host: str,
    max_hops: int = 30,
    tries: int = 3,
    timeout: float = 1.0,
    *,
    source: str | None = None,
    family: int = socket.AF_UNSPEC,
    on_hop: Tell | None = None,
    **options: Any,
) -> TraceResult:
    """``trace`` as a coroutine. The name is looked up in a thread."""
    import asyncio

    family, source = await asyncio.to_thread(source_of, source, family)
    found = await asyncio.to_thread(one_host, host, family)
    with Tracer(host, max_hops, tries, timeout, source=source or None, to=found, **options) as tracer:
        return await tracer.run_async(on_hop)


def name_of(address: str) -> str | None:
    """The name of a responder, looked up in the DNS; None where it has none."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except socket.gaierror:
        return None


make_callable(__name__)
