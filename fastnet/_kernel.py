"""The kernel's interfaces, addresses, routes and neighbours, read over rtnetlink(7)."""

import _socket as socket
import errno
import os

from fastnet import _backend
from fastnet._contract.netif import check_ifname, failure
from fastnet._contract.rtnetlink import (
    AddressLifetime,
    Interface,
    InterfaceAddress,
    InterfaceCounters,
    Neighbour,
    Route,
)
from fastnet._limits import Host, host_text, quoted
from fastnet._system.netns import Namespace, open_sockets
from fastnet._typing import TYPE_CHECKING, Any
from fastnet.errors import InvalidArgument, NoAddress, NotPermitted

if TYPE_CHECKING:
    from types import ModuleType

_ROUTE, _GENERIC = 0, 16
"""Of linux/netlink.h."""
DENIED = (errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOSYS)
"""The errors with which a sandbox, or a kernel without netlink, refuses the socket."""


class _NoNetlink(Exception):
    """This process has no netlink; the cause has the errno."""


def _open(netns: Namespace | None) -> Any:
    if netns is not None:
        route, generic = open_sockets(netns, socket.AF_NETLINK, socket.SOCK_RAW, (_ROUTE, _GENERIC))
        return _backend.rtnetlink.Kernel(route, generic)
    try:
        return _backend.rtnetlink.Kernel()
    except OSError as error:
        if error.errno in DENIED:
            raise _NoNetlink from error
        raise


def _ask(netns: Namespace | None, what: str) -> Any:
    """The kernel of a namespace. Raises NotPermitted or OSError without the netlink that ``what`` needs."""
    try:
        return _open(netns)
    except _NoNetlink as denied:
        cause = denied.__cause__
        raise refusal(what, cause.errno if isinstance(cause, OSError) else None) from None


def refusal(what: str, code: int | None) -> OSError:
    """The error of a call that needs the netlink which this process does not have."""
    kind = NotPermitted if code in (errno.EPERM, errno.EACCES) else OSError
    return kind(code, f"{what} can't be read: this process may not open a netlink socket (AF_NETLINK)")


def all(netns: Namespace | None = None) -> tuple[Interface, ...]:
    """Every interface with all that the kernel reports of it, in the kernel's order.

    ``netns`` is another network namespace than the calling thread's: a name of ``ip netns``, a path, or the
    id of a process in it. A temporary thread enters it and opens the sockets; the calling thread stays in
    its own.

    If netlink is denied, the ioctl calls of netdevice(7) and /proc/net/if_inet6 return names, indexes, MAC
    addresses, MTUs, a subset of the flags, and addresses; fields that only netlink reports are None.

    Raises InvalidArgument if it is no namespace, FileNotFoundError if it does not exist, NotPermitted
    without the privilege to enter it, and OSError, with EAGAIN if the interfaces changed each time while
    they were read.
    """
    if netns is not None:
        with _open(netns) as kernel:
            return (*kernel.interfaces(),)
    kept = _backend.monitor.kept()
    found: tuple[Interface, ...] | None = kept.get("interfaces")
    if found is None:
        try:
            with _open(None) as kernel:
                found = kept["interfaces"] = (*kernel.interfaces(),)
        except _NoNetlink:
            found = (*_by_ioctl().interfaces(),)
    return found


def addresses_of(ifname: str | None) -> list[InterfaceAddress]:
    """Every address, or those of one interface or alias label. Raises NoSuchInterface for an unknown name."""
    if ifname is None:
        return [*_every_address()]
    check_ifname(ifname)
    name, colon, _ = ifname.partition(":")
    try:
        with _open(None) as kernel:
            found: list[InterfaceAddress] = kernel.addresses(find(name, kernel).ifindex)
    except _NoNetlink:
        index = _backend.netif.get_index(name)
        found = [each for each in _by_ioctl().addresses() if index == each.ifindex]
    labelled = [each for each in found if each.label == ifname] if colon else found
    if colon and not labelled:
        raise failure(ifname, errno.ENODEV, "")
    return labelled


def _every_address() -> tuple[InterfaceAddress, ...]:
    kept = _backend.monitor.kept()
    found: tuple[InterfaceAddress, ...] | None = kept.get("addresses")
    if found is None:
        try:
            with _open(None) as kernel:
                found = kept["addresses"] = (*kernel.addresses(),)
        except _NoNetlink:
            found = (*_by_ioctl().addresses(),)
    return found


def find(name: str, kernel: Any) -> Interface:
    """The interface of a name or alternative name, without its addresses. Raises NoSuchInterface."""
    try:
        return kernel.find(os.fsencode(name))  # type: ignore[no-any-return]
    except UnicodeEncodeError:
        raise failure(name, errno.ENODEV, "") from None
    except OSError as error:
        raise failure(name, error.errno or 0, "") from None


def _by_ioctl() -> "ModuleType":
    from fastnet import _by_ioctl

    return _by_ioctl


def counters(netns: Namespace | None = None) -> tuple[InterfaceCounters, ...]:
    """The packets, bytes and errors of every interface. ``netns`` and errors as of ``all``."""
    with _ask(netns, "counters") as kernel:
        return (*kernel.counters(),)


def lifetimes(netns: Namespace | None = None) -> tuple[AddressLifetime, ...]:
    """The remaining preferred and valid lifetime of each address. ``netns`` and errors as of ``all``."""
    with _ask(netns, "lifetimes") as kernel:
        return (*kernel.lifetimes(),)


def neighbours(netns: Namespace | None = None) -> tuple[Neighbour, ...]:
    """Every entry of the ARP and NDP tables. ``netns`` and errors as of ``all``."""
    with _ask(netns, "neighbours") as kernel:
        return (*kernel.neighbours(),)


def routes(netns: Namespace | None = None) -> tuple[Route, ...]:
    """Every route of all tables, IPv4 first, in the kernel's order. ``netns`` and errors as of ``all``."""
    with _ask(netns, "routes") as kernel:
        return (*kernel.routes(),)


def gateways(netns: Namespace | None = None) -> tuple[Route, ...]:
    """Every default route that forwards packets, of all tables, by family and metric.

    Those that reject packets (``unreachable``, ``blackhole``, ...) or deliver them to this machine are left
    out. A multipath route is one route, with its ``legs``. ``netns`` and errors as of ``all``.
    """
    found = (route for route in routes(netns) if route.is_default and route.type == "unicast")
    return (*sorted(found, key=lambda route: (route.version, route.metric)),)


def route_to(destination: Host, netns: Namespace | None = None) -> Route:
    """The kernel's route for a packet to a numeric address: interface, gateway, source address, MTU.

    No packet is sent: the kernel receives one RTM_GETROUTE request, and one for the interface. A zone
    (``fe80::1%eth0``) selects the interface. ``mtu`` is the route's own or the path MTU discovered for the
    destination, else the interface's. ``netns`` as of ``all``.

    Raises OSError as connect(2) does: ENETUNREACH without a route, EHOSTUNREACH, EACCES or EINVAL for a
    route that rejects packets; InvalidArgument if it is no address, NoSuchInterface if the zone is no
    interface.
    """
    text = host_text("destination", destination)
    address, _, zone = text.partition("%")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        raise InvalidArgument(f"destination {quoted(text)}: expected a numeric address") from None
    with _ask(netns, "routes") as kernel:
        index = _zone_index(kernel, zone) if zone else 0
        try:
            return kernel.route_to(packed, index)  # type: ignore[no-any-return]
        except OSError as error:
            raise OSError(error.errno, f"{text}: {error.strerror}") from None


def _zone_index(kernel: Any, zone: str) -> int:
    if zone.isascii() and zone.isdigit():
        return int(zone)
    return find(zone, kernel).ifindex


def source_for(destination: Host, netns: Namespace | None = None) -> str:
    """The source address of a packet to a numeric address.

    ``netns`` and errors as of ``route_to``; NoAddress if there is none.
    """
    route = route_to(destination, netns)
    if route.source is None:
        raise NoAddress(
            errno.EADDRNOTAVAIL, f"{route.interface} has no address to send from to {destination}"
        )
    return route.source
