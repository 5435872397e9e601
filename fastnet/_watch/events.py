"""The items of ``fastnet.watch``: the state, and each change with the records before and after it."""

from typing import Any, Literal, NamedTuple

from fastnet._contract.rtnetlink import Interface, InterfaceAddress, Route
from fastnet._results import as_dict, shown

LINK_KINDS = ("link_added", "link_removed", "link_renamed", "carrier", "link_changed")
ADDRESS_KINDS = ("address_added", "address_removed", "address_changed", "dad_passed", "dad_failed")
ROUTE_KINDS = ("route_added", "route_removed", "route_changed")
GATEWAY_KINDS = ("gateway_changed",)
KINDS = (*LINK_KINDS, *ADDRESS_KINDS, *ROUTE_KINDS, *GATEWAY_KINDS)
"""All kinds that can be selected; ``state`` and ``events_lost`` are always yielded."""


def _changed(before: Any, after: Any) -> tuple[str, ...]:
    """The names of the fields that differ; none if there is nothing to compare."""
    if before is None or after is None:
        return ()
    return tuple(name for name in before._fields if getattr(before, name) != getattr(after, name))


class LinkEvent(NamedTuple):
    """An interface was added, removed, renamed, got or lost its carrier, or changed otherwise.

    ``before`` is None if it was added, ``after`` if it was removed; both have the addresses of that moment.
    """

    kind: Literal["link_added", "link_removed", "link_renamed", "carrier", "link_changed"]
    before: Interface | None
    after: Interface | None

    @property
    def interface(self) -> str:
        """The name, after the event if there is one."""
        record = self.after or self.before
        return record.name if record else ""

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the fields that differ."""
        return _changed(self.before, self.after)

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class AddressEvent(NamedTuple):
    """An address was added, removed or changed, or duplicate address detection (RFC 4862) has ended."""

    kind: Literal["address_added", "address_removed", "address_changed", "dad_passed", "dad_failed"]
    before: InterfaceAddress | None
    after: InterfaceAddress | None

    @property
    def interface(self) -> str:
        """The name of the address's interface."""
        record = self.after or self.before
        return record.interface if record else ""

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the fields that differ."""
        return _changed(self.before, self.after)

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class RouteEvent(NamedTuple):
    """A route was added, removed or changed. Routes of the local table are left out."""

    kind: Literal["route_added", "route_removed", "route_changed"]
    before: Route | None
    after: Route | None

    @property
    def interface(self) -> str | None:
        """The name of the route's interface; None if it has none or several."""
        record = self.after or self.before
        return record.interface if record else None

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the fields that differ."""
        return _changed(self.before, self.after)

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class GatewayEvent(NamedTuple):
    """Another default route is in use: the main table's with the lowest metric. Follows the route's event."""

    kind: Literal["gateway_changed"]
    before: Route | None
    after: Route | None

    @property
    def interface(self) -> str | None:
        """The name of the route's interface; None if it has none or several."""
        record = self.after or self.before
        return record.interface if record else None

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the fields that differ."""
        return _changed(self.before, self.after)

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class LostEvent(NamedTuple):
    """The buffer was full and events were dropped: the differences to a fresh state follow as events."""

    kind: Literal["events_lost"] = "events_lost"

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


Change = LinkEvent | AddressEvent | RouteEvent | GatewayEvent
