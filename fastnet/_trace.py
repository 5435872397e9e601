"""The routers on the way to a host: probes with increasing TTLs, all at once.

Without any privilege by UDP: the errors that come back are read from the socket's own error queue
(IP_RECVERR, ip(7)). Or by ICMP echo, where that is permitted.
"""

import _socket as socket
import time
from _collections_abc import Callable

from fastnet._backend import probe as _core
from fastnet._coroutines import coroutine_of
from fastnet._engines import TraceEngine
from fastnet._escape import escaped
from fastnet._limits import (
    Host,
    bounded,
    check_callback,
    check_choice,
    check_flag,
    check_seconds,
    check_type,
    host_text,
)
from fastnet._log import log_notes
from fastnet._ping.lookup import MAX_SIZE, check_sending, one_host, source_of
from fastnet._ping.mtu import MTUSearch, PathMTU
from fastnet._ping.shortage import Shortage
from fastnet._reasons import (
    PASSED,
    describe,
    explain_refusal,
    has_arrived,
    is_expected,
    mark_of,
)
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, Steps, Wait, run, run_async
from fastnet._system.names import host_by_system
from fastnet._typing import Any, NamedTuple, TypedDict, Unpack, deque, get_args
from fastnet.endpoints import Resolved

ENGINES: tuple[TraceEngine, ...] = get_args(TraceEngine)
MAX_HOPS = 255
MAX_TRIES = 10

_NANOSECOND = 1_000_000_000
_WINDOW = 16
"""Maximum awaited probes: routers answer few at a time."""
_LONGER = 4
"""Factor of the timeout if nothing answers in time: a router needs 3 s to find that a host is missing."""


class Response(NamedTuple):
    """The result of one probe."""

    responder: str | None
    """The address that answered."""
    rtt_ms: float | None
    error: str | None
    """Why it went no further, other than that it had lived long enough or arrived: ``no answer``,
    ``host unreachable``, ``not sent: ...``, ``interrupted``. Of the destination: its own error."""
    mark: str | None = None
    """An ICMP error as traceroute(8) marks it: ``!H``, ``!N``, ``!X``, ``!P``, ``!F-1400``, ``!<3>``."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Hop(NamedTuple):
    """The answers at one TTL."""

    ttl: int
    responses: tuple[Response, ...]

    @property
    def responders(self) -> list[str]:
        """The responders, each once: more than one if the path branches."""
        return list(dict.fromkeys(each.responder for each in self.responses if each.responder))

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class TraceResult(NamedTuple):
    """The path to a host, as far as it was found."""

    host: str
    address: str
    engine: str
    """``udp``, ``raw`` or ``datagram``: the kind of socket that was used."""
    hops: tuple[Hop, ...]
    reached: bool
    """Whether the destination is among those that answered."""
    mtu: PathMTU | None
    """Where it was asked for."""

    @property
    def error(self) -> str | None:
        """The reason for its end, or the error that the destination sent itself; else None.

        As in ``host unreachable from 10.0.0.1``.
        """
        itself = self.address.partition("%")[0]
        for each in self.hops[-1].responses if self.hops else ():
            if each.mark and (each.responder == itself or not self.reached):
                return f"{each.error} from {each.responder}"
        return None

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


OnHop = Callable[[Hop], object]


class TraceOptions(TypedDict, total=False):
    """What ``Tracer`` takes by name; ``trace`` documents each of them."""

    source: "Host | None"
    family: int
    engine: TraceEngine
    mtu: bool
    size: int
    interface: str
    mark: int
    tos: int


class Tracer:
    """A trace of the path to one host. The constructor looks it up and opens the sockets; see ``trace``.

    A context manager.
    """

    def __init__(
        self,
        host: Host,
        max_hops: int = 30,
        tries: int = 3,
        timeout: float = 1.0,
        *,
        source: "Host | None" = None,
        family: int = socket.AF_UNSPEC,
        engine: TraceEngine = "udp",
        mtu: bool = False,
        size: int = 56,
        interface: str = "",
        mark: int = 0,
        tos: int = 0,
        to: Resolved | None = None,
    ) -> None:
        bounded("max_hops", max_hops, 1, MAX_HOPS)
        bounded("tries", tries, 1, MAX_TRIES)
        check_seconds("timeout", timeout, 0.001)
        check_choice("engine", engine, ENGINES)
        check_flag("mtu", mtu)
        bounded("size", size, 0, MAX_SIZE)
        interface = check_sending(interface, mark, tos)
        found = source_of(source, family)
        if to is not None:
            check_type("to", to, Resolved, "a resolved address")
        self._to = to or one_host(host, found, interface)
        self._tries, self._timeout_ns = tries, int(timeout * _NANOSECOND)
        self._max_hops = max_hops
        self._begin()
        sending: dict[str, Any] = {"interface": interface, "mark": mark, "tos": tos}
        kind = "auto" if engine == "icmp" else engine
        prober = _core.Prober(self._to.family, kind, size=size, source=found.address, **sending)
        self._prober = prober
        self._search: MTUSearch | None = None
        try:
            self.host: str = host_text("host", host)
            self.address: str = self._to.host
            self.engine: str = prober.engine
            self.notes: tuple[str, ...] = prober.notes
            """The socket options that the system refused, and the effect."""
            log_notes("probe", self.notes)
            if mtu:
                sending["engine"] = prober.engine
                self._search = MTUSearch(host, source=source, to=self._to, **sending)
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Nothing is sent or known yet."""
        self._next = 0
        self._any_sent = False
        self._shortage = Shortage()
        self._responses: dict[int, Response] = {}
        """What came of each probe, by its ticket, which is its place among all probes."""
        self._arrived: set[int] = set()
        """Tickets of those that came to the destination."""
        self._furthest = self._prompt = self._passed = 0
        """The highest TTL of a probe that was answered, in time, and that ended on its way on."""
        self._ends: set[int] = set()
        """The TTLs of those that were turned away."""
        self._deadlines: deque[tuple[int, int]] = deque()
        """When each probe is given up, and its ticket."""
        self._sent_ns: dict[int, int] = {}
        self._hops: list[Hop] = []
        self._mtu: PathMTU | None = None

    def close(self) -> None:
        if self._search:
            self._search.close()
        self._prober.close()

    def __enter__(self) -> "Tracer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def result(self) -> TraceResult:
        """What is known so far."""
        reached = any(ticket < len(self._hops) * self._tries for ticket in self._arrived)
        return TraceResult(self.host, self.address, self.engine, tuple(self._hops), reached, self._mtu)

    def run(self, on_hop: OnHop | None = None) -> TraceResult:
        """Trace, waiting in this thread."""
        check_callback("on_hop", on_hop)
        return run(self.steps(on_hop))

    async def run_async(self, on_hop: OnHop | None = None) -> TraceResult:
        """``run`` as a coroutine."""
        check_callback("on_hop", on_hop)
        return await run_async(self.steps(on_hop))

    def steps(self, on_hop: OnHop | None) -> Steps[TraceResult]:
        """The steps of ``run``."""
        while len(self._hops) < self._last():
            self._read()
            self._give_up()
            self._send_more()
            self._report_known(on_hop)
            if len(self._hops) < self._last():
                yield Wait(self._prober.fileno(), READABLE, self._until_ns() / _NANOSECOND)
        if self._search:
            self._mtu = yield from self._search.steps(self._timeout_ns / _NANOSECOND, 2)
        return self.result

    def break_off(self, on_hop: OnHop | None = None) -> TraceResult:
        """Wait for no more: what is known of hops behind one that has not answered is reported too."""
        check_callback("on_hop", on_hop)
        self._read()
        self._max_hops = min(self._max_hops, self._furthest)
        awaited = {ticket for _, ticket in self._deadlines}
        for hop in range(len(self._hops), self._max_hops):
            longer = time.monotonic_ns() < self._longer_ns(hop)
            for ticket in self._unknown(hop):
                given_up = ticket in self._sent_ns and ticket not in awaited and not longer
                reason = "no answer" if given_up else "interrupted"
                self._responses[ticket] = Response(None, None, reason)
        self._deadlines.clear()
        self._report_known(on_hop)
        return self.result

    def _last(self) -> int:
        """The TTL at which the trace ends: of the destination, or where a probe is turned away.

        Not where others went on from there, as the way branches.
        """
        if self._arrived:
            return min(self._arrived) // self._tries + 1
        return min((ttl for ttl in self._ends if ttl > self._passed), default=self._max_hops)

    def _read(self) -> None:
        for answer in self._prober.receive():
            self._take(answer)

    def _until_ns(self) -> int:
        """When there is more to do, if nothing comes."""
        self._drop_answered()
        times = [self._deadlines[0][0]] if self._deadlines else []
        if self._shortage.since_ns:
            times.append(self._shortage.until_ns)
        return min(times, default=self._longer_ns(len(self._hops)))

    def _drop_answered(self) -> None:
        while self._deadlines and self._deadlines[0][1] in self._responses:
            self._deadlines.popleft()

    def _give_up(self) -> None:
        """What is given up makes room for others; a later answer counts until its hop is reported."""
        now_ns = time.monotonic_ns()
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            self._deadlines.popleft()
        self._drop_answered()

    def _send_more(self) -> None:
        waiting = sum(ticket not in self._responses for _, ticket in self._deadlines)
        while waiting < _WINDOW and self._next < self._last() * self._tries:
            sent = self._send(self._next)
            if sent is None:
                return
            waiting += sent
            self._next += 1

    def _send(self, ticket: int) -> bool | None:
        """Whether it was sent; None where it is to be tried again."""
        now_ns = time.monotonic_ns()
        try:
            seconds = _LONGER * self._timeout_ns / _NANOSECOND
            self._prober.send(self._to.address, ticket, seconds, ttl=ticket // self._tries + 1)
        except OSError as error:
            if self._shortage.waits(error):
                return None
            reason = f"not sent: {explain_refusal(error.errno or 0)}"
            self._responses[ticket] = Response(None, None, reason)
            if not self._any_sent:
                self._max_hops = 1
            return False
        self._any_sent = True
        self._shortage.since_ns = 0
        self._sent_ns[ticket] = now_ns
        self._deadlines.append((now_ns + self._timeout_ns, ticket))
        return True

    def _take(self, answer: "_core.Answer") -> None:
        ticket, family = answer.tag, self._to.family
        if ticket in self._responses or ticket < len(self._hops) * self._tries:
            return
        expected = is_expected(self._to, answer)
        words = (None, None) if expected else (describe(family, answer), mark_of(family, answer))
        self._responses[ticket] = Response(answer.responder, answer.rtt_ns / 1e6, *words)
        ttl = ticket // self._tries + 1
        self._furthest = max(self._furthest, ttl)
        if answer.rtt_ns <= self._timeout_ns:
            self._prompt = max(self._prompt, ttl)
        if has_arrived(self._to, answer):
            self._arrived.add(ticket)
        elif answer.error == PASSED[family]:
            self._passed = max(self._passed, ttl)
        else:
            self._ends.add(ttl)

    def _report_known(self, on_hop: OnHop | None) -> None:
        """Report the hops that are complete, as those before them are, each once."""
        awaited = {ticket for _, ticket in self._deadlines}
        while len(self._hops) < self._last():
            unknown = self._unknown(len(self._hops))
            if any(each in awaited or each >= self._next for each in unknown):
                return
            if unknown and time.monotonic_ns() < self._longer_ns(len(self._hops)):
                return
            silent = Response(None, None, "no answer")
            responses = tuple(self._responses.get(each, silent) for each in self._tickets(len(self._hops)))
            self._hops.append(Hop(len(self._hops) + 1, responses))
            if on_hop:
                on_hop(self._hops[-1])

    def _tickets(self, hop: int) -> range:
        """Those of all probes of a hop, counted from 0."""
        return range(hop * self._tries, (hop + 1) * self._tries)

    def _unknown(self, hop: int) -> list[int]:
        return [each for each in self._tickets(hop) if each not in self._responses]

    def _longer_ns(self, hop: int) -> int:
        """Until when a hop, counted from 0, is awaited although its timeouts are over; 0 where it is not.

        It is while nothing came in time, from it or from behind: what came late may be followed by more.
        """
        if self._prompt > hop:
            return 0
        if self._furthest <= hop:
            return self._gone_ns()
        sent_ns = [self._sent_ns.get(each, 0) for each in self._unknown(hop)]
        return max(sent_ns, default=0) + _LONGER * self._timeout_ns

    def _gone_ns(self) -> int:
        """When the first hop behind all that answered is given up, and those that follow it sooner."""
        newest = min((self._furthest + 1) * self._tries, self._next) - 1
        return self._sent_ns.get(newest, 0) + _LONGER * self._timeout_ns


def trace(
    host: Host,
    max_hops: int = 30,
    tries: int = 3,
    timeout: float = 1.0,
    *,
    on_hop: OnHop | None = None,
    **options: Unpack[TraceOptions],
) -> TraceResult:
    """Find each hop up to ``max_hops`` on the way to a host, by ``tries`` probes each.

    A probe is awaited for ``timeout`` seconds. ``on_hop`` is called with each hop once it and those before
    it are known. ``options`` are ``engine``, ``udp`` unless given, ``icmp``, ``raw`` or ``datagram``;
    ``mtu``, to look for the MTU of the path too; ``source`` and ``family``, and ``size``, ``interface``,
    ``mark`` and ``tos``, as of ``Pinger``. A host that is not reached is a result. Raises NameNotResolved,
    NotPermitted, InvalidArgument, NoAddress.
    """
    check_callback("on_hop", on_hop)
    with Tracer(host, max_hops, tries, timeout, **options) as tracer:
        return tracer.run(on_hop)


@coroutine_of(trace)
async def trace_async(
    host: Host,
    max_hops: int = 30,
    tries: int = 3,
    timeout: float = 1.0,
    *,
    on_hop: OnHop | None = None,
    **options: Unpack[TraceOptions],
) -> TraceResult:
    """``fastnet.trace`` as a coroutine; the name is looked up in a thread."""
    import asyncio

    check_callback("on_hop", on_hop)
    family = options.get("family", socket.AF_UNSPEC)
    found = await asyncio.to_thread(source_of, options.get("source"), family)
    to = await asyncio.to_thread(one_host, host, found, options.get("interface", ""))
    options["source"] = found.address or None
    with Tracer(host, max_hops, tries, timeout, to=to, **options) as tracer:
        return await tracer.run_async(on_hop)


def name_of(address: str) -> str | None:
    """The name of a responder, looked up in the DNS, and escaped; None where it has none."""
    try:
        return escaped(host_by_system((address, 0), socket.NI_NAMEREQD))
    except socket.gaierror:
        return None
