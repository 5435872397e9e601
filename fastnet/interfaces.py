"""The network interfaces: their names, their addresses, and whether they are up.

``get_ip_address`` and its siblings query one value of one interface from the kernel (netdevice(7)), through
one open socket per thread. They query the network namespace of the calling thread, also after ``setns`` and
fork. ``list_addresses`` returns every address of every interface, and ``interface_status`` whether one is
up.
"""

import _socket as socket
import errno

from fastnet._addresses import describe_address as describe_address
from fastnet._addresses import netmask_of
from fastnet._addresses import network_of as network_of
from fastnet._addresses import prefix_length_of as prefix_length_of
from fastnet._addresses import scope_of as scope_of
from fastnet._backend import netif as _core
from fastnet._contract.netif import check_ifname, failure, packed_ipv4
from fastnet._contract.rtnetlink import AddressLifetime as AddressLifetime
from fastnet._contract.rtnetlink import Interface as Interface
from fastnet._contract.rtnetlink import InterfaceAddress as InterfaceAddress
from fastnet._contract.rtnetlink import InterfaceCounters as InterfaceCounters
from fastnet._contract.rtnetlink import Neighbour as Neighbour
from fastnet._contract.rtnetlink import NextHop as NextHop
from fastnet._contract.rtnetlink import Route as Route
from fastnet._interface_status import InterfaceStatus, interface_status, list_status
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
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from fastnet._interface_flags import InterfaceFlags as InterfaceFlags
    from fastnet._watch import watch as watch

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
    "get_ip_address",
    "get_mtu",
    "get_netmask",
    "interface_status",
    "lifetimes",
    "list_addresses",
    "list_interfaces",
    "list_status",
    "neighbours",
    "route_to",
    "routes",
    "source_for",
    "watch",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fastnet.interfaces' has no attribute {name!r}")
    home = __import__(_HOME[name], fromlist=[name])
    value = globals()[name] = getattr(home, name)
    return value


_HOME = {"InterfaceFlags": "fastnet._interface_flags", "watch": "fastnet._watch"}
"""What is loaded on first use: an enumeration takes long to load, and only ``watch`` waits."""


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


def get_flags(ifname: str, /) -> "InterfaceFlags":
    """The flags of an interface (SIOCGIFFLAGS). Raises NoSuchInterface."""
    from fastnet._interface_flags import InterfaceFlags  # only here: it takes long to load

    return InterfaceFlags(_core.get_flags(ifname))


def list_addresses(ifname: str | None = None) -> list[InterfaceAddress]:
    """Every IPv4 and IPv6 address of all interfaces, or of one, with its prefix length.

    IPv4 comes first, each family in the kernel's order (RTM_GETADDR). ``ifname`` may be an alternative
    name, or the alias label of an address (``eth0:1``). An interface without an address is left out. Raises
    NoSuchInterface for an unknown name.
    """
    return addresses_of(ifname)
