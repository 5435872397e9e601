"""The largest packet that reaches a host unfragmented: path-MTU discovery (RFC 1191, RFC 8201)."""

import _socket as socket
import errno
import time

from fastnet._backend import probe as _core
from fastnet._coroutines import coroutine_of
from fastnet._engines import MTUEngine
from fastnet._limits import Host, bounded, check_choice, check_seconds, check_type, host_text
from fastnet._log import log_notes
from fastnet._ping.engines import open_core
from fastnet._ping.lookup import check_sending, one_host, source_of
from fastnet._ping.shortage import Shortage
from fastnet._reasons import TOO_BIG, explain, explain_refusal, has_arrived
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, Steps, Wait, run, run_async
from fastnet._typing import Any, NamedTuple, get_args
from fastnet.endpoints import Resolved

ENGINES: tuple[MTUEngine, ...] = get_args(MTUEngine)

_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""Before the payload: IP without options, and ICMP or UDP."""
_SMALLEST = {socket.AF_INET: 68, socket.AF_INET6: 1280}
"""Minimum MTU of every link (RFC 791, RFC 8200)."""
_LARGEST = 65535
_USUAL = 1500


class PathMTU(NamedTuple):
    """The MTU of a path."""

    host: str
    """The host as it was given."""
    address: str
    engine: str
    mtu: int | None
    """In bytes, IP header included; None if the host does not answer at all."""
    limits: tuple[tuple[str, int], ...]
    """Routers that reported a packet as too big, and the MTU of the link behind each."""
    error: str | None
    """The reason if there is no MTU."""

    def __str__(self) -> str:
        """In words: ``path MTU 1400, 1400 behind 10.0.0.1``."""
        if self.mtu is None:
            return f"no MTU: {self.error}"
        limits = "".join(f", {mtu} behind {router}" for router, mtu in self.limits)
        return f"path MTU {self.mtu}{limits}"

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class _Verdict(NamedTuple):
    arrived: bool
    limit: tuple[str, int] | None = None
    error: str = "no answer"


class MTUSearch:
    """A search for the size at which packets that must not be fragmented still arrive.

    The constructor looks up the host and opens the one socket; see ``path_mtu``. A context manager.
    """

    def __init__(
        self,
        host: Host,
        *,
        source: "Host | None" = None,
        family: int = socket.AF_UNSPEC,
        engine: MTUEngine = "auto",
        interface: str = "",
        mark: int = 0,
        tos: int = 0,
        to: Resolved | None = None,
    ) -> None:
        check_choice("engine", engine, ENGINES)
        found = source_of(source, family)
        interface = check_sending(interface, mark, tos)
        if to is not None:
            check_type("to", to, Resolved, "a resolved address")
        self._to = to or one_host(host, found, interface)
        options = {
            "size": _LARGEST - _HEADERS[self._to.family],
            "dont_fragment": True,
            "source": found.address,
            "interface": interface,
            "mark": mark,
            "tos": tos,
        }
        self.fallback: str | None
        self._prober, self.fallback = open_core(self._to.family, engine, options)
        """Why ``auto`` did not choose ICMP, and what it chose."""
        self.host: str = host_text("host", host)
        self.address: str = self._to.host
        self.engine: str = self._prober.engine
        self.notes: tuple[str, ...] = self._prober.notes
        """The socket options that the system refused, and the effect."""
        log_notes("probe", self.notes)

    def close(self) -> None:
        self._prober.close()

    def __enter__(self) -> "MTUSearch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, timeout: float = 1.0, retries: int = 2) -> PathMTU:
        """Search, waiting in this thread. Raises InvalidArgument."""
        return run(self.steps(timeout, retries))

    async def run_async(self, timeout: float = 1.0, retries: int = 2) -> PathMTU:
        """``run`` as a coroutine."""
        return await run_async(self.steps(timeout, retries))

    def steps(self, timeout: float, retries: int) -> Steps[PathMTU]:
        """The steps of ``run``."""
        check_timing(timeout, retries)
        host, address, engine = self.host, self.address, self.engine
        low, high, size = 0, _LARGEST, _SMALLEST[self._to.family]
        limits: list[tuple[str, int]] = []
        hint = _USUAL
        while low < high:
            verdict = yield from self._try(size, timeout, retries)
            if verdict.arrived:
                low = size
            elif not low:
                return PathMTU(host, address, engine, None, (), verdict.error)
            else:
                high = size - 1
                if verdict.limit:
                    limits.append(verdict.limit)
                    # A router without RFC 1191 sends 0; and a report is ignored if it contradicts what was
                    # seen.
                    if low <= verdict.limit[1] <= high:
                        high = hint = verdict.limit[1]
            size = hint if low < hint <= high else (low + high + 1) // 2
        return PathMTU(host, address, engine, low, tuple(limits), None)

    def _try(self, size: int, timeout: float, retries: int) -> Steps[_Verdict]:
        """Whether a packet of this size arrives whole."""
        prober = self._prober
        verdict = _Verdict(False)
        for _ in range(retries + 1):
            try:
                yield from self._send(size, timeout)
            except OSError as error:
                verdict = _Verdict(False, error=f"not sent: {explain_refusal(error.errno or 0)}")
                if error.errno == errno.EMSGSIZE:
                    return verdict
                continue
            deadline = time.monotonic() + timeout
            while (yield Wait(prober.fileno(), READABLE, deadline)):
                # A late answer to another size.
                for answer in (each for each in prober.receive() if each.tag == size):
                    verdict = _judge(self._to, answer)
                    if verdict.arrived or verdict.limit:
                        return verdict
        return verdict

    def _send(self, size: int, timeout: float) -> Steps[None]:
        """Send a packet of this size, once there is room for it. Raises OSError."""
        shortage = Shortage()
        while True:
            try:
                return self._prober.send(
                    self._to.address, size, timeout, size=size - _HEADERS[self._to.family]
                )
            except OSError as error:
                if not shortage.waits(error):
                    raise
            yield Wait(self._prober.fileno(), 0, shortage.until)


def path_mtu(
    host: Host,
    timeout: float = 1.0,
    *,
    retries: int = 2,
    source: "Host | None" = None,
    family: int = socket.AF_UNSPEC,
    engine: MTUEngine = "auto",
    interface: str = "",
    mark: int = 0,
    tos: int = 0,
) -> PathMTU:
    """Search for the size at which packets that must not be fragmented still arrive.

    Each size is tried up to ``retries`` more times, ``timeout`` seconds each: a router that drops what is too
    big without an error costs that much a step. ``engine`` is one of ``Pinger``'s, but not ``tcp``; the other
    options are those of ``Pinger``. The ``mtu`` of the result is in bytes. Raises NameNotResolved,
    NotPermitted, InvalidArgument, NoAddress.
    """
    check_timing(timeout, retries)
    with MTUSearch(
        host, source=source, family=family, engine=engine, interface=interface, mark=mark, tos=tos
    ) as search:
        return search.run(timeout, retries)


@coroutine_of(path_mtu)
async def path_mtu_async(
    host: Host,
    timeout: float = 1.0,
    *,
    retries: int = 2,
    source: "Host | None" = None,
    family: int = socket.AF_UNSPEC,
    engine: MTUEngine = "auto",
    interface: str = "",
    mark: int = 0,
    tos: int = 0,
) -> PathMTU:
    """``fastnet.path_mtu`` as a coroutine; the name is looked up in a thread."""
    import asyncio

    check_timing(timeout, retries)
    found = await asyncio.to_thread(source_of, source, family)
    to = await asyncio.to_thread(one_host, host, found, interface)
    with MTUSearch(
        host, source=found.address or None, engine=engine, interface=interface, mark=mark, tos=tos, to=to
    ) as search:
        return await search.run_async(timeout, retries)


def check_timing(timeout: float, retries: int) -> None:
    """Raises InvalidArgument for what is out of range."""
    check_seconds("timeout", timeout, 0.001)
    bounded("retries", retries, 0, 100)


def _judge(to: Resolved, answer: "_core.Answer") -> _Verdict:
    if has_arrived(to, answer):
        return _Verdict(True)
    error = explain(to.family, answer)
    if answer.error in TOO_BIG:
        return _Verdict(False, (answer.responder, answer.info), error)
    return _Verdict(False, error=error)
