"""Where a rule's connections go: names that are resolved again as they age, and health that is checked."""

import socket
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from fastnet._backend import unix as _unix
from fastnet.endpoints import Endpoint, UnixEndpoint, resolve
from fastnet.errors import NameNotResolved
from fastnet.forward.rule import TYPES, Rule, health_target
from fastnet.wait import CHECKS, Check, Outcome, watch

if TYPE_CHECKING:
    from fastnet._backend import relay


class Upstreams:
    """A rule's upstreams, resolved; from ``keep`` to ``end`` threads keep them up to date.

    ``core`` is the relay's core that runs. ``warn`` is told once when a name does not resolve any more, and
    when a check finds an upstream's health changed. Raises NameNotResolved.
    """

    def __init__(self, rule: Rule, core: ModuleType, warn: Callable[[str], None]) -> None:
        self._rule = rule
        self._core = core
        self._warn = warn
        self._unresolved: set[Endpoint] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.current: list[relay.Upstream] = [self._resolved(place) for place in rule.upstreams]

    def keep(self, target: "relay.Rule") -> None:
        """Let this rule of the core go to them, also when their names lead elsewhere from now on."""
        target.set_upstreams(self.current)
        if any(isinstance(place, Endpoint) and not _is_numeric(place.host) for place in self._rule.upstreams):
            self._begin(lambda: self._keep_names(target), "fastnet-forward-names")
        if self._rule.health:
            self._begin(self._keep_health, "fastnet-forward-health")

    def _begin(self, call: Callable[[], None], name: str) -> None:
        threading.Thread(target=call, name=name, daemon=True).start()

    def end(self) -> None:
        """Change nothing any more. The threads end as soon as the resolver and the checks let them."""
        with self._lock:
            self._ended.set()

    # Names

    def _resolved(self, place: Endpoint | UnixEndpoint) -> "relay.Upstream":
        return self._core.Upstream(self._addresses(place), str(place))  # type: ignore[no-any-return]

    def _addresses(self, place: Endpoint | UnixEndpoint) -> list[tuple[int, Any]]:
        if isinstance(place, UnixEndpoint):
            return [(socket.AF_UNIX, _unix.unix_address(place.path))]
        return [(*answer,) for answer in resolve(*place, type=TYPES[self._rule.protocol])]

    def _keep_names(self, target: "relay.Rule") -> None:
        while not self._ended.wait(self._rule.resolve_interval):
            fresh = [
                self._refreshed(place, known)
                for place, known in zip(self._rule.upstreams, self.current, strict=True)
            ]
            with self._lock:
                if self._ended.is_set() or fresh == self.current:
                    continue
                for upstream, known in zip(fresh, self.current, strict=True):
                    upstream.healthy = known.healthy
                self.current = fresh
                target.set_upstreams(fresh)

    def _refreshed(self, place: Endpoint | UnixEndpoint, known: "relay.Upstream") -> "relay.Upstream":
        """The same upstream where its name still leads to the same addresses, or to none any more."""
        if isinstance(place, UnixEndpoint):
            return known
        try:
            upstream = self._resolved(place)
        except NameNotResolved as error:
            if place not in self._unresolved:
                self._warn(f"{error}: its addresses of before are kept")
            self._unresolved.add(place)
            return known
        self._unresolved.discard(place)
        return known if {*upstream.addresses} == {*known.addresses} else upstream

    # Health

    def _keep_health(self) -> None:
        rule = self._rule
        # Of a URL is asked for what it names, whatever the check.
        check = cast(Check, rule.health if rule.health in CHECKS else "connect")
        targets = [*dict.fromkeys(health_target(rule.health, place) for place in rule.upstreams)]
        while True:
            # One attempt each: the next one would be after the time is up.
            outcomes = watch(
                targets,
                rule.health_timeout,
                self._note_health,
                check=check,
                interval=rule.health_timeout,
                attempt_timeout=rule.health_timeout,
            )
            for outcome in outcomes:
                self._note_health(outcome)
            if self._ended.wait(rule.health_interval):
                return

    def _note_health(self, outcome: Outcome) -> None:
        changed = False
        with self._lock:
            for place, upstream in zip(self._rule.upstreams, self.current, strict=True):
                if health_target(self._rule.health, place) == outcome.target:
                    changed |= upstream.healthy != outcome.ready
                    upstream.healthy = outcome.ready
        if changed and not self._ended.is_set():
            state = "is healthy again" if outcome.ready else f"is not healthy: {outcome.reason}"
            self._warn(f"{self._rule.name}: {outcome.target} {state}")


def _is_numeric(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return False
    return True
