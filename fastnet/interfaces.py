"""The network interfaces: their names, their addresses, and whether they are up.

``get_ip_address`` and its siblings query one value of one interface from the kernel (netdevice(7)), through
one open socket per thread. They query the network namespace of the calling thread, also after ``setns`` and
fork. ``list_addresses`` returns every address of every interface, and ``get_interface_status`` whether an
interface is up.
"""

import enum
import errno
import socket
from collections.abc import Iterable

from fastnet._addresses import describe_address as describe_address
from fastnet._addresses import netmask_of
from fastnet._addresses import network_of as network_of
from fastnet._addresses import prefix_length_of as prefix_length_of
from fastnet._addresses import scope_of as scope_of
from fastnet._backend import netif as _core
from fastnet._contract.netif import check_ifname, failure, interface_names, packed_ipv4
from fastnet._contract.rtnetlink import AddressLifetime as AddressLifetime
from fastnet._contract.rtnetlink import Interface as Interface
from fastnet._contract.rtnetlink import InterfaceAddress as InterfaceAddress
from fastnet._contract.rtnetlink import InterfaceCounters as InterfaceCounters
from fastnet._contract.rtnetlink import Neighbour as Neighbour
from fastnet._contract.rtnetlink import NextHop as NextHop
from fastnet._contract.rtnetlink import Route as Route
from fastnet._engines import PortEngine
from fastnet._kernel import (
    addresses_of,
    all,
    counters,
    gateways,
    lifetimes,
    neighbours,
    route_to,
    routes,
    source_for,
)
from fastnet._results import as_dict, shown
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple
from fastnet.errors import NoSuchInterface

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from fastnet._portscan import PortState

if TYPE_CHECKING:  # type checkers see the pure twin; the native one has the same types
    from fastnet._pure.netif import get_hardware_address as get_hardware_address
    from fastnet._pure.netif import get_index as get_index
    from fastnet._pure.netif import get_ip_address as get_ip_address
    from fastnet._pure.netif import get_mtu as get_mtu
    from fastnet._pure.netif import list_interfaces as list_interfaces
else:
    get_hardware_address = _core.get_hardware_address
    get_index = _core.get_index
    get_ip_address = _core.get_ip_address
    get_mtu = _core.get_mtu
    list_interfaces = _core.list_interfaces

__all__ = [
    "AddressLifetime",
    "Interface",
    "InterfaceAddress",
    "InterfaceCounters",
    "InterfaceFlags",
    "InterfaceStatus",
    "Neighbour",
    "NextHop",
    "Route",
    "all",
    "counters",
    "gateways",
    "get_broadcast",
    "get_flags",
    "get_hardware_address",
    "get_index",
    "get_interface_status",
    "get_ip_address",
    "get_mtu",
    "get_netmask",
    "lifetimes",
    "list_addresses",
    "list_interfaces",
    "list_status",
    "neighbours",
    "route_to",
    "routes",
    "source_for",
]


class InterfaceFlags(enum.IntFlag):
    """The flags of netdevice(7) that SIOCGIFFLAGS returns (the low 16 bits of linux/if.h)."""

    UP = 0x1
    BROADCAST = 0x2
    DEBUG = 0x4
    LOOPBACK = 0x8
    POINTOPOINT = 0x10
    NOTRAILERS = 0x20
    RUNNING = 0x40
    NOARP = 0x80
    PROMISC = 0x100
    ALLMULTI = 0x200
    MASTER = 0x400
    SLAVE = 0x800
    MULTICAST = 0x1000
    PORTSEL = 0x2000
    AUTOMEDIA = 0x4000
    DYNAMIC = 0x8000


class InterfaceStatus(NamedTuple):
    """Whether an interface is up, and the reason; see ``get_interface_status``."""

    interface: str
    state: str
    reason: str
    administratively_up: bool
    running: bool
    addresses: tuple[InterfaceAddress, ...]
    ports: tuple["PortState", ...] | None

    @property
    def up(self) -> bool:
        return self.state == "up"

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def get_netmask(ifname: str, address: "str | IPv4Address | None" = None, /) -> str:
    """The netmask of an interface's first IPv4 address (SIOCGIFNETMASK), or of ``address``.

    ``address`` may have any label.
    Of an address with several prefix lengths it is the first one's. Raises NoSuchInterface; NoAddress if
    the interface has no IPv4 address, or not this one; InvalidArgument if ``address`` is not IPv4.
    """
    if address is None:
        netmask: str = _core.get_netmask(ifname)
        return netmask
    return netmask_of(_own_ipv4(ifname, address).prefix_length)


def get_broadcast(ifname: str, address: "str | IPv4Address | None" = None, /) -> str:
    """The broadcast address of an interface's first IPv4 address (SIOCGIFBRDADDR), or of ``address``.

    Raises the errors of ``get_netmask``; NoAddress also if the address has no broadcast address, as
    on loopback and on point-to-point links.
    """
    if address is None:
        broadcast: str = _core.get_broadcast(ifname)
        return broadcast
    own = _own_ipv4(ifname, address)
    if own.broadcast is None:
        raise failure(ifname, errno.EADDRNOTAVAIL, "broadcast address")
    return own.broadcast


def _own_ipv4(ifname: str, address: "str | IPv4Address") -> InterfaceAddress:
    check_ifname(ifname)
    wanted = socket.inet_ntoa(packed_ipv4(address))
    for own in list_addresses(ifname):
        if own.address == wanted:
            return own
    raise failure(ifname, errno.EADDRNOTAVAIL, f"IPv4 address {wanted}")


def get_flags(ifname: str, /) -> InterfaceFlags:
    """The flags of an interface (SIOCGIFFLAGS). Raises NoSuchInterface."""
    return InterfaceFlags(_core.get_flags(ifname))


def list_addresses(ifname: str | None = None) -> list[InterfaceAddress]:
    """Every IPv4 and IPv6 address of all interfaces, or of one, with its prefix length.

    IPv4 comes first, each family in the kernel's order (RTM_GETADDR). ``ifname`` may be an alternative
    name, or the alias label of an address (``eth0:1``). An interface without an address is left out. Raises
    NoSuchInterface for an unknown name.
    """
    return addresses_of(ifname)


def list_status() -> list[InterfaceStatus]:
    """The status of every interface, including those without an address, in the order of their indexes."""
    addresses = list_addresses()
    found = []
    for name in interface_names():
        try:
            flags = get_flags(name)
        except NoSuchInterface:
            continue  # It was removed after it was listed.
        own = tuple(address for address in addresses if address.interface == name)
        found.append(_judge(name, flags, own))
    return found


def get_interface_status(
    ifname: str,
    *,
    ports: str | Iterable[int] | None = None,
    engine: PortEngine = "connect",
    timeout: float = 2.0,
) -> InterfaceStatus:
    """Whether an interface is up: turned on by its administrator, and running.

    ``state`` is ``"up"`` or ``"down"``, and ``reason`` explains it. Running (IFF_RUNNING) means that the
    kernel's operational state (RFC 2863) is up, or unknown as on loopback: there is a carrier. The
    interface needs no address.

    ``ports`` (``"21-23,80"``) also scans those ports of the interface's first address, as
    ``fastnet.portscan`` does with this engine and timeout. The scan finds the listeners on the address, not
    whether the interface is up: a host connects to its own address through loopback. Without an address, or
    if the interface is turned off, nothing is scanned and ``ports`` of the result is empty; it is None if no
    scan was requested.

    Raises NoSuchInterface, and the errors of ``portscan``.
    """
    status = _judge(ifname, get_flags(ifname), tuple(list_addresses(ifname)))
    return status if ports is None else status._replace(ports=_scan(status, ports, engine, timeout))


def _judge(ifname: str, flags: InterfaceFlags, addresses: tuple[InterfaceAddress, ...]) -> InterfaceStatus:
    administratively_up, running = InterfaceFlags.UP in flags, InterfaceFlags.RUNNING in flags
    if not administratively_up:
        state, reason = "down", "turned off"
    elif not running:
        state, reason = "down", "turned on, but not running: no carrier"
    else:
        state, reason = "up", "turned on and running"
    return InterfaceStatus(ifname, state, reason, administratively_up, running, addresses, None)


def _scan(
    status: InterfaceStatus, ports: str | Iterable[int], engine: PortEngine, timeout: float
) -> "tuple[PortState, ...]":
    from fastnet._portscan import portscan

    # An address of an interface that is turned off may be routed to another host.
    if not (status.administratively_up and status.addresses):
        return ()
    first = status.addresses[0]
    zone = f"%{first.interface}" if first.version == 6 and first.scope == "link" else ""
    return portscan(first.address + zone, ports, engine=engine, timeout=timeout).ports
