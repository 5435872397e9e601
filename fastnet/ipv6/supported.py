"""Which IPv6 support works on this machine."""

import errno
import os
import socket
from collections.abc import Iterable, Iterator

from fastnet._backend import netif as _core
from fastnet._results import as_dict, shown
from fastnet._system.routes import Way, way_to
from fastnet._typing import Any, NamedTuple
from fastnet.interfaces import InterfaceFlags, get_flags, scope_of

DESTINATIONS = ("2400::1", "2600::1", "2800::1", "2a00::1", "2c00::1")
"""Addresses that the kernel is asked the way to: one of each regional registry's largest block (RFC 7020)."""

_CONF = "/proc/sys/net/ipv6/conf"
_DISCARD_PORT = 9

# linux/if_addr.h
_IFA_F_DADFAILED = 0x08
_IFA_F_TENTATIVE = 0x40

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
    enabled, disabled = _by_sysctl()
    usable = [
        (name, address)
        for name, address, _, flags in _core.list_ipv6()
        if not flags & (_IFA_F_DADFAILED | _IFA_F_TENTATIVE)
    ]
    return Ipv6Support(
        built_in=True,
        kernel=kernel,
        enabled=enabled,
        disabled=disabled,
        loopback=loopback,
        link_local=tuple(f"{address}%{name}" for name, address in usable if scope_of(address) == "link"),
        addresses=tuple(address for _, address in usable if scope_of(address) not in ("host", "link")),
        ways=tuple(map(_way_out, DESTINATIONS)) if kernel else (),
    )


def _try_sockets() -> tuple[bool, bool]:
    """Whether an IPv6 socket can be opened, and bound to loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("::1", 0))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                return True, False
            return True, True
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return False, False


def _by_sysctl() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The interfaces that may use IPv6, and those that may not."""
    found: dict[bool, list[str]] = {True: [], False: []}
    # The sysctl file system shows each thread the namespace that it is in.
    for _, name in socket.if_nameindex():
        try:
            with open(os.path.join(_CONF, name, "disable_ipv6")) as file:
                found[file.read().strip() == "0"].append(name)
        except FileNotFoundError:
            continue  # It was removed meanwhile, or the kernel has no IPv6 for it.
    return tuple(found[True]), tuple(found[False])


def _way_out(destination: str) -> WayOut:
    try:
        way = _way_of_a_program(destination)
    except OSError as error:
        if error.errno not in _NO_WAY:
            raise
        return WayOut(destination, None, None, None, _NO_WAY[error.errno])
    name, obstacle = "", "the route ends on this machine"
    if way.is_unicast and way.interface:
        try:
            name = socket.if_indextoname(way.interface)
            obstacle = _obstacle(name, way.source)
        except OSError:
            obstacle = "the interface of the route was removed"
    return WayOut(destination, name or None, way.gateway or None, way.source or None, obstacle)


def _way_of_a_program(destination: str) -> Way:
    """The route of an unbound socket: one for every source, else one for the source that is selected."""
    try:
        return way_to(socket.AF_INET6, destination)
    except OSError as error:
        if error.errno not in _NO_WAY:
            raise
        return way_to(socket.AF_INET6, destination, _source_for(destination))


def _source_for(destination: str) -> str:
    """The address from which the kernel sends; connect(2) of a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.connect((destination, _DISCARD_PORT))
        address: str = sock.getsockname()[0]
        return address.partition("%")[0]


def _obstacle(ifname: str, source: str) -> str:
    """Why packets sent by an interface from an address do not get out; empty if they do."""
    flags = get_flags(ifname)
    if InterfaceFlags.LOOPBACK in flags:
        return "the route ends on this machine"
    if InterfaceFlags.RUNNING not in flags:
        return f"{ifname} is not running: no carrier"
    if not source:
        return _NO_WAY[errno.EADDRNOTAVAIL]
    if scope_of(source) in ("host", "link"):
        return f"the kernel would send from {source}, which is valid on its link only"
    return ""
