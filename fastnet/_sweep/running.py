"""A running sweep: its sockets, its segments, and the verdicts so far."""

import _socket as socket
import select
import time
from _collections_abc import Callable, Iterable, Iterator

from fastnet._backend import netif
from fastnet._backend import probe as _core
from fastnet._contract.values import counted
from fastnet._engines import SweepEngine
from fastnet._limits import (
    Prefix,
    Timeout,
    bounded,
    check_choice,
    check_family,
    check_flag,
    check_seconds,
    check_text,
    check_type,
    is_prefix,
    quoted,
    several,
)
from fastnet._log import INFO, WARNING, log, log_notes
from fastnet._sweep.offlink import OffLink
from fastnet._sweep.plan import Options, Part, Segment, Worker, segments, shard_size
from fastnet._sweep.result import (
    UNDECIDED,
    SweepResult,
    Verdict,
    decided_bits,
    differing,
    final_states,
)
from fastnet._sweep.special import without_special
from fastnet._system.interfaces import own_name
from fastnet._system.routes import Route, gatewayed, on_link, only_ipv6_source
from fastnet._typing import Any, TypeAlias, TypedDict, get_args
from fastnet.errors import InvalidArgument, NameNotResolved, NotPermitted
from fastnet.targets import Targets, Unresolved

ENGINES: tuple[SweepEngine, ...] = get_args(SweepEngine)
MAX_TARGETS = 1 << 24
MAX_RETRIES = 100
MAX_WINDOW = 4096
MIN_RATE, MAX_RATE = 0.001, 1_000_000.0
MAX_SHARDS = 1 << 32
MAX_SEED = (1 << 64) - 1
LONGEST_AUTO_TIMEOUT = 1.0
"""Initial and maximum seconds of ``timeout="auto"``."""

_WORTH_ASKING = 4096
"""Minimum number of targets for which a lookup of their source address saves time."""
_NAMED = 3
"""Maximum number of unresolved names in one log line."""
_SLICE_SECONDS = 0.1
_PAUSE_MS = 1
"""Milliseconds that several idle workers wait for an answer to any of them."""


Swept: TypeAlias = "Targets | Prefix | Iterable[Prefix]"
"""Targets, or their texts."""


class SweepOptions(TypedDict, total=False):
    """The keyword arguments of ``sweep``, which documents them."""

    exclude: Iterable[Prefix]
    timeout: Timeout
    retries: int
    window: int
    rate: float | None
    family: int
    engine: SweepEngine
    seed: int | None
    shard: tuple[int, int]
    interface: str
    include_special: bool


class Sweep:
    """A sweep that runs step by step and can be interrupted: ``run`` until it is True, then ``result``.

    Takes and raises what the function ``sweep`` does. ``decided`` is what ``decided()`` gave for an earlier
    sweep of the same targets and shard: those targets are not probed again. ``repeated`` allows ``restart``:
    the sockets then follow changes of our addresses. A context manager, which closes the sockets.
    """

    def __init__(
        self,
        targets: Swept,
        *,
        exclude: Iterable[Prefix] = (),
        timeout: Timeout = 1.0,
        retries: int = 1,
        window: int = 128,
        rate: float | None = None,
        family: int = socket.AF_UNSPEC,
        engine: SweepEngine = "auto",
        seed: int | None = None,
        shard: tuple[int, int] = (1, 1),
        interface: str = "",
        include_special: bool = False,
        decided: bytes | None = None,
        repeated: bool = False,
    ) -> None:
        self._options = checked_options(timeout, retries, window, rate, seed)
        check_choice("engine", engine, ENGINES)
        check_family(family)
        check_text("interface", interface)
        if interface:
            interface = own_name(interface)
            netif.get_flags(interface)  # there is one of this name
            if engine in ("tcp", "scapy"):
                raise InvalidArgument(f"interface {interface}: engine {engine} leaves that to the routes")
        self.targets: Targets
        self.left_out: int
        """The number of special-purpose addresses that are left out."""
        self.targets, self.left_out = without_special(as_targets(targets, exclude, family), include_special)
        self.engine: str = engine
        """The requested engine; once the sockets are open, the one in use."""
        self._asked = engine
        self.size: int = _size(self.targets, shard)
        """The number of targets in the shard."""
        if decided is not None:
            check_type("decided", decided, bytes, "what a StateFile has")
        if decided is not None and len(decided) != (self.size + 7) // 8:
            raise InvalidArgument(
                f"decided: {counted(len(decided), 'byte')}, expected a bit for each of {self.size}"
            )
        check_flag("repeated", repeated)
        self._repeated = repeated
        self._icmp_engine: str = "raw" if engine == "turbo" else engine
        self._interface = interface
        self._sockets: dict[tuple[int, str, str, str], Any] = {}
        self._arrivals = select.poll()
        self._parts: list[Part] = []
        self._reported = b""
        try:
            self._segments = self._cut(shard)
            self._begin(decided)
            self.engine = self._used()
        except BaseException:
            self.close()
            raise

    @property
    def sent(self) -> int:
        """The number of requests sent so far."""
        return sum(part.worker.sent for part in self._parts)

    @property
    def notes(self) -> list[str]:
        """The socket options that the system refused, with the effect."""
        found = (note for sock in self._sockets.values() for note in getattr(sock, "notes", ()))
        return list(dict.fromkeys(found))

    def restart(self) -> None:
        """Start again with every target, over the same sockets."""
        self._close_parts()
        self._begin(None)

    def run(self, seconds: float = _SLICE_SECONDS) -> bool:
        """Work for at most about so many seconds. True once every target has its verdict."""
        check_seconds("seconds", seconds)
        until = time.monotonic() + seconds
        left = self._unfinished()
        if len(left) > 1 and self._sockets:
            left = self._take_turns(left, until)
        if left:
            left[0].run(max(0.0, until - time.monotonic()))
        return not self._unfinished()

    def news(self) -> Iterator[Verdict]:
        """The verdicts that became final since the last call: alive at once, others at the end."""
        places = self._new_places()
        result = self.result()
        return (result[index] for index in places)

    def news_states(self) -> bytes:
        """A state for each verdict of ``news``, and for the other targets ``UNDECIDED``."""
        places = self._new_places()
        column = bytearray([UNDECIDED]) * len(self._reported)
        for index in places:
            column[index] = self._reported[index]
        return bytes(column)

    def _new_places(self) -> Iterator[int]:
        before, self._reported = self._reported, final_states(self.targets, self._parts)
        reported = self._reported
        return (index for index in differing(before, reported) if reported[index] != _core.DECIDED)

    def result(self) -> SweepResult:
        """The verdicts so far. Until the sweep is complete, silent targets count as not probed."""
        return SweepResult(self.targets, tuple(self._parts), self.engine)

    def decided(self) -> bytes:
        """A bit for each target of the shard with a final verdict: bit k % 8 of byte k / 8.

        A target that was not probed has none, whatever the reason.
        """
        return decided_bits(self._parts)

    def close(self) -> None:
        self._close_parts()
        for sock in self._sockets.values():
            sock.close()

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(self, shard: tuple[int, int]) -> list[Segment]:
        """Segments by link, if our own frames are requested and permitted."""
        if self._asked == "turbo":
            cut = segments(self.targets, shard, self._routes(gatewayed))
            if not any(segment.gateway for segment in cut):
                raise InvalidArgument(
                    "engine turbo: no target is behind a router on an Ethernet link; take raw"
                )
            return cut
        if self._asked in ("auto", "link"):
            cut = segments(self.targets, shard, self._routes(on_link))
            try:
                for segment in cut:
                    if segment.interface:
                        self._opened(segment)
                return cut
            except NotPermitted as error:
                if self._asked == "link":
                    raise
                log("sweep", INFO, f"what is on a link is pinged: {error.strerror}")
        return segments(self.targets, shard)

    def _routes(self, known: Callable[[int], list[Route]]) -> Iterator[tuple[int, Route]]:
        """The routes of a kind, each with its family, on the interfaces that may be used."""
        families = [family for family in (socket.AF_INET, socket.AF_INET6) if self.targets.spans(family)]
        routes = ((family, route) for family in families for route in known(family))
        return (each for each in routes if self._interface in ("", each[1].interface))

    def _begin(self, decided: bytes | None) -> None:
        self._parts = []
        for segment in self._segments:
            self._parts.append(Part(segment, self._worker(segment, segment.left_out(decided))))
        if self._sockets:
            self._share_rate(self._unfinished())
        self._reported = bytes([UNDECIDED]) * (self.size + len(self.targets.unresolved))

    def _close_parts(self) -> None:
        for part in self._parts:
            part.worker.close()

    def _unfinished(self) -> list[Any]:
        return [part.worker for part in self._parts if not part.worker.finished]

    def _take_turns(self, left: list[Any], until: float) -> list[Any]:
        """Run several workers in turns of one batch each; returns those that are not done.

        Each has an equal share of the rate.
        """
        while len(left) > 1 and time.monotonic() < until:
            sent = self.sent
            for worker in left:
                worker.run(0)
            if self.sent == sent:
                self._arrivals.poll(_PAUSE_MS)
            if len(left) != len(left := self._unfinished()):
                self._share_rate(left)
        return left

    def _share_rate(self, left: list[Any]) -> None:
        for worker in left:
            worker.pace(self._options.rate and self._options.rate / len(left))

    def _worker(self, segment: Segment, left_out: bytes | None) -> Worker:
        if self._asked == "tcp":
            from fastnet._sweep.tcp import TcpSweeper

            return TcpSweeper(segment, self._options, left_out)
        if self._asked == "scapy":
            from fastnet._sweep.scapy import ScapySweeper

            return ScapySweeper(self._opened(segment), segment, self._options, left_out)
        if self._asked == "link" and not segment.interface:
            return OffLink(segment, left_out)
        sweeper = _core.LinkSweeper if segment.on_link else _core.Sweeper
        return sweeper(
            self._opened(segment),
            segment.spans,
            shard=segment.shard,
            decided=left_out,
            **self._options._asdict(),
        )

    def _opened(self, segment: Segment) -> Any:
        """The socket for a segment, opened once: a sweep that begins again may lack the privilege."""
        key = (segment.family, segment.interface, segment.source, segment.gateway)
        sock = self._sockets.get(key)
        if sock is None:
            if segment.gateway:
                sock = self._opened_turbo(segment)
            elif segment.interface:
                from fastnet._system.link_socket import Link

                sock = Link(segment.interface, segment.family, segment.source)
            elif self._asked == "scapy":
                from fastnet._sweep.scapy import open_socket

                sock = open_socket(segment.family)
            else:
                sock = self._opened_prober(segment)
                self._icmp_engine = sock.engine
            self._sockets[key] = sock
            log_notes("probe", getattr(sock, "notes", ()))
            self._arrivals.register(sock.fileno(), select.POLLIN)
        return sock

    def _opened_prober(self, segment: Segment) -> _core.Prober:
        """Bound to its source if the kernel would always choose that one, which saves CPU time.

        Not for a sweep that may last long enough for our addresses to change.
        """
        lasting = self._repeated or self._options.rate is not None
        worth_it = segment.family == socket.AF_INET6 and len(segment.indices) >= _WORTH_ASKING
        source = ""
        if worth_it and not lasting and not self._interface:
            source = only_ipv6_source(segment.spans)
        return _core.Prober(segment.family, self._icmp_engine, interface=self._interface, source=source)

    def _opened_turbo(self, segment: Segment) -> _core.Prober:
        prober = _core.Prober(segment.family, "raw", interface=self._interface)
        try:
            route = Route(segment.interface, 0, 0, segment.source, segment.gateway)
            return _core.open_turbo(prober, route)
        except BaseException:
            prober.close()
            raise

    def _used(self) -> str:
        """The engines of the segments."""
        used = {
            "turbo" if gateway else "link" if interface else self._icmp_engine
            for _, interface, _, gateway in self._sockets
        }
        return "+".join(sorted(used)) or self._asked


def checked_options(
    timeout: Timeout, retries: int, window: int, rate: float | None, seed: int | None
) -> Options:
    """Raises InvalidArgument for a value that is out of range."""
    adaptive = timeout == "auto"
    seconds = LONGEST_AUTO_TIMEOUT if isinstance(timeout, str) else timeout
    if isinstance(timeout, str) and not adaptive:
        raise InvalidArgument(f"timeout {quoted(timeout)}: expected seconds or 'auto'")
    check_seconds("timeout", seconds, 0.001)
    bounded("retries", retries, 0, MAX_RETRIES)
    bounded("window", window, 1, MAX_WINDOW)
    if rate is not None:
        bounded("rate", rate, MIN_RATE, MAX_RATE)
    if seed is not None:
        bounded("seed", seed, 0, MAX_SEED)
    return Options(seconds, adaptive, retries, window, rate, seed)


def as_targets(targets: Swept, exclude: Iterable[Prefix], family: int) -> Targets:
    """Targets from their texts. Raises NameNotResolved or InvalidArgument if none of them is a target."""
    if isinstance(targets, Targets):
        texts = tuple(targets.texts()) if (exclude := tuple(exclude)) else ()
        made = Targets(*texts, exclude=exclude) if texts else targets
        made.unresolved = targets.unresolved
    else:
        given: Iterable[Any] = (targets,) if is_prefix(targets) else several("targets", targets, "targets")
        made = Targets(*given, exclude=exclude, family=family, strict=False)
        _log_unresolved(made.unresolved)
    if made.unresolved and not made:
        first = made.unresolved[0]
        failure = first.error(f"{first.name}: {first.reason}")
        if isinstance(failure, NameNotResolved):
            failure.errno = first.errno
        raise failure
    return made


def _log_unresolved(names: tuple[Unresolved, ...]) -> None:
    if names:
        first = "; ".join(f"{each.name}: {each.reason}" for each in names[:_NAMED])
        more = f" and {counted(len(names) - _NAMED, 'more name')}" if len(names) > _NAMED else ""
        log("sweep", WARNING, f"not probed: {first}{more}")


def check_shard(shard: tuple[int, int]) -> None:
    """Refuse what is not one of some number of shards."""
    if not isinstance(shard, tuple) or len(shard) != 2:
        raise InvalidArgument(f"shard {quoted(shard)}: expected which and of how many, as (1, 16)")
    which, of = shard
    bounded("shard: the number of shards", of, 1, MAX_SHARDS)
    bounded("shard: which", which, 1, of)


def _size(targets: Targets, shard: tuple[int, int]) -> int:
    check_shard(shard)
    size = shard_size(targets, shard)
    if size > MAX_TARGETS:
        shards = -(-targets.size // MAX_TARGETS)
        cure = f"take shards (one of {shards} or more)"
        if shards > MAX_SHARDS:
            cure = f"2^56, as many as a /72 has, are the most for {MAX_SHARDS} (2^32) shards: name fewer"
        raise InvalidArgument(
            f"{counted(size, 'target')}: a sweep takes at most {MAX_TARGETS} (2^24); {cure}"
        )
    return size
