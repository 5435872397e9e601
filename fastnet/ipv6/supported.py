"""Which IPv6 support works on this machine."""

import _socket as socket
import errno
import os
from _collections_abc import Iterable, Iterator

from fastnet._contract.rtnetlink import Interface
from fastnet._interface_status import status_of, usable
from fastnet._results import as_dict, shown
from fastnet._system.routes import Way, way_from
from fastnet._typing import Any, NamedTuple
from fastnet.errors import NotPermitted
from fastnet.interfaces import all, route_to, scope_of

DESTINATIONS = ("2400::1", "2600::1", "2800::1", "2a00::1", "2c00::1")
"""Addresses that the kernel is asked the way to: one of each regional registry's largest block (RFC 7020)."""

_CONF = "/proc/sys/net/ipv6/conf"
_DISCARD_PORT = 9

_NO_WAY = {
    errno.EACCES: "a prohibit route",
    errno.EHOSTUNREACH: "an unreachable route",
    errno.EINVAL: "a blackhole route",
    errno.ENETUNREACH: "no route",
    errno.EADDRNOTAVAIL: "no source address",
}
"""Why the kernel refuses a destination, by its errno."""


class WayOut(NamedTuple):
    """How packets to a global address leave this machine, or why they can't."""

    destination: str
    """The address that the kernel was asked the way to; nothing was sent there."""
    interface: str | None
    gateway: str | None
    """The router; None if the destination is on the link."""
    source: str | None
    """The address that the kernel sends from."""
    obstacle: str
    """Why no packet gets out; empty if it does."""

    def as_dict(self) -> dict[str, Any]:
        """Each field, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Ipv6Support(NamedTuple):
    """What IPv6 support there is; see ``support``."""

    built_in: bool
    kernel: bool
    enabled: tuple[str, ...]
    disabled: tuple[str, ...]
    loopback: bool
    link_local: tuple[str, ...]
    addresses: tuple[str, ...]
    ways: tuple[WayOut, ...]

    @property
    def works(self) -> bool:
        """Whether a connection over IPv6 can leave this machine."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that is missing; empty if IPv6 works."""
        if not self.built_in:
            return ("Python was built without IPv6",)
        if not self.kernel:
            return ("the kernel has no IPv6",)
        lacking = (
            (self.loopback, "the loopback address ::1 can't be used"),
            (bool(self.addresses), "no interface has an address beyond its own link"),
        )
        return (*(reason for there, reason in lacking if not there), *_obstacles(self.ways))

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def _obstacles(ways: Iterable[WayOut]) -> Iterator[str]:
    """Each obstacle once, with the destinations if others have a way out, or another obstacle."""
    found: dict[str, list[str]] = {}
    for way in ways:
        found.setdefault(way.obstacle, []).append(way.destination)
    for obstacle, destinations in found.items():
        if obstacle:
            which = "" if len(found) == 1 else f" to {', '.join(destinations)}"
            yield f"no way out{which}: {obstacle}"


def support() -> Ipv6Support:
    """What IPv6 support there really is, in the calling thread's network namespace. Nothing is sent.

    ``built_in``: Python knows IPv6. ``kernel``: an IPv6 socket can be opened. ``enabled`` and ``disabled``:
    the interfaces by their sysctl disable_ipv6. ``loopback``: ``::1`` can be bound to. ``link_local`` and
    ``addresses``: the addresses on links, and those beyond loopback and link, without any whose duplicate
    detection is under way or failed (RFC 4862, section 5.4). ``ways``: for one address of each
    regional registry, the route that the kernel selects and the source that it would send from, as it does
    for an unbound socket; the kernel itself applies rules, routes for some sources, and next-hop objects.
    A way out ends on another machine, from an address beyond the link, by an interface that is running.

    Raises OSError if the kernel refuses to answer, as in a sandbox without rtnetlink(7).
    """
    if not socket.has_ipv6:
        return Ipv6Support(False, False, (), (), False, (), (), ())
    kernel, loopback = _try_sockets()
    links = all()
    enabled, disabled = _by_sysctl(links)
    addresses = [each for link in links for each in usable(link.addresses) if each.version == 6]
    return Ipv6Support(
        built_in=True,
        kernel=kernel,
        enabled=enabled,
        disabled=disabled,
        loopback=loopback,
        link_local=tuple(each.text for each in addresses if each.scope == "link"),
        addresses=tuple(each.address for each in addresses if each.scope not in ("host", "link")),
        ways=tuple(_way_out(destination, links) for destination in DESTINATIONS) if kernel else (),
    )


def _try_sockets() -> tuple[bool, bool]:
    """Whether an IPv6 socket can be opened, and bound to loopback."""
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return False, False
    try:
        sock.bind(("::1", 0))
        return True, True
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return True, False
    finally:
        sock.close()


def _by_sysctl(links: Iterable[Interface]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The interfaces that may use IPv6, and those that may not."""
    found: dict[bool, list[str]] = {True: [], False: []}
    # The sysctl file system shows each thread the namespace that it is in.
    for link in links:
        try:
            with open(os.path.join(_CONF, link.name, "disable_ipv6")) as file:
                found[file.read().strip() == "0"].append(link.name)
        except FileNotFoundError:
            continue  # It was removed meanwhile, or the kernel has no IPv6 for it.
    return tuple(found[True]), tuple(found[False])


def _way_out(destination: str, links: Iterable[Interface]) -> WayOut:
    try:
        way = _way_of_a_program(destination)
    except NotPermitted:
        raise
    except OSError as error:
        if error.errno not in _NO_WAY:
            raise
        return WayOut(destination, None, None, None, _NO_WAY[error.errno])
    link = next((each for each in links if each.ifindex == way.interface), None)
    if not way.is_unicast:
        obstacle = "the route ends on this machine"
    elif link is None:
        obstacle = "the interface of the route was removed"
    else:
        obstacle = _obstacle(link, way.source, links)
    return WayOut(destination, link and link.name, way.gateway or None, way.source or None, obstacle)


def _way_of_a_program(destination: str) -> Way:
    """The route of an unbound socket: one for every source, else one for the source that is selected."""
    try:
        route = route_to(destination)
    except NotPermitted:
        raise  # not an answer: the question was not permitted
    except OSError as error:
        if error.errno not in _NO_WAY:
            raise
        return way_from(socket.AF_INET6, _source_for(destination), destination)
    return Way(route.type == "unicast", route.ifindex or 0, route.gateway or "", route.source or "")


def _source_for(destination: str) -> str:
    """The address from which the kernel sends; connect(2) of a datagram socket sends nothing."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.connect((destination, _DISCARD_PORT))
        address: str = sock.getsockname()[0]
        return address.partition("%")[0]
    finally:
        sock.close()


def _obstacle(link: Interface, source: str, links: Iterable[Interface]) -> str:
    """Why packets sent by an interface from an address do not get out; empty if they do."""
    if "LOOPBACK" in link.flags or link.kind == "dummy":
        return "the route ends on this machine"
    status = status_of(link, links)
    if not status.up:
        return f"{link.name} is down: {status.reason}"
    if not source:
        return _NO_WAY[errno.EADDRNOTAVAIL]
    if scope_of(source) in ("host", "link"):
        return f"the kernel would send from {source}, which is valid on its link only"
    return ""
