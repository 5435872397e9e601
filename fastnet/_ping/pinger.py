"""Pings many hosts over one socket per family; threads take turns at reading it."""

import _socket as socket
import _thread
import os
from _collections_abc import AsyncIterator, Iterable, Iterator
from _weakref import ref
from itertools import count as numbers
from select import EPOLLIN, epoll

from fastnet._backend import probe as _core
from fastnet._engines import PingEngine
from fastnet._limits import Host, Timeout, bounded, check_choice, check_flag, check_type, host_text, several
from fastnet._log import WARNING, log, log_notes
from fastnet._ping.engines import ENGINES, check_tcp, open_prober
from fastnet._ping.lookup import MAX_SIZE, Destination, check_sending, checked, reason_of, source_of
from fastnet._ping.results import PingResult, Reply, result_of
from fastnet._ping.session import MAX_COUNT, Persistence, Plan, Session
from fastnet._typing import TYPE_CHECKING, Any, TypedDict, Unpack
from fastnet.endpoints import Resolved, addresses_of
from fastnet.errors import InvalidArgument, NameNotResolved

if TYPE_CHECKING:
    from fastnet._ping.tcp import TcpProber


class PingerOptions(TypedDict, total=False):
    """The arguments of ``Pinger``, which documents them."""

    size: int
    pattern: bytes
    ttl: int | None
    tos: int
    dont_fragment: bool | None
    source: "Host | None"
    interface: str
    mark: int
    family: int
    all_addresses: bool
    engine: PingEngine
    transmit_timestamps: bool


def finite_plan(count: int, interval: float, timeout: Timeout, **more: Unpack[Persistence]) -> Plan:
    """A plan with an end, made before sockets are opened: refusing an argument needs no privilege."""
    bounded("count", count, 1, MAX_COUNT)
    return Plan(count, interval, timeout, **more)


class Pinger:
    """Pings any number of hosts over one socket per family, from any number of threads.

    ``engine`` is the way to ask: ``icmp``, echo requests by a ``raw`` socket, else by a ``datagram`` one
    (``net.ipv4.ping_group_range``); ``udp``, datagrams to closed ports, which the host reports; ``tcp``,
    connections to ports 80, 443 and 22, which the host accepts or refuses; ``auto``, the first of these three
    that is permitted, and ``fallback`` has the reason if that is not ICMP. ``size`` is the payload in bytes,
    which ``pattern`` fills after the cookie of 16; ``ttl`` the TTL or hop limit, ``tos`` the TOS byte or
    traffic class (the DSCP times 4), ``source`` the address to send from, ``interface`` the only one to use,
    ``mark`` a firewall mark (needs CAP_NET_ADMIN), ``family`` what names resolve to; with ``all_addresses``
    each address of a name is pinged, not only the first. With ``dont_fragment`` True packets are never
    fragmented, whatever path MTU the kernel knows; False permits fragmentation; None is the kernel's default.
    ``tcp`` has no ``size``, ``pattern``, ``dont_fragment`` and ``mark``.
    Round-trip times start when the kernel hands a request to the driver or, with ``transmit_timestamps``
    False, right before it is sent: less exact, and less CPU time, as for a flood.
    Sockets open when they are first needed, and anew in a child after ``fork``. A context manager; close
    it when no thread uses it.
    """

    def __init__(
        self,
        *,
        size: int = 56,
        pattern: bytes = b"",
        ttl: int | None = None,
        tos: int = 0,
        dont_fragment: bool | None = None,
        source: "Host | None" = None,
        interface: str = "",
        mark: int = 0,
        family: int = socket.AF_UNSPEC,
        all_addresses: bool = False,
        engine: PingEngine = "auto",
        transmit_timestamps: bool = True,
    ) -> None:
        bounded("size", size, 0, MAX_SIZE)
        if ttl is not None:
            bounded("ttl", ttl, 1, 255)
        check_type("pattern", pattern, bytes, "bytes")
        interface = check_sending(interface, mark, tos)
        if dont_fragment is not None:
            check_flag("dont_fragment", dont_fragment)
        check_flag("all_addresses", all_addresses)
        check_flag("transmit_timestamps", transmit_timestamps)
        check_choice("engine", engine, ENGINES)
        self._engine = engine
        self._source, self._interface = source_of(source, family), interface
        self._all_addresses = all_addresses
        self._options: dict[str, Any] = {
            "size": size,
            "pattern": pattern,
            "ttl": ttl,
            "tos": tos,
            "dont_fragment": dont_fragment,
            "source": self._source.address,
            "interface": interface,
            "mark": mark,
            "transmit_timestamps": transmit_timestamps,
        }
        if engine == "tcp":
            check_tcp(self._options)
        self.fallback: str | None = None
        """Why ``auto`` did not choose ICMP, and what it chose; None before that, or if it did."""
        self._reset()

    def _reset(self) -> None:
        self.lock: _thread.RLock = _thread.RLock()
        self._waiting: list[_thread.LockType] = []
        """Each is held until what has arrived is read, for a thread that waits for it."""
        self.sessions: dict[int, Session] = {}
        self.tickets: numbers[int] = numbers()
        self._probers: dict[int, _core.Prober | TcpProber] = {}
        self._poller = epoll()
        self._reading = False
        self._registered = ref(self, _open_pingers.discard)
        _open_pingers.add(self._registered)

    def after_fork(self) -> None:
        """The child must not read its parent's replies: it opens sockets of its own."""
        self.close()
        self._reset()

    def close(self) -> None:
        self._poller.close()
        for prober in self._probers.values():
            prober.close()
        self._probers.clear()
        _open_pingers.discard(self._registered)

    def __repr__(self) -> str:
        """Its state, and the kind of its open sockets."""
        if self._poller.closed:
            return "<Pinger closed>"
        kinds = dict.fromkeys(f"{prober.engine} socket" for prober in self._probers.values())
        opened = ", ".join(kinds) or f"no socket yet (engine {self._engine})"
        return f"<Pinger open: {opened}>"

    def __enter__(self) -> "Pinger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(
        self,
        host: Host,
        count: int = 4,
        interval: float = 1.0,
        timeout: Timeout = 1.0,
        **more: Unpack[Persistence],
    ) -> PingResult:
        """Ping one host. See the function ``ping``."""
        plan = finite_plan(count, interval, timeout, **more)
        return self._pinged(self.look_up(host), plan)[0]

    def multiping(
        self,
        hosts: "Iterable[Host | Destination]",
        count: int = 4,
        interval: float = 1.0,
        timeout: Timeout = 1.0,
        **more: Unpack[Persistence],
    ) -> list[PingResult]:
        """Ping many hosts at once; one result for each address, in order. See the function ``ping``."""
        plan = finite_plan(count, interval, timeout, **more)
        return self._pinged(self.resolve(hosts), plan)

    def _pinged(self, destinations: list[Destination], plan: Plan) -> list[PingResult]:
        return summarize(destinations, self.follow(Session(self, destinations, plan)), plan.interval)

    def replies(
        self,
        hosts: "Iterable[Host | Destination]",
        count: int | None = 4,
        interval: float = 1.0,
        timeout: Timeout = 1.0,
        **more: Unpack[Persistence],
    ) -> Iterator[Reply]:
        """The result of each request to each host, as soon as it is known; ``count`` None has no end.

        The arguments are those of the function ``ping``.
        """
        return self.follow(self.begin(hosts, count, interval, timeout, **more))

    def begin(
        self,
        hosts: "Iterable[Host | Destination]",
        count: int | None = 4,
        interval: float = 1.0,
        timeout: Timeout = 1.0,
        **more: Unpack[Persistence],
    ) -> Session:
        """A session for ``follow``. The arguments are those of ``replies``."""
        plan = Plan(count, interval, timeout, **more)
        return Session(self, self.resolve(hosts), plan)

    def follow(self, session: Session) -> Iterator[Reply]:
        """The result of each request, as soon as it is known; after that, ``waiting`` has the others."""
        try:
            while session.unfinished:
                self.advance(session)
                yield from session.take_news()
        finally:
            with self.lock:
                session.close()

    async def replies_async(
        self,
        hosts: "Iterable[Host | Destination]",
        count: int | None = 4,
        interval: float = 1.0,
        timeout: Timeout = 1.0,
        **more: Unpack[Persistence],
    ) -> AsyncIterator[Reply]:
        """``replies`` for ``async for``. Names are looked up in a thread; all else is the event loop's."""
        import asyncio

        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        plan = Plan(count, interval, timeout, **more)
        session = Session(self, await asyncio.to_thread(self.resolve, hosts), plan)
        # An event loop has one reader per descriptor, and there may be many sessions.
        own = os.dup(self.fileno())
        loop.add_reader(own, arrived.set)
        try:
            while session.unfinished:
                arrived.clear()
                with self.lock:
                    seconds = session.step()
                if not session.news:
                    timer = loop.call_later(seconds, arrived.set)
                    await arrived.wait()
                    timer.cancel()
                with self.lock:
                    self.receive()
                for reply in session.take_news():
                    yield reply
        finally:
            loop.remove_reader(own)
            os.close(own)
            with self.lock:
                session.close()

    def resolve(self, hosts: "Iterable[Host | Destination]") -> list[Destination]:
        """Each host's address, or all of them, with the engine of its socket; duplicates count once.

        A name that does not resolve, or an address that is not one host's, has the error. Raises
        NotPermitted, NoSuchInterface, NoAddress if the source is not an address of this machine.
        """
        several("hosts", hosts, "several hosts, as ['::1']")
        given = [host if isinstance(host, Destination) else host_text("hosts", host) for host in hosts]
        found: dict[Destination, None] = {}
        for host in dict.fromkeys(given):
            for each in self._looked_up(host) if isinstance(host, str) else [host]:
                found[each] = None
        return list(found)

    def look_up(self, host: Host) -> list[Destination]:
        """One host, or each of its addresses. Raises NameNotResolved, InvalidArgument, and as ``resolve``."""
        host = host_text("host", host)
        return self._destinations(host, self._addresses(host))

    def _looked_up(self, host: str) -> list[Destination]:
        try:
            addresses = self._addresses(host)
        except (NameNotResolved, InvalidArgument) as error:
            reason = reason_of(error, host)
            log("ping", WARNING, f"{host}: {reason}")
            return [Destination(host, "", "", None, reason)]
        return self._destinations(host, addresses)

    def _addresses(self, host: str) -> list[Resolved]:
        found = addresses_of(host, family=self._source.family)[: None if self._all_addresses else 1]
        return [checked(host, each, self._source, self._interface) for each in found]

    def _destinations(self, host: str, addresses: list[Resolved]) -> list[Destination]:
        return [Destination(host, each.host, self.prober(each.family).engine, each) for each in addresses]

    def prober(self, family: int) -> "_core.Prober | TcpProber":
        """The socket of a family, opened when it is first needed."""
        return self._probers.get(family) or self._opened(family)

    def _opened(self, family: int) -> "_core.Prober | TcpProber":
        with self.lock:
            if family not in self._probers:
                prober, fallback = open_prober(family, self._engine, self._options)
                if fallback and fallback != self.fallback:
                    log("ping", WARNING, fallback)
                self.fallback = fallback or self.fallback
                self._probers[family] = prober
                self._poller.register(prober, EPOLLIN)
                log_notes("probe", prober.notes)
            return self._probers[family]

    @property
    def notes(self) -> list[str]:
        """The socket options that the system refused, and the effect."""
        return list(dict.fromkeys(note for prober in self._probers.values() for note in prober.notes))

    def fileno(self) -> int:
        """The descriptor that is readable when a message for one of the sessions arrives."""
        return self._poller.fileno()

    def has_unread(self) -> bool:
        """Whether a message has arrived that was not read yet."""
        return bool(self._poller.poll(0))

    def advance(self, session: "Session", longest: float = float("inf")) -> None:
        """Send what is due, and wait for results, at most so many seconds; ``session.take_news()`` has them.

        One thread reads for all, and wakes the others.
        """
        reader = False
        try:
            with self.lock:
                seconds = min(longest, session.step())
                if session.news:
                    return
                if self._reading:
                    read = _thread.allocate_lock()
                    read.acquire()
                    self._waiting.append(read)
                else:
                    reader = self._reading = True  # In one step: Ctrl-C may come between any two.
            if reader:
                self._poller.poll(seconds)
            else:
                read.acquire(timeout=seconds)
        finally:
            if reader:
                self._stop_reading()

    def _stop_reading(self) -> None:
        with self.lock:
            self._reading = False
            waiting, self._waiting = self._waiting, []
            try:
                self.receive()
            finally:
                for read in waiting:
                    read.release()

    def receive(self) -> None:
        """Pass the answers that have arrived to their sessions."""
        for prober in self._probers.values():
            for answer in prober.receive():
                if session := self.sessions.get(answer.tag):
                    session.take(answer)


_open_pingers: set[ref[Pinger]] = set()


def _after_fork() -> None:
    for each in [*_open_pingers]:
        if pinger := each():
            pinger.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def summarize(
    destinations: Iterable[Destination], replies: Iterable[Reply], interval: float
) -> list[PingResult]:
    """The results of ``Pinger.replies``, combined to one for each destination."""
    of: dict[tuple[str, str], list[Reply]] = {}
    for reply in replies:
        of.setdefault((reply.host, reply.address), []).append(reply)
    return [
        result_of(each.host, each.address, each.engine, of.get((each.host, each.address), ()), interval)
        for each in destinations
    ]
