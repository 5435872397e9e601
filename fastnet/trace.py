"""Which routers lie on the way to a host: probes that live for one hop more each, all at once.

Without any privilege by UDP: the errors that come back are read from the socket's own error queue
(IP_RECVERR, ip(7)). Or by ICMP echo, where that is permitted.
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from fastnet._backend import probe as _core
from fastnet._callable import make_callable
from fastnet._limits import bounded, check_seconds
from fastnet._steps import READABLE, Steps, Wait, run, run_async
from fastnet.endpoints import Resolved, resolve
from fastnet.errors import InvalidArgument
from fastnet.ping.mtu import PathMTU, search
from fastnet.ping.pinger import source_of
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
    ``host unreachable``, ``not sent: ...``."""


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


def trace(
    host: str,
    max_hops: int = 30,
    tries: int = 3,
    timeout: float = 1.0,
    *,
    source: str | None = None,
    family: int = socket.AF_UNSPEC,
    engine: str = "udp",
    mtu: bool = False,
    on_hop: Tell | None = None,
    **options: Any,
) -> TraceResult:
    """Find each hop up to ``max_hops`` on the way to a host, by ``tries`` probes, each awaited ``timeout``.

    ``mtu`` looks for the MTU of the path too. ``on_hop`` is told each hop as soon as it and those before it
    are known. ``options`` are ``size``, ``interface``, ``mark`` and ``tos``, as of ``Pinger``. A
    host that is not reached is a result. Raises NameNotResolved, NotPermitted, InvalidArgument, NoAddress.
    """
    family, options["source"] = source_of(source, family)
    route = _Route(host, resolve(host, family=family)[0], max_hops, tries, timeout, engine, options)
    return run(route.steps(mtu, on_hop))


async def trace_async(
    host: str,
    max_hops: int = 30,
    tries: int = 3,
    timeout: float = 1.0,
    *,
    source: str | None = None,
    family: int = socket.AF_UNSPEC,
    engine: str = "udp",
    mtu: bool = False,
    on_hop: Tell | None = None,
    **options: Any,
) -> TraceResult:
    """``trace`` as a coroutine. The name is looked up in a thread."""
    import asyncio

    family, options["source"] = await asyncio.to_thread(source_of, source, family)
    found = await asyncio.to_thread(resolve, host, family=family)
    route = _Route(host, found[0], max_hops, tries, timeout, engine, options)
    return await run_async(route.steps(mtu, on_hop))


def name_of(address: str) -> str | None:
    """The name of a responder, looked up in the DNS; None where it has none."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except socket.gaierror:
        return None


class _Route:
    """A trace under way: which probes are out, and what came back."""

    def __init__(
        self,
        host: str,
        to: Resolved,
        max_hops: int,
        tries: int,
        timeout: float,
        engine: str,
        options: dict[str, Any],
    ) -> None:
        bounded("max_hops", max_hops, 1, MAX_HOPS)
        bounded("tries", tries, 1, MAX_TRIES)
        check_seconds("timeout", timeout, 0.001)
        if engine not in ENGINES:
            raise InvalidArgument(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
        if not _core.is_host(to.family, int.from_bytes(socket.inet_pton(to.family, to.address[0]), "big")):
            raise InvalidArgument(f"{host}: not the address of one host")
        self._host, self._to = host, to
        self._tries, self._timeout = tries, timeout
        self._engine = "auto" if engine == "icmp" else engine
        self._options = options
        self._last = max_hops
        self._reached = False
        self._next = 0
        self._any_sent = False
        self._responses: dict[int, Response] = {}
        self._deadlines: deque[tuple[int, int]] = deque()
        """When each probe is given up, and its ticket, which is its place among all probes."""
        self._hops: list[Hop] = []

    def steps(self, mtu: bool, on_hop: Tell | None) -> Steps[TraceResult]:
        with closing(_core.Prober(self._to.family, self._engine, **self._options)) as prober:
            while len(self._hops) < self._last:
                for answer in prober.receive():
                    self._take(answer)
                self._give_up()
                self._send_more(prober)
                for hop in self._known():
                    if on_hop:
                        on_hop(hop)
                if len(self._hops) < self._last:
                    yield Wait(prober.fileno(), READABLE, self._until())
        found = None
        if mtu:
            known = {name: value for name, value in self._options.items() if name != "size"}
            found = yield from search(self._host, self._to, self._timeout, 2, prober.engine, known)
        hops = tuple(self._hops)
        return TraceResult(self._host, self._to.host, prober.engine, hops, self._reached, found)

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

    def _send_more(self, prober: "_core.Prober") -> None:
        waiting = sum(ticket not in self._responses for _, ticket in self._deadlines)
        while waiting < _WINDOW and self._next < self._last * self._tries:
            waiting += self._send(prober, self._next)
            self._next += 1

    def _send(self, prober: "_core.Prober", ticket: int) -> bool:
        deadline_ns = time.monotonic_ns() + int(self._timeout * _NANOSECOND)
        ttl = ticket // self._tries + 1
        try:
            prober.send(self._to.address, ticket, self._timeout, ttl=ttl)
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

    def _known(self) -> Iterator[Hop]:
        """The hops that are complete, as those before them are, each once."""
        while len(self._hops) < self._last:
            first = len(self._hops) * self._tries
            found = [self._responses.get(ticket) for ticket in range(first, first + self._tries)]
            responses = tuple(each for each in found if each)
            if len(responses) < self._tries:
                return
            self._hops.append(Hop(len(self._hops) + 1, responses))
            yield self._hops[-1]


make_callable(__name__)
