"""Changes of interfaces, addresses and routes, as events.

A socket receives the kernel's events (``fastnet/_system/events.py``), and a model of the state converts
them to typed events. After 10 ms without an event the state is compared with a dump, since not every change
has an event: the kernel removes IPv4 routes without one when their interface is turned off. If events were
lost, the comparison follows at once. The differences are events too, so that all events add up to the
kernel's state.
"""

import time
from _collections_abc import AsyncIterator, Iterable, Iterator
from _socket import socket
from typing import Any, Literal, NamedTuple

from fastnet._backend import rtnetlink
from fastnet._contract.rtnetlink import Interface, InterfaceAddress, Route
from fastnet._coroutines import coroutine_of
from fastnet._kernel import DENIED, refusal
from fastnet._limits import bounded, quoted
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, Steps, Wait, deadline_in, earliest, run, run_async
from fastnet._system import events as _system
from fastnet._system.netns import Namespace
from fastnet._watch.events import (
    GATEWAY_KINDS,
    KINDS,
    ROUTE_KINDS,
    AddressEvent,
    Change,
    GatewayEvent,
    LinkEvent,
    LostEvent,
    RouteEvent,
)
from fastnet._watch.model import Ambiguous, Model, fold
from fastnet.errors import InvalidArgument

__all__ = [
    "AddressEvent",
    "Event",
    "GatewayEvent",
    "LinkEvent",
    "LostEvent",
    "RouteEvent",
    "WatchState",
    "watch",
    "watch_async",
]

_QUIET = 0.01
"""Seconds without an event after which the state is compared with a dump."""
_REMOVED_LINK, _REMOVED_ADDRESS, _REMOVED_ROUTE = 17, 21, 25
"""linux/rtnetlink.h"""


class WatchState(NamedTuple):
    """The state before the first event: every interface, and every route but those of the local table."""

    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]
    kind: Literal["state"] = "state"

    def after(self, event: "Event") -> "WatchState":
        """The state after the next event. The events must be those of all kinds and interfaces."""
        if isinstance(event, WatchState):
            return event
        if not isinstance(event, Event):
            raise InvalidArgument(f"event {quoted(event)}: expected an event of watch")
        model = Model(self.interfaces, self.routes)
        if not isinstance(event, LostEvent):
            fold(model, event)
        return WatchState(model.interfaces(), model.routes())

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


Event = WatchState | LinkEvent | AddressEvent | RouteEvent | GatewayEvent | LostEvent


def watch(
    interface: str | None = None,
    *,
    kinds: Iterable[str] | None = None,
    timeout: float | None = None,
    netns: Namespace | None = None,
    receive_buffer: int | None = None,
) -> Iterator[Event]:
    """Watch the interfaces, addresses and routes of a network namespace.

    The first item is the state (``WatchState``); then each change is an event with the record before and
    after it, in the kernel's order. ``interface`` selects the events of one interface (its name before or
    after the event), ``kinds`` the events of these kinds::

        link_added  link_removed  link_renamed  carrier  link_changed
        address_added  address_removed  address_changed  dad_passed  dad_failed
        route_added  route_removed  route_changed  gateway_changed

    Without the kinds of routes and gateways, no route is read. If the events exceed ``receive_buffer``
    bytes, a ``LostEvent`` is yielded, and then the differences to a fresh state.

    ``netns`` is a name of ``ip netns``, a path, or the id of a process in the namespace; None is that of
    the calling thread. The iterator ends after ``timeout`` seconds; None: never. Raises InvalidArgument,
    FileNotFoundError for no such namespace, NotPermitted, and OSError without rtnetlink.
    """
    with _Watcher(interface, kinds, timeout, netns, receive_buffer) as watcher:
        yield watcher.state()
        while (events := run(watcher.next_events())) is not None:
            yield from events


@coroutine_of(watch)
async def watch_async(
    interface: str | None = None,
    *,
    kinds: Iterable[str] | None = None,
    timeout: float | None = None,
    netns: Namespace | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[Event]:
    """``fastnet.watch`` for ``async for``."""
    with _Watcher(interface, kinds, timeout, netns, receive_buffer) as watcher:
        yield watcher.state()
        while (events := await run_async(watcher.next_events())) is not None:
            for event in events:
                yield event


def _opened(netns: Namespace | None) -> tuple[socket, list[int]]:
    try:
        return _system.open_in(netns)
    except OSError as error:
        if netns is None and error.errno in DENIED:
            raise refusal("events", error.errno) from None
        raise


class _Watcher:
    """The sockets of one watch, and the state after the events so far."""

    def __init__(
        self,
        interface: str | None,
        kinds: Iterable[str] | None,
        timeout: float | None,
        netns: Namespace | None,
        receive_buffer: int | None,
    ) -> None:
        self._interface = _checked_name(interface)
        self._kinds = _checked_kinds(kinds)
        self._deadline = deadline_in(timeout)
        if receive_buffer is not None:
            bounded("receive_buffer", receive_buffer, 0, 1 << 30)
        self._with_routes = bool(self._kinds & {*ROUTE_KINDS, *GATEWAY_KINDS})
        groups = [_system.LINKS, *_system.ADDRESSES, _system.NAMESPACES]
        if self._with_routes:
            groups += [*_system.ROUTES, _system.NEXT_HOPS]
        events, others = _opened(netns)
        try:
            self._kernel = rtnetlink.Kernel(*others)
            self._events = _system.subscribed(events, groups, receive_buffer)
            self._model = Model(self._kernel.interfaces(), self._routes() or ())
        except BaseException:
            events.close()
            raise
        self._links_are_due = self._routes_are_due = False

    def __enter__(self) -> "_Watcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()
        self._kernel.close()

    def _routes(self) -> list[Route] | None:
        return self._kernel.routes() if self._with_routes else None

    def state(self) -> WatchState:
        return WatchState(self._model.interfaces(), self._model.routes())

    def next_events(self) -> Steps[list[Event] | None]:
        """The events of the next selected change; None after the timeout."""
        while True:
            found = self._read()
            if found:
                return found
            is_due = self._links_are_due or self._routes_are_due
            quiet = time.monotonic() + _QUIET if is_due else None
            if (yield Wait(self._events.fileno(), READABLE, earliest(quiet, self._deadline))):
                continue
            if self._deadline is not None and time.monotonic() >= self._deadline:
                return None
            found = self._compare()
            if found:
                return found

    def _read(self) -> list[Event]:
        """The events of the received messages."""
        return self._events_in(_system.receive(self._events))

    def _events_in(self, received: _system.Received) -> list[Event]:
        found = [event for data in received.messages for event in self._events_of(data)]
        events: list[Event] = [*filter(self._is_wanted, found)]
        if received.is_incomplete:
            self._links_are_due = self._routes_are_due = True
            fresh = self._model.become(self._kernel.interfaces(), self._routes())
            events += [LostEvent(), *filter(self._is_wanted, fresh)]
        return events

    def _events_of(self, data: bytes) -> list[Change]:
        found: list[Change] = []
        for message in rtnetlink.parse(data, self._model.names):
            record = message.record
            if not isinstance(record, Route):
                self._links_are_due = self._routes_are_due = True
            try:
                found += self._apply(message.type, record, data)
            except Ambiguous:
                self._routes_are_due = True
        return found

    def _apply(self, kind: int, record: object, data: bytes) -> Iterator[Change]:
        if isinstance(record, Interface):
            if kind == _REMOVED_LINK:
                return self._model.remove_link(record.ifindex)
            return self._model.set_link(self._with_speed(record))
        if isinstance(record, InterfaceAddress):
            if kind == _REMOVED_ADDRESS:
                return self._model.remove_address(record)
            return self._model.set_address(record)
        if isinstance(record, Route):
            if kind == _REMOVED_ROUTE:
                return self._model.remove_route(record)
            return self._model.add_route(record, _system.is_replacement(data))
        return iter(())

    def _with_speed(self, link: Interface) -> Interface:
        """A message has no speed: the last dump's is used until the next dump."""
        known = self._model.links.get(link.ifindex)
        return link._replace(speed_mbit=known.speed_mbit, duplex=known.duplex) if known else link

    def _compare(self) -> list[Event]:
        """The differences to a fresh dump, if no event came while it was read."""
        interfaces = self._kernel.interfaces() if self._links_are_due else None
        routes = self._routes() if self._routes_are_due else None
        received = _system.receive(self._events)
        if received.messages or received.is_incomplete:
            return self._events_in(received)
        self._links_are_due = self._routes_are_due = False
        return [*filter(self._is_wanted, self._model.become(interfaces, routes))]

    def _is_wanted(self, event: Change) -> bool:
        if event.kind not in self._kinds:
            return False
        if self._interface is None:
            return True
        return self._interface in (_name(event.before), _name(event.after))


def _name(record: Interface | InterfaceAddress | Route | None) -> str | None:
    if record is None:
        return None
    return record.name if isinstance(record, Interface) else record.interface


def _checked_name(interface: str | None) -> str | None:
    if not isinstance(interface, str | None):
        raise InvalidArgument(f"interface {quoted(interface)}: expected a str")
    return interface


def _checked_kinds(kinds: Iterable[str] | None) -> frozenset[str]:
    if kinds is None:
        return frozenset(KINDS)
    if isinstance(kinds, str | bytes) or not isinstance(kinds, Iterable):
        raise InvalidArgument(f"kinds {quoted(kinds)}: expected several of {', '.join(KINDS)}")
    chosen = [*kinds]
    for each in chosen:
        if each not in KINDS:
            raise InvalidArgument(f"kinds {quoted(each)}: expected some of {', '.join(KINDS)}")
    return frozenset(chosen)
