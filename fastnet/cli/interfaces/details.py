"""``fastnet interfaces NAME``: everything that the kernel reports of one interface, as text."""

from _collections_abc import Iterator

from fastnet.cli.output import print_line
from fastnet.cli.parts import restrictions, summary
from fastnet.interfaces import Interface, InterfaceAddress, InterfaceStatus, Route

_MAIN_TABLE = 254
_USUAL_FLAG = "permanent"


def print_details(link: Interface, status: InterfaceStatus, defaults: list[Route] | None) -> None:
    print_line(f"{link.name} is {summary(status)}")
    for name, value in facts(link, defaults):
        print_line(f"{f'  {name}:':21}{value}")


def facts(link: Interface, defaults: list[Route] | None) -> Iterator[tuple[str, object]]:
    """The fields that have a value."""
    speed = f"{link.speed_mbit} Mbit/s" if link.speed_mbit is not None else ""
    for name, value in (
        ("index", link.ifindex),
        ("alternative names", ", ".join(link.altnames)),
        ("kind", link.kind or link.link_type),
        ("MAC address", link.mac),
        ("permanent MAC", link.permanent_mac if link.permanent_mac != link.mac else None),
        ("broadcast", link.broadcast),
        ("MTU", f"{link.mtu} bytes"),
        ("flags", " ".join(link.flags)),
        ("operational state", link.operational_state),
        ("carrier", {True: "yes", False: "no", None: None}[link.carrier]),
        ("speed", " ".join(each for each in (speed, f"{link.duplex} duplex" if link.duplex else "") if each)),
        ("master", link.master),
        ("peer", other_end(link)),
    ):
        if value not in (None, ""):
            yield name, value
    yield from (("address", address_text(each)) for each in link.addresses)
    yield from (("gateway", gateway_text(each)) for each in defaults or ())


def other_end(link: Interface) -> str | None:
    if link.link_namespace is None or link.peer_ifindex is None:
        return link.peer
    return f"index {link.peer_ifindex} in another network namespace"


def address_text(address: InterfaceAddress) -> str:
    words = [str(address), f"scope {address.scope}"]
    for name in ("broadcast", "peer", "protocol"):
        if value := getattr(address, name):
            words.append(f"{name} {value}")
    if address.label != address.interface:
        words.append(f"label {address.label}")
    return ", ".join((*words, *(flag for flag in address.flags or () if flag != _USUAL_FLAG)))


def gateway_text(route: Route) -> str:
    words = [route.gateway or f"none: IPv{route.version} is on the link", *restrictions(route)]
    words.append(f"metric {route.metric}")
    if route.table != _MAIN_TABLE:
        words.append(f"table {route.table}")
    return ", ".join((*words, f"protocol {route.protocol}", *route.flags))
