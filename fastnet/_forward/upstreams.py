"""The upstreams of a rule: names that are resolved again at intervals, and when a connect fails."""

import socket
import threading
from _collections_abc import Callable
from types import ModuleType

from fastnet._forward.rule import TYPES, Rule, health_target
from fastnet._system import unix as _unix
from fastnet._threads import Repeated
from fastnet._typing import TYPE_CHECKING, Any
from fastnet.endpoints import Endpoint, UnixEndpoint, is_numeric, resolve
from fastnet.errors import NameNotResolved

if TYPE_CHECKING:
    from fastnet._backend import relay

_RESOLVE_PAUSE = 1.0
"""Seconds between two look-ups of a name, however often connecting fails."""


class Upstreams:
    """A rule's upstreams, resolved; from ``keep`` to ``end`` threads keep them up to date.

    ``core`` is the relay's core that runs. ``warn`` is called once when a name does not resolve any more, and
    when a check finds an upstream's health changed. ``end`` it also where it was not kept. Raises
    NameNotResolved, and OSError where a thread can't be started.
    """

    def __init__(self, rule: Rule, core: ModuleType, warn: Callable[[str], None]) -> None:
        self._rule = rule
        self._core = core
        self._warn = warn
        self._unresolved: set[Endpoint] = set()
        self._lock = threading.Lock()
        self._target: relay.Rule | None = None
        self._names: Repeated | None = None
        self._checks: Repeated | None = None
        self.current: list[relay.Upstream] = [self._resolved(place) for place in rule.upstreams]
        try:
            self._start_threads()
        except BaseException:
            self.end()
            raise

    def _start_threads(self) -> None:
        """Start the threads first, since that may fail; they have nothing to do yet."""
        rule = self._rule
        if any(map(_is_name, rule.upstreams)):
            what = f"{rule.name}: names are not resolved again"
            self._names = Repeated(
                *(self._refresh, "fastnet-forward-names", what, self._warn),
                *(rule.resolve_interval, _RESOLVE_PAUSE),
            )
        if rule.health:
            import fastnet._forward.health  # noqa: F401 - now: later it may not be readable any more

            what = f"{rule.name}: upstreams are not checked"
            self._checks = Repeated(
                self._check, "fastnet-forward-health", what, self._warn, rule.health_interval
            )

    def keep(self, target: "relay.Rule") -> None:
        """Let this rule of the core go to them, also when their names lead elsewhere from now on."""
        target.set_upstreams(self.current)
        self._target = target
        if self._names:
            target.watch(self._names.wake)
        if self._checks:
            self._checks.wake()

    def rest(self) -> None:
        """Change nothing until the next ``keep``."""
        with self._lock:
            self._target = None

    def end(self) -> None:
        """Change nothing any more. The threads end once the resolver and the checks return."""
        self.rest()
        for repeated in (self._names, self._checks):
            if repeated:
                repeated.end()

    # Names

    def _resolved(self, place: Endpoint | UnixEndpoint) -> "relay.Upstream":
        return self._core.Upstream(self._addresses(place), str(place))  # type: ignore[no-any-return]

    def _addresses(self, place: Endpoint | UnixEndpoint) -> list[tuple[int, Any]]:
        if isinstance(place, UnixEndpoint):
            return [(socket.AF_UNIX, _unix.unix_address(place.path))]
        return [(*answer,) for answer in resolve(*place, type=TYPES[self._rule.protocol])]

    def _refresh(self) -> None:
        target = self._target
        if target and self._names:
            target.watch(self._names.wake)  # Later failures may need other addresses than these.
        fresh = [
            self._refreshed(place, known)
            for place, known in zip(self._rule.upstreams, self.current, strict=True)
        ]
        with self._lock:
            if self._target is None or fresh == self.current:
                return
            for upstream, known in zip(fresh, self.current, strict=True):
                upstream.healthy = known.healthy
            self._target.set_upstreams(fresh)
            self.current = fresh

    def _refreshed(self, place: Endpoint | UnixEndpoint, known: "relay.Upstream") -> "relay.Upstream":
        """The same upstream if its name still resolves to the same addresses, or no longer resolves."""
        if isinstance(place, UnixEndpoint) or not _is_name(place):
            return known
        try:
            upstream = self._resolved(place)
        except NameNotResolved as error:
            _require_descriptor()
            if place not in self._unresolved:
                self._warn(f"{error}: the old addresses stay in use")
            self._unresolved.add(place)
            return known
        self._unresolved.discard(place)
        return known if {*upstream.addresses} == {*known.addresses} else upstream

    # Health

    def _check(self) -> None:
        with self._lock:
            current = self.current if self._target else []
        addresses = {
            place: upstream.addresses
            for place, upstream in zip(self._rule.upstreams, current, strict=bool(current))
        }
        if addresses:
            from fastnet._forward.health import check_upstreams

            check_upstreams(self._rule, addresses, self._note)

    def _note(self, checked: Endpoint | UnixEndpoint, reason: str | None) -> None:
        healthy = reason is None
        if self._names and not healthy and _is_name(checked):
            self._names.wake()  # Its name may resolve to other addresses by now.
        changed = False
        with self._lock:
            if self._target is None:
                return
            for place, upstream in zip(self._rule.upstreams, self.current, strict=True):
                if place == checked:
                    changed |= upstream.healthy != healthy
                    upstream.healthy = healthy
        if changed:
            state = "is healthy again" if healthy else f"is not healthy: {reason}"
            self._warn(f"{self._rule.name}: {health_target(self._rule.health, checked)} {state}")


def _is_name(place: Endpoint | UnixEndpoint) -> bool:
    return isinstance(place, Endpoint) and not is_numeric(place.host)


def _require_descriptor() -> None:
    """Raise OSError where there is none left: without one, the C library finds no name."""
    socket.socket().close()
