"""The events of ``fastnet interfaces --watch``, as lines or as records."""

from _collections_abc import Iterator

from fastnet._clock import now
from fastnet._results import plain
from fastnet._typing import TYPE_CHECKING, Any
from fastnet._watch import AddressEvent, Event, LinkEvent, LostEvent, RouteEvent, WatchState, watch
from fastnet.cli.output import print_json, print_line, remark
from fastnet.cli.parts import restrictions
from fastnet.interfaces import Interface, NextHop, Route

if TYPE_CHECKING:
    from fastnet import _records as records

QUIET_FIELDS = ("addresses", "peer_ifindex", "master_ifindex", "ifindex")
"""Fields whose change is printed as another event or field."""
MAIN_TABLE = 254


def print_events(ifname: str | None, netns: str | int | None, as_json: bool) -> None:
    """Print the state, then each event, until Ctrl-C. Raises KeyboardInterrupt."""
    for event in watch(ifname, netns=netns):
        if isinstance(event, WatchState) and ifname and not is_there(ifname, event):
            remark(f"fastnet interfaces: there is no interface {ifname!r} yet")
        if as_json:
            print_json(record_of(event))
        else:
            for line in lines_of(event, ifname):
                print_line(line)


def is_there(ifname: str, state: WatchState) -> bool:
    return any(ifname in (each.name, *each.altnames) for each in state.interfaces)


def record_of(event: Event) -> "records.InterfaceEvent":
    found: records.InterfaceEvent = {
        "kind": "interface_event",
        "time": now(),
        "event": event.kind,
        "interface": None,
        "changed": [],
        "before": None,
        "after": None,
    }
    if isinstance(event, WatchState):
        found["after"] = {"interfaces": plain(event.interfaces), "routes": plain(event.routes)}
    elif not isinstance(event, LostEvent):
        found |= {"interface": event.interface, "changed": [*event.changed]}
        found |= {"before": plain(event.before), "after": plain(event.after)}
    return found


def lines_of(event: Event, ifname: str | None) -> Iterator[str]:
    if isinstance(event, WatchState):
        for each in event.interfaces:
            if ifname in (None, each.name):
                yield f"{each.name}: {state_of(each)} {' '.join(map(str, each.addresses))}".rstrip()
        for route in event.routes:
            if route.is_default and ifname in (None, route.interface):
                yield text_of(route)
    elif isinstance(event, LostEvent):
        yield "events were lost: the differences follow"
    elif isinstance(event, LinkEvent):
        yield f"{event.interface}: {change_of(event)}"
    elif isinstance(event, AddressEvent):
        yield f"{event.interface}: address {event.after or event.before} {what_of(event)}"
    elif isinstance(event, RouteEvent):
        changed = event.after or event.before
        yield f"{text_of(changed) if changed else ''} {what_of(event)}"
    else:
        routes = [text_of(route) if route else "none" for route in (event.before, event.after)]
        yield f"default gateway: {' -> '.join(routes)}"


def state_of(interface: Interface) -> str:
    if "UP" not in interface.flags:
        return "off"
    return (interface.operational_state or "unknown") if interface.carrier else "no carrier"


def change_of(event: LinkEvent) -> str:
    if event.before is None or event.after is None:
        return "removed" if event.before else "added"
    if event.kind == "link_renamed":
        return f"renamed from {event.before.name}"
    if event.kind == "carrier":
        return "carrier" if event.after.carrier else "no carrier"
    return changes_of(event)


def what_of(event: AddressEvent | RouteEvent) -> str:
    """The change of an address or a route, in a word or a sentence."""
    if event.kind == "dad_passed":
        return "is unique"
    if event.kind == "dad_failed":
        return "is in use by another host"
    if event.before is None or event.after is None:
        return "removed" if event.before else "added"
    return f"changed: {changes_of(event)}"


def changes_of(event: LinkEvent | AddressEvent | RouteEvent) -> str:
    return ", ".join(
        f"{name} {shown(getattr(event.before, name))} -> {shown(getattr(event.after, name))}"
        for name in event.changed
        if name not in QUIET_FIELDS
    )


def shown(value: Any) -> str:
    """A field's value; a tuple of names as words."""
    if isinstance(value, tuple):
        return "+".join(hops_of(each) if isinstance(each, NextHop) else str(each) for each in value) or "none"
    return "none" if value is None else str(value)


def text_of(route: Route) -> str:
    """A route as ip(8) prints it."""
    words = ["default" if route.is_default else route.destination]
    words += [*restrictions(route)]
    words += [] if route.type == "unicast" else [route.type]
    words += [hops_of(leg) for leg in route.legs or (route,)]
    words += ["metric", str(route.metric)] if route.metric else []
    words += ["table", str(route.table)] if route.table != MAIN_TABLE else []
    return " ".join(filter(None, words))


def hops_of(leg: "Route | NextHop") -> str:
    gateway = f"via {leg.gateway} " if leg.gateway else ""
    return f"{gateway}dev {leg.interface}" if leg.interface else gateway.rstrip()
