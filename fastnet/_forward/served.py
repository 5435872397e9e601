"""A rule in service: its listeners, its upstreams, and the core's rule."""

import os
import socket
from _collections_abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from types import ModuleType

from fastnet import _backend
from fastnet._contract.relay import Options as RelayOptions
from fastnet._engines import ForwardEngine
from fastnet._forward.listeners import Listeners
from fastnet._forward.rule import PREFIXES, Rule
from fastnet._forward.upstreams import Upstreams
from fastnet._limits import bounded, check_callback, check_choice, check_flag
from fastnet._system import unix as _unix
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple, get_args
from fastnet.endpoints import Endpoint, Resolved, UnixEndpoint
from fastnet.errors import InvalidArgument
from fastnet.targets import parse_prefix

if TYPE_CHECKING:
    from fastnet._backend import http_head, relay

ENGINES: tuple[ForwardEngine, ...] = get_args(ForwardEngine)
"""Ways to move bytes: ``auto`` takes the best that the machine allows, ``pure`` is the one in Python."""

Tap = Callable[[Rule, int, bool, bytes], None]
"""Rule, number of its connection, whether towards the upstream, and the bytes."""

_MOST_THREADS = 256
_LONGEST_SPIN = 1.0
_HTTP_PORT = 80
_LOOPBACKS = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The wildcard address of a family, and the address to which a connect to it goes."""


_SAME = {*RelayOptions._fields} & {*Rule._fields} - PREFIXES
"""Options that are passed to the core's rule unchanged."""


class Settings(NamedTuple):
    """Settings shared by all rules of a forwarder."""

    threads: int
    engine: ForwardEngine
    spin: float
    record: bool
    tap: Tap | None
    warn: Callable[[str], None]

    def check(self) -> None:
        """Raise InvalidArgument for an invalid value."""
        bounded("threads", self.threads, 1, _MOST_THREADS)
        check_flag("record", self.record)
        check_callback("tap", self.tap)
        check_callback("warn", self.warn)
        bounded("spin", self.spin, 0, _LONGEST_SPIN)
        check_choice("engine", self.engine, ENGINES)
        if self.tap and self.engine not in ("auto", "pure"):
            raise InvalidArgument(f"tap with engine {self.engine!r}: only the engine 'pure' has it")

    @property
    def pure(self) -> bool:
        return self.engine == "pure" or self.tap is not None

    def loop(self) -> "relay.Loop":
        """A loop, for one of the threads."""
        loop: relay.Loop = self.core("relay").Loop(spin=self.spin, warn=self.warn)
        return loop

    def core(self, topic: str) -> ModuleType:
        """The implementation of a core topic."""
        module: ModuleType = _backend.pure(topic) if self.pure else getattr(_backend, topic)
        return module


class Served:
    """One rule's upstreams and listeners, and the core's rule. Raises what these do.

    It takes over the listeners of the one ``before`` it, and also the core's rule where it differs in its
    upstreams only, and they are not what Hosts are rewritten to.
    """

    def __init__(self, rule: Rule, settings: Settings, before: "Served | None" = None) -> None:
        self.rule = rule
        self.core: relay.Rule
        self.listeners: Listeners
        with ExitStack() as undo:
            self.upstreams = Upstreams(rule, settings.core("relay"), settings.warn)
            undo.callback(self.upstreams.end)
            if before:
                self.listeners = before.listeners
            else:
                self.listeners = self._listen(settings.threads)
                undo.callback(self.listeners.close)
            if before and not rule.rewrite_host and rule == before.rule._replace(upstreams=rule.upstreams):
                self.core = before.core
            else:
                self.core = self._core_rule(settings)
            undo.pop_all()

    def _listen(self, loops: int) -> Listeners:
        listeners = Listeners(self.rule, loops)
        # A free port may be that of an upstream which is not there yet: another one is taken.
        if getattr(self.rule.listen, "port", None) == 0 and self._leads_to(listeners):
            try:
                return Listeners(self.rule, loops)
            finally:
                listeners.close()
        return listeners

    def end(self) -> None:
        """Close the listeners; the upstreams stay."""
        self.upstreams.end()
        self.listeners.close()

    def listens_for(self, rule: Rule) -> bool:
        """Whether another rule listens in the same way at the same place."""
        mine = self.rule
        same = (mine.listen, mine.protocol, mine.reuse_port)
        return same == (rule.listen, rule.protocol, rule.reuse_port)

    def _core_rule(self, settings: Settings) -> "relay.Rule":
        rule = self.rule
        prefixes: dict[str, Any] = {
            name: [(*parse_prefix(text),) for text in getattr(rule, name)] for name in PREFIXES
        }
        try:
            core: relay.Rule = settings.core("relay").Rule(
                self.upstreams.current,
                RelayOptions(
                    rewrite=self._rewrite(settings),
                    engine="auto" if settings.pure else settings.engine,
                    record=settings.record,
                    tap=settings.tap and partial(settings.tap, rule),
                    **{name: getattr(rule, name) for name in _SAME},
                    **prefixes,
                ),
            )
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        return core

    def _rewrite(self, settings: Settings) -> "http_head.HostRewrite | None":
        rule = self.rule
        if not rule.rewrite_host:
            return None
        places = [place for place in (rule.listen, *self.listeners.addresses) if isinstance(place, Endpoint)]
        rewrite: http_head.HostRewrite = settings.core("http_head").HostRewrite(
            {*_LOOPBACKS, *(_encoded(place.host) for place in places)},
            places[-1].port if places else _HTTP_PORT,
            _authority(rule.upstreams[0]),
            rule.rewrite_host == "always",
            rule.rewrite_responses,
            rule.rewrite_origin,
        )
        return rewrite

    def reaches(self, other: "Served") -> bool:
        """Whether connecting to one of its upstreams reaches a listener of the other one."""
        return self.rule.protocol == other.rule.protocol and self._leads_to(other.listeners)

    def _leads_to(self, listeners: Listeners) -> bool:
        return any(
            _reaches(family, address, place)
            for upstream in self.upstreams.current
            for family, address in upstream.addresses
            for place in listeners.addresses
        )


def refuse_circles(served: Sequence[Served]) -> None:
    """Raise InvalidArgument for rules that lead to themselves: they would connect for ever."""
    leads = {one: {other for other in served if one.reaches(other)} for one in served}
    left = {*served}
    while ends := {one for one in left if not leads[one] & left}:
        left -= ends
    for one in served:
        if one in left:
            raise InvalidArgument(
                f"{', '.join(map(str, one.rule.upstreams))} is this forwarder itself, "
                f"which listens at {one.rule.listen}: it would connect for ever"
            )


def _reaches(family: int, address: Any, place: Endpoint | UnixEndpoint) -> bool:
    if family == socket.AF_UNIX or isinstance(place, UnixEndpoint):
        return family == socket.AF_UNIX and isinstance(place, UnixEndpoint) and _is_same(address, place)
    if address[1] != place.port:
        return False
    host = _connected(Resolved(socket.AddressFamily(family), address).host)
    if (":" in host) != (":" in place.host):
        return False
    return host == place.host or (place.host in _WILDCARDS and _is_local(host))


def _connected(host: str) -> str:
    """The address that connecting to an unspecified or a mapped one (``::ffff:192.0.2.1``) leads to."""
    mapped = host.removeprefix("::ffff:")
    if "." in mapped:
        host = mapped
    return _WILDCARDS.get(host, host)


def _is_same(address: bytes, place: UnixEndpoint) -> bool:
    if address.startswith(b"\0") or place.path.startswith("@"):
        return address == _unix.unix_address(place.path)
    return os.path.realpath(address) == os.path.realpath(os.fsencode(place.path))


def _is_local(host: str) -> bool:
    from fastnet.interfaces import list_addresses

    return host.startswith("127.") or any(one.address == host for one in list_addresses())


def _authority(upstream: Endpoint | UnixEndpoint) -> str:
    """The upstream as a Host field names it: without HTTP's own port, and without an address's scope."""
    if isinstance(upstream, UnixEndpoint):
        return "localhost"
    named = Endpoint(_encoded(upstream.host.partition("%")[0]), upstream.port)
    return str(named).removesuffix(f":{_HTTP_PORT}")


def _encoded(host: str) -> str:
    """A name as clients send it (IDNA); an IPv6 address as it is."""
    return host if ":" in host else host.encode("idna").decode("ascii")
