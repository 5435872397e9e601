"""Which hosts of a target space answer, and which do not.

Every target ends as exactly one of: alive, inactive (it was sent to each time and nothing came back),
unreachable (somebody said why) or not probed (the system did not send, and why). What was not probed is
never called inactive.
"""

import os
import socket
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import count as numbers
from itertools import islice
from typing import Any, NamedTuple, Protocol, overload

from fastnet._backend import probe as _core
from fastnet._callable import make_callable
from fastnet._limits import bounded, check_seconds
from fastnet._reference import reference
from fastnet.errors import InvalidArgument, NotPermitted
from fastnet.ping import explain, explain_refusal
from fastnet.targets import Span, Targets, address_text

ENGINES = ("auto", *_core.ENGINES, "scapy")
MAX_TARGETS = 1 << 20
MAX_RETRIES = 100
MAX_WINDOW = 4096
MAX_RATE = 1_000_000.0

NOT_PROBED, INACTIVE, UNREACHABLE, ALIVE = STATES = ("not probed", "inactive", "unreachable", "alive")
"""The words for the core's states, in its order."""

_SLICE_SECONDS = 0.1


class Verdict(NamedTuple):
    """What a sweep found out about one target."""

    address: str
    state: str
    """One of ``STATES``."""
    rtt_ms: float | None
    """The round-trip time of an alive one."""
    reason: str | None
    """Why it is unreachable, or was not probed."""


class Counts(NamedTuple):
    """How many targets ended in each state."""

    alive: int
    inactive: int
    unreachable: int
    not_probed: int


class SweepResult(Sequence[Verdict]):
    """The verdicts in the order of the targets, each made when it is looked at."""

    def __init__(
        self,
        targets: Targets,
        engine: str,
        complete: bool,
        states: bytes,
        rtts_ms: "array[float]",
        reasons: dict[int, str],
    ) -> None:
        self.targets = targets
        self.engine = engine
        """``raw``, ``datagram`` or ``scapy``."""
        self.complete = complete
        """False where it was interrupted: a target without a verdict counts as not probed."""
        self._states, self._rtts_ms, self._reasons = states, rtts_ms, reasons

    @property
    def counts(self) -> Counts:
        order = (_core.ALIVE, _core.SILENT, _core.UNREACHABLE, _core.PENDING)
        return Counts(*map(self._states.count, order))

    @property
    def alive(self) -> list[Verdict]:
        return self._of(_core.ALIVE)

    @property
    def inactive(self) -> list[Verdict]:
        """Those that were sent to, as often as asked for, and from which nothing came back."""
        return self._of(_core.SILENT)

    @property
    def unreachable(self) -> list[Verdict]:
        """Those about which an ICMP error came back, and no reply; the reason says what and from whom."""
        return self._of(_core.UNREACHABLE)

    @property
    def not_probed(self) -> list[Verdict]:
        """Those that the system did not send to, whatever their reason."""
        return self._of(_core.PENDING)

    def _of(self, state: int) -> list[Verdict]:
        return [self[index] for index, each in enumerate(self._states) if each == state]

    def __len__(self) -> int:
        return len(self._states)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        address, state = self.targets[index], self._states[index]
        rtt_ms = round(self._rtts_ms[index], 4) if state == _core.ALIVE else None
        return Verdict(address, STATES[state], rtt_ms, self._reasons.get(index % len(self)))

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={value}" for name, value in self.counts._asdict().items())
        return f"<SweepResult {counts}, engine={self.engine!r}>"


class _Worker(Protocol):
    """What sweeps one family's targets; the core's ``Sweeper`` says what each member means."""

    @property
    def states(self) -> Any: ...
    @property
    def rtts_ms(self) -> Any: ...
    @property
    def finished(self) -> bool: ...
    def reason(self, index: int) -> Any: ...

    def run(self, seconds: float) -> bool: ...


class Sweep:
    """A sweep that is run bit by bit and can be interrupted: ``run`` until it is True, then ``result``.

    Takes and raises what the function ``sweep`` does. A context manager: it holds sockets.
    """

    def __init__(
        self,
        targets: Targets | str | Iterable[str],
        *,
        exclude: Iterable[str] = (),
        timeout: float = 1.0,
        retries: int = 1,
        window: int = 128,
        rate: float | None = None,
        family: int = socket.AF_UNSPEC,
        engine: str = "auto",
    ) -> None:
        check_seconds("timeout", timeout, 0.001)
        bounded("retries", retries, 0, MAX_RETRIES)
        bounded("window", window, 1, MAX_WINDOW)
        if rate is not None:
            bounded("rate", rate, 0.001, MAX_RATE)
        if engine not in ENGINES:
            raise InvalidArgument(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
        self.targets = _targets(targets, exclude, family)
        self.engine = engine
        """What was asked for, and once it is open, which it is."""
        self._probers: list[_core.Prober] = []
        self._workers: dict[int, _Worker] = {}
        try:
            for each, spans in (
                (each, self.targets.spans(each)) for each in (socket.AF_INET, socket.AF_INET6)
            ):
                if not spans:
                    continue
                if engine == "scapy":
                    self._workers[each] = _ScapySweeper(each, spans, timeout, retries)
                    continue
                prober = _core.Prober(each, self.engine)
                self._probers.append(prober)
                self.engine = prober.engine
                self._workers[each] = _core.Sweeper(
                    prober, spans, timeout=timeout, retries=retries, window=window, rate=rate
                )
        except BaseException:
            self.close()
            raise

    def run(self, seconds: float = _SLICE_SECONDS) -> bool:
        """Work for about that long at most. True once every target has its verdict."""
        waiting = (worker for worker in self._workers.values() if not worker.finished)
        worker = next(waiting, None)
        return worker is None or (worker.run(seconds) and next(waiting, None) is None)

    def result(self) -> SweepResult:
        """The verdicts so far. Until the sweep is complete, silence says nothing: those were not probed."""
        states, rtts_ms, reasons = bytearray(), array("f"), {}
        for family, worker in self._workers.items():
            for index, state in enumerate(worker.states):
                if state in (_core.PENDING, _core.UNREACHABLE) and (reason := worker.reason(index)):
                    reasons[len(states) + index] = _words(family, reason)
            states += worker.states
            rtts_ms.frombytes(bytes(worker.rtts_ms))
        complete = all(worker.finished for worker in self._workers.values())
        if not complete:
            for index, state in enumerate(states):
                if state in (_core.PENDING, _core.SILENT):
                    states[index] = _core.PENDING
                    reasons.setdefault(index, "interrupted")
        return SweepResult(self.targets, self.engine, complete, bytes(states), rtts_ms, reasons)

    def close(self) -> None:
        for prober in self._probers:
            prober.close()

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _targets(targets: Targets | str | Iterable[str], exclude: Iterable[str], family: int) -> Targets:
    if not isinstance(targets, Targets):
        texts = (targets,) if isinstance(targets, str) else tuple(targets)
        targets = Targets(*texts, exclude=exclude, family=family)
    if targets.size > MAX_TARGETS:
        raise InvalidArgument(
            f"{targets.size} targets: this version sweeps at most {MAX_TARGETS} (2^20) at a time"
        )
    return targets


def _words(family: int, reason: Any) -> str:
    """A core's reason in words: an errno, an error's Answer, or words already."""
    if isinstance(reason, int):
        return explain_refusal(reason)
    return reason if isinstance(reason, str) else explain(family, reason)


class _ScapySweeper:
    """The book's own way, ``sr(IP(dst=...)/ICMP())``, as a reference: slow, and it believes every reply."""

    _CHUNK = 64

    def __init__(self, family: int, spans: Sequence[Span], timeout: float, retries: int) -> None:
        self._scapy = reference("scapy.all")
        self._family, self._timeout, self._retries = family, timeout, retries
        self._numbers = enumerate(number for first, last in spans for number in range(first, last + 1))
        size = sum(last - first + 1 for first, last in spans)
        self.states = bytearray(size)
        self.rtts_ms = array("f", bytes(4 * size))
        self.reasons: dict[int, Any] = {}
        self.finished = False

    def reason(self, index: int) -> Any:
        return self.reasons.get(index)

    def run(self, seconds: float) -> bool:
        """Sweep one chunk, however long it takes: scapy does not stop in the middle of it."""
        chunk = list(islice(self._numbers, self._CHUNK))
        self._sweep({index: number for index, number in chunk if _core.is_host(self._family, number)})
        self.reasons |= {
            index: _core.NOT_A_HOST for index, number in chunk if not _core.is_host(self._family, number)
        }
        self.finished = len(chunk) < self._CHUNK
        return self.finished

    def _sweep(self, chunk: dict[int, int]) -> None:
        addresses = {address_text(self._family, number): index for index, number in chunk.items()}
        refused: dict[str, int] = {}
        sock = self._socket(refused)
        try:
            answered, unanswered = self._scapy.sndrcv(
                sock,
                [self._request(address, index) for address, index in addresses.items()],
                timeout=self._timeout,
                retry=self._retries,
                verbose=0,
                chainCC=True,
            )
        finally:
            sock.close()
        for request in unanswered:
            index = addresses[request.dst]
            if request.dst in refused:
                self.reasons[index] = refused[request.dst]
            else:
                self.states[index] = _core.SILENT
        for request, reply in answered:
            self._note(addresses[request.dst], request, reply)

    def _note(self, index: int, request: Any, reply: Any) -> None:
        if reply.src == request.dst and reply.payload.type in (0, 129):
            self.states[index] = _core.ALIVE
            self.rtts_ms[index] = (float(reply.time) - request.sent_time) * 1000
            return
        error = (reply.payload.type, reply.payload.code)
        self.states[index] = _core.UNREACHABLE
        self.reasons[index] = _core.Answer(index, reply.src, 0, None, error, 0)

    def _request(self, address: str, index: int) -> Any:
        scapy, seq = self._scapy, index & 0xFFFF
        if self._family == socket.AF_INET:
            return scapy.IP(dst=address) / scapy.ICMP(id=os.getpid() & 0xFFFF, seq=seq)
        return scapy.IPv6(dst=address) / scapy.ICMPv6EchoRequest(id=os.getpid() & 0xFFFF, seq=seq)

    def _socket(self, refused: dict[str, int]) -> Any:
        """Scapy's socket that lets the kernel route; it notes a failure where theirs only logs it."""
        base = self._scapy.L3RawSocket if self._family == socket.AF_INET else self._scapy.L3RawSocket6

        class Noting(base):  # type: ignore[misc, valid-type]
            def send(self, packet: Any) -> int:
                packet.sent_time = time.time()
                try:
                    sent: int = self.outs.sendto(bytes(packet), (packet.dst, 0))
                except OSError as error:
                    refused[packet.dst] = error.errno or 0
                    return 0
                refused.pop(packet.dst, None)
                return sent

        try:
            return Noting()
        except PermissionError as error:
            raise NotPermitted(
                error.errno, "engine scapy needs raw sockets: run as root or with the capability CAP_NET_RAW"
            ) from None


def sweep(
    targets: Targets | str | Iterable[str],
    *,
    exclude: Iterable[str] = (),
    timeout: float = 1.0,
    retries: int = 1,
    window: int = 128,
    rate: float | None = None,
    family: int = socket.AF_UNSPEC,
    engine: str = "auto",
) -> SweepResult:
    """Send an echo request to each target, and say of each what came of it.

    ``targets`` are Targets, or what they are made from, as ``["10.0.2.2-4", "fd00::/120"]``; at most
    2^20 addresses. Each request is waited for ``timeout`` seconds; who did not answer is asked
    ``retries`` times more. At most ``window`` requests are out past the newest answer; ``rate`` is a
    limit in requests a second. ``family`` is what names resolve to. ``engine`` is ``raw``,
    ``datagram``, ``auto`` (the first of them that is permitted) or ``scapy``. Raises InvalidArgument,
    NameNotResolved, NotPermitted, EngineMissing.
    """
    options: dict[str, Any] = {"timeout": timeout, "retries": retries, "window": window, "rate": rate}
    with Sweep(targets, exclude=exclude, family=family, engine=engine, **options) as running:
        while not running.run():
            pass
        return running.result()


async def sweep_async(targets: Targets | str | Iterable[str], **options: Any) -> SweepResult:
    """``sweep`` as a coroutine, with the same options; the work is done in a thread, bit by bit."""
    import asyncio

    running = await asyncio.to_thread(Sweep, targets, **options)
    with running:
        while not await asyncio.to_thread(running.run):
            pass
        return running.result()


def sweep_every(
    targets: Targets | str | Iterable[str], every: float = 10.0, count: int | None = None, **options: Any
) -> Iterator[SweepResult]:
    """Sweep again and again: one begins ``every`` seconds after the last one began, or when that is done.

    ``count`` sweeps, or without end. Names are looked up once. ``options`` and errors are those of ``sweep``.
    """
    fixed = _targets(targets, options.pop("exclude", ()), options.pop("family", socket.AF_UNSPEC))
    return (sweep(fixed, **options) for _ in rounds(every, count))


def rounds(every: float, count: int | None = None) -> Iterator[int]:
    """0, 1, 2, ...: each ``every`` seconds after the one before, or when the caller is done with that."""
    check_seconds("every", every)

    def numbered() -> Iterator[int]:
        due = time.monotonic()
        for number in numbers() if count is None else range(count):
            time.sleep(max(0.0, due - time.monotonic()))
            yield number
            due = max(due + every, time.monotonic())

    return numbered()


make_callable(__name__)
