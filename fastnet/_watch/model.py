"""The state of the interfaces, addresses and routes, and the events made of the kernel's messages."""

from _collections_abc import Iterable, Iterator
from itertools import zip_longest
from typing import Literal

from fastnet._contract.rtnetlink import Interface, InterfaceAddress, Route
from fastnet._watch.events import AddressEvent, Change, GatewayEvent, LinkEvent, RouteEvent

_MAIN, _LOCAL = 254, 255
_CARRIER_FIELDS = ("carrier", "operational_state", "flags")

AddressKey = tuple[object, ...]
RouteKey = tuple[object, ...]


def fold(model: "Model", event: Change) -> None:
    """Apply an event to the state."""
    if isinstance(event, LinkEvent):
        if event.after:
            model.put_link(event.after)
        elif event.before:
            model.drop_link(event.before.ifindex)
    elif isinstance(event, AddressEvent):
        if event.after:
            model.put_address(event.after)
        elif event.before:
            model.drop_address(event.before)
    elif isinstance(event, RouteEvent):
        model.change_route(event.before, event.after)


def _address_key(address: InterfaceAddress) -> AddressKey:
    """The fields that identify an address in the kernel; for IPv4 also its prefix."""
    if address.version == 6:
        return (address.address,)
    return address.address, address.prefix_length, address.network


def _way(route: Route | None) -> tuple[object, ...] | None:
    """The type and next hops of a route."""
    if route is None:
        return None
    return route.type, *((leg.gateway, leg.ifindex) for leg in route.legs or (route,))


def _route_key(route: Route) -> RouteKey:
    return route.destination, route.table, route.metric, route.tos, route.sources


class Model:
    """The state; each method that changes it yields the events, which are applied as they are taken."""

    def __init__(self, interfaces: Iterable[Interface], routes: Iterable[Route]) -> None:
        self.links = {each.ifindex: each._replace(addresses=()) for each in interfaces}
        self.names = {each.ifindex: each.name for each in self.links.values()}
        self._addresses: dict[int, dict[AddressKey, InterfaceAddress]] = {}
        for address in (address for each in interfaces for address in each.addresses):
            self.put_address(address)
        self._routes = _by_key(routes)
        self._defaults = {version: self.default(version) for version in (4, 6)}

    def interfaces(self) -> tuple[Interface, ...]:
        """Each with its addresses, in the order of their indexes."""
        return tuple(self._whole(self.links[ifindex]) for ifindex in sorted(self.links))

    def routes(self) -> tuple[Route, ...]:
        return tuple(route for routes in self._routes.values() for route in routes)

    def _whole(self, link: Interface) -> Interface:
        return link._replace(addresses=tuple(self._addresses.get(link.ifindex, {}).values()))

    def set_link(self, link: Interface) -> Iterator[Change]:
        """Handle an added or changed interface."""
        before = self.links.get(link.ifindex)
        after = link._replace(addresses=())
        if before is None:
            yield self._put("link_added", None, after)
            return
        if after.name != before.name:
            renamed = before._replace(name=after.name)
            yield self._put("link_renamed", before, renamed)
            before = self.links[link.ifindex]
        if after.carrier != before.carrier:
            moved = before._replace(**{name: getattr(after, name) for name in _CARRIER_FIELDS})
            yield self._put("carrier", before, moved)
            before = moved
        if after != before:
            yield self._put("link_changed", before, after)

    def _put(
        self,
        kind: Literal["link_added", "link_renamed", "carrier", "link_changed"],
        before: Interface | None,
        after: Interface,
    ) -> LinkEvent:
        old = before and self._whole(before)
        self.put_link(after)
        return LinkEvent(kind, old, self._whole(after))

    def put_link(self, link: Interface) -> None:
        """Store an interface, in place of any other with its index; without events."""
        is_renamed = self.names.get(link.ifindex) != link.name
        self.links[link.ifindex] = link._replace(addresses=())
        self.names[link.ifindex] = link.name
        if is_renamed:
            self._rename(link.ifindex, link.name)

    def remove_link(self, ifindex: int) -> Iterator[Change]:
        """Handle a removed interface, whose addresses are removed first."""
        for address in [*self._addresses.get(ifindex, {}).values()]:
            yield from self.remove_address(address)
        if link := self.links.get(ifindex):
            self.drop_link(ifindex)
            yield LinkEvent("link_removed", link, None)

    def drop_link(self, ifindex: int) -> None:
        """Remove an interface without events."""
        self.links.pop(ifindex, None)
        self.names.pop(ifindex, None)
        self._addresses.pop(ifindex, None)
        self._rename(ifindex, None)

    def _rename(self, ifindex: int, name: str | None) -> None:
        """Update an interface's name in every record with its index."""
        for other, link in self.links.items():
            if link.master_ifindex == ifindex:
                link = link._replace(master=name)
            if link.peer_ifindex == ifindex and link.link_namespace is None:
                link = link._replace(peer=name)
            self.links[other] = link
        for key, address in self._addresses.get(ifindex, {}).items():
            # The kernel announces the new label of an IPv4 address.
            label = address.label if address.version == 4 else name or ""
            self._addresses[ifindex][key] = address._replace(interface=name or "", label=label)
        for routes in self._routes.values():
            routes[:] = [_renamed(route, ifindex, name) for route in routes]
        self._defaults = {version: self.default(version) for version in self._defaults}

    def set_address(self, address: InterfaceAddress) -> Iterator[Change]:
        """Handle an added or changed address."""
        before = self._addresses.get(address.ifindex, {}).get(_address_key(address))
        if address.ifindex in self.links and address != before:
            self.put_address(address)
            yield AddressEvent(_kind_of(before, address), before, address)

    def put_address(self, address: InterfaceAddress) -> None:
        """Store an address without events."""
        self._addresses.setdefault(address.ifindex, {})[_address_key(address)] = address

    def remove_address(self, address: InterfaceAddress) -> Iterator[Change]:
        """Handle a removed address."""
        before = self.drop_address(address)
        if before:
            yield AddressEvent("address_removed", before, None)

    def drop_address(self, address: InterfaceAddress) -> InterfaceAddress | None:
        """Remove an address without events. Returns the removed one."""
        return self._addresses.get(address.ifindex, {}).pop(_address_key(address), None)

    def add_route(self, route: Route, is_replacement: bool) -> Iterator[Change]:
        """Handle a route that was added or replaces another. Raises Ambiguous."""
        known = self._routes.get(_route_key(route), [])
        if route.table == _LOCAL or route in known:
            return
        if known and not (is_replacement and len(known) == 1):
            raise Ambiguous
        before = known[0] if known else None
        self.change_route(before, route)
        yield RouteEvent("route_changed" if before else "route_added", before, route)
        yield from self._check_default(route.version)

    def remove_route(self, route: Route) -> Iterator[Change]:
        """Handle a removed route. Raises Ambiguous."""
        known = self._routes.get(_route_key(route), [])
        if not known or route.table == _LOCAL:
            return
        if route not in known and len(known) > 1:
            raise Ambiguous
        before = route if route in known else known[0]
        if before.legs != route.legs:
            raise Ambiguous  # one of several legs was removed
        self.change_route(before, None)
        yield RouteEvent("route_removed", before, None)
        yield from self._check_default(route.version)

    def change_route(self, before: Route | None, after: Route | None) -> None:
        """Replace, add or remove a route without events."""
        known = self._routes.setdefault(_route_key(before or after), [])  # type: ignore[arg-type]
        at = known.index(before) if before in known else len(known)
        known[at : at + 1] = [after] if after else []
        if not known:
            del self._routes[_route_key(before or after)]  # type: ignore[arg-type]

    def default(self, version: int) -> Route | None:
        """The default route in use."""
        everything = "::/0" if version == 6 else "0.0.0.0/0"
        found = [
            route
            for routes in self._routes.values()
            for route in routes
            if route.destination == everything and route.table == _MAIN and route.sources is None
        ]
        return min(found, key=lambda route: route.metric, default=None)

    def _check_default(self, version: int) -> Iterator[Change]:
        before, after = self._defaults[version], self.default(version)
        self._defaults[version] = after
        if _way(before) != _way(after):
            yield GatewayEvent("gateway_changed", before, after)

    def become(
        self, interfaces: Iterable[Interface] | None, routes: Iterable[Route] | None
    ) -> Iterator[Change]:
        """The events that lead to a fresh state; None: that part is unchanged."""
        if interfaces is not None:
            yield from self._become_interfaces({each.ifindex: each for each in interfaces})
        if routes is not None:
            yield from self._become_routes(_by_key(routes))

    def _become_interfaces(self, fresh: dict[int, Interface]) -> Iterator[Change]:
        for ifindex in [each for each in self.links if each not in fresh]:
            yield from self.remove_link(ifindex)
        for each in fresh.values():
            yield from self.set_link(each)
        addresses = [address for each in fresh.values() for address in each.addresses]
        current = {(address.ifindex, _address_key(address)) for address in addresses}
        for ifindex, own in self._addresses.items():
            for key in [key for key in own if (ifindex, key) not in current]:
                yield from self.remove_address(own[key])
        for address in addresses:
            yield from self.set_address(address)

    def _become_routes(self, fresh: dict[RouteKey, list[Route]]) -> Iterator[Change]:
        for key in [*self._routes, *(key for key in fresh if key not in self._routes)]:
            known, now = self._routes.get(key, []), fresh.get(key, [])
            gone = [route for route in known if route not in now]
            new = [route for route in now if route not in known]
            for before, after in zip_longest(gone, new):
                self.change_route(before, after)
                yield RouteEvent(_route_kind(before, after), before, after)
        for version in self._defaults:
            yield from self._check_default(version)


def _by_key(routes: Iterable[Route]) -> dict[RouteKey, list[Route]]:
    found: dict[RouteKey, list[Route]] = {}
    for route in routes:
        if route.table != _LOCAL:
            found.setdefault(_route_key(route), []).append(route)
    return found


class Ambiguous(Exception):
    """A route's message does not identify the change: a dump of all routes is needed."""


def _kind_of(
    before: InterfaceAddress | None, after: InterfaceAddress
) -> Literal["address_added", "address_changed", "dad_passed", "dad_failed"]:
    if before is None:
        return "address_added"
    was, now = before.flags or (), after.flags or ()
    if "dadfailed" in now and "dadfailed" not in was:
        return "dad_failed"
    return "dad_passed" if "tentative" in was and "tentative" not in now else "address_changed"


def _route_kind(
    before: Route | None, after: Route | None
) -> Literal["route_added", "route_removed", "route_changed"]:
    if before is None:
        return "route_added"
    return "route_changed" if after else "route_removed"


def _renamed(route: Route, ifindex: int, name: str | None) -> Route:
    legs = tuple(leg._replace(interface=name) if leg.ifindex == ifindex else leg for leg in route.legs)
    return route._replace(interface=name if route.ifindex == ifindex else route.interface, legs=legs)
